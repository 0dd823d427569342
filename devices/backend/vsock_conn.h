/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vsock connection: a Unix socket on the host, a pair of ports towards the guest (virtio 1.2
 * §5.10.6). Bytes from the host go straight from the socket into guest buffers; bytes from the
 * guest go straight to the socket, and what it doesn't take at once into a buffer that exists only
 * while it holds something. The guest may send what fits there and no more, so neither side can
 * make it grow.
 *
 * Not thread-safe: the device's lock protects it, and but for vsock_mux_stop everything happens on
 * the event loop's thread.
 */
#ifndef MOTE_DEVICES_BACKEND_VSOCK_CONN_H
#define MOTE_DEVICES_BACKEND_VSOCK_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "vmm/loop.h"

#define VSOCK_BUFFER_SIZE 65536u /* bytes for the host that a connection holds: our buf_alloc */
#define VSOCK_PACKET_MAX  65536u /* bytes of payload in one packet to the guest */
/* The guest is told of this many bytes of new space, unless another packet tells it before. */
#define VSOCK_CREDIT_STEP (VSOCK_BUFFER_SIZE / 4)

#define VSOCK_IOV_MAX 256

#define VSOCK_REQUEST_TIMEOUT_MS 10000 /* for the guest's answer to REQUEST */
#define VSOCK_CLOSE_TIMEOUT_MS	 2000  /* for the guest's RST after SHUTDOWN of both directions */

struct vsock_mux;

/* A packet header in host order, without the CIDs, which the device checks and fills. */
struct vsock_packet {
	uint32_t host_port;
	uint32_t guest_port;
	uint32_t len;
	uint16_t type;
	uint16_t op;
	uint32_t flags;
	uint32_t buf_alloc;
	uint32_t fwd_cnt;
};

enum vsock_conn_state {
	VSOCK_GREETING,	 /* a host client whose CONNECT line isn't complete; no ports yet */
	VSOCK_REQUESTED, /* a host client that waits for the guest's answer */
	VSOCK_OPEN,
	VSOCK_CLOSING,	/* the host's end is closed; the guest has to answer SHUTDOWN with RST */
	VSOCK_RESET,	/* RST is to be sent; the socket lives on while it has bytes to flush */
	VSOCK_DRAINING, /* the guest is gone, the host still gets what it had sent */
	VSOCK_DEAD,	/* for vsock_mux_reap */
};

struct vsock_conn {
	struct vsock_mux *mux;
	TAILQ_ENTRY(vsock_conn) list;  /* among the mux's live or dead ones */
	TAILQ_ENTRY(vsock_conn) ready; /* if queued */
	struct loop_source source;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0 = none */
	int fd;		      /* -1 when closed */
	enum vsock_conn_state state;
	uint32_t host_port, guest_port;

	bool queued : 1; /* on the mux's ready list */
	bool in_table : 1;
	bool say_request : 1; /* packets to send */
	bool say_response : 1;
	bool say_credit : 1;
	bool readable : 1; /* the socket may have data or its end: no EAGAIN since the last event */
	bool read_closed : 1;  /* the host won't write any more (data may still be unread) */
	bool hung_up : 1;      /* nor will it read */
	bool peeked : 1;       /* without credit: known that the next thing to read is data */
	bool credit_asked : 1; /* CREDIT_REQUEST sent since the guest last had space */
	bool write_shut : 1;   /* shutdown(SHUT_WR) done */

	/* VIRTIO_VSOCK_SHUTDOWN_* flags, once set for ever. */
	uint8_t guest_shut; /* what the guest won't do any more */
	uint8_t host_shut;  /* what the host won't do any more */
	uint8_t told_shut;  /* the part of host_shut that the guest was told */

	/* Free-running counts of bytes (§5.10.6.3). */
	uint32_t guest_buf_alloc;
	uint32_t guest_fwd_cnt;
	uint32_t sent;	  /* to the guest */
	uint32_t fwd_cnt; /* from the guest, taken by the host */
	uint32_t told_fwd_cnt;

	uint8_t *buffer; /* ring of VSOCK_BUFFER_SIZE bytes, or NULL */
	uint32_t head, buffered;
};

/* Start watching fd, which the connection owns from here on, also when it fails. */
int vsock_conn_watch(struct vsock_conn *conn, int fd);

/* A packet of the guest for this connection; payload holds packet->len bytes. */
void vsock_conn_from_guest(struct vsock_conn *conn, const struct vsock_packet *packet,
			   const struct iovec *payload, unsigned int n);

/* Whether vsock_conn_to_guest may have a packet. */
bool vsock_conn_has_output(const struct vsock_conn *conn);

/*
 * Make the next packet for the guest, its payload (if any) written to the n elements of payload,
 * at most VSOCK_IOV_MAX and room for a byte at least.
 * Returns false if there is none after all. The connection may be dead afterwards.
 */
bool vsock_conn_to_guest(struct vsock_conn *conn, struct vsock_packet *packet,
			 const struct iovec *payload, unsigned int n);

/* What epoll says of the socket; not for VSOCK_GREETING. */
void vsock_conn_socket_event(struct vsock_conn *conn, uint32_t events);

/* Its deadline has passed. */
void vsock_conn_expire(struct vsock_conn *conn);

/* Close the socket and drop what is buffered. */
void vsock_conn_close_socket(struct vsock_conn *conn);

/* dst = the bytes [offset, offset + len) of src, as far as it goes. Returns the elements of dst. */
unsigned int vsock_iov_slice(struct iovec *dst, const struct iovec *src, unsigned int n,
			     size_t offset, size_t len);

#endif
