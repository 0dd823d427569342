/* SPDX-License-Identifier: Apache-2.0 */
/* The memory balloon, on RAM whose pages can be seen to be there or not. Its time is the test's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>
#include <linux/virtio_balloon.h>

#include "balloon_rig.h"

static void it_is_a_balloon_of_what_its_options_say(void **state)
{
	static const struct {
		struct virtio_balloon_options options;
		uint64_t features;
		unsigned int n_queues, config_size;
	} cases[] = {
		{ { 0 }, 0, 2, 8 },
		{ { .deflate_on_oom = true }, 1 << 2, 2, 8 },
		{ { .stats_interval_s = 1 }, 1 << 1, 3, 8 },
		{ { .hinting = true }, 1 << 3, 3, 12 },
		{ { .reporting = true }, 1 << 5, 3, 8 },
		{ { 3, true, 65535, true, true }, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5, 5, 12 },
	};
	struct balloon_rig rig;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		balloon_setup(&rig, cases[i].options, ALL_FEATURES);
		assert_int_equal(driver_read(&rig.drv, VIRTIO_MMIO_DEVICE_ID), 5);
		assert_int_equal(driver_offered(&rig.drv),
				 VERSION_1 | EVENT_IDX | INDIRECT_DESC | cases[i].features);
		assert_int_equal(rig.drv.device->n_queues, cases[i].n_queues);
		assert_int_equal(rig.drv.device->config_size, cases[i].config_size);
		assert_int_equal(balloon_config(&rig, 0), cases[i].options.amount_mib * 256);
		assert_int_equal(balloon_config(&rig, 4), 0);
		/* A timer only if there is something to time. */
		assert_int_equal(fake_timers_made(), cases[i].options.stats_interval_s > 0);
		balloon_teardown(&rig);
	}
}

static void pages_given_up_go_back_to_the_host(void **state)
{
	static const uint32_t pfns[] = { 0x207, 0x205, 0x206, 0x300, 0x100000 };
	struct virtio_balloon_counters c;
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, (struct virtio_balloon_options){ 0 }, ALL_FEATURES);
	balloon_touch(&rig, 0x204, 5);
	balloon_touch(&rig, 0x2ff, 3);
	balloon_touch(&rig, 0x100000, 2);
	guest_memory_clear_dirty(&rig.drv.memory);
	balloon_send_pfns(&rig, 0, pfns, ARRAY_SIZE(pfns));
	assert_int_equal(driver_interrupts(&rig.drv), 1);
	assert_int_equal(balloon_calls.n, 3);
	balloon_expect_gone(&rig, 0x205, 3);
	balloon_expect_gone(&rig, 0x300, 1);
	balloon_expect_gone(&rig, 0x100000, 1);
	balloon_expect_kept(&rig, 0x204, 1);
	balloon_expect_kept(&rig, 0x208, 1);
	balloon_expect_kept(&rig, 0x2ff, 1);
	balloon_expect_kept(&rig, 0x301, 1);
	balloon_expect_kept(&rig, 0x100001, 1);
	/* A snapshot of what has changed has to know of it. */
	assert_true(guest_memory_is_dirty(&rig.drv.memory, 0x205000));
	assert_true(guest_memory_is_dirty(&rig.drv.memory, 0x207000));
	assert_false(guest_memory_is_dirty(&rig.drv.memory, 0x204000));
	assert_false(guest_memory_is_dirty(&rig.drv.memory, 0x208000));
	c = virtio_balloon_counters(rig.drv.device);
	assert_int_equal(c.inflations, 1);
	assert_int_equal(c.failures, 0);
	/* Taking them back needs nothing of the host. */
	balloon_send_pfns(&rig, 1, pfns, ARRAY_SIZE(pfns));
	assert_int_equal(balloon_calls.n, 3);
	c = virtio_balloon_counters(rig.drv.device);
	assert_int_equal(c.deflations, 1);
	balloon_touch(&rig, 0x205, 1);
	balloon_expect_kept(&rig, 0x205, 1);
	balloon_teardown(&rig);
}

