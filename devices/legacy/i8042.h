/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the 8042 keyboard controller that microVM guests use: the reset pulse (command 0xfe
 * to port 0x64), and a keyboard that only ever sends Ctrl-Alt-Del (for the API action). Commands of
 * controller and keyboard get the answers that drivers wait for, so that none runs into a timeout.
 * There is no AUX port (mouse).
 */
#ifndef MOTE_DEVICES_I8042_H
#define MOTE_DEVICES_I8042_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/irq.h"
#include "vmm/bus.h"
#include "vmm/error.h"

#define I8042_BASE 0x60u
#define I8042_SIZE 5 /* data 0x60, command and status 0x64 */
#define I8042_GSI  1

#define I8042_PENDING_MAX 16

struct i8042_state {
	uint8_t control; /* the controller's command byte ("CTR") */
	uint8_t output_port;
	uint8_t command;	  /* controller command that waits for its data byte; 0 = none */
	uint8_t kbd_command;	  /* the same for the keyboard */
	uint8_t last_was_command; /* status bit 3: 0 or 1 */
	uint8_t has_response,
		response; /* the controller's answer, read before the keyboard's bytes */
	uint8_t n_pending;
	uint8_t pending[I8042_PENDING_MAX]; /* bytes of the keyboard, oldest first */
};

/* Bytes; missed: where no register is. errors: Ctrl-Alt-Del that the guest had no room for. */
struct i8042_counters {
	uint64_t reads, writes, missed_reads, missed_writes, resets, errors;
};

struct i8042 {
	pthread_mutex_t lock;
	struct irq_line irq; /* owned */
	struct i8042_state regs;
	struct i8042_counters counters;
	void (*on_reset)(void *context); /* called on a vCPU thread, perhaps several times */
	void *context;
};

extern const struct bus_ops i8042_bus_ops; /* device pointer: struct i8042 * */

int i8042_init(struct i8042 *i8042, void (*on_reset)(void *), void *context, struct error *err);
void i8042_release(struct i8042 *i8042);

/* Press and release Ctrl-Alt-Del; any thread. -EBUSY when the guest hasn't read earlier bytes. */
int i8042_ctrl_alt_del(struct i8042 *i8042, struct error *err);

/* Any thread. */
void i8042_read_counters(struct i8042 *i8042, struct i8042_counters *counters);

void i8042_save(struct i8042 *i8042, struct i8042_state *state);
/* Raises the interrupt if a byte waits. Errors: -EINVAL for a state that can't be. */
int i8042_restore(struct i8042 *i8042, const struct i8042_state *state, struct error *err);

#endif
