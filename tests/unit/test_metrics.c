/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics file: lines that are whole, and none that blocks. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/loop.h"
#include "vmm/metrics.h"
#include "vmm/metrics_keys.h"
#include "vmm/util.h"

static char directory[] = "/tmp/mote-test-metrics-XXXXXX";
static char path[64];

static int make_directory(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/m", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

/* What a test's fill adds: a count of calls, and as much padding as wanted. */
struct source {
	unsigned int calls;
	size_t padding;
};

static void fill(void *context, json_t *root)
{
	struct source *source = context;

	json_object_set_new(root, "calls", json_integer(++source->calls));
	if (source->padding) {
		char *text = malloc(source->padding);

		memset(text, 'x', source->padding);
		json_object_set_new(root, "padding", json_stringn(text, source->padding));
		free(text);
	}
}

/* The next line of f as an object, which must be valid JSON; NULL at the end. */
static json_t *next_line(FILE *f)
{
	cleanup_free char *line = NULL;
	size_t size = 0;
	ssize_t length = getline(&line, &size, f);
	json_error_t why;

	if (length < 0)
		return NULL;
	assert_int_equal(line[length - 1], '\n');
	json_t *root = json_loadb(line, (size_t)length - 1, JSON_REJECT_DUPLICATES, &why);

	assert_non_null(root);
	return root;
}

static json_int_t integer_at(json_t *root, const char *object, const char *key)
{
	json_t *parent = object ? json_object_get(root, object) : root;
	json_t *value = json_object_get(parent, key);

	assert_true(json_is_integer(value));
	return json_integer_value(value);
}

static void a_line_at_each_period_and_at_the_end(void **state)
{
	struct loop loop;
	struct metrics metrics;
	struct source source = { 0 };
	time_t before = time(NULL);

	(void)state;
	assert_int_equal(loop_init(&loop, NULL), 0);
	assert_int_equal(metrics_open(&metrics, path, "vm-1", NULL), 0);
	assert_int_equal(metrics_start(&metrics, &loop, 5, fill, &source, NULL), 0);
	metrics.properties = json_pack("{s:s}", "rack", "7");
	assert_int_equal(source.calls, 0);
	for (int i = 0; i < 1000 && source.calls < 3; i++)
		loop_run_once(&loop, 1000, NULL);
	assert_int_equal(source.calls, 3);
	metrics_close(&metrics);
	assert_int_equal(source.calls, 4);
	loop_release(&loop);

	cleanup_fclose FILE *f = fopen(path, "re");

	assert_non_null(f);
	for (int i = 1; i <= 4; i++) {
		json_t *root = next_line(f);

		assert_int_equal(integer_at(root, NULL, "calls"), i);
		json_int_t ms = integer_at(root, NULL, "utc_timestamp_ms");

		assert_in_range(ms, (uintmax_t)before * 1000, (uintmax_t)(time(NULL) + 1) * 1000);
		assert_string_equal(json_string_value(json_object_get(root, "id")), "vm-1");
		json_t *properties = json_object_get(root, "properties");

		assert_string_equal(json_string_value(json_object_get(properties, "rack")), "7");
		assert_int_equal(integer_at(root, "logger", "missed_log_count"), 0);
		assert_int_equal(integer_at(root, "logger", "missed_metrics_count"), 0);
		json_decref(root);
	}
	assert_null(next_line(f));
}

static void a_file_is_appended_to_and_private(void **state)
{
	struct loop loop;
	struct metrics metrics;
	struct source source = { 0 };
	struct stat st;

	(void)state;
	loop_init(&loop, NULL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(metrics_open(&metrics, path, NULL, NULL), 0);
		assert_int_equal(fcntl(metrics.fd, F_GETFD), FD_CLOEXEC);
		assert_int_equal(
			metrics_start(&metrics, &loop, METRICS_PERIOD_MS, fill, &source, NULL), 0);
		metrics_close(&metrics);
	}
	loop_release(&loop);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	cleanup_fclose FILE *f = fopen(path, "re");

	for (int i = 1; i <= 2; i++) {
		json_t *root = next_line(f);

		assert_int_equal(integer_at(root, NULL, "calls"), i);
		assert_null(json_object_get(root, "id"));
		assert_null(json_object_get(root, "properties"));
		json_decref(root);
	}
	assert_null(next_line(f));
}

static void nothing_is_written_before_the_start(void **state)
{
	struct metrics metrics;
	struct stat st;

	(void)state;
	assert_int_equal(metrics_open(&metrics, path, NULL, NULL), 0);
	metrics_close(&metrics);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 0);
}

