/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail's directory on the host, <base>/<exec>/<id>/root, as Firecracker's. Each name is looked
 * up once, below an open directory and never through a symbolic link; from then on the descriptor
 * is what counts. Down to <id> only root can change anything. What --config needs is empty and
 * root's; without it the root is the jail's user's, who may have put anything there.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/jailer/dirs.h"
#include "tools/jailer/host_root.h"
#include "tools/jailer/jail.h"
#include "tools/jailer/mounts.h"
#include "vmm/util.h"

#define ATTEMPTS 8

/* last: nobody else may write to it at all. Above, a sticky directory (/tmp) will do. */
static int check_owner(int dir, const char *path, bool last, struct error *err)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return error_sys(err, errno, "stat \"%s\"", path);
	if (st.st_uid != 0)
		return error_set(err, EPERM, "\"%s\" belongs to user %u, not to root", path,
				 st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH) && (last || !(st.st_mode & S_ISVTX)))
		return error_set(err, EPERM,
				 "\"%s\" can be written to by others than root (mode %04o)", path,
				 st.st_mode & 07777);
	return 0;
}

static int open_failed(int errnum, const char *path, struct error *err)
{
	if (errnum == ELOOP)
		return error_set(err, ELOOP, "\"%s\" is a symbolic link", path);
	return error_sys(err, errnum, "open \"%s\"", path);
}

/* Walk an absolute path, which is cut into its components meanwhile. */
static int walk(char *path, struct error *err)
{
	cleanup_close int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *name = path + strspn(path, "/");

	if (dir < 0)
		return error_sys(err, errno, "open \"/\"");
	while (*name) {
		char *end = name + strcspn(name, "/");
		char *following = end + strspn(end, "/");
		char separator = *end;

		*end = 0;
		int next = dir_open(dir, name, false);

		if (next < 0)
			return open_failed(-next, path, err);
		close(dir);
		dir = next;
		if (check_owner(dir, path, !*following, err) < 0)
			return -err->errnum;
		*end = separator;
		name = following;
	}
	return take_fd(&dir);
}

int host_base_open(const char *path, struct error *err)
{
	cleanup_free char *cwd = path[0] == '/' ? NULL : get_current_dir_name();
	cleanup_free char *whole = NULL;

	if (path[0] != '/' && !cwd)
		return error_sys(err, errno, "--chroot-base-dir: current directory");
	if (asprintf(&whole, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "", path) < 0)
		return error_sys(err, ENOMEM, "--chroot-base-dir");
	int base = walk(whole, err);

	return base < 0 ? error_wrap(err, "--chroot-base-dir") : base;
}

/* path is for messages. Returns an fd that is undo's. */
static int make_dir(struct jail *jail, int parent, const char *name, mode_t mode, const char *path,
		    struct error *err)
{
	bool made;
	int fd = undo_own(&jail->undo, dir_make(parent, name, mode, &made));

	if (made)
		undo_add_name(&jail->undo, jail->args->config_path ? UNDO_ALWAYS : UNDO_ON_FAILURE,
			      parent, name, true);
	return fd < 0 ? open_failed(-fd, path, err) : fd;
}

static int in_use(const struct jail *jail, const char *what, const char *name, struct error *err)
{
	return error_set(
		err, EEXIST,
		"id \"%s\" is in use, or left something behind (mote-jailer --cleanup %s): "
		"%s\"%s\" exists",
		jail->args->id, jail->args->id, what, name);
}

/* <exec> and <id> in base. Returns <id>'s fd, undo's; -ENOENT if <exec> vanished meanwhile. */
static int make_id_dir(struct jail *jail, int base, struct error *err)
{
	const struct args *args = jail->args;
	char path[PATH_MAX];
	bool made;

	snprintf(path, sizeof(path), "%s/%s", args->chroot_base, jail->exec_name);
	int exec_dir = undo_own(&jail->undo, dir_make(base, jail->exec_name, 0755, &made));

	/* Other jails share it: it isn't removed at this one's end. */
	if (made)
		undo_add_name(&jail->undo, UNDO_ON_FAILURE, base, jail->exec_name, true);
	if (exec_dir < 0)
		return open_failed(-exec_dir, path, err);
	if (check_owner(exec_dir, path, true, err) < 0)
		return -err->errnum;

	snprintf(path, sizeof(path), "%s/%s/%s", args->chroot_base, jail->exec_name, args->id);
	int id_dir = make_dir(jail, exec_dir, args->id, 0755, path, err);

	if (id_dir < 0 || check_owner(id_dir, path, true, err) < 0)
		return -err->errnum;
	return id_dir;
}

