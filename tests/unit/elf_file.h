/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOTE_TESTS_ELF_FILE_H
#define MOTE_TESTS_ELF_FILE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ELF_SIZE   0x4000
#define NOTE_AT    0x1000
#define TEXT_AT    0x2000
#define TEXT_GPA   0x1000000u
#define PVH_ENTRY  (TEXT_GPA + 0x40)
#define ELF_ENTRY  (TEXT_GPA + 0x80)

/* A small valid kernel that each test breaks in its own way. */
struct elf_file {
	Elf64_Ehdr ehdr;
	Elf64_Phdr text, note;
	uint8_t pad[NOTE_AT - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr)];
	struct {
		Elf64_Nhdr other_header;
		char other_name[8];
		uint32_t other_desc;
		Elf64_Nhdr header;
		char name[4];
		uint64_t entry;
	} __attribute__((packed)) notes;
	uint8_t pad2[TEXT_AT - NOTE_AT - 48];
	uint8_t code[ELF_SIZE - TEXT_AT];
};

_Static_assert(offsetof(struct elf_file, notes) == NOTE_AT, "notes");
_Static_assert(offsetof(struct elf_file, code) == TEXT_AT, "code");

static inline struct elf_file good_elf(void)
{
	struct elf_file f = {
		.ehdr = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			  .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_entry = ELF_ENTRY,
			  .e_phoff = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2 },
		.text = { .p_type = PT_LOAD, .p_offset = TEXT_AT, .p_paddr = TEXT_GPA,
			  .p_filesz = sizeof(f.code), .p_memsz = sizeof(f.code) + 0x5000 },
		.note = { .p_type = PT_NOTE, .p_offset = NOTE_AT, .p_filesz = sizeof(f.notes) },
		.notes = { .other_header = { 5, 4, 3 }, .other_name = "Linu", .header = { 4, 8, 18 },
			   .name = "Xen", .entry = PVH_ENTRY },
	};

	memset(f.code, 0x90, sizeof(f.code));
	return f;
}

#endif
