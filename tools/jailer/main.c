/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mote-jailer: make a jail, and run the monitor in it.
 *
 *	outside:  arguments -> plan -> network namespace -> objects -> directory -> cgroups -> fork
 *	inside:   IDs, cgroup namespace -> limits -> root -> privileges -> Landlock -> exec
 *	outside:  pid file, "go" -> wait for exec -> wait for the end, or leave
 *
 * What fails inside is told outside through a socket pair, which exec closes; outside takes back
 * what was made and says it in one line.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/close_range.h>

#include "tools/jailer/jail.h"
#include "vmm/exit.h"
#include "vmm/util.h"

enum { OUTSIDE, INSIDE };

static int fail(enum exit_code code, const struct error *err)
{
	fprintf(stderr, "mote-jailer: %s\n", err->message);
	return (int)code;
}

/* No descriptor of ours, which the jail could keep, may have the number of a standard stream. */
static void open_standard_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static uint64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool waits(const struct jail *jail)
{
	const struct args *args = jail->args;

	return args->handover < 0 && !args->daemonize && !args->new_pid_ns;
}

/* --daemonize: no terminal, no streams. */
static int go_to_background(const struct jail *jail, struct error *err)
{
	if (!jail->args->daemonize)
		return 0;
	cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (setsid() < 0)
		return error_sys(err, errno, "make a session");
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDERR_FILENO) < 0)
		return error_sys(err, errno, "redirect standard streams to \"/dev/null\"");
	return 0;
}

/*
 * Whom somebody waits for ends with them. If they were gone already, the other end of the socket
 * is closed; else there is a byte that says that the pid file is written.
 */
