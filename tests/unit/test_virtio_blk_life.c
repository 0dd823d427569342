/* SPDX-License-Identifier: Apache-2.0 */
/* The block device over time: resets, saves, changes of its file. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blk_rig.h"
#include "disk_faults.h"
#include "vmm/util.h"

static const struct virtio_blk_options sync_disk = { .writeback = true, .engine = DISK_SYNC };
static const struct virtio_blk_options async_disk = { .writeback = true, .engine = DISK_ASYNC };

static void reset_waits_for_what_is_in_flight(void **state)
{
	struct blk_lane lanes[8];
	struct blk_rig rig;
	pthread_t thread;

	(void)state;
	blk_setup(&rig, async_disk, ALL_FEATURES);
	for (unsigned int i = 0; i < ARRAY_SIZE(lanes); i++)
		lanes[i] = blk_lane_new(&rig, 1024);
	blk_start_held_reads(&rig, lanes, ARRAY_SIZE(lanes));
	thread = blk_release_later();
	driver_reset(&rig.drv);
	assert_false(disk_faults.hold);
	/* Nothing was answered, and nothing comes later. */
	assert_int_equal(rig.drv.queues[0].vring.used->idx, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(lanes); i++) {
		assert_int_equal(blk_lane_status(&rig, &lanes[i]), 0xaa);
		memset(driver_ptr(&rig.drv, lanes[i].data, 1024), 0x11, 1024);
	}
	memset(rig.file, 0x42, 8 * 512);
	usleep(20000);
	driver_run(&rig.drv);
	for (unsigned int i = 0; i < ARRAY_SIZE(lanes); i++) {
		const uint8_t *data = driver_ptr(&rig.drv, lanes[i].data, 1024);

		for (unsigned int k = 0; k < 1024; k++)
			assert_int_equal(data[k], 0x11);
	}
	pthread_join(thread, NULL);
	assert_int_equal(driver_start(&rig.drv, ALL_FEATURES), 0xf);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(blk_data(&rig)[511], 0x42);
	blk_teardown(&rig);
}

static void resets_and_libaio_get_along(void **state)
{
	struct blk_lane lanes[40];
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, async_disk, ALL_FEATURES);
	for (unsigned int i = 0; i < ARRAY_SIZE(lanes); i++)
		lanes[i] = blk_lane_new(&rig, 8192);
	for (unsigned int round = 0; round < 50; round++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(lanes); i++)
			blk_lane_start(&rig, &lanes[i], i % 3 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
				       i * 16, i % 5 == 0, 8192);
		driver_kick(&rig.drv, 0);
		loop_run_once(&rig.drv.loop, 0, NULL);
		if (round % 2)
			loop_run_once(&rig.drv.loop, 0, NULL);
		driver_reset(&rig.drv);
		assert_int_equal(disk_faults.held, 0);
		assert_int_equal(driver_start(&rig.drv, ALL_FEATURES), 0xf);
	}
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	blk_teardown(&rig);
}

