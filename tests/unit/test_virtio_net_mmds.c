/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net: the metadata service behind it, and the tap that doesn't hear of that. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>

#include <cmocka.h>

#include "mmds_guest.h"
#include "net_driver.h"
#include "private_net.h"
#include "vmm/util.h"

#define RX   VIRTIO_NET_RX
#define TX   VIRTIO_NET_TX
#define GET  "GET /a HTTP/1.1\r\n\r\n"
#define DATA 6000
/* Of the response: its head, and all of it. */
#define HEAD  105
#define REPLY (HEAD + DATA)

/* ---- the clock: the test's; the timer rings when the test says so ---- */

static struct {
	uint64_t now, timer_at; /* 0 = isn't set */
	int timer_fd;
} fake;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	(void)clock; /* the log's is another one */
	*ts = (struct timespec){ .tv_sec = (time_t)(fake.now / NS_PER_S), .tv_nsec = (long)(fake.now % NS_PER_S) };
	return 0;
}

int __real_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	assert_int_equal(flags, TFD_TIMER_ABSTIME);
	assert_null(old);
	fake.timer_fd = fd;
	fake.timer_at = (uint64_t)new->it_value.tv_sec * NS_PER_S + (uint64_t)new->it_value.tv_nsec;
	return 0;
}

/* The timer was set to ns from now; it is that late, and rings. */
static void ring_after(uint64_t ns)
{
	const struct itimerspec soon = { .it_value = { .tv_nsec = 1 } };

	assert_int_equal(fake.timer_at, fake.now + ns);
	fake.now += ns;
	fake.timer_at = 0;
	assert_int_equal(__real_timerfd_settime(fake.timer_fd, 0, &soon, NULL), 0);
	driver_run_wait(&net.drv, 10000);
	driver_run(&net.drv);
}

/* ---- fixture: an interface with the service ---- */

static void attach(uint16_t mtu)
{
	struct virtio_net_options options = { .id = "eth0",
					      .tap_name = NET_TAP,
					      .mtu = mtu,
					      .mmds = &guest.mmds,
					      .mmds_ip = MMDS_IPV4_DEFAULT };

	net_release(&net);
	net_attach(&net, &options);
}

