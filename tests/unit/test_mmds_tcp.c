/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata service's connections: handshake, loss, windows, ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mmds_guest.h"
#include "vmm/util.h"

#define GET	    "GET /a HTTP/1.1\r\n\r\n"
#define GET_LAST    "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n"
#define GET_LEN	    ((uint32_t)sizeof(GET) - 1)
#define ISN	    100u
#define WINDOW	    65535
#define SMALL	    3
#define SMALL_REPLY (102u + SMALL) /* a response with 3 bytes of data */
#define LARGE	    50000

static int small(void **state)
{
	(void)state;
	guest_set_up(SMALL);
	return 0;
}

static int large(void **state)
{
	(void)state;
	guest_set_up(LARGE);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	guest_tear_down();
	return 0;
}

/* What the whole response to GET is. */
static size_t reply(char *text, size_t n)
{
	size_t len = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\nServer: mote\r\nConnection: keep-alive\r\n"
					   "Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", n);

	for (size_t i = 0; i < n; i++)
		text[len++] = (char)('a' + i % 25);
	return len;
}

/* The connection that the last test's SYN made is gone: nothing answers for it but a reset. */
static void expect_gone(void)
{
	assert_int_equal(guest.mmds.counters.connections_created,
			 guest.mmds.counters.connections_destroyed);
}

static void request_and_response(void **state)
{
	char expected[512];
	size_t len = reply(expected, SMALL);

	(void)state;
	assert_int_equal(len, SMALL_REPLY);
	guest_connect(ISN, WINDOW);
	guest_say(GET, WINDOW);
	guest_expect(TCP_PSH | TCP_ACK, 5001, ISN + 1 + GET_LEN, TCP_WINDOW, len);
	assert_memory_equal(guest.in.data, expected, len);
	guest_expect_nothing();
	guest.ack += (uint32_t)len;
	guest_acknowledge(WINDOW);
	/* Ready for the next one, and says so. */
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_say(GET, WINDOW);
	guest_expect(TCP_PSH | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, len);
	guest.ack += (uint32_t)len;

	/* The guest has had enough: both FINs are answered, and the place stays taken for a second. */
	guest_send((struct segment){ .flags = TCP_FIN | TCP_ACK, .seq = guest.seq++, .ack = guest.ack,
				     .window = WINDOW });
	guest_expect(TCP_FIN | TCP_ACK, guest.ack++, guest.seq, TCP_WINDOW, 0);
	guest_acknowledge(WINDOW);
	guest_expect_nothing();
	assert_int_equal(guest.mmds.counters.connections_destroyed, 0);
	guest_send((struct segment){ .flags = TCP_FIN | TCP_ACK, .seq = guest.seq - 1, .ack = guest.ack,
				     .window = WINDOW });
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_wait(NS_PER_S);
	expect_gone();
	assert_int_equal(guest.mmds.counters.connections_created, 1);
	assert_int_equal(guest.mmds.counters.rx_accepted, 8);
	assert_int_equal(guest.mmds.counters.rx_count, 8);
	assert_int_equal(guest.mmds.counters.tx_frames, 6);
	assert_int_equal(guest.mmds.counters.tx_count, 6);
	assert_int_equal(guest.mmds.counters.tx_bytes, 6 * 54 + 4 + 2 * len);
}

static void request_in_any_two_pieces(void **state)
{
	const char *request = GET;

	(void)state;
	for (uint32_t cut = 1; cut < GET_LEN; cut++) {
		char first[] = GET;

		guest_connect(ISN * cut, WINDOW);
		first[cut] = 0;
		guest_say(first, WINDOW);
		guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
		guest_say(request + cut, WINDOW);
		guest_expect(TCP_PSH | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, SMALL_REPLY);
		guest_send((struct segment){ .flags = TCP_RST, .seq = guest.seq });
		expect_gone();
	}
}

