/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a result: a table, JSON or CSV on stdout, a picture in a file. */
#ifndef MOTE_BENCH_OUTPUT_H
#define MOTE_BENCH_OUTPUT_H

#include "tools/bench/measure.h"

/* As the options say. */
int bench_output(const struct bench_result *result, const struct bench_options *options, struct error *err);

#endif
