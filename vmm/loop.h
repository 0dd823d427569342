/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one epoll instance, one thread. Sources are embedded in their owners, so adding
 * one allocates nothing. A source may be removed from any callback, its own included, also when
 * events for it are pending in the same batch.
 */
#ifndef MOTE_LOOP_H
#define MOTE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "vmm/error.h"

#define LOOP_BATCH 32

struct loop_source;
/* events: EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR as epoll_wait(2) gives them. */
typedef void (*loop_callback)(struct loop_source *source, uint32_t events);

struct loop_source {
	int fd;          /* borrowed: the owner closes it, after loop_remove */
	uint32_t events; /* 0 while not in a loop */
	loop_callback callback;
	void *owner;
};

struct loop {
	int epoll_fd;
	bool stopping;
	int pending;                            /* events of the current batch */
	struct epoll_event batch[LOOP_BATCH];
};

int loop_init(struct loop *loop, struct error *err);
void loop_release(struct loop *loop);

/*
 * Watch fd for events (level-triggered unless EPOLLET is among them). The source must stay where
 * it is until loop_remove. Errors: those of epoll_ctl(2).
 */
int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events,
	     loop_callback callback, void *owner, struct error *err);
/* Change the set of events; 0 events keeps the source but silent (errors and hang-ups still come). */
int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events, struct error *err);
/* Stop watching; harmless if the source isn't in the loop. */
void loop_remove(struct loop *loop, struct loop_source *source);

/* Dispatch events until loop_stop is called. Only for the loop's own thread. */
int loop_run(struct loop *loop, struct error *err);
/* One round: wait at most timeout_ms (-1: for ever), dispatch what came. Returns events handled. */
int loop_run_once(struct loop *loop, int timeout_ms, struct error *err);
/* From a callback: make loop_run return after this batch. */
void loop_stop(struct loop *loop);

#endif
