/* SPDX-License-Identifier: Apache-2.0 */
/* What net.c, net_rx.c and net_tx.c share. dev.lock protects all of it but the counters. */
#ifndef MOTE_DEVICES_VIRTIO_NET_PRIVATE_H
#define MOTE_DEVICES_VIRTIO_NET_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_net.h>

#include "devices/backend/tap.h"
#include "devices/virtio/net.h"
#include "vmm/util.h"

#define NET_HEADER_SIZE sizeof(struct virtio_net_hdr_v1)
/* Header and the largest frame: 64 KiB of TCP segments behind an Ethernet header (§5.1.6.3.1). */
#define NET_FRAME_MAX (NET_HEADER_SIZE + 65550)

/*
 * One turn of a queue ends after so many chains or bytes, so that neither a flood nor a busy guest
 * keeps the event loop from its other sources. The driver is told every few chains, so that it
 * works at the same time.
 */
#define NET_TURN_CHAINS 128
#define NET_TURN_BYTES	(1u << 20)
#define NET_TELL_CHAINS 16

#define NET_RX_IOV_MAX 1024 /* what readv(2) takes (UIO_MAXIOV) */

/*
 * The receive side reads each frame straight into the driver's buffers. A merged one may need many
 * of them and how many isn't known before, so a window of popped chains is held, enough for the
 * largest frame; a frame uses up the first of them. Behind the window lies a spill buffer: what
 * ends there didn't fit.
 */
struct net_rx {
	bool stalled;	 /* waits for buffers; the tap isn't watched */
	bool dry;	 /* the last look at the queue found nothing more */
	bool roomy;	 /* since activation there was once room for the largest frame */
	size_t frame;	 /* bytes of a frame that waits for more buffers, with header; 0 = none */
	size_t in_place; /* how many of them are in the window; the rest is in the spill buffer */
	uint8_t *spill;	 /* NET_FRAME_MAX bytes, mapped: costs nothing until it's used */

	size_t bytes; /* of the whole window */
	unsigned int first_chain, n_chains;
	unsigned int first_iov, n_iov;
	struct {
		uint16_t head;
		uint16_t n_iov;
		uint32_t len;
	} chains[VIRTQUEUE_SIZE_MAX];
	struct iovec iov[NET_RX_IOV_MAX];
};

/* Only written with the lock held, so no atomic addition is needed. */
struct net_counters {
	_Atomic uint64_t bytes, packets, errs, drop;
};

/* What the limits count: a frame without its virtio-net header. */
static inline uint64_t frame_bytes(size_t len)
{
	return len > NET_HEADER_SIZE ? len - NET_HEADER_SIZE : 0;
}

static inline void net_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

struct virtio_net {
	struct virtio_device dev;
	struct virtio_net_config config;
	struct tap tap;
	struct loop_source tap_source;
	unsigned int offload; /* TUN_F_* in force */
	bool tap_gone;	      /* deleted on the host */
	bool tx_blocked;      /* waits for the tap to take frames again */
	bool tx_error_logged, tx_down_logged;
	struct net_counters rx_count, tx_count;
	struct net_mmds *mmds; /* NULL = the metadata service isn't behind this interface */
	struct rate_limiter *rx_limiter, *tx_limiter; /* NULL = without limits; the loop's thread only */
	struct net_rx rx;
};

/* Thousands of them run on a host, most of them idle. */
_Static_assert(sizeof(struct virtio_net) < 32 * KIB, "what an idle interface costs");

static inline struct virtio_net *net_of(const struct virtio_device *dev)
{
	return CONTAINER_OF(dev, struct virtio_net, dev);
}

/* Do one turn of the queue. Nothing happens unless the device is activated, in order, not throttled. */
void net_rx_run(struct virtio_net *net);
void net_tx_run(struct virtio_net *net);

/* Give the window back to the queue, and lose the frame that waits. */
void net_rx_unwind(struct virtio_net *net);
/* Forget the window: the queue is being reset. */
void net_rx_reset(struct virtio_net *net);

/*
 * The metadata service (devices/mmds), all no-ops without it. Only for the
 * event loop's thread, but for reset.
 */
int net_mmds_open(struct virtio_net *net, struct mmds *service, uint32_t ip, struct error *err);
void net_mmds_close(struct virtio_net *net);
void net_mmds_reset(struct virtio_net *net);
/* A frame of the guest's, checked, with its header as the tap would get it. True: it wasn't the tap's. */
bool net_mmds_take(struct virtio_net *net, const struct virtqueue_chain *chain,
		   const struct virtio_net_hdr_v1 *hdr);
/* As read from the tap, one frame into the window. False: there's none. */
bool net_mmds_read(struct virtio_net *net);
bool net_mmds_waits(const struct virtio_net *net);
/* After net_mmds_take: have the receive queue take the answers, if it's at work. */
void net_mmds_deliver(struct virtio_net *net);

/* The tap was deleted: say so, once. The device lives on, without a link. */
void net_tap_lost(struct virtio_net *net);

#endif
