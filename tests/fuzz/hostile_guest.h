/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest, and the host around it, in front of one virtio device: the input is a program of
 * what they do. Most operations are those of a driver that knows what it does, so that the program
 * gets far; the rest writes anything anywhere. After each program:
 *
 *  - the event loop calms down (nothing makes the monitor spin);
 *  - a page that the device wrote to and didn't mark dirty is a bug, as a snapshot would lack it;
 *  - what was saved can be restored and saved again, and is the same;
 *  - a state that is refused leaves a reset device;
 *  - everything that was open is closed.
 */
#ifndef MOTE_TESTS_FUZZ_HOSTILE_GUEST_H
#define MOTE_TESTS_FUZZ_HOSTILE_GUEST_H

#include "devices/backend/rate_limiter.h"
#include "devices/virtio/mmio.h"
#include "input.h"
#include "vmm/bus.h"

/* RAM: rings, then buffers in two places with a hole between. */
#define GUEST_BUFFERS	0x8000u
#define GUEST_LOW_SIZE	0x28000u
#define GUEST_HIGH	(4ull << 30)
#define GUEST_HIGH_SIZE 0x4000u

struct hostile_guest;

struct hostile_device {
	/* A device for g->memory and g->loop, always the same one for one program. */
	struct virtio_device *(*create)(struct hostile_guest *g);
	/* The host's side: made before the first device, released after the last. Optional. */
	void (*host_begin)(struct hostile_guest *g);
	void (*host_end)(struct hostile_guest *g);
	/* Something happens on the host. Optional. */
	void (*host_event)(struct hostile_guest *g);
	/* Make a request's header, at most GUEST_HEADER_MAX bytes. Returns its size; 0 = none. */
	size_t (*header)(struct hostile_guest *g, unsigned int queue, uint8_t *header);
	/* What holds when all queues were kicked and the loop is calm. Optional. */
	void (*settled)(struct hostile_guest *g);
};

#define GUEST_HEADER_MAX 64

struct hostile_guest {
	struct input in;
	const struct hostile_device *kind;
	struct guest_memory memory;
	struct loop loop;
	struct bus bus;
	struct virtio_mmio mmio;
	struct virtio_device *device; /* mmio's */
	uint8_t options;	      /* the program's first byte, for create */
	bool host_changed;	      /* so that what was saved may not fit any more */

	/* The driver's books. */
	struct {
		uint16_t size, next_desc, avail_idx;
	} queues[VIRTIO_QUEUES_MAX];
};

void hostile_guest_run(const struct hostile_device *kind, const uint8_t *data, size_t size);

/* For create: limits that a few requests reach, if the program wants some. */
struct rate_limits hostile_guest_limits(const struct hostile_guest *g);
/* For settled: time passes for a device that its limit, or one from a saved state, stopped. */
void hostile_guest_wait_for_limits(struct hostile_guest *g);

/* For settled: nothing that the guest made available was left lying, and nothing is in flight. */
void hostile_guest_all_taken(struct hostile_guest *g, unsigned int queue);

#endif
