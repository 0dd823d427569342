/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of the network benchmark. TCP and UDP port 7; UDP is sent back, a TCP connection begins
 * with an order (see guest/net.c).
 */
#ifndef MOTE_BENCH_NETSERVER_H
#define MOTE_BENCH_NETSERVER_H

#include "vmm/error.h"

struct netserver {
	int stream, udp; /* -1: none */
};

/* An IPv4 address of ours: TCP and UDP. */
int netserver_open(struct netserver *server, const char *address, struct error *err);
/* A Unix socket, which is made anew: what a guest's vsock connections come in at. */
int netserver_open_unix(struct netserver *server, const char *path, struct error *err);
/* Until the process is killed. */
void netserver_serve(const struct netserver *server);

#endif
