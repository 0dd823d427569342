/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of the new mount API, and the two of the old one: no C library has all of them,
 * and glibc's header can't be had together with the kernel's. As the library's would, they return
 * -1 and set errno.
 */
#ifndef MOTE_JAILER_MOUNTS_H
#define MOTE_JAILER_MOUNTS_H

#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/mount.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#define MOUNTS_DETACH 2 /* MNT_DETACH, which the kernel's header doesn't have */

static inline int mounts_open_tree(int dir, const char *path, unsigned int flags)
{
	return (int)syscall(SYS_open_tree, dir, path, flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

/* Attach the mount that fd is to path, below dir. */
static inline int mounts_move(int fd, int dir, const char *path)
{
	return (int)syscall(SYS_move_mount, fd, "", dir, path, MOVE_MOUNT_F_EMPTY_PATH);
}

/* Set attributes of the mount that fd is, and make it private. flags: 0 or AT_RECURSIVE. */
static inline int mounts_set(int fd, unsigned int flags, uint64_t attributes)
{
	struct mount_attr attr = { .attr_set = attributes, .propagation = MS_PRIVATE };

	return (int)syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | flags, &attr, sizeof(attr));
}

static inline int mounts_fsopen(const char *type)
{
	return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

static inline int mounts_fsconfig(int fs, const char *key, const char *value)
{
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0);
}

/* Make the file system that fs describes, and a mount of it. */
static inline int mounts_fsmount(int fs, uint64_t attributes)
{
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes);
}

static inline int mounts_make_private(const char *path)
{
	return (int)syscall(SYS_mount, NULL, path, NULL, MS_REC | MS_PRIVATE, NULL);
}

/* "." becomes the root, with the old one on top of it. */
static inline int mounts_pivot_here(void)
{
	return (int)syscall(SYS_pivot_root, ".", ".");
}

static inline int mounts_detach(const char *path)
{
	return (int)syscall(SYS_umount2, path, MOUNTS_DETACH);
}

#endif
