/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/vsock.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>

#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>

#include "devices/backend/vsock_mux.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define HOST_CID      2 /* §5.10.4: the well-known CID of the host */
#define GUEST_CID_MIN 3

/* Packets a callback handles before other devices get their turn. */
#define BATCH 64

enum { RX_QUEUE, TX_QUEUE, EVENT_QUEUE, N_QUEUES };

struct virtio_vsock {
	struct virtio_device dev;
	struct virtio_vsock_config config;
	struct vsock_mux mux;
	bool tx_waits;	  /* packets of the guest wait until RSTs have found buffers */
	bool reset_event; /* TRANSPORT_RESET is to be sent */
	bool drop_logged;
};

static struct virtio_vsock *vsock_of(struct virtio_device *dev)
{
	return CONTAINER_OF(dev, struct virtio_vsock, dev);
}

/* Towards the guest */

static void write_header(struct virtio_vsock *vsock, const struct virtqueue_chain *chain,
			 const struct vsock_packet *packet)
{
	const struct virtio_vsock_hdr header = {
		.src_cid = htole64(HOST_CID),
		.dst_cid = vsock->config.guest_cid,
		.src_port = htole32(packet->host_port),
		.dst_port = htole32(packet->guest_port),
		.len = htole32(packet->len),
		.type = htole16(packet->type),
		.op = htole16(packet->op),
		.flags = htole32(packet->flags),
		.buf_alloc = htole32(packet->buf_alloc),
		.fwd_cnt = htole32(packet->fwd_cnt),
	};
	const struct iovec *iov = chain->iov + chain->n_readable;

	iov_write(vsock->dev.memory, iov, chain->n_writable, 0, &header, sizeof(header));
	iov_mark_dirty(vsock->dev.memory, iov, chain->n_writable, sizeof(header), packet->len);
}

/*
 * Take a buffer for a packet to the guest. Without one, ask for a kick when there is; while there's
 * nothing to say nobody needs to tell us of buffers. 1, or 0 if there's none.
 */
static int pop_rx(struct virtio_vsock *vsock, struct virtqueue_chain *chain)
{
	struct virtqueue *queue = &vsock->dev.queues[RX_QUEUE];
	int r = virtio_device_pop(&vsock->dev, RX_QUEUE, chain);

	if (r == 0 && virtqueue_enable_kicks(queue))
		r = virtio_device_pop(&vsock->dev, RX_QUEUE, chain);
	if (r <= 0)
		return 0;
	if (queue->kicks_enabled)
		virtqueue_disable_kicks(queue);
	if (chain->writable_len > sizeof(struct virtio_vsock_hdr))
		return 1;
	virtio_device_fail(&vsock->dev, "a receive buffer has no room for a packet");
	return 0;
}

static void rx_pump(struct virtio_vsock *vsock)
{
	struct vsock_mux *mux = &vsock->mux;
	struct virtqueue *queue = &vsock->dev.queues[RX_QUEUE];
	struct virtqueue_chain chain;
	struct iovec payload[VSOCK_IOV_MAX];
	unsigned int done;

	for (done = 0; done < BATCH && vsock_mux_has_output(mux); done++) {
		struct vsock_packet packet;

		if (!pop_rx(vsock, &chain))
			break;

		unsigned int n =
			vsock_iov_slice(payload, chain.iov + chain.n_readable, chain.n_writable,
					sizeof(struct virtio_vsock_hdr), chain.writable_len);

		if (!vsock_mux_to_guest(mux, &packet, payload, n)) {
			virtqueue_unpop(queue, &chain.head, 1);
			break;
		}
		write_header(vsock, &chain, &packet);
		virtqueue_push(queue, chain.head, sizeof(struct virtio_vsock_hdr) + packet.len);
		vsock_count(&mux->counters.rx_packets, 1);
		vsock_count(&mux->counters.rx_bytes, packet.len);
	}
	if (done > 0)
		virtio_device_signal_used(&vsock->dev, RX_QUEUE);
	if (done == BATCH && vsock_mux_has_output(mux))
		virtio_device_kick(&vsock->dev, RX_QUEUE);
	if (vsock->tx_waits && vsock_mux_can_take(mux))
		virtio_device_kick(&vsock->dev, TX_QUEUE);
}

/* From the guest */

