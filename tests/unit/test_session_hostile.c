/* SPDX-License-Identifier: Apache-2.0 */
/* `mote run`'s talk with an agent that doesn't keep to the protocol, or ends before its time. */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "session_rig.h"
#include "vmm/util.h"

#define BROKEN "the guest's agent doesn't speak mote's protocol"
#define GONE   "the microVM ended before the command did"

static void start(struct rig *rig)
{
	rig_init(rig);
	rig_start(rig);
	rig_take_job(rig);
}

/* One header and as much of a payload as wanted. */
static void send_header(struct rig *rig, uint32_t type, uint32_t length, const void *payload,
			size_t payload_length)
{
	const struct agent_frame header = { type, length };

	peer_send_raw(rig->agent, &header, sizeof(header));
	peer_send_raw(rig->agent, payload, payload_length);
}

static void ready_is_the_first_frame_and_no_other(void **state)
{
	static const uint32_t types[] = {
		0, AGENT_JOB, AGENT_STDIN, AGENT_STDOUT, AGENT_STDERR, AGENT_EXIT, AGENT_FAILED,
		AGENT_STDIN_TAKEN, 22, UINT32_MAX,
	};
	const struct agent_exit zero = { 0 };
	struct rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		start(&rig);
		send_header(&rig, types[i], sizeof(zero), &zero, sizeof(zero));
		rig_expect(&rig, SESSION_BROKEN, BROKEN);
	}
	rig_ready(&rig);
	rig_say_ready(&rig);
	rig_expect(&rig, SESSION_BROKEN, BROKEN);
}

static void a_ready_of_another_form_is_refused(void **state)
{
	const struct agent_ready other_version = { .version = AGENT_VERSION + 1 };
	const struct agent_ready ready[2] = { { .version = AGENT_VERSION } };
	static const uint32_t lengths[] = { 0, 4, sizeof(ready[0]) - 1, sizeof(ready[0]) + 1,
					    sizeof(ready) };
	struct rig rig;

	(void)state;
	start(&rig);
	peer_send(rig.agent, AGENT_READY, &other_version, sizeof(other_version));
	rig_expect(&rig, SESSION_BROKEN, BROKEN);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		start(&rig);
		peer_send(rig.agent, AGENT_READY, ready, lengths[i]);
		rig_expect(&rig, SESSION_BROKEN, BROKEN);
	}
}

static void frames_that_are_not_the_agents_are_refused(void **state)
{
	static const uint32_t types[] = { 0, AGENT_JOB, AGENT_STDIN, AGENT_SIGNAL, AGENT_WINDOW,
					  AGENT_CLOSE, 6, 15, 22, 1u << 16, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct rig rig;

		rig_ready(&rig);
		send_header(&rig, types[i], 4, "abcd", 4);
		rig_expect(&rig, SESSION_BROKEN, BROKEN);
	}
}

static void a_length_beyond_the_limit_is_refused_from_its_header(void **state)
{
	static const uint32_t lengths[] = { AGENT_FRAME_MAX + 1, INT32_MAX, UINT32_MAX - 7, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct rig rig;

		rig_ready(&rig);
		send_header(&rig, AGENT_STDOUT, lengths[i], "", 0);
		rig_expect(&rig, SESSION_BROKEN, BROKEN);
	}
}

static void an_exit_that_no_process_can_have_is_refused(void **state)
{
	static const struct agent_exit exits[] = {
		{ 256, 0 }, { UINT32_MAX, 0 }, { 0, 65 }, { 0, UINT32_MAX }, { 1, 1 },
	};
	static const uint32_t lengths[] = { 0, 4, 7, 9, 16 };
	static const char zeros[16];
	struct rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(exits); i++) {
		rig_ready(&rig);
		rig_exit(&rig, exits[i].status, exits[i].signal);
		rig_expect(&rig, SESSION_BROKEN, BROKEN);
	}
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		rig_ready(&rig);
		peer_send(rig.agent, AGENT_EXIT, zeros, lengths[i]);
		rig_expect(&rig, SESSION_BROKEN, BROKEN);
	}
	rig_ready(&rig);
	rig_exit(&rig, 255, 0);
	assert_int_equal(rig_end(&rig).exit.status, 255);
	rig_ready(&rig);
	rig_exit(&rig, 0, 64);
	assert_int_equal(rig_end(&rig).exit.signal, 64);
}

