/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts of `mote bench compare`. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tools/bench/compare.h"
#include "vmm/util.h"

#define ROUNDS 5

struct pair {
	struct bench_result *older, *newer;
};

static struct bench_result *result_with(const char *unit, enum bench_better better, bool peer,
					const double *values, size_t n)
{
	struct bench_result *result = bench_result_new("boot", NULL);
	struct bench_subject *subject = bench_subject_add(result, "s", "1", peer, NULL);
	struct bench_figure *figure = bench_figure_add(subject, "f", "F", unit, better, NULL);

	for (size_t i = 0; i < n; i++)
		assert_int_equal(bench_value_add(figure, values[i], NULL), 0);
	return result;
}

static void compare_release(struct pair *pair)
{
	bench_result_free(pair->older);
	bench_result_free(pair->newer);
}

static void verdicts(void **state)
{
	static const struct {
		enum bench_better better;
		bool peer;
		double older[ROUNDS], newer[ROUNDS];
		size_t n;
		double change;
		enum compare_verdict verdict;
	} cases[] = {
		{ BENCH_LOWER, false, { 100, 101, 102, 103, 104 }, { 105, 106, 107, 108, 109 }, 5,
		  500.0 / 102, COMPARE_REGRESSION },
		{ BENCH_LOWER, true, { 100, 101, 102, 103, 104 }, { 105, 106, 107, 108, 109 }, 5,
		  500.0 / 102, COMPARE_PEER_WORSE },
		{ BENCH_HIGHER, false, { 100, 101, 102, 103, 104 }, { 105, 106, 107, 108, 109 }, 5,
		  500.0 / 102, COMPARE_BETTER },
		{ BENCH_HIGHER, false, { 105, 106, 107, 108, 109 }, { 100, 101, 102, 103, 104 }, 5,
		  -500.0 / 107, COMPARE_REGRESSION },
		{ BENCH_NONE, false, { 100, 101, 102, 103, 104 }, { 105, 106, 107, 108, 109 }, 5,
		  500.0 / 102, COMPARE_CHANGED },
		{ BENCH_LOWER, false, { 1000, 1001, 1002, 1003, 1004 }, { 1005, 1006, 1007, 1008, 1009 },
		  5, 500.0 / 1002, COMPARE_WORSE },
		/* Worse by 9 %, but it may well be chance. */
		{ BENCH_LOWER, false, { 100, 120, 101, 119, 110 }, { 120, 99, 121, 100, 120 }, 5,
		  1000.0 / 110, COMPARE_CHANCE },
		{ BENCH_LOWER, false, { 748, 748, 748, 748, 748 }, { 748, 748, 748, 748, 748 }, 5, 0,
		  COMPARE_SAME },
		/* Exactly the threshold is within it. */
		{ BENCH_LOWER, false, { 100, 100 }, { 103, 103 }, 2, 3, COMPARE_WORSE },
		{ BENCH_LOWER, false, { 100, 100 }, { 104, 104 }, 2, 4, COMPARE_REGRESSION },
		{ BENCH_LOWER, false, { 0, 0 }, { 1, 1 }, 2, INFINITY, COMPARE_REGRESSION },
		{ BENCH_LOWER, false, { 0, 0 }, { 0, 0 }, 2, 0, COMPARE_SAME },
		{ BENCH_LOWER, false, { 100 }, { 200 }, 1, 100, COMPARE_UNTESTED },
		{ BENCH_LOWER, false, { -100, -100 }, { -90, -90 }, 2, 10, COMPARE_REGRESSION },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		__attribute__((cleanup(compare_release))) struct pair pair = {
			result_with("ms", cases[i].better, cases[i].peer, cases[i].older, cases[i].n),
			result_with("ms", cases[i].better, cases[i].peer, cases[i].newer, cases[i].n),
		};
		__attribute__((cleanup(comparison_release))) struct comparison comparison;

		assert_int_equal(bench_compare(&comparison, pair.older, pair.newer, 3, NULL), 0);
		assert_int_equal(comparison.n_rows, 1);
		if (comparison.rows[0].verdict != cases[i].verdict)
			fail_msg("case %u: %s", i, compare_verdicts[comparison.rows[0].verdict]);
		if (comparison.rows[0].change != cases[i].change &&
		    !(fabs(comparison.rows[0].change - cases[i].change) < 1e-9))
			fail_msg("case %u: %g", i, comparison.rows[0].change);
		assert_int_equal(comparison.regressions, cases[i].verdict == COMPARE_REGRESSION);
		assert_int_equal(json_array_size(comparison.conditions), 0);
		assert_int_equal(json_array_size(comparison.unmatched), 0);
	}
}

