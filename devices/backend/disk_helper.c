/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of a disk that may block. It takes requests in order, one at a time, and touches the
 * disk only while it has one: in between, the disk may get another file. The bounce buffer is its
 * own.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "devices/backend/disk_internal.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* The deepest call has a 1 KiB array; glibc's own needs and a signal frame fit as well. */
#define STACK_SIZE (64 * 1024)

struct disk_helper {
	struct disk *disk;
	int event_fd; /* the disk's */
	io_context_t aio;
	struct thread thread;
	bool refused; /* there's no thread to be had: requests are done in place */
	pthread_mutex_t lock; /* protects what follows */
	pthread_cond_t wake;
	bool stop;
	struct disk_list todo;
	struct disk_list done;
};

/* Returns false if libaio has the request now. */
static bool carry_out(struct disk_helper *helper, struct disk_request *request)
{
	struct iocb *iocb = &request->iocb;

	if (request->stage == DISK_STAGE_WAIT) {
		iocb->aio_rw_flags &= ~RWF_NOWAIT;
		/* Once it's accepted the request isn't ours any more: it may be done already. */
		if (io_submit(helper->aio, 1, &iocb) == 1)
			return false;
		request->stage = DISK_STAGE_DO;
	}
	request->result = disk_do(helper->disk, request);
	return true;
}

static void put_done(struct disk_helper *helper, struct disk_request *request)
{
	pthread_mutex_lock(&helper->lock);
	disk_list_append(&helper->done, request);
	pthread_mutex_unlock(&helper->lock);
	disk_event_raise(helper->event_fd);
}

static void helper_main(void *owner, const struct error *unruled)
{
	struct disk_helper *helper = owner;
	bool ours;

	if (unruled)
		log_error("thread \"%s\": %s: its I/O fails", helper->thread.name, unruled->message);
	pthread_mutex_lock(&helper->lock);
	while (!helper->stop) {
		struct disk_request *request = disk_list_pop(&helper->todo);

		if (!request) {
			pthread_cond_wait(&helper->wake, &helper->lock);
			continue;
		}
		pthread_mutex_unlock(&helper->lock);
		/* A thread that could not be confined touches nothing that the guest can choose. */
		request->result = -EIO;
		ours = unruled || carry_out(helper, request);
		if (ours)
			put_done(helper, request);
		pthread_mutex_lock(&helper->lock);
	}
	pthread_mutex_unlock(&helper->lock);
}

struct disk_helper *disk_helper_new(struct disk *disk, io_context_t aio,
				    const struct disk_options *options, struct error *err)
{
	struct disk_helper *helper = calloc(1, sizeof(*helper));

	if (!helper) {
		error_sys(err, ENOMEM, "allocate");
		return NULL;
	}
	helper->disk = disk;
	helper->event_fd = disk->event_fd;
	helper->aio = aio;
	helper->thread = (struct thread){
		.kind = THREAD_IO, .rules = options->thread_rules, .stack_size = STACK_SIZE,
		.main = helper_main, .owner = helper,
	};
	snprintf(helper->thread.name, sizeof(helper->thread.name), "disk %s", options->name);
	pthread_mutex_init(&helper->lock, NULL);
	pthread_cond_init(&helper->wake, NULL);
	disk_list_init(&helper->todo);
	disk_list_init(&helper->done);
	return helper;
}

void disk_helper_free(struct disk_helper *helper)
{
	if (helper->thread.started) {
		pthread_mutex_lock(&helper->lock);
		helper->stop = true;
		pthread_cond_signal(&helper->wake);
		pthread_mutex_unlock(&helper->lock);
		thread_join(&helper->thread);
	}
	pthread_cond_destroy(&helper->wake);
	pthread_mutex_destroy(&helper->lock);
	free(helper);
}

void disk_helper_use(struct disk_helper *helper, io_context_t aio)
{
	helper->aio = aio;
}

int disk_helper_start(struct disk_helper *helper, struct error *err)
{
	return thread_start(&helper->thread, err);
}

void disk_helper_submit(struct disk_helper *helper, struct disk_request *request)
{
	struct error err = { 0 };

	if (!helper->thread.started && !helper->refused && disk_helper_start(helper, &err) < 0) {
		helper->refused = true;
		log_warn("%s; I/O may delay other devices", err.message);
	}
	if (helper->refused) {
		if (carry_out(helper, request))
			put_done(helper, request);
		return;
	}
	pthread_mutex_lock(&helper->lock);
	disk_list_append(&helper->todo, request);
	pthread_cond_signal(&helper->wake);
	pthread_mutex_unlock(&helper->lock);
}

struct disk_request *disk_helper_take_done(struct disk_helper *helper)
{
	struct disk_request *list;

	pthread_mutex_lock(&helper->lock);
	list = helper->done.head;
	disk_list_init(&helper->done);
	pthread_mutex_unlock(&helper->lock);
	return list;
}
