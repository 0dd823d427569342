/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: the vsock device, between a hostile guest and programs of the host that connect, listen,
 * write, read and go away. Its sockets are files in the working directory.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include <linux/virtio_vsock.h>

#include "devices/virtio/vsock.h"
#include "hostile_guest.h"
#include "machine.h"
#include "vmm/util.h"

#define UDS_PATH     "v"
#define GUEST_CID    3
#define LISTENERS    2
#define SOCKETS	     8
#define INHERITED    1024u

/* The host's programs. -1: closed. */
struct host {
	int listeners[LISTENERS]; /* of ports 0 and 1 */
	int sockets[SOCKETS];
	unsigned int next;
	bool inherited; /* the socket of port INHERITED was handed over */
};

static struct host *host(void)
{
	static struct host host;

	return &host;
}

static struct sockaddr_un address_of(int port)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (port < 0)
		strcpy(address.sun_path, UDS_PATH);
	else
		snprintf(address.sun_path, sizeof(address.sun_path), UDS_PATH "_%d", port);
	return address;
}

static void hold(int fd)
{
	struct host *h = host();
	int *slot = &h->sockets[h->next++ % SOCKETS];

	close_fd(slot);
	*slot = fd;
}

static void unlisten(unsigned int i)
{
	if (host()->listeners[i] >= 0)
		unlink(address_of((int)i).sun_path);
	close_fd(&host()->listeners[i]);
}

static void listen_on(unsigned int i)
{
	struct sockaddr_un address = address_of((int)i);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	unlisten(i);
	unlink(address.sun_path); /* of a process that crashed */
	must(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 2) == 0);
	host()->listeners[i] = fd;
}

static void host_begin(struct hostile_guest *g)
{
	struct host *h = host();

	*h = (struct host){ .inherited = g->options & 1 };
	memset(h->sockets, 0xff, sizeof(h->sockets));
	memset(h->listeners, 0xff, sizeof(h->listeners));
	if (g->options & 2)
		listen_on(0);
}

static void host_end(struct hostile_guest *g)
{
	(void)g;
	for (unsigned int i = 0; i < SOCKETS; i++)
		close_fd(&host()->sockets[i]);
	for (unsigned int i = 0; i < LISTENERS; i++)
		unlisten(i);
}

static struct virtio_device *create(struct hostile_guest *g)
{
	struct vsock_guest_port port = { .port = INHERITED };
	struct virtio_vsock_options options = { .guest_cid = GUEST_CID, .uds_path = UDS_PATH };
	struct virtio_device *device;
	int ends[2];

	unlink(UDS_PATH);
	if (host()->inherited) {
		must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
		port.fd = ends[0];
		options.guest_ports = &port;
		options.n_guest_ports = 1;
		hold(ends[1]);
	}
	(void)g;
	return virtio_vsock_create(&options, &g->memory, &g->loop, &device, NULL) < 0 ? NULL : device;
}

static void client(struct hostile_guest *g)
{
	static const char *const greetings[] = {
		"CONNECT 1234\n", "connect 1235\r\n", "CONNECT 4294967295\n", "CONNECT 1234\nmore",
		"CONNECT ",	  "CONNECT 4294967296\n", "\n",
	};
	struct sockaddr_un address = address_of(-1);
	uint8_t which = input_u8(&g->in);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	char any[40];
	size_t len = which / 8;

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return;
	}
	if (which % 8 < ARRAY_SIZE(greetings)) {
		(void)send(fd, greetings[which % 8], strlen(greetings[which % 8]), MSG_NOSIGNAL);
	} else {
		input_bytes(&g->in, any, len);
		(void)send(fd, any, len, MSG_NOSIGNAL);
	}
	hold(fd);
}

/* Some bytes through a socket; a full or empty one is fine. */
static void transfer(int fd, bool read, uint8_t amount)
{
	static uint8_t bytes[1 << 17];
	size_t len = 1u << amount % 18;

	if (read)
		(void)recv(fd, bytes, len, MSG_DONTWAIT);
	else
		(void)send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void host_event(struct hostile_guest *g)
{
	uint8_t what = input_u8(&g->in);
	unsigned int which = what / 8 % SOCKETS;
	int *fd = &host()->sockets[which];

	switch (what % 8) {
	case 0:
		client(g);
		break;
	case 1:
		if (what & 64)
			unlisten(which % LISTENERS);
		else
			listen_on(which % LISTENERS);
		break;
	case 2: {
		int taken = accept4(host()->listeners[which % LISTENERS], NULL, NULL, SOCK_CLOEXEC);

		if (taken >= 0)
			hold(taken);
		break;
	}
	case 3:
		transfer(*fd, false, input_u8(&g->in));
		break;
	case 4:
		transfer(*fd, true, input_u8(&g->in));
		break;
	case 5:
		if (*fd >= 0)
			shutdown(*fd, what / 64 % 3);
		break;
	case 6:
		close_fd(fd);
		break;
	default:
		machine_pass((uint64_t)input_u8(&g->in) * 250000000u);
		break;
	}
}

static size_t header(struct hostile_guest *g, unsigned int queue, uint8_t *bytes)
{
	static const uint32_t host_ports[] = { 0, 1, INHERITED, VSOCK_HOST_PORT_FIRST,
					       VSOCK_HOST_PORT_FIRST + 1, VSOCK_HOST_PORT_FIRST + 2,
					       VSOCK_HOST_PORT_FIRST + 3, 77 };
	uint8_t how, ports, odd;

	if (queue != 1)
		return 0;
	how = input_u8(&g->in);
	ports = input_u8(&g->in);
	odd = input_u8(&g->in);

	struct virtio_vsock_hdr hdr = {
		.src_cid = GUEST_CID,
		.dst_cid = 2,
		.src_port = 1234 + (ports >> 3 & 3),
		.dst_port = host_ports[ports & 7],
		.type = odd & 1 ? odd : VIRTIO_VSOCK_TYPE_STREAM,
		.op = how & 7 ? how & 7 : input_u8(&g->in),
		.flags = odd >> 1 & 3,
		.buf_alloc = how & 8 ? input_u32(&g->in) : 65536,
		.fwd_cnt = how & 16 ? input_u32(&g->in) : 0,
		.len = how & 32 ? input_u32(&g->in) : 1u << (how >> 6) * 5,
	};

	if (odd & 8)
		hdr.src_cid = input_u64(&g->in);
	if (odd & 16)
		hdr.dst_cid = input_u64(&g->in);
	if (hdr.op != VIRTIO_VSOCK_OP_RW && !(odd & 32))
		hdr.len = 0;
	memcpy(bytes, &hdr, sizeof(hdr));
	return sizeof(hdr);
}

static const struct hostile_device vsock = {
	.create = create,
	.host_begin = host_begin,
	.host_end = host_end,
	.host_event = host_event,
	.header = header,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	hostile_guest_run(&vsock, data, size);
	return 0;
}
