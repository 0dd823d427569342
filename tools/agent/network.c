/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/agent/agent.h"

static struct sockaddr_in internet(uint32_t address)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = address };
}

static int bring_up(int fd, const char *name)
{
	struct ifreq request = { 0 };

	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &request);
}

static int set_address(int fd, unsigned long request_number, uint32_t address)
{
	struct ifreq request = { .ifr_name = "eth0" };
	struct sockaddr_in sin = internet(address);

	memcpy(&request.ifr_addr, &sin, sizeof(sin));
	return ioctl(fd, request_number, &request);
}

static int add_default_route(int fd, uint32_t gateway)
{
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };
	struct sockaddr_in any = internet(INADDR_ANY), via = internet(gateway);

	memcpy(&route.rt_dst, &any, sizeof(any));
	memcpy(&route.rt_genmask, &any, sizeof(any));
	memcpy(&route.rt_gateway, &via, sizeof(via));
	return ioctl(fd, SIOCADDRT, &route);
}

int configure_network(int host, const struct job *job)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct in_addr address, gateway;
	char text[32];

	if (fd < 0)
		return job->address ? send_failure(host, "network: %s", strerror(errno)) : 0;
	bring_up(fd, "lo");
	if (!job->address) {
		close(fd);
		return 0;
	}
	const char *slash = strchr(job->address, '/');
	long bits = slash ? strtol(slash + 1, NULL, 10) : -1;

	snprintf(text, sizeof(text), "%.*s", slash ? (int)(slash - job->address) : 0, job->address);
	if (bits < 0 || bits > 32 || inet_pton(AF_INET, text, &address) != 1)
		return send_failure(host, "network: bad address %s", job->address);
	if (set_address(fd, SIOCSIFADDR, address.s_addr) < 0 ||
	    set_address(fd, SIOCSIFNETMASK, bits ? htonl(~0u << (32 - bits)) : 0) < 0 ||
	    bring_up(fd, "eth0") < 0)
		return send_failure(host, "network: set %s on eth0: %s", job->address, strerror(errno));
	if (job->gateway && (inet_pton(AF_INET, job->gateway, &gateway) != 1 ||
			     add_default_route(fd, gateway.s_addr) < 0))
		return send_failure(host, "network: default route by %s: %s", job->gateway,
				    strerror(errno));
	close(fd);
	return 0;
}
