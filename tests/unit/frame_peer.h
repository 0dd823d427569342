/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of a talk between `mote run` and mote-agent: it sends any bytes, and sees every frame.
 * All functions assert; none waits longer than 20 s.
 */
#ifndef MOTE_TESTS_FRAME_PEER_H
#define MOTE_TESTS_FRAME_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "tools/agent/protocol.h"

/* A connected pair; the caller passes *theirs on. */
int peer_pair(int *theirs);

void peer_send_raw(int fd, const void *bytes, size_t length);
void peer_send(int fd, uint32_t type, const void *payload, uint32_t length);
void peer_send_u32(int fd, uint32_t type, uint32_t value);

/* The next frame, which must be of that type; payload has room for AGENT_JOB_MAX. Its length. */
uint32_t peer_take(int fd, uint32_t type, void *payload);
void peer_expect(int fd, uint32_t type, const void *payload, uint32_t length);
void peer_expect_u32(int fd, uint32_t type, uint32_t value);
/* The stream's end, or a reset. */
void peer_expect_end(int fd);
/* Nothing comes, and the process does nothing, for a fifth of a second. */
void peer_expect_silence(int fd, pid_t pid);

/* The process only waits: less than a fifth of a CPU for a fifth of a second. */
void assert_idle(pid_t pid);

#endif
