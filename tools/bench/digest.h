/* SPDX-License-Identifier: Apache-2.0 */
/* What the trace of one start says: when it reached what, and how often it did what. */
#ifndef MOTE_BENCH_DIGEST_H
#define MOTE_BENCH_DIGEST_H

#include <sys/types.h>

#include "tools/bench/result.h"
#include "tools/bench/subject.h"
#include "tools/bench/trace.h"

/* When the guest made its mark; 0: it made none. */
uint64_t digest_mark_ns(const struct trace_log *log);
/* When the program began: the first execve that succeeded, of another process than `own`. 0: none. */
uint64_t digest_exec_ns(const struct trace_log *log, pid_t own);

struct digest_totals {
	uint64_t exits, to_user, system_calls;
	uint64_t bytes; /* that went through read(2), write(2) and their like */
};

/* System calls of the threads other than `own`, from exec on. */
void digest_totals(const struct trace_log *log, pid_t own, struct digest_totals *totals);
/* The same, by name, as counts of subject. -ENOMEM, -E2BIG. */
int digest_counts(const struct trace_log *log, pid_t own, struct bench_subject *subject, struct error *err);

struct digest_run {
	const struct trace_log *log;
	const struct mote_stages *stages; /* NULL: not mote */
	uint64_t start_ns, end_ns;
	pid_t own;
	bool bzimage; /* what the guest runs first is a decompressor */
};

/*
 * Stages without gaps, and exits, as the timeline of subject. Stages of all monitors but mote are
 * seen from outside, by system calls and entries of the guest. -ENOMEM, -E2BIG.
 */
int digest_timeline(const struct digest_run *run, struct bench_subject *subject, struct error *err);

/*
 * The same of `mote run --json`, whose output is json. Its stages follow one another from its main on; the
 * guest's mark, which is in both, says when that was.
 */
int digest_run_timeline(const struct digest_run *run, const char *json, struct bench_subject *subject,
			struct error *err);

/* The bytes that the guest sent by TRACE_DATA_GPA, with a NUL; malloc'd, NULL without memory. */
char *digest_data(const struct trace_log *log);

/* "read" for 0 of this machine's system calls; "#N" for unknown ones, in buffer. */
const char *digest_syscall_name(uint64_t nr, char buffer[static 24]);

#endif
