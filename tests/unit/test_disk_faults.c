/* SPDX-License-Identifier: Apache-2.0 */
/* The disk backend, when the host's kernel or storage refuses, fails, stops short or is slow. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "disk_faults.h"
#include "disk_rig.h"
#include "vmm/util.h"

static void zeroes_are_written_without_fallocate(void **state)
{
	struct rig rig;
	uint8_t *buffer = rig_alloc(64 * KIB);

	(void)state;
	for (enum rig_mode mode = RIG_SYNC; mode <= RIG_ASYNC_4K; mode++) {
		struct disk_request zero = {
			.op = DISK_WRITE_ZEROES, .offset = 1536, .len = 512 * KIB, .unmap = true
		};
		struct disk_request discard = { .op = DISK_DISCARD, .offset = 0, .len = 512 };

		disk_faults.no_fallocate = EOPNOTSUPP;
		rig_setup(&rig, RIG_DISK, MIB, mode);
		assert_false(rig.disk.can_discard);
		memset(buffer, 0x77, 64 * KIB);
		for (uint64_t at = 0; at < MIB; at += 64 * KIB)
			assert_int_equal(rig_write(&rig, at, buffer, 64 * KIB), 0);
		assert_int_equal(rig_do(&rig, &zero), 0);
		assert_int_equal(rig_do(&rig, &discard), 0);
		for (uint64_t at = 0; at < MIB; at += 64 * KIB) {
			assert_int_equal(rig_read(&rig, at, buffer, 64 * KIB), 0);
			for (uint64_t i = 0; i < 64 * KIB; i++) {
				bool zeroed =
					at + i >= zero.offset && at + i < zero.offset + zero.len;

				assert_int_equal(buffer[i], zeroed ? 0 : 0x77);
			}
			memset(buffer, 0x77, 64 * KIB);
		}
		rig_teardown(&rig);
	}
	free(buffer);
}

/* The first request that doesn't fit waits for a completion; nothing spins meanwhile. */
static void full_libaio_waits_without_spinning(void **state)
{
	enum { N = 256 };
	struct disk_request *requests = calloc(N, sizeof(*requests));
	struct iovec *iovs = calloc(N, sizeof(*iovs));
	uint8_t *buffer = rig_alloc(N * 4096);
	struct rig rig;

	(void)state;
	rig_skip_without_direct_io();
	disk_faults.setup_limit = 16;
	rig_setup(&rig, RIG_DISK, N * 4096, RIG_ASYNC);
	for (unsigned int i = 0; i < N; i++) {
		iovs[i] = (struct iovec){ buffer + i * 4096, 4096 };
		requests[i] = (struct disk_request){ .op = DISK_READ,
						     .offset = i * 4096,
						     .len = 4096,
						     .iov = &iovs[i],
						     .n_iov = 1 };
		disk_submit(&rig.disk, &requests[i]);
	}
	disk_faults.capacity = 20;
	disk_kick(&rig.disk);
	assert_int_equal(rig.n_done, 0);
	assert_int_equal(disk_in_flight(&rig.disk), N);
	assert_int_equal(disk_faults.held, 20);
	/* One call that was cut, one that was refused. */
	assert_int_equal(disk_faults.submits, 2);
	assert_int_equal(disk_faults.refusals, 1);
	disk_kick(&rig.disk);
	assert_int_equal(disk_faults.submits, 3);
	while (rig.n_done < N)
		rig_reap(&rig);
	assert_true(disk_faults.max_held <= 20);
	/* Each reap starts at most what it has freed: two calls at most, and a last refusal. */
	assert_true(disk_faults.submits <= 3 + 2 * N);
	for (unsigned int i = 0; i < N; i++)
		assert_int_equal(requests[i].result, 0);
	rig_teardown(&rig);
	free(buffer);
	free(iovs);
	free(requests);
}

