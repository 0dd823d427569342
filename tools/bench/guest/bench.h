/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the benchmarks' guest share. */
#ifndef MOTE_BENCH_GUEST_H
#define MOTE_BENCH_GUEST_H

#include <stdint.h>

/* Print to the console. A result is a line "NAME NUMBER", a failure a line "error WHAT: WHY". */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* say() that WHAT failed for errno's reason; -1. */
int failed(const char *what);

/* CLOCK_MONOTONIC in ns; it starts with the kernel. */
uint64_t now_ns(void);

/* disk DEVICE MIB REQUESTS WORKERS */
int bench_disk(int argc, char *argv[]);

/* net ADDRESS/PREFIX SERVER MIB PINGS */
int bench_net(int argc, char *argv[]);

#endif
