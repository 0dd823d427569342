/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/netserver.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char buffer[65536];

static void serve(int fd)
{
	struct {
		char what;
		uint64_t n;
	} __attribute__((packed)) order;
	int one = 1;
	ssize_t r;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (recv(fd, &order, sizeof(order), MSG_WAITALL) != sizeof(order))
		return;
	while (order.what == 'E' && (r = read(fd, buffer, sizeof(buffer))) > 0)
		if (write(fd, buffer, (size_t)r) != r)
			return;
	while (order.what != 'E' && order.n > 0) {
		size_t n = order.n < sizeof(buffer) ? (size_t)order.n : sizeof(buffer);

		r = order.what == 'U' ? read(fd, buffer, n) : write(fd, buffer, n);
		if (r <= 0)
			return;
		order.n -= (uint64_t)r;
	}
	if (order.what == 'U' && write(fd, buffer, 1) != 1)
		return;
	/* Until the guest closes: it has everything then. */
	shutdown(fd, SHUT_WR);
	while (read(fd, buffer, sizeof(buffer)) > 0)
		;
}

int netserver_open(struct netserver *server, const char *address, struct error *err)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(7) };

	server->stream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	server->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, address, &at.sin_addr);
	if (server->stream < 0 || server->udp < 0 || bind(server->stream, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(server->stream, 4) < 0 || bind(server->udp, (struct sockaddr *)&at, sizeof(at)) < 0)
		return error_sys(err, errno, "server at %s, port 7", address);
	return 0;
}

int netserver_open_unix(struct netserver *server, const char *path, struct error *err)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	server->stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	server->udp = -1;
	if (server->stream < 0 || bind(server->stream, (struct sockaddr *)&at, sizeof(at)) < 0 ||
	    listen(server->stream, 4) < 0)
		return error_sys(err, errno, "server at \"%s\"", path);
	return 0;
}

static void echo_datagram(int udp)
{
	struct sockaddr_in from;
	socklen_t length = sizeof(from);
	ssize_t n = recvfrom(udp, buffer, sizeof(buffer), 0, (struct sockaddr *)&from, &length);

	if (n >= 0)
		sendto(udp, buffer, (size_t)n, 0, (struct sockaddr *)&from, length);
}

void netserver_serve(const struct netserver *server)
{
	struct pollfd fds[2] = { { .fd = server->stream, .events = POLLIN },
				 { .fd = server->udp, .events = POLLIN } };

	signal(SIGPIPE, SIG_IGN);
	while (poll(fds, 2, -1) >= 0) {
		if (fds[1].revents)
			echo_datagram(server->udp);
		int fd = fds[0].revents ? accept4(server->stream, NULL, NULL, SOCK_CLOEXEC) : -1;

		if (fd < 0)
			continue;
		serve(fd);
		close(fd);
	}
}
