/* SPDX-License-Identifier: Apache-2.0 */
/* `mote bench budget`: the gate against boots that become more expensive. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>

#include "tools/bench/bench.h"
#include "tools/bench/budget.h"
#include "tools/bench/grid.h"
#include "tools/bench/text.h"
#include "vmm/util.h"

struct budget_options {
	const char *result, *budget;
	bool json, help;
};

static const char *const verdicts[] = {
	[BUDGET_WITHIN] = "within",
	[BUDGET_SLACK] = "better: lower the budget",
	[BUDGET_EXCEEDED] = "EXCEEDED",
};

static void help(void)
{
	printf("usage: mote bench budget [OPTIONS..] RESULT.json BUDGET.json\n\n"
	       "Compares the medians of a result of `mote bench WHAT --json` with what they may be. A budget\n"
	       "holds for one bench, clock (virtual or not) and set of options:\n\n"
	       "  {\"mote_budget\": 1, \"what\": \"boot\", \"virtual_time\": true, \"tolerance_percent\": 3,\n"
	       "   \"options\": {\"memory_mib\": 128}, \"budgets\": {\"mote\": {\"exits\": 300}}}\n\n"
	       "      --json  print one JSON object instead\n"
	       "  -h, --help  this text\n\n"
	       "Exit status: 0 if everything is within the budget, 1 if a figure exceeds it by more than the\n"
	       "tolerance, 2 if the two can't be compared or a figure is missing.\n");
}

static int parse(struct budget_options *options, int argc, char *argv[], struct error *err)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*options = (struct budget_options){ 0 };
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (option == '?' || option == ':')
			return bench_bad_option("budget", option, argv, err);
		options->json |= option == 'j';
		options->help |= option == 'h';
	}
	if (!options->help && argc - optind != 2)
		return error_set(err, EINVAL, "takes two files; see `mote bench budget --help`");
	if (!options->help) {
		options->result = argv[optind];
		options->budget = argv[optind + 1];
	}
	return 0;
}

static int print_text(const struct budget *budget, const struct budget_check *checks, struct error *err)
{
	static const char *const headings[] = { "", "", "budget", "median", "off", "verdict" };
	cleanup_grid struct grid grid = { 0 };
	int ret = grid_init(&grid, 1 + budget->n_lines, ARRAY_SIZE(headings), 2, err);

	for (size_t c = 0; ret == 0 && c < ARRAY_SIZE(headings); c++)
		ret = grid_set(&grid, 0, c, headings[c], err);
	for (size_t i = 0; ret == 0 && i < budget->n_lines; i++) {
		char heading[BENCH_HEADING_MAX], amount[BENCH_NUMBER_MAX], median[BENCH_NUMBER_MAX];
		char off[BENCH_NUMBER_MAX];
		const char *const cells[] = {
			budget->lines[i].subject,
			bench_heading(heading, checks[i].figure),
			bench_number(amount, budget->lines[i].amount),
			bench_number(median, checks[i].median),
			off,
			verdicts[checks[i].verdict],
		};

		snprintf(off, sizeof(off), "%+.1f %%", fabs(checks[i].off) < 0.05 ? 0 : checks[i].off);
		for (size_t c = 0; ret == 0 && c < ARRAY_SIZE(cells); c++)
			ret = grid_set(&grid, i + 1, c, cells[c], err);
	}
	if (ret == 0)
		grid_print(&grid, stdout);
	return ret;
}

static int print_json(const struct budget *budget, const struct budget_check *checks, struct error *err)
{
	json_t *lines = json_array();
	json_t *root = json_pack("{s:i, s:s, s:f, s:o}", "mote_bench_budget", BENCH_FORMAT, "what",
				 budget->what, "tolerance_percent", budget->tolerance, "figures", lines);
	bool failed = !root;

	for (size_t i = 0; !failed && i < budget->n_lines; i++) {
		const struct budget_line *line = &budget->lines[i];

		failed = json_array_append_new(
				 lines,
				 json_pack("{s:s, s:s, s:s, s:f, s:f, s:o, s:b}", "subject", line->subject,
					   "figure", line->figure, "unit", checks[i].figure->unit,
					   "budget", line->amount, "median", checks[i].median,
					   "off_percent",
					   isinf(checks[i].off) ? json_null() : json_real(checks[i].off),
					   "exceeded", checks[i].verdict == BUDGET_EXCEEDED)) < 0;
	}
	if (!failed)
		failed = json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) < 0;
	putchar('\n');
	json_decref(root);
	return failed ? error_sys(err, ENOMEM, "budget as JSON") : 0;
}

/* Returns how many figures exceed the budget. */
static int check_all(const struct budget *budget, const struct bench_result *result, bool json,
		     struct error *err)
{
	cleanup_free struct budget_check *checks = calloc(budget->n_lines, sizeof(*checks));
	int ret = budget_fits(budget, result, err), exceeded = 0;

	if (!checks)
		return error_sys(err, ENOMEM, "budget");
	for (size_t i = 0; ret == 0 && i < budget->n_lines; i++) {
		ret = budget_check(&checks[i], budget, i, result, err);
		exceeded += checks[i].verdict == BUDGET_EXCEEDED;
	}
	if (ret == 0)
		ret = json ? print_json(budget, checks, err) : print_text(budget, checks, err);
	if (ret < 0)
		return ret;
	if (!json && exceeded)
		printf("%d of %zu figures exceed their budget by more than %g %%.\n", exceeded,
		       budget->n_lines, budget->tolerance);
	if (fflush(stdout) == EOF || ferror(stdout))
		return error_sys(err, errno, "write to stdout");
	return exceeded;
}

static int check_files(const struct budget_options *options, struct error *err)
{
	__attribute__((cleanup(budget_release))) struct budget budget = { 0 };
	cleanup_bench_result struct bench_result *result = bench_result_read(options->result, err);

	if (!result)
		return -err->errnum;
	int ret = budget_read(&budget, options->budget, err);

	return ret < 0 ? ret : check_all(&budget, result, options->json, err);
}

int bench_budget_command(int argc, char *argv[])
{
	struct budget_options options;
	struct error err = { 0 };

	if (parse(&options, argc, argv, &err) < 0)
		return bench_fail("budget", &err);
	if (options.help) {
		help();
		return BENCH_OK;
	}
	int exceeded = check_files(&options, &err);

	if (exceeded < 0)
		return bench_fail("budget", &err);
	return exceeded ? BENCH_WORSE : BENCH_OK;
}
