/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock: data, credit, back pressure, many connections. */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/util.h"
#include "vsock_guest.h"

#define SEND VIRTIO_VSOCK_SHUTDOWN_SEND
#define RCV  VIRTIO_VSOCK_SHUTDOWN_RCV
#define BOTH (RCV | SEND)

#define DEVICE_ROOM 65536u /* the device's buf_alloc */

static void fill(uint8_t *data, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)((seed + i) * 2654435761u >> 13);
}

/* Write in packets of at most piece bytes until the device's room is used up; returns the bytes. */
static uint32_t fill_room(struct guest *g, struct ports ports, uint32_t piece, uint32_t seed)
{
	struct packet packet;
	uint32_t sent = 0, forwarded = 0;
	uint8_t *data = malloc(piece);

	while (sent - forwarded < DEVICE_ROOM) {
		uint32_t len = DEVICE_ROOM - (sent - forwarded);

		if (len > piece)
			len = piece;
		fill(data, len, seed + sent);
		guest_write(g, ports, data, len);
		sent += len;
		while (guest_take(g, &packet)) {
			assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
			assert_int_equal(packet.hdr.buf_alloc, DEVICE_ROOM);
			assert_true(packet.hdr.fwd_cnt - forwarded <= sent - forwarded);
			forwarded = packet.hdr.fwd_cnt;
		}
	}
	free(data);
	return sent;
}

/* Read len bytes of what fill_room wrote, from offset on; the device gets to work in between. */
static void read_filled(struct guest *g, int fd, uint32_t offset, uint32_t len, uint32_t seed)
{
	uint8_t got[8192], expected[8192];

	while (len > 0) {
		ssize_t n = recv(fd, got, len < sizeof(got) ? len : sizeof(got), 0);

		assert_true(n > 0);
		fill(expected, (size_t)n, seed + offset);
		assert_memory_equal(got, expected, n);
		offset += (uint32_t)n;
		len -= (uint32_t)n;
		guest_run(g);
	}
}

static void stuck_host_reader_is_bounded_and_alone(void **state)
{
	struct guest g;
	struct ports stuck = { 52, 4000 }, other = { 53, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 8);

	int fd = connect_to_host(&g, stuck), fd_other = connect_to_host(&g, other);
	size_t before = mallinfo2().uordblks;
	uint32_t sent = fill_room(&g, stuck, 50000, 7);

	/* The kernel's socket buffer, then ours. */
	assert_true(sent > DEVICE_ROOM);
	assert_true(mallinfo2().uordblks - before <= DEVICE_ROOM + 4096);
	guest_write(&g, other, "hello", 5);
	host_expect(fd_other, "hello", 5);
	host_write(&g, fd_other, "world", 5);
	guest_expect_data(&g, other, "world", 5);
	/* Its other direction works too. */
	host_write(&g, fd, "still here", 10);
	guest_expect_data(&g, stuck, "still here", 10);

	read_filled(&g, fd, 0, sent, 7);
	host_expect_nothing(fd);
	assert_true(mallinfo2().uordblks <= before + 64);
	/* The guest learns of room again, without asking, and of all but the last of it. */
	struct packet packet;
	uint32_t fwd_cnt = 0;

	while (guest_take(&g, &packet)) {
		assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		fwd_cnt = packet.hdr.fwd_cnt;
	}
	assert_true(sent - fwd_cnt < DEVICE_ROOM / 4);
	guest_send(&g, stuck, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	assert_true(guest_take(&g, &packet));
	assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(packet.hdr.fwd_cnt, sent);
	disconnect(&g, fd, stuck);
	disconnect(&g, fd_other, other);
	guest_teardown(&g);
}

static void guest_beyond_its_credit_is_reset(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 }, other = { 53, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 8);

	int fd = connect_to_host(&g, ports), fd_other = connect_to_host(&g, other);

	fill_room(&g, ports, 65536, 1);
	guest_write(&g, ports, "x", 1);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections_reset, 1);
	assert_int_equal(guest_counters(&g).connections, 1);
	close(fd);
	/* One that's too long in itself, though the host would take it all. */
	uint8_t *data = calloc(1, DEVICE_ROOM + 1);

	guest_write(&g, other, data, DEVICE_ROOM + 1);
	free(data);
	guest_expect(&g, other, VIRTIO_VSOCK_OP_RST);
	host_expect_end(fd_other);
	close(fd_other);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

