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

/* What the host sent for the command and it hasn't taken yet. */
struct input {
	char bytes[AGENT_FRAME_MAX];
	size_t start, length;
};

/* What the host hasn't taken yet of one frame. Nothing more is read from the command meanwhile. */
struct output {
	char bytes[sizeof(struct agent_frame) + AGENT_FRAME_MAX];
	size_t start, length;
};

struct relay {
	int host;       /* -1 = gone */
	int signals;    /* SIGCHLD */
	pid_t command;
	int status;     /* the command's wait status, when it has ended */
	bool tty;
	/* Our ends of the command's streams, -1 = closed. With a terminal in and out are its master. */
	int in, out, err;
	int child[3];   /* the command's ends, until it has them */
	bool owe_taken; /* the host waits for a STDIN_TAKEN */
	struct input input;
	struct output output;
};

static int open_terminal(struct relay *r, const struct job *job)
{
	struct winsize size = { .ws_row = job->rows, .ws_col = job->columns };
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	char name[32];
	unsigned int number;
	int unlock = 0;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
		return send_failure(r->host, "open a terminal: %s", strerror(errno));
	snprintf(name, sizeof(name), "/dev/pts/%u", number);
	int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (slave < 0)
		return send_failure(r->host, "open \"%s\": %s", name, strerror(errno));
	ioctl(slave, TIOCSWINSZ, &size);
	fcntl(master, F_SETFL, O_NONBLOCK);
	r->tty = true;
	r->in = r->out = master;
	r->err = -1;
	r->child[0] = r->child[1] = r->child[2] = slave;
	return 0;
}

static int open_pipes(struct relay *r)
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return send_failure(r->host, "pipe: %s", strerror(errno));
	r->in = in[1];
	r->out = out[0];
	r->err = err[0];
	r->child[0] = in[0];
	r->child[1] = out[1];
	r->child[2] = err[1];
	/* The agent must go on while the command doesn't read. */
	fcntl(r->in, F_SETFL, O_NONBLOCK);
	return 0;
}

/* Why the command couldn't be started, from child to agent. */
struct start_failure {
	int error;
	char what[12];
};

/* In the child: become the command. status_fd says why if that fails; it closes on success. */
static void become(const struct job *job, const struct relay *r, int status_fd)
{
	sigset_t none;
	struct start_failure failure = { .what = "chdir to" };

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL); /* ignored signals stay so across exec */
	setsid();
	for (int i = 0; i < 3; i++)
		dup2(r->child[i], i);
	if (r->tty)
		ioctl(0, TIOCSCTTY, 0);
	if (chdir(job->cwd ? job->cwd : "/") == 0) {
		strcpy(failure.what, "exec");
		/* execvpe searches the PATH of this process, which must be the job's. */
		clearenv();
		for (char *const *e = job->envp; *e; e++)
			putenv(*e);
		execvp(job->argv[0], job->argv);
	}
	failure.error = errno;
	_exit(write(status_fd, &failure, sizeof(failure)) < 0 ? AGENT_STATUS_FAILED
							      : AGENT_STATUS_CANT_EXEC);
}

/* Start the command; -1 when the host has been told why not. */
static int start(struct relay *r, const struct job *job)
{
	struct start_failure failure;
	int status[2];

	if (pipe2(status, O_CLOEXEC) < 0)
		return send_failure(r->host, "pipe: %s", strerror(errno));
	r->command = fork();
	if (r->command < 0)
		return send_failure(r->host, "fork: %s", strerror(errno));
	if (r->command == 0)
		become(job, r, status[1]);
	close(status[1]);
	close(r->child[0]);
	if (!r->tty) {
		close(r->child[1]);
		close(r->child[2]);
	}
	bool runs = receive_exactly(status[0], &failure, sizeof(failure)) < 0;

	close(status[0]);
	if (runs) /* closed by exec */
		return 0;
	waitpid(r->command, NULL, 0);
	struct agent_exit result = {
		.status = failure.error == ENOENT ? AGENT_STATUS_NOT_FOUND : AGENT_STATUS_CANT_EXEC,
	};
	char text[256];
	int n = snprintf(text, sizeof(text), "mote: %s \"%.180s\": %s\n", failure.what,
			 strcmp(failure.what, "exec") == 0 ? job->argv[0] : job->cwd,
			 strerror(failure.error));

	send_frame(r->host, AGENT_STDERR, text, (size_t)n);
	send_frame(r->host, AGENT_EXIT, &result, sizeof(result));
	return -1;
}

