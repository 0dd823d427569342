/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net: transmission. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "net_driver.h"
#include "private_net.h"
#include "vmm/util.h"

#define TX VIRTIO_NET_TX

/* One frame of 800 bytes cut into buffers of these lengths, the header first. */
static void send_cut(const uint32_t *lens, unsigned int n, unsigned int seed, bool indirect)
{
	uint64_t gpa = driver_alloc(&net.drv, NET_HDR + 800, 64);
	struct driver_buf bufs[VIRTQUEUE_SIZE_MAX];

	memcpy(driver_ptr(&net.drv, gpa + NET_HDR, 800), net_frame(800, seed), 800);
	for (unsigned int i = 0; i < n; i++) {
		bufs[i] = (struct driver_buf){ gpa, lens[i] };
		gpa += lens[i];
	}
	if (indirect)
		driver_add_indirect(&net.drv, TX, bufs, n, 0);
	else
		driver_add(&net.drv, TX, bufs, n, 0);
	driver_kick(&net.drv, TX);
	driver_run(&net.drv);
	assert_int_equal(net_sent(&net), 1);
	peer_expect(&net, 800, seed);
}

static void takes_a_frame_in_any_layout(void **state)
{
	uint32_t many[VIRTQUEUE_SIZE_MAX];

	NET_START(ALL_FEATURES);
	send_cut((uint32_t[]){ 812 }, 1, 1, false);
	send_cut((uint32_t[]){ 12, 800 }, 2, 2, false);
	send_cut((uint32_t[]){ 5, 1, 6, 400, 400 }, 5, 3, false);
	send_cut((uint32_t[]){ 11, 2, 799 }, 3, 4, false);
	send_cut((uint32_t[]){ 26, 786 }, 2, 5, true);
	/* As many as the queue has: 212 of one byte, also through the header, then the rest. */
	for (unsigned int i = 0; i < VIRTQUEUE_SIZE_MAX; i++)
		many[i] = i < 255 ? 1 : 812 - 255;
	send_cut(many, VIRTQUEUE_SIZE_MAX, 6, false);
	send_cut(many, VIRTQUEUE_SIZE_MAX, 7, true);
	assert_int_equal(net_stats(&net).tx_packets, 7);
}

static struct iovec seen[4];
static int seen_n;
static struct virtio_net_hdr_v1 seen_hdr;
static uint8_t *guest_hdr;

/* Between the check and the use: the guest changes its mind. */
static void change_header(const struct iovec *iov, int n)
{
	seen_n = n;
	memcpy(seen, iov, sizeof(seen[0]) * (size_t)(n < 4 ? n : 4));
	memcpy(&seen_hdr, iov[0].iov_base, sizeof(seen_hdr));
	memset(guest_hdr, 0xff, NET_HDR);
}

