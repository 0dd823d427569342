/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte stream of the host (terminal, pipe, socket, file) that never makes its user wait, whoever
 * else has the descriptor open. O_NONBLOCK is a property of the open file description, which a
 * terminal on stdin and stdout shares with the shell: setting it there would outlive the monitor.
 */
#ifndef MOTE_DEVICES_HOST_STREAM_H
#define MOTE_DEVICES_HOST_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "vmm/error.h"

enum host_stream_kind {
	HOST_STREAM_NONE,	 /* no descriptor: nothing to read, everything written is gone */
	HOST_STREAM_NONBLOCKING, /* O_NONBLOCK, on an open file description that may have it */
	HOST_STREAM_SOCKET,	 /* MSG_DONTWAIT with every call */
	HOST_STREAM_POLLED, /* poll(2) before every call, and no more at once than it promises */
	HOST_STREAM_FILE,   /* a regular file: may wait for its disk, never for a peer */
};

struct host_stream {
	int fd; /* owned: a new open file description or a duplicate; -1 with HOST_STREAM_NONE */
	enum host_stream_kind kind;
	size_t chunk; /* HOST_STREAM_POLLED: bytes that a ready descriptor is sure to take */
};

/*
 * fd is borrowed, for this call only; -1 gives HOST_STREAM_NONE. flags: O_RDONLY or O_WRONLY.
 * Errors: those of fstat(2) and fcntl(2). When /proc isn't there to open the descriptor anew (in
 * a jail), the stream is HOST_STREAM_POLLED: slower, and byte by byte on a terminal.
 */
int host_stream_open(struct host_stream *stream, int fd, int flags, struct error *err);
void host_stream_close(struct host_stream *stream);

/* Bytes read, 0 at the end, -EAGAIN if there are none now, or another negative errno. */
ssize_t host_stream_read(const struct host_stream *stream, void *buf, size_t len);

/* Bytes written (perhaps fewer than offered), -EAGAIN, or another negative errno. */
ssize_t host_stream_write(const struct host_stream *stream, const struct iovec *iov, int n);

#endif
