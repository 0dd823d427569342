/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/vsock_conn.h"

#include <errno.h>
#include <sys/socket.h>

#include <linux/virtio_vsock.h>

#include "devices/backend/vsock_mux.h"
#include "vmm/util.h"

#define NO_RCV	VIRTIO_VSOCK_SHUTDOWN_RCV
#define NO_SEND VIRTIO_VSOCK_SHUTDOWN_SEND
#define NEITHER (NO_RCV | NO_SEND)

unsigned int vsock_iov_slice(struct iovec *dst, const struct iovec *src, unsigned int n,
			     size_t offset, size_t len)
{
	unsigned int out = 0;

	for (unsigned int i = 0; i < n && len > 0; i++) {
		if (offset >= src[i].iov_len) {
			offset -= src[i].iov_len;
			continue;
		}
		dst[out].iov_base = (uint8_t *)src[i].iov_base + offset;
		dst[out].iov_len = src[i].iov_len - offset;
		if (dst[out].iov_len > len)
			dst[out].iov_len = len;
		len -= dst[out++].iov_len;
		offset = 0;
	}
	return out;
}

/* Bytes that the guest has room for; 0 too if its counts make no sense (§5.10.6.3). */
static uint32_t credit(const struct vsock_conn *conn)
{
	uint32_t in_flight = conn->sent - conn->guest_fwd_cnt;

	return in_flight < conn->guest_buf_alloc ? conn->guest_buf_alloc - in_flight : 0;
}

/* Data, or its end, may be read from the socket and would still interest the guest. */
static bool may_read(const struct vsock_conn *conn)
{
	return conn->state == VSOCK_OPEN && conn->readable && !(conn->host_shut & NO_SEND) &&
	       !(conn->guest_shut & NO_RCV);
}

/* The end of the data needs no credit, but can only be seen when it comes next. */
static bool wants_read(const struct vsock_conn *conn)
{
	return may_read(conn) && (credit(conn) > 0 || (conn->read_closed && !conn->peeked));
}

static bool wants_credit(const struct vsock_conn *conn)
{
	return may_read(conn) && !conn->credit_asked && credit(conn) == 0;
}

static bool owes_credit(const struct vsock_conn *conn)
{
	return conn->state == VSOCK_OPEN && !(conn->guest_shut & NO_SEND) &&
	       conn->fwd_cnt - conn->told_fwd_cnt >= VSOCK_CREDIT_STEP;
}

bool vsock_conn_has_output(const struct vsock_conn *conn)
{
	switch (conn->state) {
	case VSOCK_REQUESTED:
		return conn->say_request;
	case VSOCK_OPEN:
		return conn->say_response || conn->say_credit ||
		       conn->told_shut != conn->host_shut || wants_read(conn) ||
		       wants_credit(conn) || owes_credit(conn);
	case VSOCK_CLOSING:
		return conn->told_shut != conn->host_shut;
	case VSOCK_RESET:
		return true;
	default:
		return false;
	}
}

/*
 * Edge-triggered: readiness is kept in the connection until EAGAIN. So a socket whose data has to
 * wait for the guest, or whose peer hung up, needs no system call to be left alone and can't spin.
 */
static uint32_t interest(const struct vsock_conn *conn)
{
	return EPOLLIN | EPOLLRDHUP | EPOLLET | (conn->buffered ? EPOLLOUT : 0);
}

int vsock_conn_watch(struct vsock_conn *conn, int fd)
{
	conn->fd = fd;
	return loop_add(conn->mux->loop, &conn->source, fd, interest(conn), vsock_mux_socket_event,
			conn, NULL);
}

static void drop_buffer(struct vsock_conn *conn)
{
	conn->fwd_cnt += conn->buffered;
	conn->buffered = 0;
	free(conn->buffer);
	conn->buffer = NULL;
}

void vsock_conn_close_socket(struct vsock_conn *conn)
{
	loop_remove(conn->mux->loop, &conn->source);
	close_fd(&conn->fd);
	drop_buffer(conn);
}

/* Give up: the host sees its socket closed, the guest gets a RST. */
static void reset(struct vsock_conn *conn)
{
	vsock_conn_close_socket(conn);
	conn->state = VSOCK_RESET;
	conn->deadline_ns = 0;
	vsock_count(&conn->mux->counters.reset, 1);
}

