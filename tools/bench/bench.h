/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of `mote bench`. */
#ifndef MOTE_BENCH_H
#define MOTE_BENCH_H

#include "vmm/error.h"

/*
 * Exit statuses: 0; 1 it was measured and is worse than it may be; 2 it could not be done.
 * Each subcommand's argv[0] is its own name.
 */
#define BENCH_OK     0
#define BENCH_WORSE  1
#define BENCH_FAILED 2

int bench_show(int argc, char *argv[]);
int bench_compare_command(int argc, char *argv[]);
int bench_budget_command(int argc, char *argv[]);

/* "mote bench SUBCOMMAND: message" on stderr; returns BENCH_FAILED. */
int bench_fail(const char *subcommand, const struct error *err);
/* What's wrong with an option, after getopt_long with opterr 0 and ":..." returned '?' or ':'. -EINVAL. */
int bench_bad_option(const char *subcommand, int option, char *argv[], struct error *err);

#endif
