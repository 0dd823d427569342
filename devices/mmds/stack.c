/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/mmds/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "devices/mmds/frames.h"

static const uint8_t own_mac[6] = { 0x06, 0x01, 0x23, 0x45, 0x67, 0x01 };

void mmds_stack_init(struct mmds_stack *stack, struct mmds *mmds, uint32_t ip)
{
	*stack = (struct mmds_stack){ .mmds = mmds, .ip = ip };
}

/* ---- connections ---- */

static void drop(struct mmds_stack *stack, unsigned int i)
{
	tcp_release(stack->connections[i].tcp);
	free(stack->connections[i].tcp);
	stack->connections[i].tcp = NULL;
	stack->mmds->counters.connections_destroyed++;
}

void mmds_stack_reset(struct mmds_stack *stack)
{
	for (unsigned int i = 0; i < MMDS_CONNECTIONS_MAX; i++)
		if (stack->connections[i].tcp)
			drop(stack, i);
	stack->n_resets = 0;
	stack->arp_wanted = false;
}

/* -1 = none */
static int find(const struct mmds_stack *stack, const struct mmds_peer *peer)
{
	for (unsigned int i = 0; i < MMDS_CONNECTIONS_MAX; i++)
		if (stack->connections[i].tcp && stack->connections[i].peer.ip == peer->ip &&
		    stack->connections[i].peer.port == peer->port)
			return (int)i;
	return -1;
}

/* A place for one more: a free one, that of one which is over, or of one that has long got nowhere. */
static int make_room(struct mmds_stack *stack, uint64_t now)
{
	uint64_t oldest = UINT64_MAX;
	int victim = -1;

	for (unsigned int i = 0; i < MMDS_CONNECTIONS_MAX; i++) {
		const struct tcp_connection *tcp = stack->connections[i].tcp;
		uint64_t since = 0;

		if (!tcp)
			return (int)i;
		if (!tcp_finished(tcp))
			since = tcp->progress_at + MMDS_EVICTABLE_NS;
		if (since <= now && since < oldest) {
			oldest = since;
			victim = (int)i;
		}
	}
	if (victim >= 0)
		drop(stack, (unsigned int)victim);
	return victim;
}

/* False: there's no room, and none can be made. */
static bool accept_connection(struct mmds_stack *stack, const struct mmds_peer *peer,
			      const struct tcp_segment *syn, uint64_t now)
{
	uint32_t iss;
	int i = make_room(stack, now);

	/* What nobody can guess, nobody can forge segments for (RFC 6528). */
	if (i < 0 || getrandom(&iss, sizeof(iss), GRND_NONBLOCK) != sizeof(iss))
		return false;
	struct tcp_connection *tcp = malloc(sizeof(*tcp));

	if (!tcp)
		return false;
	tcp_open(tcp, stack->mmds, syn, iss, now);
	stack->connections[i].tcp = tcp;
	stack->connections[i].peer = *peer;
	stack->mmds->counters.connections_created++;
	return true;
}

/* RFC 9293 §3.10.7.1: the answer to a segment that belongs to no connection. */
static void refuse(struct mmds_stack *stack, const struct mmds_peer *peer, uint16_t own_port,
		   const struct tcp_segment *s)
{
	unsigned int at = (stack->first_reset + stack->n_resets) % MMDS_RESETS_MAX;
	struct mmds_reset *reset = &stack->resets[at];

	stack->mmds->counters.rx_accepted_unusual++;
	if (s->flags & TCP_RST || stack->n_resets == MMDS_RESETS_MAX)
		return;
	*reset = (struct mmds_reset){ .peer = *peer, .own_port = own_port };
	if (s->flags & TCP_ACK) {
		reset->segment.seq = s->ack;
		reset->segment.flags = TCP_RST;
	} else {
		reset->segment.ack = s->seq + (uint32_t)s->len + ((s->flags & TCP_SYN) != 0) +
				     (s->flags & TCP_FIN);
		reset->segment.flags = TCP_RST | TCP_ACK;
	}
	stack->n_resets++;
}

static void take_segment(struct mmds_stack *stack, const struct mmds_peer *peer,
			 uint16_t own_port, const struct tcp_segment *s, uint64_t now)
{
	const uint8_t control = s->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN);
	int i = own_port == MMDS_PORT ? find(stack, peer) : -1;

	/* A new connection between the same ports, after the end of the old one. */
	if (i >= 0 && control == TCP_SYN && stack->connections[i].tcp->state >= TCP_TIME_WAIT) {
		drop(stack, (unsigned int)i);
		i = -1;
	}
	if (i < 0) {
		if (own_port != MMDS_PORT || control != TCP_SYN ||
		    !accept_connection(stack, peer, s, now))
			refuse(stack, peer, own_port, s);
		else
			stack->mmds->counters.rx_count++;
		return;
	}
	stack->mmds->counters.rx_count++;
	if (!tcp_input(stack->connections[i].tcp, s, now))
		refuse(stack, peer, own_port, s);
	if (stack->connections[i].tcp->state == TCP_CLOSED)
		drop(stack, (unsigned int)i);
}

