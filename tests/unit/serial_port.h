/* SPDX-License-Identifier: Apache-2.0 */
/* A serial port on a bus and a loop, as the tests of both of its halves use it. */
#ifndef MOTE_TESTS_SERIAL_PORT_H
#define MOTE_TESTS_SERIAL_PORT_H

#include "devices/legacy/serial.h"

/* Registers (offsets) and bits by the names of Linux's include/uapi/linux/serial_reg.h. */
#include <linux/serial_reg.h>

struct port {
	struct loop loop;
	struct bus bus;
	struct serial serial;
};

/* The descriptors stay the caller's. */
void port_open(struct port *port, int in_fd, int out_fd);
void port_close(struct port *port);

uint8_t port_in(struct port *port, unsigned int reg);
void port_out(struct port *port, unsigned int reg, uint8_t value);
void port_print(struct port *port, const char *text);

/* Interrupts since the last call. */
unsigned int port_interrupts(struct port *port);

/* Set up as Linux has it when a process has opened the tty: FIFO on, trigger at 8, RTS and OUT2. */
void port_start_driver(struct port *port, uint8_t ier);

/* Rounds of the loop until it has had nothing to do for idle_ms. Returns events handled. */
int port_run(struct port *port, int idle_ms);

/* What the receive FIFO holds, as a string. buf: at least SERIAL_RX_FIFO + 1 bytes. */
const char *port_receive(struct port *port, char *buf);

struct serial_counters port_counters(struct port *port);

/* For the host's side: read end first; a pseudo-terminal in its normal mode. */
void open_pipe(int fds[2], bool reader_waits);
void open_pty(int *master, int *slave);

/* A byte that tells its position, for streams that must come out exactly. */
char port_pattern(size_t i);

#endif