/* The kernel's own limits, not ours: more than any ring of 16 events holds, never reaped between. */
static void kernel_refusals_lose_nothing(void **state)
{
	enum { N = 2048 };
	struct disk_request *requests = calloc(N, sizeof(*requests));
	uint8_t *buffer = rig_alloc(4096);
	struct iovec iov = { buffer, 4096 };
	struct rig rig;

	(void)state;
	rig_skip_without_direct_io();
	disk_faults.setup_limit = 16;
	rig_setup(&rig, RIG_DISK, 4096, RIG_ASYNC);
	memset(buffer, 9, 4096);
	for (unsigned int i = 0; i < N; i++) {
		requests[i] = (struct disk_request){
			.op = DISK_WRITE, .len = 4096, .iov = &iov, .n_iov = 1, .result = 1
		};
		disk_submit(&rig.disk, &requests[i]);
	}
	disk_kick(&rig.disk);
	if (disk_faults.refusals == 0)
		print_message("# this host's ring holds them all\n");
	disk_drain(&rig.disk);
	assert_int_equal(rig.n_done, N);
	for (unsigned int i = 0; i < N; i++)
		assert_int_equal(requests[i].result, 0);
	rig_teardown(&rig);
	free(buffer);
	free(requests);
}

static void submit_errors_go_to_the_helper(void **state)
{
	static const int errors[] = { -EAGAIN, -EINVAL, -EOPNOTSUPP, -ENOMEM, -EBADF };
	uint8_t *buffer = rig_alloc(4096), *back = rig_alloc(4096);
	struct rig rig;

	(void)state;
	rig_skip_without_direct_io();
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct disk_request flush = { .op = DISK_FLUSH };

		rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
		disk_faults.submit_error = errors[i];
		memset(buffer, (int)(i + 1), 4096);
		disk_faults.submit_errors = 1;
		assert_int_equal(rig_write(&rig, 8192, buffer, 4096), 0);
		disk_faults.submit_errors = 1;
		assert_int_equal(rig_read(&rig, 8192, back, 4096), 0);
		assert_memory_equal(buffer, back, 4096);
		/* A kernel without IOCB_CMD_FDSYNC (before 4.18) says EINVAL. */
		disk_faults.submit_errors = 1;
		assert_int_equal(rig_do(&rig, &flush), 0);
		assert_int_equal(disk_faults.submit_errors, 0);
		assert_int_equal(disk_faults.refusals, 3);
		assert_int_equal(disk_faults.threads, 1);
		rig_teardown(&rig);
	}
	free(buffer);
	free(back);
}

static void completions_are_finished_or_failed(void **state)
{
	static const struct {
		long event;
		int result;
	} cases[] = { { 512, 0 },     { 4096, 0 },	    { 5000, 0 },       { 0, 0 },
		      { -EAGAIN, 0 }, { -EINVAL, 0 },	    { -EINTR, 0 },     { -EOPNOTSUPP, 0 },
		      { -EIO, -EIO }, { -ENOSPC, -ENOSPC }, { -EFBIG, -EFBIG } };
	uint8_t *buffer = rig_alloc(16384), *back = rig_alloc(16384);
	struct rig rig;

	(void)state;
	rig_skip_without_direct_io();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
		memset(buffer, (int)(i + 1), 16384);
		assert_int_equal(rig_write(&rig, 0, buffer, 16384), 0);
		disk_faults.event_result = cases[i].event;
		disk_faults.event_results = 1;
		assert_int_equal(rig_write(&rig, 16384, buffer, 16384), cases[i].result);
		disk_faults.event_results = 1;
		assert_int_equal(rig_read(&rig, 0, back, 16384), cases[i].result);
		assert_int_equal(disk_faults.event_results, 0);
		if (cases[i].result == 0)
			assert_memory_equal(buffer, back, 16384);
		rig_teardown(&rig);
	}
	free(buffer);
	free(back);
}

