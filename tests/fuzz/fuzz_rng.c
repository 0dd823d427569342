/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: the entropy device. Its randomness repeats, and at times the host has none. */
#include <errno.h>
#include <sys/random.h>

#include "devices/virtio/rng.h"
#include "hostile_guest.h"

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags);

/* How many bytes there are until the next failure; what a host gives at a time. */
static size_t *supply(void)
{
	static size_t bytes;

	return &bytes;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags)
{
	size_t n = len < *supply() ? len : *supply();

	(void)flags;
	if (n == 0) {
		errno = EAGAIN;
		return -1;
	}
	memset(buf, 0xa5, n);
	*supply() -= n;
	return (ssize_t)n;
}

static struct virtio_device *create(struct hostile_guest *g)
{
	const struct rate_limits limits = hostile_guest_limits(g);
	struct virtio_device *device;

	if (virtio_rng_create("rng", &g->memory, &g->loop, &device, NULL) < 0)
		return NULL;
	must(virtio_rng_set_limits(device, &limits, NULL) == 0);
	return device;
}

static void host_begin(struct hostile_guest *g)
{
	(void)g;
	*supply() = SIZE_MAX;
}

static void host_event(struct hostile_guest *g)
{
	*supply() = input_u16(&g->in);
}

static size_t header(struct hostile_guest *g, unsigned int queue, uint8_t *bytes)
{
	(void)g;
	(void)queue;
	(void)bytes;
	return 0;
}

static void settled(struct hostile_guest *g)
{
	if (virtio_rng_limiter_counters(g->device).throttled > 0)
		hostile_guest_wait_for_limits(g);
	else
		hostile_guest_all_taken(g, 0);
}

static const struct hostile_device rng = {
	.create = create,
	.host_begin = host_begin,
	.host_event = host_event,
	.header = header,
	.settled = settled,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	hostile_guest_run(&rng, data, size);
	return 0;
}
