/* SPDX-License-Identifier: Apache-2.0 */
/* The jailer's second life: as small as can be, it stands for the monitor before its caller. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/capability.h>

#include "tools/jailer/jail.h"
#include "vmm/util.h"

static const int passed_on[] = { SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM,
				 SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT };

static sigset_t waited_for(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (unsigned int i = 0; i < ARRAY_SIZE(passed_on); i++)
		sigaddset(&set, passed_on[i]);
	return set;
}

void wait_block_signals(sigset_t *before)
{
	sigset_t set = waited_for();

	signal(SIGCHLD,
	       SIG_DFL); /* ignored, as the caller may have it, no child could be waited for */
	sigprocmask(SIG_BLOCK, &set, before);
}

/* Our end as the monitor's was. */
static int end_as(int status)
{
	const struct rlimit none = { 0 };
	sigset_t set;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, WTERMSIG(status));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	kill(getpid(), WTERMSIG(status));
	return 128 + WTERMSIG(status);
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

/* To signal another user's process, and to remove names from that user's directory. */
static void keep_what_waiting_needs(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = { 0 };

	caps[0].permitted = caps[0].effective = 1u << CAP_KILL | 1u << CAP_DAC_OVERRIDE;
	/* Refused without root, who has none to drop. */
	syscall(SYS_capset, &header, caps);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int wait_for_end(struct jail *jail)
{
	sigset_t set = waited_for();
	int status;

	close_all_but_undo(&jail->undo);
	keep_what_waiting_needs();
	for (;;) {
		int signum = sigwaitinfo(&set, NULL);

		/* Also what a terminal sends: the monitor is in another session. */
		if (signum > 0 && signum != SIGCHLD)
			kill(jail->pid, signum);
		if (signum == SIGCHLD && waitpid(jail->pid, &status, WNOHANG) == jail->pid)
			break;
	}
	undo_run(&jail->undo, false);
	return end_as(status);
}
