/* SPDX-License-Identifier: Apache-2.0 */
/* Processor time of a monitor, and of the kernel's threads that work for it. */
#ifndef MOTE_BENCH_CPU_H
#define MOTE_BENCH_CPU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/error.h"

struct cpu_times {
	uint64_t process_ns; /* all threads, user and system, the guest's instructions included */
	uint64_t kernel_ns;  /* all of the kernel's threads; 0: they can't be seen, or not counted */
};

/* proc: a /proc that shows the kernel's threads; another, or -1: none. */
int cpu_read(pid_t pid, int proc, struct cpu_times *times, struct error *err);

/* Whether a line of /proc/PID/stat is that of a thread of the kernel's. */
bool cpu_is_kernel_thread(const char *stat);

#endif
