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

/* Forward what the command wrote. Returns false at its end. */
static bool forward(int host, int *fd, uint32_t type)
{
	static char buffer[AGENT_FRAME_MAX];
	ssize_t n = read(*fd, buffer, sizeof(buffer));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	/* EIO: the last slave of a terminal was closed. */
	if (n <= 0)
		return false;
	send_frame(host, type, buffer, (size_t)n);
	return true;
}

static void feed(struct streams *s, struct input *input)
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
}

/* A frame of the host. Returns false when the host is gone: then the command must go too. */
static bool handle_frame(int host, pid_t pid, struct streams *s, struct input *input)
{
	struct agent_frame frame;
	uint32_t number;
	uint16_t window[2];

	if (receive_exactly(host, &frame, sizeof(frame)) < 0 || frame.length > AGENT_FRAME_MAX)
		return false;
	if (receive_exactly(host, input->bytes, frame.length) < 0)
		return false;
	switch (frame.type) {
	case AGENT_STDIN:
		input->start = 0;
		input->length = s->in >= 0 ? frame.length : 0;
		input->eof = frame.length == 0;
		if (s->in >= 0)
			feed(s, input);
		return true;
	case AGENT_SIGNAL:
		memcpy(&number, input->bytes, sizeof(number));
		if (frame.length == sizeof(number) && number < 65)
			kill(-pid, (int)number);
		return true;
	case AGENT_WINDOW:
		memcpy(window, input->bytes, sizeof(window));
		if (frame.length == sizeof(window) && s->tty)
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
static int serve(int host, pid_t pid, struct streams *s, int signal_fd)
{
	static struct input input;
	struct signalfd_siginfo info;
	int status = 0;
	bool ended = false;

	while (!ended) {
		/* New input only when the last is gone: the host waits, nothing piles up here. */
		struct pollfd fds[] = {
			{ .fd = signal_fd, .events = POLLIN },
			{ .fd = s->out, .events = POLLIN },
			{ .fd = s->err, .events = POLLIN },
			{ .fd = input.length == 0 ? host : -1, .events = POLLIN },
			{ .fd = input.length > 0 ? s->in : -1, .events = POLLOUT },
		};

		if (poll(fds, 5, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents && !forward(host, &s->out, AGENT_STDOUT))
			s->out = -1;
		if (fds[2].revents && !forward(host, &s->err, AGENT_STDERR))
			s->err = -1;
		if (fds[4].revents)
			feed(s, &input);
		if (fds[3].revents && !handle_frame(host, pid, s, &input))
			kill(-1, SIGKILL);
		if (fds[0].revents && read(signal_fd, &info, sizeof(info)) > 0)
			ended = reap(pid, &status);
	}
	return status;
}

/* The command is gone; take what its pipes still hold, but don't wait for its orphans' more. */
static void flush_output(int host, struct streams *s)
{
	int fds[2] = { s->out, s->err };

	for (int i = 0; i < 2; i++) {
		struct pollfd p = { .fd = fds[i], .events = POLLIN };

		while (p.fd >= 0 && poll(&p, 1, 0) == 1 && p.revents & POLLIN &&
		       forward(host, &p.fd, i ? AGENT_STDERR : AGENT_STDOUT))
			p.revents = 0;
	}
}

void run_command(int host, const struct job *job)
{
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
	status = serve(host, pid, &s, signal_fd);
	flush_output(host, &s);

	struct agent_exit result = {
		.status = WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : 0,
		.signal = WIFSIGNALED(status) ? (uint32_t)WTERMSIG(status) : 0,
	};
	send_frame(host, AGENT_EXIT, &result, sizeof(result));
}
