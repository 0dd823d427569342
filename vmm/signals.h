/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals. Those that ask the monitor to stop (SIGINT, SIGTERM, SIGHUP) arrive on the event loop
 * through a signalfd. Those that mean that it's beyond going on get a handler that restores the
 * terminal, writes one line and exits with the signal's code (vmm/exit.h). SIGPIPE is ignored.
 */
#ifndef MOTE_SIGNALS_H
#define MOTE_SIGNALS_H

#include "vmm/error.h"
#include "vmm/loop.h"

struct signals {
	int fd;
	struct loop_source source;
	void (*on_stop)(void *context, int signum);
	void *context;
};

/* Before any thread is started: threads inherit the mask. */
int signals_init(struct signals *signals, struct loop *loop, void (*on_stop)(void *, int),
		 void *context, struct error *err);
void signals_release(struct signals *signals, struct loop *loop);

#endif
