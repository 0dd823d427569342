/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail's /dev. Root makes the nodes, which have the numbers that the kernel gives them for
 * ever; without root the host's are bound there, once they are seen to have those numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <linux/major.h>

#include "tools/jailer/jail.h"
#include "tools/jailer/mounts.h"
#include "vmm/util.h"

/* Documentation/admin-guide/devices.txt, char major 10. */
#define KVM_MINOR 232
#define TUN_MINOR 200

static int make_node(const struct jail *jail, int dir, const char *name, unsigned int minor,
		     struct error *err)
{
	if (mknodat(dir, name, S_IFCHR | 0600, makedev(MISC_MAJOR, minor)) < 0)
		return error_sys(err, errno, "make \"/dev/%s\" of the jail", name);
	if (fchownat(dir, name, jail->uid, jail->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return error_sys(err, errno, "give \"/dev/%s\" of the jail to user %u", name,
				 jail->uid);
	return 0;
}

static int bind_node(int dir, const char *name, unsigned int minor, struct error *err)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/dev/%s", name);
	cleanup_close int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno, "open \"%s\"", path);
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(MISC_MAJOR, minor))
		return error_set(err, ENODEV, "\"%s\" is not character device %d:%u", path,
				 MISC_MAJOR, minor);
	cleanup_close int mount = mounts_open_tree(fd, "", AT_EMPTY_PATH);

	if (mount < 0 || mknodat(dir, name, S_IFREG | 0600, 0) < 0 ||
	    mounts_move(mount, dir, name) < 0)
		return error_sys(err, errno, "bind \"%s\" into the jail", path);
	return 0;
}

static int add_device(const struct jail *jail, int dir, const char *name, unsigned int minor,
		      struct error *err)
{
	return jail->rootless ? bind_node(dir, name, minor, err)
			      : make_node(jail, dir, name, minor, err);
}

/* A minor that the kernel gives out as it comes. */
static int dynamic_minor(const char *name, unsigned int *minor, struct error *err)
{
	cleanup_fclose FILE *misc = fopen("/proc/misc", "re");
	char found[64];

	if (!misc)
		return error_sys(err, errno, "open \"/proc/misc\"");
	while (fscanf(misc, "%u %63s", minor, found) == 2)
		if (strcmp(found, name) == 0)
			return 0;
	return error_set(err, ENODEV, "this kernel has no /dev/%s", name);
}

int devices_make(const struct jail *jail, int dir, struct error *err)
{
	unsigned int minor;
	int ret = add_device(jail, dir, "kvm", KVM_MINOR, err);

	/* Only a monitor that opens taps itself needs it: --config passes their queues. */
	if (ret == 0 && !jail->args->config_path) {
		if (mkdirat(dir, "net", 0755) < 0)
			return error_sys(err, errno, "make \"/dev/net\" of the jail");
		ret = add_device(jail, dir, "net/tun", TUN_MINOR, err);
	}
	if (ret == 0 && jail->args->userfaultfd)
		ret = dynamic_minor("userfaultfd", &minor, err);
	if (ret == 0 && jail->args->userfaultfd)
		ret = add_device(jail, dir, "userfaultfd", minor, err);
	return ret;
}
