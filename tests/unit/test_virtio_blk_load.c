/* SPDX-License-Identifier: Apache-2.0 */
/* The block device with many requests at once: order, fairness, interrupts, memory. */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blk_rig.h"
#include "devices/virtio/blk_internal.h"
#include "disk_faults.h"
#include "disk_rig.h"
#include "vmm/util.h"

static const struct virtio_blk_options sync_disk = { .writeback = true, .engine = DISK_SYNC };
static const struct virtio_blk_options async_disk = { .writeback = true, .engine = DISK_ASYNC };

#define LANES	     32u
#define LANE_SECTORS (BLK_SECTORS / LANES)
#define LANE_BYTES   (LANE_SECTORS * 512)

struct model {
	struct blk_rig rig;
	struct blk_lane lanes[LANES];
	bool busy[LANES];
	struct {
		uint32_t type, skew, sector, sectors;
	} ops[LANES];
	uint8_t bytes[BLK_SECTORS * 512];
	uint32_t random;
};

static uint32_t below(struct model *m, uint32_t n)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 17;
	m->random ^= m->random << 5;
	return m->random % n;
}

/* Each lane has its own part of the disk: what it reads is what it wrote last. */
static void lane_random(struct model *m, unsigned int i)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN,	     VIRTIO_BLK_T_IN,
					  VIRTIO_BLK_T_IN,	     VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_OUT,	     VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_OUT,	     VIRTIO_BLK_T_DISCARD,
					  VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_FLUSH };
	static const uint32_t skews[] = { 0, 0, 512, 4, 1 };
	struct virtio_blk_discard_write_zeroes range = { 0 };
	uint32_t type = types[below(m, below(m, 4) ? 9 : 10)], skew = skews[below(m, 5)];
	uint32_t sectors = 1 + below(m, LANE_SECTORS - 1), len = sectors * 512;
	uint32_t sector = i * LANE_SECTORS + below(m, LANE_SECTORS - sectors);
	uint8_t *data = driver_ptr(&m->rig.drv, m->lanes[i].data, LANE_BYTES + 512);

	if (type == VIRTIO_BLK_T_OUT) {
		for (uint32_t k = 0; k < len; k++)
			data[skew + k] = (uint8_t)below(m, 256);
		memcpy(m->bytes + sector * 512, data + skew, len);
	} else if (type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES) {
		memset(m->bytes + sector * 512, 0, len);
		range.sector = sector;
		range.num_sectors = sectors;
		memcpy(data + skew, &range, sizeof(range));
		len = sizeof(range);
	} else if (type == VIRTIO_BLK_T_FLUSH) {
		len = 0;
	} else {
		memset(data, 0xee, LANE_BYTES);
	}
	m->ops[i].type = type;
	m->ops[i].skew = skew;
	m->ops[i].sector = sector;
	m->ops[i].sectors = sectors;
	m->busy[i] = true;
	blk_lane_start(&m->rig, &m->lanes[i], type, sector, skew, len);
}

static unsigned int collect(struct model *m)
{
	unsigned int n = 0;
	uint32_t id, len;

	while (driver_get_used(&m->rig.drv, 0, &id, &len)) {
		unsigned int i = 0;

		while (!m->busy[i] || m->lanes[i].head != id)
			assert_true(++i < LANES);
		assert_int_equal(blk_lane_status(&m->rig, &m->lanes[i]), VIRTIO_BLK_S_OK);
		if (m->ops[i].type == VIRTIO_BLK_T_IN) {
			assert_int_equal(len, m->ops[i].sectors * 512 + 1);
			assert_memory_equal(
				driver_ptr(&m->rig.drv, m->lanes[i].data + m->ops[i].skew,
					   m->ops[i].sectors * 512),
				m->bytes + m->ops[i].sector * 512, m->ops[i].sectors * 512);
		} else {
			assert_int_equal(len, 1);
		}
		m->busy[i] = false;
		n++;
	}
	return n;
}

