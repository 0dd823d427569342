/* SPDX-License-Identifier: Apache-2.0 */
/* A block device on a file of its own behind the test's virtio driver. All functions assert. */
#ifndef MOTE_TESTS_BLK_RIG_H
#define MOTE_TESTS_BLK_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/virtio_blk.h>

#include "devices/virtio/blk.h"
#include "virtio_driver.h"

#define BLK_SECTORS 2048u /* 1 MiB */
#define BLK_DATA    (256u * 1024)

/* Features of a driver that takes all but one. */
#define ALL_BUT(bit) (1ull << 63 | 1ull << (bit))

struct blk_rig {
	struct virtio_driver drv;
	struct virtio_blk_options options;
	char path[64];
	uint8_t *file; /* the file's content, mapped: BLK_SECTORS sectors */
	uint64_t
		header; /* gpa of the header, the status and BLK_DATA bytes of data, page aligned, */
	uint64_t status; /* that blk_do uses */
	uint64_t data;
	uint32_t used_len; /* of the last request that was answered */
};

/* options: read_only, writeback and engine count. features: as driver_start(), or ALL_BUT(bit). */
void blk_setup(struct blk_rig *rig, struct virtio_blk_options options, uint64_t features);
void blk_teardown(struct blk_rig *rig);
/* In a thread of its own, let go of what disk_faults.hold holds, 50 ms from now. */
pthread_t blk_release_later(void);
/* Its device alone, on the same file; the caller attaches it. */
struct virtio_device *blk_create(struct blk_rig *rig);

/* Make one request available: header, data, status. The data is writable unless type says not. */
uint16_t blk_add(struct blk_rig *rig, uint64_t header, uint32_t type, uint64_t sector,
		 uint64_t data, uint32_t len, uint64_t status);
/* Kick, and run the loop until n requests were answered (10 s at most). */
void blk_wait(struct blk_rig *rig, unsigned int n);
/* One request from beginning to end with the rig's buffers. Returns its status. */
uint8_t blk_do(struct blk_rig *rig, uint32_t type, uint64_t sector, uint32_t len);
/* The same for a chain of any form, which has to end with the rig's status byte. */
uint8_t blk_do_chain(struct blk_rig *rig, const struct driver_buf *bufs, unsigned int n_readable,
		     unsigned int n_writable);
/* DISCARD or WRITE_ZEROES of one range. */
uint8_t blk_do_range(struct blk_rig *rig, uint32_t type, uint64_t sector, uint32_t sectors,
		     uint32_t flags);

/* A request with a header, a status and len bytes of data of its own, for several at a time. */
struct blk_lane {
	uint64_t header, status, data;
	uint16_t head;
};

struct blk_lane blk_lane_new(struct blk_rig *rig, uint32_t len);
/* skew: where in the lane's data. */
void blk_lane_start(struct blk_rig *rig, struct blk_lane *lane, uint32_t type, uint64_t sector,
		    uint32_t skew, uint32_t len);
uint8_t blk_lane_status(struct blk_rig *rig, const struct blk_lane *lane);
/* Misaligned reads of one sector each: work for the helper thread, which disk_faults.hold holds. */
void blk_start_held_reads(struct blk_rig *rig, struct blk_lane *lanes, unsigned int n);

/* Host pointer to the rig's data; a header at the rig's header address. */
uint8_t *blk_data(struct blk_rig *rig);
void blk_set_header(struct blk_rig *rig, uint64_t gpa, uint32_t type, uint64_t sector);
uint64_t blk_count(const _Atomic uint64_t *counter);

#endif