static void what_is_not_ram_is_counted_and_skipped(void **state)
{
	/* The low region has 0x1000 pages, the high one 0x100. */
	static const uint32_t pfns[] = { 0xffffffff, 0x1000,	 0xfffff, 0x100100,
					 0x80000000, 0x100000ff, 0xfff,	  0x1000ff };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, (struct virtio_balloon_options){ 0 }, ALL_FEATURES);
	balloon_touch(&rig, 0xffe, 2);
	balloon_touch(&rig, 0x1000fe, 2);
	for (unsigned int i = 0; i < 3; i++)
		balloon_send_pfns(&rig, 0, pfns, ARRAY_SIZE(pfns));
	balloon_expect_gone(&rig, 0xfff, 1);
	balloon_expect_gone(&rig, 0x1000ff, 1);
	balloon_expect_kept(&rig, 0xffe, 1);
	balloon_expect_kept(&rig, 0x1000fe, 1);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).failures, 3 * 6);
	/* Bad pages break nothing. */
	assert_int_equal(driver_status(&rig.drv), 0xf);
	balloon_teardown(&rig);
}

static void pages_are_taken_once_and_in_any_order(void **state)
{
	uint32_t pfns[1024];
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, (struct virtio_balloon_options){ 0 }, ALL_FEATURES);
	balloon_touch(&rig, 0x800, 257);
	for (unsigned int i = 0; i < 1024; i++)
		pfns[i] = 0x800 + (i * 77) % 256;
	balloon_send_pfns(&rig, 0, pfns, 1024);
	assert_int_equal(balloon_calls.n, 1);
	assert_int_equal(balloon_calls.bytes, 256 * 4096);
	balloon_expect_gone(&rig, 0x800, 256);
	balloon_expect_kept(&rig, 0x900, 1);
	balloon_teardown(&rig);
}

static void odd_chains_do_no_harm(void **state)
{
	uint32_t pfns[2048];
	struct driver_buf bufs[3];
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, (struct virtio_balloon_options){ 0 }, ALL_FEATURES);
	balloon_touch(&rig, 0x400, 0x802);
	/* More than is read at once: the rest stays. */
	for (unsigned int i = 0; i < 2048; i++)
		pfns[i] = 0x400 + i;
	balloon_send_pfns(&rig, 0, pfns, 2048);
	balloon_expect_gone(&rig, 0x400, 1024);
	balloon_expect_kept(&rig, 0x800, 1024);
	/* A number and a half. */
	pfns[0] = pfns[1] = 0x900;
	memcpy(driver_ptr(&rig.drv, rig.buffer, 8), pfns, 8);
	bufs[0] = (struct driver_buf){ rig.buffer, 3 };
	bufs[1] = (struct driver_buf){ rig.buffer + 3, 3 };
	balloon_send(&rig, 0, bufs, 2, 0);
	balloon_expect_gone(&rig, 0x900, 1);
	/* Less than one, and none at all. */
	bufs[0].len = 2;
	balloon_send(&rig, 0, bufs, 1, 0);
	balloon_send(&rig, 0, bufs, 0, 1);
	balloon_send(&rig, 1, bufs, 0, 1);
	/* What is writable is no list of pages. */
	bufs[0] = (struct driver_buf){ 0xa00000, 4096 };
	balloon_send(&rig, 0, bufs, 0, 1);
	balloon_expect_kept(&rig, 0xa00, 1);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).failures, 0);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).inflations, 5);
	balloon_teardown(&rig);
}

