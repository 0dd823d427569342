/* SPDX-License-Identifier: Apache-2.0 */
/* Carrying out a request with system calls that may block. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "devices/backend/disk_internal.h"
#include "vmm/util.h"

#define PART_MAX 64 /* iovec elements a system call: keeps the helper thread's stack small */

bool disk_is_aligned(const struct disk *disk, const struct disk_request *request)
{
	uint64_t all = request->offset | request->len;
	uint64_t addresses = 0;

	if (!disk->direct)
		return true;
	for (unsigned int i = 0; i < request->n_iov; i++) {
		addresses |= (uintptr_t)request->iov[i].iov_base;
		all |= request->iov[i].iov_len;
	}
	return is_aligned(all, disk->offset_align) && is_aligned(addresses, disk->memory_align);
}

/* The part of request's buffers from byte `from` on, at most PART_MAX elements. Returns how many. */
static int slice(const struct disk_request *request, uint64_t from, struct iovec *part)
{
	int n = 0;

	for (unsigned int i = 0; i < request->n_iov && n < PART_MAX; i++) {
		const struct iovec *iov = &request->iov[i];

		if (from >= iov->iov_len) {
			from -= iov->iov_len;
			continue;
		}
		part[n++] = (struct iovec){ (char *)iov->iov_base + from, iov->iov_len - from };
		from = 0;
	}
	return n;
}

/* Straight between the file and the guest's buffers. *done says how far it got. */
static int transfer(struct disk *disk, const struct disk_request *request, uint64_t *done)
{
	struct iovec part[PART_MAX];

	while (*done < request->len) {
		int n = slice(request, *done, part);
		off_t offset = (off_t)(request->offset + *done);
		ssize_t rc = request->op == DISK_READ ? preadv(disk->fd, part, n, offset)
						      : pwritev2(disk->fd, part, n, offset,
								 request->fua ? RWF_DSYNC : 0);

		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0)
			return -errno;
		if (rc == 0) /* the file has become shorter */
			return -EIO;
		*done += (uint64_t)rc;
	}
	return 0;
}

/* All of [buffer, buffer + len), which is aligned as the file asks. */
static int bounce_io(struct disk *disk, bool write, size_t start, size_t len, uint64_t offset,
		     bool fua)
{
	while (len > 0) {
		struct iovec iov = { disk->bounce + start, len };
		ssize_t rc = write ? pwritev2(disk->fd, &iov, 1, (off_t)offset, fua ? RWF_DSYNC : 0)
				   : preadv(disk->fd, &iov, 1, (off_t)offset);

		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0)
			return -errno;
		if (rc == 0)
			return -EIO;
		start += (size_t)rc;
		len -= (size_t)rc;
		offset += (uint64_t)rc;
	}
	return 0;
}

/* Copy len bytes between the bounce buffer and byte `from` of the guest's buffers. */
static void bounce_copy(const struct disk *disk, const struct disk_request *request, uint64_t from,
			size_t start, size_t len)
{
	uint8_t *bounce = disk->bounce + start;

	if (request->op == DISK_WRITE_ZEROES) {
		memset(bounce, 0, len);
		return;
	}
	for (unsigned int i = 0; i < request->n_iov && len > 0; i++) {
		const struct iovec *iov = &request->iov[i];

		if (from >= iov->iov_len) {
			from -= iov->iov_len;
			continue;
		}
		size_t n = iov->iov_len - from < len ? iov->iov_len - from : len;

		if (request->op == DISK_READ)
			memcpy((char *)iov->iov_base + from, bounce, n);
		else
			memcpy(bounce, (char *)iov->iov_base + from, n);
		bounce += n;
		len -= n;
		from = 0;
	}
}

/* The blocks that a write covers only in part: the first and the last one of a window. */
static int read_edges(struct disk *disk, uint64_t from, uint64_t to, bool first, bool last)
{
	uint32_t block = disk->offset_align;
	int rc = 0;

	if (first)
		rc = bounce_io(disk, false, 0, block, from, false);
	if (rc == 0 && last && !(first && to - from == block))
		rc = bounce_io(disk, false, to - from - block, block, to - block, false);
	return rc;
}

