/* SPDX-License-Identifier: Apache-2.0 */
/* System calls under the filters, each in a process of its own. */
#ifndef MOTE_TESTS_SANDBOX_RIG_H
#define MOTE_TESTS_SANDBOX_RIG_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmm/sandbox/sandbox.h"

#define VIOLATION 99
#define OWN	  (-1000) /* stands for the process's id */
#define NO_ONE	  0x3ffffe

struct attempt {
	unsigned int filter; /* a kind of thread, or FILTER_VMM_API */
	long nr;
	long args[6];
};

/* The exit status of a process that made the call under the filter; line: what its handler said. */
int try_call(const struct sandbox *sandbox, const struct attempt *attempt,
	     char line[SANDBOX_LINE_MAX]);

/* That each ends so, under the built-in filters. Asserts. */
void expect(const struct attempt *attempts, unsigned int n, int status);

/* The handler of SIGSYS: ends the process with VIOLATION, or with 1. */
void on_sigsys(int signum, siginfo_t *info, void *context);
/* _exit, but not declared so: sanitizers make system calls before those, which aren't allowed. */
void end(int status);

#endif
