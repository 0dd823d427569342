/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/http_client.h"

#include <errno.h>
#include <http_parser.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "vmm/util.h"

struct answer {
	char body[256]; /* its beginning */
	size_t n;
	bool complete;
};

int http_connect(const char *path, unsigned int timeout_s)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = timeout_s };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
	    connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	int why = errno;

	if (fd >= 0)
		close(fd);
	return -why;
}

static int take_body(http_parser *parser, const char *at, size_t length)
{
	struct answer *answer = parser->data;
	size_t room = sizeof(answer->body) - 1 - answer->n;

	length = length < room ? length : room;
	memcpy(answer->body + answer->n, at, length);
	answer->n += length;
	return 0;
}

static int complete(http_parser *parser)
{
	struct answer *answer = parser->data;

	answer->complete = true;
	/* What follows is no part of it. */
	http_parser_pause(parser, 1);
	return 0;
}

static int send_request(int fd, const char *method, const char *path, const char *body, struct error *err)
{
	cleanup_free char *text = NULL;
	char of_body[80] = "";

	if (body)
		snprintf(of_body, sizeof(of_body), "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			 strlen(body));
	int n = asprintf(&text, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s", method, path, of_body,
			 body ? body : "");

	if (n < 0)
		return error_sys(err, ENOMEM, "%s %s", method, path);
	return send(fd, text, (size_t)n, MSG_NOSIGNAL) == n ? 0 : error_sys(err, errno, "%s %s", method, path);
}

int http_request(int fd, const char *method, const char *path, const char *body, struct error *err)
{
	const http_parser_settings settings = { .on_body = take_body, .on_message_complete = complete };
	struct answer answer = { 0 };
	http_parser parser;
	char bytes[4096];

	if (send_request(fd, method, path, body, err) < 0)
		return -err->errnum;
	http_parser_init(&parser, HTTP_RESPONSE);
	parser.data = &answer;
	while (!answer.complete) {
		ssize_t n = recv(fd, bytes, sizeof(bytes) - 1, 0);

		if (n < 0)
			return error_sys(err, errno, "%s %s", method, path);
		if (n == 0)
			return error_set(err, EPIPE, "%s %s: closed before its answer's end", method, path);
		bytes[n] = 0;
		size_t used = http_parser_execute(&parser, &settings, bytes, (size_t)n);

		if (used != (size_t)n)
			return error_set(err, EBADMSG, "%s %s: this isn't one answer: \"%.*s\"", method, path,
					 (int)strcspn(bytes, "\r\n"), bytes);
	}
	if (parser.status_code / 100 == 2)
		return (int)parser.status_code;
	return error_set(err, EBADMSG, "%s %s: %u: %s", method, path, parser.status_code, answer.body);
}
