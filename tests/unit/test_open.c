/* SPDX-License-Identifier: Apache-2.0 */
/* Names that are inherited file descriptors, and the files that others name. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/config.h"
#include "vmm/metrics.h"
#include "vmm/open.h"
#include "vmm/util.h"

/* As it comes out of exec: a number that nobody else has, without FD_CLOEXEC. */
static int inherit(int fd, int number)
{
	assert_int_equal(dup2(fd, number), number);
	close(fd);
	return number;
}

static int memory_file(const char *text, int number)
{
	int fd = memfd_create("test", 0);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return inherit(fd, number);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void only_the_exact_form_names_a_descriptor(void **state)
{
	static const char *const others[] = {
		"", "/dev/fd", "/dev/fd/", "/dev/fd/x", "/dev/fd/7x", "/dev/fd/ 7", "/dev/fd/+7",
		"/dev/fd/-1", "/dev/fd/07", "/dev/fd/00", "/dev/fd/7/", "//dev/fd/7", "/dev/fd//7",
		"/dev/fd/../fd/7", "dev/fd/7", "/proc/self/fd/7", "/dev/fd/2147483648",
		"/dev/fd/99999999999999999999999999",
	};

	(void)state;
	assert_int_equal(inherited_fd("/dev/fd/0"), 0);
	assert_int_equal(inherited_fd("/dev/fd/7"), 7);
	assert_int_equal(inherited_fd("/dev/fd/1023"), 1023);
	assert_int_equal(inherited_fd("/dev/fd/2147483647"), INT_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_int_equal(inherited_fd(others[i]), -1);
}

static void what_was_inherited_is_taken_once(void **state)
{
	struct error err = { 0 };
	char byte;

	(void)state;
	memory_file("a", 100);
	assert_int_equal(open_file("/dev/fd/100", O_RDWR | O_NONBLOCK, &err), 100);
	assert_int_equal(fcntl(100, F_GETFD), FD_CLOEXEC);
	assert_int_equal(pread(100, &byte, 1, 0), 1);
	assert_int_equal(byte, 'a');
	assert_int_equal(open_file("/dev/fd/100", O_RDONLY, &err), -EBADF);
	assert_string_equal(err.message, "file descriptor 100 was not inherited, or is taken already");
	assert_true(is_open(100));
	close(100);
	assert_int_equal(open_file("/dev/fd/100", O_RDONLY, &err), -EBADF);
	assert_string_equal(err.message, "file descriptor 100 was not inherited, or is taken already");
}

static void our_own_files_cannot_be_reached_by_number(void **state)
{
	int ours = open("/dev/null", O_RDWR | O_CLOEXEC);
	char path[32];

	(void)state;
	snprintf(path, sizeof(path), "/dev/fd/%d", ours);
	assert_int_equal(open_file(path, O_RDONLY, NULL), -EBADF);
	assert_true(is_open(ours));
	close(ours);
}

static void standard_streams_are_copied(void **state)
{
	int saved = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10);
	struct error err = { 0 };

	(void)state;
	memory_file("in", STDIN_FILENO);
	for (int i = 0; i < 2; i++) {
		int fd = open_sink("/dev/fd/0", &err);

		assert_in_range(fd, 3, INT_MAX);
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
		close(fd);
	}
	assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), 0);
	assert_int_equal(fcntl(STDIN_FILENO, F_GETFL) & (O_APPEND | O_NONBLOCK), 0);
	dup2(saved, STDIN_FILENO);
	close(saved);
}

