/* SPDX-License-Identifier: Apache-2.0 */
/* `mote run`: options, root images, the monitor's process. The talk with the agent: session.h. */
#ifndef MOTE_RUN_H
#define MOTE_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

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
	bool no_jail;             /* the monitor with our own rights */
	bool help;
	char **command;           /* NULL-terminated, at least one */
};

/* Fills options from argv; env is allocated. -EINVAL with what is wrong. */
int run_options_parse(struct run_options *options, int argc, char *argv[], struct error *err);
void run_options_help(void);

/* A root file system as the guest will mount it. */
struct root_image {
	int fd;                   /* open read-only, or read-write */
	const char *type;         /* "ext4", "erofs", "squashfs" */
};

/*
 * Open the image, or pack the directory into an erofs image without a name (O_TMPFILE), and find
 * out which file system it has. path NULL = built-in.
 */
int root_image_open(struct root_image *image, const char *path, bool writable, struct error *err);
void root_image_close(struct root_image *image);

/* The monitor as a child process, and the socket on which its guest's agent talks. */
struct monitor {
	pid_t pid;
	int pidfd;
	int agent;                /* connected; what is sent waits for the agent. For the user to take */
	int metrics_fd;           /* memfd with the monitor's last metrics line */
	uint64_t spawned_ns;
};

int monitor_start(struct monitor *monitor, const struct run_options *options,
		  const struct root_image *root, struct error *err);
/* Wait two seconds for its end unless at_once, then end it; reap it. Returns its wait status. */
int monitor_stop(struct monitor *monitor, bool at_once);
/* Its metrics, NULL if there are none. After monitor_stop. */
json_t *monitor_metrics(const struct monitor *monitor);
void monitor_release(struct monitor *monitor);

#endif
