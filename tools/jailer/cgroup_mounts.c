/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/jailer/cgroup_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "vmm/util.h"

/* proc(5): ID parent major:minor root point options [optional..] - type source super-options */
static bool parse_line(const char *line, struct cgroup_mount *mount)
{
	const char *type = strstr(line, " - cgroup");

	if (!type || sscanf(line, "%*u %*u %*s %*s %511s", mount->point) != 1)
		return false;
	mount->version = strncmp(type, " - cgroup2 ", 11) == 0 ? 2 : 1;
	return sscanf(type, " - %*s %*s %255s", mount->controllers) == 1;
}

int cgroup_mounts_read(struct cgroup_mount **mounts, struct error *err)
{
	cleanup_fclose FILE *info = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t size = 0;
	int n = 0;

	*mounts = calloc(CGROUP_MOUNTS_MAX, sizeof(**mounts));
	if (!info || !*mounts)
		return error_sys(err, errno, "open \"/proc/self/mountinfo\"");
	while (n < CGROUP_MOUNTS_MAX && getline(&line, &size, info) > 0)
		n += parse_line(line, *mounts + n);
	return n;
}

static bool has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *c = list; *c; c += strspn(c, ",")) {
		size_t n = strcspn(c, ",");

		if (n == length && strncmp(c, word, n) == 0)
			return true;
		c += n;
	}
	return false;
}

const struct cgroup_mount *cgroup_mount_find(const struct cgroup_mount *mounts, int n,
					     unsigned int version, const char *controller)
{
	for (int i = 0; i < n; i++)
		if (mounts[i].version == version &&
		    (version == 2 || has_word(mounts[i].controllers, controller)))
			return &mounts[i];
	return NULL;
}

int cgroup_mount_open(const struct cgroup_mount *mount, struct error *err)
{
	cleanup_close int fd = open(mount->point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return error_sys(err, errno, "cgroup: open \"%s\"", mount->point);
	if (fs.f_type != (mount->version == 2 ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC))
		return error_set(err, EINVAL, "cgroup: \"%s\" is covered by another mount",
				 mount->point);
	return take_fd(&fd);
}
