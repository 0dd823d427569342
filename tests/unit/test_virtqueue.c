/* SPDX-License-Identifier: Apache-2.0 */
/* Ring indexes, start, stop and restore of a split virtqueue; gather and scatter. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
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

static void indexes_wrap_at_16_bits(void **state)
{
	struct queue_fixture *f = *state;
	uint32_t id, len;

	for (uint32_t i = 0; i < 3 * 65536 / 2; i++) {
		uint16_t heads[3];

		for (unsigned int k = 0; k < 1 + i % 3; k++)
			heads[k] =
				driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 0, 1);
		for (unsigned int k = 0; k < 1 + i % 3; k++) {
			assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
			assert_int_equal(f->chain.head, heads[k]);
			virtqueue_push(f->queue, f->chain.head, k);
		}
		assert_int_equal(virtqueue_pop(f->queue, &f->chain), 0);
		for (unsigned int k = 0; k < 1 + i % 3; k++) {
			assert_true(driver_get_used(&f->drv, 0, &id, &len));
			assert_int_equal(id, heads[k]);
			assert_int_equal(len, k);
		}
	}
}

static void chains_come_back_in_any_order(void **state)
{
	struct queue_fixture *f = *state;
	uint16_t heads[4];
	uint32_t id;

	for (unsigned int i = 0; i < 4; i++) {
		heads[i] = driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
		assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	}
	assert_int_equal(virtqueue_in_flight(f->queue), 4);
	for (unsigned int i = 4; i-- > 0;)
		virtqueue_push(f->queue, heads[i], 0);
	assert_int_equal(virtqueue_in_flight(f->queue), 0);
	for (unsigned int i = 4; i-- > 0;) {
		assert_true(driver_get_used(&f->drv, 0, &id, NULL));
		assert_int_equal(id, heads[i]);
	}
}

static void a_queue_can_be_filled_to_its_size(void **state)
{
	struct queue_fixture *f = *state;

	for (unsigned int i = 0; i < PROBE_QUEUE_SIZE; i++)
		driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
	for (unsigned int i = 0; i < PROBE_QUEUE_SIZE; i++)
		assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	assert_int_equal(virtqueue_in_flight(f->queue), PROBE_QUEUE_SIZE);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 0);
}

static void an_available_index_too_far_ahead_breaks(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 0, 4, 0, 0);
	f->drv.queues[0].vring.avail->idx = PROBE_QUEUE_SIZE + 1;
	queue_assert_breaks(f, "available index ran more than the queue's size ahead");
}

static void an_available_index_that_goes_back_breaks(void **state)
{
	struct queue_fixture *f = *state;

	driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	f->drv.queues[0].vring.avail->idx = 0;
	queue_assert_breaks(f, "available index ran more than the queue's size ahead");
}

static void a_head_outside_of_the_table_breaks(void **state)
{
	struct queue_fixture *f = *state;

	offer(f, PROBE_QUEUE_SIZE);
	queue_assert_breaks(f, "head outside of the descriptor table");
}

static void the_largest_head_breaks(void **state)
{
	struct queue_fixture *f = *state;

	offer(f, UINT16_MAX);
	queue_assert_breaks(f, "head outside of the descriptor table");
}

static void a_head_popped_again_before_its_push_breaks(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 3, 4, 0, 0);
	offer(f, 3);
	offer(f, 3);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	queue_assert_breaks(f, "head made available while the device has it");
}

static void a_head_pushed_can_be_popped_again(void **state)
{
	struct queue_fixture *f = *state;

	set_desc(f, 3, 4, 0, 0);
	for (int i = 0; i < 3; i++) {
		offer(f, 3);
		assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
		virtqueue_push(f->queue, 3, 0);
	}
	assert_int_equal(f->drv.queues[0].vring.used->idx, 3);
}

static void a_broken_queue_takes_and_tells_nothing(void **state)
{
	struct queue_fixture *f = *state;

	driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	offer(f, UINT16_MAX);
	assert_int_equal(virtqueue_pop(f->queue, &(struct virtqueue_chain){ 0 }), -EPROTO);
	virtqueue_push(f->queue, f->chain.head, 0);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 0);
	assert_false(virtqueue_wants_interrupt(f->queue));
	assert_false(virtqueue_enable_kicks(f->queue));
}

static void only_heads_in_flight_are_pushed(void **state)
{
	struct queue_fixture *f = *state;
	uint16_t head = driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);

	virtqueue_push(f->queue, head, 0);
	virtqueue_push(f->queue, UINT16_MAX, 0);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 0);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	virtqueue_push(f->queue, head, 0);
	virtqueue_push(f->queue, head, 0);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 1);
}

static void several_chains_are_pushed_with_one_index(void **state)
{
	struct queue_fixture *f = *state;
	struct virtqueue_used used[3];
	uint32_t id, len;

	for (uint16_t i = 0; i < 3; i++) {
		driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 0, 1);
		assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
		used[i] = (struct virtqueue_used){ f->chain.head, 40u + i };
	}
	virtqueue_push_together(f->queue, used, 3);
	virtqueue_push_together(f->queue, used, 3);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 3);
	for (uint16_t i = 0; i < 3; i++) {
		assert_true(driver_get_used(&f->drv, 0, &id, &len));
		assert_int_equal(id, used[i].head);
		assert_int_equal(len, 40 + i);
	}
	assert_int_equal(virtqueue_in_flight(f->queue), 0);
}

static void unpopped_chains_are_popped_again_in_order(void **state)
{
	struct queue_fixture *f = *state;
	uint16_t heads[4], undo[3];

	for (unsigned int i = 0; i < 4; i++) {
		heads[i] = driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
		assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	}
	undo[0] = heads[3];
	undo[1] = heads[1];
	undo[2] = heads[2];
	virtqueue_unpop(f->queue, undo, 3);
	assert_int_equal(virtqueue_in_flight(f->queue), 1);
	/* A second time they aren't in flight any more. */
	virtqueue_unpop(f->queue, undo, 3);
	assert_int_equal(virtqueue_in_flight(f->queue), 1);
	for (unsigned int i = 1; i < 4; i++) {
		assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
		assert_int_equal(f->chain.head, heads[i]);
	}
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 0);
}

