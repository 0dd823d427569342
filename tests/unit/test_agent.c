/* SPDX-License-Identifier: Apache-2.0 */
/* mote-agent's relay between a command and a fake host. */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent_rig.h"
#include "frame_peer.h"
#include "vmm/util.h"

static char frame[AGENT_JOB_MAX];

struct rig {
	pid_t pid;
	int host;
};

static void start_job(struct rig *rig, const struct job *job)
{
	int agent;

	rig->host = peer_pair(&agent);
	rig->pid = agent_start(agent, job);
}

static void start_command(struct rig *rig, bool tty, char *const argv[])
{
	static struct job job;

	job = (struct job){ .cwd = "/", .tty = tty, .rows = 24, .columns = 80 };
	for (size_t i = 0; argv[i]; i++)
		job.argv[i] = argv[i];
	job.envp[0] = (char *)"PATH=/usr/bin:/bin";
	start_job(rig, &job);
}

static void start(struct rig *rig, const char *script)
{
	start_command(rig, false, (char *[]){ (char *)"sh", (char *)"-c", (char *)script, NULL });
}

static void join(struct rig *rig)
{
	peer_expect_end(rig->host);
	close_fd(&rig->host);
	agent_join(rig->pid);
}

static void expect_exit(struct rig *rig, uint32_t status, uint32_t signal)
{
	const struct agent_exit end = { status, signal };

	peer_expect(rig->host, AGENT_EXIT, &end, sizeof(end));
	join(rig);
}

/* Output of one stream, however it was cut into frames. */
static void expect_output(struct rig *rig, uint32_t type, const char *text)
{
	for (size_t at = 0; text[at];) {
		uint32_t n = peer_take(rig->host, type, frame);

		assert_in_range(n, 1, strlen(text + at));
		assert_memory_equal(frame, text + at, n);
		at += n;
	}
}

static void streams_and_status_are_the_commands(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, "echo out; sleep 0.1; echo err >&2; sleep 0.1; exit 3");
	expect_output(&rig, AGENT_STDOUT, "out\n");
	expect_output(&rig, AGENT_STDERR, "err\n");
	expect_exit(&rig, 3, 0);
	start(&rig, "kill -9 $$");
	expect_exit(&rig, 0, SIGKILL);
}

static void output_before_the_end_is_not_lost(void **state)
{
	struct rig rig;

	(void)state;
	for (int i = 0; i < 20; i++) {
		start(&rig, "printf x; exit 1");
		expect_output(&rig, AGENT_STDOUT, "x");
		expect_exit(&rig, 1, 0);
	}
}

static void what_cannot_run_says_why(void **state)
{
	static struct job job;
	struct rig rig;

	(void)state;
	start_command(&rig, false, (char *[]){ (char *)"no-such-command", NULL });
	expect_output(&rig, AGENT_STDERR, "mote: exec \"no-such-command\": No such file or directory\n");
	expect_exit(&rig, 127, 0);
	start_command(&rig, false, (char *[]){ (char *)"/etc/passwd", NULL });
	expect_output(&rig, AGENT_STDERR, "mote: exec \"/etc/passwd\": Permission denied\n");
	expect_exit(&rig, 126, 0);
	job = (struct job){ .cwd = "/no/such", .argv = { (char *)"true" } };
	start_job(&rig, &job);
	expect_output(&rig, AGENT_STDERR, "mote: chdir to \"/no/such\": No such file or directory\n");
	expect_exit(&rig, 127, 0);
}

static void the_command_has_its_signals_and_no_descriptors_of_ours(void **state)
{
	struct rig rig;

	(void)state;
	/* 3 is that of the directory, which ls has open. */
	start(&rig, "grep -E 'SigIgn|SigBlk' /proc/self/status; ls /proc/self/fd; yes | head -1");
	expect_output(&rig, AGENT_STDOUT, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
					  "0\n1\n2\n3\ny\n");
	expect_exit(&rig, 0, 0);
}

static void stdin_is_credited_when_it_was_taken(void **state)
{
	static char bytes[AGENT_FRAME_MAX];
	size_t got = 0, total = 16 * sizeof(bytes);
	struct rig rig;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 7 % 251);
	start(&rig, "cat");
	for (size_t sent = 0; sent < total; sent += sizeof(bytes)) {
		bool taken = false;

		peer_send(rig.host, AGENT_STDIN, bytes, sizeof(bytes));
		while (!taken || got < sent + sizeof(bytes)) {
			struct agent_frame header;

			assert_int_equal(recv(rig.host, &header, sizeof(header), MSG_WAITALL),
					 sizeof(header));
			if (header.type == AGENT_STDIN_TAKEN) {
				assert_int_equal(header.length, 0);
				assert_false(taken);
				taken = true;
				continue;
			}
			assert_int_equal(header.type, AGENT_STDOUT);
			assert_int_equal(recv(rig.host, frame, header.length, MSG_WAITALL),
					 header.length);
			for (uint32_t i = 0; i < header.length; i++)
				assert_int_equal(frame[i], bytes[(got + i) % sizeof(bytes)]);
			got += header.length;
		}
	}
	assert_int_equal(got, total);
	peer_send(rig.host, AGENT_STDIN, "", 0);
	expect_exit(&rig, 0, 0);
}

