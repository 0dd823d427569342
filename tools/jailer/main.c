/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mote-jailer: make a jail, and run the monitor in it.
 *
 *	outside:  arguments -> plan -> network namespace -> objects -> directory -> cgroups
 *	inside:   pid -> session -> cgroup -> namespaces -> limits -> root -> rights -> seccomp -> exec
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
	sigset_t signals;	/* blocked in the monitor */
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

static int move_in(const struct jail *jail, struct error *err)
{
	int ret = pid_tell(jail, err);

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

	if (move_in(shared->jail, shared->err) == 0 &&
	    keeper_bind(shared->keeper, shared->err) == 0) {
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

/*
 * To the first process of a PID namespace a signal that it has no handler for is nothing: one that
 * asks for an end right after exec would be lost. Blocked ones are kept, and the monitor has these
 * blocked anyway, to read them from a signalfd.
 */
static void block_stops(sigset_t *signals)
{
	sigaddset(signals, SIGHUP);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGTERM);
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
	int ret = keeper_open(jail, &keeper, err);

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
	block_stops(&signals);
	if (prepare(jail, err) < 0 || spawn(jail, &signals, err) < 0)
		return fail(EXIT_GENERIC_ERROR, err);
	jail_close(jail);
	if (!jail_waits(jail)) {
		undo_release(&jail->undo);
		return EXIT_OK;
	}
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
