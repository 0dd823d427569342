/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net: reception. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

#include <cmocka.h>
#include <linux/if_tun.h>

#include "net_driver.h"
#include "private_net.h"
#include "vmm/util.h"

#define RX VIRTIO_NET_RX

static uint8_t frame[NET_FRAME_TOP];
static struct virtio_net_hdr_v1 hdr;

/* Post buffers, kick, let the device look at them. */
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

static void nothing_comes(void)
{
	driver_run(&net.drv);
	assert_int_equal(net_take(&net, &hdr, frame, NULL), -1);
}

static void one_buffer_a_frame_without_merging(void **state)
{
	static const struct virtio_net_hdr_v1 plain = { .num_buffers = 1 };

	NET_START(VERSION_1);
	post(4, 2048);
	for (unsigned int i = 0; i < 4; i++) {
		peer_send(&net, NULL, net_frame(60 + 400 * i, i), 60 + 400 * i);
		driver_run(&net.drv);
		assert_int_equal(net_take(&net, &hdr, frame, NULL), 60 + 400 * i);
		assert_memory_equal(frame, net_frame(60 + 400 * i, i), 60 + 400 * i);
		assert_memory_equal(&hdr, &plain, sizeof(hdr));
	}
	assert_int_equal(net_stats(&net).rx_packets, 4);
	assert_int_equal(net_stats(&net).rx_bytes, 4 * 60 + 400 * 6);
}

static void too_long_without_merging_is_dropped(void **state)
{
	NET_START(VERSION_1 | EVENT_IDX);
	post(2, NET_HDR + 500);
	from_peer(501, 1);
	nothing_comes();
	assert_int_equal(net_stats(&net).rx_drop, 1);
	/* Not retried, no buffer lost; one that fits exactly does. */
	from_peer(500, 2);
	from_peer(500, 3);
	net_expect(&net, 500, 2, 1);
	net_expect(&net, 500, 3, 1);
	assert_int_equal(net_stats(&net).rx_drop, 1);
	assert_int_equal(net_stats(&net).rx_packets, 2);
}

static void merged_buffers_take_any_frame(void **state)
{
	NET_START(VERSION_1 | NET_F(MRG_RXBUF));
	/* Buffers as small as a header; exactly full ones; then larger ones. */
	net_post(&net, 20, NET_HDR);
	net_post(&net, 100, 256);
	post(1, 2048);
	from_peer(100, 1);
	net_expect(&net, 100, 1, 10);
	from_peer(10 * NET_HDR - NET_HDR, 2);
	net_expect(&net, 10 * NET_HDR - NET_HDR, 2, 10);
	from_peer(1000, 3);
	net_expect(&net, 1000, 3, 4);
	from_peer(256 - NET_HDR, 4);
	net_expect(&net, 256 - NET_HDR, 4, 1);
	from_peer(257 - NET_HDR, 5);
	net_expect(&net, 257 - NET_HDR, 5, 2);
	for (unsigned int i = 0; i < 15; i++) {
		from_peer(1500, i);
		net_expect(&net, 1500, i, 6);
	}
	/* Three small ones and the large one are left. */
	from_peer(1514, 6);
	net_expect(&net, 1514, 6, 4);
	assert_int_equal(net_stats(&net).rx_drop, 0);
}

static void chains_of_several_descriptors(void **state)
{
	uint64_t gpa;

	NET_START(ALL_FEATURES);
	/* Two chains, one of them indirect: 3 + 9 + 100 bytes each, in consecutive memory. */
	for (unsigned int i = 0; i < 2; i++) {
		gpa = driver_alloc(&net.drv, 112, 64);
		struct driver_buf bufs[] = { { gpa, 3 }, { gpa + 3, 9 }, { gpa + 12, 100 } };
		uint16_t head = i == 0 ? driver_add(&net.drv, RX, bufs, 0, 3)
				       : driver_add_indirect(&net.drv, RX, bufs, 0, 3);

		net.rx[head] = (struct driver_buf){ gpa, 112 };
	}
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	from_peer(200, 1);
	net_expect(&net, 200, 1, 2);
}

/*
 * TCP segments from the host in one frame, as its own stack would send them; at most 65535 bytes
 * (gso_max_size), or it cuts them itself.
 */
static void segments_from_peer(size_t len)
{
	struct virtio_net_hdr out;
	const uint8_t *tcp = net_tcp_frame(len, 1448, &out);

	peer_send(&net, &out, tcp, len);
	driver_run_wait(&net.drv, 100);
}

