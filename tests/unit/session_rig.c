/* SPDX-License-Identifier: Apache-2.0 */
#include "session_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "vmm/util.h"

static char *command[] = { (char *)"sh", (char *)"-c", (char *)"exit 3", NULL };

static void make_pipe(int *read_end, int *write_end)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	*read_end = fds[0];
	*write_end = fds[1];
}

void rig_init(struct rig *rig)
{
	*rig = (struct rig){ .options = { .command = command } };
	make_pipe(&rig->streams[0], &rig->in);
	make_pipe(&rig->out, &rig->streams[1]);
	make_pipe(&rig->err, &rig->streams[2]);
}

static void report(int results, const struct session *s, enum session_end end, const struct error *err)
{
	struct outcome o = {
		.end = end, .exit = s->exit, .killed_by = s->killed_by, .err = *err,
		.was_ready = s->ready_ns > 0, .guest_boot_ns = s->guest_boot_ns,
	};

	for (int i = 0; i < 3; i++) {
		o.captured[i] = s->output[i].length;
		o.truncated[i] = s->output[i].truncated;
	}
	if (write(results, &o, sizeof(o)) != sizeof(o))
		_exit(1);
}

/* As `mote run` does it. Exits by exit(): a sanitizer then looks for leaks. */
static void be_session(const struct rig *rig, int agent, int monitor, int results)
{
	struct session session;
	struct error err = { 0 };
	enum session_end end = SESSION_BROKEN;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < 3; i++)
		dup2(rig->streams[i], i);
	session_init(&session, &rig->options);
	if (session_open(&session, &err) == 0) {
		session.agent = agent;
		session.monitor = monitor;
		session.root_type = "erofs";
		end = session_run(&session, &err);
	}
	report(results, &session, end, &err);
	if (rig->lingers && read(monitor, &(char){ 0 }, 1) < 0)
		_exit(1);
	session_release(&session);
	exit(0);
}

void rig_start(struct rig *rig)
{
	int agent, monitor, results;

	rig->agent = peer_pair(&agent);
	make_pipe(&monitor, &rig->monitor);
	make_pipe(&rig->results, &results);
	fflush(NULL);
	rig->pid = fork();
	assert_true(rig->pid >= 0);
	if (rig->pid == 0) {
		/* The user's ends are the user's alone: their closing must show. */
		int users[] = { rig->agent, rig->monitor, rig->in, rig->out, rig->err, rig->results };

		for (size_t i = 0; i < ARRAY_SIZE(users); i++)
			close(users[i]);
		be_session(rig, agent, monitor, results);
	}
	close(agent);
	close(monitor);
	close(results);
	for (int i = 0; i < 3; i++)
		close(rig->streams[i]);
}

void rig_take_job(struct rig *rig)
{
	static char job[AGENT_JOB_MAX];

	assert_in_range(peer_take(rig->agent, AGENT_JOB, job), 1, AGENT_JOB_MAX);
}

void rig_say_ready(struct rig *rig)
{
	const struct agent_ready ready = { .version = AGENT_VERSION, .kernel_ns = 12345 };

	peer_send(rig->agent, AGENT_READY, &ready, sizeof(ready));
}

void rig_ready(struct rig *rig)
{
	rig_init(rig);
	rig_start(rig);
	rig_take_job(rig);
	rig_say_ready(rig);
}

void rig_exit(struct rig *rig, uint32_t status, uint32_t signal)
{
	const struct agent_exit end = { .status = status, .signal = signal };

	peer_send(rig->agent, AGENT_EXIT, &end, sizeof(end));
}

struct outcome rig_end(struct rig *rig)
{
	struct pollfd p = { .fd = rig->results, .events = POLLIN };
	struct outcome o;
	int status;

	assert_int_equal(poll(&p, 1, 20000), 1);
	assert_int_equal(read(rig->results, &o, sizeof(o)), sizeof(o));
	assert_int_equal(waitpid(rig->pid, &status, 0), rig->pid);
	assert_int_equal(status, 0);
	close_fd(&rig->results);
	close_fd(&rig->agent);
	close_fd(&rig->monitor);
	close_fd(&rig->in);
	close_fd(&rig->out);
	close_fd(&rig->err);
	return o;
}

void rig_expect(struct rig *rig, enum session_end end, const char *message)
{
	int err = fcntl(rig->err, F_DUPFD_CLOEXEC, 0);
	struct outcome o = rig_end(rig);
	char byte;

	assert_string_equal(o.err.message, message);
	assert_int_equal(o.end, end);
	assert_int_equal(read(err, &byte, 1), 0);
	close(err);
}

void expect_bytes(int fd, const void *bytes, size_t length)
{
	char *got = malloc(length + 1);
	size_t n = 0;

	while (n < length) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		assert_int_equal(poll(&p, 1, 20000), 1);
		ssize_t part = read(fd, got + n, length + 1 - n);

		assert_true(part > 0);
		n += (size_t)part;
	}
	assert_int_equal(n, length);
	assert_memory_equal(got, bytes, length);
	free(got);
}
