/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver of a virtio network device, the real tap behind it, and whoever is at the other end of
 * that: a packet socket. For unit tests; everything asserts that it works.
 */
#ifndef MOTE_TESTS_NET_DRIVER_H
#define MOTE_TESTS_NET_DRIVER_H

#include <sys/types.h>

#include <linux/virtio_net.h>

#include "devices/virtio/net.h"
#include "virtio_driver.h"

#define NET_TAP "mote-test"

#define NET_F(name)	   (1ull << VIRTIO_NET_F_##name)
#define NET_GUEST_OFFLOADS (NET_F(GUEST_CSUM) | NET_F(GUEST_TSO4) | NET_F(GUEST_TSO6))
#define NET_HOST_OFFLOADS  (NET_F(CSUM) | NET_F(HOST_TSO4) | NET_F(HOST_TSO6))

#define NET_HDR	      12    /* virtio-net header between device and driver */
#define NET_FRAME_TOP 65550 /* the largest frame */

struct net_driver {
	struct virtio_driver drv;
	struct virtio_device *dev;
	int peer;
	struct driver_buf rx[VIRTQUEUE_SIZE_MAX]; /* by head */
};

/* What the device's system calls do besides, or instead of, working. All zero: nothing. */
struct net_hooks {
	int writev_errno, readv_errno;		/* what the next calls fail with ... */
	unsigned int writev_fails, readv_fails; /* ... as many of them */
	void (*before_writev)(const struct iovec *iov, int n);
	void (*after_readv)(const struct iovec *iov, int n);
	/* Just before the device asks for kicks, and after each write to guest memory. */
	void (*before_enable_kicks)(struct virtqueue *queue);
	void (*after_write)(void);
	unsigned int readv_calls, writev_calls;
	unsigned int offload, offload_calls; /* TUNSETOFFLOAD */
};
extern struct net_hooks net_hooks;
extern const uint8_t net_guest_mac[6];

/* The fixture: for a group, a network namespace; for a test, net_setup(&net, NULL). */
extern struct net_driver net;
extern const char *net_skip; /* why all tests are skipped, or NULL */
int net_enter(void **state);
int net_test_setup(void **state);
int net_test_teardown(void **state);
#define NET_TEST(name) cmocka_unit_test_setup_teardown(name, net_test_setup, net_test_teardown)

/* How a test begins: a driver that has acked features, and a device that has looked at its queues. */
#define NET_START(features)                                                                        \
	do {                                                                                       \
		(void)state;                                                                       \
		if (net_skip)                                                                      \
			skip();                                                                    \
		NET_RESTART(features);                                                             \
	} while (0)
#define NET_RESTART(features)                                                                      \
	do {                                                                                       \
		assert_int_equal(driver_start(&net.drv, features), 0xf);                           \
		driver_run(&net.drv);                                                              \
	} while (0)

/* A tap, which is up; memory and loop; a device with net_guest_mac if options is NULL. */
void net_setup(struct net_driver *nd, const struct virtio_net_options *options);
/* A new device on the same tap and memory, in place of net_release's. */
void net_attach(struct net_driver *nd, const struct virtio_net_options *options);
void net_release(struct net_driver *nd);
void net_teardown(struct net_driver *nd);
struct virtio_net_stats net_stats(const struct net_driver *nd);

/* Make n receive buffers of len bytes available, or those of n used heads again. No kick. */
void net_post(struct net_driver *nd, unsigned int n, uint32_t len);
void net_repost(struct net_driver *nd, const uint16_t *heads, unsigned int n);
/*
 * Take one frame out of as many used buffers as its header says, all of which must be there.
 * Returns its length without header, or -1 if there's none. heads: of its buffers; may be NULL.
 */
ssize_t net_take(struct net_driver *nd, struct virtio_net_hdr_v1 *hdr, void *frame,
		 uint16_t *heads);
/* Take the frame that net_frame(len, seed) makes, in n buffers. */
void net_expect(struct net_driver *nd, size_t len, unsigned int seed, unsigned int n);

/* Make hdr (NULL: zeroes) and frame available in one buffer; kick if wanted. Returns the head. */
uint16_t net_send(struct net_driver *nd, const struct virtio_net_hdr_v1 *hdr, const void *frame,
		  size_t len);
/* All transmit buffers that came back: how many. Each must say that nothing was written. */
unsigned int net_sent(struct net_driver *nd);

/* The other end. hdr: without num_buffers; NULL = zeroes, or don't care. -1 = nothing there. */
void peer_send(struct net_driver *nd, const struct virtio_net_hdr *hdr, const void *frame,
	       size_t len);
ssize_t peer_receive(struct net_driver *nd, struct virtio_net_hdr *hdr, void *frame);
void peer_expect(struct net_driver *nd, size_t len, unsigned int seed);

/* A frame (EtherType 0x88b5) of len >= 14 bytes whose content depends on seed; static buffer. */
const uint8_t *net_frame(size_t len, unsigned int seed);
/*
 * A TCP segment over IPv4 of len bytes in all, its checksum left to do (static buffer), and the
 * header that says how it's to be cut into segments of mss bytes.
 */
const uint8_t *net_tcp_frame(size_t len, uint16_t mss, struct virtio_net_hdr *hdr);
/* Internet checksum of data, on top of sum. */
uint16_t net_checksum(const void *data, size_t len, uint32_t sum);

#endif
