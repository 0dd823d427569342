/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata service on its link: ARP, frames that aren't what they should be, many connections. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "mmds_guest.h"
#include "vmm/util.h"

#define GET "GET /a HTTP/1.1\r\n\r\n"

static int set_up(void **state)
{
	(void)state;
	guest_set_up(3);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	guest_tear_down();
	return 0;
}

static const uint8_t arp_request[MMDS_PEEK_SIZE] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x06, 0, 0, 0, 0, 0x02, 0x08, 0x06, /* Ethernet */
	0, 1, 0x08, 0, 6, 4, 0, 1,						 /* IPv4 on Ethernet, request */
	0x06, 0, 0, 0, 0, 0x02, 169, 254, 1, 2, 0, 0, 0, 0, 0, 0, 169, 254, 169, 254,
};

static void arp_is_answered(void **state)
{
	static const uint8_t reply[MMDS_PEEK_SIZE] = {
		0x06, 0, 0, 0, 0, 0x02, 0x06, 0x01, 0x23, 0x45, 0x67, 0x01, 0x08, 0x06,
		0, 1, 0x08, 0, 6, 4, 0, 2,
		0x06, 0x01, 0x23, 0x45, 0x67, 0x01, 169, 254, 169, 254, 0x06, 0, 0, 0, 0, 0x02, 169, 254, 1, 2,
	};
	static const uint8_t changes[][2] = { { 15, 2 }, { 16, 0x86 }, { 18, 7 }, { 19, 16 } };
	uint8_t frame[MMDS_SEND_MAX], padded[60] = { 0 };

	(void)state;
	guest_give(arp_request, sizeof(arp_request));
	assert_true(mmds_stack_has_output(&guest.stack));
	assert_int_equal(mmds_stack_output(&guest.stack, frame, guest.now), sizeof(reply));
	assert_memory_equal(frame, reply, sizeof(reply));
	assert_false(mmds_stack_has_output(&guest.stack));
	/* Ethernet's shortest frame has padding. Twice the same question is answered once. */
	memcpy(padded, arp_request, sizeof(arp_request));
	guest_give(padded, sizeof(padded));
	guest_give(padded, sizeof(padded));
	assert_int_equal(mmds_stack_output(&guest.stack, frame, guest.now), sizeof(reply));
	assert_int_equal(mmds_stack_output(&guest.stack, frame, guest.now), 0);
	assert_int_equal(guest.mmds.counters.tx_frames, 2);
	assert_int_equal(guest.mmds.counters.tx_bytes, 84);
	assert_int_equal(guest.mmds.counters.tx_count, 0);
	/* Not a question; and not one about IPv4 on Ethernet. */
	padded[21] = 2;
	guest_give(padded, sizeof(padded));
	assert_int_equal(guest.mmds.counters.rx_accepted_unusual, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(changes); i++) {
		memcpy(padded, arp_request, sizeof(arp_request));
		padded[changes[i][0]] = changes[i][1];
		guest_give(padded, sizeof(padded));
		assert_int_equal(guest.mmds.counters.rx_accepted_err, i + 1);
	}
	assert_false(mmds_stack_has_output(&guest.stack));
	assert_int_equal(guest.mmds.counters.rx_accepted, 8);
}

static void other_frames_are_for_others(void **state)
{
	const struct segment syn = { .flags = TCP_SYN };
	uint8_t frame[128], arp[MMDS_PEEK_SIZE];
	size_t len = guest_frame(frame, &syn);

	(void)state;
	assert_true(mmds_stack_wants(&guest.stack, frame, len));
	for (size_t n = 0; n < 34; n++)
		assert_false(mmds_stack_wants(&guest.stack, frame, n));
	for (size_t n = 0; n < sizeof(arp_request); n++)
		assert_false(mmds_stack_wants(&guest.stack, arp_request, n));
	/* Each byte of what names the service, and of the protocol. */
	for (unsigned int i = 30; i < 34; i++) {
		frame[i] ^= 1;
		assert_false(mmds_stack_wants(&guest.stack, frame, len));
		frame[i] ^= 1;
	}
	frame[12] = 0x86; /* IPv6 */
	frame[13] = 0xdd;
	assert_false(mmds_stack_wants(&guest.stack, frame, len));
	frame[12] = 0x81; /* VLAN */
	frame[13] = 0x00;
	assert_false(mmds_stack_wants(&guest.stack, frame, len));
	for (unsigned int i = 38; i < 42; i++) {
		memcpy(arp, arp_request, sizeof(arp));
		arp[i] ^= 0x80;
		assert_false(mmds_stack_wants(&guest.stack, arp, sizeof(arp)));
	}
}

