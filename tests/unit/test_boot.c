/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel loaders, command line and boot parameters, on files made here. */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "elf_file.h"
#include "vmm/boot/cmdline.h"
#include "vmm/boot/kernel.h"
#include "vmm/boot/platform.h"
#include "vmm/util.h"

#define RAM (32 * MIB)

static struct guest_memory memory;

static int load(const void *bytes, size_t size, struct kernel_image *image, struct error *err)
{
	cleanup_close int fd = memfd_create("kernel", MFD_CLOEXEC);

	assert_int_equal(write(fd, bytes, size), size);
	return kernel_load(&memory, fd, "K", image, err);
}

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

static void elf_with_the_note_boots_by_pvh(void **state)
{
	struct elf_file f = good_elf();
	struct kernel_image image;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(load(&f, sizeof(f), &image, &err), 0);
	assert_int_equal(image.protocol, BOOT_PVH);
	assert_int_equal(image.entry, PVH_ENTRY);
	assert_int_equal(image.end, TEXT_GPA + sizeof(f.code) + 0x5000);
	assert_memory_equal(guest_memory_at(&memory, TEXT_GPA, sizeof(f.code)), f.code, sizeof(f.code));
}

static void elf_without_the_note_boots_by_the_64_bit_protocol(void **state)
{
	struct elf_file f = good_elf();
	struct kernel_image image;
	struct error err = { 0 };

	(void)state;
	f.notes.name[0] = 'Y';
	assert_int_equal(load(&f, sizeof(f), &image, &err), 0);
	assert_int_equal(image.protocol, BOOT_LINUX_64);
	assert_int_equal(image.entry, ELF_ENTRY);
}

struct elf_case {
	const char *message; /* all of it, behind `kernel "K": ` */
	void (*spoil)(struct elf_file *f);
};

static void not_64_bit(struct elf_file *f) { f->ehdr.e_ident[EI_CLASS] = ELFCLASS32; }
static void wrong_machine(struct elf_file *f) { f->ehdr.e_machine = EM_AARCH64; }
static void relocatable(struct elf_file *f) { f->ehdr.e_type = ET_REL; }
static void odd_phentsize(struct elf_file *f) { f->ehdr.e_phentsize = 55; }
static void no_phdrs(struct elf_file *f) { f->ehdr.e_phnum = 0; }
static void many_phdrs(struct elf_file *f) { f->ehdr.e_phnum = 65; }
static void phoff_outside(struct elf_file *f) { f->ehdr.e_phoff = UINT64_MAX - 8; }
static void filesz_over_memsz(struct elf_file *f) { f->text.p_memsz = 1; }
static void offset_outside(struct elf_file *f) { f->text.p_offset = UINT64_MAX - 4; }
static void file_ends(struct elf_file *f) { f->text.p_filesz = ELF_SIZE; f->text.p_memsz = ELF_SIZE; }
static void too_low(struct elf_file *f) { f->text.p_paddr = 0xff000; }
static void behind_ram(struct elf_file *f) { f->text.p_paddr = RAM - 0x1000; }
static void wraps(struct elf_file *f) { f->text.p_paddr = UINT64_MAX - 0xfff; }
static void nothing_to_load(struct elf_file *f) { f->text.p_type = PT_NULL; f->ehdr.e_phnum = 1; }
static void entry_outside(struct elf_file *f) { f->notes.entry = 0x100; }
static void odd_note(struct elf_file *f) { f->notes.header.n_descsz = 6; }
static void huge_note(struct elf_file *f) { f->note.p_filesz = 1 << 20; f->note.p_offset = 0; }
static void note_outside(struct elf_file *f) { f->note.p_offset = UINT64_MAX; }
static void overlap(struct elf_file *f)
{
	f->note = f->text;
	f->note.p_paddr += 0x6fff;
	f->note.p_filesz = f->note.p_memsz = 16;
}

