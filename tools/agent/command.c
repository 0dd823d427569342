/* SPDX-License-Identifier: Apache-2.0 */
/* The command: its streams, its process, and the loop between them and the host. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/agent/agent.h"

/* Our ends; -1 = closed. With a terminal all three are its master. */
struct streams {
	int in, out, err;
	int child[3]; /* the command's ends, until it has them */
	bool tty;
};

/* What the host sent for the command and it hasn't taken yet. */
struct input {
	char bytes[AGENT_FRAME_MAX];
	size_t start, length;
	bool eof; /* close the command's stdin when the bytes are gone */
};

/*
 * What the host hasn't taken yet: one frame of output, and one STDIN_TAKEN (the host sends no STDIN
 * before it has that). Nothing more is read from the command meanwhile, but the host's frames are.
 */
struct output {
	char bytes[sizeof(struct agent_frame) + AGENT_FRAME_MAX + sizeof(struct agent_frame)];
	size_t start, length;
};

static int open_terminal(int host, const struct job *job, struct streams *s)
{
	struct winsize size = { .ws_row = job->rows, .ws_col = job->columns };
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	char name[32];
	unsigned int number;
	int unlock = 0;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
		return send_failure(host, "open a terminal: %s", strerror(errno));
	snprintf(name, sizeof(name), "/dev/pts/%u", number);
	int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (slave < 0)
		return send_failure(host, "open \"%s\": %s", name, strerror(errno));
	ioctl(slave, TIOCSWINSZ, &size);
	fcntl(master, F_SETFL, O_NONBLOCK);
	*s = (struct streams){ .in = master, .out = master, .err = -1, .tty = true,
			       .child = { slave, slave, slave } };
	return 0;
}

static int open_pipes(int host, struct streams *s)
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return send_failure(host, "pipe: %s", strerror(errno));
	*s = (struct streams){ .in = in[1], .out = out[0], .err = err[0],
			       .child = { in[0], out[1], err[1] } };
	/* The agent must go on reading while the command doesn't. */
	fcntl(s->in, F_SETFL, O_NONBLOCK);
	return 0;
}

/* In the child: become the command. status_fd carries errno if that fails; it closes on success. */
static void become(const struct job *job, const struct streams *s, int status_fd)
{
	sigset_t none;
	const char *failed = "chdir to";
	int error;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL); /* ignored signals stay so across exec */
	setsid();
	for (int i = 0; i < 3; i++)
		dup2(s->child[i], i);
	if (s->tty)
		ioctl(0, TIOCSCTTY, 0);
	if (chdir(job->cwd ? job->cwd : "/") == 0) {
		failed = "exec";
		/* execvpe searches the PATH of this process, which must be the job's. */
		clearenv();
		for (char *const *e = job->envp; *e; e++)
			putenv(*e);
		execvp(job->argv[0], job->argv);
	}
	error = errno;
	if (write(status_fd, &error, sizeof(error)) > 0)
		write(status_fd, failed, strlen(failed) + 1);
	_exit(AGENT_STATUS_CANT_EXEC);
}

/* Start the command; returns its pid, or -1 when the host has been told why not. */
static pid_t start(int host, const struct job *job, struct streams *s)
{
	int status[2], error = 0;
	char failed[16] = "";

	if (pipe2(status, O_CLOEXEC) < 0)
		return send_failure(host, "pipe: %s", strerror(errno));
	pid_t pid = fork();

	if (pid < 0)
		return send_failure(host, "fork: %s", strerror(errno));
	if (pid == 0)
		become(job, s, status[1]);
	close(status[1]);
	close(s->child[0]);
	if (!s->tty) {
		close(s->child[1]);
		close(s->child[2]);
	}
	if (receive_exactly(status[0], &error, sizeof(error)) < 0) {
		close(status[0]);
		return pid; /* closed by exec: it runs */
	}
	if (read(status[0], failed, sizeof(failed) - 1) < 0)
		failed[0] = 0;
	close(status[0]);
	waitpid(pid, NULL, 0);
	struct agent_exit result = {
		.status = error == ENOENT ? AGENT_STATUS_NOT_FOUND : AGENT_STATUS_CANT_EXEC,
	};
	char text[256];
	int n = snprintf(text, sizeof(text), "mote: %s \"%.180s\": %s\n", failed,
			 strcmp(failed, "exec") == 0 ? job->argv[0] : job->cwd, strerror(error));

	send_frame(host, AGENT_STDERR, text, (size_t)n);
	send_frame(host, AGENT_EXIT, &result, sizeof(result));
	return -1;
}

/* Send what is there; flags: MSG_DONTWAIT or 0 = all of it. */
static void push(int host, struct output *output, int flags)
{
	while (output->length > 0) {
		ssize_t n = send(host, output->bytes + output->start, output->length, flags);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) /* the host is gone */
			break;
		output->start += (size_t)n;
		output->length -= (size_t)n;
	}
	output->start = output->length = 0;
}

static void send_taken(int host, struct output *output)
{
	struct agent_frame frame = { .type = AGENT_STDIN_TAKEN };
	size_t end = output->start + output->length;

	if (sizeof(output->bytes) - end < sizeof(frame))
		return;
	memcpy(output->bytes + end, &frame, sizeof(frame));
	output->length += sizeof(frame);
	push(host, output, MSG_DONTWAIT);
}

/* Forward what the command wrote; output is empty. Returns false at its end. */
static bool forward(int host, int fd, uint32_t type, struct output *output)
{
	struct agent_frame frame = { .type = type };
	ssize_t n = read(fd, output->bytes + sizeof(frame), AGENT_FRAME_MAX);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	/* EIO: the last slave of a terminal was closed. */
	if (n <= 0)
		return false;
	frame.length = (uint32_t)n;
	memcpy(output->bytes, &frame, sizeof(frame));
	output->length = sizeof(frame) + (size_t)n;
	push(host, output, MSG_DONTWAIT);
	return true;
}

