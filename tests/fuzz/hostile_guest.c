/* SPDX-License-Identifier: Apache-2.0 */
#include "hostile_guest.h"

#include <stdlib.h>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "machine.h"
#include "vmm/util.h"

#define MMIO_BASE      0xc0001000ull
#define SLOT_SIZE      512u
#define HEADER_GPA     (GUEST_BUFFERS - GUEST_HEADER_MAX)
#define DEVICE_STATE   256
#define OPERATIONS_MAX 512

/*
 * Where a well-behaved driver has its rings, three of the largest size below GUEST_BUFFERS and two at
 * the end of low memory. The first queue's used ring has its index in one page and its elements in
 * the next.
 */
static uint64_t rings_gpa(unsigned int queue)
{
	return queue < 3 ? 0x2800ull * queue
			 : GUEST_LOW_SIZE - 0x2800ull * (VIRTIO_QUEUES_MAX - queue);
}

static uint64_t avail_gpa(unsigned int queue)
{
	return rings_gpa(queue) + 0x1000;
}

static uint64_t used_gpa(unsigned int queue)
{
	return rings_gpa(queue) + 0x1ff8;
}

/* ---- memory, and what it would be if only the guest wrote to it ---- */

struct shadow {
	uint8_t low[GUEST_LOW_SIZE], high[GUEST_HIGH_SIZE];
};

static struct guest_memory *ram(struct shadow **shadow)
{
	static struct guest_memory memory;
	static struct shadow *copy;

	if (!copy) {
		copy = malloc(sizeof(*copy));
		must(copy && guest_memory_add(&memory, 0, GUEST_LOW_SIZE, MEMORY_BACKING_NONE, true,
					      NULL) == 0);
		must(guest_memory_add(&memory, GUEST_HIGH, GUEST_HIGH_SIZE, MEMORY_BACKING_NONE,
				      true, NULL) == 0);
	}
	*shadow = copy;
	return &memory;
}

static void clear_memory(struct hostile_guest *g)
{
	struct shadow *shadow;

	g->memory = *ram(&shadow);
	guest_memory_clear_dirty(&g->memory);
	memset(g->memory.regions[0].hva, 0, GUEST_LOW_SIZE);
	memset(g->memory.regions[1].hva, 0, GUEST_HIGH_SIZE);
	memset(shadow, 0, sizeof(*shadow));
}

/* The guest writes: no bit of the device's dirty map comes from it (KVM keeps another one). */
static void guest_write(struct hostile_guest *g, uint64_t gpa, const void *src, uint64_t len)
{
	void *hva = guest_memory_at(&g->memory, gpa, len);
	struct shadow *shadow;

	if (!hva)
		return;
	memcpy(hva, src, len);
	ram(&shadow);
	memcpy(gpa >= GUEST_HIGH ? shadow->high + (gpa - GUEST_HIGH) : shadow->low + gpa, src, len);
}

static void check_region(struct hostile_guest *g, const struct guest_region *region, uint8_t *shadow)
{
	for (uint64_t at = 0; at < region->size; at += GUEST_PAGE_SIZE)
		if (guest_memory_is_dirty(&g->memory, region->gpa + at))
			memcpy(shadow + at, region->hva + at, GUEST_PAGE_SIZE);
		else
			must(memcmp(region->hva + at, shadow + at, GUEST_PAGE_SIZE) == 0);
}

/* All that the device has written since the last time is marked; forget the marks. */
static void check_dirty(struct hostile_guest *g)
{
	struct shadow *shadow;

	ram(&shadow);
	check_region(g, &g->memory.regions[0], shadow->low);
	check_region(g, &g->memory.regions[1], shadow->high);
	guest_memory_clear_dirty(&g->memory);
}

/* ---- registers ---- */

static void reg_write(struct hostile_guest *g, uint32_t offset, uint64_t value, unsigned int len)
{
	bus_write(&g->bus, MMIO_BASE + offset, (const uint8_t *)&value, len);
}

static uint32_t reg_read(struct hostile_guest *g, uint32_t offset)
{
	uint32_t value;

	bus_read(&g->bus, MMIO_BASE + offset, (uint8_t *)&value, sizeof(value));
	return value;
}

static void any_register(struct hostile_guest *g)
{
	uint8_t how = input_u8(&g->in);
	unsigned int len = 1u << (how & 3);
	uint32_t offset = how & 4 ? input_u16(&g->in) : (uint32_t)input_u8(&g->in) * 4;
	uint64_t value;

	if (how & 8)
		bus_read(&g->bus, MMIO_BASE + offset, (uint8_t *)&value, len);
	else
		reg_write(g, offset, how & 16 ? input_u64(&g->in) : input_u8(&g->in), len);
}

