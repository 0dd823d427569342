/* SPDX-License-Identifier: Apache-2.0 */
/* Percentiles, ratios and the Mann-Whitney test, against published values and counted by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tools/bench/stats.h"
#include "vmm/util.h"

static void assert_near(double a, double b)
{
	if (fabs(a - b) > 1e-9 * fmax(1, fabs(b)))
		fail_msg("%.12g, not %.12g", a, b);
}

/* numpy.percentile of the same. */
static void percentiles_interpolate(void **state)
{
	static const double ten[] = { 10, 9, 1, 2, 8, 3, 7, 4, 6, 5 }, pair[] = { 4, 2 }, one[] = { 3 };
	struct bench_summary s;

	(void)state;
	assert_int_equal(bench_summarize(&s, ten, 10, NULL), 0);
	assert_int_equal(s.n, 10);
	assert_near(s.min, 1);
	assert_near(s.p50, 5.5);
	assert_near(s.p90, 9.1);
	assert_near(s.p99, 9.91);
	assert_near(s.max, 10);
	assert_near(ten[0], 10);
	assert_int_equal(bench_summarize(&s, pair, 2, NULL), 0);
	assert_near(s.p50, 3);
	assert_near(s.p90, 3.8);
	assert_int_equal(bench_summarize(&s, one, 1, NULL), 0);
	assert_near(s.min, 3);
	assert_near(s.p99, 3);
	assert_int_equal(bench_summarize(&s, NULL, 0, NULL), 0);
	assert_int_equal(s.n, 0);
}

/* The median of ratios, not the ratio of medians: 90/300, 80/100, 100/200. */
static void ratios_are_of_the_same_round(void **state)
{
	static const double own[] = { 90, 80, 100, 7 }, other[] = { 300, 100, 200 };
	static const double zero[] = { 0, 2 };
	struct bench_summary s;

	(void)state;
	assert_int_equal(bench_ratios(&s, own, 4, other, 3, NULL), 0);
	assert_int_equal(s.n, 3);
	assert_near(s.min, 0.3);
	assert_near(s.p50, 0.5);
	assert_near(s.max, 0.8);
	assert_int_equal(bench_ratios(&s, own, 4, zero, 2, NULL), 0);
	assert_int_equal(s.n, 1);
	assert_near(s.p50, 40);
	assert_int_equal(bench_ratios(&s, own, 4, zero, 1, NULL), 0);
	assert_int_equal(s.n, 0);
}

/* The example in the documentation of scipy.stats.mannwhitneyu: U = 17, exact p = 0.1111. */
static void exact_test_gives_the_published_value(void **state)
{
	static const double males[] = { 19, 22, 16, 29, 24 }, females[] = { 20, 11, 17, 12 };
	struct bench_test test;

	(void)state;
	assert_int_equal(bench_compare_samples(&test, males, 5, females, 4, NULL), 0);
	assert_int_equal(test.method, BENCH_EXACT);
	assert_near(test.u, 17);
	assert_near(test.p, 14.0 / 126);
	assert_false(test.significant);
	assert_int_equal(bench_compare_samples(&test, females, 4, males, 5, NULL), 0);
	assert_near(test.u, 3);
	assert_near(test.p, 14.0 / 126);
}

/* Counted over all 70 and 252 choices of the mean ranks. */
static void exact_test_counts_ties(void **state)
{
	static const double a[] = { 1, 2, 2, 3 }, b[] = { 2, 3, 4, 4 };
	static const double c[] = { 1, 1, 1, 1, 2 }, d[] = { 1, 2, 2, 2, 2 };
	struct bench_test test;

	(void)state;
	assert_int_equal(bench_compare_samples(&test, a, 4, b, 4, NULL), 0);
	assert_near(test.u, 2.5);
	assert_near(test.p, 2 * 7.0 / 70);
	assert_int_equal(bench_compare_samples(&test, c, 5, d, 5, NULL), 0);
	assert_near(test.u, 5);
	assert_near(test.p, 2 * 26.0 / 252);
}

/* Apart: the smallest p there is, 2 / C(n_a + n_b, n_a). With 4 a side that's significant. */
static void samples_that_do_not_overlap_are_significant(void **state)
{
	double a[30], b[30];
	struct bench_test test;

	(void)state;
	for (int i = 0; i < 30; i++) {
		a[i] = i;
		b[i] = 100 + i;
	}
	assert_int_equal(bench_compare_samples(&test, a, 4, b, 4, NULL), 0);
	assert_near(test.p, 2.0 / 70);
	assert_true(test.significant);
	assert_int_equal(bench_compare_samples(&test, b, 30, a, 30, NULL), 0);
	assert_int_equal(test.method, BENCH_EXACT);
	if (fabs(test.p / (2 / 118264581564861424.0) - 1) > 1e-9)
		fail_msg("%g", test.p);
	assert_int_equal(bench_compare_samples(&test, a, 3, b, 30, NULL), 0);
	assert_int_equal(test.method, BENCH_TOO_FEW);
	assert_false(test.significant);
}

/* What scipy.stats.mannwhitneyu(method="asymptotic") computes, from its formula. */
static void many_values_take_the_normal_approximation(void **state)
{
	double a[40], b[40];
	struct bench_test test;

	(void)state;
	for (int i = 0; i < 40; i++) {
		a[i] = 7 * i % 40;
		b[i] = 7 * i % 40 + 6;
	}
	assert_int_equal(bench_compare_samples(&test, a, 40, b, 40, NULL), 0);
	assert_int_equal(test.method, BENCH_NORMAL);
	assert_near(test.u, 578);
	assert_near(test.p, 0.0330225063311594);
	assert_true(test.significant);
	assert_int_equal(bench_compare_samples(&test, a, 40, a, 40, NULL), 0);
	assert_near(test.p, 1);
}

static void what_repeats_is_compared_by_value(void **state)
{
	static const double a[] = { 748, 748 }, b[] = { 749, 749, 749 }, c[] = { 748, 749 };
	struct bench_test test;

	(void)state;
	assert_int_equal(bench_compare_samples(&test, a, 2, b, 3, NULL), 0);
	assert_int_equal(test.method, BENCH_BY_VALUE);
	assert_true(test.significant);
	assert_int_equal(bench_compare_samples(&test, a, 2, a, 2, NULL), 0);
	assert_int_equal(test.method, BENCH_BY_VALUE);
	assert_false(test.significant);
	/* One value doesn't repeat. */
	assert_int_equal(bench_compare_samples(&test, a, 1, b, 1, NULL), 0);
	assert_int_equal(test.method, BENCH_TOO_FEW);
	assert_int_equal(bench_compare_samples(&test, a, 2, c, 2, NULL), 0);
	assert_int_equal(test.method, BENCH_TOO_FEW);
	assert_int_equal(bench_compare_samples(&test, a, 0, c, 2, NULL), 0);
	assert_int_equal(test.method, BENCH_TOO_FEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percentiles_interpolate),
		cmocka_unit_test(ratios_are_of_the_same_round),
		cmocka_unit_test(exact_test_gives_the_published_value),
		cmocka_unit_test(exact_test_counts_ties),
		cmocka_unit_test(samples_that_do_not_overlap_are_significant),
		cmocka_unit_test(many_values_take_the_normal_approximation),
		cmocka_unit_test(what_repeats_is_compared_by_value),
	};

	return cmocka_run_group_tests_name("bench_stats", tests, NULL, NULL);
}
