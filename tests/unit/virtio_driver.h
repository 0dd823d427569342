/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of virtio over MMIO, for unit tests: guest memory without a guest, rings,
 * descriptors and register accesses, and an event loop that runs when the test says so. It behaves
 * unless it's told not to: the raw functions write whatever a hostile driver would.
 *
 *	struct virtio_driver drv;
 *
 *	driver_setup(&drv);
 *	virtio_rng_create("rng", &drv.memory, &drv.loop, &device, &err);
 *	driver_attach(&drv, device);
 *	driver_start(&drv, ALL_FEATURES);
 *	buffer = driver_alloc(&drv, 64, 1);
 *	head = driver_add(&drv, 0, &(struct driver_buf){ buffer, 64 }, 0, 1);
 *	driver_kick(&drv, 0);
 *	driver_run(&drv);
 *	assert_true(driver_get_used(&drv, 0, &id, &len));
 *	assert_int_equal(driver_interrupts(&drv), 1);
 *	driver_teardown(&drv);
 */
#ifndef MOTE_TESTS_VIRTIO_DRIVER_H
#define MOTE_TESTS_VIRTIO_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "devices/virtio/device.h"
#include "devices/virtio/mmio.h"
#include "vmm/bus.h"
#include "vmm/loop.h"
#include "vmm/memory.h"

/* RAM: [0, DRIVER_LOW_SIZE), a hole, [DRIVER_HIGH, DRIVER_HIGH + DRIVER_HIGH_SIZE). Dirty-tracked. */
#define DRIVER_LOW_SIZE	 (16ull << 20)
#define DRIVER_HIGH	 (4ull << 30)
#define DRIVER_HIGH_SIZE (1ull << 20)
#define DRIVER_MMIO_BASE 0xc0001000ull

/* Feature sets for driver_start and driver_negotiate: an exact set, or all that's offered. */
#define ALL_FEATURES  UINT64_MAX
#define VERSION_1     (1ull << VIRTIO_F_VERSION_1)
#define EVENT_IDX     (1ull << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT_DESC (1ull << VIRTIO_RING_F_INDIRECT_DESC)

/* The driver's view of one queue: struct vring of the UAPI over guest memory, and its books. */
struct driver_queue {
	struct vring vring; /* num 0 until driver_queue_setup; avail->idx etc. may be poked at */
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint16_t avail_idx; /* free-running: next entry to fill */
	uint16_t last_used; /* free-running: next entry to take */
	uint16_t kicked_at; /* avail_idx at the last driver_kick_wanted */
	uint64_t busy[VIRTQUEUE_SIZE_MAX / 64];
	uint16_t chain_next[VIRTQUEUE_SIZE_MAX]; /* own copy; UINT16_MAX ends a chain */
};

struct virtio_driver {
	struct guest_memory memory;
	struct loop loop;
	struct bus bus;
	struct virtio_mmio mmio;
	struct virtio_device *device; /* owned by mmio; NULL until driver_attach */
	struct driver_queue queues[VIRTIO_QUEUES_MAX];
	uint64_t heap;	   /* next free gpa */
	uint64_t features; /* what was acked */
};

struct driver_buf {
	uint64_t gpa;
	uint32_t len;
};

/* Memory and event loop; the device needs both. Asserts, as all functions here, that it works. */
void driver_setup(struct virtio_driver *drv);
/* Take device into a transport at DRIVER_MMIO_BASE. */
void driver_attach(struct virtio_driver *drv, struct virtio_device *device);
/* Releases all, the device (if attached) included. */
void driver_teardown(struct virtio_driver *drv);

/* Zeroed guest memory; align a power of two. Never given back. driver_ptr: its host address. */
uint64_t driver_alloc(struct virtio_driver *drv, uint64_t len, uint64_t align);
void *driver_ptr(struct virtio_driver *drv, uint64_t gpa, uint64_t len);

