/* SPDX-License-Identifier: Apache-2.0 */
/* What binds the monitor to those outside: whose end is its own, its process ID, its streams. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/jailer/jail.h"
#include "vmm/util.h"

bool jail_waits(const struct jail *jail)
{
	const struct args *args = jail->args;

	return args->handover < 0 && !args->daemonize && !args->new_pid_ns;
}

int keeper_open(const struct jail *jail, int *keeper, struct error *err)
{
	const struct args *args = jail->args;

	*keeper = -1;
	if (args->daemonize || args->new_pid_ns)
		return 0;
	*keeper = (int)syscall(SYS_pidfd_open, args->handover < 0 ? getpid() : getppid(), 0);
	return *keeper < 0 ? error_sys(err, errno, "pidfd_open") : 0;
}

int keeper_bind(int keeper, struct error *err)
{
	/* If it has ended before the kernel was told, now. */
	struct pollfd p = { .fd = keeper, .events = POLLIN };

	if (keeper < 0)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return error_sys(err, errno, "set the parent-death signal");
	return poll(&p, 1, 0) == 1 ? error_set(err, ESRCH, "whoever waits for the monitor is gone")
				   : 0;
}

static int write_pid(int fd, pid_t pid, const char *what, struct error *err)
{
	if (fd >= 0 && dprintf(fd, "%d", (int)pid) < 0)
		return error_sys(err, errno, "write process ID to %s", what);
	return 0;
}

int pid_tell(const struct jail *jail, struct error *err)
{
	int ret = write_pid(jail->args->handover, jail->pid, "--handover's file descriptor", err);

	return ret < 0 ? ret : write_pid(jail->pid_file, jail->pid, "the pid file", err);
}

int leave_session(const struct jail *jail, struct error *err)
{
	if (setsid() < 0)
		return error_sys(err, errno, "make a session");
	if (!jail->args->daemonize)
		return 0;
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0)
		return error_sys(err, errno, "redirect standard streams to \"/dev/null\"");
	return 0;
}
