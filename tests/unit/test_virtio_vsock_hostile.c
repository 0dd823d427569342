/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock: what a hostile guest may try. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/util.h"
#include "vsock_guest.h"

#define HEADER ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define SEND   VIRTIO_VSOCK_SHUTDOWN_SEND

static void assert_works(struct guest *g, struct ports ports)
{
	int fd = connect_to_host(g, ports);

	guest_write(g, ports, "ping", 4);
	host_expect(fd, "ping", 4);
	host_write(g, fd, "pong", 4);
	guest_expect_data(g, ports, "pong", 4);
	disconnect(g, fd, ports);
}

/* Give the device these bytes as one chain of descriptors of the given lengths. */
static void send_chain(struct guest *g, const void *bytes, const uint32_t *lens, unsigned int n,
		       unsigned int n_writable)
{
	struct driver_buf bufs[64];
	uint64_t gpa = g->tx_gpa;

	for (unsigned int i = 0; i < n + n_writable; i++) {
		bufs[i] = (struct driver_buf){ gpa, lens[i] };
		if (i < n)
			memcpy(driver_ptr(&g->drv, gpa, lens[i]),
			       (const uint8_t *)bytes + (gpa - g->tx_gpa), lens[i]);
		gpa += lens[i];
	}
	driver_add(&g->drv, TX, bufs, n, n_writable);
	driver_kick(&g->drv, TX);
	guest_run(g);
	assert_true(driver_get_used(&g->drv, TX, NULL, NULL));
}

static void packets_of_any_layout_are_understood(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };
	uint8_t bytes[HEADER + 10], got[10];
	uint32_t ones[HEADER + 10];

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_host(&g, ports);
	struct virtio_vsock_hdr hdr = guest_header(&g, ports, VIRTIO_VSOCK_OP_RW, 10);

	memcpy(bytes, &hdr, HEADER);
	memcpy(bytes + HEADER, "0123456789", 10);
	for (uint32_t i = 0; i < ARRAY_SIZE(ones); i++)
		ones[i] = 1;
	/* Cut in two at each place, byte by byte, and with more than the length says. */
	for (uint32_t cut = 1; cut < sizeof(bytes); cut++) {
		send_chain(&g, bytes, (uint32_t[]){ cut, sizeof(bytes) - cut }, 2, 0);
		host_expect(fd, "0123456789", 10);
	}
	send_chain(&g, bytes, ones, ARRAY_SIZE(ones), 0);
	host_expect(fd, "0123456789", 10);
	hdr.len = 3;
	memcpy(bytes, &hdr, HEADER);
	send_chain(&g, bytes, (uint32_t[]){ sizeof(bytes) }, 1, 0);
	host_expect(fd, "012", 3);
	/* Writable buffers are no part of a packet, nor written to. */
	memset(driver_ptr(&g.drv, g.tx_gpa + sizeof(bytes), 10), 0x5a, 10);
	send_chain(&g, bytes, (uint32_t[]){ sizeof(bytes), 10 }, 1, 1);
	host_expect(fd, "012", 3);
	memset(got, 0x5a, sizeof(got));
	assert_memory_equal(driver_ptr(&g.drv, g.tx_gpa + sizeof(bytes), 10), got, 10);
	/* Data of no length is nothing. */
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RW);
	host_expect_nothing(fd);
	assert_int_equal(guest_counters(&g).tx_dropped, 0);
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static void short_and_misaddressed_packets_are_dropped(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };
	struct virtio_vsock_hdr good, hdr;
	uint64_t dropped = 0;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_host(&g, ports);

	good = guest_header(&g, ports, VIRTIO_VSOCK_OP_RST, 0);
	for (uint32_t len = 1; len < HEADER; len += 14, dropped++)
		send_chain(&g, &good, (uint32_t[]){ len }, 1, 0);
	/* The writable part belongs to no header, whatever the readable part lacks. */
	send_chain(&g, &good, (uint32_t[]){ HEADER - 1, 100 }, 1, 1);
	send_chain(&g, &good, (uint32_t[]){ 100 }, 0, 1);
	dropped += 2;
	assert_int_equal(guest_counters(&g).tx_dropped, dropped);

	static const uint64_t cids[] = {
		0, 1, 3, GUEST_CID + 1, (1ull << 32) + 2, (1ull << 32) + GUEST_CID, UINT64_MAX
	};

	for (size_t i = 0; i < ARRAY_SIZE(cids); i++) {
		hdr = good;
		hdr.src_cid = cids[i];
		guest_send_raw(&g, &hdr, NULL, 0);
		hdr = good;
		hdr.dst_cid = cids[i];
		guest_send_raw(&g, &hdr, NULL, 0);
		dropped += 2;
	}
	assert_int_equal(guest_counters(&g).tx_dropped, dropped);
	guest_expect_nothing(&g);
	/* None of these RSTs hit the connection. */
	host_write(&g, fd, "alive", 5);
	guest_expect_data(&g, ports, "alive", 5);
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

