/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net: a tap that goes down or away, saved state, a driver on another thread. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <linux/if_tun.h>

#include "net_driver.h"
#include "private_net.h"
#include "vmm/util.h"

#define RX VIRTIO_NET_RX
#define TX VIRTIO_NET_TX

static uint8_t frame[NET_FRAME_TOP];
static struct virtio_net_hdr_v1 hdr;

static void post(unsigned int n, uint32_t len)
{
	net_post(&net, n, len);
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
}

static void from_peer(size_t len, unsigned int seed)
{
	peer_send(&net, NULL, net_frame(len, seed), len);
	driver_run_wait(&net.drv, 100);
}

static void to_peer(size_t len, unsigned int seed)
{
	net_send(&net, NULL, net_frame(len, seed), len);
	driver_run(&net.drv);
}

static void a_tap_that_is_down_drops_frames(void **state)
{
	NET_START(ALL_FEATURES);
	post(4, 2048);
	private_net_up(NET_TAP, false);
	for (unsigned int i = 0; i < 5; i++)
		to_peer(100, i);
	assert_int_equal(net_sent(&net), 5);
	assert_int_equal(net_stats(&net).tx_drop, 5);
	assert_int_equal(net_stats(&net).tx_packets, 0);

	private_net_up(NET_TAP, true);
	close_fd(&net.peer);
	net.peer = private_net_packet_socket(NET_TAP, true);
	to_peer(100, 9);
	peer_expect(&net, 100, 9);
	from_peer(100, 10);
	net_expect(&net, 100, 10, 1);
	assert_int_equal(net_stats(&net).tx_drop, 5);
}

/* Whatever it was doing: the device goes on without a link, and its loop is calm. */
static void goes_on_without_tap(void)
{
	uint64_t drop = net_stats(&net).tx_drop;

	driver_run(&net.drv);
	for (unsigned int i = 0; i < 3; i++)
		to_peer(100, i);
	assert_int_equal(net_stats(&net).tx_drop, drop + 3);
	post(2, 2048);
	assert_int_equal(net_take(&net, &hdr, frame, NULL), -1);
	assert_int_equal(driver_status(&net.drv), 0xf);
	NET_RESTART(ALL_FEATURES);
	to_peer(100, 1);
	assert_int_equal(net_sent(&net), 1);
	assert_int_equal(net_stats(&net).tx_drop, drop + 4);
	assert_int_equal(driver_status(&net.drv), 0xf);
}

static void a_tap_deleted_while_it_is_watched(void **state)
{
	NET_START(ALL_FEATURES);
	post(4, 2048);
	private_net_delete(NET_TAP);
	goes_on_without_tap();
}

static void a_tap_deleted_while_it_is_not_watched(void **state)
{
	NET_START(ALL_FEATURES);
	from_peer(100, 1);
	private_net_delete(NET_TAP);
	goes_on_without_tap();
}

static void a_tap_deleted_and_found_out_by_sending(void **state)
{
	NET_START(ALL_FEATURES);
	post(4, 2048);
	private_net_delete(NET_TAP);
	net_send(&net, NULL, net_frame(100, 1), 100);
	/* The transport's kick and the tap's end come in any order. */
	net.dev->ops->process_queue(net.dev, TX);
	assert_int_equal(net_stats(&net).tx_drop, 1);
	goes_on_without_tap();
}

static void a_tap_deleted_and_found_out_by_receiving(void **state)
{
	NET_START(ALL_FEATURES);
	net_post(&net, 4, 2048);
	private_net_delete(NET_TAP);
	net.dev->ops->process_queue(net.dev, RX);
	assert_int_equal(net_hooks.readv_calls, 1);
	goes_on_without_tap();
	assert_int_equal(net_hooks.readv_calls, 1);
}

static void a_tap_deleted_and_found_out_by_activation(void **state)
{
	(void)state;
	if (net_skip)
		skip();
	assert_int_equal(driver_negotiate(&net.drv, ALL_FEATURES), 0xb);
	driver_queue_setup(&net.drv, RX, 0);
	driver_queue_setup(&net.drv, TX, 0);
	private_net_delete(NET_TAP);
	assert_int_equal(driver_ok(&net.drv), 0xf);
	goes_on_without_tap();
}

static struct virtio_mmio_state saved;
static struct virtio_net_state saved_net;

static void save(void)
{
	memset(&saved_net, 0xff, sizeof(saved_net));
	virtio_mmio_save(&net.drv.mmio, &saved, &saved_net);
}

static int restore(struct error *err)
{
	return virtio_mmio_restore(&net.drv.mmio, &saved, &saved_net, err);
}

/* Frames both ways, after buffers 100 and on were posted in order. */
static void works(unsigned int seed)
{
	to_peer(200, seed);
	peer_expect(&net, 200, seed);
	assert_int_equal(net_sent(&net), 1);
	from_peer(200, seed + 1);
	net_expect(&net, 200, seed + 1, 1);
}

