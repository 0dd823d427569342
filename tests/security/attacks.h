/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a monitor that somebody else controls tries (compromised.c). Each attempt is a function that
 * returns a negative value with errno set if it was refused, and anything else if it got through.
 * Nothing here allocates or takes a lock: any attempt may be left by a jump out of SIGSYS's handler.
 */
#ifndef MOTE_TESTS_ATTACKS_H
#define MOTE_TESTS_ATTACKS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FDS_MAX 64 /* more than a test has open */

/* What there is to attack, outside of the jail. */
struct target {
	int pid;	      /* a process of the same user, in the host's PID namespace */
	const char *secret;   /* a file, absolute */
	const char *abstract; /* a listening Unix socket, in the host's network namespace */
	int port;	      /* of a TCP listener at 127.0.0.1 there */
	bool filtered;	      /* a filter is there: what ends this process if it succeeds is tried in it */
	int kvm;	      /* /dev/kvm; -1 = this machine has none */
};

struct attack {
	const char *name;
	long (*try)(const struct target *target);
	bool needs_kvm; /* unless a filter is there, which doesn't look at the descriptor */
};

extern const struct attack file_attacks[], image_attacks[], process_attacks[], memory_attacks[],
	kernel_attacks[], network_attacks[];

/* Whether one of all descriptors lets it. */
static inline long of_any_fd(long (*try)(int fd))
{
	int why = EBADF;

	for (int fd = 0; fd < FDS_MAX; fd++) {
		if (try(fd) >= 0)
			return 0;
		why = errno == EBADF ? why : errno;
	}
	errno = why;
	return -1;
}

#endif
