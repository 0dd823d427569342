/* SPDX-License-Identifier: Apache-2.0 */
/* `mote run`'s session and mote-agent's relay with each other, without a microVM between them. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "agent_rig.h"
#include "session_rig.h"
#include "vmm/util.h"

struct talk {
	struct rig rig;
	pid_t agent;
};

static void start_with(struct talk *t, char *script)
{
	char *command[] = { (char *)"sh", (char *)"-c", script, NULL };

	t->rig.options.command = command;
	rig_start(&t->rig);
	t->agent = agent_start(take_fd(&t->rig.agent), NULL);
}

static void start(struct talk *t, const char *script)
{
	rig_init(&t->rig);
	start_with(t, (char *)script);
}

static struct outcome end(struct talk *t)
{
	struct outcome o = rig_end(&t->rig);

	agent_join(t->agent);
	return o;
}

static void expect_exit(struct talk *t, uint32_t status, uint32_t signal)
{
	struct outcome o = end(t);

	assert_string_equal(o.err.message, "");
	assert_int_equal(o.end, SESSION_EXITED);
	assert_int_equal(o.exit.status, status);
	assert_int_equal(o.exit.signal, signal);
}

static void a_command_runs_as_if_it_were_here(void **state)
{
	struct talk t;

	(void)state;
	start(&t, "read a; echo \"$a|$HOME|$(pwd)\"; echo err >&2; exit 3");
	assert_int_equal(write(t.rig.in, "line\n", 5), 5);
	expect_bytes(t.rig.out, "line|/root|/\n", 13);
	expect_bytes(t.rig.err, "err\n", 4);
	expect_exit(&t, 3, 0);
}

static void megabytes_go_both_ways_at_once(void **state)
{
	const size_t total = 16 * MIB;
	static char bytes[65521];
	struct talk t;
	pid_t user;

	(void)state;
	start(&t, "cat");
	fflush(NULL);
	user = fork();
	if (user == 0) {
		for (size_t at = 0; at < total;) {
			uint32_t words[1024];

			for (size_t i = 0; i < ARRAY_SIZE(words); i++)
				words[i] = (uint32_t)(at / 4 + i) * 2654435761u;
			if (write(t.rig.in, words, sizeof(words)) != sizeof(words))
				_exit(1);
			at += sizeof(words);
		}
		_exit(0);
	}
	close_fd(&t.rig.in);
	for (size_t at = 0; at < total;) {
		ssize_t n = read(t.rig.out, bytes, sizeof(bytes));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, at++) {
			uint32_t word = (uint32_t)(at / 4) * 2654435761u;

			assert_int_equal((unsigned char)bytes[i], word >> at % 4 * 8 & 0xff);
		}
	}
	waitpid(user, NULL, 0);
	expect_exit(&t, 0, 0);
}

static void a_reader_that_leaves_is_the_commands_sigpipe(void **state)
{
	struct talk t;

	(void)state;
	start(&t, "exec yes");
	char two[2];

	assert_int_equal(read(t.rig.out, two, 2), 2);
	assert_memory_equal(two, "y\n", 2);
	close_fd(&t.rig.out);
	expect_exit(&t, 0, SIGPIPE);
}

static void a_signal_passes_blocked_streams_both_ways(void **state)
{
	struct talk t;
	pid_t users[2];

	(void)state;
	start(&t, "trap 'kill $!; exit 9' TERM; yes & while :; do wait; done");
	fflush(NULL);
	users[0] = fork();
	if (users[0] == 0) {
		static const char zeros[4096];

		signal(SIGPIPE, SIG_DFL);
		close(t.rig.out);
		while (write(t.rig.in, zeros, sizeof(zeros)) > 0)
			;
		_exit(0);
	}
	/* Nobody reads at either end: all stand still. */
	usleep(300000);
	assert_idle(t.rig.pid);
	assert_idle(t.agent);
	kill(t.rig.pid, SIGTERM);
	usleep(300000);
	users[1] = fork();
	if (users[1] == 0) {
		char bytes[4096];

		while (read(t.rig.out, bytes, sizeof(bytes)) > 0)
			;
		_exit(0);
	}
	expect_exit(&t, 9, 0);
	kill(users[0], SIGKILL);
	for (int i = 0; i < 2; i++)
		waitpid(users[i], NULL, 0);
}

static void at_the_timeout_the_command_goes(void **state)
{
	struct talk t;

	(void)state;
	rig_init(&t.rig);
	t.rig.options.timeout_s = 1;
	start_with(&t, (char *)"trap '' TERM HUP INT PIPE; yes & sleep 1000");
	assert_int_equal(end(&t).end, SESSION_TIMED_OUT);
}

static void a_killed_mote_takes_the_command_with_it(void **state)
{
	struct talk t;

	(void)state;
	start(&t, "trap '' TERM HUP INT PIPE; echo up; sleep 1000");
	expect_bytes(t.rig.out, "up\n", 3);
	kill(t.rig.pid, SIGKILL);
	waitpid(t.rig.pid, NULL, 0);
	agent_join(t.agent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_runs_as_if_it_were_here),
		cmocka_unit_test(megabytes_go_both_ways_at_once),
		cmocka_unit_test(a_reader_that_leaves_is_the_commands_sigpipe),
		cmocka_unit_test(a_signal_passes_blocked_streams_both_ways),
		cmocka_unit_test(at_the_timeout_the_command_goes),
		cmocka_unit_test(a_killed_mote_takes_the_command_with_it),
	};

	return cmocka_run_group_tests_name("talk", tests, NULL, NULL);
}