/* ---- the driver ---- */

static void set_up_queue(struct hostile_guest *g, unsigned int queue, uint16_t size)
{
	g->queues[queue].size = size;
	g->queues[queue].next_desc = g->queues[queue].avail_idx = 0;
	reg_write(g, VIRTIO_MMIO_QUEUE_SEL, queue, 4);
	reg_write(g, VIRTIO_MMIO_QUEUE_NUM, size, 4);
	reg_write(g, VIRTIO_MMIO_QUEUE_DESC_LOW, rings_gpa(queue), 4);
	reg_write(g, VIRTIO_MMIO_QUEUE_AVAIL_LOW, avail_gpa(queue), 4);
	reg_write(g, VIRTIO_MMIO_QUEUE_USED_LOW, used_gpa(queue), 4);
	reg_write(g, VIRTIO_MMIO_QUEUE_READY, 1, 4);
}

/* The handshake: features that were offered, less those that the program doesn't want. */
static void start_driver(struct hostile_guest *g)
{
	static const uint8_t zero[0x808];
	uint8_t how = input_u8(&g->in);
	uint64_t features = g->device->features;

	if (how & 1)
		features &= ~(1ull << VIRTIO_RING_F_EVENT_IDX);
	if (how & 2)
		features &= ~(1ull << VIRTIO_RING_F_INDIRECT_DESC);
	if (how & 4)
		features &= ~(uint64_t)input_u32(&g->in);
	reg_write(g, VIRTIO_MMIO_STATUS, 0, 4);
	reg_write(g, VIRTIO_MMIO_STATUS, 1, 4);
	reg_write(g, VIRTIO_MMIO_STATUS, 3, 4);
	for (unsigned int half = 0; half < 2; half++) {
		reg_write(g, VIRTIO_MMIO_DRIVER_FEATURES_SEL, half, 4);
		reg_write(g, VIRTIO_MMIO_DRIVER_FEATURES, features >> (32 * half), 4);
	}
	reg_write(g, VIRTIO_MMIO_STATUS, 11, 4);
	for (unsigned int i = 0; i < g->device->n_queues; i++) {
		guest_write(g, avail_gpa(i), zero, 0x300);
		guest_write(g, used_gpa(i), zero, sizeof(zero));
		set_up_queue(g, i, (uint16_t)(256u >> (how >> 3 & 7)));
	}
	if (!(how & 64))
		reg_write(g, VIRTIO_MMIO_STATUS, 15, 4);
}

/* A buffer: mostly in RAM, of a length that means something. */
static struct vring_desc buffer(struct hostile_guest *g)
{
	static const uint32_t lengths[] = { 1, 2, 4, 8, 12, 16, 20, 44, 64, 512, 1024, 1536, 4096,
					    16384, 65536 };
	uint8_t slot = input_u8(&g->in), how = input_u8(&g->in);
	struct vring_desc desc = { .len = how % 16 < ARRAY_SIZE(lengths) ? lengths[how % 16]
									 : input_u32(&g->in) };

	desc.addr = slot < 0xf0 ? GUEST_BUFFERS + slot * SLOT_SIZE
				: GUEST_HIGH + (slot & 15u) * 2 * SLOT_SIZE;
	/* Most often to the end of RAM at the farthest. */
	if (desc.addr < GUEST_LOW_SIZE && desc.addr + desc.len > GUEST_LOW_SIZE && how < 0xf0)
		desc.len = (uint32_t)(GUEST_LOW_SIZE - desc.addr);
	return desc;
}

static void write_desc(struct hostile_guest *g, uint64_t table, uint16_t index,
		       const struct vring_desc *desc)
{
	guest_write(g, table + index * sizeof(*desc), desc, sizeof(*desc));
}

static void offer(struct hostile_guest *g, unsigned int queue, uint16_t head)
{
	uint64_t avail = avail_gpa(queue);
	uint16_t slot;

	if (g->queues[queue].size == 0)
		return;
	slot = g->queues[queue].avail_idx++ % g->queues[queue].size;
	guest_write(g, avail + 4 + 2ull * slot, &head, sizeof(head));
	guest_write(g, avail + 2, &g->queues[queue].avail_idx, 2);
}

/*
 * A request: its header, buffers to read, buffers to write, as one chain, in the queue's table or
 * in one of its own.
 */
