/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Landlock says a second time what the mount namespace says: if a way out of that one is ever
 * found, this one still holds. Documentation/userspace-api/landlock.rst; Debian 12's headers are
 * older.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/landlock.h>

#include "tools/jailer/jail.h"
#include "vmm/util.h"

#define FS_REFER     (1u << 13) /* ABI 2 */
#define FS_TRUNCATE  (1u << 14) /* ABI 3 */
#define FS_IOCTL_DEV (1u << 15) /* ABI 5 */
#define FS_ABI_1     ((1u << 13) - 1)
#define NET_TCP	     3u /* bind, connect: ABI 4 */
#define SCOPE_ALL    3u /* abstract Unix sockets, signals: ABI 6 */

#define DEVICE (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_IOCTL_DEV)
#define VSOCK  (LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE)
/* Where the jail's files are the user's business: all but programs, device nodes and links. */
#define SHARED                                                                                     \
	((FS_ABI_1 | FS_REFER | FS_TRUNCATE | FS_IOCTL_DEV) &                                      \
	 ~(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                             \
	   LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM))

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

static struct ruleset_attr handled_by(long abi)
{
	struct ruleset_attr all = { .fs = FS_ABI_1 };

	if (abi >= 2)
		all.fs |= FS_REFER;
	if (abi >= 3)
		all.fs |= FS_TRUNCATE;
	if (abi >= 4)
		all.net = NET_TCP;
	if (abi >= 5)
		all.fs |= FS_IOCTL_DEV;
	if (abi >= 6)
		all.scoped = SCOPE_ALL;
	return all;
}

/* The kernel takes a longer struct than it knows if what it doesn't know is 0. */
static int make_ruleset(const struct ruleset_attr *attr, struct error *err)
{
	int fd = (int)syscall(SYS_landlock_create_ruleset, attr, sizeof(*attr), 0);

	return fd < 0 ? error_sys(err, errno, "Landlock: make a ruleset") : fd;
}

static int allow(int ruleset, uint64_t handled, int beneath, uint64_t access, const char *name,
		 struct error *err)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = access & handled,
		.parent_fd = beneath,
	};

	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return error_sys(err, errno, "Landlock: allow \"%s\"", name);
	return 0;
}

static int allow_path(int ruleset, uint64_t handled, const char *path, uint64_t access,
		      struct error *err)
{
	cleanup_close int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return error_sys(err, errno, "Landlock: open \"%s\"", path);
	return allow(ruleset, handled, fd, access, path, err);
}

static int add_rules(const struct jail *jail, int ruleset, uint64_t handled, struct error *err)
{
	/* It is nowhere in the jail, and exec reaches it by its descriptor. */
	int ret = allow(ruleset, handled, jail->exec,
			LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE, jail->exec_name,
			err);

	if (ret < 0)
		return ret;
	if (!jail->args->config_path)
		return allow_path(ruleset, handled, "/", SHARED, err);
	ret = allow_path(ruleset, handled, "/dev/kvm", DEVICE, err);
	if (ret == 0 && jail->args->userfaultfd)
		ret = allow_path(ruleset, handled, "/dev/userfaultfd", DEVICE, err);
	if (ret == 0 && jail->vsock_dir)
		ret = allow_path(ruleset, handled, "/" JAIL_VSOCK_DIR, VSOCK, err);
	return ret;
}

int landlock_restrict(const struct jail *jail, struct error *err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (abi < 0) /* not built in, or not switched on */
		return 0;
	const struct ruleset_attr handled = handled_by(abi);
	cleanup_close int ruleset = make_ruleset(&handled, err);

	if (ruleset < 0)
		return ruleset;
	if (add_rules(jail, ruleset, handled.fs, err) < 0)
		return -err->errnum;
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return error_sys(err, errno, "Landlock: restrict the process");
	return 0;
}
