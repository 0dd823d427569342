/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/mmds/http.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "vmm/util.h"

#define HEAD_SIZE 320 /* of a response */

/* ---- http-parser's callbacks: anything but 0 stops it ---- */

static int wrong(struct mmds_http *http, unsigned int status, const char *what)
{
	http->wrong = what;
	http->wrong_status = status;
	return -1;
}

/* Append to what must be whole to mean something: too long a text keeps a length above max. */
static void append(char *text, size_t *length, size_t max, const char *at, size_t n)
{
	if (*length + n <= max)
		memcpy(text + *length, at, n);
	else
		n = max + 1 - (*length <= max ? *length : max + 1);
	*length += n;
}

static int on_url(struct http_parser *parser, const char *at, size_t n)
{
	struct mmds_http *http = parser->data;

	append(http->uri, &http->uri_length, MMDS_URI_MAX, at, n);
	return http->uri_length > MMDS_URI_MAX ? wrong(http, 414, "URI too long.") : 0;
}

static enum mmds_header header_of(const char *name)
{
	static const struct {
		const char *name;
		enum mmds_header header;
	} known[] = {
		{ "X-metadata-token", MMDS_HEADER_TOKEN },
		{ "X-aws-ec2-metadata-token", MMDS_HEADER_TOKEN },
		{ "X-metadata-token-ttl-seconds", MMDS_HEADER_TTL },
		{ "X-aws-ec2-metadata-token-ttl-seconds", MMDS_HEADER_TTL },
		{ "X-Forwarded-For", MMDS_HEADER_FORWARDED },
		{ "Accept", MMDS_HEADER_ACCEPT },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(known); i++)
		if (strcasecmp(name, known[i].name) == 0)
			return known[i].header;
	return MMDS_HEADER_OTHER;
}

/* A header is complete when the next one begins. */
static void end_header(struct mmds_http *http)
{
	enum mmds_header header;

	if (!http->in_value)
		return;
	http->in_value = false;
	http->name[http->name_length <= MMDS_NAME_MAX ? http->name_length : 0] = 0;
	/* Too long for a token or a number: as much of it says so as well. */
	if (http->value_length > MMDS_VALUE_MAX)
		http->value_length = MMDS_VALUE_MAX;
	http->value[http->value_length] = 0;
	for (size_t n = http->value_length; n > 0 && strchr(" \t", http->value[n - 1]); n--)
		http->value[n - 1] = 0;
	header = header_of(http->name);
	if (header != MMDS_HEADER_OTHER && !http->headers[header].seen) {
		http->headers[header].seen = true;
		strcpy(http->headers[header].name, http->name);
		strcpy(http->headers[header].value, http->value);
	}
	http->name_length = http->value_length = 0;
}

static int on_header_field(struct http_parser *parser, const char *at, size_t n)
{
	struct mmds_http *http = parser->data;

	end_header(http);
	append(http->name, &http->name_length, MMDS_NAME_MAX, at, n);
	return 0;
}

static int on_header_value(struct http_parser *parser, const char *at, size_t n)
{
	struct mmds_http *http = parser->data;

	http->in_value = true;
	if (http->value_length < MMDS_VALUE_MAX) {
		size_t room = MMDS_VALUE_MAX - http->value_length;

		memcpy(http->value + http->value_length, at, n < room ? n : room);
	}
	http->value_length += n;
	return 0;
}

static int on_headers_complete(struct http_parser *parser)
{
	struct mmds_http *http = parser->data;
	bool has_length = parser->flags & F_CONTENTLENGTH;

	end_header(http);
	if (parser->http_major != 1 || parser->http_minor > 1)
		return wrong(http, 501, "Unsupported HTTP version.");
	switch (parser->method) {
	case HTTP_GET:
		/* Nobody who means well sends one, and waiting for it would be of no use. */
		if (parser->flags & F_CHUNKED || (has_length && parser->content_length > 0))
			return wrong(http, 400, "Invalid request.");
		return 0;
	case HTTP_PUT:
	case HTTP_PATCH:
	case HTTP_DELETE:
		if (has_length && parser->content_length > MMDS_BODY_MAX)
			return wrong(http, 413, "Request payload too large.");
		return 0;
	default:
		return wrong(http, 501, "Unsupported HTTP method.");
	}
}

static int on_body(struct http_parser *parser, const char *at, size_t n)
{
	struct mmds_http *http = parser->data;

	(void)at;
	http->body_length += n;
	return http->body_length > MMDS_BODY_MAX ? wrong(http, 413, "Request payload too large.") : 0;
}

static int on_message_complete(struct http_parser *parser)
{
	struct mmds_http *http = parser->data;

	http->complete = true;
	http_parser_pause(parser, 1);
	return 0;
}

static const struct http_parser_settings *settings(void)
{
	static const struct http_parser_settings callbacks = {
		.on_url = on_url,
		.on_header_field = on_header_field,
		.on_header_value = on_header_value,
		.on_headers_complete = on_headers_complete,
		.on_body = on_body,
		.on_message_complete = on_message_complete,
	};

	return &callbacks;
}

/* ---- requests ---- */

static void next_request(struct mmds_http *http)
{
	http_parser_init(&http->parser, HTTP_REQUEST);
	http->parser.data = http;
	http->head_length = http->body_length = 0;
	http->wrong = NULL;
	http->complete = http->in_value = false;
	http->uri_length = http->name_length = http->value_length = 0;
	memset(http->headers, 0, sizeof(http->headers));
}

void mmds_http_init(struct mmds_http *http, struct mmds *mmds)
{
	*http = (struct mmds_http){ .mmds = mmds };
	next_request(http);
}

