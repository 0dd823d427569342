/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: the metadata service's side of a link. The input is a program of frames, of time, and of
 * what the guest takes; segments are built so that they can mean something, as the guest would know
 * the sequence numbers.
 */
#include <arpa/inet.h>
#include <sys/random.h>
#include <sys/types.h>

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include "devices/mmds/stack.h"
#include "input.h"
#include "vmm/util.h"

#define PEERS 40 /* more than there may be connections */

struct fuzz {
	struct input in;
	struct mmds mmds;
	struct mmds_stack stack;
	uint64_t now;
	struct {
		uint32_t seq, ack; /* what the guest would send next, and has received */
	} peers[PEERS];
	uint8_t frame[MMDS_RECEIVE_MAX + 64];
};

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags)
{
	(void)flags;
	memset(buf, 0xfe, len); /* initial sequence numbers just before the wrap */
	return (ssize_t)len;
}

static void give(struct fuzz *f, size_t len, bool partial)
{
	const struct mmds_offload offload = { partial, sizeof(struct ethhdr) + sizeof(struct iphdr),
					      offsetof(struct tcphdr, check) };

	if (mmds_stack_wants(&f->stack, f->frame, len))
		mmds_stack_input(&f->stack, f->frame, len, &offload, f->now);
}

/* Bytes as they are, behind an Ethernet header of IPv4 or ARP for the service. */
static void give_bytes(struct fuzz *f)
{
	static const uint8_t address[] = { 169, 254, 169, 254 };
	size_t len = 14 + input_u8(&f->in) % 80;
	bool arp = input_u8(&f->in) & 1;

	input_bytes(&f->in, f->frame, len);
	f->frame[12] = 0x08;
	f->frame[13] = arp ? 0x06 : 0x00;
	memcpy(f->frame + (arp ? 38 : 30), address, sizeof(address));
	give(f, len, input_u8(&f->in) & 1);
}

static uint16_t checksum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~((sum & 0xffff) + (sum >> 16)));
}

static size_t fill_data(struct fuzz *f, uint8_t *at)
{
	static const char *const texts[] = {
		"GET /a HTTP/1.1\r\n\r\n",
		"GET /big HTTP/1.1\r\nAccept: application/json\r\n\r\n",
		"PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n\r\n",
		"GET /a HTTP/1.0\r\n\r\n",
		"X-metadata-token: ",
		"Transfer-Encoding: chunked\r\n",
		"Content-Length: 5\r\n\r\n",
	};
	uint8_t what = input_u8(&f->in);
	size_t len;

	if (what < ARRAY_SIZE(texts)) {
		len = strlen(texts[what]);
		memcpy(at, texts[what], len);
		return len;
	}
	len = what % 2 ? what : input_u16(&f->in) % (TCP_WINDOW + 32);
	memset(at, 'a', len);
	input_bytes(&f->in, at, what % 2 ? len : len % 16);
	return len;
}

static void give_segment(struct fuzz *f, unsigned int peer, uint8_t flags)
{
	uint8_t how = input_u8(&f->in);
	struct ethhdr eth = { .h_proto = htons(ETH_P_IP) };
	struct iphdr ip = { .version = 4, .ihl = 5, .protocol = IPPROTO_TCP, .saddr = htonl(0xa9fe0102),
			    .daddr = htonl(MMDS_IPV4_DEFAULT) };
	struct tcphdr tcp = { .source = htons((uint16_t)(1000 + peer)), .dest = htons(80), .doff = 5,
			      .window = htons(how & 8 ? 65535 : input_u16(&f->in)) };
	uint32_t seq = f->peers[peer].seq, ack = f->peers[peer].ack;
	uint8_t *at = f->frame + sizeof(eth) + sizeof(ip);
	size_t len = 0;

	if (how & 1)
		len = fill_data(f, at + sizeof(tcp));
	tcp.seq = htonl(how & 2 ? seq + input_u16(&f->in) - 0x8000u : seq);
	tcp.ack_seq = htonl(how & 4 ? ack + input_u16(&f->in) - 0x8000u : ack);
	if (how & 16)
		tcp.dest = htons(input_u16(&f->in));
	memcpy(at, &tcp, sizeof(tcp));
	at[13] = flags;
	ip.tot_len = htons((uint16_t)(sizeof(ip) + sizeof(tcp) + len));
	memcpy(f->frame, &eth, sizeof(eth));
	memcpy(f->frame + sizeof(eth), &ip, sizeof(ip));
	ip.check = checksum(f->frame + sizeof(eth), sizeof(ip));
	memcpy(f->frame + sizeof(eth), &ip, sizeof(ip));
	give(f, sizeof(eth) + sizeof(ip) + sizeof(tcp) + len, true);
	if (!(how & 32))
		f->peers[peer].seq = ntohl(tcp.seq) + (uint32_t)len + ((flags & (TCP_SYN | TCP_FIN)) != 0);
}

