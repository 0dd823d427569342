/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/mmds/frames.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>

#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#define IP_OFFSET_MASK 0x1fff /* of frag_off, and the bit that says that more fragments follow */
#define IP_MORE	       0x2000
#define IP_DONT	       0x4000
#define TTL	       64

#define TCPOPT_END 0 /* RFC 9293 §3.2 */
#define TCPOPT_NOP 1
#define TCPOPT_MSS 2

struct arp_packet {
	uint16_t hardware, protocol;
	uint8_t hardware_len, protocol_len;
	uint16_t operation;
	uint8_t sender_mac[6];
	uint32_t sender_ip;
	uint8_t target_mac[6];
	uint32_t target_ip;
} __attribute__((packed));

_Static_assert(ETH_HLEN + sizeof(struct arp_packet) == MMDS_PEEK_SIZE, "ARP for IPv4 on Ethernet");

/* The sum of RFC 1071 so far; data starts at an even offset. */
static uint32_t sum(uint32_t so_far, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		so_far += (uint32_t)p[i] << 8 | p[i + 1];
	if (len % 2)
		so_far += (uint32_t)p[len - 1] << 8;
	return so_far;
}

/* In network's byte order; 0 if the checksum was in the sum, and right. */
static uint16_t checksum(uint32_t so_far)
{
	while (so_far >> 16)
		so_far = (so_far & 0xffff) + (so_far >> 16);
	return htons((uint16_t)~so_far);
}

static uint16_t tcp_checksum(uint32_t from, uint32_t to, const void *segment, size_t len)
{
	uint32_t pseudo = (from >> 16) + (from & 0xffff) + (to >> 16) + (to & 0xffff) + IPPROTO_TCP +
			  (uint32_t)len;

	return checksum(sum(pseudo, segment, len));
}

uint32_t frame_destination(const uint8_t *frame, size_t len)
{
	struct arp_packet arp;
	struct ethhdr eth;
	struct iphdr ip;

	if (len < sizeof(eth) + sizeof(ip))
		return 0;
	memcpy(&eth, frame, sizeof(eth));
	if (eth.h_proto == htons(ETH_P_IP)) {
		memcpy(&ip, frame + sizeof(eth), sizeof(ip));
		return ntohl(ip.daddr);
	}
	if (eth.h_proto != htons(ETH_P_ARP) || len < sizeof(eth) + sizeof(arp))
		return 0;
	memcpy(&arp, frame + sizeof(eth), sizeof(arp));
	return ntohl(arp.target_ip);
}

static enum frame_kind parse_arp(const uint8_t *packet, size_t len, struct mmds_peer *peer)
{
	struct arp_packet arp;

	if (len < sizeof(arp))
		return FRAME_BAD;
	memcpy(&arp, packet, sizeof(arp));
	if (arp.hardware != htons(ARPHRD_ETHER) || arp.protocol != htons(ETH_P_IP) ||
	    arp.hardware_len != 6 || arp.protocol_len != 4)
		return FRAME_BAD;
	if (arp.operation != htons(ARPOP_REQUEST))
		return FRAME_OTHER;
	memcpy(peer->mac, arp.sender_mac, sizeof(peer->mac));
	peer->ip = ntohl(arp.sender_ip);
	return FRAME_ARP;
}

/* False: options that aren't as RFC 9293 §3.2 has them. */
static bool read_options(const uint8_t *options, size_t len, struct tcp_segment *segment)
{
	for (size_t i = 0; i < len && options[i] != TCPOPT_END;) {
		if (options[i] == TCPOPT_NOP) {
			i++;
			continue;
		}
		if (i + 1 >= len || options[i + 1] < 2 || options[i + 1] > len - i)
			return false;
		if (options[i] == TCPOPT_MSS && options[i + 1] == 4)
			segment->mss = (uint16_t)(options[i + 2] << 8 | options[i + 3]);
		i += options[i + 1];
	}
	return true;
}

static enum frame_kind parse_tcp(const uint8_t *data, size_t len, struct mmds_peer *peer,
				 uint16_t *own_port, struct tcp_segment *segment)
{
	struct tcphdr tcp;

	if (len < sizeof(tcp))
		return FRAME_BAD;
	memcpy(&tcp, data, sizeof(tcp));
	size_t header = tcp.doff * 4u;

	if (header < sizeof(tcp) || header > len)
		return FRAME_BAD;
	peer->port = ntohs(tcp.source);
	*own_port = ntohs(tcp.dest);
	*segment = (struct tcp_segment){
		.seq = ntohl(tcp.seq),
		.ack = ntohl(tcp.ack_seq),
		.window = ntohs(tcp.window),
		.flags = data[13], /* behind doff: the lower six are those that mean something here */
		.data = data + header,
		.len = len - header,
	};
	return read_options(data + sizeof(tcp), header - sizeof(tcp), segment) ? FRAME_TCP : FRAME_BAD;
}

