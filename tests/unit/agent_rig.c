/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_rig.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* As the guest's first process has it: three streams, the host, nothing else. */
static void be_agent(int fd, const struct job *job)
{
	const int host = 3;
	const struct agent_ready ready = { .version = AGENT_VERSION, .kernel_ns = 1 };
	static struct job received;

	/* kill(-1) mustn't be of any processes but the namespace's. */
	if (getpid() != 1 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(1);
	if (fd == host ? fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 : dup3(fd, host, O_CLOEXEC) < 0)
		_exit(1);
	if (close_range(host + 1, ~0u, 0) < 0)
		_exit(1);
	if (job)
		run_command(host, job);
	else if (send_frame(host, AGENT_READY, &ready, sizeof(ready)) == 0 &&
		 receive_job(host, &received) == 0)
		run_command(host, &received);
	shutdown(host, SHUT_WR);
	drain(host);
	_exit(0);
}

pid_t agent_start(int host, const struct job *job)
{
	unsigned long flags = (geteuid() ? CLONE_NEWUSER : 0) | CLONE_NEWPID | SIGCHLD;

	fflush(NULL);

	pid_t pid = (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);

	if (pid == 0)
		be_agent(host, job);
	close(host);
	if (pid < 0)
		skip();
	return pid;
}

void agent_join(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}
