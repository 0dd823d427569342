/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio block device (virtio 1.2 §5.2) on a raw image or block device: one queue of 256.
 *
 * What it offers depends on the options alone, never on the host or the file, so that a snapshot
 * finds the same device everywhere: SEG_MAX, BLK_SIZE (512), TOPOLOGY; RO if read-only, else DISCARD
 * and WRITE_ZEROES (where the file has no holes, a discard does nothing); FLUSH if writeback. A
 * driver that doesn't take FLUSH gets a write-through disk instead.
 */
#ifndef MOTE_DEVICES_VIRTIO_BLK_H
#define MOTE_DEVICES_VIRTIO_BLK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/backend/disk.h"
#include "devices/backend/rate_limiter.h"
#include "devices/virtio/device.h"

#define VIRTIO_BLK_QUEUE_SIZE 256

struct virtio_blk_options {
	const char *id; /* its first 20 bytes are the serial number that the guest sees */
	const char *path;
	bool read_only; /* enforced by the device, whatever the driver negotiates */
	bool writeback; /* FLUSH is offered and honoured; else data is as safe as the host is */
	enum disk_engine engine;
	/*
	 * DISK_ASYNC: start its helper thread now, for callers that will forbid new threads (seccomp).
	 * Else it is started by the first request that needs it, on the thread that has it.
	 */
	bool start_thread;
	const struct thread_rules *thread_rules; /* of the helper thread; NULL = none */
	struct rate_limits limits;
};

/*
 * Open and lock the disk (see disk_open) and make the device. Errors, as one line that begins with
 * `drive "ID"`: those of disk_open(), rate_limiter_set(), eventfd(2), epoll_ctl(2), mmap(2).
 * The loop may only be run by the thread that destroys the device.
 */
int virtio_blk_create(const struct virtio_blk_options *options, struct guest_memory *memory,
		      struct loop *loop, struct virtio_device **out, struct error *err);

/*
 * Put another image into the drive, or see how big the same one is now; the driver is told. Requests
 * in flight are completed before. read_only and engine stay. After an error the drive is what it
 * was. Errors: those of disk_reopen(). On the event loop's thread.
 */
int virtio_blk_change_path(struct virtio_device *dev, const char *path, struct error *err);

/*
 * Change what is given of the limits. Each request is an operation; bytes are those that it has the
 * host read or write. Errors: those of rate_limiter_set(). On the event loop's thread.
 */
int virtio_blk_set_limits(struct virtio_device *dev, const struct rate_limits *limits,
			  struct error *err);
/* On the event loop's thread. */
struct rate_limiter_counters virtio_blk_limiter_counters(const struct virtio_device *dev);

/*
 * Since creation, by direction: requests that were answered, and of them those with an error; bytes
 * moved by those without; nanoseconds from when they were taken from the queue to their answers.
 */
struct virtio_blk_counter {
	_Atomic uint64_t requests, bytes, errors, total_ns;
};

struct virtio_blk_counters {
	struct virtio_blk_counter op[DISK_OPS];
	/* Requests without a direction: bad headers, unknown types. GET_ID itself is not counted. */
	_Atomic uint64_t invalid;
	_Atomic uint64_t updates, update_failures; /* virtio_blk_change_path() */
};

/* To be read from any thread, with relaxed atomic loads. Lives as long as the device. */
const struct virtio_blk_counters *virtio_blk_counters(const struct virtio_device *dev);

/* Saved state: what the guest has seen in configuration space, and what of its limits is used up. */
struct virtio_blk_state {
	uint64_t capacity;	    /* sectors of 512 bytes, > 0 */
	uint8_t read_only;	    /* 0 or 1 */
	uint8_t physical_block_exp; /* 0 to 3 */
	uint8_t reserved[6];
	struct rate_limiter_state limiter;
};

#endif