static int set_up(void **state)
{
	(void)state;
	if (net_skip)
		return 0;
	fake.now = 1000 * NS_PER_S;
	fake.timer_at = 0;
	guest_set_up(DATA);
	net_setup(&net, NULL);
	attach(0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (net_skip)
		return 0;
	net_teardown(&net);
	guest_tear_down();
	return 0;
}

#define START(features) NET_START(features)

static void expect_tap_silent(void)
{
	static uint8_t frame[NET_FRAME_TOP];

	assert_int_equal(peer_receive(&net, NULL, frame), -1);
}

/* ---- the guest's segments, through the queues ---- */

static void send_as(const struct virtio_net_hdr_v1 *hdr, struct segment segment)
{
	static uint8_t frame[NET_FRAME_TOP];
	size_t len = guest_frame(frame, &segment);

	if (hdr && hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		frame[50] ^= 0xff;
	net_send(&net, hdr, frame, len);
	driver_run(&net.drv);
	assert_int_equal(net_sent(&net), 1);
	expect_tap_silent();
}

static void send_segment(struct segment segment)
{
	send_as(NULL, segment);
}

/* The next frame is a segment, in n buffers, with a header that says nothing. */
static void take(unsigned int n, uint8_t flags, uint32_t seq, uint32_t ack, size_t len)
{
	static const struct virtio_net_hdr_v1 none;
	static uint8_t frame[NET_FRAME_TOP];
	struct virtio_net_hdr_v1 hdr;
	ssize_t size = net_take(&net, &hdr, frame, NULL);

	assert_true(size > 0);
	assert_int_equal(hdr.num_buffers, n);
	hdr.num_buffers = 0;
	assert_memory_equal(&hdr, &none, sizeof(hdr));
	guest_parse(frame, (size_t)size);
	assert_int_equal(guest.in.flags, flags);
	assert_int_equal(guest.in.seq, seq);
	assert_int_equal(guest.in.ack, ack);
	assert_int_equal(guest.in.len, len);
}

static void take_nothing(void)
{
	static uint8_t frame[NET_FRAME_TOP];
	struct virtio_net_hdr_v1 hdr;

	assert_int_equal(net_take(&net, &hdr, frame, NULL), -1);
}

/* Handshake; one buffer for the answer must be there. */
static void connect_to_service(void)
{
	send_segment((struct segment){ .flags = TCP_SYN, .seq = 100, .window = 65535, .mss = 1460 });
	take(1, TCP_SYN | TCP_ACK, 5000, 101, 0);
	send_segment((struct segment){ .flags = TCP_ACK, .seq = 101, .ack = 5001, .window = 65535 });
	take_nothing();
}

static void ask(void)
{
	send_segment((struct segment){ .flags = TCP_ACK, .seq = 101, .ack = 5001, .window = 65535,
				       .data = GET, .len = sizeof(GET) - 1 });
}

#define ASKED (101 + (uint32_t)sizeof(GET) - 1)

static void tap_hears_nothing(void **state)
{
	START(ALL_FEATURES);
	net_post(&net, 8, 1526);
	driver_kick(&net.drv, RX);
	connect_to_service();
	ask();
	for (unsigned int i = 0; i < 4; i++)
		take(1, TCP_ACK, 5001 + 1460 * i, ASKED, 1460);
	take(1, TCP_PSH | TCP_ACK, 5001 + 1460 * 4, ASKED, REPLY - 1460 * 4);
	take_nothing();
	/* Others go where they always went. */
	net_send(&net, NULL, net_frame(60, 1), 60);
	driver_run(&net.drv);
	peer_expect(&net, 60, 1);
	peer_send(&net, NULL, net_frame(70, 2), 70);
	net_post(&net, 1, 1526);
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	net_expect(&net, 70, 2, 1);
	/* What was the service's counts for it, not for the tap; what comes in is what the guest gets. */
	assert_int_equal(net_stats(&net).tx_packets, 1);
	assert_int_equal(net_stats(&net).tx_bytes, 60);
	assert_int_equal(net_stats(&net).rx_packets, 7);
	assert_int_equal(net_stats(&net).rx_bytes, 70 + 58 + 5 * 54 + REPLY);
	assert_int_equal(guest.mmds.counters.rx_accepted, 3);
	assert_int_equal(guest.mmds.counters.tx_frames, 6);
}

static void only_interfaces_that_have_it_take_its_frames(void **state)
{
	static uint8_t frame[128], got[NET_FRAME_TOP];
	const struct segment syn = { .flags = TCP_SYN };
	size_t len = guest_frame(frame, &syn);

	START(ALL_FEATURES);
	net_release(&net);
	net_attach(&net, NULL);
	NET_RESTART(ALL_FEATURES);
	net_send(&net, NULL, frame, len);
	driver_run(&net.drv);
	assert_int_equal(peer_receive(&net, NULL, got), len);
	assert_memory_equal(got, frame, len);
	assert_int_equal(guest.mmds.counters.rx_accepted, 0);
}

static void takes_a_frame_in_any_layout(void **state)
{
	const struct segment syn = { .flags = TCP_SYN, .seq = 100, .window = 1000, .mss = 1460 };
	const uint32_t len = NET_HDR + 58;
	uint8_t frame[128];

	START(ALL_FEATURES);
	net_post(&net, 80, 100);
	driver_kick(&net.drv, RX);
	for (uint32_t cut = 1; cut < len; cut++) {
		uint64_t gpa = driver_alloc(&net.drv, len, 64);
		struct driver_buf bufs[2] = { { gpa, cut }, { gpa + cut, len - cut } };

		guest_frame(frame, &syn);
		memcpy(driver_ptr(&net.drv, gpa + NET_HDR, 58), frame, 58);
		driver_add(&net.drv, TX, bufs, 2, 0);
		driver_kick(&net.drv, TX);
		driver_run(&net.drv);
		assert_int_equal(net_sent(&net), 1);
		take(1, TCP_SYN | TCP_ACK, 5000, 101, 0);
	}
	assert_int_equal(guest.mmds.counters.connections_created, 1);
}

static void takes_what_the_driver_left_undone(void **state)
{
	static char data[3000];
	struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 };
	struct segment s = { .flags = TCP_ACK, .seq = 101, .ack = 5001, .window = 65535, .data = data };

	START(ALL_FEATURES);
	net_post(&net, 8, 1526);
	driver_kick(&net.drv, RX);
	/* Without the checksum a wrong one isn't for us. */
	send_as(&hdr, (struct segment){ .flags = TCP_SYN, .seq = 100, .window = 65535, .mss = 1460 });
	take(1, TCP_SYN | TCP_ACK, 5000, 101, 0);
	/* A segment that a network would have cut into two, with room in the window. */
	s.len = (size_t)snprintf(data, sizeof(data), "GET /a HTTP/1.1\r\nA: %02900d\r\n\r\n", 1);
	hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	hdr.gso_size = 1460;
	hdr.hdr_len = 54;
	send_as(&hdr, s);
	take(1, TCP_ACK, 5001, 101 + (uint32_t)s.len, 1460);
	assert_int_equal(guest.mmds.counters.rx_accepted_err, 0);
	/* The checksum of something else. */
	hdr = (struct virtio_net_hdr_v1){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6 };
	send_as(&hdr, (struct segment){ .flags = TCP_SYN, .port = 7 });
	/* The largest frame that there can be. */
	memset(&hdr, 0, sizeof(hdr));
	send_as(&hdr, (struct segment){ .flags = TCP_ACK, .data = net_frame(65000, 1), .len = 65000 });
	assert_int_equal(guest.mmds.counters.rx_accepted_err, 2);
}

static void offloads_that_were_not_negotiated_are_refused_here_too(void **state)
{
	const struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
					       .csum_offset = 16 };

	START(VERSION_1);
	send_as(&hdr, (struct segment){ .flags = TCP_SYN });
	assert_int_equal(net_stats(&net).tx_errs, 1);
	assert_int_equal(guest.mmds.counters.rx_accepted, 0);
}

