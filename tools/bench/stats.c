/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/stats.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>

#include "vmm/util.h"

#define EXACT_MAX 60 /* values together; 60 of them take 7 million additions */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(const double *sorted, size_t n, double p)
{
	double h = (double)(n - 1) * p;
	size_t low = (size_t)h;

	if (low + 1 >= n)
		return sorted[n - 1];
	return sorted[low] + (h - (double)low) * (sorted[low + 1] - sorted[low]);
}

static void summarize_in_place(struct bench_summary *out, double *values, size_t n)
{
	*out = (struct bench_summary){ .n = n };
	if (n == 0)
		return;
	qsort(values, n, sizeof(*values), by_value);
	out->min = values[0];
	out->p50 = percentile(values, n, 0.5);
	out->p90 = percentile(values, n, 0.9);
	out->p99 = percentile(values, n, 0.99);
	out->max = values[n - 1];
}

int bench_summarize(struct bench_summary *out, const double *values, size_t n, struct error *err)
{
	cleanup_free double *copy = malloc((n + 1) * sizeof(*copy));

	if (!copy)
		return error_sys(err, ENOMEM, "%zu values", n);
	if (n)
		memcpy(copy, values, n * sizeof(*copy));
	summarize_in_place(out, copy, n);
	return 0;
}

int bench_ratios(struct bench_summary *out, const double *own, size_t n_own, const double *other,
		 size_t n_other, struct error *err)
{
	size_t pairs = n_own < n_other ? n_own : n_other, n = 0;
	cleanup_free double *ratios = malloc((pairs + 1) * sizeof(*ratios));

	if (!ratios)
		return error_sys(err, ENOMEM, "%zu ratios", pairs);
	for (size_t i = 0; i < pairs; i++)
		if (other[i] != 0)
			ratios[n++] = own[i] / other[i];
	summarize_in_place(out, ratios, n);
	return 0;
}

struct ranked {
	double value;
	bool of_a;
	unsigned int rank2; /* twice the rank: mean ranks of ties are whole then */
};

static int by_ranked_value(const void *a, const void *b)
{
	return by_value(&((const struct ranked *)a)->value, &((const struct ranked *)b)->value);
}

/* Sorts and ranks; returns the sum of t^3 - t over groups of t equal values. */
static double rank(struct ranked *all, size_t n)
{
	double ties = 0;

	qsort(all, n, sizeof(*all), by_ranked_value);
	for (size_t first = 0, end; first < n; first = end) {
		for (end = first + 1; end < n && all[end].value == all[first].value;)
			end++;
		double t = (double)(end - first);

		ties += t * t * t - t;
		for (size_t i = first; i < end; i++) /* ranks first + 1 .. end, their mean twice */
			all[i].rank2 = (unsigned int)(first + 1 + end);
	}
	return ties;
}

/*
 * p of the rank sum of a, exactly: ways[k][s] is in how many ways k of the values have the ranks' sum
 * s (both doubled). Numbers of ways are below 2^60, so as doubles they are near enough.
 */
static int exact_p(double *p, const struct ranked *all, size_t n, size_t n_a, unsigned int sum2,
		   struct error *err)
{
	size_t sums = n * (n + 1) + 1;
	cleanup_free double *ways = calloc((n_a + 1) * sums, sizeof(*ways));
	double total = 0, below = 0, above = 0;

	if (!ways)
		return error_sys(err, ENOMEM, "rank sums");
	ways[0] = 1;
	for (size_t i = 0; i < n; i++)
		for (size_t k = n_a < i + 1 ? n_a : i + 1; k > 0; k--)
			for (size_t s = all[i].rank2; s < sums; s++)
				ways[k * sums + s] += ways[(k - 1) * sums + s - all[i].rank2];
	for (size_t s = 0; s < sums; s++) {
		double w = ways[n_a * sums + s];

		total += w;
		below += s <= sum2 ? w : 0;
		above += s >= sum2 ? w : 0;
	}
	*p = fmin(1, 2 * fmin(below, above) / total);
	return 0;
}

static double normal_p(double u, double n_a, double n_b, double ties)
{
	double n = n_a + n_b;
	double variance = n_a * n_b / 12 * (n + 1 - ties / (n * (n - 1)));
	double distance = fabs(u - n_a * n_b / 2) - 0.5;

	if (variance <= 0 || distance <= 0)
		return 1;
	return erfc(distance / sqrt(variance) / M_SQRT2);
}

static int mann_whitney(struct bench_test *out, const double *a, size_t n_a, const double *b,
			size_t n_b, struct error *err)
{
	size_t n = n_a + n_b;
	cleanup_free struct ranked *all = calloc(n, sizeof(*all));
	unsigned long sum2 = 0;

	if (!all)
		return error_sys(err, ENOMEM, "%zu values", n);
	for (size_t i = 0; i < n_a; i++)
		all[i] = (struct ranked){ a[i], true, 0 };
	for (size_t i = 0; i < n_b; i++)
		all[n_a + i] = (struct ranked){ b[i], false, 0 };
	double ties = rank(all, n);

	for (size_t i = 0; i < n; i++)
		sum2 += all[i].of_a ? all[i].rank2 : 0;
	out->u = (double)sum2 / 2 - (double)n_a * (double)(n_a + 1) / 2;
	if (n <= EXACT_MAX) {
		out->method = BENCH_EXACT;
		return exact_p(&out->p, all, n, n_a, (unsigned int)sum2, err);
	}
	out->method = BENCH_NORMAL;
	out->p = normal_p(out->u, (double)n_a, (double)n_b, ties);
	return 0;
}

static bool repeats(const double *values, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (values[i] != values[0])
			return false;
	return n >= 2;
}

int bench_compare_samples(struct bench_test *out, const double *a, size_t n_a, const double *b,
			  size_t n_b, struct error *err)
{
	int ret = 0;

	*out = (struct bench_test){ .method = BENCH_TOO_FEW, .p = 1 };
	if (repeats(a, n_a) && repeats(b, n_b)) {
		out->method = BENCH_BY_VALUE;
		out->p = a[0] == b[0];
	} else if (n_a >= BENCH_TESTABLE_MIN && n_b >= BENCH_TESTABLE_MIN) {
		ret = mann_whitney(out, a, n_a, b, n_b, err);
	}
	out->significant = out->p < BENCH_ALPHA;
	return ret;
}
