/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/jailer/dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

int dir_open(int dir, const char *name, bool one_mount)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve =
			RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | (one_mount ? RESOLVE_NO_XDEV : 0),
	};
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

int dir_make(int dir, const char *name, mode_t mode, bool *made)
{
	*made = mkdirat(dir, name, mode) == 0;
	if (!*made && errno != EEXIST)
		return -errno;
	return dir_open(dir, name, false);
}