/* Every process but this one; only the first of all has that right. */
static void kill_all(void)
{
	if (getpid() == 1)
		kill(-1, SIGKILL);
}

/* Without the host nobody wants the command any more. */
static void lose_host(struct relay *r)
{
	r->host = -1;
	r->output.start = r->output.length = 0;
	kill_all();
}

/* Send what is there; flags: MSG_DONTWAIT, or 0 = all of it. */
static void push(struct relay *r, int flags)
{
	struct output *output = &r->output;

	while (output->length > 0) {
		ssize_t n = send(r->host, output->bytes + output->start, output->length,
				 flags | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			lose_host(r);
			return;
		}
		output->start += (size_t)n;
		output->length -= (size_t)n;
	}
	output->start = 0;
}

static void send_taken(struct relay *r)
{
	const struct agent_frame frame = { .type = AGENT_STDIN_TAKEN };

	memcpy(r->output.bytes, &frame, sizeof(frame));
	r->output.length = sizeof(frame);
	r->owe_taken = false;
	push(r, MSG_DONTWAIT);
}

static void close_in(struct relay *r)
{
	/* A terminal's master is closed as its output. */
	if (r->in >= 0 && !r->tty)
		close(r->in);
	r->in = -1;
	r->input.length = 0;
}

/* Nobody reads this stream any more, or nothing more comes from it. */
static void close_stream(struct relay *r, int *fd)
{
	if (*fd < 0)
		return;
	close(*fd);
	*fd = -1;
	if (r->tty)
		close_in(r);
}

/* Forward what the command wrote there, if the frame before is gone. */
static void forward(struct relay *r, int *fd, uint32_t type)
{
	struct output *output = &r->output;
	struct agent_frame frame = { .type = type };

	if (output->length > 0)
		return;
	ssize_t n = read(*fd, output->bytes + sizeof(frame), AGENT_FRAME_MAX);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	/* EIO: the last slave of a terminal was closed. */
	if (n <= 0) {
		close_stream(r, fd);
		return;
	}
	frame.length = (uint32_t)n;
	memcpy(output->bytes, &frame, sizeof(frame));
	output->length = sizeof(frame) + (size_t)n;
	push(r, MSG_DONTWAIT);
}

/*
 * Give the command its input; the host sends more when it has all of it. One that doesn't want any
 * (EPIPE) leaves the host waiting, and so whoever writes there, too.
 */
static void feed(struct relay *r)
{
	struct input *input = &r->input;

	while (input->length > 0) {
		ssize_t n = write(r->in, input->bytes + input->start, input->length);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			close_in(r);
			return;
		}
		input->start += (size_t)n;
		input->length -= (size_t)n;
	}
	r->owe_taken = true;
}

/* An empty frame is the end. A terminal has none, but for the character that its user types. */
static bool take_input(struct relay *r, uint32_t length)
{
	struct input *input = &r->input;

	if (input->length > 0 || r->owe_taken || length > AGENT_FRAME_MAX ||
	    receive_exactly(r->host, input->bytes, length) < 0)
		return false;
	if (r->in < 0)
		return true;
	if (length == 0 && !r->tty)
		close_in(r);
	input->start = 0;
	input->length = length;
	if (length > 0)
		feed(r);
	return true;
}

