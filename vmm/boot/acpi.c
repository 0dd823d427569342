/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI 6.5, hardware-reduced: no PM timer, no fixed events, no SCI, no legacy interrupt controller
 * that Linux would set up or test. What the guest has to interpret is kept to static names.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "devices/legacy/i8042.h"
#include "devices/legacy/platform.h"
#include "devices/legacy/serial.h"
#include "devices/virtio/mmio.h"
#include "vmm/boot/aml.h"
#include "vmm/boot/checksum.h"
#include "vmm/boot/platform.h"
#include "vmm/util.h"

#define TABLES_SIZE (LAYOUT_TABLES_END - LAYOUT_RSDP)
#define LAPIC_IDS   255u /* 0xff is the broadcast */
#define IOAPIC_PINS 24u

#define RESET_PORT  (I8042_BASE + 4)
#define RESET_VALUE 0xfe /* pulse the reset line */

struct __attribute__((packed)) acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
};

struct __attribute__((packed)) acpi_address {
	uint8_t space, bit_width, bit_offset, access_size;
	uint64_t address;
};

/* An 8-bit register at a port (§5.2.3.2). */
#define IO_REGISTER(port)                                                                          \
	{                                                                                          \
		.space = 1, .bit_width = 8, .access_size = 1, .address = (port)                    \
	}

struct __attribute__((packed)) acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t extended_checksum, reserved[3];
};

#define RSDP_V1_SIZE 20

/* FADT, §5.2.9 table 5.9. Fields of the fixed hardware are zero without it. */
struct __attribute__((packed)) acpi_fadt {
	struct acpi_header header;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0, preferred_pm_profile;
	uint16_t sci_int;
	uint8_t fixed_hardware0[48]; /* SMI_CMD .. CST_CNT */
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_address reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct acpi_address fixed_hardware1[8]; /* X_PM1a_EVT_BLK .. X_GPE1_BLK */
	struct acpi_address sleep_control, sleep_status;
	char hypervisor_vendor[8];
};

_Static_assert(sizeof(struct acpi_fadt) == 276, "FADT of ACPI 6.5");

/* IA-PC boot architecture flags, table 5.11 */
#define BOOT_LEGACY_DEVICES (1u << 0)
#define BOOT_8042	    (1u << 1)
#define BOOT_NO_VGA	    (1u << 2)
#define BOOT_NO_MSI	    (1u << 3)
#define BOOT_NO_ASPM	    (1u << 4)
#define BOOT_NO_CMOS_RTC    (1u << 5)

/* Fixed feature flags, table 5.10 */
#define FADT_WBINVD	   (1u << 0)
#define FADT_PROC_C1	   (1u << 2)
#define FADT_NO_PWR_BUTTON (1u << 4)
#define FADT_NO_SLP_BUTTON (1u << 5)
#define FADT_NO_FIXED_RTC  (1u << 6)
#define FADT_RESET_REG	   (1u << 10)
#define FADT_HW_REDUCED	   (1u << 20)

/* Latencies that say "no C2, no C3". */
#define NO_C2 101
#define NO_C3 1001

#define MADT_PCAT_COMPAT   (1u << 0) /* there's an 8259 pair too */
#define MADT_LAPIC_ENABLED (1u << 0)

static struct acpi_header table_header(const char *signature, uint8_t revision)
{
	struct acpi_header h = {
		.revision = revision,
		.oem_id = { 'M', 'O', 'T', 'E', ' ', ' ' },
		.oem_table_id = { 'M', 'I', 'C', 'R', 'O', 'V', 'M', ' ' },
		.oem_revision = 1,
		.creator_id = { 'M', 'O', 'T', 'E' },
		.creator_revision = 1,
	};

	memcpy(h.signature, signature, sizeof(h.signature));
	return h;
}

/* Start a table behind what's there already. Returns its offset. */
static size_t table_begin(struct aml *out, const char *signature, uint8_t revision)
{
	struct acpi_header h = table_header(signature, revision);

	aml_align(out, 16);
	size_t start = out->len;

	aml_bytes(out, &h, sizeof(h));
	return start;
}

