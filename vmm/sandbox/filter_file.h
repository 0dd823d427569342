/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mote-seccomp-compile makes of the policies and mote-vmm installs: BPF programs, one for each
 * kind of thread, numbered as in enum thread_kind, and one more for the event loop of a monitor that
 * has an API. As a file (--seccomp-filter) it is a struct filter_file_header and then, for each
 * program in that order, a struct filter_file_section with its instructions. Everything is in the
 * byte order of the machine, which is little-endian on both architectures.
 */
#ifndef MOTE_SANDBOX_FILTER_FILE_H
#define MOTE_SANDBOX_FILTER_FILE_H

#include <linux/filter.h>
#include <stdint.h>

#include "vmm/thread.h"

#define FILTER_VMM_API THREAD_KINDS
#define FILTERS	       (THREAD_KINDS + 1)

#define FILTER_FILE_MAGIC "MOTEBPF1"

/* Instructions of a program; ours have less than 200. */
#define FILTER_INSNS_MAX 1024

/*
 * Stands for the process's id in a comparison ("TGID" in a policy), which is known only when the
 * filter is installed: it is replaced then. No process has this id: PID_MAX_LIMIT is 0x400000.
 */
#define FILTER_TGID 0x54474944u

struct filter_file_header {
	char magic[8];
	uint32_t arch; /* AUDIT_ARCH_... */
	uint32_t n_sections;
};

struct filter_file_section {
	char thread[8]; /* "vmm", "vcpu", "io", "vmm-api", filled up with NULs */
	uint32_t n_insns;
	uint32_t reserved; /* 0 */
	struct sock_filter insns[];
};

#endif
