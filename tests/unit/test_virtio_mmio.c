/* SPDX-License-Identifier: Apache-2.0 */
/* Registers and status machine of virtio over MMIO: what a driver may write, when and how wide. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtio_probe.h"
#include "vmm/util.h"

#define ALL_ONES UINT32_MAX

static void write_status(struct probe_fixture *f, uint32_t value)
{
	driver_write(&f->drv, VIRTIO_MMIO_STATUS, value);
}

static void the_device_identifies_itself(void **state)
{
	struct probe_fixture *f = *state;

	assert_int_equal(driver_read(&f->drv, 0x000), 0x74726976);
	assert_int_equal(driver_read(&f->drv, 0x004), 2);
	assert_int_equal(driver_read(&f->drv, 0x008), PROBE_DEVICE_ID);
	assert_int_equal(driver_read(&f->drv, 0x00c), VIRTIO_MMIO_VENDOR);
	assert_int_equal(driver_status(&f->drv), 0);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

static void features_are_offered_in_two_halves(void **state)
{
	struct probe_fixture *f = *state;

	assert_int_equal(driver_offered(&f->drv),
			 PROBE_FEATURES | VERSION_1 | EVENT_IDX | INDIRECT_DESC);
	driver_write(&f->drv, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	driver_write(&f->drv, VIRTIO_MMIO_DEVICE_FEATURES_SEL, UINT32_MAX);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

static void the_handshake_activates_the_device(void **state)
{
	struct probe_fixture *f = *state;

	assert_int_equal(driver_start(&f->drv, VERSION_1 | PROBE_FEATURES), 0xf);
	assert_int_equal(f->probe->activations, 1);
	assert_true(f->probe->dev.activated);
	assert_int_equal(f->probe->dev.acked, VERSION_1 | PROBE_FEATURES);
	assert_true(virtio_acked(&f->probe->dev, VIRTIO_F_VERSION_1));
	assert_false(virtio_acked(&f->probe->dev, VIRTIO_RING_F_EVENT_IDX));
	assert_int_equal(driver_interrupts(&f->drv), 0);
}

/* From every state, every value that isn't the next step, FAILED or a reset changes nothing. */
static void only_the_next_step_changes_the_status(void **state)
{
	static const uint32_t steps[] = { 0, 0x1, 0x3, 0xb, 0xf };
	struct probe_fixture *f = *state;

	for (unsigned int at = 0; at < ARRAY_SIZE(steps); at++) {
		driver_start(&f->drv, ALL_FEATURES); /* rings, features: as they have to be */
		for (uint32_t value = 1; value <= 0x1ff; value++) {
			uint32_t next = at + 1 < ARRAY_SIZE(steps) ? steps[at + 1] : steps[at];

			if (value == next || value == (steps[at] | VIRTIO_CONFIG_S_FAILED))
				continue;
			write_status(f, 0);
			for (unsigned int i = 1; i <= at; i++) {
				if (steps[i] == 0xb) {
					driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
					driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES, 1);
				}
				write_status(f, steps[i]);
			}
			assert_int_equal(driver_status(&f->drv), steps[at]);
			write_status(f, value);
			assert_int_equal(driver_status(&f->drv), steps[at]);
		}
	}
	write_status(f, 0);
	write_status(f, 0x101);
	assert_int_equal(driver_status(&f->drv), 0);
	write_status(f, VIRTIO_CONFIG_S_FAILED);
	assert_int_equal(driver_status(&f->drv), 0);
}

static void features_ok_is_refused_without_version_1(void **state)
{
	struct probe_fixture *f = *state;

	assert_int_equal(driver_negotiate(&f->drv, PROBE_FEATURES | EVENT_IDX), 0x3);
	assert_int_equal(f->probe->dev.acked, 0);
}

static void features_ok_is_refused_for_what_wasnt_offered(void **state)
{
	struct probe_fixture *f = *state;

	for (unsigned int bit = 0; bit < 64; bit++) {
		bool offered = driver_offered(&f->drv) >> bit & 1;

		assert_int_equal(driver_negotiate(&f->drv, VERSION_1 | 1ull << bit),
				 offered ? 0xb : 0x3);
	}
	/* The driver may take back what was too much and try again. */
	assert_int_equal(driver_negotiate(&f->drv, VERSION_1 | 1), 0x3);
	driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	write_status(f, 0xb);
	assert_int_equal(driver_status(&f->drv), 0xb);
	assert_int_equal(f->probe->dev.acked, VERSION_1);
}