/* CVE-2019-18960's class: a length that its buffers don't have. */
static void length_beyond_the_buffers_resets_the_connection(void **state)
{
	static const uint32_t lens[] = { 11, 4096, 65536, UINT32_MAX - 43, UINT32_MAX };
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		int fd = connect_to_host(&g, ports);
		struct virtio_vsock_hdr hdr = guest_header(&g, ports, VIRTIO_VSOCK_OP_RW, lens[i]);

		guest_send_raw(&g, &hdr, "0123456789", 10);
		host_expect_end(fd);
		close(fd);
		guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
		guest_expect_nothing(&g);
		assert_int_equal(guest_counters(&g).tx_dropped, i + 1);
	}
	assert_works(&g, ports);

	/* As an answer to RST there's never a RST. */
	struct virtio_vsock_hdr hdr = guest_header(&g, ports, VIRTIO_VSOCK_OP_RST, 99);

	guest_send_raw(&g, &hdr, NULL, 0);
	guest_expect_nothing(&g);
	guest_teardown(&g);
}

static void unknown_connections_are_reset(void **state)
{
	static const uint16_t ops[] = { VIRTIO_VSOCK_OP_INVALID,
					VIRTIO_VSOCK_OP_RESPONSE,
					VIRTIO_VSOCK_OP_SHUTDOWN,
					VIRTIO_VSOCK_OP_RW,
					VIRTIO_VSOCK_OP_CREDIT_UPDATE,
					VIRTIO_VSOCK_OP_CREDIT_REQUEST,
					8,
					UINT16_MAX };
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		guest_send(&g, ports, ops[i]);
		guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	}
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	guest_expect_nothing(&g);
	guest_teardown(&g);
}

