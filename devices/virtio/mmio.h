/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over MMIO, version 2 registers (virtio 1.2 §4.2.2). One page of registers a device; the
 * queue-notify register is a set of ioeventfds, so that kicks reach the event loop without an exit
 * to a vCPU thread (writes that arrive as exits do the same).
 */
#ifndef MOTE_DEVICES_VIRTIO_MMIO_H
#define MOTE_DEVICES_VIRTIO_MMIO_H

#include "devices/virtio/device.h"
#include "vmm/bus.h"

#define VIRTIO_MMIO_SIZE         0x1000u
#define VIRTIO_MMIO_NOTIFY       0x50u  /* QueueNotify: ioeventfd address, datamatch = queue */
#define VIRTIO_MMIO_MAGIC        0x74726976u /* "virt", little endian */
#define VIRTIO_MMIO_VENDOR       0x65746f6du /* "mote" */

struct virtio_mmio;

/* Drivers' kicks of one queue, and the device's own (virtio_device_kick). */
struct virtio_mmio_kick {
	struct virtio_mmio *transport;
	unsigned int queue;
	int eventfd;         /* owned; the vmm also registers it as ioeventfd */
	struct loop_source source;
};

struct virtio_mmio {
	struct virtio_device *device; /* owned: destroyed with the transport */
	uint32_t status;              /* device status field without DEVICE_NEEDS_RESET (§2.1) */
	uint32_t device_features_sel;
	uint32_t driver_features_sel;
	uint64_t driver_features;     /* as written; becomes device->acked at FEATURES_OK */
	uint32_t queue_sel;
	uint32_t shm_sel;
	struct virtio_mmio_kick kicks[VIRTIO_QUEUES_MAX];
};

extern const struct bus_ops virtio_mmio_bus_ops; /* device pointer: struct virtio_mmio * */

/*
 * Takes ownership of device, also when it fails. mmio must stay where it is until
 * virtio_mmio_release. Both belong to the event loop's thread, or to a time without vCPUs.
 * Errors: those of eventfd(2) and epoll_ctl(2).
 */
int virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_device *device, struct error *err);
/* Stops and destroys the device too. Harmless after a failed init. */
void virtio_mmio_release(struct virtio_mmio *mmio);

/*
 * Look at all queues again, as after resume or restore: kicks may have been lost meanwhile. An
 * interrupt that the driver hasn't acknowledged is raised again, for the same reason.
 */
void virtio_mmio_rekick(struct virtio_mmio *mmio);

struct virtio_mmio_state {
	uint64_t driver_features; /* what the driver wrote; acked once status has FEATURES_OK */
	uint32_t status, device_features_sel, driver_features_sel, queue_sel;
	uint32_t interrupt_status, config_generation, needs_reset, n_queues;
	struct virtqueue_state queues[VIRTIO_QUEUES_MAX];
};

/*
 * Transport and common device state; device_state: device->ops->state_size bytes (NULL if that's 0)
 * that ops->save and ops->restore know. On the event loop's thread, vCPUs paused. The state may
 * come from somebody else's file: restore checks all of it, and leaves a reset device when it
 * fails (-EINVAL, or what the device says). Guest memory is restored before; virtio_mmio_rekick
 * comes after, when interrupts are connected.
 */
void virtio_mmio_save(struct virtio_mmio *mmio, struct virtio_mmio_state *state, void *device_state);
int virtio_mmio_restore(struct virtio_mmio *mmio, const struct virtio_mmio_state *state,
			const void *device_state, struct error *err);

#endif
