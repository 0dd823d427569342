/* SPDX-License-Identifier: Apache-2.0 */
/* `mote bench compare`: two results that were kept. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>

#include "tools/bench/bench.h"
#include "tools/bench/compare.h"
#include "tools/bench/grid.h"
#include "tools/bench/text.h"
#include "vmm/util.h"

#define THRESHOLD     3.0 /* % */
#define THRESHOLD_MAX 1000.0
#define TEST_NAME     "two-sided Mann-Whitney U test"

struct compare_options {
	const char *older, *newer;
	double threshold;
	bool json, help;
};

static void help(void)
{
	printf("usage: mote bench compare [OPTIONS..] OLD.json NEW.json\n\n"
	       "Says for each subject and figure of two results of `mote bench WHAT --json` how much its\n"
	       "median changed, and whether that is significant.\n\n"
	       "      --threshold PCT  how much worse mote may get (3)\n"
	       "      --json           print one JSON object instead\n"
	       "  -h, --help           this text\n\n"
	       "The test is the " TEST_NAME " at 5 %%, each figure for itself: exact,\n"
	       "ties included, up to 60 values together, above that the normal approximation corrected for\n"
	       "ties and continuity. Figures that repeat exactly in both results are compared by value. With\n"
	       "fewer than %d values a side nothing is tested, and nothing counts as a regression.\n\n"
	       "Exit status: 1 if a figure of mote (not of a peer) is significantly worse by more than the\n"
	       "threshold, 0 if none is, 2 if the results can't be compared.\n",
	       BENCH_TESTABLE_MIN);
}

static int parse_threshold(double *out, const char *text, struct error *err)
{
	char *end;

	*out = strtod(text, &end);
	if (end == text || *end || !(*out >= 0 && *out <= THRESHOLD_MAX))
		return error_set(err, EINVAL, "--threshold: \"%s\" is not from 0 to %g", text,
				 THRESHOLD_MAX);
	return 0;
}

