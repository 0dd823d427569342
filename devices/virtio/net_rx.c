/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include <linux/if_ether.h>

#include "devices/virtio/net_private.h"

#define VLAN_TAG_SIZE 4

/* Whether the window can take one more chain, of any length, and the spill buffer behind it. */
static bool has_room(struct net_rx *rx)
{
	if (rx->first_chain + rx->n_chains == VIRTQUEUE_SIZE_MAX ||
	    rx->first_iov + rx->n_iov + VIRTQUEUE_SIZE_MAX + 1 > NET_RX_IOV_MAX) {
		memmove(rx->chains, rx->chains + rx->first_chain,
			rx->n_chains * sizeof(rx->chains[0]));
		memmove(rx->iov, rx->iov + rx->first_iov, rx->n_iov * sizeof(rx->iov[0]));
		rx->first_chain = rx->first_iov = 0;
	}
	return rx->n_chains < VIRTQUEUE_SIZE_MAX &&
	       rx->n_iov + VIRTQUEUE_SIZE_MAX + 1 <= NET_RX_IOV_MAX;
}

static void append(struct net_rx *rx, const struct virtqueue_chain *chain)
{
	unsigned int at = rx->first_chain + rx->n_chains++;

	rx->chains[at].head = chain->head;
	rx->chains[at].n_iov = chain->n_writable;
	rx->chains[at].len = chain->writable_len;
	memcpy(rx->iov + rx->first_iov + rx->n_iov, chain->iov,
	       chain->n_writable * sizeof(chain->iov[0]));
	rx->n_iov += chain->n_writable;
	rx->bytes += chain->writable_len;
}

static bool has_enough(const struct virtio_net *net)
{
	/* §5.1.6.4: without merging a frame is in one buffer. */
	if (!virtio_acked(&net->dev, VIRTIO_NET_F_MRG_RXBUF))
		return net->rx.n_chains > 0;
	return net->rx.bytes >= NET_FRAME_MAX;
}

/*
 * Fill the window. A chain with nothing to write to, or no room for a header, goes back unused; not
 * from behind others, though, as then these couldn't be given back to the queue any more.
 */
static int gather(struct virtio_net *net)
{
	struct virtqueue *queue = &net->dev.queues[VIRTIO_NET_RX];
	struct net_rx *rx = &net->rx;
	struct virtqueue_chain chain;

	rx->dry = false;
	for (unsigned int i = 0; i < VIRTQUEUE_SIZE_MAX && !has_enough(net) && has_room(rx); i++) {
		int r = virtio_device_pop(&net->dev, VIRTIO_NET_RX, &chain);

		if (r < 0)
			return r;
		if (r == 0) {
			rx->dry = true;
			break;
		}
		if (chain.n_readable == 0 && chain.writable_len >= NET_HEADER_SIZE) {
			append(rx, &chain);
		} else if (rx->n_chains > 0) {
			virtqueue_unpop(queue, &chain.head, 1);
			break;
		} else {
			virtqueue_push(queue, chain.head, 0);
			net_count(&net->rx_count.errs, 1);
		}
	}
	if (rx->bytes >= NET_FRAME_MAX)
		rx->roomy = true;
	return 0;
}

/* Read one frame into the window. False: there's none. With an error, rx->frame stays 0. */
static bool read_frame(struct virtio_net *net)
{
	struct net_rx *rx = &net->rx;
	struct iovec *iov = rx->iov + rx->first_iov;

	if (net_mmds_read(net))
		return true;
	iov[rx->n_iov] = (struct iovec){ .iov_base = rx->spill, .iov_len = NET_FRAME_MAX };

	ssize_t n = readv(net->tap.fd, iov, (int)rx->n_iov + 1);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0 && errno == EBADFD) {
		net_tap_lost(net);
		return false;
	}
	if (n < 0) {
		net_count(&net->rx_count.errs, 1);
		return true;
	}
	rx->frame = (size_t)n;
	rx->in_place = rx->frame < rx->bytes ? rx->frame : rx->bytes;
	iov_mark_dirty(net->dev.memory, iov, rx->n_iov, 0, rx->in_place);
	return true;
}

/*
 * A frame that doesn't fit waits if more buffers can be expected: those of a driver that had enough
 * of them before. Another one would never provide them, and the link would be frozen for good.
 * Without any buffer there's nothing to do but wait.
 */
static bool may_wait(const struct virtio_net *net)
{
	const struct net_rx *rx = &net->rx;

	if (rx->n_chains == 0)
		return rx->dry;
	return rx->dry && rx->roomy && virtio_acked(&net->dev, VIRTIO_NET_F_MRG_RXBUF) &&
	       rx->frame <= NET_FRAME_MAX;
}

/*
 * Offloads that the driver didn't take don't reach it, also not in frames that were queued before
 * it said so (§5.1.6.4.1); nor do frames above the MTU that it agreed to (§5.1.4.1).
 */
