/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/connection.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "vmm/api/response.h"
#include "vmm/util.h"

#define NS_PER_MS 1000000ull
#define HEAD_MAX  256

static void set_deadline(struct api_connection *c, unsigned int ms)
{
	c->deadline_ns = c->now_ns + ms * NS_PER_MS;
}

/* ---- output ---- */

/* Without memory there is nothing to say and nothing to go on with. */
static void append(struct api_connection *c, const char *bytes, size_t n)
{
	char *output = malloc(c->out_length + n);

	if (!output) {
		c->phase = API_DONE;
		return;
	}
	if (c->out_length)
		memcpy(output, c->output, c->out_length);
	memcpy(output + c->out_length, bytes, n);
	free(c->output);
	c->output = output;
	c->out_length += n;
	set_deadline(c, API_REQUEST_TIMEOUT_MS);
}

static void respond(struct api_connection *c, const struct api_response *r)
{
	char head[HEAD_MAX];
	const char *keep = c->phase == API_OPEN ? "keep-alive" : "close";
	int n = snprintf(head, sizeof(head), "HTTP/1.1 %u %s\r\nServer: mote\r\nConnection: %s\r\n",
			 r->status, http_status_str(r->status), keep);

	if (r->body)
		n += snprintf(head + n, sizeof(head) - (size_t)n,
			      "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			      r->body_length);
	else if (r->status != 204)
		n += snprintf(head + n, sizeof(head) - (size_t)n, "Content-Length: 0\r\n");
	n += snprintf(head + n, sizeof(head) - (size_t)n, "\r\n");
	append(c, head, (size_t)n);
	if (r->body)
		append(c, r->body, r->body_length);
}

/* The request can't be understood, so where the next one would begin isn't known either. */
static void fail(struct api_connection *c, unsigned int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void fail(struct api_connection *c, unsigned int status, const char *fmt, ...)
{
	struct api_response response = { 0 };
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->phase = API_LAST;
	c->failed = true;
	c->in_request = false;
	c->in_start = c->in_end = 0;
	api_response_fault(&response, status, text);
	respond(c, &response);
	free(response.body);
}

/* ---- http-parser's callbacks: anything but 0 stops it ---- */

static struct api_connection *of(const struct http_parser *parser)
{
	return parser->data;
}

static void forget_request(struct api_connection *c)
{
	free(c->body);
	c->body = NULL;
	c->body_length = c->body_room = 0;
	c->url_length = c->name_length = c->value_length = 0;
	c->in_value = c->expects_continue = c->in_request = false;
}

static int on_begin(struct http_parser *parser)
{
	struct api_connection *c = of(parser);

	forget_request(c);
	c->in_request = true;
	set_deadline(c, API_REQUEST_TIMEOUT_MS);
	return 0;
}

static int on_url(struct http_parser *parser, const char *at, size_t n)
{
	struct api_connection *c = of(parser);

	if (n > API_URL_MAX - c->url_length) {
		fail(c, 414, "The request's target is longer than %d bytes.", API_URL_MAX);
		return 1;
	}
	memcpy(c->url + c->url_length, at, n);
	c->url_length += n;
	return 0;
}

/* As much as fits; one byte more than that is kept as a length, so that a prefix matches nothing. */
static void keep(char *buf, size_t size, size_t *length, const char *at, size_t n)
{
	size_t room = size - *length;

	memcpy(buf + *length, at, n < room ? n : room);
	*length += n < room ? n : room;
}

static bool is(const char *buf, size_t length, const char *text)
{
	return length == strlen(text) && strncasecmp(buf, text, length) == 0;
}

/* Returns false for an expectation that we can't meet. */
static bool finish_header(struct api_connection *c)
{
	bool ours = !is(c->name, c->name_length, "Expect");

	if (!ours && is(c->value, c->value_length, "100-continue"))
		ours = c->expects_continue = true;
	c->name_length = c->value_length = 0;
	c->in_value = false;
	if (!ours)
		fail(c, 417, "The only expectation that can be met is 100-continue.");
	return ours;
}

static int on_field(struct http_parser *parser, const char *at, size_t n)
{
	struct api_connection *c = of(parser);

	if (c->in_value && !finish_header(c))
		return 1;
	keep(c->name, sizeof(c->name), &c->name_length, at, n);
	return 0;
}

static int on_value(struct http_parser *parser, const char *at, size_t n)
{
	struct api_connection *c = of(parser);

	c->in_value = true;
	keep(c->value, sizeof(c->value), &c->value_length, at, n);
	return 0;
}

static int too_large(struct api_connection *c)
{
	fail(c, 413, "The request's body is larger than %zu bytes.", c->body_max);
	return 1;
}

static int on_headers(struct http_parser *parser)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct api_connection *c = of(parser);
	bool has_length = parser->content_length != UINT64_MAX;

	if (c->in_value && !finish_header(c))
		return -1;
	if (parser->http_major != 1) {
		fail(c, 505, "The version of HTTP is not 1.");
		return -1;
	}
	/* No other protocol is spoken here: what follows is HTTP, whatever the client offers. */
	parser->upgrade = 0;
	if (has_length && parser->content_length > c->body_max) {
		too_large(c);
		return -1;
	}
	if (c->expects_continue && parser->http_minor >= 1)
		append(c, go_on, sizeof(go_on) - 1);
	return 0;
}

/* Not realloc: of large blocks that is mremap(2), which the filter doesn't know. */
static bool make_room(struct api_connection *c, size_t n)
{
	size_t room = c->body_length + n;

	if (room <= c->body_room)
		return true;
	/* All of it if its length is known, else twice what there is. */
	if (c->parser.content_length != UINT64_MAX && c->parser.content_length < c->body_max)
		room += (size_t)c->parser.content_length;
	else if (room < 2 * c->body_room)
		room = 2 * c->body_room;
	if (room > c->body_max)
		room = c->body_max;
	char *body = malloc(room);

	if (!body)
		return false;
	if (c->body_length)
		memcpy(body, c->body, c->body_length);
	free(c->body);
	c->body = body;
	c->body_room = room;
	return true;
}

static int on_body(struct http_parser *parser, const char *at, size_t n)
{
	struct api_connection *c = of(parser);

	if (n > c->body_max - c->body_length)
		return too_large(c);
	if (!make_room(c, n)) {
		fail(c, 500, "There is no memory for the request's body.");
		return 1;
	}
	memcpy(c->body + c->body_length, at, n);
	c->body_length += n;
	return 0;
}

/* Of "http://host/path", which is a valid target too, only the path. */
static const char *path_of(struct api_connection *c)
{
	struct http_parser_url url;

	c->url[c->url_length] = 0;
	http_parser_url_init(&url);
	if (http_parser_parse_url(c->url, c->url_length, 0, &url) != 0 ||
	    !(url.field_set & (1 << UF_PATH)))
		return c->url;
	return c->url + url.field_data[UF_PATH].off;
}

static int on_complete(struct http_parser *parser)
{
	struct api_connection *c = of(parser);
	const struct api_request request = {
		.method = http_method_str(parser->method),
		.path = path_of(c),
		.body = c->body,
		.body_length = c->body_length,
	};
	struct api_response response = { 0 };

	c->in_request = false;
	if (!http_should_keep_alive(parser))
		c->phase = API_LAST;
	c->handler(c->context, &request, &response);
	respond(c, &response);
	free(response.body);
	forget_request(c);
	http_parser_pause(parser, 1);
	return 0;
}

/* ---- input ---- */

static const struct http_parser_settings settings = {
	.on_message_begin = on_begin,
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

/* Read on until there is something to say. */
static void read_on(struct api_connection *c)
{
	while (c->phase == API_OPEN && c->out_length == 0 && c->in_start < c->in_end) {
		const char *at = c->input + c->in_start;

		http_parser_pause(&c->parser, 0);
		size_t n = http_parser_execute(&c->parser, &settings, at, c->in_end - c->in_start);

		c->in_start += n;
		enum http_errno why = HTTP_PARSER_ERRNO(&c->parser);

		if (why != HPE_OK && why != HPE_PAUSED && !c->failed && c->phase != API_DONE)
			fail(c, 400, "Not HTTP: %s.", http_errno_description(why));
	}
}

void api_connection_init(struct api_connection *c, size_t body_max, api_handler handler,
			 void *context)
{
	*c = (struct api_connection){ .body_max = body_max,
				      .handler = handler,
				      .context = context };
	http_parser_init(&c->parser, HTTP_REQUEST);
	c->parser.data = c;
}

void api_connection_release(struct api_connection *c)
{
	free(c->output);
	free(c->body);
}

size_t api_connection_room(struct api_connection *c, char **at)
{
	*at = c->input;
	if (c->phase == API_DRAINING)
		return sizeof(c->input);
	if (c->phase != API_OPEN || c->out_length > 0 || c->in_start < c->in_end)
		return 0;
	return sizeof(c->input);
}

void api_connection_received(struct api_connection *c, size_t n, uint64_t now_ns)
{
	c->now_ns = now_ns;
	if (n == 0)
		c->phase = API_DONE;
	if (c->phase != API_OPEN)
		return;
	c->in_start = 0;
	c->in_end = n;
	read_on(c);
}

size_t api_connection_output(const struct api_connection *c, const char **at)
{
	*at = c->output ? c->output + c->out_sent : NULL;
	return c->out_length - c->out_sent;
}

void api_connection_sent(struct api_connection *c, size_t n, uint64_t now_ns)
{
	c->now_ns = now_ns;
	c->out_sent += n;
	if (c->out_sent < c->out_length)
		return;
	free(c->output);
	c->output = NULL;
	c->out_length = c->out_sent = 0;
	c->deadline_ns = 0;
	if (c->phase == API_LAST) {
		c->phase = c->failed ? API_DRAINING : API_DONE;
		set_deadline(c, API_LAST_WORDS_TIMEOUT_MS);
	} else if (c->in_request) {
		set_deadline(c, API_REQUEST_TIMEOUT_MS); /* from "100 Continue" on */
	}
	read_on(c);
}

void api_connection_expire(struct api_connection *c, uint64_t now_ns)
{
	c->now_ns = now_ns;
	if (c->phase == API_OPEN && c->out_length == 0 && c->in_request)
		fail(c, 408, "The request has not come to its end within %d ms.",
		     API_REQUEST_TIMEOUT_MS);
	else
		c->phase = API_DONE;
}

bool api_connection_idle(const struct api_connection *c)
{
	return c->phase == API_OPEN && !c->in_request && c->out_length == 0;
}
