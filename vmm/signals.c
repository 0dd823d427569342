/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/exit.h"
#include "vmm/log.h"
#include "vmm/metrics.h"
#include "vmm/sandbox/sandbox.h"
#include "vmm/terminal.h"
#include "vmm/util.h"

struct fatal_signal {
	int signum;
	enum exit_code code;
	const char *metric; /* NULL: none of Firecracker's */
	const char *line; /* static: the handler may call async-signal-safe functions only */
};

static const struct fatal_signal fatal_signals[] = {
	{ SIGBUS, EXIT_SIGBUS, "sigbus",
	  "mote-vmm: SIGBUS: guest memory or a mapped file is gone\n" },
	{ SIGSEGV, EXIT_SIGSEGV, "sigsegv",
	  "mote-vmm: SIGSEGV: the monitor touched memory that isn't its own\n" },
	{ SIGILL, EXIT_SIGILL, "sigill", "mote-vmm: SIGILL: illegal instruction in the monitor\n" },
	{ SIGABRT, EXIT_UNEXPECTED_ERROR, NULL,
	  "mote-vmm: SIGABRT: the monitor found itself corrupted\n" },
	{ SIGFPE, EXIT_UNEXPECTED_ERROR, NULL, "mote-vmm: SIGFPE: the monitor divided by zero\n" },
	{ SIGXFSZ, EXIT_SIGXFSZ, "sigxfsz",
	  "mote-vmm: SIGXFSZ: a file reached the file size limit\n" },
	{ SIGXCPU, EXIT_SIGXCPU, "sigxcpu", "mote-vmm: SIGXCPU: the CPU time limit is reached\n" },
	{ SIGSYS, EXIT_BAD_SYSCALL, NULL, "mote-vmm: SIGSYS: a system call that is not allowed\n" },
};

/* SIGSYS for a system call that the thread's filter forbids: say it wherever somebody may look. */
static void on_sigsys(const siginfo_t *info)
{
	char what[SANDBOX_LINE_MAX], line[SANDBOX_LINE_MAX + 32];

	if (!sandbox_describe(info, what))
		return;
	snprintf(line, sizeof(line), "mote-vmm: SIGSYS: %s\n", what);
	if (!log_is_stderr())
		log_error("%s", what);
	metrics_fault_from_handler(info->si_syscall);
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		_exit(EXIT_BAD_SYSCALL);
	_exit(EXIT_BAD_SYSCALL);
}

/* Everything here takes no lock and allocates nothing: the thread may have been anywhere. */
static void on_fatal(int signum, siginfo_t *info, void *context)
{
	(void)context;
	terminal_restore_from_handler();
	if (signum == SIGSYS)
		on_sigsys(info);
	for (unsigned int i = 0; i < ARRAY_SIZE(fatal_signals); i++) {
		const struct fatal_signal *s = &fatal_signals[i];

		if (s->signum != signum)
			continue;
		if (s->metric)
			metrics_signal_from_handler(s->metric);
		if (write(STDERR_FILENO, s->line, strlen(s->line)) < 0)
			_exit(s->code);
		_exit(s->code);
	}
	_exit(EXIT_UNEXPECTED_ERROR);
}

static void on_signalfd(struct loop_source *source, uint32_t events)
{
	struct signals *signals = source->owner;
	struct signalfd_siginfo info;

	(void)events;
	if (read(signals->fd, &info, sizeof(info)) == sizeof(info))
		signals->on_stop(signals->context, (int)info.ssi_signo);
}

int signals_init(struct signals *signals, struct loop *loop, void (*on_stop)(void *, int),
		 void *context, struct error *err)
{
	struct sigaction fatal = { .sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO };
	sigset_t stops;

	*signals = (struct signals){ .fd = -1, .on_stop = on_stop, .context = context };
	signal(SIGPIPE, SIG_IGN);
	for (unsigned int i = 0; i < ARRAY_SIZE(fatal_signals); i++)
		sigaction(fatal_signals[i].signum, &fatal, NULL);
	sigemptyset(&stops);
	sigaddset(&stops, SIGINT);
	sigaddset(&stops, SIGTERM);
	sigaddset(&stops, SIGHUP);
	sigprocmask(SIG_BLOCK, &stops, NULL);
	signals->fd = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals->fd < 0)
		return error_sys(err, errno, "signalfd");
	return loop_add(loop, &signals->source, signals->fd, EPOLLIN, on_signalfd, signals, err);
}

void signals_release(struct signals *signals, struct loop *loop)
{
	loop_remove(loop, &signals->source);
	close_fd(&signals->fd);
}
