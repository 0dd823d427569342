/* SPDX-License-Identifier: Apache-2.0 */
/* What balloon and driver tell each other beyond pages: statistics, hints; and saved state. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <linux/virtio_balloon.h>

#include "balloon_rig.h"

#define SECOND	    1000000000ull
#define STATS_QUEUE 2
#define HINT_QUEUE  2 /* without statistics */

static const struct virtio_balloon_options with_stats = { .stats_interval_s = 5 };
static const struct virtio_balloon_options with_hints = { .hinting = true };

static void pass(struct balloon_rig *rig, uint64_t ns)
{
	fake_time_pass(ns);
	driver_run(&rig->drv);
}

/* ---- statistics ---- */

/* The driver's buffer with n statistics. */
static void offer_stats(struct balloon_rig *rig, const struct virtio_balloon_stat *stats,
			unsigned int n)
{
	uint32_t len = (uint32_t)(n * sizeof(*stats));

	memcpy(driver_ptr(&rig->drv, rig->buffer, len), stats, len);
	driver_add(&rig->drv, STATS_QUEUE, &(struct driver_buf){ rig->buffer, len }, 1, 0);
	driver_kick(&rig->drv, STATS_QUEUE);
	driver_run(&rig->drv);
}

static bool asked_for_stats(struct balloon_rig *rig)
{
	uint32_t len;

	if (!driver_get_used(&rig->drv, STATS_QUEUE, NULL, &len))
		return false;
	assert_int_equal(len, 0);
	assert_int_equal(driver_interrupts(&rig->drv), 1);
	return true;
}

static struct virtio_balloon_stats stats_of(struct balloon_rig *rig)
{
	struct virtio_balloon_stats stats;

	assert_int_equal(virtio_balloon_get_stats(rig->drv.device, &stats, NULL), 0);
	return stats;
}

static void statistics_come_every_interval(void **state)
{
	const struct virtio_balloon_stat first[] = { { 4, 1000 }, { 5, 2000 } };
	const struct virtio_balloon_stat second[] = { { 5, 2001 }, { 0, UINT64_MAX }, { 15, 7 } };
	struct virtio_balloon_stats stats;
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, with_stats, ALL_FEATURES);
	/* No buffer, no timer. */
	assert_int_equal(fake_time_next(), UINT64_MAX);
	offer_stats(&rig, first, 2);
	stats = stats_of(&rig);
	assert_int_equal(stats.present, 1 << 4 | 1 << 5);
	assert_int_equal(stats.values[4], 1000);
	assert_int_equal(stats.values[5], 2000);
	assert_false(asked_for_stats(&rig));
	assert_int_equal(fake_time_next(), 5 * SECOND);
	pass(&rig, 5 * SECOND - 1);
	assert_false(asked_for_stats(&rig));
	pass(&rig, 1);
	assert_true(asked_for_stats(&rig));
	/* A driver that takes its time isn't asked again. */
	assert_int_equal(fake_time_next(), UINT64_MAX);
	offer_stats(&rig, second, 3);
	stats = stats_of(&rig);
	assert_int_equal(stats.present, 1 << 0 | 1 << 5 | 1 << 15);
	assert_int_equal(stats.values[5], 2001);
	assert_int_equal(stats.values[0], UINT64_MAX);
	assert_int_equal(stats.values[15], 7);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).stats_updates, 2);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).stats_failures, 0);
	balloon_teardown(&rig);
}