static void expect_segments(size_t len, unsigned int n_buffers)
{
	struct virtio_net_hdr out;
	const uint8_t *tcp = net_tcp_frame(len, 1448, &out);

	assert_int_equal(net_take(&net, &hdr, frame, NULL), len);
	assert_memory_equal(frame, tcp, len);
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(hdr.gso_size, 1448);
	assert_int_equal(hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(hdr.csum_start, 34);
	assert_int_equal(hdr.num_buffers, n_buffers);
}

static void segments_of_64_kib_merged(void **state)
{
	NET_START(ALL_FEATURES);
	post(200, 1526);
	for (unsigned int i = 0; i < 4; i++) {
		segments_from_peer(65535);
		expect_segments(65535, 43);
	}
	assert_int_equal(net_stats(&net).rx_bytes, 4 * 65535);
}

static void segments_of_64_kib_in_one_buffer(void **state)
{
	NET_START(VERSION_1 | NET_GUEST_OFFLOADS);
	post(2, NET_HDR + NET_FRAME_TOP);
	segments_from_peer(65535);
	expect_segments(65535, 1);
}

static void segments_are_cut_for_those_who_cannot(void **state)
{
	size_t total = 0;
	ssize_t n;

	NET_START(VERSION_1 | NET_F(GUEST_CSUM));
	post(64, 1526);
	segments_from_peer(65535);
	driver_run(&net.drv);
	while ((n = net_take(&net, &hdr, frame, NULL)) >= 0) {
		assert_in_range(n, 55, 1502);
		assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
		total += (size_t)n - 54;
	}
	assert_int_equal(total, 65535 - 54);
	assert_int_equal(net_stats(&net).rx_packets, 46);
}

static void queued_frame_is_dropped_for(uint64_t features)
{
	uint64_t drop = net_stats(&net).rx_drop;

	NET_RESTART(ALL_FEATURES);
	segments_from_peer(4000);
	peer_send(&net, NULL, net_frame(100, 1), 100);
	/* Nothing was read: there's no buffer. The next driver takes less. */
	NET_RESTART(features);
	post(4, 8192);
	net_expect(&net, 100, 1, 1);
	nothing_comes();
	assert_int_equal(net_stats(&net).rx_drop, drop + 1);
}

static void frames_queued_with_offloads_do_not_reach_a_driver_without(void **state)
{
	(void)state;
	if (net_skip)
		skip();
	queued_frame_is_dropped_for(VERSION_1);
	queued_frame_is_dropped_for(VERSION_1 | NET_F(GUEST_CSUM));
	queued_frame_is_dropped_for(VERSION_1 | NET_F(GUEST_CSUM) | NET_F(GUEST_TSO6));
}

static void set_data_valid(const struct iovec *iov, int n)
{
	(void)n;
	*(uint8_t *)iov[0].iov_base = VIRTIO_NET_HDR_F_DATA_VALID | VIRTIO_NET_HDR_F_RSC_INFO;
}

static void header_flags_are_those_acked(void **state)
{
	/* Not asked for (§5.1.6.4.1): flags must be zero. */
	NET_START(VERSION_1);
	net_hooks.after_readv = set_data_valid;
	post(1, 2048);
	from_peer(100, 1);
	assert_int_equal(net_take(&net, &hdr, frame, NULL), 100);
	assert_int_equal(hdr.flags, 0);

	NET_START(VERSION_1 | NET_F(GUEST_CSUM));
	post(1, 2048);
	from_peer(100, 1);
	assert_int_equal(net_take(&net, &hdr, frame, NULL), 100);
	assert_int_equal(hdr.flags, VIRTIO_NET_HDR_F_DATA_VALID);
}

static void frames_above_the_agreed_mtu_are_dropped(void **state)
{
	const struct virtio_net_options options = { .id = "eth0",
						    .tap_name = NET_TAP,
						    .mtu = 1000 };

	(void)state;
	if (net_skip)
		skip();
	net_release(&net);
	net_attach(&net, &options);
	NET_START(ALL_FEATURES);
	post(64, 2048);
	/* Ethernet header and VLAN tag don't count. */
	from_peer(1018, 1);
	net_expect(&net, 1018, 1, 1);
	from_peer(1019, 2);
	nothing_comes();
	assert_int_equal(net_stats(&net).rx_drop, 1);
	segments_from_peer(4000);
	expect_segments(4000, 2);
	/* A driver that doesn't know of it gets them. */
	NET_START(ALL_FEATURES & ~NET_F(MTU) & driver_offered(&net.drv));
	post(1, 2048);
	from_peer(1019, 3);
	net_expect(&net, 1019, 3, 1);
}

/* CVE-2020-16843: the queue full of used buffers, the tap full of frames. */
static void an_empty_queue_is_no_end(void **state)
{
	unsigned int taken = 0, posted = 0;

	NET_START(ALL_FEATURES);
	assert_true(driver_kick_wanted(&net.drv, RX) || net.drv.queues[RX].avail_idx == 0);
	for (unsigned int i = 0; i < 300; i++)
		peer_send(&net, NULL, net_frame(60 + i, i), 60 + i);
	/* driver_run asserts that the loop calms down with the tap readable all the time. */
	nothing_comes();
	assert_int_equal(net_hooks.readv_calls, 0);
	while (taken < 300) {
		unsigned int n = 1 + taken % 7;

		/* A driver that kicks only if it's asked to. */
		net_post(&net, n, 2048);
		posted += n;
		if (driver_kick_wanted(&net.drv, RX))
			driver_kick(&net.drv, RX);
		driver_run(&net.drv);
		for (; taken < posted && taken < 300; taken++)
			net_expect(&net, 60 + taken, taken, 1);
	}
	nothing_comes();
	assert_int_equal(net_stats(&net).rx_packets, 300);
	assert_int_equal(net_stats(&net).rx_drop, 0);
}

static void kicks_are_wanted_only_without_buffers(void **state)
{
	static const uint64_t features[] = { VERSION_1 | NET_F(MRG_RXBUF),
					     VERSION_1 | NET_F(MRG_RXBUF) | EVENT_IDX };

	(void)state;
	if (net_skip)
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(features); i++) {
		NET_RESTART(features[i]);
		post(8, 2048);
		from_peer(100, 1);
		net_expect(&net, 100, 1, 1);
		driver_kick_wanted(&net.drv, RX);
		net_post(&net, 1, 2048);
		assert_false(driver_kick_wanted(&net.drv, RX));
		for (unsigned int j = 0; j < 8; j++)
			from_peer(100, j);
		for (unsigned int j = 0; j < 8; j++)
			net_expect(&net, 100, j, 1);
		net_post(&net, 1, 2048);
		assert_true(driver_kick_wanted(&net.drv, RX));
	}
}

