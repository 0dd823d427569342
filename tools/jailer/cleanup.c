/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --cleanup: what a jail left whose jailer couldn't take it back. The monitor's user wrote to that
 * directory and may be hostile: nothing is followed out of it, no mount is entered, and depth costs
 * nothing.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/jailer/cgroup_mounts.h"
#include "tools/jailer/dirs.h"
#include "tools/jailer/host_root.h"
#include "tools/jailer/jail.h"
#include "vmm/util.h"

#define DEPTH_MAX	  16
#define DEFAULT_EXEC_NAME "mote-vmm"

static void cleanup_closedir_fn(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}
#define cleanup_closedir __attribute__((cleanup(cleanup_closedir_fn)))

/* A process whose root is that directory; 0 if there is none. */
static pid_t find_inmate(const struct stat *root)
{
	cleanup_closedir DIR *proc = opendir("/proc");
	struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		char path[NAME_MAX + 8];
		struct stat st;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "%s/root", entry->d_name);
		if (fstatat(dirfd(proc), path, &st, 0) == 0 && st.st_dev == root->st_dev &&
		    st.st_ino == root->st_ino)
			return (pid_t)atoi(entry->d_name);
	}
	return 0;
}

static int check_vacant(int id_dir, const char *id, struct error *err)
{
	cleanup_close int root = dir_open(id_dir, "root", true);
	struct stat st;

	if (root < 0 || fstat(root, &st) < 0)
		return 0;
	pid_t pid = find_inmate(&st);

	return pid ? error_set(err, EBUSY, "id \"%s\" is in use by process %d", id, (int)pid) : 0;
}

struct removal {
	int top; /* where directories too deep are moved to */
	unsigned int moved;
};

static int remove_entry(struct removal *removal, int dir, const char *name, unsigned int depth,
			struct error *err);

static int remove_contents(struct removal *removal, int dir, unsigned int depth, struct error *err)
{
	int copy = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	cleanup_closedir DIR *stream = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int ret = 0;

	if (!stream)
		return error_sys(err, errno, "read a directory");
	rewinddir(stream);
	while (ret == 0 && (entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			ret = remove_entry(removal, dir, entry->d_name, depth, err);
	return ret;
}

/* Its turn comes when the top directory is read again. */
static int move_up(struct removal *removal, int dir, const char *name, struct error *err)
{
	char to[32];

	snprintf(to, sizeof(to), "too-deep-%u", removal->moved++);
	if (renameat(dir, name, removal->top, to) < 0)
		return error_sys(err, errno, "move \"%s\"", name);
	return 0;
}

static int remove_entry(struct removal *removal, int dir, const char *name, unsigned int depth,
			struct error *err)
{
	if (unlinkat(dir, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return error_sys(err, errno, "remove \"%s\"", name);
	if (depth == DEPTH_MAX)
		return move_up(removal, dir, name, err);
	cleanup_close int child = dir_open(dir, name, true);

	if (child == -EXDEV)
		return error_set(err, EBUSY, "\"%s\" is a mount", name);
	if (child < 0)
		return error_sys(err, -child, "open \"%s\"", name);
	if (remove_contents(removal, child, depth + 1, err) < 0)
		return -err->errnum;
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0)
		return error_sys(err, errno, "remove \"%s\"", name);
	return 0;
}

static int remove_tree(int parent, const char *name, struct error *err)
{
	struct removal removal = { .top = dir_open(parent, name, true) };
	cleanup_close int top = removal.top;

	if (top == -ENOENT)
		return 0;
	if (top < 0)
		return error_sys(err, -top, "open \"%s\"", name);
	for (unsigned int before = 0;; before = removal.moved) {
		if (remove_contents(&removal, top, 0, err) < 0)
			return -err->errnum;
		if (removal.moved == before)
			break;
	}
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0)
		return error_sys(err, errno, "remove \"%s\"", name);
	return 0;
}

static int remove_directory(const struct args *args, const char *exec_name, struct error *err)
{
	cleanup_close int base = host_base_open(args->chroot_base, err);

	if (base == -ENOENT)
		return 0;
	if (base < 0)
		return base;
	cleanup_close int exec_dir = dir_open(base, exec_name, false);
	cleanup_close int id_dir = exec_dir < 0 ? exec_dir : dir_open(exec_dir, args->id, true);

	if (id_dir == -ENOENT)
		return 0;
	if (id_dir < 0)
		return error_sys(err, -id_dir, "open \"%s/%s/%s\"", args->chroot_base, exec_name,
				 args->id);
	if (check_vacant(id_dir, args->id, err) < 0)
		return -err->errnum;
	if (remove_tree(exec_dir, args->id, err) < 0)
		return error_wrap(err, "\"%s/%s/%s\"", args->chroot_base, exec_name, args->id);
	return 0;
}

/* rmdir: a cgroup with processes stays, and nothing below it is ours. */
static int remove_cgroup(const struct cgroup_mount *mount, const char *parent, const char *id,
			 struct error *err)
{
	int root = cgroup_mount_open(mount, err);

	if (root < 0)
		return 0; /* covered by another mount: nothing of ours is there */
	cleanup_close int hierarchy = root;
	cleanup_close int dir = dir_open(hierarchy, parent, true);

	if (dir < 0 || unlinkat(dir, id, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	return error_sys(err, errno, "cgroup \"%s/%s/%s\": remove it", mount->point, parent, id);
}

static int remove_cgroups(const struct args *args, const char *exec_name, struct error *err)
{
	const char *parent = args->parent_cgroup ? args->parent_cgroup : exec_name;
	cleanup_free struct cgroup_mount *mounts = NULL;
	int n = cgroup_mounts_read(&mounts, err);

	for (int i = 0; i < n; i++)
		if (remove_cgroup(&mounts[i], parent, args->id, err) < 0)
			return -err->errnum;
	return n < 0 ? n : 0;
}

int cleanup_jail(const struct args *args, struct error *err)
{
	const char *slash = args->exec_file ? strrchr(args->exec_file, '/') : NULL;
	const char *exec_name = !args->exec_file ? DEFAULT_EXEC_NAME
				: slash		 ? slash + 1
						 : args->exec_file;
	int ret = remove_directory(args, exec_name, err);

	return ret < 0 ? ret : remove_cgroups(args, exec_name, err);
}
