/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-net: creation, features, talk with the host's network stack, the tap's life, saved state. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include "net_driver.h"
#include "private_net.h"
#include "vmm/util.h"

static unsigned int open_fds(void)
{
	unsigned int n = 0;
	DIR *dir = opendir("/proc/self/fd");

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void offers_what_it_can_do(void **state)
{
	const uint64_t fixed = VERSION_1 | EVENT_IDX | INDIRECT_DESC | NET_F(MRG_RXBUF) |
			       NET_GUEST_OFFLOADS | NET_HOST_OFFLOADS;
	struct virtio_net_options plain = { .id = "eth0", .tap_name = NET_TAP };
	struct virtio_net_options full = {
		.id = "eth0", .tap_name = NET_TAP, .has_mac = true, .mtu = 1400
	};
	uint8_t config[12], zero[12] = { 0 };

	(void)state;
	if (net_skip)
		skip();
	memcpy(full.mac, net_guest_mac, 6);
	assert_int_equal(driver_read(&net.drv, VIRTIO_MMIO_DEVICE_ID), 1);
	assert_int_equal(driver_offered(&net.drv), fixed | NET_F(MAC));
	driver_write(&net.drv, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(driver_read(&net.drv, VIRTIO_MMIO_QUEUE_NUM_MAX), 256);
	driver_write(&net.drv, VIRTIO_MMIO_QUEUE_SEL, 2);
	assert_int_equal(driver_read(&net.drv, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	net_release(&net);

	net_attach(&net, &plain);
	assert_int_equal(driver_offered(&net.drv), fixed);
	driver_read_config(&net.drv, 0, config, sizeof(config));
	assert_memory_equal(config, zero, sizeof(config));
	net_release(&net);

	net_attach(&net, &full);
	assert_int_equal(driver_offered(&net.drv), fixed | NET_F(MAC) | NET_F(MTU));
	driver_read_config(&net.drv, 0, config, sizeof(config));
	assert_memory_equal(config, net_guest_mac, 6);
	assert_int_equal(config[10] | config[11] << 8, 1400);
	assert_int_equal(driver_read_width(&net.drv, VIRTIO_MMIO_CONFIG + 12, 1), 0xff);
	/* A driver that sets another address needs no answer: it isn't in the configuration. */
	driver_write_width(&net.drv, VIRTIO_MMIO_CONFIG, 0x99, 1);
	driver_read_config(&net.drv, 0, config, 6);
	assert_memory_equal(config, net_guest_mac, 6);
}

static void failed_creation_says_why_and_leaves_nothing(void **state)
{
	struct virtio_net_options options = { .id = "eth7", .tap_name = "nosuch" };
	struct virtio_device *dev = NULL;
	struct error err = { 0 };

	(void)state;
	if (net_skip)
		skip();
	unsigned int fds = open_fds();

	assert_int_equal(virtio_net_create(&options, &net.drv.memory, &net.drv.loop, &dev, &err),
			 -ENODEV);
	assert_string_equal(err.message, "network interface \"eth7\": tap \"nosuch\": no such "
					 "network device (ip tuntap add nosuch mode tap)");
	assert_false(private_net_exists("nosuch"));

	options.tap_name = NET_TAP;
	assert_int_equal(virtio_net_create(&options, &net.drv.memory, &net.drv.loop, &dev, &err),
			 -EBUSY);
	assert_string_equal(err.message,
			    "network interface \"eth7\": tap \"" NET_TAP "\": in use by another "
			    "process or interface: Device or resource busy");
	options.mtu = 67;
	assert_int_equal(virtio_net_create(&options, &net.drv.memory, &net.drv.loop, &dev, &err),
			 -EINVAL);
	assert_string_equal(err.message, "network interface \"eth7\": MTU 67 is below 68");
	assert_int_equal(open_fds(), fds);
	assert_null(dev);
}

static unsigned int offload_after(uint64_t features)
{
	assert_int_equal(driver_start(&net.drv, VERSION_1 | features), 0xf);
	driver_run(&net.drv);
	return net_hooks.offload;
}

static void offloads_follow_what_the_driver_acked(void **state)
{
	const unsigned int all = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;

	(void)state;
	if (net_skip)
		skip();
	assert_int_equal(offload_after(0), 0);
	assert_int_equal(private_net_ethtool(NET_TAP, ETHTOOL_GTXCSUM), 0);
	assert_int_equal(offload_after(NET_GUEST_OFFLOADS), all);
	assert_int_equal(private_net_ethtool(NET_TAP, ETHTOOL_GTSO), 1);
	driver_reset(&net.drv);
	assert_int_equal(net_hooks.offload, 0);
	assert_int_equal(private_net_ethtool(NET_TAP, ETHTOOL_GTSO), 0);
	assert_int_equal(offload_after(NET_F(GUEST_CSUM)), TUN_F_CSUM);
	assert_int_equal(offload_after(NET_F(GUEST_CSUM) | NET_F(GUEST_TSO4)),
			 TUN_F_CSUM | TUN_F_TSO4);
	assert_int_equal(offload_after(NET_F(GUEST_CSUM) | NET_F(GUEST_TSO6)),
			 TUN_F_CSUM | TUN_F_TSO6);
	/* Segments need checksums (§5.1.3.1); and what the host may do says nothing of the guest. */
	assert_int_equal(offload_after(NET_F(GUEST_TSO4) | NET_F(GUEST_TSO6)), 0);
	assert_int_equal(offload_after(NET_HOST_OFFLOADS), 0);
	/* Destroyed while it runs. */
	assert_int_equal(offload_after(NET_GUEST_OFFLOADS), all);
	net_release(&net);
	assert_int_equal(net_hooks.offload, 0);
	net_attach(&net, NULL);
}

/* A UDP datagram from the guest to the host's address, checksum complete or left to do. */
static size_t udp_frame(uint8_t *frame, const uint8_t dst_mac[6], const char *payload, bool partial)
{
	size_t len = strlen(payload);
	struct ethhdr eth = { .h_proto = htons(ETH_P_IP) };
	struct iphdr ip = { .version = 4,
			    .ihl = 5,
			    .tot_len = htons((uint16_t)(28 + len)),
			    .ttl = 64,
			    .protocol = IPPROTO_UDP,
			    .saddr = inet_addr("192.0.2.2"),
			    .daddr = inet_addr("192.0.2.1") };
	struct udphdr udp = { .source = htons(7000),
			      .dest = htons(7),
			      .len = htons((uint16_t)(8 + len)) };
	uint8_t *at = frame + sizeof(eth);

	memcpy(eth.h_dest, dst_mac, 6);
	memcpy(eth.h_source, net_guest_mac, 6);
	ip.check = htons((uint16_t)~net_checksum(&ip, sizeof(ip), 0));
	memcpy(frame, &eth, sizeof(eth));
	memcpy(at, &ip, sizeof(ip));
	memcpy(at + 28, payload, len);

	uint16_t sum = net_checksum(at + 12, 8, (uint32_t)(IPPROTO_UDP + 8 + len));

	udp.check = htons(sum);
	memcpy(at + 20, &udp, sizeof(udp));
	if (!partial) {
		udp.check = 0;
		memcpy(at + 20, &udp, sizeof(udp));
		udp.check = htons((uint16_t)~net_checksum(at + 20, 8 + len, sum));
		memcpy(at + 20, &udp, sizeof(udp));
	}
	return sizeof(eth) + 28 + len;
}

/* The host's UDP socket and the guest talk, with the checksum left to the other side or not. */
static void talk_udp(bool partial)
{
	struct sockaddr_in host = { .sin_family = AF_INET,
				    .sin_port = htons(7),
				    .sin_addr.s_addr = inet_addr("192.0.2.1") };
	struct sockaddr_in guest = { .sin_family = AF_INET,
				     .sin_port = htons(7000),
				     .sin_addr.s_addr = inet_addr("192.0.2.2") };
	struct virtio_net_hdr_v1 hdr = { .flags = partial ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
					 .csum_start = 34,
					 .csum_offset = 6 };
	uint8_t frame[2000], mac[6], expected[2000];
	char text[100] = "";
	cleanup_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	private_net_set_address(NET_TAP, "192.0.2.1");
	private_net_add_neighbour(NET_TAP, "192.0.2.2", net_guest_mac);
	assert_int_equal(bind(sock, (struct sockaddr *)&host, sizeof(host)), 0);
	net_post(&net, 4, 2048);
	driver_kick(&net.drv, VIRTIO_NET_RX);
	driver_run(&net.drv);

	assert_int_equal(
		sendto(sock, "hello guest", 11, 0, (struct sockaddr *)&guest, sizeof(guest)), 11);
	driver_run_wait(&net.drv, 1000);

	struct virtio_net_hdr_v1 got;
	ssize_t len = net_take(&net, &got, frame, NULL);

	assert_int_equal(len, 14 + 28 + 11);
	assert_memory_equal(frame, net_guest_mac, 6);
	assert_memory_equal(frame + 42, "hello guest", 11);
	assert_int_equal(got.num_buffers, 1);
	assert_int_equal(got.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, hdr.flags);
	if (partial) {
		assert_int_equal(got.csum_start, 34);
		assert_int_equal(got.csum_offset, 6);
	} else {
		/* Over the pseudo header too, a right one adds up to all ones. */
		assert_int_equal(got.flags, 0);
		assert_int_equal(
			net_checksum(frame + 34, 19, net_checksum(frame + 26, 8, IPPROTO_UDP + 19)),
			0xffff);
	}

	memcpy(mac, frame + 6, 6);
	size_t size = udp_frame(expected, mac, "hello host", partial);

	net_send(&net, &hdr, expected, size);
	driver_run(&net.drv);
	assert_int_equal(net_sent(&net), 1);
	assert_int_equal(recv(sock, text, sizeof(text), 0), 10);
	assert_string_equal(text, "hello host");

	struct virtio_net_stats stats = net_stats(&net);

	assert_int_equal(stats.rx_packets, 1);
	assert_int_equal(stats.rx_bytes, 53);
	assert_int_equal(stats.tx_packets, 1);
	assert_int_equal(stats.tx_bytes, 52);
	assert_int_equal(stats.rx_errs + stats.rx_drop + stats.tx_errs + stats.tx_drop, 0);
}

static void talks_to_the_host_without_offloads(void **state)
{
	NET_START(VERSION_1);
	talk_udp(false);
}

static void talks_to_the_host_with_offloads(void **state)
{
	NET_START(ALL_FEATURES);
	talk_udp(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		NET_TEST(offers_what_it_can_do),
		NET_TEST(failed_creation_says_why_and_leaves_nothing),
		NET_TEST(offloads_follow_what_the_driver_acked),
		NET_TEST(talks_to_the_host_without_offloads),
		NET_TEST(talks_to_the_host_with_offloads),
	};

	return cmocka_run_group_tests_name("virtio_net", tests, net_enter, NULL);
}
