/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP connection (RFC 9293), the side that was called: segments in and out, no frames, no clock.
 * Only what a metadata service needs: no options but MSS, no urgent data, and a segment that isn't
 * the next one is not kept (the peer sends it again). The peer is hostile: what it says moves
 * nothing out of its bounds, and a connection that gets nowhere ends.
 */
#ifndef MOTE_DEVICES_MMDS_TCP_H
#define MOTE_DEVICES_MMDS_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/mmds/http.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10

#define TCP_WINDOW	  4096 /* bytes that are taken at once, if any */
#define TCP_MSS_MAX	  1460 /* of IPv4 on Ethernet; also what the peer is told */
#define TCP_MSS_ABSENT	  536  /* RFC 9293 §3.7.1 */
#define TCP_MSS_MIN	  28   /* of an MTU of 68 */
#define TCP_RTO_NS	  (1000 * 1000000ull) /* doubled with each retry */
#define TCP_RTO_MAX_NS	  (16 * TCP_RTO_NS)
#define TCP_RETRIES	  6
#define TCP_IDLE_NS	  (60 * 1000000000ull) /* without progress: closed, then dropped */
#define TCP_TIME_WAIT_NS  (1 * 1000000000ull)

struct tcp_segment {
	uint32_t seq, ack;
	uint16_t window, mss; /* mss: 0 = no such option */
	uint8_t flags;
	const uint8_t *data; /* borrowed, until the next call */
	size_t len;
};

enum tcp_state {
	TCP_SYN_RECEIVED,
	TCP_ESTABLISHED, /* and all on the way to its end: see fin_received and tcp_ends() */
	TCP_TIME_WAIT,	 /* both sides have closed: says so again if asked */
	TCP_BROKEN,	 /* the peer is to be told by a reset, then it's closed */
	TCP_CLOSED,	 /* to be released */
};

struct tcp_connection {
	enum tcp_state state;
	uint32_t irs, rcv_nxt;
	uint32_t iss, snd_una, snd_nxt;
	uint32_t snd_max;      /* the highest snd_nxt ever: a timeout puts snd_nxt back */
	uint32_t out_seq;      /* of the response's first byte */
	uint32_t snd_wl1, snd_wl2;
	uint16_t snd_wnd, mss;
	bool ack_wanted;
	bool fin_received;
	bool probe;	       /* try one byte, although the window is closed */
	unsigned int retries;
	uint64_t retry_at;     /* 0 = nothing is on the way */
	uint64_t progress_at;
	struct mmds_http http;
};

/* From the peer's SYN. iss: random. */
void tcp_open(struct tcp_connection *c, struct mmds *mmds, const struct tcp_segment *syn, uint32_t iss,
	      uint64_t now);
void tcp_release(struct tcp_connection *c);

/* False: the segment is to be answered with a reset, as if there were no connection. */
bool tcp_input(struct tcp_connection *c, const struct tcp_segment *segment, uint64_t now);
/* The next segment to send, if there's one. It counts as sent. */
bool tcp_output(struct tcp_connection *c, struct tcp_segment *segment, uint64_t now);
bool tcp_has_output(const struct tcp_connection *c);

/* All was said and has arrived, and so has our FIN: nothing is lost if it's dropped. */
bool tcp_finished(const struct tcp_connection *c);

/* When tcp_tick has something to do. */
uint64_t tcp_deadline(const struct tcp_connection *c);
void tcp_tick(struct tcp_connection *c, uint64_t now);

/* a - b for sequence numbers: negative if a is before b (RFC 9293 §3.4). */
static inline int32_t tcp_diff(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b);
}

#endif
