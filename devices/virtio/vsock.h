/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock (virtio 1.2 §5.10): stream sockets between guest and host. The host's end of each
 * connection is a Unix socket, as in Firecracker's docs/vsock.md:
 *
 * - Host to guest: a client connects to uds_path and sends "CONNECT <port>\n". When the guest's
 *   listener accepts, the client reads "OK <host port>\n" and then the guest's bytes; when not, the
 *   socket is closed.
 * - Guest to host: a guest that connects to CID 2, port P reaches the listener at "<uds_path>_<P>".
 *   Without one, or with its backlog full, the guest's connection is reset.
 * - Guest to host, mote's own: the first connection to a port of guest_ports is the socket that was
 *   handed over for it. Nothing in the file system has a part in that.
 *
 * Closing one direction on either side (shutdown(2)) closes that direction alone on the other.
 */
#ifndef MOTE_DEVICES_VIRTIO_VSOCK_H
#define MOTE_DEVICES_VIRTIO_VSOCK_H

#include <stdint.h>

#include "devices/backend/vsock_mux.h"
#include "devices/virtio/device.h"

struct virtio_vsock_options {
	const char *id;	      /* for messages; NULL = "vsock" */
	uint32_t guest_cid;   /* 3 to 2^32 - 2 (§5.10.4) */
	const char *uds_path; /* at most 96 bytes; relative to the working directory; NULL = none */
	/* Inherited connected stream sockets, each taken for one connection; at most 8. */
	const struct vsock_guest_port *guest_ports;
	unsigned int n_guest_ports;
};

/*
 * Create the device and its listening socket: mode 0600, removed again at destroy (nothing else is,
 * should another file have taken its place). Clients wait in its backlog until the driver is up.
 * Errors: -EINVAL for a CID out of range or a guest port that isn't such a socket, -EBADF for one
 * that wasn't inherited, -ENAMETOOLONG, -EADDRINUSE when uds_path exists, else those of socket(2),
 * bind(2), timerfd_create(2), epoll_ctl(2).
 */
int virtio_vsock_create(const struct virtio_vsock_options *options, struct guest_memory *memory,
			struct loop *loop, struct virtio_device **out, struct error *err);

/* Since creation. rx is towards the guest, tx from it; bytes are payload. */
struct virtio_vsock_counters {
	uint64_t rx_packets, rx_bytes;
	uint64_t tx_packets, tx_bytes;
	uint64_t tx_dropped;	      /* packets malformed or of a wrong address */
	uint64_t connections_opened;  /* by either side, accepted by the other */
	uint64_t connections_refused; /* no listener, a limit, a bad CONNECT line, a time-out */
	uint64_t connections_reset;   /* for a violation, an error or a time-out, or by the guest */
	uint64_t connections;	      /* at this moment, half-open ones included */
};

/* dev comes from virtio_vsock_create. From any thread. */
void virtio_vsock_counters(const struct virtio_device *dev, struct virtio_vsock_counters *counters);

/* What is saved. Connections aren't: after restore the driver is told to drop them (§5.10.6.7). */
struct virtio_vsock_state {
	uint64_t guest_cid;
};

#endif
