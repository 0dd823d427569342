/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/place.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tools/bench/hostdev.h"
#include "vmm/util.h"

/* Where the place hangs in our mount namespace for a moment: a directory that every system has. */
#define MOUNT_POINT "/tmp"
/* For cold caches; sparse. */
#define COLD_MIB 1024

int place_add(struct place *place, const char *from, const char *to, bool program, struct error *err)
{
	struct place_item *item = &place->items[place->n];

	if (place->n == PLACE_ITEMS_MAX)
		return error_set(err, E2BIG, "\"%s\": more than %d files", from, PLACE_ITEMS_MAX);
	item->from = strdup(from);
	if (!item->from)
		return error_sys(err, ENOMEM, "\"%s\"", from);
	snprintf(item->to, sizeof(item->to), "%s", to);
	item->program = program;
	place->n++;
	return 0;
}

int place_add_data(struct place *place, const char *path, struct error *err)
{
	return access(path, R_OK) == 0 ? place_add(place, path, path, false, err) : 0;
}

void place_free(struct place *place)
{
	for (unsigned int i = 0; i < place->n; i++)
		free(place->items[i].from);
	place->n = 0;
}

char *place_output_of(const char *const argv[])
{
	posix_spawn_file_actions_t actions;
	char *text = calloc(1, 65536);
	extern char **environ;
	size_t n = 0;
	ssize_t got;
	int ends[2], status;
	pid_t pid;

	if (!text || pipe2(ends, O_CLOEXEC) < 0) {
		free(text);
		return NULL;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	int rc = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);

	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	while (rc == 0 && n < 65535 && (got = read(ends[0], text + n, 65535 - n)) > 0)
		n += (size_t)got;
	close(ends[0]);
	if (rc == 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return text;
	free(text);
	return NULL;
}

/* Its parents' mode is the usual one. */
static void make_parents(int root, const char *path)
{
	char part[256];

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		mkdirat(root, part, 0755);
	}
}

/* from, as `to` (absolute) below root, with its mode; what is there stays. */
static int copy(int root, const char *from, const char *to, struct error *err)
{
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t n = 1;

	if (in < 0 || fstat(in, &st) < 0)
		return error_sys(err, errno, "open \"%s\"", from);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "\"%s\": not a regular file", from);
	make_parents(root, to + 1);
	cleanup_close int out = openat(root, to + 1, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
				       (st.st_mode & 0777) | 0444);

	if (out < 0 && errno == EEXIST)
		return 0;
	if (out < 0)
		return error_sys(err, errno, "copy \"%s\"", from);
	while (n > 0)
		n = sendfile(out, in, NULL, 16 << 20);
	return n < 0 ? error_sys(err, errno, "copy \"%s\"", from) : 0;
}

/* The libraries that ldd names: "	libc.so.6 => /lib/.../libc.so.6 (0x...)". */
static int copy_libraries(int root, const char *program, struct error *err)
{
	const char *const argv[] = { "ldd", program, NULL };
	cleanup_free char *text = place_output_of(argv);
	char *saved = NULL;
	int rc = 0;

	/* Fails for static ones. */
	for (char *line = text ? strtok_r(text, "\n", &saved) : NULL; line && rc == 0;
	     line = strtok_r(NULL, "\n", &saved)) {
		char *path = strchr(line, '/');

		/* "/lib64/ld-linux-x86-64.so.2 => ..." doesn't occur; the vDSO has no path. */
		if (!path)
			continue;
		path[strcspn(path, " ")] = 0;
		rc = copy(root, path, path, err);
	}
	return rc;
}

/* As Debian: /bin and so on lead into /usr. */
static int make_skeleton(int root, struct error *err)
{
	static const char *const merged[] = { "bin", "sbin", "lib", "lib64" };
	static const char *const dirs[] = { "dev", "proc", "sys", "tmp", "run", "etc", "bench" };
	char path[32];
	int rc = mkdirat(root, "usr", 0755);

	for (unsigned int i = 0; rc == 0 && i < ARRAY_SIZE(merged); i++) {
		snprintf(path, sizeof(path), "usr/%s", merged[i]);
		rc = mkdirat(root, path, 0755);
		if (rc == 0)
			rc = symlinkat(path, root, merged[i]);
	}
	for (unsigned int i = 0; rc == 0 && i < ARRAY_SIZE(dirs); i++)
		rc = mkdirat(root, dirs[i], 0755);
	return rc < 0 ? error_sys(err, errno, "a root directory in memory") : 0;
}

