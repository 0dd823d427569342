/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The talk with the agent: wait for it, send the job, forward streams and signals, until the
 * command has ended, the time is up or the monitor is gone. What the agent sends is a guest's:
 * lengths are checked, unknown frames end the session.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>

#include "tools/mote/run.h"
#include "vmm/util.h"

#define CAPTURE_MAX (16 * MIB)
#define RX_SIZE     (sizeof(struct agent_frame) + AGENT_FRAME_MAX)

static int add_field(char **job, size_t *length, uint32_t tag, const void *value, size_t n)
{
	struct agent_field field = { .tag = tag, .length = (uint32_t)n };
	char *grown = realloc(*job, *length + sizeof(field) + n);

	if (!grown)
		return -ENOMEM;
	*job = grown;
	memcpy(*job + *length, &field, sizeof(field));
	if (n > 0)
		memcpy(*job + *length + sizeof(field), value, n);
	*length += sizeof(field) + n;
	return 0;
}

static int add_text(char **job, size_t *length, uint32_t tag, const char *text)
{
	return add_field(job, length, tag, text, strlen(text));
}

/* Nothing waits for the agent: what it doesn't take at once is sent when it does. */
static int queue_frame(struct session *s, uint32_t type, const void *payload, size_t length,
		       struct error *err)
{
	struct agent_frame frame = { .type = type, .length = (uint32_t)length };
	char *grown = realloc(s->tx, s->tx_length + sizeof(frame) + length);

	if (!grown)
		return error_sys(err, ENOMEM, "frame for the guest's agent");
	s->tx = grown;
	memcpy(s->tx + s->tx_length, &frame, sizeof(frame));
	if (length > 0)
		memcpy(s->tx + s->tx_length + sizeof(frame), payload, length);
	s->tx_length += sizeof(frame) + length;
	return 0;
}