/* Give the command its input; the host learns when it has all of it (or wants none). */
static void feed(int host, struct streams *s, struct input *input, struct output *output)
{
	while (input->length > 0) {
		ssize_t n = write(s->in, input->bytes + input->start, input->length);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) { /* EPIPE: it doesn't want to read */
			input->length = 0;
			input->eof = true;
			break;
		}
		input->start += (size_t)n;
		input->length -= (size_t)n;
	}
	if (input->eof && s->in >= 0 && !s->tty) {
		close(s->in);
		s->in = -1;
	}
	send_taken(host, output);
}

/* Nobody reads this stream any more: the command shall get SIGPIPE, or SIGHUP on a terminal. */
static void close_stream(struct streams *s, uint32_t number)
{
	int *fd = number == STDERR_FILENO ? &s->err : &s->out;

	if (*fd < 0)
		return;
	close(*fd);
	*fd = -1;
	if (s->tty)
		s->in = -1;
}

/* A frame of the host. Returns false when the host is gone: then the command must go too. */
static bool handle_frame(int host, pid_t pid, struct streams *s, struct input *input,
			 struct output *output)
{
	struct agent_frame frame;
	char payload[4];
	uint32_t number;
	uint16_t window[2];

	if (receive_exactly(host, &frame, sizeof(frame)) < 0)
		return false;
	if (frame.type == AGENT_STDIN) {
		if (input->length > 0 || frame.length > AGENT_FRAME_MAX ||
		    receive_exactly(host, input->bytes, frame.length) < 0)
			return false;
		input->start = 0;
		input->length = s->in >= 0 ? frame.length : 0;
		input->eof = frame.length == 0;
		feed(host, s, input, output);
		return true;
	}
	/* Not into input: it may hold what the command hasn't read. */
	if (frame.length != sizeof(payload) || receive_exactly(host, payload, sizeof(payload)) < 0)
		return false;
	memcpy(&number, payload, sizeof(number));
	memcpy(window, payload, sizeof(window));
	switch (frame.type) {
	case AGENT_SIGNAL:
		if (number < 65)
			kill(-pid, (int)number);
		return true;
	case AGENT_CLOSE:
		close_stream(s, number);
		return true;
	case AGENT_WINDOW:
		if (s->tty)
			ioctl(s->out, TIOCSWINSZ, &(struct winsize){ window[0], window[1], 0, 0 });
		return true;
	default:
		return false;
	}
}

/* PID 1 reaps everything; true when the command itself has ended. */
static bool reap(pid_t command, int *status)
{
	bool ended = false;
	int child_status;
	pid_t pid;

	while ((pid = waitpid(-1, &child_status, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		ended = true;
		*status = child_status;
	}
	return ended;
}

static int child_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Forward in both directions until the command has ended and its output is through. */
static int serve(int host, pid_t pid, struct streams *s, int signal_fd, struct output *output)
{
	static struct input input;
	struct signalfd_siginfo info;
	int status = 0;
	bool ended = false;

	while (!ended) {
		bool free = output->length == 0;
		struct pollfd fds[] = {
			{ .fd = signal_fd, .events = POLLIN },
			{ .fd = free ? s->out : -1, .events = POLLIN },
			{ .fd = free ? s->err : -1, .events = POLLIN },
			{ .fd = host, .events = free ? POLLIN : POLLIN | POLLOUT },
			{ .fd = input.length > 0 ? s->in : -1, .events = POLLOUT },
		};

		if (poll(fds, 5, -1) < 0 && errno != EINTR)
			break;
		if (fds[3].revents & POLLOUT)
			push(host, output, MSG_DONTWAIT);
		if (fds[1].revents && !forward(host, s->out, AGENT_STDOUT, output))
			s->out = -1;
		if (fds[2].revents && output->length == 0 &&
		    !forward(host, s->err, AGENT_STDERR, output))
			s->err = -1;
		if (fds[4].revents)
			feed(host, s, &input, output);
		if (fds[3].revents & ~POLLOUT && !handle_frame(host, pid, s, &input, output))
			kill(-1, SIGKILL);
		if (fds[0].revents && read(signal_fd, &info, sizeof(info)) > 0)
			ended = reap(pid, &status);
	}
	return status;
}

/*
 * The command is gone; take what its pipes still hold. Its orphans go first: one that writes all the
 * time would hold us here.
 */
static void flush_output(int host, struct streams *s, struct output *output)
{
	int fds[2] = { s->out, s->err };

	kill(-1, SIGKILL);
	push(host, output, 0);
	for (int i = 0; i < 2; i++) {
		struct pollfd p = { .fd = fds[i], .events = POLLIN };

		while (p.fd >= 0 && poll(&p, 1, 0) == 1 && p.revents & POLLIN &&
		       forward(host, p.fd, i ? AGENT_STDERR : AGENT_STDOUT, output))
			push(host, output, 0);
	}
}

void run_command(int host, const struct job *job)
{
	static struct output output;
	struct streams s;
	int signal_fd = child_signals();
	int status;
	pid_t pid;

	signal(SIGPIPE, SIG_IGN);
	if ((job->tty ? open_terminal(host, job, &s) : open_pipes(host, &s)) < 0)
		return;
	pid = start(host, job, &s);
	if (pid < 0)
		return;
	status = serve(host, pid, &s, signal_fd, &output);
	flush_output(host, &s, &output);

	struct agent_exit result = {
		.status = WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : 0,
		.signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0,
	};
	send_frame(host, AGENT_EXIT, &result, sizeof(result));
}
