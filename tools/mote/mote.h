/* SPDX-License-Identifier: Apache-2.0 */
/* The mote command: its subcommands and what they share. */
#ifndef MOTE_TOOL_H
#define MOTE_TOOL_H

#include <stdbool.h>

#include "vmm/error.h"

/* Exit statuses of `mote` itself, as docker's and env's. */
#define MOTE_TIMED_OUT 124
#define MOTE_FAILED    125

/* Subcommands: argv[0] is the subcommand's name. Return the exit status. */
int mote_run(int argc, char *argv[]);
int mote_doctor(int argc, char *argv[]);
int mote_bench(int argc, char *argv[]);

/*
 * The path of a file that comes with mote ("mote-vmm", "vmlinux-x86_64", ...): beside this program
 * in a build tree, or in ../libexec/mote or ../share/mote of an installation. malloc'd; NULL with
 * the error if there's none.
 */
char *mote_find(const char *name, struct error *err);

/* "mote SUBCOMMAND: message" on stderr; returns MOTE_FAILED. */
int mote_fail(const char *subcommand, const struct error *err);

#endif