static void a_path_that_cannot_be_opened_is_an_error(void **state)
{
	struct metrics metrics;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(metrics_open(&metrics, "/nonexistent/m", "x", &err), -ENOENT);
	assert_string_equal(err.message,
			    "metrics: open \"/nonexistent/m\": No such file or directory");
	assert_int_equal(metrics_open(&metrics, directory, "x", &err), -EISDIR);
}

/*
 * A FIFO whose reader comes late: lines fit until it's full, then they're lost and counted, the
 * one that fitted in part is completed first, and the reader sees whole lines only.
 */
static void a_full_fifo_loses_lines_but_never_mixes_them(void **state)
{
	struct metrics metrics;
	struct loop loop;
	struct source source = { .padding = 5000 }; /* > PIPE_BUF: may be taken in part */
	unsigned int written = 0, lost = 0;

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	loop_init(&loop, NULL);
	assert_int_equal(metrics_open(&metrics, path, NULL, NULL), 0);
	assert_int_equal(metrics_start(&metrics, &loop, METRICS_PERIOD_MS, fill, &source, NULL), 0);
	int capacity = fcntl(metrics.fd, F_SETPIPE_SZ, 8192);

	assert_int_equal(capacity, 8192);
	for (int i = 0; i < 5; i++) {
		if (metrics_write(&metrics))
			written++;
		else
			lost++;
	}
	assert_int_equal(written, 2); /* a whole one and a part of another */
	assert_int_equal(lost, 3);
	assert_int_equal(metrics.lines_lost, 3);

	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	FILE *copy = tmpfile();
	char buf[4096];
	ssize_t n;

	assert_true(fd >= 0);
	assert_non_null(copy);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, (size_t)n, copy);
	/* Room again, for the rest of the second line and a third one at the close. */
	source.padding = 10;
	metrics_close(&metrics);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, (size_t)n, copy);
	close(fd);
	loop_release(&loop);

	static const json_int_t expected_calls[] = { 1, 2, 3 }, expected_lost[] = { 0, 0, 3 };

	rewind(copy);
	for (unsigned int i = 0; i < 3; i++) {
		json_t *root = next_line(copy);

		assert_non_null(root);
		assert_int_equal(integer_at(root, NULL, "calls"), expected_calls[i]);
		assert_int_equal(integer_at(root, "logger", "missed_metrics_count"),
				 expected_lost[i]);
		json_decref(root);
	}
	assert_null(next_line(copy));
	fclose(copy);
}

static void a_full_disk_loses_lines(void **state)
{
	struct metrics metrics;
	struct loop loop;
	struct source source = { 0 };

	(void)state;
	loop_init(&loop, NULL);
	assert_int_equal(metrics_open(&metrics, "/dev/full", NULL, NULL), 0);
	assert_int_equal(metrics_start(&metrics, &loop, METRICS_PERIOD_MS, fill, &source, NULL), 0);
	assert_false(metrics_write(&metrics));
	assert_false(metrics_write(&metrics));
	assert_int_equal(metrics.lines_lost, 2);
	metrics_close(&metrics);
	loop_release(&loop);
}

/* Of each call: a count in a group, one in a group of the group, a duration; from the third on another group. */
static void fill_groups(void *context, json_t *root)
{
	unsigned int *calls = context;
	json_int_t n = ++*calls;

	json_object_set_new(root, "net_eth0", json_pack("{s:I, s:{s:I}}", "tx", n * n, "agg", "sum_us", 10 * n));
	json_object_set_new(root, "latencies_us", json_pack("{s:I}", "pause_vm", 7 + n));
	if (n >= 3)
		json_object_set_new(root, "vsock", json_pack("{s:I}", "rx", 5 * n));
}

