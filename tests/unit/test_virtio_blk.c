/* SPDX-License-Identifier: Apache-2.0 */
/* The block device: what it offers, and what requests do. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blk_rig.h"
#include "disk_faults.h"
#include "disk_rig.h"
#include "vmm/util.h"

#define BIT(n) (1ull << (n))
#define COMMON_FEATURES                                                                            \
	(VERSION_1 | EVENT_IDX | INDIRECT_DESC | BIT(VIRTIO_BLK_F_SEG_MAX) |                       \
	 BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_TOPOLOGY))

static const struct virtio_blk_options writable[] = {
	{ .writeback = true, .engine = DISK_SYNC },
	{ .writeback = true, .engine = DISK_ASYNC },
};

static void fill(uint8_t *bytes, size_t n, unsigned int seed)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(i * 31 + i / 256 + seed);
}

static void create_fails_with_one_line(void **state)
{
	struct virtio_blk_options options = { .id = "rootfs", .path = "/x.ext4" };
	struct virtio_device *device = NULL;
	struct error err = { 0 };
	struct virtio_driver drv;

	(void)state;
	driver_setup(&drv);
	for (int engine = DISK_SYNC; engine <= DISK_ASYNC; engine++) {
		options.engine = engine;
		assert_int_equal(virtio_blk_create(&options, &drv.memory, &drv.loop, &device, &err),
				 -ENOENT);
		assert_string_equal(
			err.message,
			"drive \"rootfs\": open \"/x.ext4\": No such file or directory");
		assert_null(device);
	}
	driver_teardown(&drv);
}

static void features_depend_on_the_options_alone(void **state)
{
	static const struct {
		struct virtio_blk_options options;
		uint64_t features;
	} cases[] = {
		{ { .writeback = true },
		  BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_DISCARD) |
			  BIT(VIRTIO_BLK_F_WRITE_ZEROES) },
		{ { .writeback = false },
		  BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) },
		{ { .read_only = true }, BIT(VIRTIO_BLK_F_RO) },
		{ { .read_only = true, .writeback = true, .engine = DISK_ASYNC },
		  BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_FLUSH) },
	};
	struct blk_rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		disk_faults.no_fallocate = i % 2 ? EOPNOTSUPP : 0;
		blk_setup(&rig, cases[i].options, ALL_FEATURES);
		assert_int_equal(driver_offered(&rig.drv), COMMON_FEATURES | cases[i].features);
		assert_int_equal(driver_read(&rig.drv, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BLOCK);
		blk_teardown(&rig);
	}
}

static void configuration_space_describes_the_disk(void **state)
{
	struct virtio_blk_config config;
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, writable[0], ALL_FEATURES);
	driver_read_config(&rig.drv, 0, &config, sizeof(config));
	assert_int_equal(config.capacity, BLK_SECTORS);
	assert_int_equal(config.seg_max, 254);
	assert_int_equal(config.blk_size, 512);
	assert_in_range(config.physical_block_exp, 0, 3);
	assert_int_equal(config.min_io_size, 1 << config.physical_block_exp);
	assert_int_equal(config.alignment_offset, 0);
	assert_int_equal(config.max_discard_sectors, 2 * 1024 * 1024);
	assert_int_equal(config.max_discard_seg, 1);
	assert_int_equal(config.discard_sector_alignment, 1);
	assert_int_equal(config.max_write_zeroes_sectors, 32768);
	assert_int_equal(config.max_write_zeroes_seg, 1);
	assert_int_equal(config.write_zeroes_may_unmap, 1);
	/* It ends there: what's behind isn't ours. */
	assert_int_equal(driver_read_width(&rig.drv, VIRTIO_MMIO_CONFIG + 59, 1), 0);
	assert_int_equal(driver_read_width(&rig.drv, VIRTIO_MMIO_CONFIG + 60, 1), 0xff);
	/* And it isn't the driver's to write. */
	driver_write_width(&rig.drv, VIRTIO_MMIO_CONFIG, 0, 4);
	assert_int_equal(driver_read_width(&rig.drv, VIRTIO_MMIO_CONFIG, 4), BLK_SECTORS);
	blk_teardown(&rig);
}

static void data_goes_both_ways(void **state)
{
	struct blk_rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		blk_setup(&rig, writable[i], ALL_FEATURES);
		fill(blk_data(&rig), 8192, 1);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 100, 8192), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.used_len, 1);
		assert_memory_equal(rig.file + 51200, blk_data(&rig), 8192);
		assert_int_equal(rig.file[51199], 0);
		assert_int_equal(rig.file[51200 + 8192], 0);

		memset(blk_data(&rig), 0x55, BLK_DATA);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 101, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.used_len, 4097);
		assert_memory_equal(rig.file + 51712, blk_data(&rig), 4096);
		assert_int_equal(blk_data(&rig)[4096], 0x55);

		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.used_len, 1);
		/* Zero sectors are a multiple of a sector. */
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.used_len, 1);
		blk_teardown(&rig);
	}
}

