/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The talk with mote-agent, over a connected stream socket: the job goes to it, then streams and
 * signals go both ways, until the command has ended, the time is up or the agent is gone.
 *
 * Nothing in it waits for anybody but all of them: an agent that reads nothing, a reader of ours that
 * is slow or a command that doesn't read its stdin hold up their own bytes, never a signal or the
 * timeout. What is under way is bounded.
 */
#ifndef MOTE_SESSION_H
#define MOTE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/legacy/host_stream.h"
#include "tools/agent/protocol.h"
#include "tools/mote/run.h"
#include "vmm/error.h"

enum session_end {
	SESSION_EXITED,    /* status or signal of the command */
	SESSION_FAILED,    /* the agent said why it couldn't; in the error */
	SESSION_LOST,      /* the microVM ended first, or is about to; in the error */
	SESSION_BROKEN,    /* the agent doesn't keep to the protocol, or no memory; in the error */
	SESSION_TIMED_OUT,
	SESSION_KILLED,    /* by a second signal to mote, or one before there was a command */
};

/* Frames for the agent that it hasn't taken yet. */
struct outbox {
	char *bytes;
	size_t length, size;
};

struct capture {
	char *bytes;
	size_t length, size;
	bool truncated;
};

struct session {
	/* Borrowed. */
	const struct run_options *options;
	const char *root_type;
	int monitor;                   /* polls readable when the monitor has ended (a pidfd) */
	/* Owned. */
	int agent;
	int signals;                   /* signalfd; -1 until session_open */
	struct host_stream streams[3]; /* stdin, and without --json stdout and stderr */

	struct outbox tx;
	char *rx;                      /* the agent's frames: handled up to rx_at, received up to rx_length */
	size_t rx_at, rx_length;
	const char *pending;           /* in rx: output that its stream hasn't taken yet */
	size_t pending_length;
	int pending_stream;            /* 1 or 2 */
	bool stdin_open;
	bool stdin_credit;             /* the agent takes a STDIN frame */
	bool closed[3];                /* nobody reads our stdout, stderr */
	bool resized;                  /* the agent shall learn the terminal's new size */
	bool asked_to_stop;

	/* Results. */
	uint32_t killed_by;            /* the signal, with SESSION_KILLED */
	struct agent_exit exit;
	struct capture output[3];      /* of stdout and stderr, with --json */
	uint64_t ready_ns;             /* CLOCK_MONOTONIC when the agent's READY came */
	uint64_t guest_boot_ns;        /* guest's CLOCK_BOOTTIME at the agent's start */
	uint64_t exit_ns;
};

void session_init(struct session *session, const struct run_options *options);

/*
 * From here on signals wait for session_run: none can end mote between the monitor's start and its
 * end.
 */
int session_open(struct session *session, struct error *err);

/*
 * With agent, monitor and root_type set. At its return the agent has been told that nobody listens
 * any more; it powers off then.
 */
enum session_end session_run(struct session *session, struct error *err);

void session_release(struct session *session);

/* job.c: -ENOMEM, and a send that neither waits nor fails (an agent that is gone gets nothing). */
int outbox_add(struct outbox *tx, uint32_t type, const void *payload, size_t length, struct error *err);
void outbox_send(struct outbox *tx, int agent);

/* Queue the JOB frame. -E2BIG, -ENOMEM. */
int job_send(struct outbox *tx, const struct run_options *options, const char *root_type,
	     struct error *err);

#endif
