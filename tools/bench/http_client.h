/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP on a stream socket, as a client of monitors' APIs needs it: a request, and its answer awaited. */
#ifndef MOTE_BENCH_HTTP_CLIENT_H
#define MOTE_BENCH_HTTP_CLIENT_H

#include "vmm/error.h"

/* A connected Unix socket that gives up after timeout_s without an answer; a negative errno. */
int http_connect(const char *path, unsigned int timeout_s);

/*
 * body: JSON, NULL for none. The status of the answer, 200 to 299; -EBADMSG for any other, with what
 * its body says, and for what isn't one answer; -EPIPE when the peer closes before its end.
 */
int http_request(int fd, const char *method, const char *path, const char *body, struct error *err);

#endif
