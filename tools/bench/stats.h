/* SPDX-License-Identifier: Apache-2.0 */
/* What can be said of samples: percentiles, ratios pair by pair, whether two samples differ. */
#ifndef MOTE_BENCH_STATS_H
#define MOTE_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/error.h"

struct bench_summary {
	size_t n; /* 0: the rest says nothing */
	double min, p50, p90, p99, max;
};

/*
 * Percentiles interpolate linearly between the two closest ranks, h = (n - 1) p (Hyndman and Fan's
 * definition 7, which R, NumPy and spreadsheets use), so that p50 is the median. Errors: -ENOMEM.
 */
int bench_summarize(struct bench_summary *out, const double *values, size_t n, struct error *err);

/*
 * Of own[i] / other[i] for each round i that both have, where other[i] isn't 0: median, minimum and
 * maximum, and the rest. n is 0 if there's no such round.
 */
int bench_ratios(struct bench_summary *out, const double *own, size_t n_own, const double *other,
		 size_t n_other, struct error *err);

#define BENCH_ALPHA	   0.05
#define BENCH_TESTABLE_MIN 4 /* values a side: with 3, no two samples differ at 5 % */

enum bench_method {
	BENCH_BY_VALUE, /* both repeat exactly: two numbers are compared, p is 0 or 1 */
	BENCH_EXACT,	/* Mann-Whitney U, exact, ties included */
	BENCH_NORMAL,	/* Mann-Whitney U, normal approximation, corrected for ties and continuity */
	BENCH_TOO_FEW,	/* no test */
};

/*
 * Whether a and b come from one distribution: the two-sided Mann-Whitney U test (Mann and Whitney
 * 1947). Up to 60 values together it's exact: p is twice the smaller tail of the distribution of the
 * rank sum over all ways to choose n_a of the n_a + n_b values, with mean ranks for ties. At least
 * two values a side that are all equal need no test. Errors: -ENOMEM.
 */
struct bench_test {
	enum bench_method method;
	double p, u; /* u: of a; ties count half */
	bool significant;
};

int bench_compare_samples(struct bench_test *out, const double *a, size_t n_a, const double *b,
			  size_t n_b, struct error *err);

#endif
