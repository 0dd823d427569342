/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 (RFC 9112) of one connection of the metadata service, parsed by http-parser as the bytes
 * come: nothing is kept of a request but its URI and the headers that mean something. One request at a
 * time; while its response isn't sent, nothing more is taken. One that breaks the protocol is
 * answered and is the last.
 */
#ifndef MOTE_DEVICES_MMDS_HTTP_H
#define MOTE_DEVICES_MMDS_HTTP_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/mmds/service.h"

#define MMDS_URI_MAX   1024 /* bytes */
#define MMDS_HEAD_MAX  8192 /* of the request line and all headers */
#define MMDS_BODY_MAX  4096 /* of a PUT, where it means nothing */
#define MMDS_NAME_MAX  39   /* of a header's name and value; a longer one is none of ours */
#define MMDS_VALUE_MAX 127

enum mmds_header {
	MMDS_HEADER_TOKEN,
	MMDS_HEADER_TTL,
	MMDS_HEADER_FORWARDED,
	MMDS_HEADER_ACCEPT,
	MMDS_HEADERS,
	MMDS_HEADER_OTHER = MMDS_HEADERS,
};

struct mmds_http {
	struct mmds *mmds; /* borrowed */
	struct http_parser parser;
	uint64_t now;

	/* The response, until it's sent. */
	char *out; /* NULL = there's none */
	size_t out_length;
	bool ended;  /* nothing comes behind it: what is received is thrown away */
	bool failed; /* there was no memory for it */

	/* Of the request that is being read. */
	size_t head_length, body_length;
	const char *wrong; /* what to answer instead, with wrong_status */
	unsigned int wrong_status;
	bool complete;
	size_t uri_length, name_length, value_length;
	bool in_value;
	char uri[MMDS_URI_MAX + 1], name[MMDS_NAME_MAX + 1], value[MMDS_VALUE_MAX + 1];
	struct {
		bool seen;
		char name[MMDS_NAME_MAX + 1], value[MMDS_VALUE_MAX + 1];
	} headers[MMDS_HEADERS]; /* of each the first */
};

void mmds_http_init(struct mmds_http *http, struct mmds *mmds);
void mmds_http_release(struct mmds_http *http);

/* Take bytes. Returns how many: fewer than len if a response is to be sent first. */
size_t mmds_http_receive(struct mmds_http *http, const uint8_t *data, size_t len, uint64_t now);

/* Whether it would take any. */
static inline bool mmds_http_ready(const struct mmds_http *http)
{
	return !http->out;
}

/* The whole response has arrived. */
void mmds_http_sent(struct mmds_http *http);

#endif
