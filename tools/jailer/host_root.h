/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOTE_JAILER_HOST_ROOT_H
#define MOTE_JAILER_HOST_ROOT_H

#include "vmm/error.h"

/*
 * Open --chroot-base-dir: a path without symbolic links in which only root can change anything.
 * Returns an fd that can be read.
 */
int host_base_open(const char *path, struct error *err);

#endif
