/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attempts at files, in the ways in which an event loop with an API opens images: of these the filter
 * stops only what makes or empties files, the rest is for the jail.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/security/attacks.h"

#define IMAGE (O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

static long open_image(const char *path)
{
	long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | IMAGE, 0600);

	return fd < 0 ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | IMAGE, 0600) : fd;
}

static long open_any_image(const char *const *paths)
{
	for (; *paths; paths++)
		if (open_image(*paths) >= 0)
			return 0;
	return -1;
}

static long open_secret(const struct target *t)
{
	return open_image(t->secret);
}

static long open_secret_from_below(const struct target *t)
{
	char path[4096];

	snprintf(path, sizeof(path), "../../../../../../../../../..%s", t->secret);
	return open_image(path);
}

static long open_secret_through_proc(const struct target *t)
{
	char path[4096];

	snprintf(path, sizeof(path), "/proc/1/root%s", t->secret);
	return open_image(path);
}

static long open_system_files(const struct target *t)
{
	static const char *const paths[] = {
		"/etc/passwd", "/etc/hostname", "/root", "/bin/sh", "/usr", "/lib", "/var", "/tmp",
		"/home", "/vm.json", "/config.json", NULL
	};

	(void)t;
	return open_any_image(paths);
}

static long open_proc_and_sys(const struct target *t)
{
	static const char *const paths[] = {
		"/proc", "/proc/self/exe", "/proc/self/mem", "/proc/self/fd/0", "/proc/1/ns/net",
		"/proc/sysrq-trigger", "/sys", "/sys/kernel/uevent_helper",
		"/sys/fs/cgroup/cgroup.procs", "/dev/fd/0", "/dev/stdin", NULL
	};

	(void)t;
	return open_any_image(paths);
}

static long open_devices(const struct target *t)
{
	static const char *const paths[] = {
		"/dev/mem", "/dev/kmem", "/dev/port", "/dev/sda", "/dev/vda", "/dev/loop0",
		"/dev/tty", "/dev/ptmx", "/dev/net/tun", "/dev/fuse", "/dev/vhost-net",
		"/dev/vhost-vsock", "/dev/shm", "/dev/kmsg", "/dev/cpu/0/msr", "/dev/userfaultfd",
		"/dev/vsock", NULL
	};

	(void)t;
	return open_any_image(paths);
}

static long find_secret(const struct target *t)
{
	struct stat st;

	return syscall(SYS_newfstatat, AT_FDCWD, t->secret, &st, 0);
}

static long make_image(const struct target *t)
{
	(void)t;
	return syscall(SYS_openat, AT_FDCWD, "/vsock/image", O_RDWR | O_CREAT | IMAGE, 0600);
}

static long empty_secret(const struct target *t)
{
	return syscall(SYS_openat, AT_FDCWD, t->secret, O_RDWR | O_TRUNC | IMAGE, 0600);
}

const struct attack image_attacks[] = {
	{ "open a host file as an image", open_secret },
	{ "open a host file as an image, by a relative path", open_secret_from_below },
	{ "open a host file as an image, through /proc", open_secret_through_proc },
	{ "open a file of the system as an image", open_system_files },
	{ "open a file of /proc or /sys as an image", open_proc_and_sys },
	{ "open a device as an image", open_devices },
	{ "find out what an image would be", find_secret },
	{ "make an image", make_image },
	{ "empty a host file as an image", empty_secret },
	{ NULL, NULL },
};
