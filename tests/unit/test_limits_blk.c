/* SPDX-License-Identifier: Apache-2.0 */
/* A block device with rate limits, in a time of its own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "blk_rig.h"
#include "disk_faults.h"
#include "fake_time.h"
#include "vmm/util.h"

#define MS 1000000ull

static const enum disk_engine engines[] = { DISK_SYNC, DISK_ASYNC };

static void setup(struct blk_rig *rig, enum disk_engine engine, struct rate_limits limits)
{
	fake_time_start();
	blk_setup(rig,
		  (struct virtio_blk_options){
			  .writeback = true, .engine = engine, .limits = limits },
		  ALL_FEATURES);
}

static void teardown(struct blk_rig *rig)
{
	blk_teardown(rig);
	fake_time_stop();
}

static void pass(struct blk_rig *rig, uint64_t ns)
{
	fake_time_pass(ns);
	driver_run(&rig->drv);
}

/* Answers so far; each is waited for with the engine Async, so nothing may be missing. */
static void expect_answers(struct blk_rig *rig, unsigned int n)
{
	blk_wait(rig, n);
	assert_false(driver_get_used(&rig->drv, 0, NULL, NULL));
	assert_int_equal(virtqueue_in_flight(&rig->drv.device->queues[0]), 0);
}

static void start_lanes(struct blk_rig *rig, struct blk_lane *lanes, unsigned int n, uint32_t type,
			uint32_t len)
{
	for (unsigned int i = 0; i < n; i++) {
		lanes[i] = blk_lane_new(rig, len + 512);
		blk_lane_start(rig, &lanes[i], type, i * (len / 512), 0, len);
	}
}

static void bytes_wait_for_their_turn(void **state)
{
	struct rate_limits limits = { .bandwidth = { true, 8192, 0, 100 } };
	struct blk_lane lanes[5];
	struct blk_rig rig;

	(void)state;
	for (unsigned int k = 0; k < ARRAY_SIZE(engines); k++) {
		setup(&rig, engines[k], limits);
		memset(rig.file, 0x42, 5 * 4096);
		start_lanes(&rig, lanes, 5, VIRTIO_BLK_T_IN, 4096);
		expect_answers(&rig, 2);
		/* The driver needn't kick for what the timer sees to. */
		assert_false(driver_kick_wanted(&rig.drv, 0));
		assert_int_equal(fake_time_next(), 50 * MS);
		for (unsigned int i = 2; i < 5; i++) {
			pass(&rig, 50 * MS - 1);
			expect_answers(&rig, 0);
			pass(&rig, 1);
			expect_answers(&rig, 1);
			assert_int_equal(blk_lane_status(&rig, &lanes[i]), VIRTIO_BLK_S_OK);
			assert_int_equal(*(uint8_t *)driver_ptr(&rig.drv, lanes[i].data, 1), 0x42);
			assert_int_equal(driver_interrupts(&rig.drv) > 0, true);
		}
		/* Done with them, it waits for kicks again. */
		assert_int_equal(fake_time_next(), UINT64_MAX);
		start_lanes(&rig, lanes, 1, VIRTIO_BLK_T_IN, 4096);
		assert_true(driver_kick_wanted(&rig.drv, 0));
		assert_int_equal(virtio_blk_limiter_counters(rig.drv.device).throttled, 3);
		assert_int_equal(virtio_blk_limiter_counters(rig.drv.device).resumed, 3);
		assert_int_equal(
			blk_count(&virtio_blk_counters(rig.drv.device)->op[DISK_READ].requests), 5);
		teardown(&rig);
	}
}

static void every_request_is_an_operation(void **state)
{
	struct rate_limits limits = { .ops = { true, 6, 0, 600 } };
	struct blk_rig rig;

	(void)state;
	setup(&rig, DISK_SYNC, limits);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 0, 65536), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do(&rig, 99, 0, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, BLK_SECTORS, 512), VIRTIO_BLK_S_IOERR);
	blk_add(&rig, rig.header, VIRTIO_BLK_T_FLUSH, 0, 0, 0, rig.status);
	expect_answers(&rig, 0);
	assert_int_equal(fake_time_next(), 100 * MS);
	pass(&rig, 100 * MS);
	expect_answers(&rig, 1);
	teardown(&rig);
}