/* The guest has closed: what it sent before still reaches a slow reader, then the end. */
static void slow_reader_gets_all_after_the_guest_closed(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 8);
	for (int rst = 0; rst < 2; rst++) {
		int fd = connect_to_host(&g, ports);
		uint32_t sent = fill_room(&g, ports, 30000, 3);

		g.hold_rx = true;
		guest_shutdown(&g, ports, BOTH);
		guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
		guest_give_back(&g);
		assert_int_equal(guest_counters(&g).connections, 1);
		/* The ports are free again. */
		guest_write(&g, ports, "x", 1);
		guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
		if (rst)
			guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);

		int next = connect_to_host(&g, ports);

		read_filled(&g, fd, 0, sent, 3);
		host_expect_end(fd);
		close(fd);
		assert_int_equal(guest_counters(&g).connections, 1);
		disconnect(&g, next, ports);
	}
	guest_teardown(&g);
}

static void guest_rst_after_its_shutdown_loses_nothing(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 8);

	int fd = connect_to_host(&g, ports);
	uint32_t sent = fill_room(&g, ports, 30000, 3);

	/* No buffer for our RST, so the guest gives up waiting for it. */
	g.hold_rx = true;
	for (int i = 0; i < 8; i++)
		guest_send(&g, ports, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	for (int i = 0; i < 8; i++)
		guest_expect(&g, ports, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	guest_shutdown(&g, ports, BOTH);
	guest_expect_nothing(&g);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	guest_give_back(&g);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections, 1);
	read_filled(&g, fd, 0, sent, 3);
	host_expect_end(fd);
	close(fd);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void stuck_reader_that_leaves_frees_the_rest(void **state)
{
	struct guest g;
	struct packet packet;
	uint32_t sent;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 8);

	int fd = connect_to_host(&g, ports);

	fill_room(&g, ports, 30000, 3);
	guest_shutdown(&g, ports, BOTH);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(guest_counters(&g).connections, 1);
	close(fd);
	guest_run(&g);
	assert_int_equal(guest_counters(&g).connections, 0);

	/* And one that leaves a guest which is still there. */
	fd = connect_to_host(&g, ports);
	sent = fill_room(&g, ports, 30000, 3);
	close(fd);
	guest_run(&g);
	assert_true(guest_take(&g, &packet));
	assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(packet.hdr.flags, RCV);
	/* What was buffered is gone, the room for it is there again. */
	assert_int_equal(packet.hdr.fwd_cnt, sent);
	guest_expect_shutdown(&g, ports, BOTH);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void half_close_waits_for_what_is_buffered(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 8);

	int fd = connect_to_host(&g, ports);
	uint32_t sent = fill_room(&g, ports, 65536, 3);

	guest_shutdown(&g, ports, SEND);
	read_filled(&g, fd, 0, sent, 3);
	host_expect_end(fd);
	host_write(&g, fd, "got it", 6);
	guest_expect_data(&g, ports, "got it", 6);
	close(fd);
	guest_run(&g);
	guest_expect_shutdown(&g, ports, BOTH);
	guest_teardown(&g);
}