static void many_chains_are_done_in_turns(void **state)
{
	uint32_t pfn;
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, (struct virtio_balloon_options){ 0 }, ALL_FEATURES);
	balloon_touch(&rig, 0x400, 400);
	for (unsigned int i = 0; i < 200; i++) {
		uint64_t gpa = rig.buffer + 4 * i;

		pfn = 0x400 + 2 * i;
		memcpy(driver_ptr(&rig.drv, gpa, 4), &pfn, 4);
		driver_add(&rig.drv, 0, &(struct driver_buf){ gpa, 4 }, 1, 0);
	}
	driver_kick(&rig.drv, 0);
	assert_int_equal(loop_run_once(&rig.drv.loop, 0, NULL), 1);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).inflations, 64);
	driver_run(&rig.drv);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).inflations, 200);
	for (unsigned int i = 0; i < 200; i++) {
		balloon_expect_gone(&rig, 0x400 + 2 * i, 1);
		balloon_expect_kept(&rig, 0x401 + 2 * i, 1);
	}
	balloon_teardown(&rig);
}

static void memory_that_cannot_be_given_back_stays(void **state)
{
	static const uint32_t pfns[] = { 0x3ff, 0x400, 0x401, 0x402, 0x403, 0x404, 0x100001 };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, (struct virtio_balloon_options){ 0 }, ALL_FEATURES);
	balloon_touch(&rig, 0x3ff, 6);
	balloon_touch(&rig, 0x100001, 1);
	guest_memory_clear_dirty(&rig.drv.memory);
	/* From a file: what would come back is the file's content, not zeroes. */
	guest_memory_keep(&rig.drv.memory, driver_ptr(&rig.drv, 0x401000, 0x2000), 0x2000);
	rig.drv.memory.regions[1].hugetlb = true;
	balloon_send_pfns(&rig, 0, pfns, ARRAY_SIZE(pfns));
	balloon_expect_gone(&rig, 0x3ff, 2);
	balloon_expect_kept(&rig, 0x401, 2);
	balloon_expect_gone(&rig, 0x403, 2);
	balloon_expect_kept(&rig, 0x100001, 1);
	assert_false(guest_memory_is_dirty(&rig.drv.memory, 0x401000));
	assert_int_equal(balloon_calls.n, 2);
	/* The host refuses, for instance because the memory is locked. */
	balloon_calls.errnum = EINVAL;
	balloon_touch(&rig, 0x400, 1);
	balloon_send_pfns(&rig, 0, pfns + 1, 1);
	balloon_expect_kept(&rig, 0x400, 1);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).failures, 1);
	assert_int_equal(driver_status(&rig.drv), 0xf);
	balloon_teardown(&rig);
}