/* CVE-2026-45782: two requests in flight with one head. */
static void duplicate_heads_stop_the_device(void **state)
{
	struct blk_lane lanes[4];
	struct blk_rig rig;
	pthread_t thread;

	(void)state;
	blk_setup(&rig, async_disk, ALL_FEATURES);
	for (unsigned int i = 0; i < ARRAY_SIZE(lanes); i++)
		lanes[i] = blk_lane_new(&rig, 1024);
	blk_start_held_reads(&rig, lanes, ARRAY_SIZE(lanes));
	driver_offer(&rig.drv, 0, lanes[2].head);
	driver_kick(&rig.drv, 0);
	thread = blk_release_later();
	driver_run(&rig.drv);
	assert_false(disk_faults.hold);
	assert_int_equal(driver_status(&rig.drv), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(rig.drv.queues[0].vring.used->idx, 0);
	pthread_join(thread, NULL);
	assert_int_equal(driver_start(&rig.drv, ALL_FEATURES), 0xf);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	blk_teardown(&rig);
}

static void teardown_with_requests_in_flight(void **state)
{
	struct blk_lane lanes[16];
	struct blk_rig rig;
	pthread_t thread;

	(void)state;
	blk_setup(&rig, async_disk, ALL_FEATURES);
	for (unsigned int i = 0; i < ARRAY_SIZE(lanes); i++)
		lanes[i] = blk_lane_new(&rig, 1024);
	blk_start_held_reads(&rig, lanes, ARRAY_SIZE(lanes));
	thread = blk_release_later();
	blk_teardown(&rig);
	pthread_join(thread, NULL);
}

static void replace_device(struct blk_rig *rig)
{
	virtio_mmio_release(&rig->drv.mmio);
	rig->drv.device = blk_create(rig);
	assert_int_equal(virtio_mmio_init(&rig->drv.mmio, rig->drv.device, NULL), 0);
}

static void saved_device_goes_on_elsewhere(void **state)
{
	static const struct virtio_blk_options *const disks[] = { &sync_disk, &async_disk };
	struct virtio_mmio_state transport;
	struct virtio_blk_state saved;
	struct blk_lane lanes[8];
	struct blk_rig rig;
	struct error err = { 0 };
	pthread_t thread;

	(void)state;
	for (unsigned int k = 0; k < ARRAY_SIZE(disks); k++) {
		blk_setup(&rig, *disks[k], ALL_FEATURES);
		for (unsigned int i = 0; i < ARRAY_SIZE(lanes); i++)
			lanes[i] = blk_lane_new(&rig, 1024);
		memset(rig.file, 0x42, 8 * 512);
		assert_int_equal(rig.drv.device->ops->state_size, sizeof(saved));
		thread = blk_release_later();
		if (disks[k] == &async_disk)
			blk_start_held_reads(&rig, lanes, ARRAY_SIZE(lanes));
		memset(&saved, 0xff, sizeof(saved));
		virtio_mmio_save(&rig.drv.mmio, &transport, &saved);
		pthread_join(thread, NULL);
		assert_int_equal(saved.capacity, BLK_SECTORS);
		assert_int_equal(saved.read_only, 0);
		assert_int_equal(transport.queues[0].next_avail, transport.queues[0].next_used);
		if (disks[k] == &async_disk) {
			/* What was in flight was answered before. */
			assert_int_equal(transport.queues[0].next_used, 8);
			assert_int_equal(transport.interrupt_status, 1);
			assert_int_equal(driver_interrupts(&rig.drv), 1);
		}
		replace_device(&rig);
		if (virtio_mmio_restore(&rig.drv.mmio, &transport, &saved, &err) < 0)
			fail_msg("%s", err.message);
		virtio_mmio_rekick(&rig.drv.mmio);
		driver_run(&rig.drv);
		if (disks[k] == &async_disk)
			blk_wait(&rig, 8);
		for (unsigned int i = 0; i < 8 && disks[k] == &async_disk; i++) {
			assert_int_equal(blk_lane_status(&rig, &lanes[i]), VIRTIO_BLK_S_OK);
			assert_int_equal(*(uint8_t *)driver_ptr(&rig.drv, lanes[i].data + 1, 1),
					 0x42);
		}
		/* The old rings, the new device. */
		memset(blk_data(&rig), 7, 4096);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_OUT, 16, 4096), VIRTIO_BLK_S_OK);
		assert_int_equal(rig.file[16 * 512], 7);
		blk_teardown(&rig);
	}
}

static void capacity_is_what_the_guest_knows(void **state)
{
	struct virtio_mmio_state transport;
	struct virtio_blk_state saved;
	struct virtio_blk_config config;
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, sync_disk, ALL_FEATURES);
	virtio_mmio_save(&rig.drv.mmio, &transport, &saved);
	assert_int_equal(truncate(rig.path, BLK_SECTORS * 1024), 0);
	saved.physical_block_exp = 2;
	replace_device(&rig);
	assert_int_equal(virtio_mmio_restore(&rig.drv.mmio, &transport, &saved, NULL), 0);
	driver_read_config(&rig.drv, 0, &config, sizeof(config));
	assert_int_equal(config.capacity, BLK_SECTORS);
	assert_int_equal(config.physical_block_exp, 2);
	assert_int_equal(config.min_io_size, 4);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, BLK_SECTORS, 512), VIRTIO_BLK_S_IOERR);
	blk_teardown(&rig);
}

