/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: what the file is, how big, whose, and what direct I/O asks of us. */
#include "devices/backend/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "devices/backend/disk_internal.h"
#include "vmm/log.h"
#include "vmm/open.h"
#include "vmm/util.h"

#define PROBE_SIZE 8192

static int check_type(const struct stat *st, const char *path, struct error *err)
{
	const char *what;

	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
	case S_IFBLK:
		return 0;
	case S_IFDIR:
		what = "directory";
		break;
	case S_IFIFO:
		what = "FIFO";
		break;
	case S_IFSOCK:
		what = "socket";
		break;
	case S_IFCHR:
		what = "character device";
		break;
	default:
		what = "special file";
	}
	return error_set(err, EINVAL, "\"%s\" is a %s, not a disk image or block device", path,
			 what);
}

/*
 * The type is looked at before open, which has side effects on some devices, and again on what was
 * opened. O_NONBLOCK: nobody can make us wait by putting a FIFO there in between.
 */
static int open_checked(const char *path, bool read_only, struct stat *st, struct error *err)
{
	if (stat_file(path, st, err) < 0)
		return error_wrap(err, "open \"%s\"", path);
	if (check_type(st, path, err) < 0)
		return -EINVAL;

	cleanup_close int fd = open_file(path, (read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK, err);

	if (fd < 0)
		return error_wrap(err, "open \"%s\"%s", path, read_only ? "" : " for writing");
	if (fstat(fd, st) < 0)
		return error_sys(err, errno, "stat \"%s\"", path);
	if (check_type(st, path, err) < 0)
		return -EINVAL;
	if (fcntl(fd, F_SETFL, 0) < 0)
		return error_sys(err, errno, "set flags of \"%s\"", path);
	return take_fd(&fd);
}

/* The lock belongs to the open file description: it goes away with the last copy of the fd. */
static int set_lock(int fd, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock);
}