static void bytes_are_those_that_the_disk_moves(void **state)
{
	struct rate_limits limits = { .bandwidth = { true, 4096, 0, 4096 } };
	struct blk_rig rig;

	(void)state;
	setup(&rig, DISK_SYNC, limits);
	/* 1 ms a byte. */
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_DISCARD, 0, 2048, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, BLK_SECTORS, 4096), VIRTIO_BLK_S_IOERR);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 2560), VIRTIO_BLK_S_OK);
	/* 512 + 512 + 2560 are gone. */
	blk_add(&rig, rig.header, VIRTIO_BLK_T_IN, 0, rig.data, 1024, rig.status);
	expect_answers(&rig, 0);
	assert_int_equal(fake_time_next(), 512 * MS);
	teardown(&rig);
}

static void a_request_beyond_the_bucket_goes_and_is_paid_for(void **state)
{
	struct rate_limits limits = { .bandwidth = { true, 4096, 0, 100 } };
	struct blk_lane lanes[2];
	struct blk_rig rig;

	(void)state;
	for (unsigned int k = 0; k < ARRAY_SIZE(engines); k++) {
		setup(&rig, engines[k], limits);
		start_lanes(&rig, lanes, 2, VIRTIO_BLK_T_OUT, 65536);
		expect_answers(&rig, 1);
		assert_int_equal(fake_time_next(), 1600 * MS);
		pass(&rig, 1600 * MS);
		expect_answers(&rig, 1);
		teardown(&rig);
	}
}

static void limits_change_while_it_runs(void **state)
{
	struct rate_limits none = { .bandwidth = { true, 0, 0, 0 } };
	struct rate_limits half = { .bandwidth = { true, 4096, 0, 100 } };
	struct rate_limits ops = { .ops = { true, 1, 0, 100 } };
	struct blk_lane lanes[4];
	struct blk_rig rig;

	(void)state;
	for (unsigned int k = 0; k < ARRAY_SIZE(engines); k++) {
		/* From none, to one, to another one, to none, with requests waiting each time. */
		setup(&rig, engines[k], (struct rate_limits){ 0 });
		assert_int_equal(fake_timers_made(), 0);
		assert_int_equal(virtio_blk_set_limits(rig.drv.device, &half, NULL), 0);
		start_lanes(&rig, lanes, 4, VIRTIO_BLK_T_IN, 4096);
		expect_answers(&rig, 1);
		assert_int_equal(virtio_blk_set_limits(rig.drv.device, &ops, NULL), 0);
		driver_run(&rig.drv);
		expect_answers(&rig, 0);
		assert_int_equal(virtio_blk_set_limits(rig.drv.device, &none, NULL), 0);
		driver_run(&rig.drv);
		expect_answers(&rig, 1);
		assert_int_equal(fake_time_next(), 100 * MS);
		ops.ops.size = 0;
		assert_int_equal(virtio_blk_set_limits(rig.drv.device, &ops, NULL), 0);
		driver_run(&rig.drv);
		expect_answers(&rig, 2);
		assert_int_equal(fake_time_next(), UINT64_MAX);
		ops.ops.size = 1;
		teardown(&rig);
	}
}

static void limits_that_cannot_be_set_change_nothing(void **state)
{
	struct rate_limits limits = { .ops = { true, 1, 0, 100 } };
	struct error err = { 0 };
	struct blk_rig rig;

	(void)state;
	setup(&rig, DISK_SYNC, (struct rate_limits){ 0 });
	fake_timer_fails(EMFILE);
	assert_int_equal(virtio_blk_set_limits(rig.drv.device, &limits, &err), -EMFILE);
	assert_string_equal(err.message, "drive \"rootfs\": rate limiter: timerfd_create: "
					 "Too many open files");
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	teardown(&rig);
}

