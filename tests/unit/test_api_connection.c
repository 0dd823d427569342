/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP of one client: bytes and times are the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/api/connection.h"
#include "vmm/util.h"

#define S 1000000000ull

/* Notes what it is asked, and answers 200 {"n":1}, 204 for PUT, 400 for the path /bad. */
struct world {
	struct api_connection c;
	uint64_t now_ns;
	unsigned int n;
	char log[8192]; /* "METHOD PATH [BODY]\n" */
	char out[16384];
};

static void handle(void *context, const struct api_request *r, struct api_response *response)
{
	struct world *w = context;
	size_t used = strlen(w->log);

	snprintf(w->log + used, sizeof(w->log) - used, "%s %s%s%.*s\n", r->method, r->path,
		 r->body ? " " : "", r->body ? (int)r->body_length : 0, r->body ? r->body : "");
	w->n++;
	response->status = strcmp(r->method, "PUT") == 0  ? 204
			   : strcmp(r->path, "/bad") == 0 ? 400
							  : 200;
	if (response->status == 204)
		return;
	response->body = malloc(16);
	response->body_length = (size_t)snprintf(response->body, 16, "{\"n\":%u}", w->n);
}

static void begin(struct world *w, size_t body_max)
{
	memset(w, 0, sizeof(*w));
	w->now_ns = 5 * S;
	api_connection_init(&w->c, body_max, handle, w);
}

/* Take all that is to be said, at most `piece` bytes at a time. */
static void take(struct world *w, size_t piece)
{
	const char *at;
	size_t left;

	while ((left = api_connection_output(&w->c, &at)) > 0) {
		size_t n = left < piece ? left : piece;

		strncat(w->out, at, n);
		api_connection_sent(&w->c, n, w->now_ns);
	}
}

/* Give text, at most `piece` bytes at a time, and take what is answered. */
static void give(struct world *w, const char *text, size_t piece)
{
	size_t left = strlen(text), room;
	char *at;

	while (left > 0 && (room = api_connection_room(&w->c, &at)) > 0) {
		size_t n = left < piece ? left : piece;

		n = n < room ? n : room;
		memcpy(at, text, n);
		api_connection_received(&w->c, n, w->now_ns);
		take(w, SIZE_MAX);
		text += n;
		left -= n;
	}
}

#define HEAD(status) "HTTP/1.1 " status "\r\nServer: mote\r\nConnection: "
#define JSON(length) "\r\nContent-Type: application/json\r\nContent-Length: " length "\r\n\r\n"
#define OK(n)	     HEAD("200 OK") "keep-alive" JSON("7") "{\"n\":" n "}"
#define NO_CONTENT   HEAD("204 No Content") "keep-alive\r\n\r\n"
#define GO_ON	     "HTTP/1.1 100 Continue\r\n\r\n"
#define FAULT(status, length, text)                                                                \
	HEAD(status) "close" JSON(length) "{\"fault_message\":\"" text "\"}"

static void whole_at_any_split(void **state)
{
	static const char requests[] =
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
		"PUT /a HTTP/1.1\r\nContent-Length: 5\r\nContent-Type: x\r\n\r\nhello"
		"PATCH /bad HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
		"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n"
		"\r\nGET http://localhost/b/c?d HTTP/1.1\r\n\r\n";
	static const char answers[] = OK("1")
		NO_CONTENT HEAD("400 Bad Request") "keep-alive" JSON("7") "{\"n\":3}" OK("4");
	struct world w;

	(void)state;
	for (size_t first = 0; first < sizeof(requests); first++) {
		char head[sizeof(requests)] = "";

		begin(&w, 100);
		memcpy(head, requests, first);
		give(&w, head, SIZE_MAX);
		give(&w, requests + first, SIZE_MAX);
		assert_string_equal(w.log, "GET /\nPUT /a hello\nPATCH /bad abcde\nGET /b/c?d\n");
		assert_string_equal(w.out, answers);
		assert_true(api_connection_idle(&w.c));
		assert_int_equal(w.c.deadline_ns, 0);
		api_connection_release(&w.c);
	}
	for (size_t piece = 1; piece < 40; piece++) {
		begin(&w, 100);
		give(&w, requests, piece);
		assert_string_equal(w.out, answers);
		api_connection_release(&w.c);
	}
}

static void a_pipeline_waits_for_its_reader(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\n\r\n";
	struct world w;
	char *at;
	const char *out;

	(void)state;
	begin(&w, 100);
	assert_int_equal(api_connection_room(&w.c, &at), API_INPUT_SIZE);
	for (int i = 0; i < 3; i++)
		memcpy(at + i * strlen(request), request, strlen(request));
	api_connection_received(&w.c, 3 * strlen(request), w.now_ns);
	assert_int_equal(w.n, 1);
	assert_int_equal(api_connection_room(&w.c, &at), 0);
	assert_int_equal(api_connection_output(&w.c, &out), strlen(OK("1")));
	api_connection_sent(&w.c, strlen(OK("1")) - 1, w.now_ns);
	assert_int_equal(w.n, 1);
	api_connection_sent(&w.c, 1, w.now_ns);
	assert_int_equal(w.n, 2);
	take(&w, 1);
	assert_int_equal(w.n, 3);
	assert_string_equal(w.out, OK("2") OK("3"));
	assert_int_equal(api_connection_room(&w.c, &at), API_INPUT_SIZE);
	api_connection_release(&w.c);
}

