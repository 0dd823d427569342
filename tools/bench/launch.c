/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "vmm/util.h"

/* The same for all: what a program finds in its environment is copied at its start. */
static char *const environment[] = {
	"PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin", "LC_ALL=C", NULL,
};

int launch_arg(struct launch_argv *argv, struct error *err, const char *fmt, ...)
{
	va_list ap;
	char *text;

	if (argv->n == LAUNCH_ARGS_MAX)
		return error_set(err, E2BIG, "more than %d arguments", LAUNCH_ARGS_MAX);
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);

	va_end(ap);
	if (n < 0)
		return error_sys(err, ENOMEM, "arguments");
	argv->args[argv->n++] = text;
	argv->args[argv->n] = NULL;
	return 0;
}

void launch_argv_free(struct launch_argv *argv)
{
	for (unsigned int i = 0; i < argv->n; i++)
		free(argv->args[i]);
	*argv = (struct launch_argv){ 0 };
}

/*
 * posix_spawn, which takes as long however large we are: the child borrows our memory until exec.
 * The clock runs from just before it.
 */
static int spawn(struct launch *launch, const struct launch_argv *argv, int out, struct error *err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	int rc = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, launch->errors, STDERR_FILENO);
	launch->start_ns = monotonic_ns();
	if (rc == 0)
		rc = posix_spawn(&launch->pid, argv->args[0], &actions, &attr, argv->args, environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return rc ? error_sys(err, rc, "start \"%s\"", argv->args[0]) : 0;
}

int launch_start(struct launch *launch, const struct launch_argv *argv, struct error *err)
{
	cleanup_close int out = -1;
	int ends[2];

	*launch = (struct launch){ .pid = -1, .pidfd = -1, .out = -1 };
	launch->errors = memfd_create("stderr", MFD_CLOEXEC);
	if (launch->errors < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return error_sys(err, errno, "\"%s\": pipe", argv->args[0]);
	launch->out = ends[0];
	out = ends[1];
	if (spawn(launch, argv, out, err) < 0)
		return -err->errnum;
	launch->pidfd = (int)syscall(SYS_pidfd_open, launch->pid, 0);
	return launch->pidfd < 0 ? error_sys(err, errno, "pidfd_open") : 0;
}

/* Whether there may be more. What has no room is read and dropped. */
static bool take_output(struct launch *launch)
{
	size_t room = LAUNCH_OUTPUT_MAX - 1 - launch->n;
	char rest[4096];
	ssize_t n = room ? read(launch->out, launch->output + launch->n, room)
			 : read(launch->out, rest, sizeof(rest));

	if (n <= 0)
		return false;
	if (!launch->first_byte_ns)
		launch->first_byte_ns = monotonic_ns();
	launch->n += room ? (size_t)n : 0;
	return true;
}

/* The last line that it wrote to stderr, or else to stdout, as the reason of err. */
static int explain(const struct launch *launch, struct error *err, const char *what)
{
	char text[512] = "";
	off_t size = lseek(launch->errors, 0, SEEK_END);
	off_t from = size > (off_t)sizeof(text) - 1 ? size - (off_t)sizeof(text) + 1 : 0;
	ssize_t n = pread(launch->errors, text, sizeof(text) - 1, from);

	if (n <= 0) {
		size_t length = launch->n < sizeof(text) - 1 ? launch->n : sizeof(text) - 1;

		memcpy(text, launch->output + launch->n - length, length);
	}
	for (size_t end = strlen(text); end > 0 && strchr("\r\n", text[end - 1]); end--)
		text[end - 1] = 0;
	const char *line = strrchr(text, '\n');

	line = line ? line + 1 : text;
	return error_set(err, ECHILD, "%s%s%s", what, *line ? ": " : "", line);
}

/* Until its end, or until its output has word; 1, 0 at the timeout. */
static int wait_until(struct launch *launch, const char *word, unsigned int timeout_s)
{
	struct pollfd fds[2] = { { .fd = launch->out, .events = POLLIN },
				 { .fd = launch->pidfd, .events = POLLIN } };
	uint64_t deadline = monotonic_ns() + timeout_s * UINT64_C(1000000000);

	while (!fds[1].revents) {
		uint64_t now = monotonic_ns();

		if (now >= deadline)
			return 0;
		if (poll(fds, 2, (int)((deadline - now) / 1000000) + 1) < 0 && errno != EINTR)
			return 0;
		if (fds[1].revents)
			launch->end_ns = monotonic_ns();
		if (fds[0].revents && !take_output(launch))
			fds[0].fd = -1;
		if (word && strstr(launch->output, word))
			return 1;
	}
	return 1;
}

int launch_await(struct launch *launch, const char *word, unsigned int timeout_s, struct error *err)
{
	char what[80];

	if (!wait_until(launch, word, timeout_s)) {
		snprintf(what, sizeof(what), "not so far as \"%s\" after %u s", word, timeout_s);
		return explain(launch, err, what);
	}
	return strstr(launch->output, word) ? 0 : explain(launch, err, "ended early");
}

static uint64_t tv_ns(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

static int reap(struct launch *launch)
{
	struct rusage usage = { 0 };
	int status = 0;

	while (wait4(launch->pid, &status, 0, &usage) < 0 && errno == EINTR)
		;
	launch->cpu_ns = tv_ns(usage.ru_utime) + tv_ns(usage.ru_stime);
	launch->page_faults = (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
	kill(-launch->pid, SIGKILL); /* what it left behind */
	launch->pid = -1;
	/* As PID 1 of a namespace we inherit orphans. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return status;
}

int launch_finish(struct launch *launch, unsigned int timeout_s, struct error *err)
{
	struct pollfd rest = { .fd = launch->out, .events = POLLIN };
	bool in_time = wait_until(launch, NULL, timeout_s);
	char what[64];

	if (!in_time)
		kill(-launch->pid, SIGKILL);
	int status = reap(launch);

	while (poll(&rest, 1, 0) == 1 && rest.revents & POLLIN && take_output(launch))
		;
	if (in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (!in_time)
		snprintf(what, sizeof(what), "not done after %u s", timeout_s);
	else if (WIFEXITED(status))
		snprintf(what, sizeof(what), "exit status %d", WEXITSTATUS(status));
	else
		snprintf(what, sizeof(what), "ended by signal %d", WTERMSIG(status));
	return explain(launch, err, what);
}

void launch_release(struct launch *launch)
{
	if (launch->pid > 0) {
		kill(-launch->pid, SIGKILL);
		reap(launch);
	}
	close_fd(&launch->pidfd);
	close_fd(&launch->out);
	close_fd(&launch->errors);
}
