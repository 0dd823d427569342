/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk backend under random requests, many in flight, against a byte array that says what the
 * disk should hold. No two requests in flight touch the same sector unless both read it: then the
 * order is nobody's promise.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk_faults.h"
#include "disk_rig.h"
#include "vmm/util.h"

#define SECTORS	    4096u /* 2 MiB */
#define DEPTH	    48
#define MAX_SECTORS 160u
#define MAX_PIECES  100u
#define ARENA	    (MAX_SECTORS * DISK_SECTOR_SIZE + 8192)

struct job {
	struct disk_request request;
	bool busy;
	struct iovec iov[MAX_PIECES];
	uint8_t *arena;	   /* page aligned */
	uint8_t *data;	   /* in arena, aligned or not */
	uint8_t *expected; /* of a read */
};

struct model {
	struct rig rig;
	uint8_t *bytes;
	uint8_t readers[SECTORS];
	bool writer[SECTORS];
	struct job jobs[DEPTH];
	unsigned int n_busy, n_ops[DISK_OPS];
};

static uint32_t random_state;

static uint32_t below(uint32_t n)
{
	/* xorshift32 */
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % n;
}

static void set_claim(struct model *m, const struct disk_request *request, bool claim)
{
	uint64_t first = request->offset / DISK_SECTOR_SIZE;

	for (uint64_t i = first; i < first + request->len / DISK_SECTOR_SIZE; i++) {
		if (request->op == DISK_READ)
			m->readers[i] = (uint8_t)(m->readers[i] + (claim ? 1 : -1));
		else
			m->writer[i] = claim;
	}
}

static bool is_free(const struct model *m, const struct disk_request *request)
{
	uint64_t first = request->offset / DISK_SECTOR_SIZE;

	for (uint64_t i = first; i < first + request->len / DISK_SECTOR_SIZE; i++)
		if (m->writer[i] || (request->op != DISK_READ && m->readers[i]))
			return false;
	return true;
}

static void on_done(struct disk_request *request, void *owner)
{
	struct model *m = owner;
	struct job *job = CONTAINER_OF(request, struct job, request);

	assert_true(job->busy);
	assert_int_equal(request->result, 0);
	if (request->op == DISK_READ)
		assert_memory_equal(job->data, job->expected, request->len);
	set_claim(m, request, false);
	job->busy = false;
	m->n_busy--;
	m->n_ops[request->op]++;
}

/* Cut data into pieces, at multiples of `unit` bytes. */
static void cut_pieces(struct job *job, uint64_t len, uint32_t unit)
{
	unsigned int n = 0;
	uint64_t at = 0;

	while (at < len && n < MAX_PIECES - 1) {
		uint64_t piece = (1 + below(16)) * (uint64_t)unit;

		if (piece > len - at)
			piece = len - at;
		job->iov[n++] = (struct iovec){ job->data + at, piece };
		at += piece;
	}
	if (at < len)
		job->iov[n++] = (struct iovec){ job->data + at, len - at };
	job->request.iov = job->iov;
	job->request.n_iov = (uint16_t)n;
}

static enum disk_op random_op(void)
{
	uint32_t dice = below(100);

	if (dice < 42)
		return DISK_READ;
	if (dice < 86)
		return DISK_WRITE;
	if (dice < 88)
		return DISK_FLUSH;
	return dice < 94 ? DISK_DISCARD : DISK_WRITE_ZEROES;
}

static void choose_range(struct model *m, struct disk_request *request)
{
	/* Mostly what guests do: aligned blocks of 4 KiB; and single sectors anywhere. */
	uint32_t unit = below(3) ? 8 : 1;

	if (request->op == DISK_FLUSH)
		return;
	do {
		uint32_t sectors = unit * (1 + below(below(4) ? 4 : MAX_SECTORS / unit));
		uint32_t sector = below((SECTORS - sectors) / unit + 1) * unit;

		if (below(50) == 0)
			sector = SECTORS - sectors;
		request->offset = (uint64_t)sector * DISK_SECTOR_SIZE;
		request->len = (uint64_t)sectors * DISK_SECTOR_SIZE;
	} while (!is_free(m, request));
}

