/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/open.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define FD_DIRECTORY "/dev/fd/"

static int failed(int errnum, struct error *err)
{
	return error_set(err, errnum, "%s", strerrordesc_np(errnum));
}

int inherited_fd(const char *path)
{
	size_t prefix = strlen(FD_DIRECTORY);
	long fd = 0;

	if (strncmp(path, FD_DIRECTORY, prefix) != 0)
		return -1;
	const char *digits = path + prefix;

	/* One spelling for each number: two names of one file would pass for two files. */
	if (digits[0] == 0 || (digits[0] == '0' && digits[1] != 0))
		return -1;
	for (const char *c = digits; *c; c++) {
		if (*c < '0' || *c > '9')
			return -1;
		fd = 10 * fd + (*c - '0');
		if (fd > INT_MAX)
			return -1;
	}
	return (int)fd;
}

int inherited_take(int fd, int access, struct error *err)
{
	int fd_flags = fcntl(fd, F_GETFD);

	/* What we open ourselves is close-on-exec, what came through our exec is not. */
	if (fd_flags < 0 || fd_flags & FD_CLOEXEC)
		return error_set(err, EBADF, "file descriptor %d was not inherited, or is taken already",
				 fd);
	int status = fcntl(fd, F_GETFL);

	if (status < 0)
		return failed(errno, err);
	if (status & O_PATH || ((status & O_ACCMODE) != O_RDWR && (status & O_ACCMODE) != access))
		return error_set(err, EACCES, "not open for %s",
				 access == O_RDONLY   ? "reading"
				 : access == O_WRONLY ? "writing"
						      : "reading and writing");
	int ours = fd <= STDERR_FILENO ? fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
				       : fcntl(fd, F_SETFD, FD_CLOEXEC);

	if (ours < 0)
		return failed(errno, err);
	return fd <= STDERR_FILENO ? ours : fd;
}

static int open_path(const char *path, int flags, struct error *err)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0600);

	return fd < 0 ? failed(errno, err) : fd;
}

int open_file(const char *path, int flags, struct error *err)
{
	int inherited = inherited_fd(path);

	return inherited >= 0 ? inherited_take(inherited, flags & O_ACCMODE, err)
			      : open_path(path, flags, err);
}

/* Standard streams keep their flags: they are shared with whoever else has the terminal. */
static int take_sink(int fd, struct error *err)
{
	int ours = inherited_take(fd, O_WRONLY, err);

	if (ours < 0 || fd <= STDERR_FILENO)
		return ours;
	if (fcntl(ours, F_SETFL, O_APPEND | O_NONBLOCK) == 0)
		return ours;
	int rc = failed(errno, err);

	close(ours);
	return rc;
}

int open_sink(const char *path, struct error *err)
{
	int inherited = inherited_fd(path);
	struct stat st;

	if (inherited >= 0)
		return take_sink(inherited, err);
	/* O_RDWR: a FIFO that has no reader yet must neither block nor fail the open. */
	bool fifo = stat(path, &st) == 0 && S_ISFIFO(st.st_mode);

	return open_path(path, O_NONBLOCK | (fifo ? O_RDWR : O_WRONLY | O_CREAT | O_APPEND), err);
}

int stat_file(const char *path, struct stat *st, struct error *err)
{
	int inherited = inherited_fd(path);
	int rc = inherited >= 0 ? fstat(inherited, st) : stat(path, st);

	return rc < 0 ? failed(errno, err) : 0;
}
