/* SPDX-License-Identifier: Apache-2.0 */
/* Texts and numbers of results as people see them. Texts are UTF-8, as in a bench_result. */
#ifndef MOTE_BENCH_TEXT_H
#define MOTE_BENCH_TEXT_H

#include <stddef.h>
#include <stdio.h>

#include "tools/bench/result.h"
#include "tools/bench/stats.h"

#define BENCH_NUMBER_MAX 32

/* Three or four significant digits, no exponent from 0.0001 to 1e15. Returns buf. */
const char *bench_number(char buf[BENCH_NUMBER_MAX], double value);

/* "91.1 (91.1 to 91.6)"; without the bracket when both read like the median; "-" for none. */
#define BENCH_SPREAD_MAX (3 * BENCH_NUMBER_MAX + 8)
const char *bench_spread(char buf[BENCH_SPREAD_MAX], const struct bench_summary *summary);

/* Columns of a terminal that text takes: two for East Asian and pictograms, roughly. */
size_t bench_text_width(const char *text);

/* text, cut to width columns with an ellipsis if it's longer. Returns buf. */
const char *bench_text_cut(char buf[BENCH_TEXT_MAX + 4], const char *text, size_t width);

/* "OWN / PEER", short enough for the first column of a table. */
#define BENCH_PAIR_MAX (2 * BENCH_TEXT_MAX + 16)
const char *bench_pair(char buf[BENCH_PAIR_MAX], const struct bench_subject *own,
		       const struct bench_subject *peer);

/* text as character data or attribute value of XML and HTML. */
void bench_text_escaped(FILE *out, const char *text);

/* "title [unit]" */
#define BENCH_HEADING_MAX (2 * BENCH_TEXT_MAX + 4)
const char *bench_heading(char buf[BENCH_HEADING_MAX], const struct bench_figure *figure);

/* What was written to out, which open_memstream made of text: closed, *text freed on error. -ENOMEM. */
int bench_text_end(FILE *out, char **text, struct error *err);

/* Host and time, and the options, as a line each: *text is malloc'd. Errors: -ENOMEM. */
int bench_host_line(const struct bench_result *result, char **text, struct error *err);
int bench_options_line(const struct bench_result *result, char **text, struct error *err);

#endif
