/* SPDX-License-Identifier: Apache-2.0 */
/* What `mote bench boot`, `io`, `net`, `density`, `api`, `vsock` and `mmds` are asked for, and who does it. */
#ifndef MOTE_BENCH_MEASURE_H
#define MOTE_BENCH_MEASURE_H

#include <stdbool.h>

#include "tools/bench/result.h"
#include "tools/bench/trace.h"
#include "vmm/error.h"

#define BENCH_PEERS_MAX 16
/* Of one start of anything that is measured. */
#define BENCH_TIMEOUT_S 60

struct bench_peer {
	const char *name; /* one of bench_peer_names */
	const char *path; /* NULL: its program is looked for in PATH */
};

/* Texts are borrowed from argv. */
struct bench_options {
	const char *what; /* the subcommand */
	unsigned int rounds, memory_mib, vcpus, threshold_us, guests;
	bool cold, reset_guest, no_guest, help, json, csv;
	const char *kernel; /* NULL: the one that comes with mote */
	const char *html, *svg; /* where pictures go; NULL: nowhere */
	struct bench_peer peers[BENCH_PEERS_MAX];
	unsigned int n_peers;
};

/* NULL at the end. */
extern const char *const bench_peer_names[];

/* argv[0] is the subcommand. -EINVAL, -ENOTSUP: one line that names the option. */
int bench_options_parse(struct bench_options *options, int argc, char *argv[], struct error *err);
void bench_options_help(const char *what);
/* Whether that subcommand measures only who speaks Firecracker's API. */
bool bench_needs_api(const char *what);

/* Subcommands that measure: boot, io, net, density, api, vsock, mmds; fork, which can't be measured yet. */
int bench_measure(int argc, char *argv[]);
int bench_fork(int argc, char *argv[]);

/* What `mote run` needs beside mote-vmm and a kernel. */
#define BENCH_RUN_FILES 4
extern const char *const bench_run_files[BENCH_RUN_FILES];

/* Files of mote's that are measured or run in guests; NULL, from bzimage on: not there. malloc'd. */
struct bench_files {
	char *vmm, *kernel, *init, *reset, *bzimage, *system_map;
	char *run[BENCH_RUN_FILES];
};

/*
 * What there is to measure: in a process of its own, PID 1 of its PID namespace, with mount and
 * network namespaces of its own. Its / becomes a file system in memory with copies of all that it
 * runs, so nothing it does outlives it, but for what it does to `trace` and to cgroups of the name
 * trace->name, which the parent removes.
 */
int bench_work(const struct bench_options *options, const struct bench_files *files, struct trace *trace,
	       struct bench_result *result, struct error *err);

/*
 * Measure in the test host, and take its result: where KVM can't run Linux and this is a source
 * tree. NULL with the error.
 */
struct bench_result *bench_in_testhost(const struct bench_options *options, const char *why,
				       struct error *err);

#endif