static void features_are_frozen_outside_of_their_phase(void **state)
{
	struct probe_fixture *f = *state;

	/* Before DRIVER. */
	write_status(f, 0x1);
	driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	write_status(f, 0x3);
	write_status(f, 0xb);
	assert_int_equal(driver_status(&f->drv), 0x3);
	/* A selector beyond the two halves writes neither. */
	assert_int_equal(driver_negotiate(&f->drv, VERSION_1), 0xb);
	driver_reset(&f->drv);
	write_status(f, 0x1);
	write_status(f, 0x3);
	driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 3);
	driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES, 0xff);
	write_status(f, 0xb);
	assert_int_equal(driver_status(&f->drv), 0xb);
	assert_int_equal(f->probe->dev.acked, VERSION_1);
	/* After FEATURES_OK, and after DRIVER_OK. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(i ? driver_start(&f->drv, VERSION_1)
				   : driver_negotiate(&f->drv, VERSION_1),
				 i ? 0xf : 0xb);
		driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
		driver_write(&f->drv, VIRTIO_MMIO_DRIVER_FEATURES, UINT32_MAX);
		assert_int_equal(f->drv.mmio.driver_features, VERSION_1);
		assert_int_equal(f->probe->dev.acked, VERSION_1);
	}
}

static void assert_queue_frozen(struct probe_fixture *f)
{
	struct virtqueue before = f->probe->dev.queues[0];

	driver_queue_registers(&f->drv, 0, 4, 0x1111111100000000, 0x2222222200000000,
			       0x3333333300000000);
	assert_memory_equal(&before, &f->probe->dev.queues[0], sizeof(before));
	driver_write(&f->drv, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_memory_equal(&before, &f->probe->dev.queues[0], sizeof(before));
}

static void queue_registers_are_frozen_outside_of_their_phase(void **state)
{
	struct probe_fixture *f = *state;

	assert_queue_frozen(f);
	write_status(f, 0x1);
	assert_queue_frozen(f);
	write_status(f, 0x3);
	assert_queue_frozen(f);
	driver_start(&f->drv, ALL_FEATURES);
	assert_queue_frozen(f); /* running: CVE-2026-5747's class */
	write_status(f, 0x8f);
	assert_queue_frozen(f);
}

static void queue_registers_are_frozen_while_ready(void **state)
{
	struct probe_fixture *f = *state;
	const struct virtqueue *queue = &f->probe->dev.queues[1];

	driver_negotiate(&f->drv, ALL_FEATURES);
	driver_queue_registers(&f->drv, 1, 4, 0x1122334455667788, 0x99aabbccddeeff00,
			       0x0123456789abcdef);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_READY), 1);
	for (int ready = 1; ready >= 0; ready--) {
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_READY, 2 + (uint32_t)ready);
		assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_READY), ready);
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_NUM, 8);
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_DESC_LOW, 0);
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_USED_LOW, 0);
		assert_int_equal(queue->size, ready ? 4 : 8);
		assert_int_equal(queue->desc_gpa, ready ? 0x1122334455667788 : 0x1122334400000000);
		assert_int_equal(queue->avail_gpa, ready ? 0x99aabbccddeeff00 : 0xddeeff00);
		assert_int_equal(queue->used_gpa, ready ? 0x0123456789abcdef : 0x0123456700000000);
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_READY, 0);
	}
	assert_int_equal(f->probe->dev.queues[0].size, 0);
}

static void a_queue_size_that_cant_be_fails_the_activation(void **state)
{
	static const uint32_t bad[] = { 0, 3, 6, 16, 255, 0x10000, 0x10004, UINT32_MAX };
	struct probe_fixture *f = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		driver_negotiate(&f->drv, ALL_FEATURES);
		driver_queue_setup(&f->drv, 0, 4);
		driver_queue_setup(&f->drv, 1, 4);
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_READY, 0);
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_NUM, bad[i]);
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(driver_ok(&f->drv), 0x4f);
		assert_false(f->probe->dev.activated);
	}
	assert_int_equal(f->probe->activations, 0);
}

