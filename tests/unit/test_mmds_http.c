/* SPDX-License-Identifier: Apache-2.0 */
/* What the metadata service answers, byte by byte. Errors have Firecracker's words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "devices/mmds/http.h"
#include "vmm/util.h"

#define S    1000000000ull
#define DATA "{\"latest\":{\"meta-data\":{\"ami-id\":\"ami-1\",\"cpus\":2},\"user\":\"me\"},\"age\":43}"

static struct mmds mmds;
static struct mmds_http http;
static uint64_t now;

static int set_up(void **state)
{
	json_t *data = json_loads(DATA, 0, NULL);
	struct error err = { 0 };

	(void)state;
	now = 1000 * S;
	assert_int_equal(mmds_init(&mmds, MMDS_SIZE_LIMIT, &err), 0);
	assert_int_equal(mmds_store_put(&mmds.store, data, &err), 0);
	json_decref(data);
	mmds_http_init(&http, &mmds);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	mmds_http_release(&http);
	mmds_release(&mmds);
	return 0;
}

static void restart(void)
{
	mmds_http_release(&http);
	mmds_http_init(&http, &mmds);
}

/* Feed all of text in pieces of at most n bytes; what isn't taken must be behind a response. */
static size_t feed(const char *text, size_t len, size_t n)
{
	size_t done = 0;

	while (done < len && !http.out) {
		size_t piece = len - done < n ? len - done : n;
		size_t taken = mmds_http_receive(&http, (const uint8_t *)text + done, piece, now);

		assert_true(taken <= piece);
		assert_true(taken == piece || http.out);
		done += taken;
	}
	return done;
}

/* The response, copied; it counts as sent. */
static const char *response(void)
{
	static char text[65536];

	assert_non_null(http.out);
	memcpy(text, http.out, http.out_length);
	text[http.out_length] = 0;
	mmds_http_sent(&http);
	return text;
}

static const char *ask(const char *request)
{
	assert_int_equal(feed(request, strlen(request), SIZE_MAX), strlen(request));
	return response();
}

static const char *reply(const char *status, const char *more, const char *type, const char *body)
{
	static char text[4096];

	snprintf(text, sizeof(text),
		 "HTTP/1.1 %s\r\nServer: mote\r\nConnection: keep-alive\r\n%sContent-Type: %s\r\n"
		 "Content-Length: %zu\r\n\r\n%s",
		 status, more, type, strlen(body), body);
	return text;
}

static void expect_text(const char *request, const char *status, const char *body)
{
	assert_string_equal(ask(request), reply(status, "", "text/plain", body));
}

static void expect_json(const char *request, const char *body)
{
	assert_string_equal(ask(request), reply("200 OK", "", "application/json", body));
}

/* After this one the connection is over. */
static void expect_last(const char *request, const char *status, const char *body)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "HTTP/1.1 %s\r\nServer: mote\r\nConnection: close\r\nContent-Type: text/plain\r\n"
		 "Content-Length: %zu\r\n\r\n%s",
		 status, strlen(body), body);
	assert_string_equal(ask(request), text);
	assert_true(http.ended);
	/* What comes now is for nobody. */
	assert_int_equal(mmds_http_receive(&http, (const uint8_t *)"GET", 3, now), 3);
	assert_null(http.out);
	restart();
}

static const char *get_token(const char *ttl)
{
	static char token[MMDS_TOKEN_LENGTH + 1];
	char request[256];

	snprintf(request, sizeof(request),
		 "PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: %s\r\n\r\n", ttl);
	const char *body = strstr(ask(request), "\r\n\r\n");

	assert_int_equal(strlen(body + 4), MMDS_TOKEN_LENGTH);
	return strcpy(token, body + 4);
}

static const char *with_token(const char *path, const char *name, const char *token)
{
	static char request[512];

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n%s: %s\r\n\r\n", path, name, token);
	return request;
}

