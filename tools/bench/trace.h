/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's trace points: an instance of tracefs of our own, in which only what we start is
 * recorded. It costs the guest nothing but the time of the host's entries into a buffer.
 */
#ifndef MOTE_BENCH_TRACE_H
#define MOTE_BENCH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/error.h"

/*
 * Where guests make their marks: mote's boot timer; in other monitors nothing is there. The page's
 * other addresses are free: the guest's init sends its kernel's log by them (guest/init.c).
 */
#define TRACE_MARK_GPA 0xc0000000u
#define TRACE_DATA_GPA 0xc0000100u

enum trace_level {
	TRACE_MARKS, /* the guest's writes to the page above */
	TRACE_ALL,   /* entries, exits, exits to user space, system calls too */
};

enum trace_kind {
	TRACE_ENTRY,	 /* value: the guest's instruction pointer */
	TRACE_EXIT,	 /* likewise; reason */
	TRACE_USER_EXIT, /* reason */
	TRACE_MMIO_WRITE, /* value: address; data */
	TRACE_SYS_ENTER, /* value: number; data: the second argument */
	TRACE_SYS_EXIT,	 /* value: number; data: what it returned */
};

struct trace_event {
	enum trace_kind kind;
	pid_t pid; /* the thread's */
	uint64_t at_ns; /* CLOCK_MONOTONIC, whole microseconds */
	uint64_t value, data;
	char reason[32];
};

struct trace_log {
	struct trace_event *events;
	size_t n, room;
	uint64_t lost;
};

struct trace {
	char name[32];
	int dir; /* of the instance */
};

/* Make the instance. ENOENT: without tracefs or KVM's trace points. */
int trace_create(struct trace *trace, struct error *err);
/* Remove it with all that is in it. */
void trace_remove(struct trace *trace);

/* Record what pid, its threads, and its children do. */
int trace_follow(const struct trace *trace, pid_t pid, struct error *err);
int trace_start(const struct trace *trace, enum trace_level level, struct error *err);
/* Stop; what was recorded since the start. E2BIG: more than there was room for. */
int trace_stop(const struct trace *trace, struct trace_log *log, struct error *err);
void trace_log_free(struct trace_log *log);

/* One line of the file "trace". False: none of our events. */
bool trace_parse_line(const char *line, struct trace_event *event);
/* The whole text. -ENOMEM. */
int trace_parse(struct trace_log *log, const char *text, struct error *err);

static inline void cleanup_trace_log_fn(struct trace_log *log)
{
	trace_log_free(log);
}
#define cleanup_trace_log __attribute__((cleanup(cleanup_trace_log_fn)))

#endif
