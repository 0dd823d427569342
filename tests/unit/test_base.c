/* SPDX-License-Identifier: Apache-2.0 */
/* error, memory, bus and loop. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/bus.h"
#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/loop.h"
#include "vmm/memory.h"
#include "vmm/util.h"

static void error_is_one_line_with_object_operation_cause(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(error_sys(&err, ENOENT, "open \"%s\"", "/x.ext4"), -ENOENT);
	assert_int_equal(error_wrap(&err, "drive \"%s\"", "rootfs"), -ENOENT);
	assert_string_equal(err.message,
			    "drive \"rootfs\": open \"/x.ext4\": No such file or directory");
	assert_int_equal(err.errnum, ENOENT);
}

static void error_hides_control_characters(void **state)
{
	struct error err = { 0 };

	(void)state;
	error_set(&err, EINVAL, "key \"%s\"", "a\n\x1b[2J");
	assert_string_equal(err.message, "key \"a??[2J\"");
}

static void error_keeps_the_outer_context_when_too_long(void **state)
{
	struct error err = { 0 };
	char long_name[2 * ERROR_MESSAGE_MAX];

	(void)state;
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	error_sys(&err, EIO, "%s", long_name);
	assert_int_equal(strlen(err.message), ERROR_MESSAGE_MAX - 1);
	error_wrap(&err, "outer");
	assert_memory_equal(err.message, "outer: xxx", 10);
	assert_int_equal(strlen(err.message), ERROR_MESSAGE_MAX - 1);
}

static void error_works_without_a_struct(void **state)
{
	(void)state;
	assert_int_equal(error_sys(NULL, ENOMEM, "x"), -ENOMEM);
	assert_int_equal(error_set(NULL, 0, "x"), -EIO);
	assert_int_equal(error_wrap(NULL, "x"), -EIO);
}

static void memory_translates_only_ranges_inside_one_region(void **state)
{
	struct guest_memory memory = { 0 };
	const uint64_t low = 2 * MIB, high_gpa = 4 * GIB, high = 1 * MIB;

	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0, low, MEMORY_BACKING_NONE, false, NULL), 0);
	assert_int_equal(guest_memory_add(&memory, high_gpa, high, MEMORY_BACKING_NONE, false, NULL), 0);
	assert_int_equal(guest_memory_size(&memory), 3 * MIB);

	assert_ptr_equal(guest_memory_at(&memory, 0, 1), memory.regions[0].hva);
	assert_ptr_equal(guest_memory_at(&memory, low - 1, 1), memory.regions[0].hva + low - 1);
	assert_non_null(guest_memory_at(&memory, 0, low));
	assert_non_null(guest_memory_at(&memory, high_gpa, high));
	assert_null(guest_memory_at(&memory, 0, 0));
	assert_null(guest_memory_at(&memory, 0, low + 1));
	assert_null(guest_memory_at(&memory, low - 1, 2));
	assert_null(guest_memory_at(&memory, low, 1));
	assert_null(guest_memory_at(&memory, high_gpa - 1, 2));
	assert_null(guest_memory_at(&memory, high_gpa + high, 1));
	assert_null(guest_memory_at(&memory, 16, UINT64_MAX));
	assert_null(guest_memory_at(&memory, UINT64_MAX, 1));
	assert_null(guest_memory_at(&memory, UINT64_MAX - 7, 16));
	guest_memory_release(&memory);
}

static void memory_refuses_bad_regions(void **state)
{
	struct guest_memory memory = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0, 0, MEMORY_BACKING_NONE, false, &err), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 1, 4096, MEMORY_BACKING_NONE, false, &err), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, 100, MEMORY_BACKING_NONE, false, &err), -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, 1 * MIB, MEMORY_BACKING_HUGETLB_2M, false, &err),
			 -EINVAL);
	assert_int_equal(guest_memory_add(&memory, 0, 8192, MEMORY_BACKING_NONE, false, &err), 0);
	assert_int_equal(guest_memory_add(&memory, 4096, 4096, MEMORY_BACKING_NONE, false, &err), -EINVAL);
	guest_memory_release(&memory);
}

static void memory_copies_all_or_nothing(void **state)
{
	struct guest_memory memory = { 0 };
	char buf[4] = "abc", out[4] = "zzz";

	(void)state;
	guest_memory_add(&memory, 0, 4096, MEMORY_BACKING_NONE, false, NULL);
	assert_true(guest_memory_write(&memory, 4092, buf, 4));
	assert_true(guest_memory_read(&memory, 4092, out, 4));
	assert_string_equal(out, "abc");
	strcpy(out, "zzz");
	assert_false(guest_memory_read(&memory, 4093, out, 4));
	assert_string_equal(out, "zzz");
	assert_false(guest_memory_write(&memory, 4093, "qqqq", 4));
	assert_true(guest_memory_read(&memory, 4093, out, 3));
	assert_memory_equal(out, "bc\0", 3);
	guest_memory_release(&memory);
}

static void memory_tracks_dirty_pages_exactly(void **state)
{
	struct guest_memory memory = { 0 };

	(void)state;
	guest_memory_add(&memory, 0, 64 * KIB, MEMORY_BACKING_NONE, true, NULL);
	guest_memory_add(&memory, 4 * GIB, 64 * KIB, MEMORY_BACKING_NONE, true, NULL);
	assert_true(guest_memory_write(&memory, 4 * GIB + 4095, "ab", 2));
	assert_true(guest_memory_is_dirty(&memory, 4 * GIB));
	assert_true(guest_memory_is_dirty(&memory, 4 * GIB + 4096));
	assert_false(guest_memory_is_dirty(&memory, 4 * GIB + 8192));
	assert_false(guest_memory_is_dirty(&memory, 0));
	/* A length that runs beyond the region marks to its end and no further. */
	guest_memory_mark_dirty(&memory, guest_memory_at(&memory, 60 * KIB, 1), 1 * MIB);
	assert_true(guest_memory_is_dirty(&memory, 60 * KIB));
	assert_false(guest_memory_is_dirty(&memory, 56 * KIB));
	guest_memory_clear_dirty(&memory);
	assert_false(guest_memory_is_dirty(&memory, 4 * GIB));
	guest_memory_release(&memory);
}

