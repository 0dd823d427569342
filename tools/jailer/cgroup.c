/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail's cgroup, <hierarchy>/<parent>/<id>, with the values of --cgroup in it before anything
 * runs there. Version 1 has a hierarchy for each controller, version 2 one for all, whose
 * controllers are handed down from directory to directory (Documentation/admin-guide/cgroup-v2.rst,
 * "Enabling and Disabling").
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tools/jailer/cgroup_mounts.h"
#include "tools/jailer/dirs.h"
#include "tools/jailer/jail.h"
#include "vmm/util.h"

#define TEXT_SIZE 4096
#define ATTEMPTS  8

/* "memory" of "memory.max"; of version 2's own files ("cgroup.max.depth") nothing. */
static void controller_of(const char *file, char controller[NAME_MAX + 1])
{
	size_t n = strcspn(file, ".");

	memcpy(controller, file, n);
	controller[n] = 0;
}

static int write_value(int dir, const char *file, const char *value)
{
	cleanup_close int fd = openat(dir, file, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 || write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

/* Without the newline; cut at TEXT_SIZE. */
static int read_value(int dir, const char *file, char text[TEXT_SIZE])
{
	cleanup_close int fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, TEXT_SIZE - 1);

	if (n < 0)
		return -errno;
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	return 0;
}

static bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);

	for (const char *c = text; (c = strstr(c, word)); c += length)
		if ((c == text || c[-1] == ' ') && (c[length] == ' ' || c[length] == 0))
			return true;
	return false;
}

/* Version 2: what dir hands down must have the controller of each --cgroup. */
static int hand_down(const struct args *args, int dir, const char *path, struct error *err)
{
	char has[TEXT_SIZE], now[TEXT_SIZE], add[NAME_MAX + 3] = "+";
	int ret = read_value(dir, "cgroup.controllers", has);

	if (ret == 0)
		ret = read_value(dir, "cgroup.subtree_control", now);
	if (ret < 0)
		return error_sys(err, -ret, "cgroup: read the controllers of \"%s\"", path);
	for (unsigned int i = 0; i < args->n_cgroups; i++) {
		char *controller = add + 1;

		controller_of(args->cgroups[i].file, controller);
		if (strcmp(controller, "cgroup") == 0 || has_word(now, controller))
			continue;
		if (!has_word(has, controller))
			return error_set(err, ENOENT, "--cgroup: \"%s\" has no controller \"%s\"",
					 path, controller);
		ret = write_value(dir, "cgroup.subtree_control", add);
		if (ret < 0)
			return error_sys(err, -ret, "cgroup \"%s\": enable \"%s\"", path,
					 controller);
	}
	return 0;
}

/* Version 1: a new cpuset has no processors and no memory, and takes no process then. */
static int inherit_cpuset(int parent, int dir)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	char text[TEXT_SIZE];

	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++) {
		if (read_value(dir, files[i], text) < 0 || text[0])
			continue;
		int ret = read_value(parent, files[i], text);

		if (ret == 0 && text[0])
			ret = write_value(dir, files[i], text);
		if (ret < 0)
			return ret;
	}
	return 0;
}

struct place {
	const struct cgroup_mount *mount;
	char path[PATH_MAX]; /* for messages */
};

/* Go down to name, which is made if it is missing. Returns an fd that is undo's. */
static int descend(struct jail *jail, struct place *place, int parent, const char *name,
		   enum undo_when when, struct error *err)
{
	size_t length = strlen(place->path);
	bool made;

	if (place->mount->version == 2 && hand_down(jail->args, parent, place->path, err) < 0)
		return -err->errnum;
	if ((size_t)snprintf(place->path + length, PATH_MAX - length, "/%s", name) >=
	    PATH_MAX - length)
		return error_sys(err, ENAMETOOLONG, "cgroup \"%.64s...\"", place->path);
	int child = undo_own(&jail->undo, dir_make(parent, name, 0755, &made));

	if (made)
		undo_add_name(&jail->undo, when, parent, name, true);
	if (child < 0)
		return error_sys(err, -child, "cgroup \"%s\": make it", place->path);
	int ret = made && place->mount->version == 1 ? inherit_cpuset(parent, child) : 0;

	if (ret < 0)
		return error_sys(err, -ret, "cgroup \"%s\": inherit cpuset", place->path);
	return child;
}

static int make_leaf(struct jail *jail, struct place *place, struct error *err)
{
	const char *end = jail->parent_words + jail->parent_length;
	int dir = undo_own(&jail->undo, cgroup_mount_open(place->mount, err));
	char procs[TEXT_SIZE];

	snprintf(place->path, sizeof(place->path), "%s", place->mount->point);
	for (const char *name = jail->parent_words; name < end && dir >= 0;
	     name += strlen(name) + 1)
		if (name[0])
			dir = descend(jail, place, dir, name, UNDO_ON_FAILURE, err);
	if (dir >= 0)
		dir = descend(jail, place, dir, jail->args->id, UNDO_ALWAYS, err);
	if (dir < 0)
		return dir;
	/* An empty one may have been prepared for us. */
	if (read_value(dir, "cgroup.procs", procs) == 0 && procs[0])
		return error_set(err, EBUSY, "id \"%s\" is in use: cgroup \"%s\" has processes",
				 jail->args->id, place->path);
	return dir;
}

