/* SPDX-License-Identifier: Apache-2.0 */
/* One start of a program that is measured: from just before its process is made to its end. */
#ifndef MOTE_BENCH_LAUNCH_H
#define MOTE_BENCH_LAUNCH_H

#include <stdint.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "vmm/error.h"

#define LAUNCH_ARGS_MAX	  64
#define LAUNCH_OUTPUT_MAX 65536

struct launch_argv {
	char *args[LAUNCH_ARGS_MAX + 1]; /* malloc'd */
	unsigned int n;
};

/* -ENOMEM, -E2BIG. */
int launch_arg(struct launch_argv *argv, struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void launch_argv_free(struct launch_argv *argv);

struct launch {
	pid_t pid;
	int pidfd, out, errors; /* its stdout, a pipe; its stderr, a memfd */
	uint64_t start_ns;	/* CLOCK_MONOTONIC */
	uint64_t first_byte_ns, end_ns; /* 0: none */
	uint64_t cpu_ns;		/* user and system time, with the children that it waited for */
	uint64_t page_faults;		/* likewise */
	char output[LAUNCH_OUTPUT_MAX]; /* of stdout, with a NUL */
	size_t n;
};

/* stdin is /dev/null; a process group of its own. An absolute path in argv[0]. */
int launch_start(struct launch *launch, const struct launch_argv *argv, struct error *err);
/* Until its output has `word`. */
int launch_await(struct launch *launch, const char *word, unsigned int timeout_s, struct error *err);
/* To its end; then everything of its process group is killed. Not exit status 0 is an error. */
int launch_finish(struct launch *launch, unsigned int timeout_s, struct error *err);
/* Kill what still runs, and release. */
void launch_release(struct launch *launch);

static inline void launch_argv_cleanup(struct launch_argv *argv)
{
	launch_argv_free(argv);
}
#define cleanup_launch_argv __attribute__((cleanup(launch_argv_cleanup)))

#endif
