/* SPDX-License-Identifier: Apache-2.0 */
/* Between the two halves of the serial port: serial.c, the registers, and serial_host.c, the host. */
#ifndef MOTE_DEVICES_SERIAL_HOST_H
#define MOTE_DEVICES_SERIAL_HOST_H

#include "devices/legacy/serial.h"

/* serial_host.c */
int serial_host_init(struct serial *serial, int in_fd, int out_fd, struct error *err);
void serial_host_release(struct serial *serial);
/* The guest sent a byte. With the lock held. */
void serial_host_transmit(struct serial *serial, uint8_t byte);
/*
 * After every access of the guest, with the lock held: writes, or wakes the loop's thread, as the
 * access has made it necessary. Lets go of the lock while it writes.
 */
void serial_host_settle(struct serial *serial);

/* serial.c */
/* How many bytes the guest would take now. With the lock held. */
unsigned int serial_rx_room(const struct serial *serial);
/* Bytes from the host, at most as many as there was room for. Without the lock. */
void serial_receive(struct serial *serial, const uint8_t *bytes, unsigned int n);

#endif
