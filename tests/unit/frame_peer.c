/* SPDX-License-Identifier: Apache-2.0 */
#include "frame_peer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int peer_pair(int *theirs)
{
	const struct timeval limit = { .tv_sec = 20 };
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	*theirs = fds[1];
	return fds[0];
}

void peer_send_raw(int fd, const void *bytes, size_t length)
{
	const char *p = bytes;

	while (length > 0) {
		ssize_t n = send(fd, p, length, MSG_NOSIGNAL);

		assert_true(n > 0);
		p += n;
		length -= (size_t)n;
	}
}

void peer_send(int fd, uint32_t type, const void *payload, uint32_t length)
{
	const struct agent_frame frame = { .type = type, .length = length };

	peer_send_raw(fd, &frame, sizeof(frame));
	peer_send_raw(fd, payload, length);
}

void peer_send_u32(int fd, uint32_t type, uint32_t value)
{
	peer_send(fd, type, &value, sizeof(value));
}

static void receive(int fd, void *bytes, size_t length)
{
	char *p = bytes;

	while (length > 0) {
		ssize_t n = recv(fd, p, length, 0);

		if (n <= 0)
			fail_msg("no frame: %s", n ? strerror(errno) : "end of the stream");
		p += n;
		length -= (size_t)n;
	}
}

uint32_t peer_take(int fd, uint32_t type, void *payload)
{
	struct agent_frame frame;

	receive(fd, &frame, sizeof(frame));
	assert_int_equal(frame.type, type);
	assert_in_range(frame.length, 0, AGENT_JOB_MAX);
	receive(fd, payload, frame.length);
	return frame.length;
}

void peer_expect(int fd, uint32_t type, const void *payload, uint32_t length)
{
	static char got[AGENT_JOB_MAX];

	assert_int_equal(peer_take(fd, type, got), length);
	assert_memory_equal(got, payload, length);
}

void peer_expect_u32(int fd, uint32_t type, uint32_t value)
{
	peer_expect(fd, type, &value, sizeof(value));
}

void peer_expect_end(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);

	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

static int64_t cpu_ns(pid_t pid)
{
	struct timespec used = { 0 };
	clockid_t clock;

	assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
	assert_int_equal(clock_gettime(clock, &used), 0);
	return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

void assert_idle(pid_t pid)
{
	int64_t before;

	/* What it was just given may still keep it busy. */
	usleep(100000);
	before = cpu_ns(pid);
	usleep(200000);
	assert_in_range(cpu_ns(pid) - before, 0, 40000000);
}

void peer_expect_silence(int fd, pid_t pid)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&p, 1, 100), 0);
	assert_idle(pid);
	assert_int_equal(poll(&p, 1, 0), 0);
}
