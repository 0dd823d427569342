/* SPDX-License-Identifier: Apache-2.0 */
/* The disk backend: opening, locks, alignment; what requests do to the file. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "disk_faults.h"
#include "disk_rig.h"
#include "vmm/util.h"

static int try_open(const char *path, bool read_only, enum disk_engine engine, char *message)
{
	struct disk_options options = {
		.path = path, .name = "t", .read_only = read_only, .engine = engine, .event_fd = -1
	};
	struct error err = { 0 };
	struct disk disk;
	int rc = disk_open(&disk, &options, &err);

	assert_int_equal(rc == 0, disk.fd >= 0);
	if (rc < 0)
		assert_int_equal(rc, -err.errnum);
	strcpy(message, err.message);
	disk_close(&disk);
	disk_close(&disk);
	return rc;
}

#define assert_open_fails(path, read_only, rc, expected)                                           \
	do {                                                                                       \
		char message_[ERROR_MESSAGE_MAX];                                                  \
		assert_int_equal(try_open(path, read_only, DISK_SYNC, message_), rc);              \
		assert_string_equal(message_, expected);                                           \
	} while (0)

static void open_says_in_one_line_what_is_wrong(void **state)
{
	char dir[] = "/tmp/mote-open-XXXXXX";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_open_fails("none", false, -ENOENT, "open \"none\": No such file or directory");
	assert_open_fails("none/x", true, -ENOENT, "open \"none/x\": No such file or directory");
	assert_open_fails(".", false, -EINVAL,
			  "\".\" is a directory, not a disk image or block device");
	assert_open_fails("/dev/null", true, -EINVAL,
			  "\"/dev/null\" is a character device, not a disk image or block device");
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_open_fails("fifo", true, -EINVAL,
			  "\"fifo\" is a FIFO, not a disk image or block device");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, "sock");
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_open_fails("sock", true, -EINVAL,
			  "\"sock\" is a socket, not a disk image or block device");
	fd = open("file", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_open_fails("file", false, -EINVAL, "\"file\" is empty");
	assert_int_equal(ftruncate(fd, 511), 0);
	assert_open_fails("file", false, -EINVAL,
			  "\"file\" is smaller than one sector (512 bytes)");
	close(fd);
	unlink("file");
	unlink("fifo");
	unlink("sock");
	assert_int_equal(chdir("/"), 0);
	rmdir(dir);
}

static void an_inherited_file_is_as_good_as_a_path(void **state)
{
	struct disk disk;
	struct rig rig;
	int fd;

	(void)state;
	rig_make_file(&rig, "/tmp", 4096);
	struct disk_options options = { .path = "/dev/fd/100", .name = "t" };

	fd = open(rig.path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(dup2(fd, 100), 100);
	assert_int_equal(disk_open(&disk, &options, NULL), 0);
	assert_int_equal(disk.fd, 100);
	assert_int_equal(disk.size, 4096);
	assert_int_equal(fcntl(100, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(100, F_GETFL) & O_NONBLOCK, 0);
	assert_open_fails("/dev/fd/100", false, -EBADF,
			  "open \"/dev/fd/100\" for writing: file descriptor 100 was not inherited, "
			  "or is taken already");
	disk_close(&disk);
	close(fd);

	fd = open(rig.path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(dup2(fd, 100), 100);
	close(fd);
	assert_open_fails("/dev/fd/100", false, -EACCES,
			  "open \"/dev/fd/100\" for writing: not open for reading and writing");
	options.read_only = true;
	assert_int_equal(disk_open(&disk, &options, NULL), 0);
	disk_close(&disk);
	assert_open_fails("/dev/fd/100", true, -EBADF, "open \"/dev/fd/100\": Bad file descriptor");

	fd = open("/dev", O_RDONLY | O_CLOEXEC);
	assert_int_equal(dup2(fd, 100), 100);
	close(fd);
	assert_open_fails("/dev/fd/100", true, -EINVAL,
			  "\"/dev/fd/100\" is a directory, not a disk image or block device");
	close(100);
	rig_teardown(&rig);
}

static void open_respects_permissions(void **state)
{
	struct rig rig;
	char expected[160];
	bool root = geteuid() == 0;

	(void)state;
	rig_make_file(&rig, "/tmp", 4096);
	assert_int_equal(chmod(rig.path, root ? 0600 : 0), 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	snprintf(expected, sizeof(expected), "open \"%s\" for writing: Permission denied",
		 rig.path);
	assert_open_fails(rig.path, false, -EACCES, expected);
	snprintf(expected, sizeof(expected), "open \"%s\": Permission denied", rig.path);
	assert_open_fails(rig.path, true, -EACCES, expected);
	if (root)
		assert_int_equal(seteuid(0), 0);
	rig_teardown(&rig);
}

static void size_is_rounded_down_to_sectors(void **state)
{
	struct rig rig;

	(void)state;
	for (enum rig_mode mode = RIG_SYNC; mode <= RIG_ASYNC; mode++) {
		rig_setup(&rig, RIG_DISK, 10 * 512 + 511, mode);
		assert_int_equal(rig.disk.size, 10 * 512);
		rig_teardown(&rig);
		rig_setup(&rig, RIG_DISK, 512, mode);
		assert_int_equal(rig.disk.size, 512);
		rig_teardown(&rig);
	}
}

static void locks_keep_writers_alone(void **state)
{
	static const struct {
		bool first_ro, second_ro;
		int rc;
	} cases[] = { { false, false, -EBUSY },
		      { false, true, -EBUSY },
		      { true, false, -EBUSY },
		      { true, true, 0 } };
	char message[ERROR_MESSAGE_MAX], expected[160];
	struct rig rig;

	(void)state;
	rig_make_file(&rig, RIG_TMPFS, 4096);
	snprintf(expected, sizeof(expected), "\"%s\" is in use by another microVM", rig.path);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct disk_options options = { .path = rig.path,
						.name = "t",
						.read_only = cases[i].first_ro };
		struct disk disk;

		assert_int_equal(disk_open(&disk, &options, NULL), 0);
		assert_int_equal(try_open(rig.path, cases[i].second_ro, DISK_SYNC, message),
				 cases[i].rc);
		assert_string_equal(message, cases[i].rc ? expected : "");
		/* What failed has taken no lock away, and closing gives it back. */
		if (cases[i].rc)
			assert_int_equal(try_open(rig.path, false, DISK_ASYNC, message), -EBUSY);
		disk_close(&disk);
		assert_int_equal(try_open(rig.path, false, DISK_SYNC, message), 0);
	}
	disk_faults.no_locks = true;
	assert_int_equal(try_open(rig.path, false, DISK_SYNC, message), 0);
	rig_teardown(&rig);
}