/* Fill in length and checksum. Returns the table's guest physical address. */
static uint64_t table_end(struct aml *out, size_t start)
{
	struct acpi_header h;

	if (out->overflow)
		return 0;
	memcpy(&h, out->data + start, sizeof(h));
	h.length = (uint32_t)(out->len - start);
	memcpy(out->data + start, &h, sizeof(h));
	h.checksum = table_checksum(out->data + start, h.length);
	memcpy(out->data + start, &h, sizeof(h));
	return LAYOUT_RSDP + start;
}

static void describe_virtio(struct aml *out, const struct platform_virtio *virtio, unsigned int i)
{
	struct aml_resources r = { 0 };
	char name[16];

	snprintf(name, sizeof(name), "V%03X", i);
	size_t device = aml_begin_device(out, name);

	aml_name_string(out, "_HID", "LNRO0005");
	aml_name_integer(out, "_UID", i);
	aml_resource_memory32(&r, (uint32_t)virtio->mmio_base, VIRTIO_MMIO_SIZE);
	aml_resource_interrupt(&r, virtio->gsi);
	aml_name_crs(out, &r);
	aml_end(out, device);
}

static void describe_serial(struct aml *out)
{
	struct aml_resources r = { 0 };
	size_t device = aml_begin_device(out, "COM1");

	aml_name_eisa_id(out, "_HID", "PNP0501");
	aml_resource_io(&r, SERIAL_BASE, SERIAL_SIZE);
	aml_resource_interrupt(&r, SERIAL_GSI);
	aml_name_crs(out, &r);
	aml_end(out, device);
}

/*
 * The keyboard, which Ctrl-Alt-Del needs. Without a PNP0F13 beside it Linux knows that there's no
 * mouse and spares itself the long search for one.
 */
static void describe_keyboard(struct aml *out)
{
	struct aml_resources r = { 0 };
	size_t device = aml_begin_device(out, "PS2K");

	aml_name_eisa_id(out, "_HID", "PNP0303");
	aml_resource_io(&r, I8042_BASE, 1);
	aml_resource_io(&r, I8042_BASE + 4, 1);
	aml_resource_interrupt(&r, I8042_GSI);
	aml_name_crs(out, &r);
	aml_end(out, device);
}

static void describe_pvpanic(struct aml *out)
{
	struct aml_resources r = { 0 };
	size_t device = aml_begin_device(out, "PEVT");

	aml_name_string(out, "_HID", "QEMU0001");
	aml_resource_io(&r, PVPANIC_BASE, PVPANIC_SIZE);
	aml_name_crs(out, &r);
	aml_end(out, device);
}

static uint64_t write_dsdt(struct aml *out, const struct platform_info *info)
{
	size_t table = table_begin(out, "DSDT", 2);

	aml_name_package(out, "_S5_", ACPI_SLEEP_TYPE_S5);
	size_t scope = aml_begin_scope(out, "_SB_");

	if (info->serial)
		describe_serial(out);
	describe_keyboard(out);
	describe_pvpanic(out);
	for (unsigned int i = 0; i < info->n_virtio; i++)
		describe_virtio(out, &info->virtio[i], i);
	aml_end(out, scope);
	return table_end(out, table);
}

static uint64_t write_fadt(struct aml *out, const struct platform_info *info, uint64_t dsdt)
{
	struct acpi_fadt fadt = {
		.header = table_header("FACP", 6),
		.p_lvl2_lat = NO_C2,
		.p_lvl3_lat = NO_C3,
		.iapc_boot_arch =
			(uint16_t)((info->serial ? BOOT_LEGACY_DEVICES : 0) | BOOT_8042 |
				   BOOT_NO_VGA | BOOT_NO_MSI | BOOT_NO_ASPM | BOOT_NO_CMOS_RTC),
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_NO_PWR_BUTTON | FADT_NO_SLP_BUTTON |
			 FADT_NO_FIXED_RTC | FADT_RESET_REG | FADT_HW_REDUCED,
		.reset_reg = IO_REGISTER(RESET_PORT),
		.reset_value = RESET_VALUE,
		.minor_version = 5,
		.x_dsdt = dsdt,
		.sleep_control = IO_REGISTER(ACPI_SLEEP_BASE),
		.sleep_status = IO_REGISTER(ACPI_SLEEP_BASE + 1),
		.hypervisor_vendor = "MOTE",
	};
	size_t table = table_begin(out, "FACP", 6);

	aml_bytes(out, (const uint8_t *)&fadt + sizeof(fadt.header),
		  sizeof(fadt) - sizeof(fadt.header));
	return table_end(out, table);
}

