/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock: how connections begin and end. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/util.h"
#include "vsock_guest.h"

#define RCV  VIRTIO_VSOCK_SHUTDOWN_RCV
#define SEND VIRTIO_VSOCK_SHUTDOWN_SEND
#define BOTH (RCV | SEND)

static void host_reaches_a_listener_of_the_guest(void **state)
{
	struct guest g;
	struct ports a, b;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_guest(&g, &a);

	assert_int_equal(a.host, 1u << 30);
	host_write(&g, fd, "ping", 4);
	guest_expect_data(&g, a, "ping", 4);
	guest_write(&g, a, "pong!", 5);
	host_expect(fd, "pong!", 5);

	int other = connect_to_guest(&g, &b);

	assert_int_equal(b.host, (1u << 30) + 1);
	guest_write(&g, b, "b", 1);
	host_expect_nothing(fd);
	host_expect(other, "b", 1);
	disconnect(&g, fd, a);
	host_write(&g, other, "still", 5);
	guest_expect_data(&g, b, "still", 5);
	disconnect(&g, other, b);

	struct virtio_vsock_counters c = guest_counters(&g);

	assert_int_equal(c.connections_opened, 2);
	assert_int_equal(c.connections_refused, 0);
	assert_int_equal(c.connections_reset, 0);
	assert_int_equal(c.connections, 0);
	assert_int_equal(c.rx_bytes, 9);
	assert_int_equal(c.tx_bytes, 6);
	assert_int_equal(c.rx_packets, 6); /* two each of REQUEST, RW, RST */
	assert_int_equal(c.tx_packets, 6); /* two each of RESPONSE, RW, SHUTDOWN */
	guest_teardown(&g);
}