static void choose_buffers(struct job *job)
{
	static const uint32_t misalignments[] = { 0, 0, 0, 512, 2048, 4, 1, 511, 4095 };
	static const uint32_t units[] = { 4096, 512, 512, 1, 100 };

	job->data = job->arena + misalignments[below(ARRAY_SIZE(misalignments))];
	cut_pieces(job, job->request.len, units[below(ARRAY_SIZE(units))]);
}

/* A discard clears too: it makes a hole; in a block device only of whole blocks. */
static void clear_range(struct model *m, const struct disk_request *request)
{
	uint64_t from = request->offset, to = request->offset + request->len;

	if (request->op == DISK_DISCARD) {
		from = align_up(from, m->rig.disk.discard_align);
		to = align_down(to, m->rig.disk.discard_align);
	}
	if (from < to)
		memset(m->bytes + from, 0, to - from);
}

static void start_job(struct model *m, struct job *job)
{
	struct disk_request *request = &job->request;
	uint8_t *bytes;

	*request = (struct disk_request){ .op = random_op() };
	request->fua = request->op == DISK_WRITE && below(40) == 0;
	request->unmap = request->op == DISK_WRITE_ZEROES && below(2);
	choose_range(m, request);
	bytes = m->bytes + request->offset;
	if (request->op == DISK_READ) {
		choose_buffers(job);
		memcpy(job->expected, bytes, request->len);
		memset(job->data, 0xee, request->len);
	} else if (request->op == DISK_WRITE) {
		choose_buffers(job);
		for (uint64_t i = 0; i < request->len; i++)
			job->data[i] = (uint8_t)(below(256) | 1);
		memcpy(bytes, job->data, request->len);
	} else if (request->op != DISK_FLUSH) {
		clear_range(m, request);
	}
	set_claim(m, request, true);
	job->busy = true;
	m->n_busy++;
	disk_submit(&m->rig.disk, request);
}

static void compare_file(const struct model *m)
{
	uint8_t *content = malloc(m->rig.size);
	int fd = open(m->rig.path, O_RDONLY | O_CLOEXEC);

	assert_non_null(content);
	assert_int_equal(read(fd, content, m->rig.size), m->rig.size);
	close(fd);
	for (uint64_t i = 0; i < m->rig.size; i++)
		if (content[i] != m->bytes[i])
			fail_msg("byte %lu is 0x%x, not 0x%x", i, content[i], m->bytes[i]);
	free(content);
}

static void model_setup(struct model *m, const char *dir, enum rig_mode mode)
{
	if (dir)
		rig_make_file(&m->rig, dir, SECTORS * DISK_SECTOR_SIZE);
	else
		rig_make_loop(&m->rig, SECTORS * DISK_SECTOR_SIZE, 4096);
	rig_open(&m->rig, mode);
	m->rig.done = on_done;
	m->rig.owner = m;
	assert_true(m->rig.disk.can_discard);
	m->bytes = calloc(1, m->rig.size);
	for (unsigned int i = 0; i < DEPTH; i++) {
		m->jobs[i].arena = rig_alloc(ARENA);
		m->jobs[i].expected = malloc(ARENA);
	}
}

static void model_teardown(struct model *m)
{
	for (unsigned int i = 0; i < DEPTH; i++) {
		free(m->jobs[i].arena);
		free(m->jobs[i].expected);
	}
	free(m->bytes);
	rig_teardown(&m->rig);
	free(m);
}

/* dir: where the file is, or NULL for a block device with sectors of 4 KiB. */
static void model_run(const char *dir, enum rig_mode mode, unsigned int seed, unsigned int requests)
{
	struct model *m = calloc(1, sizeof(*m));
	unsigned int submitted = 0;

	random_state = seed * 2654435761u + 1;
	model_setup(m, dir, mode);
	while (submitted < requests) {
		/* A batch, and then as much patience as happens to be. */
		for (uint32_t n = 1 + below(16); n > 0 && m->n_busy < DEPTH; n--) {
			struct job *job = m->jobs;

			while (job->busy)
				job++;
			start_job(m, job);
			submitted++;
		}
		disk_kick(&m->rig.disk);
		assert_int_equal(disk_in_flight(&m->rig.disk), m->n_busy);
		while (m->n_busy == DEPTH || (m->n_busy > 0 && below(3)))
			rig_reap(&m->rig);
	}
	disk_drain(&m->rig.disk);
	assert_int_equal(m->n_busy, 0);
	assert_int_equal(disk_in_flight(&m->rig.disk), 0);
	for (int op = 0; op < DISK_OPS; op++)
		assert_true(m->n_ops[op] > 0);
	compare_file(m);
	model_teardown(m);
}

