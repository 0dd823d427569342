/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/securebits.h>

#include "tools/jailer/jail.h"

/* User 0 means nothing, capabilities survive no change of user, and none can become ambient. */
#define SECUREBITS ((SECURE_ALL_BITS | SECURE_ALL_LOCKS) & ~issecure_mask(SECURE_KEEP_CAPS))

/* Up to the kernel's last capability, which may be newer than our headers. */
static int drop_bounding_set(struct error *err)
{
	unsigned long cap = 0;

	while (prctl(PR_CAPBSET_DROP, cap) == 0)
		cap++;
	if (errno != EINVAL || cap <= CAP_SYS_ADMIN)
		return error_sys(err, errno, "drop capability %lu from the bounding set", cap);
	return 0;
}

/* By the system calls: musl's functions are for all threads, and touch more than we may here. */
static int drop_ids(const struct jail *jail, struct error *err)
{
	if (syscall(SYS_setgroups, 0, NULL) < 0)
		return error_sys(err, errno, "drop supplementary groups");
	if (syscall(SYS_setresgid, jail->gid, jail->gid, jail->gid) < 0)
		return error_sys(err, errno, "become group %u", jail->gid);
	if (syscall(SYS_setresuid, jail->uid, jail->uid, jail->uid) < 0)
		return error_sys(err, errno, "become user %u", jail->uid);
	return 0;
}

static int drop_capabilities(struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return error_sys(err, errno, "clear ambient capabilities");
	if (syscall(SYS_capset, &header, none) < 0)
		return error_sys(err, errno, "drop capabilities");
	return 0;
}

int privileges_drop(const struct jail *jail, struct error *err)
{
	if (drop_bounding_set(err) < 0)
		return -err->errnum;
	if (prctl(PR_SET_SECUREBITS, SECUREBITS) < 0)
		return error_sys(err, errno, "lock securebits");
	/* In a user namespace the groups stay: what gives access to /dev/kvm may be one. */
	if (!jail->rootless && drop_ids(jail, err) < 0)
		return -err->errnum;
	/*
	 * The memory is still root's as well: nobody with the new user ID may get at it. As long as
	 * there are capabilities that they don't have they may not, and from here on never. (exec
	 * sets it again: the monitor does the same first thing.)
	 */
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return error_sys(err, errno, "make the process undumpable");
	if (drop_capabilities(err) < 0)
		return -err->errnum;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_sys(err, errno, "set no_new_privs");
	return 0;
}
