/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread of a disk that may block. It takes requests in order, one at a time; it touches no
 * field of the disk that changes after disk_open(), except for the bounce buffer, which is its own.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "devices/backend/disk_internal.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* The deepest call has a 1 KiB array; glibc's own needs and a signal frame fit as well. */
#define STACK_SIZE (64 * 1024)

struct disk_helper {
	struct disk *disk;
	io_context_t aio;
	char name[16];
	bool started;
	bool refused; /* there's no thread to be had: requests are done in place */
	pthread_t thread;
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
	disk_event_raise(helper->disk->event_fd);
}

static void *helper_main(void *arg)
{
	struct disk_helper *helper = arg;

	pthread_setname_np(pthread_self(), helper->name);
	pthread_mutex_lock(&helper->lock);
	while (!helper->stop) {
		struct disk_request *request = disk_list_pop(&helper->todo);

		if (!request) {
			pthread_cond_wait(&helper->wake, &helper->lock);
			continue;
		}
		pthread_mutex_unlock(&helper->lock);
		if (carry_out(helper, request))
			put_done(helper, request);
		pthread_mutex_lock(&helper->lock);
	}
	pthread_mutex_unlock(&helper->lock);
	return NULL;
}

/* With all signals blocked: they're for the threads that know what to do with them. */
static int start_thread(struct disk_helper *helper)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int rc;

	rc = pthread_attr_init(&attr);
	if (rc != 0)
		return -rc;
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&helper->thread, &attr, helper_main, helper);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

struct disk_helper *disk_helper_new(struct disk *disk, io_context_t aio, const char *name,
				    struct error *err)
{
	struct disk_helper *helper = calloc(1, sizeof(*helper));

	if (!helper) {
		error_sys(err, ENOMEM, "allocate");
		return NULL;
	}
	helper->disk = disk;
	helper->aio = aio;
	snprintf(helper->name, sizeof(helper->name), "disk %s", name);
	pthread_mutex_init(&helper->lock, NULL);
	pthread_cond_init(&helper->wake, NULL);
	disk_list_init(&helper->todo);
	disk_list_init(&helper->done);
	return helper;
}

void disk_helper_free(struct disk_helper *helper)
{
	if (helper->started) {
		pthread_mutex_lock(&helper->lock);
		helper->stop = true;
		pthread_cond_signal(&helper->wake);
		pthread_mutex_unlock(&helper->lock);
		pthread_join(helper->thread, NULL);
	}
	pthread_cond_destroy(&helper->wake);
	pthread_mutex_destroy(&helper->lock);
	free(helper);
}

void disk_helper_start(struct disk_helper *helper)
{
	int rc;

	if (helper->started || helper->refused)
		return;
	rc = start_thread(helper);
	helper->started = rc == 0;
	helper->refused = rc != 0;
	if (rc != 0)
		log_warn("thread \"%s\": pthread_create: %s; I/O may delay other devices",
			 helper->name, strerrordesc_np(-rc));
}

void disk_helper_submit(struct disk_helper *helper, struct disk_request *request)
{
	disk_helper_start(helper);
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