static void hostile_states_are_refused(void **state)
{
	static const struct {
		struct virtio_blk_state state;
		const char *message;
	} cases[] = {
		{ { .capacity = 0 }, "drive \"rootfs\": saved state can't be" },
		{ { .capacity = 1, .read_only = 2 }, "drive \"rootfs\": saved state can't be" },
		{ { .capacity = 1, .physical_block_exp = 4 },
		  "drive \"rootfs\": saved state can't be" },
		{ { .capacity = 1, .physical_block_exp = 255 },
		  "drive \"rootfs\": saved state can't be" },
		{ { .capacity = 1, .reserved = { 0, 0, 0, 0, 0, 1 } },
		  "drive \"rootfs\": saved state can't be" },
		{ { .capacity = 1, .read_only = 1 },
		  "drive \"rootfs\": read-only in the snapshot, writable in the configuration" },
		{ { .capacity = BLK_SECTORS + 1 },
		  "drive \"rootfs\": the disk has 2048 sectors, in the snapshot it had 2049" },
		{ { .capacity = UINT64_MAX },
		  "drive \"rootfs\": the disk has 2048 sectors, in the "
		  "snapshot it had 18446744073709551615" },
	};
	struct virtio_mmio_state transport;
	struct virtio_blk_state saved;
	struct error err = { 0 };
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, sync_disk, ALL_FEATURES);
	virtio_mmio_save(&rig.drv.mmio, &transport, &saved);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(
			virtio_mmio_restore(&rig.drv.mmio, &transport, &cases[i].state, &err),
			-EINVAL);
		assert_string_equal(err.message, cases[i].message);
	}
	assert_int_equal(virtio_mmio_restore(&rig.drv.mmio, &transport, &saved, &err), 0);
	assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	blk_teardown(&rig);
}

