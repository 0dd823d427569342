/* SPDX-License-Identifier: Apache-2.0 */
/* What is measured: mote, and its peers in the form that starts quickest of those tried. */
#ifndef MOTE_BENCH_SUBJECT_H
#define MOTE_BENCH_SUBJECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/bench/launch.h"
#include "tools/bench/measure.h"
#include "tools/bench/place.h"

/* Where the place has them. */
#define PLACE_KERNEL  "/bench/kernel"
#define PLACE_BZIMAGE "/bench/bzImage"
#define PLACE_INIT    "/bench/init.cpio"
#define PLACE_RESET   "/bench/reset.elf"

/* What all guests' kernels are told; what follows is for init. */
#define KERNEL_ARGS "quiet loglevel=0 panic=-1 reboot=t"
#define NO_CONSOLE  "8250.nr_uarts=0"

struct subject;

/* One guest. */
struct guest {
	bool reset;	      /* the bare-metal one, which resets; otherwise Linux with our init */
	const char *args;     /* the kernel's command line */
	bool console;	      /* a serial port at stdout */
	unsigned int memory_mib, vcpus;
	const char *disk, *tap; /* NULL: none */
	const char *vsock;	/* the Unix socket of a vsock device, of mote and Firecracker; NULL: none */
	bool mmds;		/* metadata, version 2, over the network card; likewise */
	bool metrics;		/* of mote: with stages and boot timer */
	bool timing;		/* of `mote run`: print what took how long, and not the command's output */
};

struct subject_kind {
	const char *name;
	const char *program; /* looked for in PATH */
	bool monitor;	     /* runs guests */
	int (*command)(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
		       struct error *err);
	/* Before the first command, in the place; NULL: nothing. */
	int (*prepare)(const struct subject *subject, struct error *err);
};

struct subject {
	const struct subject_kind *kind;
	char program[64]; /* in the place */
	char version[80];
	bool bzimage;	  /* PLACE_BZIMAGE is there */
	const char *container; /* name for a container and its cgroup */
};

#define SUBJECTS_MAX (2 + BENCH_PEERS_MAX)

struct subjects {
	struct subject all[SUBJECTS_MAX];
	unsigned int n;
};

/*
 * mote, and those peers of the options that are here, whose files go to place; but for boot, only those
 * that run guests, and some benches need Firecracker's API or configuration. The others are left out of
 * result. container: the name for one; borrowed.
 */
int subjects_find(struct subjects *subjects, const struct bench_options *options,
		  const struct bench_files *files, const char *container, struct place *place,
		  struct bench_result *result, struct error *err);
/* In the place: versions, bundles. Who fails is left out. */
int subjects_prepare(struct subjects *subjects, struct bench_result *result, struct error *err);
/* Take subject i out, with the reason. */
int subjects_leave_out(struct subjects *subjects, unsigned int i, struct bench_result *result,
		       const struct error *why, struct error *err);

bool subject_is_mote(const struct subject *subject);
bool subject_is_mote_run(const struct subject *subject);

/* A configuration file of mote's and Firecracker's for it; NULL: no memory. */
json_t *subject_config(const struct guest *guest);
/* What guests with mmds can ask for; likewise. */
json_t *subject_metadata(void);

/* When mote-vmm reached its stages, as ns of CLOCK_MONOTONIC; 0: not. Of the run before. */
struct mote_stages {
	uint64_t start, configured, loaded, prepared, built, running, guest_ready, ended;
};
int subject_mote_stages(struct mote_stages *stages, struct error *err);

#endif
