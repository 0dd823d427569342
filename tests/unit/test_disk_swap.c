/* SPDX-License-Identifier: Apache-2.0 */
/* The disk backend: another file while it's in use (disk_reopen). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_faults.h"
#include "disk_rig.h"
#include "vmm/util.h"

struct swap {
	struct rig rig;
	struct disk_options options;
	char other[64]; /* another image */
	uint8_t *buffer;
};

static void fill(const char *path, uint64_t size, uint8_t value)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t bytes[4096];

	memset(bytes, value, sizeof(bytes));
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, bytes, 4096, 0), 4096);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fsync(fd), 0);
}

/* A disk of 1s, and next to it a file of 2s, each of its size. */
static void swap_setup(struct swap *s, enum disk_engine engine, uint64_t size, uint64_t other_size)
{
	rig_make_file(&s->rig, RIG_DISK, size);
	fill(s->rig.path, size, 1);
	strcpy(s->other, RIG_DISK "/mote-swap-XXXXXX");
	close(mkstemp(s->other));
	fill(s->other, other_size, 2);
	s->options = (struct disk_options){ .path = s->rig.path,
					    .name = "test",
					    .engine = engine,
					    .start_thread = true,
					    .event_fd = s->rig.event_fd,
					    .done = rig_on_done,
					    .owner = &s->rig };
	s->buffer = rig_alloc(8192);
	assert_int_equal(disk_open(&s->rig.disk, &s->options, NULL), 0);
	s->options.path = s->other;
}

static void swap_teardown(struct swap *s)
{
	rig_teardown(&s->rig);
	unlink(s->other);
	free(s->buffer);
}

static int reopen(struct swap *s, const char *path, char message[ERROR_MESSAGE_MAX])
{
	struct error err = { 0 };

	s->options.path = path;
	int rc = disk_reopen(&s->rig.disk, &s->options, &err);

	assert_int_equal(rc, -err.errnum);
	strcpy(message, err.message);
	return rc;
}

static void expect_read(struct swap *s, unsigned int skew, uint8_t value)
{
	memset(s->buffer, 0, 8192);
	assert_int_equal(rig_read(&s->rig, 512, s->buffer + skew, 512), 0);
	for (unsigned int i = 0; i < 512; i++)
		assert_int_equal(s->buffer[skew + i], value);
}

static void expect_file(const char *path, uint64_t offset, uint8_t value)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t byte = 0xff;

	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	assert_int_equal(byte, value);
}

/* Descriptors of this process: of that file, or all of them. */
static int open_fds(const char *path)
{
	struct stat want, st;
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	assert_true(!path || stat(path, &want) == 0);
	for (struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.' && fstat(atoi(entry->d_name), &st) == 0)
			n += !path || (st.st_dev == want.st_dev && st.st_ino == want.st_ino);
	closedir(dir);
	return n;
}

static bool can_lock(const char *path)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);

	return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static void the_engine_stays_and_the_file_goes(void **state)
{
	(void)state;
	for (enum disk_engine engine = DISK_SYNC; engine <= DISK_ASYNC; engine++) {
		char message[ERROR_MESSAGE_MAX];
		struct swap s;

		swap_setup(&s, engine, MIB, 3 * MIB);
		expect_read(&s, 0, 1);
		expect_read(&s, 1, 1); /* by the helper thread, and its bounce buffer */
		struct disk_async *async = s.rig.disk.async;
		int fds = open_fds(NULL);

		disk_faults.no_thread = true;
		disk_faults.setup_limit = s.rig.disk.direct ? -1 : 0;
		for (unsigned int round = 0; round < 3; round++) {
			assert_int_equal(reopen(&s, s.other, message), 0);
			assert_int_equal(s.rig.disk.size, 3 * MIB);
			assert_int_equal(open_fds(s.rig.path), 0);
			assert_int_equal(open_fds(s.other), 1);
			assert_true(can_lock(s.rig.path));
			assert_false(can_lock(s.other));
			expect_read(&s, 0, 2);
			expect_read(&s, 1, 2);
			assert_int_equal(reopen(&s, s.rig.path, message), 0);
			assert_int_equal(s.rig.disk.size, MIB);
			expect_read(&s, 0, 1);
			expect_read(&s, 1, 1);
		}
		assert_int_equal(open_fds(NULL), fds);
		assert_ptr_equal(s.rig.disk.async, async);
		assert_int_equal(disk_faults.threads, engine == DISK_ASYNC);
		swap_teardown(&s);
	}
}

static void *release(void *arg)
{
	(void)arg;
	usleep(50000);
	disk_faults.hold = false;
	return NULL;
}