/* Up to n frames. The guest remembers what it has got, if it wants. */
static void take(struct fuzz *f, unsigned int n, bool remember)
{
	uint8_t frame[MMDS_SEND_MAX];

	for (; n > 0; n--) {
		bool has = mmds_stack_has_output(&f->stack);
		size_t len = mmds_stack_output(&f->stack, frame, f->now);
		struct tcphdr tcp;

		must(has == (len > 0));
		must(len <= sizeof(frame));
		if (len == 0)
			return;
		if (frame[13] != 0x00)
			continue;
		memcpy(&tcp, frame + sizeof(struct ethhdr) + sizeof(struct iphdr), sizeof(tcp));
		unsigned int peer = ntohs(tcp.dest) - 1000u;
		uint32_t data = (uint32_t)(len - sizeof(struct ethhdr) - sizeof(struct iphdr) - tcp.doff * 4u);

		if (remember && peer < PEERS && !tcp.rst)
			f->peers[peer].ack = ntohl(tcp.seq) + data + tcp.syn + tcp.fin;
	}
}

static void pass_time(struct fuzz *f)
{
	static const uint64_t ms[] = { 1, 100, 1000, 2000, 5000, 16000, 60000, 120000 };

	f->now += ms[input_u8(&f->in) % ARRAY_SIZE(ms)] * 1000000;
	if (mmds_stack_deadline(&f->stack) <= f->now)
		mmds_stack_tick(&f->stack, f->now);
	must(mmds_stack_deadline(&f->stack) > f->now);
}

static void step(struct fuzz *f)
{
	uint8_t op = input_u8(&f->in);
	unsigned int peer = input_u8(&f->in) % PEERS;

	switch (op % 12) {
	case 0:
		give_bytes(f);
		break;
	case 1:
		pass_time(f);
		break;
	case 2:
		take(f, peer, op & 0x80);
		break;
	case 3:
		mmds_stack_reset(&f->stack);
		must(!mmds_stack_has_output(&f->stack) && mmds_stack_deadline(&f->stack) == UINT64_MAX);
		break;
	case 4:
		f->mmds.version ^= 1;
		break;
	case 5: /* a whole handshake */
		give_segment(f, peer, TCP_SYN);
		take(f, 40, true);
		give_segment(f, peer, TCP_ACK);
		break;
	case 6:
		give_segment(f, peer, input_u8(&f->in));
		break;
	default:
		give_segment(f, peer, op & 0x40 ? TCP_ACK | TCP_FIN : TCP_ACK);
		take(f, op >> 4, true);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = { .in = { data, size }, .now = 1000000000000 };
	char big[9000];
	json_t *root = json_object();

	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	json_object_set_new(root, "big", json_string(big));
	json_object_set_new(root, "a", json_string("hello"));
	must(mmds_init(&f.mmds, MMDS_SIZE_LIMIT, NULL) == 0);
	must(mmds_store_put(&f.mmds.store, root, NULL) == 0);
	json_decref(root);
	mmds_stack_init(&f.stack, &f.mmds, MMDS_IPV4_DEFAULT);
	while (f.in.left > 0)
		step(&f);
	/* Left alone it comes to rest, and nobody keeps a place. */
	for (unsigned int i = 0; i < 20; i++) {
		take(&f, 10000, false);
		must(!mmds_stack_has_output(&f.stack));
		f.now += TCP_IDLE_NS;
		mmds_stack_tick(&f.stack, f.now);
	}
	take(&f, 10000, false);
	must(f.mmds.counters.connections_created == f.mmds.counters.connections_destroyed);
	mmds_release(&f.mmds);
	return 0;
}
