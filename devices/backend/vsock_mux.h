/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of a vsock device: all its connections, found by their ports, those with
 * something to say in turn, the listening socket for host clients, and deadlines.
 *
 * Threads: everything under *lock, on the event loop's thread; vsock_mux_start and vsock_mux_stop
 * on any thread. Connections are freed by vsock_mux_reap alone, so that an event which the loop has
 * already fetched never finds its connection gone.
 */
#ifndef MOTE_DEVICES_BACKEND_VSOCK_MUX_H
#define MOTE_DEVICES_BACKEND_VSOCK_MUX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/un.h>

#include "devices/backend/vsock_conn.h"
#include "vmm/error.h"
#include "vmm/loop.h"

#define VSOCK_CONNECTIONS_MAX 1023
#define VSOCK_GREETINGS_MAX   64 /* host clients without a complete CONNECT line */
#define VSOCK_RESETS_MAX      64 /* RSTs waiting that belong to no connection */
#define VSOCK_GREETING_MAX    32 /* bytes of a CONNECT line, its newline included */
#define VSOCK_GUEST_PORTS_MAX 8
#define VSOCK_HOST_PORT_FIRST (UINT32_C(1) << 30) /* of host clients: 2^30 to 2^31 - 1 */

/* Long enough for a person who types the line. */
#define VSOCK_GREETING_TIMEOUT_MS 30000
#define VSOCK_ACCEPT_RETRY_MS	  100 /* after running out of file descriptors or memory */

/* Room in sun_path for "_4294967295" and the terminating NUL. */
#define VSOCK_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 12)

TAILQ_HEAD(vsock_conn_list, vsock_conn);

struct vsock_counters {
	_Atomic uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, tx_dropped;
	_Atomic uint64_t opened, refused, reset, connections;
};

static inline void vsock_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* A port of the host's, and the socket that stands for it: of one connection. */
struct vsock_guest_port {
	uint32_t port;
	int fd;
};

struct vsock_reset {
	uint32_t host_port, guest_port;
	uint16_t type;
};

struct vsock_mux {
	struct loop *loop;     /* borrowed */
	pthread_mutex_t *lock; /* borrowed: the device's */
	/* The mux's own events may have made output for the guest. Called with the lock held. */
	void (*output)(void *owner);
	void *owner;
	bool active; /* between start and stop */

	struct vsock_guest_port guest_ports[VSOCK_GUEST_PORTS_MAX]; /* fd -1: used */
	unsigned int n_guest_ports;

	char path[VSOCK_PATH_MAX + 1]; /* "" = none, and no listening socket */
	dev_t path_dev; /* of the socket file that we made */
	ino_t path_ino;
	int listen_fd;
	struct loop_source listener;
	uint64_t accept_retry_ns; /* 0 unless accepting pauses for want of resources */
	bool accept_logged;

	int timer_fd;
	struct loop_source timer;
	uint64_t timer_ns; /* when it fires; 0 = not set */

	struct vsock_conn_list live, dead, ready;
	unsigned int n_live, n_greetings;
	struct vsock_conn **table; /* those with ports, ascending (host port, guest port) */
	unsigned int n_table, table_size;
	uint32_t next_host_port;

	struct vsock_reset resets[VSOCK_RESETS_MAX]; /* ring */
	unsigned int first_reset, n_resets;

	struct vsock_counters counters;
};

/* Bind and listen, unless path is NULL. Errors: see virtio_vsock_create. */
int vsock_mux_init(struct vsock_mux *mux, const char *path, struct loop *loop,
		   pthread_mutex_t *lock, void (*output)(void *owner), void *owner,
		   struct error *err);
/* On the loop's thread, or when the loop has ended. Harmless after a failed init. */
void vsock_mux_release(struct vsock_mux *mux);

void vsock_mux_start(struct vsock_mux *mux);
/* Drop all connections. Their sockets are closed by the loop's thread, soon. */
void vsock_mux_stop(struct vsock_mux *mux);

/* Whether a packet of the guest can be taken now: not while too many RSTs wait for buffers. */
bool vsock_mux_can_take(const struct vsock_mux *mux);
/* A packet of the guest, addressed to the host; payload holds packet->len bytes. */
void vsock_mux_from_guest(struct vsock_mux *mux, const struct vsock_packet *packet,
			  const struct iovec *payload, unsigned int n);
/* As from_guest for a packet that can't be what it says: its connection, if any, is reset. */
void vsock_mux_reject(struct vsock_mux *mux, const struct vsock_packet *packet);

/* Whether vsock_mux_to_guest may have a packet. */
bool vsock_mux_has_output(const struct vsock_mux *mux);
/* The next packet for the guest, connections in turn; else as vsock_conn_to_guest. */
bool vsock_mux_to_guest(struct vsock_mux *mux, struct vsock_packet *packet,
			const struct iovec *payload, unsigned int n);

/* Free what has died. Connections that a caller holds may be gone afterwards. */
void vsock_mux_reap(struct vsock_mux *mux);

/* For vsock_conn.c and vsock_listener.c. */
void vsock_mux_socket_event(struct loop_source *source, uint32_t events);
struct vsock_conn *vsock_mux_new(struct vsock_mux *mux, enum vsock_conn_state state);
void vsock_mux_kill(struct vsock_conn *conn);
/* Put conn where packets for its ports find it. false if the ports are taken or memory is short. */
bool vsock_mux_enter(struct vsock_conn *conn);
void vsock_mux_leave(struct vsock_conn *conn);
/* Give a host client a free port for its connection to guest_port, and enter it. */
bool vsock_mux_enter_client(struct vsock_conn *conn, uint32_t guest_port);
/* Queue conn if it has something to say. */
void vsock_mux_schedule(struct vsock_conn *conn);
void vsock_mux_set_deadline(struct vsock_conn *conn, uint32_t ms);
void vsock_mux_set_timer(struct vsock_mux *mux, uint64_t at_ns);

/*
 * vsock_ports.c. Take: the inherited sockets of n ports, not of more than one call; errors begin with
 * `guest_ports[INDEX]`. Claim: the socket for a connection to port, which owns it then; -1 = none.
 */
int vsock_ports_take(struct vsock_mux *mux, const struct vsock_guest_port *ports, unsigned int n,
		     struct error *err);
int vsock_ports_claim(struct vsock_mux *mux, uint32_t port);
void vsock_ports_close(struct vsock_mux *mux);

/* vsock_listener.c */
int vsock_listener_open(struct vsock_mux *mux, const char *path, struct error *err);
void vsock_listener_close(struct vsock_mux *mux);
/* Watch the listening socket if the mux is active and has room, else leave it alone. */
void vsock_listener_update(struct vsock_mux *mux);
/* Read the CONNECT line of a client in VSOCK_GREETING; ended: all that will ever come is there. */
void vsock_greeting_read(struct vsock_conn *conn, bool ended);

#endif
