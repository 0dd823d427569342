/* SPDX-License-Identifier: Apache-2.0 */
/* Save and restore of a virtio device behind its transport, also of states that nobody saved. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtio_probe.h"
#include "vmm/util.h"

struct fixture {
	struct virtio_driver drv;
	struct virtio_probe *probe;
	struct virtio_mmio_state state;
	struct probe_state device_state;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	driver_setup(&f.drv);
	f.probe = probe_attach(&f.drv, 2, PROBE_QUEUE_SIZE, 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	driver_teardown(&f->drv);
	return 0;
}

static void save(struct fixture *f)
{
	virtio_mmio_save(&f->drv.mmio, &f->state, &f->device_state);
}

/* A new device in a new monitor over the same guest memory. */
static void replace(struct fixture *f)
{
	virtio_mmio_release(&f->drv.mmio);
	memset(&f->drv.bus, 0, sizeof(f->drv.bus));
	f->probe = probe_attach(&f->drv, 2, PROBE_QUEUE_SIZE, 0);
}

static int restore(struct fixture *f, struct error *err)
{
	return virtio_mmio_restore(&f->drv.mmio, &f->state, &f->device_state, err);
}

static uint16_t add_buffer(struct fixture *f)
{
	return driver_add(&f->drv, 0, &(struct driver_buf){ 4096, 16 }, 0, 1);
}

static void give_back(struct virtio_probe *probe)
{
	uint16_t heads[] = { 0 };

	virtqueue_unpop(&probe->dev.queues[0], heads, 1);
}

static void a_running_device_goes_on(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	f->probe->on_process = probe_echo;
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	for (int i = 0; i < 5; i++) {
		add_buffer(f);
		driver_kick(&f->drv, 0);
		driver_run(&f->drv);
		assert_true(driver_get_used(&f->drv, 0, NULL, NULL));
	}
	f->probe->state.value = 99;
	virtio_device_signal_config(&f->probe->dev);
	driver_write(&f->drv, VIRTIO_MMIO_QUEUE_SEL, 1);
	save(f);
	replace(f);
	f->probe->on_process = probe_echo;
	/* Made available while nobody listened: its kick is lost. */
	uint16_t head = add_buffer(f);

	assert_int_equal(restore(f, NULL), 0);
	assert_int_equal(f->probe->activations, 1);
	assert_int_equal(f->probe->state.value, 99);
	assert_int_equal(f->probe->dev.acked, driver_offered(&f->drv));
	assert_int_equal(driver_status(&f->drv), 0xf);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_CONFIG_GENERATION), 1);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_READY), 1);
	assert_int_equal(f->drv.mmio.queue_sel, 1);
	driver_run(&f->drv);
	assert_false(driver_get_used(&f->drv, 0, NULL, NULL));
	virtio_mmio_rekick(&f->drv.mmio);
	assert_int_equal(driver_interrupts(&f->drv), 1); /* not acknowledged before the save */
	driver_run(&f->drv);
	assert_true(driver_get_used(&f->drv, 0, &id, NULL));
	assert_int_equal(id, head);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_ack_interrupts(&f->drv),
			 VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
	/* The next one is kicked for. */
	add_buffer(f);
	assert_true(driver_kick_wanted(&f->drv, 0));
	/* And nothing is raised when nothing is pending. */
	driver_run(&f->drv);
	virtio_mmio_rekick(&f->drv.mmio);
	driver_run(&f->drv);
	driver_ack_interrupts(&f->drv);
	driver_interrupts(&f->drv);
	virtio_mmio_rekick(&f->drv.mmio);
	assert_int_equal(driver_interrupts(&f->drv), 0);
}

static void a_handshake_goes_on_at_each_step(void **state)
{
	struct fixture *f = *state;

	for (int step = 0; step < 5; step++) {
		driver_reset(&f->drv);
		if (step >= 1)
			driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0x1);
		if (step >= 2)
			driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0x3);
		if (step >= 2) {
			driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
			driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES, 1);
		}
		if (step >= 3)
			driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0xb);
		if (step >= 4)
			driver_queue_setup(&f->drv, 0, 4);
		save(f);
		replace(f);
		assert_int_equal(restore(f, NULL), 0);
		assert_int_equal(f->probe->activations, 0);
		if (step < 1)
			driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0x1);
		if (step < 2) {
			driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0x3);
			driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
			driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES, 1);
		}
		if (step < 3)
			driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0xb);
		if (step < 4)
			driver_queue_setup(&f->drv, 0, 4);
		driver_queue_setup(&f->drv, 1, 4);
		assert_int_equal(driver_ok(&f->drv), 0xf);
		assert_int_equal(f->probe->dev.acked, VERSION_1);
		assert_non_null(f->probe->dev.queues[0].desc);
		assert_int_equal(f->probe->dev.queues[0].size, 4);
	}
}