static void queues_that_dont_exist_are_not_there(void **state)
{
	static const uint32_t bad[] = { 2, VIRTIO_QUEUES_MAX, VIRTIO_QUEUES_MAX + 1, 0x10000,
					UINT32_MAX };
	struct probe_fixture *f = *state;
	struct virtqueue before[VIRTIO_QUEUES_MAX];

	driver_negotiate(&f->drv, ALL_FEATURES);
	memcpy(before, f->probe->dev.queues, sizeof(before));
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		driver_queue_registers(&f->drv, bad[i], 4, 0x1000, 0x2000, 0x3000);
		assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
		assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_READY), 0);
	}
	assert_memory_equal(before, f->probe->dev.queues, sizeof(before));
	driver_write(&f->drv, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_NUM_MAX), PROBE_QUEUE_SIZE);
}

static void shared_memory_regions_have_length_minus_1(void **state)
{
	struct probe_fixture *f = *state;

	for (uint32_t id = 0; id < 3; id++) {
		driver_write(&f->drv, VIRTIO_MMIO_SHM_SEL, id);
		assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_SHM_LEN_LOW), ALL_ONES);
		assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_SHM_LEN_HIGH), ALL_ONES);
		assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_SHM_BASE_LOW), ALL_ONES);
		assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_SHM_BASE_HIGH), ALL_ONES);
	}
}

/* Every register, known or not, with every width and alignment but its own. */
static void registers_take_only_aligned_32_bit_accesses(void **state)
{
	struct probe_fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	driver_run(&f->drv);
	virtio_device_signal_config(&f->probe->dev);
	struct virtio_probe before = *f->probe;
	struct virtio_mmio transport = f->drv.mmio;

	for (uint32_t offset = 0; offset < VIRTIO_MMIO_CONFIG; offset++) {
		for (unsigned int len = 1; len <= 8; len *= 2) {
			if (len == 4 && offset % 4 == 0)
				continue;
			assert_int_equal(driver_read_width(&f->drv, offset, len),
					 UINT64_MAX >> (64 - 8 * len));
			driver_write_width(&f->drv, offset, 0, len);
			driver_write_width(&f->drv, offset, UINT64_MAX, len);
		}
	}
	driver_run(&f->drv);
	assert_memory_equal(&before, f->probe, sizeof(before));
	assert_memory_equal(&transport, &f->drv.mmio, sizeof(transport));
}

static void unknown_and_write_only_registers_read_all_ones(void **state)
{
	static const uint32_t offsets[] = { 0x018, 0x01c, 0x014, 0x020, 0x024, 0x028, 0x02c,
					    0x030, 0x038, 0x03c, 0x040, 0x048, 0x050, 0x064,
					    0x080, 0x0a4, 0x0ac, 0x0c0, 0x0f8 };
	struct probe_fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++)
		assert_int_equal(driver_read(&f->drv, offsets[i]), ALL_ONES);
}

static void read_only_registers_ignore_writes(void **state)
{
	static const uint32_t offsets[] = {
		0x000, 0x004, 0x008, 0x00c, 0x010, 0x034, 0x060, 0x0fc
	};
	struct probe_fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++) {
		uint32_t before = driver_read(&f->drv, offsets[i]);

		driver_write(&f->drv, offsets[i], ~before);
		assert_int_equal(driver_read(&f->drv, offsets[i]), before);
	}
}

static void configuration_space_reads_have_any_width_in_range(void **state)
{
	struct probe_fixture *f = *state;

	for (unsigned int len = 1; len <= 8; len *= 2) {
		for (uint32_t at = 0; at < 32; at++) {
			uint64_t value = driver_read_width(&f->drv, VIRTIO_MMIO_CONFIG + at, len);
			uint64_t expected = 0;

			for (unsigned int i = 0; i < len; i++)
				expected |= (uint64_t)(0xa0 + at + i) << (8 * i);
			if (at + len > PROBE_CONFIG_SIZE)
				expected = UINT64_MAX >> (64 - 8 * len);
			assert_int_equal(value, expected);
		}
	}
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_SIZE - 4), ALL_ONES);
}