static void sends_segments_of_64_kib(void **state)
{
	static uint8_t got[NET_FRAME_TOP];
	struct virtio_net_hdr_v1 hdr = { 0 };
	struct virtio_net_hdr peer_hdr;
	const uint8_t *frame = net_tcp_frame(65549, 1448, &peer_hdr);

	NET_START(ALL_FEATURES);
	memcpy(&hdr, &peer_hdr, sizeof(peer_hdr));
	hdr.flags |= VIRTIO_NET_HDR_F_DATA_VALID;
	hdr.num_buffers = 3;
	net_send(&net, &hdr, frame, 65549);
	guest_hdr = driver_ptr(&net.drv, net.drv.queues[TX].vring.desc[0].addr, NET_HDR);
	net_hooks.before_writev = change_header;
	driver_run(&net.drv);
	assert_int_equal(net_sent(&net), 1);
	memset(&hdr, 0, sizeof(hdr));
	memcpy(&hdr, &peer_hdr, sizeof(peer_hdr));
	assert_memory_equal(&seen_hdr, &hdr, sizeof(hdr));
	memset(&peer_hdr, 0, sizeof(peer_hdr));
	assert_int_equal(peer_receive(&net, &peer_hdr, got), 65549);
	assert_memory_equal(got, frame, 65549);
	assert_int_equal(peer_hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(peer_hdr.gso_size, 1448);
	assert_int_equal(peer_hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(net_stats(&net).tx_bytes, 65549);
}

static void drops_offloads_that_were_not_acked(void **state)
{
	static const struct {
		uint64_t features;
		uint8_t flags, gso_type;
	} cases[] = {
		{ 0, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE },
		{ NET_HOST_OFFLOADS & ~NET_F(CSUM), 1, VIRTIO_NET_HDR_GSO_NONE },
		{ NET_HOST_OFFLOADS & ~NET_F(CSUM), 1, VIRTIO_NET_HDR_GSO_TCPV4 },
		{ NET_HOST_OFFLOADS & ~NET_F(HOST_TSO4), 1, VIRTIO_NET_HDR_GSO_TCPV4 },
		{ NET_HOST_OFFLOADS & ~NET_F(HOST_TSO6), 1, VIRTIO_NET_HDR_GSO_TCPV6 },
		/* Never offered, or nothing at all. */
		{ NET_HOST_OFFLOADS, 1, VIRTIO_NET_HDR_GSO_UDP },
		{ NET_HOST_OFFLOADS, 1, 5 /* UDP_L4 */ },
		{ NET_HOST_OFFLOADS, 1, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN },
		{ NET_HOST_OFFLOADS, 1, 0x7f },
		/* Segments whose checksums nobody will make. */
		{ NET_HOST_OFFLOADS, 0, VIRTIO_NET_HDR_GSO_TCPV4 },
	};

	(void)state;
	if (net_skip)
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct virtio_net_hdr_v1 hdr = { 0 };
		struct virtio_net_hdr tcp;
		const uint8_t *frame = net_tcp_frame(4000, 1000, &tcp);
		uint8_t got[NET_FRAME_TOP];

		NET_START(VERSION_1 | cases[i].features);
		memcpy(&hdr, &tcp, sizeof(tcp));
		hdr.flags = cases[i].flags;
		hdr.gso_type = cases[i].gso_type;
		net_send(&net, &hdr, frame, 4000);
		driver_run(&net.drv);
		assert_int_equal(net_sent(&net), 1);
		assert_int_equal(net_stats(&net).tx_errs, i + 1);
		assert_int_equal(peer_receive(&net, NULL, got), -1);
		net_send(&net, NULL, net_frame(100, i), 100);
		driver_run(&net.drv);
		peer_expect(&net, 100, i);
		assert_int_equal(driver_status(&net.drv), 0xf);
	}
}

static void header_is_read_once_and_cleaned(void **state)
{
	/* Flags to ignore, and fields that only mean something with the offloads not used here. */
	const struct virtio_net_hdr_v1 hdr = { .flags = 0xfe,
					       .hdr_len = 9999,
					       .gso_size = 77,
					       .csum_start = 88,
					       .csum_offset = 99,
					       .num_buffers = 5 };
	static const struct virtio_net_hdr_v1 none;
	struct virtio_net_hdr got;
	uint8_t frame[NET_FRAME_TOP];

	NET_START(ALL_FEATURES);
	net_send(&net, &hdr, net_frame(300, 1), 300);
	guest_hdr = driver_ptr(&net.drv, net.drv.queues[TX].vring.desc[0].addr, NET_HDR + 300);
	net_hooks.before_writev = change_header;
	driver_run(&net.drv);
	assert_int_equal(seen_n, 2);
	assert_int_equal(seen[0].iov_len, NET_HDR);
	assert_ptr_not_equal(seen[0].iov_base, guest_hdr);
	assert_memory_equal(&seen_hdr, &none, sizeof(none));
	/* The frame itself isn't copied. */
	assert_ptr_equal(seen[1].iov_base, guest_hdr + NET_HDR);
	assert_int_equal(seen[1].iov_len, 300);
	assert_int_equal(peer_receive(&net, &got, frame), 300);
	assert_int_equal(got.flags, 0);
	assert_int_equal(net_sent(&net), 1);
	assert_int_equal(net_stats(&net).tx_errs, 0);
}

static void drops_malformed_chains(void **state)
{
	struct driver_buf bufs[VIRTQUEUE_SIZE_MAX];
	uint8_t frame[NET_FRAME_TOP];
	unsigned int errs = 0;

	NET_START(ALL_FEATURES);
	private_net_set_mtu(NET_TAP, 65521);
	uint64_t gpa = driver_alloc(&net.drv, 2 * MIB, 64);

	/* Too short: no header, no frame, no Ethernet header; too long by one byte. */
	for (unsigned int i = 0; i < 5; i++) {
		static const uint32_t lens[] = { 1, 11, 12, 25, NET_HDR + NET_FRAME_TOP + 1 };

		bufs[0] = (struct driver_buf){ gpa, lens[i] };
		driver_add(&net.drv, TX, bufs, 1, 0);
		errs++;
	}
	/* Something to write into: alone, or behind a good frame. */
	bufs[0] = bufs[1] = (struct driver_buf){ gpa, 100 };
	driver_add(&net.drv, TX, bufs, 0, 1);
	driver_add(&net.drv, TX, bufs, 1, 1);
	errs += 2;
	/* Nearly 400 MiB. */
	for (unsigned int i = 0; i < 200; i++)
		bufs[i] = (struct driver_buf){ gpa, 2 * MIB };
	driver_add(&net.drv, TX, bufs, 200, 0);
	errs++;
	driver_kick(&net.drv, TX);
	driver_run(&net.drv);
	assert_int_equal(net_sent(&net), errs);
	assert_int_equal(net_stats(&net).tx_errs, errs);
	assert_int_equal(net_hooks.writev_calls, 0);

	/* The longest and the shortest frames that are good. */
	net_send(&net, NULL, net_frame(NET_FRAME_TOP, 8), NET_FRAME_TOP);
	net_send(&net, NULL, net_frame(14, 9), 14);
	driver_run(&net.drv);
	peer_expect(&net, NET_FRAME_TOP, 8);
	peer_expect(&net, 14, 9);
	assert_int_equal(peer_receive(&net, NULL, frame), -1);
	assert_int_equal(driver_status(&net.drv), 0xf);
}

static void survives_what_the_kernel_refuses(void **state)
{
	const struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					       .csum_start = 60000,
					       .csum_offset = 6 };

	NET_START(ALL_FEATURES);
	net_send(&net, &hdr, net_frame(100, 1), 100);
	net_send(&net, NULL, net_frame(100, 2), 100);
	net_hooks.writev_errno = ENOMEM;
	driver_run(&net.drv);
	peer_expect(&net, 100, 2);
	assert_int_equal(net_stats(&net).tx_errs, 1);

	net_hooks.writev_fails = 1;
	net_send(&net, NULL, net_frame(100, 3), 100);
	net_send(&net, NULL, net_frame(100, 4), 100);
	driver_run(&net.drv);
	peer_expect(&net, 100, 4);
	assert_int_equal(net_stats(&net).tx_drop, 1);
	assert_int_equal(net_sent(&net), 4);
}

