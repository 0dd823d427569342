/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: the serial port, between a guest that uses its registers in any way, and a host whose
 * terminal is a socket, a pipe or a file, is full or empty, or goes away.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "devices/legacy/serial.h"
#include "input.h"
#include "machine.h"
#include "vmm/bus.h"
#include "vmm/util.h"

#define STEPS_MAX 1024

enum { SOCKETS, PIPES, FILES, NOTHING };

struct console {
	struct input in;
	struct loop loop;
	struct bus bus;
	struct serial serial;
	int kind;
	int to_guest, from_guest; /* the host's ends; -1 = closed */
	uint64_t received;	  /* bytes that the host has read */
	bool hung_up;
};

/* [0] is the reader's. */
static void stream(int kind, int ends[2])
{
	switch (kind) {
	case SOCKETS:
		must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
		break;
	case PIPES:
		must(pipe2(ends, O_CLOEXEC) == 0);
		break;
	default: {
		char path[32];

		ends[0] = memfd_create("stream", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
		ends[1] = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
		break;
	}
	}
}

static void console_open(struct console *c)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };

	must(loop_init(&c->loop, NULL) == 0);
	if (c->kind != NOTHING) {
		stream(c->kind, in);
		stream(c->kind, out);
	}
	must(serial_init(&c->serial, &c->loop, in[0], out[1], NULL) == 0);
	must(bus_add(&c->bus, 0x3f8, SERIAL_SIZE, &serial_bus_ops, &c->serial, NULL) == 0);
	close_fd(&in[0]);
	close_fd(&out[1]);
	c->to_guest = in[1];
	c->from_guest = out[0];
}

static void take_output(struct console *c)
{
	char bytes[4096];
	int n;

	/* A file was read from where it was written to. */
	if (c->from_guest < 0 || c->kind == FILES)
		return;
	while (ioctl(c->from_guest, FIONREAD, &n) == 0 && n > 0)
		c->received += (uint64_t)read(c->from_guest, bytes, sizeof(bytes));
}

/* In the way that doesn't wait: no more than a pipe holds. */
static void give_input(struct console *c)
{
	uint8_t bytes[64], len = input_u8(&c->in) % sizeof(bytes);
	int waiting = 0;

	input_bytes(&c->in, bytes, len);
	if (c->to_guest < 0 || (c->kind != FILES && ioctl(c->to_guest, FIONREAD, &waiting) < 0) ||
	    waiting > 1024)
		return;
	if (write(c->to_guest, bytes, len) != len)
		c->hung_up = true;
}

static void any_register(struct console *c, uint8_t how)
{
	uint8_t data[8];
	unsigned int len = how & 64 ? 1u << (how >> 3 & 3) : 1;
	uint64_t port = 0x3f8 + (how & 7);

	if (how & 32) {
		bus_read(&c->bus, port, data, len);
		return;
	}
	input_bytes(&c->in, data, len);
	bus_write(&c->bus, port, data, len);
}

/* Lines, or much more than a line: a few times that is more than the port's buffer holds. */
static void print(struct console *c)
{
	uint8_t how = input_u8(&c->in), byte = how & 1 ? '\n' : 'x';

	for (unsigned int i = 0; i < 1u << (how & 1 ? how >> 5 : how >> 4); i++)
		bus_write(&c->bus, 0x3f8, &byte, 1);
}

static void save_and_restore(struct console *c)
{
	struct serial_state state, again;
	struct error err = { 0 };

	serial_save(&c->serial, &state);

	unsigned int patches = input_patch(&c->in, &state, sizeof(state));

	if (serial_restore(&c->serial, &state, &err) < 0) {
		must(patches > 0 && err.message[0]);
		return;
	}
	serial_save(&c->serial, &again);
	memset(state.reserved, 0, sizeof(state.reserved));
	must(memcmp(&state, &again, sizeof(state)) == 0);
}

static void step(struct console *c)
{
	uint8_t op = input_u8(&c->in);

	if (op & 128) {
		any_register(c, op);
		return;
	}
	switch (op % 8) {
	case 0:
		give_input(c);
		break;
	case 1:
		take_output(c);
		break;
	case 2:
		close_fd(&c->to_guest);
		break;
	case 3:
		if (c->from_guest >= 0 && c->kind != FILES) {
			take_output(c);
			close_fd(&c->from_guest);
			c->hung_up = true;
		}
		break;
	case 4:
		machine_pass(SERIAL_FLUSH_NS);
		break;
	case 5:
		save_and_restore(c);
		break;
	case 6:
		print(c);
		break;
	default:
		machine_pass(1000);
		loop_run_once(&c->loop, 0, NULL);
		break;
	}
	must(c->serial.regs.rx_count <= SERIAL_RX_FIFO && c->serial.tx_len <= SERIAL_TX_BUFFER);
}

/* Every byte that the guest has sent was read by the host, or counted as lost. */
static void check_output(struct console *c)
{
	struct serial_counters counters;

	do {
		take_output(c);
		machine_pass(SERIAL_FLUSH_NS);
		machine_settle(&c->loop);
	} while (c->serial.tx_len > 0);
	take_output(c);
	serial_read_counters(&c->serial, &counters);
	if (c->kind == FILES)
		c->received = (uint64_t)lseek(c->from_guest, 0, SEEK_END);
	must(c->kind == NOTHING || c->hung_up || c->received == counters.tx_bytes - counters.tx_dropped);
	must(counters.rx_missed <= counters.rx_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct console console;

	machine_begin();
	console = (struct console){ .in = { data, size } };
	console.kind = input_u8(&console.in) % 4;
	console_open(&console);
	for (unsigned int i = 0; i < STEPS_MAX && console.in.left > 0; i++)
		step(&console);
	check_output(&console);
	serial_release(&console.serial);
	close_fd(&console.to_guest);
	close_fd(&console.from_guest);
	loop_release(&console.loop);
	machine_end();
	return 0;
}