static void expectations(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 100);
	give(&w, "PUT /a HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n", 1);
	assert_string_equal(w.out, GO_ON);
	assert_false(api_connection_idle(&w.c));
	give(&w, "hi", 1);
	assert_string_equal(w.out, GO_ON NO_CONTENT);
	api_connection_release(&w.c);

	begin(&w, 100); /* the body comes with it */
	give(&w, "PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
	     SIZE_MAX);
	assert_string_equal(w.out, GO_ON NO_CONTENT);
	api_connection_release(&w.c);

	begin(&w, 100); /* too large: said before it is sent */
	give(&w, "PUT /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n",
	     SIZE_MAX);
	assert_string_equal(w.out, FAULT("413 Payload Too Large", "64",
					 "The request's body is larger than 100 bytes."));
	api_connection_release(&w.c);

	begin(&w, 100);
	give(&w, "PUT /a HTTP/1.1\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n", SIZE_MAX);
	assert_string_equal(w.out, FAULT("417 Expectation Failed", "73",
					 "The only expectation that can be met is 100-continue."));
	assert_int_equal(w.n, 0);
	api_connection_release(&w.c);

	begin(&w, 100); /* other headers of the same beginning mean nothing */
	give(&w, "GET /a HTTP/1.1\r\nExpectations: none\r\nExpec: t\r\n\r\n", 1);
	assert_string_equal(w.out, OK("1"));
	api_connection_release(&w.c);
}

static void a_body_may_be_as_long_as_the_limit(void **state)
{
	char request[4096], body[2048];
	struct world w;

	(void)state;
	memset(body, 'x', sizeof(body));
	body[1000] = 0;
	snprintf(request, sizeof(request), "PUT /a HTTP/1.1\r\nContent-Length: 1000\r\n\r\n%s",
		 body);
	begin(&w, 1000);
	give(&w, request, 7);
	assert_string_equal(w.out, NO_CONTENT);
	assert_int_equal(strlen(w.log), strlen("PUT /a \n") + 1000);
	/* Chunks: 1000 bytes are taken, one more isn't. */
	snprintf(request, sizeof(request),
		 "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n%s\r\n0\r\n\r\n",
		 body);
	give(&w, request, 100);
	assert_string_equal(w.out, NO_CONTENT NO_CONTENT);
	snprintf(request, sizeof(request),
		 "PUT /a HTTP/1.1\r\nTransfer-Encoding: "
		 "chunked\r\n\r\n3e8\r\n%s\r\n1\r\nx\r\n0\r\n\r\n",
		 body);
	w.out[0] = 0;
	give(&w, request, 100);
	assert_string_equal(w.out, FAULT("413 Payload Too Large", "65",
					 "The request's body is larger than 1000 bytes."));
	assert_int_equal(w.n, 2);
	assert_int_equal(w.c.phase, API_DRAINING);
	api_connection_release(&w.c);
}

static void what_is_not_http_is_told_so_and_is_the_last(void **state)
{
	static const struct {
		const char *request, *answer;
	} cases[] = {
		{ "HELLO\r\n\r\n",
		  FAULT("400 Bad Request", "50", "Not HTTP: invalid HTTP method.") },
		{ "GET\r\n\r\n", NULL },
		{ "PUT /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", NULL },
		{ "PUT /a HTTP/1.1\r\nContent-Length: -1\r\n\r\n", NULL },
		{ "PUT /a HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", NULL },
		/* Two lengths: whose request would follow is anybody's guess. */
		{ "PUT /a HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: "
		  "chunked\r\n\r\n0\r\n\r\n",
		  NULL },
		{ "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", NULL },
	};
	struct world w;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(&w, 100);
		give(&w, cases[i].request, SIZE_MAX);
		give(&w, "GET / HTTP/1.1\r\n\r\n", SIZE_MAX);
		assert_int_equal(w.n, 0);
		if (cases[i].answer)
			assert_string_equal(w.out, cases[i].answer);
		assert_memory_equal(
			w.out, "HTTP/1.1 400 Bad Request\r\nServer: mote\r\nConnection: close", 57);
		assert_non_null(strstr(w.out, "{\"fault_message\":\"Not HTTP: "));
		assert_int_equal(w.c.phase, API_DRAINING);
		w.now_ns += 1 * S;
		assert_int_equal(w.c.deadline_ns, w.now_ns);
		api_connection_expire(&w.c, w.now_ns);
		assert_int_equal(w.c.phase, API_DONE);
		api_connection_release(&w.c);
	}
}