static bool accept_header(const struct virtio_net *net, struct virtio_net_hdr_v1 *hdr, size_t len)
{
	const struct virtio_device *dev = &net->dev;

	if (!virtio_acked(dev, VIRTIO_NET_F_GUEST_CSUM)) {
		if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			return false;
		hdr->flags = 0;
	}
	hdr->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;
	switch (hdr->gso_type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return !virtio_acked(dev, VIRTIO_NET_F_MTU) ||
		       len - NET_HEADER_SIZE <= ETH_HLEN + VLAN_TAG_SIZE + (size_t)net->config.mtu;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return virtio_acked(dev, VIRTIO_NET_F_GUEST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return virtio_acked(dev, VIRTIO_NET_F_GUEST_TSO6);
	default:
		return false;
	}
}

static void consume(struct net_rx *rx, unsigned int n)
{
	for (; n > 0; n--) {
		rx->bytes -= rx->chains[rx->first_chain].len;
		rx->n_iov -= rx->chains[rx->first_chain].n_iov;
		rx->first_iov += rx->chains[rx->first_chain].n_iov;
		rx->first_chain++;
		rx->n_chains--;
	}
	if (rx->n_chains == 0)
		rx->first_chain = rx->first_iov = 0;
}

static void drop_frame(struct virtio_net *net)
{
	if (net->rx.frame > 0)
		net_count(&net->rx_count.drop, 1);
	net->rx.frame = 0;
}

/* The frame is complete and there's room for it: finish its header and give it to the driver. */
static void deliver(struct virtio_net *net)
{
	struct virtqueue_used used[VIRTQUEUE_SIZE_MAX];
	struct net_rx *rx = &net->rx;
	const struct iovec *iov = rx->iov + rx->first_iov;
	struct guest_memory *memory = net->dev.memory;
	struct virtio_net_hdr_v1 hdr;
	unsigned int n = 0;

	iov_write(memory, iov, rx->n_iov, rx->in_place, rx->spill, rx->frame - rx->in_place);
	/* If the guest has changed it meanwhile, it has fooled nobody but itself. */
	iov_read(iov, rx->n_iov, 0, &hdr, sizeof(hdr));
	if (rx->frame < NET_HEADER_SIZE + ETH_HLEN || !accept_header(net, &hdr, rx->frame)) {
		drop_frame(net);
		return;
	}
	for (size_t left = rx->frame; left > 0; n++) {
		uint32_t len = rx->chains[rx->first_chain + n].len;

		used[n].head = rx->chains[rx->first_chain + n].head;
		used[n].written = left < len ? (uint32_t)left : len;
		left -= used[n].written;
	}
	hdr.num_buffers = (uint16_t)n;
	iov_write(memory, iov, rx->n_iov, 0, &hdr, sizeof(hdr));
	virtqueue_push_together(&net->dev.queues[VIRTIO_NET_RX], used, n);
	net_count(&net->rx_count.packets, 1);
	net_count(&net->rx_count.bytes, rx->frame - NET_HEADER_SIZE);
	consume(rx, n);
	rx->frame = 0;
}

/* One frame. False: nothing more can be done until the tap or the driver gives a sign. */
static bool receive(struct virtio_net *net, size_t *bytes)
{
	struct virtqueue *queue = &net->dev.queues[VIRTIO_NET_RX];
	struct net_rx *rx = &net->rx;

	if (gather(net) < 0)
		return false;
	if (rx->frame == 0 && rx->n_chains > 0) {
		/* Until its bucket is empty: more isn't known of a frame before it's read. */
		if (!rate_limiter_allows(net->rx_limiter, 1) || !read_frame(net))
			return false;
		if (rx->frame > 0)
			rate_limiter_charge(net->rx_limiter, frame_bytes(rx->frame));
	}
	*bytes += rx->frame;
	if (rx->n_chains > 0 && rx->frame <= rx->bytes) {
		if (rx->frame > 0)
			deliver(net);
		return true;
	}
	if (!may_wait(net)) {
		drop_frame(net);
		return true;
	}
	if (virtqueue_enable_kicks(queue)) {
		virtqueue_disable_kicks(queue);
		return true;
	}
	rx->stalled = true;
	return false;
}

void net_rx_run(struct virtio_net *net)
{
	struct virtio_device *dev = &net->dev;
	size_t bytes = 0;

	if (!dev->activated || dev->needs_reset || net->tap_gone ||
	    rate_limiter_throttled(net->rx_limiter))
		return;
	/* Buffers are only waited for while stalled; kicks would just cost exits until then. */
	net->rx.stalled = false;
	virtqueue_disable_kicks(&dev->queues[VIRTIO_NET_RX]);
	for (unsigned int i = 1; i <= NET_TURN_CHAINS && bytes < NET_TURN_BYTES; i++) {
		if (!receive(net, &bytes))
			break;
		if (i % NET_TELL_CHAINS == 0)
			virtio_device_signal_used(dev, VIRTIO_NET_RX);
	}
	virtio_device_signal_used(dev, VIRTIO_NET_RX);
	/* What's left in the tap shows by itself; a frame that's half in the window doesn't, nor do ours. */
	if ((net->rx.frame > 0 || net_mmds_waits(net)) && !net->rx.stalled)
		virtio_device_kick(dev, VIRTIO_NET_RX);
}

void net_rx_unwind(struct virtio_net *net)
{
	uint16_t heads[VIRTQUEUE_SIZE_MAX];
	struct net_rx *rx = &net->rx;
	unsigned int n = rx->n_chains;

	for (unsigned int i = 0; i < n; i++)
		heads[i] = rx->chains[rx->first_chain + i].head;
	drop_frame(net);
	net_rx_reset(net);
	virtqueue_unpop(&net->dev.queues[VIRTIO_NET_RX], heads, n);
}

void net_rx_reset(struct virtio_net *net)
{
	struct net_rx *rx = &net->rx;

	rx->stalled = true;
	rx->dry = rx->roomy = false;
	rx->frame = rx->in_place = 0;
	rx->bytes = 0;
	rx->first_chain = rx->n_chains = rx->first_iov = rx->n_iov = 0;
}