static int lock_image(int fd, bool read_only, const char *path, struct error *err)
{
	if (set_lock(fd, read_only ? F_RDLCK : F_WRLCK) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return error_set(err, EBUSY, "\"%s\" is in use by another microVM", path);
	log_warn("lock \"%s\": %s; nothing keeps another microVM from using it at the same time",
		 path, strerrordesc_np(errno));
	return 0;
}

static int query_size(struct disk *disk, const struct stat *st, const struct disk_options *options,
		      struct error *err)
{
	uint64_t size = (uint64_t)st->st_size;

	if (disk->is_block_device && ioctl(disk->fd, BLKGETSIZE64, &size) < 0)
		return error_sys(err, errno, "size of \"%s\"", options->path);
	if (size == 0)
		return error_set(err, EINVAL, "\"%s\" is empty", options->path);
	if (size < DISK_SECTOR_SIZE)
		return error_set(err, EINVAL, "\"%s\" is smaller than one sector (%u bytes)",
				 options->path, DISK_SECTOR_SIZE);
	disk->size = align_down(size, DISK_SECTOR_SIZE);
	if (disk->size != size)
		log_warn("drive \"%s\": \"%s\" doesn't end at a multiple of %u bytes: its last "
			 "%" PRIu64 " bytes are invisible to the guest",
			 options->name, options->path, DISK_SECTOR_SIZE, size - disk->size);
	return 0;
}

static bool is_power_of_two(uint64_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

/* A file system that doesn't tell: try. The file is open with O_DIRECT. Returns 0 if nothing works. */
static uint32_t probe_alignment(const struct disk *disk)
{
	static const uint32_t candidates[] = { 512, 4096 };
	void *buffer;
	uint32_t found = 0;

	if (posix_memalign(&buffer, 4096, PROBE_SIZE) != 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(candidates) && !found; i++) {
		uint32_t align = candidates[i];
		/* Address, length and (where the file is long enough) offset: no better than align. */
		off_t offset = disk->size >= 2 * align ? align : 0;

		if (pread(disk->fd, (char *)buffer + align, align, offset) == (ssize_t)align)
			found = align;
	}
	free(buffer);
	return found;
}

/* Returns false if the file system says that the file has no direct I/O. */
static bool query_alignment(struct disk *disk)
{
	int sector_size;

#ifdef STATX_DIOALIGN /* Linux 6.1 */
	struct statx stx;

	if (statx(disk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN)) {
		disk->memory_align = stx.stx_dio_mem_align;
		disk->offset_align = stx.stx_dio_offset_align;
		return disk->memory_align && disk->offset_align;
	}
#endif
	if (disk->is_block_device) {
		if (ioctl(disk->fd, BLKSSZGET, &sector_size) < 0 || sector_size <= 0)
			return false;
		disk->memory_align = disk->offset_align = (uint32_t)sector_size;
		return true;
	}
	disk->memory_align = disk->offset_align = probe_alignment(disk);
	return disk->offset_align != 0;
}

/* Whether direct I/O can serve every sector of the disk. */
static bool alignment_is_usable(const struct disk *disk)
{
	return is_power_of_two(disk->memory_align) && is_power_of_two(disk->offset_align) &&
	       disk->memory_align <= DISK_BOUNCE_SIZE &&
	       disk->offset_align <= DISK_BOUNCE_SIZE / 2 &&
	       /* The last block is all there: direct I/O neither stops short nor extends the file. */
	       is_aligned(disk->size, disk->offset_align);
}

static void set_direct(struct disk *disk)
{
	if (fcntl(disk->fd, F_SETFL, O_DIRECT) < 0)
		return;
	if (query_alignment(disk) && alignment_is_usable(disk)) {
		if (disk->offset_align < DISK_SECTOR_SIZE)
			disk->offset_align = DISK_SECTOR_SIZE;
		disk->direct = true;
		return;
	}
	disk->memory_align = disk->offset_align = 1;
	fcntl(disk->fd, F_SETFL, 0);
}

static bool probe_nowait(const struct disk *disk)
{
	void *buffer;
	bool known;

	if (posix_memalign(&buffer, 4096, PROBE_SIZE) != 0)
		return false;
	struct iovec iov = { buffer, disk->offset_align > 512 ? 4096 : 512 };

	known = preadv2(disk->fd, &iov, 1, 0, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP;
	free(buffer);
	return known;
}

/* A hole beyond the end changes nothing, but says whether the file system can make holes. */
static bool probe_discard(const struct disk *disk)
{
	if (disk->read_only)
		return false;
	if (disk->is_block_device)
		return true;
	return fallocate(disk->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)align_up(disk->size, MIB), MIB) == 0;
}

static void query_blocks(struct disk *disk, const struct stat *st)
{
	uint32_t block = disk->offset_align;
	int sector_size;

	if (!disk->is_block_device)
		block = (uint32_t)st->st_blksize;
	else if (ioctl(disk->fd, BLKSSZGET, &sector_size) == 0 &&
		 is_power_of_two((unsigned)sector_size))
		block = disk->discard_align = (uint32_t)sector_size;
	if (block < disk->offset_align)
		block = disk->offset_align;
	disk->physical_block = block <= 512 || !is_power_of_two(block) ? 512
			       : block < 4096			       ? block
								       : 4096;
}

/* All of the disk but its engine. After an error nothing is left open. */
static int open_image(struct disk *disk, const struct disk_options *options, struct error *err)
{
	struct stat st;
	int rc;

	*disk = (struct disk){ .fd = -1,
			       .event_fd = options->event_fd,
			       .done = options->done,
			       .owner = options->owner,
			       .read_only = options->read_only,
			       .memory_align = 1,
			       .offset_align = 1,
			       .discard_align = 1 };
	disk->fd = open_checked(options->path, options->read_only, &st, err);
	if (disk->fd < 0) {
		rc = disk->fd;
		disk->fd = -1;
		return rc;
	}
	disk->is_block_device = S_ISBLK(st.st_mode);
	rc = query_size(disk, &st, options, err);
	if (rc == 0)
		rc = lock_image(disk->fd, options->read_only, options->path, err);
	if (rc == 0) {
		if (options->engine == DISK_ASYNC)
			set_direct(disk);
		disk->nowait = options->engine == DISK_ASYNC && probe_nowait(disk);
		disk->can_discard = probe_discard(disk);
		query_blocks(disk, &st);
	} else {
		close_fd(&disk->fd);
	}
	return rc;
}

int disk_open(struct disk *disk, const struct disk_options *options, struct error *err)
{
	int rc = open_image(disk, options, err);

	if (rc == 0 && options->engine == DISK_ASYNC)
		rc = disk_async_open(disk, options, err);
	if (rc < 0)
		disk_close(disk);
	return rc;
}

static bool is_same_file(int fd, const char *path)
{
	struct stat ours, theirs;

	return fstat(fd, &ours) == 0 && stat_file(path, &theirs, NULL) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* See how big the file is now. After an error the disk is what it was. */
static int look_again(struct disk *disk, const struct disk_options *options, struct error *err)
{
	struct disk seen = *disk;
	struct stat st;

	if (fstat(disk->fd, &st) < 0)
		return error_sys(err, errno, "stat \"%s\"", options->path);
	int rc = query_size(&seen, &st, options, err);

	if (rc == 0 && !is_aligned(seen.size, disk->offset_align))
		rc = error_set(err, EINVAL, "\"%s\" doesn't end at a multiple of %u bytes, as direct I/O needs",
			       options->path, disk->offset_align);
	if (rc == 0)
		disk->size = seen.size;
	return rc;
}

int disk_reopen(struct disk *disk, const struct disk_options *options, struct error *err)
{
	struct disk image;

	disk_drain(disk);
	if (is_same_file(disk->fd, options->path))
		return look_again(disk, options, err);
	int rc = open_image(&image, options, err);

	if (rc < 0)
		return rc;
	if (disk->async)
		rc = disk_async_prepare(disk, image.direct, err);
	/* Later flushes go elsewhere: what was written so far gets its own here. */
	if (rc == 0 && !disk->read_only && fdatasync(disk->fd) < 0)
		rc = error_sys(err, errno, "flush");
	if (rc < 0) {
		close_fd(&image.fd);
		return rc;
	}
	/* With nothing in flight the engine may get another file: its helper thread sleeps. */
	image.async = disk->async;
	image.bounce = disk->bounce;
	close_fd(&disk->fd);
	*disk = image;
	return 0;
}

void disk_close(struct disk *disk)
{
	if (disk_in_flight(disk) > 0)
		disk_drain(disk);
	if (disk->async)
		disk_async_close(disk);
	if (disk->bounce)
		munmap(disk->bounce, DISK_BOUNCE_SIZE);
	close_fd(&disk->fd);
	*disk = (struct disk){ .fd = -1 };
}

void disk_submit(struct disk *disk, struct disk_request *request)
{
	request->next = NULL;
	if (disk->async) {
		disk_async_submit(disk, request);
		return;
	}
	request->result = disk_do(disk, request);
	disk->done(request, disk->owner);
}

void disk_kick(struct disk *disk)
{
	if (disk->async)
		disk_async_start(disk);
}

void disk_reap(struct disk *disk)
{
	if (disk->async)
		disk_async_reap(disk);
}

unsigned int disk_in_flight(const struct disk *disk)
{
	return disk->async ? disk_async_in_flight(disk) : 0;
}

void disk_drain(struct disk *disk)
{
	struct pollfd event = { .fd = disk->event_fd, .events = POLLIN };
	uint64_t count;

	if (!disk->async)
		return;
	disk_async_reap(disk);
	while (disk_in_flight(disk) > 0) {
		/* Interrupted or not: what counts is what can be reaped. */
		if (poll(&event, 1, -1) > 0 && read(disk->event_fd, &count, sizeof(count)) < 0 &&
		    errno != EAGAIN && errno != EINTR)
			log_error("disk: read eventfd: %s", strerrordesc_np(errno));
		disk_async_reap(disk);
	}
}

void disk_cancel(struct disk *disk)
{
	if (!disk->async)
		return;
	disk_async_cancel(disk, true);
	disk_drain(disk);
	disk_async_cancel(disk, false);
}

const char *disk_op_name(enum disk_op op)
{
	static const char *const names[DISK_OPS] = {
		[DISK_READ] = "read",
		[DISK_WRITE] = "write",
		[DISK_FLUSH] = "flush",
		[DISK_DISCARD] = "discard",
		[DISK_WRITE_ZEROES] = "write zeroes",
	};

	return names[op];
}
