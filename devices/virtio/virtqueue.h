/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues (virtio 1.2 §2.7), device side. The driver is hostile: each index, address,
 * length and flag is read from guest memory once, checked, and used from the copy. A violation
 * breaks the queue (virtqueue_pop returns -EPROTO from then on); the owner stops its device.
 *
 * Not thread-safe: the owning device's lock protects it.
 */
#ifndef MOTE_DEVICES_VIRTQUEUE_H
#define MOTE_DEVICES_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/error.h"
#include "vmm/memory.h"

#define VIRTQUEUE_SIZE_MAX 256

struct virtqueue {
	/* What the driver configures through the transport; frozen while ready. */
	uint16_t max_size;    /* offered by the device: a power of two <= VIRTQUEUE_SIZE_MAX */
	uint16_t size;        /* chosen by the driver: a power of two <= max_size */
	bool ready;
	uint64_t desc_gpa;    /* 16-byte aligned */
	uint64_t avail_gpa;   /* 2-byte aligned */
	uint64_t used_gpa;    /* 4-byte aligned */

	/* Live between virtqueue_start and virtqueue_stop. */
	bool broken;
	bool event_idx;       /* VIRTIO_F_EVENT_IDX acked */
	bool indirect;        /* VIRTIO_F_INDIRECT_DESC acked */
	bool kicks_enabled;
	struct guest_memory *memory;
	volatile struct vring_desc *desc;   /* size entries */
	volatile struct vring_avail *avail; /* ring[size], then used_event */
	struct vring_used *used;            /* ring[size], then avail_event */
	uint16_t next_avail;                /* free-running index of the next entry to pop */
	uint16_t next_used;                 /* free-running index of the next entry to push */
	uint16_t signalled_used;            /* next_used at the last interrupt */
	bool signalled_used_valid;
	const char *broken_reason;          /* static string; what the driver did */
	uint64_t in_flight[VIRTQUEUE_SIZE_MAX / 64]; /* heads popped and not yet pushed */
};

/*
 * One descriptor chain, translated: iov[0 .. n_readable) is what the driver wrote for the device,
 * iov[n_readable .. n_readable + n_writable) is what the device may fill. Every element lies in
 * RAM; none is empty. The sum of all lengths is below 4 GiB (§2.7.5.2).
 */
struct virtqueue_chain {
	uint16_t head;
	uint16_t n_readable;
	uint16_t n_writable;
	uint32_t readable_len;
	uint32_t writable_len;
	struct iovec iov[VIRTQUEUE_SIZE_MAX];
};

/*
 * Check size, alignment and that the three areas lie in RAM, and start from index 0 or, after a
 * restore, from the saved ones. features: what the driver acked. Errors: -EINVAL with the reason.
 */
int virtqueue_start(struct virtqueue *queue, struct guest_memory *memory, uint64_t features,
		    struct error *err);
/*
 * End what virtqueue_start began: heads in flight are forgotten, pushes and pops do nothing any
 * more. What the driver configured stays readable.
 */
void virtqueue_stop(struct virtqueue *queue);
/* Forget everything but max_size, as after a device reset. */
void virtqueue_reset(struct virtqueue *queue);

/*
 * Take the next available chain. Returns 1 with *chain filled, 0 when there's none (or the queue
 * isn't started), -EPROTO when the queue is (or is now found) broken; queue->broken_reason says
 * why. After 0 the driver kicks for its next chain, unless kicks were disabled.
 * Checked: avail index runs at most size ahead; head < size and not in flight already; next < size;
 * at most size descriptors a chain (loops end there); readable before writable; lengths > 0 and
 * their sum < 4 GiB; every buffer in RAM; INDIRECT only if negotiated, not nested, not with NEXT,
 * table length a multiple of 16 and at most size entries.
 */
int virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain);

/*
 * Undo the last n pops, whose chains haven't been pushed: they will be popped again, in the same
 * order. No kick announces them. heads may be in any order.
 */
void virtqueue_unpop(struct virtqueue *queue, const uint16_t *heads, unsigned int n);

/*
 * Return a chain: head from a pop, written = bytes that the device wrote into its writable part.
 * Does nothing on a queue that's broken or stopped, or for a head that isn't in flight.
 */
void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written);

/*
 * Return several chains at once: the driver sees all of them or none. For one packet in several
 * buffers, which a driver takes together or counts as an error (§5.1.6.4).
 */
struct virtqueue_used {
	uint16_t head;
	uint32_t written;
};
void virtqueue_push_together(struct virtqueue *queue, const struct virtqueue_used *used,
			     unsigned int n);

/* Number of chains popped and neither pushed nor unpopped. */
unsigned int virtqueue_in_flight(const struct virtqueue *queue);

/* After pushes: whether the driver wants an interrupt now (§2.7.7, §2.7.10). */
bool virtqueue_wants_interrupt(struct virtqueue *queue);

/*
 * Ask the driver not to kick while we poll, or to kick again. Enabling returns true if chains
 * became available meanwhile: the caller must process them, as no kick will come (§2.7.10).
 */
void virtqueue_disable_kicks(struct virtqueue *queue);
bool virtqueue_enable_kicks(struct virtqueue *queue);

struct virtqueue_state {
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint16_t size, next_avail, next_used, signalled_used;
	uint8_t ready, signalled_used_valid, reserved[6];
};

/* Only with nothing in flight. */
void virtqueue_save(const struct virtqueue *queue, struct virtqueue_state *state);
/* The state may come from somebody else's file: everything is checked. -EINVAL with the reason. */
int virtqueue_restore(struct virtqueue *queue, const struct virtqueue_state *state,
		      struct error *err);

/*
 * Gather/scatter helpers for headers: copy up to len bytes from/to an iovec array starting at byte
 * offset. Return the bytes copied (less than len when the array ends). Writes mark pages dirty.
 */
size_t iov_read(const struct iovec *iov, unsigned int n, size_t offset, void *dst, size_t len);
size_t iov_write(struct guest_memory *memory, const struct iovec *iov, unsigned int n, size_t offset,
		 const void *src, size_t len);
/* For data that the host kernel put there (readv, aio): mark [offset, offset + len) dirty. */
void iov_mark_dirty(struct guest_memory *memory, const struct iovec *iov, unsigned int n,
		    size_t offset, size_t len);

#endif
