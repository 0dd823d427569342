/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550A UART (National Semiconductor PC16550D), the guest's console. Output goes to a file
 * descriptor that may block for ever: bytes wait in a bounded buffer, what doesn't fit is dropped
 * and counted, and no vCPU ever waits. Input is taken from its descriptor only while the guest's
 * receive FIFO has room, so that a flood grows nothing.
 */
#ifndef MOTE_DEVICES_SERIAL_H
#define MOTE_DEVICES_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/irq.h"
#include "vmm/bus.h"
#include "vmm/error.h"
#include "vmm/loop.h"

#define SERIAL_SIZE        8      /* registers */
#define SERIAL_RX_FIFO     16
#define SERIAL_TX_BUFFER   (64 * 1024)

struct serial_counters {
	uint64_t rx_bytes;
	uint64_t tx_bytes;
	uint64_t tx_dropped; /* bytes that found the buffer full */
	uint64_t rx_missed;
};

struct serial_state {
	uint8_t ier, iir, lcr, mcr, lsr, msr, scr, fcr;
	uint16_t divisor;
	uint8_t rx_count, thr_pending;
	uint8_t rx[SERIAL_RX_FIFO];
	uint8_t reserved[4];
};

struct serial {
	struct loop *loop;           /* borrowed */
	struct irq_line irq;         /* owned */
	pthread_mutex_t lock;
	struct serial_state regs;
	struct serial_counters counters;
	int in_fd;                   /* borrowed; -1 = no input */
	int out_fd;                  /* owned when reopened non-blocking, see serial.c; -1 = discard */
	bool out_owned;
	struct loop_source in_source, out_source;
	uint32_t tx_start, tx_len;   /* ring in tx */
	uint8_t *tx;                 /* SERIAL_TX_BUFFER bytes, allocated on first need */
};

extern const struct bus_ops serial_bus_ops; /* device pointer: struct serial * */

/* in_fd, out_fd: -1 for none. Errors: eventfd, epoll, allocation. */
int serial_init(struct serial *serial, struct loop *loop, int in_fd, int out_fd, struct error *err);
/* Writes what it can of the pending output without blocking, then releases. */
void serial_release(struct serial *serial);

void serial_save(struct serial *serial, struct serial_state *state);
int serial_restore(struct serial *serial, const struct serial_state *state, struct error *err);

#endif
