/* SPDX-License-Identifier: Apache-2.0 */
/* What virtqueue_pop makes of descriptor chains, direct and indirect, of a hostile driver. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtio_probe.h"
#include "vmm/util.h"

static void set_desc(struct queue_fixture *f, uint16_t index, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	driver_set_desc(&f->drv, 0, index, f->buffer, len, flags, next);
}

static void offer(struct queue_fixture *f, uint16_t head)
{
	driver_offer(&f->drv, 0, head);
}

static void pop_translates_the_chain_as_the_driver_wrote_it(void **state)
{
	struct queue_fixture *f = *state;
	const struct driver_buf bufs[] = {
		{ f->buffer, 16 },
		{ f->buffer + 100, 200 },
		{ DRIVER_HIGH + DRIVER_HIGH_SIZE - 512, 512 },
		{ f->buffer + 300, 1 },
	};
	uint32_t id, len;

	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 0);
	uint16_t head = driver_add(&f->drv, 0, bufs, 2, 2);

	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal(f->chain.head, head);
	assert_int_equal(f->chain.n_readable, 2);
	assert_int_equal(f->chain.n_writable, 2);
	assert_int_equal(f->chain.readable_len, 216);
	assert_int_equal(f->chain.writable_len, 513);
	for (unsigned int i = 0; i < ARRAY_SIZE(bufs); i++) {
		assert_ptr_equal(f->chain.iov[i].iov_base, driver_ptr(&f->drv, bufs[i].gpa, 1));
		assert_int_equal(f->chain.iov[i].iov_len, bufs[i].len);
	}
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 0);
	assert_false(driver_get_used(&f->drv, 0, NULL, NULL));
	virtqueue_push(f->queue, head, 513);
	assert_true(driver_get_used(&f->drv, 0, &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 513);
	assert_false(driver_get_used(&f->drv, 0, NULL, NULL));
}

static void a_chain_that_points_at_itself_breaks(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 0, 4, VRING_DESC_F_NEXT, 0);
	offer(f, 0);
	queue_assert_breaks(f, "descriptor chain longer than the queue");
}

static void a_chain_that_loops_breaks(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 0, 4, VRING_DESC_F_NEXT, 1);
	set_desc(f, 1, 4, VRING_DESC_F_NEXT, 2);
	set_desc(f, 2, 4, VRING_DESC_F_NEXT, 1);
	offer(f, 0);
	queue_assert_breaks(f, "descriptor chain longer than the queue");
}

static void a_chain_as_long_as_the_queue_is_fine(void **state)
{
	struct queue_fixture *f = *state;
	struct driver_buf bufs[PROBE_QUEUE_SIZE];

	for (unsigned int i = 0; i < PROBE_QUEUE_SIZE; i++)
		bufs[i] = (struct driver_buf){ f->buffer + i, 1 };
	driver_add(&f->drv, 0, bufs, 0, PROBE_QUEUE_SIZE);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal(f->chain.n_writable, PROBE_QUEUE_SIZE);
}

static void a_next_outside_of_the_table_breaks(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 0, 4, VRING_DESC_F_NEXT, PROBE_QUEUE_SIZE);
	offer(f, 0);
	queue_assert_breaks(f, "next descriptor outside of its table");
}

static void a_next_without_its_flag_is_ignored(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 0, 4, 0, UINT16_MAX);
	offer(f, 0);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal(f->chain.n_readable, 1);
}

static void a_readable_buffer_after_a_writable_one_breaks(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 0, 4, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	set_desc(f, 1, 4, 0, 0);
	offer(f, 0);
	queue_assert_breaks(f, "readable descriptor after a writable one");
}

static void an_empty_buffer_breaks(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 0, 4, VRING_DESC_F_NEXT, 1);
	set_desc(f, 1, 0, 0, 0);
	offer(f, 0);
	queue_assert_breaks(f, "empty buffer");
}

/* 255 times 16 MiB and the rest to 4 GiB - 1 is the most that fits; one byte more doesn't. */
static void offer_sum(struct queue_fixture *f, uint32_t last)
{
	for (uint16_t i = 0; i < VIRTQUEUE_SIZE_MAX; i++)
		driver_set_desc(&f->drv, 0, i, 0,
				i == VIRTQUEUE_SIZE_MAX - 1 ? last : (uint32_t)DRIVER_LOW_SIZE,
				(i < VIRTQUEUE_SIZE_MAX - 1 ? VRING_DESC_F_NEXT : 0) |
					(i >= 100 ? VRING_DESC_F_WRITE : 0),
				(uint16_t)(i + 1));
	offer(f, 0);
}

