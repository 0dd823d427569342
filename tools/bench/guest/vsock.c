/* SPDX-License-Identifier: Apache-2.0 */
/* vsock: a stream each way and round trips, against netserver behind the host's Unix socket. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <linux/vm_sockets.h>

#include "bench.h"

static int connect_to_host(unsigned int port)
{
	struct sockaddr_vm to = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port };
	struct timeval limit = { .tv_sec = 20 };
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 ? fd : -1;
}

int bench_vsock(int argc, char *argv[])
{
	static const struct talk all[] = {
		{ "warm_up", SOCK_STREAM, 'E' },
		{ "stream_to_host", SOCK_STREAM, 'U' },
		{ "stream_to_guest", SOCK_STREAM, 'D' },
		{ "round_trip", SOCK_STREAM, 'E' },
	};

	if (argc != 3)
		return errno = EINVAL, failed("vsock PORT MIB PINGS");
	uint64_t bytes = strtoull(argv[1], NULL, 10) << 20;
	unsigned int pings = (unsigned int)strtoul(argv[2], NULL, 10);

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int fd = connect_to_host((unsigned int)strtoul(argv[0], NULL, 10));

		if (fd < 0)
			return failed("connect");
		if (bench_talk(&all[i], fd, bytes, pings) < 0)
			return -1;
	}
	return 0;
}
