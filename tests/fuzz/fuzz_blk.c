/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: the block device. FUZZ_ENGINE: DISK_SYNC, on a disk in memory, where everything repeats;
 * or DISK_ASYNC, on a file without a name in the working directory, which may have O_DIRECT.
 */
#include <fcntl.h>

#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>

#include "devices/virtio/blk.h"
#include "hostile_guest.h"
#include "machine.h"
#include "vmm/util.h"

#define DISK_SECTORS 128u

/* Two images, the second one smaller. */
struct disks {
	int fds[2];
	off_t sizes[2]; /* the largest that the host made them: no guest makes them larger */
	unsigned int current;
	char path[64];
};

static struct disks *disks(void)
{
	static struct disks disks;

	return &disks;
}

static const char *path_of(struct disks *d, unsigned int which)
{
	snprintf(d->path, sizeof(d->path), "/proc/self/fd/%d", d->fds[which]);
	return d->path;
}

static void host_begin(struct hostile_guest *g)
{
	struct disks *d = disks();

	(void)g;
	for (unsigned int i = 0; i < 2; i++) {
		d->fds[i] = FUZZ_ENGINE == DISK_SYNC ? memfd_create("disk", MFD_CLOEXEC)
						     : open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		d->sizes[i] = (DISK_SECTORS >> i) * DISK_SECTOR_SIZE;
		must(ftruncate(d->fds[i], d->sizes[i]) == 0);
	}
	d->current = 0;
}

static void host_end(struct hostile_guest *g)
{
	struct disks *d = disks();

	(void)g;
	for (unsigned int i = 0; i < 2; i++) {
		must(lseek(d->fds[i], 0, SEEK_END) <= d->sizes[i]);
		close(d->fds[i]);
	}
}

static struct virtio_device *create(struct hostile_guest *g)
{
	struct disks *d = disks();
	const struct virtio_blk_options options = {
		.id = "disk",
		.path = path_of(d, d->current),
		.read_only = g->options & 1,
		.writeback = g->options & 2,
		.engine = FUZZ_ENGINE,
		.limits = hostile_guest_limits(g),
	};
	struct virtio_device *device;

	return virtio_blk_create(&options, &g->memory, &g->loop, &device, NULL) < 0 ? NULL : device;
}

/* The image is exchanged, or found to be of another size. */
static void host_event(struct hostile_guest *g)
{
	uint8_t how = input_u8(&g->in);
	struct disks *d = disks();

	if (how & 2) {
		off_t size = (1 + how / 4) * 1000;

		d->sizes[how & 1] = size > d->sizes[how & 1] ? size : d->sizes[how & 1];
		must(ftruncate(d->fds[how & 1], size) == 0);
		g->host_changed = true;
	}
	if (virtio_blk_change_path(g->device, path_of(d, how & 1), NULL) == 0)
		d->current = how & 1;
	g->host_changed |= d->current;
}

static size_t header(struct hostile_guest *g, unsigned int queue, uint8_t *bytes)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN,	VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_FLUSH,	VIRTIO_BLK_T_GET_ID,
					  VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	uint8_t how = input_u8(&g->in);
	struct virtio_blk_outhdr out = {
		.type = how % 8 < ARRAY_SIZE(types) ? types[how % 8] : input_u32(&g->in),
		.sector = how & 8 ? input_u64(&g->in) : input_u8(&g->in) % (DISK_SECTORS + 1),
	};
	struct virtio_blk_discard_write_zeroes range = { 0 };

	(void)queue;
	memcpy(bytes, &out, sizeof(out));
	if (!(how & 4))
		return sizeof(out);
	range.sector = how & 16 ? input_u64(&g->in) : input_u8(&g->in);
	range.num_sectors = how & 32 ? input_u32(&g->in) : input_u8(&g->in);
	range.flags = how >> 6;
	memcpy(bytes + sizeof(out), &range, sizeof(range));
	return sizeof(out) + sizeof(range);
}

/* In time the storage answers everything. */
static void settled(struct hostile_guest *g)
{
	const struct virtqueue *queue = &g->device->queues[0];

	while (virtqueue_in_flight(queue) > 0)
		must(loop_run_once(&g->loop, FUZZ_ENGINE == DISK_SYNC ? 0 : 10000, NULL) > 0);
	machine_settle(&g->loop);
	if (virtio_blk_limiter_counters(g->device).throttled > 0)
		hostile_guest_wait_for_limits(g);
	else
		hostile_guest_all_taken(g, 0);
}

static const struct hostile_device blk = {
	.create = create,
	.host_begin = host_begin,
	.host_end = host_end,
	.host_event = host_event,
	.header = header,
	.settled = settled,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	hostile_guest_run(&blk, data, size);
	return 0;
}