struct probe {
	uint64_t offset;
	unsigned int len;
	int reads, writes;
};

static void probe_read(void *device, uint64_t offset, uint8_t *data, unsigned int len)
{
	struct probe *p = device;

	p->offset = offset;
	p->len = len;
	p->reads++;
	memset(data, 0x5a, len);
}

static void probe_write(void *device, uint64_t offset, const uint8_t *data, unsigned int len)
{
	struct probe *p = device;

	(void)data;
	p->offset = offset;
	p->len = len;
	p->writes++;
}

static const struct bus_ops probe_ops = { probe_read, probe_write };

static void bus_dispatches_and_bounds(void **state)
{
	struct bus bus = { 0 };
	struct probe a = { 0 }, b = { 0 };
	struct error err = { 0 };
	uint8_t data[8];

	(void)state;
	assert_int_equal(bus_add(&bus, 0x1000, 0x100, &probe_ops, &b, &err), 0);
	assert_int_equal(bus_add(&bus, 0x60, 5, &probe_ops, &a, &err), 0);
	assert_int_equal(bus_add(&bus, 0x64, 1, &probe_ops, &a, &err), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x50, 0x11, &probe_ops, &a, &err), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x70, 0, &probe_ops, &a, &err), -EINVAL);
	assert_int_equal(bus_add(&bus, UINT64_MAX, 2, &probe_ops, &a, &err), -EINVAL);

	assert_true(bus_read(&bus, 0x64, data, 1));
	assert_int_equal(a.offset, 4);
	assert_int_equal(data[0], 0x5a);
	/* An access that starts inside and ends outside reaches nothing. */
	assert_false(bus_read(&bus, 0x64, data, 2));
	assert_int_equal(data[1], 0xff);
	assert_int_equal(a.reads, 1);
	assert_true(bus_write(&bus, 0x10f8, data, 8));
	assert_false(bus_write(&bus, 0x10f9, data, 8));
	assert_int_equal(b.writes, 1);
	/* Odd lengths, and addresses at the end of the space. */
	assert_false(bus_read(&bus, 0x1000, data, 3));
	assert_false(bus_read(&bus, 0x1000, data, 0));
	assert_false(bus_read(&bus, UINT64_MAX, data, 8));
	assert_false(bus_read(&bus, 0x59, data, 1));
	assert_int_equal(b.reads, 0);
}

