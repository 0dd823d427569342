/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netserver ADDRESS: the host's end of the network benchmark. TCP and UDP port 7; UDP is sent back,
 * a TCP connection begins with an order (see guest/net.c). Prints "ready" and serves until killed.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

int main(int argc, char *argv[])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(7) };
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	if (argc != 2 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1)
		return 2;
	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(tcp, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(tcp, 4) < 0 ||
	    bind(udp, (struct sockaddr *)&at, sizeof(at)) < 0) {
		perror(argv[1]);
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd fds[2] = { { .fd = tcp, .events = POLLIN },
					 { .fd = udp, .events = POLLIN } };

		if (poll(fds, 2, -1) < 0)
			return 1;
		if (fds[1].revents) {
			struct sockaddr_in from;
			socklen_t length = sizeof(from);
			ssize_t n = recvfrom(udp, buffer, sizeof(buffer), 0,
					     (struct sockaddr *)&from, &length);

			if (n >= 0)
				sendto(udp, buffer, (size_t)n, 0, (struct sockaddr *)&from, length);
		}
		if (fds[0].revents) {
			int fd = accept4(tcp, NULL, NULL, SOCK_CLOEXEC);

			if (fd >= 0)
				serve(fd);
			if (fd >= 0)
				close(fd);
		}
	}
}
