/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest-visible platform of x86_64: addresses in one place, and the tables that describe it to
 * the guest (ACPI 6.5, or Intel's MultiProcessor Specification 1.4).
 */
#ifndef MOTE_BOOT_PLATFORM_H
#define MOTE_BOOT_PLATFORM_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/memory.h"

/* Low memory (below 1 MiB). */
#define LAYOUT_BOOT_GDT       0x500ull
#define LAYOUT_BOOT_IDT       0x540ull
#define LAYOUT_PVH_INFO       0x6000ull
#define LAYOUT_ZERO_PAGE      0x7000ull
#define LAYOUT_BOOT_STACK     0x8ff0ull
#define LAYOUT_PML4           0x9000ull  /* page tables: 0x9000, 0xa000, 0xb000.. */
#define LAYOUT_CMDLINE        0x20000ull
#define LAYOUT_EBDA           0x9fc00ull /* end of usable low memory; MPTable lives here */
#define LAYOUT_RSDP           0xe0000ull /* ACPI tables follow it */
#define LAYOUT_TABLES_END     0x100000ull
#define LAYOUT_HIMEM          0x100000ull /* kernels load here and up */

/* The hole below 4 GiB, without RAM. */
#define LAYOUT_MMIO_START     0xc0000000ull
#define LAYOUT_MMIO_END       0x100000000ull
#define LAYOUT_BOOT_TIMER     0xc0000000ull
#define LAYOUT_VIRTIO_MMIO    0xc0001000ull /* one page a device */
#define LAYOUT_IOAPIC         0xfec00000ull
#define LAYOUT_LAPIC          0xfee00000ull
#define LAYOUT_KVM_TSS        0xfffbd000ull /* three pages for KVM on old Intel */

#define SERIAL_BASE           0x3f8u
#define SERIAL_GSI            4
#define VIRTIO_GSI_FIRST      5
#define VIRTIO_GSI_LAST       23

struct platform_virtio {
	uint64_t mmio_base; /* VIRTIO_MMIO_SIZE bytes */
	uint32_t gsi;
};

/* What the tables describe. */
struct platform_info {
	unsigned int n_vcpus;      /* APIC ids 0 .. n - 1 */
	bool serial;               /* COM1 present */
	unsigned int n_virtio;
	const struct platform_virtio *virtio;
};

/*
 * Write RSDP (at LAYOUT_RSDP), DSDT, FADT (hardware-reduced), MADT and XSDT, all below
 * LAYOUT_TABLES_END. DSDT: virtio-mmio as LNRO0005 with memory and edge-triggered interrupt, COM1
 * as PNP0501, the keyboard as PNP0303, pvpanic as QEMU0001, \_S5; FADT: reset register = i8042 port
 * 0x64 value 0xfe, sleep control/status registers at ACPI_SLEEP_BASE; MADT: processors, I/O APIC.
 * Errors: -EINVAL for processors, addresses (above 4 GiB) or GSIs that the tables can't hold,
 * -ENOSPC if they don't fit or guest memory doesn't reach so far.
 */
int acpi_write_tables(struct guest_memory *memory, const struct platform_info *info,
		      struct error *err);

/*
 * Write the MP floating pointer and configuration table at LAYOUT_EBDA, the last KiB of low memory,
 * where guests look: processors (up to 37), ISA bus, I/O APIC, ISA interrupts and virtio lines
 * (identity GSI, edge), local interrupts. Errors: -EINVAL for GSIs that the I/O APIC doesn't have,
 * -ENOSPC.
 */
int mptable_write(struct guest_memory *memory, const struct platform_info *info, struct error *err);

#endif
