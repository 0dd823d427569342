/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/legacy/platform.h"
#include "vmm/boot/platform.h"

struct notes {
	int n;
	uint32_t last;
};

static void note(void *context, uint32_t value)
{
	struct notes *notes = context;

	notes->n++;
	notes->last = value;
}

static void write_byte(struct bus *bus, uint64_t address, uint8_t value)
{
	assert_true(bus_write(bus, address, &value, 1));
}

static void only_s5_ends_the_machine(void **state)
{
	struct notes notes = { 0 };
	struct platform_device device = { note, &notes };
	struct bus bus = { 0 };
	uint8_t data[4];

	(void)state;
	assert_int_equal(
		bus_add(&bus, ACPI_SLEEP_BASE, ACPI_SLEEP_SIZE, &acpi_sleep_bus_ops, &device, NULL),
		0);
	/* ACPICA's acpi_hw_extended_sleep(): clear WAK_STS, then SLP_TYP 5 with SLP_EN. */
	write_byte(&bus, ACPI_SLEEP_BASE + 1, 0x80);
	assert_int_equal(notes.n, 0);
	write_byte(&bus, ACPI_SLEEP_BASE, 5 << 2 | 0x20);
	assert_int_equal(notes.n, 1);
	assert_int_equal(notes.last, ACPI_SLEEP_TYPE_S5);
	/* It waits for WAK_STS, which never comes. */
	assert_true(bus_read(&bus, ACPI_SLEEP_BASE + 1, data, 1));
	assert_int_equal(data[0], 0);
	/* Without SLP_EN, with another type, at the other register: nothing. */
	write_byte(&bus, ACPI_SLEEP_BASE, 5 << 2);
	write_byte(&bus, ACPI_SLEEP_BASE, 3 << 2 | 0x20);
	write_byte(&bus, ACPI_SLEEP_BASE + 1, 5 << 2 | 0x20);
	assert_int_equal(notes.n, 1);
	memcpy(data, "\x34\x34", 2);
	assert_true(bus_write(&bus, ACPI_SLEEP_BASE, data, 2));
	assert_int_equal(notes.n, 2);
	assert_false(bus_write(&bus, ACPI_SLEEP_BASE, data, 4));
	assert_int_equal(notes.n, 2);
}

static void pvpanic_tells_known_events(void **state)
{
	struct notes notes = { 0 };
	struct platform_device device = { note, &notes };
	struct bus bus = { 0 };
	uint8_t events;

	(void)state;
	assert_int_equal(bus_add(&bus, PVPANIC_BASE, PVPANIC_SIZE, &pvpanic_bus_ops, &device, NULL),
			 0);
	assert_true(bus_read(&bus, PVPANIC_BASE, &events, 1));
	assert_int_equal(events, PVPANIC_PANICKED | PVPANIC_CRASH_LOADED);
	write_byte(&bus, PVPANIC_BASE, PVPANIC_PANICKED);
	assert_int_equal(notes.n, 1);
	assert_int_equal(notes.last, PVPANIC_PANICKED);
	write_byte(&bus, PVPANIC_BASE, 0xfe);
	assert_int_equal(notes.n, 2);
	assert_int_equal(notes.last, PVPANIC_CRASH_LOADED);
	write_byte(&bus, PVPANIC_BASE, 0xfc);
	assert_int_equal(notes.n, 2);
}

static void the_boot_timer_takes_123(void **state)
{
	struct notes notes = { 0 };
	struct platform_device device = { note, &notes };
	struct bus bus = { 0 };
	uint8_t data[8] = { BOOT_TIMER_VALUE };

	(void)state;
	assert_int_equal(
		bus_add(&bus, LAYOUT_BOOT_TIMER, 0x1000, &boot_timer_bus_ops, &device, NULL), 0);
	write_byte(&bus, LAYOUT_BOOT_TIMER, 122);
	write_byte(&bus, LAYOUT_BOOT_TIMER + 1, BOOT_TIMER_VALUE);
	assert_int_equal(notes.n, 0);
	for (unsigned int len = 1; len <= 8; len *= 2)
		assert_true(bus_write(&bus, LAYOUT_BOOT_TIMER, data, len));
	assert_int_equal(notes.n, 4);
	assert_int_equal(notes.last, BOOT_TIMER_VALUE);
	data[1] = 1;
	assert_true(bus_write(&bus, LAYOUT_BOOT_TIMER, data, 2));
	assert_int_equal(notes.n, 4);
	assert_true(bus_read(&bus, LAYOUT_BOOT_TIMER, data, 8));
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_s5_ends_the_machine),
		cmocka_unit_test(pvpanic_tells_known_events),
		cmocka_unit_test(the_boot_timer_takes_123),
	};

	return cmocka_run_group_tests_name("platform", tests, NULL, NULL);
}
