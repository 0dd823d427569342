/* SPDX-License-Identifier: Apache-2.0 */
#include "net_driver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include "private_net.h"
#include "vmm/util.h"

struct net_driver net;
const char *net_skip;
struct net_hooks net_hooks;
const uint8_t net_guest_mac[6] = { 0x06, 0x00, 0xc0, 0x00, 0x02, 0x02 };

/* In the way of libc's. */
int ioctl(int fd, unsigned long command, ...)
{
	va_list ap;
	unsigned long arg;

	va_start(ap, command);
	arg = va_arg(ap, unsigned long);
	va_end(ap);
	if (command == TUNSETOFFLOAD) {
		net_hooks.offload = (unsigned int)arg;
		net_hooks.offload_calls++;
	}
	return (int)syscall(SYS_ioctl, fd, command, arg);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	net_hooks.writev_calls++;
	if (net_hooks.writev_fails > 0) {
		net_hooks.writev_fails--;
		errno = net_hooks.writev_errno;
		return -1;
	}
	if (net_hooks.before_writev)
		net_hooks.before_writev(iov, n);
	return syscall(SYS_writev, fd, iov, n);
}

ssize_t readv(int fd, const struct iovec *iov, int n)
{
	net_hooks.readv_calls++;
	if (net_hooks.readv_fails > 0) {
		net_hooks.readv_fails--;
		errno = net_hooks.readv_errno;
		return -1;
	}

	ssize_t r = syscall(SYS_readv, fd, iov, n);

	if (r > 0 && net_hooks.after_readv)
		net_hooks.after_readv(iov, n);
	return r;
}

/* In the way of the device's (ld --wrap). */
bool __real_virtqueue_enable_kicks(struct virtqueue *queue);
bool __wrap_virtqueue_enable_kicks(struct virtqueue *queue);
bool __wrap_virtqueue_enable_kicks(struct virtqueue *queue)
{
	if (net_hooks.before_enable_kicks)
		net_hooks.before_enable_kicks(queue);
	return __real_virtqueue_enable_kicks(queue);
}

void __real_guest_memory_mark_dirty(struct guest_memory *memory, const void *hva, uint64_t len);
void __wrap_guest_memory_mark_dirty(struct guest_memory *memory, const void *hva, uint64_t len);
void __wrap_guest_memory_mark_dirty(struct guest_memory *memory, const void *hva, uint64_t len)
{
	__real_guest_memory_mark_dirty(memory, hva, len);
	if (net_hooks.after_write)
		net_hooks.after_write();
}

int net_enter(void **state)
{
	(void)state;
	net_skip = private_net_enter();
	if (net_skip)
		print_message("skipped: %s\n", net_skip);
	return 0;
}

int net_test_setup(void **state)
{
	(void)state;
	if (!net_skip)
		net_setup(&net, NULL);
	return 0;
}

int net_test_teardown(void **state)
{
	(void)state;
	if (!net_skip)
		net_teardown(&net);
	return 0;
}

void net_attach(struct net_driver *nd, const struct virtio_net_options *options)
{
	struct virtio_net_options defaults = { .id = "eth0", .tap_name = NET_TAP, .has_mac = true };
	struct error err = { 0 };

	memcpy(defaults.mac, net_guest_mac, sizeof(defaults.mac));
	if (virtio_net_create(options ? options : &defaults, &nd->drv.memory, &nd->drv.loop,
			      &nd->dev, &err) < 0)
		fail_msg("%s", err.message);
	driver_attach(&nd->drv, nd->dev);
	/* Up last: else the kernel only hears of the link from a work queue, and drops until then. */
	private_net_up(NET_TAP, false);
	private_net_up(NET_TAP, true);
	close_fd(&nd->peer);
	nd->peer = private_net_packet_socket(NET_TAP, true);
}

void net_setup(struct net_driver *nd, const struct virtio_net_options *options)
{
	memset(nd, 0, sizeof(*nd));
	net_hooks = (struct net_hooks){ 0 };
	private_net_add(NET_TAP, 0);
	nd->peer = -1;
	driver_setup(&nd->drv);
	net_attach(nd, options);
}