static void a_command_that_reads_nothing_keeps_no_signal_back(void **state)
{
	static char bytes[AGENT_FRAME_MAX];
	struct rig rig;

	(void)state;
	start(&rig, "sleep 1000");
	/* A pipe's worth. */
	peer_send(rig.host, AGENT_STDIN, bytes, sizeof(bytes));
	peer_expect(rig.host, AGENT_STDIN_TAKEN, "", 0);
	peer_send(rig.host, AGENT_STDIN, bytes, sizeof(bytes));
	peer_expect_silence(rig.host, rig.pid);
	peer_send_u32(rig.host, AGENT_SIGNAL, SIGTERM);
	expect_exit(&rig, 0, SIGTERM);
}

static void a_command_that_wants_no_stdin_gets_no_more(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, "exec <&-; echo closed; sleep 1000");
	expect_output(&rig, AGENT_STDOUT, "closed\n");
	peer_send(rig.host, AGENT_STDIN, "x", 1);
	peer_expect_silence(rig.host, rig.pid);
	/* Its end is harmless all the same. */
	peer_send(rig.host, AGENT_STDIN, "", 0);
	peer_expect_silence(rig.host, rig.pid);
	peer_send_u32(rig.host, AGENT_SIGNAL, SIGKILL);
	expect_exit(&rig, 0, SIGKILL);
}

static void closed_outputs_keep_nobody_awake(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, "exec >&- 2>&-; sleep 1000");
	peer_expect_silence(rig.host, rig.pid);
	peer_send_u32(rig.host, AGENT_SIGNAL, SIGINT);
	expect_exit(&rig, 0, SIGINT);
}

static void a_host_that_reads_nothing_blocks_output_alone(void **state)
{
	struct agent_exit end;
	uint64_t lines = 0;
	struct rig rig;

	(void)state;
	start(&rig, "exec yes");
	assert_idle(rig.pid);
	peer_send(rig.host, AGENT_STDIN, "x", 1);
	peer_send_u32(rig.host, AGENT_SIGNAL, SIGTERM);
	assert_idle(rig.pid);
	/* All that it wrote comes whole, with the credit somewhere between. */
	for (bool taken = false;;) {
		struct agent_frame header;

		assert_int_equal(recv(rig.host, &header, sizeof(header), MSG_WAITALL), sizeof(header));
		if (header.length)
			assert_int_equal(recv(rig.host, frame, header.length, MSG_WAITALL), header.length);
		if (header.type == AGENT_EXIT) {
			memcpy(&end, frame, sizeof(end));
			break;
		}
		if (header.type == AGENT_STDIN_TAKEN) {
			assert_false(taken);
			taken = true;
			continue;
		}
		assert_int_equal(header.type, AGENT_STDOUT);
		for (uint32_t i = 0; i < header.length; i++)
			assert_int_equal(frame[i], (lines + i) % 2 ? '\n' : 'y');
		lines += header.length;
	}
	assert_in_range(lines, 65536, 16 * MIB);
	assert_int_equal(end.signal, SIGTERM);
	join(&rig);
}

static void a_stream_that_nobody_reads_is_a_broken_pipe(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, "exec yes >&2");
	peer_take(rig.host, AGENT_STDERR, frame);
	peer_send_u32(rig.host, AGENT_CLOSE, 2);
	for (;;) {
		struct agent_frame header;

		assert_int_equal(recv(rig.host, &header, sizeof(header), MSG_WAITALL), sizeof(header));
		assert_int_equal(recv(rig.host, frame, header.length, MSG_WAITALL), header.length);
		if (header.type == AGENT_EXIT)
			break;
		assert_int_equal(header.type, AGENT_STDERR);
	}
	assert_int_equal(((struct agent_exit *)frame)->signal, SIGPIPE);
	join(&rig);

	/* Others and repeated ones mean nothing. */
	start(&rig, "sleep 0.5; echo out; exit 4");
	peer_send_u32(rig.host, AGENT_CLOSE, 0);
	peer_send_u32(rig.host, AGENT_CLOSE, 3);
	peer_send_u32(rig.host, AGENT_CLOSE, 2);
	peer_send_u32(rig.host, AGENT_CLOSE, 2);
	expect_output(&rig, AGENT_STDOUT, "out\n");
	expect_exit(&rig, 4, 0);
}

