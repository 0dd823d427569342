/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mote run`'s session in a process of its own, between a fake agent, a fake monitor and a fake user:
 * the test has the other ends. All functions assert.
 */
#ifndef MOTE_TESTS_SESSION_RIG_H
#define MOTE_TESTS_SESSION_RIG_H

#include "frame_peer.h"
#include "tools/mote/session.h"

struct rig {
	/* The test's to choose before rig_start; rig_init has given each end a pipe. */
	struct run_options options;
	int streams[3];     /* the session's stdin, stdout, stderr */
	bool lingers;       /* the process stays, after session_run, until the monitor ends */

	pid_t pid;
	int agent;          /* the agent's end */
	int monitor;        /* close it: the monitor has ended */
	int in, out, err;   /* the user's ends of the pipes */
	int results;
};

/* What the session came to. */
struct outcome {
	enum session_end end;
	struct agent_exit exit;
	uint32_t killed_by;
	struct error err;
	bool was_ready;
	uint64_t guest_boot_ns;
	size_t captured[3];
	bool truncated[3];
};

void rig_init(struct rig *rig);
void rig_start(struct rig *rig);
/* rig_init, rig_start; the JOB taken, READY said. */
void rig_ready(struct rig *rig);
void rig_say_ready(struct rig *rig);
void rig_take_job(struct rig *rig);

/* The session ends by itself: its outcome. */
struct outcome rig_end(struct rig *rig);
/* It ends that way, with this message ("" = none), and says nothing more. */
void rig_expect(struct rig *rig, enum session_end end, const char *message);

void rig_exit(struct rig *rig, uint32_t status, uint32_t signal);

/* Exactly these bytes come out of fd, without an end behind them. */
void expect_bytes(int fd, const void *bytes, size_t length);

#endif
