/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/util.h"

#define CHAIN_END UINT16_MAX

void driver_setup(struct virtio_driver *drv)
{
	memset(drv, 0, sizeof(*drv));
	assert_int_equal(
		guest_memory_add(&drv->memory, 0, DRIVER_LOW_SIZE, MEMORY_BACKING_NONE, true, NULL),
		0);
	assert_int_equal(guest_memory_add(&drv->memory, DRIVER_HIGH, DRIVER_HIGH_SIZE,
					  MEMORY_BACKING_NONE, true, NULL),
			 0);
	assert_int_equal(loop_init(&drv->loop, NULL), 0);
	/* Away from 0, where a device that forgets to check an address would like to write. */
	drv->heap = 64 * KIB;
}

void driver_attach(struct virtio_driver *drv, struct virtio_device *device)
{
	assert_int_equal(virtio_mmio_init(&drv->mmio, device, NULL), 0);
	drv->device = device;
	assert_int_equal(bus_add(&drv->bus, DRIVER_MMIO_BASE, VIRTIO_MMIO_SIZE,
				 &virtio_mmio_bus_ops, &drv->mmio, NULL),
			 0);
}

void driver_teardown(struct virtio_driver *drv)
{
	if (drv->device)
		virtio_mmio_release(&drv->mmio);
	loop_release(&drv->loop);
	guest_memory_release(&drv->memory);
}

uint64_t driver_alloc(struct virtio_driver *drv, uint64_t len, uint64_t align)
{
	uint64_t gpa = align_up(drv->heap, align);

	assert_true(gpa + len <= DRIVER_LOW_SIZE);
	drv->heap = gpa + len;
	return gpa;
}

void *driver_ptr(struct virtio_driver *drv, uint64_t gpa, uint64_t len)
{
	void *hva = guest_memory_at(&drv->memory, gpa, len);

	assert_non_null(hva);
	return hva;
}

uint64_t driver_read_width(struct virtio_driver *drv, uint32_t offset, unsigned int len)
{
	uint64_t value = 0;

	bus_read(&drv->bus, DRIVER_MMIO_BASE + offset, (uint8_t *)&value, len);
	return value;
}

void driver_write_width(struct virtio_driver *drv, uint32_t offset, uint64_t value,
			unsigned int len)
{
	bus_write(&drv->bus, DRIVER_MMIO_BASE + offset, (const uint8_t *)&value, len);
}

uint32_t driver_read(struct virtio_driver *drv, uint32_t offset)
{
	return (uint32_t)driver_read_width(drv, offset, 4);
}

void driver_write(struct virtio_driver *drv, uint32_t offset, uint32_t value)
{
	driver_write_width(drv, offset, value, 4);
}

uint32_t driver_status(struct virtio_driver *drv)
{
	return driver_read(drv, VIRTIO_MMIO_STATUS);
}

void driver_read_config(struct virtio_driver *drv, uint32_t offset, void *dst, unsigned int len)
{
	for (unsigned int i = 0; i < len; i++)
		((uint8_t *)dst)[i] =
			(uint8_t)driver_read_width(drv, VIRTIO_MMIO_CONFIG + offset + i, 1);
}

