/* SPDX-License-Identifier: Apache-2.0 */
/* What a boot may cost, and whether a result is within it. */
#ifndef MOTE_BENCH_BUDGET_H
#define MOTE_BENCH_BUDGET_H

#include "tools/bench/result.h"

#define BUDGET_LINES_MAX 256

/* One figure's budget: of the median, which may be worse by the tolerance. */
struct budget_line {
	char *subject, *figure;
	double amount;
};

struct budget {
	char *what;
	bool virtual_time;
	double tolerance; /* % */
	json_t *options;  /* with which it was measured: the result's must have the same values */
	struct budget_line lines[BUDGET_LINES_MAX];
	size_t n_lines;
};

/*
 * {"mote_budget": 1, "what": "boot", "virtual_time": true, "tolerance_percent": 3,
 *  "options": {"memory_mib": 128}, "budgets": {SUBJECT: {FIGURE: AMOUNT}}}
 * Release it in any case. Errors: as bench_result_read.
 */
int budget_read(struct budget *budget, const char *path, struct error *err);
int budget_parse(struct budget *budget, const char *text, size_t length, struct error *err);
void budget_release(struct budget *budget);

enum budget_verdict { BUDGET_WITHIN, BUDGET_SLACK, BUDGET_EXCEEDED };

struct budget_check {
	const struct bench_figure *figure;
	double median, off; /* off: in % of the budget, above 0 is worse */
	enum budget_verdict verdict;
};

/*
 * Whether the result is of the kind that the budget is for. -EINVAL: it's of another bench, clock or
 * options.
 */
int budget_fits(const struct budget *budget, const struct bench_result *result, struct error *err);

/* -ENOENT: the result doesn't have the figure. */
int budget_check(struct budget_check *out, const struct budget *budget, size_t line,
		 const struct bench_result *result, struct error *err);

#endif
