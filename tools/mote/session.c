/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent sends is a guest's: lengths are checked, a frame out of place ends the session. */
#include "tools/mote/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>

#include "vmm/util.h"

#define CAPTURE_MAX (16 * MIB)
#define RX_SIZE     (sizeof(struct agent_frame) + AGENT_FRAME_MAX)
#define NS_PER_MS   1000000u

/* What a step of the session comes to. */
enum step { GO_ON, END }; /* END: *end and err hold */

static enum step ended(enum session_end *end, enum session_end how)
{
	*end = how;
	return END;
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

/*
 * Write pending output, as much as its stream takes now. A reader that went away is the command's
 * business, as if it wrote there itself: it gets a SIGPIPE with its next write.
 */
static int write_pending(struct session *s, struct error *err)
{
	const uint32_t stream = (uint32_t)s->pending_stream;
	struct iovec iov = { (void *)s->pending, s->pending_length };
	ssize_t n = host_stream_write(&s->streams[stream], &iov, 1);

	if (n == -EAGAIN)
		return 0;
	if (n < 0) {
		if (n != -EPIPE && !s->closed[STDERR_FILENO])
			dprintf(STDERR_FILENO, "mote run: write to std%s: %s\n",
				stream == STDOUT_FILENO ? "out" : "err", strerrordesc_np((int)-n));
		s->pending_length = 0;
		s->closed[stream] = true;
		return outbox_add(&s->tx, AGENT_CLOSE, &stream, sizeof(stream), err);
	}
	s->pending += n;
	s->pending_length -= (size_t)n;
	return 0;
}

/* Output of the command. What isn't captured or taken at once stays where it is until it is. */
static int output(struct session *s, int stream, const char *bytes, size_t length, struct error *err)
{
	if (length == 0)
		return 0;
	if (s->options->json)
		return capture(&s->output[stream], bytes, length) < 0 ? error_sys(err, ENOMEM, "output")
								      : 0;
	if (s->closed[stream])
		return 0;
	s->pending = bytes;
	s->pending_length = length;
	s->pending_stream = stream;
	return write_pending(s, err);
}

static bool take_ready(struct session *s, const char *payload, uint32_t length)
{
	struct agent_ready ready;

	if (length != sizeof(ready))
		return false;
	memcpy(&ready, payload, sizeof(ready));
	s->ready_ns = monotonic_ns();
	s->guest_boot_ns = ready.kernel_ns;
	s->stdin_credit = true;
	return ready.version == AGENT_VERSION;
}

static bool take_exit(struct session *s, const char *payload, uint32_t length)
{
	if (length != sizeof(s->exit))
		return false;
	memcpy(&s->exit, payload, sizeof(s->exit));
	return s->exit.status <= 255 && s->exit.signal <= 64 &&
	       (s->exit.status == 0 || s->exit.signal == 0);
}

static enum step bad_frame(enum session_end *end, struct error *err)
{
	error_set(err, EPROTO, "the guest's agent doesn't speak mote's protocol");
	return ended(end, SESSION_BROKEN);
}

static enum step handle_frame(struct session *s, uint32_t type, const char *payload, uint32_t length,
			      enum session_end *end, struct error *err)
{
	/* READY is the first, and nothing but the first. */
	if ((type == AGENT_READY) != (s->ready_ns == 0))
		return bad_frame(end, err);
	switch (type) {
	case AGENT_READY:
		return take_ready(s, payload, length) ? GO_ON : bad_frame(end, err);
	case AGENT_STDIN_TAKEN:
		if (length != 0 || s->stdin_credit)
			return bad_frame(end, err);
		s->stdin_credit = true;
		return GO_ON;
	case AGENT_STDOUT:
	case AGENT_STDERR:
		if (output(s, type == AGENT_STDOUT ? STDOUT_FILENO : STDERR_FILENO, payload, length,
			   err) < 0)
			return ended(end, SESSION_BROKEN);
		return GO_ON;
	case AGENT_EXIT:
		return take_exit(s, payload, length) ? ended(end, SESSION_EXITED) : bad_frame(end, err);
	case AGENT_FAILED:
		error_set(err, EIO, "guest: %.*s", (int)(length < 400 ? length : 400), payload);
		return ended(end, SESSION_FAILED);
	default:
		return bad_frame(end, err);
	}
}

/* Handle whole frames, up to one whose output must be written first. */
static enum step handle_frames(struct session *s, enum session_end *end, struct error *err)
{
	enum step step = GO_ON;

