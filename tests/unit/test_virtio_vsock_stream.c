/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock: several connections at once move megabytes in both directions, in chunks, at times
 * and through windows that a random number generator chooses, with a driver that kicks only when
 * it's asked to. Every byte has to arrive, in order, once; nobody may send beyond his credit.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/util.h"
#include "vsock_guest.h"

#define STREAMS 4
#define BOTH	(VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

struct stream {
	struct ports ports;
	int fd;
	uint32_t total; /* bytes in each direction */
	uint32_t room;	/* of the guest for bytes of the host: buf_alloc */
	uint32_t chunk; /* no write or read is longer */
	/* Towards the guest. */
	uint32_t host_sent, guest_got, guest_read;
	bool told; /* guest_read was, in a packet's fwd_cnt */
	bool guest_sees_end;
	bool ended; /* both directions, and the guest said RST */
	/* Towards the host. */
	uint32_t guest_sent, host_got, device_room, device_fwd;
	bool host_sees_end;
};

struct scene {
	struct guest g;
	uint32_t random;
	struct stream streams[STREAMS];
};

/* xorshift: the same story every time. */
static uint32_t rnd(struct scene *s, uint32_t below)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 17;
	s->random ^= s->random << 5;
	return s->random % below;
}

static uint8_t byte_at(const struct stream *t, bool to_host, uint32_t offset)
{
	uint32_t x =
		(offset + 1) * 2654435761u ^ t->ports.host * 40503u ^ (to_host ? 0x5bd1e995 : 0);

	return (uint8_t)(x ^ x >> 15);
}

static uint32_t min(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static struct virtio_vsock_hdr header(struct scene *s, struct stream *t, uint16_t op, uint32_t len)
{
	struct virtio_vsock_hdr hdr = guest_header(&s->g, t->ports, op, len);

	hdr.buf_alloc = t->room;
	hdr.fwd_cnt = t->guest_read;
	t->told = true;
	return hdr;
}

static void say(struct scene *s, struct stream *t, uint16_t op, uint32_t flags)
{
	struct virtio_vsock_hdr hdr = header(s, t, op, 0);

	hdr.flags = flags;
	guest_send_raw(&s->g, &hdr, NULL, 0);
}

static void host_writes(struct scene *s, struct stream *t)
{
	static uint8_t data[65536];
	uint32_t len = min(t->total - t->host_sent, 1 + rnd(s, t->chunk));

	for (uint32_t i = 0; i < len; i++)
		data[i] = byte_at(t, false, t->host_sent + i);
	if (len == 0)
		return;

	ssize_t n = send(t->fd, data, len, MSG_NOSIGNAL);

	assert_true(n > 0 || (n < 0 && errno == EAGAIN));
	t->host_sent += n > 0 ? (uint32_t)n : 0;
	if (t->host_sent == t->total)
		shutdown(t->fd, SHUT_WR);
}

static void host_reads(struct scene *s, struct stream *t)
{
	static uint8_t data[65536];
	ssize_t n = recv(t->fd, data, 1 + rnd(s, t->chunk), 0);

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return;
	}
	for (ssize_t i = 0; i < n; i++)
		assert_int_equal(data[i], byte_at(t, true, t->host_got + (uint32_t)i));
	t->host_got += (uint32_t)n;
	t->host_sees_end |= n == 0;
	assert_true(n > 0 || t->host_got == t->total);
}

