/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading a kernel and its initrd into guest memory. Files are not trusted: each offset, size and
 * address is checked against the file and against guest memory before a byte is copied.
 */
#ifndef MOTE_BOOT_KERNEL_H
#define MOTE_BOOT_KERNEL_H

#include <stdint.h>

#include "vmm/error.h"
#include "vmm/memory.h"

enum boot_protocol {
	BOOT_PVH,      /* 32-bit entry, struct hvm_start_info in ebx (Xen's PVH ABI) */
	BOOT_LINUX_64, /* 64-bit entry, struct boot_params in rsi (Linux x86 boot protocol §64-bit) */
};

struct kernel_image {
	enum boot_protocol protocol;
	uint64_t entry;          /* gpa of the first instruction */
	uint64_t end;            /* gpa behind everything that the kernel uses before it has e820 */
	uint64_t initrd_max;     /* highest gpa that an initrd may touch */
	uint32_t cmdline_max;    /* longest command line, in bytes without the NUL */
	uint8_t setup_header[0x7b]; /* bzImage: struct setup_header, as far as the file has it */
	uint32_t setup_header_len;  /* 0 unless bzImage */
};

/*
 * Load the kernel behind fd (path only names it in errors): an x86_64 ELF executable, by PVH if it
 * has the note and by the 64-bit protocol otherwise, or a bzImage of protocol >= 2.12 with a
 * 64-bit entry. Errors: -ENOEXEC with the cause for what isn't a kernel or doesn't fit, I/O errors.
 */
int kernel_load(struct guest_memory *memory, int fd, const char *path, struct kernel_image *image,
		struct error *err);

/* Format-specific loaders; size is the file's. */
int elf_load(struct guest_memory *memory, int fd, uint64_t size, struct kernel_image *image,
	     struct error *err);
int bzimage_load(struct guest_memory *memory, int fd, uint64_t size, struct kernel_image *image,
		 struct error *err);

struct initrd {
	uint64_t gpa; /* 0 = none */
	uint64_t size;
};

/* Load the initrd as high below the 4 GiB hole and image->initrd_max as it fits, page aligned. */
int initrd_load(struct guest_memory *memory, int fd, const char *path,
		const struct kernel_image *image, struct initrd *initrd, struct error *err);

/*
 * Write what the kernel's protocol wants to find: command line, memory map, and the zero page or
 * hvm_start_info. rsdp: gpa of the ACPI root pointer, 0 = no ACPI. Returns the address for
 * rsi/ebx in *info.
 */
int boot_params_write(struct guest_memory *memory, const struct kernel_image *image,
		      const struct initrd *initrd, const char *cmdline, uint64_t rsdp,
		      uint64_t *info, struct error *err);

/* Exactly len bytes at offset of fd into dst; short files are an error. */
int read_exactly(int fd, void *dst, uint64_t len, uint64_t offset, struct error *err);

#endif