static void serial_number_is_the_drives_id(void **state)
{
	static const char id[20] = "rootfs";
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, writable[0], ALL_FEATURES);
	memset(blk_data(&rig), 0x55, 64);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	assert_int_equal(rig.used_len, 21);
	assert_memory_equal(blk_data(&rig), id, 20);
	assert_int_equal(blk_data(&rig)[20], 0x55);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_GET_ID, 7777777, 19), VIRTIO_BLK_S_IOERR);
	assert_int_equal(rig.used_len, 1);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_GET_ID, 0, 0), VIRTIO_BLK_S_IOERR);
	blk_teardown(&rig);
}

static void pages_that_reads_fill_are_dirty(void **state)
{
	struct blk_rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		blk_setup(&rig, writable[i], ALL_FEATURES);
		guest_memory_clear_dirty(&rig.drv.memory);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 3 * 4096), VIRTIO_BLK_S_OK);
		for (unsigned int page = 0; page < 4; page++)
			assert_int_equal(
				guest_memory_is_dirty(&rig.drv.memory, rig.data + page * 4096),
				page < 3);
		assert_true(guest_memory_is_dirty(&rig.drv.memory, rig.status));
		assert_true(guest_memory_is_dirty(&rig.drv.memory, rig.drv.queues[0].used_gpa));
		assert_false(guest_memory_is_dirty(&rig.drv.memory, rig.header));
		guest_memory_clear_dirty(&rig.drv.memory);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_false(guest_memory_is_dirty(&rig.drv.memory, rig.data));
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
		assert_true(guest_memory_is_dirty(&rig.drv.memory, rig.data));
		blk_teardown(&rig);
	}
}

/* §2.7.4: how the bytes are cut into descriptors is the driver's choice. */
static void framing_is_the_drivers_choice(void **state)
{
	struct driver_buf bufs[20];
	struct blk_rig rig;
	uint64_t tail;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		blk_setup(&rig, writable[i], ALL_FEATURES);
		fill(rig.file, 65536, 3);
		/* A header in 16 pieces. */
		blk_set_header(&rig, rig.header, VIRTIO_BLK_T_IN, 1);
		for (unsigned int k = 0; k < 16; k++)
			bufs[k] = (struct driver_buf){ rig.header + k, 1 };
		bufs[16] = (struct driver_buf){ rig.data + 100, 300 };
		bufs[17] = (struct driver_buf){ rig.data + 400, 212 };
		bufs[18] = (struct driver_buf){ rig.status, 1 };
		assert_int_equal(blk_do_chain(&rig, bufs, 16, 3), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.used_len, 513);
		assert_memory_equal(blk_data(&rig) + 100, rig.file + 512, 512);

		/* Data and status in one buffer: the last byte is the status. */
		tail = rig.status - 1024;
		blk_set_header(&rig, rig.header, VIRTIO_BLK_T_IN, 5);
		bufs[0] = (struct driver_buf){ rig.header, 16 };
		bufs[1] = (struct driver_buf){ tail, 1025 };
		assert_int_equal(blk_do_chain(&rig, bufs, 1, 1), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.used_len, 1025);
		assert_memory_equal(driver_ptr(&rig.drv, tail, 1024), rig.file + 5 * 512, 1024);

		/* Header and data in one buffer, and the rest of the data in another. */
		blk_set_header(&rig, rig.data + 4, VIRTIO_BLK_T_OUT, 2);
		fill(blk_data(&rig) + 20, 1024, 9);
		bufs[0] = (struct driver_buf){ rig.data + 4, 16 + 1000 };
		bufs[1] = (struct driver_buf){ rig.data + 1020, 24 };
		bufs[2] = (struct driver_buf){ rig.status, 1 };
		assert_int_equal(blk_do_chain(&rig, bufs, 2, 1), VIRTIO_BLK_S_OK);
		assert_memory_equal(rig.file + 1024, blk_data(&rig) + 20, 1024);

		/* A flush that brings data along: nothing is done with it. */
		blk_set_header(&rig, rig.header, VIRTIO_BLK_T_FLUSH, 0);
		bufs[0] = (struct driver_buf){ rig.header, 17 };
		bufs[1] = (struct driver_buf){ rig.status, 1 };
		assert_int_equal(blk_do_chain(&rig, bufs, 1, 1), VIRTIO_BLK_S_OK);
		blk_teardown(&rig);
	}
}

static void longest_chain_is_served(void **state)
{
	struct driver_buf bufs[256];
	struct blk_rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		blk_setup(&rig, writable[i], ALL_FEATURES);
		fill(rig.file, 254 * 512, 8);
		blk_set_header(&rig, rig.header, VIRTIO_BLK_T_IN, 0);
		bufs[0] = (struct driver_buf){ rig.header, 16 };
		for (unsigned int k = 0; k < 254; k++)
			bufs[1 + k] = (struct driver_buf){ rig.data + (253 - k) * 512, 512 };
		bufs[255] = (struct driver_buf){ rig.status, 1 };
		driver_add_indirect(&rig.drv, 0, bufs, 1, 255);
		blk_wait(&rig, 1);
		assert_int_equal(*(uint8_t *)driver_ptr(&rig.drv, rig.status, 1), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.used_len, 254 * 512 + 1);
		for (unsigned int k = 0; k < 254; k++)
			assert_memory_equal(blk_data(&rig) + (253 - k) * 512, rig.file + k * 512,
					    512);
		blk_teardown(&rig);
	}
}