/* ---- frames of the guest's ---- */

bool mmds_stack_wants(const struct mmds_stack *stack, const uint8_t *frame, size_t len)
{
	return frame_destination(frame, len) == stack->ip;
}

void mmds_stack_input(struct mmds_stack *stack, const uint8_t *frame, size_t len,
		      const struct mmds_offload *offload, uint64_t now)
{
	struct mmds_counters *counters = &stack->mmds->counters;
	struct tcp_segment segment;
	struct mmds_peer peer;
	uint16_t own_port;

	counters->rx_accepted++;
	if (len > MMDS_RECEIVE_MAX || !mmds_stack_wants(stack, frame, len)) {
		counters->rx_accepted_err++;
		return;
	}
	switch (frame_parse(frame, len, offload, &peer, &own_port, &segment)) {
	case FRAME_ARP:
		stack->arp_wanted = true;
		stack->arp_peer = peer;
		break;
	case FRAME_TCP:
		take_segment(stack, &peer, own_port, &segment, now);
		break;
	case FRAME_OTHER:
		counters->rx_accepted_unusual++;
		break;
	case FRAME_BAD:
		counters->rx_accepted_err++;
		break;
	}
}

/* ---- frames of ours ---- */

bool mmds_stack_has_output(const struct mmds_stack *stack)
{
	if (stack->arp_wanted || stack->n_resets > 0)
		return true;
	for (unsigned int i = 0; i < MMDS_CONNECTIONS_MAX; i++)
		if (stack->connections[i].tcp && tcp_has_output(stack->connections[i].tcp))
			return true;
	return false;
}

static size_t send_reset(struct mmds_stack *stack, uint8_t *frame)
{
	const struct mmds_reset *reset = &stack->resets[stack->first_reset];

	stack->first_reset = (stack->first_reset + 1) % MMDS_RESETS_MAX;
	stack->n_resets--;
	return frame_make_tcp(frame, own_mac, stack->ip, reset->own_port, &reset->peer,
			      &reset->segment);
}

/* Each connection in turn, one segment. */
static size_t send_segment(struct mmds_stack *stack, uint8_t *frame, uint64_t now)
{
	for (unsigned int n = 0; n < MMDS_CONNECTIONS_MAX; n++) {
		unsigned int i = (stack->turn + n) % MMDS_CONNECTIONS_MAX;
		struct tcp_connection *tcp = stack->connections[i].tcp;
		struct tcp_segment segment;

		if (!tcp || !tcp_output(tcp, &segment, now))
			continue;
		size_t len = frame_make_tcp(frame, own_mac, stack->ip, MMDS_PORT,
					    &stack->connections[i].peer, &segment);

		if (tcp->state == TCP_CLOSED)
			drop(stack, i);
		stack->turn = (i + 1) % MMDS_CONNECTIONS_MAX;
		return len;
	}
	return 0;
}

size_t mmds_stack_output(struct mmds_stack *stack, uint8_t frame[MMDS_SEND_MAX], uint64_t now)
{
	struct mmds_counters *counters = &stack->mmds->counters;
	bool arp = stack->arp_wanted;
	size_t len;

	if (arp)
		len = frame_make_arp(frame, own_mac, stack->ip, &stack->arp_peer);
	else if (stack->n_resets > 0)
		len = send_reset(stack, frame);
	else
		len = send_segment(stack, frame, now);
	stack->arp_wanted = false;
	if (len == 0)
		return 0;
	counters->tx_frames++;
	counters->tx_bytes += len;
	counters->tx_count += !arp;
	return len;
}

/* ---- time ---- */

uint64_t mmds_stack_deadline(const struct mmds_stack *stack)
{
	uint64_t first = UINT64_MAX;

	for (unsigned int i = 0; i < MMDS_CONNECTIONS_MAX; i++) {
		const struct tcp_connection *tcp = stack->connections[i].tcp;

		if (tcp && tcp_deadline(tcp) < first)
			first = tcp_deadline(tcp);
	}
	return first;
}

void mmds_stack_tick(struct mmds_stack *stack, uint64_t now)
{
	for (unsigned int i = 0; i < MMDS_CONNECTIONS_MAX; i++) {
		struct tcp_connection *tcp = stack->connections[i].tcp;

		if (!tcp)
			continue;
		tcp_tick(tcp, now);
		if (tcp->state == TCP_CLOSED)
			drop(stack, i);
	}
}
