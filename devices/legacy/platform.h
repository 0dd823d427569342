/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three devices of one register each:
 *  - ACPI sleep control (hardware-reduced ACPI 6.5 §4.8.3.7): the guest's way to power off;
 *  - pvpanic (QEMU's interface, Linux drivers/misc/pvpanic): the guest says that it panicked;
 *  - boot timer (Firecracker's interface): the guest writes 123 when it has booted.
 * None has state to save.
 */
#ifndef MOTE_DEVICES_PLATFORM_H
#define MOTE_DEVICES_PLATFORM_H

#include <stdint.h>

#include "vmm/bus.h"

#define ACPI_SLEEP_BASE	     0x600u /* port: control at +0, status at +1 */
#define ACPI_SLEEP_SIZE	     2
#define ACPI_SLEEP_TYPE_S5   5
#define PVPANIC_BASE	     0x505u /* port */
#define PVPANIC_SIZE	     1
#define PVPANIC_PANICKED     0x01u
#define PVPANIC_CRASH_LOADED 0x02u
#define BOOT_TIMER_VALUE     123

/* One guest event and whom to tell; events come on vCPU threads. */
struct platform_device {
	void (*notify)(void *context, uint32_t value);
	void *context;
};

/* device pointers: struct platform_device *. */
extern const struct bus_ops acpi_sleep_bus_ops; /* notify(5) when the guest enters S5 */
extern const struct bus_ops pvpanic_bus_ops;	/* notify(event bits), unknown bits masked */
extern const struct bus_ops boot_timer_bus_ops; /* notify(123), each time it's written */

#endif
