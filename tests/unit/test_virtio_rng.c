/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-rng. Linked with --wrap=getrandom: the host's generator does what the test says. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include <cmocka.h>

#include "devices/virtio/rng.h"
#include "virtio_driver.h"
#include "vmm/util.h"

struct fixture {
	struct virtio_driver drv;
	uint64_t buffer; /* 1 MiB, zeroed */
	uint8_t *bytes;
};

/* What the host does; all zero: its best. */
static struct {
	size_t at_most;	    /* bytes a call */
	int interrupted;    /* that many calls end with EINTR */
	size_t fails_after; /* bytes in all, then EAGAIN; SIZE_MAX: never */
	bool fails_once;
	struct fixture *refills; /* the driver makes another buffer available at each call */
	size_t given;
	unsigned int calls;
} host;

ssize_t __real_getrandom(void *dst, size_t len, unsigned int flags);
ssize_t __wrap_getrandom(void *dst, size_t len, unsigned int flags);

ssize_t __wrap_getrandom(void *dst, size_t len, unsigned int flags)
{
	host.calls++;
	/* The event loop must never wait for entropy. */
	assert_int_equal(flags, GRND_NONBLOCK);
	if (host.refills)
		driver_offer(&host.refills->drv, 0, (uint16_t)(host.calls % VIRTIO_RNG_QUEUE_SIZE));
	if (host.interrupted > 0) {
		host.interrupted--;
		errno = EINTR;
		return -1;
	}
	if (host.given >= host.fails_after) {
		if (host.fails_once)
			host.fails_after = SIZE_MAX;
		errno = EAGAIN;
		return -1;
	}
	if (host.at_most > 0 && len > host.at_most)
		len = host.at_most;
	if (len > host.fails_after - host.given)
		len = host.fails_after - host.given;
	host.given += len;
	return __real_getrandom(dst, len, flags);
}

static int setup(void **state)
{
	static struct fixture f;
	struct virtio_device *device;

	memset(&host, 0, sizeof(host));
	host.fails_after = SIZE_MAX;
	driver_setup(&f.drv);
	assert_int_equal(virtio_rng_create("rng", &f.drv.memory, &f.drv.loop, &device, NULL), 0);
	driver_attach(&f.drv, device);
	assert_int_equal(driver_start(&f.drv, ALL_FEATURES), 0xf);
	driver_run(&f.drv);
	f.buffer = driver_alloc(&f.drv, 1 * MIB, 4096);
	f.bytes = driver_ptr(&f.drv, f.buffer, 1 * MIB);
	guest_memory_clear_dirty(&f.drv.memory);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	driver_teardown(&f->drv);
	return 0;
}

static void assert_counters(struct fixture *f, uint64_t requests, uint64_t bytes, uint64_t errors)
{
	struct virtio_rng_counters counters = virtio_rng_counters(f->drv.device);

	assert_int_equal(counters.requests, requests);
	assert_int_equal(counters.bytes, bytes);
	assert_int_equal(counters.errors, errors);
}

/* One request through the device; returns used.len. */
static uint32_t request(struct fixture *f, const struct driver_buf *bufs, unsigned int n_readable,
			unsigned int n_writable)
{
	uint16_t head = driver_add(&f->drv, 0, bufs, n_readable, n_writable);
	uint32_t id, len;

	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_true(driver_get_used(&f->drv, 0, &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	return len;
}

static unsigned int count_nonzero(const uint8_t *p, size_t len)
{
	unsigned int n = 0;

	for (size_t i = 0; i < len; i++)
		n += p[i] != 0;
	return n;
}

static void it_is_an_entropy_device_with_one_queue(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_DEVICE_ID), 4);
	assert_int_equal(driver_offered(&f->drv), VERSION_1 | EVENT_IDX | INDIRECT_DESC);
	assert_int_equal(f->drv.device->n_queues, 1);
	assert_int_equal(f->drv.device->config_size, 0);
}