static void segments_out_of_order_and_again(void **state)
{
	const char *request = GET;

	(void)state;
	guest_connect(ISN, WINDOW);
	/* The second half first: it isn't kept. */
	guest.seq += 8;
	guest_say(request + 8, WINDOW);
	guest_expect(TCP_ACK, guest.ack, ISN + 1, TCP_WINDOW, 0);
	guest.seq = ISN + 1;
	guest_say("GET /a H", WINDOW);
	guest_expect(TCP_ACK, guest.ack, ISN + 9, TCP_WINDOW, 0);
	/* Again, all of it old. */
	guest.seq = ISN + 1;
	guest_say("GET /a H", WINDOW);
	guest_expect(TCP_ACK, guest.ack, ISN + 9, TCP_WINDOW, 0);
	/* Old and new in one. */
	guest.seq = ISN + 5;
	guest_say(request + 4, WINDOW);
	guest_expect(TCP_PSH | TCP_ACK, guest.ack, ISN + 1 + GET_LEN, TCP_WINDOW, SMALL_REPLY);
}

static void requests_at_once(void **state)
{
	(void)state;
	guest_connect(ISN, WINDOW);
	/* Only the first is taken. The guest sends the second again when there's room. */
	guest_say(GET GET, WINDOW);
	guest.seq -= GET_LEN;
	guest_expect(TCP_PSH | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, SMALL_REPLY);
	guest_say(GET, WINDOW);
	guest.seq -= GET_LEN;
	guest_expect(TCP_ACK, guest.ack + SMALL_REPLY, guest.seq, 0, 0);
	guest.ack += SMALL_REPLY;
	guest_acknowledge(WINDOW);
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_say(GET, WINDOW);
	guest_expect(TCP_PSH | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, SMALL_REPLY);
}

/* As every client does that keeps a connection: what was answered needs no acknowledgement of its own. */
static void one_request_after_another(void **state)
{
	(void)state;
	guest_connect(ISN, WINDOW);
	for (unsigned int i = 0; i < 3; i++) {
		guest_say(GET, WINDOW);
		guest_expect(TCP_PSH | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, SMALL_REPLY);
		guest_expect_nothing();
		guest.ack += SMALL_REPLY;
	}
	assert_int_equal(guest.mmds.counters.tx_frames, 4);
}

static void handshake_is_repeated(void **state)
{
	static const unsigned int waits[] = { 1, 2, 4, 8, 16, 16, 16 };

	(void)state;
	guest_send((struct segment){ .flags = TCP_SYN, .seq = ISN, .window = WINDOW });
	guest_expect(TCP_SYN | TCP_ACK, 5000, ISN + 1, TCP_WINDOW, 0);
	/* The same again. */
	guest_send((struct segment){ .flags = TCP_SYN, .seq = ISN, .window = WINDOW });
	guest_expect(TCP_SYN | TCP_ACK, 5000, ISN + 1, TCP_WINDOW, 0);
	/* Another one is not believed, and nor is an acknowledgement of what wasn't said. */
	guest_send((struct segment){ .flags = TCP_SYN, .seq = ISN + 1, .window = WINDOW });
	guest_expect(TCP_ACK, 5001, ISN + 1, TCP_WINDOW, 0);
	guest_send((struct segment){ .flags = TCP_ACK, .seq = ISN + 1, .ack = 5000, .window = WINDOW });
	guest_expect(TCP_RST, 5000, 0, 0, 0);
	guest_send((struct segment){ .flags = TCP_ACK, .seq = ISN + 1, .ack = 5002, .window = WINDOW });
	guest_expect(TCP_RST, 5002, 0, 0, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(waits) - 1; i++) {
		guest_wait(waits[i] * NS_PER_S - 1);
		guest_expect_nothing();
		guest_wait(1);
		guest_expect(TCP_SYN | TCP_ACK, 5000, ISN + 1, TCP_WINDOW, 0);
	}
	guest_wait(waits[ARRAY_SIZE(waits) - 1] * NS_PER_S - 3 * NS_PER_S - 1);
	guest_expect_nothing();
	assert_int_equal(guest.mmds.counters.connections_destroyed, 0);
	/* 60 seconds without progress come first. */
	guest_wait(1);
	guest_expect(TCP_RST | TCP_ACK, 5001, ISN + 1, TCP_WINDOW, 0);
	expect_gone();
}

