/* SPDX-License-Identifier: Apache-2.0 */
/* A virtio device behind its transport: kicks, interrupts, failure, reset. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "virtio_probe.h"
#include "vmm/util.h"

#define INT_USED   VIRTIO_MMIO_INT_VRING
#define INT_CONFIG VIRTIO_MMIO_INT_CONFIG

static void add_buffer(struct probe_fixture *f)
{
	uint64_t gpa = driver_alloc(&f->drv, 16, 16);

	driver_add(&f->drv, 0, &(struct driver_buf){ gpa, 16 }, 0, 1);
}

static void a_kick_is_processed_by_the_event_loop(void **state)
{
	struct probe_fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	driver_run(&f->drv);
	memset(f->probe->processed, 0, sizeof(f->probe->processed));
	driver_kick(&f->drv, 1);
	driver_kick(&f->drv, 1);
	assert_int_equal(f->probe->processed[1], 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[1], 1);
	driver_kick_eventfd(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
	assert_int_equal(f->probe->processed[1], 1);
	virtio_device_kick(&f->probe->dev, 1);
	virtio_device_kick(&f->probe->dev, 2);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[1], 2);
}

static void kicks_of_queues_that_dont_exist_are_ignored(void **state)
{
	static const uint32_t bad[] = { 2, 4, 0x100, 0x10000, 0x10001, 0x80000000, UINT32_MAX };
	struct probe_fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	driver_run(&f->drv);
	memset(f->probe->processed, 0, sizeof(f->probe->processed));
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		driver_kick(&f->drv, bad[i]);
	assert_int_equal(loop_run_once(&f->drv.loop, 0, NULL), 0);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		assert_int_equal(f->probe->processed[i], 0);
}

/* A driver may fill its queues, and kick, before DRIVER_OK: neither too early nor never. */
static void activation_looks_at_all_queues(void **state)
{
	struct probe_fixture *f = *state;

	f->probe->on_process = probe_echo;
	driver_negotiate(&f->drv, ALL_FEATURES);
	driver_queue_setup(&f->drv, 0, 0);
	driver_queue_setup(&f->drv, 1, 0);
	add_buffer(f);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 0);
	assert_false(driver_get_used(&f->drv, 0, NULL, NULL));
	assert_int_equal(driver_ok(&f->drv), 0xf);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
	assert_int_equal(f->probe->processed[1], 1);
	assert_true(driver_get_used(&f->drv, 0, NULL, NULL));
	assert_int_equal(driver_interrupts(&f->drv), 1);
}

static void queues_that_arent_ready_arent_processed(void **state)
{
	struct probe_fixture *f = *state;

	driver_negotiate(&f->drv, ALL_FEATURES);
	driver_queue_setup(&f->drv, 0, 0);
	assert_int_equal(driver_ok(&f->drv), 0xf);
	driver_kick(&f->drv, 1);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
	assert_int_equal(f->probe->processed[1], 0);
	assert_int_equal(virtio_device_pop(&f->probe->dev, 1, &(struct virtqueue_chain){ 0 }), 0);
}

static void interrupts_say_why_until_acknowledged(void **state)
{
	struct probe_fixture *f = *state;

	f->probe->on_process = probe_echo;
	driver_start(&f->drv, ALL_FEATURES);
	add_buffer(f);
	driver_run(&f->drv);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), INT_USED);
	virtio_device_signal_config(&f->probe->dev);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), INT_USED | INT_CONFIG);
	driver_write(&f->drv, VIRTIO_MMIO_INTERRUPT_ACK, INT_USED);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), INT_CONFIG);
	driver_write(&f->drv, VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	/* A buffer that the driver doesn't want to hear of. */
	driver_set_used_event(&f->drv, 0, 1000);
	add_buffer(f);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 2);
	assert_int_equal(driver_interrupts(&f->drv), 0);
	assert_int_equal(driver_ack_interrupts(&f->drv), 0);
}

/* While the device works through a batch, an interrupt handler and a kick go on. */
static void interrupt_registers_dont_wait_for_the_device(void **state)
{
	struct probe_fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	virtio_device_signal_config(&f->probe->dev);
	alarm(10); /* a deadlock ends the test */
	pthread_mutex_lock(&f->probe->dev.lock);
	assert_int_equal(driver_ack_interrupts(&f->drv), INT_CONFIG);
	assert_int_equal(driver_ack_interrupts(&f->drv), 0);
	driver_kick(&f->drv, 0);
	pthread_mutex_unlock(&f->probe->dev.lock);
	alarm(0);
}

