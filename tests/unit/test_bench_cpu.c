/* SPDX-License-Identifier: Apache-2.0 */
/* Processor time as `mote bench io` and `net` count it: of a process, and of the kernel's threads. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/bench/cpu.h"
#include "vmm/util.h"

static const char kthread[] = "59 (kworker/u4:1-loop0) I 2 0 0 0 -1 69238880 0 0 0 0 0 31 0 0 20 0 1 0\n";
static const char process[] = "812 (a) R 2 0) R 1 812 812 0 -1 4194304 130 0 0 0 0 0 0 0 20 0 1 0\n";

static void kernel_threads_are_told_apart(void **state)
{
	(void)state;
	assert_true(cpu_is_kernel_thread(kthread));
	assert_false(cpu_is_kernel_thread(process));
	assert_false(cpu_is_kernel_thread("59 (kworker"));
	assert_false(cpu_is_kernel_thread("59 (kworker) I 2 0"));
	assert_false(cpu_is_kernel_thread(""));
}

static void put(int dir, const char *path, const char *text)
{
	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

/* A directory of ours in place of /proc. */
static void kernel_threads_are_summed_up(void **state)
{
	static const struct {
		const char *path, *text;
	} files[] = {
		{ "2/stat", kthread },	      { "2/schedstat", "1000000007 5 9\n" },
		{ "59/stat", kthread },	      { "59/schedstat", "35 7 1\n" },
		{ "812/stat", process },      { "812/schedstat", "777 1 1\n" },
		{ "60/stat", kthread }, /* it ended meanwhile */
		{ "sys/stat", kthread },      { "sys/schedstat", "9 9 9\n" },
	};
	static const char *const dirs[] = { "2", "59", "60", "812", "sys" };
	char path[] = "/tmp/mote-unit-XXXXXX";
	struct cpu_times times;

	(void)state;
	assert_non_null(mkdtemp(path));
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		assert_int_equal(mkdirat(dir, dirs[i], 0700), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		put(dir, files[i].path, files[i].text);
	assert_int_equal(cpu_read(getpid(), dir, &times, NULL), 0);
	assert_int_equal(times.kernel_ns, 1000000042);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlinkat(dir, files[i].path, 0);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		unlinkat(dir, dirs[i], AT_REMOVEDIR);
	close(dir);
	rmdir(path);
}

static uint64_t used_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

/* Of ours, between what getrusage says before and after, to its microsecond for each of the two parts. */
static void a_process_is_counted(void **state)
{
	uint64_t before = used_ns();
	struct cpu_times times;
	struct error err;

	(void)state;
	while (used_ns() < before + 5000000)
		;
	before = used_ns();
	assert_int_equal(cpu_read(getpid(), -1, &times, NULL), 0);
	assert_true(times.process_ns + 2000 >= before && times.process_ns <= used_ns() + 2000);
	assert_int_equal(times.kernel_ns, 0);
	assert_int_equal(cpu_read(0x7ffffffe, -1, &times, &err), -ESRCH);
	assert_string_equal(err.message, "processor time of process 2147483646: No such process");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kernel_threads_are_told_apart),
		cmocka_unit_test(kernel_threads_are_summed_up),
		cmocka_unit_test(a_process_is_counted),
	};

	return cmocka_run_group_tests_name("bench_cpu", tests, NULL, NULL);
}
