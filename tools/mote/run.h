/* SPDX-License-Identifier: Apache-2.0 */
/* `mote run`: options, root images, the monitor's process, and the talk with the agent. */
#ifndef MOTE_RUN_H
#define MOTE_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/agent/protocol.h"
#include "vmm/error.h"

struct run_options {
	unsigned int cpus;        /* 1..32 */
	unsigned int memory_mib;
	const char *kernel;       /* NULL = the one that comes with mote */
	const char *rootfs;       /* image or directory; NULL = the built-in one */
	bool writable;            /* write to the image instead of to memory */
	const char *tap;          /* NULL = no network */
	char address[32];         /* "a.b.c.d/len", "" = none */
	char gateway[32];
	unsigned int timeout_s;   /* 0 = none */
	const char *cwd;
	const char **env;         /* n_env strings NAME=value, borrowed */
	unsigned int n_env;
	bool tty;
	bool console;             /* show the guest kernel's messages on stderr */
	bool json;
	bool timing;
	bool help;
	char **command;           /* NULL-terminated, at least one */
};

/* Fills options from argv; env is allocated. -EINVAL with what is wrong. */
int run_options_parse(struct run_options *options, int argc, char *argv[], struct error *err);
void run_options_help(void);

/* A root file system as the guest will mount it. */
struct root_image {
	int fd;                   /* open read-only (read-write if writable), inheritable path below */
	char path[64];            /* /proc/self/fd/N, for the monitor that inherits fd */
	const char *type;         /* "ext4", "erofs", "squashfs" */
};

/*
 * Open the image, or pack the directory into an erofs image without a name (O_TMPFILE), and find
 * out which file system it has. path NULL = built-in.
 */
int root_image_open(struct root_image *image, const char *path, bool writable, struct error *err);
void root_image_close(struct root_image *image);

/* The monitor as a child process, and the socket that its guest's agent connects to. */
struct monitor {
	pid_t pid;
	int pidfd;
	int listener;             /* for the agent's connection; -1 after monitor_accept */
	int metrics_fd;           /* memfd with the monitor's last metrics line */
	char directory[64];       /* of the sockets; "" when it's gone */
	uint64_t spawned_ns;
};

int monitor_start(struct monitor *monitor, const struct run_options *options,
		  const struct root_image *root, struct error *err);
/* The agent's connection; the sockets' names are removed. */
int monitor_accept(struct monitor *monitor, struct error *err);
/* Kill if it still runs, reap, remove what it left. Returns its wait status. */
int monitor_stop(struct monitor *monitor);
/* Its metrics, NULL if there are none. After monitor_stop. */
json_t *monitor_metrics(const struct monitor *monitor);
void monitor_release(struct monitor *monitor);

/* How a session with the agent ended. */
enum session_end {
	SESSION_EXITED,    /* status or signal of the command */
	SESSION_FAILED,    /* the agent said why it couldn't; in the error */
	SESSION_LOST,      /* the monitor ended first; in the error */
	SESSION_TIMED_OUT,
	SESSION_KILLED,    /* by a second signal to mote */
};

struct capture {
	char *bytes;
	size_t length, size;
	bool truncated;
};

struct session {
	const struct run_options *options;
	struct monitor *monitor;
	const struct root_image *root;
	int agent;                /* -1 until connected */
	bool stdin_open;
	bool asked_to_stop;
	struct agent_exit exit;
	struct capture output[2]; /* stdout and stderr, with --json */
	uint64_t ready_ns;        /* CLOCK_MONOTONIC when the agent's READY came */
	uint64_t guest_boot_ns;   /* guest's CLOCK_BOOTTIME at the agent's start */
	uint64_t exit_ns;
	char *rx;                 /* an incomplete frame of the agent's */
	size_t rx_length;
};

enum session_end session_run(struct session *session, struct error *err);
void session_release(struct session *session);

#endif