	while (step == GO_ON && s->pending_length == 0 &&
	       s->rx_length - s->rx_at >= sizeof(struct agent_frame)) {
		struct agent_frame frame;
		const char *payload = s->rx + s->rx_at + sizeof(frame);

		memcpy(&frame, s->rx + s->rx_at, sizeof(frame));
		if (frame.length > AGENT_FRAME_MAX)
			return bad_frame(end, err);
		if (s->rx_length - s->rx_at - sizeof(frame) < frame.length)
			return GO_ON;
		step = handle_frame(s, frame.type, payload, frame.length, end, err);
		s->rx_at += sizeof(frame) + frame.length;
	}
	return step;
}

/* Read what is there; no output is pending, so at most a part of one frame is in rx. */
static enum step receive(struct session *s, enum session_end *end, struct error *err)
{
	s->rx_length -= s->rx_at;
	memmove(s->rx, s->rx + s->rx_at, s->rx_length);
	s->rx_at = 0;

	ssize_t n = recv(s->agent, s->rx + s->rx_length, RX_SIZE - s->rx_length, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return GO_ON;
	if (n <= 0) {
		error_set(err, EPIPE, "the microVM ended before the command did");
		return ended(end, SESSION_LOST);
	}
	s->rx_length += (size_t)n;
	return handle_frames(s, end, err);
}

static int forward_stdin(struct session *s, struct error *err)
{
	char buffer[AGENT_FRAME_MAX];
	ssize_t n = host_stream_read(&s->streams[STDIN_FILENO], buffer, sizeof(buffer));

	if (n == -EAGAIN)
		return 0;
	/* What can't be read has ended. */
	if (n <= 0) {
		s->stdin_open = false;
		n = 0;
	}
	s->stdin_credit = false;
	return outbox_add(&s->tx, AGENT_STDIN, buffer, (size_t)n, err);
}

/* Only the last of several sizes counts, and one waits for the frames before it. */
static int forward_size(struct session *s, struct error *err)
{
	struct winsize size;

	s->resized = false;
	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
		return 0;
	return outbox_add(&s->tx, AGENT_WINDOW, (uint16_t[]){ size.ws_row, size.ws_col }, 4, err);
}

static enum step forward_signal(struct session *s, enum session_end *end, struct error *err)
{
	struct signalfd_siginfo info;
	uint32_t number;

