/* SPDX-License-Identifier: Apache-2.0 */
#include "vsock_guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/util.h"

#define HEADER sizeof(struct virtio_vsock_hdr)

void guest_create(struct guest *g, const char *name)
{
	guest_create_with_ports(g, name, NULL, 0);
}

void guest_create_with_ports(struct guest *g, const char *name,
			     const struct vsock_guest_port *ports, unsigned int n_ports)
{
	struct error err = { 0 };

	memset(g, 0, sizeof(*g));
	strcpy(g->dir, "/tmp/mote-vsock-XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	if (name)
		snprintf(g->path, sizeof(g->path), "%s/%s", g->dir, name);
	driver_setup(&g->drv);

	const struct virtio_vsock_options options = {
		.guest_cid = GUEST_CID,
		.uds_path = name ? g->path : NULL,
		.guest_ports = ports,
		.n_guest_ports = n_ports,
	};

	if (virtio_vsock_create(&options, &g->drv.memory, &g->drv.loop, &g->device, &err) < 0)
		fail_msg("%s", err.message);
	driver_attach(&g->drv, g->device);
	g->tx_gpa = driver_alloc(&g->drv, HEADER + 131072, 8);
}

void guest_start(struct guest *g, uint64_t features, unsigned int n_rx)
{
	assert_int_equal(driver_start(&g->drv, features), 0xf);
	guest_post_rx(g, n_rx, 4096);
	guest_run(g);
}

void guest_setup(struct guest *g, uint64_t features, unsigned int n_rx)
{
	guest_create(g, "v.sock");
	guest_start(g, features, n_rx);
}

void guest_teardown(struct guest *g)
{
	driver_teardown(&g->drv);
	/* Fails if anything is left. */
	assert_int_equal(rmdir(g->dir), 0);
}

static void post(struct guest *g, uint64_t gpa, uint32_t len)
{
	struct driver_buf bufs[2] = { { gpa, len } };
	unsigned int n = 1;
	uint16_t head;

	if (g->rx_split) {
		bufs[0].len = g->rx_split;
		bufs[1] = (struct driver_buf){ gpa + g->rx_split, len - g->rx_split };
		n = 2;
	}
	head = driver_add(&g->drv, RX, bufs, 0, n);
	g->rx_gpa[head] = gpa;
	g->rx_len[head] = len;
	if (driver_kick_wanted(&g->drv, RX))
		driver_kick(&g->drv, RX);
}

void guest_post_rx(struct guest *g, unsigned int n, uint32_t len)
{
	for (unsigned int i = 0; i < n; i++)
		post(g, driver_alloc(&g->drv, len, 8), len);
}

void guest_give_back(struct guest *g)
{
	g->hold_rx = false;
	while (g->n_held > 0) {
		g->n_held--;
		post(g, g->held[g->n_held].gpa, g->held[g->n_held].len);
	}
	guest_run(g);
}

void guest_run(struct guest *g)
{
	driver_run(&g->drv);
}

struct virtio_vsock_hdr guest_header(const struct guest *g, struct ports ports, uint16_t op,
				     uint32_t len)
{
	return (struct virtio_vsock_hdr){
		.src_cid = GUEST_CID,
		.dst_cid = 2,
		.src_port = ports.guest,
		.dst_port = ports.host,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = GUEST_ROOM,
		.fwd_cnt = g->fwd_cnt,
	};
}

/* As Linux does it: header and payload in descriptors of their own. */
void guest_queue(struct guest *g, const struct virtio_vsock_hdr *hdr, const void *payload,
		 uint32_t len)
{
	const struct driver_buf bufs[2] = { { g->tx_gpa, HEADER }, { g->tx_gpa + HEADER, len } };

	memcpy(driver_ptr(&g->drv, g->tx_gpa, HEADER), hdr, HEADER);
	if (len > 0)
		memcpy(driver_ptr(&g->drv, g->tx_gpa + HEADER, len), payload, len);
	if (g->drv.features & INDIRECT_DESC && len % 2) {
		uint64_t heap = g->drv.heap;

		driver_add_indirect(&g->drv, TX, bufs, len > 0 ? 2 : 1, 0);
		/* The table is in use until the packet is taken: tests send one by one then. */
		g->drv.heap = heap;
	} else {
		driver_add(&g->drv, TX, bufs, len > 0 ? 2 : 1, 0);
	}
}

void guest_send_raw(struct guest *g, const struct virtio_vsock_hdr *hdr, const void *payload,
		    uint32_t len)
{
	uint32_t used_len;

	guest_queue(g, hdr, payload, len);
	if (driver_kick_wanted(&g->drv, TX))
		driver_kick(&g->drv, TX);
	guest_run(g);
	assert_true(driver_get_used(&g->drv, TX, NULL, &used_len));
	assert_int_equal(used_len, 0);
}

void guest_send(struct guest *g, struct ports ports, uint16_t op)
{
	struct virtio_vsock_hdr hdr = guest_header(g, ports, op, 0);

	guest_send_raw(g, &hdr, NULL, 0);
}

void guest_shutdown(struct guest *g, struct ports ports, uint32_t flags)
{
	struct virtio_vsock_hdr hdr = guest_header(g, ports, VIRTIO_VSOCK_OP_SHUTDOWN, 0);

	hdr.flags = flags;
	guest_send_raw(g, &hdr, NULL, 0);
}

void guest_write(struct guest *g, struct ports ports, const void *data, uint32_t len)
{
	struct virtio_vsock_hdr hdr = guest_header(g, ports, VIRTIO_VSOCK_OP_RW, len);

	guest_send_raw(g, &hdr, data, len);
}

bool guest_take(struct guest *g, struct packet *packet)
{
	uint32_t head, used_len;

	if (!driver_get_used(&g->drv, RX, &head, &used_len))
		return false;
	assert_true(used_len >= HEADER && used_len <= g->rx_len[head]);

	uint64_t gpa = g->rx_gpa[head];
	const uint8_t *buffer = driver_ptr(&g->drv, gpa, used_len);

	memcpy(&packet->hdr, buffer, HEADER);
	packet->len = used_len - HEADER;
	assert_true(packet->len <= sizeof(packet->data));
	memcpy(packet->data, buffer + HEADER, packet->len);
	for (uint64_t page = gpa; page < gpa + used_len; page = (page | 4095) + 1)
		assert_true(guest_memory_is_dirty(&g->drv.memory, page));
	/* What holds for every packet. */
	assert_int_equal(packet->hdr.src_cid, 2);
	assert_int_equal(packet->hdr.dst_cid, GUEST_CID);
	assert_int_equal(packet->hdr.len, packet->len);
	assert_int_equal(packet->len > 0, packet->hdr.op == VIRTIO_VSOCK_OP_RW);
	assert_int_equal(packet->hdr.flags != 0, packet->hdr.op == VIRTIO_VSOCK_OP_SHUTDOWN);
	if (g->hold_rx)
		g->held[g->n_held++] = (struct driver_buf){ gpa, g->rx_len[head] };
	else
		post(g, gpa, g->rx_len[head]);
	guest_run(g);
	return true;
}

static void take_for(struct guest *g, struct ports ports, uint16_t op, struct packet *packet)
{
	assert_true(guest_take(g, packet));
	assert_int_equal(packet->hdr.op, op);
	assert_int_equal(packet->hdr.src_port, ports.host);
	assert_int_equal(packet->hdr.dst_port, ports.guest);
}

void guest_expect(struct guest *g, struct ports ports, uint16_t op)
{
	struct packet packet;

	take_for(g, ports, op, &packet);
}

void guest_expect_shutdown(struct guest *g, struct ports ports, uint32_t flags)
{
	struct packet packet;

	take_for(g, ports, VIRTIO_VSOCK_OP_SHUTDOWN, &packet);
	assert_int_equal(packet.hdr.flags, flags);
}

void guest_expect_data(struct guest *g, struct ports ports, const void *data, uint32_t len)
{
	struct packet packet;

	take_for(g, ports, VIRTIO_VSOCK_OP_RW, &packet);
	assert_int_equal(packet.len, len);
	assert_memory_equal(packet.data, data, len);
}

void guest_expect_nothing(struct guest *g)
{
	struct packet packet;

	guest_run(g);
	if (guest_take(g, &packet))
		fail_msg("a packet: op %u, flags %u, %u bytes", packet.hdr.op, packet.hdr.flags,
			 packet.len);
}

struct virtio_vsock_counters guest_counters(const struct guest *g)
{
	struct virtio_vsock_counters counters;

	virtio_vsock_counters(g->device, &counters);
	return counters;
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	assert_true(strlen(path) < sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	return address;
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	return fd;
}

int host_connect(const struct guest *g)
{
	struct sockaddr_un address = address_of(g->path);
	int fd = new_socket();

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

int host_client(struct guest *g, const char *line)
{
	int fd = host_connect(g);

	guest_run(g);
	host_write(g, fd, line, strlen(line));
	return fd;
}

static void port_path(const struct guest *g, uint32_t port, char *path, size_t size)
{
	snprintf(path, size, "%s_%u", g->path, port);
}

int host_listen(const struct guest *g, uint32_t port)
{
	char path[128];
	int fd = new_socket();

	port_path(g, port, path, sizeof(path));

	struct sockaddr_un address = address_of(path);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 2048), 0);
	return fd;
}

void host_unlisten(const struct guest *g, uint32_t port, int fd)
{
	char path[128];

	port_path(g, port, path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	close(fd);
}

void host_write(struct guest *g, int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
	guest_run(g);
}

void host_expect(int fd, const void *data, size_t len)
{
	uint8_t *buf = malloc(len + 1);
	ssize_t n = recv(fd, buf, len + 1, 0);

	assert_int_equal(n, len);
	assert_memory_equal(buf, data, len);
	free(buf);
}

void host_expect_end(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, 0), 0);
}

