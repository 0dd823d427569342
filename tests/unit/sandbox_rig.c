/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox_rig.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void end(int status)
{
	syscall(SYS_exit_group, status);
}

void on_sigsys(int signum, siginfo_t *info, void *context)
{
	char line[SANDBOX_LINE_MAX];

	(void)signum;
	(void)context;
	if (!sandbox_describe(info, line))
		end(1);
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		end(1);
	end(VIOLATION);
}

static void in_child(struct sandbox sandbox, const struct attempt *attempt)
{
	enum thread_kind kind = attempt->filter == FILTER_VMM_API ? THREAD_VMM : attempt->filter;
	const struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	struct error err = { 0 };
	long a[6];

	for (unsigned int i = 0; i < 6; i++)
		a[i] = attempt->args[i] == OWN ? getpid() : attempt->args[i];
	sigaction(SIGSYS, &action, NULL);
	prctl(PR_SET_NAME, "trial");
	sandbox.has_api = attempt->filter == FILTER_VMM_API;
	if (sandbox_enter(&err) < 0 || sandbox_apply(&sandbox, kind, &err) < 0)
		end(2);
	syscall(attempt->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	end(0);
}

int try_call(const struct sandbox *sandbox, const struct attempt *attempt,
	     char line[SANDBOX_LINE_MAX])
{
	int out[2], status;
	ssize_t n;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(out[1], STDOUT_FILENO);
		in_child(*sandbox, attempt);
	}
	close(out[1]);
	n = read(out[0], line, SANDBOX_LINE_MAX - 1);
	line[n > 0 ? n : 0] = 0;
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

void expect(const struct attempt *attempts, unsigned int n, int status)
{
	struct sandbox sandbox;
	char line[SANDBOX_LINE_MAX];

	sandbox_init(&sandbox);
	for (unsigned int i = 0; i < n; i++) {
		int got = try_call(&sandbox, &attempts[i], line);

		if (got != status)
			fail_msg("attempt %u (filter %u, system call %ld): status %d, not %d; \"%s\"", i,
				 attempts[i].filter, attempts[i].nr, got, status, line);
	}
	sandbox_release(&sandbox);
}
