/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/mmds/tcp.h"

#include <string.h>

void tcp_open(struct tcp_connection *c, struct mmds *mmds, const struct tcp_segment *syn, uint32_t iss,
	      uint64_t now)
{
	uint16_t mss = syn->mss ? syn->mss : TCP_MSS_ABSENT;

	mss = mss < TCP_MSS_MIN ? TCP_MSS_MIN : mss;
	*c = (struct tcp_connection){
		.state = TCP_SYN_RECEIVED,
		.irs = syn->seq,
		.rcv_nxt = syn->seq + 1,
		.iss = iss,
		.snd_una = iss,
		.snd_nxt = iss,
		.snd_max = iss,
		.out_seq = iss + 1,
		.mss = mss > TCP_MSS_MAX ? TCP_MSS_MAX : mss,
		.progress_at = now,
	};
	mmds_http_init(&c->http, mmds);
}

void tcp_release(struct tcp_connection *c)
{
	mmds_http_release(&c->http);
}

/* Whether our FIN follows what is in the output: the peer has nothing more to ask, or we to say. */
static bool tcp_ends(const struct tcp_connection *c)
{
	return c->state != TCP_SYN_RECEIVED && (c->fin_received || c->http.ended);
}

/* Behind everything that there is to send, a FIN included. */
static uint32_t send_end(const struct tcp_connection *c)
{
	return c->out_seq + (uint32_t)c->http.out_length + tcp_ends(c);
}

static uint32_t receive_window(const struct tcp_connection *c)
{
	return mmds_http_ready(&c->http) ? TCP_WINDOW : 0;
}

/* While something is on the way, or kept back by the peer's window, it's tried again. */
static void set_timer(struct tcp_connection *c, uint64_t now)
{
	bool waits = c->state <= TCP_ESTABLISHED &&
		     (c->snd_una != c->snd_max || tcp_diff(send_end(c), c->snd_nxt) > 0);

	if (!waits)
		c->retry_at = 0;
	else if (c->retry_at == 0)
		c->retry_at = now + TCP_RTO_NS;
}

/* ---- segments of the peer's ---- */

/* RFC 9293 §3.10.7.4: whether any of it is, or could be, news. */
static bool acceptable(const struct tcp_connection *c, const struct tcp_segment *s)
{
	int32_t first = tcp_diff(s->seq, c->rcv_nxt);
	int32_t behind = first + (int32_t)s->len + (s->flags & TCP_FIN);

	return first < 0 ? behind > 0 : first == 0 || (uint32_t)first < receive_window(c);
}

static void take_window(struct tcp_connection *c, const struct tcp_segment *s)
{
	int32_t seq = tcp_diff(s->seq, c->snd_wl1);

	if (seq < 0 || (seq == 0 && tcp_diff(s->ack, c->snd_wl2) < 0))
		return;
	c->snd_wnd = s->window;
	c->snd_wl1 = s->seq;
	c->snd_wl2 = s->ack;
}

/* The response has arrived, maybe with our FIN behind it: there may be another request. */
static void complete_response(struct tcp_connection *c)
{
	if (!c->http.out || tcp_diff(c->snd_una, c->out_seq + (uint32_t)c->http.out_length) < 0)
		return;
	c->out_seq += (uint32_t)c->http.out_length;
	mmds_http_sent(&c->http);
	c->ack_wanted = true; /* the window is open again */
}

/* False: the rest of the segment is not to be looked at. */
static bool take_ack(struct tcp_connection *c, const struct tcp_segment *s, uint64_t now)
{
	int32_t news = tcp_diff(s->ack, c->snd_una);

	if (tcp_diff(s->ack, c->snd_max) > 0) {
		c->ack_wanted = true;
		return false;
	}
	if (news > 0) {
		c->snd_una = s->ack;
		if (tcp_diff(c->snd_nxt, c->snd_una) < 0)
			c->snd_nxt = c->snd_una;
		c->retry_at = 0;
		c->progress_at = now;
	}
	if (news >= 0) {
		take_window(c, s);
		/* An answer to a probe: it's there, and has no room. */
		if (news > 0 || c->snd_wnd == 0)
			c->retries = 0;
		complete_response(c);
	}
	return true;
}