/* 32-bit register accesses, and accesses of any width, through the bus as a vCPU's exit. */
uint32_t driver_read(struct virtio_driver *drv, uint32_t offset);
void driver_write(struct virtio_driver *drv, uint32_t offset, uint32_t value);
uint64_t driver_read_width(struct virtio_driver *drv, uint32_t offset, unsigned int len);
void driver_write_width(struct virtio_driver *drv, uint32_t offset, uint64_t value,
			unsigned int len);
uint32_t driver_status(struct virtio_driver *drv);
/* Configuration space, byte by byte. */
void driver_read_config(struct virtio_driver *drv, uint32_t offset, void *dst, unsigned int len);

/* The whole handshake: all queues at their maximal size. Returns the status, 0xf if all went well. */
uint32_t driver_start(struct virtio_driver *drv, uint64_t features);
/* Its steps. driver_negotiate: reset to FEATURES_OK, returns the status. */
uint64_t driver_offered(struct virtio_driver *drv);
uint32_t driver_negotiate(struct virtio_driver *drv, uint64_t features);
/* Allocate rings, write the queue's registers; size 0 = maximal. */
void driver_queue_setup(struct virtio_driver *drv, unsigned int queue, uint16_t size);
void driver_queue_registers(struct virtio_driver *drv, unsigned int queue, uint32_t size,
			    uint64_t desc, uint64_t avail, uint64_t used);
uint32_t driver_ok(struct virtio_driver *drv);
void driver_reset(struct virtio_driver *drv);

/*
 * Make one chain of n_readable buffers, then n_writable ones, available. Returns its head.
 * driver_add_indirect: the same as one INDIRECT descriptor to a table in new memory.
 */
uint16_t driver_add(struct virtio_driver *drv, unsigned int queue, const struct driver_buf *bufs,
		    unsigned int n_readable, unsigned int n_writable);
uint16_t driver_add_indirect(struct virtio_driver *drv, unsigned int queue,
			     const struct driver_buf *bufs, unsigned int n_readable,
			     unsigned int n_writable);

/* Raw: one descriptor; one entry of the available ring with the index after it. No checks. */
void driver_set_desc(struct virtio_driver *drv, unsigned int queue, uint16_t index, uint64_t addr,
		     uint32_t len, uint16_t flags, uint16_t next);
void driver_offer(struct virtio_driver *drv, unsigned int queue, uint16_t head);

/*
 * Kick by register write (an exit), or by the eventfd as KVM's ioeventfd does. The device works in
 * driver_run: all events that are there, at most 1000 rounds (it asserts that the loop calms down).
 */
void driver_kick(struct virtio_driver *drv, unsigned int queue);
void driver_kick_eventfd(struct virtio_driver *drv, unsigned int queue);
void driver_run(struct virtio_driver *drv);
/* As driver_run, but waits up to timeout_ms for the first event: for aio, taps, sockets. */
void driver_run_wait(struct virtio_driver *drv, int timeout_ms);
/* Whether a well-behaved driver would kick for what it added since it was last asked (§2.7.10). */
bool driver_kick_wanted(struct virtio_driver *drv, unsigned int queue);

/*
 * Take the next used element, free its descriptors and ask for an interrupt at the one after it;
 * false if there's none. id and len may be NULL.
 */
bool driver_get_used(struct virtio_driver *drv, unsigned int queue, uint32_t *id, uint32_t *len);
/* The driver wants an interrupt at used index (with EVENT_IDX), or at all (without). */
void driver_set_used_event(struct virtio_driver *drv, unsigned int queue, uint16_t index);
void driver_set_no_interrupt(struct virtio_driver *drv, unsigned int queue, bool no_interrupt);

/* Interrupts raised since the last call. driver_ack_interrupts: also read and clear the status. */
uint64_t driver_interrupts(struct virtio_driver *drv);
uint32_t driver_ack_interrupts(struct virtio_driver *drv);

#endif
