/* SPDX-License-Identifier: Apache-2.0 */
/* Where this host has its cgroup hierarchies: version 1, 2, or both (hybrid). */
#ifndef MOTE_JAILER_CGROUP_MOUNTS_H
#define MOTE_JAILER_CGROUP_MOUNTS_H

#include <limits.h>

#include "vmm/error.h"

#define CGROUP_MOUNTS_MAX 24 /* the kernel has about 14 controllers */

struct cgroup_mount {
	unsigned int version;
	char point[512];
	char controllers[256]; /* of version 1: "cpu,cpuacct" among other mount options */
};

/*
 * From /proc/self/mountinfo. Returns how many there are, at most CGROUP_MOUNTS_MAX; *mounts is for
 * the caller to free, also on error.
 */
int cgroup_mounts_read(struct cgroup_mount **mounts, struct error *err);

/* The hierarchy of version that has controller (version 2: the one there is); NULL if none has. */
const struct cgroup_mount *cgroup_mount_find(const struct cgroup_mount *mounts, int n,
					     unsigned int version, const char *controller);

/* Open its root, once it is seen to be a cgroup file system. Returns an fd. */
int cgroup_mount_open(const struct cgroup_mount *mount, struct error *err);

#endif