static void a_chain_just_below_4_gib_is_fine(void **state)
{
	struct queue_fixture *f = *state;

	offer_sum(f, DRIVER_LOW_SIZE - 1);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal((uint64_t)f->chain.readable_len + f->chain.writable_len, UINT32_MAX);
}

static void a_chain_of_4_gib_breaks(void **state)
{
	struct queue_fixture *f = *state;

	offer_sum(f, DRIVER_LOW_SIZE);
	queue_assert_breaks(f, "descriptor chain of 4 GiB or more");
}

static void buffers_outside_of_ram_break(void **state)
{
	static const struct driver_buf outside[] = {
		{ DRIVER_LOW_SIZE, 1 },	    /* the hole */
		{ DRIVER_LOW_SIZE - 1, 2 }, /* into the hole */
		{ 0, (uint32_t)DRIVER_LOW_SIZE + 1 },
		{ DRIVER_MMIO_BASE, 4 }, /* a device's registers */
		{ DRIVER_HIGH - 1, 2 },	 /* out of the hole */
		{ DRIVER_HIGH + DRIVER_HIGH_SIZE - 4, 5 },
		{ DRIVER_HIGH, UINT32_MAX },
		{ UINT64_MAX, 1 },
		{ UINT64_MAX - 15, 32 }, /* wraps around to 16 */
		{ UINT64_MAX - UINT32_MAX + 2, UINT32_MAX },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(outside); i++) {
		struct queue_fixture *f = *state;

		driver_set_desc(&f->drv, 0, 0, outside[i].gpa, outside[i].len, 0, 0);
		offer(f, 0);
		queue_assert_breaks(f, "buffer outside of RAM");
		assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	}
}

/* A table of n single-byte buffers in a chain, announced by descriptor 0. */
static struct vring_desc *indirect(struct queue_fixture *f, unsigned int n, uint32_t len,
				   uint16_t flags)
{
	uint64_t gpa = driver_alloc(&f->drv, 4096, 4096);
	struct vring_desc *table = driver_ptr(&f->drv, gpa, 4096);

	for (unsigned int i = 0; i < n; i++)
		table[i] = (struct vring_desc){ .addr = f->buffer + i,
						.len = 1,
						.flags = i + 1 < n ? VRING_DESC_F_NEXT : 0,
						.next = (uint16_t)(i + 1) };
	driver_set_desc(&f->drv, 0, 0, gpa, len, VRING_DESC_F_INDIRECT | flags, 1);
	offer(f, 0);
	return table;
}

static void an_indirect_table_is_followed(void **state)
{
	struct queue_fixture *f = *state;
	struct driver_buf bufs[] = { { f->buffer, 1 },
				     { f->buffer + 8, 2 },
				     { f->buffer + 16, 3 } };
	uint16_t head = driver_add_indirect(&f->drv, 0, bufs, 1, 2);

	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal(f->chain.head, head);
	assert_int_equal(f->chain.n_readable, 1);
	assert_int_equal(f->chain.n_writable, 2);
	assert_int_equal(f->chain.readable_len, 1);
	assert_int_equal(f->chain.writable_len, 5);
	assert_ptr_equal(f->chain.iov[2].iov_base, driver_ptr(&f->drv, f->buffer + 16, 1));
}