void net_release(struct net_driver *nd)
{
	virtio_mmio_release(&nd->drv.mmio);
	nd->drv.bus = (struct bus){ 0 };
	nd->drv.device = nd->dev = NULL;
}

void net_teardown(struct net_driver *nd)
{
	driver_teardown(&nd->drv);
	close_fd(&nd->peer);
	if (private_net_exists(NET_TAP))
		private_net_delete(NET_TAP);
}

struct virtio_net_stats net_stats(const struct net_driver *nd)
{
	struct virtio_net_stats stats;

	virtio_net_get_stats(nd->dev, &stats);
	return stats;
}

void net_post(struct net_driver *nd, unsigned int n, uint32_t len)
{
	for (; n > 0; n--) {
		struct driver_buf buf = { driver_alloc(&nd->drv, len, 64), len };

		nd->rx[driver_add(&nd->drv, VIRTIO_NET_RX, &buf, 0, 1)] = buf;
	}
}

void net_repost(struct net_driver *nd, const uint16_t *heads, unsigned int n)
{
	struct driver_buf bufs[VIRTQUEUE_SIZE_MAX];

	/* Heads change hands: all buffers first. */
	for (unsigned int i = 0; i < n; i++)
		bufs[i] = nd->rx[heads[i]];
	for (unsigned int i = 0; i < n; i++)
		nd->rx[driver_add(&nd->drv, VIRTIO_NET_RX, &bufs[i], 0, 1)] = bufs[i];
}

ssize_t net_take(struct net_driver *nd, struct virtio_net_hdr_v1 *hdr, void *frame, uint16_t *heads)
{
	static uint8_t packet[NET_HDR + NET_FRAME_TOP];
	size_t total = 0;
	unsigned int n = 1;

	for (unsigned int i = 0; i < n; i++) {
		uint32_t head, len;

		if (!driver_get_used(&nd->drv, VIRTIO_NET_RX, &head, &len)) {
			assert_int_equal(i, 0);
			return -1;
		}
		assert_in_range(len, 1, nd->rx[head].len);
		assert_true(total + len <= sizeof(packet));
		/* Only the last buffer of a packet may be partly filled (§5.1.6.4.1). */
		if (i + 1 < n)
			assert_int_equal(len, nd->rx[head].len);
		memcpy(packet + total, driver_ptr(&nd->drv, nd->rx[head].gpa, len), len);
		total += len;
		if (heads)
			heads[i] = (uint16_t)head;
		if (i > 0)
			continue;
		assert_true(total >= NET_HDR);
		memcpy(hdr, packet, NET_HDR);
		n = hdr->num_buffers;
		assert_in_range(n, 1, VIRTQUEUE_SIZE_MAX);
	}
	memcpy(frame, packet + NET_HDR, total - NET_HDR);
	return (ssize_t)(total - NET_HDR);
}

void net_expect(struct net_driver *nd, size_t len, unsigned int seed, unsigned int n)
{
	static uint8_t frame[NET_FRAME_TOP];
	struct virtio_net_hdr_v1 hdr;

	assert_int_equal(net_take(nd, &hdr, frame, NULL), len);
	assert_memory_equal(frame, net_frame(len, seed), len);
	assert_int_equal(hdr.num_buffers, n);
}

uint16_t net_send(struct net_driver *nd, const struct virtio_net_hdr_v1 *hdr, const void *frame,
		  size_t len)
{
	struct driver_buf buf = { driver_alloc(&nd->drv, NET_HDR + len, 64),
				  (uint32_t)(NET_HDR + len) };
	uint8_t *p = driver_ptr(&nd->drv, buf.gpa, buf.len);

	if (hdr)
		memcpy(p, hdr, NET_HDR);
	memcpy(p + NET_HDR, frame, len);

	uint16_t head = driver_add(&nd->drv, VIRTIO_NET_TX, &buf, 1, 0);

	if (driver_kick_wanted(&nd->drv, VIRTIO_NET_TX))
		driver_kick(&nd->drv, VIRTIO_NET_TX);
	return head;
}