/* ops->save comes first: what it gives back is in the saved indexes. */
static void what_is_in_flight_is_given_back_before_the_indexes_are_saved(void **state)
{
	struct fixture *f = *state;

	f->probe->on_process = probe_hold;
	f->probe->on_save = give_back;
	driver_start(&f->drv, ALL_FEATURES);
	uint16_t head = add_buffer(f);

	driver_run(&f->drv);
	assert_int_equal(virtqueue_in_flight(&f->probe->dev.queues[0]), 1);
	save(f);
	replace(f);
	assert_int_equal(restore(f, NULL), 0);
	f->probe->on_process = probe_echo;
	virtio_mmio_rekick(&f->drv.mmio);
	driver_run(&f->drv);
	uint32_t id;

	assert_true(driver_get_used(&f->drv, 0, &id, NULL));
	assert_int_equal(id, head);
}

static void a_device_that_needs_a_reset_still_does(void **state)
{
	struct fixture *f = *state;

	f->probe->on_process = probe_hold;
	driver_start(&f->drv, ALL_FEATURES);
	add_buffer(f);
	driver_run(&f->drv);
	/* Not yet noticed by the event loop, and with a chain in flight. */
	virtio_device_fail(&f->probe->dev, "test");
	save(f);
	assert_int_equal(f->probe->resets, 1);
	replace(f);
	assert_int_equal(restore(f, NULL), 0);
	assert_int_equal(f->probe->activations, 0);
	assert_int_equal(driver_status(&f->drv), 0x4f);
	virtio_mmio_rekick(&f->drv.mmio);
	assert_int_equal(driver_interrupts(&f->drv), 1); /* the one that says so */
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 0);
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
}

static void a_driver_that_gave_up_still_has(void **state)
{
	struct fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0x8f);
	save(f);
	replace(f);
	assert_int_equal(restore(f, NULL), 0);
	assert_int_equal(driver_status(&f->drv), 0x8f);
	assert_int_equal(f->probe->activations, 0);
	virtio_device_signal_config(&f->probe->dev);
	virtio_mmio_rekick(&f->drv.mmio);
	assert_int_equal(driver_interrupts(&f->drv), 0);
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
}

/* The state is refused for this reason, and the device is as after a reset. */
static void assert_refused(struct fixture *f, const char *reason)
{
	struct error err = { 0 };
	char expected[256];

	snprintf(expected, sizeof(expected), "probe \"p0\": %s", reason);
	assert_int_equal(restore(f, &err), -EINVAL);
	assert_string_equal(err.message, expected);
	assert_int_equal(driver_status(&f->drv), 0);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_false(f->probe->dev.activated);
	assert_false(f->probe->dev.driver_ok);
	assert_int_equal(f->probe->dev.acked, 0);
	for (unsigned int i = 0; i < 2; i++) {
		assert_false(f->probe->dev.queues[i].ready);
		assert_null(f->probe->dev.queues[i].desc);
		assert_int_equal(f->probe->dev.queues[i].next_avail, 0);
	}
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 0);
}

