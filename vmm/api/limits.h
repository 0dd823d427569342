/* SPDX-License-Identifier: Apache-2.0 */
/* What a client of the API may take of memory and time (server.h). */
#ifndef MOTE_API_LIMITS_H
#define MOTE_API_LIMITS_H

#define API_CLIENTS_MAX		  16
#define API_BURST		  8	/* responses to a client in one turn of the event loop */
#define API_INPUT_SIZE		  4096	/* bytes read from a client in one turn */
#define API_URL_MAX		  1024	/* bytes of a request's target */
#define API_BODY_DEFAULT_MAX	  51200 /* bytes; Firecracker's default */
#define API_REQUEST_TIMEOUT_MS	  10000 /* a request's first byte to its last; for taking a response */
#define API_LAST_WORDS_TIMEOUT_MS 1000 /* for reading the response to a broken request */
#define API_ACCEPT_RETRY_MS	  100

#endif
