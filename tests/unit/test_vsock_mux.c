/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of vsock without a device: deadlines, limits on clients, lack of descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/virtio_vsock.h>

#include "devices/backend/vsock_mux.h"
#include "vmm/util.h"

struct rig {
	struct loop loop;
	pthread_mutex_t lock;
	struct vsock_mux mux;
	char dir[32];
	unsigned int outputs;
};

static void output(void *owner)
{
	((struct rig *)owner)->outputs++;
}

static void run(struct rig *rig)
{
	for (int round = 0; round < 1000; round++) {
		int n = loop_run_once(&rig->loop, 0, NULL);

		assert_true(n >= 0);
		if (n == 0)
			return;
	}
	fail_msg("the event loop doesn't calm down");
}

static void setup(struct rig *rig)
{
	char path[64];

	memset(rig, 0, sizeof(*rig));
	strcpy(rig->dir, "/tmp/mote-vsock-XXXXXX");
	assert_non_null(mkdtemp(rig->dir));
	snprintf(path, sizeof(path), "%s/v.sock", rig->dir);
	pthread_mutex_init(&rig->lock, NULL);
	assert_int_equal(loop_init(&rig->loop, NULL), 0);
	assert_int_equal(vsock_mux_init(&rig->mux, path, &rig->loop, &rig->lock, output, rig, NULL),
			 0);
	vsock_mux_start(&rig->mux);
	run(rig);
}

static void teardown(struct rig *rig)
{
	vsock_mux_release(&rig->mux);
	loop_release(&rig->loop);
	assert_int_equal(rmdir(rig->dir), 0);
}

static int client(struct rig *rig, const char *line)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	strcpy(address.sun_path, rig->mux.path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
	run(rig);
	return fd;
}

static bool closed(int fd)
{
	char c;

	return recv(fd, &c, 1, 0) == 0 || errno == ECONNRESET;
}

static struct vsock_conn *last(struct rig *rig)
{
	return TAILQ_LAST(&rig->mux.live, vsock_conn_list);
}

/* Take a packet as the device would. */
static bool take(struct rig *rig, struct vsock_packet *packet)
{
	uint8_t byte;
	struct iovec payload = { &byte, 1 };
	bool taken = vsock_mux_to_guest(&rig->mux, packet, &payload, 1);

	vsock_mux_reap(&rig->mux);
	return taken;
}

static void give(struct rig *rig, const struct vsock_packet *packet, uint16_t op)
{
	const struct vsock_packet answer = {
		.host_port = packet->host_port,
		.guest_port = packet->guest_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = 4096,
	};

	vsock_mux_from_guest(&rig->mux, &answer, NULL, 0);
	vsock_mux_reap(&rig->mux);
	run(rig);
}

/* Its deadline lies between now and then; let it be now. */
static void expire(struct rig *rig, struct vsock_conn *conn, uint32_t ms)
{
	uint64_t now = monotonic_ns();

	assert_true(conn->deadline_ns > now && conn->deadline_ns <= now + ms * 1000000ull);
	assert_true(rig->mux.timer_ns != 0 && rig->mux.timer_ns <= conn->deadline_ns);
	vsock_mux_set_deadline(conn, 0);
	run(rig);
}

static void half_a_line_expires(void **state)
{
	struct rig rig;

	(void)state;
	setup(&rig);

	int silent = client(&rig, ""), half = client(&rig, "CONNECT 12");

	assert_int_equal(rig.mux.n_live, 2);
	expire(&rig, last(&rig), VSOCK_GREETING_TIMEOUT_MS);
	assert_true(closed(half));
	assert_false(closed(silent));
	expire(&rig, last(&rig), VSOCK_GREETING_TIMEOUT_MS);
	assert_true(closed(silent));
	assert_int_equal(rig.mux.n_live, 0);
	assert_int_equal(rig.mux.n_greetings, 0);
	assert_int_equal(rig.mux.counters.refused, 2);
	assert_int_equal(rig.outputs, 0);
	close(silent);
	close(half);
	teardown(&rig);
}

