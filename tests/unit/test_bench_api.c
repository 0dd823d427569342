/* SPDX-License-Identifier: Apache-2.0 */
/* What `mote bench api` says to an API, and what it makes of the answers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/bench/api.h"
#include "tools/bench/http_client.h"
#include "tools/bench/subject.h"
#include "vmm/util.h"

/* Each packet is one that the client receives; both ends of a socket that keeps their borders. */
static void answer_with(int ends[2], const char *const packets[])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	for (size_t i = 0; packets[i]; i++)
		assert_int_equal(send(ends[1], packets[i], strlen(packets[i]), 0), strlen(packets[i]));
}

static void assert_asked(int fd, const char *expected)
{
	char text[1024];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	assert_true(n >= 0);
	text[n] = 0;
	assert_string_equal(text, expected);
}

static void request_and_answer(void **state)
{
	/* In pieces, as a stream may bring them. */
	static const char *const packets[] = { "HTTP/1.1 2", "00 OK\r\nContent-Length: 4\r\n\r\n{\"", "a\"",
					       "HTTP/1.1 204 No Content\r\n\r\n", NULL };
	int ends[2];

	(void)state;
	answer_with(ends, packets);
	assert_int_equal(http_request(ends[0], "GET", "/", NULL, NULL), 200);
	assert_asked(ends[1], "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_int_equal(http_request(ends[0], "PUT", "/mmds", "{}", NULL), 204);
	assert_asked(ends[1], "PUT /mmds HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
			      "Content-Length: 2\r\n\r\n{}");
	close(ends[0]);
	close(ends[1]);
}

static void refusals_and_nonsense(void **state)
{
	static const struct {
		const char *packet, *message;
		int errnum;
	} cases[] = {
		{ "HTTP/1.1 400 Bad Request\r\nContent-Length: 22\r\n\r\n{\"fault_message\":\"no\"}",
		  "PUT /x: 400: {\"fault_message\":\"no\"}", EBADMSG },
		{ "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "PUT /x: 302: ", EBADMSG },
		{ "SSH-2.0-OpenSSH\r\n", "PUT /x: this isn't one answer: \"SSH-2.0-OpenSSH\"", EBADMSG },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
		  "PUT /x: this isn't one answer: \"HTTP/1.1 200 OK\"", EBADMSG },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "PUT /x: closed before its answer's end", EPIPE },
	};
	struct error err;
	int ends[2];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		answer_with(ends, (const char *const[]){ cases[i].packet, NULL });
		shutdown(ends[1], SHUT_WR);
		int rc = http_request(ends[0], "PUT", "/x", "{}", &err);

		if (rc != -cases[i].errnum || strcmp(err.message, cases[i].message) != 0)
			fail_msg("%s: %d, \"%s\"", cases[i].packet, rc, err.message);
		close(ends[0]);
		close(ends[1]);
	}
}

/* The first line and the body of the next request. */
static void assert_put(int fd, const char *path, const char *body)
{
	char text[1024], line[128];
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	assert_true(n >= 0);
	text[n] = 0;
	snprintf(line, sizeof(line), "PUT %s HTTP/1.1\r\n", path);
	assert_memory_equal(text, line, strlen(line));
	assert_string_equal(strstr(text, "\r\n\r\n") + 4, body);
}

static void configuration_becomes_requests(void **state)
{
	static const char done[] = "HTTP/1.1 204 No Content\r\n\r\n";
	static const char *const packets[] = { done, done, done, done, done, done, done, NULL };
	const struct guest guest = { .args = "quiet", .memory_mib = 64, .vcpus = 2, .disk = "/dev/loop0",
				     .tap = "tap0", .vsock = "/v", .mmds = true };
	json_t *config = subject_config(&guest);
	int ends[2];
	char more;

	(void)state;
	assert_non_null(config);
	answer_with(ends, packets);
	assert_int_equal(api_configure(ends[0], config, NULL), 0);
	json_decref(config);
	assert_put(ends[1], "/boot-source", "{\"kernel_image_path\":\"/bench/kernel\",\"boot_args\":\"quiet\","
					    "\"initrd_path\":\"/bench/init.cpio\"}");
	assert_put(ends[1], "/machine-config", "{\"vcpu_count\":2,\"mem_size_mib\":64}");
	assert_put(ends[1], "/logger", "{\"level\":\"Warning\"}");
	assert_put(ends[1], "/drives/disk", "{\"drive_id\":\"disk\",\"path_on_host\":\"/dev/loop0\",\"is_root_device\":"
					    "false,\"is_read_only\":false,\"io_engine\":\"Async\"}");
	assert_put(ends[1], "/network-interfaces/eth0", "{\"iface_id\":\"eth0\",\"host_dev_name\":\"tap0\"}");
	assert_put(ends[1], "/vsock", "{\"guest_cid\":3,\"uds_path\":\"/v\"}");
	assert_put(ends[1], "/mmds/config", "{\"network_interfaces\":[\"eth0\"],\"version\":\"V2\"}");
	assert_int_equal(recv(ends[1], &more, 1, MSG_DONTWAIT), -1);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_and_answer),
		cmocka_unit_test(refusals_and_nonsense),
		cmocka_unit_test(configuration_becomes_requests),
	};

	return cmocka_run_group_tests_name("bench_api", tests, NULL, NULL);
}
