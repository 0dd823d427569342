/* SPDX-License-Identifier: Apache-2.0 */
/* Two results of the same bench: what changed between them, and whether that is more than chance. */
#ifndef MOTE_BENCH_COMPARE_H
#define MOTE_BENCH_COMPARE_H

#include "tools/bench/result.h"
#include "tools/bench/stats.h"

enum compare_verdict {
	COMPARE_SAME,	    /* the same number in every round of both */
	COMPARE_UNTESTED,   /* too few values */
	COMPARE_CHANCE,	    /* not significant */
	COMPARE_CHANGED,    /* significant, but the median stays, or nobody says which way is better */
	COMPARE_BETTER,	    /* significant, as the others from here */
	COMPARE_WORSE,	    /* by no more than the threshold */
	COMPARE_PEER_WORSE, /* beyond it, but a peer: not mote's fault */
	COMPARE_REGRESSION,
};
extern const char *const compare_verdicts[];

struct compare_row {
	const struct bench_subject *subject; /* of the newer result, as figure is */
	const struct bench_figure *figure;
	double old_median, new_median;
	double change; /* in % of the old; infinite if that is 0 and the new isn't */
	struct bench_test test;
	enum compare_verdict verdict;
};

struct comparison {
	struct compare_row *rows;
	size_t n_rows, regressions;
	json_t *conditions; /* what else differs: texts of the form "host kernel: A / B" */
	json_t *unmatched;  /* texts: what only one of the results has */
};

/*
 * threshold in %. The comparison points into newer, which must outlive it, and is released in any case.
 * Errors: -EINVAL they are of different benches, in different units, or have nothing in common.
 */
int bench_compare(struct comparison *out, const struct bench_result *older,
		  const struct bench_result *newer, double threshold, struct error *err);
void comparison_release(struct comparison *comparison);

#endif
