/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables byte by byte, at the offsets of the specification; tests/reference has them
 * judged by ACPICA.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/boot/aml.h"
#include "vmm/boot/platform.h"
#include "vmm/util.h"

struct tables {
	struct guest_memory memory;
	struct platform_virtio virtio[19];
	struct platform_info info;
	const uint8_t *xsdt, *fadt, *madt, *dsdt;
};

static uint64_t number(const uint8_t *p, unsigned int n)
{
	uint64_t value = 0;

	memcpy(&value, p, n);
	return value;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t total = 0;

	while (n-- > 0)
		total += *p++;
	return total;
}

/* A table by its address: header and checksum are right, and it's where tables may be. */
static const uint8_t *table(struct tables *t, uint64_t gpa, const char *signature)
{
	assert_in_range(gpa, LAYOUT_RSDP, LAYOUT_TABLES_END - 36);
	const uint8_t *p = guest_memory_at(&t->memory, gpa, 36);

	assert_memory_equal(p, signature, 4);
	assert_true(gpa + number(p + 4, 4) <= LAYOUT_TABLES_END);
	assert_int_equal(sum(p, number(p + 4, 4)), 0);
	return p;
}

static void tables_write(struct tables *t, unsigned int n_vcpus, unsigned int n_virtio, bool serial)
{
	memset(t, 0, sizeof(*t));
	assert_int_equal(guest_memory_add(&t->memory, 0, 2 * MIB, MEMORY_BACKING_NONE, true, NULL),
			 0);
	for (unsigned int i = 0; i < n_virtio; i++)
		t->virtio[i] = (struct platform_virtio){ LAYOUT_VIRTIO_MMIO + i * 0x1000,
							 VIRTIO_GSI_FIRST + i };
	t->info = (struct platform_info){
		.n_vcpus = n_vcpus, .serial = serial, .n_virtio = n_virtio, .virtio = t->virtio
	};
	assert_int_equal(acpi_write_tables(&t->memory, &t->info, NULL), 0);

	const uint8_t *rsdp = guest_memory_at(&t->memory, LAYOUT_RSDP, 36);

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(number(rsdp + 16, 4), 0);
	assert_int_equal(number(rsdp + 20, 4), 36);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	t->xsdt = table(t, number(rsdp + 24, 8), "XSDT");
	assert_int_equal(number(t->xsdt + 4, 4), 36 + 2 * 8);
	t->fadt = table(t, number(t->xsdt + 36, 8), "FACP");
	t->madt = table(t, number(t->xsdt + 44, 8), "APIC");
	t->dsdt = table(t, number(t->fadt + 140, 8), "DSDT");
}

static void tables_release(struct tables *t)
{
	guest_memory_release(&t->memory);
}

static void assert_port_register(const uint8_t *gas, uint64_t port)
{
	assert_int_equal(gas[0], 1); /* system I/O */
	assert_int_equal(gas[1], 8);
	assert_int_equal(gas[2], 0);
	assert_int_equal(gas[3], 1);
	assert_int_equal(number(gas + 4, 8), port);
}

static void fadt_is_hardware_reduced(void **state)
{
	static const uint8_t zeros[96];
	struct tables t;

	(void)state;
	tables_write(&t, 1, 0, true);
	assert_int_equal(number(t.fadt + 4, 4), 276);
	assert_int_equal(t.fadt[8], 6);
	assert_int_equal(t.fadt[131], 5);
	/* No FACS, SCI or fixed registers. */
	assert_memory_equal(t.fadt + 36, zeros, 4);
	assert_memory_equal(t.fadt + 46, zeros, 50);
	assert_memory_equal(t.fadt + 148, zeros, 96);
	/* HW_REDUCED, RESET_REG_SUP, no fixed buttons or RTC wake, C1, WBINVD. */
	assert_int_equal(number(t.fadt + 112, 4),
			 1 << 20 | 1 << 10 | 1 << 6 | 1 << 5 | 1 << 4 | 1 << 2 | 1);
	/* ISA devices and 8042 present; no VGA, MSI, ASPM, CMOS clock. */
	assert_int_equal(number(t.fadt + 109, 2), 0x3f);
	assert_port_register(t.fadt + 116, 0x64);
	assert_int_equal(t.fadt[128], 0xfe);
	assert_port_register(t.fadt + 244, 0x600);
	assert_port_register(t.fadt + 256, 0x601);
	tables_release(&t);

	tables_write(&t, 1, 0, false);
	assert_int_equal(number(t.fadt + 109, 2), 0x3e);
	tables_release(&t);
}

