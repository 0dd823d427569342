/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the benchmarks' guest share. */
#ifndef MOTE_BENCH_GUEST_H
#define MOTE_BENCH_GUEST_H

#include <stdint.h>

/* Print to the console. A result is a line "NAME NUMBER", a failure a line "error WHAT: WHY". */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* say() that WHAT failed for errno's reason; -1. */
int failed(const char *what);

/*
 * What is between these two is NAME's: the host reads the processor's time that it took so far when it
 * sees "NAME_begin", and again at "NAME_ns NUMBER". It has a pause for that each time.
 */
void say_begin(const char *name);
void say_end(const char *name, uint64_t ns);

/* CLOCK_MONOTONIC in ns; it starts with the kernel. */
uint64_t now_ns(void);

/* disk DEVICE MIB REQUESTS WORKERS */
int bench_disk(int argc, char *argv[]);

/* net ADDRESS SERVER MIB PINGS */
int bench_net(int argc, char *argv[]);

/* vsock PORT MIB PINGS */
int bench_vsock(int argc, char *argv[]);

/* mmds ADDRESS SERVICE REQUESTS */
int bench_mmds(int argc, char *argv[]);

/* eth0 up, with an address of a network of that mask; 0, or -1 with errno. */
int configure_eth0(const char *address, const char *mask);

/* An IPv4 socket that gives up after 20 s, connected; -1. */
int connect_to(const char *server, int port, int type);

/* What is measured on a connection to netserver: */
struct talk {
	const char *name; /* of the result */
	int type;	  /* of the socket */
	char what;	  /* 'U': a stream to the host, 'D': one from it, 'E': round trips of a byte */
};

/* Over fd, which is closed: the time of the whole stream, or of one round trip. 0, or -1. */
int bench_talk(const struct talk *talk, int fd, uint64_t bytes, unsigned int pings);

#endif
