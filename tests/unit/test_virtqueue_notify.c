/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts and kicks of a split virtqueue: who wants to hear of what, and that nobody sleeps. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "virtio_probe.h"
#include "vmm/util.h"

#define EXCHANGES  50000u
#define TIMEOUT_MS 10000

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

struct exchange {
	struct queue_fixture *f;
	int kick, interrupt; /* eventfds, non-blocking */
	_Atomic bool overslept;
};

static bool wait_for(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	uint64_t count;

	return poll(&pollfd, 1, TIMEOUT_MS) == 1 && read(fd, &count, sizeof(count)) == 8;
}

static void notify(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

/* The device's thread: sleeps whenever a pop finds nothing, and relies on a kick. */
static void *device_thread(void *context)
{
	struct exchange *x = context;
	struct virtqueue_chain chain;

	for (uint32_t done = 0; done < EXCHANGES;) {
		if (virtqueue_pop(x->f->queue, &chain) == 1) {
			virtqueue_push(x->f->queue, chain.head, done++);
			if (virtqueue_wants_interrupt(x->f->queue))
				notify(x->interrupt);
		} else if (!wait_for(x->kick)) {
			x->overslept = true;
			break;
		}
	}
	return NULL;
}

/* The driver, too, sleeps whenever the queue is full; each side only wakes the other if asked. */
static void no_notification_is_lost_between_threads(void **state)
{
	struct queue_fixture *f = *state;
	struct exchange x = { .f = f };
	uint32_t added = 0, back = 0, len;
	pthread_t thread;

	x.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	x.interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(x.kick >= 0 && x.interrupt >= 0);
	assert_int_equal(pthread_create(&thread, NULL, device_thread, &x), 0);
	while (back < EXCHANGES && !x.overslept) {
		/* From one to four at a time, so that both sides find the ring empty often. */
		if (added < EXCHANGES && added - back < 1 + added / 1000 % 4) {
			driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 4 }, 1, 0);
			added++;
			if (driver_kick_wanted(&f->drv, 0))
				notify(x.kick);
			continue;
		}
		if (driver_get_used(&f->drv, 0, NULL, &len)) {
			if (len != back++)
				break;
			/* As a driver enables its callback: say so, then look again. */
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
		} else if (!wait_for(x.interrupt)) {
			break;
		}
	}
	pthread_join(thread, NULL);
	close(x.kick);
	close(x.interrupt);
	assert_false(x.overslept);
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
