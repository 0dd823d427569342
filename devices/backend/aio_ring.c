/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/aio_ring.h"

#include <stdint.h>

#define AIO_RING_MAGIC 0xa10a10a1

/* struct aio_ring of Linux, fs/aio.c: the same since 2.5. */
struct aio_ring {
	uint32_t id;
	uint32_t nr;   /* events that it holds, the one that stays free included */
	uint32_t head; /* ours */
	uint32_t tail; /* the kernel's */
	uint32_t magic;
	uint32_t compat_features;
	uint32_t incompat_features;
	uint32_t header_length;
	struct io_event events[];
};

bool aio_ring_is_known(io_context_t ctx)
{
	const struct aio_ring *ring = (const struct aio_ring *)ctx;

	return ring->magic == AIO_RING_MAGIC && ring->incompat_features == 0 &&
	       ring->header_length == sizeof(*ring);
}

unsigned int aio_ring_take(io_context_t ctx, struct io_event *events, unsigned int max)
{
	struct aio_ring *ring = (struct aio_ring *)ctx;
	uint32_t head = ring->head, tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
	unsigned int n = 0;

	while (n < max && head != tail) {
		events[n++] = ring->events[head];
		head = head + 1 < ring->nr ? head + 1 : 0;
	}
	/* The events are copied before the kernel may use their places again. */
	if (n > 0)
		__atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
	return n;
}
