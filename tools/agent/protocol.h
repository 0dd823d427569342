/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `mote run` and mote-agent say to each other, over one vsock stream that the agent opens to
 * the host (CID 2, AGENT_PORT). Frames: struct agent_frame, then `length` bytes. Little endian;
 * both ends are x86_64 or aarch64. The host must not trust a byte of what it receives.
 *
 *	host -> agent:  JOB first; then STDIN (length 0 = end of file), SIGNAL, WINDOW, CLOSE
 *	agent -> host:  READY first; then STDOUT, STDERR, STDIN_TAKEN; ends with EXIT or FAILED
 *
 * One STDIN frame is under way at most: the next may follow when STDIN_TAKEN came, which it doesn't
 * if the command won't read. So stdin never keeps a SIGNAL from the agent. EXIT's status or signal is 0.
 */
#ifndef MOTE_AGENT_PROTOCOL_H
#define MOTE_AGENT_PROTOCOL_H

#include <stdint.h>

#define AGENT_PORT      1024u
#define AGENT_VERSION   2
#define AGENT_FRAME_MAX (64u * 1024) /* bytes of payload */
#define AGENT_JOB_MAX   (1024u * 1024)

enum agent_frame_type {
	AGENT_JOB = 1,    /* struct agent_field list, up to AGENT_JOB_MAX bytes in all */
	AGENT_STDIN = 2,
	AGENT_SIGNAL = 3, /* uint32_t signal number, for the command's process group */
	AGENT_WINDOW = 4, /* uint16_t rows, columns */
	AGENT_CLOSE = 5,  /* uint32_t 1 = stdout or 2 = stderr, which nobody reads any more */
	AGENT_READY = 16, /* struct agent_ready */
	AGENT_STDOUT = 17,
	AGENT_STDERR = 18,
	AGENT_EXIT = 19,  /* struct agent_exit */
	AGENT_FAILED = 20, /* text: why the command could not be run */
	AGENT_STDIN_TAKEN = 21,
};

struct agent_frame {
	uint32_t type;
	uint32_t length;
};

struct agent_ready {
	uint32_t version;
	uint32_t reserved;
	uint64_t kernel_ns; /* guest's CLOCK_BOOTTIME at the agent's first line */
};

struct agent_exit {
	uint32_t status; /* exit status, 0..255 */
	uint32_t signal; /* signal that ended it; 0 = it exited */
};

/* A job is a list of fields: tag, length, bytes (no NUL). */
struct agent_field {
	uint32_t tag;
	uint32_t length;
};

enum agent_tag {
	AGENT_ARG = 'a',       /* one each, in order; at least one */
	AGENT_ENV = 'e',       /* NAME=value */
	AGENT_CWD = 'c',       /* directory; default / */
	AGENT_ROOT_TYPE = 'r', /* file system of /dev/vda: ext4, erofs, squashfs; required */
	AGENT_ROOT_RW = 'w',   /* mount it read-write, instead of an overlay in memory above it */
	AGENT_HOSTNAME = 'h',
	AGENT_ADDRESS = 'n',   /* eth0: a.b.c.d/len */
	AGENT_GATEWAY = 'g',   /* a.b.c.d */
	AGENT_TTY = 't',       /* uint16_t rows, columns: give it a terminal */
};

/* Exit statuses of what could not be run, as a shell's. */
#define AGENT_STATUS_FAILED    125
#define AGENT_STATUS_CANT_EXEC 126
#define AGENT_STATUS_NOT_FOUND 127

#endif
