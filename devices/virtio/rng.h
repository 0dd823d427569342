/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng, the entropy device (virtio 1.2 §5.4): fills the driver's buffers from getrandom(2).
 * A request is answered before the next one is looked at.
 */
#ifndef MOTE_DEVICES_VIRTIO_RNG_H
#define MOTE_DEVICES_VIRTIO_RNG_H

#include <stdint.h>

#include "devices/backend/rate_limiter.h"
#include "devices/virtio/device.h"

#define VIRTIO_RNG_QUEUE_SIZE  256
#define VIRTIO_RNG_REQUEST_MAX (64u * 1024) /* bytes that one request gets, however much it asks */

struct virtio_rng_counters {
	uint64_t requests; /* chains returned */
	uint64_t bytes;    /* given to the driver */
	uint64_t errors;   /* chains without a writable buffer, or without entropy from the host */
};

/*
 * Without limits. Errors: -ENOMEM, else those of virtio_device_init. The device is released through its
 * ops->destroy, in general by the transport that takes it.
 */
int virtio_rng_create(const char *id, struct guest_memory *memory, struct loop *loop,
		      struct virtio_device **out, struct error *err);

/*
 * Change what is given of the limits. Each request is an operation of as many bytes as it gets.
 * Errors: those of rate_limiter_set(). On the event loop's thread.
 */
int virtio_rng_set_limits(struct virtio_device *dev, const struct rate_limits *limits,
			  struct error *err);
/* On the event loop's thread. */
struct rate_limiter_counters virtio_rng_limiter_counters(struct virtio_device *dev);

/* dev must come from virtio_rng_create. From any thread. */
struct virtio_rng_counters virtio_rng_counters(struct virtio_device *dev);

/* Saved state: what of its limits is used up. */
struct virtio_rng_state {
	struct rate_limiter_state limiter;
};

#endif
