/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An interrupt line as devices see it: an eventfd that the vmm connects to a GSI (KVM_IRQFD), or
 * that a test reads. Edge: each raise is one interrupt.
 */
#ifndef MOTE_DEVICES_IRQ_H
#define MOTE_DEVICES_IRQ_H

#include <stdatomic.h>
#include <stdint.h>

#include "vmm/error.h"

struct irq_line {
	int eventfd; /* -1 while closed */
	_Atomic uint64_t raised; /* times, since it was opened */
};

int irq_line_open(struct irq_line *irq, struct error *err);
void irq_line_close(struct irq_line *irq);
void irq_line_raise(struct irq_line *irq);

#endif