static void nothing_moves_between_save_and_resume(void **state)
{
	NET_START(ALL_FEATURES);
	post(60, 2048);
	works(1);
	assert_int_not_equal(virtqueue_in_flight(&net.dev->queues[RX]), 0);
	save();
	assert_int_equal(virtqueue_in_flight(&net.dev->queues[RX]), 0);
	guest_memory_clear_dirty(&net.drv.memory);
	from_peer(200, 5);
	assert_int_equal(net_take(&net, &hdr, frame, NULL), -1);
	for (uint64_t gpa = 0; gpa < DRIVER_LOW_SIZE; gpa += GUEST_PAGE_SIZE)
		assert_false(guest_memory_is_dirty(&net.drv.memory, gpa));
	/* The one saved goes on if it's not the copy that is. */
	virtio_mmio_rekick(&net.drv.mmio);
	driver_run(&net.drv);
	net_expect(&net, 200, 5, 1);
	works(6);
	assert_int_equal(net_stats(&net).rx_drop, 0);
}

static void restored_it_goes_on_where_it_was(void **state)
{
	struct virtio_net_options other = { .id = "eth0", .tap_name = NET_TAP, .has_mac = true };
	struct error err = { 0 };
	uint8_t mac[6];

	NET_START(ALL_FEATURES);
	post(60, 2048);
	works(1);
	save();
	assert_memory_equal(saved_net.mac, net_guest_mac, 6);
	net_release(&net);
	assert_int_equal(net_hooks.offload, 0);

	net_attach(&net, &other);
	if (restore(&err) < 0)
		fail_msg("%s", err.message);
	/* Offloads are those acked; the address is the one that the guest knows. */
	assert_int_equal(net_hooks.offload, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6);
	driver_read_config(&net.drv, 0, mac, 6);
	assert_memory_equal(mac, net_guest_mac, 6);
	virtio_mmio_rekick(&net.drv.mmio);
	driver_run(&net.drv);
	works(3);
	/* No buffer got lost: 58 are left, each takes one frame. */
	for (unsigned int i = 0; i < 58; i++)
		from_peer(1000, i);
	for (unsigned int i = 0; i < 58; i++)
		net_expect(&net, 1000, i, 1);
	assert_int_equal(net_stats(&net).rx_drop, 0);
	net_post(&net, 1, 2048);
	assert_true(driver_kick_wanted(&net.drv, RX));
}

static void saved_before_activation(void **state)
{
	(void)state;
	if (net_skip)
		skip();
	save();
	net_release(&net);
	net_attach(&net, NULL);
	assert_int_equal(restore(NULL), 0);
	assert_int_equal(net_hooks.offload, 0);
	NET_START(ALL_FEATURES);
	post(4, 2048);
	works(1);
}

static void saved_while_frames_wait(void **state)
{
	struct virtio_net_hdr out;
	const uint8_t *tcp = net_tcp_frame(10000, 1448, &out);

	NET_START(ALL_FEATURES);
	post(60, 1526);
	/* 2 buffers stay in the window. */
	for (unsigned int i = 0; i < 58; i++)
		from_peer(100, i);
	for (unsigned int i = 0; i < 58; i++)
		net_expect(&net, 100, i, 1);
	peer_send(&net, &out, tcp, 10000);
	driver_run_wait(&net.drv, 100);
	assert_int_equal(net_take(&net, &hdr, frame, NULL), -1);
	assert_int_equal(net_stats(&net).rx_drop, 0);
	net_hooks.writev_errno = EAGAIN;
	net_hooks.writev_fails = 1;
	net_send(&net, NULL, net_frame(100, 1), 100);
	assert_int_equal(loop_run_once(&net.drv.loop, 0, NULL), 1);
	assert_int_equal(net_hooks.writev_calls, 1);
	save();
	/* Half a frame can't be saved: it's lost, its buffers aren't. That not sent yet stays. */
	assert_int_equal(net_stats(&net).rx_drop, 1);
	driver_run(&net.drv);
	assert_int_equal(peer_receive(&net, NULL, frame), -1);
	assert_int_equal(net_sent(&net), 0);
	net_release(&net);
	net_attach(&net, NULL);
	assert_int_equal(restore(NULL), 0);
	virtio_mmio_rekick(&net.drv.mmio);
	driver_run(&net.drv);
	peer_expect(&net, 100, 1);
	assert_int_equal(net_sent(&net), 1);
	from_peer(1500, 2);
	from_peer(1500, 3);
	net_expect(&net, 1500, 2, 1);
	net_expect(&net, 1500, 3, 1);
}