static void file_can_be_changed(void **state)
{
	struct blk_rig rig, other;
	struct virtio_blk_config config;
	struct error err = { 0 };
	struct blk_lane lane;
	pthread_t thread;
	char message[256];

	(void)state;
	for (int engine = DISK_SYNC; engine <= DISK_ASYNC; engine++) {
		blk_setup(&rig, engine == DISK_SYNC ? sync_disk : async_disk, ALL_FEATURES);
		blk_setup(&other, sync_disk, ALL_FEATURES);
		lane = blk_lane_new(&rig, 1024);

		/* Refused: nothing there, or used by somebody else. All stays as it was. */
		assert_int_equal(virtio_blk_change_path(rig.drv.device, "/none", &err), -ENOENT);
		assert_string_equal(err.message,
				    "drive \"rootfs\": open \"/none\": No such file or directory");
		assert_int_equal(virtio_blk_change_path(rig.drv.device, other.path, &err), -EBUSY);
		snprintf(message, sizeof(message),
			 "drive \"rootfs\": \"%s\" is in use by another microVM", other.path);
		assert_string_equal(err.message, message);
		assert_int_equal(driver_interrupts(&rig.drv), 0);
		rig.file[0] = 1;
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
		assert_int_equal(blk_data(&rig)[0], 1);
		driver_interrupts(&rig.drv);
		driver_ack_interrupts(&rig.drv);

		/* The same file by its descriptor: grown, then of no size, then as before. */
		assert_int_equal(truncate(rig.path, BLK_SECTORS * 1536), 0);
		assert_int_equal(virtio_blk_change_path(rig.drv.device, rig.path, &err), 0);
		assert_int_equal(driver_ack_interrupts(&rig.drv), 2);
		driver_read_config(&rig.drv, 0, &config, sizeof(config));
		assert_int_equal(config.capacity, 3 * BLK_SECTORS);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 3 * BLK_SECTORS - 1, 512),
				 VIRTIO_BLK_S_OK);
		driver_ack_interrupts(&rig.drv);
		assert_int_equal(truncate(rig.path, 0), 0);
		assert_int_equal(virtio_blk_change_path(rig.drv.device, rig.path, &err), -EINVAL);
		snprintf(message, sizeof(message), "drive \"rootfs\": \"%s\" is empty", rig.path);
		assert_string_equal(err.message, message);
		driver_read_config(&rig.drv, 0, &config, sizeof(config));
		assert_int_equal(config.capacity, 3 * BLK_SECTORS);
		assert_int_equal(truncate(rig.path, BLK_SECTORS * 512), 0);
		assert_int_equal(virtio_blk_change_path(rig.drv.device, rig.path, &err), 0);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, BLK_SECTORS, 512), VIRTIO_BLK_S_IOERR);
		driver_interrupts(&rig.drv);
		driver_ack_interrupts(&rig.drv);

		/* Refused for the same file: its lock is still there. */
		assert_int_equal(truncate(rig.path, 0), 0);
		assert_int_equal(virtio_blk_change_path(rig.drv.device, rig.path, &err), -EINVAL);
		assert_int_equal(truncate(rig.path, BLK_SECTORS * 512), 0);
		assert_int_equal(virtio_blk_change_path(other.drv.device, rig.path, &err), -EBUSY);

		/* The same file, grown; a request in flight is answered by what it was. */
		assert_int_equal(truncate(rig.path, BLK_SECTORS * 1024), 0);
		thread = blk_release_later();
		if (engine == DISK_ASYNC)
			blk_start_held_reads(&rig, &lane, 1);
		assert_int_equal(virtio_blk_change_path(rig.drv.device, rig.path, &err), 0);
		pthread_join(thread, NULL);
		assert_int_equal(driver_ack_interrupts(&rig.drv), engine == DISK_ASYNC ? 3 : 2);
		if (engine == DISK_ASYNC)
			blk_wait(&rig, 1);
		driver_read_config(&rig.drv, 0, &config, sizeof(config));
		assert_int_equal(config.capacity, 2 * BLK_SECTORS);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 2 * BLK_SECTORS - 1, 512),
				 VIRTIO_BLK_S_OK);
		/* Its lock is still there. */
		assert_int_equal(virtio_blk_change_path(other.drv.device, rig.path, &err), -EBUSY);

		/* Another file. */
		driver_teardown(&other.drv);
		other.file[5 * 512] = 99;
		driver_ack_interrupts(&rig.drv);
		assert_int_equal(virtio_blk_change_path(rig.drv.device, other.path, &err), 0);
		assert_int_equal(driver_ack_interrupts(&rig.drv), 2);
		driver_read_config(&rig.drv, 0, &config, sizeof(config));
		assert_int_equal(config.capacity, BLK_SECTORS);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 5, 512), VIRTIO_BLK_S_OK);
		assert_int_equal(blk_data(&rig)[0], 99);
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, BLK_SECTORS, 512),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(blk_count(&virtio_blk_counters(rig.drv.device)->updates), 4);
		assert_int_equal(blk_count(&virtio_blk_counters(rig.drv.device)->update_failures), 4);
		munmap(other.file, BLK_SECTORS * 512);
		unlink(other.path);
		blk_teardown(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reset_waits_for_what_is_in_flight),
		cmocka_unit_test(resets_and_libaio_get_along),
		cmocka_unit_test(duplicate_heads_stop_the_device),
		cmocka_unit_test(teardown_with_requests_in_flight),
		cmocka_unit_test(saved_device_goes_on_elsewhere),
		cmocka_unit_test(capacity_is_what_the_guest_knows),
		cmocka_unit_test(hostile_states_are_refused),
		cmocka_unit_test(file_can_be_changed),
	};

	disk_faults_reset();
	return cmocka_run_group_tests_name("virtio_blk_life", tests, NULL, NULL);
}
