/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The talk with the agent: wait for it, send the job, forward streams and signals, until the
 * command has ended, the time is up or the monitor is gone. What the agent sends is a guest's:
 * lengths are checked, unknown frames end the session.
 */
#include <errno.h>
#include <fcntl.h>
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

/* All of it, waiting: the agent reads its job before it does anything else. */
static int send_all(int fd, const void *data, size_t length, struct error *err)
{
	const char *p = data;

	while (length > 0) {
		ssize_t n = send(fd, p, length, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd writable = { .fd = fd, .events = POLLOUT };

			if (poll(&writable, 1, 10000) == 0)
				return error_set(err, ETIMEDOUT, "the guest's agent doesn't read");
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_sys(err, errno, "send to the guest's agent");
		p += n;
		length -= (size_t)n;
	}
	return 0;
}

static int send_frame(int fd, uint32_t type, const void *payload, size_t length, struct error *err)
{
	struct agent_frame frame = { .type = type, .length = (uint32_t)length };
	int rc = send_all(fd, &frame, sizeof(frame), err);

	return rc == 0 && length > 0 ? send_all(fd, payload, length, err) : rc;
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
	return send_frame(s->agent, AGENT_JOB, job, length, err);
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

/* A reader of ours that went away (EPIPE) ends nothing: the command may still have work to do. */
static int output(struct session *s, int fd, const char *bytes, size_t length)
{
	if (s->options->json)
		return capture(&s->output[fd - 1], bytes, length);
	while (length > 0) {
		ssize_t n = write(fd, bytes, length);

		if (n < 0 && errno == EAGAIN) {
			poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return 0;
		bytes += n;
		length -= (size_t)n;
	}
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
		return STEP_GO_ON;
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

/* Read what is there and handle whole frames. */
static enum step receive(struct session *s, struct error *err)
{
	size_t at = 0;
	enum step step = STEP_GO_ON;
	ssize_t n = recv(s->agent, s->rx + s->rx_length, RX_SIZE - s->rx_length, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return STEP_GO_ON;
	if (n <= 0) {
		error_set(err, EPIPE, "the guest's agent is gone");
		return STEP_FAILED;
	}
	s->rx_length += (size_t)n;
	while (step == STEP_GO_ON && s->rx_length - at >= sizeof(struct agent_frame)) {
		struct agent_frame frame;

		memcpy(&frame, s->rx + at, sizeof(frame));
		if (frame.length > AGENT_FRAME_MAX) {
			step = STEP_BAD;
			break;
		}
		if (s->rx_length - at - sizeof(frame) < frame.length)
			break;
		step = handle_frame(s, frame.type, s->rx + at + sizeof(frame), frame.length, err);
		at += sizeof(frame) + frame.length;
	}
	memmove(s->rx, s->rx + at, s->rx_length - at);
	s->rx_length -= at;
	if (step == STEP_BAD)
		error_set(err, EPROTO, "the guest's agent doesn't speak mote's protocol");
	return step;
}

/* Forward stdin. Blocking sends bound what is under way to one frame. */
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
	return send_frame(s->agent, AGENT_STDIN, buffer, (size_t)n, err);
}

static int forward_signal(struct session *s, int signal_fd, enum session_end *end, struct error *err)
{
	struct signalfd_siginfo info;
	struct winsize size;
	uint32_t number;

	if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	number = info.ssi_signo;
	if (number == SIGWINCH) {
		if (!s->options->tty || s->agent < 0 || ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
			return 0;
		return send_frame(s->agent, AGENT_WINDOW, (uint16_t[]){ size.ws_row, size.ws_col }, 4, err);
	}
	/* The first is the command's; the second means us, and so does one before there's a command. */
	if (s->agent < 0 || s->asked_to_stop) {
		*end = SESSION_KILLED;
		return 1;
	}
	s->asked_to_stop = true;
	return send_frame(s->agent, AGENT_SIGNAL, &number, sizeof(number), err);
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

/* One round of waiting and handling; true when *end holds. */
static bool serve_once(struct session *s, int signal_fd, int timer_fd, enum session_end *end,
		       struct error *err)
{
	bool connected = s->agent >= 0;
	struct pollfd fds[] = {
		{ .fd = s->monitor->pidfd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = timer_fd, .events = POLLIN },
		{ .fd = connected ? s->agent : s->monitor->listener, .events = POLLIN },
		{ .fd = connected && s->ready_ns && s->stdin_open ? STDIN_FILENO : -1, .events = POLLIN },
	};
	int rc = 0;

	if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
		return false;
	*end = SESSION_LOST;
	if (fds[1].revents)
		rc = forward_signal(s, signal_fd, end, err);
	if (rc == 0 && fds[2].revents) {
		*end = SESSION_TIMED_OUT;
		return true;
	}
	if (rc == 0 && fds[3].revents && !connected) {
		rc = s->agent = monitor_accept(s->monitor, err);
		if (rc >= 0)
			rc = send_job(s, err);
	} else if (rc == 0 && fds[3].revents) {
		enum step step = receive(s, err);

		*end = step == STEP_EXITED ? SESSION_EXITED : step == STEP_FAILED ? SESSION_FAILED
										   : SESSION_LOST;
		return step != STEP_GO_ON;
	}
	if (rc == 0 && fds[4].revents)
		rc = forward_stdin(s, err);
	/* Last: what the guest sent before its end has been read by now. */
	if (rc == 0 && fds[0].revents && !fds[3].revents) {
		error_set(err, ECHILD, "the microVM ended before the command did");
		return true;
	}
	return rc != 0;
}

enum session_end session_run(struct session *s, struct error *err)
{
	cleanup_close int signal_fd = open_signals();
	cleanup_close int timer_fd = open_timer(s->options->timeout_s);
	enum session_end end = SESSION_LOST;

	s->rx = malloc(RX_SIZE);
	if (signal_fd < 0 || timer_fd < 0 || !s->rx) {
		error_sys(err, errno, "signalfd, timerfd");
		return SESSION_LOST;
	}
	signal(SIGPIPE, SIG_IGN);
	while (!serve_once(s, signal_fd, timer_fd, &end, err))
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
	free(s->rx);
	free(s->output[0].bytes);
	free(s->output[1].bytes);
}
