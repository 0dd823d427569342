/* SPDX-License-Identifier: Apache-2.0 */
/* Initcalls in records of /dev/kmsg, their names in a System.map; memory in smaps. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tools/bench/initcalls.h"
#include "tools/bench/smaps.h"
#include "vmm/util.h"

static const char log_text[] =
	"5,0,0,-;Linux version 6.12.117-mote\n"
	"7,99,34510,-;calling  acpi_init+0x0/0x5c0 @ 1\n"
	"7,100,34514,-;initcall acpi_init+0x0/0x5c0 returned 0 after 900 usecs\n"
	"7,101,34600,c,caller=T1;initcall 0xffffffff81ad1234 returned -19 after 12 usecs\n"
	"7,593,41549,-;probe of QEMU0001:00 returned 0 after 24 usecs\n"
	"7,102,-;initcall broken returned 0 after 5 usecs\n"
	"initcall bare returned 0 after 5 usecs\n"
	"15,770,38323,-;mote-bench: mark\n";

static void initcalls_are_found(void **state)
{
	cleanup_initcalls struct initcalls calls = { 0 };

	(void)state;
	assert_int_equal(initcalls_parse(&calls, log_text, NULL), 0);
	assert_int_equal(calls.n, 2);
	assert_int_equal(calls.mark_us, 38323);
	assert_string_equal(calls.calls[0].name, "acpi_init");
	assert_int_equal(calls.calls[0].end_us, 34514);
	assert_int_equal(calls.calls[0].took_us, 900);
	assert_string_equal(calls.calls[1].name, "0xffffffff81ad1234");
	assert_int_equal(calls.calls[1].took_us, 12);
}

static void a_log_without_them_is_refused(void **state)
{
	static const char *const logs[] = { "", "15,770,38323,-;mote-bench: mark\n",
					    "7,100,34514,-;initcall a returned 0 after 9 usecs\n" };
	struct error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
		cleanup_initcalls struct initcalls calls = { 0 };

		assert_int_equal(initcalls_parse(&calls, logs[i], &err), -ENODATA);
	}
	assert_string_equal(err.message, "initcalls: the guest's log has 1 initcalls and no mark");
}

static void addresses_get_names(void **state)
{
	cleanup_initcalls struct initcalls calls = { 0 };
	char path[] = "/tmp/mote-test-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	dprintf(fd, "0000000000000000 A zero\nffffffff81ad1233 t wrong\nffffffff81ad1234 t inet_init\nnonsense\n");
	close(fd);
	assert_int_equal(initcalls_parse(&calls, log_text, NULL), 0);
	initcalls_name(&calls, "/nonexistent");
	assert_string_equal(calls.calls[1].name, "0xffffffff81ad1234");
	initcalls_name(&calls, path);
	unlink(path);
	assert_string_equal(calls.calls[0].name, "acpi_init");
	assert_string_equal(calls.calls[1].name, "inet_init");
}

static int take(void *context, const char *name, uint64_t kib)
{
	char *all = context;

	snprintf(all + strlen(all), 100, "%s=%d ", name, (int)kib);
	return strcmp(name, "stop") == 0 ? -E2BIG : 0;
}

/* 16 MiB of RAM at 7f0000000000. */
static const char smaps_text[] =
	"55000000-55001000 r-xp 00000000 00:15 42      /usr/bin/mote-vmm\n"
	"Size:                  4 kB\nRss:                   4 kB\nPss:                   2 kB\n"
	"Pss_Dirty:             9 kB\nPrivate_Clean:         4 kB\nPrivate_Dirty:         0 kB\n"
	"7f0000000000-7f0001000000 rw-p 00000000 00:00 0 \n"
	"Rss:                 512 kB\nPss:                 512 kB\nPrivate_Dirty:       512 kB\n"
	"7f0002000000-7f0002001000 rw-p 00000000 00:00 0 \n"
	"Rss:                   8 kB\nPss:                   8 kB\nPrivate_Clean:         1 kB\nPrivate_Dirty:         7 kB\n"
	"7fff00000000-7fff00021000 rw-p 00000000 00:00 0                          [stack]\n"
	"Rss:                   0 kB\nPss:                   0 kB\nPrivate_Dirty:         0 kB\n";

static void memory_is_summed_up(void **state)
{
	FILE *f = fmemopen((void *)(uintptr_t)smaps_text, strlen(smaps_text), "r");
	struct smaps_totals totals;
	char seen[400] = "";

	(void)state;
	assert_int_equal(smaps_read(f, 16, &totals, take, seen), 0);
	fclose(f);
	assert_int_equal(totals.private_kib, 12);
	assert_int_equal(totals.pss_kib, 10);
	assert_int_equal(totals.ram_kib, 512);
	assert_string_equal(seen, "mote-vmm=4 anonymous=8 ");
}

static void a_callback_ends_it(void **state)
{
	static const char text[] = "1000-2000 r-xp 0 00:15 42 /stop\nPrivate_Dirty: 4 kB\n3000-4000 rw-p 0 00:00 0 \nPrivate_Dirty: 4 kB\n";
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	struct smaps_totals totals;
	char seen[400] = "";

	(void)state;
	assert_int_equal(smaps_read(f, 16, &totals, take, seen), -E2BIG);
	fclose(f);
	assert_string_equal(seen, "stop=4 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(initcalls_are_found),
		cmocka_unit_test(a_log_without_them_is_refused),
		cmocka_unit_test(addresses_get_names),
		cmocka_unit_test(memory_is_summed_up),
		cmocka_unit_test(a_callback_ends_it),
	};

	return cmocka_run_group_tests_name("bench_initcalls", tests, NULL, NULL);
}
