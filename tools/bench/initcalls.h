/* SPDX-License-Identifier: Apache-2.0 */
/* The initcalls of a kernel that was told initcall_debug, out of its log. */
#ifndef MOTE_BENCH_INITCALLS_H
#define MOTE_BENCH_INITCALLS_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/error.h"

/* What init writes into the log beside its mark (guest/init.c). */
#define INITCALLS_MARK "mote-bench: mark"

struct initcall {
	char name[64];		   /* or its address: "0xffffffff81234567" */
	uint64_t end_us, took_us; /* the end on the log's clock */
};

struct initcalls {
	struct initcall *calls;
	size_t n, room;
	uint64_t mark_us; /* of INITCALLS_MARK; 0: it isn't there */
};

/* Records of /dev/kmsg, one a line. -ENOMEM; -ENODATA: no mark or no initcall. */
int initcalls_parse(struct initcalls *initcalls, const char *log, struct error *err);
/* Names for addresses, from a System.map. Without such a file they stay. */
void initcalls_name(struct initcalls *initcalls, const char *system_map);
void initcalls_free(struct initcalls *initcalls);

static inline void cleanup_initcalls_fn(struct initcalls *initcalls)
{
	initcalls_free(initcalls);
}
#define cleanup_initcalls __attribute__((cleanup(cleanup_initcalls_fn)))

#endif
