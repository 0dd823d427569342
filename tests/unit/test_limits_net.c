/* SPDX-License-Identifier: Apache-2.0 */
/* A network interface with rate limits, in a time of its own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake_time.h"
#include "net_driver.h"
#include "private_net.h"

#define RX VIRTIO_NET_RX
#define TX VIRTIO_NET_TX
#define MS 1000000ull

static uint8_t frame[NET_FRAME_TOP];
static struct virtio_net_hdr_v1 hdr;

/* The device of the test, in place of the fixture's. */
static void start(struct rate_limits rx, struct rate_limits tx)
{
	const struct virtio_net_options options = {
		.id = "eth0",
		.tap_name = NET_TAP,
		.rx_limits = rx,
		.tx_limits = tx,
	};

	if (net_skip)
		skip();
	net_release(&net);
	fake_time_start();
	net_attach(&net, &options);
	NET_RESTART(ALL_FEATURES);
	net_post(&net, 100, 2048);
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
}

static void pass(uint64_t ns)
{
	fake_time_pass(ns);
	driver_run(&net.drv);
}

static void send_frames(unsigned int first, unsigned int n, size_t len)
{
	for (unsigned int i = first; i < first + n; i++)
		net_send(&net, NULL, net_frame(len, i), len);
	driver_run(&net.drv);
}

static void expect_sent(unsigned int first, unsigned int n, size_t len)
{
	for (unsigned int i = first; i < first + n; i++)
		peer_expect(&net, len, i);
	assert_int_equal(peer_receive(&net, NULL, frame), -1);
	assert_int_equal(net_sent(&net), n);
}

static void from_peer(unsigned int first, unsigned int n, size_t len)
{
	for (unsigned int i = first; i < first + n; i++)
		peer_send(&net, NULL, net_frame(len, i), len);
	driver_run_wait(&net.drv, 20);
}

static void expect_received(unsigned int first, unsigned int n, size_t len)
{
	for (unsigned int i = first; i < first + n; i++)
		net_expect(&net, len, i, 1);
	assert_int_equal(net_take(&net, &hdr, frame, NULL), -1);
}

static struct rate_limiter_counters rx_counters(void)
{
	struct rate_limiter_counters rx, tx;

	virtio_net_limiter_counters(net.dev, &rx, &tx);
	return rx;
}

static struct rate_limiter_counters tx_counters(void)
{
	struct rate_limiter_counters rx, tx;

	virtio_net_limiter_counters(net.dev, &rx, &tx);
	return tx;
}

static const struct rate_limits none;

static void transmission_waits_in_the_drivers_queue(void **state)
{
	(void)state;
	/* A frame's header costs nothing. */
	start(none, (struct rate_limits){ .bandwidth = { true, 1000, 0, 100 } });
	send_frames(0, 5, 400);
	expect_sent(0, 2, 400);
	assert_false(driver_kick_wanted(&net.drv, TX));
	assert_int_equal(fake_time_next(), 20 * MS);
	pass(20 * MS);
	expect_sent(2, 1, 400);
	pass(40 * MS - 1);
	expect_sent(3, 0, 400);
	pass(1);
	expect_sent(3, 1, 400);
	pass(40 * MS);
	expect_sent(4, 1, 400);
	assert_int_equal(tx_counters().throttled, 3);
	assert_int_equal(tx_counters().resumed, 3);
	assert_int_equal(rx_counters().throttled, 0);
	assert_int_equal(net_stats(&net).tx_bytes, 2000);
	assert_int_equal(net_stats(&net).tx_drop, 0);
	/* It's ready for the next one. */
	net_send(&net, NULL, net_frame(100, 5), 100);
	assert_int_equal(fake_time_next(), UINT64_MAX);
}

static void frames_count_one_by_one(void **state)
{
	(void)state;
	start(none, (struct rate_limits){ .ops = { true, 2, 1, 100 } });
	send_frames(0, 5, 1400);
	expect_sent(0, 3, 1400);
	assert_int_equal(fake_time_next(), 50 * MS);
	pass(50 * MS);
	expect_sent(3, 1, 1400);
	pass(50 * MS);
	expect_sent(4, 1, 1400);
}