/*
 * By way of the bounce buffer, window by window. A write that covers blocks in part reads, modifies
 * and writes them: nobody else may write to the disk meanwhile (disk_async.c sees to that).
 */
static int bounce_transfer(struct disk *disk, const struct disk_request *request, uint64_t done)
{
	const uint64_t end = request->offset + request->len;

	if (!disk->bounce) {
		void *p = mmap(NULL, DISK_BOUNCE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return -errno;
		disk->bounce = p;
	}
	while (done < request->len) {
		uint64_t at = request->offset + done;
		uint64_t from = align_down(at, disk->offset_align);
		uint64_t to = align_up(end, disk->offset_align);

		if (to > from + DISK_BOUNCE_SIZE)
			to = from + DISK_BOUNCE_SIZE;
		size_t n = (size_t)((to < end ? to : end) - at);
		int rc;

		if (request->op == DISK_READ) {
			rc = bounce_io(disk, false, 0, to - from, from, false);
			if (rc == 0)
				bounce_copy(disk, request, done, at - from, n);
		} else {
			rc = read_edges(disk, from, to, from != at, at + n != to);
			if (rc == 0) {
				bounce_copy(disk, request, done, at - from, n);
				rc = bounce_io(disk, true, 0, to - from, from, request->fua);
			}
		}
		if (rc < 0)
			return rc;
		done += n;
	}
	return 0;
}

static int read_or_write(struct disk *disk, const struct disk_request *request)
{
	uint64_t done = 0;
	int rc;

	if (disk_is_aligned(disk, request)) {
		rc = transfer(disk, request, &done);
		/* EINVAL: the file asks for more alignment than it said, or stopped at an odd place. */
		if (rc != -EINVAL || !disk->direct)
			return rc;
	}
	return bounce_transfer(disk, request, done);
}

static int allocate(struct disk *disk, int mode, uint64_t offset, uint64_t len)
{
	int rc;

	do
		rc = fallocate(disk->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static bool not_supported(int rc)
{
	return rc == -EOPNOTSUPP || rc == -EINVAL || rc == -ENOSYS;
}

/*
 * A hint: what isn't a whole unit of a block device is left as it is, and so is everything where
 * there are no holes.
 */
static int discard(struct disk *disk, const struct disk_request *request)
{
	uint64_t from = align_up(request->offset, disk->discard_align);
	uint64_t to = align_down(request->offset + request->len, disk->discard_align);
	int rc = 0;

	if (disk->can_discard && from < to)
		rc = allocate(disk, FALLOC_FL_PUNCH_HOLE, from, to - from);
	return rc == -EOPNOTSUPP ? 0 : rc;
}

/* A hole if the driver allows it, else zeroes that stay allocated, else zeroes written out. */
static int write_zeroes(struct disk *disk, const struct disk_request *request)
{
	int rc = -EOPNOTSUPP;

	if (request->unmap && disk->can_discard)
		rc = allocate(disk, FALLOC_FL_PUNCH_HOLE, request->offset, request->len);
	if (not_supported(rc))
		rc = allocate(disk, FALLOC_FL_ZERO_RANGE, request->offset, request->len);
	if (not_supported(rc))
		rc = bounce_transfer(disk, request, 0);
	return rc;
}

static int flush(struct disk *disk)
{
	return fdatasync(disk->fd) < 0 ? -errno : 0;
}

int disk_do(struct disk *disk, const struct disk_request *request)
{
	int rc = -EOPNOTSUPP;

	switch (request->op) {
	case DISK_READ:
	case DISK_WRITE:
		return read_or_write(disk, request);
	case DISK_FLUSH:
		return flush(disk);
	case DISK_DISCARD:
		rc = discard(disk, request);
		break;
	case DISK_WRITE_ZEROES:
		rc = write_zeroes(disk, request);
		break;
	case DISK_OPS:
		break;
	}
	return rc == 0 && request->fua ? flush(disk) : rc;
}