static void guest_without_buffers_pauses_the_host_only(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };
	uint8_t data[3 * 4052];

	(void)state;
	guest_setup(&g, ALL_FEATURES, 1);

	int fd = connect_to_host(&g, ports);

	fill(data, sizeof(data), 5);
	/* guest_run asserts that the loop calms down with data waiting. */
	host_write(&g, fd, data, sizeof(data));
	guest_write(&g, ports, "other way", 9);
	host_expect(fd, "other way", 9);
	g.hold_rx = true;
	guest_expect_data(&g, ports, data, 4052);
	guest_expect_nothing(&g);
	/* The device asks for kicks only while it waits for buffers. */
	guest_give_back(&g);
	guest_expect_data(&g, ports, data + 4052, 4052);
	guest_expect_data(&g, ports, data + 8104, 4052);
	guest_expect_nothing(&g);
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static bool kick_wanted_for_one_more(struct guest *g)
{
	const struct driver_buf buf = { driver_alloc(&g->drv, 4096, 8), 4096 };

	g->drv.queues[RX].kicked_at = g->drv.queues[RX].avail_idx;
	driver_add(&g->drv, RX, &buf, 0, 1);
	return driver_kick_wanted(&g->drv, RX);
}

static void kicks_for_buffers_are_wanted_only_when_waiting(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	for (int event_idx = 0; event_idx < 2; event_idx++) {
		guest_setup(&g, event_idx ? ALL_FEATURES : VERSION_1, 2);

		assert_false(kick_wanted_for_one_more(&g));

		int fd = connect_to_host(&g, ports);

		guest_expect_nothing(&g);
		assert_false(kick_wanted_for_one_more(&g));
		/* Four buffers by now: the fifth packet waits for another. */
		for (int round = 0; round < 3; round++) {
			for (int i = 0; i < 5; i++)
				host_write(&g, fd, "x", 1);
			while (driver_get_used(&g.drv, RX, NULL, NULL))
				;
			assert_true(kick_wanted_for_one_more(&g));
			driver_kick(&g.drv, RX);
			guest_run(&g);
			assert_true(driver_get_used(&g.drv, RX, NULL, NULL));
			/* With one more it learns that the host has said all. */
			assert_true(kick_wanted_for_one_more(&g));
			driver_kick(&g.drv, RX);
			guest_run(&g);
			assert_false(driver_get_used(&g.drv, RX, NULL, NULL));
			for (int i = 0; i < 3; i++)
				assert_false(kick_wanted_for_one_more(&g));
		}
		close(fd);
		guest_teardown(&g);
	}
}

static void send_credit(struct guest *g, struct ports ports, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	struct virtio_vsock_hdr hdr = guest_header(g, ports, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);

	hdr.buf_alloc = buf_alloc;
	hdr.fwd_cnt = fwd_cnt;
	guest_send_raw(g, &hdr, NULL, 0);
}

static void guest_gets_no_more_than_it_has_room_for(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 8);

	int fd = connect_to_host(&g, ports);

	send_credit(&g, ports, 10, 0);
	host_write(&g, fd, "0123456789abcdef", 16);
	guest_expect_data(&g, ports, "0123456789", 10);
	/* Asked once, however often there's still nothing. */
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	send_credit(&g, ports, 10, 0);
	send_credit(&g, ports, 3, 0);
	host_write(&g, fd, "g", 1);
	guest_expect_nothing(&g);
	send_credit(&g, ports, 10, 1);
	guest_expect_data(&g, ports, "a", 1);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	send_credit(&g, ports, 15, 1);
	guest_expect_data(&g, ports, "bcdef", 5);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	/* Counts that can't be: more forwarded than was ever sent. */
	send_credit(&g, ports, UINT32_MAX - 1, 17);
	guest_expect_nothing(&g);
	send_credit(&g, ports, 10, 16);
	guest_expect_data(&g, ports, "g", 1);
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static void end_of_data_needs_no_credit(void **state)
{
	struct guest g;
	struct ports ports = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 8);

	int fd = connect_to_host(&g, ports);

	send_credit(&g, ports, 4, 0);
	host_write(&g, fd, "0123", 4);
	guest_expect_data(&g, ports, "0123", 4);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	shutdown(fd, SHUT_WR);
	guest_run(&g);
	guest_expect_shutdown(&g, ports, SEND);
	disconnect(&g, fd, ports);

	/* But data before it does. */
	fd = connect_to_host(&g, ports);
	send_credit(&g, ports, 4, 0);
	host_write(&g, fd, "01234567", 8);
	close(fd);
	guest_expect_data(&g, ports, "0123", 4);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	guest_expect_nothing(&g);
	/* Room for precisely the rest: the end follows without more. */
	send_credit(&g, ports, 8, 0);
	guest_expect_data(&g, ports, "4567", 4);
	guest_expect_shutdown(&g, ports, BOTH);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void connections_take_turns(void **state)
{
	struct guest g;
	struct ports ports[3] = { { 50, 4000 }, { 51, 4000 }, { 52, 4000 } };
	unsigned int packets[3] = { 0 };
	static uint8_t data[100000];
	int fds[3];

	(void)state;
	guest_setup(&g, ALL_FEATURES, 1);
	for (int i = 0; i < 3; i++)
		fds[i] = connect_to_host(&g, ports[i]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send(fds[i], data, sizeof(data), 0), sizeof(data));
	guest_run(&g);
	for (int i = 0; i < 60; i++) {
		struct packet packet;

		assert_true(guest_take(&g, &packet));
		assert_int_equal(packet.len, 4052);
		/* The first comes before the others have had anything to say. */
		if (i > 0)
			packets[packet.hdr.src_port - 50]++;
		if (i > 0 && i % 3 == 0)
			for (int j = 0; j < 3; j++)
				assert_int_equal(packets[j], i / 3);
	}
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	guest_teardown(&g);
}

