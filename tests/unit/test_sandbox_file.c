/* SPDX-License-Identifier: Apache-2.0 */
/* Filters from a file: test_sandbox_file FILE, which mote-seccomp-compile made. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_rig.h"
#include "vmm/util.h"

static void write_file(const char *path, const void *bytes, size_t size)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
}

/* What the compiler makes: argv[1] of the program. */
static const char *compiled;
static const char path[] = "test_sandbox.bpf";

static size_t read_compiled(uint8_t *bytes, size_t size)
{
	cleanup_close int fd = open(compiled, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, size);

	if (n <= 0)
		fail_msg("read \"%s\"", compiled);
	return (size_t)n;
}

static void a_file_has_the_filters_that_are_built_in(void **state)
{
	struct sandbox built_in, loaded;
	struct error err = { 0 };

	(void)state;
	sandbox_init(&built_in);
	if (sandbox_load(&loaded, compiled, &err) < 0)
		fail_msg("%s", err.message);
	for (unsigned int i = 0; i < FILTERS; i++) {
		assert_int_equal(loaded.programs[i].n, built_in.programs[i].n);
		assert_memory_equal(loaded.programs[i].insns, built_in.programs[i].insns,
				    loaded.programs[i].n * sizeof(struct sock_filter));
	}
	sandbox_release(&loaded);
}

static void a_filter_of_a_file_is_installed(void **state)
{
	/* Everything is allowed to the vmm thread, nothing but the end and writing to the others. */
	static const struct sock_filter all[] = { { BPF_RET | BPF_K, 0, 0, 0x7fff0000 } };
	static const struct sock_filter none[] = { { BPF_RET | BPF_K, 0, 0, 0x00030000 } };
	static const struct attempt brk = { THREAD_VMM, SYS_brk, { 0 } };
	struct {
		struct filter_file_header header;
		struct {
			char thread[8];
			uint32_t n_insns, reserved;
			struct sock_filter insns[1];
		} sections[FILTERS];
	} file = { .header = { .n_sections = FILTERS },
		   .sections = { { .thread = "vmm", .n_insns = 1, .insns = { all[0] } },
				 { .thread = "vcpu", .n_insns = 1, .insns = { none[0] } },
				 { .thread = "io", .n_insns = 1, .insns = { none[0] } },
				 { .thread = "vmm-api", .n_insns = 1, .insns = { none[0] } } } };
	struct attempt unshare = { THREAD_VMM, SYS_unshare, { 0 } };
	struct sandbox sandbox;
	struct error err = { 0 };
	uint8_t first[sizeof(file.header)];
	char line[SANDBOX_LINE_MAX];

	(void)state;
	read_compiled(first, sizeof(first));
	memcpy(&file.header, first, sizeof(first));
	write_file(path, &file, sizeof(file));
	assert_int_equal(sandbox_load(&sandbox, path, &err), 0);
	assert_int_equal(try_call(&sandbox, &brk, line), 0);
	assert_int_equal(try_call(&sandbox, &unshare, line), 0);
	/* The handler may not even write or end: the kernel kills. */
	unshare.filter = THREAD_IO;
	assert_int_equal(try_call(&sandbox, &unshare, line), 1000 + SIGSYS);
	unshare.filter = FILTER_VMM_API;
	assert_int_equal(try_call(&sandbox, &unshare, line), 1000 + SIGSYS);
	sandbox_release(&sandbox);
	unlink(path);
}

