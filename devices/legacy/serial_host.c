/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of the serial port. A vCPU that completes a line writes it itself if that can't
 * wait; everything else (an unfinished line, a full pipe, a file on a slow disk, all input) is the
 * loop's thread's, which a timer calls. The lock protects the ring's indexes and is free during the
 * write: only one thread writes at a time, and the others only append behind what it writes.
 */
#include "devices/legacy/serial_host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "vmm/log.h"
#include "vmm/util.h"

/* Have the loop's thread come: at once, or after SERIAL_FLUSH_NS. With the lock held. */
static void set_wake(struct serial *serial, enum serial_wake when)
{
	struct itimerspec timer = {
		.it_value.tv_nsec = when == SERIAL_WAKE_NOW ? 1 : SERIAL_FLUSH_NS,
	};

	if (serial->wake >= when)
		return;
	timerfd_settime(serial->wake_fd, 0, &timer, NULL);
	serial->wake = when;
}

/* ---- output ---- */

static bool output_never_waits(const struct serial *serial)
{
	return serial->out.kind == HOST_STREAM_NONBLOCKING ||
	       serial->out.kind == HOST_STREAM_SOCKET;
}

static bool limit_allows_byte(struct serial *serial)
{
	if (serial->tx_limit.size == 0)
		return true;
	uint64_t now = monotonic_ns();

	if (token_bucket_wait(&serial->tx_limit, 1, now) > 0)
		return false;
	token_bucket_take(&serial->tx_limit, 1, now);
	return true;
}

void serial_host_transmit(struct serial *serial, uint8_t byte)
{
	serial->counters.tx_bytes++;
	if (serial->out.kind == HOST_STREAM_NONE)
		return;
	if (!limit_allows_byte(serial)) {
		serial->counters.tx_limited++;
		return;
	}
	if (serial->tx_len == SERIAL_TX_BUFFER) {
		serial->counters.tx_dropped++;
		return;
	}
	/* An empty ring starts at its first page again, so that a quiet console has few pages. */
	if (serial->tx_len == 0 && !serial->flushing)
		serial->tx_start = 0;
	serial->tx[(serial->tx_start + serial->tx_len++) % SERIAL_TX_BUFFER] = byte;
	if (byte == '\n' || serial->tx_len >= SERIAL_FLUSH_BYTES)
		serial->flush_due = true;
}

static void discard(struct serial *serial, uint32_t n)
{
	serial->tx_start = (serial->tx_start + n) % SERIAL_TX_BUFFER;
	serial->tx_len -= n;
}

/* One attempt to write what is pending. With the lock held, which is free meanwhile. */
static void flush(struct serial *serial)
{
	uint32_t len = serial->tx_len, to_end = SERIAL_TX_BUFFER - serial->tx_start;
	struct iovec iov[2];

	if (serial->flushing || len == 0)
		return;
	serial->flushing = true;
	serial->flush_due = false;
	iov[0] = (struct iovec){ serial->tx + serial->tx_start, len < to_end ? len : to_end };
	iov[1] = (struct iovec){ serial->tx, len - iov[0].iov_len };
	pthread_mutex_unlock(&serial->lock);
	ssize_t n = host_stream_write(&serial->out, iov, iov[1].iov_len > 0 ? 2 : 1);

	pthread_mutex_lock(&serial->lock);
	serial->flushing = false;
	if (n >= 0) {
		discard(serial, (uint32_t)n);
	} else if (n != -EAGAIN) {
		/* A reader that has gone may be followed by another: go on with what comes next. */
		discard(serial, len);
		serial->counters.tx_dropped += len;
		if (!serial->out_failed)
			log_warn("serial: write: %s: output is lost", strerrordesc_np((int)-n));
		serial->out_failed = true;
	}
}

static void on_writable(struct loop_source *source, uint32_t events);

/* After a flush on the loop's thread: watch the descriptor while something is left. */
static void watch_output(struct serial *serial)
{
	bool watch = serial->tx_len > 0;

	if (watch && !serial->out_watched) {
		/* EPERM: a regular file, which a short write has left behind: try again later. */
		if (loop_add(serial->loop, &serial->out_source, serial->out.fd, EPOLLOUT,
			     on_writable, serial, NULL) < 0)
			set_wake(serial, SERIAL_WAKE_SOON);
		else
			serial->out_watched = true;
	} else if (!watch && serial->out_watched) {
		loop_remove(serial->loop, &serial->out_source);
		serial->out_watched = false;
	}
}

static void on_writable(struct loop_source *source, uint32_t events)
{
	struct serial *serial = source->owner;

	(void)events;
	pthread_mutex_lock(&serial->lock);
	flush(serial);
	watch_output(serial);
	pthread_mutex_unlock(&serial->lock);
}

/* ---- input, all on the loop's thread ---- */

static void on_readable(struct loop_source *source, uint32_t events);

static void unwatch_input(struct serial *serial)
{
	loop_remove(serial->loop, &serial->in_source);
	serial->in_watched = false;
}

static void end_input(struct serial *serial, ssize_t rc)
{
	unwatch_input(serial);
	host_stream_close(&serial->in);
	if (rc < 0)
		log_warn("serial: read: %s: no more input", strerrordesc_np((int)-rc));
}