static void request(struct hostile_guest *g, unsigned int queue)
{
	uint8_t shape = input_u8(&g->in), header[GUEST_HEADER_MAX];
	unsigned int n_readable = shape & 3, n_writable = shape >> 2 & 3, n = 0;
	uint16_t size = g->queues[queue].size, head = g->queues[queue].next_desc;
	struct vring_desc chain[8];
	size_t len = shape & 64 ? 0 : g->kind->header(g, queue, header);

	if (size == 0)
		return;
	if (len > 0) {
		uint64_t gpa = HEADER_GPA - (g->queues[queue].avail_idx % 8u) * GUEST_HEADER_MAX;

		guest_write(g, gpa, header, len);
		chain[n++] = (struct vring_desc){ .addr = gpa, .len = (uint32_t)len };
	}
	for (unsigned int i = 0; i < n_readable + n_writable; i++) {
		chain[n] = buffer(g);
		chain[n++].flags = i < n_readable ? 0 : VRING_DESC_F_WRITE;
	}
	/* An own table, in a buffer; else one descriptor after the other. */
	bool indirect = shape & 16 && n > 0;
	uint64_t table = indirect ? GUEST_BUFFERS + (shape >> 5) * SLOT_SIZE : rings_gpa(queue);
	uint16_t first = indirect ? 0 : head;

	for (unsigned int i = 0; i < n; i++) {
		uint16_t next = indirect ? (uint16_t)(i + 1) : (uint16_t)((first + i + 1) % size);

		if (i + 1 < n) {
			chain[i].flags |= VRING_DESC_F_NEXT;
			chain[i].next = next;
		}
		write_desc(g, table, indirect ? (uint16_t)i : (uint16_t)((first + i) % size),
			   &chain[i]);
	}
	if (indirect)
		write_desc(g, rings_gpa(queue), head,
			   &(struct vring_desc){ .addr = table,
						 .len = (uint32_t)(n * sizeof(chain[0])),
						 .flags = VRING_DESC_F_INDIRECT });
	g->queues[queue].next_desc = (uint16_t)((head + (indirect ? 1 : n)) % size);
	offer(g, queue, head);
}

/* The same request many times: as many chains as the queue takes. */
static void flood(struct hostile_guest *g, unsigned int queue)
{
	uint8_t times = input_u8(&g->in);

	for (unsigned int i = 0; i < times && g->queues[queue].size > 0; i++)
		offer(g, queue, (uint16_t)(i % g->queues[queue].size));
}

static void any_descriptor(struct hostile_guest *g, unsigned int queue)
{
	uint8_t index = input_u8(&g->in), how = input_u8(&g->in);
	struct vring_desc desc = buffer(g);

	if (how & 1)
		desc.addr = input_u64(&g->in);
	if (how & 2)
		desc.len = input_u32(&g->in);
	desc.flags = how >> 2 & 7;
	desc.next = how & 32 ? input_u16(&g->in) : input_u8(&g->in);
	write_desc(g, rings_gpa(queue), index, &desc);
	if (how & 64)
		offer(g, queue, index);
}

/* flags, idx, a ring's entry, used_event, used ring. */
static void any_ring_field(struct hostile_guest *g, unsigned int queue)
{
	uint8_t where = input_u8(&g->in);
	uint16_t value = where & 1 ? input_u16(&g->in) : input_u8(&g->in);
	uint64_t gpa = avail_gpa(queue);

	switch (where >> 1 & 3) {
	case 0:
		break;
	case 1:
		gpa += 2;
		break;
	case 2:
		gpa += 4 + 2ull * (where >> 3 < 16 ? where >> 3 : g->queues[queue].size);
		break;
	default:
		gpa = used_gpa(queue) + 2ull * (where >> 3);
		break;
	}
	guest_write(g, gpa, &value, sizeof(value));
}

static void any_memory(struct hostile_guest *g)
{
	uint8_t slot = input_u8(&g->in), len = input_u8(&g->in) % 64, bytes[64];
	uint64_t gpa = slot < 0xf0 ? slot * (GUEST_LOW_SIZE / 0xf0) : GUEST_HIGH + (slot & 15u) * 1024;

	input_bytes(&g->in, bytes, len);
	guest_write(g, gpa, bytes, len);
}

/* ---- snapshots ---- */

static void attach(struct hostile_guest *g)
{
	g->device = g->kind->create(g);
	must(g->device && g->device->ops->state_size <= DEVICE_STATE);
	must(virtio_mmio_init(&g->mmio, g->device, NULL) == 0);
	g->bus.n_ranges = 0;
	must(bus_add(&g->bus, MMIO_BASE, VIRTIO_MMIO_SIZE, &virtio_mmio_bus_ops, &g->mmio, NULL) == 0);
}