/* After a change to what either side won't do any more: pass it on, close when nothing is left. */
static void settle(struct vsock_conn *conn)
{
	if (conn->state != VSOCK_OPEN)
		return;
	if ((conn->guest_shut & NO_SEND) && conn->buffered == 0 && !conn->write_shut) {
		shutdown(conn->fd, SHUT_WR);
		conn->write_shut = true;
	}
	if (((conn->host_shut & NO_SEND) || (conn->guest_shut & NO_RCV)) &&
	    ((conn->host_shut & NO_RCV) || conn->write_shut)) {
		vsock_conn_close_socket(conn);
		conn->host_shut = NEITHER;
		conn->state = VSOCK_CLOSING;
		vsock_mux_set_deadline(conn, VSOCK_CLOSE_TIMEOUT_MS);
	}
}

/* The host takes no more, not even what is buffered. What it has sent still goes to the guest. */
static void stop_writing(struct vsock_conn *conn)
{
	drop_buffer(conn);
	conn->host_shut |= NO_RCV;
	settle(conn);
}

/* Nothing more comes from the host. */
static void stop_reading(struct vsock_conn *conn)
{
	conn->host_shut |= NO_SEND;
	if (conn->hung_up)
		stop_writing(conn);
	else
		settle(conn);
}

static void update_interest(struct vsock_conn *conn)
{
	if (conn->fd < 0 || loop_modify(conn->mux->loop, &conn->source, interest(conn), NULL) == 0)
		return;
	if (conn->state == VSOCK_OPEN)
		reset(conn);
	else
		vsock_conn_close_socket(conn);
}

/* Bytes that the socket took, 0 if it's full, -1 if it takes no more ever. */
static ssize_t send_some(const struct vsock_conn *conn, struct iovec *iov, unsigned int n)
{
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = n };
	ssize_t r;

	do
		r = sendmsg(conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	return r < 0 && errno == EAGAIN ? 0 : r;
}

/* Buffer the bytes of payload from offset on, which are known to fit. false without memory. */
static bool keep(struct vsock_conn *conn, const struct iovec *payload, unsigned int n,
		 size_t offset, uint32_t len)
{
	struct iovec iov[VSOCK_IOV_MAX];

	if (!conn->buffer) {
		conn->buffer = malloc(VSOCK_BUFFER_SIZE);
		conn->head = 0;
	}
	if (!conn->buffer)
		return false;
	n = vsock_iov_slice(iov, payload, n, offset, len - offset);
	for (unsigned int i = 0; i < n; i++) {
		const uint8_t *src = iov[i].iov_base;
		uint32_t left = (uint32_t)iov[i].iov_len;

		while (left > 0) {
			uint32_t tail = (conn->head + conn->buffered) % VSOCK_BUFFER_SIZE;
			uint32_t piece = VSOCK_BUFFER_SIZE - tail;

			if (piece > left)
				piece = left;
			memcpy(conn->buffer + tail, src, piece);
			conn->buffered += piece;
			src += piece;
			left -= piece;
		}
	}
	return true;
}

/* The socket has room: pass on what is buffered. */
static void flush(struct vsock_conn *conn)
{
	while (conn->buffered > 0) {
		uint32_t first = VSOCK_BUFFER_SIZE - conn->head;
		struct iovec iov[2] = {
			{ conn->buffer + conn->head,
			  first < conn->buffered ? first : conn->buffered },
			{ conn->buffer, first < conn->buffered ? conn->buffered - first : 0 },
		};
		ssize_t r = send_some(conn, iov, 2);

		if (r < 0) {
			stop_writing(conn);
			break;
		}
		if (r == 0)
			return;
		conn->head = (conn->head + (uint32_t)r) % VSOCK_BUFFER_SIZE;
		conn->buffered -= (uint32_t)r;
		conn->fwd_cnt += (uint32_t)r;
	}
	drop_buffer(conn);
	settle(conn);
	update_interest(conn);
}

/* Data from the guest. */
static void receive(struct vsock_conn *conn, const struct vsock_packet *packet,
		    const struct iovec *payload, unsigned int n)
{
	ssize_t sent = 0;

	/* More than we ever said there's room for, or after saying that no more would come. */
	if (packet->len > VSOCK_BUFFER_SIZE - conn->buffered || (conn->guest_shut & NO_SEND)) {
		reset(conn);
		return;
	}
	if (packet->len == 0)
		return;
	vsock_count(&conn->mux->counters.tx_bytes, packet->len);
	if (conn->buffered == 0 && !(conn->host_shut & NO_RCV)) {
		struct iovec iov[VSOCK_IOV_MAX];

		sent = send_some(conn, iov, vsock_iov_slice(iov, payload, n, 0, packet->len));
		if (sent < 0)
			stop_writing(conn);
	}
	if (conn->host_shut & NO_RCV) {
		conn->fwd_cnt += packet->len;
		return;
	}
	conn->fwd_cnt += (uint32_t)sent;
	if ((uint32_t)sent == packet->len)
		return;
	if (keep(conn, payload, n, (size_t)sent, packet->len))
		update_interest(conn);
	else
		reset(conn);
}