enum frame_kind frame_parse(const uint8_t *frame, size_t len, const struct mmds_offload *offload,
			    struct mmds_peer *peer, uint16_t *own_port, struct tcp_segment *segment)
{
	struct ethhdr eth;
	struct iphdr ip;

	memcpy(&eth, frame, sizeof(eth));
	if (eth.h_proto == htons(ETH_P_ARP))
		return parse_arp(frame + sizeof(eth), len - sizeof(eth), peer);
	memcpy(&ip, frame + sizeof(eth), sizeof(ip));
	size_t header = ip.ihl * 4u, total = ntohs(ip.tot_len);

	/* Behind a short packet is padding. */
	if (ip.version != 4 || header < sizeof(ip) || total < header || total > len - sizeof(eth) ||
	    checksum(sum(0, frame + sizeof(eth), header)) != 0)
		return FRAME_BAD;
	if (ip.protocol != IPPROTO_TCP || ntohs(ip.frag_off) & (IP_MORE | IP_OFFSET_MASK))
		return FRAME_OTHER;
	const uint8_t *data = frame + sizeof(eth) + header;

	len = total - header;
	if (offload->partial) {
		if (offload->start != sizeof(eth) + header || offload->offset != offsetof(struct tcphdr, check))
			return FRAME_BAD;
	} else if (tcp_checksum(ntohl(ip.saddr), ntohl(ip.daddr), data, len) != 0) {
		return FRAME_BAD;
	}
	memcpy(peer->mac, eth.h_source, sizeof(peer->mac));
	peer->ip = ntohl(ip.saddr);
	return parse_tcp(data, len, peer, own_port, segment);
}

static void make_ethernet(uint8_t *frame, const uint8_t from[6], const uint8_t to[6], uint16_t protocol)
{
	struct ethhdr eth = { .h_proto = htons(protocol) };

	memcpy(eth.h_source, from, sizeof(eth.h_source));
	memcpy(eth.h_dest, to, sizeof(eth.h_dest));
	memcpy(frame, &eth, sizeof(eth));
}

size_t frame_make_arp(uint8_t *frame, const uint8_t mac[6], uint32_t ip, const struct mmds_peer *to)
{
	struct arp_packet arp = {
		.hardware = htons(ARPHRD_ETHER),
		.protocol = htons(ETH_P_IP),
		.hardware_len = 6,
		.protocol_len = 4,
		.operation = htons(ARPOP_REPLY),
		.sender_ip = htonl(ip),
		.target_ip = htonl(to->ip),
	};

	memcpy(arp.sender_mac, mac, sizeof(arp.sender_mac));
	memcpy(arp.target_mac, to->mac, sizeof(arp.target_mac));
	make_ethernet(frame, mac, to->mac, ETH_P_ARP);
	memcpy(frame + ETH_HLEN, &arp, sizeof(arp));
	return ETH_HLEN + sizeof(arp);
}

/* TCP header, the MSS option if there's one, and data; the checksum is right. */
static size_t make_tcp(uint8_t *at, uint32_t ip, uint16_t own_port, const struct mmds_peer *to,
		       const struct tcp_segment *segment)
{
	size_t header = sizeof(struct tcphdr) + (segment->mss ? 4 : 0);
	struct tcphdr tcp = {
		.source = htons(own_port),
		.dest = htons(to->port),
		.seq = htonl(segment->seq),
		.ack_seq = htonl(segment->ack),
		.doff = header / 4 & 0xf,
		.window = htons(segment->window),
	};
	const uint8_t mss[4] = { TCPOPT_MSS, 4, (uint8_t)(segment->mss >> 8), (uint8_t)segment->mss };

	memcpy(at, &tcp, sizeof(tcp));
	at[13] = segment->flags;
	if (segment->mss)
		memcpy(at + sizeof(tcp), mss, sizeof(mss));
	if (segment->len > 0)
		memcpy(at + header, segment->data, segment->len);
	tcp.check = tcp_checksum(ip, to->ip, at, header + segment->len);
	memcpy(at + offsetof(struct tcphdr, check), &tcp.check, sizeof(tcp.check));
	return header + segment->len;
}

size_t frame_make_tcp(uint8_t frame[MMDS_SEND_MAX], const uint8_t mac[6], uint32_t ip, uint16_t own_port,
		      const struct mmds_peer *to, const struct tcp_segment *segment)
{
	size_t len = make_tcp(frame + ETH_HLEN + sizeof(struct iphdr), ip, own_port, to, segment);
	struct iphdr header = {
		.version = 4,
		.ihl = sizeof(header) / 4,
		.tot_len = htons((uint16_t)(sizeof(header) + len)),
		.frag_off = htons(IP_DONT),
		.ttl = TTL,
		.protocol = IPPROTO_TCP,
		.saddr = htonl(ip),
		.daddr = htonl(to->ip),
	};

	header.check = checksum(sum(0, &header, sizeof(header)));
	make_ethernet(frame, mac, to->mac, ETH_P_IP);
	memcpy(frame + ETH_HLEN, &header, sizeof(header));
	return ETH_HLEN + sizeof(header) + len;
}
