/* SPDX-License-Identifier: Apache-2.0 */
/* A jail with a guest in it to look at, and what there is to see. */
#ifndef MOTE_DOCTOR_JAIL_H
#define MOTE_DOCTOR_JAIL_H

#include <stdbool.h>
#include <sys/types.h>

#include "vmm/error.h"

/*
 * mote-vmm in a jail of mote-jailer, with one vCPU and one disk, as root for user 65534. Its guest has
 * said that it runs, and halts for ever. A child of ours.
 */
struct doctor_jail {
	pid_t pid; /* -1 = none */
	int pidfd;
};

int doctor_jail_start(struct doctor_jail *jail, struct error *err);
void doctor_jail_stop(struct doctor_jail *jail);

/* A count, and the names of what was counted, cut off where they get too long. */
struct seen_list {
	long n;
	char names[320];
};

/* What a process is and has, seen from outside through /proc. */
struct seen {
	struct seen_list threads;    /* all */
	struct seen_list unfiltered; /* without exactly one seccomp filter beside the jail's */
	long capabilities;	     /* bits set in any of the five sets */
	unsigned int uid, gid;	     /* effective */
	long groups;		     /* supplementary ones */
	bool no_new_privs;
	bool dumpable;		     /* its user may look into its memory */
	struct seen_list namespaces; /* other than ours */
	struct seen_list mounts;
	struct seen_list files;	     /* below its root */
	struct seen_list interfaces; /* of its network namespace */
	long fds;
	struct seen_list host_fds;   /* those among them that aren't KVM's, events, timers */
};

/* Errors: what can't be looked at. */
int seen_look(struct seen *seen, pid_t pid, int pidfd, struct error *err);

#endif
