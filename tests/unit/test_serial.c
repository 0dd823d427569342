/* SPDX-License-Identifier: Apache-2.0 */
/* The 16550A's registers and interrupts; test_serial_output.c and _input.c have the host's side. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "serial_port.h"
#include "vmm/util.h"

#define IIR_FIFO_ENABLED 0xc0

struct fixture {
	struct port port;
	int to_guest; /* write end of the input's pipe */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	port_open(&f->port, fds[0], -1);
	close(fds[0]);
	f->to_guest = fds[1];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	port_close(&f->port);
	close(f->to_guest);
	free(f);
	return 0;
}

/* Have these bytes arrive in the FIFO. */
static void type(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->to_guest, text, strlen(text)), (ssize_t)strlen(text));
	port_run(&f->port, 5);
}

static unsigned int read_divisor(struct port *p)
{
	return port_in(p, UART_DLL) | (unsigned int)port_in(p, UART_DLM) << 8;
}

static void write_divisor(struct port *p, unsigned int divisor)
{
	port_out(p, UART_DLL, (uint8_t)divisor);
	port_out(p, UART_DLM, (uint8_t)(divisor >> 8));
}

static void reset_values(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	assert_int_equal(port_in(p, UART_IER), 0);
	assert_int_equal(port_in(p, UART_IIR), UART_IIR_NO_INT);
	assert_int_equal(port_in(p, UART_LCR), 0);
	assert_int_equal(port_in(p, UART_MCR), 0);
	assert_int_equal(port_in(p, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
	assert_int_equal(port_in(p, UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	assert_int_equal(port_in(p, UART_SCR), 0);
	assert_int_equal(port_in(p, UART_RX), 0);
	assert_int_equal(port_interrupts(p), 0);
}

/* The questions of Linux's 8250_port.c, autoconfig() and autoconfig_16550a(), in their order. */
static void linux_finds_a_16550a(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	/* There's a UART. */
	port_out(p, UART_IER, 0);
	assert_int_equal(port_in(p, UART_IER), 0);
	port_out(p, UART_IER, 0x0f);
	assert_int_equal(port_in(p, UART_IER), 0x0f);
	port_out(p, UART_IER, 0);
	/* It has loopback. */
	port_out(p, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	assert_int_equal(port_in(p, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
	port_out(p, UART_MCR, 0);
	/* It has a FIFO. */
	port_out(p, UART_LCR, UART_LCR_CONF_MODE_B);
	port_out(p, UART_EFR, 0);
	port_out(p, UART_LCR, 0);
	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_int_equal(port_in(p, UART_IIR) >> 6, 3);
	/* No EFR: not a 16650. */
	port_out(p, UART_LCR, UART_LCR_CONF_MODE_A);
	assert_int_not_equal(port_in(p, UART_EFR), 0);
	port_out(p, UART_LCR, UART_LCR_CONF_MODE_B);
	assert_int_not_equal(port_in(p, UART_EFR), 0);
	/* No bank 2: not a National Super I/O. The MCR isn't mirrored in its EXCR1. */
	port_out(p, UART_LCR, 0);
	uint8_t mcr = port_in(p, UART_MCR);

	port_out(p, UART_MCR, mcr ^ UART_MCR_LOOP);
	port_out(p, UART_LCR, 0xe0);
	assert_int_equal((port_in(p, 2) ^ mcr) & UART_MCR_LOOP, 0);
	port_out(p, UART_LCR, 0);
	port_out(p, UART_MCR, mcr);
	/* No 64-byte mode: not a 16750. */
	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	assert_int_equal(port_in(p, UART_IIR) >> 5, 6);
	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO);
	port_out(p, UART_LCR, UART_LCR_CONF_MODE_A);
	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	assert_int_equal(port_in(p, UART_IIR) >> 5, 6);
	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO);
	port_out(p, UART_LCR, 0);
	/* No UUE bit: not an XScale. */
	port_out(p, UART_IER, UART_IER_UUE);
	assert_int_equal(port_in(p, UART_IER), 0);
	/* The scratch register, which tells an 8250 from a 16450. */
	port_out(p, UART_SCR, 0xa5);
	assert_int_equal(port_in(p, UART_SCR), 0xa5);
	port_out(p, UART_SCR, 0x5a);
	assert_int_equal(port_in(p, UART_SCR), 0x5a);
}

/* Linux's size_fifo(): what of 256 bytes in loopback can be read back, a 16550A's 16. */
static void the_fifo_holds_16_bytes(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	port_out(p, UART_MCR, UART_MCR_LOOP);
	port_out(p, UART_LCR, UART_LCR_CONF_MODE_A);
	unsigned int divisor = read_divisor(p);

	write_divisor(p, 1);
	port_out(p, UART_LCR, UART_LCR_WLEN8);
	for (unsigned int i = 0; i < 256; i++)
		port_out(p, UART_TX, (uint8_t)i);
	assert_int_equal(port_in(p, UART_LSR),
			 UART_LSR_TEMT | UART_LSR_THRE | UART_LSR_OE | UART_LSR_DR);
	for (unsigned int i = 0; i < 16; i++) {
		/* The overrun was reported once; the first bytes have stayed. */
		assert_int_equal(port_in(p, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE | UART_LSR_DR);
		assert_int_equal(port_in(p, UART_RX), i);
	}
	assert_int_equal(port_in(p, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
	port_out(p, UART_LCR, UART_LCR_CONF_MODE_A);
	assert_int_equal(read_divisor(p), 1);
	write_divisor(p, divisor);
	assert_int_equal(read_divisor(p), 12);
	/* Nothing of this was output. */
	assert_int_equal(port_counters(p).tx_bytes, 0);
}

static void without_fifo_it_holds_one_byte(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	port_out(p, UART_MCR, UART_MCR_LOOP);
	port_out(p, UART_TX, 'a');
	port_out(p, UART_TX, 'b');
	assert_int_equal(port_in(p, UART_IIR), UART_IIR_NO_INT);
	assert_int_equal(port_in(p, UART_LSR) & (UART_LSR_OE | UART_LSR_DR),
			 UART_LSR_OE | UART_LSR_DR);
	assert_int_equal(port_in(p, UART_RX), 'a');
	assert_int_equal(port_in(p, UART_LSR) & UART_LSR_DR, 0);
}

static void the_divisor_latch_hides_data_and_ier(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	port_out(p, UART_IER, UART_IER_RLSI);
	port_out(p, UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	write_divisor(p, 0x1234);
	assert_int_equal(read_divisor(p), 0x1234);
	port_out(p, UART_LCR, UART_LCR_WLEN8);
	assert_int_equal(port_in(p, UART_IER), UART_IER_RLSI);
	assert_int_equal(port_in(p, UART_LCR), UART_LCR_WLEN8);
	assert_int_equal(port_counters(p).tx_bytes, 0);
}

/* The THRE test of Linux's serial8250_do_startup(), and its test of the transmit interrupt. */
static void the_transmit_interrupt_rearms(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	for (int i = 0; i < 2; i++) {
		port_out(p, UART_IER, UART_IER_THRI);
		assert_int_equal(port_in(p, UART_IIR), UART_IIR_THRI);
		/* Told once. */
		assert_int_equal(port_in(p, UART_IIR), UART_IIR_NO_INT);
		port_out(p, UART_IER, 0);
	}
	/* A byte that went out makes it pending again; a second enable does not. */
	port_out(p, UART_IER, UART_IER_THRI);
	port_in(p, UART_IIR);
	port_out(p, UART_IER, UART_IER_THRI);
	assert_int_equal(port_in(p, UART_IIR), UART_IIR_NO_INT);
	port_out(p, UART_TX, 'x');
	assert_int_equal(port_in(p, UART_IIR), UART_IIR_THRI);
	assert_int_equal(port_in(p, UART_IIR), UART_IIR_NO_INT);
	/* OUT2 was off: nothing of this reached the interrupt controller. */
	assert_int_equal(port_interrupts(p), 0);
}

static void a_burst_of_output_is_one_interrupt(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	port_start_driver(p, UART_IER_RLSI | UART_IER_RDI);
	assert_int_equal(port_interrupts(p), 0);
	port_out(p, UART_IER, UART_IER_RLSI | UART_IER_RDI | UART_IER_THRI);
	assert_int_equal(port_interrupts(p), 1);
	for (int burst = 0; burst < 3; burst++) {
		assert_int_equal(port_in(p, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_THRI);
		for (int i = 0; i < 16; i++)
			port_out(p, UART_TX, '.');
		assert_int_equal(port_interrupts(p), 1);
	}
	port_out(p, UART_IER, UART_IER_RLSI | UART_IER_RDI);
	assert_int_equal(port_in(p, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_NO_INT);
	assert_int_equal(port_interrupts(p), 0);
	assert_int_equal(port_counters(p).tx_bytes, 48);
}

static void out2_and_loopback_gate_the_interrupt(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	port_out(p, UART_IER, UART_IER_THRI);
	assert_int_equal(port_interrupts(p), 0);
	/* A cause that is pending when the gate opens is an edge. */
	port_out(p, UART_MCR, UART_MCR_OUT2);
	assert_int_equal(port_interrupts(p), 1);
	port_out(p, UART_MCR, UART_MCR_OUT2 | UART_MCR_LOOP);
	port_in(p, UART_IIR);
	port_out(p, UART_IER, 0);
	port_out(p, UART_IER, UART_IER_THRI);
	assert_int_equal(port_interrupts(p), 0);
	assert_int_equal(port_in(p, UART_IIR), UART_IIR_THRI);
}

static void received_data_by_trigger_level_and_timeout(void **state)
{
	static const struct {
		uint8_t trigger;
		unsigned int level;
	} levels[] = { { UART_FCR_R_TRIG_00, 1 },
		       { UART_FCR_R_TRIG_01, 4 },
		       { UART_FCR_R_TRIG_10, 8 },
		       { UART_FCR_R_TRIG_11, 14 } };
	struct fixture *f = *state;
	struct port *p = &f->port;

	for (unsigned int l = 0; l < ARRAY_SIZE(levels); l++) {
		port_start_driver(p, UART_IER_RDI);
		port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO | levels[l].trigger);
		type(f, "0123456789abcdef");
		assert_int_equal(port_interrupts(p), 1);
		for (unsigned int left = 16; left > 0; left--) {
			assert_int_equal(port_in(p, UART_IIR),
					 IIR_FIFO_ENABLED |
						 (left >= levels[l].level ? UART_IIR_RDI
									  : UART_IIR_RX_TIMEOUT));
			assert_int_equal(port_in(p, UART_RX), "fedcba9876543210"[left - 1]);
		}
		assert_int_equal(port_in(p, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_NO_INT);
		assert_int_equal(port_interrupts(p), 0);
	}
	/* Without FIFO there's no timeout. */
	port_out(p, UART_FCR, 0);
	type(f, "z");
	assert_int_equal(port_interrupts(p), 1);
	assert_int_equal(port_in(p, UART_IIR), UART_IIR_RDI);
	assert_int_equal(port_in(p, UART_RX), 'z');
}

static void iir_gives_causes_by_priority(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO);
	port_out(p, UART_MCR, UART_MCR_LOOP);
	port_in(p, UART_MSR);
	for (int i = 0; i < 17; i++)
		port_out(p, UART_TX, 'x');
	port_out(p, UART_MCR, UART_MCR_LOOP | UART_MCR_RTS);
	port_out(p, UART_IER, UART_IER_MSI | UART_IER_RLSI | UART_IER_THRI | UART_IER_RDI);
	assert_int_equal(port_in(p, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_RLSI);
	assert_int_equal(port_in(p, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_RLSI);
	port_in(p, UART_LSR);
	assert_int_equal(port_in(p, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_RDI);
	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	assert_int_equal(port_in(p, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_THRI);
	assert_int_equal(port_in(p, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_MSI);
	assert_int_equal(port_in(p, UART_MSR), UART_MSR_CTS | UART_MSR_DCTS);
	assert_int_equal(port_in(p, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_NO_INT);
	port_out(p, UART_MCR, 0);
	port_in(p, UART_MSR);
}

static void modem_lines_in_loopback_have_deltas(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;

	port_out(p, UART_MCR, UART_MCR_LOOP);
	assert_int_equal(port_in(p, UART_MSR), UART_MSR_DCTS | UART_MSR_DDSR | UART_MSR_DDCD);
	assert_int_equal(port_in(p, UART_MSR), 0);
	port_out(p, UART_MCR, UART_MCR_LOOP | UART_MCR_DTR);
	assert_int_equal(port_in(p, UART_MSR), UART_MSR_DSR | UART_MSR_DDSR);
	/* The ring indicator's delta is for its end only. */
	port_out(p, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1);
	assert_int_equal(port_in(p, UART_MSR), UART_MSR_RI | UART_MSR_DDSR);
	port_out(p, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2);
	assert_int_equal(port_in(p, UART_MSR), UART_MSR_DCD | UART_MSR_DDCD | UART_MSR_TERI);
	/* Out of loopback the peer is there; MCR has no further bits. */
	port_out(p, UART_MCR, 0xef);
	assert_int_equal(port_in(p, UART_MCR), 0x0f);
	assert_int_equal(port_in(p, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	/* LSR and MSR can't be written. */
	port_out(p, UART_MSR, 0xff);
	port_out(p, UART_LSR, 0xff);
	assert_int_equal(port_in(p, UART_MSR) & 0x0f, 0);
	assert_int_equal(port_in(p, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
}

static void fifo_control_clears_what_it_says(void **state)
{
	struct fixture *f = *state;
	struct port *p = &f->port;
	char buf[SERIAL_RX_FIFO + 1];

	port_start_driver(p, UART_IER_RDI);
	type(f, "abc");
	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_XMIT);
	assert_string_equal(port_receive(p, buf), "abc");
	type(f, "def");
	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	assert_string_equal(port_receive(p, buf), "");
	type(f, "ghi");
	port_out(p, UART_FCR, 0);
	assert_string_equal(port_receive(p, buf), "");
	/* One byte that came without FIFO survives that the FIFO is turned on. */
	type(f, "j");
	port_out(p, UART_FCR, UART_FCR_ENABLE_FIFO);
	assert_string_equal(port_receive(p, buf), "j");
}

/* A word to DATA is a byte to DATA and one to IER, as on the ISA bus; nothing leaves the range. */
static void wide_accesses_are_split(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;
	uint8_t data[8] = { 'x', 0x05, 0, 3 };

	assert_true(bus_write(&p->bus, 0x3f8, data, 4));
	assert_int_equal(port_in(p, UART_IER), 0x05);
	assert_int_equal(port_in(p, UART_LCR), 3);
	assert_int_equal(port_counters(p).tx_bytes, 1);
	assert_true(bus_read(&p->bus, 0x3f8, data, 8));
	assert_int_equal(data[1], 0x05);
	assert_int_equal(data[3], 3);
	assert_int_equal(data[5], UART_LSR_TEMT | UART_LSR_THRE);
	assert_false(bus_read(&p->bus, 0x3fc, data, 8));
	assert_false(bus_write(&p->bus, 0x3ff, data, 2));
}

static void state_survives_a_save(void **state)
{
	struct fixture *f = *state;
	struct port *p = &f->port, other;
	struct serial_state saved;
	char buf[SERIAL_RX_FIFO + 1];

	port_start_driver(p, UART_IER_RDI | UART_IER_THRI);
	port_out(p, UART_SCR, 0x77);
	port_out(p, UART_LCR, UART_LCR_DLAB);
	write_divisor(p, 0x0203);
	port_out(p, UART_LCR, UART_LCR_WLEN8);
	type(f, "hello");
	serial_save(&p->serial, &saved);

	port_open(&other, -1, -1);
	assert_int_equal(serial_restore(&other.serial, &saved, NULL), 0);
	/* The interrupt that was under way is raised again. */
	assert_int_equal(port_interrupts(&other), 1);
	assert_int_equal(port_in(&other, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_RX_TIMEOUT);
	assert_string_equal(port_receive(&other, buf), "hello");
	assert_int_equal(port_in(&other, UART_IIR), IIR_FIFO_ENABLED | UART_IIR_THRI);
	assert_int_equal(port_in(&other, UART_SCR), 0x77);
	assert_int_equal(port_in(&other, UART_MCR), 0x0b);
	port_out(&other, UART_LCR, UART_LCR_DLAB);
	assert_int_equal(read_divisor(&other), 0x0203);
	port_close(&other);
}

static void a_quiet_state_restores_quietly(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;
	struct serial_state saved;

	port_start_driver(p, UART_IER_RDI);
	serial_save(&p->serial, &saved);
	assert_int_equal(serial_restore(&p->serial, &saved, NULL), 0);
	assert_int_equal(port_interrupts(p), 0);
}

static void impossible_states_are_refused(void **state)
{
	struct port *p = &((struct fixture *)*state)->port;
	struct serial_state good, bad;
	struct error err = { 0 };

	port_start_driver(p, UART_IER_RDI);
	serial_save(&p->serial, &good);
	bad = good;
	bad.rx_count = SERIAL_RX_FIFO + 1;
	assert_int_equal(serial_restore(&p->serial, &bad, &err), -EINVAL);
	assert_string_equal(err.message, "serial: restore: registers that a 16550A can't have");
	bad = good;
	bad.fcr = 0;
	bad.rx_count = 2;
	assert_int_equal(serial_restore(&p->serial, &bad, NULL), -EINVAL);
	bad = good;
	bad.ier = 0x10;
	assert_int_equal(serial_restore(&p->serial, &bad, NULL), -EINVAL);
	bad = good;
	bad.thr_pending = 2;
	assert_int_equal(serial_restore(&p->serial, &bad, NULL), -EINVAL);
	bad = good;
	bad.lsr = UART_LSR_DR;
	assert_int_equal(serial_restore(&p->serial, &bad, NULL), -EINVAL);
	/* Nothing was taken over. */
	serial_save(&p->serial, &bad);
	assert_memory_equal(&bad, &good, sizeof(good));
	good.rx_count = SERIAL_RX_FIFO;
	assert_int_equal(serial_restore(&p->serial, &good, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reset_values),
		TEST(linux_finds_a_16550a),
		TEST(the_fifo_holds_16_bytes),
		TEST(without_fifo_it_holds_one_byte),
		TEST(the_divisor_latch_hides_data_and_ier),
		TEST(the_transmit_interrupt_rearms),
		TEST(a_burst_of_output_is_one_interrupt),
		TEST(out2_and_loopback_gate_the_interrupt),
		TEST(received_data_by_trigger_level_and_timeout),
		TEST(iir_gives_causes_by_priority),
		TEST(modem_lines_in_loopback_have_deltas),
		TEST(fifo_control_clears_what_it_says),
		TEST(wide_accesses_are_split),
		TEST(state_survives_a_save),
		TEST(a_quiet_state_restores_quietly),
		TEST(impossible_states_are_refused),
	};

	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
