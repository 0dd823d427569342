/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of the monitor. Each has a name, a kind, and whatever rules its kind is put under before
 * it does anything; who starts one needn't know what the rules are (vmm/sandbox knows).
 *
 * All signals are blocked in a thread but those that mean that it's broken, and the one that it may
 * be woken by: the others are for the event loop.
 */
#ifndef MOTE_THREAD_H
#define MOTE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "vmm/error.h"

enum thread_kind {
	THREAD_VMM,  /* the event loop: main's own thread */
	THREAD_VCPU, /* runs a vCPU */
	THREAD_IO,   /* calls that may block */
	THREAD_KINDS,
};

/* What a kind of thread may do from now on: called once on each, as the first thing. */
struct thread_rules {
	int (*apply)(const void *context, enum thread_kind kind, struct error *err);
	const void *context;
};

#define THREAD_NAME_SIZE 16 /* with the NUL, as the kernel has it */

struct thread {
	/* To be set before thread_start. */
	char name[THREAD_NAME_SIZE];
	enum thread_kind kind;
	const struct thread_rules *rules; /* borrowed; NULL = none */
	int wake_signal;		  /* left unblocked; 0 = none */
	size_t stack_size;		  /* 0 = the default */
	/* unruled: NULL, or why the rules could not be applied: nothing but to report it is allowed. */
	void (*main)(void *owner, const struct error *unruled);
	void *owner;
	/* thread_start's */
	pthread_t id;
	bool started;
};

/* Start it. thread stays where it is until thread_join. Errors: those of pthread_create(3). */
int thread_start(struct thread *thread, struct error *err);

/* Wait for its end; nothing if it wasn't started. */
void thread_join(struct thread *thread);

#endif