/* "a/b" as "a" and "b", one behind the other. */
static int split_parent(struct jail *jail, struct error *err)
{
	const char *parent =
		jail->args->parent_cgroup ? jail->args->parent_cgroup : jail->exec_name;

	jail->parent_words = strdup(parent);
	if (!jail->parent_words)
		return error_sys(err, ENOMEM, "--parent-cgroup");
	jail->parent_length = strlen(parent);
	for (size_t i = 0; i < jail->parent_length; i++)
		if (parent[i] == '/')
			jail->parent_words[i] = 0;
	return 0;
}

static int set_value(int leaf, const char *path, const struct args_cgroup *cgroup,
		     struct error *err)
{
	int ret = write_value(leaf, cgroup->file, cgroup->value);

	return ret < 0 ? error_sys(err, -ret, "cgroup \"%s\": write \"%s\" to \"%s\"", path,
				   cgroup->value, cgroup->file)
		       : 0;
}

static const struct cgroup_mount *find_mount(const struct cgroup_mount *mounts, int n,
					     unsigned int version, const char *file,
					     struct error *err)
{
	char controller[NAME_MAX + 1];

	controller_of(file, controller);
	const struct cgroup_mount *mount = cgroup_mount_find(mounts, n, version, controller);

	if (!mount && version == 2)
		error_set(err, ENOENT, "--cgroup-version 2: no cgroup2 file system is mounted");
	else if (!mount)
		error_set(err, ENOENT,
			  "--cgroup: no hierarchy of version 1 has controller \"%s\" "
			  "(--cgroup-version 2?)",
			  controller);
	return mount;
}

/* The jail's cgroup in that hierarchy, made unless it has been. Returns its index. */
static int cgroup_in(struct jail *jail, struct place *places, const struct cgroup_mount *mount,
		     struct error *err)
{
	unsigned int k = 0;
	int leaf = -ENOENT;

	while (k < jail->n_cgroups && places[k].mount != mount)
		k++;
	if (k < jail->n_cgroups)
		return (int)k;
	if (k == JAIL_HIERARCHIES_MAX)
		return error_set(err, E2BIG, "--cgroup: more than %d hierarchies",
				 JAIL_HIERARCHIES_MAX);
	places[k].mount = mount;
	/* Another jail that can't be made may be removing the parent just now. */
	for (int i = 0; i < ATTEMPTS && leaf == -ENOENT; i++)
		leaf = make_leaf(jail, &places[k], err);
	if (leaf < 0)
		return leaf;
	jail->cgroups[jail->n_cgroups++] = leaf;
	return (int)k;
}

static int make_all(struct jail *jail, const struct cgroup_mount *mounts, int n, struct error *err)
{
	const struct args *args = jail->args;
	cleanup_free struct place *places = calloc(JAIL_HIERARCHIES_MAX, sizeof(*places));

	if (!places)
		return error_sys(err, ENOMEM, "--cgroup");
	if (split_parent(jail, err) < 0)
		return -err->errnum;
	for (unsigned int i = 0; i < args->n_cgroups; i++) {
		const struct cgroup_mount *mount =
			find_mount(mounts, n, args->cgroup_version, args->cgroups[i].file, err);
		int k = mount ? cgroup_in(jail, places, mount, err) : -err->errnum;

		if (k < 0)
			return k;
		if (set_value(jail->cgroups[k], places[k].path, &args->cgroups[i], err) < 0)
			return -err->errnum;
	}
	return 0;
}

/* As Firecracker: without values, version 2's --parent-cgroup is an existing cgroup to run in. */
static int find_existing(struct jail *jail, const struct cgroup_mount *mounts, int n,
			 struct error *err)
{
	const struct cgroup_mount *mount = find_mount(mounts, n, 2, "cgroup.procs", err);
	int dir = mount ? cgroup_mount_open(mount, err) : -err->errnum;

	if (dir < 0)
		return dir;
	cleanup_close int root = dir;
	int leaf = dir_open(root, jail->args->parent_cgroup, false);

	if (leaf < 0)
		return error_sys(err, -leaf, "--parent-cgroup: open \"%s/%s\"", mount->point,
				 jail->args->parent_cgroup);
	jail->cgroups[jail->n_cgroups++] = undo_own(&jail->undo, leaf);
	return 0;
}

int cgroups_make(struct jail *jail, struct error *err)
{
	const struct args *args = jail->args;
	cleanup_free struct cgroup_mount *mounts = NULL;
	bool existing = args->n_cgroups == 0 && args->cgroup_version == 2 && args->parent_cgroup;

	if (args->n_cgroups == 0 && !existing)
		return 0;
	int n = cgroup_mounts_read(&mounts, err);

	if (n < 0)
		return n;
	return existing ? find_existing(jail, mounts, n, err) : make_all(jail, mounts, n, err);
}

int cgroups_enter(const struct jail *jail, struct error *err)
{
	if (jail->args->cgroup_version == 2)
		return 0; /* born there */
	for (unsigned int i = 0; i < jail->n_cgroups; i++) {
		int ret = write_value(jail->cgroups[i], "cgroup.procs", "0");

		if (ret < 0)
			return error_sys(err, -ret, "enter cgroup \"%s\" of hierarchy %u",
					 jail->args->id, i);
	}
	return 0;
}
