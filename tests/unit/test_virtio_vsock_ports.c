/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock: ports of the host's that are sockets handed over by the monitor's parent. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/util.h"
#include "vsock_guest.h"

#define INHERITED 100

static const struct ports agent = { 1024, 5000 };

/* A pair as the monitor's parent makes it: one end comes through exec, the other is returned. */
static int hand_over(int number)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(dup2(fds[1], number), number);
	close(fds[1]);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	return fds[0];
}

static int set_up(struct guest *g, const char *name)
{
	const struct vsock_guest_port port = { agent.host, INHERITED };
	int host = hand_over(INHERITED);

	guest_create_with_ports(g, name, &port, 1);
	return host;
}

static void a_connection_to_the_port_is_the_socket(void **state)
{
	struct guest g;
	int host = set_up(&g, NULL);

	(void)state;
	assert_int_equal(fcntl(INHERITED, F_GETFD), FD_CLOEXEC);
	/* What the host says before the guest calls waits in the socket. */
	assert_int_equal(send(host, "job", 3, MSG_NOSIGNAL), 3);
	guest_start(&g, ALL_FEATURES, 8);
	guest_expect_nothing(&g);
	guest_send(&g, agent, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, agent, VIRTIO_VSOCK_OP_RESPONSE);
	guest_expect_data(&g, agent, "job", 3);
	guest_write(&g, agent, "ready", 5);
	host_expect(host, "ready", 5);
	host_write(&g, host, "more", 4);
	guest_expect_data(&g, agent, "more", 4);
	assert_int_equal(guest_counters(&g).connections_opened, 1);
	disconnect(&g, host, agent);
	/* It was the connection's, which is gone. */
	assert_int_equal(fcntl(INHERITED, F_GETFD), -1);
	guest_teardown(&g);
}

static void the_port_takes_one_connection(void **state)
{
	const struct ports second = { agent.host, 5001 };
	struct guest g;
	int host = set_up(&g, NULL);

	(void)state;
	guest_start(&g, ALL_FEATURES, 8);
	guest_send(&g, agent, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, agent, VIRTIO_VSOCK_OP_RESPONSE);
	guest_send(&g, second, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, second, VIRTIO_VSOCK_OP_RST);
	disconnect(&g, host, agent);
	guest_send(&g, agent, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, agent, VIRTIO_VSOCK_OP_RST);
	assert_int_equal(guest_counters(&g).connections_refused, 2);
	guest_teardown(&g);
}

static void other_ports_have_nobody_without_a_path(void **state)
{
	const struct ports other = { 1025, 5000 };
	struct guest g;
	int host = set_up(&g, NULL);

	(void)state;
	guest_start(&g, ALL_FEATURES, 8);
	guest_send(&g, other, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, other, VIRTIO_VSOCK_OP_RST);
	/* The socket waits for its own, across a reset of the device. */
	driver_reset(&g.drv);
	guest_run(&g);
	host_expect_nothing(host);
	guest_start(&g, ALL_FEATURES, 8);
	guest_send(&g, agent, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, agent, VIRTIO_VSOCK_OP_RESPONSE);
	disconnect(&g, host, agent);
	guest_teardown(&g);
}

static void the_path_serves_the_other_connections(void **state)
{
	const struct ports other = { 1025, 5000 }, second = { agent.host, 5001 };
	struct guest g;
	struct ports ports;
	int host = set_up(&g, "v.sock");

	(void)state;
	guest_start(&g, ALL_FEATURES, 8);
	int client = connect_to_guest(&g, &ports);
	int fd = connect_to_host(&g, other);

	guest_send(&g, agent, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, agent, VIRTIO_VSOCK_OP_RESPONSE);
	/* The port's socket is in use: who comes next finds the path, like anybody. */
	int next = connect_to_host(&g, second);

	guest_write(&g, agent, "a", 1);
	guest_write(&g, second, "b", 1);
	host_expect(host, "a", 1);
	host_expect(next, "b", 1);
	disconnect(&g, client, ports);
	disconnect(&g, fd, other);
	disconnect(&g, host, agent);
	disconnect(&g, next, second);
	guest_teardown(&g);
}

static void a_host_that_left_before_ends_the_connection(void **state)
{
	struct guest g;
	int host = set_up(&g, NULL);

	(void)state;
	close(host);
	guest_start(&g, ALL_FEATURES, 8);
	guest_send(&g, agent, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(&g, agent, VIRTIO_VSOCK_OP_RESPONSE);
	guest_expect_shutdown(&g, agent, VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_send(&g, agent, VIRTIO_VSOCK_OP_RST);
	guest_expect_nothing(&g);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_teardown(&g);
}

static void the_end_of_the_device_closes_the_socket(void **state)
{
	struct guest g;
	int host = set_up(&g, NULL);

	(void)state;
	guest_start(&g, ALL_FEATURES, 8);
	host_expect_nothing(host);
	guest_teardown(&g);
	host_expect_end(host);
	close(host);
}

static void assert_refused(int number, int errnum, const char *message)
{
	const struct vsock_guest_port port = { 1024, number };
	const struct virtio_vsock_options options = {
		.guest_cid = 3, .guest_ports = &port, .n_guest_ports = 1,
	};
	struct virtio_driver drv;
	struct virtio_device *device;
	struct error err = { 0 };

	driver_setup(&drv);
	assert_int_equal(virtio_vsock_create(&options, &drv.memory, &drv.loop, &device, &err), errnum);
	assert_string_equal(err.message, message);
	driver_teardown(&drv);
}

static void what_is_no_such_socket_is_refused(void **state)
{
	static const char not_one[] =
		"vsock \"vsock\": guest_ports[0]: file descriptor 100 is no connected stream socket";
	int fds[2];

	(void)state;
	assert_refused(INHERITED, -EBADF,
		       "vsock \"vsock\": guest_ports[0]: file descriptor 100 was not inherited, or is "
		       "taken already");
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(dup2(fds[0], INHERITED), INHERITED);
	assert_refused(INHERITED, -EACCES,
		       "vsock \"vsock\": guest_ports[0]: not open for reading and writing");
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(dup2(open("/dev/null", O_RDWR | O_CLOEXEC), INHERITED), INHERITED);
	assert_refused(INHERITED, -EINVAL, not_one);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(dup2(fds[0], INHERITED), INHERITED);
	assert_refused(INHERITED, -EINVAL, not_one);
	assert_int_equal(dup2(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), INHERITED), INHERITED);
	assert_refused(INHERITED, -EINVAL, not_one);
	/* Refused, and not left open. */
	assert_int_equal(fcntl(INHERITED, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_to_the_port_is_the_socket),
		cmocka_unit_test(the_port_takes_one_connection),
		cmocka_unit_test(other_ports_have_nobody_without_a_path),
		cmocka_unit_test(the_path_serves_the_other_connections),
		cmocka_unit_test(a_host_that_left_before_ends_the_connection),
		cmocka_unit_test(the_end_of_the_device_closes_the_socket),
		cmocka_unit_test(what_is_no_such_socket_is_refused),
	};

	return cmocka_run_group_tests_name("virtio_vsock_ports", tests, NULL, NULL);
}