static void what_is_in_the_statistics_is_the_guests_affair(void **state)
{
	struct virtio_balloon_stat many[64];
	struct virtio_balloon_stats stats;
	struct balloon_rig rig;
	struct driver_buf bufs[2];

	(void)state;
	balloon_setup(&rig, with_stats, ALL_FEATURES);
	/* Tags that nobody knows, and more than are read. */
	for (unsigned int i = 0; i < 64; i++)
		many[i] = (struct virtio_balloon_stat){ i == 31 ? 9 : (uint16_t)(0xffff - i), i };
	many[32] = (struct virtio_balloon_stat){ 3, 3 };
	offer_stats(&rig, many, 64);
	stats = stats_of(&rig);
	assert_int_equal(stats.present, 1 << 9);
	assert_int_equal(stats.values[9], 31);
	pass(&rig, 5 * SECOND);
	assert_true(asked_for_stats(&rig));
	/* The last of several counts. A buffer that ends within one is a failure, as far as it goes. */
	for (unsigned int i = 0; i < 3; i++)
		many[i] = (struct virtio_balloon_stat){ 1, i };
	memcpy(driver_ptr(&rig.drv, rig.buffer, 29), many, 29);
	bufs[0] = (struct driver_buf){ rig.buffer, 7 };
	bufs[1] = (struct driver_buf){ rig.buffer + 7, 22 };
	driver_add(&rig.drv, STATS_QUEUE, bufs, 2, 0);
	driver_kick(&rig.drv, STATS_QUEUE);
	driver_run(&rig.drv);
	stats = stats_of(&rig);
	assert_int_equal(stats.present, 1 << 1);
	assert_int_equal(stats.values[1], 1);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).stats_failures, 1);
	pass(&rig, 5 * SECOND);
	assert_true(asked_for_stats(&rig));
	/* Nothing to read. */
	driver_add(&rig.drv, STATS_QUEUE, bufs, 0, 1);
	driver_kick(&rig.drv, STATS_QUEUE);
	driver_run(&rig.drv);
	assert_int_equal(stats_of(&rig).present, 0);
	balloon_teardown(&rig);
}

static void further_buffers_wait_for_their_turn(void **state)
{
	const struct virtio_balloon_stat stat = { 6, 1 };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, with_stats, ALL_FEATURES);
	for (unsigned int i = 0; i < 3; i++)
		offer_stats(&rig, &stat, 1);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).stats_updates, 1);
	for (unsigned int i = 0; i < 3; i++) {
		pass(&rig, 5 * SECOND);
		assert_true(asked_for_stats(&rig));
	}
	assert_int_equal(virtio_balloon_counters(rig.drv.device).stats_updates, 3);
	assert_int_equal(fake_time_next(), UINT64_MAX);
	balloon_teardown(&rig);
}

static void the_interval_changes_but_not_to_or_from_none(void **state)
{
	const struct virtio_balloon_stat stat = { 6, 1 };
	struct virtio_balloon_stats stats;
	struct error err = { 0 };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, with_stats, ALL_FEATURES);
	offer_stats(&rig, &stat, 1);
	pass(&rig, SECOND);
	assert_int_equal(virtio_balloon_set_stats_interval(rig.drv.device, 60, &err), 0);
	assert_int_equal(fake_time_next(), 60 * SECOND);
	assert_int_equal(virtio_balloon_set_stats_interval(rig.drv.device, 2, &err), 0);
	pass(&rig, 2 * SECOND);
	assert_true(asked_for_stats(&rig));
	assert_int_equal(virtio_balloon_set_stats_interval(rig.drv.device, 0, &err), -EINVAL);
	assert_string_equal(err.message, "balloon: stats_polling_interval_s: statistics can't be "
					 "turned on or off while the guest runs");
	offer_stats(&rig, &stat, 1);
	assert_int_equal(fake_time_next(), 2 * SECOND);
	balloon_teardown(&rig);

	balloon_setup(&rig, with_hints, ALL_FEATURES);
	assert_int_equal(virtio_balloon_set_stats_interval(rig.drv.device, 0, &err), 0);
	assert_int_equal(virtio_balloon_set_stats_interval(rig.drv.device, 1, &err), -EINVAL);
	assert_int_equal(virtio_balloon_get_stats(rig.drv.device, &stats, &err), -EOPNOTSUPP);
	assert_string_equal(err.message, "balloon: statistics are not enabled");
	balloon_teardown(&rig);
}

static void a_reset_forgets_the_statistics_buffer(void **state)
{
	const struct virtio_balloon_stat stat = { 6, 1 };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, with_stats, ALL_FEATURES);
	for (unsigned int i = 0; i < 3; i++) {
		offer_stats(&rig, &stat, 1);
		/* With the timer's event on its way, or not. */
		if (i == 1)
			fake_time_pass(5 * SECOND);
		driver_reset(&rig.drv);
		driver_run(&rig.drv);
		assert_int_equal(fake_time_next(), UINT64_MAX);
		assert_int_equal(driver_start(&rig.drv, i == 2 ? VERSION_1 : ALL_FEATURES), 0xf);
		pass(&rig, 5 * SECOND);
	}
	assert_int_equal(virtio_balloon_counters(rig.drv.device).stats_updates, 3);
	balloon_teardown(&rig);
}

/* ---- hints ---- */