/* An unmounted file system of that type; source may be NULL. */
static int make_mount(const char *type, const char *source, struct error *err)
{
	cleanup_close int fs = fsopen(type, FSOPEN_CLOEXEC);
	int mount_fd = -1;

	if (fs >= 0 && (!source || fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) == 0) &&
	    (source || fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) == 0) &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount_fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return mount_fd < 0 ? error_sys(err, errno, "mount a %s", type) : mount_fd;
}

/* An ext4 on a file without a name in /var/tmp; the loop device ends with the mount. */
static int make_cold_mount(struct error *err)
{
	struct hostdev_disk disk;
	int rc = hostdev_disk_open(&disk, "/var/tmp", 0, COLD_MIB, err);

	if (rc < 0)
		return error_wrap(err, "--cache cold");
	const char *const argv[] = { "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", disk.path, NULL };
	cleanup_free char *said = place_output_of(argv);

	rc = said ? make_mount("ext4", disk.path, err)
		  : error_set(err, ENOENT, "--cache cold: mke2fs (Debian's package e2fsprogs) failed on %s", disk.path);
	hostdev_disk_close(&disk);
	return rc;
}

static int fill(struct place *place, int root, struct error *err)
{
	int rc = make_skeleton(root, err);

	for (unsigned int i = 0; rc == 0 && i < place->n; i++) {
		const struct place_item *item = &place->items[i];

		rc = copy(root, item->from, item->to, err);
		if (rc == 0 && item->program)
			rc = copy_libraries(root, item->from, err);
	}
	return rc;
}

/* The kernel's own file systems, and the place becomes /. */
static int move_in(int root, struct error *err)
{
	static const struct {
		const char *from, *to, *type;
		unsigned long flags;
	} mounts[] = {
		{ "/dev", MOUNT_POINT "/dev", NULL, MS_BIND | MS_REC },
		{ "/sys", MOUNT_POINT "/sys", NULL, MS_BIND | MS_REC },
		{ "proc", MOUNT_POINT "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "tmpfs", MOUNT_POINT "/run", "tmpfs", MS_NOSUID },
		{ "tmpfs", MOUNT_POINT "/tmp", "tmpfs", MS_NOSUID },
	};

	if (move_mount(root, "", AT_FDCWD, MOUNT_POINT, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_sys(err, errno, "mount on \"%s\"", MOUNT_POINT);
	for (unsigned int i = 0; i < ARRAY_SIZE(mounts); i++)
		if (mount(mounts[i].from, mounts[i].to, mounts[i].type, mounts[i].flags, NULL) < 0)
			return error_sys(err, errno, "mount \"%s\"", mounts[i].to);
	const char *const ldconfig[] = { "/sbin/ldconfig", "-r", MOUNT_POINT, NULL };
	cleanup_free char *said = place_output_of(ldconfig);

	if (!said)
		return error_set(err, ENOENT, "/sbin/ldconfig failed");
	if (chdir(MOUNT_POINT) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
	    chdir("/") < 0)
		return error_sys(err, errno, "change the root directory");
	return 0;
}

int place_enter(struct place *place, struct error *err)
{
	char self[16] = "";

	/* Before /proc is that of our PID namespace. */
	if (readlink("/proc/self", self, sizeof(self) - 1) < 0)
		return error_sys(err, errno, "readlink \"/proc/self\"");
	place->outside_pid = (pid_t)atoi(self);
	place->outside_proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return error_sys(err, errno, "namespaces of our own");
	cleanup_close int root = place->cold ? make_cold_mount(err) : make_mount("tmpfs", NULL, err);

	if (root < 0)
		return root;
	int rc = fill(place, root, err);

	return rc == 0 ? move_in(root, err) : rc;
}

int place_forget(const struct place *place, struct error *err)
{
	if (!place->cold)
		return 0;
	sync();
	cleanup_close int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, "3", 1) != 1 ? error_sys(err, errno, "\"/proc/sys/vm/drop_caches\"") : 0;
}
