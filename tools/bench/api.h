/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file's contents, by the API. */
#ifndef MOTE_BENCH_API_H
#define MOTE_BENCH_API_H

#include <jansson.h>

#include "vmm/error.h"

/* On a connection to a monitor's API: one PUT for each part, in the order of its keys. */
int api_configure(int fd, json_t *config, struct error *err);

#endif
