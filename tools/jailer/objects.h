/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a configuration names on the host. Whoever may write to the directory that holds such a file
 * could put a symbolic link in its place, and have the jailer, which may be root, open something
 * else: so the last component is followed only if root or the caller made that link. The
 * directories on the way are the operator's. What was found is looked at before it is opened:
 * opening a device or a FIFO does something.
 */
#ifndef MOTE_JAILER_OBJECTS_H
#define MOTE_JAILER_OBJECTS_H

#include "vmm/error.h"

/* Find path; returns an O_PATH fd. Messages: `open "PATH": cause`. */
int object_find(const char *path, struct error *err);

enum object_kind {
	OBJECT_FILE, /* a regular file */
	OBJECT_DISK, /* ... or a block device */
	OBJECT_SINK, /* a regular file, FIFO or character device to append to; may be made */
};

/* "/dev/fd/N" is taken as it is. flags: O_RDONLY or O_RDWR; nothing for a sink. */
int object_open(const char *path, enum object_kind kind, int flags, struct error *err);

#endif
