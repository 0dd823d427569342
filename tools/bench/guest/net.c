/* SPDX-License-Identifier: Apache-2.0 */
/* Network: a stream each way and round trips, against netserver at the tap's other end. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench.h"

#define PORT  7
#define CHUNK 65536

static char buffer[CHUNK];

int configure_eth0(const char *address, const char *mask)
{
	struct ifreq r = { .ifr_name = "eth0" };
	struct sockaddr_in *in = (struct sockaddr_in *)&r.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	in->sin_family = AF_INET;
	inet_pton(AF_INET, address, &in->sin_addr);
	if (fd < 0 || ioctl(fd, SIOCSIFADDR, &r) < 0)
		return -1;
	inet_pton(AF_INET, mask, &in->sin_addr);
	if (ioctl(fd, SIOCSIFNETMASK, &r) < 0)
		return -1;
	r.ifr_flags = IFF_UP | IFF_RUNNING;
	int rc = ioctl(fd, SIOCSIFFLAGS, &r);

	close(fd);
	return rc;
}

int connect_to(const char *server, int port, int type)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct timeval limit = { .tv_sec = 20 };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	inet_pton(AF_INET, server, &to.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	return -1;
}

/* 'U': we send so many bytes, the server answers with one when it has them all. 'D': it sends them. */
static bool stream(int fd, char direction, uint64_t bytes)
{
	uint64_t done = 0;
	struct {
		char what;
		uint64_t n;
	} __attribute__((packed)) order = { direction, bytes };

	if (write(fd, &order, sizeof(order)) != sizeof(order))
		return false;
	while (done < bytes) {
		size_t n = bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK;
		ssize_t r = direction == 'U' ? write(fd, buffer, n) : read(fd, buffer, n);

		if (r <= 0)
			return false;
		done += (uint64_t)r;
	}
	return direction == 'D' || read(fd, buffer, 1) == 1;
}

/* 'E', or UDP: the server sends back what it gets. */
static bool ping(int fd, int type, unsigned int n)
{
	char order[9] = "E";

	if (type == SOCK_STREAM && write(fd, order, sizeof(order)) != sizeof(order))
		return false;
	for (unsigned int i = 0; i < n; i++)
		if (write(fd, buffer, 1) != 1 || read(fd, buffer, 1) != 1)
			return false;
	return true;
}

int bench_talk(const struct talk *talk, int fd, uint64_t bytes, unsigned int pings)
{
	bool echo = talk->what == 'E';

	say_begin(talk->name);
	uint64_t start = now_ns();
	bool ok = echo ? ping(fd, talk->type, pings) : stream(fd, talk->what, bytes);
	uint64_t ns = now_ns() - start;

	if (!ok)
		return failed(talk->name);
	close(fd);
	say_end(talk->name, echo ? ns / pings : ns);
	return 0;
}

int bench_net(int argc, char *argv[])
{
	static const struct talk all[] = {
		{ "warm_up", SOCK_STREAM, 'E' },	 { "stream_to_host", SOCK_STREAM, 'U' },
		{ "stream_to_guest", SOCK_STREAM, 'D' }, { "tcp_round_trip", SOCK_STREAM, 'E' },
		{ "udp_round_trip", SOCK_DGRAM, 'E' },
	};

	if (argc != 4)
		return errno = EINVAL, failed("net ADDRESS SERVER MIB PINGS");
	uint64_t bytes = strtoull(argv[2], NULL, 10) << 20;
	unsigned int pings = (unsigned int)strtoul(argv[3], NULL, 10);

	if (configure_eth0(argv[0], "255.255.255.0") < 0)
		return failed("eth0");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int fd = connect_to(argv[1], PORT, all[i].type);

		if (fd < 0)
			return failed("connect");
		if (bench_talk(&all[i], fd, bytes, pings) < 0)
			return -1;
	}
	return 0;
}