static void version_1_is_read_by_everybody(void **state)
{
	(void)state;
	expect_text("GET / HTTP/1.1\r\n\r\n", "200 OK", "age\nlatest/");
	expect_text("GET /latest HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "meta-data/\nuser");
	expect_text("GET /latest/meta-data/ HTTP/1.1\r\n\r\n", "200 OK", "ami-id\ncpus");
	expect_text("GET //latest//meta-data///ami-id/ HTTP/1.1\r\n\r\n", "200 OK", "ami-1");
	expect_text("GET http://169.254.169.254/latest/user HTTP/1.1\r\n\r\n", "200 OK", "me");
	expect_text("GET /age HTTP/1.1\r\n\r\n", "501 Not Implemented",
		    "Cannot retrieve value. The value has an unsupported type.");
	expect_text("GET /latest/x HTTP/1.1\r\n\r\n", "404 Not Found",
		    "Resource not found: /latest/x.");
	expect_text("GET /age?x HTTP/1.1\r\n\r\n", "404 Not Found", "Resource not found: /age?x.");
	assert_int_equal(mmds.counters.rx_no_token, 8);
	/* A wrong token doesn't matter, and is counted. */
	expect_text(with_token("/latest/user", "X-metadata-token", "foo"), "200 OK", "me");
	assert_int_equal(mmds.counters.rx_invalid_token, 1);
	expect_text(with_token("/latest/user", "X-metadata-token", get_token("60")), "200 OK", "me");
	assert_int_equal(mmds.counters.rx_no_token, 8);
	assert_int_equal(mmds.counters.rx_invalid_token, 1);
}

static void formats(void **state)
{
	static const char *const json[] = { "application/json", "application/json;q=0.9",
					    "text/html, application/json", "Application/JSON",
					    "application/json, */*" };
	static const char *const text[] = { "text/plain", "plain/text", "*/*", "", "text/html",
					    "*/*, application/json", "application/jsonp" };
	char request[128];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(json); i++) {
		snprintf(request, sizeof(request), "GET /latest HTTP/1.1\r\nAccept: %s\r\n\r\n", json[i]);
		expect_json(request, "{\"meta-data\":{\"ami-id\":\"ami-1\",\"cpus\":2},\"user\":\"me\"}");
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(text); i++) {
		snprintf(request, sizeof(request), "GET /latest HTTP/1.1\r\naccept: %s\r\n\r\n", text[i]);
		expect_text(request, "200 OK", "meta-data/\nuser");
	}
	expect_json("GET /latest/user HTTP/1.1\r\nAccept: application/json\r\n\r\n", "\"me\"");
	expect_json("GET /age HTTP/1.1\r\nAccept: application/json\r\n\r\n", "43");
	/* Errors are text whatever was asked for. */
	expect_text("GET /x HTTP/1.1\r\nAccept: application/json\r\n\r\n", "404 Not Found",
		    "Resource not found: /x.");
	mmds.imds_compat = true;
	expect_text("GET /latest HTTP/1.1\r\nAccept: application/json\r\n\r\n", "200 OK",
		    "meta-data/\nuser");
}

static void version_2_is_read_with_a_token(void **state)
{
	static const char none[] =
		"No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to "
		"specify the session token.";
	const char *token;

	(void)state;
	mmds.version = MMDS_V2;
	expect_text("GET /latest/user HTTP/1.1\r\n\r\n", "401 Unauthorized", none);
	expect_text("GET /none HTTP/1.1\r\n\r\n", "401 Unauthorized", none);
	expect_text(with_token("/latest/user", "X-metadata-token", "foo"), "401 Unauthorized",
		    "MMDS token not valid.");
	expect_text(with_token("/latest/user", "X-metadata-token", ""), "401 Unauthorized",
		    "MMDS token not valid.");
	assert_int_equal(mmds.counters.rx_no_token, 2);
	assert_int_equal(mmds.counters.rx_invalid_token, 2);
	token = get_token("2");
	expect_text(with_token("/latest/user", "X-metadata-token", token), "200 OK", "me");
	expect_text(with_token("/latest/user", "x-AWS-ec2-metadata-token", token), "200 OK", "me");
	expect_text(with_token("/none", "X-metadata-token", token), "404 Not Found",
		    "Resource not found: /none.");
	now += 2 * S - 1;
	expect_text(with_token("/latest/user", "X-metadata-token", token), "200 OK", "me");
	now++;
	expect_text(with_token("/latest/user", "X-metadata-token", token), "401 Unauthorized",
		    "MMDS token not valid.");
	assert_int_equal(mmds.counters.rx_invalid_token, 3);
}

#define PUT_TOKEN "PUT /latest/api/token HTTP/1.1\r\n"

