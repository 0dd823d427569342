/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/terminal.h"

struct fixture {
	int master, slave;
	struct terminal terminal;
	struct termios before;
};

static void open_pty(int *master, int *slave)
{
	char name[64];

	*master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*master >= 0);
	assert_int_equal(grantpt(*master), 0);
	assert_int_equal(unlockpt(*master), 0);
	assert_int_equal(ptsname_r(*master, name, sizeof(name)), 0);
	*slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*slave >= 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	open_pty(&f->master, &f->slave);
	assert_int_equal(tcgetattr(f->slave, &f->before), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	terminal_restore(&f->terminal);
	close(f->slave);
	close(f->master);
	free(f);
	return 0;
}

static void assert_raw(struct fixture *f)
{
	struct termios now;

	assert_int_equal(tcgetattr(f->slave, &now), 0);
	assert_int_equal(now.c_lflag & (ICANON | ECHO | ISIG | IEXTEN), 0);
	assert_int_equal(now.c_iflag & (ICRNL | IXON), 0);
	assert_int_equal(now.c_oflag, f->before.c_oflag);
	assert_int_equal(now.c_oflag & (OPOST | ONLCR), OPOST | ONLCR);
	assert_int_equal(now.c_cc[VMIN], 1);
	assert_int_equal(now.c_cc[VTIME], 0);
}

static void assert_as_before(struct fixture *f)
{
	struct termios now;

	assert_int_equal(tcgetattr(f->slave, &now), 0);
	assert_int_equal(now.c_lflag, f->before.c_lflag);
	assert_int_equal(now.c_iflag, f->before.c_iflag);
	assert_int_equal(now.c_oflag, f->before.c_oflag);
	assert_int_equal(now.c_cflag, f->before.c_cflag);
	assert_memory_equal(now.c_cc, f->before.c_cc, sizeof(now.c_cc));
}

static void raw_and_back(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(terminal_make_raw(&f->terminal, f->slave, NULL), 0);
	assert_raw(f);
	terminal_restore(&f->terminal);
	assert_as_before(f);
	/* Again, both ways. */
	terminal_restore(&f->terminal);
	assert_int_equal(terminal_make_raw(&f->terminal, f->slave, NULL), 0);
	assert_raw(f);
}

static void what_is_no_terminal_is_left_alone(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(terminal_make_raw(&f->terminal, fds[0], NULL), 0);
	terminal_restore(&f->terminal);
	terminal_restore_from_handler();
	close(fds[0]);
	close(fds[1]);
}

static void a_second_terminal_is_refused(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };
	struct terminal other;
	int master, slave;

	open_pty(&master, &slave);
	assert_int_equal(terminal_make_raw(&f->terminal, f->slave, NULL), 0);
	assert_int_equal(terminal_make_raw(&other, slave, &err), -EBUSY);
	assert_string_equal(err.message, "terminal: another one is raw");
	terminal_restore(&f->terminal);
	assert_int_equal(terminal_make_raw(&other, slave, &err), 0);
	terminal_restore(&other);
	close(slave);
	close(master);
}

static void on_fatal(int signum)
{
	(void)signum;
	terminal_restore_from_handler();
	_exit(7);
}

/* A process that dies of a signal leaves the terminal as it found it. */
static void a_fatal_signal_restores(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t child = fork();

	if (child == 0) {
		signal(SIGSEGV, on_fatal);
		if (terminal_make_raw(&f->terminal, f->slave, NULL) < 0)
			_exit(1);
		raise(SIGSEGV);
		_exit(2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_as_before(f);
}

/* A session whose terminal the slave is, and a background process in it. */
static int background_child(struct fixture *f, const char *name)
{
	int tty, status;

	setsid();
	tty = open(name, O_RDWR);
	if (tty < 0 || tcgetpgrp(tty) != getpgrp())
		return 1;
	pid_t child = fork();

	if (child == 0) {
		struct termios now;

		setpgid(0, 0);
		if (terminal_make_raw(&f->terminal, tty, NULL) < 0 || tcgetattr(tty, &now) < 0)
			_exit(2);
		_exit(now.c_lflag & ICANON ? 0 : 3);
	}
	if (waitpid(child, &status, WUNTRACED) != child)
		return 4;
	if (WIFSTOPPED(status)) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		return 5;
	}
	return WEXITSTATUS(status);
}

static void a_background_process_takes_no_terminal(void **state)
{
	struct fixture *f = *state;
	char name[64];
	int status;

	assert_int_equal(ptsname_r(f->master, name, sizeof(name)), 0);
	pid_t child = fork();

	if (child == 0)
		_exit(background_child(f, name));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(raw_and_back),
		TEST(what_is_no_terminal_is_left_alone),
		TEST(a_second_terminal_is_refused),
		TEST(a_fatal_signal_restores),
		TEST(a_background_process_takes_no_terminal),
	};

	return cmocka_run_group_tests_name("terminal", tests, NULL, NULL);
}