/* A queue of 4 whose rings are laid out by hand in low memory, not started. */
static struct virtqueue good_queue(void)
{
	struct virtqueue queue = {
		.max_size = 8,
		.size = 4,
		.ready = true,
		.desc_gpa = 0x1000,
		.avail_gpa = 0x2000,
		.used_gpa = 0x3000,
	};
	return queue;
}

static void assert_start_fails(struct queue_fixture *f, struct virtqueue queue, const char *reason)
{
	struct error err = { 0 };

	assert_int_equal(virtqueue_start(&queue, &f->drv.memory, VERSION_1, &err), -EINVAL);
	assert_string_equal(err.message, reason);
	assert_null(queue.desc);
	assert_int_equal(virtqueue_pop(&queue, &f->chain), 0);
}

static void start_checks_size_and_alignment(void **state)
{
	struct queue_fixture *f = *state;
	struct virtqueue queue = good_queue();

	assert_int_equal(virtqueue_start(&queue, &f->drv.memory, VERSION_1, NULL), 0);
	queue = good_queue();
	queue.ready = false;
	assert_start_fails(f, queue, "not ready");
	queue = good_queue();
	queue.size = 0;
	assert_start_fails(f, queue, "size 0 is not a power of two from 1 to 8");
	queue.size = 3;
	assert_start_fails(f, queue, "size 3 is not a power of two from 1 to 8");
	queue.size = 16;
	assert_start_fails(f, queue, "size 16 is not a power of two from 1 to 8");
	queue = good_queue();
	queue.desc_gpa += 8;
	assert_start_fails(f, queue, "descriptor table at 0x1008 isn't aligned");
	queue = good_queue();
	queue.avail_gpa += 1;
	assert_start_fails(f, queue, "available ring at 0x2001 isn't aligned");
	queue = good_queue();
	queue.used_gpa += 2;
	assert_start_fails(f, queue, "used ring at 0x3002 isn't aligned");
}

/* To the last byte: the event index behind each ring included. */
static void start_wants_each_area_wholly_in_ram(void **state)
{
	struct queue_fixture *f = *state;
	struct virtqueue queue = good_queue();

	queue.desc_gpa = DRIVER_LOW_SIZE - 4 * 16;
	queue.avail_gpa = DRIVER_HIGH + DRIVER_HIGH_SIZE - (4 + 2 * 4 + 2);
	queue.used_gpa = DRIVER_LOW_SIZE - 40; /* 4 + 8 * 4 + 2 = 38 bytes, aligned */
	assert_int_equal(virtqueue_start(&queue, &f->drv.memory, VERSION_1, NULL), 0);

	queue = good_queue();
	queue.desc_gpa = DRIVER_LOW_SIZE - 3 * 16;
	assert_start_fails(f, queue, "descriptor table at 0xffffd0 isn't in RAM");
	queue = good_queue();
	queue.avail_gpa = DRIVER_LOW_SIZE - (4 + 2 * 4);
	assert_start_fails(f, queue, "available ring at 0xfffff4 isn't in RAM");
	queue = good_queue();
	queue.used_gpa = DRIVER_LOW_SIZE - (4 + 8 * 4);
	assert_start_fails(f, queue, "used ring at 0xffffdc isn't in RAM");
	queue = good_queue();
	queue.used_gpa = 0xfffffffffffffffc;
	assert_start_fails(f, queue, "used ring at 0xfffffffffffffffc isn't in RAM");
	queue = good_queue();
	queue.desc_gpa = DRIVER_MMIO_BASE & ~0xfffull;
	assert_start_fails(f, queue, "descriptor table at 0xc0001000 isn't in RAM");
}