static void types_other_than_stream_are_reset(void **state)
{
	static const uint16_t types[] = { 0, VIRTIO_VSOCK_TYPE_SEQPACKET, 3, UINT16_MAX };
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_host(&g, ports);
	int listener = host_listen(&g, 53);

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct ports wanted = { 53, 4000 };
		struct virtio_vsock_hdr hdr = guest_header(&g, wanted, VIRTIO_VSOCK_OP_REQUEST, 0);
		struct packet packet;

		hdr.type = types[i];
		guest_send_raw(&g, &hdr, NULL, 0);
		assert_true(guest_take(&g, &packet));
		assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_RST);
		assert_int_equal(packet.hdr.type, types[i]);
		/* The ports of a stream, too: that one isn't meant. */
		hdr = guest_header(&g, ports, VIRTIO_VSOCK_OP_RST, 0);
		hdr.type = types[i];
		guest_send_raw(&g, &hdr, NULL, 0);
	}
	assert_int_equal(accept(listener, NULL, NULL), -1);
	host_unlisten(&g, 53, listener);
	host_write(&g, fd, "alive", 5);
	guest_expect_data(&g, ports, "alive", 5);
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static void what_may_not_come_resets_the_connection(void **state)
{
	static const uint16_t in_open[] = { VIRTIO_VSOCK_OP_INVALID, VIRTIO_VSOCK_OP_REQUEST,
					    VIRTIO_VSOCK_OP_RESPONSE, 8, UINT16_MAX };
	static const uint16_t in_requested[] = { VIRTIO_VSOCK_OP_INVALID, VIRTIO_VSOCK_OP_REQUEST,
						 VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_OP_RW, 8 };
	struct guest g;
	struct ports ports = { 52, 4000 };
	uint64_t resets = 0;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);
	for (size_t i = 0; i < ARRAY_SIZE(in_open); i++) {
		int fd = connect_to_host(&g, ports);

		guest_send(&g, ports, in_open[i]);
		guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
		host_expect_end(fd);
		close(fd);
		assert_int_equal(guest_counters(&g).connections_reset, ++resets);
	}
	for (size_t i = 0; i < ARRAY_SIZE(in_requested); i++) {
		struct packet packet;
		int fd = host_client(&g, "CONNECT 9\n");

		assert_true(guest_take(&g, &packet));

		struct ports client = { packet.hdr.src_port, packet.hdr.dst_port };

		guest_send(&g, client, in_requested[i]);
		guest_expect(&g, client, VIRTIO_VSOCK_OP_RST);
		host_expect_end(fd);
		close(fd);
		assert_int_equal(guest_counters(&g).connections_reset, ++resets);
	}
	/* Data after the promise that there's none. */
	int fd = connect_to_host(&g, ports);

	guest_shutdown(&g, ports, SEND);
	guest_write(&g, ports, "more", 4);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	close(fd);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void response_before_the_request_is_a_violation(void **state)
{
	struct guest g;
	struct ports ports = { 1u << 30, 9 };

	(void)state;
	/* Ports can be guessed. There's no buffer for REQUEST yet, so nobody may answer it. */
	guest_setup(&g, ALL_FEATURES, 0);

	int fd = host_client(&g, "CONNECT 9\n");

	guest_send(&g, ports, VIRTIO_VSOCK_OP_RESPONSE);
	host_expect_end(fd);
	close(fd);
	guest_post_rx(&g, 2, 128);
	guest_run(&g);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	guest_expect_nothing(&g);
	guest_teardown(&g);
}

static void packets_after_a_violation_change_nothing(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 1);

	int fd = connect_to_host(&g, ports);

	/* The only buffer is full: the RST waits, with the connection in the table. */
	g.hold_rx = true;
	host_write(&g, fd, "x", 1);
	guest_expect_data(&g, ports, "x", 1);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RESPONSE);
	guest_write(&g, ports, "y", 1);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
	guest_shutdown(&g, ports, 3);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	host_expect_end(fd);
	close(fd);
	guest_give_back(&g);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections_reset, 1);
	assert_works(&g, ports);
	guest_teardown(&g);
}

static void any_credit_is_survived(void **state)
{
	static const uint32_t values[] = { 0,	      1, 44, 65535, 65536, 1u << 31, UINT32_MAX - 1,
					   UINT32_MAX };
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_host(&g, ports);
	uint32_t pending = 0, sent = 0;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(values); j++) {
			struct virtio_vsock_hdr hdr =
				guest_header(&g, ports, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
			struct packet packet;
			uint32_t room, got = 0;

			hdr.buf_alloc = values[i];
			hdr.fwd_cnt = values[j];
			guest_send_raw(&g, &hdr, NULL, 0);
			host_write(&g, fd, "0123456789", 10);
			pending += 10;
			room = sent - values[j] < values[i] ? values[i] - (sent - values[j]) : 0;
			while (guest_take(&g, &packet))
				got += packet.len;
			assert_int_equal(got, room < pending ? room : pending);
			pending -= got;
			sent += got;
		}
	}
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static void buffer_without_room_stops_the_device(void **state)
{
	static const uint32_t lens[] = { 1, 43, 44 };
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		guest_setup(&g, ALL_FEATURES, 4);

		int fd = connect_to_host(&g, ports);

		driver_reset(&g.drv);
		guest_run(&g);
		host_expect_end(fd);
		close(fd);
		guest_start(&g, ALL_FEATURES, 0);
		guest_post_rx(&g, 1, lens[i]);
		/* Nothing to say yet. */
		assert_int_equal(driver_status(&g.drv), 0xf);
		guest_send(&g, ports, VIRTIO_VSOCK_OP_RW);
		assert_int_equal(driver_status(&g.drv), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
		assert_int_equal(driver_ack_interrupts(&g.drv) & VIRTIO_MMIO_INT_CONFIG,
				 VIRTIO_MMIO_INT_CONFIG);
		/* And a reset brings it back. */
		guest_start(&g, ALL_FEATURES, 4);
		assert_works(&g, ports);
		guest_teardown(&g);
	}
}

