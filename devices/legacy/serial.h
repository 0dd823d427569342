/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 16550A UART (National Semiconductor PC16550D), the guest's console, wired as a PC's COM port:
 * MCR's OUT2 connects its interrupt, an edge each time that a cause becomes pending.
 *
 * Output goes to a descriptor that may block for ever: bytes wait in a bounded buffer, what doesn't
 * fit is dropped and counted, and no vCPU ever waits. A line is written when it's complete, an
 * unfinished one after SERIAL_FLUSH_NS, so that neither a byte nor a prompt costs its own write(2).
 *
 * Input is taken from its descriptor only while the guest's receive FIFO has room, so that a flood
 * grows nothing, and only while somebody listens: RTS or the receive interrupt is on, or the guest
 * polls. A driver clears the FIFO when it starts; input that came earlier would be lost.
 *
 * serial.c is the register model, serial_host.c the host's side.
 */
#ifndef MOTE_DEVICES_SERIAL_H
#define MOTE_DEVICES_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/backend/rate_limiter.h"
#include "devices/irq.h"
#include "devices/legacy/host_stream.h"
#include "vmm/bus.h"
#include "vmm/error.h"
#include "vmm/loop.h"

#define SERIAL_SIZE	   8 /* registers */
#define SERIAL_RX_FIFO	   16
#define SERIAL_TX_BUFFER   (64 * 1024)
#define SERIAL_FLUSH_NS	   1000000 /* longest stay of a byte in the buffer of a ready descriptor */
#define SERIAL_FLUSH_BYTES 4096	   /* so many are written at once, finished line or not */

struct serial_counters {
	uint64_t rx_bytes;   /* taken from the host */
	uint64_t tx_bytes;   /* sent by the guest */
	uint64_t tx_dropped; /* of these: found the buffer full, or the descriptor broken */
	uint64_t tx_limited; /* of tx_bytes too: dropped because of the rate limit */
	uint64_t rx_missed;  /* of rx_bytes: the guest had closed its receiver meanwhile */
};

struct serial_state {
	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr; /* fcr: enable and trigger; lsr: errors only */
	uint8_t thr_pending;			   /* "transmitter empty" not yet told: 0 or 1 */
	uint16_t divisor;
	uint8_t rx_count; /* bytes in rx, oldest first */
	uint8_t polls;	  /* reads of an LSR without data since another register was used */
	uint8_t rx[SERIAL_RX_FIFO];
	uint8_t reserved[4];
};

enum serial_wake { SERIAL_WAKE_NONE, SERIAL_WAKE_SOON, SERIAL_WAKE_NOW };

struct serial {
	struct loop *loop;    /* borrowed */
	struct irq_line irq;  /* owned */
	pthread_mutex_t lock; /* never held while the host reads or writes */
	struct serial_state regs;
	struct serial_counters counters;
	struct token_bucket tx_limit; /* all zero: none */

	struct host_stream in, out;
	struct loop_source in_source, out_source, wake_source; /* the loop's thread only */
	bool in_watched, out_watched;
	int wake_fd;		   /* timerfd: calls the loop's thread to write or to read on */
	enum serial_wake wake;	   /* what the timer is set for */
	bool in_stalled;	   /* input waits for the guest; who makes room sets the timer */
	bool flush_due;		   /* a line or SERIAL_FLUSH_BYTES are complete */
	bool flushing;		   /* a thread is writing from the ring */
	bool out_failed;	   /* logged */
	uint32_t tx_start, tx_len; /* ring in tx */
	uint8_t *tx;		   /* SERIAL_TX_BUFFER bytes; NULL without output */
};

extern const struct bus_ops serial_bus_ops; /* device pointer: struct serial * */

/*
 * in_fd, out_fd: -1 for none; borrowed for this call only, the device keeps descriptors of its own.
 * serial may be uninitialised memory and must not move afterwards. SIGPIPE must be ignored.
 * Errors: eventfd, timerfd, epoll, descriptors that aren't open.
 */
int serial_init(struct serial *serial, struct loop *loop, int in_fd, int out_fd, struct error *err);
/*
 * After the vCPUs have stopped, on the loop's thread: writes what is pending while the other side
 * takes some of it every SERIAL_RELEASE_STALL_MS, SERIAL_RELEASE_MS at most, then releases.
 */
#define SERIAL_RELEASE_STALL_MS 100
#define SERIAL_RELEASE_MS	1000
void serial_release(struct serial *serial);

/*
 * Drop what the guest sends beyond limit, which replaces the one before; without one in the
 * beginning. Any thread. Limits aren't part of the saved state.
 */
void serial_set_limit(struct serial *serial, const struct rate_limit *limit);

/* Any thread. */
void serial_read_counters(struct serial *serial, struct serial_counters *counters);

/* What the guest sent is the host's: pending output isn't part of the state. */
void serial_save(struct serial *serial, struct serial_state *state);
/* Raises the interrupt if a cause is pending. Errors: -EINVAL for a state that can't be. */
int serial_restore(struct serial *serial, const struct serial_state *state, struct error *err);

#endif