static void a_stopped_queue_does_nothing_and_keeps_its_registers(void **state)
{
	struct queue_fixture *f = *state;
	struct virtqueue_state saved;

	driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
	driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
	virtqueue_stop(f->queue);
	assert_int_equal(virtqueue_pop(f->queue, &(struct virtqueue_chain){ 0 }), 0);
	virtqueue_push(f->queue, f->chain.head, 0);
	virtqueue_disable_kicks(f->queue);
	assert_false(virtqueue_enable_kicks(f->queue));
	assert_false(virtqueue_wants_interrupt(f->queue));
	assert_int_equal(virtqueue_in_flight(f->queue), 0);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 0);
	virtqueue_save(f->queue, &saved);
	assert_int_equal(saved.size, PROBE_QUEUE_SIZE);
	assert_int_equal(saved.ready, 1);
	assert_int_equal(saved.desc_gpa, f->drv.queues[0].desc_gpa);
	assert_int_equal(saved.next_avail, 0);
	virtqueue_reset(f->queue);
	virtqueue_save(f->queue, &saved);
	assert_int_equal(saved.size, 0);
	assert_int_equal(saved.ready, 0);
	assert_int_equal(saved.used_gpa, 0);
	assert_int_equal(f->queue->max_size, PROBE_QUEUE_SIZE);
}

/* Move a running queue into a new struct, as a restore does: same memory, saved indexes. */
static void save_and_restore(struct queue_fixture *f)
{
	struct virtqueue fresh = { .max_size = PROBE_QUEUE_SIZE };
	struct virtqueue_state saved;

	virtqueue_save(f->queue, &saved);
	assert_int_equal(virtqueue_restore(&fresh, &saved, NULL), 0);
	assert_int_equal(virtqueue_start(&fresh, &f->drv.memory, f->drv.features, NULL), 0);
	*f->queue = fresh;
}

static void a_restored_queue_goes_on_where_it_was(void **state)
{
	struct queue_fixture *f = *state;
	uint32_t id, len;

	for (uint32_t i = 0; i < 65536 + 100; i++) {
		uint16_t head = driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);

		if (i % 97 == 0)
			save_and_restore(f);
		assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
		assert_int_equal(f->chain.head, head);
		virtqueue_push(f->queue, head, i);
		assert_true(driver_get_used(&f->drv, 0, &id, &len));
		assert_int_equal(id, head);
		assert_int_equal(len, i);
	}
}

static void assert_restore_fails(const struct virtqueue_state *saved, const char *reason)
{
	struct virtqueue queue = { .max_size = PROBE_QUEUE_SIZE, .size = 4, .desc_gpa = 0x10 };
	struct error err = { 0 };

	assert_int_equal(virtqueue_restore(&queue, saved, &err), -EINVAL);
	assert_string_equal(err.message, reason);
	/* Nothing of it was taken. */
	assert_int_equal(queue.size, 4);
	assert_int_equal(queue.desc_gpa, 0x10);
}

static void restore_checks_a_state_of_somebody_else(void **state)
{
	struct queue_fixture *f = *state;
	struct virtqueue_state good, bad;

	virtqueue_save(f->queue, &good);
	bad = good;
	bad.size = 3;
	assert_restore_fails(&bad, "size 3 is not a power of two from 1 to 8");
	bad.size = 16;
	assert_restore_fails(&bad, "size 16 is not a power of two from 1 to 8");
	bad = good;
	bad.ready = 2;
	assert_restore_fails(&bad, "unknown flags");
	bad = good;
	bad.signalled_used_valid = 255;
	assert_restore_fails(&bad, "unknown flags");
	bad = good;
	bad.reserved[5] = 1;
	assert_restore_fails(&bad, "unknown flags");
	bad = good;
	bad.next_avail = 2;
	bad.next_used = 65535;
	assert_restore_fails(&bad, "3 chains in flight");
}