void host_expect_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, 0);

	/* What we sent and it didn't read makes the end a reset. */
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

void host_expect_nothing(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

int connect_to_guest(struct guest *g, struct ports *ports)
{
	char line[32];
	struct packet packet;
	int fd = host_client(g, "CONNECT 1234\n");

	assert_true(guest_take(g, &packet));
	assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_REQUEST);
	assert_int_equal(packet.hdr.type, VIRTIO_VSOCK_TYPE_STREAM);
	assert_int_equal(packet.hdr.dst_port, 1234);
	assert_int_equal(packet.hdr.buf_alloc, 65536);
	assert_int_equal(packet.hdr.fwd_cnt, 0);
	*ports = (struct ports){ packet.hdr.src_port, packet.hdr.dst_port };
	host_expect_nothing(fd);
	guest_send(g, *ports, VIRTIO_VSOCK_OP_RESPONSE);
	snprintf(line, sizeof(line), "OK %u\n", ports->host);
	host_expect(fd, line, strlen(line));
	return fd;
}

int connect_to_host(struct guest *g, struct ports ports)
{
	int listener = host_listen(g, ports.host);

	guest_send(g, ports, VIRTIO_VSOCK_OP_REQUEST);
	guest_expect(g, ports, VIRTIO_VSOCK_OP_RESPONSE);

	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	assert_true(fd >= 0);
	host_unlisten(g, ports.host, listener);
	return fd;
}

void disconnect(struct guest *g, int fd, struct ports ports)
{
	uint64_t before = guest_counters(g).connections;

	guest_shutdown(g, ports, VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_expect(g, ports, VIRTIO_VSOCK_OP_RST);
	host_expect_end(fd);
	close(fd);
	guest_expect_nothing(g);
	assert_int_equal(guest_counters(g).connections, before - 1);
}