static void an_orphan_holds_nobody(void **state)
{
	char running[] = "/tmp/mote-test-agent-XXXXXX"; /* until the command ends */
	struct agent_frame header = { 0 };
	struct rig rig;

	(void)state;
	close(mkstemp(running));
	/*
	 * Writers that are quicker than the host, and a pipe that holds more than the agent reads at once:
	 * it never finds it empty. On a busy machine they mustn't keep the command from ending.
	 */
	start_command(&rig, false, (char *[]){ (char *)"python3", (char *)"-c", (char *)
		      "import fcntl, os, subprocess, sys\n"
		      "fcntl.fcntl(2, fcntl.F_SETPIPE_SZ, 1 << 20)\n"
		      "subprocess.run('for i in 1 2 3 4; do nice -n 19 yes >&2 & done; sleep 0.5', shell=True)\n"
		      "os.unlink(sys.argv[1])\n"
		      "os._exit(3)", running, NULL });
	for (int i = 0; i < 2000 && access(running, F_OK) == 0; i++)
		usleep(10000);
	for (size_t bytes = 0;; bytes += header.length) {
		assert_in_range(bytes, 0, 4 * MIB);
		usleep(2000);
		assert_int_equal(recv(rig.host, &header, sizeof(header), MSG_WAITALL), sizeof(header));
		assert_int_equal(recv(rig.host, frame, header.length, MSG_WAITALL), header.length);
		if (header.type == AGENT_EXIT)
			break;
		assert_int_equal(header.type, AGENT_STDERR);
	}
	assert_int_equal(((struct agent_exit *)frame)->status, 3);
	join(&rig);

	start(&rig, "setsid sleep 1000 & exit 5");
	expect_exit(&rig, 5, 0);
}

static void orphans_are_reaped_while_the_command_runs(void **state)
{
	struct rig rig;

	(void)state;
	start(&rig, "i=0; while [ $i -lt 50 ]; do (true &); i=$((i+1)); done; sleep 0.3; echo done");
	expect_output(&rig, AGENT_STDOUT, "done\n");
	expect_exit(&rig, 0, 0);
}

static void without_the_host_the_command_goes(void **state)
{
	struct rig rig;

	(void)state;
	for (int i = 0; i < 2; i++) {
		/* One that only waits, and one whose output nobody reads. */
		start(&rig, i ? "exec yes" : "trap '' TERM HUP PIPE; sleep 1000");
		usleep(100000);
		close_fd(&rig.host);
		agent_join(rig.pid);
	}
}

static void frames_that_make_no_sense_end_the_command(void **state)
{
	static const struct {
		struct agent_frame header;
		uint32_t sent; /* of its payload */
		bool cut;      /* what is wrong is that nothing follows */
	} cases[] = {
		{ { AGENT_STDIN, AGENT_FRAME_MAX + 1 }, 0 },
		{ { AGENT_STDIN, UINT32_MAX }, 0 },
		{ { AGENT_STDIN, 100 }, 50, true },
		{ { AGENT_SIGNAL, 0 }, 0 },
		{ { AGENT_SIGNAL, 3 }, 3 },
		{ { AGENT_SIGNAL, 5 }, 5 },
		{ { AGENT_SIGNAL, UINT32_MAX }, 64 },
		{ { AGENT_SIGNAL, 4 }, 2, true },
		{ { AGENT_WINDOW, 8 }, 8 },
		{ { AGENT_CLOSE, 1 }, 1 },
		{ { AGENT_JOB, 4 }, 4 },
		{ { AGENT_READY, 4 }, 4 },
		{ { 0, 4 }, 4 },
		{ { UINT32_MAX, 4 }, 4 },
	};
	static const char zeros[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig rig;

		start(&rig, "sleep 1000");
		peer_send_raw(rig.host, &cases[i].header, sizeof(cases[i].header));
		peer_send_raw(rig.host, zeros, cases[i].sent);
		if (cases[i].cut)
			shutdown(rig.host, SHUT_WR);
		join(&rig);
	}
	/* A second STDIN frame without credit. */
	static char bytes[AGENT_FRAME_MAX];
	struct rig rig;

	start(&rig, "sleep 1000");
	peer_send(rig.host, AGENT_STDIN, bytes, sizeof(bytes));
	peer_expect(rig.host, AGENT_STDIN_TAKEN, "", 0);
	peer_send(rig.host, AGENT_STDIN, bytes, sizeof(bytes));
	peer_send(rig.host, AGENT_STDIN, bytes, 1);
	join(&rig);
}