static void say(struct balloon_rig *rig, uint32_t cmd)
{
	memcpy(driver_ptr(&rig->drv, rig->buffer, 4), &cmd, 4);
	balloon_send(rig, HINT_QUEUE, &(struct driver_buf){ rig->buffer, 4 }, 1, 0);
	driver_interrupts(&rig->drv);
}

static void hint(struct balloon_rig *rig, uint64_t pfn, unsigned int n)
{
	balloon_send(rig, HINT_QUEUE, &(struct driver_buf){ pfn * 4096, n * 4096 }, 0, 1);
	driver_interrupts(&rig->drv);
}

static void expect_status(struct balloon_rig *rig, uint32_t host, int64_t guest)
{
	struct virtio_balloon_hinting status;

	assert_int_equal(virtio_balloon_get_hinting(rig->drv.device, &status, NULL), 0);
	assert_int_equal(status.host_cmd, host);
	assert_int_equal(balloon_config(rig, 8), host);
	assert_int_equal(status.guest_has_cmd, guest >= 0);
	if (guest >= 0)
		assert_int_equal(status.guest_cmd, guest);
}

static void hints_are_taken_while_their_run_lasts(void **state)
{
	struct virtio_balloon_counters c;
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, with_hints, ALL_FEATURES);
	balloon_touch(&rig, 0x400, 0x100);
	expect_status(&rig, 0, -1);
	hint(&rig, 0x400, 1);
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, NULL), 0);
	assert_int_equal(driver_interrupts(&rig.drv), 1);
	assert_int_equal(driver_ack_interrupts(&rig.drv) & VIRTIO_MMIO_INT_CONFIG,
			 VIRTIO_MMIO_INT_CONFIG);
	expect_status(&rig, 2, -1);
	/* Before the driver says which run it's in. */
	hint(&rig, 0x401, 1);
	say(&rig, 2);
	expect_status(&rig, 2, 2);
	hint(&rig, 0x402, 8);
	hint(&rig, 0x480, 1);
	balloon_expect_kept(&rig, 0x400, 2);
	balloon_expect_gone(&rig, 0x402, 8);
	balloon_expect_gone(&rig, 0x480, 1);
	/* It has told of all, and may have its pages back. */
	say(&rig, 0);
	expect_status(&rig, 1, 0);
	hint(&rig, 0x410, 1);
	balloon_expect_kept(&rig, 0x410, 1);
	c = virtio_balloon_counters(rig.drv.device);
	assert_int_equal(c.hints, 2);
	assert_int_equal(c.hint_freed, 9 * 4096);
	assert_int_equal(c.hint_failures, 0);
	/* The next run has another number, and hints of the last one don't count. */
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, false, NULL), 0);
	expect_status(&rig, 3, 0);
	say(&rig, 2);
	hint(&rig, 0x410, 1);
	balloon_expect_kept(&rig, 0x410, 1);
	say(&rig, 3);
	hint(&rig, 0x410, 1);
	balloon_expect_gone(&rig, 0x410, 1);
	/* Not acknowledged, but stopped from outside. */
	say(&rig, 0);
	expect_status(&rig, 3, 0);
	assert_int_equal(virtio_balloon_stop_hinting(rig.drv.device, NULL), 0);
	assert_int_equal(driver_interrupts(&rig.drv), 1);
	expect_status(&rig, 1, 0);
	balloon_teardown(&rig);
}

static void a_run_that_is_stopped_takes_no_more_hints(void **state)
{
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, with_hints, ALL_FEATURES);
	balloon_touch(&rig, 0x400, 4);
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, NULL), 0);
	say(&rig, 2);
	assert_int_equal(virtio_balloon_stop_hinting(rig.drv.device, NULL), 0);
	hint(&rig, 0x400, 1);
	/* Nor does a guest start one, or any of the numbers that mean something else. */
	say(&rig, 1);
	hint(&rig, 0x401, 1);
	say(&rig, 0);
	hint(&rig, 0x402, 1);
	balloon_expect_kept(&rig, 0x400, 4);
	expect_status(&rig, 1, 0);
	balloon_teardown(&rig);
}

