/* SPDX-License-Identifier: Apache-2.0 */
/* ELF kernels: segments, and the PVH entry note (Xen public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY). */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/boot/kernel.h"
#include "vmm/boot/platform.h"
#include "vmm/util.h"

#define ELF_SEGMENTS_MAX         64
#define ELF_NOTES_MAX            (64 * KIB)
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define OVERFLOW_UID             65534
#define LINUX_CMDLINE_MAX        2047 /* COMMAND_LINE_SIZE of x86 Linux, without the NUL */

static int check_header(const Elf64_Ehdr *ehdr, struct error *err)
{
	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB)
		return error_set(err, ENOEXEC, "ELF: not 64-bit little-endian");
	if (ehdr->e_machine != EM_X86_64)
		return error_set(err, ENOEXEC, "ELF: for machine %u, not x86_64", ehdr->e_machine);
	if (ehdr->e_type != ET_EXEC && ehdr->e_type != ET_DYN)
		return error_set(err, ENOEXEC, "ELF: type %u is not an executable", ehdr->e_type);
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr))
		return error_set(err, ENOEXEC, "ELF: program headers of %u bytes", ehdr->e_phentsize);
	if (ehdr->e_phnum == 0 || ehdr->e_phnum > ELF_SEGMENTS_MAX)
		return error_set(err, ENOEXEC, "ELF: %u program headers, need 1 to %d", ehdr->e_phnum,
				 ELF_SEGMENTS_MAX);
	return 0;
}

static bool overlaps(const Elf64_Phdr *a, const Elf64_Phdr *b)
{
	return a->p_paddr < b->p_paddr + b->p_memsz && b->p_paddr < a->p_paddr + a->p_memsz;
}

/* Everything about a PT_LOAD that could hurt, before anything is copied. */
static int check_segment(const struct guest_memory *memory, const Elf64_Phdr *segments,
			 unsigned int n, uint64_t file_size, struct error *err)
{
	const Elf64_Phdr *s = &segments[n];

	if (s->p_filesz > s->p_memsz)
		return error_set(err, ENOEXEC, "ELF: segment %u is larger in the file than in memory", n);
	if (s->p_offset > file_size || s->p_filesz > file_size - s->p_offset)
		return error_set(err, ENOEXEC, "ELF: segment %u leaves the file (truncated?)", n);
	if (s->p_paddr < LAYOUT_HIMEM)
		return error_set(err, ENOEXEC, "ELF: segment %u at 0x%" PRIx64 " is below 1 MiB", n,
				 s->p_paddr);
	if (!guest_memory_at(memory, s->p_paddr, s->p_memsz))
		return error_set(err, ENOMEM,
				 "ELF: segment %u at 0x%" PRIx64 "+0x%" PRIx64
				 " leaves guest memory of %" PRIu64 " MiB",
				 n, s->p_paddr, s->p_memsz, guest_memory_size(memory) / MIB);
	for (unsigned int i = 0; i < n; i++)
		if (segments[i].p_type == PT_LOAD && segments[i].p_memsz > 0 &&
		    overlaps(&segments[i], s))
			return error_set(err, ENOEXEC, "ELF: segments %u and %u overlap", i, n);
	return 0;
}

/* Find the PVH entry in one PT_NOTE segment. Returns 0 with *entry set if it's there. */
static int scan_notes(int fd, const Elf64_Phdr *note, uint64_t file_size, uint64_t *entry,
		      struct error *err)
{
	cleanup_free uint8_t *notes = NULL;
	uint64_t at = 0, size = note->p_filesz;

	if (note->p_offset > file_size || size > file_size - note->p_offset)
		return error_set(err, ENOEXEC, "ELF: notes leave the file");
	if (size > ELF_NOTES_MAX)
		return error_set(err, ENOEXEC, "ELF: %" PRIu64 " bytes of notes", size);
	notes = malloc(size + 1);
	if (!notes)
		return error_sys(err, ENOMEM, "ELF: notes");
	int rc = read_exactly(fd, notes, size, note->p_offset, err);

	if (rc < 0)
		return rc;
	while (size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr header;

		memcpy(&header, notes + at, sizeof(header));
		uint64_t name = at + sizeof(header);
		uint64_t desc = name + align_up(header.n_namesz, 4);
		uint64_t next = desc + align_up(header.n_descsz, 4);

		/* A note that runs over the end ends the list; 32-bit sizes can't overflow 64 bits. */
		if (desc + header.n_descsz > size)
			break;
		if (header.n_type == XEN_ELFNOTE_PHYS32_ENTRY && header.n_namesz == 4 &&
		    memcmp(notes + name, "Xen", 4) == 0) {
			if (header.n_descsz != 4 && header.n_descsz != 8)
				return error_set(err, ENOEXEC, "ELF: PVH note of %u bytes",
						 header.n_descsz);
			*entry = 0;
			memcpy(entry, notes + desc, header.n_descsz);
			return 0;
		}
		if (next >= size)
			break;
		at = next;
	}
	return 0;
}

