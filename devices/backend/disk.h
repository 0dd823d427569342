/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw disk images and block devices as a virtual disk's storage. The format is raw and is never
 * guessed from the content: what's in the file is the guest's (CVE-2026-27211).
 *
 * Two engines:
 *
 * DISK_SYNC carries each request out in disk_submit(), through the host's page cache, which all
 * microVMs with the same image share.
 *
 * DISK_ASYNC never blocks its caller. With O_DIRECT (where the file has it) reads, writes and
 * flushes go to libaio, marked RWF_NOWAIT: what the kernel can't start at once (block allocation, a
 * full device queue) it refuses with EAGAIN, and a helper thread submits it again without the mark,
 * so that it can wait. The same thread does what libaio can't: discard and write-zeroes (fallocate
 * has no asynchronous form), and buffers that don't have the alignment that O_DIRECT asks for, by
 * way of one bounce buffer. Without O_DIRECT libaio would do the I/O inside io_submit(); then a
 * request that the page cache can serve is answered at once (RWF_NOWAIT again), and all others are
 * the helper thread's. That thread is started at the first request that needs it.
 *
 * Not thread-safe: the owner serialises calls for one disk.
 */
#ifndef MOTE_DEVICES_BACKEND_DISK_H
#define MOTE_DEVICES_BACKEND_DISK_H

#include <libaio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/error.h"
#include "vmm/thread.h"

#define DISK_SECTOR_SIZE 512u

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_WRITE_ZEROES, DISK_OPS };
enum disk_engine { DISK_SYNC, DISK_ASYNC };

/* offset and len are bytes, multiples of DISK_SECTOR_SIZE, and end within the disk's size. */
struct disk_request {
	/* The owner's; they and what iov describes stay as they are until the request is done. */
	enum disk_op op;
	bool fua;	/* WRITE, DISCARD, WRITE_ZEROES: on stable storage before it's done */
	bool unmap;	/* WRITE_ZEROES: may deallocate */
	uint16_t n_iov; /* READ, WRITE: at most IOV_MAX, none of them empty */
	const struct iovec *iov;
	uint64_t offset;
	uint64_t len; /* READ, WRITE: > 0, the sum of iov's lengths; FLUSH: 0 */
	/* Valid in the done callback: 0 or a negative errno. */
	int result;
	/* The backend's. */
	unsigned int stage;
	struct disk_request *next;
	struct iocb iocb;
};

/* A request is done and the owner's again. Must not call disk functions. */
typedef void (*disk_done)(struct disk_request *request, void *owner);

struct disk_options {
	const char *path;
	const char *name; /* for the helper thread's name and for log lines */
	bool read_only;
	enum disk_engine engine;
	/*
	 * DISK_ASYNC: the helper thread now, not at its first request; a refusal is an error then.
	 * Otherwise its work is done by the thread that submits, with a warning.
	 */
	bool start_thread;
	const struct thread_rules *thread_rules; /* of the helper thread; NULL = none */
	/*
	 * Borrowed eventfd, non-blocking. DISK_ASYNC adds to it when there's something to reap; the
	 * owner watches its edges and calls disk_reap(). DISK_SYNC doesn't use it.
	 */
	int event_fd;
	disk_done done;
	void *owner;
};

struct disk_list {
	struct disk_request *head, **tail;
};

struct disk_async;

struct disk {
	int fd;
	int event_fd;
	disk_done done;
	void *owner;
	uint64_t size; /* bytes, a multiple of DISK_SECTOR_SIZE, > 0 */
	bool read_only;
	bool is_block_device;
	bool can_discard;	  /* else DISCARD, which is a hint, does nothing */
	bool direct;		  /* opened with O_DIRECT */
	bool nowait;		  /* the file knows RWF_NOWAIT */
	uint32_t memory_align;	  /* what direct I/O asks of addresses; 1 when not direct */
	uint32_t offset_align;	  /* and of offsets and lengths */
	uint32_t discard_align;	  /* bytes; a power of two */
	uint32_t physical_block;  /* best unit of I/O in bytes: a power of two, 512 to 4096 */
	uint8_t *bounce;	  /* NULL until needed */
	struct disk_async *async; /* NULL: DISK_SYNC */
};

/*
 * Open a regular file or block device and lock it: a writable disk against every other user, a
 * read-only one against writers (F_OFD_SETLK; a file system without locks gives a warning). A
 * regular file's size is rounded down to whole sectors, with a warning. *disk stays where it is
 * until disk_close().
 * Errors: those of open(2), -EBUSY if another process (or disk) has it locked, -EINVAL for anything
 * that isn't a disk image, those of io_setup(2) and of pthread_create(3).
 */
int disk_open(struct disk *disk, const struct disk_options *options, struct error *err);

/*
 * Drain, and go on with another file; the engine, its thread and all that isn't the path stay. If
 * it's the same file it stays open, and only its size is looked at. After an error the disk is what
 * it was before. Errors: those of disk_open() but pthread_create(3)'s, those of fdatasync(2) on the
 * old file, -EINVAL for a size of the same one that its direct I/O can't have.
 */
int disk_reopen(struct disk *disk, const struct disk_options *options, struct error *err);

/* Drain and release everything; harmless after a failed open and when repeated. */
void disk_close(struct disk *disk);

/* Accept a request. It's done at once (DISK_SYNC), or started by the next disk_kick(). */
void disk_submit(struct disk *disk, struct disk_request *request);
/* Start what was submitted, as a batch. What doesn't fit is started by a later disk_reap(). */
void disk_kick(struct disk *disk);
/* Hand back what's finished and start what waited for it. Never blocks. */
void disk_reap(struct disk *disk);
/* Complete every request that was submitted. Waits for the storage; may take event_fd's value. */
void disk_drain(struct disk *disk);
/*
 * The same without starting any: what isn't on its way to the storage is done with -ECANCELED, and
 * what didn't get there with its error. So it needs no more than waiting.
 */
void disk_cancel(struct disk *disk);

/* Requests accepted and not done yet. */
unsigned int disk_in_flight(const struct disk *disk);

/* "read", "write", "flush", "discard", "write zeroes" */
const char *disk_op_name(enum disk_op op);

#endif