static void madt_lists_processors_and_ioapic(void **state)
{
	static const unsigned int counts[] = { 1, 4, 32, 255 };
	struct tables t;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(counts); i++) {
		unsigned int cpus = 0, ioapics = 0;

		tables_write(&t, counts[i], 0, true);
		assert_int_equal(number(t.madt + 36, 4), 0xfee00000);
		assert_int_equal(number(t.madt + 40, 4), 1);
		for (size_t at = 44; at < number(t.madt + 4, 4); at += t.madt[at + 1]) {
			const uint8_t *e = t.madt + at;

			switch (e[0]) {
			case 0:
				assert_int_equal(e[1], 8);
				assert_int_equal(e[2], cpus);
				assert_int_equal(e[3], cpus++);
				assert_int_equal(number(e + 4, 4), 1);
				break;
			case 1:
				ioapics++;
				assert_int_equal(e[1], 12);
				assert_int_equal(number(e + 4, 4), 0xfec00000);
				assert_int_equal(number(e + 8, 4), 0);
				break;
			default:
				fail_msg("MADT entry of type %u", e[0]);
			}
		}
		assert_int_equal(cpus, counts[i]);
		assert_int_equal(ioapics, 1);
		tables_release(&t);
	}
}

/* How often bytes occur in the DSDT. */
static unsigned int occurrences(struct tables *t, const void *bytes, size_t n)
{
	size_t len = number(t->dsdt + 4, 4);
	unsigned int count = 0;

	for (size_t i = 36; i + n <= len; i++)
		count += memcmp(t->dsdt + i, bytes, n) == 0;
	return count;
}

static void dsdt_names_every_device(void **state)
{
	static const uint8_t pnp0501[] = { 0x0c, 0x41, 0xd0, 0x05, 0x01 };
	static const uint8_t pnp0303[] = { 0x0c, 0x41, 0xd0, 0x03, 0x03 };
	static const uint8_t com1[] = { 0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 0, 8, 0x89,
					6,    0, 3,    1,    4,	   0,	 0, 0 };
	static const uint8_t pvpanic[] = { 0x47, 1, 0x05, 0x05, 0x05, 0x05, 0, 1, 0x79 };
	static const uint8_t s5[] = { 0x08, '_', 'S', '5', '_', 0x12, 0x04, 0x01, 0x0a, 0x05 };
	static const unsigned int counts[] = { 0, 3, 19 };
	struct tables t;

	(void)state;
	for (unsigned int c = 0; c < ARRAY_SIZE(counts); c++) {
		tables_write(&t, 1, counts[c], true);
		assert_int_equal(t.dsdt[8], 2); /* integers of 64 bits */
		assert_int_equal(occurrences(&t, "LNRO0005", 9), counts[c]);
		assert_int_equal(occurrences(&t, "QEMU0001", 9), 1);
		assert_int_equal(occurrences(&t, pnp0501, sizeof(pnp0501)), 1);
		assert_int_equal(occurrences(&t, pnp0303, sizeof(pnp0303)), 1);
		assert_int_equal(occurrences(&t, com1, sizeof(com1)), 1);
		assert_int_equal(occurrences(&t, pvpanic, sizeof(pvpanic)), 1);
		assert_int_equal(occurrences(&t, s5, sizeof(s5)), 1);
		for (unsigned int i = 0; i < counts[c]; i++) {
			uint8_t crs[] = { 0x86, 9, 0, 1, 0, 0x10 + i * 0x10, 0, 0xc0, 0, 0x10, 0, 0,
					  0x89, 6, 0, 3, 1, 5 + i,	     0, 0,    0 };

			if (i >= 15)
				crs[5] = (uint8_t)(0x10 + i * 0x10), crs[6] = 1;
			assert_int_equal(occurrences(&t, crs, sizeof(crs)), 1);
		}
		tables_release(&t);
	}
	tables_write(&t, 1, 0, false);
	assert_int_equal(occurrences(&t, pnp0501, sizeof(pnp0501)), 0);
	/* Small: a guest interprets every byte of it while it boots. */
	assert_true(number(t.dsdt + 4, 4) < 200);
	tables_release(&t);
}

static void writes_are_marked_dirty(void **state)
{
	struct tables t;

	(void)state;
	tables_write(&t, 32, 19, true);
	assert_true(guest_memory_is_dirty(&t.memory, LAYOUT_RSDP));
	assert_false(guest_memory_is_dirty(&t.memory, LAYOUT_RSDP - 1));
	assert_false(guest_memory_is_dirty(&t.memory, LAYOUT_TABLES_END - 1));
	tables_release(&t);
}