void mmds_http_release(struct mmds_http *http)
{
	free(http->out);
	http->out = NULL;
}

/* Path and query of the URI: of "/a" it's all, of "http://host/a" what follows the host. */
static const char *path_of(const char *uri)
{
	const char *host = strstr(uri, "://");
	const char *path = uri[0] == '/' ? uri : host ? strchr(host + 3, '/') : NULL;

	return path ? path : "";
}

/* The first media type of the list that there is decides; without one it's text. */
static bool wants_json(const char *accept)
{
	while (*accept) {
		size_t len;

		accept += strspn(accept, ", \t");
		len = strcspn(accept, ",; \t");
		if (len == 16 && strncasecmp(accept, "application/json", len) == 0)
			return true;
		if ((len == 10 && strncasecmp(accept, "text/plain", len) == 0) ||
		    (len == 10 && strncasecmp(accept, "plain/text", len) == 0) ||
		    (len == 3 && strncmp(accept, "*/*", len) == 0))
			return false;
		accept += strcspn(accept, ",");
	}
	return false;
}

static const char *header(const struct mmds_http *http, enum mmds_header which)
{
	return http->headers[which].seen ? http->headers[which].value : NULL;
}

static void answer(struct mmds_http *http, struct mmds_response *response)
{
	const char *accept = header(http, MMDS_HEADER_ACCEPT);

	http->uri[http->uri_length] = 0;
	const struct mmds_request request = {
		.get = http->parser.method == HTTP_GET,
		.put = http->parser.method == HTTP_PUT,
		.path = path_of(http->uri),
		.wants_json = accept && wants_json(accept),
		.token = header(http, MMDS_HEADER_TOKEN),
		.ttl = header(http, MMDS_HEADER_TTL),
		.ttl_name = http->headers[MMDS_HEADER_TTL].name,
		.forwarded = http->headers[MMDS_HEADER_FORWARDED].seen ?
				     http->headers[MMDS_HEADER_FORWARDED].name : NULL,
	};

	mmds_answer(http->mmds, &request, http->now, response);
}

/* The response as text. Takes its body. */
static void respond(struct mmds_http *http, struct mmds_response *response)
{
	char ttl[MMDS_NAME_MAX + 24] = "", head[HEAD_SIZE];
	cleanup_free char *body = response->body;
	size_t length = body ? strlen(body) : 0;

	if (response->ttl)
		snprintf(ttl, sizeof(ttl), "%s: %" PRIu32 "\r\n", http->headers[MMDS_HEADER_TTL].name,
			 response->ttl);
	size_t n = (size_t)snprintf(
		head, sizeof(head),
		"HTTP/1.%u %u %s\r\nServer: mote\r\nConnection: %s\r\n%s%sContent-Type: %s\r\n"
		"Content-Length: %zu\r\n\r\n",
		http->parser.http_major == 1 && http->parser.http_minor == 0 ? 0 : 1, response->status,
		http_status_str(response->status), http->ended ? "close" : "keep-alive",
		response->allow ? "Allow: GET, PUT\r\n" : "", ttl,
		response->json ? "application/json" : "text/plain", length);

	http->out = body ? malloc(n + length) : NULL;
	if (!http->out) {
		http->failed = true;
		http->mmds->counters.tx_errors++;
		return;
	}
	memcpy(http->out, head, n);
	memcpy(http->out + n, body, length);
	http->out_length = n + length;
}

/* The parser has stopped: what was wrong, if none of the callbacks has said so. */
static void name_error(struct mmds_http *http)
{
	if (http->wrong)
		return;
	switch (HTTP_PARSER_ERRNO(&http->parser)) {
	case HPE_INVALID_METHOD:
		wrong(http, 501, "Unsupported HTTP method.");
		break;
	case HPE_INVALID_VERSION:
		wrong(http, 501, "Unsupported HTTP version.");
		break;
	case HPE_INVALID_URL:
	case HPE_INVALID_HOST:
	case HPE_INVALID_PORT:
	case HPE_INVALID_PATH:
		wrong(http, 400, "Invalid URI.");
		break;
	default:
		wrong(http, 400, "Invalid request.");
		break;
	}
}

static void finish(struct mmds_http *http)
{
	struct mmds_response response = { 0 };

	if (http->complete) {
		http->ended = !http_should_keep_alive(&http->parser);
		answer(http, &response);
	} else {
		name_error(http);
		http->ended = true;
		response.status = http->wrong_status;
		response.body = strdup(http->wrong);
	}
	respond(http, &response);
	if (!http->ended)
		next_request(http);
}

size_t mmds_http_receive(struct mmds_http *http, const uint8_t *data, size_t len, uint64_t now)
{
	if (http->out || http->failed)
		return 0;
	if (http->ended)
		return len;
	http->now = now;
	size_t n = http_parser_execute(&http->parser, settings(), (const char *)data, len);

	http->head_length += n;
	if (!http->complete && HTTP_PARSER_ERRNO(&http->parser) == HPE_OK &&
	    http->head_length > MMDS_HEAD_MAX + http->body_length)
		wrong(http, 431, "Request header too large.");
	if (http->complete || http->wrong || HTTP_PARSER_ERRNO(&http->parser) != HPE_OK) {
		/* What follows an error can't be told from the rest of the request. */
		n = http->complete ? n : len;
		finish(http);
	}
	return n;
}

void mmds_http_sent(struct mmds_http *http)
{
	free(http->out);
	http->out = NULL;
	http->out_length = 0;
}