uint64_t driver_offered(struct virtio_driver *drv)
{
	uint64_t features;

	driver_write(drv, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	features = (uint64_t)driver_read(drv, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	driver_write(drv, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return features | driver_read(drv, VIRTIO_MMIO_DEVICE_FEATURES);
}

static void add_status(struct virtio_driver *drv, uint32_t bit)
{
	driver_write(drv, VIRTIO_MMIO_STATUS, driver_status(drv) | bit);
}

uint32_t driver_negotiate(struct virtio_driver *drv, uint64_t features)
{
	driver_reset(drv);
	add_status(drv, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(drv, VIRTIO_CONFIG_S_DRIVER);
	drv->features = features == ALL_FEATURES ? driver_offered(drv) : features;
	driver_write(drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	driver_write(drv, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(drv->features >> 32));
	driver_write(drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	driver_write(drv, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)drv->features);
	add_status(drv, VIRTIO_CONFIG_S_FEATURES_OK);
	return driver_status(drv);
}

void driver_queue_registers(struct virtio_driver *drv, unsigned int queue, uint32_t size,
			    uint64_t desc, uint64_t avail, uint64_t used)
{
	driver_write(drv, VIRTIO_MMIO_QUEUE_SEL, queue);
	driver_write(drv, VIRTIO_MMIO_QUEUE_NUM, size);
	driver_write(drv, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)desc);
	driver_write(drv, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(desc >> 32));
	driver_write(drv, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)avail);
	driver_write(drv, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(avail >> 32));
	driver_write(drv, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
	driver_write(drv, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(used >> 32));
	driver_write(drv, VIRTIO_MMIO_QUEUE_READY, 1);
}

void driver_queue_setup(struct virtio_driver *drv, unsigned int queue, uint16_t size)
{
	struct driver_queue *q = &drv->queues[queue];

	driver_write(drv, VIRTIO_MMIO_QUEUE_SEL, queue);
	if (size == 0)
		size = (uint16_t)driver_read(drv, VIRTIO_MMIO_QUEUE_NUM_MAX);
	*q = (struct driver_queue){ 0 };
	q->desc_gpa = driver_alloc(drv, size * sizeof(struct vring_desc), VRING_DESC_ALIGN_SIZE);
	q->avail_gpa = driver_alloc(drv, 6 + 2ull * size, VRING_AVAIL_ALIGN_SIZE);
	q->used_gpa = driver_alloc(drv, 6 + 8ull * size, VRING_USED_ALIGN_SIZE);
	q->vring.num = size;
	q->vring.desc = driver_ptr(drv, q->desc_gpa, size * sizeof(struct vring_desc));
	q->vring.avail = driver_ptr(drv, q->avail_gpa, 6 + 2ull * size);
	q->vring.used = driver_ptr(drv, q->used_gpa, 6 + 8ull * size);
	driver_queue_registers(drv, queue, size, q->desc_gpa, q->avail_gpa, q->used_gpa);
}

uint32_t driver_ok(struct virtio_driver *drv)
{
	add_status(drv, VIRTIO_CONFIG_S_DRIVER_OK);
	return driver_status(drv);
}

uint32_t driver_start(struct virtio_driver *drv, uint64_t features)
{
	driver_negotiate(drv, features);
	for (unsigned int i = 0; i < drv->device->n_queues; i++)
		driver_queue_setup(drv, i, 0);
	return driver_ok(drv);
}

void driver_reset(struct virtio_driver *drv)
{
	driver_write(drv, VIRTIO_MMIO_STATUS, 0);
}

void driver_set_desc(struct virtio_driver *drv, unsigned int queue, uint16_t index, uint64_t addr,
		     uint32_t len, uint16_t flags, uint16_t next)
{
	drv->queues[queue].vring.desc[index] =
		(struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

void driver_offer(struct virtio_driver *drv, unsigned int queue, uint16_t head)
{
	struct driver_queue *q = &drv->queues[queue];

	q->vring.avail->ring[q->avail_idx % q->vring.num] = head;
	q->avail_idx++;
	__atomic_store_n(&q->vring.avail->idx, q->avail_idx, __ATOMIC_RELEASE);
}

static uint16_t take_desc(struct driver_queue *q)
{
	for (uint16_t i = 0; i < q->vring.num; i++) {
		if (q->busy[i / 64] >> (i % 64) & 1)
			continue;
		q->busy[i / 64] |= 1ull << (i % 64);
		q->chain_next[i] = CHAIN_END;
		return i;
	}
	fail_msg("no free descriptor");
	return 0;
}

uint16_t driver_add(struct virtio_driver *drv, unsigned int queue, const struct driver_buf *bufs,
		    unsigned int n_readable, unsigned int n_writable)
{
	struct driver_queue *q = &drv->queues[queue];
	unsigned int n = n_readable + n_writable;
	uint16_t head = take_desc(q), index = head;

	for (unsigned int i = 0; i < n; i++) {
		uint16_t flags = i >= n_readable ? VRING_DESC_F_WRITE : 0;
		uint16_t next = 0;

		if (i + 1 < n) {
			next = take_desc(q);
			flags |= VRING_DESC_F_NEXT;
			q->chain_next[index] = next;
		}
		driver_set_desc(drv, queue, index, bufs[i].gpa, bufs[i].len, flags, next);
		index = next;
	}
	driver_offer(drv, queue, head);
	return head;
}

uint16_t driver_add_indirect(struct virtio_driver *drv, unsigned int queue,
			     const struct driver_buf *bufs, unsigned int n_readable,
			     unsigned int n_writable)
{
	unsigned int n = n_readable + n_writable;
	uint64_t gpa = driver_alloc(drv, n * sizeof(struct vring_desc), VRING_DESC_ALIGN_SIZE);
	struct vring_desc *table = driver_ptr(drv, gpa, n * sizeof(struct vring_desc));
	uint16_t head = take_desc(&drv->queues[queue]);

	for (unsigned int i = 0; i < n; i++) {
		table[i] = (struct vring_desc){ .addr = bufs[i].gpa, .len = bufs[i].len };
		if (i >= n_readable)
			table[i].flags |= VRING_DESC_F_WRITE;
		if (i + 1 < n) {
			table[i].flags |= VRING_DESC_F_NEXT;
			table[i].next = (uint16_t)(i + 1);
		}
	}
	driver_set_desc(drv, queue, head, gpa, (uint32_t)(n * sizeof(struct vring_desc)),
			VRING_DESC_F_INDIRECT, 0);
	driver_offer(drv, queue, head);
	return head;
}

void driver_kick(struct virtio_driver *drv, unsigned int queue)
{
	driver_write(drv, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

void driver_kick_eventfd(struct virtio_driver *drv, unsigned int queue)
{
	uint64_t one = 1;

	assert_int_equal(write(drv->mmio.kicks[queue].eventfd, &one, sizeof(one)), sizeof(one));
}

void driver_run_wait(struct virtio_driver *drv, int timeout_ms)
{
	for (int round = 0; round < 1000; round++) {
		int n = loop_run_once(&drv->loop, round == 0 ? timeout_ms : 0, NULL);

		assert_true(n >= 0);
		if (n == 0)
			return;
	}
	fail_msg("the event loop doesn't calm down");
}

void driver_run(struct virtio_driver *drv)
{
	driver_run_wait(drv, 0);
}

bool driver_kick_wanted(struct virtio_driver *drv, unsigned int queue)
{
	struct driver_queue *q = &drv->queues[queue];
	uint16_t old = q->kicked_at;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	q->kicked_at = q->avail_idx;
	if (drv->features & EVENT_IDX)
		return vring_need_event(vring_avail_event(&q->vring), q->avail_idx, old);
	return !(q->vring.used->flags & VRING_USED_F_NO_NOTIFY);
}

bool driver_get_used(struct virtio_driver *drv, unsigned int queue, uint32_t *id, uint32_t *len)
{
	struct driver_queue *q = &drv->queues[queue];

	if (__atomic_load_n(&q->vring.used->idx, __ATOMIC_ACQUIRE) == q->last_used)
		return false;

	struct vring_used_elem elem = q->vring.used->ring[q->last_used++ % q->vring.num];

	assert_true(elem.id < q->vring.num);
	if (id)
		*id = elem.id;
	if (len)
		*len = elem.len;
	if (drv->features & EVENT_IDX)
		vring_used_event(&q->vring) = q->last_used;
	/* A chain that driver_add made; raw ones have no books. */
	for (uint16_t i = (uint16_t)elem.id; i != CHAIN_END && q->busy[i / 64] >> (i % 64) & 1;
	     i = q->chain_next[i])
		q->busy[i / 64] &= ~(1ull << (i % 64));
	return true;
}

void driver_set_used_event(struct virtio_driver *drv, unsigned int queue, uint16_t index)
{
	vring_used_event(&drv->queues[queue].vring) = index;
}

void driver_set_no_interrupt(struct virtio_driver *drv, unsigned int queue, bool no_interrupt)
{
	drv->queues[queue].vring.avail->flags = no_interrupt ? VRING_AVAIL_F_NO_INTERRUPT : 0;
}

uint64_t driver_interrupts(struct virtio_driver *drv)
{
	uint64_t count = 0;

	/* The eventfd is non-blocking: none is no error. */
	if (read(drv->device->irq.eventfd, &count, sizeof(count)) < 0)
		return 0;
	return count;
}

uint32_t driver_ack_interrupts(struct virtio_driver *drv)
{
	uint32_t status = driver_read(drv, VIRTIO_MMIO_INTERRUPT_STATUS);

	driver_write(drv, VIRTIO_MMIO_INTERRUPT_ACK, status);
	return status;
}
