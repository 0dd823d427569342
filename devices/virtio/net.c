/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/if_tun.h>

#include "devices/virtio/net_private.h"
#include "vmm/log.h"

#define MTU_MIN 68 /* of IPv4 (RFC 791), and of §5.1.4.1 */

/* mac to mtu (§5.1.4): what lies behind belongs to features that aren't offered. */
#define CONFIG_SIZE offsetof(struct virtio_net_config, speed)

#define FEATURE(name) (1ull << VIRTIO_NET_F_##name)
#define FEATURES                                                                                   \
	(FEATURE(CSUM) | FEATURE(GUEST_CSUM) | FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6) |         \
	 FEATURE(HOST_TSO4) | FEATURE(HOST_TSO6) | FEATURE(MRG_RXBUF))

void net_tap_lost(struct virtio_net *net)
{
	if (net->tap_gone)
		return;
	net->tap_gone = true;
	log_error("%s \"%s\": tap \"%s\" is gone: there's no link any more", net->dev.ops->kind,
		  net->dev.id, net->tap.name);
}

/*
 * Watch the tap for what can be acted upon, and nothing else: epoll is level-triggered. Events are
 * changed, not the source added or removed, as a driver's reset comes from a vCPU's thread.
 */
static void watch(struct virtio_net *net)
{
	struct virtio_device *dev = &net->dev;
	struct error err = { 0 };
	uint32_t events = 0;

	if (!dev->needs_reset && !net->tap_gone) {
		events |= net->rx.stalled || rate_limiter_throttled(net->rx_limiter) ? 0 : EPOLLIN;
		events |= net->tx_blocked ? EPOLLOUT : 0;
	}
	if (loop_modify(dev->loop, &net->tap_source, events, &err) < 0)
		virtio_device_fail(dev, err.message);
}

/* On the event loop's thread. */
static void on_tap(struct loop_source *source, uint32_t events)
{
	struct virtio_net *net = source->owner;
	struct virtio_device *dev = &net->dev;

	pthread_mutex_lock(&dev->lock);
	if (events & (EPOLLERR | EPOLLHUP)) {
		/* It stays so, whatever is watched for. */
		net_tap_lost(net);
		loop_remove(dev->loop, source);
	}
	/* The state may have changed since epoll looked. */
	if (events & EPOLLIN && !net->rx.stalled)
		net_rx_run(net);
	if (events & EPOLLOUT && net->tx_blocked) {
		net->tx_blocked = false;
		net_tx_run(net);
	}
	watch(net);
	pthread_mutex_unlock(&dev->lock);
}

static void on_rx_limit_over(void *owner)
{
	net_rx_run(owner);
	watch(owner);
}

static void on_tx_limit_over(void *owner)
{
	net_tx_run(owner);
	watch(owner);
}

static struct rate_limiter_user limiter_user(struct virtio_net *net, void (*resume)(void *owner))
{
	return (struct rate_limiter_user){ net->dev.loop, &net->dev.lock, resume, net };
}

static int set_limits(struct virtio_net *net, const struct rate_limits *rx,
		      const struct rate_limits *tx, struct error *err)
{
	struct rate_limiter_user rx_user = limiter_user(net, on_rx_limit_over);
	struct rate_limiter_user tx_user = limiter_user(net, on_tx_limit_over);
	int r = rate_limiter_set(&net->rx_limiter, rx, &rx_user, err);

	return r < 0 ? r : rate_limiter_set(&net->tx_limiter, tx, &tx_user, err);
}

/* The kernel takes segments only together with partial checksums. */
static unsigned int acked_offload(const struct virtio_device *dev)
{
	unsigned int offload = TUN_F_CSUM;

	if (!virtio_acked(dev, VIRTIO_NET_F_GUEST_CSUM))
		return 0;
	if (virtio_acked(dev, VIRTIO_NET_F_GUEST_TSO4))
		offload |= TUN_F_TSO4;
	if (virtio_acked(dev, VIRTIO_NET_F_GUEST_TSO6))
		offload |= TUN_F_TSO6;
	return offload;
}

