/* SPDX-License-Identifier: Apache-2.0 */
#include "mmds_guest.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <sys/types.h>

#include <cmocka.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>

struct mmds_guest guest;

static const uint8_t guest_mac[6] = { 0x06, 0, 0, 0, 0, 0x02 };
static const uint8_t service_mac[6] = { 0x06, 0x01, 0x23, 0x45, 0x67, 0x01 };

/* In the way of libc's (ld --wrap): sequence numbers that the test knows. */
ssize_t __real_getrandom(void *buf, size_t len, unsigned int flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags)
{
	assert_int_equal(flags, GRND_NONBLOCK);
	if (len != sizeof(guest.iss))
		return __real_getrandom(buf, len, flags);
	memcpy(buf, &guest.iss, len);
	return (ssize_t)len;
}

void guest_set_up(size_t n)
{
	json_t *data = json_object();
	char *text = malloc(n + 1);
	struct error err = { 0 };

	memset(&guest, 0, sizeof(guest));
	guest.now = 1000 * NS_PER_S;
	guest.iss = 5000;
	for (size_t i = 0; i < n; i++)
		text[i] = (char)('a' + i % 25);
	text[n] = 0;
	json_object_set_new(data, "a", json_string(text));
	free(text);
	assert_int_equal(mmds_init(&guest.mmds, 2 * MMDS_SIZE_LIMIT, &err), 0);
	assert_int_equal(mmds_store_put(&guest.mmds.store, data, &err), 0);
	json_decref(data);
	mmds_stack_init(&guest.stack, &guest.mmds, MMDS_IPV4_DEFAULT);
}

void guest_tear_down(void)
{
	mmds_stack_reset(&guest.stack);
	assert_int_equal(guest.mmds.counters.connections_created,
			 guest.mmds.counters.connections_destroyed);
	mmds_release(&guest.mmds);
}

static uint16_t checksum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

size_t guest_frame(uint8_t *frame, const struct segment *s)
{
	size_t header = sizeof(struct tcphdr) + (s->mss ? 4 : 0), len = header + s->len;
	struct ethhdr eth = { .h_proto = htons(ETH_P_IP) };
	struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 1, .protocol = IPPROTO_TCP,
			    .tot_len = htons((uint16_t)(sizeof(ip) + len)),
			    .saddr = htonl(GUEST_IP), .daddr = htonl(MMDS_IPV4_DEFAULT) };
	struct tcphdr tcp = { .source = htons(s->port ? s->port : GUEST_PORT),
			      .dest = htons(s->service_port ? s->service_port : 80),
			      .seq = htonl(s->seq), .ack_seq = htonl(s->ack),
			      .doff = header / 4 & 0xf, .window = htons(s->window) };
	uint8_t *at = frame + sizeof(eth) + sizeof(ip);

	memcpy(eth.h_source, guest_mac, 6);
	memcpy(eth.h_dest, service_mac, 6);
	ip.check = checksum(&ip, sizeof(ip), 0);
	memcpy(frame, &eth, sizeof(eth));
	memcpy(frame + sizeof(eth), &ip, sizeof(ip));
	memcpy(at, &tcp, sizeof(tcp));
	at[13] = s->flags;
	if (s->mss)
		memcpy(at + sizeof(tcp), (uint8_t[]){ 2, 4, (uint8_t)(s->mss >> 8), (uint8_t)s->mss }, 4);
	if (s->len > 0)
		memcpy(at + header, s->data, s->len);
	tcp.check = checksum(at, len, (GUEST_IP >> 16) + (GUEST_IP & 0xffff) + (MMDS_IPV4_DEFAULT >> 16) +
					      (MMDS_IPV4_DEFAULT & 0xffff) + IPPROTO_TCP + (uint32_t)len);
	memcpy(at + offsetof(struct tcphdr, check), &tcp.check, 2);
	return sizeof(eth) + sizeof(ip) + len;
}

void guest_give(const uint8_t *frame, size_t len)
{
	static const struct mmds_offload none;

	assert_true(mmds_stack_wants(&guest.stack, frame, len));
	mmds_stack_input(&guest.stack, frame, len, &none, guest.now);
}

void guest_send(struct segment segment)
{
	static uint8_t frame[70000];

	guest_give(frame, guest_frame(frame, &segment));
}