static void a_configuration_change_has_a_new_generation(void **state)
{
	struct probe_fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	uint32_t before = driver_read(&f->drv, VIRTIO_MMIO_CONFIG_GENERATION);

	virtio_device_signal_config(&f->probe->dev);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_CONFIG_GENERATION), before + 1);
	assert_int_equal(driver_interrupts(&f->drv), 1);
}

/* The driver may have read the configuration already: it hears of the change, but not too early. */
static void a_configuration_change_during_the_handshake_waits_for_driver_ok(void **state)
{
	struct probe_fixture *f = *state;

	driver_negotiate(&f->drv, ALL_FEATURES);
	virtio_device_signal_config(&f->probe->dev);
	assert_int_equal(driver_interrupts(&f->drv), 0);
	driver_ok(&f->drv);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_ack_interrupts(&f->drv), INT_CONFIG);
}

static void a_failed_activation_needs_a_reset(void **state)
{
	struct probe_fixture *f = *state;

	f->probe->activate_result = -EIO;
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0x4f);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_ack_interrupts(&f->drv), INT_CONFIG);
	assert_int_equal(f->probe->resets, 1);
	assert_false(f->probe->dev.activated);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 0);
	assert_int_equal(f->probe->resets, 1);
	f->probe->activate_result = 0;
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
}

static void a_broken_queue_stops_the_device_until_its_reset(void **state)
{
	struct probe_fixture *f = *state;

	f->probe->on_process = probe_echo;
	driver_start(&f->drv, ALL_FEATURES);
	driver_run(&f->drv);
	driver_offer(&f->drv, 0, UINT16_MAX);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(driver_status(&f->drv), 0x4f);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_ack_interrupts(&f->drv), INT_CONFIG);
	assert_int_equal(f->probe->resets, 1);

	unsigned int processed = f->probe->processed[0] + f->probe->processed[1];

	assert_int_equal(virtio_device_pop(&f->probe->dev, 1, &(struct virtqueue_chain){ 0 }),
			 -EPROTO);
	driver_kick(&f->drv, 0);
	driver_kick(&f->drv, 1);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0] + f->probe->processed[1], processed);
	virtio_device_signal_used(&f->probe->dev, 1);
	assert_int_equal(driver_interrupts(&f->drv), 0);

	driver_reset(&f->drv);
	assert_int_equal(driver_status(&f->drv), 0);
	assert_int_equal(f->probe->resets, 1);
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	add_buffer(f);
	driver_run(&f->drv);
	assert_true(driver_get_used(&f->drv, 0, NULL, NULL));
}

/* A tap or a timer finds the queue broken: nobody kicked, and yet the device is stopped. */
static void a_failure_outside_of_the_transport_stops_the_device(void **state)
{
	struct probe_fixture *f = *state;
	struct virtqueue_chain chain;

	driver_start(&f->drv, ALL_FEATURES);
	driver_run(&f->drv);
	driver_kick(&f->drv, 0);
	add_buffer(f);
	pthread_mutex_lock(&f->probe->dev.lock);
	assert_int_equal(virtio_device_pop(&f->probe->dev, 0, &chain), 1);
	virtqueue_push(&f->probe->dev.queues[0], chain.head, 0);
	virtio_device_fail(&f->probe->dev, "out of the blue");
	virtio_device_fail(&f->probe->dev, "again");
	virtio_device_signal_used(&f->probe->dev, 0);
	assert_int_equal(f->probe->resets, 0);
	pthread_mutex_unlock(&f->probe->dev.lock);
	assert_int_equal(driver_status(&f->drv), 0x4f);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	driver_run(&f->drv);
	assert_int_equal(f->probe->resets, 1);
	assert_int_equal(f->probe->processed[0], 1); /* as before */
	assert_false(f->probe->dev.activated);
}

