/* SPDX-License-Identifier: Apache-2.0 */
/* When an ELF kernel is mapped from its file, and when it's copied. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "elf_file.h"
#include "vmm/boot/kernel.h"
#include "vmm/util.h"

#define RAM (32 * MIB)

static struct guest_memory memory;

static int setup(void **state)
{
	(void)state;
	return guest_memory_add(&memory, 0, RAM, MEMORY_BACKING_NONE, false, NULL);
}

static int teardown(void **state)
{
	(void)state;
	guest_memory_release(&memory);
	return 0;
}

/* What is mapped at a guest's address, as /proc/self/maps names it: "" for memory of no file. */
static void mapping_at(uint64_t gpa, char name[static 256])
{
	uintptr_t at = (uintptr_t)guest_memory_at(&memory, gpa, 1);
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	bool found = false;

	assert_non_null(maps);
	while (!found && fgets(line, sizeof(line), maps)) {
		uintptr_t first, end;

		name[0] = 0;
		assert_true(sscanf(line, "%lx-%lx %*s %*s %*s %*s %255[^\n]", &first, &end, name) >= 2);
		found = at >= first && at < end;
	}
	fclose(maps);
	assert_true(found);
}

/* Memory of 4 KiB pages, whatever the host's settings. */
static void use_small_pages(void)
{
	void *ram = guest_memory_at(&memory, 0, RAM);

	assert_int_equal(madvise(ram, RAM, MADV_NOHUGEPAGE), 0);
	assert_true(guest_memory_has_small_pages(&memory, 0));
}

static int file_of(const struct elf_file *f, mode_t mode)
{
	char path[] = "/tmp/mote-kernel-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(write(fd, f, sizeof(*f)), sizeof(*f));
	return fd;
}

/* A page and a half of text: the page is the file's, the rest a copy, and what's behind it zeros. */
static void kernel_of_a_safe_file_is_mapped(void **state)
{
	struct elf_file f = good_elf();
	struct kernel_image image;
	const uint8_t changed = 0xf4, zeros[0x800] = { 0 };
	char name[256];
	uint8_t in_file;

	(void)state;
	f.text.p_filesz = 0x1800;
	cleanup_close int fd = file_of(&f, 0644);

	use_small_pages();
	assert_int_equal(kernel_load(&memory, fd, "K", &image, NULL), 0);
	assert_memory_equal(guest_memory_at(&memory, TEXT_GPA, 0x1800), f.code, 0x1800);
	assert_memory_equal(guest_memory_at(&memory, TEXT_GPA + 0x1800, 0x800), zeros, 0x800);
	mapping_at(TEXT_GPA, name);
	assert_non_null(strstr(name, "/tmp/mote-kernel-"));
	mapping_at(TEXT_GPA + 0x1000, name);
	assert_string_equal(name, "");

	/* The guest's own is what the guest writes to. */
	assert_true(guest_memory_write(&memory, TEXT_GPA + 1, &changed, 1));
	assert_int_equal(pread(fd, &in_file, 1, TEXT_AT + 1), 1);
	assert_int_equal(in_file, 0x90);
}

static void kernel_that_others_may_write_to_is_copied(void **state)
{
	const mode_t modes[] = { 0664, 0646 };
	struct elf_file f = good_elf();
	struct kernel_image image;
	char name[256];

	(void)state;
	use_small_pages();
	for (unsigned int i = 0; i < ARRAY_SIZE(modes); i++) {
		cleanup_close int fd = file_of(&f, modes[i]);

		assert_int_equal(kernel_load(&memory, fd, "K", &image, NULL), 0);
		assert_memory_equal(guest_memory_at(&memory, TEXT_GPA, sizeof(f.code)), f.code,
				    sizeof(f.code));
		mapping_at(TEXT_GPA, name);
		assert_string_equal(name, "");
	}
}