static void send_queued(struct session *s)
{
	ssize_t n = send(s->agent, s->tx, s->tx_length, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* The agent is gone: receive() says so, after what it sent before. */
	if (n < 0)
		n = (ssize_t)s->tx_length;
	s->tx_length -= (size_t)n;
	memmove(s->tx, s->tx + n, s->tx_length);
}

static int build_job(const struct run_options *o, const struct root_image *root, char **job,
		     size_t *length)
{
	struct winsize size = { 0 };
	int rc = 0;

	for (char **arg = o->command; rc == 0 && *arg; arg++)
		rc = add_text(job, length, AGENT_ARG, *arg);
	if (rc == 0)
		rc = add_text(job, length, AGENT_ENV,
			      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	if (rc == 0)
		rc = add_text(job, length, AGENT_ENV, "HOME=/root");
	if (rc == 0 && o->tty)
		rc = add_text(job, length, AGENT_ENV, "TERM=xterm");
	for (unsigned int i = 0; rc == 0 && i < o->n_env; i++)
		rc = add_text(job, length, AGENT_ENV, o->env[i]);
	if (rc == 0)
		rc = add_text(job, length, AGENT_ROOT_TYPE, root->type);
	if (rc == 0 && o->writable)
		rc = add_field(job, length, AGENT_ROOT_RW, NULL, 0);
	if (rc == 0 && o->cwd)
		rc = add_text(job, length, AGENT_CWD, o->cwd);
	if (rc == 0)
		rc = add_text(job, length, AGENT_HOSTNAME, "mote");
	if (rc == 0 && o->address[0])
		rc = add_text(job, length, AGENT_ADDRESS, o->address);
	if (rc == 0 && o->gateway[0])
		rc = add_text(job, length, AGENT_GATEWAY, o->gateway);
	if (rc == 0 && o->tty) {
		ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
		rc = add_field(job, length, AGENT_TTY, (uint16_t[]){ size.ws_row, size.ws_col }, 4);
	}
	return rc;
}

static int send_job(struct session *s, struct error *err)
{
	cleanup_free char *job = NULL;
	size_t length = 0;

	if (build_job(s->options, s->root, &job, &length) < 0)
		return error_sys(err, ENOMEM, "job");
	if (length > AGENT_JOB_MAX)
		return error_set(err, E2BIG, "command, environment and options are %zu bytes, at most %u go",
				 length, AGENT_JOB_MAX);
	return queue_frame(s, AGENT_JOB, job, length, err);
}

static int capture(struct capture *c, const char *bytes, size_t length)
{
	if (c->length + length > CAPTURE_MAX) {
		length = CAPTURE_MAX - c->length;
		c->truncated = true;
	}
	if (c->length + length > c->size) {
		size_t size = c->size ? 2 * c->size : 4096;

		while (size < c->length + length)
			size *= 2;
		char *grown = realloc(c->bytes, size);

		if (!grown)
			return -ENOMEM;
		c->bytes = grown;
		c->size = size;
	}
	memcpy(c->bytes + c->length, bytes, length);
	c->length += length;
	return 0;
}

/* Output of the command. What isn't captured stays where it is until fd takes it. */
static int output(struct session *s, int fd, const char *bytes, size_t length)
{
	if (s->options->json)
		return capture(&s->output[fd - 1], bytes, length);
	if (s->closed[fd - 1])
		return 0;
	s->pending = bytes;
	s->pending_length = length;
	s->pending_fd = fd;
	return 0;
}

/*
 * Pending output's next part, after POLLOUT: PIPE_BUF bytes don't block then, even if the file isn't
 * O_NONBLOCK (which we can't set: it may be shared). A reader that went away is the command's
 * business, as if it wrote there itself.
 */
static int write_pending(struct session *s, struct error *err)
{
	uint32_t stream = (uint32_t)s->pending_fd;
	size_t length = s->pending_length < PIPE_BUF ? s->pending_length : PIPE_BUF;
	ssize_t n = write(s->pending_fd, s->pending, length);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0) {
		s->pending_length = 0;
		s->closed[stream - 1] = true;
		return queue_frame(s, AGENT_CLOSE, &stream, sizeof(stream), err);
	}
	s->pending += n;
	s->pending_length -= (size_t)n;
	return 0;
}

enum step { STEP_GO_ON, STEP_EXITED, STEP_FAILED, STEP_BAD };

static enum step handle_frame(struct session *s, uint32_t type, const char *payload, uint32_t length,
			      struct error *err)
{
	struct agent_ready ready;

	switch (type) {
	case AGENT_READY:
		if (length != sizeof(ready) || s->ready_ns)
			return STEP_BAD;
		memcpy(&ready, payload, sizeof(ready));
		if (ready.version != AGENT_VERSION)
			return STEP_BAD;
		s->ready_ns = monotonic_ns();
		s->guest_boot_ns = ready.kernel_ns;
		s->stdin_credit = true;
		return STEP_GO_ON;
	case AGENT_STDIN_TAKEN:
		s->stdin_credit = true;
		return length == 0 ? STEP_GO_ON : STEP_BAD;
	case AGENT_STDOUT:
	case AGENT_STDERR:
		return output(s, type == AGENT_STDOUT ? STDOUT_FILENO : STDERR_FILENO, payload, length) < 0
			       ? STEP_BAD
			       : STEP_GO_ON;
	case AGENT_EXIT:
		if (length != sizeof(s->exit))
			return STEP_BAD;
		memcpy(&s->exit, payload, sizeof(s->exit));
		return s->exit.status <= 255 && s->exit.signal <= 64 ? STEP_EXITED : STEP_BAD;
	case AGENT_FAILED:
		error_set(err, EIO, "guest: %.*s", (int)(length < 400 ? length : 400), payload);
		return STEP_FAILED;
	default:
		return STEP_BAD;
	}
}

/* Handle whole frames, up to one whose output must be written first. */
static enum step handle_frames(struct session *s, struct error *err)
{
	enum step step = STEP_GO_ON;

	while (step == STEP_GO_ON && s->pending_length == 0 &&
	       s->rx_length - s->rx_at >= sizeof(struct agent_frame)) {
		struct agent_frame frame;
		const char *payload = s->rx + s->rx_at + sizeof(frame);

		memcpy(&frame, s->rx + s->rx_at, sizeof(frame));
		if (frame.length > AGENT_FRAME_MAX) {
			step = STEP_BAD;
			break;
		}
		if (s->rx_length - s->rx_at - sizeof(frame) < frame.length)
			break;
		step = handle_frame(s, frame.type, payload, frame.length, err);
		s->rx_at += sizeof(frame) + frame.length;
	}
	if (step == STEP_BAD)
		error_set(err, EPROTO, "the guest's agent doesn't speak mote's protocol");
	return step;
}

/* Read what is there; no output is pending. */
static enum step receive(struct session *s, struct error *err)
{
	s->rx_length -= s->rx_at;
	memmove(s->rx, s->rx + s->rx_at, s->rx_length);
	s->rx_at = 0;

	ssize_t n = recv(s->agent, s->rx + s->rx_length, RX_SIZE - s->rx_length, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return STEP_GO_ON;
	if (n <= 0) {
		error_set(err, EPIPE, "the guest's agent is gone");
		return STEP_FAILED;
	}
	s->rx_length += (size_t)n;
	return handle_frames(s, err);
}

static int forward_stdin(struct session *s, struct error *err)
{
	char buffer[16 * 1024];
	ssize_t n = read(STDIN_FILENO, buffer, sizeof(buffer));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		s->stdin_open = false;
		n = 0;
	}
	s->stdin_credit = false;
	return queue_frame(s, AGENT_STDIN, buffer, (size_t)n, err);
}

static int forward_signal(struct session *s, enum session_end *end, struct error *err)
{
	struct signalfd_siginfo info;
	struct winsize size;
	uint32_t number;

	if (read(s->signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	number = info.ssi_signo;
	if (number == SIGWINCH) {
		/* An agent that takes nothing gets no more of them. */
		if (!s->options->tty || s->agent < 0 || s->tx_length > AGENT_FRAME_MAX ||
		    ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
			return 0;
		return queue_frame(s, AGENT_WINDOW, (uint16_t[]){ size.ws_row, size.ws_col }, 4,
				   err);
	}
	/* The first is the command's; the second means us, and so does one before there's a command. */
	if (s->agent < 0 || s->asked_to_stop) {
		s->killed_by = number;
		*end = SESSION_KILLED;
		return 1;
	}
	s->asked_to_stop = true;
	return queue_frame(s, AGENT_SIGNAL, &number, sizeof(number), err);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int open_timer(unsigned int seconds)
{
	struct itimerspec at = { .it_value.tv_sec = seconds };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd >= 0 && seconds > 0)
		timerfd_settime(fd, 0, &at, NULL);
	return fd;
}

static short agent_events(const struct session *s)
{
	if (s->agent < 0)
		return POLLIN; /* the listener's */
	return (short)((s->pending_length > 0 ? 0 : POLLIN) | (s->tx_length > 0 ? POLLOUT : 0));
}

/* The agent's connection, or what is ready on it. */
static enum step serve_agent(struct session *s, short revents, struct error *err)
{
	if (s->agent < 0) {
		s->agent = monitor_accept(s->monitor, err);
		return s->agent >= 0 && send_job(s, err) == 0 ? STEP_GO_ON : STEP_BAD;
	}
	if (s->tx_length > 0)
		send_queued(s);
	return revents & ~POLLOUT && s->pending_length == 0 ? receive(s, err) : STEP_GO_ON;
}

/* One round of waiting and handling; true when *end holds. */
static bool serve_once(struct session *s, int timer_fd, enum session_end *end, struct error *err)
{
	bool blocked = s->pending_length > 0;
	bool want_stdin = s->stdin_open && s->stdin_credit && s->tx_length == 0;
	int agent = s->agent >= 0 ? s->agent : s->monitor->listener;
	short events = agent_events(s);
	struct pollfd fds[] = {
		/* With output to write the end can wait: there may be more to read. */
		{ .fd = blocked ? -1 : s->monitor->pidfd, .events = POLLIN },
		{ .fd = s->signal_fd, .events = POLLIN },
		{ .fd = timer_fd, .events = POLLIN },
		{ .fd = events ? agent : -1, .events = events },
		{ .fd = want_stdin ? STDIN_FILENO : -1, .events = POLLIN },
		{ .fd = blocked ? s->pending_fd : -1, .events = POLLOUT },
	};
	enum step step = STEP_GO_ON;
	int rc = 0;

	if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
		return false;
	*end = SESSION_LOST;
	if (fds[1].revents)
		rc = forward_signal(s, end, err);
	if (rc == 0 && fds[2].revents) {
		*end = SESSION_TIMED_OUT;
		return true;
	}
	if (rc == 0 && fds[4].revents)
		rc = forward_stdin(s, err);
	if (rc == 0 && fds[5].revents)
		rc = write_pending(s, err);
	if (rc != 0)
		return true;
	if (fds[5].revents)
		step = handle_frames(s, err);
	if (step == STEP_GO_ON && fds[3].revents)
		step = serve_agent(s, fds[3].revents, err);
	if (step != STEP_GO_ON) {
		*end = step == STEP_EXITED ? SESSION_EXITED : step == STEP_FAILED ? SESSION_FAILED
										   : SESSION_LOST;
		return true;
	}
	/* Last: what the guest sent before its end has been read by now. */
	if (fds[0].revents && !fds[3].revents) {
		error_set(err, ECHILD, "the microVM ended before the command did");
		return true;
	}
	return false;
}

int session_open(struct session *s, struct error *err)
{
	s->signal_fd = open_signals();
	return s->signal_fd < 0 ? error_sys(err, errno, "signalfd") : 0;
}

enum session_end session_run(struct session *s, struct error *err)
{
	cleanup_close int timer_fd = open_timer(s->options->timeout_s);
	enum session_end end = SESSION_LOST;

	s->rx = malloc(RX_SIZE);
	if (timer_fd < 0 || !s->rx) {
		error_sys(err, errno, "timerfd");
		return SESSION_LOST;
	}
	signal(SIGPIPE, SIG_IGN);
	while (!serve_once(s, timer_fd, &end, err))
		;
	s->exit_ns = monotonic_ns();
	/* The agent powers off when it sees the end of the stream. */
	if (s->agent >= 0)
		shutdown(s->agent, SHUT_RDWR);
	if (end != SESSION_EXITED && end != SESSION_FAILED && s->monitor->pid > 0)
		kill(s->monitor->pid, SIGKILL);
	return end;
}

void session_release(struct session *s)
{
	close_fd(&s->agent);
	close_fd(&s->signal_fd);
	free(s->rx);
	free(s->tx);
	free(s->output[0].bytes);
	free(s->output[1].bytes);
}