/* The guest accepted a host client's connection. */
static void accepted(struct vsock_conn *conn)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "OK %u\n", conn->host_port);

	/* Nothing was written here yet: so short a line fits, unless the client has gone. */
	if (send(conn->fd, line, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT) != len) {
		reset(conn);
		return;
	}
	conn->state = VSOCK_OPEN;
	conn->deadline_ns = 0;
	vsock_count(&conn->mux->counters.opened, 1);
}

static void shut_by_guest(struct vsock_conn *conn, uint32_t flags)
{
	conn->guest_shut |= flags & NEITHER;
	if (conn->guest_shut == NEITHER) {
		/* §5.10.6.5: answered by RST. The host's part may take longer. */
		conn->state = VSOCK_RESET;
		conn->deadline_ns = 0;
		if (conn->buffered == 0)
			vsock_conn_close_socket(conn);
		return;
	}
	if (conn->state == VSOCK_OPEN && (conn->guest_shut & NO_RCV))
		shutdown(conn->fd, SHUT_RD);
	if (conn->state == VSOCK_OPEN && (conn->guest_shut & NO_RCV) && conn->hung_up)
		stop_writing(conn);
	else
		settle(conn);
}

/* The guest forgot the connection: so do we, but for bytes that it had sent before it closed. */
static void reset_by_guest(struct vsock_conn *conn)
{
	if (conn->state == VSOCK_REQUESTED)
		vsock_count(&conn->mux->counters.refused, 1);
	else if (conn->state == VSOCK_OPEN)
		vsock_count(&conn->mux->counters.reset, 1);
	if (conn->state == VSOCK_RESET && conn->buffered > 0) {
		vsock_mux_leave(conn);
		conn->state = VSOCK_DRAINING;
	} else {
		vsock_mux_kill(conn);
	}
}

static void dispatch(struct vsock_conn *conn, const struct vsock_packet *packet,
		     const struct iovec *payload, unsigned int n)
{
	bool open = conn->state == VSOCK_OPEN, closing = conn->state == VSOCK_CLOSING;

	switch (packet->op) {
	case VIRTIO_VSOCK_OP_RST:
		reset_by_guest(conn);
		return;
	case VIRTIO_VSOCK_OP_RESPONSE:
		if (conn->state == VSOCK_REQUESTED && !conn->say_request) {
			accepted(conn);
			return;
		}
		break;
	case VIRTIO_VSOCK_OP_RW:
		if (open)
			receive(conn, packet, payload, n);
		if (open || closing)
			return;
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		if (open || closing) {
			shut_by_guest(conn, packet->flags);
			return;
		}
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		conn->say_credit = true;
		return;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		return;
	}
	/* Not what may come now, or at all. If a RST is already on its way, that's the answer. */
	if (conn->state != VSOCK_RESET)
		reset(conn);
}

void vsock_conn_from_guest(struct vsock_conn *conn, const struct vsock_packet *packet,
			   const struct iovec *payload, unsigned int n)
{
	conn->guest_buf_alloc = packet->buf_alloc;
	conn->guest_fwd_cnt = packet->fwd_cnt;
	if (credit(conn) > 0)
		conn->credit_asked = false;
	dispatch(conn, packet, payload, n);
	vsock_mux_schedule(conn);
}

/* Read from the socket into payload. false if that gave nothing: conn says what is known now. */
static bool read_data(struct vsock_conn *conn, struct vsock_packet *packet,
		      const struct iovec *payload, unsigned int n)
{
	struct iovec iov[VSOCK_IOV_MAX];
	uint32_t max = credit(conn);
	uint8_t next;
	ssize_t r;

	n = vsock_iov_slice(iov, payload, n, 0, max < VSOCK_PACKET_MAX ? max : VSOCK_PACKET_MAX);
	do
		r = max > 0 ? readv(conn->fd, iov, (int)n)
			    : recv(conn->fd, &next, sizeof(next), MSG_PEEK | MSG_DONTWAIT);
	while (r < 0 && errno == EINTR);
	conn->peeked = r > 0 && max == 0;
	if (r > 0 && max > 0) {
		conn->sent += (uint32_t)r;
		packet->op = VIRTIO_VSOCK_OP_RW;
		packet->len = (uint32_t)r;
		return true;
	}
	if (r < 0 && errno == EAGAIN) {
		conn->readable = false;
	} else if (r <= 0) {
		/* ECONNRESET: the host closed its end with some of the guest's bytes unread. */
		conn->hung_up |= r < 0;
		stop_reading(conn);
	}
	return false;
}

