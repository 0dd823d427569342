/* SPDX-License-Identifier: Apache-2.0 */
/* `mote run`'s talk with an agent that keeps to the protocol, whoever else is slow or gone. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "session_rig.h"
#include "vmm/util.h"

static char frame[AGENT_JOB_MAX];

/* byte i of a stream that repeats nothing soon */
static char byte_at(size_t i)
{
	return (char)((i * 2654435761u) >> 13);
}

static void fill(char *bytes, size_t length, size_t from)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = byte_at(from + i);
}

static size_t add_field(char *job, size_t at, uint32_t tag, const char *text)
{
	struct agent_field field = { .tag = tag, .length = (uint32_t)strlen(text) };

	memcpy(job + at, &field, sizeof(field));
	memcpy(job + at + sizeof(field), text, field.length);
	return at + sizeof(field) + field.length;
}

static void the_job_is_sent_before_the_agent_is_there(void **state)
{
	const char *env[] = { "A=b c", "E=" };
	char expected[1024];
	size_t n = 0;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig.options.env = env;
	rig.options.n_env = 2;
	rig.options.cwd = "/tmp";
	rig.options.writable = true;
	strcpy(rig.options.address, "10.0.0.2/24");
	strcpy(rig.options.gateway, "10.0.0.1");
	rig_start(&rig);
	n = add_field(expected, n, AGENT_ARG, "sh");
	n = add_field(expected, n, AGENT_ARG, "-c");
	n = add_field(expected, n, AGENT_ARG, "exit 3");
	n = add_field(expected, n, AGENT_ENV,
		      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	n = add_field(expected, n, AGENT_ENV, "HOME=/root");
	n = add_field(expected, n, AGENT_ENV, "A=b c");
	n = add_field(expected, n, AGENT_ENV, "E=");
	n = add_field(expected, n, AGENT_ROOT_TYPE, "erofs");
	n = add_field(expected, n, AGENT_ROOT_RW, "");
	n = add_field(expected, n, AGENT_CWD, "/tmp");
	n = add_field(expected, n, AGENT_HOSTNAME, "mote");
	n = add_field(expected, n, AGENT_ADDRESS, "10.0.0.2/24");
	n = add_field(expected, n, AGENT_GATEWAY, "10.0.0.1");
	peer_expect(rig.agent, AGENT_JOB, expected, (uint32_t)n);
	/* And nothing else: stdin waits for READY. */
	assert_int_equal(write(rig.in, "x", 1), 1);
	peer_expect_silence(rig.agent, rig.pid);
	rig_say_ready(&rig);
	peer_expect(rig.agent, AGENT_STDIN, "x", 1);
	rig_exit(&rig, 3, 0);

	struct outcome o = rig_end(&rig);

	assert_int_equal(o.end, SESSION_EXITED);
	assert_int_equal(o.exit.status, 3);
	assert_int_equal(o.exit.signal, 0);
	assert_true(o.was_ready);
	assert_int_equal(o.guest_boot_ns, 12345);
}

static void output_goes_where_it_belongs_and_the_end_is_the_commands(void **state)
{
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	peer_send(rig.agent, AGENT_STDOUT, "a\0b\xff", 4);
	peer_send(rig.agent, AGENT_STDERR, "to stderr\n", 10);
	peer_send(rig.agent, AGENT_STDOUT, "", 0);
	peer_send(rig.agent, AGENT_STDOUT, "more", 4);
	expect_bytes(rig.out, "a\0b\xffmore", 8);
	expect_bytes(rig.err, "to stderr\n", 10);
	rig_exit(&rig, 0, 9);

	struct outcome o = rig_end(&rig);

	assert_int_equal(o.end, SESSION_EXITED);
	assert_int_equal(o.exit.status, 0);
	assert_int_equal(o.exit.signal, 9);
}

static void frames_may_come_in_any_pieces(void **state)
{
	static char stream[200000];
	const struct agent_exit end = { 0 };
	struct agent_frame header = { AGENT_STDOUT, AGENT_FRAME_MAX };
	size_t n = 0;
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	for (int i = 0; i < 2; i++) {
		memcpy(stream + n, &header, sizeof(header));
		fill(stream + n + sizeof(header), AGENT_FRAME_MAX, (size_t)i * AGENT_FRAME_MAX);
		n += sizeof(header) + AGENT_FRAME_MAX;
	}
	header = (struct agent_frame){ AGENT_EXIT, sizeof(end) };
	memcpy(stream + n, &header, sizeof(header));
	memcpy(stream + n + sizeof(header), &end, sizeof(end));
	n += sizeof(header) + sizeof(end);

	char *got = malloc(2 * AGENT_FRAME_MAX);
	size_t have = 0;

	for (size_t at = 0, piece = 1; at < n; at += piece) {
		piece = at < 40 ? 1 : 1 + at * 7919 % 9973;
		if (piece > n - at)
			piece = n - at;
		peer_send_raw(rig.agent, stream + at, piece);
		struct pollfd p = { .fd = rig.out, .events = POLLIN };

		while (have < 2 * AGENT_FRAME_MAX && poll(&p, 1, 1) == 1)
			have += (size_t)read(rig.out, got + have, 2 * AGENT_FRAME_MAX - have);
	}
	while (have < 2 * AGENT_FRAME_MAX) {
		ssize_t part = read(rig.out, got + have, 2 * AGENT_FRAME_MAX - have);

		assert_true(part > 0);
		have += (size_t)part;
	}
	for (size_t i = 0; i < have; i++)
		assert_int_equal(got[i], byte_at(i));
	free(got);
	rig_expect(&rig, SESSION_EXITED, "");
}

static void megabytes_of_output_wait_for_a_slow_reader(void **state)
{
	static char bytes[AGENT_FRAME_MAX];
	const size_t total = 8 * MIB;
	struct rig rig;
	pid_t agent;

	(void)state;
	rig_ready(&rig);
	fflush(NULL);
	agent = fork();
	if (agent == 0) {
		for (size_t at = 0; at < total; at += sizeof(bytes)) {
			fill(bytes, sizeof(bytes), at);
			peer_send(rig.agent, AGENT_STDOUT, bytes, sizeof(bytes));
		}
		rig_exit(&rig, 0, 0);
		_exit(0);
	}
	/* Nobody reads: everything has stopped, and nobody spins. */
	assert_idle(rig.pid);
	for (size_t at = 0; at < total;) {
		ssize_t n = read(rig.out, bytes, at % 3 ? 1000 : sizeof(bytes));

		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(bytes[i], byte_at(at + (size_t)i));
		at += (size_t)n;
	}
	waitpid(agent, NULL, 0);
	rig_expect(&rig, SESSION_EXITED, "");
}

static void stdin_is_sent_for_credit_and_ends(void **state)
{
	const size_t total = 300000;
	char *data = malloc(total);
	size_t got = 0;
	struct rig rig;
	pid_t user;

	(void)state;
	fill(data, total, 0);
	rig_ready(&rig);
	fflush(NULL);
	user = fork();
	if (user == 0) {
		for (size_t at = 0; at < total;)
			at += (size_t)write(rig.in, data + at, total - at);
		_exit(0);
	}
	close_fd(&rig.in);
	while (got < total) {
		uint32_t n = peer_take(rig.agent, AGENT_STDIN, frame);

		assert_in_range(n, 1, AGENT_FRAME_MAX);
		assert_memory_equal(frame, data + got, n);
		if (got == 0)
			peer_expect_silence(rig.agent, rig.pid);
		got += n;
		peer_send(rig.agent, AGENT_STDIN_TAKEN, "", 0);
	}
	assert_int_equal(got, total);
	peer_expect(rig.agent, AGENT_STDIN, "", 0);
	/* The end is said once. */
	peer_expect_silence(rig.agent, rig.pid);
	peer_send(rig.agent, AGENT_STDIN_TAKEN, "", 0);
	peer_expect_silence(rig.agent, rig.pid);
	waitpid(user, NULL, 0);
	rig_exit(&rig, 0, 0);
	rig_expect(&rig, SESSION_EXITED, "");
	free(data);
}

static void what_cannot_be_read_is_an_empty_stdin(void **state)
{
	static const char *const paths[] = { "/dev/null", "/" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct rig rig;

		rig_init(&rig);
		close(rig.streams[0]);
		rig.streams[0] = open(paths[i], O_RDONLY | O_CLOEXEC);
		rig_start(&rig);
		rig_take_job(&rig);
		rig_say_ready(&rig);
		peer_expect(rig.agent, AGENT_STDIN, "", 0);
		peer_expect_silence(rig.agent, rig.pid);
		rig_exit(&rig, 0, 0);
		rig_expect(&rig, SESSION_EXITED, "");
	}
}

static void a_fifo_ends_whenever_its_writer_left(void **state)
{
	char path[] = "/tmp/mote-test-fifo-XXXXXX";

	(void)state;
	close(mkstemp(path));
	unlink(path);
	for (int late = 0; late < 2; late++) {
		struct rig rig;

		assert_int_equal(mkfifo(path, 0600), 0);
		rig_init(&rig);
		close(rig.streams[0]);
		rig.streams[0] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		close(rig.in);
		rig.in = open(path, O_WRONLY | O_CLOEXEC);
		assert_int_equal(fcntl(rig.streams[0], F_SETFL, 0), 0);
		assert_int_equal(write(rig.in, "data", 4), 4);
		if (!late)
			close_fd(&rig.in);
		rig_start(&rig);
		rig_take_job(&rig);
		rig_say_ready(&rig);
		peer_expect(rig.agent, AGENT_STDIN, "data", 4);
		peer_send(rig.agent, AGENT_STDIN_TAKEN, "", 0);
		if (late) {
			peer_expect_silence(rig.agent, rig.pid);
			close_fd(&rig.in);
		}
		peer_expect(rig.agent, AGENT_STDIN, "", 0);
		rig_exit(&rig, 0, 0);
		rig_expect(&rig, SESSION_EXITED, "");
		unlink(path);
	}
}

static void the_first_signal_is_the_commands_the_second_motes(void **state)
{
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	/* READY was seen. */
	assert_int_equal(write(rig.in, "x", 1), 1);
	peer_expect(rig.agent, AGENT_STDIN, "x", 1);
	/* Stdin that nobody takes keeps no signal back. */
	assert_int_equal(write(rig.in, "y", 1), 1);
	kill(rig.pid, SIGINT);
	peer_expect_u32(rig.agent, AGENT_SIGNAL, SIGINT);
	peer_expect_silence(rig.agent, rig.pid);
	kill(rig.pid, SIGTERM);

	struct outcome o = rig_end(&rig);

	assert_int_equal(o.end, SESSION_KILLED);
	assert_int_equal(o.killed_by, SIGTERM);
}

static void a_signal_before_there_is_a_command_is_motes(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig_start(&rig);
	rig_take_job(&rig);
	kill(rig.pid, SIGHUP);

	struct outcome o = rig_end(&rig);

	assert_int_equal(o.end, SESSION_KILLED);
	assert_int_equal(o.killed_by, SIGHUP);
	assert_false(o.was_ready);
}

/* The session is stuck with output that nobody reads; the agent's frames wait behind it. */
static void block_stdout(struct rig *rig)
{
	static char bytes[AGENT_FRAME_MAX];

	fill(bytes, sizeof(bytes), 0);
	peer_send(rig->agent, AGENT_STDOUT, bytes, sizeof(bytes));
	peer_send(rig->agent, AGENT_STDOUT, bytes, sizeof(bytes));
	assert_idle(rig->pid);
}

static void a_stdout_that_blocks_keeps_no_signal_back(void **state)
{
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	block_stdout(&rig);
	kill(rig.pid, SIGTERM);
	peer_expect_u32(rig.agent, AGENT_SIGNAL, SIGTERM);
	peer_expect_silence(rig.agent, rig.pid);
	kill(rig.pid, SIGINT);
	assert_int_equal(rig_end(&rig).end, SESSION_KILLED);
}

static void a_stdout_that_blocks_holds_no_timeout(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig.options.timeout_s = 1;
	rig_start(&rig);
	rig_take_job(&rig);
	rig_say_ready(&rig);
	block_stdout(&rig);
	assert_int_equal(rig_end(&rig).end, SESSION_TIMED_OUT);
}

static void a_flood_holds_no_timeout(void **state)
{
	struct rig rig;
	pid_t agent, reader;

	(void)state;
	rig_init(&rig);
	rig.options.timeout_s = 1;
	rig_start(&rig);
	rig_take_job(&rig);
	rig_say_ready(&rig);
	fflush(NULL);
	agent = fork();
	if (agent == 0) {
		const struct agent_frame header = { AGENT_STDOUT, 4096 };
		static char bytes[sizeof(header) + 4096];

		memcpy(bytes, &header, sizeof(header));
		while (send(rig.agent, bytes, sizeof(bytes), MSG_NOSIGNAL) == (ssize_t)sizeof(bytes))
			;
		_exit(0);
	}
	reader = fork();
	if (reader == 0) {
		while (read(rig.out, frame, sizeof(frame)) > 0)
			;
		_exit(0);
	}
	assert_int_equal(rig_end(&rig).end, SESSION_TIMED_OUT);
	waitpid(agent, NULL, 0);
	waitpid(reader, NULL, 0);
}

static void the_agents_end_waits_for_blocked_output(void **state)
{
	static char bytes[2 * AGENT_FRAME_MAX];
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	block_stdout(&rig);
	rig_exit(&rig, 5, 0);
	/* Hung up, monitor gone, and still only waiting for the reader. */
	close_fd(&rig.agent);
	close_fd(&rig.monitor);
	assert_idle(rig.pid);
	fill(bytes, AGENT_FRAME_MAX, 0);
	fill(bytes + AGENT_FRAME_MAX, AGENT_FRAME_MAX, 0);
	expect_bytes(rig.out, bytes, sizeof(bytes));

	struct outcome o = rig_end(&rig);

	assert_int_equal(o.end, SESSION_EXITED);
	assert_int_equal(o.exit.status, 5);
}

static void what_came_with_blocked_output_follows_it(void **state)
{
	static struct {
		struct agent_frame out;
		char bytes[60000];
		struct agent_frame exit;
		struct agent_exit end;
	} burst = { { AGENT_STDOUT, 60000 }, "", { AGENT_EXIT, sizeof(struct agent_exit) }, { 6, 0 } };
	static char before[30000];
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	peer_send(rig.agent, AGENT_STDOUT, before, sizeof(before));
	assert_idle(rig.pid);
	/* Received at once; the pipe takes a part. Nothing comes after it that could wake anybody. */
	peer_send_raw(rig.agent, &burst, sizeof(burst));
	assert_idle(rig.pid);
	struct outcome o;
	char scrap[8192];

	for (size_t left = sizeof(before) + sizeof(burst.bytes); left > 0;) {
		ssize_t n = read(rig.out, scrap, sizeof(scrap));

		assert_true(n > 0);
		left -= (size_t)n;
	}
	o = rig_end(&rig);
	assert_int_equal(o.end, SESSION_EXITED);
	assert_int_equal(o.exit.status, 6);
}

static void a_signal_for_an_agent_that_hung_up_is_dropped(void **state)
{
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	block_stdout(&rig);
	close_fd(&rig.agent);
	kill(rig.pid, SIGTERM);
	assert_idle(rig.pid);
	kill(rig.pid, SIGTERM);
	assert_int_equal(rig_end(&rig).end, SESSION_KILLED);
}

static void a_reader_that_leaves_closes_the_stream_for_the_command(void **state)
{
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	peer_send(rig.agent, AGENT_STDOUT, "first\n", 6);
	expect_bytes(rig.out, "first\n", 6);
	close_fd(&rig.out);
	peer_send(rig.agent, AGENT_STDOUT, "second\n", 7);
	peer_expect_u32(rig.agent, AGENT_CLOSE, 1);
	/* What was under way is dropped, and said once; the other stream goes on. */
	peer_send(rig.agent, AGENT_STDOUT, "third\n", 6);
	peer_send(rig.agent, AGENT_STDERR, "err\n", 4);
	expect_bytes(rig.err, "err\n", 4);
	peer_expect_silence(rig.agent, rig.pid);
	close_fd(&rig.err);
	peer_send(rig.agent, AGENT_STDERR, "err\n", 4);
	peer_expect_u32(rig.agent, AGENT_CLOSE, 2);
	rig_exit(&rig, 0, SIGPIPE);

	struct outcome o = rig_end(&rig);

	assert_int_equal(o.end, SESSION_EXITED);
	assert_int_equal(o.exit.signal, SIGPIPE);
}

static void a_reader_that_leaves_while_output_waits_is_noticed(void **state)
{
	struct rig rig;

	(void)state;
	rig_ready(&rig);
	block_stdout(&rig);
	close_fd(&rig.out);
	peer_expect_u32(rig.agent, AGENT_CLOSE, 1);
	peer_expect_silence(rig.agent, rig.pid);
	rig_exit(&rig, 0, 0);
	rig_expect(&rig, SESSION_EXITED, "");
}

static void a_full_disk_is_said_once(void **state)
{
	static const char line[] = "mote run: write to stdout: No space left on device\n";
	struct rig rig;

	(void)state;
	rig_init(&rig);
	close(rig.streams[1]);
	rig.streams[1] = open("/dev/full", O_WRONLY | O_CLOEXEC);
	rig_start(&rig);
	rig_take_job(&rig);
	rig_say_ready(&rig);
	peer_send(rig.agent, AGENT_STDOUT, "x", 1);
	peer_expect_u32(rig.agent, AGENT_CLOSE, 1);
	peer_send(rig.agent, AGENT_STDOUT, "x", 1);
	expect_bytes(rig.err, line, strlen(line));
	rig_exit(&rig, 0, SIGPIPE);
	rig_expect(&rig, SESSION_EXITED, "");
}

static void an_agent_that_reads_nothing_holds_nobody(void **state)
{
	static char argument[AGENT_JOB_MAX - 4096];
	char *command[] = { argument, NULL };
	struct rig rig;

	(void)state;
	/* More than any socket's buffer takes. */
	memset(argument, 'x', sizeof(argument) - 1);
	rig_init(&rig);
	rig.options.command = command;
	rig.options.timeout_s = 1;
	rig_start(&rig);
	rig_say_ready(&rig);
	assert_int_equal(write(rig.in, "x", 1), 1);
	peer_send(rig.agent, AGENT_STDOUT, "out", 3);
	expect_bytes(rig.out, "out", 3);
	assert_idle(rig.pid);
	kill(rig.pid, SIGINT);
	/* Late, but whole and in order. */
	uint32_t n = peer_take(rig.agent, AGENT_JOB, frame);

	assert_in_range(n, sizeof(argument), AGENT_JOB_MAX);
	assert_memory_equal(frame + sizeof(struct agent_field), argument, sizeof(argument) - 1);
	assert_memory_equal(frame + n - 4, "mote", 4);
	peer_expect_u32(rig.agent, AGENT_SIGNAL, SIGINT);
	peer_expect(rig.agent, AGENT_STDIN, "x", 1);
	assert_int_equal(rig_end(&rig).end, SESSION_TIMED_OUT);
}

static void a_job_that_is_too_long_is_refused(void **state)
{
	static char argument[AGENT_JOB_MAX];
	char *command[] = { argument, NULL };
	struct rig rig;

	(void)state;
	memset(argument, 'x', sizeof(argument) - 1);
	rig_init(&rig);
	rig.options.command = command;
	rig_start(&rig);
	rig_expect(&rig, SESSION_BROKEN, "command, environment and options are 1048699 bytes, at most "
					 "1048576 go");
}

static void json_captures_up_to_a_limit(void **state)
{
	static char bytes[AGENT_FRAME_MAX];
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig.options.json = true;
	rig_start(&rig);
	rig_take_job(&rig);
	rig_say_ready(&rig);
	peer_send(rig.agent, AGENT_STDOUT, "", 0);
	for (size_t i = 0; i < 17 * MIB; i += sizeof(bytes))
		peer_send(rig.agent, AGENT_STDERR, bytes, sizeof(bytes));
	peer_send(rig.agent, AGENT_STDOUT, "out", 3);
	rig_exit(&rig, 0, 0);

	struct outcome o = rig_end(&rig);

	assert_int_equal(o.end, SESSION_EXITED);
	assert_int_equal(o.captured[1], 3);
	assert_int_equal(o.captured[2], 16 * MIB);
	assert_false(o.truncated[1]);
	assert_true(o.truncated[2]);
}

static void the_terminals_size_is_the_commands(void **state)
{
	const uint16_t last[2] = { 50, 160 };
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	struct rig rig;
	int master, slave;

	(void)state;
	rig_init(&rig);
	assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
	close(rig.streams[0]);
	rig.streams[0] = slave;
	rig.options.tty = true;
	rig_start(&rig);

	uint32_t n = peer_take(rig.agent, AGENT_JOB, frame);
	const uint16_t first[2] = { 24, 80 };

	assert_memory_equal(frame + n - 4, first, 4);
	/* Several before there's a command: the last one counts. */
	for (int i = 0; i < 3; i++) {
		size.ws_row = (uint16_t)(48 + i);
		size.ws_col = 160;
		assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
		kill(rig.pid, SIGWINCH);
	}
	peer_expect_silence(rig.agent, rig.pid);
	rig_say_ready(&rig);
	peer_expect(rig.agent, AGENT_WINDOW, last, sizeof(last));
	peer_expect_silence(rig.agent, rig.pid);
	rig_exit(&rig, 0, 0);
	rig_expect(&rig, SESSION_EXITED, "");
	close(master);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_job_is_sent_before_the_agent_is_there),
		cmocka_unit_test(output_goes_where_it_belongs_and_the_end_is_the_commands),
		cmocka_unit_test(frames_may_come_in_any_pieces),
		cmocka_unit_test(megabytes_of_output_wait_for_a_slow_reader),
		cmocka_unit_test(stdin_is_sent_for_credit_and_ends),
		cmocka_unit_test(what_cannot_be_read_is_an_empty_stdin),
		cmocka_unit_test(a_fifo_ends_whenever_its_writer_left),
		cmocka_unit_test(the_first_signal_is_the_commands_the_second_motes),
		cmocka_unit_test(a_signal_before_there_is_a_command_is_motes),
		cmocka_unit_test(a_stdout_that_blocks_keeps_no_signal_back),
		cmocka_unit_test(a_stdout_that_blocks_holds_no_timeout),
		cmocka_unit_test(a_flood_holds_no_timeout),
		cmocka_unit_test(the_agents_end_waits_for_blocked_output),
		cmocka_unit_test(what_came_with_blocked_output_follows_it),
		cmocka_unit_test(a_signal_for_an_agent_that_hung_up_is_dropped),
		cmocka_unit_test(a_reader_that_leaves_closes_the_stream_for_the_command),
		cmocka_unit_test(a_reader_that_leaves_while_output_waits_is_noticed),
		cmocka_unit_test(a_full_disk_is_said_once),
		cmocka_unit_test(an_agent_that_reads_nothing_holds_nobody),
		cmocka_unit_test(a_job_that_is_too_long_is_refused),
		cmocka_unit_test(json_captures_up_to_a_limit),
		cmocka_unit_test(the_terminals_size_is_the_commands),
	};

	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
