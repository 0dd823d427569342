/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts at files, directories, mounts and descriptors of the host's. */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/security/attacks.h"

/* <linux/mount.h> and <sys/mount.h> can't be had together. */
#define DETACH 2

static long open_path(const char *path, int flags)
{
	return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

static long open_any(const char *const *paths, int flags)
{
	for (; *paths; paths++)
		if (open_path(*paths, flags) >= 0)
			return 0;
	return -1;
}

static long open_absolute(const struct target *t)
{
	return open_path(t->secret, O_RDONLY);
}

static long open_old_call(const struct target *t)
{
	return syscall(SYS_open, t->secret, O_RDONLY);
}

static long open_system_files(const struct target *t)
{
	static const char *const paths[] = { "/etc/passwd", "/etc/hostname", "/root", "/bin/sh",
					     "/usr", "/lib", "/var", "/tmp", "/home", NULL };

	(void)t;
	return open_any(paths, O_RDONLY);
}

static long open_relative(const struct target *t)
{
	char path[4096];

	snprintf(path, sizeof(path), "../../../../../../../../../..%s", t->secret);
	return open_path(path, O_RDONLY);
}

static long open2_relative(const struct target *t)
{
	const struct {
		uint64_t flags, mode, resolve;
	} how = { .flags = O_RDONLY };

	return syscall(SYS_openat2, AT_FDCWD, t->secret, &how, sizeof(how));
}

static long open_through_proc(const struct target *t)
{
	char path[4096];

	(void)t;
	snprintf(path, sizeof(path), "/proc/1/root%s", t->secret);
	return open_path(path, O_RDONLY);
}

static long open_proc(const struct target *t)
{
	static const char *const paths[] = {
		"/proc",	   "/proc/self/exe",	"/proc/self/mem",
		"/proc/self/fd/0", "/proc/self/ns/mnt", "/proc/1/ns/net",
		"/proc/self/cwd/", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", NULL
	};

	(void)t;
	return open_any(paths, O_RDONLY);
}

static long open_sys(const struct target *t)
{
	static const char *const paths[] = { "/sys", "/sys/kernel/uevent_helper", "/sys/kernel/debug",
					     "/sys/fs/cgroup", "/sys/kernel/security", NULL };

	(void)t;
	return open_any(paths, O_RDONLY);
}

static long write_cgroup(const struct target *t)
{
	static const char *const paths[] = {
		"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/tasks",
		"/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/pids.max", NULL
	};

	(void)t;
	return open_any(paths, O_WRONLY);
}

static long open_devices(const struct target *t)
{
	static const char *const paths[] = {
		"/dev/mem", "/dev/kmem", "/dev/port",	 "/dev/sda", "/dev/vda",    "/dev/loop0",
		"/dev/tty", "/dev/ptmx", "/dev/net/tun", "/dev/fuse", "/dev/vhost-net", "/dev/vhost-vsock",
		"/dev/shm", "/dev/kmsg", "/dev/cpu/0/msr", "/dev/userfaultfd", "/dev/vsock", NULL
	};

	(void)t;
	return open_any(paths, O_RDONLY);
}

static long by_handle(int fd)
{
	/* FILEID_INO32_GEN of inode 2, generation 0: the root of ext4 and others. */
	struct {
		uint32_t bytes, type, inode, generation;
	} handle = { 8, 1, 2, 0 };

	return syscall(SYS_open_by_handle_at, fd, &handle, O_RDONLY);
}

static long open_by_handle(const struct target *t)
{
	(void)t;
	return of_any_fd(by_handle);
}

static long above(int fd)
{
	return syscall(SYS_openat, fd, "..", O_PATH | O_CLOEXEC);
}

static long walk_up_from_fds(const struct target *t)
{
	(void)t;
	return of_any_fd(above);
}

static long change_to(int fd)
{
	return syscall(SYS_fchdir, fd);
}

static long change_directory(const struct target *t)
{
	(void)t;
	return of_any_fd(change_to);
}

static long find_file(const struct target *t)
{
	struct stat st;

	return syscall(SYS_newfstatat, AT_FDCWD, t->secret, &st, AT_SYMLINK_NOFOLLOW);
}

static long make_file(const struct target *t)
{
	(void)t;
	return open_path("/made", O_WRONLY | O_CREAT);
}

static long make_file_in_dev(const struct target *t)
{
	(void)t;
	return open_path("/dev/made", O_WRONLY | O_CREAT);
}

static long make_file_in_vsock(const struct target *t)
{
	(void)t;
	return open_path("/vsock/made", O_WRONLY | O_CREAT);
}

static long make_device(const struct target *t)
{
	(void)t;
	if (syscall(SYS_mknodat, AT_FDCWD, "/vsock/mem", S_IFCHR | 0666, makedev(1, 1)) >= 0)
		return 0;
	return syscall(SYS_mknodat, AT_FDCWD, "/dev/mem", S_IFCHR | 0666, makedev(1, 1));
}

static long remove_device(const struct target *t)
{
	(void)t;
	return syscall(SYS_unlink, "/dev/kvm");
}

static long remove_secret(const struct target *t)
{
	return syscall(SYS_unlink, t->secret);
}

static long rename_device(const struct target *t)
{
	(void)t;
	return syscall(SYS_renameat2, AT_FDCWD, "/dev", AT_FDCWD, "/vsock/dev", 0);
}

static long link_device(const struct target *t)
{
	(void)t;
	return syscall(SYS_linkat, AT_FDCWD, "/dev/kvm", AT_FDCWD, "/vsock/kvm", 0);
}

static long change_mode_of_root(const struct target *t)
{
	(void)t;
	return syscall(SYS_fchmodat, AT_FDCWD, "/", 0777);
}

static long write_where_reading_is_allowed(int fd)
{
	long flags = syscall(SYS_fcntl, fd, F_GETFL);

	if (flags < 0)
		return flags;
	if ((flags & O_ACCMODE) != O_RDONLY) {
		errno = EBADF;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, "x", 1, 0);
}

static long write_read_only_fds(const struct target *t)
{
	(void)t;
	return of_any_fd(write_where_reading_is_allowed);
}

static long truncate_read_only(int fd)
{
	long flags = syscall(SYS_fcntl, fd, F_GETFL);

	if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY)
		return syscall(SYS_ftruncate, fd, 0);
	errno = flags < 0 ? errno : EBADF;
	return -1;
}

