/* SPDX-License-Identifier: Apache-2.0 */
#include "blk_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "disk_faults.h"
#include "disk_rig.h"
#include "vmm/util.h"

struct virtio_device *blk_create(struct blk_rig *rig)
{
	struct virtio_device *device = NULL;
	struct error err = { 0 };

	if (virtio_blk_create(&rig->options, &rig->drv.memory, &rig->drv.loop, &device, &err) < 0)
		fail_msg("%s", err.message);
	return device;
}

void blk_setup(struct blk_rig *rig, struct virtio_blk_options options, uint64_t features)
{
	int fd;

	memset(rig, 0, sizeof(*rig));
	strcpy(rig->path, RIG_DISK "/mote-blk-XXXXXX");
	fd = mkstemp(rig->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BLK_SECTORS * 512), 0);
	rig->file = mmap(NULL, BLK_SECTORS * 512, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(rig->file, MAP_FAILED);
	close(fd);
	rig->options = options;
	rig->options.id = "rootfs";
	rig->options.path = rig->path;
	driver_setup(&rig->drv);
	driver_attach(&rig->drv, blk_create(rig));
	rig->header = driver_alloc(&rig->drv, 4096, 4096);
	rig->status = driver_alloc(&rig->drv, 4096, 4096);
	rig->data = driver_alloc(&rig->drv, BLK_DATA, 4096);
	if (features >> 63 && features != ALL_FEATURES)
		features = driver_offered(&rig->drv) & ~features;
	assert_int_equal(driver_start(&rig->drv, features), 0xf);
	driver_run(&rig->drv);
	driver_interrupts(&rig->drv);
}

void blk_teardown(struct blk_rig *rig)
{
	driver_teardown(&rig->drv);
	munmap(rig->file, BLK_SECTORS * 512);
	unlink(rig->path);
	disk_faults_reset();
}

static void *release(void *arg)
{
	(void)arg;
	usleep(50000);
	disk_faults.hold = false;
	return NULL;
}

pthread_t blk_release_later(void)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, release, NULL), 0);
	return thread;
}

uint8_t *blk_data(struct blk_rig *rig)
{
	return driver_ptr(&rig->drv, rig->data, BLK_DATA);
}

void blk_set_header(struct blk_rig *rig, uint64_t gpa, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = { .type = type, .sector = sector };

	memcpy(driver_ptr(&rig->drv, gpa, sizeof(header)), &header, sizeof(header));
}

uint16_t blk_add(struct blk_rig *rig, uint64_t header, uint32_t type, uint64_t sector,
		 uint64_t data, uint32_t len, uint64_t status)
{
	bool to_device = type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD ||
			 type == VIRTIO_BLK_T_WRITE_ZEROES;
	struct driver_buf bufs[3] = { { header, 16 } };
	unsigned int n = 1;

	if (len > 0)
		bufs[n++] = (struct driver_buf){ data, len };
	bufs[n++] = (struct driver_buf){ status, 1 };
	blk_set_header(rig, header, type, sector);
	*(uint8_t *)driver_ptr(&rig->drv, status, 1) = 0xaa;
	return to_device ? driver_add(&rig->drv, 0, bufs, n - 1, 1)
			 : driver_add(&rig->drv, 0, bufs, 1, n - 1);
}

void blk_wait(struct blk_rig *rig, unsigned int n)
{
	uint64_t start = monotonic_ns();

	if (driver_kick_wanted(&rig->drv, 0))
		driver_kick(&rig->drv, 0);
	driver_run(&rig->drv);
	while (n > 0) {
		if (driver_get_used(&rig->drv, 0, NULL, &rig->used_len)) {
			n--;
			continue;
		}
		if (monotonic_ns() - start > 10 * 1000000000ull)
			fail_msg("%u requests are never answered", n);
		driver_run_wait(&rig->drv, 100);
	}
}

uint8_t blk_do(struct blk_rig *rig, uint32_t type, uint64_t sector, uint32_t len)
{
	blk_add(rig, rig->header, type, sector, rig->data, len, rig->status);
	blk_wait(rig, 1);
	return *(uint8_t *)driver_ptr(&rig->drv, rig->status, 1);
}

uint8_t blk_do_chain(struct blk_rig *rig, const struct driver_buf *bufs, unsigned int n_readable,
		     unsigned int n_writable)
{
	*(uint8_t *)driver_ptr(&rig->drv, rig->status, 1) = 0xaa;
	driver_add(&rig->drv, 0, bufs, n_readable, n_writable);
	blk_wait(rig, 1);
	return *(uint8_t *)driver_ptr(&rig->drv, rig->status, 1);
}

uint8_t blk_do_range(struct blk_rig *rig, uint32_t type, uint64_t sector, uint32_t sectors,
		     uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = { .sector = sector,
							 .num_sectors = sectors,
							 .flags = flags };

	memcpy(blk_data(rig), &range, sizeof(range));
	return blk_do(rig, type, 0, sizeof(range));
}

uint64_t blk_count(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

struct blk_lane blk_lane_new(struct blk_rig *rig, uint32_t len)
{
	uint64_t gpa = driver_alloc(&rig->drv, 512 + len, 512);

	return (struct blk_lane){ .header = gpa, .status = gpa + 511, .data = gpa + 512 };
}

void blk_lane_start(struct blk_rig *rig, struct blk_lane *lane, uint32_t type, uint64_t sector,
		    uint32_t skew, uint32_t len)
{
	lane->head = blk_add(rig, lane->header, type, sector, lane->data + skew, len, lane->status);
}

uint8_t blk_lane_status(struct blk_rig *rig, const struct blk_lane *lane)
{
	return *(uint8_t *)driver_ptr(&rig->drv, lane->status, 1);
}

void blk_start_held_reads(struct blk_rig *rig, struct blk_lane *lanes, unsigned int n)
{
	disk_faults.hold = true;
	for (unsigned int i = 0; i < n; i++)
		blk_lane_start(rig, &lanes[i], VIRTIO_BLK_T_IN, i, 1, 512);
	blk_wait(rig, 0);
	assert_int_equal(virtqueue_in_flight(&rig->drv.device->queues[0]), n);
}
