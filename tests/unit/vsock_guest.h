/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vsock driver for tests, on top of virtio_driver: it sends any packet it's told to, sees every
 * packet the device sends, and has the host's programs (clients and listeners) at hand. The device
 * works in each call that ends with a run of the event loop, which asserts that the loop calms
 * down: a busy device fails every test.
 */
#ifndef MOTE_TESTS_VSOCK_GUEST_H
#define MOTE_TESTS_VSOCK_GUEST_H

#include <linux/virtio_vsock.h>

#include "devices/virtio/vsock.h"
#include "virtio_driver.h"

#define GUEST_CID  52
#define GUEST_ROOM 262144u /* buf_alloc that guest_send announces, Linux's default */

enum { RX, TX, EVENT };

struct guest {
	struct virtio_driver drv;
	struct virtio_device *device;
	char dir[32];			     /* of the host's sockets, empty otherwise */
	char path[108];			     /* uds_path */
	uint64_t rx_gpa[VIRTQUEUE_SIZE_MAX]; /* by head */
	uint32_t rx_len[VIRTQUEUE_SIZE_MAX];
	unsigned int rx_split; /* > 0: a buffer's first descriptor has this length */
	uint64_t tx_gpa;       /* header and payload of the packet that's sent */
	uint32_t fwd_cnt;      /* what guest_send announces, as buf_alloc is GUEST_ROOM */
	bool hold_rx;	       /* keep buffers after taking what is in them */
	unsigned int n_held;
	struct driver_buf held[VIRTQUEUE_SIZE_MAX];
};

/* A packet of the device. */
struct packet {
	struct virtio_vsock_hdr hdr;
	uint32_t len; /* of the payload as the used ring says */
	uint8_t data[65536];
};

/* One vsock connection as the guest knows it. */
struct ports {
	uint32_t host, guest;
};

/*
 * Device in a new temporary directory, driver up with these features, n_rx buffers of 4096 bytes
 * posted (header included; at most 256).
 */
void guest_setup(struct guest *g, uint64_t features, unsigned int n_rx);
/* Without the handshake; name = of the socket in its directory. */
void guest_create(struct guest *g, const char *name);
/* The same with sockets for these ports of the host; name NULL = no uds_path. */
void guest_create_with_ports(struct guest *g, const char *name,
			     const struct vsock_guest_port *ports, unsigned int n_ports);
void guest_start(struct guest *g, uint64_t features, unsigned int n_rx);
/* Asserts that nothing but what the test made is left in the directory, and removes it. */
void guest_teardown(struct guest *g);

void guest_post_rx(struct guest *g, unsigned int n, uint32_t len);
/* Post what hold_rx kept, and stop keeping. */
void guest_give_back(struct guest *g);
void guest_run(struct guest *g);

/* A header with ports, op, credit and a length; everything else as a good driver sets it. */
struct virtio_vsock_hdr guest_header(const struct guest *g, struct ports ports, uint16_t op,
				     uint32_t len);
/* Queue a packet without a kick; its memory is used until the device has it. */
void guest_queue(struct guest *g, const struct virtio_vsock_hdr *hdr, const void *payload,
		 uint32_t len);
/* Queue, kick, run; asserts that the device gave the buffers back. */
void guest_send_raw(struct guest *g, const struct virtio_vsock_hdr *hdr, const void *payload,
		    uint32_t len);
void guest_send(struct guest *g, struct ports ports, uint16_t op);
void guest_shutdown(struct guest *g, struct ports ports, uint32_t flags);
void guest_write(struct guest *g, struct ports ports, const void *data, uint32_t len);

/* Take the next packet, give its buffer back, run; false if there's none. Asserts sane headers. */
bool guest_take(struct guest *g, struct packet *packet);
/* Asserts that the next packet is for these ports, with this op; flags are 0 but for SHUTDOWN. */
void guest_expect(struct guest *g, struct ports ports, uint16_t op);
void guest_expect_shutdown(struct guest *g, struct ports ports, uint32_t flags);
void guest_expect_data(struct guest *g, struct ports ports, const void *data, uint32_t len);
void guest_expect_nothing(struct guest *g);

struct virtio_vsock_counters guest_counters(const struct guest *g);

/* The host's programs. All sockets are non-blocking. */
int host_connect(const struct guest *g);
/* Connect, send line, run. */
int host_client(struct guest *g, const char *line);
/* A listener for connections of the guest to port. */
int host_listen(const struct guest *g, uint32_t port);
void host_unlisten(const struct guest *g, uint32_t port, int fd);
void host_write(struct guest *g, int fd, const void *data, size_t len);
/* Assert what the socket has to read: exactly these bytes, its end, an end or a reset, nothing. */
void host_expect(int fd, const void *data, size_t len);
void host_expect_end(int fd);
void host_expect_closed(int fd);
void host_expect_nothing(int fd);

/* A connection, established. Host-initiated ones are to guest port 1234. */
int connect_to_guest(struct guest *g, struct ports *ports);
int connect_to_host(struct guest *g, struct ports ports);
/* Both sides close it; asserts that nothing is left of it. */
void disconnect(struct guest *g, int fd, struct ports ports);

#endif