static long truncate_read_only_fds(const struct target *t)
{
	(void)t;
	return of_any_fd(truncate_read_only);
}

static long append_only_off(int fd)
{
	int flags = 0;

	return syscall(SYS_ioctl, fd, FS_IOC_SETFLAGS, &flags);
}

static long change_attributes_of_fds(const struct target *t)
{
	(void)t;
	return of_any_fd(append_only_off);
}

static long freeze(int fd)
{
	return syscall(SYS_ioctl, fd, FIFREEZE, 0);
}

static long freeze_file_system(const struct target *t)
{
	(void)t;
	return of_any_fd(freeze);
}

static long mount_something(const struct target *t)
{
	(void)t;
	return syscall(SYS_mount, "x", "/dev", "tmpfs", 0, NULL);
}

static long remount(const struct target *t)
{
	(void)t;
	return syscall(SYS_mount, NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL);
}

static long mount_proc(const struct target *t)
{
	(void)t;
	return syscall(SYS_mount, "proc", "/dev", "proc", 0, NULL);
}

static long unmount(const struct target *t)
{
	(void)t;
	if (syscall(SYS_umount2, "/dev", DETACH) >= 0)
		return 0;
	return syscall(SYS_umount2, "/", DETACH);
}

static long pivot_root(const struct target *t)
{
	(void)t;
	return syscall(SYS_pivot_root, "/dev", "/dev");
}

static long change_root(const struct target *t)
{
	(void)t;
	return syscall(SYS_chroot, "/dev");
}

static long open_file_system(const struct target *t)
{
	(void)t;
	return syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
}

static long clone_tree(const struct target *t)
{
	(void)t;
	return syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

static long set_mount_attributes(const struct target *t)
{
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC };

	(void)t;
	return syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attr, sizeof(attr));
}

static long move_mount(const struct target *t)
{
	(void)t;
	return syscall(SYS_move_mount, AT_FDCWD, "/dev", AT_FDCWD, "/vsock", 0);
}

static long watch_files(const struct target *t)
{
	(void)t;
	return syscall(SYS_fanotify_init, 0, O_RDONLY);
}

const struct attack file_attacks[] = {
	{ "open a host file by its absolute path", open_absolute },
	{ "open a host file by open(2)", open_old_call },
	{ "open a host file through ..", open_relative },
	{ "open a host file by openat2", open2_relative },
	{ "open a host file through /proc/1/root", open_through_proc },
	{ "open the host's system files", open_system_files },
	{ "open something in /proc", open_proc },
	{ "open something in /sys", open_sys },
	{ "write to a cgroup", write_cgroup },
	{ "open a device of the host's", open_devices },
	{ "open a host file by its handle", open_by_handle },
	{ "walk up from an open descriptor", walk_up_from_fds },
	{ "make an open descriptor the working directory", change_directory },
	{ "find out whether a host file exists", find_file },
	{ "make a file in /", make_file },
	{ "make a file in /dev", make_file_in_dev },
	{ "make a file in /vsock", make_file_in_vsock },
	{ "make a device", make_device },
	{ "remove /dev/kvm", remove_device },
	{ "remove a host file", remove_secret },
	{ "rename /dev", rename_device },
	{ "link /dev/kvm", link_device },
	{ "change the mode of /", change_mode_of_root },
	{ "write to what is open for reading", write_read_only_fds },
	{ "truncate what is open for reading", truncate_read_only_fds },
	{ "change a file's attributes by its descriptor", change_attributes_of_fds },
	{ "freeze a descriptor's file system", freeze_file_system },
	{ "mount a tmpfs", mount_something },
	{ "remount / writable", remount },
	{ "mount proc", mount_proc },
	{ "unmount", unmount },
	{ "pivot_root", pivot_root },
	{ "chroot", change_root },
	{ "fsopen", open_file_system },
	{ "clone a mount", clone_tree },
	{ "take attributes off a mount", set_mount_attributes },
	{ "move a mount", move_mount },
	{ "watch a file system by fanotify", watch_files },
	{ NULL, NULL },
};
