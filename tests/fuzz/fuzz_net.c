/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: the network device, on a pair of packet sockets in place of a tap: as there, one readv or
 * writev is one frame, both can be full or empty, and what the host does wrong is said by errno.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <linux/virtio_net.h>

#include "devices/backend/tap.h"
#include "devices/virtio/net.h"
#include "hostile_guest.h"
#include "vmm/util.h"

#define FRAME_MAX (12 + 65550 + 16)

int __wrap_tap_open(struct tap *tap, const char *name, struct error *err);
int __wrap_tap_set_offload(struct tap *tap, unsigned int offload, struct error *err);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __real_readv(int fd, const struct iovec *iov, int n);
ssize_t __real_writev(int fd, const struct iovec *iov, int n);

struct host {
	int fd;	      /* the other end of the tap; -1 = the tap was deleted */
	int next_err; /* what the tap's next call fails with; 0 = it works */
};

static struct host *host(void)
{
	static struct host host;

	return &host;
}

static void delete_tap(void)
{
	close_fd(&host()->fd);
}

int __wrap_tap_open(struct tap *tap, const char *name, struct error *err)
{
	int ends[2];

	(void)name;
	(void)err;
	delete_tap();
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
	tap->fd = ends[0];
	host()->fd = ends[1];
	return 0;
}

int __wrap_tap_set_offload(struct tap *tap, unsigned int offload, struct error *err)
{
	(void)tap;
	(void)offload;
	if (host()->fd < 0)
		return error_set(err, EBADFD, "the tap is gone");
	if (host()->next_err == EINVAL)
		return error_set(err, EINVAL, "the tap has no offloads");
	return 0;
}

/* Whether the tap's call fails: with what the program says, once, or because it was deleted. */
static bool fails(void)
{
	errno = host()->fd < 0 ? EBADFD : host()->next_err;
	host()->next_err = 0;
	return errno != 0;
}

ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
	return fails() ? -1 : __real_readv(fd, iov, n);
}

ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
	return fails() ? -1 : __real_writev(fd, iov, n);
}

static void host_begin(struct hostile_guest *g)
{
	(void)g;
	*host() = (struct host){ .fd = -1 };
}

static void host_end(struct hostile_guest *g)
{
	(void)g;
	delete_tap();
}

static struct virtio_device *create(struct hostile_guest *g)
{
	const struct virtio_net_options options = {
		.id = "eth0",
		.tap_name = "tap",
		.has_mac = g->options & 1,
		.mac = { 2, 0, 0, 0, 0, 1 },
		.mtu = g->options & 2 ? 1500 : 0,
		.rx_limits = hostile_guest_limits(g),
		.tx_limits = hostile_guest_limits(g),
	};
	struct virtio_device *device;

	return virtio_net_create(&options, &g->memory, &g->loop, &device, NULL) < 0 ? NULL : device;
}

/* A frame from the network: any header, any length that a tap could give, or a bit more. */
static void send_frame(struct hostile_guest *g)
{
	static const uint16_t lengths[] = { 0, 11, 12, 25, 26, 60, 1526, 1530, 1531, 9000 };
	static uint8_t frame[FRAME_MAX];
	uint8_t how = input_u8(&g->in);
	size_t len = how % 16 < ARRAY_SIZE(lengths) ? lengths[how % 16] : FRAME_MAX - how / 16;

	memset(frame, how, len);
	if (how & 16)
		input_bytes(&g->in, frame, 12);
	else
		memset(frame, 0, 12);
	if (len > 0)
		(void)send(host()->fd, frame, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void take_frames(void)
{
	uint8_t byte;

	while (recv(host()->fd, &byte, 1, MSG_DONTWAIT) > 0)
		;
}

static void host_event(struct hostile_guest *g)
{
	static const int errors[] = { EIO, EBADFD, ENOMEM, ENOBUFS, EINVAL, EAGAIN, EFAULT, EINTR };
	uint8_t what = input_u8(&g->in);

	switch (what % 8) {
	case 0:
		delete_tap();
		break;
	case 1:
		take_frames();
		break;
	case 2:
		host()->next_err = errors[what / 8 % ARRAY_SIZE(errors)];
		g->host_changed = true;
		break;
	default:
		send_frame(g);
		break;
	}
}

static size_t header(struct hostile_guest *g, unsigned int queue, uint8_t *bytes)
{
	struct virtio_net_hdr_v1 hdr = { 0 };
	uint8_t how;

	if (queue == VIRTIO_NET_RX)
		return 0;
	how = input_u8(&g->in);
	if (how & 1)
		input_bytes(&g->in, &hdr, sizeof(hdr));
	memcpy(bytes, &hdr, sizeof(hdr));
	memset(bytes + sizeof(hdr), how, 14);
	return how & 2 ? sizeof(hdr) : sizeof(hdr) + 14;
}

/* A frame that can't be sent waits, with all behind it, while the tap is full and nothing else. */
static void settled(struct hostile_guest *g)
{
	struct rate_limiter_counters rx, tx;

	take_frames();
	while (loop_run_once(&g->loop, 0, NULL) > 0)
		take_frames();
	virtio_net_limiter_counters(g->device, &rx, &tx);
	if (rx.throttled + tx.throttled > 0)
		hostile_guest_wait_for_limits(g);
	if (tx.throttled == 0)
		hostile_guest_all_taken(g, VIRTIO_NET_TX);
}

static const struct hostile_device net = {
	.create = create,
	.host_begin = host_begin,
	.host_end = host_end,
	.host_event = host_event,
	.header = header,
	.settled = settled,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	hostile_guest_run(&net, data, size);
	return 0;
}