/* Too late to be seen by the pop, too early to be kicked for. */
static void post_unnoticed(struct virtqueue *queue)
{
	if (queue != &net.dev->queues[RX])
		return;
	net_hooks.before_enable_kicks = NULL;
	net_post(&net, 1, 2048);
	assert_false(driver_kick_wanted(&net.drv, RX));
}

static void a_buffer_at_the_last_moment_is_seen(void **state)
{
	static const uint64_t features[] = { VERSION_1, VERSION_1 | EVENT_IDX };

	(void)state;
	if (net_skip)
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(features); i++) {
		NET_RESTART(features[i]);
		post(1, 2048);
		driver_kick_wanted(&net.drv, RX);
		net_hooks.before_enable_kicks = post_unnoticed;
		peer_send(&net, NULL, net_frame(100, 1), 100);
		peer_send(&net, NULL, net_frame(100, 2), 100);
		driver_run(&net.drv);
		net_expect(&net, 100, 1, 1);
		net_expect(&net, 100, 2, 1);
	}
}

static uint16_t used_seen[8];
static unsigned int n_used_seen;

static void note_used(void)
{
	uint16_t idx = net.drv.queues[RX].vring.used->idx;

	if ((n_used_seen == 0 || used_seen[n_used_seen - 1] != idx) &&
	    n_used_seen < ARRAY_SIZE(used_seen))
		used_seen[n_used_seen++] = idx;
}

/* A driver that found some of a packet's buffers only would drop it. */
static void all_buffers_of_a_frame_are_used_at_once(void **state)
{
	NET_START(ALL_FEATURES);
	post(100, 1526);
	n_used_seen = 0;
	net_hooks.after_write = note_used;
	segments_from_peer(65535);
	net_hooks.after_write = NULL;
	assert_int_equal(n_used_seen, 2);
	assert_int_equal(used_seen[0], 0);
	assert_int_equal(used_seen[1], 43);
}

