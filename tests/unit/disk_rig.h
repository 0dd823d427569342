/* SPDX-License-Identifier: Apache-2.0 */
/* A disk on a file of its own, for unit tests of the backend. All functions assert. */
#ifndef MOTE_TESTS_DISK_RIG_H
#define MOTE_TESTS_DISK_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "devices/backend/disk.h"

/* Where files go: one file system in memory, and one that (usually) has real direct I/O. */
#define RIG_TMPFS "/dev/shm"
#define RIG_DISK  "/var/tmp"

/* How the disk works, beyond its engine. */
enum rig_mode {
	RIG_SYNC,
	RIG_ASYNC,	    /* as the file has it: direct if possible */
	RIG_ASYNC_BUFFERED, /* without direct I/O */
	RIG_ASYNC_4K,	    /* with direct I/O that asks for 4 KiB alignment of everything */
};

struct rig {
	char path[64];
	int loop_fd; /* of rig_make_loop; 0 = a file */
	uint64_t size;
	enum rig_mode mode;
	int event_fd;
	struct disk disk;
	unsigned int n_done;
	struct disk_request *last_done;
	disk_done done; /* optional, with owner */
	void *owner;
};

/* A sparse file of size bytes in dir, and the disk on it. */
void rig_setup(struct rig *rig, const char *dir, uint64_t size, enum rig_mode mode);
/* The same, in two steps. */
void rig_make_file(struct rig *rig, const char *dir, uint64_t size);
void rig_open(struct rig *rig, enum rig_mode mode);
/* A block device with sectors of that size, or skip where there's no loop device to be had. */
void rig_make_loop(struct rig *rig, uint64_t size, uint32_t sector_size);
/* Close the disk and delete the file. */
void rig_teardown(struct rig *rig);

/* The done callback of the rig's disk, whose owner is the rig. */
void rig_on_done(struct disk_request *request, void *owner);

/* Wait for the eventfd (at most 10 s) and reap once. */
void rig_reap(struct rig *rig);
/* Submit, start and wait for one request. Returns its result. */
int rig_do(struct rig *rig, struct disk_request *request);
int rig_read(struct rig *rig, uint64_t offset, void *buffer, uint64_t len);
int rig_write(struct rig *rig, uint64_t offset, const void *buffer, uint64_t len);

/* For tests that mean libaio: skip where RIG_DISK has no direct I/O. */
void rig_skip_without_direct_io(void);

/* Zeroed and page aligned. */
void *rig_alloc(size_t size);

#endif