static void a_buffer_is_filled_and_nothing_beside_it(void **state)
{
	struct fixture *f = *state;
	uint8_t first[64];

	assert_int_equal(request(f, &(struct driver_buf){ f->buffer + 100, 64 }, 0, 1), 64);
	assert_int_equal(count_nonzero(f->bytes, 100), 0);
	assert_int_equal(count_nonzero(f->bytes + 164, 1000), 0);
	/* 64 random bytes are two values or fewer once in 10^120 times. */
	assert_true(count_nonzero(f->bytes + 100, 64) > 32);
	memcpy(first, f->bytes + 100, 64);
	assert_int_equal(request(f, &(struct driver_buf){ f->buffer + 100, 64 }, 0, 1), 64);
	assert_memory_not_equal(first, f->bytes + 100, 64);
	assert_counters(f, 2, 128, 0);
}

static void a_request_over_several_buffers_is_filled(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { f->buffer, 4 }, /* readable: never written */
				     { f->buffer + 1000, 3000 },
				     { f->buffer + 8191, 2 },
				     { DRIVER_HIGH, 50 } };

	assert_int_equal(request(f, bufs, 1, 3), 3052);
	assert_int_equal(count_nonzero(f->bytes, 1000), 0);
	assert_true(count_nonzero(f->bytes + 1000, 3000) > 2800);
	assert_true(count_nonzero(driver_ptr(&f->drv, DRIVER_HIGH, 50), 50) > 30);
	assert_counters(f, 1, 3052, 0);
	assert_true(guest_memory_is_dirty(&f->drv.memory, f->buffer));
	assert_true(guest_memory_is_dirty(&f->drv.memory, f->buffer + 4096));
	assert_true(guest_memory_is_dirty(&f->drv.memory, f->buffer + 8192));
	assert_false(guest_memory_is_dirty(&f->drv.memory, f->buffer + 12288));
	assert_true(guest_memory_is_dirty(&f->drv.memory, DRIVER_HIGH));
}

static void a_request_gets_64_kib_as_a_whole(void **state)
{
	struct fixture *f = *state;
	struct driver_buf one = { f->buffer, 1 * MIB };
	struct driver_buf three[] = { { f->buffer, 40000 },
				      { f->buffer + 100000, 40000 },
				      { f->buffer + 200000, 40000 } };

	assert_int_equal(request(f, &one, 0, 1), 65536);
	assert_int_equal(count_nonzero(f->bytes + 65536, MIB - 65536), 0);
	memset(f->bytes, 0, MIB);
	assert_int_equal(request(f, three, 0, 3), 65536);
	assert_true(count_nonzero(f->bytes + 100000, 65536 - 40000) > 20000);
	assert_int_equal(count_nonzero(f->bytes + 100000 + 65536 - 40000, 800000), 0);
	assert_counters(f, 2, 131072, 0);
}

static void a_request_without_a_writable_buffer_is_returned(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { f->buffer, 64 }, { f->buffer + 64, 64 } };

	assert_int_equal(request(f, bufs, 2, 0), 0);
	assert_int_equal(count_nonzero(f->bytes, 128), 0);
	assert_counters(f, 1, 0, 1);
	assert_int_equal(request(f, bufs, 0, 2), 128);
	assert_counters(f, 2, 128, 1);
}

static void short_and_interrupted_calls_go_on(void **state)
{
	struct fixture *f = *state;

	host.at_most = 7;
	host.interrupted = 3;
	assert_int_equal(request(f, &(struct driver_buf){ f->buffer, 100 }, 0, 1), 100);
	assert_int_equal(host.calls, 3 + 15);
	assert_counters(f, 1, 100, 0);
}

static void a_host_without_entropy_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[] = { { f->buffer, 10 },
				     { f->buffer + 100, 10 },
				     { f->buffer + 200, 10 } };

	host.fails_after = 15;
	assert_int_equal(request(f, bufs, 0, 3), 15);
	assert_int_equal(count_nonzero(f->bytes + 105, 1000), 0);
	assert_counters(f, 1, 15, 0);
	assert_int_equal(request(f, bufs, 0, 3), 0);
	assert_counters(f, 2, 15, 1);
	host.fails_after = SIZE_MAX;
	assert_int_equal(request(f, bufs, 0, 3), 30);
	assert_counters(f, 3, 45, 1);
	/* used.len counts from the first byte: what comes after a gap can't be told. */
	memset(f->bytes, 0, 1000);
	host.fails_after = host.given + 15;
	host.fails_once = true;
	assert_int_equal(request(f, bufs, 0, 3), 15);
	assert_int_equal(count_nonzero(f->bytes + 105, 1000), 0);
}

