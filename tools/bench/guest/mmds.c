/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata, version 2, as SDKs read them: a token, and then requests with it, which each await the last. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define PORT 80
#define PATH "/latest/meta-data/instance-id"

static const char token_request[] = "PUT /latest/api/token HTTP/1.1\r\nHost: mmds\r\n"
				    "X-metadata-token-ttl-seconds: 600\r\n\r\n";

/* Its body, whose length is *n; NULL: no answer of status 200 with a length. answer is zeroed beyond it. */
static char *await_answer(int fd, char *answer, size_t size, size_t *n)
{
	size_t have = 0;

	for (;;) {
		ssize_t got = read(fd, answer + have, size - 1 - have);

		if (got <= 0)
			return NULL;
		have += (size_t)got;
		answer[have] = 0;
		char *end = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "\r\nContent-Length:");

		if (!end)
			continue;
		if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0 || !length || length > end)
			return NULL;
		*n = strtoul(length + 17, NULL, 10);
		if ((size_t)(answer + have - end - 4) >= *n)
			return end + 4;
	}
}

static bool ask(int fd, const char *request, size_t length)
{
	char answer[1024];
	size_t n;

	return write(fd, request, length) == (ssize_t)length &&
	       await_answer(fd, answer, sizeof(answer), &n) != NULL;
}

/* The request for PATH with a new token; its length, 0 if there's none. */
static size_t make_request(const char *service, char *request, size_t size)
{
	int fd = connect_to(service, PORT, SOCK_STREAM);
	char answer[1024], *token;
	size_t n;

	if (fd < 0 || write(fd, token_request, sizeof(token_request) - 1) < 0)
		return 0;
	token = await_answer(fd, answer, sizeof(answer), &n);
	close(fd);
	return token ? (size_t)snprintf(request, size, "GET " PATH " HTTP/1.1\r\nHost: mmds\r\n"
					"X-metadata-token: %.*s\r\n\r\n", (int)n, token) : 0;
}

/* All over one connection, or each over its own. */
static bool ask_all(const char *service, const char *request, size_t length, unsigned int requests, bool one)
{
	int fd = one ? connect_to(service, PORT, SOCK_STREAM) : -1;
	bool ok = true;

	for (unsigned int i = 0; ok && i < requests; i++) {
		if (!one)
			fd = connect_to(service, PORT, SOCK_STREAM);
		ok = fd >= 0 && ask(fd, request, length);
		if (!one)
			close(fd);
	}
	close(fd);
	return ok;
}

int bench_mmds(int argc, char *argv[])
{
	static const struct {
		const char *name;
		bool one;
	} all[] = { { "warm_up", false }, { "one_connection", true }, { "connection_each", false } };
	char request[512];

	if (argc != 3)
		return errno = EINVAL, failed("mmds ADDRESS SERVICE REQUESTS");
	unsigned int requests = (unsigned int)strtoul(argv[2], NULL, 10);

	/* The service's network, so that it needs no route. */
	if (configure_eth0(argv[0], "255.255.0.0") < 0)
		return failed("eth0");
	size_t length = make_request(argv[1], request, sizeof(request));

	if (length == 0)
		return failed("token");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		uint64_t start = now_ns();

		if (!ask_all(argv[1], request, length, requests, all[i].one))
			return failed(all[i].name);
		say("%s_ns %llu\n", all[i].name, (unsigned long long)((now_ns() - start) / requests));
	}
	return 0;
}
