/* SPDX-License-Identifier: Apache-2.0 */
/* The block device: requests that are wrong, forbidden, or that the host can't carry out. */
#include <string.h>
#include <unistd.h>

#include "blk_rig.h"
#include "disk_faults.h"
#include "vmm/util.h"

static const struct virtio_blk_options writable[] = {
	{ .writeback = true, .engine = DISK_SYNC },
	{ .writeback = true, .engine = DISK_ASYNC },
};

static void capacity_is_the_limit(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
		uint8_t status;
	} cases[] = {
		{ BLK_SECTORS - 1, 512, VIRTIO_BLK_S_OK },
		{ BLK_SECTORS - 8, 4096, VIRTIO_BLK_S_OK },
		{ BLK_SECTORS, 0, VIRTIO_BLK_S_OK },
		{ BLK_SECTORS - 1, 1024, VIRTIO_BLK_S_IOERR },
		{ BLK_SECTORS, 512, VIRTIO_BLK_S_IOERR },
		{ BLK_SECTORS + 1, 0, VIRTIO_BLK_S_IOERR },
		{ 1ull << 55, 512, VIRTIO_BLK_S_IOERR }, /* times 512 it is 0 */
		{ (1ull << 55) + 1, 512, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX, 512, VIRTIO_BLK_S_IOERR },
		{ UINT64_MAX - 7, 4096, VIRTIO_BLK_S_IOERR },
		{ 0, 511, VIRTIO_BLK_S_IOERR },
		{ 0, 513, VIRTIO_BLK_S_IOERR },
		{ 0, 1, VIRTIO_BLK_S_IOERR },
	};
	struct blk_rig rig;

	(void)state;
	for (size_t e = 0; e < ARRAY_SIZE(writable); e++) {
		blk_setup(&rig, writable[e], ALL_FEATURES);
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			memset(blk_data(&rig), 0x5a, 4096);
			assert_int_equal(
				blk_do(&rig, VIRTIO_BLK_T_OUT, cases[i].sector, cases[i].len),
				cases[i].status);
			assert_int_equal(
				blk_do(&rig, VIRTIO_BLK_T_IN, cases[i].sector, cases[i].len),
				cases[i].status);
			assert_int_equal(rig.used_len, cases[i].status ? 1 : cases[i].len + 1);
			/* What failed has neither written to the disk nor read from it. */
			assert_int_equal(rig.file[0], 0);
			assert_int_equal(blk_data(&rig)[0], 0x5a);
			assert_int_equal(driver_status(&rig.drv), 0xf);
		}
		blk_teardown(&rig);
	}
}

static void wrong_layouts_fail_the_request(void **state)
{
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, writable[1], ALL_FEATURES);
	struct driver_buf header = { rig.header, 16 }, status = { rig.status, 1 },
			  data = { rig.data, 512 };
	const struct {
		uint32_t type;
		struct driver_buf bufs[4];
		unsigned int n_readable, n_writable;
	} cases[] = {
		{ 0, { { rig.header, 15 }, status }, 1, 1 }, /* header too short */
		{ 0, { { rig.header, 8 }, { rig.header, 7 }, status }, 2, 1 },
		{ 0, { status }, 0, 1 }, /* no header */
		{ VIRTIO_BLK_T_IN, { data, status }, 0, 2 },
		{ VIRTIO_BLK_T_IN, { header, data, status }, 2, 1 },	   /* data to the device */
		{ VIRTIO_BLK_T_IN, { header, data, data, status }, 2, 2 }, /* and to the driver */
		{ VIRTIO_BLK_T_OUT, { header, data, status }, 1, 2 },
		{ VIRTIO_BLK_T_OUT, { header, data, data, status }, 2, 2 },
		{ VIRTIO_BLK_T_DISCARD, { header, status }, 1, 1 }, /* no range */
		{ VIRTIO_BLK_T_DISCARD, { header, { rig.data, 15 }, status }, 2, 1 },
		{ VIRTIO_BLK_T_DISCARD, { header, { rig.data, 32 }, status }, 2, 1 }, /* 2 ranges */
		{ VIRTIO_BLK_T_WRITE_ZEROES, { header, { rig.data, 17 }, status }, 2, 1 },
		{ VIRTIO_BLK_T_GET_ID, { header, { rig.data, 20 }, status }, 2, 1 },
	};

	memset(rig.file, 0x42, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(blk_data(&rig), 0, 4096);
		blk_set_header(&rig, rig.header, cases[i].type, 0);
		assert_int_equal(
			blk_do_chain(&rig, cases[i].bufs, cases[i].n_readable, cases[i].n_writable),
			VIRTIO_BLK_S_IOERR);
		assert_int_equal(rig.used_len, 1);
		assert_int_equal(rig.file[0], 0x42);
		assert_int_equal(blk_data(&rig)[0], 0);
		assert_int_equal(driver_status(&rig.drv), 0xf);
	}
	blk_teardown(&rig);
}