	if (read(s->signals, &info, sizeof(info)) != sizeof(info))
		return GO_ON;
	number = info.ssi_signo;
	if (number == SIGWINCH) {
		s->resized = s->options->tty;
		return GO_ON;
	}
	/* The first is the command's; the second means us, and so does one before there's a command. */
	if (!s->ready_ns || s->asked_to_stop) {
		s->killed_by = number;
		return ended(end, SESSION_KILLED);
	}
	s->asked_to_stop = true;
	if (outbox_add(&s->tx, AGENT_SIGNAL, &number, sizeof(number), err) < 0)
		return ended(end, SESSION_BROKEN);
	return GO_ON;
}

/*
 * What is ready on the agent's socket. With output pending its frames wait there, and so does its
 * end.
 */
static enum step serve_agent(struct session *s, short revents, enum session_end *end, struct error *err)
{
	if (s->tx.length > 0)
		outbox_send(&s->tx, s->agent);
	return revents & ~POLLOUT && s->pending_length == 0 ? receive(s, end, err) : GO_ON;
}

/* Milliseconds until then for poll: -1 = for ever, 0 = it has passed. */
static int time_left(uint64_t deadline_ns)
{
	uint64_t now = monotonic_ns();

	if (deadline_ns == 0)
		return -1;
	return now >= deadline_ns ? 0 : (int)((deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS);
}

enum { MONITOR, SIGNALS, AGENT, STDIN, OUTPUT, N_FDS };

/* What the session waits for. A descriptor that nothing is wanted of is left out: it may hang up. */
static void wanted(const struct session *s, struct pollfd fds[N_FDS])
{
	bool blocked = s->pending_length > 0;
	bool want_stdin = s->stdin_open && s->stdin_credit && s->tx.length == 0;
	short events = (short)((blocked ? 0 : POLLIN) | (s->tx.length > 0 ? POLLOUT : 0));

	/* With output to write the monitor's end can wait: there may be more to read. */
	fds[MONITOR] = (struct pollfd){ .fd = blocked ? -1 : s->monitor, .events = POLLIN };
	fds[SIGNALS] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
	fds[AGENT] = (struct pollfd){ .fd = events ? s->agent : -1, .events = events };
	fds[STDIN] = (struct pollfd){ .fd = want_stdin ? s->streams[STDIN_FILENO].fd : -1,
				      .events = POLLIN };
	fds[OUTPUT] = (struct pollfd){ .fd = blocked ? s->streams[s->pending_stream].fd : -1,
				       .events = POLLOUT };
}

/* Move what is ready. */
static enum step serve(struct session *s, const struct pollfd fds[N_FDS], enum session_end *end,
		       struct error *err)
{
	enum step step = GO_ON;
	int rc = 0;

	if (fds[SIGNALS].revents)
		step = forward_signal(s, end, err);
	if (step == END)
		return END;
	if (fds[STDIN].revents)
		rc = forward_stdin(s, err);
	if (rc == 0 && fds[OUTPUT].revents)
		rc = write_pending(s, err);
	if (rc < 0)
		return ended(end, SESSION_BROKEN);
	if (fds[OUTPUT].revents)
		step = handle_frames(s, end, err);
	if (step == GO_ON && fds[AGENT].revents)
		step = serve_agent(s, fds[AGENT].revents, end, err);
	/* Last: what the guest sent before its end has been read by now. */
	if (step == GO_ON && fds[MONITOR].revents && !fds[AGENT].revents) {
		error_set(err, ECHILD, "the microVM ended before the command did");
		return ended(end, SESSION_LOST);
	}
	return step;
}

static enum session_end talk(struct session *s, struct error *err)
{
	uint64_t deadline_ns = s->options->timeout_s
				       ? monotonic_ns() + s->options->timeout_s * UINT64_C(1000000000)
				       : 0;
	enum session_end end = SESSION_BROKEN;
	struct pollfd fds[N_FDS];

	outbox_send(&s->tx, s->agent);
	for (;;) {
		int ms = time_left(deadline_ns);

		if (ms == 0)
			return SESSION_TIMED_OUT;
		if (s->resized && s->ready_ns && s->tx.length == 0 && forward_size(s, err) < 0)
			return SESSION_BROKEN;
		wanted(s, fds);
		if (poll(fds, N_FDS, ms) <= 0)
			continue;
		if (serve(s, fds, &end, err) == END)
			return end;
	}
}

static int open_streams(struct session *s, struct error *err)
{
	int rc = host_stream_open(&s->streams[STDIN_FILENO], STDIN_FILENO, O_RDONLY, err);

	for (int i = STDOUT_FILENO; rc == 0 && !s->options->json && i <= STDERR_FILENO; i++)
		rc = host_stream_open(&s->streams[i], i, O_WRONLY, err);
	return rc;
}

void session_init(struct session *s, const struct run_options *options)
{
	*s = (struct session){ .options = options, .monitor = -1, .agent = -1, .signals = -1,
			       .stdin_open = true };
	for (int i = 0; i < 3; i++)
		s->streams[i].fd = -1;
}

int session_open(struct session *s, struct error *err)
{
	static const int forwarded[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals < 0 ? error_sys(err, errno, "signalfd") : 0;
}

enum session_end session_run(struct session *s, struct error *err)
{
	enum session_end end = SESSION_BROKEN;

	s->rx = malloc(RX_SIZE);
	if (!s->rx)
		error_sys(err, ENOMEM, "session");
	else if (open_streams(s, err) == 0 && job_send(&s->tx, s->options, s->root_type, err) == 0)
		end = talk(s, err);
	s->exit_ns = monotonic_ns();
	shutdown(s->agent, SHUT_RDWR);
	return end;
}

void session_release(struct session *s)
{
	close_fd(&s->agent);
	close_fd(&s->signals);
	for (int i = 0; i < 3; i++) {
		host_stream_close(&s->streams[i]);
		free(s->output[i].bytes);
	}
	free(s->rx);
	free(s->tx.bytes);
}