/* A tap that is full costs nothing: the frame goes later, and is paid for once. */
static void a_full_tap_is_not_charged(void **state)
{
	(void)state;
	start(none, (struct rate_limits){ .ops = { true, 2, 0, 100 } });
	net_hooks.writev_errno = EAGAIN;
	net_hooks.writev_fails = 3;
	send_frames(0, 2, 100);
	expect_sent(0, 2, 100);
	assert_int_equal(fake_time_next(), UINT64_MAX);
	send_frames(2, 1, 100);
	expect_sent(2, 0, 100);
	assert_int_equal(fake_time_next(), 50 * MS);
}

static void received_frames_wait_in_the_tap(void **state)
{
	unsigned int calls;

	(void)state;
	start((struct rate_limits){ .ops = { true, 2, 0, 100 } }, none);
	calls = net_hooks.readv_calls + 2;
	from_peer(0, 5, 300);
	expect_received(0, 2, 300);
	/* Nothing spins, nothing is read. */
	assert_int_equal(net_hooks.readv_calls, calls);
	assert_int_equal(loop_run_once(&net.drv.loop, 0, NULL), 0);
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	assert_int_equal(net_hooks.readv_calls, calls);
	assert_int_equal(fake_time_next(), 50 * MS);
	for (unsigned int i = 2; i < 5; i++) {
		pass(50 * MS);
		expect_received(i, 1, 300);
	}
	pass(100 * MS);
	from_peer(5, 1, 300);
	expect_received(5, 1, 300);
	assert_int_equal(net_stats(&net).rx_drop, 0);
	assert_int_equal(net_stats(&net).rx_packets, 6);
	assert_int_equal(rx_counters().throttled, 4);
	assert_int_equal(rx_counters().resumed, 4);
}

/* It isn't known before: the one that empties the bucket runs up a debt. */
static void a_received_frame_is_paid_for_afterwards(void **state)
{
	(void)state;
	start((struct rate_limits){ .bandwidth = { true, 1000, 0, 100 } }, none);
	from_peer(0, 4, 600);
	expect_received(0, 2, 600);
	/* 200 missing beyond the bucket, and one token for the next frame. */
	assert_int_equal(fake_time_next(), 20 * MS + MS / 10);
	pass(20 * MS + MS / 10);
	expect_received(2, 1, 600);
	assert_int_equal(fake_time_next(), 60 * MS);
	pass(60 * MS);
	expect_received(3, 1, 600);
}

static void the_two_directions_have_limits_of_their_own(void **state)
{
	(void)state;
	start((struct rate_limits){ .ops = { true, 1, 0, 10 } },
	      (struct rate_limits){ .ops = { true, 1, 0, 20 } });
	send_frames(0, 2, 100);
	expect_sent(0, 1, 100);
	from_peer(0, 2, 100);
	expect_received(0, 1, 100);
	pass(10 * MS);
	expect_sent(1, 0, 100);
	expect_received(1, 1, 100);
	pass(10 * MS);
	expect_sent(1, 1, 100);
	expect_received(2, 0, 100);
}

static void limits_change_while_it_runs(void **state)
{
	struct rate_limits one = { .ops = { true, 1, 0, 100 } };
	struct rate_limits off = { .ops = { .given = true } };

	(void)state;
	start(none, none);
	assert_int_equal(fake_timers_made(), 0);
	assert_int_equal(virtio_net_set_limits(net.dev, &one, &one, NULL), 0);
	send_frames(0, 3, 100);
	expect_sent(0, 1, 100);
	from_peer(0, 3, 100);
	expect_received(0, 1, 100);
	/* Only one of them changes. */
	assert_int_equal(virtio_net_set_limits(net.dev, &off, &none, NULL), 0);
	driver_run(&net.drv);
	expect_sent(1, 0, 100);
	expect_received(1, 2, 100);
	assert_int_equal(virtio_net_set_limits(net.dev, &none, &off, NULL), 0);
	driver_run(&net.drv);
	expect_sent(1, 2, 100);
	assert_int_equal(fake_time_next(), UINT64_MAX);
}

