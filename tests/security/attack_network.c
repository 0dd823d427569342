/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts to talk to somebody. */
#include <arpa/inet.h>
#include <linux/audit.h>
#include <linux/if.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/security/attacks.h"


static long make_socket(int domain, int type, int protocol)
{
	return syscall(SYS_socket, domain, type | SOCK_CLOEXEC, protocol);
}

static long connect_to(int domain, int type, const void *address, socklen_t length)
{
	long fd = make_socket(domain, type, 0);

	return fd < 0 ? -1 : syscall(SYS_connect, fd, address, length);
}

static struct sockaddr_in host(const struct target *t)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)t->port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static long connect_by_tcp(const struct target *t)
{
	const struct sockaddr_in address = host(t);

	return connect_to(AF_INET, SOCK_STREAM, &address, sizeof(address));
}

static long connect_by_tcp6(const struct target *t)
{
	const struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT,
					      .sin6_port = htons((uint16_t)t->port) };

	return connect_to(AF_INET6, SOCK_STREAM, &address, sizeof(address));
}

static long send_by_udp(const struct target *t)
{
	const struct sockaddr_in address = host(t);
	long fd = make_socket(AF_INET, SOCK_DGRAM, 0);

	return fd < 0 ? -1 : syscall(SYS_sendto, fd, "x", 1, 0, &address, sizeof(address));
}

static long send_raw(const struct target *t)
{
	(void)t;
	return make_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
}

static long ping(const struct target *t)
{
	(void)t;
	return make_socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}

static long sniff(const struct target *t)
{
	(void)t;
	return make_socket(AF_PACKET, SOCK_RAW, htons(3));
}

/* What the kernel answers to a request, whose length its header says. */
static long ask_by_netlink(int protocol, const struct nlmsghdr *request)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer;
	long fd = make_socket(AF_NETLINK, SOCK_RAW, protocol);

	if (fd < 0 || syscall(SYS_sendto, fd, request, request->nlmsg_len, 0, NULL, 0) < 0 ||
	    syscall(SYS_recvfrom, fd, &answer, sizeof(answer), MSG_DONTWAIT, NULL, NULL) < 0)
		return -1;
	errno = -answer.error.error;
	return answer.error.error;
}

static long set_lo_up(const struct target *t)
{
	const struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
	} request = {
		.header = { .nlmsg_len = sizeof(request), .nlmsg_type = RTM_NEWLINK,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.info = { .ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP },
	};

	(void)t;
	return ask_by_netlink(NETLINK_ROUTE, &request.header);
}

static long write_audit_log(const struct target *t)
{
	const struct nlmsghdr request = { .nlmsg_len = sizeof(request), .nlmsg_type = AUDIT_GET,
					  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK };

	(void)t;
	return ask_by_netlink(NETLINK_AUDIT, &request);
}

/* No network namespace bounds it: the other end would be the machine that this one runs in. */
static long talk_by_vsock(const struct target *t)
{
	(void)t;
	return make_socket(AF_VSOCK, SOCK_STREAM, 0);
}

static long use_kernel_crypto(const struct target *t)
{
	(void)t;
	return make_socket(AF_ALG, SOCK_SEQPACKET, 0);
}

static long use_odd_families(const struct target *t)
{
	static const int families[] = { AF_X25, AF_KEY, AF_RDS, AF_LLC, AF_CAN, AF_TIPC, AF_BLUETOOTH,
					AF_RXRPC, AF_KCM, AF_QIPCRTR, AF_SMC, AF_XDP, AF_MCTP };

	(void)t;
	for (unsigned int i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		if (make_socket(families[i], SOCK_STREAM, 0) >= 0 ||
		    make_socket(families[i], SOCK_DGRAM, 0) >= 0 || make_socket(families[i], SOCK_RAW, 0) >= 0)
			return 0;
	return -1;
}

static long connect_to_unix(const char *path, bool abstract)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(address.sun_path + abstract, sizeof(address.sun_path) - 1, "%s", path);

	return connect_to(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, &address,
			  (socklen_t)offsetof(struct sockaddr_un, sun_path) + (socklen_t)n + 1);
}

static long connect_to_abstract(const struct target *t)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(t->abstract);

	memcpy(address.sun_path + 1, t->abstract, length);
	return connect_to(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, &address,
			  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length));
}

/* SECRET.sock listens outside. */
static long connect_to_path(const struct target *t)
{
	char path[108];

	snprintf(path, sizeof(path), "%s.sock", t->secret);
	return connect_to_unix(path, false);
}

static long connect_to_system_bus(const struct target *t)
{
	(void)t;
	if (connect_to_unix("/run/dbus/system_bus_socket", false) >= 0)
		return 0;
	return connect_to_unix("/run/docker.sock", false);
}

static long listen_on_tcp(const struct target *t)
{
	const struct sockaddr_in address = { .sin_family = AF_INET };
	long fd = make_socket(AF_INET, SOCK_STREAM, 0);

	(void)t;
	if (fd < 0 || syscall(SYS_bind, fd, &address, sizeof(address)) < 0)
		return -1;
	return syscall(SYS_listen, fd, 1);
}

/* An io_uring of one entry does the call that a filter on system calls wouldn't see. */
static long by_ring(const struct io_uring_sqe *what)
{
	struct io_uring_params p = { 0 };
	long fd = syscall(SYS_io_uring_setup, 1, &p);

	if (fd < 0)
		return -1;
	uint8_t *rings = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, (off_t)IORING_OFF_SQES);

	if (rings == MAP_FAILED || sqe == MAP_FAILED)
		return -1;
	*sqe = *what;
	*(uint32_t *)(rings + p.sq_off.array) = 0;
	*(uint32_t *)(rings + p.sq_off.tail) = 1;
	if (syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -1;
	int result = ((struct io_uring_cqe *)(rings + p.cq_off.cqes))->res;

	errno = result < 0 ? -result : 0;
	return result;
}

static long open_by_ring(const struct target *t)
{
	const struct io_uring_sqe sqe = { .opcode = IORING_OP_OPENAT, .fd = -100,
					  .addr = (uintptr_t)t->secret };

	return by_ring(&sqe);
}

static long connect_by_ring(const struct target *t)
{
	const struct sockaddr_in address = host(t);
	const struct io_uring_sqe sqe = { .opcode = IORING_OP_CONNECT, .addr = (uintptr_t)&address,
					  .off = sizeof(address),
					  .fd = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) };

	return by_ring(&sqe);
}

const struct attack network_attacks[] = {
	{ "connect to the host by TCP", connect_by_tcp },
	{ "connect to the host by TCP over IPv6", connect_by_tcp6 },
	{ "send to the host by UDP", send_by_udp },
	{ "make a raw socket", send_raw },
	{ "make a ping socket", ping },
	{ "make a packet socket", sniff },
	{ "netlink: set lo up", set_lo_up },
	{ "netlink: talk to the audit system", write_audit_log },
	{ "make a vsock socket of the host's", talk_by_vsock },
	{ "use the kernel's cryptography (AF_ALG)", use_kernel_crypto },
	{ "make a socket of another family", use_odd_families },
	{ "connect to an abstract Unix socket", connect_to_abstract },
	{ "connect to a Unix socket by its path", connect_to_path },
	{ "connect to the system's Unix sockets", connect_to_system_bus },
	{ "listen on a TCP port", listen_on_tcp },
	{ "io_uring: open a host file", open_by_ring },
	{ "io_uring: connect to the host", connect_by_ring },
	{ NULL, NULL },
};
