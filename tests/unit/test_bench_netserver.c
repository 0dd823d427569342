/* SPDX-License-Identifier: Apache-2.0 */
/* What benchmarks' guests talk to: netserver, here behind a Unix socket, as for vsock. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/bench/http_client.h"
#include "tools/bench/netserver.h"
#include "vmm/util.h"

/* Larger than any buffer between us, and no multiple of one. */
#define BYTES 1000003

struct rig {
	char dir[32], path[48];
	struct netserver server;
	pid_t child;
};

static int set_up(void **state)
{
	static struct rig rig;

	strcpy(rig.dir, "/tmp/mote-unit-XXXXXX");
	assert_non_null(mkdtemp(rig.dir));
	snprintf(rig.path, sizeof(rig.path), "%s/v_7", rig.dir);
	assert_int_equal(netserver_open_unix(&rig.server, rig.path, NULL), 0);
	rig.child = fork();
	assert_true(rig.child >= 0);
	if (rig.child == 0) {
		netserver_serve(&rig.server);
		_exit(1);
	}
	*state = &rig;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	kill(rig->child, SIGKILL);
	waitpid(rig->child, NULL, 0);
	close(rig->server.stream);
	unlink(rig->path);
	rmdir(rig->dir);
	return 0;
}

static int order(const struct rig *rig, char what, uint64_t n)
{
	char text[9] = { what };
	int fd = http_connect(rig->path, 20);

	assert_true(fd >= 0);
	memcpy(text + 1, &n, sizeof(n));
	assert_int_equal(send(fd, text, sizeof(text), 0), sizeof(text));
	return fd;
}

/* One connection after another, as guests make them. */
static void streams_and_echoes(void **state)
{
	static char bytes[BYTES + 1];
	int fd = order(*state, 'U', BYTES);

	assert_int_equal(send(fd, bytes, BYTES - 1, MSG_WAITALL), BYTES - 1);
	assert_int_equal(recv(fd, bytes, 1, MSG_DONTWAIT), -1); /* not before it has them all */
	assert_int_equal(send(fd, bytes, 1, 0), 1);
	assert_int_equal(recv(fd, bytes, 2, MSG_WAITALL), 1);
	close(fd);

	fd = order(*state, 'D', BYTES);
	assert_int_equal(recv(fd, bytes, sizeof(bytes), MSG_WAITALL), BYTES);
	close(fd);

	fd = order(*state, 'E', 0);
	for (unsigned int i = 0; i < 3; i++) {
		char one = (char)('a' + i);

		assert_int_equal(send(fd, &one, 1, 0), 1);
		assert_int_equal(recv(fd, bytes, 1, 0), 1);
		assert_int_equal(bytes[0], one);
	}
	close(fd);
}

/* The socket of a server that is gone is in nobody's way. */
static void made_anew(void **state)
{
	struct rig *rig = *state;
	struct netserver again;

	assert_int_equal(netserver_open_unix(&again, rig->path, NULL), 0);
	assert_int_equal(again.udp, -1);
	close(again.stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(streams_and_echoes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(made_anew, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("bench_netserver", tests, NULL, NULL);
}
