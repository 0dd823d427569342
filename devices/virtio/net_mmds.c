/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata service behind an interface: which frames it gets, how its own come in, its clock. */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>

#include "devices/mmds/stack.h"
#include "devices/virtio/net_private.h"
#include "vmm/log.h"

#define NS_PER_S 1000000000ull

struct net_mmds {
	struct mmds_stack stack;
	bool was_reset; /* by the driver: its connections are to be dropped */
	int timer_fd;
	uint64_t timer_at; /* when it rings; UINT64_MAX = never */
	struct loop_source timer;
};

/*
 * A driver's reset comes from a vCPU's thread, which may neither free memory nor set timers (the C
 * library would make system calls that its rules forbid). So it only leaves word.
 */
void net_mmds_reset(struct virtio_net *net)
{
	if (net->mmds)
		net->mmds->was_reset = true;
}

/* The loop's thread, before it does anything else with it. */
static struct mmds_stack *stack_of(struct net_mmds *mmds)
{
	if (mmds->was_reset)
		mmds_stack_reset(&mmds->stack);
	mmds->was_reset = false;
	return &mmds->stack;
}

static void set_timer(struct net_mmds *mmds)
{
	uint64_t at = mmds_stack_deadline(stack_of(mmds));
	struct itimerspec when = { 0 };

	if (at == mmds->timer_at)
		return;
	mmds->timer_at = at;
	if (at != UINT64_MAX)
		when.it_value = (struct timespec){ .tv_sec = (time_t)(at / NS_PER_S),
						   .tv_nsec = (long)(at % NS_PER_S) };
	if (timerfd_settime(mmds->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		log_error("mmds: timerfd_settime: %s", strerrordesc_np(errno));
}

static void on_timer(struct loop_source *source, uint32_t events)
{
	struct virtio_net *net = source->owner;
	uint64_t expired;

	(void)events;
	pthread_mutex_lock(&net->dev.lock);
	if (read(source->fd, &expired, sizeof(expired)) == sizeof(expired)) {
		net->mmds->timer_at = UINT64_MAX;
		mmds_stack_tick(stack_of(net->mmds), monotonic_ns());
		if (!net->rx.stalled && net_mmds_waits(net))
			virtio_device_kick(&net->dev, VIRTIO_NET_RX);
		set_timer(net->mmds);
	}
	pthread_mutex_unlock(&net->dev.lock);
}

int net_mmds_open(struct virtio_net *net, struct mmds *service, uint32_t ip, struct error *err)
{
	struct net_mmds *mmds = malloc(sizeof(*mmds));

	if (!mmds)
		return error_sys(err, ENOMEM, "mmds");
	net->mmds = mmds;
	mmds_stack_init(&mmds->stack, service, ip);
	mmds->was_reset = false;
	mmds->timer = (struct loop_source){ 0 };
	mmds->timer_at = UINT64_MAX;
	mmds->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (mmds->timer_fd < 0)
		return error_sys(err, errno, "mmds: timerfd_create");
	return loop_add(net->dev.loop, &mmds->timer, mmds->timer_fd, EPOLLIN, on_timer, net, err);
}

void net_mmds_close(struct virtio_net *net)
{
	if (!net->mmds)
		return;
	loop_remove(net->dev.loop, &net->mmds->timer);
	close_fd(&net->mmds->timer_fd);
	mmds_stack_reset(&net->mmds->stack);
	free(net->mmds);
	net->mmds = NULL;
}

bool net_mmds_take(struct virtio_net *net, const struct virtqueue_chain *chain,
		   const struct virtio_net_hdr_v1 *hdr)
{
	const struct mmds_offload offload = {
		.partial = hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.start = hdr->csum_start,
		.offset = hdr->csum_offset,
	};
	size_t len = chain->readable_len - NET_HEADER_SIZE;
	uint8_t frame[MMDS_RECEIVE_MAX];

	if (!net->mmds)
		return false;
	size_t n = iov_read(chain->iov, chain->n_readable, NET_HEADER_SIZE, frame, MMDS_PEEK_SIZE);

	if (!mmds_stack_wants(&net->mmds->stack, frame, n))
		return false;
	/* The rest, once: the guest may be changing it. */
	if (len > n && len <= sizeof(frame))
		iov_read(chain->iov, chain->n_readable, NET_HEADER_SIZE + n, frame + n, len - n);
	mmds_stack_input(stack_of(net->mmds), frame, len, &offload, monotonic_ns());
	return true;
}

bool net_mmds_read(struct virtio_net *net)
{
	uint8_t packet[NET_HEADER_SIZE + MMDS_SEND_MAX] = { 0 }; /* no offload: checksums are made */
	struct net_rx *rx = &net->rx;
	size_t len;

	if (!net_mmds_waits(net))
		return false;
	len = mmds_stack_output(stack_of(net->mmds), packet + NET_HEADER_SIZE, monotonic_ns());
	set_timer(net->mmds);
	if (len == 0)
		return false;
	/* As if it had been read from the tap. */
	rx->frame = NET_HEADER_SIZE + len;
	rx->in_place = rx->frame < rx->bytes ? rx->frame : rx->bytes;
	iov_write(net->dev.memory, rx->iov + rx->first_iov, rx->n_iov, 0, packet, rx->in_place);
	memcpy(rx->spill, packet + rx->in_place, rx->frame - rx->in_place);
	return true;
}

bool net_mmds_waits(const struct virtio_net *net)
{
	return net->mmds && mmds_stack_has_output(stack_of(net->mmds));
}

void net_mmds_deliver(struct virtio_net *net)
{
	if (!net->mmds)
		return;
	/* A stalled queue goes on by itself, when there are buffers, or after activation or resume. */
	if (!net->rx.stalled && net_mmds_waits(net))
		net_rx_run(net);
	set_timer(net->mmds);
}