/* The checksum of IPv4's header, after a test has changed it. */
static void fix_ip(uint8_t *frame)
{
	size_t header = (frame[14] & 0xf) * 4u;
	uint32_t sum = 0;

	frame[24] = frame[25] = 0;
	for (size_t i = 0; i < header; i += 2)
		sum += (uint32_t)frame[14 + i] << 8 | frame[15 + i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	frame[24] = (uint8_t)(~sum >> 8);
	frame[25] = (uint8_t)~sum;
}

static void broken_frames_are_counted_and_forgotten(void **state)
{
	/* offset, value, whether IPv4's checksum is put right again */
	static const struct {
		uint8_t at, value;
		bool fix;
	} errors[] = {
		{ 14, 0x55, true },  /* version */
		{ 14, 0x44, false }, /* too short a header */
		{ 14, 0x4f, false }, /* one that ends behind the packet */
		{ 16, 0xff, true },  /* total length beyond the frame */
		{ 17, 19, true },    /* ... and below the header's */
		{ 17, 39, true },    /* ... and below TCP's: its checksum is wrong too */
		{ 22, 2, false },    /* TTL, without the checksum */
		{ 34, 1, false },    /* TCP's port, without its checksum */
		{ 50, 1, false },    /* TCP's checksum */
	};
	static const struct segment syn = { .flags = TCP_SYN, .seq = 100, .window = 1000, .mss = 1460 };
	static const struct mmds_offload none;
	uint8_t frame[128];
	size_t len;
	uint64_t n = 0;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(errors); i++) {
		len = guest_frame(frame, &syn);
		frame[errors[i].at] = errors[i].value;
		if (errors[i].fix)
			fix_ip(frame);
		guest_give(frame, len);
		assert_int_equal(guest.mmds.counters.rx_accepted_err, ++n);
	}
	/* Cut anywhere: even then it's never another frame. */
	len = guest_frame(frame, &syn);
	for (size_t cut = 34; cut < len; cut++) {
		guest_give(frame, cut);
		assert_int_equal(guest.mmds.counters.rx_accepted_err, ++n);
	}
	mmds_stack_input(&guest.stack, NULL, MMDS_RECEIVE_MAX + 1, &none, guest.now);
	assert_int_equal(guest.mmds.counters.rx_accepted_err, ++n);
	assert_false(mmds_stack_has_output(&guest.stack));
	assert_int_equal(guest.mmds.counters.connections_created, 0);
	/* And with padding it's what it was. */
	memset(frame + len, 0xaa, 6);
	guest_give(frame, len + 6);
	guest_expect(TCP_SYN | TCP_ACK, 5000, 101, TCP_WINDOW, 0);
}

/* TCP headers that are wrong although all checksums are right: partial ones, which nobody checks here. */
static void broken_headers(void **state)
{
	static const uint8_t options[][4] = {
		{ 2, 0, 0, 0 }, { 2, 1, 0, 0 }, { 2, 5, 0, 0 }, { 1, 1, 1, 2 }, { 8, 255, 0, 0 },
	};
	static const uint8_t fine[][4] = {
		{ 1, 1, 1, 1 }, { 0, 2, 0, 0 }, { 1, 1, 1, 0 }, { 2, 3, 9, 0 }, { 77, 4, 0, 0 }, { 77, 2, 77, 2 },
	};
	const struct mmds_offload partial = { true, 34, 16 };
	struct segment syn = { .flags = TCP_SYN, .seq = 100, .mss = 1460 };
	uint8_t frame[128];
	size_t len;
	uint64_t n = 0;

	(void)state;
	for (unsigned int doff = 0; doff < 16; doff++) {
		if (doff == 5 || doff == 6)
			continue;
		len = guest_frame(frame, &syn);
		frame[46] = (uint8_t)(doff << 4);
		mmds_stack_input(&guest.stack, frame, len, &partial, guest.now);
		assert_int_equal(guest.mmds.counters.rx_accepted_err, ++n);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(options); i++) {
		len = guest_frame(frame, &syn);
		memcpy(frame + 54, options[i], 4);
		mmds_stack_input(&guest.stack, frame, len, &partial, guest.now);
		assert_int_equal(guest.mmds.counters.rx_accepted_err, ++n);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(fine); i++) {
		syn.port = (uint16_t)(1000 + i);
		len = guest_frame(frame, &syn);
		memcpy(frame + 54, fine[i], 4);
		mmds_stack_input(&guest.stack, frame, len, &partial, guest.now);
		assert_int_equal(guest.mmds.counters.connections_created, i + 1);
	}
}