static void credit_that_nobody_owes_is_refused(void **state)
{
	struct rig rig;

	(void)state;
	/* Stdin is silent: the credit of READY is still there. */
	rig_ready(&rig);
	peer_send(rig.agent, AGENT_STDIN_TAKEN, "", 0);
	rig_expect(&rig, SESSION_BROKEN, BROKEN);

	rig_ready(&rig);
	assert_int_equal(write(rig.in, "x", 1), 1);
	peer_expect(rig.agent, AGENT_STDIN, "x", 1);
	peer_send(rig.agent, AGENT_STDIN_TAKEN, "x", 1);
	rig_expect(&rig, SESSION_BROKEN, BROKEN);
}

static void a_reason_is_one_printable_line(void **state)
{
	static char reason[AGENT_FRAME_MAX];
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	peer_send(rig.agent, AGENT_FAILED, "mount\n\x1b[2Jthe root", 18);
	rig_expect(&rig, SESSION_FAILED, "guest: mount??[2Jthe root");

	/* No NUL behind it, and longer than a line. */
	memset(reason, 'x', sizeof(reason));
	rig_ready(&rig);
	peer_send(rig.agent, AGENT_FAILED, reason, sizeof(reason));

	struct outcome o = rig_end(&rig);

	assert_int_equal(o.end, SESSION_FAILED);
	assert_int_equal(strlen(o.err.message), strlen("guest: ") + 400);

	rig_ready(&rig);
	peer_send(rig.agent, AGENT_FAILED, "", 0);
	rig_expect(&rig, SESSION_FAILED, "guest: ");
}

static void what_is_cut_off_is_a_lost_microvm(void **state)
{
	struct rig rig;

	(void)state;
	/* Nothing, half a header, a header, half a payload, a whole frame. */
	for (int i = 0; i < 5; i++) {
		const struct agent_frame header = { AGENT_STDOUT, 10 };

		rig_ready(&rig);
		peer_send_raw(rig.agent, &header, i == 0 ? 0 : i == 1 ? 5 : sizeof(header));
		peer_send_raw(rig.agent, "0123456789", i == 3 ? 4 : i == 4 ? 10 : 0);
		close_fd(&rig.agent);
		if (i == 4)
			expect_bytes(rig.out, "0123456789", 10);
		rig_expect(&rig, SESSION_LOST, GONE);
	}
	/* Before it had said anything; and with its writing half alone. */
	rig_init(&rig);
	rig_start(&rig);
	close_fd(&rig.agent);
	rig_expect(&rig, SESSION_LOST, GONE);
	rig_ready(&rig);
	shutdown(rig.agent, SHUT_WR);
	rig_expect(&rig, SESSION_LOST, GONE);
}

static void the_monitors_end_is_a_lost_microvm(void **state)
{
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	close_fd(&rig.monitor);
	rig_expect(&rig, SESSION_LOST, GONE);
	/* What the agent had said before still counts. */
	for (int i = 0; i < 20; i++) {
		rig_ready(&rig);
		peer_send(rig.agent, AGENT_STDOUT, "last words", 10);
		rig_exit(&rig, 7, 0);
		close_fd(&rig.agent);
		close_fd(&rig.monitor);
		expect_bytes(rig.out, "last words", 10);
		struct outcome o = rig_end(&rig);

		assert_int_equal(o.end, SESSION_EXITED);
		assert_int_equal(o.exit.status, 7);
	}
}

