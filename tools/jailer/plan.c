/* SPDX-License-Identifier: Apache-2.0 */
/* Who will run what. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/jailer/jail.h"
#include "vmm/util.h"

void jail_init(struct jail *jail, const struct args *args)
{
	*jail = (struct jail){
		.args = args,
		.start_us = monotonic_ns() / 1000,
		.start_cpu_us = cpu_us(),
		.exec = -1,
		.config = -1,
		.root = -1,
		.tree = -1,
		.pid_file = -1,
	};
}

void jail_close(struct jail *jail)
{
	close_fd(&jail->exec);
	for (unsigned int i = 0; i < jail->n_passed; i++)
		close(jail->passed[i]);
	jail->n_passed = 0;
	close_fd(&jail->tree);
	close_fd(&jail->pid_file);
	free(jail->vsock_dir);
	jail->vsock_dir = NULL;
}

static int plan_ids(struct jail *jail, struct error *err)
{
	const struct args *args = jail->args;

	jail->rootless = geteuid() != 0;
	if (!jail->rootless && (!args->has_uid || !args->has_gid))
		return error_set(err, EINVAL, "--%s: required", args->has_uid ? "gid" : "uid");
	jail->uid = args->has_uid ? args->uid : geteuid();
	jail->gid = args->has_gid ? args->gid : getegid();
	if (!jail->rootless)
		return 0;
	if (jail->uid != geteuid() || jail->gid != getegid())
		return error_set(err, EPERM, "--%s: only root can give it to another user",
				 jail->uid != geteuid() ? "uid" : "gid");
	if (!args->config_path)
		return error_set(err, EPERM, "--config: required without root");
	return 0;
}

/* The name that open found, whatever links led there: Firecracker's layout has that one. */
static int name_of(int fd, char name[NAME_MAX + 1], const char *path, struct error *err)
{
	char link[32], target[PATH_MAX];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	if (n < 0)
		return error_sys(err, errno, "--exec-file \"%s\": readlink \"%s\"", path, link);
	target[n] = 0;
	const char *last = strrchr(target, '/');

	snprintf(name, NAME_MAX + 1, "%.*s", NAME_MAX, last ? last + 1 : target);
	return 0;
}

static int plan_exec(struct jail *jail, struct error *err)
{
	const char *path = jail->args->exec_file;
	struct stat st;

	jail->exec = open(path, O_PATH | O_CLOEXEC);
	if (jail->exec < 0 || fstat(jail->exec, &st) < 0)
		return error_sys(err, errno, "--exec-file: open \"%s\"", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "--exec-file: \"%s\" is not a regular file", path);
	if (!(st.st_mode & 0111))
		return error_set(err, EACCES, "--exec-file: \"%s\" is not executable", path);
	if (st.st_mode & (S_ISUID | S_ISGID))
		return error_set(err, EPERM, "--exec-file: \"%s\" is set-user-ID or set-group-ID",
				 path);
	if (name_of(jail->exec, jail->exec_name, path, err) < 0)
		return -err->errnum;
	snprintf(jail->pid_name, sizeof(jail->pid_name), "%s.pid", jail->exec_name);
	return 0;
}

/* From an open directory of the host's one gets everywhere (CVE-2024-21626). */
static int check_streams(struct error *err)
{
	struct stat st;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
			return error_set(err, EISDIR, "file descriptor %d is a directory", fd);
	return 0;
}

int plan_jail(struct jail *jail, struct error *err)
{
	const struct args *args = jail->args;
	int ret = plan_ids(jail, err);

	if (ret == 0)
		ret = check_streams(err);
	if (ret < 0)
		return ret;
	/* Modes are what is said here: the jail's user must get into what is root's. */
	jail->umask = umask(022);
	jail->private_root = args->private_root || jail->rootless;
	if (args->handover >= 0 && fcntl(args->handover, F_GETFD) < 0)
		return error_sys(err, errno, "--handover: file descriptor %d", args->handover);
	return plan_exec(jail, err);
}