static void bus_holds_what_it_promises_and_no_more(void **state)
{
	struct bus bus = { 0 };
	struct probe p = { 0 };
	uint8_t data[1];

	(void)state;
	for (unsigned int i = 0; i < BUS_RANGES_MAX; i++)
		assert_int_equal(bus_add(&bus, (uint64_t)((i * 7) % BUS_RANGES_MAX) * 16, 16, &probe_ops,
					 &p, NULL),
				 0);
	assert_int_equal(bus_add(&bus, 1 << 20, 16, &probe_ops, &p, NULL), -ENOSPC);
	for (unsigned int i = 0; i < BUS_RANGES_MAX; i++) {
		assert_true(bus_read(&bus, i * 16 + 3, data, 1));
		assert_int_equal(p.offset, 3);
	}
}

struct pair {
	struct loop *loop;
	struct loop_source a, b;
	int fired;
};

static void remove_the_other(struct loop_source *source, uint32_t events)
{
	struct pair *pair = source->owner;

	(void)events;
	pair->fired++;
	loop_remove(pair->loop, source == &pair->a ? &pair->b : &pair->a);
}

static void loop_forgets_removed_sources_of_the_same_batch(void **state)
{
	struct loop loop;
	struct pair pair = { .loop = &loop };
	int a = eventfd(1, EFD_CLOEXEC), b = eventfd(1, EFD_CLOEXEC);

	(void)state;
	assert_int_equal(loop_init(&loop, NULL), 0);
	assert_int_equal(loop_add(&loop, &pair.a, a, EPOLLIN, remove_the_other, &pair, NULL), 0);
	assert_int_equal(loop_add(&loop, &pair.b, b, EPOLLIN, remove_the_other, &pair, NULL), 0);
	assert_int_equal(loop_run_once(&loop, 0, NULL), 2);
	assert_int_equal(pair.fired, 1);
	close(a);
	close(b);
	loop_release(&loop);
}

static void stop_on_event(struct loop_source *source, uint32_t events)
{
	assert_int_equal(events, EPOLLIN);
	loop_stop(source->owner);
}

static void loop_runs_until_stopped_and_honours_modify(void **state)
{
	struct loop loop;
	struct loop_source source = { 0 };
	int fd = eventfd(1, EFD_CLOEXEC);

	(void)state;
	assert_int_equal(loop_init(&loop, NULL), 0);
	assert_int_equal(loop_add(&loop, &source, fd, 0, stop_on_event, &loop, NULL), 0);
	assert_int_equal(loop_run_once(&loop, 0, NULL), 0);
	assert_int_equal(loop_modify(&loop, &source, EPOLLIN, NULL), 0);
	assert_int_equal(loop_run(&loop, NULL), 0);
	loop_remove(&loop, &source);
	loop_remove(&loop, &source);
	assert_int_equal(loop_run_once(&loop, 0, NULL), 0);
	close(fd);
	loop_release(&loop);
}

static void log_levels_parse(void **state)
{
	enum log_level level;

	(void)state;
	assert_int_equal(log_level_parse("warning", &level), 0);
	assert_int_equal(level, LOG_WARN);
	assert_int_equal(log_level_parse("WARN", &level), 0);
	assert_int_equal(level, LOG_WARN);
	assert_int_equal(log_level_parse("Trace", &level), 0);
	assert_int_equal(level, LOG_TRACE);
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
}