void guest_parse(const uint8_t *frame, size_t len)
{
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;

	assert_in_range(len, sizeof(eth) + sizeof(ip) + sizeof(tcp), MMDS_SEND_MAX);
	memcpy(&eth, frame, sizeof(eth));
	memcpy(&ip, frame + sizeof(eth), sizeof(ip));
	memcpy(&tcp, frame + sizeof(eth) + sizeof(ip), sizeof(tcp));
	assert_memory_equal(eth.h_dest, guest_mac, 6);
	assert_memory_equal(eth.h_source, service_mac, 6);
	assert_int_equal(eth.h_proto, htons(ETH_P_IP));
	assert_int_equal(ip.version, 4);
	assert_int_equal(ip.ihl, 5);
	assert_int_equal(ntohs(ip.tot_len), len - sizeof(eth));
	assert_int_equal(ip.protocol, IPPROTO_TCP);
	assert_int_equal(ip.frag_off, htons(0x4000));
	assert_int_equal(ip.saddr, htonl(MMDS_IPV4_DEFAULT));
	assert_int_equal(ip.daddr, htonl(GUEST_IP));
	assert_int_equal(checksum(&ip, sizeof(ip), 0), 0);

	size_t n = len - sizeof(eth) - sizeof(ip), header = tcp.doff * 4u;
	const uint8_t *at = frame + sizeof(eth) + sizeof(ip);

	assert_int_equal(checksum(at, n, (GUEST_IP >> 16) + (GUEST_IP & 0xffff) + (MMDS_IPV4_DEFAULT >> 16) +
						 (MMDS_IPV4_DEFAULT & 0xffff) + IPPROTO_TCP + (uint32_t)n), 0);
	assert_true(header == 20 || header == 24);
	guest.in = (struct segment){
		.flags = at[13], .seq = ntohl(tcp.seq), .ack = ntohl(tcp.ack_seq),
		.window = ntohs(tcp.window), .port = ntohs(tcp.dest), .service_port = ntohs(tcp.source),
		.data = at + header, .len = n - header,
	};
	if (header == 24) {
		assert_memory_equal(at + 20, ((uint8_t[]){ 2, 4 }), 2);
		guest.in.mss = (uint16_t)(at[22] << 8 | at[23]);
	}
}

bool guest_take(void)
{
	bool has = mmds_stack_has_output(&guest.stack);
	size_t len = mmds_stack_output(&guest.stack, guest.frame, guest.now);

	assert_int_equal(has, len > 0);
	if (len > 0)
		guest_parse(guest.frame, len);
	return len > 0;
}

void guest_expect(uint8_t flags, uint32_t seq, uint32_t ack, uint16_t window, size_t len)
{
	assert_true(guest_take());
	assert_int_equal(guest.in.port, GUEST_PORT);
	assert_int_equal(guest.in.service_port, 80);
	assert_int_equal(guest.in.flags, flags);
	assert_int_equal(guest.in.seq, seq);
	assert_int_equal(guest.in.ack, ack);
	assert_int_equal(guest.in.window, window);
	assert_int_equal(guest.in.len, len);
}

void guest_expect_nothing(void)
{
	assert_false(guest_take());
}

void guest_connect(uint32_t isn, uint16_t window)
{
	guest_send((struct segment){ .flags = TCP_SYN, .seq = isn, .window = window, .mss = 1460 });
	guest_expect(TCP_SYN | TCP_ACK, guest.iss, isn + 1, TCP_WINDOW, 0);
	assert_int_equal(guest.in.mss, 1460);
	guest.seq = isn + 1;
	guest.ack = guest.iss + 1;
	guest_acknowledge(window);
	guest_expect_nothing();
}

void guest_say(const char *data, uint16_t window)
{
	guest_send((struct segment){ .flags = TCP_PSH | TCP_ACK, .seq = guest.seq, .ack = guest.ack,
				     .window = window, .data = data, .len = strlen(data) });
	guest.seq += (uint32_t)strlen(data);
}

void guest_acknowledge(uint16_t window)
{
	guest_send((struct segment){ .flags = TCP_ACK, .seq = guest.seq, .ack = guest.ack, .window = window });
}

void guest_wait(uint64_t ns)
{
	uint64_t end = guest.now + ns;

	while (mmds_stack_deadline(&guest.stack) <= end) {
		if (mmds_stack_deadline(&guest.stack) > guest.now)
			guest.now = mmds_stack_deadline(&guest.stack);
		mmds_stack_tick(&guest.stack, guest.now);
		/* It has done what it wanted to. */
		assert_true(mmds_stack_deadline(&guest.stack) > guest.now);
	}
	guest.now = end;
}