static void counts_since_the_last_line_that_was_taken(void **state)
{
	/* The second line is lost: what it had is in the third. */
	static const json_int_t tx[] = { 1, 8, 7 }, sum[] = { 10, 20, 10 }, pause[] = { 8, 10, 11 }, rx[] = { 0, 15, 5 };
	struct metrics metrics;
	unsigned int calls = 0;
	struct loop loop;

	(void)state;
	loop_init(&loop, NULL);
	assert_int_equal(metrics_open(&metrics, path, NULL, NULL), 0);
	metrics.deltas = true;
	assert_int_equal(metrics_start(&metrics, &loop, METRICS_PERIOD_MS, fill_groups, &calls, NULL), 0);
	assert_true(metrics_write(&metrics));
	int file = metrics.fd;

	metrics.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_false(metrics_write(&metrics));
	close(metrics.fd);
	metrics.fd = file;
	assert_true(metrics_write(&metrics));
	metrics_close(&metrics);
	loop_release(&loop);

	cleanup_fclose FILE *f = fopen(path, "re");

	for (unsigned int i = 0; i < 3; i++) {
		json_t *root = next_line(f);
		json_t *net = json_object_get(root, "net_eth0");

		assert_int_equal(integer_at(net, NULL, "tx"), tx[i]);
		assert_int_equal(integer_at(net, "agg", "sum_us"), sum[i]);
		assert_int_equal(integer_at(root, "latencies_us", "pause_vm"), pause[i]);
		assert_int_equal(i ? integer_at(root, "vsock", "rx") : 0, rx[i]);
		assert_int_equal(integer_at(root, "logger", "missed_metrics_count"), i == 1);
		assert_true(integer_at(root, NULL, "utc_timestamp_ms") > 1600000000000);
		json_decref(root);
	}
	assert_null(next_line(f));
}

/* The same of a signal that ends the process, under the key that Firecracker's clients look at. */
static void a_fatal_signal_is_a_line_of_its_own(void **state)
{
	struct metrics metrics;
	struct loop loop;
	struct source source = { 0 };

	(void)state;
	loop_init(&loop, NULL);
	metrics_signal_from_handler("sigbus"); /* nothing is open */
	assert_int_equal(metrics_open(&metrics, path, "vm-7", NULL), 0);
	assert_int_equal(metrics_start(&metrics, &loop, METRICS_PERIOD_MS, fill, &source, NULL), 0);
	metrics_signal_from_handler("sigsegv");
	metrics_close(&metrics);
	loop_release(&loop);

	cleanup_fclose FILE *f = fopen(path, "re");
	json_t *root = next_line(f);

	assert_int_equal(integer_at(root, "signals", "sigsegv"), 1);
	assert_string_equal(json_string_value(json_object_get(root, "id")), "vm-7");
	json_decref(root);
	root = next_line(f);
	assert_int_equal(integer_at(root, NULL, "calls"), 1);
	json_decref(root);
	assert_null(next_line(f));
}