/* What can't be started at once is started by the helper thread, and is libaio's all the same. */
static void blocking_submissions_are_the_helpers(void **state)
{
	uint8_t *buffer = rig_alloc(4096), *back = rig_alloc(4096);
	struct rig rig;

	(void)state;
	rig_skip_without_direct_io();
	rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
	disk_faults.would_block = true;
	memset(buffer, 5, 4096);
	assert_int_equal(rig_write(&rig, 4096, buffer, 4096), 0);
	assert_int_equal(disk_faults.submits, rig.disk.nowait ? 2 : 1);
	assert_int_equal(rig_read(&rig, 4096, back, 4096), 0);
	assert_int_equal(disk_faults.submits, rig.disk.nowait ? 4 : 2);
	assert_int_equal(disk_faults.io_calls, 0);
	assert_int_equal(disk_faults.threads, 1);
	assert_memory_equal(buffer, back, 4096);
	rig_teardown(&rig);
	free(buffer);
	free(back);
}

static void flush_errors_reach_the_owner(void **state)
{
	struct disk_request flush = { .op = DISK_FLUSH };
	struct rig rig;

	(void)state;
	rig_skip_without_direct_io();
	rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
	assert_int_equal(rig_do(&rig, &flush), 0);
	assert_int_equal(disk_faults.threads, 0);
	disk_faults.event_result = -EIO;
	disk_faults.event_results = 1;
	assert_int_equal(rig_do(&rig, &flush), -EIO);
	rig_teardown(&rig);
}

static void stricter_file_than_it_said_is_bounced(void **state)
{
	uint8_t *buffer = rig_alloc(16384);
	struct rig rig;

	(void)state;
	rig_skip_without_direct_io();
	rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
	rig.disk.memory_align = 1;
	for (int i = 0; i < 8192; i++)
		buffer[3 + i] = (uint8_t)(i * 7);
	assert_int_equal(rig_write(&rig, 4096, buffer + 3, 8192), 0);
	memset(buffer, 0, 16384);
	assert_int_equal(rig_read(&rig, 4096, buffer + 5, 8192), 0);
	for (int i = 0; i < 8192; i++)
		assert_int_equal(buffer[5 + i], (uint8_t)(i * 7));
	assert_int_equal(buffer[4], 0);
	assert_int_equal(buffer[5 + 8192], 0);
	rig_teardown(&rig);
	free(buffer);
}

static void shrunk_file_gives_errors(void **state)
{
	uint8_t *buffer = rig_alloc(MIB);
	struct rig rig;

	(void)state;
	for (enum rig_mode mode = RIG_SYNC; mode <= RIG_ASYNC_4K; mode++) {
		rig_setup(&rig, RIG_DISK, MIB, mode);
		assert_int_equal(truncate(rig.path, 512 * KIB), 0);
		assert_int_equal(rig_read(&rig, 768 * KIB, buffer, 4096), -EIO);
		assert_int_equal(rig_read(&rig, 510 * KIB, buffer, 4096), -EIO);
		assert_int_equal(rig_read(&rig, 508 * KIB, buffer, 4096), 0);
		rig_teardown(&rig);
	}
	free(buffer);
}

static void host_write_errors_reach_the_owner(void **state)
{
	struct rlimit before, limit;
	uint8_t *buffer = rig_alloc(4096);
	struct rig rig;

	(void)state;
	/* The jailer may limit file sizes; the signal is the monitor's to ignore. */
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	for (enum rig_mode mode = RIG_SYNC; mode <= RIG_ASYNC_4K; mode++) {
		rig_setup(&rig, RIG_DISK, MIB, mode);
		limit = (struct rlimit){ 64 * KIB, before.rlim_max };
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		assert_int_equal(rig_write(&rig, 128 * KIB, buffer, 4096), -EFBIG);
		assert_int_equal(rig_write(&rig, 32 * KIB, buffer, 4096), 0);
		assert_int_equal(rig_read(&rig, 128 * KIB, buffer, 4096), 0);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
		rig_teardown(&rig);
	}
	free(buffer);
}