/* Give dir, which must be root's or the jail's user's already, to the jail. */
static int give_away(struct jail *jail, int dir, const char *name, struct error *err)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return error_sys(err, errno, "stat \"%s\" of the jail", name);
	if (st.st_uid != 0 && st.st_uid != jail->uid)
		return error_set(err, EPERM,
				 "\"%s\" of the jail belongs to user %u, neither root nor %u", name,
				 st.st_uid, jail->uid);
	if (st.st_uid == jail->uid && st.st_gid == jail->gid)
		return 0;
	undo_add_owner(&jail->undo, dir, st.st_uid, st.st_gid);
	if (fchown(dir, jail->uid, jail->gid) < 0)
		return error_sys(err, errno, "give \"%s\" of the jail to user %u", name, jail->uid);
	return 0;
}

/* O_EXCL is also what keeps two jails from sharing an ID. */
static int make_pid_file(struct jail *jail, int dir, struct error *err)
{
	const char *name = jail->pid_name;

	jail->pid_file =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (jail->pid_file < 0 && errno == EEXIST)
		return in_use(jail, "its pid file ", name, err);
	if (jail->pid_file < 0)
		return error_sys(err, errno, "make pid file \"%s\"", name);
	undo_add_name(&jail->undo, UNDO_ALWAYS, dir, name, false);
	return 0;
}

static int make_mount_point(struct jail *jail, const char *name, struct error *err)
{
	int fd = make_dir(jail, jail->root, name, 0755, name, err);

	return fd < 0 ? error_wrap(err, "jail") : 0;
}

/* What Firecracker's jailer makes, before the directory is its user's. */
static int fill_shared_root(struct jail *jail, struct error *err)
{
	if (make_mount_point(jail, "dev", err) < 0)
		return -err->errnum;
	int run = make_dir(jail, jail->root, "run", 0700, "run", err);

	if (run < 0)
		return error_wrap(err, "jail");
	if (give_away(jail, run, "run", err) < 0 || give_away(jail, jail->root, "/", err) < 0)
		return -err->errnum;
	return make_pid_file(jail, jail->root, err);
}

/* Nothing but mount points: whoever made a directory of this name may have put something in. */
static int fill_empty_root(struct jail *jail, int id_dir, struct error *err)
{
	int ret = make_pid_file(jail, id_dir, err);

	if (ret == 0)
		ret = make_mount_point(jail, "dev", err);
	if (ret == 0 && jail->vsock_dir)
		ret = make_mount_point(jail, JAIL_VSOCK_DIR, err);
	return ret;
}

/*
 * A mount of the root, which the child attaches in its own namespace. Recursive for what was
 * mounted in it for the monitor. Private: what is mounted below it must not appear on the host.
 * Device nodes that were put there work, since drives may be some; the jail can make none.
 */
static int clone_tree(struct jail *jail, struct error *err)
{
	uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;

	if (jail->args->config_path)
		attributes |= MOUNT_ATTR_NODEV;
	jail->tree = mounts_open_tree(jail->root, "", AT_EMPTY_PATH | AT_RECURSIVE);
	if (jail->tree < 0)
		return error_sys(err, errno, "clone the mount of the jail's root");
	if (mounts_set(jail->tree, AT_RECURSIVE, attributes) < 0)
		return error_sys(err, errno, "make the jail's root nosuid and noexec");
	return 0;
}

static int make_root(struct jail *jail, int id_dir, struct error *err)
{
	bool empty = jail->args->config_path != NULL, made;

	jail->root = undo_own(&jail->undo, dir_make(id_dir, "root", empty ? 0755 : 0700, &made));
	if (made)
		undo_add_name(&jail->undo, empty ? UNDO_ALWAYS : UNDO_ON_FAILURE, id_dir, "root",
			      true);
	if (jail->root < 0) {
		open_failed(-jail->root, "root", err);
		return error_wrap(err, "jail");
	}
	if (empty && !made)
		return in_use(jail, "its directory ", "root", err);
	int ret = empty ? fill_empty_root(jail, id_dir, err) : fill_shared_root(jail, err);

	return ret < 0 ? ret : clone_tree(jail, err);
}

int host_root_make(struct jail *jail, struct error *err)
{
	if (jail->private_root)
		return 0;
	int base = undo_own(&jail->undo, host_base_open(jail->args->chroot_base, err));
	int id_dir = -1;

	if (base < 0)
		return base;
	/* Another jail that can't be made may be removing <exec> just now. */
	for (int i = 0; i < ATTEMPTS && id_dir < 0; i++) {
		id_dir = make_id_dir(jail, base, err);
		if (id_dir < 0 && id_dir != -ENOENT)
			break;
	}
	return id_dir < 0 ? -err->errnum : make_root(jail, id_dir, err);
}