/* From a handler: only while metrics run, and never into the middle of a line. */
static void a_violation_is_a_line_of_its_own(void **state)
{
	static const char *const ids[] = { NULL, "vm-7" };
	struct metrics metrics;
	struct loop loop;
	struct source source = { 0 };
	FILE *f;

	(void)state;
	loop_init(&loop, NULL);
	metrics_fault_from_handler(1); /* nothing is open */
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(metrics_open(&metrics, path, ids[i], NULL), 0);
		metrics_fault_from_handler(2); /* nor running */
		assert_int_equal(metrics_start(&metrics, &loop, METRICS_PERIOD_MS, fill, &source, NULL),
				 0);
		metrics_fault_from_handler(59);
		metrics.line = strdup("unfinished");
		metrics.length = metrics.sent = strlen(metrics.line);
		metrics_fault_from_handler(60);
		metrics_close(&metrics);
	}
	metrics_fault_from_handler(3);
	f = fopen(path, "r");
	assert_non_null(f);
	for (unsigned int i = 0; i < 2; i++) {
		json_t *root = next_line(f);
		const char *id = json_string_value(json_object_get(root, "id"));

		assert_true(ids[i] ? strcmp(id, ids[i]) == 0 : !id);
		assert_int_equal(integer_at(root, "seccomp", "num_faults"), 1);
		assert_int_equal(integer_at(root, "seccomp", "syscall"), 59);
		assert_true(integer_at(root, NULL, "utc_timestamp_ms") > 1600000000000);
		json_decref(root);
		root = next_line(f);
		assert_int_equal(integer_at(root, NULL, "calls"), i + 1);
		json_decref(root);
	}
	assert_null(next_line(f));
	fclose(f);
	loop_release(&loop);
}

/* The number at "GROUP.KEY" or "GROUP.KEY.KEY", which must be there. */
static json_int_t number_at(json_t *root, const char *at)
{
	char copy[128], *rest = copy;

	snprintf(copy, sizeof(copy), "%s", at);
	for (const char *key; (key = strsep(&rest, ".")) != NULL;)
		root = json_object_get(root, key);
	assert_true(json_is_integer(root));
	return json_integer_value(root);
}

static void missing_keys_are_zero_and_devices_are_summed(void **state)
{
	static const char text[] =
		"{\"block_a\": {\"read_bytes\": 3, \"read_agg\": {\"sum_us\": 5, \"max_us\": 5}, \"own\": 9},"
		" \"block_b\": {\"read_bytes\": 4, \"read_agg\": {\"sum_us\": 6}, \"read\": {\"count\": 1}},"
		" \"vcpu\": {\"exit_io_in\": 7, \"runs\": 8}, \"blockage\": 1}";
	static const struct {
		const char *at;
		json_int_t value;
	} expected[] = {
		{ "block_a.read_bytes", 3 },
		{ "block_a.read_agg.sum_us", 5 },
		{ "block_a.read_agg.max_us", 5 },
		{ "block_a.read_agg.min_us", 0 },
		{ "block_a.write_bytes", 0 },
		{ "block_a.own", 9 },
		{ "block_b.read.count", 1 },
		{ "block.read_bytes", 7 },
		{ "block.read_agg.sum_us", 11 },
		{ "block.read_agg.max_us", 0 },
		{ "block.write_agg.sum_us", 0 },
		{ "net.rx_bytes_count", 0 },
		{ "pmem.queue_event_count", 0 },
		{ "vcpu.exit_io_in", 7 },
		{ "vcpu.runs", 8 },
		{ "vcpu.exit_io_out_agg.sum_us", 0 },
		{ "vsock.conns_added", 0 },
	};
	json_t *root = json_loads(text, 0, NULL);

	(void)state;
	assert_non_null(root);
	metrics_complete(root);
	for (unsigned int i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(number_at(root, expected[i].at), expected[i].value);
	assert_null(json_object_get(json_object_get(root, "block"), "own"));
	assert_int_equal(json_integer_value(json_object_get(root, "blockage")), 1);
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_line_at_each_period_and_at_the_end, remove_file),
		cmocka_unit_test_teardown(a_file_is_appended_to_and_private, remove_file),
		cmocka_unit_test_teardown(nothing_is_written_before_the_start, remove_file),
		cmocka_unit_test(a_path_that_cannot_be_opened_is_an_error),
		cmocka_unit_test_teardown(a_full_fifo_loses_lines_but_never_mixes_them,
					  remove_file),
		cmocka_unit_test(a_full_disk_loses_lines),
		cmocka_unit_test_teardown(counts_since_the_last_line_that_was_taken, remove_file),
		cmocka_unit_test_teardown(a_violation_is_a_line_of_its_own, remove_file),
		cmocka_unit_test_teardown(a_fatal_signal_is_a_line_of_its_own, remove_file),
		cmocka_unit_test(missing_keys_are_zero_and_devices_are_summed),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
