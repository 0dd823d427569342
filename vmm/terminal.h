/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw mode of the terminal on stdin, so that keys (Ctrl-C too) go to the guest as they're typed.
 * Output processing stays on: the monitor's own messages end lines with a newline alone.
 */
#ifndef MOTE_TERMINAL_H
#define MOTE_TERMINAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <termios.h>

#include "vmm/error.h"

struct terminal {
	int fd;		 /* borrowed */
	atomic_bool raw; /* `saved` is to be restored */
	struct termios saved;
};

/*
 * Make fd raw if it's a terminal and, where there's job control, this process group has the
 * foreground; otherwise leave it alone. terminal must stay where it is, and fd open, until
 * terminal_restore. Errors: -EBUSY if another terminal is raw, those of tcsetattr(3).
 */
int terminal_make_raw(struct terminal *terminal, int fd, struct error *err);

/* Give the terminal its old settings back, if terminal_make_raw changed them. May be repeated. */
void terminal_restore(struct terminal *terminal);

/* The same for whichever terminal is raw, async-signal-safe: handlers have no argument to give. */
void terminal_restore_from_handler(void);

#endif