static void before_driver_ok_a_failure_interrupts_nobody(void **state)
{
	struct probe_fixture *f = *state;

	driver_negotiate(&f->drv, ALL_FEATURES);
	driver_queue_setup(&f->drv, 0, 0);
	pthread_mutex_lock(&f->probe->dev.lock);
	virtio_device_fail(&f->probe->dev, "early");
	pthread_mutex_unlock(&f->probe->dev.lock);
	assert_int_equal(driver_status(&f->drv), 0x4b);
	assert_int_equal(driver_interrupts(&f->drv), 0);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	/* No way on but a reset; queue registers and configuration space are closed too. */
	assert_int_equal(driver_ok(&f->drv), 0x4b);
	driver_write(&f->drv, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_READY), 1);
	driver_write_width(&f->drv, VIRTIO_MMIO_CONFIG, 0, 1);
	assert_int_equal(f->probe->config_writes, 0);
	assert_int_equal(f->probe->activations, 0);
	driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0xcb);
	assert_int_equal(driver_status(&f->drv), 0xcb);
	driver_reset(&f->drv);
	assert_int_equal(driver_status(&f->drv), 0);
}

static void a_driver_that_gives_up_stops_the_device(void **state)
{
	struct probe_fixture *f = *state;

	f->probe->on_process = probe_hold;
	driver_start(&f->drv, ALL_FEATURES);
	add_buffer(f);
	driver_run(&f->drv);
	driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0x8f);
	assert_int_equal(driver_status(&f->drv), 0x8f);
	assert_int_equal(f->probe->resets, 1);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
	virtio_device_signal_config(&f->probe->dev);
	assert_int_equal(driver_interrupts(&f->drv), 0);
	driver_reset(&f->drv);
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
}

static void drain(struct virtio_probe *probe)
{
	/* The queue is still there, for what is in flight to be completed into. */
	assert_int_equal(virtqueue_in_flight(&probe->dev.queues[0]), 1);
	assert_non_null(probe->dev.queues[0].used);
	virtqueue_push(&probe->dev.queues[0], 0, 5);
}

static void a_reset_drains_before_the_queues_go(void **state)
{
	struct probe_fixture *f = *state;

	f->probe->on_process = probe_hold;
	f->probe->on_reset = drain;
	driver_start(&f->drv, ALL_FEATURES);
	add_buffer(f);
	driver_run(&f->drv);
	assert_int_equal(virtqueue_in_flight(&f->probe->dev.queues[0]), 1);
	virtio_device_signal_config(&f->probe->dev);
	driver_reset(&f->drv);
	assert_int_equal(f->probe->resets, 1);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 1);

	assert_int_equal(driver_status(&f->drv), 0);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_int_equal(f->probe->dev.acked, 0);
	for (uint32_t i = 0; i < 2; i++) {
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_READY), 0);
		assert_int_equal(f->probe->dev.queues[i].desc_gpa, 0);
		assert_int_equal(f->probe->dev.queues[i].size, 0);
	}
	/* A late completion touches nothing. */
	virtqueue_push(&f->probe->dev.queues[0], 0, 5);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 1);
	driver_reset(&f->drv);
	assert_int_equal(f->probe->resets, 1);
}

/* Kicks that were on their way when the driver reset the device find nothing to do. */
static void a_kick_from_before_a_reset_does_nothing(void **state)
{
	struct probe_fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	driver_kick(&f->drv, 0);
	driver_reset(&f->drv);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROBE_TEST(a_kick_is_processed_by_the_event_loop),
		PROBE_TEST(kicks_of_queues_that_dont_exist_are_ignored),
		PROBE_TEST(activation_looks_at_all_queues),
		PROBE_TEST(queues_that_arent_ready_arent_processed),
		PROBE_TEST(interrupts_say_why_until_acknowledged),
		PROBE_TEST(interrupt_registers_dont_wait_for_the_device),
		PROBE_TEST(a_configuration_change_has_a_new_generation),
		PROBE_TEST(a_configuration_change_during_the_handshake_waits_for_driver_ok),
		PROBE_TEST(a_failed_activation_needs_a_reset),
		PROBE_TEST(a_broken_queue_stops_the_device_until_its_reset),
		PROBE_TEST(a_failure_outside_of_the_transport_stops_the_device),
		PROBE_TEST(before_driver_ok_a_failure_interrupts_nobody),
		PROBE_TEST(a_driver_that_gives_up_stops_the_device),
		PROBE_TEST(a_reset_drains_before_the_queues_go),
		PROBE_TEST(a_kick_from_before_a_reset_does_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