/* A memfd's mode is 0777: only its seals say that nobody writes to it. */
static void kernel_in_a_memfd_is_mapped_if_it_is_sealed(void **state)
{
	struct elf_file f = good_elf();
	struct kernel_image image;
	char name[256];

	(void)state;
	cleanup_close int fd = memfd_create("kernel", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(write(fd, &f, sizeof(f)), sizeof(f));
	use_small_pages();
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW), 0);
	assert_int_equal(kernel_load(&memory, fd, "K", &image, NULL), 0);
	mapping_at(TEXT_GPA, name);
	assert_string_equal(name, "");
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(kernel_load(&memory, fd, "K", &image, NULL), 0);
	mapping_at(TEXT_GPA, name);
	assert_string_equal(name, "/memfd:kernel (deleted)");
}

/* At an offset that isn't a page's nothing can be mapped. */
static void kernel_that_is_not_aligned_is_copied(void **state)
{
	struct elf_file f = good_elf();
	struct kernel_image image;
	char name[256];

	(void)state;
	f.text.p_offset += 8;
	f.text.p_filesz -= 8;
	cleanup_close int fd = file_of(&f, 0644);

	use_small_pages();
	assert_int_equal(kernel_load(&memory, fd, "K", &image, NULL), 0);
	assert_memory_equal(guest_memory_at(&memory, TEXT_GPA, sizeof(f.code) - 8), f.code + 8,
			    sizeof(f.code) - 8);
	mapping_at(TEXT_GPA, name);
	assert_string_equal(name, "");
}

/* Where the host has huge pages (not where it's told not to), the kernel lies in them. */
static void kernel_in_huge_pages_is_copied(void **state)
{
	struct elf_file f = good_elf();
	struct kernel_image image;
	char name[256];

	(void)state;
	cleanup_close int fd = file_of(&f, 0644);

	madvise(guest_memory_at(&memory, 0, RAM), RAM, MADV_HUGEPAGE);
	if (guest_memory_has_small_pages(&memory, 0))
		skip();
	assert_int_equal(kernel_load(&memory, fd, "K", &image, NULL), 0);
	assert_memory_equal(guest_memory_at(&memory, TEXT_GPA, sizeof(f.code)), f.code, sizeof(f.code));
	mapping_at(TEXT_GPA, name);
	assert_string_equal(name, "");
}

static void only_whole_pages_of_ram_are_mapped(void **state)
{
	struct elf_file f = good_elf();
	struct error err = { 0 };

	(void)state;
	cleanup_close int fd = file_of(&f, 0644);

	assert_int_equal(guest_memory_map(&memory, RAM - 0x1000, 0x2000, fd, 0, &err), -EINVAL);
	assert_string_equal(err.message, "guest memory: can't map 0x2000 bytes at 0x1fff000");
	assert_int_equal(guest_memory_map(&memory, 0x1800, 0x1000, fd, 0, &err), -EINVAL);
	assert_int_equal(guest_memory_map(&memory, 0x1000, 0x1001, fd, 0, &err), -EINVAL);
	assert_int_equal(guest_memory_map(&memory, 0x1000, 0x1000, fd, 0x10, &err), -EINVAL);
	assert_int_equal(guest_memory_map(&memory, 0x1000, 0x1000, fd, 0x2000, &err), 0);
	assert_memory_equal(guest_memory_at(&memory, 0x1000, 0x1000), f.code, 0x1000);
}

#define WITH_MEMORY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_MEMORY(kernel_of_a_safe_file_is_mapped),
		WITH_MEMORY(kernel_that_others_may_write_to_is_copied),
		WITH_MEMORY(kernel_in_a_memfd_is_mapped_if_it_is_sealed),
		WITH_MEMORY(kernel_that_is_not_aligned_is_copied),
		WITH_MEMORY(kernel_in_huge_pages_is_copied),
		WITH_MEMORY(only_whole_pages_of_ram_are_mapped),
	};

	return cmocka_run_group_tests_name("kernel_map", tests, NULL, NULL);
}