static void restore_checks_all_of_the_state(void **state)
{
	struct virtio_net_state good;
	static const struct {
		size_t offset;
		uint8_t value;
		const char *why;
	} cases[] = {
		{ offsetof(struct virtio_net_state, has_mac), 2, "unknown flags" },
		{ offsetof(struct virtio_net_state, reserved), 1, "unknown flags" },
		{ offsetof(struct virtio_net_state, reserved) + 4, 1, "unknown flags" },
		{ offsetof(struct virtio_net_state, reserved2) + 1, 1, "unknown flags" },
		{ offsetof(struct virtio_net_state, has_mac), 0,
		  "saved without a MAC address, made with one" },
		{ offsetof(struct virtio_net_state, mtu), 100, "saved with MTU 100, made with 0" },
	};
	const struct virtio_net_options plain = { .id = "eth0", .tap_name = NET_TAP, .mtu = 1400 };
	struct error err = { 0 };

	NET_START(ALL_FEATURES);
	save();
	good = saved_net;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		saved_net = good;
		((uint8_t *)&saved_net)[cases[i].offset] = cases[i].value;
		driver_reset(&net.drv);
		assert_int_equal(restore(&err), -EINVAL);
		assert_non_null(strstr(err.message, cases[i].why));
	}
	net_release(&net);

	net_attach(&net, &plain);
	NET_START(ALL_FEATURES);
	save();
	assert_int_equal(saved_net.mtu, 1400);
	saved_net.mac[5] = 1;
	assert_int_equal(restore(&err), -EINVAL);
	saved_net.mac[5] = 0;
	saved_net.mtu = 67;
	assert_int_equal(restore(&err), -EINVAL);
	saved_net.mtu = 68;
	assert_int_equal(restore(&err), 0);
}

#define RACE_FRAMES 20000

/* A driver with few buffers: it gives each back at once, and kicks only if it's asked to. */
static void *race_driver(void *arg)
{
	unsigned int sent = 0, received = 0;
	uint64_t until = monotonic_ns() + 20000000000ull;

	while ((sent < RACE_FRAMES || received < RACE_FRAMES) && monotonic_ns() < until) {
		uint32_t head;
		bool idle = true;

		for (; driver_get_used(&net.drv, RX, &head, NULL); received++) {
			net_repost(&net, &(uint16_t){ (uint16_t)head }, 1);
			if (driver_kick_wanted(&net.drv, RX))
				driver_kick_eventfd(&net.drv, RX);
			idle = false;
		}
		while (driver_get_used(&net.drv, TX, NULL, NULL))
			idle = false;
		if (sent < RACE_FRAMES &&
		    (uint16_t)(net.drv.queues[TX].avail_idx - net.drv.queues[TX].last_used) < 4) {
			driver_add(&net.drv, TX, arg, 1, 0);
			if (driver_kick_wanted(&net.drv, TX))
				driver_kick_eventfd(&net.drv, TX);
			sent++;
			idle = false;
		}
		if (idle)
			sched_yield();
	}
	return (void *)(uintptr_t)received;
}

/* If a kick were asked for too late, or a chain overlooked, one side would wait for ever. */
static void no_kick_is_lost_to_a_driver_on_another_thread(void **state)
{
	struct driver_buf buf;
	unsigned int sent = 0;
	pthread_t thread;
	void *received;

	NET_START(VERSION_1 | EVENT_IDX);
	buf = (struct driver_buf){ driver_alloc(&net.drv, 112, 64), 112 };
	memcpy(driver_ptr(&net.drv, buf.gpa + NET_HDR, 100), net_frame(100, 1), 100);
	post(2, 2048);
	assert_int_equal(pthread_create(&thread, NULL, race_driver, &buf), 0);
	/* Bounded, so that a lost kick fails and doesn't hang. */
	for (uint64_t until = monotonic_ns() + 20000000000ull; monotonic_ns() < until;) {
		struct virtio_net_stats stats = net_stats(&net);

		for (; sent < RACE_FRAMES && sent - stats.rx_packets < 16; sent++)
			peer_send(&net, NULL, net_frame(100, 2), 100);
		if (stats.rx_packets == RACE_FRAMES && stats.tx_packets == RACE_FRAMES)
			break;
		loop_run_once(&net.drv.loop, 1, NULL);
	}
	pthread_join(thread, &received);
	assert_int_equal((uintptr_t)received, RACE_FRAMES);
	assert_int_equal(net_stats(&net).tx_packets, RACE_FRAMES);
	assert_int_equal(net_stats(&net).rx_drop + net_stats(&net).tx_drop, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NET_TEST(a_tap_that_is_down_drops_frames),
		NET_TEST(a_tap_deleted_while_it_is_watched),
		NET_TEST(a_tap_deleted_while_it_is_not_watched),
		NET_TEST(a_tap_deleted_and_found_out_by_sending),
		NET_TEST(a_tap_deleted_and_found_out_by_receiving),
		NET_TEST(a_tap_deleted_and_found_out_by_activation),
		NET_TEST(nothing_moves_between_save_and_resume),
		NET_TEST(restored_it_goes_on_where_it_was),
		NET_TEST(saved_before_activation),
		NET_TEST(saved_while_frames_wait),
		NET_TEST(restore_checks_all_of_the_state),
		NET_TEST(no_kick_is_lost_to_a_driver_on_another_thread),
	};

	return cmocka_run_group_tests_name("virtio_net_life", tests, net_enter, NULL);
}
