/* SPDX-License-Identifier: Apache-2.0 */
/* Whether what comes with mote is there, and is what it should be. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "tools/mote/doctor.h"
#include "tools/mote/mote.h"
#include "vmm/boot/kernel.h"
#include "vmm/util.h"

/* Load it as the monitor would. */
static void check_kernel(struct report *r)
{
	struct error err = { 0 };
	struct guest_memory memory = { 0 };
	struct kernel_image image;
	cleanup_free char *path = mote_find("vmlinux-x86_64", &err);
	cleanup_close int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (!path) {
		report_add(r, BAD, "guest kernel", "%s", err.message);
		return;
	}
	if (fd < 0) {
		report_add(r, BAD, "guest kernel", "open \"%s\": %s", path, strerrordesc_np(errno));
		return;
	}
	if (guest_memory_add(&memory, 0, 128 * MIB, MEMORY_BACKING_NONE, false, &err) < 0 ||
	    kernel_load(&memory, fd, path, &image, &err) < 0)
		report_add(r, BAD, "guest kernel", "%s", err.message);
	else
		report_add(r, GOOD, "guest kernel", "\"%s\" loads, boots by %s", path,
			   image.protocol == BOOT_PVH ? "PVH" : "the 64-bit protocol");
	guest_memory_release(&memory);
}

static bool is_elf_program(const Elf64_Ehdr *header)
{
	return memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 && header->e_phentsize == sizeof(Elf64_Phdr);
}

/* A program that needs no other file to start: no segment that names an interpreter. */
static bool is_static(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (fd < 0 || pread(fd, &header, sizeof(header), 0) != sizeof(header) || !is_elf_program(&header))
		return false;
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		off_t at = (off_t)(header.e_phoff + i * sizeof(segment));

		if (pread(fd, &segment, sizeof(segment), at) != sizeof(segment) ||
		    segment.p_type == PT_INTERP)
			return false;
	}
	return true;
}

/* missing: the verdict where it isn't there; dynamic: why it had better be static, NULL = no matter. */
static void check_part(struct report *r, const char *name, enum verdict missing, const char *dynamic)
{
	struct error err = { 0 };
	cleanup_free char *path = mote_find(name, &err);

	if (!path)
		report_add(r, missing, name, "%s", err.message);
	else if (dynamic && !is_static(path))
		report_add(r, WARN, name, "\"%s\" is not a static program: %s", path, dynamic);
	else
		report_add(r, GOOD, name, "\"%s\"%s", path, dynamic ? ", static" : "");
}

void doctor_check_parts(struct report *report)
{
	report->group = "mote";
	check_kernel(report);
	check_part(report, "mote-vmm", BAD, "a jail has no libraries, so it can't run in one");
	check_part(report, "mote-jailer", WARN, "each jail waits a millisecond for its libraries");
	check_part(report, "mote-initrd.cpio", BAD, NULL);
	check_part(report, "mote-root.erofs", BAD, NULL);
}
