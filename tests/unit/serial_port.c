/* SPDX-License-Identifier: Apache-2.0 */
#include "serial_port.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BASE 0x3f8

void port_open(struct port *port, int in_fd, int out_fd)
{
	memset(port, 0, sizeof(*port));
	assert_int_equal(loop_init(&port->loop, NULL), 0);
	assert_int_equal(serial_init(&port->serial, &port->loop, in_fd, out_fd, NULL), 0);
	assert_int_equal(
		bus_add(&port->bus, BASE, SERIAL_SIZE, &serial_bus_ops, &port->serial, NULL), 0);
}

void port_close(struct port *port)
{
	serial_release(&port->serial);
	loop_release(&port->loop);
}

uint8_t port_in(struct port *port, unsigned int reg)
{
	uint8_t value;

	assert_true(bus_read(&port->bus, BASE + reg, &value, 1));
	return value;
}

void port_out(struct port *port, unsigned int reg, uint8_t value)
{
	assert_true(bus_write(&port->bus, BASE + reg, &value, 1));
}

void port_print(struct port *port, const char *text)
{
	while (*text)
		port_out(port, UART_TX, (uint8_t)*text++);
}

unsigned int port_interrupts(struct port *port)
{
	uint64_t count = 0;

	return read(port->serial.irq.eventfd, &count, sizeof(count)) == sizeof(count)
		       ? (unsigned int)count
		       : 0;
}

void port_start_driver(struct port *port, uint8_t ier)
{
	port_out(port, UART_FCR, UART_FCR_ENABLE_FIFO);
	port_out(port, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	port_out(port, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_R_TRIG_10);
	port_out(port, UART_LCR, UART_LCR_WLEN8);
	port_out(port, UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
	port_out(port, UART_IER, ier);
}

int port_run(struct port *port, int idle_ms)
{
	int n, total = 0;

	while ((n = loop_run_once(&port->loop, idle_ms, NULL)) > 0)
		total += n;
	return total;
}

const char *port_receive(struct port *port, char *buf)
{
	unsigned int n = 0;

	while (port_in(port, UART_LSR) & UART_LSR_DR) {
		assert_true(n < SERIAL_RX_FIFO);
		buf[n++] = (char)port_in(port, UART_RX);
	}
	buf[n] = 0;
	return buf;
}

struct serial_counters port_counters(struct port *port)
{
	struct serial_counters counters;

	serial_read_counters(&port->serial, &counters);
	return counters;
}

void open_pipe(int fds[2], bool reader_waits)
{
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	if (!reader_waits)
		assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
}

void open_pty(int *master, int *slave)
{
	char name[64];

	*master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*master >= 0);
	assert_int_equal(grantpt(*master), 0);
	assert_int_equal(unlockpt(*master), 0);
	assert_int_equal(ptsname_r(*master, name, sizeof(name)), 0);
	*slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*slave >= 0);
}

char port_pattern(size_t i)
{
	return (char)('!' + (i * 31 + i / 251) % 90);
}