static void drop(struct virtio_vsock *vsock, const char *why)
{
	vsock_count(&vsock->mux.counters.tx_dropped, 1);
	if (!vsock->drop_logged)
		log_warn("vsock \"%s\": dropped a packet of the guest: %s (further ones aren't "
			 "logged)",
			 vsock->dev.id, why);
	vsock->drop_logged = true;
}

/* The header is copied out once; only the copy is checked and used. The payload is just bytes. */
static void from_guest(struct virtio_vsock *vsock, const struct virtqueue_chain *chain)
{
	struct virtio_vsock_hdr header;
	struct iovec payload[VSOCK_IOV_MAX];

	if (iov_read(chain->iov, chain->n_readable, 0, &header, sizeof(header)) < sizeof(header)) {
		drop(vsock, "shorter than its header");
		return;
	}

	const struct vsock_packet packet = {
		.host_port = le32toh(header.dst_port),
		.guest_port = le32toh(header.src_port),
		.len = le32toh(header.len),
		.type = le16toh(header.type),
		.op = le16toh(header.op),
		.flags = le32toh(header.flags),
		.buf_alloc = le32toh(header.buf_alloc),
		.fwd_cnt = le32toh(header.fwd_cnt),
	};

	if (header.src_cid != vsock->config.guest_cid) {
		drop(vsock, "not from the guest's CID");
		return;
	}
	if (le64toh(header.dst_cid) != HOST_CID) {
		drop(vsock, "not for the host's CID");
		return;
	}
	if (packet.len > chain->readable_len - sizeof(header)) {
		drop(vsock, "longer than its buffers");
		vsock_mux_reject(&vsock->mux, &packet);
		return;
	}
	vsock_count(&vsock->mux.counters.tx_packets, 1);

	unsigned int n =
		vsock_iov_slice(payload, chain->iov, chain->n_readable, sizeof(header), packet.len);

	vsock_mux_from_guest(&vsock->mux, &packet, payload, n);
}

static void tx_process(struct virtio_vsock *vsock)
{
	struct virtqueue_chain chain;
	unsigned int done;

	for (done = 0; done < BATCH; done++) {
		/* §5.10.6.1: RSTs have a place to wait; when it's full the guest has to wait. */
		vsock->tx_waits = !vsock_mux_can_take(&vsock->mux);
		if (vsock->tx_waits || virtio_device_pop(&vsock->dev, TX_QUEUE, &chain) <= 0)
			break;
		from_guest(vsock, &chain);
		virtqueue_push(&vsock->dev.queues[TX_QUEUE], chain.head, 0);
	}
	if (done > 0)
		virtio_device_signal_used(&vsock->dev, TX_QUEUE);
	if (done == BATCH)
		virtio_device_kick(&vsock->dev, TX_QUEUE);
}

/* §5.10.6.7: after a restore the driver has to forget its connections, as we did. */
static void event_process(struct virtio_vsock *vsock)
{
	const struct virtio_vsock_event event = {
		.id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET),
	};
	struct virtqueue_chain chain;

	if (!vsock->reset_event || virtio_device_pop(&vsock->dev, EVENT_QUEUE, &chain) <= 0)
		return;
	if (chain.writable_len < sizeof(event)) {
		virtio_device_fail(&vsock->dev, "an event buffer has no room for an event");
		return;
	}
	iov_write(vsock->dev.memory, chain.iov + chain.n_readable, chain.n_writable, 0, &event,
		  sizeof(event));
	virtqueue_push(&vsock->dev.queues[EVENT_QUEUE], chain.head, sizeof(event));
	vsock->reset_event = false;
	virtio_device_signal_used(&vsock->dev, EVENT_QUEUE);
}

/* Device operations */

static void output(void *owner)
{
	event_process(owner);
	rx_pump(owner);
}

static int activate(struct virtio_device *dev, struct error *err)
{
	struct virtio_vsock *vsock = vsock_of(dev);

	(void)err;
	virtqueue_disable_kicks(&dev->queues[RX_QUEUE]);
	vsock_mux_start(&vsock->mux);
	return 0;
}

static void process_queue(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_vsock *vsock = vsock_of(dev);

	/* Before everything else: answers to what the guest says mustn't overtake it. */
	event_process(vsock);
	if (queue == TX_QUEUE)
		tx_process(vsock);
	rx_pump(vsock);
	vsock_mux_reap(&vsock->mux);
}