static void the_amount_changes_and_the_driver_is_told(void **state)
{
	struct virtio_balloon_options got;
	struct error err = { 0 };
	struct balloon_rig rig;
	uint32_t generation;

	(void)state;
	balloon_setup(&rig, (struct virtio_balloon_options){ .amount_mib = 2 }, ALL_FEATURES);
	generation = driver_read(&rig.drv, VIRTIO_MMIO_CONFIG_GENERATION);
	assert_int_equal(virtio_balloon_set_amount(rig.drv.device, 17, &err), 0);
	assert_int_equal(balloon_config(&rig, 0), 17 * 256);
	assert_int_equal(driver_interrupts(&rig.drv), 1);
	assert_int_equal(driver_ack_interrupts(&rig.drv), VIRTIO_MMIO_INT_CONFIG);
	assert_int_not_equal(driver_read(&rig.drv, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	/* The guest has 17 MiB. */
	assert_int_equal(virtio_balloon_set_amount(rig.drv.device, 18, &err), -EINVAL);
	assert_string_equal(err.message,
			    "balloon: amount_mib: 18 MiB is more than the guest has (17)");
	assert_int_equal(virtio_balloon_set_amount(rig.drv.device, UINT32_MAX, &err), -EINVAL);
	virtio_balloon_get_options(rig.drv.device, &got);
	assert_int_equal(got.amount_mib, 17);
	assert_int_equal(driver_interrupts(&rig.drv), 0);
	driver_reset(&rig.drv);
	assert_int_equal(virtio_balloon_set_amount(rig.drv.device, 1, &err), -ENODEV);
	assert_string_equal(err.message, "balloon: amount_mib: the guest has no driver for it");
	balloon_teardown(&rig);
}

static void an_amount_beyond_the_memory_makes_no_balloon(void **state)
{
	struct virtio_balloon_options options = { .amount_mib = 18, .stats_interval_s = 1 };
	struct virtio_device *device;
	struct virtio_driver drv;
	struct error err = { 0 };

	(void)state;
	driver_setup(&drv);
	assert_int_equal(virtio_balloon_create(&options, &drv.memory, &drv.loop, &device, &err),
			 -EINVAL);
	assert_string_equal(err.message, "balloon: 18 MiB is more than the guest has (17)");
	fake_time_start();
	fake_timer_fails(EMFILE);
	options.amount_mib = 17;
	assert_int_equal(virtio_balloon_create(&options, &drv.memory, &drv.loop, &device, &err),
			 -EMFILE);
	assert_string_equal(err.message, "balloon: timerfd_create: Too many open files");
	fake_time_stop();
	driver_teardown(&drv);
}

static void the_driver_says_what_it_has_given_up(void **state)
{
	struct virtio_balloon_stats stats;
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig,
		      (struct virtio_balloon_options){
			      .amount_mib = 4, .stats_interval_s = 1, .hinting = true },
		      ALL_FEATURES);
	driver_write_width(&rig.drv, VIRTIO_MMIO_CONFIG + 4, 1000, 4);
	assert_int_equal(virtio_balloon_get_stats(rig.drv.device, &stats, NULL), 0);
	assert_int_equal(stats.target_pages, 1024);
	assert_int_equal(stats.actual_pages, 1000);
	assert_int_equal(stats.present, 0);
	assert_int_equal(balloon_config(&rig, 4), 1000);
	/* A part of it; and nothing else. */
	driver_write_width(&rig.drv, VIRTIO_MMIO_CONFIG + 5, 0xff, 1);
	assert_int_equal(balloon_config(&rig, 4), 0xffe8);
	driver_write_width(&rig.drv, VIRTIO_MMIO_CONFIG + 0, 0x1111111122222222, 8);
	driver_write_width(&rig.drv, VIRTIO_MMIO_CONFIG + 8, 5, 4);
	driver_write_width(&rig.drv, VIRTIO_MMIO_CONFIG + 12, 5, 4);
	assert_int_equal(balloon_config(&rig, 0), 1024);
	assert_int_equal(balloon_config(&rig, 4), 0x11111111);
	assert_int_equal(balloon_config(&rig, 8), 0);
	/* A new driver starts with nothing given up. */
	driver_reset(&rig.drv);
	assert_int_equal(balloon_config(&rig, 4), 0);
	assert_int_equal(balloon_config(&rig, 0), 1024);
	balloon_teardown(&rig);
}

static void reported_pages_go_back_to_the_host(void **state)
{
	struct virtio_balloon_counters c;
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, (struct virtio_balloon_options){ .reporting = true }, ALL_FEATURES);
	balloon_touch(&rig, 0x400, 0x400);
	balloon_touch(&rig, 0x100000, 4);
	struct driver_buf bufs[] = { { 0x400000, 0x200000 },
				     { 0x100001000, 0x2000 },
				     /* Only what is wholly in it. */
				     { 0x700001, 0x2ffe },
				     { 0x7f0000, 0xfff } };

	balloon_send(&rig, 2, bufs, 0, ARRAY_SIZE(bufs));
	assert_int_equal(driver_interrupts(&rig.drv), 1);
	balloon_expect_gone(&rig, 0x400, 0x200);
	balloon_expect_kept(&rig, 0x600, 0x101);
	balloon_expect_gone(&rig, 0x701, 1);
	balloon_expect_kept(&rig, 0x702, 0xfe);
	balloon_expect_kept(&rig, 0x100000, 1);
	balloon_expect_gone(&rig, 0x100001, 2);
	balloon_expect_kept(&rig, 0x100003, 1);
	c = virtio_balloon_counters(rig.drv.device);
	assert_int_equal(c.reports, 1);
	assert_int_equal(c.report_freed, 0x203 * 4096);
	assert_int_equal(c.report_failures, 0);
	balloon_calls.errnum = ENOMEM;
	balloon_send(&rig, 2, bufs, 0, 2);
	c = virtio_balloon_counters(rig.drv.device);
	assert_int_equal(c.report_failures, 2);
	assert_int_equal(c.report_freed, 0x203 * 4096);
	/* A chain to read from reports nothing. */
	balloon_calls.errnum = 0;
	balloon_send(&rig, 2, bufs, 1, 0);
	assert_int_equal(virtio_balloon_counters(rig.drv.device).report_freed, 0x203 * 4096);
	balloon_teardown(&rig);
}