static void signals_beyond_the_last_and_windows_without_a_terminal_mean_nothing(void **state)
{
	const uint16_t size[2] = { 1, 1 };
	struct rig rig;

	(void)state;
	start(&rig, "sleep 0.5; exit 6");
	peer_send_u32(rig.host, AGENT_SIGNAL, 65);
	peer_send_u32(rig.host, AGENT_SIGNAL, UINT32_MAX);
	peer_send_u32(rig.host, AGENT_SIGNAL, 0);
	peer_send(rig.host, AGENT_WINDOW, size, sizeof(size));
	expect_exit(&rig, 6, 0);
}

static void start_on_terminal(struct rig *rig, const char *script)
{
	start_command(rig, true, (char *[]){ (char *)"sh", (char *)"-c", (char *)script, NULL });
}

static void a_terminal_has_the_users_size(void **state)
{
	const uint16_t size[2] = { 50, 160 };
	struct rig rig;

	(void)state;
	start_on_terminal(&rig, "test -t 0 && test -t 1 && test -t 2 && stty size && read a && stty size");
	expect_output(&rig, AGENT_STDOUT, "24 80\r\n");
	peer_send(rig.host, AGENT_WINDOW, size, sizeof(size));
	peer_send(rig.host, AGENT_STDIN, "line\n", 5);
	peer_expect(rig.host, AGENT_STDIN_TAKEN, "", 0);
	/* Its echo first. */
	expect_output(&rig, AGENT_STDOUT, "line\r\n50 160\r\n");
	expect_exit(&rig, 0, 0);
}

static void a_terminals_end_of_input_is_typed(void **state)
{
	struct rig rig;

	(void)state;
	start_on_terminal(&rig, "stty -echo; echo ready; cat; exit 8");
	expect_output(&rig, AGENT_STDOUT, "ready\r\n");
	peer_send(rig.host, AGENT_STDIN, "", 0);
	peer_expect_silence(rig.host, rig.pid);
	peer_send(rig.host, AGENT_STDIN, "\x04", 1);
	peer_expect(rig.host, AGENT_STDIN_TAKEN, "", 0);
	expect_exit(&rig, 8, 0);
}

static void a_terminal_that_nobody_reads_hangs_up(void **state)
{
	struct rig rig;

	(void)state;
	start_on_terminal(&rig, "echo ready; exec sleep 1000");
	expect_output(&rig, AGENT_STDOUT, "ready\r\n");
	peer_send_u32(rig.host, AGENT_CLOSE, 1);
	expect_exit(&rig, 0, SIGHUP);
}

static void a_terminal_that_was_let_go_keeps_nobody_awake(void **state)
{
	static char bytes[AGENT_FRAME_MAX];
	struct rig rig;

	(void)state;
	start_on_terminal(&rig, "trap '' HUP; echo ready; exec sleep 1000 <&- >&- 2>&-");
	expect_output(&rig, AGENT_STDOUT, "ready\r\n");
	peer_expect_silence(rig.host, rig.pid);
	/* More than a terminal takes, and nobody who reads. */
	peer_send(rig.host, AGENT_STDIN, bytes, sizeof(bytes));
	peer_expect_silence(rig.host, rig.pid);
	peer_send_u32(rig.host, AGENT_SIGNAL, SIGKILL);
	expect_exit(&rig, 0, SIGKILL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_and_status_are_the_commands),
		cmocka_unit_test(output_before_the_end_is_not_lost),
		cmocka_unit_test(what_cannot_run_says_why),
		cmocka_unit_test(the_command_has_its_signals_and_no_descriptors_of_ours),
		cmocka_unit_test(stdin_is_credited_when_it_was_taken),
		cmocka_unit_test(a_command_that_reads_nothing_keeps_no_signal_back),
		cmocka_unit_test(a_command_that_wants_no_stdin_gets_no_more),
		cmocka_unit_test(closed_outputs_keep_nobody_awake),
		cmocka_unit_test(a_host_that_reads_nothing_blocks_output_alone),
		cmocka_unit_test(a_stream_that_nobody_reads_is_a_broken_pipe),
		cmocka_unit_test(an_orphan_holds_nobody),
		cmocka_unit_test(orphans_are_reaped_while_the_command_runs),
		cmocka_unit_test(without_the_host_the_command_goes),
		cmocka_unit_test(frames_that_make_no_sense_end_the_command),
		cmocka_unit_test(signals_beyond_the_last_and_windows_without_a_terminal_mean_nothing),
		cmocka_unit_test(a_terminal_has_the_users_size),
		cmocka_unit_test(a_terminals_end_of_input_is_typed),
		cmocka_unit_test(a_terminal_that_nobody_reads_hangs_up),
		cmocka_unit_test(a_terminal_that_was_let_go_keeps_nobody_awake),
	};

	/* Ignored in what a shell starts in the background, and inherited from there. */
	signal(SIGINT, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
