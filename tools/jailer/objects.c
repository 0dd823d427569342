/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/jailer/objects.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/open.h"
#include "vmm/util.h"

#define LINKS_MAX 8

/* Replace path by what its last component, the link, says. */
static int follow(int link, char path[PATH_MAX], struct error *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(link, "", target, sizeof(target) - 1);

	if (n <= 0)
		return error_sys(err, n < 0 ? errno : ENOENT, "readlink \"%s\"", path);
	target[n] = 0;
	char *last = strrchr(path, '/');
	size_t directory = target[0] == '/' || !last ? 0 : (size_t)(last - path) + 1;

	if (directory + (size_t)n >= PATH_MAX)
		return error_sys(err, ENAMETOOLONG, "open \"%s\"", path);
	memcpy(path + directory, target, (size_t)n + 1);
	return 0;
}

int object_find(const char *path, struct error *err)
{
	char current[PATH_MAX];

	if ((size_t)snprintf(current, sizeof(current), "%s", path) >= sizeof(current))
		return error_sys(err, ENAMETOOLONG, "open \"%.64s...\"", path);
	for (int i = 0; i < LINKS_MAX; i++) {
		cleanup_close int fd = open(current, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		struct stat st;

		if (fd < 0 || fstat(fd, &st) < 0)
			return error_sys(err, errno, "open \"%s\"", path);
		if (!S_ISLNK(st.st_mode))
			return take_fd(&fd);
		if (st.st_uid != 0 && st.st_uid != geteuid())
			return error_set(err, EPERM,
					 "open \"%s\": a symbolic link that user %u made", path,
					 st.st_uid);
		if (follow(fd, current, err) < 0)
			return -err->errnum;
	}
	return error_sys(err, ELOOP, "open \"%s\"", path);
}

static bool is_kind(mode_t mode, enum object_kind kind)
{
	switch (kind) {
	case OBJECT_FILE:
		return S_ISREG(mode);
	case OBJECT_DISK:
		return S_ISREG(mode) || S_ISBLK(mode);
	case OBJECT_SINK:
		return S_ISREG(mode) || S_ISFIFO(mode) || S_ISCHR(mode);
	}
	return false;
}

/* A FIFO for both ways, so that it needs no reader yet. */
static int sink_flags(mode_t mode)
{
	return O_NONBLOCK | (S_ISFIFO(mode) ? O_RDWR : O_WRONLY | O_APPEND);
}

static int make_sink(const char *path, struct error *err)
{
	int fd = open(path,
		      O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
		      0600);

	return fd < 0 ? error_sys(err, errno, "make \"%s\"", path) : fd;
}

static int check_kind(int fd, const char *path, enum object_kind kind, mode_t *mode,
		      struct error *err)
{
	static const char *const kinds[] = {
		[OBJECT_FILE] = "a regular file",
		[OBJECT_DISK] = "a regular file or block device",
		[OBJECT_SINK] = "a regular file, FIFO or character device",
	};
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_sys(err, errno, "stat \"%s\"", path);
	if (!is_kind(st.st_mode, kind))
		return error_set(err, EINVAL, "\"%s\" is not %s", path, kinds[kind]);
	*mode = st.st_mode;
	return 0;
}

/* What the caller has opened. */
static int take(int inherited, const char *path, enum object_kind kind, int flags,
		struct error *err)
{
	cleanup_close int fd =
		inherited_take(inherited, kind == OBJECT_SINK ? O_WRONLY : flags, err);
	mode_t mode;

	if (fd < 0)
		return error_wrap(err, "open \"%s\"", path);
	return check_kind(fd, path, kind, &mode, err) < 0 ? -err->errnum : take_fd(&fd);
}

int object_open(const char *path, enum object_kind kind, int flags, struct error *err)
{
	int inherited = inherited_fd(path);
	char link[32];
	mode_t mode;

	if (inherited >= 0)
		return take(inherited, path, kind, flags, err);
	cleanup_close int found = object_find(path, err);

	if (found == -ENOENT && kind == OBJECT_SINK)
		return make_sink(path, err);
	if (found < 0 || check_kind(found, path, kind, &mode, err) < 0)
		return -err->errnum;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", found);
	int fd =
		open(link, (kind == OBJECT_SINK ? sink_flags(mode) : flags) | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0)
		return fd;
	return error_sys(err, errno, "open \"%s\"%s", path,
			 flags == O_RDWR || kind == OBJECT_SINK ? " for writing" : "");
}
