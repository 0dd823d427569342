/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/mote/mote.h"
#include "tools/mote/run.h"
#include "vmm/util.h"

extern char **environ;

static const struct {
	const char *type;
	off_t offset;
	uint8_t length;
	const char *magic;
} file_systems[] = {
	{ "ext4", 0x438, 2, "\x53\xef" },
	{ "erofs", 1024, 4, "\xe2\xe1\xf5\xe0" },
	{ "squashfs", 0, 4, "hsqs" },
};

static int identify(struct root_image *image, const char *path, struct error *err)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(file_systems); i++) {
		char magic[4];

		if (pread(image->fd, magic, file_systems[i].length, file_systems[i].offset) ==
			    file_systems[i].length &&
		    memcmp(magic, file_systems[i].magic, file_systems[i].length) == 0) {
			image->type = file_systems[i].type;
			return 0;
		}
	}
	return error_set(err, EINVAL, "rootfs \"%s\": neither a directory nor an ext4, erofs or squashfs image",
			 path);
}

/* Run mkfs.erofs on the directory; its chatter goes nowhere, its complaints to stderr. */
static int run_mkfs(const char *image_path, const char *directory, struct error *err)
{
	char *const argv[] = { "mkfs.erofs", "--quiet", "-x-1", (char *)image_path, (char *)directory,
			       NULL };
	posix_spawn_file_actions_t actions;
	int status, rc;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc == ENOENT)
		return error_set(err, ENOENT, "rootfs \"%s\": mkfs.erofs is missing (package erofs-utils)",
				 directory);
	if (rc != 0)
		return error_sys(err, rc, "rootfs \"%s\": start mkfs.erofs", directory);
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_set(err, EIO, "rootfs \"%s\": mkfs.erofs failed", directory);
	return 0;
}

/* A new file without a name; -1 with errno. Not every file system has O_TMPFILE. */
static int open_unnamed(const char *directory)
{
	cleanup_free char *name = NULL;
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	if (asprintf(&name, "%s/mote-root-XXXXXX", directory) < 0) {
		name = NULL;
		errno = ENOMEM;
		return -1;
	}
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

/* The image has no name, so nothing is left behind however mote ends. */
static int pack(struct root_image *image, const char *directory, struct error *err)
{
	const char *tmp = getenv("TMPDIR");
	/* Absolute: to mkfs.erofs a name that begins with "-" is an option. */
	cleanup_free char *absolute = realpath(directory, NULL);
	char name[32];

	if (!absolute)
		return error_sys(err, errno, "rootfs \"%s\"", directory);
	tmp = tmp && *tmp ? tmp : "/tmp";
	image->fd = open_unnamed(tmp);
	if (image->fd < 0)
		return error_sys(err, errno, "rootfs \"%s\": temporary file in \"%s\"", directory, tmp);
	/* mkfs.erofs opens it by this name: the descriptor must survive its exec. */
	fcntl(image->fd, F_SETFD, 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", image->fd);
	int rc = run_mkfs(name, absolute, err);

	fcntl(image->fd, F_SETFD, FD_CLOEXEC);
	image->type = "erofs";
	return rc;
}

int root_image_open(struct root_image *image, const char *path, bool writable, struct error *err)
{
	cleanup_free char *built_in = NULL;
	struct stat st;
	int rc;

	*image = (struct root_image){ .fd = -1 };
	if (!path) {
		built_in = mote_find("mote-root.erofs", err);
		if (!built_in)
			return -err->errnum;
		path = built_in;
	}
	if (stat(path, &st) < 0)
		return error_sys(err, errno, "rootfs \"%s\"", path);
	if (S_ISDIR(st.st_mode))
		return writable ? error_set(err, EINVAL, "rootfs \"%s\": --writable needs an image, not a "
							 "directory", path)
				: pack(image, path, err);
	image->fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (image->fd < 0)
		return error_sys(err, errno, "rootfs: open \"%s\"", path);
	rc = identify(image, path, err);
	if (rc == 0 && writable && strcmp(image->type, "ext4") != 0)
		rc = error_set(err, EROFS, "rootfs \"%s\": %s can't be written to", path, image->type);
	return rc;
}

void root_image_close(struct root_image *image)
{
	close_fd(&image->fd);
}