static void a_broken_queue_stops_the_device_only(void **state)
{
	NET_START(ALL_FEATURES);
	net_send(&net, NULL, net_frame(100, 1), 100);
	driver_offer(&net.drv, TX, 256);
	driver_run(&net.drv);
	peer_expect(&net, 100, 1);
	assert_int_equal(driver_status(&net.drv), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(net_hooks.offload, 0);
	/* Nothing moves, nothing spins. */
	peer_send(&net, NULL, net_frame(100, 2), 100);
	driver_kick(&net.drv, TX);
	driver_run(&net.drv);
	NET_START(ALL_FEATURES);
	net_send(&net, NULL, net_frame(100, 3), 100);
	driver_run(&net.drv);
	peer_expect(&net, 100, 3);
}

static void a_full_tap_is_waited_for(void **state)
{
	NET_START(ALL_FEATURES);
	net_hooks.writev_errno = EAGAIN;
	net_hooks.writev_fails = 3;
	for (unsigned int i = 0; i < 3; i++)
		net_send(&net, NULL, net_frame(100, i), 100);
	assert_int_equal(loop_run_once(&net.drv.loop, 0, NULL), 1);
	assert_int_equal(net_hooks.writev_calls, 1);
	assert_int_equal(net_sent(&net), 0);
	/* Kicks don't help it, so they aren't wanted, nor of any effect. */
	assert_false(driver_kick_wanted(&net.drv, TX));
	net.dev->ops->process_queue(net.dev, TX);
	assert_int_equal(net_hooks.writev_calls, 1);
	net_send(&net, NULL, net_frame(100, 3), 100);
	driver_run(&net.drv);
	assert_int_equal(net_hooks.writev_calls, 3 + 4);
	assert_int_equal(net_sent(&net), 4);
	for (unsigned int i = 0; i < 4; i++)
		peer_expect(&net, 100, i);
	assert_int_equal(net_stats(&net).tx_packets, 4);
	assert_int_equal(net_stats(&net).tx_drop, 0);
	/* And kicks are wanted again. */
	net_send(&net, NULL, net_frame(100, 4), 100);
	driver_run(&net.drv);
	peer_expect(&net, 100, 4);
}

static void a_reset_ends_the_wait_for_a_full_tap(void **state)
{
	uint8_t frame[NET_FRAME_TOP];

	NET_START(ALL_FEATURES);
	net_hooks.writev_errno = EAGAIN;
	net_hooks.writev_fails = 1;
	net_send(&net, NULL, net_frame(100, 1), 100);
	assert_int_equal(loop_run_once(&net.drv.loop, 0, NULL), 1);
	driver_reset(&net.drv);
	driver_run(&net.drv);
	assert_int_equal(peer_receive(&net, NULL, frame), -1);
	NET_START(ALL_FEATURES);
	net_send(&net, NULL, net_frame(100, 2), 100);
	driver_run(&net.drv);
	peer_expect(&net, 100, 2);
}

/* n frames of len bytes, all the same memory; one kick if wanted. */
static void flood(unsigned int n, uint32_t len)
{
	struct driver_buf buf = { driver_alloc(&net.drv, NET_HDR + len, 64), NET_HDR + len };

	memcpy(driver_ptr(&net.drv, buf.gpa + NET_HDR, len), net_frame(len, 1), len);
	for (; n > 0; n--)
		driver_add(&net.drv, TX, &buf, 1, 0);
	if (driver_kick_wanted(&net.drv, TX))
		driver_kick(&net.drv, TX);
}

static void a_turn_is_bounded(void **state)
{
	static const uint64_t features[] = { VERSION_1, VERSION_1 | EVENT_IDX };

	(void)state;
	if (net_skip)
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(features); i++) {
		NET_RESTART(features[i]);
		flood(200, 60);
		assert_int_equal(loop_run_once(&net.drv.loop, 0, NULL), 1);
		assert_int_equal(net_sent(&net), 128);
		/* It comes back by itself: no need to kick for one more. */
		driver_add(&net.drv, TX, &(struct driver_buf){ 65536, 60 }, 1, 0);
		assert_false(driver_kick_wanted(&net.drv, TX));
		driver_run(&net.drv);
		assert_int_equal(net_sent(&net), 73);
		/* In bytes too: 1 MiB and the frame that exceeds it. */
		flood(40, 65000);
		assert_int_equal(loop_run_once(&net.drv.loop, 0, NULL), 1);
		assert_int_equal(net_sent(&net), 1048576 / (65000 + NET_HDR) + 1);
		driver_run(&net.drv);
		assert_int_equal(net_sent(&net), 40 - 1048576 / (65000 + NET_HDR) - 1);
		assert_int_equal(net_stats(&net).tx_packets, 241 * (i + 1));
	}
}

