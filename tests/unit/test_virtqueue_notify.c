/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts and kicks of a split virtqueue: who wants to hear of what, and that nobody sleeps. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "virtio_probe.h"
#include "vmm/util.h"

#define EXCHANGES  60000u
#define TIMEOUT_NS 10000000000ull

/* Make n chains go through the device. */
static void pass(struct queue_fixture *f, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
		assert_int_equal(virtqueue_pop(f->queue, &f->chain), 1);
		virtqueue_push(f->queue, f->chain.head, 0);
	}
}

/* The driver frees what came back but asks for nothing (as with interrupts off). */
static void reap(struct queue_fixture *f, uint16_t used_event)
{
	while (driver_get_used(&f->drv, 0, NULL, NULL))
		;
	driver_set_used_event(&f->drv, 0, used_event);
}

static void without_event_idx_a_flag_stops_interrupts(void **state)
{
	struct queue_fixture *f = *state;

	assert_false(virtqueue_wants_interrupt(f->queue));
	pass(f, 1);
	assert_true(virtqueue_wants_interrupt(f->queue));
	assert_false(virtqueue_wants_interrupt(f->queue));
	driver_set_no_interrupt(&f->drv, 0, true);
	pass(f, 1);
	assert_false(virtqueue_wants_interrupt(f->queue));
	driver_set_no_interrupt(&f->drv, 0, false);
	pass(f, 1);
	assert_true(virtqueue_wants_interrupt(f->queue));
}

static void with_event_idx_interrupts_come_at_the_index(void **state)
{
	struct queue_fixture *f = *state;

	driver_set_used_event(&f->drv, 0, 2);
	assert_false(virtqueue_wants_interrupt(f->queue));
	pass(f, 1);
	assert_false(virtqueue_wants_interrupt(f->queue));
	pass(f, 1);
	assert_false(virtqueue_wants_interrupt(f->queue));
	pass(f, 1);
	assert_true(virtqueue_wants_interrupt(f->queue));
	assert_false(virtqueue_wants_interrupt(f->queue));
	/* Passed in the middle of a batch. */
	driver_set_used_event(&f->drv, 0, 4);
	pass(f, 4);
	assert_true(virtqueue_wants_interrupt(f->queue));
	/* In the past: none, whatever the flag says (§2.7.7: it's ignored). */
	driver_set_used_event(&f->drv, 0, 6);
	driver_set_no_interrupt(&f->drv, 0, true);
	reap(f, 6);
	pass(f, 1);
	assert_false(virtqueue_wants_interrupt(f->queue));
	driver_set_used_event(&f->drv, 0, 8);
	pass(f, 1);
	assert_true(virtqueue_wants_interrupt(f->queue));
}

/* Around 65535 the answer is what it is around 1000. */
static void event_idx_compares_across_the_wrap(void **state)
{
	static const struct {
		int used_event; /* relative to the index before the batch */
		unsigned int batch;
		bool wanted;
	} cases[] = {
		{ 0, 1, true },	  { 0, 4, true },    { 1, 1, false },	  { 1, 2, true },
		{ 3, 4, true },	  { 4, 4, false },   { -1, 1, false },	  { -1, 4, false },
		{ -5, 4, false }, { 100, 4, false }, { 32767, 4, false }, { -32768, 4, false },
	};
	static const uint16_t origins[] = { 1000, 32766, 65532, 65533, 65534, 65535, 0 };
	struct queue_fixture *f = *state;

	for (unsigned int o = 0; o < ARRAY_SIZE(origins); o++) {
		for (unsigned int c = 0; c < ARRAY_SIZE(cases); c++) {
			uint16_t origin = origins[o];

			while (f->queue->next_used != origin) {
				pass(f, 1);
				reap(f, 0);
			}
			virtqueue_wants_interrupt(f->queue);
			driver_set_used_event(&f->drv, 0, (uint16_t)(origin + cases[c].used_event));
			pass(f, cases[c].batch);
			assert_int_equal(virtqueue_wants_interrupt(f->queue), cases[c].wanted);
			reap(f, 0);
		}
	}
}

