/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client's HTTP/1.1 (RFC 9112): keep-alive, pipelining, chunked bodies, 100-continue. It knows
 * no socket and no clock: its owner brings bytes and the time, and takes bytes. http-parser reads.
 *
 * One request at a time: while its response isn't taken, what follows stays unread. A request that
 * breaks the protocol is answered (400, 408, 413, 414, 417, 505) and is the connection's last.
 */
#ifndef MOTE_API_CONNECTION_H
#define MOTE_API_CONNECTION_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/api/limits.h"

struct api_request {
	const char *method; /* "GET" */
	const char *path;   /* as sent, a query included */
	const char *body;   /* NULL = none */
	size_t body_length;
};

struct api_response {
	unsigned int status;
	char *body; /* JSON, malloc'ed, freed by the connection; NULL = none */
	size_t body_length;
};

/* Fill response, which is zero. Called while a connection is given bytes, once for each request. */
typedef void (*api_handler)(void *context, const struct api_request *request,
			    struct api_response *response);

enum api_phase {
	API_OPEN,
	API_LAST, /* what is in the output is the last that will be said */
	API_DRAINING, /* all said after an error: input is read and forgotten, so that the client reads */
	API_DONE, /* to be closed */
};

struct api_connection {
	struct http_parser parser;
	enum api_phase phase;
	bool failed;	 /* the last response is of the protocol, not of the handler */
	bool in_request; /* between a request's first byte and its last */
	uint64_t now_ns;
	uint64_t deadline_ns; /* 0 = none */
	size_t body_max;
	api_handler handler;
	void *context;

	char input[API_INPUT_SIZE];
	size_t in_start, in_end;
	char *output;
	size_t out_length, out_sent;

	/* Of the request that is being read. */
	char url[API_URL_MAX + 1];
	size_t url_length;
	char name[8], value[16]; /* a header's: enough for "Expect" */
	size_t name_length, value_length;
	bool in_value;
	bool expects_continue;
	char *body;
	size_t body_length, body_room;
};

void api_connection_init(struct api_connection *c, size_t body_max, api_handler handler,
			 void *context);
void api_connection_release(struct api_connection *c);

/* Where input goes, and how much; 0 while none is wanted. */
size_t api_connection_room(struct api_connection *c, char **at);
/* n bytes of it have come; 0: the client won't send any more. */
void api_connection_received(struct api_connection *c, size_t n, uint64_t now_ns);

/* What is to be sent. */
size_t api_connection_output(const struct api_connection *c, const char **at);
/* n bytes of it are on their way; after the last one the next request is handled. */
void api_connection_sent(struct api_connection *c, size_t n, uint64_t now_ns);

/* The deadline has passed: what is overdue is answered or given up. */
void api_connection_expire(struct api_connection *c, uint64_t now_ns);

/* Nothing is going on: between two requests. */
bool api_connection_idle(const struct api_connection *c);

#endif