static void bad_elfs_are_refused_with_the_cause(void **state)
{
	const struct elf_case cases[] = {
		{ "ELF: not 64-bit little-endian", not_64_bit },
		{ "ELF: for machine 183, not x86_64", wrong_machine },
		{ "ELF: type 1 is not an executable", relocatable },
		{ "ELF: program headers of 55 bytes", odd_phentsize },
		{ "ELF: 0 program headers, need 1 to 64", no_phdrs },
		{ "ELF: 65 program headers, need 1 to 64", many_phdrs },
		{ "ELF: program headers leave the file (truncated?)", phoff_outside },
		{ "ELF: segment 0 is larger in the file than in memory", filesz_over_memsz },
		{ "ELF: segment 0 leaves the file (truncated?)", offset_outside },
		{ "ELF: segment 0 leaves the file (truncated?)", file_ends },
		{ "ELF: segment 0 at 0xff000 is below 1 MiB", too_low },
		{ "ELF: segment 0 at 0x1fff000+0x7000 leaves guest memory of 32 MiB", behind_ram },
		{ "ELF: segment 0 at 0xfffffffffffff000+0x7000 leaves guest memory of 32 MiB", wraps },
		{ "ELF: nothing to load", nothing_to_load },
		{ "ELF: entry 0x100 is in no segment", entry_outside },
		{ "ELF: PVH note of 6 bytes", odd_note },
		{ "ELF: notes leave the file", huge_note },
		{ "ELF: notes leave the file", note_outside },
		{ "ELF: segments 0 and 1 overlap", overlap },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct elf_file f = good_elf();
		struct kernel_image image;
		struct error err = { 0 };
		char expected[256];

		cases[i].spoil(&f);
		snprintf(expected, sizeof(expected), "kernel \"K\": %s", cases[i].message);
		assert_true(load(&f, sizeof(f), &image, &err) < 0);
		assert_string_equal(err.message, expected);
	}
}

static void a_file_cut_anywhere_is_refused(void **state)
{
	struct elf_file f = good_elf();

	(void)state;
	for (size_t size = 0; size < sizeof(f); size = size < 300 ? size + 1 : size + 997) {
		struct kernel_image image;
		struct error err = { 0 };

		assert_true(load(&f, size, &image, &err) < 0);
		assert_memory_equal(err.message, "kernel \"K\": ", 12);
	}
}

static void what_is_no_kernel_is_refused(void **state)
{
	struct kernel_image image;
	struct error err = { 0 };
	const char script[] = "#!/bin/sh\nexit 0\n";

	(void)state;
	assert_int_equal(load(script, sizeof(script), &image, &err), -ENOEXEC);
	assert_string_equal(err.message, "kernel \"K\": neither an ELF executable nor a bzImage");
	assert_int_equal(load("", 0, &image, &err), -ENOEXEC);
	assert_string_equal(err.message, "kernel \"K\": file is empty");
}

/* Setup of 2 sectors, then a protected-mode part of 0x3000 bytes. */
struct bz_file {
	uint8_t boot[0x1f1];
	struct setup_header header;
	uint8_t pad[3 * 512 - 0x1f1 - sizeof(struct setup_header)];
	uint8_t kernel[0x3000];
};

static struct bz_file good_bzimage(void)
{
	struct bz_file f = { 0 };

	f.header.setup_sects = 2;
	f.header.boot_flag = 0xaa55;
	f.header.header = 0x53726448;
	f.header.version = 0x020f;
	/* jump is `eb xx`: xx says where the header ends, counted from 0x202. */
	f.header.jump = (uint16_t)((0x1f1 + sizeof(struct setup_header) - 0x202) << 8 | 0xeb);
	f.header.loadflags = LOADED_HIGH;
	f.header.xloadflags = 1;
	f.header.relocatable_kernel = 1;
	f.header.pref_address = TEXT_GPA;
	f.header.init_size = 0x8000;
	f.header.initrd_addr_max = 0x7fffffff;
	f.header.cmdline_size = 2047;
	f.header.syssize = sizeof(f.kernel) / 16;
	memset(f.kernel, 0x66, sizeof(f.kernel));
	return f;
}

static void bzimage_loads_at_its_preferred_address(void **state)
{
	struct bz_file f = good_bzimage();
	struct kernel_image image;
	struct error err = { 0 };
	struct setup_header copied;

	(void)state;
	assert_int_equal(load(&f, sizeof(f), &image, &err), 0);
	assert_int_equal(image.protocol, BOOT_LINUX_64);
	assert_int_equal(image.entry, TEXT_GPA + 0x200);
	assert_int_equal(image.end, TEXT_GPA + 0x8000);
	assert_int_equal(image.initrd_max, 0x7fffffff);
	assert_memory_equal(guest_memory_at(&memory, TEXT_GPA, 0x3000), f.kernel, 0x3000);
	memcpy(&copied, image.setup_header, sizeof(copied));
	assert_memory_equal(&copied, &f.header, sizeof(copied));
}