/* A real disk may be busy with other things: less of that. */
static void model_holds(const char *dir, enum rig_mode mode)
{
	model_run(dir, mode, 1, strcmp(dir, RIG_DISK) == 0 ? 400 : 2000);
}

static void model_holds_sync_on_tmpfs(void **state)
{
	(void)state;
	model_holds(RIG_TMPFS, RIG_SYNC);
}

static void model_holds_sync_on_disk(void **state)
{
	(void)state;
	model_holds(RIG_DISK, RIG_SYNC);
}

static void model_holds_async_on_tmpfs(void **state)
{
	(void)state;
	model_holds(RIG_TMPFS, RIG_ASYNC);
}

static void model_holds_async_direct(void **state)
{
	(void)state;
	rig_skip_without_direct_io();
	model_holds(RIG_DISK, RIG_ASYNC);
}

static void model_holds_async_direct_with_4k_alignment(void **state)
{
	(void)state;
	rig_skip_without_direct_io();
	model_holds(RIG_DISK, RIG_ASYNC_4K);
}

static void model_holds_async_buffered(void **state)
{
	(void)state;
	model_holds(RIG_TMPFS, RIG_ASYNC_BUFFERED);
	model_holds(RIG_DISK, RIG_ASYNC_BUFFERED);
}

static void model_holds_when_nothing_can_be_done_at_once(void **state)
{
	(void)state;
	disk_faults.would_block = true;
	model_run(RIG_DISK, RIG_ASYNC, 3, 250);
	disk_faults.would_block = true;
	model_run(RIG_TMPFS, RIG_ASYNC_BUFFERED, 3, 1000);
}

static void model_holds_with_little_room_in_libaio(void **state)
{
	(void)state;
	rig_skip_without_direct_io();
	disk_faults.capacity = 3;
	disk_faults.submit_max = 2;
	model_run(RIG_DISK, RIG_ASYNC, 4, 250);
	disk_faults.capacity = 1;
	disk_faults.would_block = true;
	model_run(RIG_DISK, RIG_ASYNC_4K, 5, 250);
}

static void model_holds_with_short_and_interrupted_calls(void **state)
{
	(void)state;
	for (enum rig_mode mode = RIG_SYNC; mode <= RIG_ASYNC_4K; mode++) {
		disk_faults.max_io = 8192;
		disk_faults.interrupted = 3;
		disk_faults.would_block = mode == RIG_ASYNC_BUFFERED;
		model_run(RIG_TMPFS, mode, 6 + mode, 1000);
	}
}

static void model_holds_without_a_helper_thread(void **state)
{
	(void)state;
	disk_faults.no_thread = true;
	disk_faults.would_block = true;
	model_run(RIG_TMPFS, RIG_ASYNC, 10, 1000);
	disk_faults.no_thread = true;
	model_run(RIG_TMPFS, RIG_ASYNC_4K, 11, 1000);
}

static void model_holds_on_a_block_device(void **state)
{
	(void)state;
	model_run(NULL, RIG_ASYNC, 20, 250);
	model_run(NULL, RIG_SYNC, 21, 300);
	model_run(NULL, RIG_ASYNC_BUFFERED, 22, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(model_holds_sync_on_tmpfs),
		cmocka_unit_test(model_holds_sync_on_disk),
		cmocka_unit_test(model_holds_async_on_tmpfs),
		cmocka_unit_test(model_holds_async_direct),
		cmocka_unit_test(model_holds_async_direct_with_4k_alignment),
		cmocka_unit_test(model_holds_async_buffered),
		cmocka_unit_test(model_holds_on_a_block_device),
		cmocka_unit_test(model_holds_when_nothing_can_be_done_at_once),
		cmocka_unit_test(model_holds_with_little_room_in_libaio),
		cmocka_unit_test(model_holds_with_short_and_interrupted_calls),
		cmocka_unit_test(model_holds_without_a_helper_thread),
	};

	disk_faults_reset();
	return cmocka_run_group_tests_name("disk_model", tests, NULL, NULL);
}
