/* SPDX-License-Identifier: Apache-2.0 */
/* Directories below open directories: one component at a time, never through a symbolic link. */
#ifndef MOTE_JAILER_DIRS_H
#define MOTE_JAILER_DIRS_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Open the directory called name in dir (or AT_FDCWD). one_mount: refuse to cross into another
 * mount. Returns an fd that can be read, or a negative errno: -ELOOP for a symbolic link, -EXDEV.
 */
int dir_open(int dir, const char *name, bool one_mount);

/* As dir_open, and make it first if it is missing. *made: it was. */
int dir_make(int dir, const char *name, mode_t mode, bool *made);

#endif