static void alignment_is_what_the_file_says(void **state)
{
	struct statx stx;
	struct rig rig;

	(void)state;
	rig_skip_without_direct_io();
	rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
	assert_true(fcntl(rig.disk.fd, F_GETFL) & O_DIRECT);
	assert_int_equal(statx(rig.disk.fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx), 0);
	if (stx.stx_mask & STATX_DIOALIGN) {
		assert_int_equal(rig.disk.memory_align, stx.stx_dio_mem_align);
		assert_true(rig.disk.offset_align >= stx.stx_dio_offset_align);
	}
	assert_true(rig.disk.physical_block >= rig.disk.offset_align);
	rig_teardown(&rig);

	/* A kernel without STATX_DIOALIGN: found by trying. */
	disk_faults.no_dioalign = true;
	rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
	assert_true(rig.disk.direct);
	assert_true(rig.disk.offset_align == 512 || rig.disk.offset_align == 4096);
	rig_teardown(&rig);

	/* No direct I/O if it can't reach the last sectors, or with an alignment that makes no sense. */
	static const struct {
		unsigned int align;
		uint64_t size;
		bool direct;
	} cases[] = { { 512, 4608, true },	  { 4096, 8192, true },	  { 4096, 8704, false },
		      { 4096, 4608, false },	  { 3000, 30000, false }, { MIB, 4 * MIB, false },
		      { 64 * KIB, 4 * MIB, true } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		disk_faults.dio_align = cases[i].align;
		rig_setup(&rig, RIG_DISK, cases[i].size, RIG_ASYNC);
		assert_int_equal(rig.disk.direct, cases[i].direct);
		assert_int_equal(rig.disk.offset_align, cases[i].direct ? cases[i].align : 1);
		assert_int_equal(!!(fcntl(rig.disk.fd, F_GETFL) & O_DIRECT), cases[i].direct);
		rig_teardown(&rig);
	}

	rig_setup(&rig, RIG_DISK, MIB, RIG_SYNC);
	assert_false(rig.disk.direct);
	assert_false(fcntl(rig.disk.fd, F_GETFL) & O_DIRECT);
	assert_true(fcntl(rig.disk.fd, F_GETFD) & FD_CLOEXEC);
	rig_teardown(&rig);
}

static void block_devices_tell_their_size_and_sectors(void **state)
{
	char message[ERROR_MESSAGE_MAX];
	struct rig rig;

	(void)state;
	rig_make_loop(&rig, 3 * MIB, 4096);
	rig_open(&rig, RIG_ASYNC);
	assert_true(rig.disk.is_block_device);
	assert_int_equal(rig.disk.size, 3 * MIB);
	assert_int_equal(rig.disk.physical_block, 4096);
	assert_int_equal(rig.disk.discard_align, 4096);
	if (rig.disk.direct)
		assert_int_equal(rig.disk.offset_align, 4096);
	assert_int_equal(try_open(rig.path, false, DISK_SYNC, message), -EBUSY);
	disk_close(&rig.disk);
	/* Before Linux 6.1: the alignment is that of its sectors. */
	disk_faults.no_dioalign = true;
	rig_open(&rig, RIG_ASYNC);
	assert_true(rig.disk.direct);
	assert_int_equal(rig.disk.offset_align, 4096);
	assert_int_equal(rig.disk.memory_align, 4096);
	rig_teardown(&rig);
}

