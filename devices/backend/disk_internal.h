/* SPDX-License-Identifier: Apache-2.0 */
/* Between the parts of the disk backend. */
#ifndef MOTE_DEVICES_BACKEND_DISK_INTERNAL_H
#define MOTE_DEVICES_BACKEND_DISK_INTERNAL_H

#include "devices/backend/disk.h"

/* What's copied at a time when the guest's buffers can't be used for direct I/O. */
#define DISK_BOUNCE_SIZE (128u * 1024)

/* disk_sync.c: carry out a request; may block. Returns 0 or a negative errno. */
int disk_do(struct disk *disk, const struct disk_request *request);
/* Whether a READ or WRITE meets the file's alignment as it is. */
bool disk_is_aligned(const struct disk *disk, const struct disk_request *request);

/* disk_async.c */
int disk_async_open(struct disk *disk, const struct disk_options *options, struct error *err);
/*
 * For a file that has direct I/O or not; nothing is in flight. What direct I/O needs stays once
 * it's there. After an error all is as it was. Errors: those of io_setup(2).
 */
int disk_async_prepare(struct disk *disk, bool direct, struct error *err);
void disk_async_close(struct disk *disk);
void disk_async_submit(struct disk *disk, struct disk_request *request);
void disk_async_start(struct disk *disk);
void disk_async_reap(struct disk *disk);
void disk_async_cancel(struct disk *disk, bool cancelling);
unsigned int disk_async_in_flight(const struct disk *disk);

/* disk_helper.c: the thread that may block. */
struct disk_helper;

/* Whether to carry the request out, or only to submit it to libaio without RWF_NOWAIT. */
enum disk_stage { DISK_STAGE_NOWAIT, DISK_STAGE_WAIT, DISK_STAGE_DO };

struct disk_helper *disk_helper_new(struct disk *disk, io_context_t aio,
				    const struct disk_options *options, struct error *err);
/* Only with nothing in flight. */
void disk_helper_free(struct disk_helper *helper);
/* Another context, with nothing in flight. */
void disk_helper_use(struct disk_helper *helper, io_context_t aio);
/* Start the thread now. Errors: those of pthread_create(3). */
int disk_helper_start(struct disk_helper *helper, struct error *err);
/*
 * Give it a request whose stage says what to do. The first one starts the thread; if there is none
 * to be had (see the log), requests are carried out in place.
 */
void disk_helper_submit(struct disk_helper *helper, struct disk_request *request);
/* Take the list of requests that it carried out (not those that libaio now has). */
struct disk_request *disk_helper_take_done(struct disk_helper *helper);

void disk_list_init(struct disk_list *list);
void disk_list_append(struct disk_list *list, struct disk_request *request);
void disk_list_prepend(struct disk_list *list, struct disk_request *request);
struct disk_request *disk_list_pop(struct disk_list *list);
void disk_event_raise(int event_fd);

#endif
