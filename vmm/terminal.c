/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

/*
 * Global because a handler of a fatal signal gets no argument, and a shell left in raw mode is
 * unusable. It only points to what main owns.
 */
static struct terminal *_Atomic raw_terminal;

int terminal_make_raw(struct terminal *terminal, int fd, struct error *err)
{
	struct terminal *none = NULL;
	struct termios raw;
	pid_t foreground = tcgetpgrp(fd);

	terminal->fd = fd;
	atomic_store(&terminal->raw, false);
	if (!isatty(fd) || (foreground >= 0 && foreground != getpgrp()))
		return 0;
	if (tcgetattr(fd, &terminal->saved) < 0)
		return error_sys(err, errno, "terminal: tcgetattr");
	if (!atomic_compare_exchange_strong(&raw_terminal, &none, terminal))
		return error_set(err, EBUSY, "terminal: another one is raw");
	raw = terminal->saved;
	cfmakeraw(&raw);
	raw.c_oflag = terminal->saved.c_oflag;
	/* From here on a handler would restore it, so it must be true before it's needed. */
	atomic_store(&terminal->raw, true);
	if (tcsetattr(fd, TCSANOW, &raw) < 0) {
		int errnum = errno;

		terminal_restore(terminal);
		return error_sys(err, errnum, "terminal: tcsetattr");
	}
	return 0;
}

void terminal_restore(struct terminal *terminal)
{
	sigset_t ttou, old;
	int saved_errno = errno;

	if (!atomic_exchange(&terminal->raw, false))
		return;
	/* A process that went to the background meanwhile would be stopped here instead of ending. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &old);
	tcsetattr(terminal->fd, TCSANOW, &terminal->saved);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	atomic_store(&raw_terminal, NULL);
	errno = saved_errno;
}

void terminal_restore_from_handler(void)
{
	struct terminal *terminal = atomic_load(&raw_terminal);

	if (terminal)
		terminal_restore(terminal);
}