static void random_requests_match_a_model(void **state)
{
	static const struct virtio_blk_options *const disks[] = { &sync_disk, &async_disk,
								  &async_disk };

	(void)state;
	for (unsigned int run = 0; run < ARRAY_SIZE(disks); run++) {
		struct model *m = calloc(1, sizeof(*m));
		/* Without FLUSH each write waits for the disk. */
		unsigned int started = 0, done = 0, total = run == 2 ? 100 : 400, n;
		uint64_t progress = monotonic_ns();

		m->random = 77 + run;
		blk_setup(&m->rig, *disks[run], run == 2 ? VERSION_1 | 3 << 13 : ALL_FEATURES);
		for (unsigned int i = 0; i < LANES; i++)
			m->lanes[i] = blk_lane_new(&m->rig, LANE_BYTES + 512);
		while (done < total) {
			for (unsigned int i = 0; i < LANES && started < total; i++) {
				if (m->busy[i] || below(m, 3) == 0)
					continue;
				lane_random(m, i);
				started++;
			}
			if (driver_kick_wanted(&m->rig.drv, 0))
				driver_kick_eventfd(&m->rig.drv, 0);
			driver_run_wait(&m->rig.drv, started > done ? 10000 : 0);
			n = collect(m);
			done += n;
			if (n > 0)
				progress = monotonic_ns();
			else if (monotonic_ns() - progress > 30 * 1000000000ull)
				fail_msg("%u requests are never answered", started - done);
		}
		assert_int_equal(driver_status(&m->rig.drv), 0xf);
		assert_int_equal(virtqueue_in_flight(&m->rig.drv.device->queues[0]), 0);
		assert_memory_equal(m->rig.file, m->bytes, sizeof(m->bytes));
		blk_teardown(&m->rig);
		free(m);
	}
}

static void serve_full_queue(bool change_path)
{
	struct blk_lane *lanes = calloc(256, sizeof(*lanes));
	struct blk_rig rig;

	blk_setup(&rig, async_disk, ALL_FEATURES);
	for (unsigned int i = 0; i < 256; i++) {
		lanes[i] = blk_lane_new(&rig, 1024);
		blk_set_header(&rig, lanes[i].header, VIRTIO_BLK_T_IN, i);
		struct driver_buf bufs[] = { { lanes[i].header, 16 },
					     { lanes[i].data + 1, 512 },
					     { lanes[i].status, 1 } };

		rig.file[i * 512] = (uint8_t)i;
		lanes[i].head = driver_add_indirect(&rig.drv, 0, bufs, 1, 2);
	}
	disk_faults.hold = true;
	blk_wait(&rig, 0);
	assert_int_equal(virtqueue_in_flight(&rig.drv.device->queues[0]), 256);
	/* One more than there are requests, of a head that will be free when its turn comes. */
	driver_offer(&rig.drv, 0, lanes[0].head);
	driver_kick(&rig.drv, 0);
	driver_run(&rig.drv);
	assert_int_equal(driver_status(&rig.drv), 0xf);
	disk_faults.hold = false;
	if (change_path)
		assert_int_equal(virtio_blk_change_path(rig.drv.device, rig.path, NULL), 0);
	blk_wait(&rig, 257);
	assert_int_equal(driver_status(&rig.drv), 0xf);
	for (unsigned int i = 0; i < 256; i++) {
		assert_int_equal(blk_lane_status(&rig, &lanes[i]), VIRTIO_BLK_S_OK);
		assert_int_equal(*(uint8_t *)driver_ptr(&rig.drv, lanes[i].data + 1, 1),
				 (uint8_t)i);
	}
	free(lanes);
	blk_teardown(&rig);
}

static void on_other_event(struct loop_source *source, uint32_t events)
{
	uint16_t *seen = source->owner;

	(void)events;
	(*seen)++;
}

static void full_queue_is_served_and_more(void **state)
{
	(void)state;
	serve_full_queue(false);
	serve_full_queue(true);
}

/* A full queue doesn't keep other devices from their turn: so many requests, so many bytes. */
static void one_call_takes_a_bounded_share(void **state)
{
	static const struct {
		uint32_t len;
		uint16_t share;
	} cases[] = { { 512, 64 }, { BLK_DATA, 16 } };
	struct loop_source other;
	struct blk_rig rig;
	uint16_t seen, used;
	int fd = eventfd(1, EFD_CLOEXEC);

	(void)state;
	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		blk_setup(&rig, sync_disk, ALL_FEATURES);
		seen = 0;
		assert_int_equal(
			loop_add(&rig.drv.loop, &other, fd, EPOLLIN, on_other_event, &seen, NULL),
			0);
		for (unsigned int i = 0; i < 80; i++)
			blk_add(&rig, rig.header, VIRTIO_BLK_T_IN, 0, rig.data, cases[c].len,
				rig.status);
		driver_kick(&rig.drv, 0);
		for (unsigned int round = 1; round <= 80u / cases[c].share; round++) {
			loop_run_once(&rig.drv.loop, 0, NULL);
			used = rig.drv.queues[0].vring.used->idx;
			assert_int_equal(used, round * cases[c].share);
			assert_int_equal(seen, round);
		}
		loop_remove(&rig.drv.loop, &other);
		blk_wait(&rig, 80);
		blk_teardown(&rig);
	}
	close(fd);
}