static void what_is_in_flight_is_the_old_files(void **state)
{
	enum { N = 8 };
	struct disk_request requests[N];
	struct iovec iovs[N];
	char message[ERROR_MESSAGE_MAX];
	pthread_t thread;
	struct swap s;

	(void)state;
	swap_setup(&s, DISK_ASYNC, MIB, MIB);
	memset(s.buffer, 7, 8192);
	disk_faults.hold = true;
	for (unsigned int i = 0; i < N; i++) {
		/* Not aligned: the helper thread's, one after the other. */
		iovs[i] = (struct iovec){ s.buffer + 1 + i * 512, 512 };
		requests[i] = (struct disk_request){ .op = i % 2 ? DISK_WRITE : DISK_READ,
						     .offset = i * 512,
						     .len = 512,
						     .iov = &iovs[i],
						     .n_iov = 1,
						     .result = 12345 };
		disk_submit(&s.rig.disk, &requests[i]);
	}
	disk_kick(&s.rig.disk);
	assert_int_equal(disk_in_flight(&s.rig.disk), N);
	assert_int_equal(pthread_create(&thread, NULL, release, NULL), 0);
	assert_int_equal(reopen(&s, s.other, message), 0);
	pthread_join(thread, NULL);
	assert_int_equal(s.rig.n_done, N);
	assert_int_equal(disk_in_flight(&s.rig.disk), 0);
	for (unsigned int i = 0; i < N; i++) {
		assert_int_equal(requests[i].result, 0);
		assert_int_equal(s.buffer[1 + i * 512], i % 2 ? 7 : 1);
		expect_file(s.rig.path, i * 512, i % 2 ? 7 : 1);
		expect_file(s.other, i * 512, 2);
	}
	assert_int_equal(rig_write(&s.rig, 0, s.buffer + 1 + 512, 512), 0);
	expect_file(s.rig.path, 0, 1);
	expect_file(s.other, 0, 7);
	swap_teardown(&s);
}

static void what_was_written_is_on_the_old_disk(void **state)
{
	(void)state;
	for (enum disk_engine engine = DISK_SYNC; engine <= DISK_ASYNC; engine++) {
		char message[ERROR_MESSAGE_MAX];
		struct swap s;

		swap_setup(&s, engine, MIB, MIB);
		disk_faults.no_fdatasync = EIO;
		assert_int_equal(reopen(&s, s.other, message), -EIO);
		assert_string_equal(message, "flush: Input/output error");
		expect_read(&s, 0, 1);
		assert_false(can_lock(s.rig.path));
		assert_int_equal(open_fds(s.other), 0);
		disk_faults.no_fdatasync = 0;
		disk_faults.flushes = 0;
		assert_int_equal(reopen(&s, s.other, message), 0);
		assert_int_equal(disk_faults.flushes, 1);
		swap_teardown(&s);
	}
}

/* libaio comes with the first file that has direct I/O, and waits for the next one. */
static void direct_io_is_the_files(void **state)
{
	char message[ERROR_MESSAGE_MAX];
	struct swap s;

	(void)state;
	rig_skip_without_direct_io();
	disk_faults.dio_align = 4096;
	swap_setup(&s, DISK_ASYNC, 17 * 512, MIB);
	assert_false(s.rig.disk.direct);
	expect_read(&s, 0, 1);

	/* None to be had: as at the start. */
	disk_faults.setup_limit = -1;
	assert_int_equal(reopen(&s, s.other, message), -EAGAIN);
	assert_string_equal(message, "io_setup: the host has no more asynchronous I/O contexts "
				     "(sysctl fs.aio-max-nr)");
	expect_read(&s, 0, 1);
	assert_int_equal(open_fds(s.other), 0);
	disk_faults.setup_limit = 0;

	for (unsigned int round = 0; round < 2; round++) {
		int submits = disk_faults.submits;

		assert_int_equal(reopen(&s, s.other, message), 0);
		assert_true(s.rig.disk.direct);
		assert_int_equal(s.rig.disk.offset_align, 4096);
		assert_int_equal(rig_read(&s.rig, 0, s.buffer, 4096), 0);
		assert_int_equal(s.buffer[4095], 2);
		assert_int_equal(disk_faults.submits, submits + 1);
		/* What the device can't start at once is the helper's to submit. */
		disk_faults.would_block = true;
		assert_int_equal(rig_read(&s.rig, 0, s.buffer, 4096), 0);
		disk_faults.would_block = false;
		expect_read(&s, 1, 2);
		assert_int_equal(reopen(&s, s.rig.path, message), 0);
		assert_false(s.rig.disk.direct);
		assert_int_equal(s.rig.disk.size, 17 * 512);
		expect_read(&s, 0, 1);
		disk_faults.setup_limit = -1; /* no other one is asked for */
	}
	swap_teardown(&s);
}