static void a_number_and_hints_in_one_chain(void **state)
{
	const uint32_t run = 2;
	struct driver_buf bufs[] = { { 0, 4 }, { 0x400000, 0x1000 }, { 0x402000, 0x1000 } };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, with_hints, ALL_FEATURES);
	balloon_touch(&rig, 0x400, 3);
	bufs[0].gpa = rig.buffer;
	memcpy(driver_ptr(&rig.drv, rig.buffer, 4), &run, 4);
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, NULL), 0);
	balloon_send(&rig, HINT_QUEUE, bufs, 1, 2);
	balloon_expect_gone(&rig, 0x400, 1);
	balloon_expect_kept(&rig, 0x401, 1);
	balloon_expect_gone(&rig, 0x402, 1);
	/* Less than a number is none. */
	bufs[0].len = 3;
	balloon_send(&rig, HINT_QUEUE, bufs, 1, 0);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).failures, 1);
	expect_status(&rig, 2, 2);
	balloon_calls.errnum = EINVAL;
	balloon_send(&rig, HINT_QUEUE, bufs + 1, 0, 1);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).hint_failures, 1);
	balloon_teardown(&rig);
}

static void hinting_needs_a_driver_and_the_option(void **state)
{
	struct virtio_balloon_hinting status;
	struct error err = { 0 };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, with_hints, ALL_FEATURES);
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, NULL), 0);
	say(&rig, 2);
	driver_reset(&rig.drv);
	expect_status(&rig, 0, -1);
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, &err), -ENODEV);
	assert_string_equal(err.message, "balloon: the guest has no driver for it");
	assert_int_equal(virtio_balloon_stop_hinting(rig.drv.device, &err), -ENODEV);
	expect_status(&rig, 0, -1);
	balloon_teardown(&rig);

	balloon_setup(&rig, with_stats, ALL_FEATURES);
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, &err), -EOPNOTSUPP);
	assert_string_equal(err.message, "balloon: hinting is not enabled");
	assert_int_equal(virtio_balloon_stop_hinting(rig.drv.device, &err), -EOPNOTSUPP);
	assert_int_equal(virtio_balloon_get_hinting(rig.drv.device, &status, &err), -EOPNOTSUPP);
	assert_int_equal(driver_interrupts(&rig.drv), 0);
	balloon_teardown(&rig);
}

/* ---- saved state ---- */

static const struct virtio_balloon_options everything = { 4, true, 5, true, true };

static void saved_it_goes_on_elsewhere(void **state)
{
	const struct virtio_balloon_options other = { 1, true, 99, true, true };
	const struct virtio_balloon_stat stat = { 6, 77 };
	struct virtio_mmio_state transport;
	struct virtio_balloon_state saved;
	struct virtio_balloon_options got;
	struct error err = { 0 };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, everything, ALL_FEATURES);
	assert_int_equal(rig.drv.device->ops->state_size, sizeof(saved));
	driver_write_width(&rig.drv, VIRTIO_MMIO_CONFIG + 4, 512, 4);
	assert_int_equal(virtio_balloon_set_amount(rig.drv.device, 3, NULL), 0);
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, NULL), 0);
	driver_ack_interrupts(&rig.drv);
	offer_stats(&rig, &stat, 1);
	pass(&rig, 2 * SECOND);
	memset(&saved, 0xff, sizeof(saved));
	virtio_mmio_save(&rig.drv.mmio, &transport, &saved);
	/* The statistics buffer is the driver's again. */
	assert_int_equal(transport.queues[STATS_QUEUE].next_avail, 0);
	pass(&rig, 100 * SECOND);
	assert_false(driver_get_used(&rig.drv, STATS_QUEUE, NULL, NULL));

	balloon_replace(&rig, other);
	if (virtio_mmio_restore(&rig.drv.mmio, &transport, &saved, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(stats_of(&rig).values[6], 77);
	assert_int_equal(stats_of(&rig).target_pages, 3 * 256);
	assert_int_equal(stats_of(&rig).actual_pages, 512);
	virtio_balloon_get_options(rig.drv.device, &got);
	assert_int_equal(got.stats_interval_s, 5);
	assert_true(got.hinting && got.reporting && got.deflate_on_oom);
	expect_status(&rig, 2, -1);
	virtio_mmio_rekick(&rig.drv.mmio);
	driver_run(&rig.drv);
	driver_interrupts(&rig.drv);
	assert_int_equal(fake_time_next(), 5 * SECOND);
	pass(&rig, 5 * SECOND);
	assert_true(asked_for_stats(&rig));
	/* The run goes on, and the next one has a number of its own. */
	balloon_touch(&rig, 0x400, 1);
	memcpy(driver_ptr(&rig.drv, rig.buffer, 4), &(uint32_t){ 2 }, 4);
	balloon_send(&rig, 3, &(struct driver_buf){ rig.buffer, 4 }, 1, 0);
	balloon_send(&rig, 3, &(struct driver_buf){ 0x400000, 4096 }, 0, 1);
	balloon_expect_gone(&rig, 0x400, 1);
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, NULL), 0);
	expect_status(&rig, 3, 2);
	balloon_teardown(&rig);
}