/* Without direct I/O: little that's cached is copied in place, the rest is the helper's. */
static void only_little_is_copied_in_place(void **state)
{
	uint8_t *buffer = rig_alloc(256 * KIB);
	struct rig rig;

	(void)state;
	rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC_BUFFERED);
	if (rig.disk.nowait) {
		assert_int_equal(rig_write(&rig, 0, buffer, 256 * KIB), 0);
		assert_int_equal(disk_faults.io_calls, 1);
		assert_int_equal(rig_read(&rig, 0, buffer, 128 * KIB), 0);
		assert_int_equal(disk_faults.io_calls, 1);
		assert_int_equal(rig_read(&rig, 0, buffer, 128 * KIB + 512), 0);
		assert_int_equal(disk_faults.io_calls, 2);
		disk_faults.would_block = true;
		assert_int_equal(rig_read(&rig, 0, buffer, 4096), 0);
		assert_int_equal(disk_faults.io_calls, 3);
		/* A file system that can't write so is asked once. */
		disk_faults.would_block = false;
		disk_faults.no_nowait_write = true;
		assert_int_equal(rig_write(&rig, 0, buffer, 4096), 0);
		assert_int_equal(rig_write(&rig, 0, buffer, 4096), 0);
		assert_int_equal(disk_faults.tries, 1);
		assert_int_equal(disk_faults.io_calls, 5);
	} else {
		print_message("# no RWF_NOWAIT on " RIG_DISK "\n");
	}
	rig_teardown(&rig);
	free(buffer);
}

static void discards_that_the_host_refuses_do_nothing(void **state)
{
	struct disk_request discard = { .op = DISK_DISCARD, .len = 4096 };
	uint8_t *buffer = rig_alloc(4096);
	struct rig rig;

	(void)state;
	for (enum rig_mode mode = RIG_SYNC; mode <= RIG_ASYNC; mode++) {
		rig_setup(&rig, RIG_DISK, MIB, mode);
		memset(buffer, 6, 4096);
		assert_int_equal(rig_write(&rig, 0, buffer, 4096), 0);
		disk_faults.no_fallocate = EOPNOTSUPP;
		assert_int_equal(rig_do(&rig, &discard), 0);
		disk_faults.no_fallocate = EIO;
		assert_int_equal(rig_do(&rig, &discard), -EIO);
		memset(buffer, 0, 4096);
		assert_int_equal(rig_read(&rig, 0, buffer, 4096), 0);
		assert_int_equal(buffer[0], 6);
		assert_int_equal(buffer[4095], 6);
		rig_teardown(&rig);
	}
	free(buffer);
}

static void *release_later(void *arg)
{
	(void)arg;
	usleep(50000);
	disk_faults.hold = false;
	return NULL;
}

/* Only a drain waits for the storage: a slow disk leaves the event loop alone. */
static void slow_storage_holds_up_nobody_but_a_drain(void **state)
{
	struct disk_request requests[4];
	uint8_t *buffer = rig_alloc(5 * 4096);
	struct iovec iovs[4];
	pthread_t thread;
	struct rig rig;

	(void)state;
	for (enum rig_mode mode = RIG_ASYNC; mode <= RIG_ASYNC_4K; mode++) {
		rig_setup(&rig, RIG_DISK, MIB, mode);
		disk_faults.would_block = true;
		disk_faults.hold = true;
		for (unsigned int i = 0; i < 4; i++) {
			/* Not aligned: the helper thread's work in every mode. */
			iovs[i] = (struct iovec){ buffer + i * 4096 + 1, 512 };
			requests[i] = (struct disk_request){ .op = i % 2 ? DISK_READ : DISK_WRITE,
							     .offset = i * 8192 + 512,
							     .len = 512,
							     .iov = &iovs[i],
							     .n_iov = 1 };
			disk_submit(&rig.disk, &requests[i]);
		}
		disk_kick(&rig.disk);
		disk_reap(&rig.disk);
		assert_true(disk_faults.hold);
		assert_int_equal(disk_in_flight(&rig.disk), 4);
		assert_int_equal(rig.n_done, 0);
		assert_int_equal(pthread_create(&thread, NULL, release_later, NULL), 0);
		disk_drain(&rig.disk);
		assert_false(disk_faults.hold);
		assert_int_equal(rig.n_done, 4);
		assert_int_equal(disk_in_flight(&rig.disk), 0);
		pthread_join(thread, NULL);
		rig_teardown(&rig);
	}
	free(buffer);
}

