/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stopwatch SECONDS ROOT CMD [ARG..]: runs CMD with ROOT ("" = this one) as its root directory and
 * stdin from /dev/null; passes its stdout through and prints one more line, of JSON:
 *
 *	{"start_ns", "wall_ns", "first_byte_ns", "cpu_ns", "status", "signal", "timeout"}
 *
 * start_ns is CLOCK_MONOTONIC just before the fork, wall_ns the time to the end of CMD from there,
 * first_byte_ns the time to its first byte on stdout (0: none), cpu_ns the user and system time of
 * CMD and of the children that it waited for. What CMD writes to stderr goes through. A program of
 * its own, since Python's own way to a child would be a good part of what is measured.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t ns(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_usec * 1000u;
}

/*
 * Before the clock starts: ROOT becomes / of a mount namespace of our own, with this one's /dev, /proc
 * and /sys. In the namespace only, so that whoever removes ROOT cannot meet them.
 */
static int change_root(const char *root)
{
	static const char *const kept[] = { "dev", "proc", "sys" };
	char from[8];

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(root, root, NULL, MS_BIND, NULL) < 0 || chdir(root) < 0)
		return -1;
	for (int i = 0; i < 3; i++) {
		snprintf(from, sizeof(from), "/%s", kept[i]);
		if (mount(from, kept[i], NULL, MS_BIND | MS_REC, NULL) < 0)
			return -1;
	}
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return -1;
	return chdir("/");
}

static void become(char *argv[], int out)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	dup2(open("/dev/null", O_RDWR | O_CLOEXEC), STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	execvp(argv[0], argv);
	perror(argv[0]);
	_exit(127);
}

int main(int argc, char *argv[])
{
	uint64_t start, end, deadline, first = 0;
	int out[2], status, timeout = 0;
	struct rusage usage;
	char buffer[4096];
	pid_t pid;

	if (argc < 4 || pipe2(out, O_CLOEXEC) < 0)
		return 2;
	if (argv[2][0] && change_root(argv[2]) < 0) {
		perror(argv[2]);
		return 2;
	}
	start = now_ns();
	deadline = start + strtoull(argv[1], NULL, 10) * 1000000000u;
	pid = fork();
	if (pid == 0)
		become(argv + 3, out[1]);
	if (pid < 0)
		return 2;
	close(out[1]);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd fds[2] = { { .fd = out[0], .events = POLLIN },
				 { .fd = pidfd, .events = POLLIN } };

	while (!fds[1].revents) {
		uint64_t now = now_ns();

		if (now >= deadline || poll(fds, 2, (int)((deadline - now) / 1000000u) + 1) == 0) {
			timeout = 1;
			break;
		}
		if (!fds[0].revents)
			continue;
		ssize_t n = read(out[0], buffer, sizeof(buffer));

		if (n <= 0)
			fds[0].fd = -1;
		else if (!first)
			first = now_ns();
		if (n > 0 && write(STDOUT_FILENO, buffer, (size_t)n) != n)
			return 2;
	}
	if (timeout)
		kill(-pid, SIGKILL);
	while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
		;
	end = now_ns();
	kill(-pid, SIGKILL); /* what it left behind */
	while (!timeout && poll(fds, 1, 0) == 1 && fds[0].revents & POLLIN) {
		ssize_t n = read(out[0], buffer, sizeof(buffer));

		if (n <= 0 || write(STDOUT_FILENO, buffer, (size_t)n) != n)
			break;
	}
	printf("\n{\"start_ns\": %llu, \"wall_ns\": %llu, \"first_byte_ns\": %llu, \"cpu_ns\": "
	       "%llu, "
	       "\"status\": %d, \"signal\": %d, \"timeout\": %s}\n",
	       (unsigned long long)start, (unsigned long long)(end - start),
	       (unsigned long long)(first ? first - start : 0),
	       (unsigned long long)(ns(usage.ru_utime) + ns(usage.ru_stime)),
	       WIFEXITED(status) ? WEXITSTATUS(status) : -1,
	       WIFSIGNALED(status) ? WTERMSIG(status) : 0, timeout ? "true" : "false");
	return 0;
}