static void bad_bzimages_are_refused_with_the_cause(void **state)
{
	struct bz_file f = good_bzimage();
	struct kernel_image image;
	struct error err = { 0 };

	(void)state;
	f.header.version = 0x0206;
	assert_true(load(&f, sizeof(f), &image, &err) < 0);
	assert_string_equal(err.message,
			    "kernel \"K\": bzImage: boot protocol 2.06, need 2.12 or later");
	f = good_bzimage();
	f.header.xloadflags = 0;
	assert_true(load(&f, sizeof(f), &image, &err) < 0);
	assert_string_equal(err.message, "kernel \"K\": bzImage: no 64-bit entry point");
	f = good_bzimage();
	assert_true(load(&f, sizeof(f) - 0x1000, &image, &err) < 0);
	assert_string_equal(err.message, "kernel \"K\": bzImage: truncated: 8192 of 12288 bytes");
	f = good_bzimage();
	f.header.init_size = 64 * MIB;
	assert_true(load(&f, sizeof(f), &image, &err) < 0);
	assert_string_equal(err.message, "kernel \"K\": bzImage: needs 64 MiB at 0x1000000, "
					 "guest memory has 32 MiB");
	f = good_bzimage();
	f.header.setup_sects = 255;
	assert_true(load(&f, sizeof(f), &image, &err) < 0);
	assert_string_equal(err.message,
			    "kernel \"K\": bzImage: file ends within its setup code (truncated?)");
	f = good_bzimage();
	f.header.boot_flag = 0;
	assert_true(load(&f, sizeof(f), &image, &err) < 0);
	assert_string_equal(err.message, "kernel \"K\": bzImage: boot flag is 0x0, not 0xaa55");
}

static int load_initrd(size_t size, const struct kernel_image *image, struct initrd *initrd,
		       struct error *err)
{
	cleanup_close int fd = memfd_create("initrd", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, "070701", 6, 0), 6);
	*initrd = (struct initrd){ 0 };
	return initrd_load(&memory, fd, "I", image, initrd, err);
}

static void initrd_lies_at_the_top_and_never_on_the_kernel(void **state)
{
	struct kernel_image image = { .end = 18 * MIB + 5, .initrd_max = UINT32_MAX };
	struct initrd initrd;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(load_initrd(5000, &image, &initrd, &err), 0);
	assert_int_equal(initrd.gpa, RAM - 8192);
	assert_int_equal(initrd.size, 5000);
	assert_memory_equal(guest_memory_at(&memory, initrd.gpa, 6), "070701", 6);

	image.initrd_max = 20 * MIB - 1;
	assert_int_equal(load_initrd(4096, &image, &initrd, &err), 0);
	assert_int_equal(initrd.gpa, 20 * MIB - 4096);

	assert_int_equal(load_initrd(2 * MIB - 4096, &image, &initrd, &err), 0);
	assert_int_equal(initrd.gpa, 18 * MIB + 4096);
	assert_int_equal(load_initrd(2 * MIB - 4095, &image, &initrd, &err), -ENOMEM);
	assert_string_equal(err.message, "initrd \"I\": 2044 KiB don't fit between the kernel and "
					 "0x1400000");
}

static void pvh_start_info_points_to_everything(void **state)
{
	struct kernel_image image = { .protocol = BOOT_PVH, .cmdline_max = 2047 };
	struct initrd initrd = { .gpa = 16 * MIB, .size = 12345 };
	uint64_t info, module[4], entry[3];
	uint32_t head[4];
	uint64_t tail[4];
	uint32_t count;

	(void)state;
	assert_int_equal(boot_params_write(&memory, &image, &initrd, "quiet x=y", LAYOUT_RSDP, &info,
					   NULL),
			 0);
	assert_true(guest_memory_read(&memory, info, head, sizeof(head)));
	assert_true(guest_memory_read(&memory, info + 16, tail, sizeof(tail)));
	assert_true(guest_memory_read(&memory, info + 48, &count, sizeof(count)));
	assert_int_equal(head[0], 0x336ec578);
	assert_int_equal(head[1], 1);
	assert_int_equal(head[3], 1);
	assert_true(guest_memory_read(&memory, tail[0], module, sizeof(module)));
	assert_int_equal(module[0], initrd.gpa);
	assert_int_equal(module[1], initrd.size);
	assert_string_equal(guest_memory_at(&memory, tail[1], 10), "quiet x=y");
	assert_int_equal(tail[2], LAYOUT_RSDP);
	assert_int_equal(count, 3);
	assert_true(guest_memory_read(&memory, tail[3] + 24, entry, sizeof(entry)));
	assert_int_equal(entry[0], LAYOUT_EBDA);
	assert_int_equal(entry[1], LAYOUT_HIMEM - LAYOUT_EBDA);
	assert_int_equal(entry[2], 2);
	assert_true(guest_memory_read(&memory, tail[3] + 48, entry, sizeof(entry)));
	assert_int_equal(entry[0], LAYOUT_HIMEM);
	assert_int_equal(entry[1], RAM - LAYOUT_HIMEM);
	assert_int_equal(entry[2], 1);
}

