/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata service and a TCP that nobody here wrote: Linux's, with all its offloads, on a tap. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>

#include "devices/backend/tap.h"
#include "devices/mmds/stack.h"
#include "private_net.h"
#include "vmm/util.h"

#define TAP	    "mote-mmds"
#define LARGE	    50000
#define CONNECTIONS 30

static const char *why_not;
static struct tap tap;
static struct mmds mmds;
static struct mmds_stack stack;
static unsigned int partial; /* frames that came without a checksum */

static int enter(void **state)
{
	(void)state;
	why_not = private_net_enter();
	if (why_not)
		print_message("skipped: %s\n", why_not);
	return 0;
}

static int set_up(void **state)
{
	struct error err = { 0 };
	json_t *data = json_object();
	char *text = malloc(LARGE + 1);

	(void)state;
	if (why_not) {
		free(text);
		json_decref(data);
		return 0;
	}
	memset(text, 'x', LARGE);
	text[LARGE] = 0;
	json_object_set_new(data, "large", json_string(text));
	json_object_set_new(data, "small", json_string("hello"));
	free(text);
	partial = 0;
	assert_int_equal(mmds_init(&mmds, MMDS_SIZE_LIMIT, &err), 0);
	assert_int_equal(mmds_store_put(&mmds.store, data, &err), 0);
	json_decref(data);
	mmds_stack_init(&stack, &mmds, MMDS_IPV4_DEFAULT);
	private_net_add(TAP, 0);
	assert_int_equal(tap_open(&tap, TAP, &err), 0);
	assert_int_equal(tap_set_offload(&tap, TUN_F_CSUM | TUN_F_TSO4, &err), 0);
	private_net_set_address(TAP, "169.254.169.1");
	private_net_up(TAP, true);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (why_not)
		return 0;
	mmds_stack_reset(&stack);
	mmds_release(&mmds);
	tap_close(&tap);
	private_net_delete(TAP);
	return 0;
}

static void take_frame(void)
{
	static uint8_t frame[65550];
	struct virtio_net_hdr_v1 hdr;
	struct iovec iov[2] = { { &hdr, sizeof(hdr) }, { frame, sizeof(frame) } };
	ssize_t n = readv(tap.fd, iov, 2);

	if (n < (ssize_t)sizeof(hdr) || !mmds_stack_wants(&stack, frame, (size_t)n - sizeof(hdr)))
		return;
	const struct mmds_offload offload = { hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, hdr.csum_start,
					      hdr.csum_offset };

	partial += offload.partial;
	mmds_stack_input(&stack, frame, (size_t)n - sizeof(hdr), &offload, monotonic_ns());
}

/* Be the device, until the client is through. */
static void serve(pid_t client)
{
	int status = -1;

	while (waitpid(client, &status, WNOHANG) == 0) {
		struct pollfd poller = { tap.fd, POLLIN, 0 };
		uint8_t packet[sizeof(struct virtio_net_hdr_v1) + MMDS_SEND_MAX] = { 0 };
		size_t n;

		poll(&poller, 1, 5);
		take_frame();
		if (monotonic_ns() >= mmds_stack_deadline(&stack))
			mmds_stack_tick(&stack, monotonic_ns());
		while ((n = mmds_stack_output(&stack, packet + sizeof(struct virtio_net_hdr_v1), monotonic_ns())))
			assert_int_equal(write(tap.fd, packet, n + sizeof(struct virtio_net_hdr_v1)),
					 n + sizeof(struct virtio_net_hdr_v1));
	}
	/* 0, or the line where it failed. */
	assert_int_equal(status, 0);
}

/* ---- the client, a process of its own ---- */

#define must(holds)                                                                                \
	do {                                                                                       \
		if (!(holds))                                                                      \
			_exit(__LINE__ & 0xff ? __LINE__ & 0xff : 1);                               \
	} while (0)

static int connect_to(uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(MMDS_IPV4_DEFAULT) };
	struct timeval patience = { .tv_sec = 20 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
	return connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : fd;
}

