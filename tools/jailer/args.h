/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of mote-jailer: every argument of Firecracker's jailer with its meaning and
 * default, and mote's own.
 */
#ifndef MOTE_JAILER_ARGS_H
#define MOTE_JAILER_ARGS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "vmm/error.h"

#define ARGS_ID_MAX	 64
#define ARGS_CGROUPS_MAX 32
#define ARGS_MONITOR_MAX 128
#define ARGS_NO_LIMIT	 RLIM_INFINITY

enum args_action {
	ARGS_RUN,
	ARGS_CLEANUP, /* remove what the jail called id left behind */
	ARGS_HELP,
	ARGS_VERSION,
};

/* --cgroup FILE=VALUE. */
struct args_cgroup {
	const char *file; /* "CONTROLLER.REST": letters, digits, '_' and '.' */
	const char *value;
};

/* Strings are borrowed from argv, where a NUL replaces the '=' of --cgroup. */
struct args {
	enum args_action action;
	const char *id;		    /* 1..64 of [A-Za-z0-9-] */
	const char *exec_file;
	bool has_uid, has_gid;
	uid_t uid;		    /* never 0 */
	gid_t gid;
	const char *chroot_base;
	const char *netns;	    /* NULL = an empty one of its own */
	const char *config_path;    /* NULL = Firecracker's way: the monitor opens files itself */
	bool private_root;
	bool daemonize, new_pid_ns; /* either: don't wait for the monitor's end */
	int handover;		    /* fd for the pid of the monitor, a child of the caller's then; -1 */
	bool userfaultfd;
	unsigned int cgroup_version;
	const char *parent_cgroup;  /* NULL = the exec file's name */
	unsigned int n_cgroups;
	struct args_cgroup cgroups[ARGS_CGROUPS_MAX];
	rlim_t no_file, fsize, memlock, nproc; /* ARGS_NO_LIMIT = not given */
	bool has_oom_score_adj;
	int oom_score_adj;
	char **monitor_args;	    /* behind "--", NULL-terminated, at most ARGS_MONITOR_MAX */
};

/* Errors: -EINVAL, with one line that names the argument. */
int args_parse(struct args *args, int argc, char *argv[], struct error *err);
void args_help(FILE *out);

#endif