static void reset(struct virtio_device *dev)
{
	struct virtio_vsock *vsock = vsock_of(dev);

	vsock_mux_stop(&vsock->mux);
	vsock->tx_waits = false;
	vsock->reset_event = false;
}

static void save(struct virtio_device *dev, void *state)
{
	/* No chain is ever held between callbacks: nothing is in flight. */
	*(struct virtio_vsock_state *)state = (struct virtio_vsock_state){
		.guest_cid = le64toh(vsock_of(dev)->config.guest_cid),
	};
}

static int restore(struct virtio_device *dev, const void *state, struct error *err)
{
	struct virtio_vsock *vsock = vsock_of(dev);
	struct virtio_vsock_state saved;

	memcpy(&saved, state, sizeof(saved));
	if (saved.guest_cid < GUEST_CID_MIN || saved.guest_cid >= UINT32_MAX)
		return error_set(err, EINVAL, "guest CID %" PRIu64 " isn't 3 to 4294967294",
				 saved.guest_cid);
	vsock->config.guest_cid = htole64(saved.guest_cid);
	/* A driver that hadn't started has no connections to forget. */
	vsock->reset_event = dev->driver_ok && !dev->needs_reset;
	return 0;
}

static void destroy(struct virtio_device *dev)
{
	struct virtio_vsock *vsock = vsock_of(dev);

	vsock_mux_release(&vsock->mux);
	virtio_device_release(dev);
	free(vsock);
}

static const struct virtio_device_ops ops = {
	.device_id = VIRTIO_ID_VSOCK,
	.kind = "vsock",
	.activate = activate,
	.process_queue = process_queue,
	.reset = reset,
	.state_size = sizeof(struct virtio_vsock_state),
	.save = save,
	.restore = restore,
	.destroy = destroy,
};

int virtio_vsock_create(const struct virtio_vsock_options *options, struct guest_memory *memory,
			struct loop *loop, struct virtio_device **out, struct error *err)
{
	const char *id = options->id ? options->id : "vsock";
	struct virtio_vsock *vsock;
	int r;

	if (options->guest_cid < GUEST_CID_MIN || options->guest_cid == UINT32_MAX)
		return error_set(err, EINVAL, "vsock \"%s\": guest CID %u isn't 3 to 4294967294",
				 id, options->guest_cid);
	vsock = calloc(1, sizeof(*vsock));
	if (!vsock)
		return error_sys(err, ENOMEM, "vsock \"%s\"", id);
	vsock->config.guest_cid = htole64(options->guest_cid);
	r = virtio_device_init(&vsock->dev, &ops, id, memory, loop, 0, &vsock->config,
			       sizeof(vsock->config), N_QUEUES, VIRTQUEUE_SIZE_MAX, err);
	if (r == 0) {
		r = vsock_mux_init(&vsock->mux, options->uds_path, loop, &vsock->dev.lock, output,
				   vsock, err);
		if (r == 0)
			r = vsock_ports_take(&vsock->mux, options->guest_ports,
					     options->n_guest_ports, err);
		if (r < 0)
			error_wrap(err, "vsock \"%s\"", id);
	}
	if (r < 0) {
		destroy(&vsock->dev);
		return r;
	}
	*out = &vsock->dev;
	return 0;
}

void virtio_vsock_counters(const struct virtio_device *dev, struct virtio_vsock_counters *counters)
{
	const struct virtio_vsock *vsock = CONTAINER_OF(dev, const struct virtio_vsock, dev);
	const struct vsock_counters *c = &vsock->mux.counters;

	*counters = (struct virtio_vsock_counters){
		.rx_packets = atomic_load_explicit(&c->rx_packets, memory_order_relaxed),
		.rx_bytes = atomic_load_explicit(&c->rx_bytes, memory_order_relaxed),
		.tx_packets = atomic_load_explicit(&c->tx_packets, memory_order_relaxed),
		.tx_bytes = atomic_load_explicit(&c->tx_bytes, memory_order_relaxed),
		.tx_dropped = atomic_load_explicit(&c->tx_dropped, memory_order_relaxed),
		.connections_opened = atomic_load_explicit(&c->opened, memory_order_relaxed),
		.connections_refused = atomic_load_explicit(&c->refused, memory_order_relaxed),
		.connections_reset = atomic_load_explicit(&c->reset, memory_order_relaxed),
		.connections = atomic_load_explicit(&c->connections, memory_order_relaxed),
	};
}
