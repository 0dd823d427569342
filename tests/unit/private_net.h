/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network namespace of the test's own, and what tests do to taps in it. Everything asserts that
 * it works; all of it goes with the process.
 */
#ifndef MOTE_TESTS_PRIVATE_NET_H
#define MOTE_TESTS_PRIVATE_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Move this process into a new namespace without IPv6, whose taps stay silent. Returns NULL, or why
 * it can't be done here.
 */
const char *private_net_enter(void);

/* A persistent tap that nobody has; flags: more of TUNSETIFF's, as IFF_MULTI_QUEUE or IFF_TUN. */
void private_net_add(const char *name, unsigned int flags);
void private_net_delete(const char *name);
bool private_net_exists(const char *name);
void private_net_up(const char *name, bool up);
void private_net_set_mtu(const char *name, int mtu);
/* IPv4 address ("192.0.2.1"), /24; and a neighbour there, so that nobody needs to ask for it. */
void private_net_set_address(const char *name, const char *address);
void private_net_add_neighbour(const char *name, const char *address, const uint8_t mac[6]);

/* An ETHTOOL_G* command that gives one number: ETHTOOL_GTSO, ETHTOOL_GTXCSUM. */
uint32_t private_net_ethtool(const char *name, uint32_t command);

/*
 * A non-blocking packet socket on the device's host side: what it sends, the tap's reader gets, and
 * the other way round. with_header: struct virtio_net_hdr (10 bytes) in front of each frame.
 */
int private_net_packet_socket(const char *name, bool with_header);

#endif