static void lost_response_is_sent_again(void **state)
{
	static const unsigned int waits[] = { 1, 2, 4, 8, 16, 16 };

	(void)state;
	guest_connect(ISN, WINDOW);
	guest_say(GET, WINDOW);
	guest_expect(TCP_PSH | TCP_ACK, 5001, guest.seq, TCP_WINDOW, SMALL_REPLY);
	for (unsigned int i = 0; i < ARRAY_SIZE(waits); i++) {
		guest_wait(waits[i] * NS_PER_S - 1);
		guest_expect_nothing();
		guest_wait(1);
		guest_expect(TCP_PSH | TCP_ACK, 5001, guest.seq, TCP_WINDOW, SMALL_REPLY);
	}
	/* A part of it has come: only the rest is missing, and patience begins anew. */
	guest.ack += 10;
	guest_acknowledge(WINDOW);
	guest_expect_nothing();
	guest_wait(NS_PER_S);
	guest_expect(TCP_PSH | TCP_ACK, 5011, guest.seq, TCP_WINDOW, SMALL_REPLY - 10);
	/* Seven times in vain is enough. */
	guest_wait((2 + 4 + 8 + 16 + 16) * NS_PER_S);
	guest_expect(TCP_PSH | TCP_ACK, 5011, guest.seq, TCP_WINDOW, SMALL_REPLY - 10);
	guest_wait(12 * NS_PER_S);
	guest_expect_nothing();
	guest_wait(4 * NS_PER_S);
	guest_expect(TCP_RST | TCP_ACK, 5001 + SMALL_REPLY, guest.seq, 0, 0);
	expect_gone();
}

/* A pure ACK after a timeout that put the next byte back must not look old to the guest. */
static void acks_are_never_behind(void **state)
{
	(void)state;
	guest_connect(ISN, WINDOW);
	guest_say(GET, 0);
	guest_expect(TCP_ACK, 5001, guest.seq, 0, 0);
	guest_acknowledge(50);
	guest_expect(TCP_ACK, 5001, guest.seq, 0, 50);
	guest.ack += 50;
	guest_acknowledge(0);
	guest_wait(NS_PER_S);
	guest_expect(TCP_ACK, 5051, guest.seq, 0, 1);
	guest_wait(2 * NS_PER_S - 1);
	guest_say("x", 0);
	guest.seq--;
	guest_expect(TCP_ACK, 5052, guest.seq, 0, 0);
}

static void windows_are_respected(void **state)
{
	(void)state;
	guest_connect(ISN, 2000);
	guest_say(GET, 2000);
	guest_expect(TCP_ACK, 5001, guest.seq, 0, 1460);
	guest_expect(TCP_ACK, 6461, guest.seq, 0, 540);
	guest_expect_nothing();
	/* It shuts, and stays so. */
	guest.ack = 7001;
	guest_acknowledge(0);
	guest_expect_nothing();
	for (unsigned int i = 0; i < 3; i++) {
		/* One byte, again and again, as long as the guest says that it's there. */
		guest_wait(NS_PER_S << i);
		guest_expect(TCP_ACK, 7001, guest.seq, 0, 1);
		guest_expect_nothing();
	}
	guest_acknowledge(0);
	guest_expect_nothing();
	/* An old segment doesn't open it, a new one does. */
	guest_send((struct segment){ .flags = TCP_ACK, .seq = guest.seq, .ack = 7000, .window = 9000 });
	guest_expect_nothing();
	guest_acknowledge(100);
	guest_wait(8 * NS_PER_S);
	guest_expect(TCP_ACK, 7001, guest.seq, 0, 100);
	guest_expect_nothing();
}