/* A driver that starts anew doesn't get its tokens back. */
static void a_reset_while_throttled_leaves_nothing_behind(void **state)
{
	struct rate_limits limits = { .ops = { true, 2, 0, 200 } };
	struct blk_lane lanes[8];
	struct blk_rig rig;

	(void)state;
	for (unsigned int k = 0; k < ARRAY_SIZE(engines); k++) {
		setup(&rig, engines[k], limits);
		start_lanes(&rig, lanes, 8, VIRTIO_BLK_T_IN, 512);
		expect_answers(&rig, 2);
		driver_reset(&rig.drv);
		/* The timer comes to a device without a driver. */
		if (k == 0)
			pass(&rig, 100 * MS);
		assert_int_equal(driver_start(&rig.drv, ALL_FEATURES), 0xf);
		driver_run(&rig.drv);
		start_lanes(&rig, lanes, 3, VIRTIO_BLK_T_IN, 512);
		expect_answers(&rig, k == 0 ? 1 : 0);
		pass(&rig, 100 * MS);
		expect_answers(&rig, 1);
		pass(&rig, 100 * MS);
		expect_answers(&rig, 1);
		teardown(&rig);
	}
}

static void a_device_that_fails_while_throttled_can_be_reset(void **state)
{
	struct rate_limits limits = { .ops = { true, 1, 0, 100 } };
	struct blk_lane lanes[2];
	struct blk_rig rig;

	(void)state;
	setup(&rig, DISK_SYNC, limits);
	start_lanes(&rig, lanes, 2, VIRTIO_BLK_T_IN, 512);
	expect_answers(&rig, 1);
	/* A head outside of the table, found when the timer comes. */
	driver_offer(&rig.drv, 0, 300);
	pass(&rig, 100 * MS);
	assert_true(driver_get_used(&rig.drv, 0, NULL, NULL));
	pass(&rig, 100 * MS);
	assert_int_equal(driver_status(&rig.drv) & VIRTIO_CONFIG_S_NEEDS_RESET,
			 VIRTIO_CONFIG_S_NEEDS_RESET);
	pass(&rig, 1000 * MS);
	assert_int_equal(driver_start(&rig.drv, ALL_FEATURES), 0xf);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	teardown(&rig);
}

static void destroyed_while_throttled(void **state)
{
	struct rate_limits limits = { .ops = { true, 1, 0, 100 } };
	struct blk_lane lanes[4];
	struct blk_rig rig;

	(void)state;
	for (unsigned int k = 0; k < ARRAY_SIZE(engines); k++) {
		setup(&rig, engines[k], limits);
		start_lanes(&rig, lanes, 4, VIRTIO_BLK_T_IN, 512);
		expect_answers(&rig, 1);
		if (k == 0)
			fake_time_pass(100 * MS);
		teardown(&rig);
	}
}

static void saved_while_throttled_it_goes_on_elsewhere(void **state)
{
	struct rate_limits limits = { .bandwidth = { true, 8192, 0, 100 } };
	struct virtio_mmio_state transport;
	struct virtio_blk_state saved;
	struct error err = { 0 };
	struct blk_lane lanes[3];
	struct blk_rig rig;

	(void)state;
	for (unsigned int k = 0; k < ARRAY_SIZE(engines); k++) {
		setup(&rig, engines[k], limits);
		start_lanes(&rig, lanes, 3, VIRTIO_BLK_T_IN, 4096);
		expect_answers(&rig, 2);
		driver_ack_interrupts(&rig.drv);
		fake_time_pass(10 * MS);
		virtio_mmio_save(&rig.drv.mmio, &transport, &saved);
		assert_int_equal(transport.queues[0].next_avail, 2);
		assert_int_equal(saved.limiter.bandwidth.missing_low, 90 * MS * 8192);
		/* Nothing moves until it's resumed. */
		pass(&rig, 1000 * MS);
		expect_answers(&rig, 0);
		/* The copy, whose configuration says nothing of limits. */
		virtio_mmio_release(&rig.drv.mmio);
		rig.options.limits = (struct rate_limits){ 0 };
		rig.drv.device = blk_create(&rig);
		assert_int_equal(virtio_mmio_init(&rig.drv.mmio, rig.drv.device, NULL), 0);
		if (virtio_mmio_restore(&rig.drv.mmio, &transport, &saved, &err) < 0)
			fail_msg("%s", err.message);
		virtio_mmio_rekick(&rig.drv.mmio);
		driver_run(&rig.drv);
		expect_answers(&rig, 0);
		assert_int_equal(fake_time_next(), 40 * MS);
		pass(&rig, 40 * MS);
		expect_answers(&rig, 1);
		saved.limiter.ops.burst = 1;
		assert_int_equal(virtio_mmio_restore(&rig.drv.mmio, &transport, &saved, &err),
				 -EINVAL);
		assert_string_equal(err.message, "drive \"rootfs\": saved rate limits can't be");
		teardown(&rig);
	}
}

