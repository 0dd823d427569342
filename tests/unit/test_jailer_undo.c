/* SPDX-License-Identifier: Apache-2.0 */
/* What a jail takes back, and directories that are opened without following links. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/jailer/dirs.h"
#include "tools/jailer/undo.h"

static char directory[32];
static int top;

static int make_directory(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/mote-undo-XXXXXX");
	assert_non_null(mkdtemp(directory));
	top = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return top < 0;
}

static int remove_directory(void **state)
{
	(void)state;
	close(top);
	return rmdir(directory);
}

static bool exists(const char *name)
{
	return faccessat(top, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int make(struct undo *undo, enum undo_when when, int dir, const char *name)
{
	bool made;
	int fd = undo_own(undo, dir_make(dir, name, 0755, &made));

	assert_in_range(fd, 0, 1000);
	assert_true(made);
	undo_add_name(undo, when, dir, name, true);
	return fd;
}

static void a_failure_takes_back_everything_last_first(void **state)
{
	struct undo undo = { 0 };
	int a = make(&undo, UNDO_ON_FAILURE, top, "a");
	int b = make(&undo, UNDO_ALWAYS, a, "b");

	(void)state;
	close(openat(b, "file", O_WRONLY | O_CREAT | O_EXCL, 0600));
	undo_add_name(&undo, UNDO_ALWAYS, b, "file", false);
	undo_run(&undo, true);
	assert_int_equal(undo.n, 0);
	assert_false(exists("a"));
}

static void the_end_takes_back_what_is_always_taken_back(void **state)
{
	struct undo undo = { 0 };
	int a = make(&undo, UNDO_ON_FAILURE, top, "a");

	(void)state;
	make(&undo, UNDO_ALWAYS, a, "b");
	undo_run(&undo, false);
	assert_true(exists("a"));
	assert_false(exists("a/b"));
	assert_int_equal(unlinkat(top, "a", AT_REMOVEDIR), 0);
	/* What was owned is closed. */
	assert_int_equal(fcntl(a, F_GETFD), -1);
}

static void what_isnt_empty_stays(void **state)
{
	struct undo undo = { 0 };
	int a = make(&undo, UNDO_ALWAYS, top, "a");
	bool made;

	(void)state;
	close(dir_make(a, "kept", 0755, &made));
	undo_run(&undo, true);
	assert_true(exists("a/kept"));
	unlinkat(top, "a/kept", AT_REMOVEDIR);
	unlinkat(top, "a", AT_REMOVEDIR);
}

static void there_is_room_for_so_many(void **state)
{
	struct undo undo = { 0 };

	(void)state;
	for (int i = 0; i < UNDO_MAX + 5; i++)
		undo_add_name(&undo, UNDO_ALWAYS, top, "none", true);
	assert_int_equal(undo.n, UNDO_MAX);
	undo_release(&undo);
	assert_int_equal(undo.n, 0);
}

static void directories_are_made_once_and_links_are_none(void **state)
{
	bool made;
	int fd = dir_make(top, "d", 0711, &made);
	struct stat st;

	(void)state;
	assert_true(made);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0711);
	close(fd);
	fd = dir_make(top, "d", 0700, &made);
	assert_false(made);
	assert_in_range(fd, 0, 1000);
	close(fd);
	assert_int_equal(symlinkat("d", top, "link"), 0);
	assert_int_equal(dir_open(top, "link", false), -ELOOP);
	assert_int_equal(dir_make(top, "link", 0700, &made), -ELOOP);
	assert_int_equal(dir_open(top, "..", false), -EXDEV);
	assert_int_equal(dir_open(top, "/tmp", false), -EXDEV);
	assert_int_equal(dir_open(top, "none", false), -ENOENT);
	unlinkat(top, "link", 0);
	unlinkat(top, "d", AT_REMOVEDIR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failure_takes_back_everything_last_first),
		cmocka_unit_test(the_end_takes_back_what_is_always_taken_back),
		cmocka_unit_test(what_isnt_empty_stays),
		cmocka_unit_test(there_is_room_for_so_many),
		cmocka_unit_test(directories_are_made_once_and_links_are_none),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
