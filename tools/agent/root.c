/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/agent/agent.h"

#define LOWER "/lower"
#define SPACE "/space" /* tmpfs: upper and work directory of the overlay */
#define ROOT  "/root"

struct mount_point {
	const char *source, *target, *type;
	unsigned long flags;
	const char *options;
	bool required;
};

/* What belongs into every root, relative to it, in this order. */
static const struct mount_point standard_mounts[] = {
	{ "proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true },
	{ "sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, true },
	{ "dev", "dev", "devtmpfs", MS_NOSUID, "mode=755", true },
	{ "devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666", true },
	{ "shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777", false },
	{ "run", "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755", false },
	{ "cgroup2", "sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, false },
};

static int mount_root(int host, const struct job *job)
{
	/* devtmpfs on the initramfs's /dev, to have /dev/vda; it is shared with the root's later. */
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) < 0)
		return send_failure(host, "mount devtmpfs: %s", strerror(errno));
	mkdir(ROOT, 0755);
	if (job->root_rw) {
		if (mount("/dev/vda", ROOT, job->root_type, 0, NULL) < 0)
			return send_failure(host, "mount the root (%s, read-write): %s", job->root_type,
					    strerror(errno));
		return 0;
	}
	mkdir(LOWER, 0755);
	mkdir(SPACE, 0755);
	int rc = mount("/dev/vda", LOWER, job->root_type, MS_RDONLY, NULL);

	/* An ext4 that wasn't unmounted: its journal can't be replayed onto a read-only disk. */
	if (rc < 0 && errno == EROFS && strcmp(job->root_type, "ext4") == 0)
		rc = mount("/dev/vda", LOWER, job->root_type, MS_RDONLY, "noload");
	if (rc < 0)
		return send_failure(host, "mount the root (%s): %s", job->root_type, strerror(errno));
	if (mount("space", SPACE, "tmpfs", 0, "mode=755") < 0)
		return send_failure(host, "mount tmpfs: %s", strerror(errno));
	mkdir(SPACE "/upper", 0755);
	mkdir(SPACE "/work", 0755);
	if (mount("overlay", ROOT, "overlay", 0,
		  "lowerdir=" LOWER ",upperdir=" SPACE "/upper,workdir=" SPACE "/work") < 0)
		return send_failure(host, "mount the overlay: %s", strerror(errno));
	return 0;
}

static void link_standard_streams(void)
{
	/* EEXIST: the image brought its own. */
	if (symlink("/proc/self/fd", "/dev/fd") < 0 || symlink("fd/0", "/dev/stdin") < 0 ||
	    symlink("fd/1", "/dev/stdout") < 0 || symlink("fd/2", "/dev/stderr") < 0)
		return;
}

int make_root(int host, const struct job *job)
{
	if (mount_root(host, job) < 0)
		return -1;
	if (chdir(ROOT) < 0)
		return send_failure(host, "chdir to the root: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(standard_mounts) / sizeof(standard_mounts[0]); i++) {
		const struct mount_point *m = &standard_mounts[i];

		/* On a read-only root without the directory mkdir fails and then mount says so. */
		mkdir(m->target, 0755);
		if (mount(m->source, m->target, m->type, m->flags, m->options) < 0 && m->required)
			return send_failure(host, "mount %s on /%s: %s", m->type, m->target,
					    strerror(errno));
	}
	/* switch_root without its deletions: what is in the initramfs is the agent alone. */
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return send_failure(host, "enter the root: %s", strerror(errno));
	link_standard_streams();
	mkdir("/tmp", 01777);
	if (job->hostname && sethostname(job->hostname, strlen(job->hostname)) < 0)
		return send_failure(host, "set the host name: %s", strerror(errno));
	return 0;
}
