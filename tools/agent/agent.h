/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's parts. Failures are reported to the host as they happen; the result is 0 or -1. */
#ifndef MOTE_AGENT_H
#define MOTE_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/agent/protocol.h"

#define JOB_ARGS_MAX 4096
#define JOB_ENV_MAX  1024

/* Strings point into `bytes`. */
struct job {
	char *bytes;
	char *argv[JOB_ARGS_MAX + 1];
	char *envp[JOB_ENV_MAX + 1];
	const char *cwd;
	const char *root_type;
	const char *hostname;
	const char *address;
	const char *gateway;
	bool root_rw;
	bool tty;
	uint16_t rows, columns;
};

/* frames.c: all of it, or -1. */
int send_frame(int host, uint32_t type, const void *payload, size_t length);
int send_failure(int host, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int receive_exactly(int host, void *buffer, size_t length);
int receive_job(int host, struct job *job);
/* Read and discard until the other end closes. */
void drain(int host);

/* root.c: mount the root and everything that belongs into one, and enter it. */
int make_root(int host, const struct job *job);

/* network.c: lo, and eth0 if the job has an address for it. */
int configure_network(int host, const struct job *job);

/* command.c: run the job's command to its end; sends the streams and the result. */
void run_command(int host, const struct job *job);

#endif