/*
 * MADT, §5.2.12. Every GSI is the pin of its number. There are no interrupt source overrides: with
 * hardware-reduced ACPI Linux gives even ISA interrupts numbers of its own, so that drivers have to
 * find them in the DSDT, overrides or not.
 */
static uint64_t write_madt(struct aml *out, const struct platform_info *info)
{
	const struct __attribute__((packed)) {
		uint8_t type, length, id, reserved;
		uint32_t address, gsi_base;
	} ioapic = { 1, sizeof(ioapic), 0, 0, LAYOUT_IOAPIC, 0 };
	size_t table = table_begin(out, "APIC", 5);

	aml_number(out, LAYOUT_LAPIC, 4);
	aml_number(out, MADT_PCAT_COMPAT, 4);
	for (unsigned int i = 0; i < info->n_vcpus; i++) {
		const struct __attribute__((packed)) {
			uint8_t type, length, processor_uid, apic_id;
			uint32_t flags;
		} lapic = { 0, sizeof(lapic), (uint8_t)i, (uint8_t)i, MADT_LAPIC_ENABLED };

		aml_bytes(out, &lapic, sizeof(lapic));
	}
	aml_bytes(out, &ioapic, sizeof(ioapic));
	return table_end(out, table);
}

static uint64_t write_xsdt(struct aml *out, uint64_t fadt, uint64_t madt)
{
	size_t table = table_begin(out, "XSDT", 1);

	aml_number(out, fadt, 8);
	aml_number(out, madt, 8);
	return table_end(out, table);
}

static struct acpi_rsdp make_rsdp(uint64_t xsdt)
{
	struct acpi_rsdp rsdp = {
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem_id = { 'M', 'O', 'T', 'E', ' ', ' ' },
		.revision = 2,
		.length = sizeof(rsdp),
		.xsdt = xsdt,
	};

	rsdp.checksum = table_checksum(&rsdp, RSDP_V1_SIZE);
	rsdp.extended_checksum = table_checksum(&rsdp, sizeof(rsdp));
	return rsdp;
}

static int check_info(const struct platform_info *info, struct error *err)
{
	if (info->n_vcpus < 1 || info->n_vcpus > LAPIC_IDS)
		return error_set(err, EINVAL, "ACPI tables: %u processors", info->n_vcpus);
	for (unsigned int i = 0; i < info->n_virtio; i++) {
		const struct platform_virtio *v = &info->virtio[i];

		if (v->mmio_base > UINT32_MAX - (VIRTIO_MMIO_SIZE - 1) || v->gsi >= IOAPIC_PINS)
			return error_set(err, EINVAL,
					 "ACPI tables: virtio %u at 0x%" PRIx64 ", GSI %u", i,
					 v->mmio_base, v->gsi);
	}
	return 0;
}

int acpi_write_tables(struct guest_memory *memory, const struct platform_info *info,
		      struct error *err)
{
	struct aml out = {
		.data = guest_memory_at(memory, LAYOUT_RSDP, TABLES_SIZE),
		.size = TABLES_SIZE,
		.len = sizeof(struct acpi_rsdp), /* written last */
	};

	int rc = check_info(info, err);

	if (rc < 0)
		return rc;
	if (!out.data)
		return error_set(err, ENOSPC, "ACPI tables: no guest memory at 0x%llx",
				 LAYOUT_RSDP);
	uint64_t dsdt = write_dsdt(&out, info);
	uint64_t fadt = write_fadt(&out, info, dsdt);
	uint64_t madt = write_madt(&out, info);
	struct acpi_rsdp rsdp = make_rsdp(write_xsdt(&out, fadt, madt));

	if (out.overflow)
		return error_set(err, ENOSPC, "ACPI tables: more than %llu bytes", TABLES_SIZE);
	memcpy(out.data, &rsdp, sizeof(rsdp));
	guest_memory_mark_dirty(memory, out.data, out.len);
	return 0;
}