static void what_is_not_tcp_is_dropped(void **state)
{
	static const struct segment syn = { .flags = TCP_SYN };
	uint8_t frame[128];
	size_t len;

	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		len = guest_frame(frame, &syn);
		if (i == 0)
			frame[23] = 17; /* UDP */
		else
			frame[20] = i == 1 ? 0x20 : 0x00; /* more fragments; a later one */
		if (i == 2)
			frame[21] = 1;
		fix_ip(frame);
		guest_give(frame, len);
		assert_int_equal(guest.mmds.counters.rx_accepted_unusual, i + 1);
	}
	assert_false(mmds_stack_has_output(&guest.stack));
	assert_int_equal(guest.mmds.counters.rx_accepted_err, 0);
}

static void checksums_that_are_left_to_the_device(void **state)
{
	static const struct {
		struct mmds_offload offload;
		bool good;
	} cases[] = {
		{ { true, 34, 16 }, true }, { { true, 34, 6 }, false }, { { true, 14, 16 }, false },
		{ { true, 54, 16 }, false }, { { true, 0xffff, 0xffff }, false }, { { false, 34, 16 }, false },
	};
	struct segment syn = { .flags = TCP_SYN, .seq = 100 };
	uint8_t frame[128];
	uint64_t errors = 0;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		syn.port = (uint16_t)(1 + i);
		size_t len = guest_frame(frame, &syn);

		frame[50] ^= 0x55;
		mmds_stack_input(&guest.stack, frame, len, &cases[i].offload, guest.now);
		errors += !cases[i].good;
		assert_int_equal(guest.mmds.counters.rx_accepted_err, errors);
	}
	assert_int_equal(guest.mmds.counters.connections_created, 1);
}

static void the_largest_frame_fits(void **state)
{
	static char data[TCP_WINDOW + 1];
	struct segment s = { .flags = TCP_ACK, .data = data, .window = 1000 };

	(void)state;
	guest_connect(100, 1000);
	memcpy(data, GET, sizeof(GET) - 1);
	memset(data + sizeof(GET) - 1, 'a', sizeof(data) - sizeof(GET) + 1);
	s.seq = guest.seq;
	s.ack = guest.ack;
	s.len = TCP_WINDOW;
	guest_send(s);
	guest_expect(TCP_PSH | TCP_ACK, guest.ack, guest.seq + sizeof(GET) - 1, TCP_WINDOW, 105);
}

static void segments_of_no_connection_are_refused(void **state)
{
	static const struct {
		struct segment s, answer; /* answer.flags 0: none */
	} cases[] = {
		{ { .flags = TCP_ACK, .seq = 7, .ack = 9 }, { .flags = TCP_RST, .seq = 9 } },
		{ { .flags = TCP_SYN | TCP_ACK, .seq = 7, .ack = 9 }, { .flags = TCP_RST, .seq = 9 } },
		{ { .flags = TCP_FIN | TCP_ACK, .seq = 7, .ack = 9 }, { .flags = TCP_RST, .seq = 9 } },
		{ { .flags = TCP_FIN, .seq = 7 }, { .flags = TCP_RST | TCP_ACK, .ack = 8 } },
		{ { .flags = 0, .seq = 7, .data = "abc", .len = 3 }, { .flags = TCP_RST | TCP_ACK, .ack = 10 } },
		{ { .flags = TCP_SYN | TCP_FIN, .seq = 7 }, { .flags = TCP_RST | TCP_ACK, .ack = 9 } },
		{ { .flags = TCP_SYN, .seq = UINT32_MAX, .service_port = 81 },
		  { .flags = TCP_RST | TCP_ACK, .ack = 0, .service_port = 81 } },
		{ { .flags = TCP_SYN, .seq = 7, .service_port = 8080, .data = "a", .len = 1 },
		  { .flags = TCP_RST | TCP_ACK, .ack = 9, .service_port = 8080 } },
		{ { .flags = TCP_RST, .seq = 7 }, { .flags = 0 } },
		{ { .flags = TCP_RST | TCP_ACK, .seq = 7, .ack = 9 }, { .flags = 0 } },
		{ { .flags = TCP_SYN | TCP_RST, .seq = 7 }, { .flags = 0 } },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct segment *answer = &cases[i].answer;

		guest_send(cases[i].s);
		assert_int_equal(guest_take(), answer->flags != 0);
		if (answer->flags == 0)
			continue;
		assert_int_equal(guest.in.flags, answer->flags);
		assert_int_equal(guest.in.seq, answer->seq);
		assert_int_equal(guest.in.ack, answer->ack);
		assert_int_equal(guest.in.service_port, answer->service_port ? answer->service_port : 80);
		assert_int_equal(guest.in.window, 0);
	}
	assert_int_equal(guest.mmds.counters.connections_created, 0);
	assert_int_equal(guest.mmds.counters.rx_accepted_unusual, ARRAY_SIZE(cases));
	assert_int_equal(guest.mmds.counters.rx_count, 0);
	/* As many as can wait. */
	for (unsigned int i = 0; i < 3 * MMDS_RESETS_MAX; i++)
		guest_send((struct segment){ .flags = TCP_ACK, .seq = 7, .ack = i });
	for (unsigned int i = 0; i < MMDS_RESETS_MAX; i++)
		guest_expect(TCP_RST, i, 0, 0, 0);
	guest_expect_nothing();
}

