/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device and the serial port with rate limits, in a time of their own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/virtio/rng.h"
#include "fake_time.h"
#include "serial_port.h"
#include "virtio_driver.h"
#include "vmm/util.h"

#define MS 1000000ull

struct fixture {
	struct virtio_driver drv;
	uint64_t buffer; /* 256 KiB */
};

static void attach(struct fixture *f, const struct rate_limits *limits)
{
	struct virtio_device *device;

	assert_int_equal(virtio_rng_create("rng", &f->drv.memory, &f->drv.loop, &device, NULL), 0);
	if (limits)
		assert_int_equal(virtio_rng_set_limits(device, limits, NULL), 0);
	driver_attach(&f->drv, device);
}

static void setup(struct fixture *f, struct rate_limits limits)
{
	fake_time_start();
	driver_setup(&f->drv);
	attach(f, &limits);
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	driver_run(&f->drv);
	f->buffer = driver_alloc(&f->drv, 256 * KIB, 4096);
}

static void teardown(struct fixture *f)
{
	driver_teardown(&f->drv);
	fake_time_stop();
}

static void request(struct fixture *f, uint32_t len)
{
	driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, len }, 0, 1);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
}

static void pass(struct fixture *f, uint64_t ns)
{
	fake_time_pass(ns);
	driver_run(&f->drv);
}

/* n answers of len bytes each, and no more. */
static void expect(struct fixture *f, unsigned int n, uint32_t len)
{
	for (unsigned int i = 0; i < n; i++) {
		uint32_t used;

		assert_true(driver_get_used(&f->drv, 0, NULL, &used));
		assert_int_equal(used, len);
	}
	assert_false(driver_get_used(&f->drv, 0, NULL, NULL));
}

static void requests_and_bytes_wait(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, (struct rate_limits){ { true, 1000, 0, 100 }, { true, 4, 0, 1000 } });
	for (unsigned int i = 0; i < 5; i++)
		request(&f, 400);
	expect(&f, 2, 400);
	assert_int_equal(fake_time_next(), 20 * MS);
	pass(&f, 20 * MS);
	expect(&f, 1, 400);
	pass(&f, 40 * MS);
	expect(&f, 1, 400);
	/* The fifth operation: 250 ms each. */
	pass(&f, 40 * MS);
	expect(&f, 0, 400);
	assert_int_equal(fake_time_next(), 150 * MS);
	pass(&f, 150 * MS);
	expect(&f, 1, 400);
	assert_int_equal(virtio_rng_limiter_counters(f.drv.device).throttled, 3);
	assert_int_equal(virtio_rng_counters(f.drv.device).bytes, 2000);
	teardown(&f);
}

/* However much is asked for, the cost is what is given. */
static void a_large_request_costs_what_it_gets(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, (struct rate_limits){ .bandwidth = { true, 64 * KIB, 0, 64 } });
	request(&f, 256 * KIB);
	expect(&f, 1, 64 * KIB);
	request(&f, 1024);
	expect(&f, 0, 0);
	assert_int_equal(fake_time_next(), MS);
	pass(&f, MS);
	expect(&f, 1, 1024);
	teardown(&f);
}