static void request_without_room_for_a_status_stops_the_device(void **state)
{
	struct driver_buf bufs[2];
	struct blk_rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		blk_setup(&rig, writable[i], ALL_FEATURES);
		blk_set_header(&rig, rig.header, VIRTIO_BLK_T_OUT, 0);
		memset(blk_data(&rig), 1, 512);
		bufs[0] = (struct driver_buf){ rig.header, 16 };
		bufs[1] = (struct driver_buf){ rig.data, 512 };
		driver_add(&rig.drv, 0, bufs, 2, 0);
		/* A good one behind it isn't looked at any more. */
		blk_add(&rig, rig.data + 8192, VIRTIO_BLK_T_OUT, 1, rig.data, 512, rig.status);
		blk_wait(&rig, 0);
		assert_int_equal(driver_status(&rig.drv), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
		assert_false(driver_get_used(&rig.drv, 0, NULL, NULL));
		assert_int_equal(rig.file[0], 0);
		assert_int_equal(rig.file[512], 0);
		/* A reset makes it whole again. */
		assert_int_equal(driver_start(&rig.drv, ALL_FEATURES), 0xf);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 1, 512), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.file[512], 1);
		blk_teardown(&rig);
	}
}

static void unknown_types_are_unsupported(void **state)
{
	static const uint32_t types[] = {
		2,  3,		5,	    6,	   7,	      9, 10, 12, VIRTIO_BLK_T_SECURE_ERASE,
		15, 0x80000000, 0x80000001, 0x100, UINT32_MAX
	};
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, writable[0], ALL_FEATURES);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		assert_int_equal(blk_do(&rig, types[i], 0, 512), VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(rig.used_len, 1);
	}
	assert_int_equal(blk_count(&virtio_blk_counters(rig.drv.device)->invalid),
			 ARRAY_SIZE(types));
	blk_teardown(&rig);
}

static void read_only_is_enforced_whatever_is_negotiated(void **state)
{
	static const uint64_t features[] = { ALL_FEATURES, ALL_BUT(VIRTIO_BLK_F_RO) };
	struct virtio_blk_options options = { .read_only = true, .writeback = true };
	struct blk_rig rig;

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		options.engine = i / 2 ? DISK_ASYNC : DISK_SYNC;
		blk_setup(&rig, options, features[i % 2]);
		memset(rig.file, 0x42, 4096);
		memset(blk_data(&rig), 0, 4096);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
		assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_DISCARD, 0, 8, 0),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
		/* The host's file wasn't even asked. */
		assert_int_equal(disk_faults.io_calls + disk_faults.submits, 0);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
		for (unsigned int k = 0; k < 4096; k++)
			assert_int_equal(blk_data(&rig)[k], 0x42);
		blk_teardown(&rig);
	}
}

static void ranges_are_checked(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t sectors, flags;
		uint8_t status;
	} cases[] = {
		{ VIRTIO_BLK_T_DISCARD, 0, 8, 1, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, 0, 8, 2, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0x80000001, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, BLK_SECTORS, 1, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, 1, BLK_SECTORS, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, UINT64_MAX, 2, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 1ull << 55, 1, 0, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_WRITE_ZEROES, BLK_SECTORS - 1, 2, 1, VIRTIO_BLK_S_IOERR },
	};
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, writable[0], ALL_FEATURES);
	memset(rig.file, 0x42, BLK_SECTORS * 512);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(blk_do_range(&rig, cases[i].type, cases[i].sector,
					      cases[i].sectors, cases[i].flags),
				 cases[i].status);
	for (unsigned int k = 0; k < BLK_SECTORS * 512; k++)
		assert_int_equal(rig.file[k], 0x42);
	blk_teardown(&rig);

	/* Not negotiated. */
	blk_setup(&rig, writable[0], VERSION_1);
	assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0),
			 VIRTIO_BLK_S_UNSUPP);
	blk_teardown(&rig);

	/* More than the device takes at a time, on a disk that is large enough. */
	blk_setup(&rig, writable[0], ALL_FEATURES);
	assert_int_equal(truncate(rig.path, 4 * GIB), 0);
	virtio_mmio_release(&rig.drv.mmio);
	rig.drv.device = blk_create(&rig);
	assert_int_equal(virtio_mmio_init(&rig.drv.mmio, rig.drv.device, NULL), 0);
	assert_int_equal(driver_start(&rig.drv, ALL_FEATURES), 0xf);
	assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32768, 0),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32769, 0),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_DISCARD, 0, 2097152, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_do_range(&rig, VIRTIO_BLK_T_DISCARD, 0, 2097153, 0),
			 VIRTIO_BLK_S_IOERR);
	blk_teardown(&rig);
}

static void host_errors_are_answered_and_counted(void **state)
{
	const struct virtio_blk_counters *c;
	struct blk_rig rig;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		blk_setup(&rig, writable[i], ALL_FEATURES);
		c = virtio_blk_counters(rig.drv.device);
		assert_int_equal(truncate(rig.path, BLK_SECTORS * 256), 0);
		for (unsigned int k = 0; k < 3; k++) {
			assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, BLK_SECTORS - 8, 4096),
					 VIRTIO_BLK_S_IOERR);
			assert_int_equal(rig.used_len, 1);
		}
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(blk_count(&c->op[DISK_READ].requests), 4);
		assert_int_equal(blk_count(&c->op[DISK_READ].errors), 3);
		assert_int_equal(blk_count(&c->op[DISK_READ].bytes), 4096);
		blk_teardown(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capacity_is_the_limit),
		cmocka_unit_test(wrong_layouts_fail_the_request),
		cmocka_unit_test(request_without_room_for_a_status_stops_the_device),
		cmocka_unit_test(unknown_types_are_unsupported),
		cmocka_unit_test(read_only_is_enforced_whatever_is_negotiated),
		cmocka_unit_test(ranges_are_checked),
		cmocka_unit_test(host_errors_are_answered_and_counted),
	};

	disk_faults_reset();
	return cmocka_run_group_tests_name("virtio_blk_malformed", tests, NULL, NULL);
}
