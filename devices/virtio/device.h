/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all virtio devices share: feature negotiation, configuration space, queues and interrupts
 * (virtio 1.2 §2). A device embeds struct virtio_device, fills ops, and is attached to a transport.
 *
 * Threads: register accesses come from vCPU threads, kicks and completions from the event loop's
 * thread. The transport takes dev->lock around every callback; a device's own event-loop callbacks
 * take it themselves. interrupt_status alone is atomic, so that an interrupt handler never waits
 * for a batch of I/O.
 */
#ifndef MOTE_DEVICES_VIRTIO_DEVICE_H
#define MOTE_DEVICES_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/irq.h"
#include "devices/virtio/virtqueue.h"
#include "vmm/error.h"
#include "vmm/loop.h"
#include "vmm/memory.h"

#define VIRTIO_QUEUES_MAX    5
#define VIRTIO_DEVICE_ID_MAX 64

struct virtio_device;

struct virtio_device_ops {
	uint32_t device_id;   /* virtio 1.2 §5: 1 net, 2 blk, 4 rng, 5 balloon, 19 vsock */
	const char *kind;     /* for messages: "drive", "network interface", "entropy", "balloon", "vsock" */

	/*
	 * The driver wrote to configuration space; offset + len is inside config. Optional: without
	 * it writes are ignored.
	 */
	void (*config_write)(struct virtio_device *dev, uint32_t offset, const uint8_t *data,
			     unsigned int len);

	/*
	 * DRIVER_OK: dev->acked is final, the ready queues are started. Returns 0, or a negative
	 * errno with the reason (the device then needs a reset). Also called, after restore, for a
	 * device that was activated when it was saved. On a vCPU's thread.
	 */
	int (*activate)(struct virtio_device *dev, struct error *err);

	/*
	 * The driver kicked queue (a started one), or it may have work after activation or resume.
	 * On the event loop's thread. A driver on another vCPU can refill the queue for ever: stop
	 * after a bounded number of chains and call virtio_device_kick for the rest.
	 */
	void (*process_queue)(struct virtio_device *dev, unsigned int queue);

	/*
	 * Stop. On return nothing that was in flight touches guest memory or the queues any more.
	 * Called once an activation, also one that failed half way: before the queues are reset, at
	 * a driver's reset, after a failure, and at destroy. On a vCPU's or the loop's thread.
	 */
	void (*reset)(struct virtio_device *dev);

	/*
	 * Device-specific state as a plain struct of fixed-width fields. save is called on a paused
	 * microVM: it first completes or gives back whatever is in flight. restore gets a struct that
	 * may come from somebody else's file, before the queues start: it checks everything.
	 */
	size_t state_size;
	void (*save)(struct virtio_device *dev, void *state);
	int (*restore)(struct virtio_device *dev, const void *state, struct error *err);

	/* Release the device and all that it owns. The transport is gone by then. */
	void (*destroy)(struct virtio_device *dev);
};

struct virtio_device {
	const struct virtio_device_ops *ops;
	char id[VIRTIO_DEVICE_ID_MAX + 1]; /* the name in the configuration: "rootfs", "eth0" */
	struct guest_memory *memory;       /* borrowed */
	struct loop *loop;                 /* borrowed */

	uint64_t features;   /* offered; VIRTIO_F_VERSION_1 always among them */
	uint64_t acked;      /* subset chosen by the driver; final after FEATURES_OK */
	void *config;        /* device-specific configuration space, little endian, owned by device */
	uint32_t config_size;
	uint32_t config_generation;

	unsigned int n_queues;
	struct virtqueue queues[VIRTIO_QUEUES_MAX];

	bool activated;      /* between a successful activate and reset */
	bool needs_reset;    /* DEVICE_NEEDS_RESET */
	bool driver_ok;      /* the driver set DRIVER_OK: it may be notified (§2.1.2) */
	bool failure_logged; /* since creation: a guest that fails again and again logs once */
	/* Set by the transport: have queue processed, or a failure noticed, from the event loop. */
	void (*kick)(struct virtio_device *dev, unsigned int queue);
	void *transport;     /* for kick */
	_Atomic uint32_t interrupt_status; /* bit 0 used buffer, bit 1 configuration change */
	struct irq_line irq;
	pthread_mutex_t lock;
};

/*
 * Initialise the common part. features: device-specific ones; the core adds VIRTIO_F_VERSION_1,
 * VIRTIO_F_INDIRECT_DESC and VIRTIO_F_EVENT_IDX. id is cut at VIRTIO_DEVICE_ID_MAX. Fields outside
 * of struct virtio_device are left alone.
 * Errors: -EINVAL for a number or size of queues out of range, else those of eventfd(2).
 */
int virtio_device_init(struct virtio_device *dev, const struct virtio_device_ops *ops,
		       const char *id, struct guest_memory *memory, struct loop *loop,
		       uint64_t features, void *config, uint32_t config_size, unsigned int n_queues,
		       uint16_t queue_size, struct error *err);
/* The counterpart, for ops->destroy; harmless after a failed init. Doesn't free dev or config. */
void virtio_device_release(struct virtio_device *dev);

static inline bool virtio_acked(const struct virtio_device *dev, unsigned int bit)
{
	return dev->acked >> bit & 1;
}

/* Have ops->process_queue called for queue soon, from the event loop. From any thread. */
void virtio_device_kick(struct virtio_device *dev, unsigned int queue);

/* Interrupt the driver if it wants to hear of the buffers pushed to this queue. */
void virtio_device_signal_used(struct virtio_device *dev, unsigned int queue);

/*
 * Configuration space changed: new generation, configuration interrupt (§2.5, §4.2.2). Before
 * DRIVER_OK the interrupt waits for it.
 */
void virtio_device_signal_config(struct virtio_device *dev);

/*
 * The driver broke the rules (or the device can't go on): set DEVICE_NEEDS_RESET, tell the driver,
 * log the reason once, and process nothing more until it resets the device (§2.1.2). Call with
 * the lock held. ops->reset follows from the transport, not from here: the caller may be anywhere.
 */
void virtio_device_fail(struct virtio_device *dev, const char *reason);

/*
 * Pop with failure handling: as virtqueue_pop, but -EPROTO has already failed the device. 0 when
 * the device isn't activated, -EPROTO when it needs a reset.
 */
int virtio_device_pop(struct virtio_device *dev, unsigned int queue, struct virtqueue_chain *chain);

#endif