static void say(int fd, const char *text)
{
	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

/* One response, whose body must have this length. */
static void hear(int fd, size_t length)
{
	static char text[LARGE + 1024];
	size_t n = 0, head = 0;

	while (head == 0 || n < head + length) {
		ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);

		must(got > 0);
		n += (size_t)got;
		text[n] = 0;
		const char *end = strstr(text, "\r\n\r\n");

		head = end ? (size_t)(end - text) + 4 : 0;
	}
	must(strncmp(text, "HTTP/1.1 200 OK\r\n", 17) == 0);
	must(n == head + length);
	must(length != 5 || strcmp(text + head, "hello") == 0);
	must(length != LARGE || strspn(text + head, "x") == LARGE);
}

static void run_client(void (*client)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		alarm(60);
		client();
		_exit(0);
	}
	serve(pid);
}

static void talk(void)
{
	int fd = connect_to(80);
	const char request[] = "GET /small HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
	char last;

	must(fd >= 0);
	for (unsigned int i = 0; i < 20; i++) {
		say(fd, request);
		hear(fd, 5);
		say(fd, "GET /large HTTP/1.1\r\n\r\n");
		hear(fd, LARGE);
	}
	for (const char *c = request; *c; c++)
		must(write(fd, c, 1) == 1);
	hear(fd, 5);
	/* Two at once; then the end of the request's side with the last one. */
	say(fd, "GET /small HTTP/1.1\r\n\r\nGET /large HTTP/1.1\r\n\r\n");
	hear(fd, 5);
	hear(fd, LARGE);
	say(fd, request);
	must(shutdown(fd, SHUT_WR) == 0);
	hear(fd, 5);
	must(read(fd, &last, 1) == 0);
	close(fd);
}

static void linux_talks(void **state)
{
	(void)state;
	if (why_not)
		skip();
	run_client(talk);
	assert_int_equal(mmds.counters.connections_created, 1);
	assert_int_equal(mmds.counters.rx_accepted_err, 0);
	assert_int_equal(mmds.counters.rx_accepted_unusual, 0);
}

static void send_long_header(void)
{
	char request[4000];
	int fd = connect_to(80);

	must(fd >= 0);
	snprintf(request, sizeof(request), "GET /small HTTP/1.1\r\nA: %03500d\r\n\r\n", 1);
	say(fd, request);
	hear(fd, 5);
	close(fd);
	/* Nobody is at another port. */
	must(connect_to(81) == -ECONNREFUSED);
}

static void linux_leaves_checksums_to_us(void **state)
{
	(void)state;
	if (why_not)
		skip();
	run_client(send_long_header);
	/* SYN, ACK, three of the request, FIN; and the SYN to the other port. */
	assert_in_range(partial, 6, 20);
	assert_int_equal(mmds.counters.rx_accepted_err, 0);
}

static void talk_often(void)
{
	int fds[CONNECTIONS];

	for (unsigned int i = 0; i < CONNECTIONS; i++) {
		fds[i] = connect_to(80);
		must(fds[i] >= 0);
	}
	must(connect_to(80) == -ECONNREFUSED);
	for (unsigned int i = 0; i < CONNECTIONS; i++)
		say(fds[i], "GET /large HTTP/1.1\r\nConnection: close\r\n\r\n");
	for (unsigned int i = 0; i < CONNECTIONS; i++) {
		hear(fds[i], LARGE);
		must(read(fds[i], &(char){ 0 }, 1) == 0);
		close(fds[i]);
	}
	/* Ends make room as soon as they're known: a queue that is fair may let a SYN overtake a FIN. */
	for (unsigned int i = 0; i < 3 * CONNECTIONS; i++) {
		int fd = connect_to(80);

		for (unsigned int n = 0; fd == -ECONNREFUSED && n < 1000; n++) {
			usleep(10000);
			fd = connect_to(80);
		}
		must(fd >= 0);
		say(fd, "GET /small HTTP/1.1\r\nConnection: close\r\n\r\n");
		hear(fd, 5);
		close(fd);
	}
}

static void many_connections(void **state)
{
	(void)state;
	if (why_not)
		skip();
	run_client(talk_often);
	assert_int_equal(mmds.counters.connections_created, 4 * CONNECTIONS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(linux_talks),
		TEST(linux_leaves_checksums_to_us),
		TEST(many_connections),
	};

	return cmocka_run_group_tests(tests, enter, NULL);
}