static void zero_page_has_the_map_with_memory_above_4_gib(void **state)
{
	struct kernel_image image = { .protocol = BOOT_LINUX_64, .cmdline_max = 100 };
	struct initrd none = { 0 };
	struct boot_params *params;
	struct error err = { 0 };
	uint64_t info;

	(void)state;
	assert_int_equal(guest_memory_add(&memory, 4 * GIB, 16 * MIB, MEMORY_BACKING_NONE, false, &err), 0);
	assert_int_equal(boot_params_write(&memory, &image, &none, "a", 0, &info, &err), 0);
	assert_int_equal(info, LAYOUT_ZERO_PAGE);
	params = guest_memory_at(&memory, info, sizeof(*params));
	assert_int_equal(params->hdr.header, 0x53726448);
	assert_int_equal(params->hdr.type_of_loader, 0xff);
	assert_int_equal(params->hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	assert_int_equal(params->hdr.ramdisk_size, 0);
	assert_int_equal(params->acpi_rsdp_addr, 0);
	assert_int_equal(params->e820_entries, 4);
	assert_int_equal(params->e820_table[3].addr, 4 * GIB);
	assert_int_equal(params->e820_table[3].size, 16 * MIB);
	assert_int_equal(params->e820_table[3].type, 1);
}

static void a_command_line_that_the_kernel_would_cut_is_refused(void **state)
{
	struct kernel_image image = { .protocol = BOOT_PVH, .cmdline_max = 4 };
	struct initrd none = { 0 };
	struct error err = { 0 };
	uint64_t info;

	(void)state;
	assert_int_equal(boot_params_write(&memory, &image, &none, "abcd", 0, &info, &err), 0);
	assert_int_equal(boot_params_write(&memory, &image, &none, "abcde", 0, &info, &err), -E2BIG);
	assert_string_equal(err.message, "command line of 5 bytes, the kernel takes 4");
}

static void cmdline_puts_ours_before_inits_arguments(void **state)
{
	const struct platform_virtio slots[] = { { 0xc0001000, 5 }, { 0xc0002000, 6 } };
	const struct platform_info info = { .n_virtio = 2, .virtio = slots };
	static struct config config;
	char out[CONFIG_CMDLINE_MAX];
	char args[] = "quiet console=ttyS0 -- single -- x", partuuid[] = "0eaa91a0-01";
	struct error err = { 0 };

	(void)state;
	memset(&config, 0, sizeof(config));
	config.boot_source.boot_args = args;
	config.n_drives = 1;
	config.drives[0].is_root_device = true;
	assert_int_equal(cmdline_build(&config, &info, out, &err), 0);
	assert_string_equal(out, "quiet console=ttyS0 root=/dev/vda rw -- single -- x");

	config.machine.platform = CONFIG_PLATFORM_MPTABLE;
	config.drives[0].is_read_only = true;
	config.drives[0].partuuid = partuuid;
	assert_int_equal(cmdline_build(&config, &info, out, &err), 0);
	assert_string_equal(out, "quiet console=ttyS0 root=PARTUUID=0eaa91a0-01 ro "
				 "virtio_mmio.device=4K@0xc0001000:5 virtio_mmio.device=4K@0xc0002000:6"
				 " -- single -- x");
}

static void cmdline_that_grows_too_long_is_refused(void **state)
{
	const struct platform_info info = { 0 };
	static struct config config;
	static char args[CONFIG_CMDLINE_MAX];
	char out[CONFIG_CMDLINE_MAX];
	struct error err = { 0 };

	(void)state;
	memset(args, 'a', sizeof(args) - 1);
	config.boot_source.boot_args = args;
	assert_int_equal(cmdline_build(&config, &info, out, &err), 0);
	config.n_drives = 1;
	config.drives[0].is_root_device = true;
	assert_int_equal(cmdline_build(&config, &info, out, &err), -E2BIG);
	assert_string_equal(err.message, "boot-source: boot_args: with what the monitor adds the command "
					 "line is 2064 bytes, at most 2047 are possible");
}

#define WITH_MEMORY(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_MEMORY(elf_with_the_note_boots_by_pvh),
		WITH_MEMORY(elf_without_the_note_boots_by_the_64_bit_protocol),
		WITH_MEMORY(bad_elfs_are_refused_with_the_cause),
		WITH_MEMORY(a_file_cut_anywhere_is_refused),
		WITH_MEMORY(what_is_no_kernel_is_refused),
		WITH_MEMORY(bzimage_loads_at_its_preferred_address),
		WITH_MEMORY(bad_bzimages_are_refused_with_the_cause),
		WITH_MEMORY(initrd_lies_at_the_top_and_never_on_the_kernel),
		WITH_MEMORY(pvh_start_info_points_to_everything),
		WITH_MEMORY(zero_page_has_the_map_with_memory_above_4_gib),
		WITH_MEMORY(a_command_line_that_the_kernel_would_cut_is_refused),
		cmocka_unit_test(cmdline_puts_ours_before_inits_arguments),
		cmocka_unit_test(cmdline_that_grows_too_long_is_refused),
	};

	return cmocka_run_group_tests_name("boot", tests, NULL, NULL);
}
