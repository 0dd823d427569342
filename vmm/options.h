/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of mote-vmm: Firecracker's options. Those that later versions bring are known
 * by name and refused with that reason.
 */
#ifndef MOTE_OPTIONS_H
#define MOTE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/log.h"

#define OPTIONS_DEFAULT_ID	 "anonymous-instance"
#define OPTIONS_DEFAULT_API_PATH "/run/firecracker.socket"

enum options_action {
	OPTIONS_RUN,
	OPTIONS_HELP,	 /* print options_help, exit 0 */
	OPTIONS_VERSION, /* print "mote-vmm VERSION", exit 0 */
};

/* Strings are borrowed from argv. */
struct options {
	enum options_action action;
	const char *config_path; /* NULL = not given: the API configures all */
	const char *api_path;	 /* of its socket; NULL = no API */
	size_t api_body_max;	 /* bytes of a request's body */
	const char *id;		 /* 1..64 of [A-Za-z0-9-]; OPTIONS_DEFAULT_ID unless given */
	bool boot_timer;
	bool compat_names; /* by the option; argv[0] is the caller's to look at */
	const char *log_path; /* NULL = not given */
	bool has_level;
	enum log_level level; /* if has_level */
	bool show_level;
	bool show_log_origin;
	const char *log_module; /* NULL = not given */
	const char *metrics_path; /* NULL = not given */
	const char *metadata_path; /* NULL = not given */
	size_t mmds_size_limit; /* bytes of metadata as JSON */
	bool no_seccomp;
	const char *seccomp_filter; /* NULL = the built-in ones */
	/* What a jailer says of the time before our main, in us; 0 = not given. */
	uint64_t start_time_us;	     /* CLOCK_MONOTONIC when it started */
	uint64_t start_time_cpu_us;  /* this process's CPU time when it became us */
	uint64_t parent_cpu_time_us; /* CPU time spent until then, by it and its parents */
};

/*
 * Fill options from the arguments (argv[0] is skipped, nothing is reordered). Each option may be
 * given once, long names in full, "--name value" or "--name=value". Errors: -EINVAL and
 * -EOPNOTSUPP, with one line that names the option; the exit code is EXIT_ARGUMENT_PARSING.
 */
int options_parse(struct options *options, int argc, char *const argv[], struct error *err);

/* What the command line says of log and metrics goes before what config says. -ENOMEM. */
int options_apply(const struct options *options, struct config *config, struct error *err);

void options_help(FILE *out);

#endif