static void frames_come_in_as_many_buffers_as_they_need(void **state)
{
	START(VERSION_1 | NET_F(MRG_RXBUF));
	net_post(&net, 256, 300);
	driver_kick(&net.drv, RX);
	connect_to_service();
	ask();
	/* 12 + 54 + 1460 bytes in buffers of 300. */
	for (unsigned int i = 0; i < 4; i++)
		take(6, TCP_ACK, 5001 + 1460 * i, ASKED, 1460);
	take(2, TCP_PSH | TCP_ACK, 5001 + 1460 * 4, ASKED, REPLY - 1460 * 4);
	take_nothing();
}

static void without_merging_one_buffer_holds_a_frame(void **state)
{
	START(VERSION_1);
	net_post(&net, 3, 1526);
	driver_kick(&net.drv, RX);
	connect_to_service();
	ask();
	take(1, TCP_ACK, 5001, ASKED, 1460);
	take(1, TCP_ACK, 6461, ASKED, 1460);
	take_nothing();
	/* The rest waits for buffers. */
	net_post(&net, 2, 1526);
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	take(1, TCP_ACK, 7921, ASKED, 1460);
	take(1, TCP_ACK, 9381, ASKED, 1460);
	/* One that's too small loses a frame, which comes again in time. */
	net_post(&net, 1, 66);
	net_post(&net, 1, 1526);
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	assert_int_equal(net_stats(&net).rx_drop, 1);
	take_nothing();
	send_segment((struct segment){ .flags = TCP_ACK, .seq = ASKED, .ack = 10841, .window = 65535 });
	take_nothing();
	ring_after(NS_PER_S);
	assert_int_equal(net_stats(&net).rx_drop, 2);
}

static void an_answer_waits_for_buffers(void **state)
{
	START(ALL_FEATURES);
	send_segment((struct segment){ .flags = TCP_SYN, .seq = 100, .window = 65535, .mss = 1460 });
	take_nothing();
	net_post(&net, 2, 1526);
	assert_true(driver_kick_wanted(&net.drv, RX));
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	take(1, TCP_SYN | TCP_ACK, 5000, 101, 0);
	assert_int_equal(fake.timer_at, fake.now + NS_PER_S);
}

static void answers_come_before_the_taps_frames(void **state)
{
	static uint8_t frame[128];
	const struct segment syn = { .flags = TCP_SYN, .seq = 100, .window = 1000 };
	size_t len = guest_frame(frame, &syn);

	START(ALL_FEATURES);
	for (unsigned int i = 0; i < 3; i++)
		peer_send(&net, NULL, net_frame(100, i), 100);
	net_send(&net, NULL, frame, len);
	driver_run(&net.drv);
	net_post(&net, 4, 1526);
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	take(1, TCP_SYN | TCP_ACK, 5000, 101, 0);
	for (unsigned int i = 0; i < 3; i++)
		net_expect(&net, 100, i, 1);
}

