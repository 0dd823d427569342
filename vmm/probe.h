/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does this host's KVM run what a Linux guest needs? Each test is a guest of a few instructions in
 * a VM of its own, so that one that KVM gives up on says nothing about the others.
 */
#ifndef MOTE_PROBE_H
#define MOTE_PROBE_H

#include <stdbool.h>

#include "vmm/error.h"

enum probe_result {
	PROBE_OK,
	PROBE_FAILED,      /* the guest saw a wrong result, an exception, or KVM gave up */
	PROBE_NOT_OFFERED, /* KVM's CPUID doesn't offer the feature: a kernel won't use it */
};

struct probe_report {
	const char *name;       /* "int3", "SYSCALL", ...; static */
	const char *purpose;    /* what a Linux guest needs it for; static */
	bool required;          /* no Linux user space without it */
	enum probe_result result;
	char detail[160];       /* what happened, if PROBE_FAILED */
};

#define PROBE_TESTS 7

/*
 * Run all tests, in the order of the reports. Returns 0 when all could be run (whatever their
 * results), or a negative errno if there's no usable KVM. Uses SIGALRM while it runs.
 */
int probe_run(struct probe_report reports[PROBE_TESTS], struct error *err);

/* Whether the reports mean that Linux can run. */
bool probe_linux_can_run(const struct probe_report reports[PROBE_TESTS]);

#endif
