/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics file: one JSON object a line (NDJSON), every minute and at the end. Writing never
 * blocks: the file may be a FIFO without a reader, and a line that isn't taken is lost and counted.
 * A line that is taken in part (a full pipe, a full disk) is completed before the next one, so that
 * a reader never sees two lines run into each other. Counts are totals since the start, or what came
 * since the last line that was taken: either way a lost line loses none.
 *
 * Everything but the two for handlers of signals is for the event loop's thread only.
 */
#ifndef MOTE_METRICS_H
#define MOTE_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/loop.h"

#define METRICS_PERIOD_MS 60000

/* Add members to root, an object. Counts are totals since the start. */
typedef void (*metrics_fill)(void *context, json_t *root);

struct metrics {
	int fd;
	int timer_fd;
	struct loop *loop; /* borrowed; NULL until metrics_start */
	struct loop_source timer;
	metrics_fill fill;
	void *context;
	char *id;	     /* NULL = lines don't name the microVM */
	json_t *properties;  /* owned; in each line but a handler's; NULL = none */
	bool deltas;	     /* counts are those since the last line that was taken, as Firecracker's */
	json_t *last;	     /* that one's totals; NULL = none yet, or no deltas */
	char *line;	     /* the one that was taken in part; NULL = none */
	size_t length, sent; /* of line */
	uint64_t lines_lost;
};

/*
 * Open path (a FIFO, or a file to append to, created with mode 0600). id: name of the microVM to
 * put into every line, or NULL. On error metrics needs no close, but may be closed.
 * Errors: those of open(2), with `metrics: open "PATH"`.
 */
int metrics_open(struct metrics *metrics, const char *path, const char *id, struct error *err);

/*
 * Write a line every period_ms (> 0) on loop from now on, filled by fill(context, root). Beside what
 * fill adds, a line has "utc_timestamp_ms", "id" if asked for, and "logger" with the numbers of
 * lines that log and metrics have lost ("missed_log_count", "missed_metrics_count").
 */
int metrics_start(struct metrics *metrics, struct loop *loop, unsigned int period_ms,
		  metrics_fill fill, void *context, struct error *err);

/* Write a line now. False if it was lost; true also when its end waits for the next call. */
bool metrics_write(struct metrics *metrics);

/*
 * A violation of a seccomp filter, before the process ends: a line of its own, unless one is
 * unfinished. Async-signal-safe, and from any thread.
 */
void metrics_fault_from_handler(int syscall);
/* The same of a signal that ends the process: "sigsegv". */
void metrics_signal_from_handler(const char *name);

/* If started, write the last line, which a full FIFO may cut. Stop, close, and zero metrics. */
void metrics_close(struct metrics *metrics);

#endif