static void guest_reaches_a_listener_of_the_host(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, VERSION_1, 4);

	int fd = connect_to_host(&g, ports);

	guest_write(&g, ports, "hello", 5);
	host_expect(fd, "hello", 5);
	host_write(&g, fd, "world", 5);
	guest_expect_data(&g, ports, "world", 5);
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static void guest_is_refused_without_a_listener(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };
	char path[128];

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	/* A socket file that nobody listens on any more. */
	close(host_listen(&g, 52));
	guest_send(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	host_unlisten(&g, 52, -1);
	/* Something else. */
	snprintf(path, sizeof(path), "%s_52", g.path);
	assert_int_equal(mkdir(path, 0700), 0);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(rmdir(path), 0);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections_refused, 3);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void host_is_refused_without_a_listener(void **state)
{
	struct guest g;
	struct ports ports = { 1u << 30, 77 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = host_client(&g, "CONNECT 77\n");

	guest_expect(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	host_expect_end(fd);
	close(fd);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections_refused, 1);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void client_leaves_as_the_guest_accepts(void **state)
{
	struct guest g;
	struct ports ports = { 1u << 30, 77 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = host_client(&g, "CONNECT 77\n");
	struct virtio_vsock_hdr hdr = guest_header(&g, ports, VIRTIO_VSOCK_OP_RESPONSE, 0);

	guest_expect(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
	/* The guest's answer is first in the loop's queue: "OK" finds nobody. */
	guest_queue(&g, &hdr, NULL, 0);
	driver_kick(&g.drv, TX);
	close(fd);
	guest_run(&g);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections_opened, 0);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void connect_line_may_come_in_any_pieces(void **state)
{
	static const char line[] = "CONNECT 1234\nfirst bytes";
	struct guest g;
	struct ports ports = { 1u << 30, 1234 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = host_connect(&g);

	for (size_t i = 0; i < strlen(line); i++) {
		guest_expect_nothing(&g);
		host_write(&g, fd, line + i, 1);
		if (line[i] == '\n')
			guest_expect(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
	}
	/* What follows the line waits for the guest's answer, and comes after it. */
	guest_expect_nothing(&g);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RESPONSE);
	host_expect(fd, "OK 1073741824\n", 14);
	guest_expect_data(&g, ports, "first bytes", 11);
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

/* All a client does, before the device looks for the first time. */
static void client_in_a_hurry(void **state)
{
	struct guest g;
	struct ports ports = { 1u << 30, 7 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = host_connect(&g);

	assert_int_equal(send(fd, "CONNECT 7\nask", 13, 0), 13);
	shutdown(fd, SHUT_WR);
	guest_run(&g);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect_nothing(&g);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RESPONSE);
	guest_expect_data(&g, ports, "ask", 3);
	guest_expect_shutdown(&g, ports, SEND);
	host_expect(fd, "OK 1073741824\n", 14);
	guest_write(&g, ports, "answer", 6);
	host_expect(fd, "answer", 6);
	disconnect(&g, fd, ports);

	/* Gone already: not worth a request. */
	fd = host_connect(&g);
	assert_int_equal(send(fd, "CONNECT 7\n", 10, 0), 10);
	close(fd);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void connect_line_is_parsed_strictly(void **state)
{
	static const struct {
		const char *line;
		int64_t port; /* -1 = refused */
	} cases[] = {
		{ "CONNECT 52\n", 52 },
		{ "connect 52\n", 52 },
		{ "CONNECT\t52 \r\n", 52 },
		{ "CONNECT 0\n", 0 },
		{ "CONNECT 4294967295\n", 4294967295 },
		{ "CONNECT 00000000000000000000052\n", 52 }, /* 32 bytes */
		{ "CONNECT 000000000000000000000052\n", -1 },
		{ "CONNECT 4294967296\n", -1 },
		{ "CONNECT 99999999999999999999999\n", -1 },
		{ "CONNECT -1\n", -1 },
		{ "CONNECT +1\n", -1 },
		{ "CONNECT 0x10\n", -1 },
		{ "CONNECT 52 53\n", -1 },
		{ "CONNECT 52x\n", -1 },
		{ "CONNECT \n", -1 },
		{ "CONNECT\n", -1 },
		{ "CONNECT52\n", -1 },
		{ " CONNECT 52\n", -1 },
		{ "CONNEC 52\n", -1 },
		{ "\n", -1 },
		{ "GET / HTTP/1.1\r\n", -1 },
		{ "no newline in the first 32 bytes", -1 },
	};
	struct guest g;
	uint64_t refused = 0;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct packet packet;
		int fd = host_client(&g, cases[i].line);

		if (cases[i].port < 0) {
			guest_expect_nothing(&g);
			host_expect_closed(fd);
			refused++;
		} else {
			assert_true(guest_take(&g, &packet));
			assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_REQUEST);
			assert_int_equal(packet.hdr.dst_port, cases[i].port);
			/* The client leaves: the guest hears of it. */
			close(fd);
			fd = -1;
			guest_run(&g);
			assert_true(guest_take(&g, &packet));
			assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_RST);
		}
		if (fd >= 0)
			close(fd);
		assert_int_equal(guest_counters(&g).connections_refused, refused);
		assert_int_equal(guest_counters(&g).connections, 0);
	}
	guest_teardown(&g);
}

static void connect_line_without_its_end_is_refused(void **state)
{
	struct guest g;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int nothing = host_connect(&g), half = host_client(&g, "CONNECT 1");

	assert_int_equal(guest_counters(&g).connections, 2);
	shutdown(nothing, SHUT_WR);
	shutdown(half, SHUT_WR);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections, 0);
	assert_int_equal(guest_counters(&g).connections_refused, 2);
	host_expect_end(nothing);
	close(nothing);
	close(half);

	/* A NUL within the line isn't its end. */
	int fd = host_connect(&g);

	host_write(&g, fd, "CONNECT 52\0junk\n", 16);
	host_expect_end(fd);
	close(fd);
	guest_expect_nothing(&g);
	guest_teardown(&g);
}

static void host_half_close_leaves_the_other_direction(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_host(&g, ports);

	assert_int_equal(send(fd, "last", 4, 0), 4);
	shutdown(fd, SHUT_WR);
	guest_run(&g);
	guest_expect_data(&g, ports, "last", 4);
	guest_expect_shutdown(&g, ports, SEND);
	guest_expect_nothing(&g);
	guest_write(&g, ports, "answer", 6);
	host_expect(fd, "answer", 6);
	guest_expect_nothing(&g);
	guest_shutdown(&g, ports, BOTH);
	host_expect_end(fd);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections, 0);
	close(fd);
	guest_teardown(&g);
}

static void host_closes_in_two_steps(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_host(&g, ports);

	shutdown(fd, SHUT_WR);
	guest_run(&g);
	guest_expect_shutdown(&g, ports, SEND);
	/* The guest needn't write to learn that nobody reads. */
	close(fd);
	guest_run(&g);
	guest_expect_shutdown(&g, ports, BOTH);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);

	/* Nor one that doesn't read, to learn that nobody's there. */
	fd = connect_to_host(&g, ports);
	guest_shutdown(&g, ports, RCV);
	close(fd);
	guest_run(&g);
	guest_expect_shutdown(&g, ports, BOTH);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);

	/* In either order. */
	fd = connect_to_guest(&g, &ports);
	g.hold_rx = true;
	close(fd);
	guest_shutdown(&g, ports, RCV);
	guest_expect_shutdown(&g, ports, BOTH);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_give_back(&g);
	guest_teardown(&g);
}

static void guest_half_close_leaves_the_other_direction(void **state)
{
	struct guest g;
	struct ports ports;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_guest(&g, &ports);

	guest_write(&g, ports, "last", 4);
	guest_shutdown(&g, ports, SEND);
	host_expect(fd, "last", 4);
	host_expect_end(fd);
	host_write(&g, fd, "answer", 6);
	guest_expect_data(&g, ports, "answer", 6);
	guest_expect_nothing(&g);
	/* The host has said all too: nothing is left but to end it. */
	close(fd);
	guest_run(&g);
	guest_expect_shutdown(&g, ports, BOTH);
	guest_expect_nothing(&g);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections, 0);
	assert_int_equal(guest_counters(&g).connections_reset, 0);
	guest_teardown(&g);
}