static void a_frame_waits_for_a_driver_that_had_room(void **state)
{
	NET_START(ALL_FEATURES);
	post(44, 1526);
	segments_from_peer(65535);
	expect_segments(65535, 43);
	/* One buffer left, and a frame that needs 7: not lost, nothing after it overtakes. */
	segments_from_peer(10000);
	from_peer(100, 1);
	nothing_comes();
	net_post(&net, 3, 1526);
	assert_true(driver_kick_wanted(&net.drv, RX));
	driver_kick(&net.drv, RX);
	nothing_comes();
	net_post(&net, 3, 1526);
	assert_true(driver_kick_wanted(&net.drv, RX));
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	expect_segments(10000, 7);
	post(1, 1526);
	net_expect(&net, 100, 1, 1);
	assert_int_equal(net_stats(&net).rx_drop, 0);
	assert_int_equal(net_stats(&net).rx_packets, 3);
}

static void a_frame_does_not_wait_for_a_driver_that_never_has_room(void **state)
{
	NET_START(ALL_FEATURES);
	post(4, 256);
	from_peer(1100, 1);
	nothing_comes();
	assert_int_equal(net_stats(&net).rx_drop, 1);
	from_peer(100, 2);
	net_expect(&net, 100, 2, 1);
	from_peer(600, 3);
	net_expect(&net, 600, 3, 3);
}

static void a_reset_forgets_a_waiting_frame(void **state)
{
	NET_START(ALL_FEATURES);
	post(44, 1526);
	segments_from_peer(65535);
	expect_segments(65535, 43);
	segments_from_peer(10000);
	NET_START(ALL_FEATURES);
	post(44, 1526);
	from_peer(100, 1);
	net_expect(&net, 100, 1, 1);
	assert_int_equal(net_stats(&net).rx_packets, 2);
}

static void useless_buffers_come_back_unused(void **state)
{
	const uint64_t gpa = 1 * MIB;
	uint32_t len;

	NET_START(ALL_FEATURES);
	/* Alone, then between good ones: too small for a header, and readable ones. */
	for (unsigned int i = 0; i < 3; i++) {
		driver_add(&net.drv, RX, &(struct driver_buf){ gpa, 11 }, 0, 1);
		driver_add(&net.drv, RX, &(struct driver_buf){ gpa, 2048 }, 1, 0);
		driver_add(&net.drv, RX, (struct driver_buf[]){ { gpa, 64 }, { gpa, 2048 } }, 1, 1);
	}
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	for (unsigned int i = 0; i < 9; i++) {
		assert_true(driver_get_used(&net.drv, RX, NULL, &len));
		assert_int_equal(len, 0);
	}
	assert_int_equal(net_stats(&net).rx_errs, 9);

	net_post(&net, 1, 2048);
	driver_add(&net.drv, RX, &(struct driver_buf){ gpa, 11 }, 0, 1);
	post(1, 2048);
	from_peer(100, 1);
	from_peer(100, 2);
	net_expect(&net, 100, 1, 1);
	assert_true(driver_get_used(&net.drv, RX, NULL, &len));
	assert_int_equal(len, 0);
	net_expect(&net, 100, 2, 1);
	assert_int_equal(net_stats(&net).rx_errs, 10);
	assert_int_equal(driver_status(&net.drv), 0xf);
}

static void many_tiny_descriptors(void **state)
{
	struct driver_buf bufs[VIRTQUEUE_SIZE_MAX];

	NET_START(ALL_FEATURES);
	/* Tables of 200 one-byte buffers: more than a readv takes, less than a frame needs. */
	for (unsigned int i = 0; i < 8; i++) {
		uint64_t gpa = driver_alloc(&net.drv, 200, 64);

		for (unsigned int j = 0; j < 200; j++)
			bufs[j] = (struct driver_buf){ gpa + j, 1 };
		net.rx[driver_add_indirect(&net.drv, RX, bufs, 0, 200)] =
			(struct driver_buf){ gpa, 200 };
	}
	driver_kick(&net.drv, RX);
	from_peer(500, 1);
	net_expect(&net, 500, 1, 3);
	/* What fits into no window is dropped, and the next one comes. */
	from_peer(900, 2);
	nothing_comes();
	assert_int_equal(net_stats(&net).rx_drop, 1);
	from_peer(700, 3);
	net_expect(&net, 700, 3, 4);
	assert_int_equal(driver_status(&net.drv), 0xf);
}