static void what_does_not_fit_is_an_error(void **state)
{
	static struct platform_virtio many[4000];
	struct platform_virtio one = { LAYOUT_VIRTIO_MMIO, 24 };
	struct platform_info info = { .n_vcpus = 0 };
	struct guest_memory memory = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0, 1 * MIB, MEMORY_BACKING_NONE, false, NULL),
			 0);
	assert_int_equal(acpi_write_tables(&memory, &info, &err), -EINVAL);
	assert_string_equal(err.message, "ACPI tables: 0 processors");
	info.n_vcpus = 256;
	assert_int_equal(acpi_write_tables(&memory, &info, &err), -EINVAL);
	info = (struct platform_info){ .n_vcpus = 1, .n_virtio = 1, .virtio = &one };
	assert_int_equal(acpi_write_tables(&memory, &info, &err), -EINVAL);
	assert_string_equal(err.message, "ACPI tables: virtio 0 at 0xc0001000, GSI 24");
	one = (struct platform_virtio){ 0xfffff000, 23 };
	assert_int_equal(acpi_write_tables(&memory, &info, &err), 0);
	one.mmio_base = 0xfffff001;
	assert_int_equal(acpi_write_tables(&memory, &info, &err), -EINVAL);
	info.n_virtio = ARRAY_SIZE(many);
	info.virtio = many;
	assert_int_equal(acpi_write_tables(&memory, &info, &err), -ENOSPC);
	assert_string_equal(err.message, "ACPI tables: more than 131072 bytes");
	guest_memory_release(&memory);

	info.n_virtio = 0;
	assert_int_equal(guest_memory_add(&memory, 0, 640 * KIB, MEMORY_BACKING_NONE, false, NULL),
			 0);
	assert_int_equal(acpi_write_tables(&memory, &info, &err), -ENOSPC);
	assert_string_equal(err.message, "ACPI tables: no guest memory at 0xe0000");
	guest_memory_release(&memory);
}

/* The length in front of an object counts itself; its own size depends on it (§20.2.4). */
static void package_lengths(void **state)
{
	static const struct {
		size_t content; /* behind the name */
		uint8_t encoded[4];
		size_t n;
	} cases[] = {
		{ 0, { 5 }, 1 },
		{ 58, { 63 }, 1 },
		{ 59, { 0x41, 0x04 }, 2 },		    /* 65 */
		{ 4089, { 0x4f, 0xff }, 2 },		    /* 4095 */
		{ 4090, { 0x81, 0x00, 0x01 }, 3 },	    /* 4097 */
		{ 1048568, { 0x8f, 0xff, 0xff }, 3 },	    /* 2^20 - 1 */
		{ 1048569, { 0xc1, 0x00, 0x00, 0x01 }, 4 }, /* 2^20 + 1 */
	};
	const size_t size = 2 * MIB;
	uint8_t *data = malloc(size), *zeros = calloc(1, size);

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct aml aml = { .data = data, .size = size };
		size_t mark = aml_begin_scope(&aml, "_SB");

		aml_bytes(&aml, zeros, cases[i].content);
		aml_end(&aml, mark);
		assert_false(aml.overflow);
		assert_int_equal(data[0], 0x10);
		assert_memory_equal(data + 1, cases[i].encoded, cases[i].n);
		assert_memory_equal(data + 1 + cases[i].n, "_SB_", 4);
		assert_int_equal(aml.len, 1 + cases[i].n + 4 + cases[i].content);
	}
	free(data);
	free(zeros);
}

static void integers_take_the_shortest_form(void **state)
{
	static const struct {
		uint64_t value;
		uint8_t bytes[9];
		size_t n;
	} cases[] = {
		{ 0, { 0x00 }, 1 },
		{ 1, { 0x01 }, 1 },
		{ 2, { 0x0a, 2 }, 2 },
		{ 0xff, { 0x0a, 0xff }, 2 },
		{ 0x100, { 0x0b, 0, 1 }, 3 },
		{ 0x10000, { 0x0c, 0, 0, 1, 0 }, 5 },
		{ 0x123456789a, { 0x0e, 0x9a, 0x78, 0x56, 0x34, 0x12, 0, 0, 0 }, 9 },
	};
	uint8_t data[32];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct aml aml = { .data = data, .size = sizeof(data) };

		aml_name_integer(&aml, "_UID", cases[i].value);
		assert_int_equal(aml.len, 5 + cases[i].n);
		assert_memory_equal(data, "\x08_UID", 5);
		assert_memory_equal(data + 5, cases[i].bytes, cases[i].n);
	}
}

static void a_full_buffer_is_reported_and_not_overrun(void **state)
{
	uint8_t data[16];

	(void)state;
	for (size_t size = 0; size < 14; size++) {
		struct aml aml = { .data = data, .size = size };

		memset(data, 0x5a, sizeof(data));
		size_t mark = aml_begin_device(&aml, "COM1"); /* 14 bytes in all */

		aml_name_integer(&aml, "_UID", 5);
		aml_end(&aml, mark);
		assert_true(aml.overflow);
		for (size_t i = size; i < sizeof(data); i++)
			assert_int_equal(data[i], 0x5a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fadt_is_hardware_reduced),
		cmocka_unit_test(madt_lists_processors_and_ioapic),
		cmocka_unit_test(dsdt_names_every_device),
		cmocka_unit_test(writes_are_marked_dirty),
		cmocka_unit_test(what_does_not_fit_is_an_error),
		cmocka_unit_test(package_lengths),
		cmocka_unit_test(integers_take_the_shortest_form),
		cmocka_unit_test(a_full_buffer_is_reported_and_not_overrun),
	};

	return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}
