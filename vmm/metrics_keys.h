/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of a metrics line that Firecracker's clients read. What mote counts stands under them, what
 * it doesn't is 0: a client that looks a key up finds it in every line.
 */
#ifndef MOTE_METRICS_KEYS_H
#define MOTE_METRICS_KEYS_H

#include <jansson.h>

/*
 * Add to root, a metrics object, what is missing of these keys, as 0. "block", "net" and "pmem" become
 * the sums of what is there of "block_ID", "net_ID" and "pmem_ID", key by key.
 */
void metrics_complete(json_t *root);

#endif
