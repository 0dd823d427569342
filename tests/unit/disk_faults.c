/* SPDX-License-Identifier: Apache-2.0 */
#include "disk_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct disk_faults disk_faults;

void disk_faults_reset(void)
{
	memset(&disk_faults, 0, sizeof(disk_faults));
}

/* -D_FILE_OFFSET_BITS=64 gives the calls these names. */
int __real_io_setup(int events, io_context_t *ctx);
int __wrap_io_setup(int events, io_context_t *ctx);
int __real_io_submit(io_context_t ctx, long n, struct iocb **iocbs);
int __wrap_io_submit(io_context_t ctx, long n, struct iocb **iocbs);
unsigned int __real_aio_ring_take(io_context_t ctx, struct io_event *events, unsigned int max);
unsigned int __wrap_aio_ring_take(io_context_t ctx, struct io_event *events, unsigned int max);
ssize_t __real_preadv64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __real_preadv64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags);
ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags);
int __real_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_statx(int dir, const char *path, int flags, unsigned int mask, struct statx *stx);
int __wrap_statx(int dir, const char *path, int flags, unsigned int mask, struct statx *stx);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg);
int __real_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);

int __wrap_io_setup(int events, io_context_t *ctx)
{
	if (disk_faults.setup_limit && events > disk_faults.setup_limit)
		return -EAGAIN;
	return __real_io_setup(events, ctx);
}

int __wrap_io_submit(io_context_t ctx, long n, struct iocb **iocbs)
{
	int rc;

	disk_faults.submits++;
	for (long i = 0; i < n; i++) {
		short opcode = iocbs[i]->aio_lio_opcode;

		disk_faults.flushes += opcode == IO_CMD_FDSYNC;
		if (opcode == IO_CMD_PWRITEV && iocbs[i]->aio_rw_flags & RWF_DSYNC)
			disk_faults.dsync++;
	}
	if (disk_faults.submit_errors > 0) {
		disk_faults.submit_errors--;
		disk_faults.refusals++;
		return disk_faults.submit_error;
	}
	if (disk_faults.submit_max && n > disk_faults.submit_max)
		n = disk_faults.submit_max;
	if (disk_faults.capacity && n > disk_faults.capacity - disk_faults.held)
		n = disk_faults.capacity - disk_faults.held;
	if (n <= 0) {
		disk_faults.refusals++;
		return -EAGAIN;
	}
	disk_faults.held += (int)n;
	rc = __real_io_submit(ctx, n, iocbs);
	if (rc < n) {
		disk_faults.held -= (int)n - (rc < 0 ? 0 : rc);
		disk_faults.refusals++;
	}
	if (disk_faults.held > disk_faults.max_held)
		disk_faults.max_held = disk_faults.held;
	return rc;
}

unsigned int __wrap_aio_ring_take(io_context_t ctx, struct io_event *events, unsigned int max)
{
	unsigned int taken = __real_aio_ring_take(ctx, events, max);

	for (unsigned int i = 0; i < taken; i++) {
		disk_faults.held--;
		if (disk_faults.would_block && events[i].obj->aio_rw_flags & RWF_NOWAIT)
			events[i].res = (unsigned long)-EAGAIN;
		if (disk_faults.event_results > 0) {
			disk_faults.event_results--;
			events[i].res = (unsigned long)disk_faults.event_result;
		}
	}
	return taken;
}

static bool interrupted(void)
{
	int call = ++disk_faults.calls;

	if (!disk_faults.interrupted || call % disk_faults.interrupted != 0)
		return false;
	errno = EINTR;
	return true;
}

/* iov cut at max_io bytes, for calls with at most 64 elements. Returns the number of elements. */
static int cut(const struct iovec *iov, int n, struct iovec *part)
{
	size_t left = (size_t)disk_faults.max_io;
	int k = 0;

	for (; k < n && k < 64 && left > 0; k++) {
		part[k] = iov[k];
		if (part[k].iov_len > left)
			part[k].iov_len = left;
		left -= part[k].iov_len;
	}
	return k;
}

static void io_call(void)
{
	disk_faults.io_calls++;
	for (int ms = 0; disk_faults.hold && ms < 10000; ms++)
		usleep(1000);
}

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t offset)
{
	struct iovec part[64];

	io_call();
	if (interrupted())
		return -1;
	if (!disk_faults.max_io)
		return __real_preadv64(fd, iov, n, offset);
	return __real_preadv64(fd, part, cut(iov, n, part), offset);
}

ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	if (disk_faults.would_block && flags & RWF_NOWAIT) {
		errno = EAGAIN;
		return -1;
	}
	return __real_preadv64v2(fd, iov, n, offset, flags);
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	struct iovec part[64];

	if (flags & RWF_NOWAIT) {
		disk_faults.tries++;
		if (disk_faults.no_nowait_write) {
			errno = EOPNOTSUPP;
			return -1;
		}
		if (!disk_faults.would_block)
			return __real_pwritev64v2(fd, iov, n, offset, flags);
		errno = EAGAIN;
		return -1;
	}
	io_call();
	disk_faults.dsync += (flags & RWF_DSYNC) != 0;
	if (interrupted())
		return -1;
	if (!disk_faults.max_io)
		return __real_pwritev64v2(fd, iov, n, offset, flags);
	return __real_pwritev64v2(fd, part, cut(iov, n, part), offset, flags);
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
	if (interrupted())
		return -1;
	if (disk_faults.no_fallocate) {
		errno = disk_faults.no_fallocate;
		return -1;
	}
	return __real_fallocate64(fd, mode, offset, len);
}

int __wrap_fdatasync(int fd)
{
	disk_faults.flushes++;
	if (disk_faults.no_fdatasync) {
		errno = disk_faults.no_fdatasync;
		return -1;
	}
	return __real_fdatasync(fd);
}

int __wrap_statx(int dir, const char *path, int flags, unsigned int mask, struct statx *stx)
{
	int rc = __real_statx(dir, path, flags, mask, stx);

	if (disk_faults.dio_align) {
		stx->stx_mask |= STATX_DIOALIGN;
		stx->stx_dio_mem_align = stx->stx_dio_offset_align = disk_faults.dio_align;
	}
	if (disk_faults.no_dioalign)
		stx->stx_mask &= ~STATX_DIOALIGN;
	return rc;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg)
{
	if (disk_faults.no_thread)
		return EAGAIN;
	disk_faults.threads++;
	return __real_pthread_create(thread, attr, start, arg);
}

int __wrap_fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (cmd == F_OFD_SETLK && disk_faults.no_locks) {
		errno = ENOLCK;
		return -1;
	}
	return __real_fcntl64(fd, cmd, arg);
}