/* Unsafe: no flush. Writeback, and a driver that can't flush: each write is on stable storage. */
static void durability_follows_what_was_negotiated(void **state)
{
	struct virtio_blk_options unsafe = { .writeback = false };
	struct blk_rig rig;

	(void)state;
	for (int engine = DISK_SYNC; engine <= DISK_ASYNC; engine++) {
		unsafe.engine = engine;
		blk_setup(&rig, unsafe, ALL_FEATURES);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(disk_faults.dsync, 0);
		blk_teardown(&rig);

		blk_setup(&rig, writable[engine], ALL_FEATURES);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(disk_faults.dsync, 0);
		assert_int_equal(disk_faults.flushes, 0);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(disk_faults.flushes, 1);
		blk_teardown(&rig);

		blk_setup(&rig, writable[engine], ALL_BUT(VIRTIO_BLK_F_FLUSH));
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
		assert_true(disk_faults.dsync > 0);
		assert_int_equal(disk_faults.flushes, 0);
		blk_teardown(&rig);
	}
}

static void discard_and_zeroes_clear_their_range(void **state)
{
	struct blk_rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		blk_setup(&rig, writable[i], ALL_FEATURES);
		memset(rig.file, 0x42, BLK_SECTORS * 512);
		assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_DISCARD, 8, 16, 0),
				 VIRTIO_BLK_S_OK);
		assert_int_equal(rig.used_len, 1);
		assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 101, 3, 0),
				 VIRTIO_BLK_S_OK);
		assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_WRITE_ZEROES, BLK_SECTORS - 1, 1,
					      VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
				 VIRTIO_BLK_S_OK);
		assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 50, 0, 0),
				 VIRTIO_BLK_S_OK);
		for (unsigned int k = 0; k < BLK_SECTORS * 512; k++) {
			unsigned int s = k / 512;
			bool clear =
				(s >= 8 && s < 24) || (s >= 101 && s < 104) || s == BLK_SECTORS - 1;

			assert_int_equal(rig.file[k], clear ? 0 : 0x42);
		}
		blk_teardown(&rig);
	}
}

static void counters_tell_directions_apart(void **state)
{
	const struct virtio_blk_counters *c;
	struct blk_rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		blk_setup(&rig, writable[i], ALL_FEATURES);
		c = virtio_blk_counters(rig.drv.device);
		blk_do(&rig, VIRTIO_BLK_T_IN, 0, 4096);
		blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512);
		blk_do(&rig, VIRTIO_BLK_T_OUT, 0, 8192);
		blk_do(&rig, VIRTIO_BLK_T_OUT, BLK_SECTORS, 8192);
		blk_do(&rig, VIRTIO_BLK_T_FLUSH, 0, 0);
		blk_do_range(&rig, VIRTIO_BLK_T_DISCARD, 0, 8, 0);
		blk_do_range(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0);
		blk_do(&rig, VIRTIO_BLK_T_GET_ID, 0, 20);
		static const uint64_t requests[DISK_OPS] = { 2, 2, 1, 1, 1 },
				      bytes[DISK_OPS] = { 4608, 8192, 0, 4096, 8192 },
				      errors[DISK_OPS] = { 0, 1, 0, 0, 0 };

		for (unsigned int op = 0; op < DISK_OPS; op++) {
			assert_int_equal(blk_count(&c->op[op].requests), requests[op]);
			assert_int_equal(blk_count(&c->op[op].bytes), bytes[op]);
			assert_int_equal(blk_count(&c->op[op].errors), errors[op]);
			assert_in_range(blk_count(&c->op[op].total_ns), 1, 10000000000);
		}
		assert_int_equal(blk_count(&c->invalid), 0);
		blk_teardown(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_fails_with_one_line),
		cmocka_unit_test(features_depend_on_the_options_alone),
		cmocka_unit_test(configuration_space_describes_the_disk),
		cmocka_unit_test(data_goes_both_ways),
		cmocka_unit_test(serial_number_is_the_drives_id),
		cmocka_unit_test(pages_that_reads_fill_are_dirty),
		cmocka_unit_test(framing_is_the_drivers_choice),
		cmocka_unit_test(longest_chain_is_served),
		cmocka_unit_test(durability_follows_what_was_negotiated),
		cmocka_unit_test(discard_and_zeroes_clear_their_range),
		cmocka_unit_test(counters_tell_directions_apart),
	};

	disk_faults_reset();
	return cmocka_run_group_tests_name("virtio_blk", tests, NULL, NULL);
}
