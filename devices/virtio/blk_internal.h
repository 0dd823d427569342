/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the block device. All of it under the device's lock. */
#ifndef MOTE_DEVICES_VIRTIO_BLK_INTERNAL_H
#define MOTE_DEVICES_VIRTIO_BLK_INTERNAL_H

#include <linux/virtio_blk.h>

#include "devices/virtio/blk.h"
#include "vmm/util.h"

#define BLK_MAX_DISCARD_SECTORS (1 * GIB / DISK_SECTOR_SIZE)
/* Little enough to write it out, if the file can't do better. */
#define BLK_MAX_WRITE_ZEROES_SECTORS (16 * MIB / DISK_SECTOR_SIZE)

/*
 * A request in flight. The memory of slots is mapped once and touched only as deep as there were
 * requests in flight at a time; most requests use the first page of a slot alone.
 */
struct blk_slot {
	struct disk_request request;
	uint64_t start_ns;
	uint8_t *status;  /* where the answer goes */
	uint32_t written; /* bytes for the driver, besides the status, if all is well */
	uint16_t next_free;
	struct virtqueue_chain chain;
};

#define BLK_SLOTS_SIZE	((size_t)VIRTIO_BLK_QUEUE_SIZE * BLK_SLOT_STRIDE)
#define BLK_SLOT_STRIDE 8192
#define BLK_NO_SLOT	UINT16_MAX

struct virtio_blk {
	struct virtio_device dev;
	bool read_only;
	bool start_thread;
	const struct thread_rules *thread_rules;
	enum disk_engine engine;
	struct disk disk;
	struct rate_limiter *limiter; /* NULL = without limits */
	struct virtio_blk_config config;
	char serial[VIRTIO_BLK_ID_BYTES];
	int event_fd; /* the disk has something to reap */
	struct loop_source source;
	uint8_t *slots;
	uint16_t free_slot; /* last one freed, first one reused */
	uint16_t n_slots;   /* in use since the last reset: the ones behind are fresh */
	bool starved;	    /* chains were left for want of a slot */
	bool pushed;	    /* since the last interrupt decision */
	bool dropping;	    /* being reset: nothing is answered any more */
	bool error_logged;
	struct virtio_blk_counters counters;
};

struct blk_slot *blk_slot_get(struct virtio_blk *blk);
void blk_slot_put(struct virtio_blk *blk, struct blk_slot *slot);
/* Only with nothing in flight: all slots are fresh again, and their memory is the host's. */
void blk_slots_reset(struct virtio_blk *blk);

/*
 * Start or answer the request in slot's chain, or fail the device. False: the rate limit is reached,
 * and the chain back in the queue.
 */
bool blk_handle(struct virtio_blk *blk, struct blk_slot *slot);
/* The disk's done callback. */
void blk_request_done(struct disk_request *request, void *owner);

#endif
