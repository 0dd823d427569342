/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include <linux/if_ether.h>

#include "devices/virtio/net_private.h"
#include "vmm/log.h"

/*
 * Make the header for the tap out of the driver's, with nothing in it but what is meant by the
 * offloads it uses; flags that a device doesn't know it has to ignore (§5.1.6.2.2).
 */
static bool make_header(const struct virtio_device *dev, const struct virtio_net_hdr_v1 *from,
			struct virtio_net_hdr_v1 *to)
{
	bool csum = from->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;

	*to = (struct virtio_net_hdr_v1){ .gso_type = from->gso_type };
	switch (from->gso_type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		break;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		if (!csum || !virtio_acked(dev, VIRTIO_NET_F_HOST_TSO4))
			return false;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		if (!csum || !virtio_acked(dev, VIRTIO_NET_F_HOST_TSO6))
			return false;
		break;
	default:
		return false;
	}
	if (!csum)
		return true;
	if (!virtio_acked(dev, VIRTIO_NET_F_CSUM))
		return false;
	to->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	to->csum_start = from->csum_start;
	to->csum_offset = from->csum_offset;
	if (from->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		to->hdr_len = from->hdr_len;
		to->gso_size = from->gso_size;
	}
	return true;
}

/* Returns what's wrong with the frame, or NULL and the header for the tap. */
static const char *check_frame(const struct virtio_net *net, const struct virtqueue_chain *chain,
			       struct virtio_net_hdr_v1 *to)
{
	struct virtio_net_hdr_v1 from;

	if (chain->n_writable > 0)
		return "has a device-writable buffer";
	if (chain->readable_len < NET_HEADER_SIZE + ETH_HLEN)
		return "is shorter than its headers";
	if (chain->readable_len > NET_FRAME_MAX)
		return "is longer than 65550 bytes";
	iov_read(chain->iov, chain->n_readable, 0, &from, sizeof(from));
	if (!make_header(&net->dev, &from, to))
		return "needs an offload that wasn't negotiated";
	return NULL;
}

/* Counts are for everyone, the log is for a person: one line is enough to know where to look. */
static void bad_frame(struct virtio_net *net, const char *what)
{
	net_count(&net->tx_count.errs, 1);
	if (!net->tx_error_logged)
		log_warn("%s \"%s\": dropped a frame that %s (further ones are only counted)",
			 net->dev.ops->kind, net->dev.id, what);
	net->tx_error_logged = true;
}

static void write_failed(struct virtio_net *net, int errnum)
{
	switch (errnum) {
	case EBADFD:
		net_tap_lost(net);
		break;
	case EIO:
		if (!net->tx_down_logged)
			log_warn("%s \"%s\": tap \"%s\" is down: frames are dropped",
				 net->dev.ops->kind, net->dev.id, net->tap.name);
		net->tx_down_logged = true;
		break;
	case ENOMEM:
	case ENOBUFS:
		break;
	default:
		bad_frame(net, "the tap refused");
		return;
	}
	net_count(&net->tx_count.drop, 1);
}

/* Send the frame, or count why not. False: the tap is full, try the same one later. */
static bool send_frame(struct virtio_net *net, const struct virtqueue_chain *chain)
{
	struct iovec iov[1 + VIRTQUEUE_SIZE_MAX];
	struct virtio_net_hdr_v1 hdr;
	const char *wrong = check_frame(net, chain, &hdr);
	size_t skip = NET_HEADER_SIZE;
	int n = 1;

	if (wrong) {
		bad_frame(net, wrong);
		return true;
	}
	if (net_mmds_take(net, chain, &hdr))
		return true;
	if (net->tap_gone) {
		net_count(&net->tx_count.drop, 1);
		return true;
	}
	/* Our copy of the header is what was checked; the driver's may have changed since. */
	iov[0] = (struct iovec){ .iov_base = &hdr, .iov_len = sizeof(hdr) };
	for (unsigned int i = 0; i < chain->n_readable; i++) {
		const struct iovec *from = &chain->iov[i];

		if (from->iov_len <= skip) {
			skip -= from->iov_len;
			continue;
		}
		iov[n].iov_base = (uint8_t *)from->iov_base + skip;
		iov[n++].iov_len = from->iov_len - skip;
		skip = 0;
	}
	if (writev(net->tap.fd, iov, n) >= 0) {
		net_count(&net->tx_count.packets, 1);
		net_count(&net->tx_count.bytes, chain->readable_len - NET_HEADER_SIZE);
		return true;
	}
	if (errno == EAGAIN)
		return false;
	write_failed(net, errno);
	return true;
}

/* One chain. False: the queue is empty, the tap full, the limit reached, or the device has failed. */
static bool transmit(struct virtio_net *net, size_t *bytes)
{
	struct virtqueue *queue = &net->dev.queues[VIRTIO_NET_TX];
	struct virtqueue_chain chain;
	int r = virtio_device_pop(&net->dev, VIRTIO_NET_TX, &chain);

	if (r < 0)
		return false;
	if (r == 0) {
		if (!virtqueue_enable_kicks(queue))
			return false;
		virtqueue_disable_kicks(queue);
		return true;
	}
	if (!rate_limiter_allows(net->tx_limiter, frame_bytes(chain.readable_len))) {
		virtqueue_unpop(queue, &chain.head, 1);
		return false;
	}
	if (!send_frame(net, &chain)) {
		virtqueue_unpop(queue, &chain.head, 1);
		net->tx_blocked = true;
		return false;
	}
	rate_limiter_charge(net->tx_limiter, frame_bytes(chain.readable_len));
	virtqueue_push(queue, chain.head, 0);
	*bytes += chain.readable_len;
	return true;
}

void net_tx_run(struct virtio_net *net)
{
	struct virtio_device *dev = &net->dev;
	size_t bytes = 0;
	bool more = true;

	if (!dev->activated || dev->needs_reset || net->tx_blocked ||
	    rate_limiter_throttled(net->tx_limiter))
		return;
	virtqueue_disable_kicks(&dev->queues[VIRTIO_NET_TX]);
	for (unsigned int i = 1; more && i <= NET_TURN_CHAINS && bytes < NET_TURN_BYTES; i++) {
		more = transmit(net, &bytes);
		if (i % NET_TELL_CHAINS == 0)
			virtio_device_signal_used(dev, VIRTIO_NET_TX);
	}
	virtio_device_signal_used(dev, VIRTIO_NET_TX);
	net_mmds_deliver(net);
	if (more)
		virtio_device_kick(dev, VIRTIO_NET_TX);
}
