/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/close_range.h>

#include "tools/jailer/jail.h"
#include "vmm/util.h"

/* Whatever the caller had open, too, ends with exec; what is passed is all that remains. */
static int keep_only_passed(const struct jail *jail, struct error *err)
{
	if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return error_sys(err, errno, "close_range");
	for (unsigned int i = 0; i < jail->n_passed; i++)
		if (fcntl(jail->passed[i], F_SETFD, 0) < 0)
			return error_sys(err, errno, "pass file descriptor %d", jail->passed[i]);
	return 0;
}

int monitor_exec(const struct jail *jail, uint64_t jailer_cpu_us, struct error *err)
{
	char start[24], start_cpu[24], parent_cpu[24], config[32];
	char *const own[] = {
		(char *)jail->exec_name,
		"--id",
		(char *)jail->args->id,
		"--start-time-us",
		start,
		"--start-time-cpu-us",
		start_cpu,
		"--parent-cpu-time-us",
		parent_cpu,
		"--no-api",
		"--config-file",
		config,
	};
	size_t n_own = ARRAY_SIZE(own) - (jail->config < 0 ? 3 : 0), n_args = 0;
	char *const no_environment[] = { NULL };
	char *argv[ARRAY_SIZE(own) + ARGS_MONITOR_MAX + 1] = { NULL };

	while (jail->args->monitor_args[n_args])
		n_args++;
	memcpy(argv, own, n_own * sizeof(*argv));
	memcpy(argv + n_own, jail->args->monitor_args, n_args * sizeof(*argv));
	if (keep_only_passed(jail, err) < 0)
		return -err->errnum;
	snprintf(start, sizeof(start), "%" PRIu64, jail->start_us);
	snprintf(start_cpu, sizeof(start_cpu), "%" PRIu64, cpu_us());
	snprintf(parent_cpu, sizeof(parent_cpu), "%" PRIu64, jailer_cpu_us + cpu_us());
	snprintf(config, sizeof(config), "/dev/fd/%d", jail->config);
	umask(jail->umask);
	syscall(SYS_execveat, jail->exec, "", argv, no_environment, AT_EMPTY_PATH);
	if (errno == ENOENT) /* the program itself is open already */
		return error_set(
			err, ENOENT,
			"exec \"%s\": not a static program: its interpreter isn't in the jail",
			jail->args->exec_file);
	return error_sys(err, errno, "exec \"%s\" as user %u", jail->args->exec_file, jail->uid);
}
