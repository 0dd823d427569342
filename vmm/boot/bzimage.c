/* SPDX-License-Identifier: Apache-2.0 */
/* bzImage: Linux Documentation/arch/x86/boot.rst, protocol 2.12 and later, 64-bit entry. */
#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/boot/kernel.h"
#include "vmm/boot/platform.h"
#include "vmm/util.h"

#define SETUP_HEADER_OFFSET 0x1f1
#define SETUP_HEADER_END    0x201 /* + the byte there = end of the header */
#define ENTRY_64            0x200 /* of the protected-mode part */
#define MIN_VERSION         0x020c
#define XLF_64BIT           (1 << 0) /* XLF_KERNEL_64 */

_Static_assert(sizeof(struct setup_header) <= sizeof(((struct kernel_image *)0)->setup_header),
	       "room for a whole setup header");

static int check_header(const struct setup_header *h, struct error *err)
{
	if (h->boot_flag != 0xaa55)
		return error_set(err, ENOEXEC, "bzImage: boot flag is 0x%x, not 0xaa55", h->boot_flag);
	if (h->version < MIN_VERSION)
		return error_set(err, ENOEXEC, "bzImage: boot protocol %u.%02u, need 2.12 or later",
				 h->version >> 8, h->version & 0xff);
	if (!(h->loadflags & LOADED_HIGH))
		return error_set(err, ENOEXEC, "bzImage: a zImage, which loads low");
	if (!(h->xloadflags & XLF_64BIT))
		return error_set(err, ENOEXEC, "bzImage: no 64-bit entry point");
	return 0;
}

int bzimage_load(struct guest_memory *memory, int fd, uint64_t size, struct kernel_image *image,
		 struct error *err)
{
	struct setup_header header = { 0 };
	uint8_t first[1024];

	if (size < sizeof(first))
		return error_set(err, ENOEXEC, "bzImage: file ends within its header");
	int rc = read_exactly(fd, first, sizeof(first), 0, err);

	if (rc < 0)
		return rc;
	uint32_t header_len = SETUP_HEADER_END + 1u + first[SETUP_HEADER_END] - SETUP_HEADER_OFFSET;

	/* The length byte counts from 0x202; a newer kernel's header may be longer than ours. */
	if (header_len > sizeof(header))
		header_len = sizeof(header);
	memcpy(&header, first + SETUP_HEADER_OFFSET, header_len);
	rc = check_header(&header, err);
	if (rc < 0)
		return rc;

	uint64_t setup_size = ((header.setup_sects ? header.setup_sects : 4) + 1ull) * 512;

	if (setup_size + ENTRY_64 >= size)
		return error_set(err, ENOEXEC, "bzImage: file ends within its setup code (truncated?)");
	uint64_t kernel_size = size - setup_size;

	/* syssize is in 16-byte units; a file shorter than that was cut. */
	if (kernel_size + 15 < header.syssize * 16ull)
		return error_set(err, ENOEXEC, "bzImage: truncated: %" PRIu64 " of %" PRIu64 " bytes",
				 kernel_size, header.syssize * UINT64_C(16));

	/* Where it will run: it unpacks itself there in place, or moves there first if it can't. */
	uint64_t load = header.pref_address;

	if (load < LAYOUT_HIMEM || load >= LAYOUT_MMIO_START)
		load = LAYOUT_HIMEM;
	uint64_t used = header.init_size > kernel_size ? header.init_size : kernel_size;
	void *dst = guest_memory_at(memory, load, used);

	if (!dst)
		return error_set(err, ENOMEM,
				 "bzImage: needs %" PRIu64 " MiB at 0x%" PRIx64
				 ", guest memory has %" PRIu64 " MiB",
				 (used + MIB - 1) / MIB, load, guest_memory_size(memory) / MIB);
	rc = read_exactly(fd, dst, kernel_size, setup_size, err);
	if (rc < 0)
		return error_wrap(err, "bzImage");

	image->protocol = BOOT_LINUX_64;
	image->entry = load + ENTRY_64;
	image->end = load + used;
	image->initrd_max = header.initrd_addr_max;
	image->cmdline_max = header.cmdline_size;
	memcpy(image->setup_header, &header, header_len);
	image->setup_header_len = header_len;
	return 0;
}
