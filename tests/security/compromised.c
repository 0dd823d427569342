/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A monitor that somebody else controls: mote-jailer starts it in mote-vmm's place, it puts a thread
 * under a filter as mote-vmm does, and that thread tries what an attacker would.
 *
 *	compromised --list
 *	compromised [the jailer's arguments] KIND PID SECRET ABSTRACT PORT
 *
 * KIND is vmm, vcpu or io; vmm-api, the event loop of a monitor with an API; or jail, without any
 * filter, as with mote-vmm --no-seccomp. The others are struct target's. TAP, each attempt a line:
 * "ok - refused: NAME (how)", "not ok - got through: NAME". Before these
 * "# fd N FLAGS MODE DEVICE INODE" for each descriptor.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "tests/security/attacks.h"
#include "vmm/sandbox/sandbox.h"
#include "vmm/util.h"

static const struct attack *const groups[] = {
	file_attacks,	image_attacks,	process_attacks,
	memory_attacks, kernel_attacks, network_attacks,
};

/* Of the one thread that attacks. */
static struct {
	struct target target;
	struct sandbox sandbox;
	jmp_buf out;
	volatile int signum;
} state;

static void say(const char *format, const char *name, const char *how)
{
	char line[256];
	int n = snprintf(line, sizeof(line), format, name, how);

	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		_exit(3);
}

/* rt_sigreturn isn't for every thread: leave by a jump. SA_NODEFER: the mask stays as it is. */
static void on_signal(int signum, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	state.signum = signum;
	_longjmp(state.out, 1);
}

static void catch_signals(void)
{
	static const int signals[] = { SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGTRAP };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };

	for (unsigned int i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void attempt(const struct attack *attack)
{
	if (attack->needs_kvm && state.target.kvm < 0 && !state.target.filtered) {
		say("ok - refused: %s # SKIP %s\n", attack->name, "no /dev/kvm on this machine");
		return;
	}
	if (_setjmp(state.out)) {
		say("ok - refused: %s (SIG%s)\n", attack->name, sigabbrev_np(state.signum));
		return;
	}
	if (attack->try(&state.target) >= 0)
		say("not ok - got through: %s%s\n", attack->name, "");
	else
		say("ok - refused: %s (%s)\n", attack->name, strerrorname_np(errno));
}

static void attack_all(void *owner, const struct error *unruled)
{
	(void)owner;
	if (unruled) {
		say("Bail out! %s%s\n", unruled->message, "");
		return;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++)
		for (const struct attack *attack = groups[i]; attack->name; attack++)
			attempt(attack);
	say("# %s%s\n", "the end", "");
}

static unsigned int list(bool print)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++)
		for (const struct attack *attack = groups[i]; attack->name; attack++, n++)
			if (print)
				puts(attack->name);
	return n;
}

static void show_fds(void)
{
	for (int fd = 0; fd < 1 << 16; fd++) {
		int flags = fcntl(fd, F_GETFL);
		struct stat st;

		if (flags >= 0 && fstat(fd, &st) == 0)
			printf("# fd %d %d %o %lu %lu\n", fd, flags & O_ACCMODE, st.st_mode, st.st_dev,
			       st.st_ino);
	}
}

/* What a monitor has by the time its guest runs. */
static void open_kvm(void)
{
	state.target.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (state.target.kvm >= 0)
		ioctl(state.target.kvm, KVM_CREATE_VM, 0);
}

static int run(const char *kind_name)
{
	struct thread thread = { .main = attack_all, .name = "attacker" };
	const struct thread_rules rules = { sandbox_apply, &state.sandbox };
	struct error err = { 0 };
	unsigned int filter = 0;

	if (strcmp(kind_name, "jail") == 0) {
		attack_all(NULL, NULL);
		return 0;
	}
	while (filter < FILTERS && strcmp(sandbox_filter_name(filter), kind_name) != 0)
		filter++;
	if (filter == FILTERS)
		return 2;
	state.target.filtered = true;
	sandbox_init(&state.sandbox);
	state.sandbox.has_api = filter == FILTER_VMM_API;
	if (sandbox_enter(&err) < 0)
		return 3;
	if (filter == THREAD_VMM || filter == FILTER_VMM_API) {
		attack_all(NULL, sandbox_apply(&state.sandbox, THREAD_VMM, &err) < 0 ? &err : NULL);
		return 0;
	}
	/* The others are under their filter while the event loop is under its own. */
	thread.kind = filter;
	thread.rules = &rules;
	if (thread_start(&thread, &err) < 0 || sandbox_apply(&state.sandbox, THREAD_VMM, &err) < 0)
		return 3;
	thread_join(&thread);
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc == 2 && strcmp(argv[1], "--list") == 0)
		return list(true) == 0;
	if (argc < 6)
		return 2;
	argv += argc - 5;
	state.target = (struct target){ .pid = atoi(argv[1]), .secret = argv[2], .abstract = argv[3],
					.port = atoi(argv[4]) };
	printf("1..%u\n", list(false));
	show_fds();
	fflush(stdout);
	open_kvm();
	catch_signals();
	_exit(run(argv[0]));
}
