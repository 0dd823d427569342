/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults of the host's storage on request: the system calls of the disk backend, wrapped by the
 * linker (-Wl,--wrap). All zero: they are what they always are.
 */
#ifndef MOTE_TESTS_DISK_FAULTS_H
#define MOTE_TESTS_DISK_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>

struct disk_faults {
	int setup_limit;	   /* io_setup for more events than that: -EAGAIN; -1: always */
	_Atomic int submit_errors; /* so many calls of io_submit fail with submit_error */
	int submit_error;
	int submit_max;		   /* io_submit takes no more than that at a time */
	int capacity;		   /* libaio holds no more than that: -EAGAIN */
	bool would_block;	   /* whatever has RWF_NOWAIT can't be done at once */
	bool no_nowait_write;	   /* pwritev2 with RWF_NOWAIT: EOPNOTSUPP, as on ext4 */
	_Atomic int event_results; /* so many completions have the result event_result */
	long event_result;
	int max_io;		/* preadv and pwritev2 move at most so many bytes a call */
	int interrupted;	/* each n-th preadv, pwritev2 and fallocate ends with EINTR */
	_Atomic bool hold;	/* preadv and pwritev2 wait until it is false (at most 10 s) */
	int no_fallocate;	/* fallocate fails with this errno */
	int no_fdatasync;	/* and fdatasync with this one */
	unsigned int dio_align; /* what statx says of STATX_DIOALIGN, if not 0 */
	bool no_dioalign;	/* statx doesn't know STATX_DIOALIGN */
	bool no_thread;		/* pthread_create: EAGAIN */
	bool no_locks;		/* fcntl(F_OFD_SETLK): ENOLCK */

	/*
	 * What happened; dsync: writes with RWF_DSYNC; flushes: by either way;
	 * tries: writes with RWF_NOWAIT by system call.
	 */
	_Atomic int submits, refusals, held, threads, io_calls, calls, dsync, flushes, tries;
	_Atomic int max_held;
};

extern struct disk_faults disk_faults;

void disk_faults_reset(void);

#endif