unsigned int net_sent(struct net_driver *nd)
{
	unsigned int n = 0;
	uint32_t len;

	for (; driver_get_used(&nd->drv, VIRTIO_NET_TX, NULL, &len); n++)
		assert_int_equal(len, 0);
	return n;
}

void peer_send(struct net_driver *nd, const struct virtio_net_hdr *hdr, const void *frame,
	       size_t len)
{
	struct virtio_net_hdr none = { 0 };
	struct iovec iov[2] = { { hdr ? (void *)hdr : &none, sizeof(none) },
				{ (void *)frame, len } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	assert_int_equal(sendmsg(nd->peer, &message, 0), sizeof(none) + len);
}

ssize_t peer_receive(struct net_driver *nd, struct virtio_net_hdr *hdr, void *frame)
{
	struct virtio_net_hdr own;
	struct iovec iov[2] = { { hdr ? hdr : &own, sizeof(own) }, { frame, NET_FRAME_TOP } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n = recvmsg(nd->peer, &message, 0);

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return -1;
	}
	assert_int_equal(message.msg_flags & MSG_TRUNC, 0);
	return n - (ssize_t)sizeof(own);
}

void peer_expect(struct net_driver *nd, size_t len, unsigned int seed)
{
	static uint8_t frame[NET_FRAME_TOP];

	assert_int_equal(peer_receive(nd, NULL, frame), len);
	assert_memory_equal(frame, net_frame(len, seed), len);
}

const uint8_t *net_frame(size_t len, unsigned int seed)
{
	static uint8_t frame[NET_FRAME_TOP + 1024];
	struct ethhdr eth = { .h_dest = { 0x02 }, .h_source = { 0x06 }, .h_proto = htons(0x88b5) };

	memcpy(frame, &eth, sizeof(eth));
	for (size_t i = sizeof(eth); i < len; i++)
		frame[i] = (uint8_t)(i * 7 + (i >> 8) + seed * 31 + (seed >> 8));
	return frame;
}

uint16_t net_checksum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

const uint8_t *net_tcp_frame(size_t len, uint16_t mss, struct virtio_net_hdr *hdr)
{
	static uint8_t frame[NET_FRAME_TOP];
	struct ethhdr eth = { .h_dest = { 0x02 },
			      .h_source = { 0x06 },
			      .h_proto = htons(ETH_P_IP) };
	struct iphdr ip = { .version = 4,
			    .ihl = 5,
			    .tot_len = htons((uint16_t)(len - sizeof(eth))),
			    .ttl = 64,
			    .protocol = IPPROTO_TCP,
			    .saddr = inet_addr("192.0.2.1"),
			    .daddr = inet_addr("192.0.2.2") };
	struct tcphdr tcp = { .source = htons(1), .dest = htons(2), .doff = 5, .ack = 1 };
	size_t segment = len - sizeof(eth) - sizeof(ip);

	ip.check = htons((uint16_t)~net_checksum(&ip, sizeof(ip), 0));
	/* Of the pseudo header only: the rest is what's left to do. */
	tcp.check = htons(net_checksum(&ip.saddr, 8, (uint32_t)segment + IPPROTO_TCP));
	memcpy(frame, &eth, sizeof(eth));
	memcpy(frame + sizeof(eth), &ip, sizeof(ip));
	memcpy(frame + sizeof(eth) + sizeof(ip), &tcp, sizeof(tcp));
	for (size_t i = sizeof(eth) + sizeof(ip) + sizeof(tcp); i < len; i++)
		frame[i] = (uint8_t)(i * 5 + (i >> 8));
	*hdr = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = sizeof(eth) + sizeof(ip) + sizeof(tcp),
		.gso_size = mss,
		.csum_start = sizeof(eth) + sizeof(ip),
		.csum_offset = offsetof(struct tcphdr, check),
	};
	return frame;
}
