/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What remains to the monitor once the guest runs. Each kind of thread gets a seccomp filter, made
 * at build time from policy/NAME.json: what no rule there allows raises SIGSYS, which ends the
 * process (vmm/signals.c) with one line that names thread and system call.
 */
#ifndef MOTE_SANDBOX_H
#define MOTE_SANDBOX_H

#include <linux/filter.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/sandbox/filter_file.h"
#include "vmm/thread.h"

struct sandbox_program {
	const struct sock_filter *insns;
	uint32_t n;
};

struct sandbox {
	struct sandbox_program programs[FILTERS];
	bool has_api; /* false at first; the caller's: the event loop gets FILTER_VMM_API */
	void *loaded; /* what they point into, owned; NULL: the built-in ones */
};

/* The filters that this program was built with. */
void sandbox_init(struct sandbox *sandbox);

/*
 * Those of a file that mote-seccomp-compile made, instead. Errors, with one line that names it: those
 * of open(2) and read(2), -EINVAL for one that isn't complete, or of another architecture.
 */
int sandbox_load(struct sandbox *sandbox, const char *path, struct error *err);
void sandbox_release(struct sandbox *sandbox);

/* System calls that a filter allows, some of them only with certain arguments. */
struct sandbox_count {
	unsigned int allowed;
	unsigned int conditional;
};

void sandbox_count(const struct sandbox_program *program, struct sandbox_count *count);
/* As its policy has it: "vmm". filter: below FILTERS. */
const char *sandbox_filter_name(unsigned int filter);

/*
 * What holds for the whole process, before it starts a thread: no privileges by exec (filters need
 * that), and neither core dumps nor a debugger without CAP_SYS_PTRACE.
 */
int sandbox_enter(struct error *err);

/* Put the calling thread under the filter of its kind (struct thread_rules). For ever. */
int sandbox_apply(const void *sandbox, enum thread_kind kind, struct error *err);

/*
 * One line without newline about the violation that info, of SIGSYS, tells of; false if somebody just
 * sent the signal. Async-signal-safe.
 */
#define SANDBOX_LINE_MAX 160
bool sandbox_describe(const siginfo_t *info, char line[SANDBOX_LINE_MAX]);

#endif
