/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A jail while it is being made. Two processes do it: the jailer, outside, with the caller's
 * rights, opens and makes what is on the host; its child, in new namespaces, moves in, drops
 * everything and becomes the monitor. Each step is one function below, in the order that main.c
 * calls them. They share memory, so the error is one. All return 0 or a negative errno with err
 * filled, unless they say otherwise.
 */
#ifndef MOTE_JAILER_JAIL_H
#define MOTE_JAILER_JAIL_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

#include "tools/jailer/args.h"
#include "tools/jailer/clone3.h"
#include "tools/jailer/undo.h"
#include "vmm/config.h"

#define JAIL_HIERARCHIES_MAX 16
/* Configuration, kernel, initrd, serial output, log, metrics; drives, network interfaces, guest ports. */
#define JAIL_PASSED_MAX (6 + CONFIG_VIRTIO_MAX * 2 + CONFIG_GUEST_PORTS_MAX)
#define JAIL_VSOCK_DIR	"vsock"

struct jail {
	const struct args *args;
	uint64_t start_us;     /* CLOCK_MONOTONIC when the jailer started */
	uint64_t start_cpu_us; /* its CPU time then: from exec and from before that */
	mode_t umask;	       /* the caller's, which is the monitor's again */
	bool rootless;	       /* in a user namespace, with no rights to begin with */
	uid_t uid;
	gid_t gid;

	int exec; /* O_PATH of the monitor */
	char exec_name[NAME_MAX + 1];
	char pid_name[NAME_MAX + 5]; /* of the pid file */

	int passed[JAIL_PASSED_MAX]; /* what the monitor inherits besides 0, 1, 2 */
	unsigned int n_passed;
	int config;	 /* among them, the configuration that says so; -1 = none */
	char *vsock_dir; /* host directory that is /vsock inside; NULL = none */

	bool private_root; /* a tmpfs that only the jail's mount namespace has */
	int root;	   /* host directory, undo's; -1 if private_root */
	int tree;	   /* a mount of it that is nowhere yet; -1 if private_root */
	int pid_file;	   /* on the host; -1 = none */

	int cgroups[JAIL_HIERARCHIES_MAX]; /* the jail's cgroup in each hierarchy, undo's */
	unsigned int n_cgroups;
	char *parent_words; /* components of --parent-cgroup, each with a NUL behind it */
	size_t parent_length;

	pid_t pid; /* of the process inside, as seen from outside */
	struct undo undo;
};

/* CPU time of this process. */
static inline uint64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void jail_init(struct jail *jail, const struct args *args);
/* Close and free all but undo and what its names are. */
void jail_close(struct jail *jail);

/* ---- outside ---- */

/* Who will run what: rights, IDs, the monitor's file. */
int plan_jail(struct jail *jail, struct error *err);
/* Join --netns, so that taps are looked for there, and so that the child starts in it. */
int netns_join(const struct jail *jail, struct error *err);
/* Open what --config names, and rewrite it to say "/dev/fd/N". */
int objects_open(struct jail *jail, struct error *err);
/* <base>/<exec>/<id>/root, its pid file and its mount. */
int host_root_make(struct jail *jail, struct error *err);
/* The jail's cgroups with their limits. */
int cgroups_make(struct jail *jail, struct error *err);
/*
 * pidfd of the keeper, whose end is the monitor's: of whoever waits for it, we or with --handover
 * our parent. -1 if nobody does.
 */
int keeper_open(const struct jail *jail, int *keeper, struct error *err);
/*
 * Run function in a new process in the jail's namespaces, with our memory until it calls exec,
 * which we wait for; it must not return. Its process ID is in jail->pid from its start on. With
 * --handover its parent is ours.
 */
int namespaces_spawn(struct jail *jail, clone3_function *function, void *argument,
		     struct error *err);

/* ---- inside ---- */

/*
 * Write the process ID to where --handover and the pid file have it. Before anything can fail: also
 * a process that doesn't become the monitor must be waited for.
 */
int pid_tell(const struct jail *jail, struct error *err);
/*
 * A session of its own: in the caller's, the monitor could signal the caller's process group, which no
 * PID namespace keeps from it, and type into its terminal (TIOCSTI). --daemonize: no streams either.
 */
int leave_session(const struct jail *jail, struct error *err);
/* What a new user namespace and a new cgroup need, and the host name. */
int namespaces_enter(const struct jail *jail, struct error *err);
int cgroups_enter(const struct jail *jail, struct error *err);
/* Resource limits and the OOM score. */
int limits_set(const struct jail *jail, struct error *err);
/* The jail's root with its devices becomes "/"; nothing of the host's is left. */
int root_enter(const struct jail *jail, struct error *err);
/* Fill dir, the future /dev, with the devices that the monitor needs. */
int devices_make(const struct jail *jail, int dir, struct error *err);
/* No user, group, capability or way back to one. */
int privileges_drop(const struct jail *jail, struct error *err);
/* Only what is left of the file system, no TCP, no abstract sockets; nothing on old kernels. */
int landlock_restrict(const struct jail *jail, struct error *err);
/* From here on the keeper's end is ours. */
int keeper_bind(int keeper, struct error *err);
/* No other way into the kernel, no namespaces, no keys, no odd sockets: for what isn't filtered later. */
int syscalls_restrict(struct error *err);
/* Returns only on failure. jailer_cpu_us: CPU time of the process outside. */
int monitor_exec(const struct jail *jail, uint64_t jailer_cpu_us, struct error *err);

/* ---- afterwards ---- */

/* Somebody waits here, and didn't ask us to leave. */
bool jail_waits(const struct jail *jail);
/*
 * Wait for the monitor's end and pass signals on to it meanwhile. All else is closed first, and
 * what can be is undone in the end. Returns the exit status, or ends by the signal that ended the
 * monitor.
 */
int wait_for_end(struct jail *jail);
/* Signals that wait_for_end passes on; blocked before the fork, so that none gets lost. */
void wait_block_signals(sigset_t *before);
/* --cleanup. */
int cleanup_jail(const struct args *args, struct error *err);

#endif