static void refusals_leave_what_was(void **state)
{
	static const char empty[] = RIG_DISK "/mote-swap-empty";
	struct {
		const char *path;
		int rc;
		const char *message;
	} cases[] = {
		{ "/none", -ENOENT, "open \"/none\": No such file or directory" },
		{ "/dev", -EINVAL, "\"/dev\" is a directory, not a disk image or block device" },
		{ "/dev/null", -EINVAL,
		  "\"/dev/null\" is a character device, not a disk image or block device" },
		{ empty, -EINVAL, "\"" RIG_DISK "/mote-swap-empty\" is empty" },
		/* Not to be written to: a program that runs. */
		{ "/proc/self/exe", -ETXTBSY, "open \"/proc/self/exe\" for writing: Text file busy" },
		{ "/dev/fd/999", -EBADF, "open \"/dev/fd/999\": Bad file descriptor" },
	};

	(void)state;
	close(open(empty, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	for (enum disk_engine engine = DISK_SYNC; engine <= DISK_ASYNC; engine++) {
		char message[ERROR_MESSAGE_MAX], busy[128];
		struct swap s, user;

		swap_setup(&s, engine, MIB, MIB);
		swap_setup(&user, engine, MIB, MIB);
		int fds = open_fds(NULL);

		for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
			assert_int_equal(reopen(&s, cases[i].path, message), cases[i].rc);
			assert_string_equal(message, cases[i].message);
			expect_read(&s, 0, 1);
		}
		assert_int_equal(reopen(&s, user.rig.path, message), -EBUSY);
		snprintf(busy, sizeof(busy), "\"%s\" is in use by another microVM", user.rig.path);
		assert_string_equal(message, busy);
		assert_int_equal(open_fds(NULL), fds);
		assert_false(can_lock(s.rig.path));
		assert_int_equal(s.rig.disk.size, MIB);
		expect_read(&s, 1, 1);
		/* And the way is not blocked. */
		assert_int_equal(reopen(&s, s.other, message), 0);
		expect_read(&s, 1, 2);
		swap_teardown(&s);
		swap_teardown(&user);
	}
	unlink(empty);
}

static void the_same_file_stays_open(void **state)
{
	(void)state;
	for (enum disk_engine engine = DISK_SYNC; engine <= DISK_ASYNC; engine++) {
		char message[ERROR_MESSAGE_MAX], want[128];
		struct swap s;

		swap_setup(&s, engine, MIB, MIB);
		int fd = s.rig.disk.fd;

		unlink(s.other);
		assert_int_equal(link(s.rig.path, s.other), 0);
		assert_int_equal(truncate(s.rig.path, 2 * MIB), 0);
		assert_int_equal(reopen(&s, s.other, message), 0);
		assert_int_equal(s.rig.disk.fd, fd);
		assert_int_equal(s.rig.disk.size, 2 * MIB);
		assert_false(can_lock(s.other));
		if (s.rig.disk.direct) {
			s.rig.disk.offset_align = 4096;
			assert_int_equal(truncate(s.rig.path, 4096 + 512), 0);
			assert_int_equal(reopen(&s, s.other, message), -EINVAL);
			snprintf(want, sizeof(want),
				 "\"%s\" doesn't end at a multiple of 4096 bytes, as direct I/O needs",
				 s.other);
			assert_string_equal(message, want);
			assert_int_equal(s.rig.disk.size, 2 * MIB);
		}
		swap_teardown(&s);
	}
}

static void an_inherited_file_is_taken(void **state)
{
	char message[ERROR_MESSAGE_MAX], path[32], want[160];
	struct swap s;

	(void)state;
	swap_setup(&s, DISK_ASYNC, MIB, 2 * MIB);
	/* As it comes through exec: not close-on-exec. */
	int inherited = open(s.other, O_RDONLY);
	snprintf(path, sizeof(path), "/dev/fd/%d", inherited);
	snprintf(want, sizeof(want), "open \"%s\" for writing: not open for reading and writing", path);
	assert_int_equal(reopen(&s, path, message), -EACCES);
	assert_string_equal(message, want);
	close(inherited);
	assert_int_equal(open(s.other, O_RDWR), inherited);
	assert_int_equal(reopen(&s, path, message), 0);
	assert_int_equal(s.rig.disk.fd, inherited);
	assert_int_equal(fcntl(inherited, F_GETFD), FD_CLOEXEC);
	expect_read(&s, 0, 2);
	/* By the same name it's the same file; when it's gone, so is the name. */
	assert_int_equal(reopen(&s, path, message), 0);
	assert_int_equal(s.rig.disk.fd, inherited);
	assert_int_equal(reopen(&s, s.rig.path, message), 0);
	assert_int_equal(open_fds(s.other), 0);
	swap_teardown(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_engine_stays_and_the_file_goes),
		cmocka_unit_test(what_is_in_flight_is_the_old_files),
		cmocka_unit_test(what_was_written_is_on_the_old_disk),
		cmocka_unit_test(direct_io_is_the_files),
		cmocka_unit_test(refusals_leave_what_was),
		cmocka_unit_test(the_same_file_stays_open),
		cmocka_unit_test(an_inherited_file_is_taken),
	};

	disk_faults_reset();
	return cmocka_run_group_tests_name("disk_swap", tests, NULL, NULL);
}