static void numbers_of_runs_skip_those_that_mean_something_else(void **state)
{
	struct virtio_mmio_state transport;
	struct virtio_balloon_state saved;
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, with_hints, ALL_FEATURES);
	virtio_mmio_save(&rig.drv.mmio, &transport, &saved);
	saved.hint_last_run = UINT32_MAX;
	assert_int_equal(virtio_mmio_restore(&rig.drv.mmio, &transport, &saved, NULL), 0);
	assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, NULL), 0);
	expect_status(&rig, 2, -1);
	balloon_teardown(&rig);
}

#define FIELD(name)                                                                                \
	offsetof(struct virtio_balloon_state, name),                                               \
		sizeof(((struct virtio_balloon_state *)0)->name)

static void hostile_states_are_refused(void **state)
{
	struct virtio_mmio_state transport;
	struct virtio_balloon_state saved, bad;
	static const struct {
		size_t offset, size;
		uint32_t value;
		const char *message;
	} cases[] = {
		{ FIELD(hint_guest_has_cmd), 2, "balloon \"balloon\": unknown flags" },
		{ FIELD(hint_acknowledge), 2, "balloon \"balloon\": unknown flags" },
		{ FIELD(hint_guest_cmd), 2, "balloon \"balloon\": unknown flags" },
		{ FIELD(stats_present), 1 << 16, "balloon \"balloon\": unknown flags" },
		{ FIELD(reserved), 1, "balloon \"balloon\": unknown flags" },
		{ FIELD(target_pages), 17 * 256 + 1,
		  "balloon \"balloon\": saved with 4353 pages to be given up of 4352" },
		{ FIELD(hint_host_cmd), 1,
		  "balloon \"balloon\": saved with hinting, made without" },
		{ FIELD(stats_interval_s), 1,
		  "balloon \"balloon\": saved with statistics, made without" },
	};
	struct error err = { 0 };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, (struct virtio_balloon_options){ 0 }, ALL_FEATURES);
	virtio_mmio_save(&rig.drv.mmio, &transport, &saved);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		bad = saved;
		memcpy((uint8_t *)&bad + cases[i].offset, &cases[i].value, cases[i].size);
		assert_int_equal(virtio_mmio_restore(&rig.drv.mmio, &transport, &bad, &err),
				 -EINVAL);
		assert_string_equal(err.message, cases[i].message);
	}
	assert_int_equal(virtio_mmio_restore(&rig.drv.mmio, &transport, &saved, &err), 0);
	balloon_teardown(&rig);

	balloon_setup(&rig, with_stats, ALL_FEATURES);
	virtio_mmio_save(&rig.drv.mmio, &transport, &saved);
	saved.stats_interval_s = 0;
	assert_int_equal(virtio_mmio_restore(&rig.drv.mmio, &transport, &saved, &err), -EINVAL);
	assert_string_equal(err.message,
			    "balloon \"balloon\": saved without statistics, made with them");
	balloon_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statistics_come_every_interval),
		cmocka_unit_test(what_is_in_the_statistics_is_the_guests_affair),
		cmocka_unit_test(further_buffers_wait_for_their_turn),
		cmocka_unit_test(the_interval_changes_but_not_to_or_from_none),
		cmocka_unit_test(a_reset_forgets_the_statistics_buffer),
		cmocka_unit_test(hints_are_taken_while_their_run_lasts),
		cmocka_unit_test(a_run_that_is_stopped_takes_no_more_hints),
		cmocka_unit_test(a_number_and_hints_in_one_chain),
		cmocka_unit_test(hinting_needs_a_driver_and_the_option),
		cmocka_unit_test(saved_it_goes_on_elsewhere),
		cmocka_unit_test(numbers_of_runs_skip_those_that_mean_something_else),
		cmocka_unit_test(hostile_states_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
