/* SPDX-License-Identifier: Apache-2.0 */
/* Intel MultiProcessor Specification 1.4, chapter 4: for guests that run without ACPI. */
#include <errno.h>
#include <string.h>

#include "vmm/boot/checksum.h"
#include "vmm/boot/platform.h"
#include "vmm/util.h"

/* Linux looks for the floating pointer in the last KiB of low memory; the table follows it there. */
#define AREA_SIZE (1 * KIB)

#define ISA_INTERRUPTS 16u
#define ISA_CASCADE    2u /* the second 8259's, never a device's */
#define IOAPIC_PINS    24u
#define ISA_BUS_ID     0
#define ALL_LAPICS     0xff
#define LAPIC_VERSION  0x14
#define IOAPIC_VERSION 0x11

#define CPU_ENABLED   0x01
#define CPU_BOOTSTRAP 0x02
/* Guests take family and features from CPUID; the table wants some: P6, FPU and APIC on chip. */
#define CPU_SIGNATURE 0x600
#define CPU_FEATURES  0x201

#define EDGE_ACTIVE_HIGH 0x5

enum { ENTRY_PROCESSOR, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_IO_INTERRUPT, ENTRY_LOCAL_INTERRUPT };
enum { INTERRUPT_INT = 0, INTERRUPT_NMI = 1, INTERRUPT_EXTINT = 3 };

struct __attribute__((packed)) mp_pointer {
	char signature[4];
	uint32_t table;
	uint8_t length, revision, checksum;
	uint8_t features[5]; /* 0: there is a table; virtual wire mode, no IMCR */
};

struct __attribute__((packed)) mp_table {
	char signature[4];
	uint16_t length;
	uint8_t revision, checksum;
	char oem_id[8], product_id[12];
	uint32_t oem_table;
	uint16_t oem_table_size, n_entries;
	uint32_t lapic;
	uint16_t extended_length;
	uint8_t extended_checksum, reserved;
};

struct __attribute__((packed)) mp_processor {
	uint8_t type, lapic_id, lapic_version, flags;
	uint32_t signature, features, reserved[2];
};

struct __attribute__((packed)) mp_bus {
	uint8_t type, id;
	char name[6];
};

struct __attribute__((packed)) mp_ioapic {
	uint8_t type, id, version, flags;
	uint32_t address;
};

struct __attribute__((packed)) mp_interrupt {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t source_bus, source_irq, target_id, target_pin;
};

struct writer {
	uint8_t data[AREA_SIZE];
	size_t len;
	uint16_t n_entries;
	bool overflow;
};

static void append(struct writer *w, const void *entry, size_t n)
{
	if (n > sizeof(w->data) - w->len) {
		w->overflow = true;
		return;
	}
	memcpy(w->data + w->len, entry, n);
	w->len += n;
	w->n_entries++;
}

static void add_processors(struct writer *w, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		const struct mp_processor cpu = {
			.type = ENTRY_PROCESSOR,
			.lapic_id = (uint8_t)i,
			.lapic_version = LAPIC_VERSION,
			.flags = CPU_ENABLED | (i == 0 ? CPU_BOOTSTRAP : 0),
			.signature = CPU_SIGNATURE,
			.features = CPU_FEATURES,
		};

		append(w, &cpu, sizeof(cpu));
	}
}

static void add_interrupt(struct writer *w, uint8_t type, uint8_t kind, uint8_t irq, uint8_t target,
			  uint8_t pin)
{
	const struct mp_interrupt entry = {
		.type = type,
		.kind = kind,
		.flags = kind == INTERRUPT_INT ? EDGE_ACTIVE_HIGH : 0,
		.source_bus = ISA_BUS_ID,
		.source_irq = irq,
		.target_id = target,
		.target_pin = pin,
	};

	append(w, &entry, sizeof(entry));
}