static void guest_that_stops_receiving_breaks_the_hosts_pipe(void **state)
{
	struct guest g;
	struct ports ports;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_guest(&g, &ports);

	guest_shutdown(&g, ports, RCV);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	guest_write(&g, ports, "but I talk", 10);
	host_expect(fd, "but I talk", 10);
	guest_expect_nothing(&g);
	/* Shut in two steps is shut as well. */
	guest_shutdown(&g, ports, SEND);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	host_expect_end(fd);
	close(fd);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void host_that_stops_reading_is_told_to_the_guest(void **state)
{
	struct guest g;
	struct ports ports;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_guest(&g, &ports);

	shutdown(fd, SHUT_RD);
	guest_expect_nothing(&g);
	guest_write(&g, ports, "nobody hears", 12);
	guest_expect_shutdown(&g, ports, RCV);
	/* Late packets of the guest are swallowed, the host's still get through. */
	guest_write(&g, ports, "nobody hears", 12);
	host_write(&g, fd, "talk", 4);
	guest_expect_data(&g, ports, "talk", 4);
	close(fd);
	guest_run(&g);
	guest_expect_shutdown(&g, ports, BOTH);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void host_close_delivers_what_was_sent(void **state)
{
	struct guest g;
	struct ports ports;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_guest(&g, &ports);

	/* With some of the guest's bytes unread: the kernel then says ECONNRESET, not the end. */
	guest_write(&g, ports, "unread", 6);
	assert_int_equal(send(fd, "bye", 3, 0), 3);
	close(fd);
	guest_run(&g);
	guest_expect_data(&g, ports, "bye", 3);
	guest_expect_shutdown(&g, ports, BOTH);
	guest_write(&g, ports, "too late", 8);
	guest_expect_nothing(&g);
	/* Linux answers with RST, or with SHUTDOWN if its program closed at the same time. */
	guest_shutdown(&g, ports, BOTH);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void guest_writes_while_the_host_closes(void **state)
{
	struct guest g;
	struct ports ports;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_guest(&g, &ports);

	/* The guest's packet is first in the loop's queue: the device sees EPIPE before the end. */
	struct virtio_vsock_hdr hdr = guest_header(&g, ports, VIRTIO_VSOCK_OP_RW, 5);

	guest_queue(&g, &hdr, "hello", 5);
	driver_kick(&g.drv, TX);
	assert_int_equal(send(fd, "bye", 3, 0), 3);
	close(fd);
	guest_run(&g);
	assert_true(driver_get_used(&g.drv, TX, NULL, NULL));

	struct packet packet;
	bool data = false, shut = false;

	while (!shut && guest_take(&g, &packet)) {
		if (packet.hdr.op == VIRTIO_VSOCK_OP_RW) {
			assert_int_equal(packet.len, 3);
			data = true;
		} else {
			assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_SHUTDOWN);
			shut = packet.hdr.flags == BOTH;
			assert_true(!shut || data);
		}
	}
	assert_true(shut);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void guest_reset_closes_the_hosts_end(void **state)
{
	struct guest g;
	struct ports ports;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_guest(&g, &ports);

	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	host_expect_end(fd);
	close(fd);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections, 0);
	assert_int_equal(guest_counters(&g).connections_reset, 1);
	guest_teardown(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_reaches_a_listener_of_the_guest),
		cmocka_unit_test(guest_reaches_a_listener_of_the_host),
		cmocka_unit_test(guest_is_refused_without_a_listener),
		cmocka_unit_test(host_is_refused_without_a_listener),
		cmocka_unit_test(client_leaves_as_the_guest_accepts),
		cmocka_unit_test(connect_line_may_come_in_any_pieces),
		cmocka_unit_test(client_in_a_hurry),
		cmocka_unit_test(connect_line_is_parsed_strictly),
		cmocka_unit_test(connect_line_without_its_end_is_refused),
		cmocka_unit_test(host_half_close_leaves_the_other_direction),
		cmocka_unit_test(host_closes_in_two_steps),
		cmocka_unit_test(guest_half_close_leaves_the_other_direction),
		cmocka_unit_test(guest_that_stops_receiving_breaks_the_hosts_pipe),
		cmocka_unit_test(host_that_stops_reading_is_told_to_the_guest),
		cmocka_unit_test(host_close_delivers_what_was_sent),
		cmocka_unit_test(guest_writes_while_the_host_closes),
		cmocka_unit_test(guest_reset_closes_the_hosts_end),
	};

	return cmocka_run_group_tests_name("virtio-vsock-connect", tests, NULL, NULL);
}
