/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the metadata service as bytes: Ethernet, ARP, IPv4 and TCP headers. Knows no state. */
#ifndef MOTE_DEVICES_MMDS_FRAMES_H
#define MOTE_DEVICES_MMDS_FRAMES_H

#include "devices/mmds/stack.h"

enum frame_kind {
	FRAME_ARP,   /* a request; of peer, mac and ip are set */
	FRAME_TCP,   /* a whole segment, its checksums right or none of its business */
	FRAME_OTHER, /* well-formed, and nothing for the service */
	FRAME_BAD,
};

/* The IPv4 address that the frame is for or asks for; 0 = it's no such frame, or not all there. */
uint32_t frame_destination(const uint8_t *frame, size_t len);

/* One with a destination. segment->data points into it. */
enum frame_kind frame_parse(const uint8_t *frame, size_t len, const struct mmds_offload *offload,
			    struct mmds_peer *peer, uint16_t *own_port, struct tcp_segment *segment);

/* Return the frame's length. */
size_t frame_make_arp(uint8_t *frame, const uint8_t mac[6], uint32_t ip, const struct mmds_peer *to);
size_t frame_make_tcp(uint8_t frame[MMDS_SEND_MAX], const uint8_t mac[6], uint32_t ip, uint16_t own_port,
		      const struct mmds_peer *to, const struct tcp_segment *segment);

#endif