static void states_that_cant_be_are_refused(void **state)
{
	struct fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	save(f);
	const struct virtio_mmio_state good = f->state;

	replace(f);
#define REFUSED(reason, ...)                                                                       \
	do {                                                                                       \
		f->state = good;                                                                   \
		__VA_ARGS__;                                                                       \
		assert_refused(f, reason);                                                         \
	} while (0)
	REFUSED("device status 0x2 can't be", f->state.status = 0x2);
	REFUSED("device status 0x7 can't be", f->state.status = 0x7);
	REFUSED("device status 0x4f can't be", f->state.status = 0x4f);
	REFUSED("device status 0x80 can't be", f->state.status = 0x80);
	REFUSED("device status 0x10f can't be", f->state.status = 0x10f);
	REFUSED("DEVICE_NEEDS_RESET without a driver", f->state.needs_reset = 2);
	REFUSED("DEVICE_NEEDS_RESET without a driver",
		(f->state.status = 1, f->state.needs_reset = 1));
	REFUSED("interrupt status 0x4 can't be", f->state.interrupt_status = 4);
	REFUSED("features of a driver without a driver", f->state.status = 1);
	REFUSED("driver's features 0x130000021 aren't among the device's 0x130000020",
		f->state.driver_features |= 1);
	REFUSED("driver's features 0x30000020 aren't among the device's 0x130000020",
		f->state.driver_features &= ~VERSION_1);
	REFUSED("1 queues instead of 2", f->state.n_queues = 1);
	REFUSED("4294967295 queues instead of 2", f->state.n_queues = UINT32_MAX);
	REFUSED("queue 3 doesn't exist", f->state.queues[3].desc_gpa = 1);
	REFUSED("queue 0: ready before FEATURES_OK", f->state.status = 3);
	REFUSED("queue 1: used before it was started",
		(f->state.queues[1].ready = 0, f->state.queues[1].next_avail = 1,
		 f->state.queues[1].next_used = 1));
	REFUSED("queue 0: used before it was started",
		(f->state.status = 0xb, f->state.queues[0].next_avail = 1,
		 f->state.queues[0].next_used = 1));
	REFUSED("queue 0: 1 chains in flight", f->state.queues[0].next_avail = 1);
	REFUSED("queue 1: size 5 is not a power of two from 1 to 8", f->state.queues[1].size = 5);
	REFUSED("queue 0: size 16 is not a power of two from 1 to 8", f->state.queues[0].size = 16);
	REFUSED("queue 0: size 0 is not a power of two from 1 to 8", f->state.queues[0].size = 0);
	REFUSED("queue 0: unknown flags", f->state.queues[0].ready = 3);
	REFUSED("queue 0: used ring at 0x1000000 isn't in RAM",
		f->state.queues[0].used_gpa = DRIVER_LOW_SIZE);
	REFUSED("queue 1: descriptor table at 0xffffffffffffff00 isn't in RAM",
		f->state.queues[1].desc_gpa = 0xffffffffffffff00);
	REFUSED("queue 1: available ring at 0x10001 isn't aligned",
		f->state.queues[1].avail_gpa = 0x10001);
	REFUSED("value 0", f->device_state.value = 0);
	assert_int_equal(f->probe->activations, 0);
	/* Not one of them left anything behind that the good one trips over. */
	f->state = good;
	f->device_state.value = 1;
	assert_int_equal(restore(f, NULL), 0);
	assert_int_equal(driver_status(&f->drv), 0xf);
}

static void an_activation_that_fails_fails_the_restore(void **state)
{
	struct fixture *f = *state;
	struct error err = { 0 };

	driver_start(&f->drv, ALL_FEATURES);
	save(f);
	replace(f);
	f->probe->activate_result = -ENXIO;
	assert_int_equal(restore(f, &err), -ENXIO);
	assert_string_equal(err.message, "probe \"p0\": backend: No such device or address");
	assert_int_equal(f->probe->resets, 1);
	assert_int_equal(driver_status(&f->drv), 0);
}

/* Indexes are the guest's: any pair that's equal is restored, and what it pops is checked. */
static void restored_indexes_are_only_indexes(void **state)
{
	struct fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	add_buffer(f);
	save(f);
	replace(f);
	f->state.queues[0].next_avail = f->state.queues[0].next_used = 54321;
	f->state.queues[0].signalled_used = 12345;
	f->probe->on_process = probe_echo;
	assert_int_equal(restore(f, NULL), 0);
	virtio_mmio_rekick(&f->drv.mmio);
	driver_run(&f->drv);
	assert_int_equal(driver_status(&f->drv), 0x4f);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 0);
}

/* Bytes of any kind: refused or restored, but never more than that. Seeded, so that it repeats. */
static void random_states_harm_nothing(void **state)
{
	struct fixture *f = *state;
	unsigned int seed = 20261123, taken = 0;

	driver_start(&f->drv, ALL_FEATURES);
	save(f);
	const struct virtio_mmio_state good = f->state;

	replace(f);
	f->probe->on_process = probe_echo;
	for (int i = 0; i < 20000; i++) {
		f->state = good;
		for (int flips = rand_r(&seed) % 4 + 1; flips > 0; flips--) {
			size_t at = (size_t)rand_r(&seed) % sizeof(f->state);

			((uint8_t *)&f->state)[at] ^= (uint8_t)(1 << rand_r(&seed) % 8);
		}
		if (restore(f, NULL) < 0) {
			assert_int_equal(driver_status(&f->drv), 0);
			continue;
		}
		taken++;
		virtio_mmio_rekick(&f->drv.mmio);
		driver_run(&f->drv);
		driver_interrupts(&f->drv);
	}
	assert_true(taken > 100 && taken < 19900);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_running_device_goes_on),
		TEST(a_handshake_goes_on_at_each_step),
		TEST(what_is_in_flight_is_given_back_before_the_indexes_are_saved),
		TEST(a_device_that_needs_a_reset_still_does),
		TEST(a_driver_that_gave_up_still_has),
		TEST(states_that_cant_be_are_refused),
		TEST(an_activation_that_fails_fails_the_restore),
		TEST(restored_indexes_are_only_indexes),
		TEST(random_states_harm_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