/* 65536 pushes later the index is the same again, and yet there's something new. */
static void a_whole_lap_without_asking_interrupts(void **state)
{
	struct queue_fixture *f = *state;

	pass(f, 1);
	virtqueue_wants_interrupt(f->queue);
	for (uint32_t i = 0; i < 65536; i++) {
		reap(f, 0);
		pass(f, 1);
	}
	driver_set_used_event(&f->drv, 0, 30000);
	assert_true(virtqueue_wants_interrupt(f->queue));
	assert_false(virtqueue_wants_interrupt(f->queue));
}

static bool add_wants_kick(struct queue_fixture *f)
{
	driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
	return driver_kick_wanted(&f->drv, 0);
}

static void take_all(struct queue_fixture *f)
{
	while (virtqueue_pop(f->queue, &f->chain) == 1)
		virtqueue_push(f->queue, f->chain.head, 0);
	reap(f, 0);
}

/* A device that only pops until there's nothing left gets a kick for the next chain, always. */
static void an_empty_pop_asks_for_the_next_kick(void **state)
{
	struct queue_fixture *f = *state;

	for (uint32_t i = 0; i < 65536 + 10; i++) {
		assert_true(add_wants_kick(f));
		/* With EVENT_IDX not for the second, before the device looked. */
		assert_int_equal(add_wants_kick(f), !f->queue->event_idx);
		take_all(f);
	}
}

static void disabled_kicks_dont_come(void **state)
{
	struct queue_fixture *f = *state;

	assert_true(add_wants_kick(f));
	virtqueue_disable_kicks(f->queue);
	take_all(f);
	for (int i = 0; i < 5; i++) {
		assert_false(add_wants_kick(f));
		take_all(f);
	}
	assert_false(virtqueue_enable_kicks(f->queue));
	assert_true(add_wants_kick(f));
	take_all(f);
}

/* What came while kicks were disabled has no kick of its own. */
static void enabling_kicks_tells_what_came_meanwhile(void **state)
{
	struct queue_fixture *f = *state;

	assert_true(add_wants_kick(f));
	virtqueue_disable_kicks(f->queue);
	take_all(f);
	assert_false(add_wants_kick(f));
	assert_true(virtqueue_enable_kicks(f->queue));
	take_all(f);
	assert_true(add_wants_kick(f));
}

/*
 * Saved while kicks were disabled: the ring says so still, and avail_event is far behind. Without
 * a new one the driver would wait for its turn through all 65536 indexes.
 */
static void a_restored_queue_is_kicked_again(void **state)
{
	struct queue_fixture *f = *state;
	struct virtqueue fresh = { .max_size = PROBE_QUEUE_SIZE };
	struct virtqueue_state saved;

	assert_true(add_wants_kick(f));
	virtqueue_disable_kicks(f->queue);
	for (int i = 0; i < 20; i++) {
		take_all(f);
		assert_false(add_wants_kick(f));
	}
	take_all(f);
	virtqueue_save(f->queue, &saved);
	assert_int_equal(virtqueue_restore(&fresh, &saved, NULL), 0);
	assert_int_equal(virtqueue_start(&fresh, &f->drv.memory, f->drv.features, NULL), 0);
	*f->queue = fresh;
	assert_true(add_wants_kick(f));
}

static void a_restored_queue_keeps_its_last_interrupt(void **state)
{
	struct queue_fixture *f = *state;
	struct virtqueue fresh = { .max_size = PROBE_QUEUE_SIZE };
	struct virtqueue_state saved;

	pass(f, 3);
	reap(f, 3);
	virtqueue_wants_interrupt(f->queue);
	pass(f, 1); /* not told yet */
	virtqueue_save(f->queue, &saved);
	assert_int_equal(virtqueue_restore(&fresh, &saved, NULL), 0);
	assert_int_equal(virtqueue_start(&fresh, &f->drv.memory, f->drv.features, NULL), 0);
	*f->queue = fresh;
	assert_true(virtqueue_wants_interrupt(f->queue));
	assert_false(virtqueue_wants_interrupt(f->queue));
}