static int tie_to_parent(const struct jail *jail, int outside, struct error *err)
{
	char go;

	if (!jail->args->daemonize && !jail->args->new_pid_ns && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return error_sys(err, errno, "set the parent-death signal");
	if (read(outside, &go, 1) != 1)
		return error_set(err, EPIPE, "the jailer is gone");
	return 0;
}

static int move_in(const struct jail *jail, int outside, struct error *err)
{
	int ret = go_to_background(jail, err);

	if (ret == 0)
		ret = cgroups_enter(jail, err);
	if (ret == 0)
		ret = namespaces_enter(jail, err);
	if (ret == 0)
		ret = limits_set(jail, err);
	if (ret == 0)
		ret = root_enter(jail, err);
	if (ret == 0)
		ret = privileges_drop(jail, err);
	if (ret == 0)
		ret = landlock_restrict(jail, err);
	if (ret == 0)
		ret = tie_to_parent(jail, outside, err);
	return ret;
}

/* The child's life until it is the monitor. */
static _Noreturn void inside(const struct jail *jail, int outside, const sigset_t *signals,
			     uint64_t jailer_cpu_us)
{
	struct error err = { 0 };

	if (move_in(jail, outside, &err) == 0) {
		sigprocmask(SIG_SETMASK, signals, NULL);
		monitor_exec(jail, jailer_cpu_us, &err);
	}
	if (send(outside, err.message, strlen(err.message), MSG_NOSIGNAL) < 0)
		_exit(EXIT_UNEXPECTED_ERROR); /* nobody listens */
	_exit(EXIT_GENERIC_ERROR);
}

static int write_pid(int fd, pid_t pid, const char *what, struct error *err)
{
	if (fd >= 0 && dprintf(fd, "%d", (int)pid) < 0)
		return error_sys(err, errno, "write process ID to %s", what);
	return 0;
}

/* 0 once the child has become the monitor; what it says if it couldn't. */
static int hear_of_exec(int child, struct error *err)
{
	ssize_t n = send(child, "", 1, MSG_NOSIGNAL);

	if (n == 1)
		n = recv(child, err->message, sizeof(err->message) - 1, MSG_WAITALL);
	if (n < 0)
		return error_sys(err, errno, "talk with the jail");
	err->message[n] = 0;
	err->errnum = n ? EIO : 0;
	return -err->errnum;
}

/* The child has said its last word, or must not run: make sure that it's gone. */
static void end_child(pid_t pid, int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	poll(&p, 1, -1);
	/* With --handover it's the caller's to reap, and this fails. */
	waitpid(pid, NULL, 0);
}

static int start(struct jail *jail, pid_t pid, int pidfd, int child, struct error *err)
{
	int ret = write_pid(jail->pid_file, pid, "the pid file", err);

	if (ret == 0)
		ret = write_pid(jail->args->handover, pid, "--handover's file descriptor", err);
	if (ret == 0)
		ret = hear_of_exec(child, err);
	if (ret < 0)
		end_child(pid, pidfd);
	return ret;
}

/* The first of undo's descriptors from number on; UINT_MAX without one. */
static unsigned int next_of_undo(const struct undo *undo, unsigned int number)
{
	unsigned int next = UINT_MAX;

	for (unsigned int i = 0; i < undo->n; i++) {
		unsigned int fd = (unsigned int)undo->entries[i].fd;

		if (fd >= number && fd < next)
			next = fd;
	}
	return next;
}

/* Nothing that is for the jail stays open here, nor what the caller had open. */
static void close_all_but_undo(const struct undo *undo)
{
	for (unsigned int from = STDERR_FILENO + 1, next;; from = next + 1) {
		next = next_of_undo(undo, from);
		if (next > from)
			close_range(from, next - 1, 0);
		if (next == UINT_MAX)
			break;
	}
}

static int prepare(struct jail *jail, struct error *err)
{
	int ret = plan_jail(jail, err);

	if (ret == 0)
		ret = netns_join(jail, err);
	if (ret == 0)
		ret = objects_open(jail, err);
	if (ret == 0)
		ret = host_root_make(jail, err);
	if (ret == 0)
		ret = cgroups_make(jail, err);
	return ret;
}

static int run(struct jail *jail, struct error *err)
{
	sigset_t signals;
	int pair[2], pidfd = -1;

	wait_block_signals(&signals);
	if (prepare(jail, err) < 0)
		return fail(EXIT_GENERIC_ERROR, err);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		error_sys(err, errno, "socketpair");
		return fail(EXIT_GENERIC_ERROR, err);
	}
	pid_t pid = namespaces_fork(jail, &pidfd, err);

	if (pid == 0) {
		close(pair[OUTSIDE]);
		inside(jail, pair[INSIDE], &signals, cpu_us());
	}
	close(pair[INSIDE]);
	if (pid < 0 || start(jail, pid, pidfd, pair[OUTSIDE], err) < 0)
		return fail(EXIT_GENERIC_ERROR, err);
	if (!waits(jail)) {
		undo_release(&jail->undo);
		return EXIT_OK;
	}
	jail_close(jail);
	close_all_but_undo(&jail->undo);
	return wait_for_end(jail, pid);
}

int main(int argc, char *argv[])
{
	static struct args args;
	static struct jail jail;
	struct error err = { 0 };

	open_standard_streams();
	if (args_parse(&args, argc, argv, &err) < 0)
		return fail(EXIT_ARGUMENT_PARSING, &err);
	switch (args.action) {
	case ARGS_HELP:
		args_help(stdout);
		return EXIT_OK;
	case ARGS_VERSION:
		printf("mote-jailer " MOTE_VERSION "\n");
		return EXIT_OK;
	case ARGS_CLEANUP:
		return cleanup_jail(&args, &err) < 0 ? fail(EXIT_GENERIC_ERROR, &err) : EXIT_OK;
	case ARGS_RUN:
		break;
	}
	jail_init(&jail, &args);
	int code = run(&jail, &err);

	jail_close(&jail);
	/* What succeeded has left nothing to undo. */
	undo_run(&jail.undo, true);
	return code;
}