static void log_never_blocks_and_counts_what_it_loses(void **state)
{
	char path[] = "/tmp/mote-log-XXXXXX";
	struct log_options options = { .path = path, .level = LOG_INFO, .id = "t" };
	struct error err = { 0 };
	uint64_t before = log_lines_lost();

	(void)state;
	close(mkstemp(path));
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(log_open(&options, &err), 0);
	for (int i = 0; i < 4096; i++)
		log_info("a line that nobody reads, and that fills the pipe sooner or later: %d", i);
	assert_true(log_lines_lost() > before);
	log_close();
	unlink(path);
}

/* How many of three lines, of files of two modules, get through. */
static unsigned int logged(const char *module)
{
	char path[] = "/tmp/mote-log-XXXXXX";
	struct log_options options = { .path = path, .level = LOG_INFO, .id = "t", .module = module };
	unsigned int n = 0;

	close(mkstemp(path));
	assert_int_equal(log_open(&options, NULL), 0);
	log_line(LOG_INFO, "../vmm/api/routes.c", 1, "a");
	log_line(LOG_INFO, "../../vmm/api/server.c", 1, "b");
	log_line(LOG_INFO, "devices/irq.c", 1, "c");
	log_close();

	cleanup_fclose FILE *f = fopen(path, "re");

	for (int c; (c = fgetc(f)) != EOF;)
		n += c == '\n';
	unlink(path);
	return n;
}

static void log_tells_modules_apart(void **state)
{
	char long_name[400];

	(void)state;
	memset(long_name, 'v', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = 0;
	assert_int_equal(logged(NULL), 3);
	assert_int_equal(logged(""), 3);
	assert_int_equal(logged("vmm"), 2);
	assert_int_equal(logged("vmm/api/r"), 1);
	assert_int_equal(logged("vmm::api::server"), 1);
	assert_int_equal(logged("vmm:api"), 0);
	assert_int_equal(logged("devices/irq.c"), 1);
	assert_int_equal(logged("devices/irq.cc"), 0);
	assert_int_equal(logged("api_server"), 0);
	assert_int_equal(logged(long_name), 0);
}

static void log_time_is_what_the_c_library_says(void **state)
{
	static const int64_t around[] = { 0, 951782400 /* 2000-02-29 */, 1709164800 /* 2024-02-29 */,
					  4107542400 /* 2100-03-01 */, 253402214400 /* 9999-12-31 */ };
	uint64_t random = 88172645463325252u;
	char text[LOG_UTC_SIZE], want[LOG_UTC_SIZE];

	(void)state;
	for (unsigned int i = 0; i < 200000; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		time_t t = i < 50000 ? around[i % 5] + (time_t)(i / 5 % 86400)
				     : (time_t)(random % 253402300800);
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S", &tm);
		log_utc(t, text);
		assert_string_equal(text, want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_is_one_line_with_object_operation_cause),
		cmocka_unit_test(error_hides_control_characters),
		cmocka_unit_test(error_keeps_the_outer_context_when_too_long),
		cmocka_unit_test(error_works_without_a_struct),
		cmocka_unit_test(memory_translates_only_ranges_inside_one_region),
		cmocka_unit_test(memory_refuses_bad_regions),
		cmocka_unit_test(memory_copies_all_or_nothing),
		cmocka_unit_test(memory_tracks_dirty_pages_exactly),
		cmocka_unit_test(bus_dispatches_and_bounds),
		cmocka_unit_test(bus_holds_what_it_promises_and_no_more),
		cmocka_unit_test(loop_forgets_removed_sources_of_the_same_batch),
		cmocka_unit_test(loop_runs_until_stopped_and_honours_modify),
		cmocka_unit_test(log_levels_parse),
		cmocka_unit_test(log_tells_modules_apart),
		cmocka_unit_test(log_time_is_what_the_c_library_says),
		cmocka_unit_test(log_never_blocks_and_counts_what_it_loses),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
