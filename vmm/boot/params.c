/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel finds when it starts: command line, memory map, and either struct boot_params
 * (Linux boot.rst, zero-page.rst) or struct hvm_start_info (Xen public/arch-x86/hvm/start_info.h).
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>

#include "vmm/boot/kernel.h"
#include "vmm/boot/platform.h"
#include "vmm/util.h"

#define E820_TYPE_RAM      1
#define E820_TYPE_RESERVED 2
#define LOADER_UNDEFINED   0xff
#define MAP_ENTRIES_MAX    (2 + GUEST_MEMORY_REGIONS_MAX)

struct hvm_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct hvm_modlist_entry {
	uint64_t paddr;
	uint64_t size;
	uint64_t cmdline_paddr;
	uint64_t reserved;
};

struct hvm_memmap_table_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

#define HVM_START_MAGIC 0x336ec578u

/* One page at LAYOUT_PVH_INFO. */
struct pvh_page {
	struct hvm_start_info info;
	struct hvm_modlist_entry initrd;
	struct hvm_memmap_table_entry map[MAP_ENTRIES_MAX];
};

/*
 * RAM as the guest may use it. The first MiB is split: what the EBDA and the ACPI tables occupy is
 * reserved. Returns the number of entries.
 */
static unsigned int memory_map(const struct guest_memory *memory, struct hvm_memmap_table_entry *map)
{
	const struct guest_region *low = &memory->regions[0];
	unsigned int n = 0;

	map[n++] = (struct hvm_memmap_table_entry){ 0, LAYOUT_EBDA, E820_TYPE_RAM, 0 };
	map[n++] = (struct hvm_memmap_table_entry){ LAYOUT_EBDA, LAYOUT_HIMEM - LAYOUT_EBDA,
						    E820_TYPE_RESERVED, 0 };
	map[n++] = (struct hvm_memmap_table_entry){ LAYOUT_HIMEM, low->size - LAYOUT_HIMEM,
						    E820_TYPE_RAM, 0 };
	for (unsigned int i = 1; i < memory->n_regions; i++)
		map[n++] = (struct hvm_memmap_table_entry){ memory->regions[i].gpa,
							    memory->regions[i].size, E820_TYPE_RAM, 0 };
	return n;
}

static void fill_pvh(struct pvh_page *page, const struct guest_memory *memory,
		     const struct initrd *initrd, uint64_t rsdp)
{
	page->info = (struct hvm_start_info){
		.magic = HVM_START_MAGIC,
		.version = 1,
		.nr_modules = initrd->size > 0,
		.modlist_paddr = LAYOUT_PVH_INFO + offsetof(struct pvh_page, initrd),
		.cmdline_paddr = LAYOUT_CMDLINE,
		.rsdp_paddr = rsdp,
		.memmap_paddr = LAYOUT_PVH_INFO + offsetof(struct pvh_page, map),
		.memmap_entries = memory_map(memory, page->map),
	};
	page->initrd = (struct hvm_modlist_entry){ .paddr = initrd->gpa, .size = initrd->size };
}

static void fill_zero_page(struct boot_params *params, const struct guest_memory *memory,
			   const struct kernel_image *image, const struct initrd *initrd,
			   uint32_t cmdline_len, uint64_t rsdp)
{
	struct hvm_memmap_table_entry map[MAP_ENTRIES_MAX];
	unsigned int n = memory_map(memory, map);

	memset(params, 0, sizeof(*params));
	memcpy(&params->hdr, image->setup_header, image->setup_header_len);
	if (image->setup_header_len == 0) {
		/* An ELF has no setup header: say what a boot loader of protocol 2.15 would know. */
		params->hdr.boot_flag = 0xaa55;
		params->hdr.header = 0x53726448; /* "HdrS" */
		params->hdr.version = 0x020f;
		params->hdr.kernel_alignment = 0x1000000;
		params->hdr.loadflags = LOADED_HIGH;
	}
	params->hdr.type_of_loader = LOADER_UNDEFINED;
	params->hdr.cmd_line_ptr = LAYOUT_CMDLINE;
	params->hdr.cmdline_size = cmdline_len;
	params->hdr.ramdisk_image = (uint32_t)initrd->gpa;
	params->hdr.ramdisk_size = (uint32_t)initrd->size;
	params->acpi_rsdp_addr = rsdp;
	params->e820_entries = (uint8_t)n;
	for (unsigned int i = 0; i < n; i++)
		params->e820_table[i] = (struct boot_e820_entry){ map[i].addr, map[i].size, map[i].type };
}

int boot_params_write(struct guest_memory *memory, const struct kernel_image *image,
		      const struct initrd *initrd, const char *cmdline, uint64_t rsdp,
		      uint64_t *info, struct error *err)
{
	size_t len = strlen(cmdline);
	bool ok;

	if (len > image->cmdline_max || len + 1 > LAYOUT_EBDA - LAYOUT_CMDLINE)
		return error_set(err, E2BIG, "command line of %zu bytes, the kernel takes %u", len,
				 image->cmdline_max);
	ok = guest_memory_write(memory, LAYOUT_CMDLINE, cmdline, len + 1);
	if (image->protocol == BOOT_PVH) {
		struct pvh_page page = { 0 };

		fill_pvh(&page, memory, initrd, rsdp);
		*info = LAYOUT_PVH_INFO;
		ok = ok && guest_memory_write(memory, *info, &page, sizeof(page));
	} else {
		struct boot_params params;

		fill_zero_page(&params, memory, image, initrd, (uint32_t)len, rsdp);
		*info = LAYOUT_ZERO_PAGE;
		ok = ok && guest_memory_write(memory, *info, &params, sizeof(params));
	}
	return ok ? 0 : error_set(err, ENOMEM, "no memory for the boot parameters");
}
