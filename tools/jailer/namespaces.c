/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces: mount, pid, ipc, uts, net, and user for a caller without root, by one clone3; cgroup
 * once the process is in its cgroup. Not time: guests have their own clocks.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/sched.h>

#include "tools/jailer/jail.h"
#include "vmm/util.h"

#define STACK_SIZE (64 * KIB)

/* Look before opening: a FIFO or a device would block, or do whatever opening it does. */
static int open_netns(const char *path, struct error *err)
{
	cleanup_close int seen = open(path, O_PATH | O_CLOEXEC);
	char link[32];
	struct statfs fs;

	if (seen < 0 || fstatfs(seen, &fs) < 0)
		return error_sys(err, errno, "--netns: open \"%s\"", path);
	if (fs.f_type != NSFS_MAGIC)
		return error_set(err, EINVAL, "--netns: \"%s\" is not a network namespace", path);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", seen);
	cleanup_close int fd = open(link, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_sys(err, errno, "--netns: open \"%s\"", path);
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return error_set(err, EINVAL, "--netns: \"%s\" is not a network namespace", path);
	return take_fd(&fd);
}

int netns_join(const struct jail *jail, struct error *err)
{
	const char *path = jail->args->netns;

	if (!path)
		return 0;
	cleanup_close int fd = open_netns(path, err);

	if (fd < 0)
		return fd;
	if (setns(fd, CLONE_NEWNET) < 0)
		return error_sys(err, errno, "--netns: join \"%s\"", path);
	return 0;
}

static uint64_t clone_flags(const struct jail *jail)
{
	uint64_t flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | CLONE_NEWNS | CLONE_NEWPID |
			 CLONE_NEWIPC | CLONE_NEWUTS;

	if (!jail->args->netns)
		flags |= CLONE_NEWNET;
	if (jail->rootless)
		flags |= CLONE_NEWUSER;
	if (jail->args->handover >= 0)
		flags |= CLONE_PARENT;
	if (jail->args->cgroup_version == 2 && jail->n_cgroups)
		flags |= CLONE_INTO_CGROUP; /* born there: no migration, which waits for all CPUs */
	return flags;
}

int namespaces_spawn(struct jail *jail, clone3_function *function, void *argument,
		     struct error *err)
{
	static char stack[STACK_SIZE] __attribute__((aligned(16)));
	struct clone_args clone = {
		.flags = clone_flags(jail),
		.parent_tid = (uintptr_t)&jail->pid,
		.exit_signal = jail->args->handover < 0 ? SIGCHLD : 0, /* CLONE_PARENT: as ours */
		.stack = (uintptr_t)stack,
		.stack_size = sizeof(stack),
		.cgroup = jail->n_cgroups ? (uint64_t)jail->cgroups[0] : 0,
	};
	long ret = clone3_call(&clone, function, argument);

	if (ret > 0)
		return 0;
	jail->pid = 0;
	if (jail->rootless && (ret == -EPERM || ret == -ENOSPC || ret == -EUSERS))
		return error_sys(
			err, (int)-ret,
			"clone3: this user can't make user namespaces "
			"(user.max_user_namespaces, kernel.unprivileged_userns_clone, AppArmor)");
	return error_sys(err, (int)-ret, "clone3");
}

static int write_file(const char *path, const char *text, struct error *err)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return error_sys(err, errno, "write \"%s\" to \"%s\"", text, path);
	return 0;
}

/* The caller's own IDs and no other exist inside. */
static int map_ids(const struct jail *jail, struct error *err)
{
	char uids[64], gids[64];
	int ret;

	snprintf(uids, sizeof(uids), "%u %u 1", jail->uid, jail->uid);
	snprintf(gids, sizeof(gids), "%u %u 1", jail->gid, jail->gid);
	ret = write_file("/proc/self/setgroups", "deny", err);
	if (ret == 0)
		ret = write_file("/proc/self/uid_map", uids, err);
	if (ret == 0)
		ret = write_file("/proc/self/gid_map", gids, err);
	return ret;
}

int namespaces_enter(const struct jail *jail, struct error *err)
{
	const char *id = jail->args->id;

	if (jail->rootless && map_ids(jail, err) < 0)
		return -err->errnum;
	if (unshare(CLONE_NEWCGROUP) < 0)
		return error_sys(err, errno, "make a cgroup namespace");
	/* The host's own name is nothing that the monitor should know. */
	if (sethostname(id, strlen(id)) < 0)
		return error_sys(err, errno, "set host name \"%s\"", id);
	return 0;
}