static void tokens_have_rules(void **state)
{
	char ttl_rule[2][128];

	(void)state;
	for (unsigned int version = MMDS_V1; version <= MMDS_V2; version++) {
		mmds.version = version;
		expect_text(PUT_TOKEN "\r\n", "400 Bad Request",
			    "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or "
			    "`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.");
		expect_text(PUT_TOKEN "X-metadata-token-ttl-seconds: 0\r\n\r\n", "400 Bad Request",
			    "Invalid time to live value provided for token: 0. Please provide a value between "
			    "1 and 21600.");
		expect_text(PUT_TOKEN "X-metadata-token-ttl-seconds: 21601\r\n\r\n", "400 Bad Request",
			    "Invalid time to live value provided for token: 21601. Please provide a value "
			    "between 1 and 21600.");
		expect_text(PUT_TOKEN "x-METADATA-token-ttl-seconds: 4294967296\r\n\r\n", "400 Bad Request",
			    "Invalid header. Reason: Invalid value. Key:x-METADATA-token-ttl-seconds; "
			    "Value:4294967296");
		expect_text(PUT_TOKEN "X-aws-ec2-metadata-token-ttl-seconds: application/json \r\n\r\n",
			    "400 Bad Request",
			    "Invalid header. Reason: Invalid value. Key:X-aws-ec2-metadata-token-ttl-seconds; "
			    "Value:application/json");
		expect_text(PUT_TOKEN "X-metadata-token-ttl-seconds:\r\n\r\n", "400 Bad Request",
			    "Invalid header. Reason: Invalid value. Key:X-metadata-token-ttl-seconds; Value:");
		expect_text(PUT_TOKEN "X-metadata-token-ttl-seconds: -1\r\n\r\n", "400 Bad Request",
			    "Invalid header. Reason: Invalid value. Key:X-metadata-token-ttl-seconds; Value:-1");
		expect_text("PUT /latest/api/tokens HTTP/1.1\r\nX-metadata-token-ttl-seconds: 1\r\n\r\n",
			    "404 Not Found", "Resource not found: /latest/api/tokens.");
		expect_text("PUT /latest/api/token/ HTTP/1.1\r\nX-metadata-token-ttl-seconds: 1\r\n\r\n",
			    "404 Not Found", "Resource not found: /latest/api/token/.");
		/* First of all rules. */
		expect_text("PUT /x HTTP/1.1\r\nX-forwarded-FOR: 203.0.113.195\r\n\r\n", "400 Bad Request",
			    "Invalid header. Reason: Unsupported header name. Key: X-forwarded-FOR");
		expect_text("GET /latest/user HTTP/1.1\r\nX-Forwarded-For: ::1\r\n\r\n",
			    version == MMDS_V1 ? "200 OK" : "401 Unauthorized",
			    version == MMDS_V1 ? "me"
					       : "No MMDS token provided. Use `X-metadata-token` or "
						 "`X-aws-ec2-metadata-token` header to specify the session token.");
	}
	snprintf(ttl_rule[0], sizeof(ttl_rule[0]), "%s%s", PUT_TOKEN, "X-Metadata-Token-TTL-seconds: 21600\r\n\r\n");
	const char *text = ask(ttl_rule[0]), *body = strstr(text, "\r\n\r\n") + 4;
	char copy[MMDS_TOKEN_LENGTH + 1];

	assert_int_equal(strlen(body), MMDS_TOKEN_LENGTH);
	strcpy(copy, body);
	assert_string_equal(text, reply("200 OK", "X-Metadata-Token-TTL-seconds: 21600\r\n", "text/plain", copy));
	ask("PUT //latest///api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: +1\r\nContent-Length: 3\r\n\r\nabc");
	ask("PUT http://169.254.169.254/latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 0001\r\n"
	    "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
}

static void methods(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		char request[64];

		snprintf(request, sizeof(request), "%s / HTTP/1.1\r\n\r\n", i ? "PATCH" : "DELETE");
		assert_string_equal(ask(request), reply("405 Method Not Allowed", "Allow: GET, PUT\r\n",
							"text/plain", "Not allowed HTTP method."));
	}
	expect_last("POST / HTTP/1.1\r\n\r\n", "501 Not Implemented", "Unsupported HTTP method.");
	expect_last("HEAD / HTTP/1.1\r\n\r\n", "501 Not Implemented", "Unsupported HTTP method.");
	expect_last("CONNECT a:1 HTTP/1.1\r\n\r\n", "501 Not Implemented", "Unsupported HTTP method.");
	expect_last("FOO / HTTP/1.1\r\n\r\n", "501 Not Implemented", "Unsupported HTTP method.");
}