static void the_access_mode_must_do(void **state)
{
	static const struct {
		int has, wanted;
		const char *refused;
	} cases[] = {
		{ O_RDONLY, O_RDONLY, NULL },
		{ O_WRONLY, O_WRONLY, NULL },
		{ O_RDWR, O_RDONLY, NULL },
		{ O_RDWR, O_WRONLY, NULL },
		{ O_RDWR, O_RDWR, NULL },
		{ O_RDONLY, O_WRONLY, "not open for writing" },
		{ O_WRONLY, O_RDONLY, "not open for reading" },
		{ O_RDONLY, O_RDWR, "not open for reading and writing" },
		{ O_WRONLY, O_RDWR, "not open for reading and writing" },
		{ O_PATH, O_RDONLY, "not open for reading" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = { 0 };

		inherit(open("/dev/null", cases[i].has), 100);
		int rc = open_file("/dev/fd/100", cases[i].wanted, &err);

		if (cases[i].refused) {
			assert_int_equal(rc, -EACCES);
			assert_string_equal(err.message, cases[i].refused);
			/* Still the giver's. */
			assert_int_equal(fcntl(100, F_GETFD), 0);
		} else {
			assert_int_equal(rc, 100);
		}
		close(100);
	}
}

static void a_sink_appends_and_never_blocks(void **state)
{
	struct error err = { 0 };
	char text[8] = "";
	int pipe_fds[2];

	(void)state;
	memory_file("one,", 100);
	lseek(100, 0, SEEK_SET);
	assert_int_equal(open_sink("/dev/fd/100", &err), 100);
	assert_int_equal(write(100, "two", 3), 3);
	assert_int_equal(pread(100, text, 7, 0), 7);
	assert_string_equal(text, "one,two");
	close(100);

	assert_int_equal(pipe(pipe_fds), 0);
	inherit(pipe_fds[1], 100);
	assert_int_equal(open_sink("/dev/fd/100", &err), 100);
	while (write(100, text, sizeof(text)) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	close(100);
	close(pipe_fds[0]);

	inherit(open("/dev/null", O_RDONLY), 100);
	assert_int_equal(open_sink("/dev/fd/100", &err), -EACCES);
	assert_string_equal(err.message, "not open for writing");
	close(100);
}

static void stat_looks_at_the_descriptor(void **state)
{
	struct error err = { 0 };
	struct stat st;

	(void)state;
	memory_file("12345", 100);
	assert_int_equal(stat_file("/dev/fd/100", &st, &err), 0);
	assert_int_equal(st.st_size, 5);
	close(100);
	assert_int_equal(stat_file("/dev/fd/100", &st, &err), -EBADF);
	assert_string_equal(err.message, "Bad file descriptor");
	assert_int_equal(stat_file("/none", &st, &err), -ENOENT);
	assert_string_equal(err.message, "No such file or directory");
	assert_int_equal(stat_file("/dev/null", &st, &err), 0);
	assert_true(S_ISCHR(st.st_mode));
}

static void other_paths_are_opened_as_ever(void **state)
{
	char path[] = "/tmp/mote-sink-XXXXXX";
	struct error err = { 0 };
	int fd = open_file("/dev/null", O_RDONLY | O_NONBLOCK, &err);

	(void)state;
	assert_in_range(fd, 0, INT_MAX);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
	close(fd);
	assert_int_equal(open_file("/none", O_RDONLY, &err), -ENOENT);
	assert_string_equal(err.message, "No such file or directory");

	close(mkstemp(path));
	unlink(path);
	umask(0);
	fd = open_sink(path, &err);
	assert_in_range(fd, 0, INT_MAX);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_APPEND),
			 O_WRONLY | O_NONBLOCK | O_APPEND);

	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	close(fd);
	unlink(path);
	/* A FIFO without a reader. */
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open_sink(path, &err);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
	close(fd);
	unlink(path);
}

static void a_configuration_is_read_from_its_beginning(void **state)
{
	struct error err = { 0 };
	struct config config;

	(void)state;
	config_init(&config);
	memory_file("{\"boot-source\": {\"kernel_image_path\": \"/dev/fd/101\"}}", 100);
	assert_int_equal(config_load_json(&config, "/dev/fd/100", &err), 0);
	assert_string_equal(config.boot_source.kernel_image_path, "/dev/fd/101");
	assert_false(is_open(100));
	assert_int_equal(config_load_json(&config, "/dev/fd/100", &err), -EBADF);
	assert_string_equal(err.message, "config \"/dev/fd/100\": open: file descriptor 100 was not "
					 "inherited, or is taken already");
	config_release(&config);
}

/* What a person reads of the two that are told by options, too. */
static void log_and_metrics_take_descriptors(void **state)
{
	struct log_options options = { .path = "/dev/fd/100", .level = LOG_INFO, .id = "t" };
	struct metrics metrics;
	struct error err = { 0 };
	char text[128] = "";
	int copy;

	(void)state;
	memory_file("", 100);
	copy = dup(100);
	assert_int_equal(log_open(&options, &err), 0);
	assert_int_equal(metrics_open(&metrics, "/dev/fd/100", NULL, &err), -EBADF);
	assert_string_equal(err.message, "metrics: open \"/dev/fd/100\": file descriptor 100 was not "
					 "inherited, or is taken already");
	log_info("a line");
	log_close();
	assert_false(is_open(100));
	assert_in_range(pread(copy, text, sizeof(text) - 1, 0), 1, sizeof(text));
	assert_non_null(strstr(text, "] a line\n"));
	close(copy);
	assert_int_equal(log_open(&options, &err), -EBADF);
	assert_string_equal(err.message, "log: open \"/dev/fd/100\": file descriptor 100 was not "
					 "inherited, or is taken already");

	memory_file("", 100);
	assert_int_equal(metrics_open(&metrics, "/dev/fd/100", NULL, &err), 0);
	assert_true(metrics_write(&metrics));
	assert_int_equal(pread(100, text, 1, 0), 1);
	assert_int_equal(text[0], '{');
	metrics_close(&metrics);
	assert_false(is_open(100));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_exact_form_names_a_descriptor),
		cmocka_unit_test(what_was_inherited_is_taken_once),
		cmocka_unit_test(our_own_files_cannot_be_reached_by_number),
		cmocka_unit_test(standard_streams_are_copied),
		cmocka_unit_test(the_access_mode_must_do),
		cmocka_unit_test(a_sink_appends_and_never_blocks),
		cmocka_unit_test(stat_looks_at_the_descriptor),
		cmocka_unit_test(other_paths_are_opened_as_ever),
		cmocka_unit_test(a_configuration_is_read_from_its_beginning),
		cmocka_unit_test(log_and_metrics_take_descriptors),
	};

	return cmocka_run_group_tests_name("open", tests, NULL, NULL);
}
