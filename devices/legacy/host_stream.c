/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/legacy/host_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/util.h"

/* Bounds the work of one call on a polled stream: chunks, of one byte each on a terminal. */
#define POLLED_CHUNKS_MAX 256

static bool ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	/* Errors and hang-ups count: the call that follows gives their errno without waiting. */
	return poll(&p, 1, 0) == 1;
}

/*
 * The same terminal or pipe as an open file description of our own. The master of a pseudo-terminal
 * can't be had that way: opening it makes a new pair. Nor can a FIFO whose last writer has left: poll
 * doesn't tell a reader that came after him.
 */
static int reopen_nonblocking(int fd, int flags, const struct stat *st)
{
	char path[32];
	unsigned int pty;

	if (!S_ISFIFO(st->st_mode) && (!isatty(fd) || ioctl(fd, TIOCGPTN, &pty) == 0))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (ready(fd, 0))
		close_fd(&own);
	return own;
}

int host_stream_open(struct host_stream *stream, int fd, int flags, struct error *err)
{
	struct stat st;

	*stream = (struct host_stream){ .fd = -1, .kind = HOST_STREAM_NONE };
	if (fd < 0)
		return 0;
	int status = fcntl(fd, F_GETFL);

	if (status < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno, "fd %d", fd);
	if (S_ISREG(st.st_mode)) {
		stream->kind = HOST_STREAM_FILE;
	} else if (S_ISSOCK(st.st_mode)) {
		stream->kind = HOST_STREAM_SOCKET;
	} else {
		/*
		 * A pipe that has O_NONBLOCK was given to us alone; with a terminal, its other users
		 * may take the flag away again.
		 */
		if (!(status & O_NONBLOCK) || isatty(fd))
			stream->fd = reopen_nonblocking(fd, flags, &st);
		stream->kind = stream->fd >= 0 || status & O_NONBLOCK ? HOST_STREAM_NONBLOCKING
								      : HOST_STREAM_POLLED;
	}
	/* POLLOUT promises room for PIPE_BUF bytes in a pipe, and for one on a terminal. */
	stream->chunk = isatty(fd) ? 1 : PIPE_BUF;
	/* A duplicate, because one epoll set takes each descriptor once: stdin may be stdout. */
	if (stream->fd < 0)
		stream->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (stream->fd < 0)
		return error_sys(err, errno, "duplicate fd %d", fd);
	return 0;
}

void host_stream_close(struct host_stream *stream)
{
	close_fd(&stream->fd);
	stream->kind = HOST_STREAM_NONE;
}

/* EINTR is a reason to come back later, like EAGAIN. */
static ssize_t result(ssize_t n)
{
	if (n >= 0)
		return n;
	return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

ssize_t host_stream_read(const struct host_stream *stream, void *buf, size_t len)
{
	if (stream->kind == HOST_STREAM_NONE)
		return 0;
	if (stream->kind == HOST_STREAM_SOCKET)
		return result(recv(stream->fd, buf, len, MSG_DONTWAIT));
	if (stream->kind == HOST_STREAM_POLLED && !ready(stream->fd, POLLIN))
		return -EAGAIN;
	return result(read(stream->fd, buf, len));
}

static ssize_t write_polled(const struct host_stream *stream, const uint8_t *p, size_t len)
{
	size_t done = 0;

	for (int i = 0; i < POLLED_CHUNKS_MAX && done < len; i++) {
		size_t chunk = len - done < stream->chunk ? len - done : stream->chunk;
		ssize_t n = ready(stream->fd, POLLOUT) ? result(write(stream->fd, p + done, chunk))
						       : -EAGAIN;

		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t host_stream_write(const struct host_stream *stream, const struct iovec *iov, int n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n };
	size_t gone = 0;

	switch (stream->kind) {
	case HOST_STREAM_SOCKET:
		return result(sendmsg(stream->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL));
	case HOST_STREAM_POLLED:
		return write_polled(stream, iov[0].iov_base, iov[0].iov_len);
	case HOST_STREAM_NONBLOCKING:
	case HOST_STREAM_FILE:
		return result(writev(stream->fd, iov, n));
	case HOST_STREAM_NONE:
		break;
	}
	for (int i = 0; i < n; i++)
		gone += iov[i].iov_len;
	return (ssize_t)gone;
}
