/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata service as a station on the guest's link: Ethernet, ARP (RFC 826), IPv4 (RFC 791) and
 * the TCP connections of one interface. It is given the frames that are for it, and asked for its own
 * when there's room for one: nothing waits here but what a frame is made from. No fragments, no
 * options of IPv4; a segment that belongs to nothing is answered by a reset.
 */
#ifndef MOTE_DEVICES_MMDS_STACK_H
#define MOTE_DEVICES_MMDS_STACK_H

#include "devices/mmds/tcp.h"

#define MMDS_IPV4_DEFAULT    0xa9fea9feu /* 169.254.169.254 */
#define MMDS_PORT	     80
#define MMDS_CONNECTIONS_MAX 30
#define MMDS_RESETS_MAX	     8		/* that wait to be sent; more are forgotten */
#define MMDS_EVICTABLE_NS    5000000000ull /* a connection that got nowhere for so long makes room */

/* What decides whether a frame is for the service: up to the end of ARP's packet. */
#define MMDS_PEEK_SIZE 42
/* The largest frame that is understood: headers, their options, and a full window. */
#define MMDS_RECEIVE_MAX (14 + 60 + 60 + TCP_WINDOW)
#define MMDS_SEND_MAX	 (14 + 20 + 20 + TCP_MSS_MAX)

/* Who sent a segment. */
struct mmds_peer {
	uint8_t mac[6];
	uint32_t ip;
	uint16_t port;
};

struct mmds_reset {
	struct mmds_peer peer;
	uint16_t own_port;
	struct tcp_segment segment;
};

struct mmds_stack {
	struct mmds *mmds; /* borrowed */
	uint32_t ip;
	struct {
		struct mmds_peer peer;
		struct tcp_connection *tcp; /* NULL = free */
	} connections[MMDS_CONNECTIONS_MAX];
	unsigned int turn; /* the connection that may send next */
	struct mmds_reset resets[MMDS_RESETS_MAX];
	unsigned int first_reset, n_resets;
	bool arp_wanted; /* the last one who asked gets an answer */
	struct mmds_peer arp_peer;
};

/* What the host's side did not do to a frame yet (virtio 1.2 §5.1.6): a checksum of its own. */
struct mmds_offload {
	bool partial; /* the checksum at start + offset covers only the pseudo header */
	uint16_t start, offset;
};

/* ip: in host's byte order, as everywhere here. */
void mmds_stack_init(struct mmds_stack *stack, struct mmds *mmds, uint32_t ip);
/* Drop all connections and what waits: the guest's driver was reset, or it's the end. */
void mmds_stack_reset(struct mmds_stack *stack);

/* Whether a frame that begins so is for the service, and for nobody else. */
bool mmds_stack_wants(const struct mmds_stack *stack, const uint8_t *frame, size_t len);
/* Such a frame. Longer than MMDS_RECEIVE_MAX: it's only counted, frame may be NULL. */
void mmds_stack_input(struct mmds_stack *stack, const uint8_t *frame, size_t len,
		      const struct mmds_offload *offload, uint64_t now);
/* The next frame for the guest: its length, 0 = there's none. */
size_t mmds_stack_output(struct mmds_stack *stack, uint8_t frame[MMDS_SEND_MAX], uint64_t now);
bool mmds_stack_has_output(const struct mmds_stack *stack);

/* When mmds_stack_tick has something to do; UINT64_MAX = never. */
uint64_t mmds_stack_deadline(const struct mmds_stack *stack);
void mmds_stack_tick(struct mmds_stack *stack, uint64_t now);

#endif
