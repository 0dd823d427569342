/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mote-jailer: make a jail, and run the monitor in it.
 *
 *	outside:  arguments -> plan -> network namespace -> objects -> directory -> cgroups
 *	inside:   session -> cgroup -> namespaces -> limits -> root -> privileges -> Landlock -> seccomp -> exec
 *	outside:  wait for the end, or leave
 *
 * The process inside shares the memory of the one outside, which sleeps until exec has succeeded or
 * the other is gone. What failed inside is found in the error then, what was made is taken back,
 * and it's said in one line.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/jailer/jail.h"
#include "vmm/exit.h"
#include "vmm/util.h"

/* What the two processes share beside the jail. */
struct shared {
	struct jail *jail;
	struct error *err;
	sigset_t signals;	/* as the caller had them */
	uint64_t jailer_cpu_us; /* CPU time of the process outside */
	int keeper;		/* pidfd of the process whose end is the monitor's; -1 = none's */
	bool failed;		/* the process inside did, and the error says why */
};

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

static bool waits(const struct jail *jail)
{
	const struct args *args = jail->args;

	return args->handover < 0 && !args->daemonize && !args->new_pid_ns;
}

/*
 * A session of its own: in the caller's, the monitor could signal the caller's process group, which no
 * PID namespace keeps from it, and type into its terminal (TIOCSTI). --daemonize: no streams either.
 */
static int leave_session(const struct jail *jail, struct error *err)
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

/* pidfd of whoever waits for the monitor: we, or our parent with --handover. */
static int open_keeper(const struct jail *jail, int *keeper, struct error *err)
{
	const struct args *args = jail->args;

	*keeper = -1;
	if (args->daemonize || args->new_pid_ns)
		return 0;
	*keeper = (int)syscall(SYS_pidfd_open, args->handover < 0 ? getpid() : getppid(), 0);
	return *keeper < 0 ? error_sys(err, errno, "pidfd_open") : 0;
}

/* When the keeper ends, so does the monitor; if it has ended before we said so, now. */
static int tie_to_keeper(int keeper, struct error *err)
{
	struct pollfd p = { .fd = keeper, .events = POLLIN };

	if (keeper < 0)
		return 0;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return error_sys(err, errno, "set the parent-death signal");
	return poll(&p, 1, 0) == 1 ? error_set(err, ESRCH, "whoever waits for the monitor is gone") : 0;
}

static int write_pid(int fd, pid_t pid, const char *what, struct error *err)
{
	if (fd >= 0 && dprintf(fd, "%d", (int)pid) < 0)
		return error_sys(err, errno, "write process ID to %s", what);
	return 0;
}

/* Before anything can fail: also a process that doesn't make it must be waited for. */
static int tell_pid(const struct jail *jail, struct error *err)
{
	int ret = write_pid(jail->args->handover, jail->pid, "--handover's file descriptor", err);

	return ret < 0 ? ret : write_pid(jail->pid_file, jail->pid, "the pid file", err);
}

static int move_in(const struct jail *jail, struct error *err)
{
	int ret = tell_pid(jail, err);

	if (ret == 0)
		ret = leave_session(jail, err);
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
		ret = syscalls_restrict(err);
	return ret;
}

/* The process inside, until it is the monitor. */
static void inside(void *argument)
{
	struct shared *shared = argument;

	if (move_in(shared->jail, shared->err) == 0 && tie_to_keeper(shared->keeper, shared->err) == 0) {
		sigprocmask(SIG_SETMASK, &shared->signals, NULL);
		monitor_exec(shared->jail, shared->jailer_cpu_us, shared->err);
	}
	shared->failed = true;
	_exit(EXIT_GENERIC_ERROR);
}

/* Until the process is gone, its cgroup can't be removed. With --handover another reaps it. */
static void await_failed(pid_t pid)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	poll(&p, pidfd >= 0, -1);
	waitpid(pid, NULL, 0);
}

/* The first of undo's descriptors from number on; UINT_MAX without one. */
static unsigned int next_of_undo(const struct undo *undo, unsigned int number)
{
	unsigned int next = UINT_MAX;

	for (unsigned int i = 0; i < undo->n_fds; i++) {
		unsigned int fd = (unsigned int)undo->fds[i];

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
			syscall(SYS_close_range, from, next - 1, 0);
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

/* 0 once the monitor runs. */
static int spawn(struct jail *jail, const sigset_t *signals, struct error *err)
{
	struct shared shared = { .jail = jail, .err = err, .signals = *signals };
	cleanup_close int keeper = -1;
	int ret = open_keeper(jail, &keeper, err);

	if (ret < 0)
		return ret;
	shared.keeper = keeper;
	shared.jailer_cpu_us = cpu_us() - jail->start_cpu_us;
	ret = namespaces_spawn(jail, inside, &shared, err);
	if (ret == 0 && shared.failed) {
		await_failed(jail->pid);
		ret = -err->errnum;
	}
	return ret;
}

static int run(struct jail *jail, struct error *err)
{
	sigset_t signals;

	wait_block_signals(&signals);
	if (prepare(jail, err) < 0 || spawn(jail, &signals, err) < 0)
		return fail(EXIT_GENERIC_ERROR, err);
	jail_close(jail);
	if (!waits(jail)) {
		undo_release(&jail->undo);
		return EXIT_OK;
	}
	close_all_but_undo(&jail->undo);
	return wait_for_end(jail);
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

	/* What succeeded has left nothing to undo. */
	undo_run(&jail.undo, true);
	jail_close(&jail);
	return code;
}