static void a_lost_microvm_loses_nothing_that_was_said(void **state)
{
	static char bytes[40000];
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig.options.json = true;
	rig_start(&rig);
	rig_take_job(&rig);
	/* Stopped, so that all of it and both ends are there at once. */
	kill(rig.pid, SIGSTOP);
	rig_say_ready(&rig);
	for (int i = 0; i < 4; i++)
		peer_send(rig.agent, AGENT_STDOUT, bytes, sizeof(bytes));
	rig_exit(&rig, 1, 0);
	close_fd(&rig.agent);
	close_fd(&rig.monitor);
	kill(rig.pid, SIGCONT);
	struct outcome o = rig_end(&rig);

	assert_int_equal(o.end, SESSION_EXITED);
	assert_int_equal(o.captured[1], 4 * sizeof(bytes));
}

static void at_its_end_the_agent_is_told(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig.lingers = true;
	rig_start(&rig);
	rig_take_job(&rig);
	rig_say_ready(&rig);
	rig_exit(&rig, 0, 0);
	peer_expect_end(rig.agent);
	assert_int_equal(send(rig.agent, "x", 1, MSG_NOSIGNAL), -1);
	close_fd(&rig.monitor);
	rig_expect(&rig, SESSION_EXITED, "");
}

/* Frames with types and lengths that are right more often than not: whatever comes of it, it ends. */
static void chance(struct rig *rig, uint32_t seed)
{
	static const uint32_t types[] = { AGENT_STDOUT, AGENT_STDERR, AGENT_STDOUT, AGENT_STDIN_TAKEN,
					  AGENT_STDERR, AGENT_EXIT, AGENT_FAILED, AGENT_READY };
	uint32_t bytes[64], x = seed * 2654435761u + 1;

	for (int round = 0; round < 200; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
			x ^= x << 13;
			x ^= x >> 17;
			x ^= x << 5;
			bytes[i] = x;
		}
		struct agent_frame header = { types[x % 3 ? x / 3 % 3 : x / 3 % 8], x / 7 % sizeof(bytes) };

		if (x % 29 == 0)
			header.type = x;
		if (x % 31 == 0)
			header.length = x;
		if (send(rig->agent, &header, sizeof(header), MSG_NOSIGNAL) < 0 ||
		    send(rig->agent, bytes, header.length % sizeof(bytes), MSG_NOSIGNAL) < 0)
			return;
	}
}

static void no_stream_of_frames_does_harm(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 100; seed++) {
		struct rig rig;

		rig_init(&rig);
		rig.options.json = seed % 2;
		rig_start(&rig);
		rig_take_job(&rig);
		rig_say_ready(&rig);
		close_fd(&rig.out);
		chance(&rig, seed);
		shutdown(rig.agent, SHUT_WR);
		struct outcome o = rig_end(&rig);

		assert_true(o.end == SESSION_BROKEN || o.end == SESSION_LOST ||
			    o.end == SESSION_EXITED || o.end == SESSION_FAILED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ready_is_the_first_frame_and_no_other),
		cmocka_unit_test(a_ready_of_another_form_is_refused),
		cmocka_unit_test(frames_that_are_not_the_agents_are_refused),
		cmocka_unit_test(a_length_beyond_the_limit_is_refused_from_its_header),
		cmocka_unit_test(an_exit_that_no_process_can_have_is_refused),
		cmocka_unit_test(credit_that_nobody_owes_is_refused),
		cmocka_unit_test(a_reason_is_one_printable_line),
		cmocka_unit_test(what_is_cut_off_is_a_lost_microvm),
		cmocka_unit_test(the_monitors_end_is_a_lost_microvm),
		cmocka_unit_test(a_lost_microvm_loses_nothing_that_was_said),
		cmocka_unit_test(at_its_end_the_agent_is_told),
		cmocka_unit_test(no_stream_of_frames_does_harm),
	};

	return cmocka_run_group_tests_name("session_hostile", tests, NULL, NULL);
}