static void iov_helpers_gather_scatter_and_mark(void **state)
{
	struct queue_fixture *f = *state;
	struct guest_memory *memory = &f->drv.memory;
	uint8_t *page = driver_ptr(&f->drv, 1 * MIB, 16 * KIB);
	struct iovec iov[] = {
		{ page + 4094, 2 }, { page + 100, 3 }, { page + 8191, 2 }, { page + 12288, 5 }
	};
	char out[16] = { 0 };

	guest_memory_clear_dirty(memory);
	assert_int_equal(iov_write(memory, iov, 3, 1, "abcdefgh", 8), 6);
	assert_int_equal(page[4094], 0);
	assert_memory_equal(page + 4095, "a", 1);
	assert_memory_equal(page + 100, "bcd", 3);
	assert_memory_equal(page + 8191, "ef", 2);
	for (unsigned int i = 0; i < 3; i++)
		assert_true(guest_memory_is_dirty(memory, 1 * MIB + i * 4096));
	assert_false(guest_memory_is_dirty(memory, 1 * MIB + 3 * 4096));

	assert_int_equal(iov_read(iov, 3, 1, out, sizeof(out)), 6);
	assert_string_equal(out, "abcdef");
	assert_int_equal(iov_read(iov, 3, 3, out, 2), 2);
	assert_memory_equal(out, "cd", 2);
	assert_int_equal(iov_read(iov, 3, 7, out, 1), 0);
	assert_int_equal(iov_read(iov, 3, SIZE_MAX, out, 1), 0);
	assert_int_equal(iov_read(iov, 0, 0, out, 1), 0);
	assert_int_equal(iov_write(memory, iov, 3, 7, "x", 1), 0);

	guest_memory_clear_dirty(memory);
	iov_mark_dirty(memory, iov, 4, 5, 2);
	assert_false(guest_memory_is_dirty(memory, 1 * MIB));
	assert_true(guest_memory_is_dirty(memory, 1 * MIB + 4096));
	assert_true(guest_memory_is_dirty(memory, 1 * MIB + 8192));
	assert_false(guest_memory_is_dirty(memory, 1 * MIB + 12288));
	iov_mark_dirty(memory, iov, 4, 7, SIZE_MAX);
	assert_true(guest_memory_is_dirty(memory, 1 * MIB + 12288));
}

/* A diff snapshot that misses a used ring loses completions. */
static void a_push_marks_the_used_ring_dirty(void **state)
{
	struct queue_fixture *f = *state;
	struct guest_memory *memory = &f->drv.memory;
	struct virtqueue queue = good_queue();
	uint16_t *avail = driver_ptr(&f->drv, queue.avail_gpa, 16);

	/* Used ring across a page border: flags and index before it, elements behind. */
	queue.used_gpa = 0x4000 - 4;
	((struct vring_desc *)driver_ptr(&f->drv, queue.desc_gpa, 16))->addr = f->buffer;
	((struct vring_desc *)driver_ptr(&f->drv, queue.desc_gpa, 16))->len = 1;
	avail[1] = 1;
	assert_int_equal(virtqueue_start(&queue, memory, VERSION_1, NULL), 0);
	guest_memory_clear_dirty(memory);
	assert_int_equal(virtqueue_pop(&queue, &f->chain), 1);
	assert_false(guest_memory_is_dirty(memory, 0x3000));
	virtqueue_push(&queue, 0, 0);
	assert_true(guest_memory_is_dirty(memory, 0x3000));
	assert_true(guest_memory_is_dirty(memory, 0x4000));
	assert_false(guest_memory_is_dirty(memory, 0x2000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		QUEUE_TEST(indexes_wrap_at_16_bits),
		QUEUE_TEST(chains_come_back_in_any_order),
		QUEUE_TEST(a_queue_can_be_filled_to_its_size),
		QUEUE_TEST(an_available_index_too_far_ahead_breaks),
		QUEUE_TEST(an_available_index_that_goes_back_breaks),
		QUEUE_TEST(a_head_outside_of_the_table_breaks),
		QUEUE_TEST(the_largest_head_breaks),
		QUEUE_TEST(a_head_popped_again_before_its_push_breaks),
		QUEUE_TEST(a_head_pushed_can_be_popped_again),
		QUEUE_TEST(a_broken_queue_takes_and_tells_nothing),
		QUEUE_TEST(only_heads_in_flight_are_pushed),
		QUEUE_TEST(several_chains_are_pushed_with_one_index),
		QUEUE_TEST(unpopped_chains_are_popped_again_in_order),
		QUEUE_TEST(start_checks_size_and_alignment),
		QUEUE_TEST(start_wants_each_area_wholly_in_ram),
		QUEUE_TEST(a_stopped_queue_does_nothing_and_keeps_its_registers),
		QUEUE_TEST(a_restored_queue_goes_on_where_it_was),
		QUEUE_TEST(restore_checks_a_state_of_somebody_else),
		QUEUE_TEST(iov_helpers_gather_scatter_and_mark),
		QUEUE_TEST(a_push_marks_the_used_ring_dirty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
