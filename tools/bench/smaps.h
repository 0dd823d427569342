/* SPDX-License-Identifier: Apache-2.0 */
/* What of a monitor's memory is its own. */
#ifndef MOTE_BENCH_SMAPS_H
#define MOTE_BENCH_SMAPS_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "vmm/error.h"

struct smaps_totals {
	uint64_t private_kib, pss_kib; /* without the guest's RAM */
	uint64_t ram_kib;	       /* of that, what was touched */
};

/* Called with each mapping that has private memory; 0, or a negative errno, which ends it. */
typedef int (*smaps_each)(void *context, const char *name, uint64_t private_kib);

/*
 * Sum up /proc/PID/smaps. The guest's RAM is the mapping of exactly ram_mib (mote has guards around
 * it). each may be NULL. What it returned, if that was negative.
 */
int smaps_read(FILE *smaps, unsigned int ram_mib, struct smaps_totals *totals, smaps_each each, void *context);

/* Of a process; -errno, or as above. */
int smaps_read_pid(pid_t pid, unsigned int ram_mib, struct smaps_totals *totals, smaps_each each, void *context,
		   struct error *err);

#endif