/* All buffers of the queue in one batch: one interrupt. */
static void many_requests_are_answered_at_once(void **state)
{
	struct fixture *f = *state;
	unsigned int n = 0;
	uint32_t len;

	for (unsigned int i = 0; i < 100; i++)
		driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer + 64 * i, 64 }, 0, 1);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	while (driver_get_used(&f->drv, 0, NULL, &len)) {
		assert_int_equal(len, 64);
		n++;
	}
	assert_int_equal(n, 100);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_counters(f, 100, 6400, 0);
}

/* Large requests: the event loop gets its turn in between, and all are answered in the end. */
static void large_requests_let_others_have_their_turn(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 32; i++)
		driver_add(&f->drv, 0, &(struct driver_buf){ f->buffer, 1 * MIB }, 0, 1);
	driver_kick(&f->drv, 0);
	assert_int_equal(loop_run_once(&f->drv.loop, 0, NULL), 1);
	assert_counters(f, 4, 4 * 65536, 0);
	driver_run(&f->drv);
	assert_counters(f, 32, 32 * 65536, 0);
}

/* A driver on another vCPU that refills the queue as fast as it's emptied. */
static void a_driver_that_always_has_more_doesnt_keep_the_event_loop(void **state)
{
	struct fixture *f = *state;

	for (uint16_t i = 0; i < VIRTIO_RNG_QUEUE_SIZE; i++)
		driver_set_desc(&f->drv, 0, i, f->buffer, 1, VRING_DESC_F_WRITE, 0);
	driver_offer(&f->drv, 0, 0);
	host.refills = f;
	driver_kick(&f->drv, 0);
	for (unsigned int round = 1; round <= 10; round++) {
		assert_int_equal(loop_run_once(&f->drv.loop, 0, NULL), 1);
		assert_counters(f, round * 256, round * 256, 0);
	}
	host.refills = NULL;
	driver_run(&f->drv);
	assert_counters(f, 2561, 2561, 0);
}

static void a_broken_queue_stops_the_device_until_its_reset(void **state)
{
	struct fixture *f = *state;

	driver_set_desc(&f->drv, 0, 5, DRIVER_LOW_SIZE, 64, VRING_DESC_F_WRITE, 0);
	driver_offer(&f->drv, 0, 5);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(driver_status(&f->drv), 0x4f);
	assert_int_equal(host.calls, 0);
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	driver_run(&f->drv);
	driver_interrupts(&f->drv);
	assert_int_equal(request(f, &(struct driver_buf){ f->buffer, 64 }, 0, 1), 64);
}

static void a_restored_device_goes_on(void **state)
{
	struct fixture *f = *state;
	struct virtio_mmio_state saved;
	struct virtio_rng_state own;
	struct virtio_device *device;

	assert_int_equal(request(f, &(struct driver_buf){ f->buffer, 64 }, 0, 1), 64);
	assert_int_equal(f->drv.device->ops->state_size, sizeof(own));
	driver_ack_interrupts(&f->drv);
	virtio_mmio_save(&f->drv.mmio, &saved, &own);
	virtio_mmio_release(&f->drv.mmio);
	memset(&f->drv.bus, 0, sizeof(f->drv.bus));
	assert_int_equal(virtio_rng_create("rng", &f->drv.memory, &f->drv.loop, &device, NULL), 0);
	driver_attach(&f->drv, device);
	assert_int_equal(virtio_mmio_restore(&f->drv.mmio, &saved, &own, NULL), 0);
	assert_int_equal(request(f, &(struct driver_buf){ f->buffer, 64 }, 0, 1), 64);
	assert_counters(f, 1, 64, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(it_is_an_entropy_device_with_one_queue),
		TEST(a_buffer_is_filled_and_nothing_beside_it),
		TEST(a_request_over_several_buffers_is_filled),
		TEST(a_request_gets_64_kib_as_a_whole),
		TEST(a_request_without_a_writable_buffer_is_returned),
		TEST(short_and_interrupted_calls_go_on),
		TEST(a_host_without_entropy_is_not_waited_for),
		TEST(many_requests_are_answered_at_once),
		TEST(large_requests_let_others_have_their_turn),
		TEST(a_driver_that_always_has_more_doesnt_keep_the_event_loop),
		TEST(a_broken_queue_stops_the_device_until_its_reset),
		TEST(a_restored_device_goes_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