static void assert_texts(const json_t *texts, const char *const *expected, size_t n)
{
	assert_int_equal(json_array_size(texts), n);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(json_string_value(json_array_get(texts, i)), expected[i]);
}

static void conditions_and_what_is_missing_are_named(void **state)
{
	static const double values[] = { 1, 1 };
	static const char *const conditions[] = {
		"host kernel: 6.1 / 6.12", "CPUs: 1 / 2", "time: wall-clock / virtual",
		"cache: \"cold\" / not given", "rounds: 5 / 20", "peer: 7.2 / 8.0",
	};
	static const char *const unmatched[] = { "s, G: only in the older", "new: only in the newer" };
	__attribute__((cleanup(compare_release))) struct pair pair = {
		result_with("ms", BENCH_LOWER, false, values, 2),
		result_with("ms", BENCH_LOWER, false, values, 2),
	};
	__attribute__((cleanup(comparison_release))) struct comparison comparison;

	(void)state;
	bench_text_set(&pair.older->host.kernel, "6.1", NULL);
	bench_text_set(&pair.newer->host.kernel, "6.12", NULL);
	pair.older->host.cpus = 1;
	pair.newer->host.cpus = 2;
	pair.newer->host.virtual_time = true;
	json_object_set_new(pair.older->options, "cache", json_string("cold"));
	json_object_set_new(pair.older->options, "rounds", json_integer(5));
	json_object_set_new(pair.newer->options, "rounds", json_integer(20));
	bench_subject_add(pair.older, "peer", "7.2", true, NULL);
	bench_subject_add(pair.newer, "peer", "8.0", true, NULL);
	bench_subject_add(pair.newer, "new", "", true, NULL);
	bench_figure_add(&pair.older->subjects[0], "g", "G", "", BENCH_NONE, NULL);
	assert_int_equal(bench_compare(&comparison, pair.older, pair.newer, 3, NULL), 0);
	assert_texts(comparison.conditions, conditions, ARRAY_SIZE(conditions));
	assert_texts(comparison.unmatched, unmatched, ARRAY_SIZE(unmatched));
}

static void assert_refused(struct bench_result *older, struct bench_result *newer, const char *message)
{
	__attribute__((cleanup(compare_release))) struct pair pair = { older, newer };
	__attribute__((cleanup(comparison_release))) struct comparison comparison;
	struct error err = { 0 };

	assert_int_equal(bench_compare(&comparison, pair.older, pair.newer, 3, &err), -EINVAL);
	assert_string_equal(err.message, message);
}

static void what_cannot_be_compared_is_refused(void **state)
{
	static const double values[] = { 1, 1 };

	(void)state;
	assert_refused(result_with("ms", BENCH_LOWER, false, values, 2), bench_result_new("io", NULL),
		       "a result of `mote bench boot` and one of `mote bench io`");
	assert_refused(result_with("ms", BENCH_LOWER, false, values, 2),
		       bench_result_new("boot", NULL), "the results have no figure in common");
	assert_refused(result_with("ms", BENCH_LOWER, false, values, 2),
		       result_with("us", BENCH_LOWER, false, values, 2),
		       "figure \"f\" of \"s\" is in \"ms\", better lower, and in \"us\", better lower");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),
		cmocka_unit_test(conditions_and_what_is_missing_are_named),
		cmocka_unit_test(what_cannot_be_compared_is_refused),
	};

	return cmocka_run_group_tests_name("bench_compare", tests, NULL, NULL);
}