static void broken_ring_stops_the_device_and_closes_its_sockets(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	for (unsigned int queue = RX; queue <= TX; queue++) {
		guest_setup(&g, ALL_FEATURES, 4);

		int fd = connect_to_host(&g, ports);

		driver_set_desc(&g.drv, queue, 200, UINT64_MAX, 4096, 0, 0);
		driver_offer(&g.drv, queue, 200);
		if (queue == TX)
			driver_kick(&g.drv, queue);
		/* The four good buffers come first; the device looks one ahead. */
		for (int i = 0; queue == RX && i < 4; i++)
			host_write(&g, fd, "x", 1);
		guest_run(&g);
		assert_int_equal(driver_status(&g.drv), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
		host_expect_end(fd);
		close(fd);
		assert_int_equal(guest_counters(&g).connections, 0);
		guest_start(&g, ALL_FEATURES, 4);
		assert_works(&g, ports);
		guest_teardown(&g);
	}
}

static void event_buffer_without_room_stops_the_device(void **state)
{
	struct guest g;
	struct virtio_mmio_state transport;
	struct virtio_vsock_state saved;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);
	driver_add(&g.drv, EVENT, &(struct driver_buf){ g.tx_gpa, 3 }, 0, 1);
	driver_kick(&g.drv, EVENT);
	guest_run(&g);
	virtio_mmio_save(&g.drv.mmio, &transport, &saved);
	assert_int_equal(virtio_mmio_restore(&g.drv.mmio, &transport, &saved, NULL), 0);
	virtio_mmio_rekick(&g.drv.mmio);
	guest_run(&g);
	assert_int_equal(driver_status(&g.drv), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	guest_teardown(&g);
}

/* xorshift */
static uint32_t rnd(uint32_t *seed, uint32_t below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed % below;
}

static uint32_t some_value(uint32_t *seed)
{
	static const uint32_t values[] = { 0, 1, 4096, 65536, 65537, 262144, 1u << 30, UINT32_MAX };

	return rnd(seed, 3) ? values[rnd(seed, ARRAY_SIZE(values))] : rnd(seed, UINT32_MAX);
}

static void random_packet(struct guest *g, uint32_t *seed)
{
	static uint8_t payload[66000];
	struct ports ports = { 50 + rnd(seed, 3), 4000 + rnd(seed, 3) };
	struct virtio_vsock_hdr hdr;
	uint32_t len = rnd(seed, 4) ? rnd(seed, 100) : rnd(seed, sizeof(payload));

	if (rnd(seed, 4) == 0)
		ports = (struct ports){ (1u << 30) + rnd(seed, 8), 1234 };
	hdr = guest_header(g, ports, (uint16_t)rnd(seed, 9), len);
	hdr.flags = rnd(seed, 4);
	if (rnd(seed, 8) == 0)
		hdr.len = some_value(seed);
	if (rnd(seed, 8) == 0)
		hdr.buf_alloc = some_value(seed);
	if (rnd(seed, 8) == 0)
		hdr.fwd_cnt = some_value(seed);
	if (rnd(seed, 64) == 0)
		hdr.type = (uint16_t)some_value(seed);
	guest_queue(g, &hdr, payload, len);
	driver_kick(&g->drv, TX);
	guest_run(g);
	/* None, if it waits behind RSTs: then the queue is drained as buffers come. */
	while (!driver_get_used(&g->drv, TX, NULL, NULL)) {
		struct packet packet;

		assert_true(guest_take(g, &packet));
		guest_give_back(g);
	}
}

static void random_host(struct guest *g, uint32_t *seed, int *fds, unsigned int n,
			const int *listeners)
{
	static uint8_t data[30000];
	unsigned int i = rnd(seed, n);

	if (fds[i] < 0) {
		fds[i] = accept4(listeners[rnd(seed, 3)], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fds[i] < 0 && rnd(seed, 2))
			fds[i] = host_client(g, "CONNECT 1234\n");
		return;
	}
	switch (rnd(seed, 6)) {
	case 0:
		shutdown(fds[i], (int)rnd(seed, 3));
		break;
	case 1:
		close(fds[i]);
		fds[i] = -1;
		break;
	case 2:
	case 3:
		if (recv(fds[i], data, 1 + rnd(seed, sizeof(data)), 0) < 0)
			assert_true(errno == EAGAIN || errno == ECONNRESET);
		break;
	default:
		if (send(fds[i], data, rnd(seed, sizeof(data)), MSG_NOSIGNAL) < 0)
			assert_true(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
	}
	guest_run(g);
}

static void random_guest_and_host(void **state)
{
	static struct packet packet;
	struct guest g;
	uint32_t seed = 2463534242;
	int fds[12], listeners[3];

	(void)state;
	guest_setup(&g, VERSION_1 | EVENT_IDX, 16);
	memset(fds, 0xff, sizeof(fds));
	for (uint32_t i = 0; i < 3; i++)
		listeners[i] = host_listen(&g, 50 + i);
	for (int step = 0; step < 30000; step++) {
		switch (rnd(&seed, 5)) {
		case 0:
		case 1:
			random_packet(&g, &seed);
			break;
		case 2:
			random_host(&g, &seed, fds, ARRAY_SIZE(fds), listeners);
			break;
		case 3:
			g.hold_rx = rnd(&seed, 4) == 0;
			if (!g.hold_rx)
				guest_give_back(&g);
			break;
		default:
			guest_take(&g, &packet);
		}
	}
	guest_give_back(&g);
	while (guest_take(&g, &packet))
		;
	assert_int_equal(driver_status(&g.drv), 0xf);
	assert_true(guest_counters(&g).connections_opened > 100);
	assert_true(guest_counters(&g).connections_reset > 100);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (uint32_t i = 0; i < 3; i++)
		host_unlisten(&g, 50 + i, listeners[i]);
	guest_run(&g);
	while (guest_take(&g, &packet))
		if (packet.hdr.op == VIRTIO_VSOCK_OP_SHUTDOWN && packet.hdr.flags == 3)
			guest_send(&g, (struct ports){ packet.hdr.src_port, packet.hdr.dst_port },
				   VIRTIO_VSOCK_OP_RST);
	assert_works(&g, (struct ports){ 99, 99 });
	guest_teardown(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_of_any_layout_are_understood),
		cmocka_unit_test(short_and_misaddressed_packets_are_dropped),
		cmocka_unit_test(length_beyond_the_buffers_resets_the_connection),
		cmocka_unit_test(unknown_connections_are_reset),
		cmocka_unit_test(types_other_than_stream_are_reset),
		cmocka_unit_test(what_may_not_come_resets_the_connection),
		cmocka_unit_test(response_before_the_request_is_a_violation),
		cmocka_unit_test(packets_after_a_violation_change_nothing),
		cmocka_unit_test(any_credit_is_survived),
		cmocka_unit_test(buffer_without_room_stops_the_device),
		cmocka_unit_test(broken_ring_stops_the_device_and_closes_its_sockets),
		cmocka_unit_test(event_buffer_without_room_stops_the_device),
		cmocka_unit_test(random_guest_and_host),
	};

	return cmocka_run_group_tests_name("virtio-vsock-hostile", tests, NULL, NULL);
}