/* What has to be said about the connection itself. */
static bool say_control(struct vsock_conn *conn, struct vsock_packet *packet)
{
	if (conn->state == VSOCK_RESET) {
		packet->op = VIRTIO_VSOCK_OP_RST;
	} else if (conn->say_request) {
		packet->op = VIRTIO_VSOCK_OP_REQUEST;
		conn->say_request = false;
	} else if (conn->say_response) {
		packet->op = VIRTIO_VSOCK_OP_RESPONSE;
		conn->say_response = false;
	} else if (conn->told_shut != conn->host_shut) {
		packet->op = VIRTIO_VSOCK_OP_SHUTDOWN;
		packet->flags = conn->told_shut = conn->host_shut;
	} else {
		return false;
	}
	return true;
}

/* Last of all: every other packet carries our credit too. */
static bool say_credit(struct vsock_conn *conn, struct vsock_packet *packet)
{
	if (wants_credit(conn)) {
		packet->op = VIRTIO_VSOCK_OP_CREDIT_REQUEST;
		conn->credit_asked = true;
		return true;
	}
	packet->op = VIRTIO_VSOCK_OP_CREDIT_UPDATE;
	return conn->say_credit || owes_credit(conn);
}

bool vsock_conn_to_guest(struct vsock_conn *conn, struct vsock_packet *packet,
			 const struct iovec *payload, unsigned int n)
{
	*packet = (struct vsock_packet){
		.host_port = conn->host_port,
		.guest_port = conn->guest_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.buf_alloc = VSOCK_BUFFER_SIZE,
	};
	if (!say_control(conn, packet) &&
	    !(wants_read(conn) && read_data(conn, packet, payload, n)) &&
	    !say_control(conn, packet) && !say_credit(conn, packet))
		return false;
	packet->fwd_cnt = conn->told_fwd_cnt = conn->fwd_cnt;
	conn->say_credit = false;
	if (packet->op == VIRTIO_VSOCK_OP_RST) {
		vsock_mux_leave(conn);
		conn->state = VSOCK_DRAINING;
		if (conn->buffered == 0)
			vsock_mux_kill(conn);
	}
	return true;
}

static void end_draining(struct vsock_conn *conn)
{
	vsock_conn_close_socket(conn);
	if (conn->state == VSOCK_DRAINING)
		vsock_mux_kill(conn);
}

void vsock_conn_socket_event(struct vsock_conn *conn, uint32_t events)
{
	if (events & EPOLLRDHUP)
		conn->read_closed = true;
	if (events & (EPOLLHUP | EPOLLERR))
		conn->read_closed = conn->hung_up = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		conn->readable = !(conn->host_shut & NO_SEND);
	/* After a hang-up the write fails, and so drops what is buffered. */
	if (conn->buffered > 0 && (events & (EPOLLOUT | EPOLLHUP)))
		flush(conn);
	switch (conn->state) {
	case VSOCK_REQUESTED:
		if (!conn->hung_up)
			break;
		if (conn->say_request)
			vsock_mux_kill(conn);
		else
			reset(conn);
		break;
	case VSOCK_OPEN:
		/* If there's something left to read, its end will tell. */
		if (conn->hung_up && ((conn->host_shut & NO_SEND) || (conn->guest_shut & NO_RCV)))
			stop_writing(conn);
		break;
	case VSOCK_RESET:
	case VSOCK_DRAINING:
		if (conn->buffered == 0)
			end_draining(conn);
		break;
	default:
		break;
	}
	vsock_mux_schedule(conn);
}

void vsock_conn_expire(struct vsock_conn *conn)
{
	bool told = conn->state == VSOCK_CLOSING ||
		    (conn->state == VSOCK_REQUESTED && !conn->say_request);

	if (conn->state != VSOCK_CLOSING)
		vsock_count(&conn->mux->counters.refused, 1);
	if (told)
		reset(conn);
	else
		vsock_mux_kill(conn);
	vsock_mux_schedule(conn);
}