static void unanswered_request_expires(void **state)
{
	struct rig rig;
	struct vsock_packet packet;

	(void)state;
	setup(&rig);

	int fd = client(&rig, "CONNECT 12\n");

	assert_int_equal(rig.outputs, 1);
	assert_true(take(&rig, &packet));
	assert_int_equal(packet.op, VIRTIO_VSOCK_OP_REQUEST);
	expire(&rig, last(&rig), VSOCK_REQUEST_TIMEOUT_MS);
	assert_true(closed(fd));
	close(fd);
	/* The guest is told, for it may answer yet. */
	assert_true(take(&rig, &packet));
	assert_int_equal(packet.op, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(packet.guest_port, 12);
	assert_int_equal(rig.mux.n_live, 0);
	assert_int_equal(rig.mux.counters.refused, 1);

	/* One that the guest never heard of is none of its business. */
	fd = client(&rig, "CONNECT 13\n");
	expire(&rig, last(&rig), VSOCK_REQUEST_TIMEOUT_MS);
	assert_true(closed(fd));
	close(fd);
	assert_false(vsock_mux_has_output(&rig.mux));
	assert_int_equal(rig.mux.counters.refused, 2);
	teardown(&rig);
}

static void answered_request_has_no_deadline(void **state)
{
	struct rig rig;
	struct vsock_packet packet;

	(void)state;
	setup(&rig);

	int fd = client(&rig, "CONNECT 12\n");

	take(&rig, &packet);
	give(&rig, &packet, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(last(&rig)->deadline_ns, 0);
	/* The timer that was set for it finds nothing to do. */
	rig.mux.timer_ns = 0;
	vsock_mux_set_timer(&rig.mux, 1);
	run(&rig);
	assert_int_equal(rig.mux.timer_ns, 0);
	assert_int_equal(rig.mux.n_live, 1);
	close(fd);
	run(&rig);
	teardown(&rig);
}

static void guest_that_never_ends_a_connection_is_reset(void **state)
{
	struct rig rig;
	struct vsock_packet packet;

	(void)state;
	setup(&rig);

	int fd = client(&rig, "CONNECT 12\n");

	take(&rig, &packet);
	give(&rig, &packet, VIRTIO_VSOCK_OP_RESPONSE);
	close(fd);
	run(&rig);
	assert_true(take(&rig, &packet));
	assert_int_equal(packet.op, VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(packet.flags, 3);
	assert_int_equal(last(&rig)->fd, -1);
	expire(&rig, last(&rig), VSOCK_CLOSE_TIMEOUT_MS);
	assert_true(take(&rig, &packet));
	assert_int_equal(packet.op, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(rig.mux.n_live, 0);
	assert_int_equal(rig.mux.n_table, 0);
	teardown(&rig);
}

static void silent_clients_are_limited(void **state)
{
	enum { MORE = 10 };
	struct rig rig;
	int fds[VSOCK_GREETINGS_MAX + MORE];

	(void)state;
	setup(&rig);
	/* run() asserts that those in the backlog don't keep the loop busy. */
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = client(&rig, "CONNECT ");
	assert_int_equal(rig.mux.n_live, VSOCK_GREETINGS_MAX);
	/* As lines are completed, those who wait get their turn. */
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		assert_int_equal(send(fds[i], "5\n", 2, MSG_NOSIGNAL), 2);
		run(&rig);
	}
	assert_int_equal(rig.mux.n_greetings, 0);
	assert_int_equal(rig.mux.n_table, ARRAY_SIZE(fds));
	assert_int_equal(rig.mux.counters.refused, 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	run(&rig);
	assert_int_equal(rig.mux.n_live, 0);
	teardown(&rig);
}

static void client_waits_while_descriptors_are_short(void **state)
{
	struct rig rig;
	struct rlimit old, low;
	struct vsock_packet packet;

	(void)state;
	setup(&rig);

	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, rig.mux.path);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)fd + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, "CONNECT 7\n", 10, MSG_NOSIGNAL), 10);
	/* Level-triggered as the listening socket is, this would spin. */
	run(&rig);
	assert_int_equal(rig.mux.n_live, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(loop_run_once(&rig.loop, 10 * VSOCK_ACCEPT_RETRY_MS, NULL) > 0);
	run(&rig);
	assert_true(take(&rig, &packet));
	assert_int_equal(packet.op, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(packet.guest_port, 7);
	close(fd);
	run(&rig);
	teardown(&rig);
}

static void host_ports_wrap_and_skip_those_in_use(void **state)
{
	struct rig rig;
	struct vsock_packet packet;

	(void)state;
	setup(&rig);
	rig.mux.next_host_port = VSOCK_HOST_PORT_FIRST - 2;

	int a = client(&rig, "CONNECT 1\n"), b = client(&rig, "CONNECT 1\n"),
	    c = client(&rig, "CONNECT 1\n");

	take(&rig, &packet);
	assert_int_equal(packet.host_port, (1u << 31) - 2);
	take(&rig, &packet);
	assert_int_equal(packet.host_port, (1u << 31) - 1);
	take(&rig, &packet);
	assert_int_equal(packet.host_port, 1u << 30);
	rig.mux.next_host_port = VSOCK_HOST_PORT_FIRST - 2;

	int d = client(&rig, "CONNECT 1\n");

	take(&rig, &packet);
	assert_int_equal(packet.host_port, (1u << 30) + 1);
	close(a);
	close(b);
	close(c);
	close(d);
	run(&rig);
	teardown(&rig);
}

/* A socket that takes little at a time: the ring is filled while it's drained. */
static void small_socket_buffer_loses_nothing(void **state)
{
	enum { TOTAL = 1 << 20 };
	static uint8_t data[20000], got[3000];
	struct rig rig;
	struct vsock_packet packet;
	uint32_t sent = 0, received = 0, forwarded = 0;
	int size = 4608;

	(void)state;
	setup(&rig);

	int fd = client(&rig, "CONNECT 12\n");

	take(&rig, &packet);
	give(&rig, &packet, VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(recv(fd, got, sizeof(got), 0), 14);
	assert_int_equal(setsockopt(last(&rig)->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	while (received < TOTAL) {
		struct vsock_packet data_packet = packet;
		struct iovec payload = { data, 0 };
		uint32_t len = VSOCK_BUFFER_SIZE - (sent - forwarded);

		if (len > 1 + sent % sizeof(data))
			len = 1 + sent % sizeof(data);
		if (len > TOTAL - sent)
			len = TOTAL - sent;
		for (uint32_t i = 0; i < len; i++)
			data[i] = (uint8_t)((sent + i) * 2654435761u >> 13);
		payload.iov_len = data_packet.len = len;
		data_packet.op = VIRTIO_VSOCK_OP_RW;
		vsock_mux_from_guest(&rig.mux, &data_packet, &payload, 1);
		sent += len;
		assert_true(sent - last(&rig)->fwd_cnt == last(&rig)->buffered);

		ssize_t n = recv(fd, got, 1 + received % sizeof(got), 0);

		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(got[i],
					 (uint8_t)((received + (uint32_t)i) * 2654435761u >> 13));
		received += n > 0 ? (uint32_t)n : 0;
		run(&rig);
		while (take(&rig, &data_packet)) {
			assert_int_equal(data_packet.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
			forwarded = data_packet.fwd_cnt;
		}
		/* The guest never sits without credit while the host waits for data. */
		assert_true(n > 0 || len > 0);
	}
	assert_int_equal(last(&rig)->buffered, 0);
	assert_null(last(&rig)->buffer);
	assert_int_equal(rig.mux.counters.reset, 0);
	close(fd);
	run(&rig);
	teardown(&rig);
}

/* Resets come from vCPU threads: the loop's, within a batch, finds no dead memory. */
static void stop_leaves_memory_to_the_loop(void **state)
{
	struct rig rig;

	(void)state;
	setup(&rig);

	int a = client(&rig, "CONNECT 1\n"), b = client(&rig, "CONNECT ");

	unsigned int outputs = rig.outputs;

	vsock_mux_stop(&rig.mux);
	assert_int_equal(rig.mux.n_live, 0);
	assert_false(TAILQ_EMPTY(&rig.mux.dead));
	assert_false(vsock_mux_has_output(&rig.mux));
	assert_int_equal(send(a, "x", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(send(b, "2\n", 2, MSG_NOSIGNAL), 2);
	run(&rig);
	assert_true(TAILQ_EMPTY(&rig.mux.dead));
	assert_true(closed(a));
	assert_true(closed(b));
	close(a);
	close(b);
	assert_int_equal(rig.outputs, outputs);
	teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_a_line_expires),
		cmocka_unit_test(unanswered_request_expires),
		cmocka_unit_test(answered_request_has_no_deadline),
		cmocka_unit_test(guest_that_never_ends_a_connection_is_reset),
		cmocka_unit_test(silent_clients_are_limited),
		cmocka_unit_test(client_waits_while_descriptors_are_short),
		cmocka_unit_test(host_ports_wrap_and_skip_those_in_use),
		cmocka_unit_test(small_socket_buffer_loses_nothing),
		cmocka_unit_test(stop_leaves_memory_to_the_loop),
	};

	return cmocka_run_group_tests_name("vsock-mux", tests, NULL, NULL);
}