static void connections_are_limited(void **state)
{
	enum { MAX = 1023 };
	struct guest g;
	static int fds[MAX];
	struct rlimit limit = { 4096, 4096 };

	(void)state;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	guest_setup(&g, ALL_FEATURES, 16);

	/* Half of them by each side, in an order that isn't that of their ports. */
	int listener = host_listen(&g, 52);

	for (uint32_t i = 0; i < MAX; i++) {
		struct ports ports = { 52, 5000 + i * 7919 % 1009 * 64 + i % 64 };

		if (i % 2) {
			fds[i] = connect_to_guest(&g, &ports);
			continue;
		}
		guest_send(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
		guest_expect(&g, ports, VIRTIO_VSOCK_OP_RESPONSE);
		fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		assert_true(fds[i] >= 0);
	}
	assert_int_equal(guest_counters(&g).connections, MAX);

	struct ports more = { 52, 99 };

	guest_send(&g, more, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, more, VIRTIO_VSOCK_OP_RST);

	int fd = host_connect(&g);

	guest_run(&g);
	host_expect_end(fd);
	close(fd);
	assert_int_equal(guest_counters(&g).connections_refused, 2);

	/* All of them work. */
	uint64_t before = guest_counters(&g).rx_bytes;

	for (uint32_t i = 0; i < MAX; i++) {
		struct packet packet;
		uint32_t got;

		host_write(&g, fds[i], &i, sizeof(i));
		assert_true(guest_take(&g, &packet));
		assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_RW);
		assert_memory_equal(packet.data, &i, sizeof(i));

		struct ports ports = { packet.hdr.src_port, packet.hdr.dst_port };

		got = ~i;
		guest_write(&g, ports, &got, sizeof(got));
		host_expect(fds[i], &got, sizeof(got));
	}
	assert_int_equal(guest_counters(&g).rx_bytes - before, MAX * sizeof(uint32_t));
	/* One leaves, one may come. */
	close(fds[0]);
	guest_run(&g);

	struct packet packet;

	assert_true(guest_take(&g, &packet));
	assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_SHUTDOWN);
	guest_send(&g, (struct ports){ packet.hdr.src_port, packet.hdr.dst_port },
		   VIRTIO_VSOCK_OP_RST);
	guest_send(&g, more, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, more, VIRTIO_VSOCK_OP_RESPONSE);
	for (uint32_t i = 1; i < MAX; i++)
		close(fds[i]);
	host_unlisten(&g, 52, listener);
	guest_run(&g);
	guest_teardown(&g);
}