static void shut_windows_do_not_hold_a_connection(void **state)
{
	unsigned int probes = 0;

	(void)state;
	guest_connect(ISN, 0);
	guest_say(GET, 0);
	guest_expect(TCP_ACK, 5001, guest.seq, 0, 0);
	for (unsigned int s = 0; s < 119; s++) {
		guest_wait(NS_PER_S);
		while (guest_take()) {
			assert_int_equal(guest.in.seq, 5001);
			assert_int_equal(guest.in.len, 1);
			probes++;
		}
		guest_acknowledge(0);
	}
	assert_in_range(probes, 10, 119);
	assert_int_equal(guest.mmds.counters.connections_destroyed, 0);
	guest_wait(NS_PER_S);
	while (guest_take() && !(guest.in.flags & TCP_RST))
		;
	assert_int_equal(guest.in.flags, TCP_RST | TCP_ACK);
	expect_gone();
}

static void sequence_numbers_wrap(void **state)
{
	static char expected[LARGE + 512], got[LARGE + 512];
	size_t len = reply(expected, LARGE), done = 0;

	(void)state;
	guest.iss = UINT32_MAX - 2000;
	guest_connect(UINT32_MAX - 10, 3000);
	guest_say(GET, 3000);
	while (done < len) {
		assert_true(guest_take());
		assert_int_equal(guest.in.seq, guest.ack);
		assert_int_equal(guest.in.ack, UINT32_MAX - 9 + GET_LEN);
		memcpy(got + done, guest.in.data, guest.in.len);
		done += guest.in.len;
		guest.ack += (uint32_t)guest.in.len;
		guest_acknowledge(3000);
	}
	assert_int_equal(done, len);
	assert_memory_equal(got, expected, len);
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
}

