/* SPDX-License-Identifier: Apache-2.0 */
/* The benches: each fills result with what it measures on the subjects, in the place. */
#ifndef MOTE_BENCH_BOOT_H
#define MOTE_BENCH_BOOT_H

#include "tools/bench/subject.h"

struct bench {
	const struct bench_options *options;
	const struct bench_files *files;
	const struct trace *trace;
	const struct place *place;
	struct subjects *subjects;
	struct bench_result *result;
};

int bench_do_boot(struct bench *bench, struct error *err);
int bench_do_io(struct bench *bench, struct error *err);
int bench_do_net(struct bench *bench, struct error *err);
int bench_do_density(struct bench *bench, struct error *err);
int bench_do_vsock(struct bench *bench, struct error *err);
int bench_do_mmds(struct bench *bench, struct error *err);
int bench_do_api(struct bench *bench, struct error *err);

/* "round 1 of 5: mote" on stderr. */
void bench_progress(const struct bench *bench, unsigned int round, const char *subject);

/* The result's subjects, one for each of ours. */
int bench_add_subjects(struct bench *bench, struct error *err);

#endif