static void time_goes_on_by_the_timer(void **state)
{
	START(ALL_FEATURES);
	net_post(&net, 20, 1526);
	driver_kick(&net.drv, RX);
	assert_int_equal(fake.timer_at, 0);
	send_segment((struct segment){ .flags = TCP_SYN, .seq = 100, .window = 65535 });
	take(1, TCP_SYN | TCP_ACK, 5000, 101, 0);
	ring_after(NS_PER_S);
	take(1, TCP_SYN | TCP_ACK, 5000, 101, 0);
	ring_after(2 * NS_PER_S);
	take(1, TCP_SYN | TCP_ACK, 5000, 101, 0);
	/* Nothing on the way: only whether it's still in use is looked at. */
	send_segment((struct segment){ .flags = TCP_ACK, .seq = 101, .ack = 5001, .window = 65535 });
	ring_after(60 * NS_PER_S);
	take(1, TCP_FIN | TCP_ACK, 5001, 101, 0);
	send_segment((struct segment){ .flags = TCP_RST, .seq = 101 });
	assert_int_equal(fake.timer_at, 0);
	assert_int_equal(guest.mmds.counters.connections_destroyed, 1);
}

static void frames_are_no_larger_than_the_mtu(void **state)
{
	(void)state;
	if (net_skip)
		skip();
	attach(600);
	NET_RESTART(ALL_FEATURES);
	net_post(&net, 8, 1526);
	driver_kick(&net.drv, RX);
	/* A driver that keeps to its MTU says so here as well. */
	send_segment((struct segment){ .flags = TCP_SYN, .seq = 100, .window = 65535, .mss = 560 });
	take(1, TCP_SYN | TCP_ACK, 5000, 101, 0);
	ask();
	take(1, TCP_ACK, 5001, ASKED, 560);
	assert_int_equal(net_stats(&net).rx_drop, 0);
}

static void a_drivers_reset_drops_connections(void **state)
{
	START(ALL_FEATURES);
	net_post(&net, 2, 1526);
	driver_kick(&net.drv, RX);
	connect_to_service();
	ask();
	/* Not on the vCPU's thread, but before anything else. */
	driver_reset(&net.drv);
	assert_int_equal(guest.mmds.counters.connections_destroyed, 0);
	ring_after(NS_PER_S);
	assert_int_equal(guest.mmds.counters.connections_destroyed, 1);
	assert_int_equal(fake.timer_at, 0);
	NET_RESTART(ALL_FEATURES);
	net_post(&net, 2, 1526);
	driver_kick(&net.drv, RX);
	driver_run(&net.drv);
	take_nothing();
	connect_to_service();
	driver_reset(&net.drv);
	NET_RESTART(ALL_FEATURES);
	net_post(&net, 2, 1526);
	driver_kick(&net.drv, RX);
	send_segment((struct segment){ .flags = TCP_ACK, .seq = 101, .ack = 5001, .window = 65535 });
	take(1, TCP_RST, 5001, 0, 0);
	assert_int_equal(guest.mmds.counters.connections_destroyed, 2);
	connect_to_service();
	/* Open at the end: tear_down sees it closed. */
}

/* A saved device touches nothing, not even when a timer rings, and goes on where it was. */
static void a_pause_loses_nothing(void **state)
{
	struct virtio_net_state saved;

	START(ALL_FEATURES);
	net_post(&net, 8, 1526);
	driver_kick(&net.drv, RX);
	connect_to_service();
	ask();
	for (unsigned int i = 0; i < 5; i++)
		take(1, i < 4 ? TCP_ACK : TCP_PSH | TCP_ACK, 5001 + 1460 * i, ASKED,
		     i < 4 ? 1460 : REPLY - 1460 * 4);
	net.dev->ops->save(net.dev, &saved);
	ring_after(NS_PER_S);
	take_nothing();
	net.dev->kick(net.dev, RX);
	driver_run(&net.drv);
	take(1, TCP_ACK, 5001, ASKED, 1460);
	take(1, TCP_ACK, 6461, ASKED, 1460);
	take_nothing();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tap_hears_nothing),
		TEST(only_interfaces_that_have_it_take_its_frames),
		TEST(takes_a_frame_in_any_layout),
		TEST(takes_what_the_driver_left_undone),
		TEST(offloads_that_were_not_negotiated_are_refused_here_too),
		TEST(frames_come_in_as_many_buffers_as_they_need),
		TEST(without_merging_one_buffer_holds_a_frame),
		TEST(an_answer_waits_for_buffers),
		TEST(answers_come_before_the_taps_frames),
		TEST(time_goes_on_by_the_timer),
		TEST(frames_are_no_larger_than_the_mtu),
		TEST(a_drivers_reset_drops_connections),
		TEST(a_pause_loses_nothing),
	};

	return cmocka_run_group_tests(tests, net_enter, NULL);
}