static int set_offload(struct virtio_net *net, unsigned int offload, struct error *err)
{
	int r = 0;

	if (offload != net->offload && !net->tap_gone)
		r = tap_set_offload(&net->tap, offload, err);
	if (r == -EBADFD) {
		net_tap_lost(net);
		return 0;
	}
	if (r == 0)
		net->offload = offload;
	return r;
}

static int net_activate(struct virtio_device *dev, struct error *err)
{
	/* Each queue starts when process_queue is called for it, which the transport sees to. */
	return set_offload(net_of(dev), acked_offload(dev), err);
}

static void net_process_queue(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_net *net = net_of(dev);

	if (queue == VIRTIO_NET_RX)
		net_rx_run(net);
	else
		net_tx_run(net);
	watch(net);
}

static void net_reset(struct virtio_device *dev)
{
	struct virtio_net *net = net_of(dev);
	struct error err = { 0 };

	net_rx_reset(net);
	net_mmds_reset(net);
	net->tx_blocked = false;
	if (set_offload(net, 0, &err) < 0)
		log_error("%s \"%s\": %s", dev->ops->kind, dev->id, err.message);
	watch(net);
}

static void net_save(struct virtio_device *dev, void *buf)
{
	struct virtio_net *net = net_of(dev);
	struct virtio_net_state state = {
		.has_mac = (dev->features & FEATURE(MAC)) != 0,
		.mtu = net->config.mtu,
	};

	/* From here on nothing is touched until process_queue is called again. */
	net_rx_unwind(net);
	net->tx_blocked = false;
	rate_limiter_disarm(net->rx_limiter);
	rate_limiter_disarm(net->tx_limiter);
	watch(net);
	rate_limiter_save(net->rx_limiter, &state.rx_limiter);
	rate_limiter_save(net->tx_limiter, &state.tx_limiter);
	memcpy(state.mac, net->config.mac, sizeof(state.mac));
	memcpy(buf, &state, sizeof(state));
}

static int restore_limits(struct virtio_net *net, const struct virtio_net_state *state,
			  struct error *err)
{
	struct rate_limiter_user rx_user = limiter_user(net, on_rx_limit_over);
	struct rate_limiter_user tx_user = limiter_user(net, on_tx_limit_over);
	int r = rate_limiter_restore(&net->rx_limiter, &state->rx_limiter, &rx_user, err);

	return r < 0 ? r
		     : rate_limiter_restore(&net->tx_limiter, &state->tx_limiter, &tx_user, err);
}

static int net_restore(struct virtio_device *dev, const void *buf, struct error *err)
{
	static const uint8_t zero[8];
	struct virtio_net *net = net_of(dev);
	struct virtio_net_state state;

	memcpy(&state, buf, sizeof(state));
	if (state.has_mac > 1 || memcmp(state.reserved, zero, sizeof(state.reserved)) != 0 ||
	    memcmp(state.reserved2, zero, sizeof(state.reserved2)) != 0)
		return error_set(err, EINVAL, "unknown flags");
	if (state.has_mac != ((dev->features & FEATURE(MAC)) != 0) ||
	    (!state.has_mac && memcmp(state.mac, zero, sizeof(state.mac)) != 0))
		return error_set(err, EINVAL, "saved %s a MAC address, made %s",
				 state.has_mac ? "with" : "without",
				 dev->features & FEATURE(MAC) ? "with one" : "without");
	if ((state.mtu != 0) != ((dev->features & FEATURE(MTU)) != 0) ||
	    (state.mtu != 0 && state.mtu < MTU_MIN))
		return error_set(err, EINVAL, "saved with MTU %u, made with %u", state.mtu,
				 net->config.mtu);
	int r = restore_limits(net, &state, err);

	if (r < 0)
		return r;
	/* The guest knows these; offloads follow when it is activated. */
	memcpy(net->config.mac, state.mac, sizeof(state.mac));
	net->config.mtu = state.mtu;
	return 0;
}

static void net_destroy(struct virtio_device *dev)
{
	struct virtio_net *net = net_of(dev);

	rate_limiter_destroy(net->rx_limiter);
	rate_limiter_destroy(net->tx_limiter);
	loop_remove(dev->loop, &net->tap_source);
	net_mmds_close(net);
	tap_close(&net->tap);
	if (net->rx.spill)
		munmap(net->rx.spill, NET_FRAME_MAX);
	virtio_device_release(dev);
	free(net);
}

