/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: the keyboard controller and the platform's single registers, by ports and saved states. */
#include "devices/legacy/i8042.h"
#include "devices/legacy/platform.h"
#include "input.h"
#include "machine.h"
#include "vmm/bus.h"

#define STEPS_MAX 1024

struct board {
	struct input in;
	struct bus bus;
	struct i8042 i8042;
	unsigned int resets;
};

static void on_reset(void *context)
{
	((struct board *)context)->resets++;
}

static void on_sleep(void *context, uint32_t value)
{
	(void)context;
	must(value == ACPI_SLEEP_TYPE_S5);
}

static void on_panic(void *context, uint32_t value)
{
	(void)context;
	must(value != 0 && (value & ~(PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)) == 0);
}

static void on_boot_timer(void *context, uint32_t value)
{
	(void)context;
	must(value == BOOT_TIMER_VALUE);
}

static void any_port(struct board *b, uint8_t how)
{
	static const uint16_t bases[] = { I8042_BASE,	   I8042_BASE + 4,     I8042_BASE + 1,
					  ACPI_SLEEP_BASE, ACPI_SLEEP_BASE + 1, PVPANIC_BASE,
					  0x1000 };
	unsigned int len = 1u << (how >> 3 & 3);
	uint8_t data[8];

	if (how & 32) {
		bus_read(&b->bus, bases[(how & 7) % 7], data, len);
		return;
	}
	input_bytes(&b->in, data, len);
	bus_write(&b->bus, bases[(how & 7) % 7], data, len);
}

static void save_and_restore(struct board *b)
{
	struct i8042_state state, again;
	struct error err = { 0 };

	i8042_save(&b->i8042, &state);

	unsigned int patches = input_patch(&b->in, &state, sizeof(state));

	if (i8042_restore(&b->i8042, &state, &err) < 0) {
		must(patches > 0 && err.message[0]);
		return;
	}
	i8042_save(&b->i8042, &again);
	must(patches > 0 || memcmp(&state, &again, sizeof(state)) == 0);
}

static void step(struct board *b)
{
	uint8_t op = input_u8(&b->in);
	struct error err = { 0 };

	if (op < 192)
		any_port(b, op);
	else if (op < 224)
		save_and_restore(b);
	else if (i8042_ctrl_alt_del(&b->i8042, &err) < 0)
		must(err.message[0]);
	must(b->i8042.regs.n_pending <= I8042_PENDING_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct board b = { .in = { data, size } };
	struct platform_device sleep = { on_sleep, &b }, panic = { on_panic, &b };
	struct platform_device boot_timer = { on_boot_timer, &b };

	machine_begin();
	must(i8042_init(&b.i8042, on_reset, &b, NULL) == 0);
	must(bus_add(&b.bus, I8042_BASE, I8042_SIZE, &i8042_bus_ops, &b.i8042, NULL) == 0 &&
	     bus_add(&b.bus, ACPI_SLEEP_BASE, ACPI_SLEEP_SIZE, &acpi_sleep_bus_ops, &sleep, NULL) == 0 &&
	     bus_add(&b.bus, PVPANIC_BASE, PVPANIC_SIZE, &pvpanic_bus_ops, &panic, NULL) == 0 &&
	     bus_add(&b.bus, 0x1000, 0x1000, &boot_timer_bus_ops, &boot_timer, NULL) == 0);
	for (unsigned int i = 0; i < STEPS_MAX && b.in.left > 0; i++)
		step(&b);
	i8042_release(&b.i8042);
	machine_end();
	return 0;
}