static void add_unnoticed(struct virtqueue *queue)
{
	if (queue != &net.dev->queues[TX])
		return;
	net_hooks.before_enable_kicks = NULL;
	driver_add(&net.drv, TX, &(struct driver_buf){ 65536, 60 }, 1, 0);
	assert_false(driver_kick_wanted(&net.drv, TX));
}

static void a_frame_at_the_last_moment_is_seen(void **state)
{
	static const uint64_t features[] = { VERSION_1, VERSION_1 | EVENT_IDX };

	(void)state;
	if (net_skip)
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(features); i++) {
		NET_RESTART(features[i]);
		net_hooks.before_enable_kicks = add_unnoticed;
		flood(1, 60);
		driver_run(&net.drv);
		assert_null(net_hooks.before_enable_kicks);
		assert_int_equal(net_sent(&net), 2);
	}
}

static uint64_t interrupts_of(unsigned int n)
{
	driver_interrupts(&net.drv);
	flood(n, 60);
	driver_run(&net.drv);
	assert_int_equal(net_sent(&net), n);
	return driver_interrupts(&net.drv);
}

static void interrupts_come_in_batches(void **state)
{
	NET_START(VERSION_1 | EVENT_IDX);
	driver_set_used_event(&net.drv, TX, 9);
	assert_int_equal(interrupts_of(10), 1);
	assert_int_equal(driver_ack_interrupts(&net.drv), VIRTIO_MMIO_INT_VRING);
	driver_set_used_event(&net.drv, TX, 100);
	assert_int_equal(interrupts_of(10), 0);
	/* A driver that wants them all. */
	NET_RESTART(VERSION_1);
	assert_int_equal(interrupts_of(10), 1);
	assert_int_equal(interrupts_of(64), 4);
	driver_set_no_interrupt(&net.drv, TX, true);
	assert_int_equal(interrupts_of(64), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NET_TEST(takes_a_frame_in_any_layout),
		NET_TEST(sends_segments_of_64_kib),
		NET_TEST(drops_offloads_that_were_not_acked),
		NET_TEST(header_is_read_once_and_cleaned),
		NET_TEST(drops_malformed_chains),
		NET_TEST(survives_what_the_kernel_refuses),
		NET_TEST(a_broken_queue_stops_the_device_only),
		NET_TEST(a_full_tap_is_waited_for),
		NET_TEST(a_reset_ends_the_wait_for_a_full_tap),
		NET_TEST(a_turn_is_bounded),
		NET_TEST(a_frame_at_the_last_moment_is_seen),
		NET_TEST(interrupts_come_in_batches),
	};

	return cmocka_run_group_tests_name("virtio_net_tx", tests, net_enter, NULL);
}
