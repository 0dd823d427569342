/* SPDX-License-Identifier: Apache-2.0 */
/* DISK_ASYNC: which request goes where, and what becomes of it (see disk.h). */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "devices/backend/aio_ring.h"
#include "devices/backend/disk_internal.h"
#include "vmm/log.h"
#include "vmm/util.h"

/*
 * What a disk takes of fs.aio-max-nr, 65536 by default on the whole host: at 128 that's 512 disks.
 * The kernel doubles it and fills up pages, so that most hosts hold a full virtqueue (256).
 */
#define AIO_EVENTS_MAX 128
#define AIO_EVENTS_MIN 16
#define BATCH	       32
/* What is copied from the page cache in place, at most: some 10 us. */
#define INLINE_MAX (128u * 1024)

struct disk_async {
	io_context_t aio;	  /* NULL: there was no direct I/O yet */
	bool nowait_write;	  /* buffered writes may try RWF_NOWAIT */
	struct disk_list pending; /* submitted, not started */
	unsigned int n_pending, n_running;
	bool cancelling; /* nothing is started any more, nor tried again */
	struct disk_request *exclusive; /* running alone */
	struct disk_helper *helper;
};

void disk_list_init(struct disk_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

void disk_list_append(struct disk_list *list, struct disk_request *request)
{
	request->next = NULL;
	*list->tail = request;
	list->tail = &request->next;
}

void disk_list_prepend(struct disk_list *list, struct disk_request *request)
{
	request->next = list->head;
	if (!list->head)
		list->tail = &request->next;
	list->head = request;
}

struct disk_request *disk_list_pop(struct disk_list *list)
{
	struct disk_request *request = list->head;

	if (!request)
		return NULL;
	list->head = request->next;
	if (!list->head)
		list->tail = &list->head;
	request->next = NULL;
	return request;
}

void disk_event_raise(int event_fd)
{
	/* EAGAIN: the counter is at its end, so that whoever reads it will be told anyway. */
	if (eventfd_write(event_fd, 1) < 0 && errno != EAGAIN)
		log_error("disk: raise eventfd: %s", strerrordesc_np(errno));
}

static int setup_aio(struct disk_async *async, struct error *err)
{
	int rc;

	for (int events = AIO_EVENTS_MAX; events >= AIO_EVENTS_MIN; events /= 2) {
		rc = io_setup(events, &async->aio);
		if (rc == 0 && aio_ring_is_known(async->aio))
			return 0;
		if (rc == 0) {
			io_destroy(async->aio);
			async->aio = NULL;
			return error_set(err, ENOTSUP, "io_setup: a ring of a kind that isn't known");
		}
		if (rc != -EAGAIN)
			return error_sys(err, -rc, "io_setup");
	}
	return error_set(err, EAGAIN,
			 "io_setup: the host has no more asynchronous I/O contexts "
			 "(sysctl fs.aio-max-nr)");
}

int disk_async_open(struct disk *disk, const struct disk_options *options, struct error *err)
{
	struct disk_async *async = calloc(1, sizeof(*async));

	if (!async)
		return error_sys(err, ENOMEM, "allocate");
	disk->async = async;
	disk_list_init(&async->pending);
	async->nowait_write = true;
	if (disk->direct) {
		int rc = setup_aio(async, err);

		if (rc < 0)
			return rc;
	}
	async->helper = disk_helper_new(disk, async->aio, options, err);
	if (!async->helper)
		return -ENOMEM;
	return options->start_thread ? disk_helper_start(async->helper, err) : 0;
}

int disk_async_prepare(struct disk *disk, bool direct, struct error *err)
{
	struct disk_async *async = disk->async;

	if (direct && !async->aio) {
		int rc = setup_aio(async, err);

		if (rc < 0)
			return rc;
		disk_helper_use(async->helper, async->aio);
	}
	async->nowait_write = true;
	return 0;
}

void disk_async_close(struct disk *disk)
{
	struct disk_async *async = disk->async;

	if (async->helper)
		disk_helper_free(async->helper);
	if (async->aio)
		io_destroy(async->aio);
	free(async);
	disk->async = NULL;
}

unsigned int disk_async_in_flight(const struct disk *disk)
{
	return disk->async->n_pending + disk->async->n_running;
}

void disk_async_submit(struct disk *disk, struct disk_request *request)
{
	disk_list_append(&disk->async->pending, request);
	disk->async->n_pending++;
}

static void finish(struct disk *disk, struct disk_request *request, int result)
{
	struct disk_async *async = disk->async;

	if (async->exclusive == request)
		async->exclusive = NULL;
	async->n_running--;
	request->result = result;
	disk->done(request, disk->owner);
}

static void to_helper(struct disk *disk, struct disk_request *request, enum disk_stage stage)
{
	request->stage = stage;
	disk_helper_submit(disk->async->helper, request);
}

/* Writes of parts of a block read, modify and write it: they would undo what others do to it. */
static bool needs_exclusion(const struct disk *disk, const struct disk_request *request)
{
	return (request->op == DISK_WRITE || request->op == DISK_WRITE_ZEROES) &&
	       !is_aligned(request->offset | request->len, disk->offset_align);
}

/* Without direct I/O: what the page cache can take or give at once. True if that was all. */
static bool try_page_cache(struct disk *disk, struct disk_request *request)
{
	struct disk_async *async = disk->async;
	bool write = request->op == DISK_WRITE;
	ssize_t rc;

	if (!disk->nowait || request->len > INLINE_MAX ||
	    (write && (request->fua || !async->nowait_write)))
		return false;
	rc = write ? pwritev2(disk->fd, request->iov, request->n_iov, (off_t)request->offset,
			      RWF_NOWAIT)
		   : preadv2(disk->fd, request->iov, request->n_iov, (off_t)request->offset,
			     RWF_NOWAIT);
	if (rc < 0 && errno == EOPNOTSUPP && write)
		async->nowait_write = false;
	return rc >= 0 && (uint64_t)rc == request->len;
}

static void prepare_iocb(struct disk *disk, struct disk_request *request)
{
	struct iocb *iocb = &request->iocb;

	if (request->op == DISK_READ)
		io_prep_preadv(iocb, disk->fd, request->iov, request->n_iov,
			       (long long)request->offset);
	else if (request->op == DISK_WRITE)
		io_prep_pwritev(iocb, disk->fd, request->iov, request->n_iov,
				(long long)request->offset);
	else
		io_prep_fdsync(iocb, disk->fd); /* a work item of the kernel's since Linux 4.18 */
	if (request->op != DISK_FLUSH)
		iocb->aio_rw_flags = RWF_NOWAIT | (request->fua ? RWF_DSYNC : 0);
	iocb->data = request;
	io_set_eventfd(iocb, disk->event_fd);
}

/* Start one request. Returns true if it's for the caller to submit to libaio. */
static bool start(struct disk *disk, struct disk_request *request)
{
	bool read_or_write = request->op == DISK_READ || request->op == DISK_WRITE;

	if (disk->direct &&
	    (request->op == DISK_FLUSH || (read_or_write && disk_is_aligned(disk, request)))) {
		prepare_iocb(disk, request);
		request->stage = DISK_STAGE_NOWAIT;
		if (request->op == DISK_FLUSH || disk->nowait)
			return true;
		to_helper(disk, request, DISK_STAGE_WAIT);
	} else if (!disk->direct && read_or_write && try_page_cache(disk, request)) {
		finish(disk, request, 0);
	} else {
		to_helper(disk, request, DISK_STAGE_DO);
	}
	return false;
}

/* Returns false if libaio has no room for all: the rest is pending again. */
static bool submit_batch(struct disk *disk, struct disk_request **batch, unsigned int n)
{
	struct disk_async *async = disk->async;
	struct iocb *iocbs[BATCH];
	unsigned int i = 0;

	for (unsigned int k = 0; k < n; k++)
		iocbs[k] = &batch[k]->iocb;
	while (i < n) {
		int rc = io_submit(async->aio, (long)(n - i), iocbs + i);

		if (rc > 0) {
			i += (unsigned int)rc;
		} else if (rc == -EAGAIN && async->n_running > n - i) {
			/* One of those that are running will be done, and we're called again. */
			async->n_running -= n - i;
			async->n_pending += n - i;
			while (n > i)
				disk_list_prepend(&async->pending, batch[--n]);
			return false;
		} else {
			/* Whatever it's that libaio doesn't like: a system call says it for sure. */
			to_helper(disk, batch[i++], DISK_STAGE_DO);
		}
	}
	return true;
}

static void cancel_pending(struct disk *disk)
{
	struct disk_async *async = disk->async;
	struct disk_request *request;

	while ((request = disk_list_pop(&async->pending))) {
		async->n_pending--;
		async->n_running++;
		finish(disk, request, -ECANCELED);
	}
}

void disk_async_cancel(struct disk *disk, bool cancelling)
{
	disk->async->cancelling = cancelling;
}

void disk_async_start(struct disk *disk)
{
	struct disk_async *async = disk->async;
	struct disk_request *batch[BATCH], *request;
	unsigned int n = 0;

	if (async->cancelling) {
		cancel_pending(disk);
		return;
	}
	while ((request = async->pending.head) && !async->exclusive) {
		if (needs_exclusion(disk, request)) {
			if (async->n_running > 0)
				break;
			async->exclusive = request;
		}
		disk_list_pop(&async->pending);
		async->n_pending--;
		async->n_running++;
		if (start(disk, request))
			batch[n++] = request;
		if (n == BATCH) {
			n = 0;
			if (!submit_batch(disk, batch, BATCH))
				return;
		}
	}
	submit_batch(disk, batch, n);
}

static void handle_event(struct disk *disk, struct disk_request *request, long result)
{
	if (request->op == DISK_FLUSH) {
		finish(disk, request, (int)result);
		return;
	}
	if (result == (long)request->len) {
		finish(disk, request, 0);
	} else if (disk->async->cancelling) {
		finish(disk, request, result < 0 ? (int)result : -ECANCELED);
	} else if (result == -EAGAIN && request->stage == DISK_STAGE_NOWAIT) {
		to_helper(disk, request, DISK_STAGE_WAIT);
	} else if (result >= 0 || result == -EAGAIN || result == -EINVAL || result == -EINTR ||
		   result == -EOPNOTSUPP) {
		/* Stopped short, or not in a way that libaio can do: once more from the beginning. */
		to_helper(disk, request, DISK_STAGE_DO);
	} else {
		finish(disk, request, (int)result);
	}
}

void disk_async_reap(struct disk *disk)
{
	struct disk_async *async = disk->async;
	struct io_event events[BATCH];
	struct disk_request *request, *next;
	unsigned int n;

	do {
		n = async->aio ? aio_ring_take(async->aio, events, BATCH) : 0;
		for (unsigned int i = 0; i < n; i++)
			handle_event(disk, events[i].data, (long)events[i].res);
	} while (n == BATCH);
	for (request = disk_helper_take_done(async->helper); request; request = next) {
		next = request->next;
		finish(disk, request, request->result);
	}
	disk_async_start(disk);
}