/* Leave the input alone until the guest has emptied its FIFO, which may have happened already. */
static void stall_input(struct serial *serial)
{
	pthread_mutex_lock(&serial->lock);
	serial->in_stalled = true;
	serial_host_settle(serial);
	pthread_mutex_unlock(&serial->lock);
}

/*
 * Take what the guest has room for. While it has none the descriptor isn't watched at all, because
 * a hang-up would be reported again and again.
 */
static void pump_input(struct serial *serial)
{
	uint8_t bytes[SERIAL_RX_FIFO];

	pthread_mutex_lock(&serial->lock);
	unsigned int room = serial_rx_room(serial);

	serial->in_stalled = room == 0;
	pthread_mutex_unlock(&serial->lock);
	if (room == 0) {
		unwatch_input(serial);
		return;
	}
	if (!serial->in_watched && serial->in.kind != HOST_STREAM_FILE) {
		serial->in_watched = loop_add(serial->loop, &serial->in_source, serial->in.fd,
					      EPOLLIN, on_readable, serial, NULL) == 0;
		if (serial->in_watched)
			return;
		/* EPERM: a device like /dev/null, which is always ready. */
		serial->in.kind = HOST_STREAM_FILE;
	}
	ssize_t n = host_stream_read(&serial->in, bytes, room);

	if (n > 0)
		serial_receive(serial, bytes, (unsigned int)n);
	else if (n != -EAGAIN)
		end_input(serial, n);
	if (serial->in.kind == HOST_STREAM_FILE)
		stall_input(serial);
}

static void on_readable(struct loop_source *source, uint32_t events)
{
	(void)events;
	pump_input(source->owner);
}

/* ---- both ---- */

static void on_wake(struct loop_source *source, uint32_t events)
{
	struct serial *serial = source->owner;

	(void)events;
	pthread_mutex_lock(&serial->lock);
	serial->wake = SERIAL_WAKE_NONE;
	flush(serial);
	watch_output(serial);
	bool stalled = serial->in_stalled;

	pthread_mutex_unlock(&serial->lock);
	if (stalled)
		pump_input(serial);
}

void serial_host_settle(struct serial *serial)
{
	/* Once the FIFO is empty, not for each byte of room: 16 bytes a wake. */
	if (serial->in_stalled && serial->regs.rx_count == 0 && serial_rx_room(serial) > 0)
		set_wake(serial, SERIAL_WAKE_NOW);
	if (serial->tx_len == 0 || serial->out_watched)
		return;
	if (serial->flush_due && output_never_waits(serial))
		flush(serial);
	if (serial->tx_len > 0 && !serial->out_watched)
		set_wake(serial, serial->flush_due ? SERIAL_WAKE_NOW : SERIAL_WAKE_SOON);
}

int serial_host_init(struct serial *serial, int in_fd, int out_fd, struct error *err)
{
	int rc = host_stream_open(&serial->in, in_fd, O_RDONLY, err);

	if (rc < 0)
		return error_wrap(err, "input");
	rc = host_stream_open(&serial->out, out_fd, O_WRONLY, err);
	if (rc < 0)
		return error_wrap(err, "output");
	/* Now, though a quiet console never touches it: vCPUs' threads allocate nothing. */
	if (serial->out.kind != HOST_STREAM_NONE)
		serial->tx = malloc(SERIAL_TX_BUFFER);
	if (serial->out.kind != HOST_STREAM_NONE && !serial->tx)
		return error_sys(err, ENOMEM, "output buffer");
	serial->wake_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (serial->wake_fd < 0)
		return error_sys(err, errno, "timerfd_create");
	/* Edge-triggered: each expiry is one event, and nobody needs to read the count. */
	rc = loop_add(serial->loop, &serial->wake_source, serial->wake_fd, EPOLLIN | EPOLLET,
		      on_wake, serial, err);
	serial->in_stalled = serial->in.kind != HOST_STREAM_NONE;
	return rc;
}

/* Give a side that is still reading the time to take the last words. */
static void drain(struct serial *serial)
{
	uint64_t end = monotonic_ns() + SERIAL_RELEASE_MS * 1000000ull;

	pthread_mutex_lock(&serial->lock);
	while (serial->tx_len > 0) {
		struct pollfd p = { .fd = serial->out.fd, .events = POLLOUT };
		uint32_t before = serial->tx_len;

		flush(serial);
		if (serial->tx_len == before &&
		    (monotonic_ns() >= end || poll(&p, 1, SERIAL_RELEASE_STALL_MS) <= 0))
			break;
	}
	if (serial->tx_len > 0)
		log_warn("serial: %u bytes of output had no reader and are lost", serial->tx_len);
	serial->counters.tx_dropped += serial->tx_len;
	serial->tx_len = 0;
	pthread_mutex_unlock(&serial->lock);
}

void serial_host_release(struct serial *serial)
{
	drain(serial);
	loop_remove(serial->loop, &serial->wake_source);
	loop_remove(serial->loop, &serial->out_source);
	loop_remove(serial->loop, &serial->in_source);
	close_fd(&serial->wake_fd);
	host_stream_close(&serial->in);
	host_stream_close(&serial->out);
	free(serial->tx);
	serial->tx = NULL;
}