static void a_reset_while_throttled_leaves_nothing_behind(void **state)
{
	struct rate_limits one = { .ops = { true, 1, 0, 100 } };

	(void)state;
	start(one, one);
	send_frames(0, 3, 100);
	expect_sent(0, 1, 100);
	from_peer(0, 3, 100);
	expect_received(0, 1, 100);
	driver_reset(&net.drv);
	assert_int_equal(loop_run_once(&net.drv.loop, 0, NULL), 0);
	/* The driver comes back before the timer. */
	NET_RESTART(ALL_FEATURES);
	net_post(&net, 10, 2048);
	driver_kick(&net.drv, RX);
	send_frames(7, 2, 100);
	expect_sent(7, 0, 100);
	expect_received(1, 0, 100);
	pass(100 * MS);
	expect_sent(7, 1, 100);
	expect_received(1, 1, 100);
	/* And after it. */
	driver_reset(&net.drv);
	pass(100 * MS);
	NET_RESTART(ALL_FEATURES);
	net_post(&net, 10, 2048);
	driver_kick(&net.drv, RX);
	send_frames(9, 1, 100);
	expect_sent(9, 1, 100);
	expect_received(2, 1, 100);
}

static void saved_while_throttled_it_goes_on_elsewhere(void **state)
{
	const struct virtio_net_options plain = { .id = "eth0", .tap_name = NET_TAP };
	struct rate_limits one = { .ops = { true, 1, 0, 100 } };
	struct virtio_mmio_state transport;
	struct virtio_net_state saved;
	struct error err = { 0 };

	(void)state;
	start(one, one);
	send_frames(0, 2, 100);
	expect_sent(0, 1, 100);
	from_peer(0, 2, 100);
	expect_received(0, 1, 100);
	fake_time_pass(40 * MS);
	virtio_mmio_save(&net.drv.mmio, &transport, &saved);
	assert_int_equal(saved.rx_limiter.ops.missing_low, 60 * MS);
	assert_int_equal(saved.tx_limiter.ops.missing_low, 60 * MS);
	pass(1000 * MS);
	expect_sent(1, 0, 100);
	expect_received(1, 0, 100);
	net_release(&net);
	net_attach(&net, &plain);
	if (virtio_mmio_restore(&net.drv.mmio, &transport, &saved, &err) < 0)
		fail_msg("%s", err.message);
	virtio_mmio_rekick(&net.drv.mmio);
	driver_run(&net.drv);
	expect_sent(1, 0, 100);
	assert_int_equal(fake_time_next(), 60 * MS);
	pass(60 * MS);
	expect_sent(1, 1, 100);
	saved.tx_limiter.ops.size = 0;
	assert_int_equal(virtio_mmio_restore(&net.drv.mmio, &transport, &saved, &err), -EINVAL);
	assert_string_equal(err.message, "network interface \"eth0\": saved rate limits can't be");
}

static void destroyed_while_throttled(void **state)
{
	struct rate_limits one = { .ops = { true, 1, 0, 100 } };

	(void)state;
	start(one, one);
	send_frames(0, 3, 100);
	from_peer(0, 3, 100);
	assert_int_equal(fake_time_next(), 100 * MS);
	/* With both timers' events on their way; the fixture does the rest. */
	fake_time_pass(100 * MS);
}

static int teardown(void **state)
{
	int r = net_test_teardown(state);

	fake_time_stop();
	return r;
}

#define LIMIT_TEST(name) cmocka_unit_test_setup_teardown(name, net_test_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIMIT_TEST(transmission_waits_in_the_drivers_queue),
		LIMIT_TEST(frames_count_one_by_one),
		LIMIT_TEST(a_full_tap_is_not_charged),
		LIMIT_TEST(received_frames_wait_in_the_tap),
		LIMIT_TEST(a_received_frame_is_paid_for_afterwards),
		LIMIT_TEST(the_two_directions_have_limits_of_their_own),
		LIMIT_TEST(limits_change_while_it_runs),
		LIMIT_TEST(a_reset_while_throttled_leaves_nothing_behind),
		LIMIT_TEST(saved_while_throttled_it_goes_on_elsewhere),
		LIMIT_TEST(destroyed_while_throttled),
	};

	return cmocka_run_group_tests(tests, net_enter, NULL);
}