static void broken_requests_are_the_last(void **state)
{
	static char longest[16384];

	(void)state;
	expect_last("GET / HTTP/1.2\r\n\r\n", "501 Not Implemented", "Unsupported HTTP version.");
	expect_last("GET / HTTP/2.0\r\n\r\n", "501 Not Implemented", "Unsupported HTTP version.");
	expect_last("GET / FTP/1.0\r\n\r\n", "400 Bad Request", "Invalid request.");
	expect_last("\x16\x03\x01", "501 Not Implemented", "Unsupported HTTP method.");
	expect_last("GET / HTTP/1.1\r\nNo colon\r\n\r\n", "400 Bad Request", "Invalid request.");
	expect_last("GET / HTTP/1.1\r\nContent-Length: 100\r\n\r\nsome body", "400 Bad Request",
		    "Invalid request.");
	expect_last("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "400 Bad Request",
		    "Invalid request.");
	expect_last(PUT_TOKEN "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 Bad Request",
		    "Invalid request.");
	expect_last(PUT_TOKEN "Content-Length: 4097\r\n\r\n", "413 Payload Too Large",
		    "Request payload too large.");
	expect_last("GET http:// HTTP/1.1\r\n\r\n", "400 Bad Request", "Invalid URI.");
	expect_text("GET http://x HTTP/1.1\r\n\r\n", "400 Bad Request", "Invalid URI.");

	memset(longest, 'a', sizeof(longest));
	memcpy(longest, "GET /", 5);
	longest[4 + 1025] = 0;
	expect_last(longest, "414 URI Too Long", "URI too long.");
	memset(longest, 'a', sizeof(longest));
	memcpy(longest, "GET / HTTP/1.1\r\na: ", 19);
	longest[MMDS_HEAD_MAX + 1] = 0;
	expect_last(longest, "431 Request Header Fields Too Large", "Request header too large.");
	memset(longest, '1', sizeof(longest));
	memcpy(longest, PUT_TOKEN "Transfer-Encoding: chunked\r\n\r\n1001\r\n", 68);
	longest[68 + 4097] = 0;
	expect_last(longest, "413 Payload Too Large", "Request payload too large.");
}

static void longest_uri_is_answered(void **state)
{
	char request[2048], body[1200];

	(void)state;
	snprintf(request, sizeof(request), "GET /%01023d HTTP/1.1\r\n\r\n", 1);
	snprintf(body, sizeof(body), "Resource not found: /%01023d.", 1);
	expect_text(request, "404 Not Found", body);
}

static void connections_live_as_their_client_wants(void **state)
{
	(void)state;
	expect_text("GET /latest/user HTTP/1.1\r\n\r\n", "200 OK", "me");
	expect_text("GET /latest/user HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", "200 OK", "me");
	expect_text("GET /latest/user HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", "200 OK", "me");
	expect_last("GET /latest/user HTTP/1.1\r\nConnection: close\r\n\r\n", "200 OK", "me");
	assert_string_equal(ask("GET /latest/user HTTP/1.0\r\n\r\n"),
			    "HTTP/1.0 200 OK\r\nServer: mote\r\nConnection: close\r\n"
			    "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nme");
	assert_true(http.ended);
	restart();
	assert_string_equal(ask("GET /latest/user HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
			    "HTTP/1.0 200 OK\r\nServer: mote\r\nConnection: keep-alive\r\n"
			    "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nme");
	assert_false(http.ended);
}

/* However the bytes come, and whatever is behind them. */
static void pieces_make_no_difference(void **state)
{
	const char two[] = PUT_TOKEN "Content-Length: 3\r\nX-metadata-token-ttl-seconds: 0\r\n\r\nabc"
				     "GET /latest HTTP/1.1\r\nAccept: application/json\r\n\r\n";
	const size_t len = sizeof(two) - 1;

	(void)state;
	for (size_t n = 1; n <= len; n++) {
		size_t first = feed(two, len, n);

		assert_memory_equal(two + first, "GET /latest", 11);
		assert_string_equal(response(),
				    reply("400 Bad Request", "", "text/plain",
					  "Invalid time to live value provided for token: 0. Please provide a "
					  "value between 1 and 21600."));
		assert_int_equal(feed(two + first, len - first, n), len - first);
		assert_string_equal(response(),
				    reply("200 OK", "", "application/json",
					  "{\"meta-data\":{\"ami-id\":\"ami-1\",\"cpus\":2},\"user\":\"me\"}"));
	}
	/* Nothing is taken while a response waits. */
	assert_int_equal(feed(two, len, len), strstr(two, "GET") - two);
	assert_int_equal(mmds_http_receive(&http, (const uint8_t *)"GET", 3, now), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(version_1_is_read_by_everybody),
		TEST(formats),
		TEST(version_2_is_read_with_a_token),
		TEST(tokens_have_rules),
		TEST(methods),
		TEST(broken_requests_are_the_last),
		TEST(longest_uri_is_answered),
		TEST(connections_live_as_their_client_wants),
		TEST(pieces_make_no_difference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