/* Returns whether all of the segment's data was taken, now or before. */
static bool take_data(struct tcp_connection *c, const struct tcp_segment *s, uint64_t now)
{
	int32_t first = tcp_diff(s->seq, c->rcv_nxt);
	size_t known = first < 0 ? (size_t)-(int64_t)first : 0;
	size_t room = receive_window(c);

	if (s->len > 0 || s->flags & TCP_FIN)
		c->ack_wanted = true;
	if (s->len == 0)
		return first <= 0;
	if (first > 0 || c->fin_received)
		return false;
	if (known >= s->len)
		return true;
	size_t len = s->len - known;
	size_t n = mmds_http_receive(&c->http, s->data + known, len < room ? len : room, now);

	c->rcv_nxt += (uint32_t)n;
	if (n > 0)
		c->progress_at = now;
	if (c->http.failed)
		c->state = TCP_BROKEN;
	return n == len;
}

static void take_fin(struct tcp_connection *c, const struct tcp_segment *s, uint64_t now)
{
	if (c->fin_received || s->seq + (uint32_t)s->len != c->rcv_nxt)
		return;
	c->rcv_nxt++;
	c->fin_received = true;
	c->progress_at = now;
}

bool tcp_finished(const struct tcp_connection *c)
{
	return c->state >= TCP_TIME_WAIT || (tcp_ends(c) && c->snd_una == send_end(c));
}

static void end_if_both_have(struct tcp_connection *c, uint64_t now)
{
	if (c->state != TCP_ESTABLISHED || !c->fin_received || !tcp_finished(c))
		return;
	c->state = TCP_TIME_WAIT;
	c->progress_at = now;
}

/* RST and SYN. True: that's all. */
static bool take_control(struct tcp_connection *c, const struct tcp_segment *s)
{
	if (s->flags & TCP_RST) {
		/* RFC 5961 §3.2: only one that hits exactly is believed. */
		if (s->seq == c->rcv_nxt)
			c->state = TCP_CLOSED;
		else if (acceptable(c, s))
			c->ack_wanted = true;
		return true;
	}
	if (s->flags & TCP_SYN) {
		/* The first one again: so is our answer. Any other: RFC 5961 §4.2. */
		if (c->state == TCP_SYN_RECEIVED && s->seq == c->irs && !(s->flags & TCP_ACK))
			c->snd_nxt = c->iss;
		else
			c->ack_wanted = true;
		return true;
	}
	return false;
}

bool tcp_input(struct tcp_connection *c, const struct tcp_segment *s, uint64_t now)
{
	if (c->state >= TCP_BROKEN || take_control(c, s))
		return true;
	if (!acceptable(c, s)) {
		c->ack_wanted = true;
		return true;
	}
	if (!(s->flags & TCP_ACK))
		return true;
	if (c->state == TCP_SYN_RECEIVED) {
		if (s->ack != c->iss + 1 || c->snd_max != c->iss + 1)
			return false;
		c->state = TCP_ESTABLISHED;
		c->snd_wl1 = s->seq;
		c->snd_wl2 = s->ack;
		c->ack_wanted = false;
	}
	if (!take_ack(c, s, now))
		return true;
	if (take_data(c, s, now) && s->flags & TCP_FIN)
		take_fin(c, s, now);
	end_if_both_have(c, now);
	set_timer(c, now);
	return true;
}

/* ---- segments of ours ---- */

/* How many sequence numbers may be used now. */
static uint32_t usable(const struct tcp_connection *c)
{
	int32_t left = tcp_diff(send_end(c), c->snd_nxt);
	int32_t window = tcp_diff(c->snd_una + c->snd_wnd, c->snd_nxt);

	if (left <= 0)
		return 0;
	if (window <= 0)
		return c->probe ? 1 : 0;
	return (uint32_t)(left < window ? left : window);
}

bool tcp_has_output(const struct tcp_connection *c)
{
	switch (c->state) {
	case TCP_SYN_RECEIVED:
		return c->snd_nxt == c->iss || c->ack_wanted;
	case TCP_ESTABLISHED:
		return c->ack_wanted || usable(c) > 0;
	case TCP_TIME_WAIT:
		return c->ack_wanted;
	case TCP_BROKEN:
		return true;
	default:
		return false;
	}
}

