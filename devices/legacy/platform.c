/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/legacy/platform.h"

#include <string.h>

/* Sleep control register (ACPI 6.5 table 4.27): SLP_TYPx in bits 4:2, SLP_EN in bit 5. */
#define SLEEP_TYPE(value) (((value) >> 2) & 7)
#define SLEEP_ENABLE	  0x20

static void tell(const struct platform_device *device, uint32_t value)
{
	device->notify(device->context, value);
}

/* The status register says that the system didn't wake: WAK_STS is never set. */
static void sleep_read(void *device, uint64_t offset, uint8_t *data, unsigned int len)
{
	(void)device;
	(void)offset;
	memset(data, 0, len);
}

static void sleep_write(void *device, uint64_t offset, const uint8_t *data, unsigned int len)
{
	(void)len;
	if (offset == 0 && data[0] & SLEEP_ENABLE && SLEEP_TYPE(data[0]) == ACPI_SLEEP_TYPE_S5)
		tell(device, ACPI_SLEEP_TYPE_S5);
}

const struct bus_ops acpi_sleep_bus_ops = { .read = sleep_read, .write = sleep_write };

/* Reading tells the driver which events are understood. */
static void pvpanic_read(void *device, uint64_t offset, uint8_t *data, unsigned int len)
{
	(void)device;
	(void)offset;
	memset(data, PVPANIC_PANICKED | PVPANIC_CRASH_LOADED, len);
}

static void pvpanic_write(void *device, uint64_t offset, const uint8_t *data, unsigned int len)
{
	uint32_t events = data[0] & (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED);

	(void)offset;
	(void)len;
	if (events)
		tell(device, events);
}

const struct bus_ops pvpanic_bus_ops = { .read = pvpanic_read, .write = pvpanic_write };

static void boot_timer_read(void *device, uint64_t offset, uint8_t *data, unsigned int len)
{
	(void)device;
	(void)offset;
	memset(data, 0, len);
}

/* Guests write 123 to the first byte, some as a wider little-endian number. */
static void boot_timer_write(void *device, uint64_t offset, const uint8_t *data, unsigned int len)
{
	uint64_t value = 0;

	memcpy(&value, data, len);
	if (offset == 0 && value == BOOT_TIMER_VALUE)
		tell(device, BOOT_TIMER_VALUE);
}

const struct bus_ops boot_timer_bus_ops = { .read = boot_timer_read, .write = boot_timer_write };
