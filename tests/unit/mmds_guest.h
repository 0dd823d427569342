/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of the metadata service, frame by frame and by a clock of its own: what is sent is built from
 * the segment that the test names, and what comes must be right down to the checksums.
 */
#ifndef MOTE_TESTS_MMDS_GUEST_H
#define MOTE_TESTS_MMDS_GUEST_H

#include "devices/mmds/stack.h"

#define GUEST_IP   0xa9fe0102u /* 169.254.1.2 */
#define GUEST_PORT 40000
#define NS_PER_S   1000000000ull

struct segment {
	uint8_t flags;
	uint32_t seq, ack;
	uint16_t window, mss; /* mss: 0 = none */
	uint16_t port;	      /* the guest's; 0 = GUEST_PORT */
	uint16_t service_port; /* 0 = 80 */
	const void *data;
	size_t len;
};

struct mmds_guest {
	struct mmds mmds;
	struct mmds_stack stack;
	uint64_t now;
	uint32_t iss;	      /* what the service's next connection begins with */
	struct segment in;    /* the last one that came */
	uint32_t seq, ack;    /* of guest_connect's connection */
	uint8_t frame[MMDS_SEND_MAX];
};

extern struct mmds_guest guest;

/* For each test: version 1, data {"a": "x" * n}. */
void guest_set_up(size_t n);
void guest_tear_down(void);

/* The frame of a segment, all checksums right. Returns its length. */
size_t guest_frame(uint8_t *frame, const struct segment *segment);
/* Give it to the service, whose frame it must be. */
void guest_give(const uint8_t *frame, size_t len);
void guest_send(struct segment segment);

/* The service's frame, which must be a segment and right, into guest.in, whose data stays in it. */
void guest_parse(const uint8_t *frame, size_t len);
/* Take the next frame, a segment, into guest.in. False: there's none. */
bool guest_take(void);
/* The next one must be this, and for GUEST_PORT. */
void guest_expect(uint8_t flags, uint32_t seq, uint32_t ack, uint16_t window, size_t len);
void guest_expect_nothing(void);

/* Handshake, with guest's initial sequence number isn; guest.seq and guest.ack follow. */
void guest_connect(uint32_t isn, uint16_t window);
/* On it: send data with PSH and ACK; guest.seq follows. An ACK of all that came. */
void guest_say(const char *data, uint16_t window);
void guest_acknowledge(uint16_t window);

/* Time goes on, and the service is told if it wants to know. */
void guest_wait(uint64_t ns);

#endif
