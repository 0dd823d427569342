/* SPDX-License-Identifier: Apache-2.0 */
/* What guests' disks and network cards are on the host: loop devices and taps that end with us. */
#ifndef MOTE_BENCH_HOSTDEV_H
#define MOTE_BENCH_HOSTDEV_H

#include "vmm/error.h"

struct hostdev_disk {
	int fd; /* the last user's close takes the device apart */
	char path[32];
};

/* A loop device over a file without a name in dir: full_mib of data, and then a hole, to mib in all. */
int hostdev_disk_open(struct hostdev_disk *disk, const char *dir, unsigned int full_mib, unsigned int mib,
		      struct error *err);
void hostdev_disk_close(struct hostdev_disk *disk);

/* A tap with offloads in our network namespace, up, with address/24 if not NULL. It ends with that. */
int hostdev_tap_make(const char *name, const char *address, struct error *err);

#endif