/* ISA interrupts and virtio lines, each on the pin of its number. */
static void add_io_interrupts(struct writer *w, const struct platform_info *info, uint8_t ioapic_id)
{
	uint32_t pins = ((1u << ISA_INTERRUPTS) - 1) & ~(1u << ISA_CASCADE);

	for (unsigned int i = 0; i < info->n_virtio; i++)
		pins |= 1u << info->virtio[i].gsi;
	for (uint8_t pin = 0; pin < IOAPIC_PINS; pin++)
		if (pins >> pin & 1)
			add_interrupt(w, ENTRY_IO_INTERRUPT, INTERRUPT_INT, pin, ioapic_id, pin);
}

static void add_entries(struct writer *w, const struct platform_info *info)
{
	/* APIC ids are unique across processors and I/O APIC (§3.6.6). */
	uint8_t ioapic_id = (uint8_t)info->n_vcpus;
	const struct mp_bus isa = { .type = ENTRY_BUS,
				    .id = ISA_BUS_ID,
				    .name = { 'I', 'S', 'A', ' ', ' ', ' ' } };
	const struct mp_ioapic ioapic = {
		.type = ENTRY_IOAPIC,
		.id = ioapic_id,
		.version = IOAPIC_VERSION,
		.flags = 1, /* usable */
		.address = LAYOUT_IOAPIC,
	};

	add_processors(w, info->n_vcpus);
	append(w, &isa, sizeof(isa));
	append(w, &ioapic, sizeof(ioapic));
	add_io_interrupts(w, info, ioapic_id);
	add_interrupt(w, ENTRY_LOCAL_INTERRUPT, INTERRUPT_EXTINT, 0, 0, 0);
	add_interrupt(w, ENTRY_LOCAL_INTERRUPT, INTERRUPT_NMI, 0, ALL_LAPICS, 1);
}

int mptable_write(struct guest_memory *memory, const struct platform_info *info, struct error *err)
{
	struct writer w = { .len = sizeof(struct mp_pointer) + sizeof(struct mp_table) };
	struct mp_pointer pointer = {
		.signature = { '_', 'M', 'P', '_' },
		.table = LAYOUT_EBDA + sizeof(pointer),
		.length = sizeof(pointer) / 16,
		.revision = 4,
	};
	struct mp_table table = {
		.signature = { 'P', 'C', 'M', 'P' },
		.revision = 4,
		.oem_id = { 'M', 'O', 'T', 'E', ' ', ' ', ' ', ' ' },
		.product_id = { 'M', 'I', 'C', 'R', 'O', 'V', 'M', ' ', ' ', ' ', ' ', ' ' },
		.lapic = LAYOUT_LAPIC,
	};

	if (info->n_vcpus < 1)
		return error_set(err, EINVAL, "MPTable: no processors");
	for (unsigned int i = 0; i < info->n_virtio; i++)
		if (info->virtio[i].gsi >= IOAPIC_PINS)
			return error_set(err, EINVAL, "MPTable: virtio %u: GSI %u", i,
					 info->virtio[i].gsi);
	add_entries(&w, info);
	if (w.overflow)
		return error_set(err, ENOSPC, "MPTable: %u processors don't fit into %zu bytes",
				 info->n_vcpus, sizeof(w.data));
	table.length = (uint16_t)(w.len - sizeof(pointer));
	table.n_entries = w.n_entries;
	memcpy(w.data + sizeof(pointer), &table, sizeof(table));
	table.checksum = table_checksum(w.data + sizeof(pointer), table.length);
	memcpy(w.data + sizeof(pointer), &table, sizeof(table));
	pointer.checksum = table_checksum(&pointer, sizeof(pointer));
	memcpy(w.data, &pointer, sizeof(pointer));
	if (!guest_memory_write(memory, LAYOUT_EBDA, w.data, w.len))
		return error_set(err, ENOSPC, "MPTable: no guest memory at 0x%llx", LAYOUT_EBDA);
	return 0;
}
