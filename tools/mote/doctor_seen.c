/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process from outside. Nothing is asked of it. Whoever made its user namespace may look at all of
 * this too, although it can't be dumped; but for /proc/PID/fd, hence pidfd_getfd.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tools/mote/doctor_jail.h"
#include "vmm/util.h"

#define FILES_MAX 1000 /* enough to know that this is no jail */

static void list_add(struct seen_list *list, const char *name)
{
	size_t n = strlen(list->names);

	snprintf(list->names + n, sizeof(list->names) - n, "%s%s", list->n ? ", " : "", name);
	list->n++;
}

static FILE *open_proc(pid_t pid, const char *name, struct error *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	FILE *file = fopen(path, "re");

	if (!file)
		error_sys(err, errno, "open \"%s\"", path);
	return file;
}

static long count_words(const char *text)
{
	long n = 0;

	for (text += strspn(text, " \t\n"); *text; text += strspn(text, " \t\n")) {
		text += strcspn(text, " \t\n");
		n++;
	}
	return n;
}

/* proc(5): /proc/PID/status. */
static int look_at_status(struct seen *seen, pid_t pid, struct error *err)
{
	cleanup_fclose FILE *file = open_proc(pid, "status", err);
	unsigned long long capabilities = 0, set;
	char line[1024];
	int no_new_privs;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Cap%*3s: %llx", &set) == 1)
			capabilities |= set;
		if (sscanf(line, "NoNewPrivs: %d", &no_new_privs) == 1)
			seen->no_new_privs = no_new_privs == 1;
		if (strncmp(line, "Groups:", strlen("Groups:")) == 0)
			seen->groups = count_words(line + strlen("Groups:"));
		sscanf(line, "Uid: %*u %u", &seen->uid);
		sscanf(line, "Gid: %*u %u", &seen->gid);
	}
	seen->capabilities = __builtin_popcountll(capabilities);
	return file ? 0 : -err->errnum;
}

static int look_at_thread(struct seen *seen, pid_t pid, const char *tid, struct error *err)
{
	char name[64], line[1024], comm[32] = "?";
	int mode = 0, filters = 0;

	snprintf(name, sizeof(name), "task/%.16s/status", tid);
	cleanup_fclose FILE *file = open_proc(pid, name, err);

	while (file && fgets(line, sizeof(line), file)) {
		sscanf(line, "Name: %31[^\n]", comm);
		sscanf(line, "Seccomp: %d", &mode);
		sscanf(line, "Seccomp_filters: %d", &filters);
	}
	list_add(&seen->threads, comm);
	/* SECCOMP_MODE_FILTER: the jailer's, and the one of its kind. */
	if (mode != 2 || filters != 2)
		list_add(&seen->unfiltered, comm);
	return file ? 0 : -err->errnum;
}

static int is_number(const struct dirent *entry)
{
	return entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
}

static int look_at_threads(struct seen *seen, pid_t pid, struct error *err)
{
	char path[64];
	struct dirent **tasks;
	int rc = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	int n = scandir(path, &tasks, is_number, alphasort);

	if (n < 0)
		return error_sys(err, errno, "open \"%s\"", path);
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = look_at_thread(seen, pid, tasks[i]->d_name, err);
		free(tasks[i]);
	}
	free(tasks);
	return rc;
}

/* The kernel gives what belongs to a process that can't be dumped to root. */
static int look_at_dumpable(struct seen *seen, pid_t pid, struct error *err)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	if (stat(path, &st) < 0)
		return error_sys(err, errno, "stat \"%s\"", path);
	seen->dumpable = st.st_uid != 0;
	return 0;
}

static int read_namespace(const char *pid, const char *kind, char *name, size_t size, struct error *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", pid, kind);
	ssize_t n = readlink(path, name, size - 1);

	if (n < 0)
		return error_sys(err, errno, "readlink \"%s\"", path);
	name[n] = 0;
	return 0;
}

static int look_at_namespaces(struct seen *seen, pid_t pid, struct error *err)
{
	static const char *const kinds[] = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };
	char other[16], theirs[64], ours[64];

	snprintf(other, sizeof(other), "%d", (int)pid);
	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (read_namespace("self", kinds[i], ours, sizeof(ours), err) < 0)
			continue; /* older kernels lack some */
		if (read_namespace(other, kinds[i], theirs, sizeof(theirs), err) < 0)
			return -err->errnum;
		if (strcmp(ours, theirs) != 0)
			list_add(&seen->namespaces, kinds[i]);
	}
	return 0;
}

static int look_at_mounts(struct seen *seen, pid_t pid, struct error *err)
{
	cleanup_fclose FILE *file = open_proc(pid, "mountinfo", err);
	char line[4096], where[1024];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %*s %*s %*s %1023s", where) == 1)
			list_add(&seen->mounts, where);
	return file ? 0 : -err->errnum;
}

static int look_at_interfaces(struct seen *seen, pid_t pid, struct error *err)
{
	cleanup_fclose FILE *file = open_proc(pid, "net/dev", err);
	char line[512], name[64];

	while (file && fgets(line, sizeof(line), file))
		if (strchr(line, ':') && sscanf(line, " %63[^: ]", name) == 1)
			list_add(&seen->interfaces, name);
	return file ? 0 : -err->errnum;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int look_at_files(struct seen *seen, pid_t pid, struct error *err)
{
	char root[32];
	char *const roots[] = { root, NULL };

	snprintf(root, sizeof(root), "/proc/%d/root/", (int)pid);
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_NOSTAT, by_name);

	if (!tree)
		return error_sys(err, errno, "open \"%s\"", root);
	for (FTSENT *entry; seen->files.n < FILES_MAX && (entry = fts_read(tree));) {
		if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR)
			error_sys(err, entry->fts_errno, "read \"%s\"", entry->fts_path);
		if (entry->fts_level > 0 && entry->fts_info != FTS_DP)
			list_add(&seen->files, entry->fts_path + strlen(root) - 1);
	}
	fts_close(tree);
	return err->errnum ? -err->errnum : 0;
}

/* A copy of the descriptor says what it is. */
static void look_at_fd(struct seen *seen, int copy)
{
	char path[32], target[256];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", copy);
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	target[n < 0 ? 0 : n] = 0;
	seen->fds++;
	if (strncmp(target, "anon_inode:", strlen("anon_inode:")) != 0)
		list_add(&seen->host_fds, target);
}

static int look_at_fds(struct seen *seen, pid_t pid, int pidfd, struct error *err)
{
	cleanup_fclose FILE *file = open_proc(pid, "status", err);
	unsigned int size = 0; /* of its table */
	char line[1024];

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "FDSize: %u", &size);
	for (unsigned int fd = 0; fd < size; fd++) {
		cleanup_close int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

		if (copy < 0 && errno != EBADF)
			return error_sys(err, errno, "pidfd_getfd");
		if (copy >= 0)
			look_at_fd(seen, copy);
	}
	return file ? 0 : -err->errnum;
}

int seen_look(struct seen *seen, pid_t pid, int pidfd, struct error *err)
{
	static int (*const looks[])(struct seen *seen, pid_t pid, struct error *err) = {
		look_at_status, look_at_threads,    look_at_dumpable, look_at_namespaces,
		look_at_mounts, look_at_interfaces, look_at_files,
	};

	*seen = (struct seen){ 0 };
	for (unsigned int i = 0; i < ARRAY_SIZE(looks); i++) {
		*err = (struct error){ 0 };
		if (looks[i](seen, pid, err) < 0)
			return -err->errnum;
	}
	return look_at_fds(seen, pid, pidfd, err);
}
