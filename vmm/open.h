/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening what the configuration names. A name of the exact form "/dev/fd/N" is file descriptor N,
 * handed over by whoever started us: a jail needs neither the file nor /proc in it then.
 *
 * Only what was inherited can be taken, and once: it becomes ours (close-on-exec), and our own files
 * can't be reached by their numbers. Of 0, 1 and 2, which stay what they are, a copy is made.
 */
#ifndef MOTE_OPEN_H
#define MOTE_OPEN_H

#include <sys/stat.h>

#include "vmm/error.h"

/* N of "/dev/fd/N"; -1 for every other path. */
int inherited_fd(const char *path);

/*
 * Take file descriptor fd; access: O_RDONLY, O_WRONLY or O_RDWR, what it must be open for. Returns
 * it (or the copy), for the caller to close. Its file status flags are what the giver made them.
 * Errors: -EBADF it wasn't inherited or is taken already, -EACCES.
 */
int inherited_take(int fd, int access, struct error *err);

/*
 * These name only the cause of an error: the caller has the operation and the path.
 *
 * open_file: open(2) with O_CLOEXEC | O_NOCTTY, creating nothing; of an inherited one the access mode
 * in flags is checked.
 * open_sink: a file or FIFO to append to, non-blocking, created with mode 0600 if need be.
 * stat_file: stat(2), before opening.
 */
int open_file(const char *path, int flags, struct error *err);
int open_sink(const char *path, struct error *err);
int stat_file(const char *path, struct stat *st, struct error *err);

#endif