static void a_broken_queue_stops_the_device_only(void **state)
{
	NET_START(ALL_FEATURES);
	post(8, 2048);
	from_peer(100, 1);
	net_expect(&net, 100, 1, 1);
	driver_offer(&net.drv, RX, 1000);
	from_peer(100, 2);
	driver_run(&net.drv);
	assert_int_equal(driver_status(&net.drv), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(net_hooks.offload, 0);
	for (unsigned int i = 0; i < 10; i++)
		from_peer(100, i);
	NET_START(ALL_FEATURES);
	post(200, 2048);
	driver_run(&net.drv);
	assert_true(net_take(&net, &hdr, frame, NULL) == 100);
	assert_int_equal(driver_status(&net.drv), 0xf);
}

static void a_turn_is_bounded(void **state)
{
	unsigned int n = 0;

	NET_START(ALL_FEATURES);
	post(256, 2048);
	driver_ack_interrupts(&net.drv);
	driver_interrupts(&net.drv);
	for (unsigned int i = 0; i < 200; i++)
		peer_send(&net, NULL, net_frame(60, i), 60);
	assert_int_equal(loop_run_once(&net.drv.loop, 0, NULL), 1);
	assert_int_equal(net_stats(&net).rx_packets, 128);
	/* The driver hears of the first ones, and not of each. */
	assert_int_equal(driver_interrupts(&net.drv), 1);
	driver_run(&net.drv);
	for (; n < 200; n++)
		net_expect(&net, 60, n, 1);
	nothing_comes();
}

static void read_errors_are_counted(void **state)
{
	NET_START(ALL_FEATURES);
	post(4, 2048);
	net_hooks.readv_errno = EFAULT;
	net_hooks.readv_fails = 2;
	from_peer(100, 1);
	net_expect(&net, 100, 1, 1);
	assert_int_equal(net_stats(&net).rx_errs, 2);
}

static void written_pages_are_dirty_and_no_others(void **state)
{
	uint64_t gpa;

	NET_START(VERSION_1);
	gpa = driver_alloc(&net.drv, 4 * 4096, 4096);
	for (unsigned int i = 0; i < 2; i++) {
		struct driver_buf buf = { gpa + i * 8192, 8192 };

		net.rx[driver_add(&net.drv, RX, &buf, 0, 1)] = buf;
	}
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	private_net_set_mtu(NET_TAP, 9000);
	guest_memory_clear_dirty(&net.drv.memory);
	from_peer(1000, 1);
	assert_true(guest_memory_is_dirty(&net.drv.memory, gpa));
	assert_false(guest_memory_is_dirty(&net.drv.memory, gpa + 4096));
	assert_true(guest_memory_is_dirty(&net.drv.memory, net.drv.queues[RX].used_gpa & ~4095ull));
	/* A frame that's dropped has been written too. */
	assert_false(guest_memory_is_dirty(&net.drv.memory, gpa + 8192));
	from_peer(9000, 2);
	assert_int_equal(net_stats(&net).rx_drop, 1);
	assert_true(guest_memory_is_dirty(&net.drv.memory, gpa + 8192));
	assert_true(guest_memory_is_dirty(&net.drv.memory, gpa + 12288));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NET_TEST(one_buffer_a_frame_without_merging),
		NET_TEST(too_long_without_merging_is_dropped),
		NET_TEST(merged_buffers_take_any_frame),
		NET_TEST(chains_of_several_descriptors),
		NET_TEST(segments_of_64_kib_merged),
		NET_TEST(segments_of_64_kib_in_one_buffer),
		NET_TEST(segments_are_cut_for_those_who_cannot),
		NET_TEST(frames_queued_with_offloads_do_not_reach_a_driver_without),
		NET_TEST(header_flags_are_those_acked),
		NET_TEST(frames_above_the_agreed_mtu_are_dropped),
		NET_TEST(an_empty_queue_is_no_end),
		NET_TEST(kicks_are_wanted_only_without_buffers),
		NET_TEST(a_buffer_at_the_last_moment_is_seen),
		NET_TEST(all_buffers_of_a_frame_are_used_at_once),
		NET_TEST(a_frame_waits_for_a_driver_that_had_room),
		NET_TEST(a_frame_does_not_wait_for_a_driver_that_never_has_room),
		NET_TEST(a_reset_forgets_a_waiting_frame),
		NET_TEST(useless_buffers_come_back_unused),
		NET_TEST(many_tiny_descriptors),
		NET_TEST(a_broken_queue_stops_the_device_only),
		NET_TEST(a_turn_is_bounded),
		NET_TEST(read_errors_are_counted),
		NET_TEST(written_pages_are_dirty_and_no_others),
	};

	return cmocka_run_group_tests_name("virtio_net_rx", tests, net_enter, NULL);
}