static int parse(struct compare_options *options, int argc, char *argv[], struct error *err)
{
	static const struct option longs[] = {
		{ "threshold", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*options = (struct compare_options){ .threshold = THRESHOLD };
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (option == '?' || option == ':')
			return bench_bad_option("compare", option, argv, err);
		options->json |= option == 'j';
		options->help |= option == 'h';
		if (option == 't' && parse_threshold(&options->threshold, optarg, err) < 0)
			return -EINVAL;
	}
	if (!options->help && argc - optind != 2)
		return error_set(err, EINVAL, "takes two files; see `mote bench compare --help`");
	if (!options->help) {
		options->older = argv[optind];
		options->newer = argv[optind + 1];
	}
	return 0;
}

/* "+5.2 %"; "from 0" if there's no percentage. */
static const char *change_text(char buf[BENCH_NUMBER_MAX], double change)
{
	if (isinf(change))
		return strcpy(buf, "from 0");
	if (fabs(change) < 0.05)
		change = 0; /* no "-0.0" */
	snprintf(buf, BENCH_NUMBER_MAX, fabs(change) < 1e6 ? "%+.1f %%" : "%+.1e %%", change);
	return buf;
}

static const char *p_text(char buf[BENCH_NUMBER_MAX], const struct bench_test *test)
{
	if (test->method == BENCH_BY_VALUE)
		return "by value";
	if (test->method == BENCH_TOO_FEW)
		return "-";
	snprintf(buf, BENCH_NUMBER_MAX, "%.2g", test->p);
	return buf;
}

static int set_row(struct grid *grid, size_t i, const struct compare_row *row, struct error *err)
{
	char heading[BENCH_HEADING_MAX], older[BENCH_NUMBER_MAX], newer[BENCH_NUMBER_MAX];
	char change[BENCH_NUMBER_MAX], p[BENCH_NUMBER_MAX];
	const char *const cells[] = {
		row->subject->name,
		bench_heading(heading, row->figure),
		bench_number(older, row->old_median),
		bench_number(newer, row->new_median),
		change_text(change, row->change),
		p_text(p, &row->test),
		compare_verdicts[row->verdict],
	};
	int ret = 0;

	for (size_t c = 0; ret == 0 && c < ARRAY_SIZE(cells); c++)
		ret = grid_set(grid, i, c, cells[c], err);
	return ret;
}

static int print_rows(const struct comparison *comparison, struct error *err)
{
	static const char *const headings[] = { "", "", "old", "new", "change", "p", "verdict" };
	cleanup_grid struct grid grid = { 0 };
	int ret = grid_init(&grid, 1 + comparison->n_rows, ARRAY_SIZE(headings), 2, err);

	for (size_t c = 0; ret == 0 && c < ARRAY_SIZE(headings); c++)
		ret = grid_set(&grid, 0, c, headings[c], err);
	for (size_t i = 0; ret == 0 && i < comparison->n_rows; i++)
		ret = set_row(&grid, i + 1, &comparison->rows[i], err);
	if (ret == 0)
		grid_print(&grid, stdout);
	return ret;
}

static void print_conditions(const struct comparison *comparison)
{
	json_t *text;
	size_t i;

	if (json_array_size(comparison->conditions) == 0)
		return;
	printf("Measured under different conditions (old / new): ");
	json_array_foreach(comparison->conditions, i, text)
		printf("%s%s", i ? "; " : "", json_string_value(text));
	putchar('\n');
}

static int print_text(const struct comparison *comparison, const struct bench_result *older,
		      const struct bench_result *newer, double threshold, struct error *err)
{
	json_t *text;
	size_t i;

	print_conditions(comparison);
	printf("%s of %s against %s: medians, " TEST_NAME " at %g %%\n\n", newer->what, newer->date,
	       older->date, BENCH_ALPHA * 100);
	if (print_rows(comparison, err) < 0)
		return -ENOMEM;
	putchar('\n');
	json_array_foreach(comparison->unmatched, i, text)
		printf("  %s\n", json_string_value(text));
	if (comparison->regressions)
		printf("%zu significant regression%s of more than %g %%.\n", comparison->regressions,
		       comparison->regressions == 1 ? "" : "s", threshold);
	else
		printf("No significant regression of more than %g %%.\n", threshold);
	return 0;
}

static json_t *row_json(const struct compare_row *row)
{
	static const char *const methods[] = {
		[BENCH_BY_VALUE] = "by value",
		[BENCH_EXACT] = "Mann-Whitney U, exact",
		[BENCH_NORMAL] = "Mann-Whitney U, normal approximation",
		[BENCH_TOO_FEW] = "none",
	};
	bool tested = row->test.method == BENCH_EXACT || row->test.method == BENCH_NORMAL;

	return json_pack("{s:s, s:b, s:s, s:s, s:s, s:f, s:f, s:o, s:s, s:o, s:b, s:s}", "subject",
			 row->subject->name, "peer", row->subject->peer, "figure", row->figure->name,
			 "unit", row->figure->unit, "better", bench_better_names[row->figure->better],
			 "old_median", row->old_median, "new_median", row->new_median,
			 "change_percent", isinf(row->change) ? json_null() : json_real(row->change),
			 "method", methods[row->test.method], "p",
			 tested ? json_real(row->test.p) : json_null(), "significant",
			 row->test.significant, "verdict", compare_verdicts[row->verdict]);
}

static int print_json(const struct comparison *comparison, const char *what, double threshold,
		      struct error *err)
{
	json_t *rows = json_array();
	json_t *root = json_pack("{s:i, s:s, s:s, s:f, s:f, s:O, s:O, s:o, s:i}", "mote_bench_compare",
				 BENCH_FORMAT, "what", what, "test", TEST_NAME, "alpha", BENCH_ALPHA,
				 "threshold_percent", threshold, "conditions_that_differ",
				 comparison->conditions, "unmatched", comparison->unmatched, "figures",
				 rows, "regressions", (int)comparison->regressions);
	bool failed = !root;

	for (size_t i = 0; !failed && i < comparison->n_rows; i++)
		failed = json_array_append_new(rows, row_json(&comparison->rows[i])) < 0;
	if (!failed)
		failed = json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) < 0;
	putchar('\n');
	json_decref(root);
	return failed ? error_sys(err, ENOMEM, "comparison as JSON") : 0;
}

static int compare_files(const struct compare_options *options, size_t *regressions, struct error *err)
{
	cleanup_bench_result struct bench_result *older = bench_result_read(options->older, err);
	cleanup_bench_result struct bench_result *newer =
		older ? bench_result_read(options->newer, err) : NULL;
	__attribute__((cleanup(comparison_release))) struct comparison comparison = { 0 };
	int ret;

	if (!older || !newer)
		return -err->errnum;
	ret = bench_compare(&comparison, older, newer, options->threshold, err);
	if (ret == 0)
		ret = options->json ? print_json(&comparison, newer->what, options->threshold, err)
				    : print_text(&comparison, older, newer, options->threshold, err);
	if (ret == 0 && (fflush(stdout) == EOF || ferror(stdout)))
		ret = error_sys(err, errno, "write to stdout");
	*regressions = comparison.regressions;
	return ret;
}

int bench_compare_command(int argc, char *argv[])
{
	struct compare_options options;
	struct error err = { 0 };
	size_t regressions = 0;

	if (parse(&options, argc, argv, &err) < 0)
		return bench_fail("compare", &err);
	if (options.help) {
		help();
		return BENCH_OK;
	}
	if (compare_files(&options, &regressions, &err) < 0)
		return bench_fail("compare", &err);
	return regressions ? BENCH_WORSE : BENCH_OK;
}
