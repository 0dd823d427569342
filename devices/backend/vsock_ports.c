/* SPDX-License-Identifier: Apache-2.0 */
/* Ports that a guest reaches by a socket which the monitor's parent connected and handed over. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "devices/backend/vsock_mux.h"
#include "vmm/open.h"
#include "vmm/util.h"

static bool is_connected_stream(int fd)
{
	struct sockaddr_storage peer;
	socklen_t peer_len = sizeof(peer), type_len = sizeof(int);
	int type;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_STREAM &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0;
}

static int take(int inherited, struct error *err)
{
	cleanup_close int fd = inherited_take(inherited, O_RDWR, err);

	if (fd < 0)
		return fd;
	if (!is_connected_stream(fd))
		return error_set(err, EINVAL, "file descriptor %d is no connected stream socket",
				 inherited);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return error_sys(err, errno, "set O_NONBLOCK");
	return take_fd(&fd);
}

int vsock_ports_take(struct vsock_mux *mux, const struct vsock_guest_port *ports, unsigned int n,
		     struct error *err)
{
	if (n > VSOCK_GUEST_PORTS_MAX)
		return error_set(err, EINVAL, "%u guest_ports, at most %d are possible", n,
				 VSOCK_GUEST_PORTS_MAX);
	for (unsigned int i = 0; i < n; i++) {
		int fd = take(ports[i].fd, err);

		if (fd < 0)
			return error_wrap(err, "guest_ports[%u]", i);
		mux->guest_ports[i] = (struct vsock_guest_port){ .port = ports[i].port, .fd = fd };
		mux->n_guest_ports++;
	}
	return 0;
}

int vsock_ports_claim(struct vsock_mux *mux, uint32_t port)
{
	for (unsigned int i = 0; i < mux->n_guest_ports; i++)
		if (mux->guest_ports[i].port == port && mux->guest_ports[i].fd >= 0)
			return take_fd(&mux->guest_ports[i].fd);
	return -1;
}

void vsock_ports_close(struct vsock_mux *mux)
{
	for (unsigned int i = 0; i < mux->n_guest_ports; i++)
		close_fd(&mux->guest_ports[i].fd);
	mux->n_guest_ports = 0;
}