static void an_indirect_table_may_end_a_direct_chain(void **state)
{
	struct queue_fixture *f = *state;
	uint64_t gpa = driver_alloc(&f->drv, 64, 16);

	memcpy(driver_ptr(&f->drv, gpa, 16),
	       &(struct vring_desc){ .addr = f->buffer, .len = 9, .flags = VRING_DESC_F_WRITE },
	       16);
	set_desc(f, 0, 4, VRING_DESC_F_NEXT, 1);
	driver_set_desc(&f->drv, 0, 1, gpa, 16, VRING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal(f->chain.readable_len, 4);
	assert_int_equal(f->chain.writable_len, 9);
}

static void the_write_flag_of_an_indirect_descriptor_is_ignored(void **state)
{
	struct queue_fixture *f = *state;

	indirect(f, 2, 32, VRING_DESC_F_WRITE);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal(f->chain.n_readable, 2);
}

static void an_indirect_table_may_be_unaligned(void **state)
{
	struct queue_fixture *f = *state;
	uint64_t gpa = driver_alloc(&f->drv, 64, 16) + 3;

	memcpy(driver_ptr(&f->drv, gpa, 16), &(struct vring_desc){ .addr = f->buffer, .len = 5 },
	       16);
	driver_set_desc(&f->drv, 0, 0, gpa, 16, VRING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal(f->chain.readable_len, 5);
}

static void an_indirect_descriptor_needs_the_feature(void **state)
{
	struct queue_fixture *f = *state;

	indirect(f, 2, 32, 0);
	queue_assert_breaks(f, "indirect descriptor without VIRTIO_F_INDIRECT_DESC");
}

static void a_nested_indirect_table_breaks(void **state)
{
	struct queue_fixture *f = *state;
	struct vring_desc *table = indirect(f, 2, 32, 0);

	table[1].flags = VRING_DESC_F_INDIRECT;
	table[1].len = 16;
	queue_assert_breaks(f, "indirect descriptor in an indirect table");
}

/* The table of the queue itself as indirect table, and in it the same descriptor: for ever? */
static void the_descriptor_table_as_indirect_table_breaks(void **state)
{
	struct queue_fixture *f = *state;

	driver_set_desc(&f->drv, 0, 0, f->drv.queues[0].desc_gpa, 16, VRING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	queue_assert_breaks(f, "indirect descriptor in an indirect table");
}

static void an_indirect_descriptor_with_next_breaks(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 1, 4, 0, 0);
	indirect(f, 1, 16, VRING_DESC_F_NEXT);
	queue_assert_breaks(f, "indirect descriptor with a next one");
}

static void indirect_table_lengths_are_checked(void **state)
{
	static const uint32_t bad[] = { 0, 1, 15, 17, 31, UINT32_MAX };
	struct queue_fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		indirect(f, 2, bad[i], 0);
		queue_assert_breaks(f, "indirect table's length isn't a multiple of 16");
		assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	}
	indirect(f, PROBE_QUEUE_SIZE, (PROBE_QUEUE_SIZE + 1) * 16, 0);
	queue_assert_breaks(f, "indirect table longer than the queue");
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	indirect(f, 1, 0xfffffff0, 0);
	queue_assert_breaks(f, "indirect table longer than the queue");
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	indirect(f, PROBE_QUEUE_SIZE, PROBE_QUEUE_SIZE * 16, 0);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal(f->chain.n_readable, PROBE_QUEUE_SIZE);
}

static void an_indirect_table_outside_of_ram_breaks(void **state)
{
	static const uint64_t bad[] = { DRIVER_LOW_SIZE, DRIVER_LOW_SIZE - 16, DRIVER_HIGH - 16,
					DRIVER_HIGH + DRIVER_HIGH_SIZE - 16, UINT64_MAX - 15 };
	struct queue_fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		driver_set_desc(&f->drv, 0, 0, bad[i], 32, VRING_DESC_F_INDIRECT, 0);
		offer(f, 0);
		queue_assert_breaks(f, "indirect table outside of RAM");
		assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	}
}

/* next is an index into the indirect table, though the queue's own table is longer. */
static void a_next_outside_of_the_indirect_table_breaks(void **state)
{
	struct queue_fixture *f = *state;
	struct vring_desc *table = indirect(f, 3, 32, 0);

	assert_int_equal(table[1].next, 2);
	queue_assert_breaks(f, "next descriptor outside of its table");
}

static void an_indirect_table_that_loops_breaks(void **state)
{
	struct queue_fixture *f = *state;
	struct vring_desc *table = indirect(f, 2, 32, 0);

	table[1].flags = VRING_DESC_F_NEXT;
	table[1].next = 0;
	queue_assert_breaks(f, "descriptor chain longer than the queue");
}

static void direct_and_indirect_descriptors_count_together(void **state)
{
	struct queue_fixture *f = *state;

	indirect(f, PROBE_QUEUE_SIZE, PROBE_QUEUE_SIZE * 16, 0);
	f->drv.queues[0].vring.desc[1] = f->drv.queues[0].vring.desc[0];
	set_desc(f, 0, 4, VRING_DESC_F_NEXT, 1);
	queue_assert_breaks(f, "descriptor chain longer than the queue");
}

