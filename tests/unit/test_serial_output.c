/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port's output, to descriptors that may block for ever. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "serial_port.h"
#include "vmm/util.h"

#define PIPE_SIZE 65536

static size_t read_all(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size && (n = read(fd, buf + len, size - len)) > 0)
		len += (size_t)n;
	return len;
}
static void a_line_is_written_when_it_is_complete(void **state)
{
	struct port p;
	int fds[2];
	char buf[64];

	(void)state;
	open_pipe(fds, false);
	port_open(&p, -1, fds[1]);
	port_print(&p, "login");
	assert_int_equal(read(fds[0], buf, sizeof(buf)), -1);
	/* No turn of the loop is needed for the end of a line. */
	port_print(&p, "ed\r\n");
	assert_int_equal(read(fds[0], buf, sizeof(buf)), 9);
	assert_memory_equal(buf, "logined\r\n", 9);
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

static void a_prompt_appears_soon(void **state)
{
	struct port p;
	int fds[2];
	char buf[64];

	(void)state;
	open_pipe(fds, false);
	port_open(&p, -1, fds[1]);
	/* Again and again: the timer is edge-triggered and never read. */
	for (int i = 0; i < 5; i++) {
		uint64_t start = monotonic_ns();

		port_print(&p, "# ");
		assert_int_equal(loop_run_once(&p.loop, 1000, NULL), 1);
		assert_true(monotonic_ns() - start >= SERIAL_FLUSH_NS);
		assert_int_equal(read(fds[0], buf, sizeof(buf)), 2);
		assert_memory_equal(buf, "# ", 2);
		/* And then the loop sleeps. */
		assert_int_equal(loop_run_once(&p.loop, 3, NULL), 0);
	}
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

static void long_output_without_newline_is_written_by_size(void **state)
{
	struct port p;
	int fds[2];
	char buf[2 * SERIAL_FLUSH_BYTES];

	(void)state;
	open_pipe(fds, false);
	port_open(&p, -1, fds[1]);
	for (unsigned int i = 0; i < SERIAL_FLUSH_BYTES; i++)
		port_out(&p, UART_TX, 'x');
	assert_int_equal(read(fds[0], buf, sizeof(buf)), SERIAL_FLUSH_BYTES);
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

static void a_blocked_reader_costs_bytes_and_no_time(void **state)
{
	const size_t sent = 1 * MIB;
	static char buf[PIPE_SIZE + SERIAL_TX_BUFFER + 1];
	uint64_t slowest = 0, start = monotonic_ns();
	struct serial_counters c;
	struct port p;
	int fds[2];

	(void)state;
	open_pipe(fds, false);
	port_open(&p, -1, fds[1]);
	for (size_t i = 0; i < sent; i++) {
		uint64_t before = monotonic_ns(), took;

		port_out(&p, UART_TX, (uint8_t)port_pattern(i));
		assert_int_equal(port_in(&p, UART_LSR), UART_LSR_TEMT | UART_LSR_THRE);
		took = monotonic_ns() - before;
		slowest = took > slowest ? took : slowest;
		if (i % 4096 == 0)
			loop_run_once(&p.loop, 0, NULL);
	}
	/* Generous: the machine may be busy. A blocked write would never have come back. */
	assert_true(slowest < 1000000000);
	assert_true(monotonic_ns() - start < 20000000000);
	/* Nobody reads: the loop isn't kept busy. */
	assert_true(port_run(&p, 3) <= 3);
	/* What was kept is the beginning, in order, however the reader comes to it. */
	size_t len = 0, n = 1;

	while (n > 0) {
		n = read_all(fds[0], buf + len,
			     len + 10000 < sizeof(buf) ? 10000 : sizeof(buf) - len);
		len += n;
		port_run(&p, 3);
	}
	for (size_t i = 0; i < len; i++)
		assert_int_equal(buf[i], port_pattern(i));
	/* A pipe may waste the end of a page, and nothing else is missing. */
	assert_true(len > SERIAL_TX_BUFFER + PIPE_SIZE - 4096);
	c = port_counters(&p);
	assert_int_equal(c.tx_bytes, sent);
	assert_int_equal(c.tx_dropped, sent - len);
	/* It goes on with what comes next. */
	port_print(&p, "alive\n");
	port_run(&p, 3);
	assert_int_equal(read(fds[0], buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "alive\n", 6);
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

/* Bytes that go round the ring's end come out in order, a small pipe's content at a time. */
static void the_ring_wraps(void **state)
{
	const size_t half = 40000;
	static char buf[200000];
	size_t sent = 0, got = 0;
	struct port p;
	int fds[2];

	(void)state;
	open_pipe(fds, false);
	assert_int_equal(fcntl(fds[1], F_SETPIPE_SZ, 4096), 4096);
	port_open(&p, -1, fds[1]);
	for (int round = 0; round < 4; round++) {
		for (size_t i = 0; i < half; i++)
			port_out(&p, UART_TX, (uint8_t)port_pattern(sent++));
		/* The last bytes stay, so that the ring never starts at its beginning again. */
		while (sent - got > half / 2 || (round == 3 && got < sent)) {
			port_run(&p, 1);
			got += read_all(fds[0], buf + got, 4096);
		}
	}
	assert_int_equal(port_counters(&p).tx_dropped, 0);
	assert_int_equal(got, 4 * half);
	for (size_t i = 0; i < got; i++)
		assert_int_equal(buf[i], port_pattern(i));
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
}

struct slow_reader {
	int fd;
	char *buf;
	size_t size, len;
};

static void *read_slowly(void *arg)
{
	struct slow_reader *r = arg;
	ssize_t n;

	while ((n = read(r->fd, r->buf + r->len, r->size - r->len < 700 ? r->size - r->len : 700)) >
	       0) {
		r->len += (size_t)n;
		usleep(200);
	}
	return NULL;
}

static void a_slow_reader_gets_every_byte(void **state)
{
	const size_t sent = 100000; /* more than the pipe holds, less than pipe and buffer */
	struct slow_reader r = { .size = sent + 1 };
	pthread_t thread;
	struct port p;
	int fds[2];

	(void)state;
	open_pipe(fds, true);
	r.fd = fds[0];
	r.buf = malloc(r.size);
	port_open(&p, -1, fds[1]);
	close(fds[1]);
	assert_int_equal(pthread_create(&thread, NULL, read_slowly, &r), 0);
	for (size_t i = 0; i < sent; i++) {
		port_out(&p, UART_TX, (uint8_t)port_pattern(i));
		if (i % 1000 == 0)
			loop_run_once(&p.loop, 0, NULL);
	}
	assert_int_equal(port_counters(&p).tx_dropped, 0);
	/* The rest is written while the reader takes it; then the pipe's end is the reader's end. */
	port_close(&p);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.len, sent);
	for (size_t i = 0; i < sent; i++)
		assert_int_equal(r.buf[i], port_pattern(i));
	free(r.buf);
	close(fds[0]);
}

static void release_writes_the_last_words(void **state)
{
	struct port p;
	int fds[2];
	char buf[64];

	(void)state;
	open_pipe(fds, false);
	port_open(&p, -1, fds[1]);
	port_print(&p, "Kernel panic - not sync");
	port_close(&p);
	assert_int_equal(read(fds[0], buf, sizeof(buf)), 23);
	assert_memory_equal(buf, "Kernel panic - not sync", 23);
	close(fds[0]);
	close(fds[1]);
}

static void release_does_not_wait_for_a_reader_that_sleeps(void **state)
{
	struct port p;
	int fds[2];

	(void)state;
	open_pipe(fds, false);
	port_open(&p, -1, fds[1]);
	for (size_t i = 0; i < PIPE_SIZE + 1000; i++)
		port_out(&p, UART_TX, 'x');
	uint64_t start = monotonic_ns();

	port_close(&p);
	uint64_t took = monotonic_ns() - start;

	assert_true(took >= SERIAL_RELEASE_STALL_MS * 1000000ull);
	assert_true(took < SERIAL_RELEASE_MS * 1000000ull);
	close(fds[0]);
	close(fds[1]);
}

static void a_reader_that_leaves_costs_bytes_only(void **state)
{
	char path[] = "/tmp/mote-serial-XXXXXX";
	struct serial_counters c;
	struct port p;
	char buf[64];

	(void)state;
	assert_non_null(mkdtemp(path));
	char fifo[64];

	snprintf(fifo, sizeof(fifo), "%s/console", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	int reader = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int writer = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	port_open(&p, -1, writer);
	close(writer);
	close(reader);
	port_print(&p, "nobody\nhears this\n");
	assert_true(port_run(&p, 3) <= 1);
	c = port_counters(&p);
	assert_int_equal(c.tx_bytes, 18);
	assert_int_equal(c.tx_dropped, 18);
	/* Another reader gets what comes next. */
	reader = open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	port_print(&p, "hello\n");
	assert_int_equal(read(reader, buf, sizeof(buf)), 6);
	/* One that leaves while output waits for it doesn't keep the loop busy. */
	for (size_t i = 0; i < PIPE_SIZE + 1000; i++)
		port_out(&p, UART_TX, 'x');
	port_run(&p, 3);
	close(reader);
	assert_int_equal(port_run(&p, 3), 1);
	assert_int_equal(port_counters(&p).tx_dropped, 18 + 1000);
	port_close(&p);
	unlink(fifo);
	rmdir(path);
}

static void output_to_file_and_socket(void **state)
{
	char path[] = "/tmp/mote-serial-XXXXXX", buf[64];
	int file = mkstemp(path), sockets[2];
	struct port p;

	(void)state;
	unlink(path);
	/* A file's offset belongs to whoever opened it: no second open file description. */
	assert_int_equal(write(file, "before ", 7), 7);
	port_open(&p, -1, file);
	port_print(&p, "boot\n");
	port_run(&p, 3);
	assert_int_equal(pread(file, buf, sizeof(buf), 0), 12);
	assert_memory_equal(buf, "before boot\n", 12);
	port_print(&p, "no newline");
	port_run(&p, 3);
	assert_int_equal(pread(file, buf, sizeof(buf), 0), 22);
	port_close(&p);
	close(file);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	port_open(&p, sockets[0], sockets[0]);
	port_start_driver(&p, UART_IER_RDI);
	port_print(&p, "out\n");
	assert_int_equal(read(sockets[1], buf, sizeof(buf)), 4);
	assert_int_equal(write(sockets[1], "in", 2), 2);
	port_run(&p, 3);
	assert_string_equal(port_receive(&p, buf), "in");
	/* A full socket blocks nobody. */
	for (size_t i = 0; i < 1 * MIB; i++)
		port_out(&p, UART_TX, 'x');
	assert_true(port_counters(&p).tx_dropped > 0);
	/* Its end is the end of input, and an error for output. */
	close(sockets[1]);
	assert_true(port_run(&p, 3) <= 4);
	port_close(&p);
	close(sockets[0]);
}

static void without_output_nothing_is_kept(void **state)
{
	struct port p;

	(void)state;
	port_open(&p, -1, -1);
	port_print(&p, "into the void\n");
	assert_int_equal(port_run(&p, 3), 0);
	assert_int_equal(port_counters(&p).tx_bytes, 14);
	assert_int_equal(port_counters(&p).tx_dropped, 0);
	assert_null(p.serial.tx);
	port_close(&p);
}

static void a_shared_terminal_stays_as_it_is(void **state)
{
	char buf[SERIAL_TX_BUFFER];
	int master, slave;
	struct port p;
	ssize_t n;

	(void)state;
	open_pty(&master, &slave);
	port_open(&p, slave, slave);
	assert_int_equal(p.serial.out.kind, HOST_STREAM_NONBLOCKING);
	assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
	port_start_driver(&p, UART_IER_RDI);
	port_print(&p, "ok\n");
	n = read(master, buf, sizeof(buf));
	assert_int_equal(n, 4); /* the terminal's own ONLCR */
	assert_memory_equal(buf, "ok\r\n", 4);
	/* A terminal that nobody reads. */
	for (size_t i = 0; i < 200000; i++)
		port_out(&p, UART_TX, 'x');
	assert_true(port_counters(&p).tx_dropped > 0);
	port_run(&p, 3);
	/* Keys still come in. */
	assert_int_equal(write(master, "key\n", 4), 4);
	while (port_counters(&p).rx_bytes < 4)
		assert_true(loop_run_once(&p.loop, 1000, NULL) > 0);
	assert_string_equal(port_receive(&p, buf), "key\n");
	port_close(&p);
	close(master);
	close(slave);
}

/* What a jail without /proc makes of a terminal; a pseudo-terminal's master is never reopened. */
static void a_terminal_that_cannot_be_reopened_is_polled(void **state)
{
	int master, slave;
	struct port p;
	char buf[64];

	(void)state;
	open_pty(&master, &slave);
	port_open(&p, master, master);
	assert_int_equal(p.serial.out.kind, HOST_STREAM_POLLED);
	assert_int_equal(p.serial.out.chunk, 1);
	port_start_driver(&p, UART_IER_RDI);
	port_print(&p, "typed\n");
	port_run(&p, 3);
	assert_int_equal(read(slave, buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "typed\n", 6);
	/* The terminal echoes what was typed, when it comes to it. */
	while (port_counters(&p).rx_bytes < 7)
		assert_true(loop_run_once(&p.loop, 1000, NULL) > 0);
	assert_string_equal(port_receive(&p, buf), "typed\r\n");
	for (size_t i = 0; i < 200000; i++)
		port_out(&p, UART_TX, 'x');
	assert_true(port_counters(&p).tx_dropped > 0);
	loop_run_once(&p.loop, 3, NULL);
	port_close(&p);
	close(master);
	close(slave);
}

struct printer {
	struct port *port;
	char letter;
};

static void *print_lines(void *arg)
{
	struct printer *printer = arg;

	for (int line = 0; line < 500; line++) {
		for (int i = 0; i < 20; i++)
			port_out(printer->port, UART_TX, (uint8_t)printer->letter);
		port_out(printer->port, UART_TX, '\n');
	}
	return NULL;
}

/* Two vCPUs print at once while the loop flushes: bytes may mix, none is lost or doubled. */
static void vcpus_and_loop_share_the_ring(void **state)
{
	static char buf[65536];
	struct port p;
	struct printer printers[2] = { { &p, 'a' }, { &p, 'b' } };
	pthread_t threads[2];
	size_t counts[256] = { 0 }, len;
	int fds[2];

	(void)state;
	open_pipe(fds, false);
	port_open(&p, -1, fds[1]);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, print_lines, &printers[i]), 0);
	for (int i = 0; i < 200; i++)
		loop_run_once(&p.loop, 1, NULL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	port_close(&p);
	len = read_all(fds[0], buf, sizeof(buf));
	assert_int_equal(len, 2 * 500 * 21);
	for (size_t i = 0; i < len; i++)
		counts[(uint8_t)buf[i]]++;
	assert_int_equal(counts['a'], 10000);
	assert_int_equal(counts['b'], 10000);
	assert_int_equal(counts['\n'], 1000);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_written_when_it_is_complete),
		cmocka_unit_test(a_prompt_appears_soon),
		cmocka_unit_test(long_output_without_newline_is_written_by_size),
		cmocka_unit_test(a_blocked_reader_costs_bytes_and_no_time),
		cmocka_unit_test(the_ring_wraps),
		cmocka_unit_test(a_slow_reader_gets_every_byte),
		cmocka_unit_test(release_writes_the_last_words),
		cmocka_unit_test(release_does_not_wait_for_a_reader_that_sleeps),
		cmocka_unit_test(a_reader_that_leaves_costs_bytes_only),
		cmocka_unit_test(output_to_file_and_socket),
		cmocka_unit_test(without_output_nothing_is_kept),
		cmocka_unit_test(a_shared_terminal_stays_as_it_is),
		cmocka_unit_test(a_terminal_that_cannot_be_reopened_is_polled),
		cmocka_unit_test(vcpus_and_loop_share_the_ring),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("serial_output", tests, NULL, NULL);
}