/* Linux numbers the queues that there are: those of features that it didn't take don't count. */
static void queues_are_numbered_by_what_was_negotiated(void **state)
{
	const struct virtio_balloon_options all = { 0, true, 5, true, true };
	struct driver_buf buf = { 0x500000, 0x1000 };
	struct balloon_rig rig;

	(void)state;
	balloon_setup(&rig, all, VERSION_1 | 1 << VIRTIO_BALLOON_F_REPORTING);
	balloon_touch(&rig, 0x500, 1);
	balloon_send(&rig, 2, &buf, 0, 1);
	balloon_expect_gone(&rig, 0x500, 1);
	balloon_teardown(&rig);
	/* Those without a purpose stay untouched. */
	balloon_setup(&rig, all, VERSION_1);
	balloon_touch(&rig, 0x500, 1);
	for (unsigned int queue = 2; queue < 5; queue++) {
		driver_add(&rig.drv, queue, &buf, 0, 1);
		driver_kick(&rig.drv, queue);
		driver_run(&rig.drv);
		assert_false(driver_get_used(&rig.drv, queue, NULL, NULL));
	}
	balloon_expect_kept(&rig, 0x500, 1);
	balloon_teardown(&rig);
}

static void a_broken_queue_stops_the_balloon_only(void **state)
{
	struct balloon_rig rig;
	struct error err = { 0 };

	(void)state;
	balloon_setup(&rig,
		      (struct virtio_balloon_options){
			      .stats_interval_s = 1, .hinting = true, .reporting = true },
		      ALL_FEATURES);
	for (unsigned int queue = 0; queue < 5; queue++) {
		driver_offer(&rig.drv, queue, 300);
		driver_kick(&rig.drv, queue);
		driver_run(&rig.drv);
		assert_int_equal(driver_status(&rig.drv), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
		assert_int_equal(virtio_balloon_set_amount(rig.drv.device, 1, &err), -ENODEV);
		assert_int_equal(virtio_balloon_start_hinting(rig.drv.device, true, &err), -ENODEV);
		assert_int_equal(driver_start(&rig.drv, ALL_FEATURES), 0xf);
		driver_run(&rig.drv);
	}
	balloon_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_a_balloon_of_what_its_options_say),
		cmocka_unit_test(pages_given_up_go_back_to_the_host),
		cmocka_unit_test(what_is_not_ram_is_counted_and_skipped),
		cmocka_unit_test(pages_are_taken_once_and_in_any_order),
		cmocka_unit_test(odd_chains_do_no_harm),
		cmocka_unit_test(many_chains_are_done_in_turns),
		cmocka_unit_test(memory_that_cannot_be_given_back_stays),
		cmocka_unit_test(the_amount_changes_and_the_driver_is_told),
		cmocka_unit_test(an_amount_beyond_the_memory_makes_no_balloon),
		cmocka_unit_test(the_driver_says_what_it_has_given_up),
		cmocka_unit_test(reported_pages_go_back_to_the_host),
		cmocka_unit_test(queues_are_numbered_by_what_was_negotiated),
		cmocka_unit_test(a_broken_queue_stops_the_balloon_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
