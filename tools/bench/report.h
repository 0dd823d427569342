/* SPDX-License-Identifier: Apache-2.0 */
/* A result for those who asked for it: a table for people, JSON, CSV, pictures. */
#ifndef MOTE_BENCH_REPORT_H
#define MOTE_BENCH_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "tools/bench/result.h"

/* What `mote bench WHAT` and `mote bench show` are asked for. None of json and csv: the table. */
struct bench_report_options {
	bool json, csv;
	const char *html, *svg; /* files to write; NULL: none */
};

/* Everything that options ask for: stdout gets the table, JSON or CSV. */
int bench_report(const struct bench_result *result, const struct bench_report_options *options,
		 struct error *err);

/* The parts. Write errors are for the caller to see in out (ferror). Errors: -ENOMEM. */
int bench_table(const struct bench_result *result, FILE *out, struct error *err);
void bench_csv(const struct bench_result *result, FILE *out); /* subject,figure,unit,round,value */
int bench_html(const struct bench_result *result, FILE *out, struct error *err);
/* The subject that ratios are of: mote's first; NULL if there's none. */
const struct bench_subject *bench_own_subject(const struct bench_result *result);
/* "exits by reason of mote: 506 npf, 119 msr, 3 other", the most frequent first, malloc'd. */
int bench_group_line(const struct bench_subject *subject, const struct bench_group *group,
		     char **text, struct error *err);
bool bench_has_timeline(const struct bench_result *result);
int bench_timeline_svg(const struct bench_result *result, FILE *out, struct error *err);
bool bench_has_histogram(const struct bench_result *result);
int bench_histogram_svg(const struct bench_result *result, FILE *out, struct error *err);

#endif
