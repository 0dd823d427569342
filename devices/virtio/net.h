/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network device (virtio 1.2 §5.1) over a tap: one receive and one transmit queue, no control
 * queue. Frames go straight between guest memory and the tap, one system call each.
 *
 * Offered: CSUM, GUEST_CSUM, TSO for IPv4 and IPv6 both ways, MRG_RXBUF, and MAC and MTU if given.
 * Not offered: UFO, which kernels since 4.14 don't make any more; ECN, which only matters to
 * segments that report congestion; STATUS, as the link is always up.
 *
 * Frames for the metadata service, if it is behind this interface, don't reach the tap.
 */
#ifndef MOTE_DEVICES_VIRTIO_NET_H
#define MOTE_DEVICES_VIRTIO_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/backend/rate_limiter.h"
#include "devices/virtio/device.h"

struct mmds;

#define VIRTIO_NET_RX 0 /* queue: device to driver */
#define VIRTIO_NET_TX 1

#define VIRTIO_NET_QUEUE_SIZE 256

struct virtio_net_options {
	const char *id;	      /* name in the configuration: "eth0" */
	const char *tap_name; /* an existing tap with a single queue, 1..15 characters */
	bool has_mac;	      /* without one the driver makes its own */
	uint8_t mac[6];
	uint16_t mtu; /* what the driver should use, 68..65535; 0 = it isn't told */
	struct mmds *mmds; /* the metadata service to be reached here, borrowed; NULL = none */
	uint32_t mmds_ip;  /* its address */
	struct rate_limits rx_limits, tx_limits;
};

/*
 * Attach to the tap and make the device. Its loop may only be run by the thread that destroys it.
 * Errors: those of tap_open(), rate_limiter_set(), epoll_ctl(2) and eventfd(2); -EINVAL for a bad MTU;
 * -ENOMEM.
 */
int virtio_net_create(const struct virtio_net_options *options, struct guest_memory *memory,
		      struct loop *loop, struct virtio_device **out, struct error *err);

/*
 * Change what is given of the limits. Each frame is an operation of as many bytes as it has without
 * virtio-net header. What exceeds tx_limits waits in the driver's queue, what exceeds rx_limits in
 * the tap's. How long a received frame is shows when it has been read: the one that empties the
 * bucket may take more than it holds, and the next one waits for that.
 * Errors: those of rate_limiter_set(); rx_limits may be in force then. On the event loop's thread.
 */
int virtio_net_set_limits(struct virtio_device *dev, const struct rate_limits *rx_limits,
			  const struct rate_limits *tx_limits, struct error *err);
/* On the event loop's thread. */
void virtio_net_limiter_counters(const struct virtio_device *dev, struct rate_limiter_counters *rx,
				 struct rate_limiter_counters *tx);

/*
 * Since creation, seen from the guest: rx is what it receives. Bytes are those of frames, without
 * virtio-net headers. errs: frames or buffers that break the rules. drop: frames that found no
 * room, or a tap that's down or gone.
 */
struct virtio_net_stats {
	uint64_t rx_bytes, rx_packets, rx_errs, rx_drop;
	uint64_t tx_bytes, tx_packets, tx_errs, tx_drop;
};

/* From any thread. Each number is exact; they may be from slightly different moments. */
void virtio_net_get_stats(const struct virtio_device *dev, struct virtio_net_stats *stats);

/* Saved state: what the guest has seen in configuration space, and what of its limits is used up. */
struct virtio_net_state {
	uint8_t mac[6];
	uint8_t has_mac; /* 0 or 1 */
	uint8_t reserved[5];
	uint16_t mtu; /* 0 = not offered */
	uint8_t reserved2[2];
	struct rate_limiter_state rx_limiter, tx_limiter;
};

#endif