static void drain(void)
{
	while (guest_take())
		;
}

static void connections_are_as_many_as_there_are(void **state)
{
	struct segment syn = { .flags = TCP_SYN, .seq = 100, .window = 1000 };

	(void)state;
	for (unsigned int i = 0; i < MMDS_CONNECTIONS_MAX; i++) {
		syn.port = (uint16_t)(1 + i);
		guest_send(syn);
		guest_wait(NS_PER_S / 10);
		drain();
	}
	/* All are young: 2.9 seconds at most. */
	syn.port = GUEST_PORT;
	guest_send(syn);
	guest_expect(TCP_RST | TCP_ACK, 0, 101, 0, 0);
	assert_int_equal(guest.mmds.counters.connections_created, MMDS_CONNECTIONS_MAX);
	/* The first one is not any more; nobody ever answered it. */
	guest_wait(2 * NS_PER_S);
	drain();
	guest_connect(100, 1000);
	assert_int_equal(guest.mmds.counters.connections_created, MMDS_CONNECTIONS_MAX + 1);
	assert_int_equal(guest.mmds.counters.connections_destroyed, 1);
	guest_send((struct segment){ .flags = TCP_ACK, .seq = 101, .ack = 5001, .port = 1 });
	assert_true(guest_take());
	assert_int_equal(guest.in.flags, TCP_RST);
	/* Those that are at an end make room first, however young. */
	guest_send((struct segment){ .flags = TCP_FIN | TCP_ACK, .seq = guest.seq++, .ack = guest.ack, .window = 9 });
	guest_expect(TCP_FIN | TCP_ACK, guest.ack++, guest.seq, TCP_WINDOW, 0);
	guest_acknowledge(9);
	syn.port = 500;
	guest_send(syn);
	assert_int_equal(guest.mmds.counters.connections_destroyed, 2);
	guest_send((struct segment){ .flags = TCP_ACK, .seq = guest.seq, .ack = guest.ack });
	assert_true(guest_take());
	assert_int_equal(guest.in.flags, TCP_RST);
}

static void connections_take_turns(void **state)
{
	unsigned int last = 0, n[3] = { 0 };

	(void)state;
	guest_tear_down();
	guest_set_up(10000);
	for (uint16_t port = 1; port <= 3; port++) {
		guest_send((struct segment){ .flags = TCP_SYN, .seq = 100, .window = 65535, .mss = 1000, .port = port });
		drain();
	}
	for (uint16_t port = 1; port <= 3; port++)
		guest_send((struct segment){ .flags = TCP_ACK, .seq = 101, .ack = 5001, .window = 65535,
					     .port = port, .data = GET, .len = sizeof(GET) - 1 });
	while (guest_take()) {
		assert_int_not_equal(guest.in.port, last);
		last = guest.in.port;
		n[last - 1]++;
	}
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(n[i], 11);
}

static void a_reset_drops_all(void **state)
{
	(void)state;
	guest_connect(100, 1000);
	guest_say(GET, 1000);
	guest_give(arp_request, sizeof(arp_request));
	guest_send((struct segment){ .flags = TCP_ACK, .port = 9 });
	mmds_stack_reset(&guest.stack);
	assert_false(mmds_stack_has_output(&guest.stack));
	assert_int_equal(mmds_stack_deadline(&guest.stack), UINT64_MAX);
	assert_int_equal(guest.mmds.counters.connections_destroyed, 1);
	guest_connect(200, 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(arp_is_answered),
		TEST(other_frames_are_for_others),
		TEST(broken_frames_are_counted_and_forgotten),
		TEST(broken_headers),
		TEST(what_is_not_tcp_is_dropped),
		TEST(checksums_that_are_left_to_the_device),
		TEST(the_largest_frame_fits),
		TEST(segments_of_no_connection_are_refused),
		TEST(connections_are_as_many_as_there_are),
		TEST(connections_take_turns),
		TEST(a_reset_drops_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