/* Save, and restore what the program makes of it, to this device or to one made anew. */
static void save_and_restore(struct hostile_guest *g)
{
	struct virtio_mmio_state state, again;
	uint8_t device_state[DEVICE_STATE] = { 0 }, device_again[DEVICE_STATE] = { 0 };
	size_t device_size = g->device->ops->state_size;
	struct error err = { 0 };
	uint8_t how = input_u8(&g->in);

	virtio_mmio_save(&g->mmio, &state, device_state);
	check_dirty(g);

	unsigned int patches = input_patch(&g->in, &state, sizeof(state)) +
			       input_patch(&g->in, device_state, device_size);

	if (how & 1) {
		virtio_mmio_release(&g->mmio);
		attach(g);
	}
	if (virtio_mmio_restore(&g->mmio, &state, device_state, &err) < 0) {
		must((patches > 0 || g->host_changed) && err.message[0]);
		must(reg_read(g, VIRTIO_MMIO_STATUS) == 0);
		return;
	}
	virtio_mmio_save(&g->mmio, &again, device_again);
	/* Of a device that has failed, nothing of its queues counts any more. */
	must((patches > 0 && state.needs_reset) || memcmp(&state, &again, sizeof(state)) == 0);
	must(memcmp(device_state, device_again, device_size) == 0);
	virtio_mmio_rekick(&g->mmio);
}

/* ---- rate limits ---- */

#define LIMIT_OPTION 0x80
#define LIMIT_WAITS  64

struct rate_limits hostile_guest_limits(const struct hostile_guest *g)
{
	if (!(g->options & LIMIT_OPTION))
		return (struct rate_limits){ 0 };
	return (struct rate_limits){ .bandwidth = { true, 1024, 512, 1 }, .ops = { true, 4, 0, 1 } };
}

void hostile_guest_wait_for_limits(struct hostile_guest *g)
{
	for (unsigned int i = 0; i < LIMIT_WAITS; i++) {
		machine_pass(1000000);
		machine_settle(&g->loop);
	}
}

/* ---- programs ---- */

static void step(struct hostile_guest *g)
{
	uint8_t op = input_u8(&g->in);
	unsigned int queue = (op >> 4) % g->device->n_queues;

	switch (op & 15) {
	case 0:
		start_driver(g);
		break;
	case 1:
	case 2:
		request(g, queue);
		break;
	case 3:
	case 4:
		reg_write(g, VIRTIO_MMIO_QUEUE_NOTIFY, queue, 4);
		loop_run_once(&g->loop, 0, NULL);
		break;
	case 5:
		machine_pass(1000);
		loop_run_once(&g->loop, 0, NULL);
		break;
	case 6:
	case 7:
		if (g->kind->host_event)
			g->kind->host_event(g);
		break;
	case 8:
		any_register(g);
		break;
	case 9:
		any_memory(g);
		break;
	case 10:
		any_descriptor(g, queue);
		break;
	case 11:
		any_ring_field(g, queue);
		break;
	case 12:
		flood(g, queue);
		break;
	case 13:
		save_and_restore(g);
		break;
	case 14:
		reg_write(g, VIRTIO_MMIO_INTERRUPT_ACK, reg_read(g, VIRTIO_MMIO_INTERRUPT_STATUS), 4);
		break;
	default:
		reg_write(g, VIRTIO_MMIO_STATUS, op & 16 ? 0 : input_u8(&g->in), 4);
		break;
	}
}

void hostile_guest_all_taken(struct hostile_guest *g, unsigned int queue)
{
	struct virtqueue *q = &g->device->queues[queue];

	if (!g->device->activated || g->device->needs_reset || !q->ready)
		return;
	must(virtqueue_in_flight(q) == 0 && q->avail->idx == q->next_avail);
}

void hostile_guest_run(const struct hostile_device *kind, const uint8_t *data, size_t size)
{
	struct hostile_guest g = { .in = { data, size }, .kind = kind };

	machine_begin();
	clear_memory(&g);
	must(loop_init(&g.loop, NULL) == 0);
	g.options = input_u8(&g.in);
	if (kind->host_begin)
		kind->host_begin(&g);
	attach(&g);
	for (unsigned int i = 0; i < OPERATIONS_MAX && g.in.left > 0; i++)
		step(&g);
	for (unsigned int i = 0; i < g.device->n_queues; i++)
		reg_write(&g, VIRTIO_MMIO_QUEUE_NOTIFY, i, 4);
	machine_settle(&g.loop);
	if (kind->settled)
		kind->settled(&g);
	virtio_mmio_release(&g.mmio);
	check_dirty(&g);
	if (kind->host_end)
		kind->host_end(&g);
	loop_release(&g.loop);
	machine_end();
}