static void limits_change_and_survive(void **state)
{
	const struct rate_limits off = { .ops = { .given = true } };
	struct virtio_mmio_state transport;
	struct virtio_rng_state saved;
	struct error err = { 0 };
	struct fixture f;

	(void)state;
	setup(&f, (struct rate_limits){ .ops = { true, 1, 0, 100 } });
	request(&f, 64);
	request(&f, 64);
	expect(&f, 1, 64);
	/* Reset while throttled. */
	driver_reset(&f.drv);
	assert_int_equal(driver_start(&f.drv, ALL_FEATURES), 0xf);
	request(&f, 64);
	expect(&f, 0, 64);
	pass(&f, 100 * MS);
	expect(&f, 1, 64);
	/* Saved while throttled. */
	request(&f, 64);
	fake_time_pass(30 * MS);
	virtio_mmio_save(&f.drv.mmio, &transport, &saved);
	assert_int_equal(saved.limiter.ops.missing_low, 70 * MS);
	pass(&f, 1000 * MS);
	expect(&f, 0, 64);
	virtio_mmio_release(&f.drv.mmio);
	memset(&f.drv.bus, 0, sizeof(f.drv.bus));
	attach(&f, NULL);
	assert_int_equal(virtio_mmio_restore(&f.drv.mmio, &transport, &saved, &err), 0);
	virtio_mmio_rekick(&f.drv.mmio);
	driver_run(&f.drv);
	assert_int_equal(fake_time_next(), 70 * MS);
	/* Without limits it goes on at once. */
	assert_int_equal(virtio_rng_set_limits(f.drv.device, &off, &err), 0);
	driver_run(&f.drv);
	expect(&f, 1, 64);
	saved.limiter.ops.refill_ns = 0;
	assert_int_equal(virtio_mmio_restore(&f.drv.mmio, &transport, &saved, &err), -EINVAL);
	assert_string_equal(err.message, "entropy \"rng\": saved rate limits can't be");
	/* Destroyed while throttled, in the end. */
	assert_int_equal(driver_start(&f.drv, ALL_FEATURES), 0xf);
	assert_int_equal(virtio_rng_set_limits(f.drv.device,
					       &(struct rate_limits){ .ops = { true, 1, 0, 9 } },
					       &err),
			 0);
	request(&f, 64);
	request(&f, 64);
	fake_time_pass(9 * MS);
	teardown(&f);
}

/* ---- the serial port: one bucket, and what exceeds it is gone ---- */

static void serial_output_beyond_the_limit_is_dropped(void **state)
{
	const struct rate_limit limit = { true, 10, 5, 10 };
	struct port p;
	char buf[64];
	int fds[2];

	(void)state;
	fake_time_start();
	open_pipe(fds, false);
	port_open(&p, -1, fds[1]);
	serial_set_limit(&p.serial, &limit);
	/* 15 go, the rest doesn't: not even the end of the line. */
	port_print(&p, "0123456789abcdefghij\n");
	pthread_mutex_lock(&p.serial.lock);
	assert_int_equal(p.serial.tx_len, 15);
	pthread_mutex_unlock(&p.serial.lock);
	fake_time_pass(2 * MS);
	port_print(&p, "k\nl");
	assert_int_equal(read(fds[0], buf, sizeof(buf)), 17);
	assert_memory_equal(buf, "0123456789abcdek\n", 17);
	assert_int_equal(port_counters(&p).tx_bytes, 24);
	assert_int_equal(port_counters(&p).tx_limited, 7);
	assert_int_equal(port_counters(&p).tx_dropped, 0);
	/* The guest is told nothing of it: its transmitter is as empty as ever. */
	assert_int_equal(port_in(&p, UART_LSR) & UART_LSR_TEMT, UART_LSR_TEMT);
	/* Another limit is a new bucket; none is none. */
	serial_set_limit(&p.serial, &(struct rate_limit){ true, 2, 0, 10 });
	port_print(&p, "\n\n\n");
	assert_int_equal(read(fds[0], buf, sizeof(buf)), 2);
	serial_set_limit(&p.serial, &(struct rate_limit){ true, 0, 0, 10 });
	for (unsigned int i = 0; i < 1000; i++)
		port_print(&p, "\n");
	assert_int_equal(port_counters(&p).tx_limited, 8);
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
	fake_time_stop();
}

/* In loopback nothing leaves, so nothing is limited. */
static void loopback_is_not_output(void **state)
{
	const struct rate_limit limit = { true, 1, 0, 10 };
	struct port p;
	int fds[2];

	(void)state;
	fake_time_start();
	open_pipe(fds, false);
	port_open(&p, -1, fds[1]);
	serial_set_limit(&p.serial, &limit);
	port_out(&p, UART_FCR, UART_FCR_ENABLE_FIFO);
	port_out(&p, UART_MCR, UART_MCR_LOOP);
	for (unsigned int i = 0; i < 5; i++) {
		port_out(&p, UART_TX, 'x');
		assert_int_equal(port_in(&p, UART_RX), 'x');
	}
	assert_int_equal(port_counters(&p).tx_limited, 0);
	port_close(&p);
	close(fds[0]);
	close(fds[1]);
	fake_time_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_and_bytes_wait),
		cmocka_unit_test(a_large_request_costs_what_it_gets),
		cmocka_unit_test(limits_change_and_survive),
		cmocka_unit_test(serial_output_beyond_the_limit_is_dropped),
		cmocka_unit_test(loopback_is_not_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
