/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "tools/jailer/jail.h"
#include "vmm/util.h"

#define DEFAULT_NO_FILE 2048 /* as Firecracker's */

/*
 * Threads: 32 vCPUs and some for disks. In a user namespace the count is the jail's own; without
 * one it is the user's on this host, who may run thousands of microVMs.
 */
#define NPROC_ROOTLESS 256
#define NPROC_ROOT     16384

static int set_oom_score(int value, struct error *err)
{
	cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || dprintf(fd, "%d", value) < 0)
		return error_sys(err, errno,
				 "--oom-score-adj: write %d to \"/proc/self/oom_score_adj\"",
				 value);
	return 0;
}

/* What was asked for; else the default, or the caller's own limit where that is lower. */
static rlim_t limit_of(int resource, rlim_t asked, rlim_t by_default)
{
	struct rlimit old;

	if (asked != ARGS_NO_LIMIT)
		return asked;
	return getrlimit(resource, &old) == 0 && old.rlim_max < by_default ? old.rlim_max
									   : by_default;
}

int limits_set(const struct jail *jail, struct error *err)
{
	const struct args *args = jail->args;
	const struct {
		const char *name;
		int resource;
		rlim_t asked, by_default;
	} limits[] = {
		{ "no-file", RLIMIT_NOFILE, args->no_file, DEFAULT_NO_FILE },
		{ "fsize", RLIMIT_FSIZE, args->fsize, RLIM_INFINITY },
		{ "memlock", RLIMIT_MEMLOCK, args->memlock, 0 },
		{ "nproc", RLIMIT_NPROC, args->nproc,
		  jail->rootless ? NPROC_ROOTLESS : NPROC_ROOT },
		{ "core", RLIMIT_CORE, ARGS_NO_LIMIT, 0 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(limits); i++) {
		rlim_t value = limit_of(limits[i].resource, limits[i].asked, limits[i].by_default);

		if (setrlimit(limits[i].resource, &(struct rlimit){ value, value }) < 0)
			return error_sys(err, errno, "set resource limit %s to %llu",
					 limits[i].name, (unsigned long long)value);
	}
	return args->has_oom_score_adj ? set_oom_score(args->oom_score_adj, err) : 0;
}