static void bad_files_are_refused_with_one_line(void **state)
{
	static const struct {
		size_t at;	  /* byte to change, */
		uint8_t value;	  /* to this; */
		int length;	  /* cut to so many bytes, or if negative, so many more */
		const char *message;
	} bad[] = {
		{ 0, 'X', 0, "not made by mote-seccomp-compile --binary" },
		{ 7, '2', 0, "not made by mote-seccomp-compile --binary" },
		{ 0, 'M', 15, "not made by mote-seccomp-compile --binary" },
		{ 12, 5, 0, "5 filters instead of 4" },
		{ 12, 3, 0, "3 filters instead of 4" },
		{ 16, 'w', 0, "the filter of \"vmm\" isn't where it should be" },
		{ 23, 'w', 0, "the filter of \"vmm\" isn't where it should be" },
		{ 0, 'M', 16, "the filter of \"vmm\" isn't where it should be" },
		{ 0, 'M', 31, "the filter of \"vmm\" isn't where it should be" },
		{ 0, 'M', -1, "1 bytes too many" },
		{ 0, 'M', -8, "8 bytes too many" },
	};
	uint8_t bytes[32768] = { 0 };
	size_t size = read_compiled(bytes, sizeof(bytes) - 64);

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct sandbox sandbox;
		struct error err = { 0 };
		uint8_t before = bytes[bad[i].at];
		size_t length = bad[i].length > 0 ? (size_t)bad[i].length
						  : size + (size_t)-bad[i].length;
		char want[256];

		bytes[bad[i].at] = bad[i].value;
		write_file(path, bytes, length);
		bytes[bad[i].at] = before;
		snprintf(want, sizeof(want), "seccomp filter \"%s\": %s", path, bad[i].message);
		assert_int_equal(sandbox_load(&sandbox, path, &err), -EINVAL);
		assert_string_equal(err.message, want);
		assert_null(sandbox.loaded);
	}
	unlink(path);
}

static void every_cut_is_refused(void **state)
{
	uint8_t bytes[32768];
	size_t size = read_compiled(bytes, sizeof(bytes));

	(void)state;
	for (size_t length = 1; length < size; length += length < 64 ? 1 : 37) {
		struct sandbox sandbox;
		struct error err = { 0 };

		write_file(path, bytes, length);
		assert_int_equal(sandbox_load(&sandbox, path, &err), -EINVAL);
	}
	unlink(path);
}

static void what_the_file_says_of_lengths_is_checked(void **state)
{
	static const uint32_t counts[] = { 0, 1025, 0x20000000, 0xffffffff };
	uint8_t bytes[32768];
	size_t size = read_compiled(bytes, sizeof(bytes));
	uint32_t reserved = 1;

	(void)state;
	for (unsigned int i = 0; i <= ARRAY_SIZE(counts); i++) {
		uint8_t changed[sizeof(bytes)];
		struct sandbox sandbox;
		struct error err = { 0 };

		memcpy(changed, bytes, size);
		if (i < ARRAY_SIZE(counts))
			memcpy(changed + 24, &counts[i], 4);
		else
			memcpy(changed + 28, &reserved, 4);
		write_file(path, changed, size);
		assert_int_equal(sandbox_load(&sandbox, path, &err), -EINVAL);
		assert_non_null(strstr(err.message, "the filter of \"vmm\" has "));
	}
	unlink(path);
}

static void what_is_no_file_is_refused(void **state)
{
	static const struct {
		const char *path, *message;
	} bad[] = {
		{ "/no/such", "seccomp filter \"/no/such\": open: No such file or directory" },
		{ "/dev/null",
		  "seccomp filter \"/dev/null\": not a regular file of 1 to 32848 bytes" },
		{ "/", "seccomp filter \"/\": not a regular file of 1 to 32848 bytes" },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct sandbox sandbox;
		struct error err = { 0 };

		assert_true(sandbox_load(&sandbox, bad[i].path, &err) < 0);
		assert_string_equal(err.message, bad[i].message);
	}
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_has_the_filters_that_are_built_in),
		cmocka_unit_test(a_filter_of_a_file_is_installed),
		cmocka_unit_test(bad_files_are_refused_with_one_line),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(what_the_file_says_of_lengths_is_checked),
		cmocka_unit_test(what_is_no_file_is_refused),
	};

	if (argc != 2)
		return 2;
	compiled = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