/*
 * Two threads that sleep until they're notified. To sleep is to spin on a counter: a system call
 * would take so long that the moment in which a notification can be lost is never met.
 */
struct exchange {
	struct queue_fixture *f;
	_Atomic uint32_t kicks, interrupts;
	_Atomic bool overslept;
};

static bool wait_for(const _Atomic uint32_t *notifications, uint32_t *seen)
{
	uint64_t end = monotonic_ns() + TIMEOUT_NS;

	for (unsigned int spins = 1; atomic_load(notifications) == *seen; spins++) {
		if (spins % 1000 != 0)
			continue;
		sched_yield();
		if (monotonic_ns() > end)
			return false;
	}
	*seen = atomic_load(notifications);
	return true;
}

/* Sleeps whenever a pop finds nothing, and relies on a kick. */
static void *device_thread(void *context)
{
	struct exchange *x = context;
	struct virtqueue_chain chain;
	uint32_t seen = 0;

	for (uint32_t done = 0; done < EXCHANGES && !x->overslept;) {
		if (virtqueue_pop(x->f->queue, &chain) == 1) {
			virtqueue_push(x->f->queue, chain.head, done++);
			if (virtqueue_wants_interrupt(x->f->queue))
				atomic_fetch_add(&x->interrupts, 1);
		} else if (!wait_for(&x->kicks, &seen)) {
			x->overslept = true;
		}
	}
	return NULL;
}

/* The driver sleeps whenever it has nothing to add; each side wakes the other only if asked to. */
static void no_notification_is_lost_between_threads(void **state)
{
	struct queue_fixture *f = *state;
	struct exchange x = { .f = f };
	uint32_t added = 0, back = 0, seen = 0, len;
	bool in_order = true;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, device_thread, &x), 0);
	while (back < EXCHANGES && in_order && !x.overslept) {
		/* From one to four at a time, so that both sides find the ring empty often. */
		if (added < EXCHANGES && added - back < 1 + added / 1000 % 4) {
			driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
			added++;
			if (driver_kick_wanted(&f->drv, 0))
				atomic_fetch_add(&x.kicks, 1);
		} else if (driver_get_used(&f->drv, 0, NULL, &len)) {
			in_order = len == back++;
			/* As a driver enables its callback: say so, then look again. */
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
		} else if (!wait_for(&x.interrupts, &seen)) {
			x.overslept = true;
		}
	}
	pthread_join(thread, NULL);
	assert_false(x.overslept);
	assert_true(in_order);
	assert_int_equal(back, EXCHANGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		QUEUE_TEST_PLAIN(without_event_idx_a_flag_stops_interrupts),
		QUEUE_TEST(with_event_idx_interrupts_come_at_the_index),
		QUEUE_TEST(event_idx_compares_across_the_wrap),
		QUEUE_TEST(a_whole_lap_without_asking_interrupts),
		QUEUE_TEST(an_empty_pop_asks_for_the_next_kick),
		QUEUE_TEST_PLAIN(an_empty_pop_asks_for_the_next_kick),
		QUEUE_TEST(disabled_kicks_dont_come),
		QUEUE_TEST_PLAIN(disabled_kicks_dont_come),
		QUEUE_TEST(enabling_kicks_tells_what_came_meanwhile),
		QUEUE_TEST_PLAIN(enabling_kicks_tells_what_came_meanwhile),
		QUEUE_TEST(a_restored_queue_is_kicked_again),
		QUEUE_TEST_PLAIN(a_restored_queue_is_kicked_again),
		QUEUE_TEST(a_restored_queue_keeps_its_last_interrupt),
		QUEUE_TEST(no_notification_is_lost_between_threads),
		QUEUE_TEST_PLAIN(no_notification_is_lost_between_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
