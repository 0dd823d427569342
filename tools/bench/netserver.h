/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of the network benchmark. TCP and UDP port 7; UDP is sent back, a TCP connection begins
 * with an order (see guest/net.c).
 */
#ifndef MOTE_BENCH_NETSERVER_H
#define MOTE_BENCH_NETSERVER_H

#include "vmm/error.h"

struct netserver {
	int tcp, udp;
};

/* An IPv4 address of ours. */
int netserver_open(struct netserver *server, const char *address, struct error *err);
/* Until the process is killed. */
void netserver_serve(const struct netserver *server);

#endif