static void close_waits_for_what_is_in_flight(void **state)
{
	uint8_t *buffer = rig_alloc(8192);
	struct iovec iov = { buffer + 1, 4096 };
	struct disk_request request = {
		.op = DISK_READ, .len = 4096, .iov = &iov, .n_iov = 1, .result = 1
	};
	pthread_t thread;
	struct rig rig;

	(void)state;
	rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
	disk_faults.hold = true;
	disk_submit(&rig.disk, &request);
	disk_kick(&rig.disk);
	assert_int_equal(pthread_create(&thread, NULL, release_later, NULL), 0);
	disk_close(&rig.disk);
	assert_false(disk_faults.hold);
	assert_int_equal(rig.n_done, 1);
	assert_int_equal(request.result, 0);
	pthread_join(thread, NULL);
	rig_teardown(&rig);
	free(buffer);
}

/* A cancel starts nothing, tries nothing again and needs no thread; afterwards all is as before. */
static void what_is_cancelled_is_not_started(void **state)
{
	static const int results[] = { -ECANCELED, -EAGAIN };
	uint8_t *buffer = rig_alloc(4096);
	struct iovec iov = { buffer, 4096 };
	struct rig rig;

	(void)state;
	rig_skip_without_direct_io();
	rig_setup(&rig, RIG_DISK, MIB, RIG_ASYNC);
	for (unsigned int i = 0; i < ARRAY_SIZE(results); i++) {
		struct disk_request requests[3];

		disk_faults_reset();
		disk_faults.would_block = true;
		rig.n_done = 0;
		for (unsigned int k = 0; k < 3; k++) {
			requests[k] = (struct disk_request){
				.op = DISK_READ, .len = 4096, .iov = &iov, .n_iov = 1
			};
			disk_submit(&rig.disk, &requests[k]);
		}
		if (i == 1)
			disk_kick(&rig.disk);
		disk_cancel(&rig.disk);
		assert_int_equal(rig.n_done, 3);
		for (unsigned int k = 0; k < 3; k++)
			assert_int_equal(requests[k].result, results[i]);
		assert_int_equal(disk_in_flight(&rig.disk), 0);
		assert_int_equal(disk_faults.submits, i); /* one batch */
		assert_int_equal(disk_faults.threads, 0);
	}
	disk_faults_reset();
	assert_int_equal(rig_read(&rig, 0, buffer, 4096), 0);
	assert_int_equal(disk_faults.submits, 1);
	rig_teardown(&rig);
	free(buffer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zeroes_are_written_without_fallocate),
		cmocka_unit_test(full_libaio_waits_without_spinning),
		cmocka_unit_test(kernel_refusals_lose_nothing),
		cmocka_unit_test(submit_errors_go_to_the_helper),
		cmocka_unit_test(completions_are_finished_or_failed),
		cmocka_unit_test(blocking_submissions_are_the_helpers),
		cmocka_unit_test(flush_errors_reach_the_owner),
		cmocka_unit_test(stricter_file_than_it_said_is_bounced),
		cmocka_unit_test(shrunk_file_gives_errors),
		cmocka_unit_test(host_write_errors_reach_the_owner),
		cmocka_unit_test(only_little_is_copied_in_place),
		cmocka_unit_test(discards_that_the_host_refuses_do_nothing),
		cmocka_unit_test(slow_storage_holds_up_nobody_but_a_drain),
		cmocka_unit_test(close_waits_for_what_is_in_flight),
		cmocka_unit_test(what_is_cancelled_is_not_started),
	};

	disk_faults_reset();
	return cmocka_run_group_tests_name("disk_faults", tests, NULL, NULL);
}