struct flipper {
	volatile struct vring_desc *desc;
	struct vring_desc good, bad;
	_Atomic bool stop;
};

static void *flip(void *context)
{
	struct flipper *flipper = context;

	while (!flipper->stop) {
		flipper->desc->addr = flipper->bad.addr;
		flipper->desc->len = flipper->bad.len;
		flipper->desc->addr = flipper->good.addr;
		flipper->desc->len = flipper->good.len;
	}
	return NULL;
}

/* What was checked is what is used, however fast the driver changes a descriptor meanwhile. */
static void a_descriptor_that_changes_meanwhile_is_used_as_checked(void **state)
{
	struct queue_fixture *f = *state;
	struct flipper flipper = {
		.desc = &f->drv.queues[0].vring.desc[0],
		.good = { .addr = f->buffer, .len = 64 },
		.bad = { .addr = DRIVER_LOW_SIZE - 8, .len = 4096 },
	};
	uint8_t *ram = f->drv.memory.regions[0].hva;
	unsigned int popped = 0, broke = 0;
	pthread_t thread;

	set_desc(f, 0, 64, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, flip, &flipper), 0);
	/* On a loaded machine it takes a while until the two threads have met in both ways. */
	const uint64_t start = monotonic_ns();

	while (monotonic_ns() - start < 200000000 ||
	       ((popped == 0 || broke == 0) && monotonic_ns() - start < 20000000000)) {
		offer(f, 0);
		if (virtqueue_pop(f->queue, &f->chain) == 1) {
			const struct iovec *iov = &f->chain.iov[0];

			popped++;
			if ((uint8_t *)iov->iov_base < ram ||
			    (uint8_t *)iov->iov_base + iov->iov_len > ram + DRIVER_LOW_SIZE ||
			    iov->iov_len != f->chain.readable_len)
				broke = UINT32_MAX;
			virtqueue_push(f->queue, 0, 0);
		} else if (broke != UINT32_MAX) {
			broke++;
			f->queue->broken = false;
			f->queue->next_avail++;
		}
	}
	flipper.stop = true;
	pthread_join(thread, NULL);
	assert_int_not_equal(broke, UINT32_MAX);
	assert_true(popped > 0 && broke > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		QUEUE_TEST(pop_translates_the_chain_as_the_driver_wrote_it),
		QUEUE_TEST(a_chain_that_points_at_itself_breaks),
		QUEUE_TEST(a_chain_that_loops_breaks),
		QUEUE_TEST(a_chain_as_long_as_the_queue_is_fine),
		QUEUE_TEST(a_next_outside_of_the_table_breaks),
		QUEUE_TEST(a_next_without_its_flag_is_ignored),
		QUEUE_TEST(a_readable_buffer_after_a_writable_one_breaks),
		QUEUE_TEST(an_empty_buffer_breaks),
		QUEUE_TEST_LARGEST(a_chain_just_below_4_gib_is_fine),
		QUEUE_TEST_LARGEST(a_chain_of_4_gib_breaks),
		QUEUE_TEST(buffers_outside_of_ram_break),
		QUEUE_TEST(an_indirect_table_is_followed),
		QUEUE_TEST(an_indirect_table_may_end_a_direct_chain),
		QUEUE_TEST(the_write_flag_of_an_indirect_descriptor_is_ignored),
		QUEUE_TEST(an_indirect_table_may_be_unaligned),
		QUEUE_TEST_PLAIN(an_indirect_descriptor_needs_the_feature),
		QUEUE_TEST(a_nested_indirect_table_breaks),
		QUEUE_TEST(the_descriptor_table_as_indirect_table_breaks),
		QUEUE_TEST(an_indirect_descriptor_with_next_breaks),
		QUEUE_TEST(indirect_table_lengths_are_checked),
		QUEUE_TEST(an_indirect_table_outside_of_ram_breaks),
		QUEUE_TEST(a_next_outside_of_the_indirect_table_breaks),
		QUEUE_TEST(an_indirect_table_that_loops_breaks),
		QUEUE_TEST(direct_and_indirect_descriptors_count_together),
		QUEUE_TEST(a_descriptor_that_changes_meanwhile_is_used_as_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