static void batches_interrupt_once(void **state)
{
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, sync_disk, ALL_FEATURES);
	for (unsigned int i = 0; i < 32; i++)
		blk_add(&rig, rig.header, VIRTIO_BLK_T_IN, 0, rig.data, 512, rig.status);
	blk_wait(&rig, 32);
	assert_int_equal(driver_interrupts(&rig.drv), 1);
	assert_int_equal(driver_ack_interrupts(&rig.drv), 1);
	/* Not before the driver wants it. */
	driver_set_used_event(&rig.drv, 0, 32 + 9);
	for (unsigned int i = 0; i < 9; i++)
		blk_add(&rig, rig.header, VIRTIO_BLK_T_IN, 0, rig.data, 512, rig.status);
	driver_kick(&rig.drv, 0);
	driver_run(&rig.drv);
	assert_int_equal(rig.drv.queues[0].vring.used->idx, 41);
	assert_int_equal(driver_interrupts(&rig.drv), 0);
	blk_add(&rig, rig.header, VIRTIO_BLK_T_IN, 0, rig.data, 512, rig.status);
	driver_kick(&rig.drv, 0);
	driver_run(&rig.drv);
	assert_int_equal(driver_interrupts(&rig.drv), 1);
	blk_teardown(&rig);

	/* One io_submit for all that a kick brings. */
	rig_skip_without_direct_io();
	blk_setup(&rig, async_disk, ALL_FEATURES);
	for (unsigned int i = 0; i < 32; i++)
		blk_add(&rig, rig.header, VIRTIO_BLK_T_IN, 0, rig.data, 512, rig.status);
	driver_kick(&rig.drv, 0);
	loop_run_once(&rig.drv.loop, 0, NULL);
	assert_int_equal(disk_faults.submits, 1);
	blk_wait(&rig, 32);
	blk_teardown(&rig);

	/* Asynchronously: each request of its own is announced. */
	blk_setup(&rig, async_disk, ALL_FEATURES);
	for (unsigned int i = 0; i < 5; i++) {
		assert_int_equal(blk_do(&rig, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
		assert_int_equal(driver_interrupts(&rig.drv), 1);
	}
	blk_teardown(&rig);
}

static unsigned int resident_slot_pages(struct blk_rig *rig)
{
	struct virtio_blk *blk = CONTAINER_OF(rig->drv.device, struct virtio_blk, dev);
	static unsigned char pages[BLK_SLOTS_SIZE / 4096];
	unsigned int n = 0;

	assert_int_equal(sysconf(_SC_PAGESIZE), 4096);
	assert_int_equal(mincore(blk->slots, BLK_SLOTS_SIZE, pages), 0);
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		n += pages[i] & 1;
	return n;
}

/* What a drive costs in memory is what it needed at a time, and nothing after a reset. */
static void memory_is_touched_as_deep_as_the_queue_gets(void **state)
{
	struct blk_lane lanes[20];
	struct blk_rig rig;

	(void)state;
	blk_setup(&rig, async_disk, ALL_FEATURES);
	for (unsigned int i = 0; i < ARRAY_SIZE(lanes); i++)
		lanes[i] = blk_lane_new(&rig, 1024);
	for (unsigned int i = 0; i < 100; i++)
		blk_do(&rig, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, i, 4096);
	/* One request, and one look for more of them. */
	assert_in_range(resident_slot_pages(&rig), 1, 2);
	blk_start_held_reads(&rig, lanes, ARRAY_SIZE(lanes));
	disk_faults.hold = false;
	blk_wait(&rig, ARRAY_SIZE(lanes));
	assert_in_range(resident_slot_pages(&rig), 20, 21);
	driver_reset(&rig.drv);
	assert_int_equal(resident_slot_pages(&rig), 0);
	assert_in_range(sizeof(struct virtio_blk), 1, 4096);
	blk_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_requests_match_a_model),
		cmocka_unit_test(full_queue_is_served_and_more),
		cmocka_unit_test(one_call_takes_a_bounded_share),
		cmocka_unit_test(batches_interrupt_once),
		cmocka_unit_test(memory_is_touched_as_deep_as_the_queue_gets),
	};

	disk_faults_reset();
	return cmocka_run_group_tests_name("virtio_blk_load", tests, NULL, NULL);
}
