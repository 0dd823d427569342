/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root directory that everything is measured in: a file system in memory, or (cold caches) an
 * ext4 on a loop device, with copies of what is run and the libraries that that needs. In the test
 * host an open of a file of the machine's waits for the machine, and its time would be in the figures.
 */
#ifndef MOTE_BENCH_PLACE_H
#define MOTE_BENCH_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

#include "vmm/error.h"

#define PLACE_ITEMS_MAX 48

struct place_item {
	char *from;	/* malloc'd */
	char to[96];	/* absolute, in the place */
	bool program;	/* its libraries come along */
	bool optional;	/* may be missing */
};

struct place {
	struct place_item items[PLACE_ITEMS_MAX];
	unsigned int n;
	bool cold;
	pid_t outside_pid; /* ours, for who is outside our PID namespace; from place_enter on */
	int outside_proc;  /* its /proc; likewise, and for good */
};

/* Copy `from` into the place, as `to`. -ENOMEM, -E2BIG. */
int place_add(struct place *place, const char *from, const char *to, bool program, struct error *err);
/* A file that may be missing, under its own path. */
int place_add_data(struct place *place, const char *path, struct error *err);
void place_free(struct place *place);

/*
 * Make the place and enter it, in mount and network namespaces of our own; there is no way back.
 * We are PID 1 of a PID namespace.
 */
int place_enter(struct place *place, struct error *err);

/* Forget what was read, for cold caches; nothing otherwise. */
int place_forget(const struct place *place, struct error *err);

/*
 * Whatever argv[0] (found in PATH) prints, 64 KiB at most; malloc'd. NULL if it can't be run or fails.
 * For preparations: it waits for the end.
 */
char *place_output_of(const char *const argv[]);

#endif