/* A network that loses, doubles and swaps: xorshift, from a seed. */
static uint32_t chance(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void a_bad_network_changes_nothing(void **state)
{
	static char expected[LARGE + 512], got[LARGE + 512];
	size_t len = reply(expected, LARGE);

	(void)state;
	for (uint32_t round = 1; round <= 20; round++) {
		uint32_t seed = round * 2654435761u, base;
		bool asked = false;
		unsigned int turns = 0;

		guest.iss = chance(&seed);
		guest_connect(chance(&seed), 20000);
		base = guest.ack;
		while (guest.ack - base < len) {
			assert_true(turns++ < 20000);
			/* Until the service has heard the request, the guest repeats it. */
			if (!asked && chance(&seed) % 3) {
				guest_say(GET, 20000);
				guest.seq -= GET_LEN;
				asked = chance(&seed) % 2;
			}
			bool any = guest_take();

			if (!any) {
				guest_wait(NS_PER_S);
				continue;
			}
			assert_int_equal(guest.in.flags & TCP_RST, 0);
			if (guest.in.ack == guest.seq + GET_LEN) {
				asked = true;
				guest.seq += GET_LEN;
			}
			/* Lost. */
			if (chance(&seed) % 8 == 0)
				continue;
			/* What comes in order is taken, and acknowledged, once, twice or not at all. */
			if (guest.in.seq == guest.ack && guest.in.len > 0) {
				assert_true(guest.in.seq - base + guest.in.len <= len);
				memcpy(got + (guest.in.seq - base), guest.in.data, guest.in.len);
				guest.ack += (uint32_t)guest.in.len;
			}
			for (uint32_t n = chance(&seed) % 3; asked && n > 0; n--)
				guest_acknowledge(20000);
		}
		assert_int_equal(guest.ack - base, len);
		assert_memory_equal(got, expected, len);
		guest_send((struct segment){ .flags = TCP_RST, .seq = guest.seq });
		while (guest_take())
			;
		expect_gone();
	}
}

static void last_response_and_fin(void **state)
{
	(void)state;
	guest_connect(ISN, WINDOW);
	guest_say(GET_LAST, WINDOW);
	guest_expect(TCP_FIN | TCP_PSH | TCP_ACK, 5001, guest.seq, TCP_WINDOW, SMALL_REPLY - 5);
	/* Lost, so it comes again; and again only the FIN, when that alone is missing. */
	guest_wait(NS_PER_S);
	guest_expect(TCP_FIN | TCP_PSH | TCP_ACK, 5001, guest.seq, TCP_WINDOW, SMALL_REPLY - 5);
	guest.ack += SMALL_REPLY - 5;
	guest_acknowledge(WINDOW);
	guest_expect(TCP_ACK, guest.ack + 1, guest.seq, TCP_WINDOW, 0);
	guest_wait(NS_PER_S);
	guest_expect(TCP_FIN | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest.ack++;
	guest_acknowledge(WINDOW);
	/* What the guest still says is taken and forgotten, until it ends too. */
	guest_say(GET, WINDOW);
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_send((struct segment){ .flags = TCP_FIN | TCP_ACK, .seq = guest.seq++, .ack = guest.ack,
				     .window = WINDOW });
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	/* The same ports again at once: a new connection. */
	guest.iss = 9000;
	guest_connect(7777, WINDOW);
	assert_int_equal(guest.mmds.counters.connections_created, 2);
	assert_int_equal(guest.mmds.counters.connections_destroyed, 1);
}

static void fin_with_the_request(void **state)
{
	(void)state;
	guest_connect(ISN, 50);
	guest_send((struct segment){ .flags = TCP_FIN | TCP_PSH | TCP_ACK, .seq = guest.seq, .ack = guest.ack,
				     .window = 50, .data = GET, .len = GET_LEN });
	guest.seq += GET_LEN + 1;
	guest_expect(TCP_ACK, 5001, guest.seq, 0, 50);
	guest.ack += 50;
	guest_acknowledge(SMALL_REPLY - 50);
	/* The FIN waits for a window of its own. */
	guest_expect(TCP_PSH | TCP_ACK, 5051, guest.seq, TCP_WINDOW, SMALL_REPLY - 50);
	guest.ack = 5001 + SMALL_REPLY;
	guest_acknowledge(1);
	guest_expect(TCP_FIN | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest.ack++;
	guest_acknowledge(0);
	guest_expect_nothing();
	guest_wait(NS_PER_S);
	expect_gone();
}

static void fin_in_the_middle_of_a_request(void **state)
{
	(void)state;
	guest_connect(ISN, WINDOW);
	guest_say("GET /", WINDOW);
	guest_send((struct segment){ .flags = TCP_FIN | TCP_ACK, .seq = guest.seq++, .ack = guest.ack,
				     .window = WINDOW });
	guest_expect(TCP_FIN | TCP_ACK, guest.ack++, guest.seq, TCP_WINDOW, 0);
	guest_acknowledge(WINDOW);
	/* It can't say anything any more. */
	guest_say("a", WINDOW);
	guest_expect(TCP_ACK, guest.ack, guest.seq - 1, TCP_WINDOW, 0);
	/* One FIN too early, beyond data that is missing, is nothing. */
	guest_wait(NS_PER_S);
	guest_connect(ISN, WINDOW);
	guest_send((struct segment){ .flags = TCP_FIN | TCP_ACK, .seq = guest.seq + 5, .ack = guest.ack,
				     .window = WINDOW });
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_say(GET, WINDOW);
	guest_expect(TCP_PSH | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, SMALL_REPLY);
}

static void resets_and_what_looks_like_them(void **state)
{
	(void)state;
	guest_connect(ISN, WINDOW);
	/* Beside the window: nothing. In it: is it still there? Exactly: it's over. */
	guest_send((struct segment){ .flags = TCP_RST, .seq = guest.seq - 1 });
	guest_send((struct segment){ .flags = TCP_RST, .seq = guest.seq + TCP_WINDOW });
	guest_expect_nothing();
	guest_send((struct segment){ .flags = TCP_RST | TCP_ACK, .seq = guest.seq + 1 });
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	/* A SYN doesn't break it. */
	guest_send((struct segment){ .flags = TCP_SYN, .seq = guest.seq, .window = 1 });
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_send((struct segment){ .flags = TCP_SYN | TCP_ACK, .seq = guest.seq + 9, .ack = guest.ack });
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	/* Nor does an acknowledgement of what was never said, or none at all. */
	guest_send((struct segment){ .flags = TCP_ACK, .seq = guest.seq, .ack = guest.ack + 1 });
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_send((struct segment){ .flags = 0, .seq = guest.seq, .data = GET, .len = GET_LEN });
	guest_send((struct segment){ .flags = TCP_FIN, .seq = guest.seq });
	guest_expect_nothing();
	/* Far beside the window. */
	guest_send((struct segment){ .flags = TCP_ACK, .seq = guest.seq + TCP_WINDOW, .ack = guest.ack,
				     .data = GET, .len = GET_LEN });
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_send((struct segment){ .flags = TCP_ACK, .seq = guest.seq + 0x80000000, .ack = guest.ack });
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_say(GET, WINDOW);
	guest_expect(TCP_PSH | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, SMALL_REPLY);
	guest_send((struct segment){ .flags = TCP_RST, .seq = guest.seq });
	guest_expect_nothing();
	expect_gone();
}

static void idle_connections_are_closed(void **state)
{
	(void)state;
	guest_connect(ISN, WINDOW);
	guest_say("GET", WINDOW);
	guest_expect(TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	guest_wait(60 * NS_PER_S - 1);
	guest_expect_nothing();
	guest_wait(1);
	guest_expect(TCP_FIN | TCP_ACK, guest.ack++, guest.seq, TCP_WINDOW, 0);
	guest_acknowledge(WINDOW);
	guest_expect_nothing();
	/* The guest never ends its side. */
	guest_wait(60 * NS_PER_S - 1);
	guest_expect_nothing();
	guest_wait(1);
	guest_expect(TCP_RST | TCP_ACK, guest.ack, guest.seq, TCP_WINDOW, 0);
	expect_gone();
}

static void segments_have_the_size_that_the_guest_wants(void **state)
{
	static const uint16_t sizes[][2] = { { 0, 536 }, { 1, 28 }, { 28, 28 }, { 100, 100 }, { 65535, 1460 } };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		guest_send((struct segment){ .flags = TCP_SYN, .seq = ISN, .window = WINDOW,
					     .mss = sizes[i][0] });
		guest_expect(TCP_SYN | TCP_ACK, 5000, ISN + 1, TCP_WINDOW, 0);
		guest.seq = ISN + 1;
		guest.ack = 5001;
		guest_say(GET, WINDOW);
		guest_expect(TCP_ACK, 5001, guest.seq, 0, sizes[i][1]);
		guest_send((struct segment){ .flags = TCP_RST, .seq = guest.seq });
		expect_gone();
	}
}

#define SMALL_TEST(name) cmocka_unit_test_setup_teardown(name, small, tear_down)
#define LARGE_TEST(name) cmocka_unit_test_setup_teardown(name, large, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SMALL_TEST(request_and_response),
		SMALL_TEST(request_in_any_two_pieces),
		SMALL_TEST(segments_out_of_order_and_again),
		SMALL_TEST(requests_at_once),
		SMALL_TEST(one_request_after_another),
		SMALL_TEST(handshake_is_repeated),
		SMALL_TEST(lost_response_is_sent_again),
		LARGE_TEST(acks_are_never_behind),
		LARGE_TEST(windows_are_respected),
		SMALL_TEST(shut_windows_do_not_hold_a_connection),
		LARGE_TEST(sequence_numbers_wrap),
		LARGE_TEST(a_bad_network_changes_nothing),
		SMALL_TEST(last_response_and_fin),
		SMALL_TEST(fin_with_the_request),
		SMALL_TEST(fin_in_the_middle_of_a_request),
		SMALL_TEST(resets_and_what_looks_like_them),
		SMALL_TEST(idle_connections_are_closed),
		LARGE_TEST(segments_have_the_size_that_the_guest_wants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
