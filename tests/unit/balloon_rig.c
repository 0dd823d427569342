/* SPDX-License-Identifier: Apache-2.0 */
#include "balloon_rig.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define BUFFER_SIZE (16 * KIB)

struct balloon_calls balloon_calls;

int __real_madvise(void *addr, size_t len, int advice);
int __wrap_madvise(void *addr, size_t len, int advice);

int __wrap_madvise(void *addr, size_t len, int advice)
{
	if (advice != MADV_DONTNEED)
		return __real_madvise(addr, len, advice);
	balloon_calls.n++;
	balloon_calls.bytes += len;
	if (balloon_calls.errnum) {
		errno = balloon_calls.errnum;
		return -1;
	}
	return __real_madvise(addr, len, advice);
}

static struct virtio_device *create(struct balloon_rig *rig, struct virtio_balloon_options options)
{
	struct virtio_device *device = NULL;
	struct error err = { 0 };

	if (virtio_balloon_create(&options, &rig->drv.memory, &rig->drv.loop, &device, &err) < 0)
		fail_msg("%s", err.message);
	return device;
}

void balloon_setup(struct balloon_rig *rig, struct virtio_balloon_options options,
		   uint64_t features)
{
	memset(rig, 0, sizeof(*rig));
	memset(&balloon_calls, 0, sizeof(balloon_calls));
	fake_time_start();
	driver_setup(&rig->drv);
	driver_attach(&rig->drv, create(rig, options));
	rig->buffer = driver_alloc(&rig->drv, BUFFER_SIZE, 4096);
	assert_int_equal(driver_start(&rig->drv, features), 0xf);
	driver_run(&rig->drv);
	driver_interrupts(&rig->drv);
}

void balloon_teardown(struct balloon_rig *rig)
{
	driver_teardown(&rig->drv);
	fake_time_stop();
}

void balloon_replace(struct balloon_rig *rig, struct virtio_balloon_options options)
{
	virtio_mmio_release(&rig->drv.mmio);
	rig->drv.device = create(rig, options);
	assert_int_equal(virtio_mmio_init(&rig->drv.mmio, rig->drv.device, NULL), 0);
}

void balloon_send(struct balloon_rig *rig, unsigned int queue, const struct driver_buf *bufs,
		  unsigned int n_readable, unsigned int n_writable)
{
	uint32_t head = driver_add(&rig->drv, queue, bufs, n_readable, n_writable), id, len;

	driver_kick(&rig->drv, queue);
	driver_run(&rig->drv);
	assert_true(driver_get_used(&rig->drv, queue, &id, &len));
	assert_int_equal(id, head);
	assert_int_equal(len, 0);
}

void balloon_send_pfns(struct balloon_rig *rig, unsigned int queue, const uint32_t *pfns,
		       unsigned int n)
{
	assert_true(n * sizeof(*pfns) <= BUFFER_SIZE);
	memcpy(driver_ptr(&rig->drv, rig->buffer, BUFFER_SIZE), pfns, n * sizeof(*pfns));
	balloon_send(rig, queue, &(struct driver_buf){ rig->buffer, n * 4 }, 1, 0);
}

uint32_t balloon_config(struct balloon_rig *rig, uint32_t offset)
{
	return driver_read(&rig->drv, VIRTIO_MMIO_CONFIG + offset);
}

static uint8_t *page_at(struct balloon_rig *rig, uint64_t pfn)
{
	return driver_ptr(&rig->drv, pfn * GUEST_PAGE_SIZE, GUEST_PAGE_SIZE);
}

void balloon_touch(struct balloon_rig *rig, uint64_t pfn, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		memset(page_at(rig, pfn + i), (int)(0x80 | (pfn + i)), GUEST_PAGE_SIZE);
}

static bool resident(uint8_t *page)
{
	unsigned char there;

	assert_int_equal(mincore(page, GUEST_PAGE_SIZE, &there), 0);
	return there & 1;
}

void balloon_expect_gone(struct balloon_rig *rig, uint64_t pfn, unsigned int n)
{
	static const uint8_t zero[GUEST_PAGE_SIZE];

	/* All of them before the first is read, which might bring a huge page. */
	for (unsigned int i = 0; i < n; i++)
		assert_false(resident(page_at(rig, pfn + i)));
	for (unsigned int i = 0; i < n; i++)
		assert_memory_equal(page_at(rig, pfn + i), zero, sizeof(zero));
}

void balloon_expect_kept(struct balloon_rig *rig, uint64_t pfn, unsigned int n)
{
	uint8_t want[GUEST_PAGE_SIZE];

	for (unsigned int i = 0; i < n; i++) {
		memset(want, (int)(0x80 | (pfn + i)), sizeof(want));
		assert_memory_equal(page_at(rig, pfn + i), want, sizeof(want));
	}
}