/* A frame of the host: once it has begun, its end is waited for. False if it makes no sense. */
static bool handle_frame(struct relay *r)
{
	struct agent_frame frame;
	uint32_t number;
	uint16_t window[2];

	if (receive_exactly(r->host, &frame, sizeof(frame)) < 0)
		return false;
	if (frame.type == AGENT_STDIN)
		return take_input(r, frame.length);
	if (frame.length != sizeof(number) || receive_exactly(r->host, &number, sizeof(number)) < 0)
		return false;
	switch (frame.type) {
	case AGENT_SIGNAL:
		if (number < 65)
			kill(-r->command, (int)number);
		return true;
	case AGENT_CLOSE:
		/* The command gets SIGPIPE for its next write; SIGHUP if that was its terminal. */
		if (number == STDOUT_FILENO || number == STDERR_FILENO)
			close_stream(r, number == STDOUT_FILENO ? &r->out : &r->err);
		return true;
	case AGENT_WINDOW:
		memcpy(window, &number, sizeof(window));
		if (r->tty && r->out >= 0)
			ioctl(r->out, TIOCSWINSZ, &(struct winsize){ window[0], window[1], 0, 0 });
		return true;
	default:
		return false;
	}
}

/* PID 1 reaps everything; true when the command itself has ended. */
static bool reap(struct relay *r)
{
	struct signalfd_siginfo info;
	bool ended = false;
	int status;
	pid_t pid;

	if (read(r->signals, &info, sizeof(info)) < 0)
		return false;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != r->command)
			continue;
		ended = true;
		r->status = status;
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

/*
 * Forward in both directions until the command has ended. Each descriptor is polled only for what
 * will be done about it: an end that nobody looks at would wake us for ever.
 */
static void serve(struct relay *r)
{
	for (;;) {
		if (r->owe_taken && r->output.length == 0)
			send_taken(r);

		bool room = r->output.length == 0;
		struct pollfd fds[] = {
			{ .fd = r->signals, .events = POLLIN },
			{ .fd = room ? r->out : -1, .events = POLLIN },
			{ .fd = room ? r->err : -1, .events = POLLIN },
			{ .fd = r->host, .events = room ? POLLIN : POLLIN | POLLOUT },
			{ .fd = r->input.length > 0 ? r->in : -1, .events = POLLOUT },
		};

		if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0)
			continue;
		if (fds[3].revents & POLLOUT)
			push(r, MSG_DONTWAIT);
		if (fds[1].revents)
			forward(r, &r->out, AGENT_STDOUT);
		if (fds[2].revents)
			forward(r, &r->err, AGENT_STDERR);
		if (fds[4].revents && r->input.length > 0)
			feed(r);
		if (fds[3].revents & ~POLLOUT && r->host >= 0 && !handle_frame(r))
			lose_host(r);
		if (fds[0].revents && reap(r))
			return;
	}
}

/*
 * The command is gone; take what its pipes still hold. Its orphans go first: one that writes all the
 * time would hold us here.
 */
static void flush_output(struct relay *r)
{
	int *streams[2] = { &r->out, &r->err };

	kill_all();
	push(r, 0);
	for (int i = 0; i < 2; i++) {
		struct pollfd p = { .fd = *streams[i], .events = POLLIN };

		while (*streams[i] >= 0 && poll(&p, 1, 0) == 1 && p.revents & POLLIN) {
			forward(r, streams[i], i ? AGENT_STDERR : AGENT_STDOUT);
			push(r, 0);
		}
	}
}

void run_command(int host, const struct job *job)
{
	static struct relay relay;
	struct relay *r = &relay;

	r->host = host;
	r->signals = child_signals();
	signal(SIGPIPE, SIG_IGN);
	if ((job->tty ? open_terminal(r, job) : open_pipes(r)) < 0 || start(r, job) < 0)
		return;
	serve(r);
	flush_output(r);

	struct agent_exit result = {
		.status = WIFEXITED(r->status) ? (uint32_t)WEXITSTATUS(r->status) : 0,
		.signal = WIFSIGNALED(r->status) ? (uint32_t)WTERMSIG(r->status) : 0,
	};
	if (r->host >= 0)
		send_frame(host, AGENT_EXIT, &result, sizeof(result));
}