static void configuration_space_writes_reach_the_device_in_range(void **state)
{
	struct probe_fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	driver_write_width(&f->drv, VIRTIO_MMIO_CONFIG + 10, 0xbeef, 2);
	assert_int_equal(f->probe->config_writes, 1);
	assert_int_equal(f->probe->write_offset, 10);
	assert_int_equal(f->probe->write_len, 2);
	assert_memory_equal(f->probe->write_data, "\xef\xbe", 2);
	for (unsigned int len = 1; len <= 8; len *= 2) {
		driver_write_width(&f->drv, VIRTIO_MMIO_CONFIG + PROBE_CONFIG_SIZE - len + 1, 0,
				   len);
		driver_write_width(&f->drv, VIRTIO_MMIO_CONFIG + PROBE_CONFIG_SIZE, 0, len);
		driver_write_width(&f->drv, VIRTIO_MMIO_SIZE - len, 0, len);
	}
	assert_int_equal(f->probe->config_writes, 1);
	/* §3.1.1: nobody to write before DRIVER, and nothing after FAILED. */
	write_status(f, 0x8f);
	driver_write_width(&f->drv, VIRTIO_MMIO_CONFIG, 0, 1);
	write_status(f, 0);
	driver_write_width(&f->drv, VIRTIO_MMIO_CONFIG, 0, 1);
	write_status(f, 0x1);
	driver_write_width(&f->drv, VIRTIO_MMIO_CONFIG, 0, 1);
	assert_int_equal(f->probe->config_writes, 1);
	write_status(f, 0x3);
	driver_write_width(&f->drv, VIRTIO_MMIO_CONFIG, 0, 1);
	assert_int_equal(f->probe->config_writes, 2);
}

static void configuration_space_is_read_only_without_an_operation(void **state)
{
	struct virtio_driver drv;

	(void)state;
	driver_setup(&drv);
	struct virtio_probe *probe = probe_attach(&drv, 1, 4, PROBE_READ_ONLY_CONFIG);

	assert_int_equal(driver_start(&drv, ALL_FEATURES), 0xf);
	driver_write_width(&drv, VIRTIO_MMIO_CONFIG, 0, 4);
	assert_int_equal(driver_read(&drv, VIRTIO_MMIO_CONFIG), 0xa3a2a1a0);
	assert_int_equal(probe->config_writes, 0);
	driver_teardown(&drv);
}

static void a_device_without_configuration_space_reads_all_ones(void **state)
{
	struct probe_fixture *f = *state;

	f->probe->dev.config = NULL;
	f->probe->dev.config_size = 0;
	driver_start(&f->drv, ALL_FEATURES);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_CONFIG), ALL_ONES);
	assert_int_equal(driver_read_width(&f->drv, VIRTIO_MMIO_CONFIG, 1), 0xff);
	driver_write(&f->drv, VIRTIO_MMIO_CONFIG, 0);
	assert_int_equal(f->probe->config_writes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROBE_TEST(the_device_identifies_itself),
		PROBE_TEST(features_are_offered_in_two_halves),
		PROBE_TEST(the_handshake_activates_the_device),
		PROBE_TEST(only_the_next_step_changes_the_status),
		PROBE_TEST(features_ok_is_refused_without_version_1),
		PROBE_TEST(features_ok_is_refused_for_what_wasnt_offered),
		PROBE_TEST(features_are_frozen_outside_of_their_phase),
		PROBE_TEST(queue_registers_are_frozen_outside_of_their_phase),
		PROBE_TEST(queue_registers_are_frozen_while_ready),
		PROBE_TEST(a_queue_size_that_cant_be_fails_the_activation),
		PROBE_TEST(queues_that_dont_exist_are_not_there),
		PROBE_TEST(shared_memory_regions_have_length_minus_1),
		PROBE_TEST(registers_take_only_aligned_32_bit_accesses),
		PROBE_TEST(unknown_and_write_only_registers_read_all_ones),
		PROBE_TEST(read_only_registers_ignore_writes),
		PROBE_TEST(configuration_space_reads_have_any_width_in_range),
		PROBE_TEST(configuration_space_writes_reach_the_device_in_range),
		cmocka_unit_test(configuration_space_is_read_only_without_an_operation),
		PROBE_TEST(a_device_without_configuration_space_reads_all_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