static const struct virtio_device_ops net_ops = {
	.device_id = 1,
	.kind = "network interface",
	.activate = net_activate,
	.process_queue = net_process_queue,
	.reset = net_reset,
	.state_size = sizeof(struct virtio_net_state),
	.save = net_save,
	.restore = net_restore,
	.destroy = net_destroy,
};

static int open_backend(struct virtio_net *net, const char *tap_name, struct error *err)
{
	int r = tap_open(&net->tap, tap_name, err);

	if (r < 0)
		return r;
	void *spill = mmap(NULL, NET_FRAME_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	if (spill == MAP_FAILED)
		return error_sys(err, errno, "map a receive buffer");
	net->rx.spill = spill;
	return loop_add(net->dev.loop, &net->tap_source, net->tap.fd, 0, on_tap, net, err);
}

int virtio_net_create(const struct virtio_net_options *options, struct guest_memory *memory,
		      struct loop *loop, struct virtio_device **out, struct error *err)
{
	uint64_t features = FEATURES;
	struct virtio_net *net = calloc(1, sizeof(*net));

	if (!net)
		return error_sys(err, ENOMEM, "%s \"%s\"", net_ops.kind, options->id);
	net->tap.fd = -1;
	if (options->has_mac) {
		features |= FEATURE(MAC);
		memcpy(net->config.mac, options->mac, sizeof(options->mac));
	}
	if (options->mtu != 0) {
		features |= FEATURE(MTU);
		net->config.mtu = options->mtu;
	}
	net_rx_reset(net);

	int r = virtio_device_init(&net->dev, &net_ops, options->id, memory, loop, features,
				   &net->config, CONFIG_SIZE, 2, VIRTIO_NET_QUEUE_SIZE, err);

	if (r == 0) {
		if (options->mtu != 0 && options->mtu < MTU_MIN)
			r = error_set(err, EINVAL, "MTU %u is below %d", options->mtu, MTU_MIN);
		else
			r = open_backend(net, options->tap_name, err);
		if (r == 0 && options->mmds)
			r = net_mmds_open(net, options->mmds, options->mmds_ip, err);
		if (r == 0)
			r = set_limits(net, &options->rx_limits, &options->tx_limits, err);
		if (r < 0)
			error_wrap(err, "%s \"%s\"", net_ops.kind, net->dev.id);
	}
	if (r < 0) {
		net_destroy(&net->dev);
		return r;
	}
	*out = &net->dev;
	return 0;
}

int virtio_net_set_limits(struct virtio_device *dev, const struct rate_limits *rx_limits,
			  const struct rate_limits *tx_limits, struct error *err)
{
	struct virtio_net *net = net_of(dev);

	pthread_mutex_lock(&dev->lock);
	int r = set_limits(net, rx_limits, tx_limits, err);

	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "%s \"%s\"", dev->ops->kind, dev->id) : 0;
}

void virtio_net_limiter_counters(const struct virtio_device *dev, struct rate_limiter_counters *rx,
				 struct rate_limiter_counters *tx)
{
	*rx = rate_limiter_counters(net_of(dev)->rx_limiter);
	*tx = rate_limiter_counters(net_of(dev)->tx_limiter);
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void virtio_net_get_stats(const struct virtio_device *dev, struct virtio_net_stats *stats)
{
	const struct virtio_net *net = net_of(dev);

	*stats = (struct virtio_net_stats){
		.rx_bytes = read_counter(&net->rx_count.bytes),
		.rx_packets = read_counter(&net->rx_count.packets),
		.rx_errs = read_counter(&net->rx_count.errs),
		.rx_drop = read_counter(&net->rx_count.drop),
		.tx_bytes = read_counter(&net->tx_count.bytes),
		.tx_packets = read_counter(&net->tx_count.packets),
		.tx_errs = read_counter(&net->tx_count.errs),
		.tx_drop = read_counter(&net->tx_count.drop),
	};
}
