/* SPDX-License-Identifier: Apache-2.0 */
/* One start, traced: what it took. */
#ifndef MOTE_BENCH_START_H
#define MOTE_BENCH_START_H

#include "tools/bench/digest.h"
#include "tools/bench/launch.h"
#include "tools/bench/subject.h"

struct start {
	uint64_t start_ns, end_ns, cpu_ns, page_faults;
	uint64_t instructions; /* 0: the processor doesn't count them */
	uint64_t mark_ns;      /* since start_ns; 0: none */
	uint64_t output_ns;    /* its first byte of output, since start_ns; 0: none */
	struct mote_stages stages; /* of mote with guest->metrics */
	char *output; /* of `mote run`; malloc'd */
	struct trace_log log;
};

/* level: NULL to trace nothing. */
int start_once(const struct subject *subject, const struct guest *guest, const struct place *place,
	       const struct trace *trace, const enum trace_level *level, struct start *start,
	       struct error *err);
void start_release(struct start *start);

/* 0, or a negative errno when the processor's instructions can't be counted here. */
int start_counts_instructions(void);

#endif