static bool inside_a_segment(const Elf64_Phdr *segments, unsigned int n, uint64_t gpa)
{
	for (unsigned int i = 0; i < n; i++)
		if (segments[i].p_type == PT_LOAD && gpa >= segments[i].p_paddr &&
		    gpa - segments[i].p_paddr < segments[i].p_memsz)
			return true;
	return false;
}

/*
 * Whether nobody but root and ourselves can change the file under a guest that has it mapped: then it
 * is as safe as our own program's. An access list shows in the group's bits. What user namespaces
 * don't know is nobody's, and anybody's.
 */
static bool is_safe_to_map(int fd)
{
	const int for_good = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals >= 0 && (seals & for_good) == for_good)
		return true;
	return fstat(fd, &st) == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH)) &&
	       (st.st_uid == 0 || (st.st_uid == geteuid() && st.st_uid != OVERFLOW_UID));
}

/*
 * The bytes of one segment. Mapped, if share is set: what the guest only reads is the host's page
 * cache then, once for all guests, and what it doesn't touch costs nothing. Copied otherwise, and what
 * doesn't fill a page.
 */
static int load_segment(struct guest_memory *memory, int fd, const Elf64_Phdr *s, bool share,
			struct error *err)
{
	uint64_t mapped = 0;

	if (share && is_aligned(s->p_paddr | s->p_offset, GUEST_PAGE_SIZE))
		mapped = align_down(s->p_filesz, GUEST_PAGE_SIZE);
	/* A file system may not be able to: then it's copied. */
	if (mapped > 0 && guest_memory_map(memory, s->p_paddr, mapped, fd, s->p_offset, NULL) < 0)
		mapped = 0;
	if (mapped == s->p_filesz)
		return 0;
	return read_exactly(fd, (uint8_t *)guest_memory_at(memory, s->p_paddr, s->p_filesz) + mapped,
			    s->p_filesz - mapped, s->p_offset + mapped, err);
}

static int load_segments(struct guest_memory *memory, int fd, const Elf64_Phdr *segments,
			 unsigned int n, uint64_t file_size, struct kernel_image *image,
			 struct error *err)
{
	int rc;

	for (unsigned int i = 0; i < n; i++) {
		if (segments[i].p_type != PT_LOAD || (segments[i].p_memsz | segments[i].p_filesz) == 0)
			continue;
		rc = check_segment(memory, segments, i, file_size, err);
		if (rc < 0)
			return rc;
		if (segments[i].p_paddr + segments[i].p_memsz > image->end)
			image->end = segments[i].p_paddr + segments[i].p_memsz;
	}
	if (image->end == 0)
		return error_set(err, ENOEXEC, "ELF: nothing to load");
	/*
	 * Into huge pages it's copied: 4 KiB pages in their place would be an exit each at the guest's
	 * first touch, and slower than copying.
	 */
	bool share = guest_memory_has_small_pages(memory, 0) && is_safe_to_map(fd);

	for (unsigned int i = 0; i < n; i++) {
		const Elf64_Phdr *s = &segments[i];

		if (s->p_type != PT_LOAD || s->p_filesz == 0)
			continue;
		/* Guest memory is zeroed: what lies between filesz and memsz (.bss) is done. */
		rc = load_segment(memory, fd, s, share, err);
		if (rc < 0)
			return error_wrap(err, "ELF: segment %u", i);
	}
	return 0;
}

int elf_load(struct guest_memory *memory, int fd, uint64_t size, struct kernel_image *image,
	     struct error *err)
{
	Elf64_Ehdr ehdr;
	Elf64_Phdr segments[ELF_SEGMENTS_MAX];
	uint64_t pvh_entry = UINT64_MAX;

	if (size < sizeof(ehdr))
		return error_set(err, ENOEXEC, "ELF: file ends within its header");
	int rc = read_exactly(fd, &ehdr, sizeof(ehdr), 0, err);

	if (rc == 0)
		rc = check_header(&ehdr, err);
	if (rc < 0)
		return rc;
	if (ehdr.e_phoff > size || ehdr.e_phnum * sizeof(segments[0]) > size - ehdr.e_phoff)
		return error_set(err, ENOEXEC, "ELF: program headers leave the file (truncated?)");
	rc = read_exactly(fd, segments, ehdr.e_phnum * sizeof(segments[0]), ehdr.e_phoff, err);
	for (unsigned int i = 0; rc == 0 && i < ehdr.e_phnum; i++)
		if (segments[i].p_type == PT_NOTE)
			rc = scan_notes(fd, &segments[i], size, &pvh_entry, err);
	if (rc == 0)
		rc = load_segments(memory, fd, segments, ehdr.e_phnum, size, image, err);
	if (rc < 0)
		return rc;

	image->protocol = pvh_entry != UINT64_MAX ? BOOT_PVH : BOOT_LINUX_64;
	image->entry = pvh_entry != UINT64_MAX ? pvh_entry : ehdr.e_entry;
	image->initrd_max = UINT32_MAX;
	image->cmdline_max = LINUX_CMDLINE_MAX;
	if (!inside_a_segment(segments, ehdr.e_phnum, image->entry))
		return error_set(err, ENOEXEC, "ELF: entry 0x%" PRIx64 " is in no segment", image->entry);
	return 0;
}
