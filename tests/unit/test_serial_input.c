/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port's input, which may flood, end, or come before anybody listens. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "serial_port.h"

static void input_is_read_only_while_the_fifo_has_room(void **state)
{
	const size_t sent = 40000;
	char buf[SERIAL_RX_FIFO + 1];
	struct port p;
	int fds[2], left;

	(void)state;
	open_pipe(fds, false);
	for (size_t i = 0; i < sent; i++) {
		char c = port_pattern(i);

		assert_int_equal(write(fds[1], &c, 1), 1);
	}
	port_open(&p, fds[0], -1);
	port_start_driver(&p, UART_IER_RDI);
	port_run(&p, 3);
	assert_int_equal(ioctl(fds[0], FIONREAD, &left), 0);
	assert_int_equal(left, sent - SERIAL_RX_FIFO);
	/* A full FIFO leaves the loop asleep. */
	assert_int_equal(loop_run_once(&p.loop, 3, NULL), 0);
	for (size_t got = 0; got < sent; got += SERIAL_RX_FIFO) {
		while (!(port_in(&p, UART_LSR) & UART_LSR_DR))
			assert_true(loop_run_once(&p.loop, 1000, NULL) > 0);
		assert_int_equal(port_interrupts(&p), 1);
		port_receive(&p, buf);
		assert_int_equal(strlen(buf), SERIAL_RX_FIFO);
		for (size_t i = 0; i < SERIAL_RX_FIFO; i++)
			assert_int_equal(buf[i], port_pattern(got + i));
	}
	assert_int_equal(port_counters(&p).rx_bytes, sent);
	assert_int_equal(port_counters(&p).rx_missed, 0);
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

/* Linux clears the FIFO when the tty is opened; a script on stdin is there long before that. */
static void input_waits_for_a_driver(void **state)
{
	char buf[SERIAL_RX_FIFO + 1];
	struct port p;
	int fds[2];

	(void)state;
	open_pipe(fds, false);
	assert_int_equal(write(fds[1], "script", 6), 6);
	port_open(&p, fds[0], -1);
	port_run(&p, 3);
	/* Probing, and a kernel that prints: each byte asks for LSR once. */
	port_out(&p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	port_out(&p, UART_MCR, UART_MCR_DTR | UART_MCR_OUT2);
	for (int i = 0; i < 100; i++) {
		port_in(&p, UART_LSR);
		port_out(&p, UART_TX, '.');
	}
	port_run(&p, 3);
	assert_int_equal(port_counters(&p).rx_bytes, 0);
	port_start_driver(&p, UART_IER_RDI);
	port_run(&p, 3);
	assert_string_equal(port_receive(&p, buf), "script");
	/* The last close drops RTS; what's typed then is for the next one. */
	port_out(&p, UART_IER, 0);
	port_out(&p, UART_MCR, UART_MCR_OUT2);
	assert_int_equal(write(fds[1], "later", 5), 5);
	port_run(&p, 3);
	port_out(&p, UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	port_start_driver(&p, UART_IER_RDI);
	port_run(&p, 3);
	assert_string_equal(port_receive(&p, buf), "later");
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

static void a_guest_that_polls_gets_input(void **state)
{
	struct port p;
	int fds[2], polls = 0;

	(void)state;
	open_pipe(fds, false);
	assert_int_equal(write(fds[1], "!?", 2), 2);
	port_open(&p, fds[0], -1);
	while (!(port_in(&p, UART_LSR) & UART_LSR_DR)) {
		assert_true(++polls < 1000);
		loop_run_once(&p.loop, 0, NULL);
	}
	assert_int_equal(port_in(&p, UART_RX), '!');
	while (!(port_in(&p, UART_LSR) & UART_LSR_DR)) {
		assert_true(++polls < 1000);
		loop_run_once(&p.loop, 0, NULL);
	}
	assert_int_equal(port_in(&p, UART_RX), '?');
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

/* Nothing is lost in loopback; the tests of a driver aren't disturbed by what's typed. */
static void loopback_cuts_the_input_off(void **state)
{
	char buf[SERIAL_RX_FIFO + 1];
	struct port p;
	int fds[2];

	(void)state;
	open_pipe(fds, false);
	port_open(&p, fds[0], -1);
	port_start_driver(&p, UART_IER_RDI);
	port_run(&p, 3);
	port_out(&p, UART_MCR, UART_MCR_RTS | UART_MCR_LOOP);
	assert_int_equal(write(fds[1], "typed", 5), 5);
	port_out(&p, UART_TX, 'L');
	port_run(&p, 3);
	assert_string_equal(port_receive(&p, buf), "L");
	port_out(&p, UART_MCR, UART_MCR_RTS | UART_MCR_OUT2);
	port_run(&p, 3);
	assert_string_equal(port_receive(&p, buf), "typed");
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

static void the_end_of_input_comes_after_its_last_byte(void **state)
{
	char buf[SERIAL_RX_FIFO + 1];
	struct port p;
	int fds[2];

	(void)state;
	open_pipe(fds, false);
	assert_int_equal(write(fds[1], "0123456789abcdefghij", 20), 20);
	close(fds[1]);
	port_open(&p, fds[0], -1);
	close(fds[0]);
	port_start_driver(&p, UART_IER_RDI);
	port_run(&p, 3);
	/* Hung up, with the FIFO full: no event until there's room. */
	assert_int_equal(loop_run_once(&p.loop, 3, NULL), 0);
	assert_string_equal(port_receive(&p, buf), "0123456789abcdef");
	port_run(&p, 3);
	assert_string_equal(port_receive(&p, buf), "ghij");
	port_run(&p, 3);
	assert_int_equal(loop_run_once(&p.loop, 3, NULL), 0);
	assert_int_equal(p.serial.in.kind, HOST_STREAM_NONE);
	assert_int_equal(port_counters(&p).rx_bytes, 20);
	port_close(&p);
}

static void files_and_dev_null_as_input(void **state)
{
	char path[] = "/tmp/mote-serial-XXXXXX", buf[SERIAL_RX_FIFO + 1];
	int file = mkstemp(path), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct port p;

	(void)state;
	unlink(path);
	assert_int_equal(write(file, "skip0123456789abcdefghij", 24), 24);
	assert_int_equal(lseek(file, 4, SEEK_SET), 4);
	port_open(&p, file, -1);
	port_start_driver(&p, UART_IER_RDI);
	port_run(&p, 3);
	assert_string_equal(port_receive(&p, buf), "0123456789abcdef");
	port_run(&p, 3);
	assert_string_equal(port_receive(&p, buf), "ghij");
	port_run(&p, 3);
	assert_int_equal(p.serial.in.kind, HOST_STREAM_NONE);
	assert_int_equal(loop_run_once(&p.loop, 3, NULL), 0);
	port_close(&p);
	close(file);

	port_open(&p, null, null);
	port_start_driver(&p, UART_IER_RDI);
	port_print(&p, "x\n");
	port_run(&p, 3);
	assert_int_equal(p.serial.in.kind, HOST_STREAM_NONE);
	assert_int_equal(loop_run_once(&p.loop, 3, NULL), 0);
	port_close(&p);
	close(null);
}

static void an_endless_device_only_fills_the_fifo(void **state)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct port p;

	(void)state;
	port_open(&p, zero, -1);
	port_start_driver(&p, UART_IER_RDI);
	assert_true(port_run(&p, 3) <= 2);
	assert_int_equal(port_counters(&p).rx_bytes, SERIAL_RX_FIFO);
	port_close(&p);
	close(zero);
}

static void restore_lets_input_go_on(void **state)
{
	char buf[SERIAL_RX_FIFO + 1];
	struct serial_state saved;
	struct port p;
	int fds[2];

	(void)state;
	open_pipe(fds, false);
	port_open(&p, -1, -1);
	port_start_driver(&p, UART_IER_RDI);
	serial_save(&p.serial, &saved);
	port_close(&p);
	assert_int_equal(write(fds[1], "typed", 5), 5);
	port_open(&p, fds[0], -1);
	assert_int_equal(serial_restore(&p.serial, &saved, NULL), 0);
	port_run(&p, 3);
	assert_string_equal(port_receive(&p, buf), "typed");
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

static void closed_descriptors_are_errors(void **state)
{
	struct error err = { 0 };
	struct serial serial;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop, NULL), 0);
	assert_int_equal(serial_init(&serial, &loop, 987, -1, &err), -EBADF);
	assert_string_equal(err.message, "serial: input: fd 987: Bad file descriptor");
	assert_int_equal(serial_init(&serial, &loop, -1, 987, &err), -EBADF);
	assert_string_equal(err.message, "serial: output: fd 987: Bad file descriptor");
	loop_release(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(input_is_read_only_while_the_fifo_has_room),
		cmocka_unit_test(input_waits_for_a_driver),
		cmocka_unit_test(a_guest_that_polls_gets_input),
		cmocka_unit_test(loopback_cuts_the_input_off),
		cmocka_unit_test(the_end_of_input_comes_after_its_last_byte),
		cmocka_unit_test(files_and_dev_null_as_input),
		cmocka_unit_test(an_endless_device_only_fills_the_fifo),
		cmocka_unit_test(restore_lets_input_go_on),
		cmocka_unit_test(closed_descriptors_are_errors),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("serial_input", tests, NULL, NULL);
}
