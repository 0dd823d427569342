/* SPDX-License-Identifier: Apache-2.0 */
#include "private_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>

#include "vmm/util.h"

static bool write_file(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Without privileges: as root of a user namespace. */
static bool become_root(void)
{
	char uid_map[32], gid_map[32];

	snprintf(uid_map, sizeof(uid_map), "0 %u 1", geteuid());
	snprintf(gid_map, sizeof(gid_map), "0 %u 1", getegid());
	return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 &&
	       write_file("/proc/self/setgroups", "deny") &&
	       write_file("/proc/self/uid_map", uid_map) &&
	       write_file("/proc/self/gid_map", gid_map);
}

const char *private_net_enter(void)
{
	if (unshare(CLONE_NEWNET) < 0 && !become_root())
		return "no permission to make a network namespace";
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		return "no /dev/net/tun, or no permission to open it";
	/* Both fail if the kernel has no IPv6: just as well. */
	write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	return NULL;
}

/* An ioctl on the device by its name. */
static int request(const char *name, unsigned long command, struct ifreq *ifr)
{
	cleanup_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(sock >= 0);
	strcpy(ifr->ifr_name, name);
	return ioctl(sock, command, ifr);
}

void private_net_add(const char *name, unsigned int flags)
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_NO_PI | flags) };
	cleanup_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (!(flags & IFF_TUN))
		ifr.ifr_flags |= IFF_TAP;
	strcpy(ifr.ifr_name, name);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1ul), 0);
}

void private_net_delete(const char *name)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
	} message = {
		.header = { .nlmsg_len = sizeof(message),
			    .nlmsg_type = RTM_DELLINK,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.info = { .ifi_index = (int)if_nametoindex(name) },
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer;
	cleanup_close int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	assert_true(sock >= 0);
	assert_int_equal(send(sock, &message, sizeof(message), 0), sizeof(message));
	assert_true(recv(sock, &answer, sizeof(answer), 0) >= (ssize_t)sizeof(answer.header));
	assert_int_equal(answer.error.error, 0);
	assert_false(private_net_exists(name));
}

bool private_net_exists(const char *name)
{
	return if_nametoindex(name) != 0;
}

void private_net_up(const char *name, bool up)
{
	struct ifreq ifr = { 0 };

	assert_int_equal(request(name, SIOCGIFFLAGS, &ifr), 0);
	if (up)
		ifr.ifr_flags |= IFF_UP;
	else
		ifr.ifr_flags &= ~IFF_UP;
	assert_int_equal(request(name, SIOCSIFFLAGS, &ifr), 0);
}

void private_net_set_mtu(const char *name, int mtu)
{
	struct ifreq ifr = { .ifr_mtu = mtu };

	assert_int_equal(request(name, SIOCSIFMTU, &ifr), 0);
}

static struct sockaddr ipv4(const char *address)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr(address) };
	struct sockaddr sa;

	memcpy(&sa, &in, sizeof(sa));
	return sa;
}

void private_net_set_address(const char *name, const char *address)
{
	struct ifreq ifr = { .ifr_addr = ipv4(address) };

	assert_int_equal(request(name, SIOCSIFADDR, &ifr), 0);
	ifr.ifr_netmask = ipv4("255.255.255.0");
	assert_int_equal(request(name, SIOCSIFNETMASK, &ifr), 0);
}

void private_net_add_neighbour(const char *name, const char *address, const uint8_t mac[6])
{
	struct arpreq arp = { .arp_pa = ipv4(address), .arp_flags = ATF_COM | ATF_PERM };
	cleanup_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	arp.arp_ha.sa_family = ARPHRD_ETHER;
	memcpy(arp.arp_ha.sa_data, mac, 6);
	strcpy(arp.arp_dev, name);
	assert_int_equal(ioctl(sock, SIOCSARP, &arp), 0);
}

uint32_t private_net_ethtool(const char *name, uint32_t command)
{
	struct ethtool_value value = { .cmd = command };
	struct ifreq ifr = { .ifr_data = (void *)&value };

	assert_int_equal(request(name, SIOCETHTOOL, &ifr), 0);
	return value.data;
}

int private_net_packet_socket(const char *name, bool with_header)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_ALL),
				       .sll_ifindex = (int)if_nametoindex(name) };
	int sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1, buffer = 8 << 20;

	assert_true(sock >= 0);
	assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)), 0);
	assert_int_equal(setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)), 0);
	assert_int_equal(setsockopt(sock, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)),
			 0);
	if (with_header)
		assert_int_equal(setsockopt(sock, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)),
				 0);
	assert_int_equal(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
	return sock;
}
