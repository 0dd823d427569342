/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the mount namespace: the jail's root becomes "/". */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tools/jailer/jail.h"
#include "tools/jailer/mounts.h"
#include "tools/jailer/objects.h"
#include "vmm/util.h"

/* A small tmpfs that is mounted nowhere yet. */
static int make_tmpfs(uint64_t attributes, struct error *err)
{
	cleanup_close int fs = mounts_fsopen("tmpfs");

	if (fs < 0 || mounts_fsconfig(fs, "mode", "0755") < 0 ||
	    mounts_fsconfig(fs, "nr_inodes", "16") < 0 || mounts_fsconfig(fs, "size", "4096") < 0)
		return error_sys(err, errno, "make a tmpfs");
	int fd = mounts_fsmount(fs, attributes | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);

	return fd < 0 ? error_sys(err, errno, "mount a tmpfs") : fd;
}

/* As the host's directory has it, without a host's directory. */
static int make_private_tree(const struct jail *jail, struct error *err)
{
	cleanup_close int fd = make_tmpfs(MOUNT_ATTR_NODEV, err);

	if (fd < 0)
		return fd;
	if (mkdirat(fd, "dev", 0755) < 0 ||
	    (jail->vsock_dir && mkdirat(fd, JAIL_VSOCK_DIR, 0755) < 0))
		return error_sys(err, errno, "make a directory in the jail's root");
	return take_fd(&fd);
}

static int attach(int mount, int tree, const char *name, struct error *err)
{
	if (mounts_move(mount, tree, name) < 0)
		return error_sys(err, errno, "mount \"/%s\" of the jail", name);
	return 0;
}

static int set_attributes(int mount, uint64_t attributes, struct error *err)
{
	if (mounts_set(mount, 0, attributes) < 0)
		return error_sys(err, errno, "set mount attributes 0x%llx in the jail",
				 (unsigned long long)attributes);
	return 0;
}

static int attach_dev(const struct jail *jail, int tree, struct error *err)
{
	cleanup_close int dev = make_tmpfs(0, err);

	if (dev < 0)
		return dev;
	if (attach(dev, tree, "dev", err) < 0 || devices_make(jail, dev, err) < 0)
		return -err->errnum;
	return set_attributes(dev, MOUNT_ATTR_RDONLY, err);
}

/* The directory of the vsock's sockets: the one place where the jail can make something. */
static int attach_vsock(const struct jail *jail, int tree, struct error *err)
{
	cleanup_close int found = object_find(jail->vsock_dir, err);

	if (found < 0)
		return error_wrap(err, "vsock");
	cleanup_close int dir = mounts_open_tree(found, "", AT_EMPTY_PATH);

	if (dir < 0)
		return error_sys(err, errno, "vsock: clone the mount of \"%s\"", jail->vsock_dir);
	if (set_attributes(dir, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err) < 0)
		return -err->errnum;
	return attach(dir, tree, JAIL_VSOCK_DIR, err);
}

/* The old root lies on top of the new one after pivot_root; with it goes all that the host has. */
static int pivot(int tree, struct error *err)
{
	if (fchdir(tree) < 0 || mounts_pivot_here() < 0)
		return error_sys(err, errno, "pivot_root to the jail's root");
	if (mounts_detach(".") < 0)
		return error_sys(err, errno, "unmount the host's root");
	if (chdir("/") < 0)
		return error_sys(err, errno, "chdir \"/\"");
	return 0;
}

int root_enter(const struct jail *jail, struct error *err)
{
	/*
	 * A new user namespace has made our copies slaves of the host's mounts already. As it is,
	 * what we unmount would go on the host too.
	 */
	if (!jail->rootless && mounts_make_private("/") < 0)
		return error_sys(err, errno, "make mounts private");
	cleanup_close int private_tree = jail->private_root ? make_private_tree(jail, err) : -1;
	int tree = jail->private_root ? private_tree : jail->tree;

	if (tree < 0)
		return tree;
	if (mounts_move(tree, AT_FDCWD, "/") < 0)
		return error_sys(err, errno, "mount the jail's root");
	if (attach_dev(jail, tree, err) < 0 ||
	    (jail->vsock_dir && attach_vsock(jail, tree, err) < 0))
		return -err->errnum;
	if (jail->args->config_path && set_attributes(tree, MOUNT_ATTR_RDONLY, err) < 0)
		return -err->errnum;
	return pivot(tree, err);
}