/* Saved, and then it was only a pause after all. */
static void resumed_after_a_save_it_is_throttled_as_before(void **state)
{
	struct rate_limits limits = { .ops = { true, 1, 0, 100 } };
	struct virtio_mmio_state transport;
	struct virtio_blk_state saved;
	struct blk_lane lanes[2];
	struct blk_rig rig;

	(void)state;
	setup(&rig, DISK_SYNC, limits);
	start_lanes(&rig, lanes, 2, VIRTIO_BLK_T_IN, 512);
	expect_answers(&rig, 1);
	virtio_mmio_save(&rig.drv.mmio, &transport, &saved);
	pass(&rig, 99 * MS);
	virtio_mmio_rekick(&rig.drv.mmio);
	driver_run(&rig.drv);
	expect_answers(&rig, 0);
	assert_int_equal(fake_time_next(), MS);
	pass(&rig, MS);
	expect_answers(&rig, 1);
	teardown(&rig);
}

static void more_requests_than_slots_with_a_limit(void **state)
{
	struct rate_limits limits = { .ops = { true, 100, 0, 100 } };
	struct blk_rig rig;
	unsigned int n = 0;

	(void)state;
	setup(&rig, DISK_SYNC, limits);
	for (unsigned int i = 0; i < 85; i++)
		blk_add(&rig, rig.header, VIRTIO_BLK_T_IN, 0, rig.data, 512, rig.status);
	driver_kick(&rig.drv, 0);
	driver_run(&rig.drv);
	for (; driver_get_used(&rig.drv, 0, NULL, NULL); n++)
		blk_add(&rig, rig.header, VIRTIO_BLK_T_IN, 0, rig.data, 512, rig.status);
	assert_int_equal(n, 85);
	driver_kick(&rig.drv, 0);
	driver_run(&rig.drv);
	for (n = 0; driver_get_used(&rig.drv, 0, NULL, NULL);)
		n++;
	assert_int_equal(n, 15);
	pass(&rig, 70 * MS);
	for (n = 0; driver_get_used(&rig.drv, 0, NULL, NULL);)
		n++;
	/* It looks when one operation is there, then for each. */
	assert_in_range(n, 1, 70);
	for (unsigned int i = 0; i < 70; i++)
		pass(&rig, MS);
	while (driver_get_used(&rig.drv, 0, NULL, NULL))
		n++;
	assert_int_equal(n, 70);
	teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_wait_for_their_turn),
		cmocka_unit_test(every_request_is_an_operation),
		cmocka_unit_test(bytes_are_those_that_the_disk_moves),
		cmocka_unit_test(a_request_beyond_the_bucket_goes_and_is_paid_for),
		cmocka_unit_test(limits_change_while_it_runs),
		cmocka_unit_test(limits_that_cannot_be_set_change_nothing),
		cmocka_unit_test(a_reset_while_throttled_leaves_nothing_behind),
		cmocka_unit_test(a_device_that_fails_while_throttled_can_be_reset),
		cmocka_unit_test(destroyed_while_throttled),
		cmocka_unit_test(saved_while_throttled_it_goes_on_elsewhere),
		cmocka_unit_test(resumed_after_a_save_it_is_throttled_as_before),
		cmocka_unit_test(more_requests_than_slots_with_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