static void only_version_1_is_spoken(void **state)
{
	static const char *const requests[] = { "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/0.9\r\n\r\n",
						"GET /\r\n\r\n" };
	struct world w;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(requests); i++) {
		begin(&w, 100);
		give(&w, requests[i], SIZE_MAX);
		assert_string_equal(w.out, FAULT("505 HTTP Version Not Supported", "49",
						 "The version of HTTP is not 1."));
		assert_int_equal(w.n, 0);
		api_connection_release(&w.c);
	}
}

static void targets_and_headers_have_limits(void **state)
{
	char request[2 * API_URL_MAX], target[API_URL_MAX + 2];
	struct world w;

	(void)state;
	memset(target, 'a', sizeof(target));
	target[0] = '/';
	target[API_URL_MAX] = 0;
	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n\r\n", target);
	begin(&w, 100);
	give(&w, request, 100);
	assert_string_equal(w.out, OK("1"));
	target[API_URL_MAX] = 'a';
	target[API_URL_MAX + 1] = 0;
	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n\r\n", target);
	w.out[0] = 0;
	give(&w, request, 100);
	assert_string_equal(w.out, FAULT("414 URI Too Long", "67",
					 "The request's target is longer than 1024 bytes."));
	api_connection_release(&w.c);

	begin(&w, 100); /* headers without an end */
	give(&w, "GET / HTTP/1.1\r\n", SIZE_MAX);
	for (int i = 0; i < 100 && w.c.phase == API_OPEN; i++)
		for (int k = 0; k < 16 && w.c.phase == API_OPEN; k++)
			give(&w,
			     "Abcdefghijklmnopqrstuvwxyz: ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789\r\n",
			     SIZE_MAX);
	assert_memory_equal(w.out, "HTTP/1.1 400 ", 13);
	api_connection_release(&w.c);
}

static void a_half_request_times_out(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 100);
	assert_int_equal(w.c.deadline_ns, 0);
	give(&w, "GET / HT", SIZE_MAX);
	assert_int_equal(w.c.deadline_ns, 15 * S);
	w.now_ns = 14 * S; /* bytes that drip give no more time */
	give(&w, "TP/1.1\r\n", SIZE_MAX);
	assert_int_equal(w.c.deadline_ns, 15 * S);
	w.now_ns = 15 * S;
	api_connection_expire(&w.c, w.now_ns);
	take(&w, SIZE_MAX);
	assert_string_equal(w.out, FAULT("408 Request Timeout", "72",
					 "The request has not come to its end within 10000 ms."));
	assert_int_equal(w.n, 0);
	api_connection_release(&w.c);
}

static void a_response_that_nobody_takes_times_out(void **state)
{
	const char *at;
	struct world w;
	char *in;

	(void)state;
	begin(&w, 100);
	api_connection_room(&w.c, &in);
	memcpy(in, "GET / HTTP/1.1\r\n\r\n", 18);
	api_connection_received(&w.c, 18, w.now_ns);
	assert_int_not_equal(api_connection_output(&w.c, &at), 0);
	assert_int_equal(w.c.deadline_ns, 15 * S);
	assert_false(api_connection_idle(&w.c));
	api_connection_expire(&w.c, 15 * S);
	assert_int_equal(w.c.phase, API_DONE);
	api_connection_release(&w.c);
}

static void the_client_may_end_the_connection(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 100);
	give(&w, "GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\n\r\n", SIZE_MAX);
	assert_string_equal(w.out, HEAD("200 OK") "close" JSON("7") "{\"n\":1}");
	assert_int_equal(w.c.phase, API_DONE);
	api_connection_release(&w.c);

	begin(&w, 100);
	give(&w, "GET / HTTP/1.0\r\n\r\n", SIZE_MAX);
	assert_int_equal(w.c.phase, API_DONE);
	api_connection_release(&w.c);

	begin(&w, 100);
	give(&w, "PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel", SIZE_MAX);
	api_connection_received(&w.c, 0, w.now_ns);
	assert_int_equal(w.c.phase, API_DONE);
	assert_int_equal(w.n, 0);
	api_connection_release(&w.c);
}

static void other_protocols_are_not_spoken(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 100);
	give(&w,
	     "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
	     SIZE_MAX);
	assert_string_equal(w.log, "GET /\nGET /b\n");
	api_connection_release(&w.c);
	begin(&w, 100);
	give(&w, "CONNECT a:1 HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n", SIZE_MAX);
	assert_string_equal(w.log, "CONNECT a:1\nGET /b\n");
	api_connection_release(&w.c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_at_any_split),
		cmocka_unit_test(a_pipeline_waits_for_its_reader),
		cmocka_unit_test(expectations),
		cmocka_unit_test(a_body_may_be_as_long_as_the_limit),
		cmocka_unit_test(what_is_not_http_is_told_so_and_is_the_last),
		cmocka_unit_test(only_version_1_is_spoken),
		cmocka_unit_test(targets_and_headers_have_limits),
		cmocka_unit_test(a_half_request_times_out),
		cmocka_unit_test(a_response_that_nobody_takes_times_out),
		cmocka_unit_test(the_client_may_end_the_connection),
		cmocka_unit_test(other_protocols_are_not_spoken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