/* What of the response, and the FIN behind it, goes into this segment. */
static void fill(struct tcp_connection *c, struct tcp_segment *s)
{
	uint32_t room = usable(c), at = c->snd_nxt - c->out_seq;
	uint32_t left = at < c->http.out_length ? (uint32_t)c->http.out_length - at : 0;
	uint32_t len = left < c->mss ? left : c->mss;

	if (room == 0)
		return;
	s->seq = c->snd_nxt;
	s->len = len < room ? len : room;
	s->data = s->len ? (const uint8_t *)c->http.out + at : NULL;
	if (s->len == left && left > 0) {
		s->flags |= TCP_PSH;
		/*
		 * Whoever has all of the response and asks again acknowledges it with that, and so there's
		 * room. Told otherwise, Linux keeps its request back until its delayed ACK, up to 40 ms later.
		 */
		s->window = TCP_WINDOW;
	}
	if (s->len == left && room > s->len)
		s->flags |= TCP_FIN;
	c->snd_nxt += (uint32_t)s->len + (s->flags & TCP_FIN);
	if (tcp_diff(c->snd_nxt, c->snd_max) > 0)
		c->snd_max = c->snd_nxt;
}

bool tcp_output(struct tcp_connection *c, struct tcp_segment *s, uint64_t now)
{
	if (!tcp_has_output(c))
		return false;
	*s = (struct tcp_segment){
		.seq = c->snd_max,
		.ack = c->rcv_nxt,
		.flags = TCP_ACK,
		.window = (uint16_t)receive_window(c),
	};
	if (c->state == TCP_BROKEN) {
		s->flags |= TCP_RST;
		c->state = TCP_CLOSED;
	} else if (c->state == TCP_SYN_RECEIVED && c->snd_nxt == c->iss) {
		s->seq = c->iss;
		s->flags |= TCP_SYN;
		s->mss = TCP_MSS_MAX;
		c->snd_nxt = c->snd_max = c->iss + 1;
	} else if (c->state == TCP_ESTABLISHED) {
		fill(c, s);
	}
	c->ack_wanted = c->probe = false;
	set_timer(c, now);
	return true;
}

/* ---- time ---- */

static uint64_t idle_ns(const struct tcp_connection *c)
{
	return c->state == TCP_TIME_WAIT ? TCP_TIME_WAIT_NS : TCP_IDLE_NS;
}

uint64_t tcp_deadline(const struct tcp_connection *c)
{
	uint64_t idle = c->progress_at + idle_ns(c);

	if (c->state >= TCP_BROKEN)
		return UINT64_MAX;
	return c->retry_at && c->retry_at < idle ? c->retry_at : idle;
}

/* Nothing came of it for long: say goodbye, and if that gets nowhere either, hang up. */
static void give_up(struct tcp_connection *c, uint64_t now)
{
	if (c->state == TCP_TIME_WAIT) {
		c->state = TCP_CLOSED;
	} else if (c->state == TCP_ESTABLISHED && !tcp_ends(c)) {
		c->http.ended = true;
		c->progress_at = now;
	} else {
		c->state = TCP_BROKEN;
	}
}

static void retry(struct tcp_connection *c, uint64_t now)
{
	if (c->retries == TCP_RETRIES) {
		c->state = TCP_BROKEN;
		return;
	}
	uint64_t wait = TCP_RTO_NS << ++c->retries;

	c->retry_at = now + (wait < TCP_RTO_MAX_NS ? wait : TCP_RTO_MAX_NS);
	c->snd_nxt = c->snd_una;
	c->probe = true;
}

void tcp_tick(struct tcp_connection *c, uint64_t now)
{
	if (c->state >= TCP_BROKEN)
		return;
	if (now >= c->progress_at + idle_ns(c))
		give_up(c, now);
	if (c->state < TCP_BROKEN && c->retry_at && now >= c->retry_at)
		retry(c, now);
	set_timer(c, now);
}
