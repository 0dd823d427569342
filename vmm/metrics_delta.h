/* SPDX-License-Identifier: Apache-2.0 */
/* Counts since the last line, as Firecracker's clients expect them, of totals since the start. */
#ifndef MOTE_METRICS_DELTA_H
#define MOTE_METRICS_DELTA_H

#include <jansson.h>

/*
 * Make all counts in the groups of root, a line to be, those since before, a line of totals; NULL: since
 * the start. What isn't a count stays: "utc_timestamp_ms", "api_server", "latencies_us", "process",
 * "properties", "stages".
 */
void metrics_since(json_t *root, const json_t *before);

#endif