static void resets_wait_for_buffers_and_hold_up_the_guest(void **state)
{
	enum { N = 200 };
	struct guest g;
	unsigned int taken = 0;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 0);
	for (uint32_t i = 0; i < N; i++) {
		struct virtio_vsock_hdr hdr =
			guest_header(&g, (struct ports){ 9, i }, VIRTIO_VSOCK_OP_REQUEST, 0);

		g.tx_gpa = driver_alloc(&g.drv, sizeof(hdr), 8);
		guest_queue(&g, &hdr, NULL, 0);
	}
	driver_kick(&g.drv, TX);
	guest_run(&g);
	while (driver_get_used(&g.drv, TX, NULL, NULL))
		taken++;
	assert_int_equal(taken, 64);
	/* Each of the requests is answered once there are buffers, in order. */
	guest_post_rx(&g, 3, 128);
	guest_run(&g);
	for (uint32_t i = 0; i < N; i++)
		guest_expect(&g, (struct ports){ 9, i }, VIRTIO_VSOCK_OP_RST);
	guest_expect_nothing(&g);
	while (driver_get_used(&g.drv, TX, NULL, NULL))
		taken++;
	assert_int_equal(taken, N);
	assert_int_equal(guest_counters(&g).connections_refused, N);
	guest_teardown(&g);
}

static void callbacks_are_bounded(void **state)
{
	enum { N = 256 };
	struct guest g;
	struct ports ports = { 52, 4000 };
	unsigned int taken = 0, rounds = 0;

	(void)state;
	guest_setup(&g, VERSION_1, 0);
	guest_post_rx(&g, 256, 45);

	int fd = connect_to_host(&g, ports);

	for (uint32_t i = 0; i < N; i++) {
		struct virtio_vsock_hdr hdr =
			guest_header(&g, ports, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);

		g.tx_gpa = driver_alloc(&g.drv, sizeof(hdr), 8);
		guest_queue(&g, &hdr, NULL, 0);
	}
	driver_kick(&g.drv, TX);
	while (taken < N) {
		unsigned int before = taken;

		assert_true(loop_run_once(&g.drv.loop, 0, NULL) > 0);
		while (driver_get_used(&g.drv, TX, NULL, NULL))
			taken++;
		assert_true(taken > before);
		assert_true(taken - before <= 64);
		rounds++;
	}
	assert_int_equal(rounds, 4);
	guest_run(&g);

	/* The same towards the guest: a flooding host can't keep the loop either. */
	assert_int_equal(send(fd, g.dir, sizeof(g.dir), 0), sizeof(g.dir));
	for (int i = 0; i < 10; i++)
		assert_int_equal(send(fd, g.path, sizeof(g.path), 0), sizeof(g.path));
	rounds = 0;
	for (taken = 0; taken < 200; rounds++) {
		unsigned int before = taken;

		assert_true(loop_run_once(&g.drv.loop, 0, NULL) > 0);
		while (driver_get_used(&g.drv, RX, NULL, NULL))
			taken++;
		assert_true(taken - before <= 64);
	}
	assert_true(rounds >= 4);
	close(fd);
	guest_teardown(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stuck_host_reader_is_bounded_and_alone),
		cmocka_unit_test(guest_beyond_its_credit_is_reset),
		cmocka_unit_test(slow_reader_gets_all_after_the_guest_closed),
		cmocka_unit_test(guest_rst_after_its_shutdown_loses_nothing),
		cmocka_unit_test(stuck_reader_that_leaves_frees_the_rest),
		cmocka_unit_test(half_close_waits_for_what_is_buffered),
		cmocka_unit_test(guest_without_buffers_pauses_the_host_only),
		cmocka_unit_test(kicks_for_buffers_are_wanted_only_when_waiting),
		cmocka_unit_test(guest_gets_no_more_than_it_has_room_for),
		cmocka_unit_test(end_of_data_needs_no_credit),
		cmocka_unit_test(connections_take_turns),
		cmocka_unit_test(connections_are_limited),
		cmocka_unit_test(resets_wait_for_buffers_and_hold_up_the_guest),
		cmocka_unit_test(callbacks_are_bounded),
	};

	return cmocka_run_group_tests_name("virtio-vsock-flow", tests, NULL, NULL);
}