static void guest_writes(struct scene *s, struct stream *t)
{
	static uint8_t data[65536];
	uint32_t credit = t->device_room - (t->guest_sent - t->device_fwd);
	uint32_t len = min(min(t->total - t->guest_sent, credit), 1 + rnd(s, t->chunk));
	struct virtio_vsock_hdr hdr;

	if (len == 0)
		return;
	for (uint32_t i = 0; i < len; i++)
		data[i] = byte_at(t, true, t->guest_sent + i);
	hdr = header(s, t, VIRTIO_VSOCK_OP_RW, len);
	guest_send_raw(&s->g, &hdr, data, len);
	t->guest_sent += len;
	if (t->guest_sent == t->total)
		say(s, t, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
}

/* The guest's program takes something out of its socket's buffer. */
static void guest_reads(struct scene *s, struct stream *t)
{
	uint32_t len = min(t->guest_got - t->guest_read, 1 + rnd(s, t->chunk));

	t->guest_read += len;
	t->told = t->ended || (t->told && len == 0);
	/* Without a request it tells now and then, but when it's empty at the latest. */
	if (!t->told && (t->guest_read == t->guest_got || rnd(s, 4) == 0))
		say(s, t, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
}

static void guest_receives(struct scene *s)
{
	static struct packet packet;
	struct stream *t = NULL;

	if (!guest_take(&s->g, &packet))
		return;
	for (unsigned int i = 0; i < STREAMS; i++)
		if (s->streams[i].ports.host == packet.hdr.src_port &&
		    s->streams[i].ports.guest == packet.hdr.dst_port)
			t = &s->streams[i];
	assert_non_null(t);
	t->device_room = packet.hdr.buf_alloc;
	/* It never goes back, nor beyond what was sent. */
	assert_true(packet.hdr.fwd_cnt - t->device_fwd <= t->guest_sent - t->device_fwd);
	t->device_fwd = packet.hdr.fwd_cnt;
	switch (packet.hdr.op) {
	case VIRTIO_VSOCK_OP_RW:
		assert_false(t->guest_sees_end);
		for (uint32_t i = 0; i < packet.len; i++)
			assert_int_equal(packet.data[i], byte_at(t, false, t->guest_got + i));
		t->guest_got += packet.len;
		assert_true(t->guest_got - t->guest_read <= t->room);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		assert_int_equal(t->guest_got, t->total);
		t->guest_sees_end = true;
		/* Both have said all: the device has closed the host's socket. */
		t->ended = packet.hdr.flags == BOTH;
		if (t->ended)
			say(s, t, VIRTIO_VSOCK_OP_RST, 0);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		if (rnd(s, 2))
			say(s, t, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
		break;
	default:
		assert_int_equal(packet.hdr.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	}
}

static bool finished(const struct scene *s)
{
	for (unsigned int i = 0; i < STREAMS; i++)
		if (!s->streams[i].host_sees_end || !s->streams[i].ended)
			return false;
	return true;
}

static void step(struct scene *s)
{
	struct stream *t = &s->streams[rnd(s, STREAMS)];

	switch (rnd(s, 7)) {
	case 0:
		host_writes(s, t);
		break;
	case 1:
		host_reads(s, t);
		break;
	case 2:
		guest_writes(s, t);
		break;
	case 3:
		guest_reads(s, t);
		break;
	case 4:
		s->g.hold_rx = rnd(s, 8) == 0 || (s->g.hold_rx && rnd(s, 4));
		if (!s->g.hold_rx)
			guest_give_back(&s->g);
		break;
	case 5:
		guest_run(&s->g);
		break;
	default:
		guest_receives(s);
	}
}

/* rx_len: of each buffer; windows and chunks: of each stream. */
static void play(uint64_t features, uint32_t rx_len, uint32_t rx_split, const uint32_t *windows,
		 const uint32_t *chunks, uint32_t total)
{
	static struct scene s;
	unsigned long steps = 0;

	s = (struct scene){ .random = 88172645 + rx_len };
	guest_setup(&s.g, features, 0);
	s.g.rx_split = rx_split;
	guest_post_rx(&s.g, 8, rx_len);
	for (unsigned int i = 0; i < STREAMS; i++) {
		struct stream *t = &s.streams[i];

		*t = (struct stream){ .total = total, .room = windows[i], .chunk = chunks[i] };
		t->ports = (struct ports){ 50 + i, 4000 };
		if (i % 2)
			t->fd = connect_to_guest(&s.g, &t->ports);
		else
			t->fd = connect_to_host(&s.g, t->ports);
		t->device_room = 65536;
		say(&s, t, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	}
	while (!finished(&s)) {
		step(&s);
		if (++steps > 20000000)
			fail_msg("stuck");
	}
	guest_give_back(&s.g);
	for (unsigned int i = 0; i < STREAMS; i++) {
		struct stream *t = &s.streams[i];

		assert_int_equal(t->guest_got, total);
		assert_int_equal(t->host_got, total);
		close(t->fd);
	}
	assert_int_equal(guest_counters(&s.g).rx_bytes, STREAMS * (uint64_t)total);
	assert_int_equal(guest_counters(&s.g).tx_bytes, STREAMS * (uint64_t)total);
	assert_int_equal(guest_counters(&s.g).connections, 0);
	assert_int_equal(guest_counters(&s.g).connections_reset, 0);
	guest_teardown(&s.g);
}

static const uint32_t large[STREAMS] = { 262144, 65536, 100000, 300000 };
static const uint32_t small[STREAMS] = { 4096, 1000, 1, 70000 };
static const uint32_t chunks[STREAMS] = { 65536, 5000, 30000, 1000 };
static const uint32_t bits[STREAMS] = { 300, 1, 65536, 40 };

static void megabytes_through_large_windows(void **state)
{
	(void)state;
	play(ALL_FEATURES, 4096, 0, large, chunks, 2 * MIB);
}

static void megabytes_without_event_idx(void **state)
{
	(void)state;
	/* Header and payload in two descriptors, as Linux before 6.2 does. */
	play(VERSION_1, 4096 + 44, 44, large, chunks, 2 * MIB);
}

static void megabyte_through_small_windows(void **state)
{
	(void)state;
	play(ALL_FEATURES, 4096, 0, (const uint32_t[]){ 4096, 1000, 100, 70000 }, chunks,
	     512 * KIB);
}

static void huge_buffers(void **state)
{
	(void)state;
	play(ALL_FEATURES, 65536 + 4096, 45, large, chunks, 2 * MIB);
}

static void trickle(void **state)
{
	(void)state;
	play(EVENT_IDX | VERSION_1, 51, 43, small, bits, 8000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(megabytes_through_large_windows),
		cmocka_unit_test(megabytes_without_event_idx),
		cmocka_unit_test(megabyte_through_small_windows),
		cmocka_unit_test(huge_buffers),
		cmocka_unit_test(trickle),
	};

	return cmocka_run_group_tests_name("virtio-vsock-stream", tests, NULL, NULL);
}
