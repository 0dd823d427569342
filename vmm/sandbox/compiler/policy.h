/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mote-seccomp-compile: from policies, which people read, to BPF, which the kernel runs.
 *
 * A policy is a JSON object: "thread" (vmm, vcpu or io; vmm-api has what comes to vmm's rules if the
 * monitor has an API), "about", and "rules", the most frequent first. What no rule allows ends the
 * process (SECCOMP_RET_TRAP). A rule is an object:
 *
 *	"call"      the system call's name
 *	"why"       what it's needed for
 *	"args"      optional: an object from the number of an argument to its condition:
 *	            a value, a list of values, or { "without": bits }
 *	"arch"      optional: the only architecture that it is for, "x86_64" or "aarch64"
 *	"untested"  optional: why no test can make the monitor use it
 *
 * A value is a number or names of constants joined by "|"; "TGID" is the process's own id. Only the
 * lower 32 bits are compared: of all arguments with conditions the kernel itself uses no others.
 */
#ifndef MOTE_SANDBOX_COMPILER_POLICY_H
#define MOTE_SANDBOX_COMPILER_POLICY_H

#include <jansson.h>
#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/sandbox/filter_file.h"

struct arch {
	const char *name;
	uint32_t scmp;	      /* SCMP_ARCH_..., which is AUDIT_ARCH_... */
	const char *macro;    /* that the C compiler predefines */
};

extern const struct arch archs[];
extern const unsigned int n_archs;
extern const char *const filter_names[FILTERS];

/* The architecture of that name, or NULL. */
const struct arch *arch_find(const char *name);

/* Its policies, one of each kind; borrowed paths. */
struct policies {
	json_t *root[FILTERS];
	const char *path[FILTERS];
};

/* Read n files. Errors: one line that names the file, the rule and the cause. */
int policies_load(struct policies *policies, char *const paths[], int n, struct error *err);
void policies_release(struct policies *policies);

/* Compile one; insns has room for FILTER_INSNS_MAX. Returns how many, or an error as above. */
int policy_compile(const struct policies *policies, unsigned int filter, const struct arch *arch,
		   struct sock_filter *insns, struct error *err);

/* The value of names joined by "|" on that architecture. False if one isn't known. */
bool constant_value(const char *names, const struct arch *arch, uint32_t *value);

#endif