static void aio_contexts_shrink_before_they_fail(void **state)
{
	struct rig rig;
	char message[ERROR_MESSAGE_MAX];

	(void)state;
	rig_skip_without_direct_io();
	rig_make_file(&rig, RIG_DISK, MIB);
	disk_faults.setup_limit = 16;
	assert_int_equal(try_open(rig.path, false, DISK_ASYNC, message), 0);
	disk_faults.setup_limit = 15;
	assert_int_equal(try_open(rig.path, false, DISK_ASYNC, message), -EAGAIN);
	assert_string_equal(message, "io_setup: the host has no more asynchronous I/O contexts "
				     "(sysctl fs.aio-max-nr)");
	rig_teardown(&rig);
}

static void discard_gives_space_back_and_zeroes_may_keep_it(void **state)
{
	struct disk_request request = { .offset = 256 * KIB, .len = 512 * KIB };
	uint8_t *buffer = rig_alloc(MIB);
	struct rig rig;
	struct stat st;

	(void)state;
	for (enum rig_mode mode = RIG_SYNC; mode <= RIG_ASYNC; mode++) {
		memset(buffer, 1, MIB);
		rig_setup(&rig, RIG_DISK, MIB, mode);
		assert_int_equal(rig_write(&rig, 0, buffer, MIB), 0);
		request.op = DISK_WRITE_ZEROES;
		request.unmap = false;
		assert_int_equal(rig_do(&rig, &request), 0);
		assert_int_equal(fsync(rig.disk.fd), 0);
		assert_int_equal(fstat(rig.disk.fd, &st), 0);
		assert_true((uint64_t)st.st_blocks * 512 >= MIB);
		request.unmap = true;
		assert_int_equal(rig_do(&rig, &request), 0);
		assert_int_equal(fstat(rig.disk.fd, &st), 0);
		assert_true((uint64_t)st.st_blocks * 512 < MIB - 256 * KIB);
		assert_int_equal(rig_write(&rig, 0, buffer, MIB), 0);
		request.op = DISK_DISCARD;
		assert_int_equal(rig_do(&rig, &request), 0);
		assert_int_equal(fstat(rig.disk.fd, &st), 0);
		assert_true((uint64_t)st.st_blocks * 512 < MIB - 256 * KIB);
		assert_int_equal(st.st_size, MIB);
		rig_teardown(&rig);
	}
	free(buffer);
}

/* Threads of ours whose name begins so. A new one takes a moment to name itself. */
static int count_threads(const char *name)
{
	glob_t tasks;
	int n = 0;

	usleep(20000);
	assert_int_equal(glob("/proc/self/task/*/comm", 0, NULL, &tasks), 0);
	for (size_t i = 0; i < tasks.gl_pathc; i++) {
		char comm[32] = "";
		FILE *f = fopen(tasks.gl_pathv[i], "re");

		if (f && fgets(comm, sizeof(comm), f))
			n += strncmp(comm, name, strlen(name)) == 0;
		if (f)
			fclose(f);
	}
	globfree(&tasks);
	return n;
}

static void helper_thread_is_named_and_lazy_if_wanted(void **state)
{
	uint8_t *buffer = rig_alloc(8192);
	struct rig rig;
	struct disk_request discard = { .op = DISK_DISCARD, .len = 4096 };

	(void)state;
	rig_skip_without_direct_io();
	rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
	assert_int_equal(rig_read(&rig, 0, buffer, 4096), 0);
	assert_int_equal(disk_faults.threads, 0);
	assert_int_equal(rig_do(&rig, &discard), 0);
	assert_int_equal(rig_do(&rig, &discard), 0);
	assert_int_equal(disk_faults.threads, 1);
	assert_int_equal(count_threads("disk test"), 1);
	rig_teardown(&rig);

	rig_make_file(&rig, RIG_DISK, MIB);
	struct disk_options options = { .path = rig.path,
					.name = "t",
					.engine = DISK_ASYNC,
					.event_fd = rig.event_fd,
					.start_thread = true };
	assert_int_equal(count_threads("disk t"), 0);
	assert_int_equal(disk_open(&rig.disk, &options, NULL), 0);
	assert_int_equal(disk_faults.threads, 1);
	rig_teardown(&rig);
	assert_int_equal(count_threads("disk t"), 0);
	free(buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_says_in_one_line_what_is_wrong),
		cmocka_unit_test(an_inherited_file_is_as_good_as_a_path),
		cmocka_unit_test(open_respects_permissions),
		cmocka_unit_test(size_is_rounded_down_to_sectors),
		cmocka_unit_test(locks_keep_writers_alone),
		cmocka_unit_test(alignment_is_what_the_file_says),
		cmocka_unit_test(block_devices_tell_their_size_and_sectors),
		cmocka_unit_test(aio_contexts_shrink_before_they_fail),
		cmocka_unit_test(discard_gives_space_back_and_zeroes_may_keep_it),
		cmocka_unit_test(helper_thread_is_named_and_lazy_if_wanted),
	};

	disk_faults_reset();
	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
