/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/util.h"

#define HUGE_PAGE_SIZE (2 * MIB)

static size_t dirty_words(uint64_t size)
{
	return (size_t)((size / GUEST_PAGE_SIZE + 63) / 64);
}

static uint64_t backing_page_size(enum memory_backing backing)
{
	return backing == MEMORY_BACKING_NONE ? GUEST_PAGE_SIZE : HUGE_PAGE_SIZE;
}

/*
 * RAM with a guard on each side: reserve size + slack + 2 guards inaccessibly, then map the RAM
 * over the middle. Huge pages need their alignment; 4 KiB pages get 2 MiB too, so that gpa and hva
 * agree modulo 2 MiB and KVM can use huge pages when the host has them.
 */
static uint8_t *map_with_guards(uint64_t size, enum memory_backing backing, struct error *err)
{
	uint64_t reserve = size + 2 * HUGE_PAGE_SIZE + 2 * GUEST_PAGE_SIZE;
	uint8_t *base = mmap(NULL, reserve, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) {
		error_sys(err, errno, "reserve %" PRIu64 " MiB of address space", size / MIB);
		return NULL;
	}
	uint8_t *ram = (uint8_t *)align_up((uint64_t)(uintptr_t)base + GUEST_PAGE_SIZE,
					   HUGE_PAGE_SIZE);
	uint8_t *end = ram + size + GUEST_PAGE_SIZE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	if (backing == MEMORY_BACKING_HUGETLB_2M)
		/* With a reservation: a pool that's too small must fail here, not SIGBUS later. */
		flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);
	if (mmap(ram, size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) {
		error_sys(err, errno, "map %" PRIu64 " MiB of %s memory", size / MIB,
			  backing == MEMORY_BACKING_HUGETLB_2M ? "2 MiB huge page" : "anonymous");
		munmap(base, reserve);
		return NULL;
	}
	/* Keep one guard page on each side; give the rest of the reservation back. */
	if (ram - GUEST_PAGE_SIZE > base)
		munmap(base, (size_t)(ram - GUEST_PAGE_SIZE - base));
	if (base + reserve > end)
		munmap(end, (size_t)(base + reserve - end));
	return ram;
}

static void region_release(struct guest_region *region)
{
	munmap(region->hva - GUEST_PAGE_SIZE, region->size + 2 * GUEST_PAGE_SIZE);
	if (region->dirty)
		munmap((void *)region->dirty, dirty_words(region->size) * sizeof(uint64_t));
}

int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size,
		     enum memory_backing backing, bool track_dirty, struct error *err)
{
	uint64_t page = backing_page_size(backing == MEMORY_BACKING_HUGETLB_2M ? backing
									       : MEMORY_BACKING_NONE);
	uint64_t last_end = 0;
	struct guest_region region = { .gpa = gpa,
				       .size = size,
				       .hugetlb = backing == MEMORY_BACKING_HUGETLB_2M };

	if (memory->n_regions == GUEST_MEMORY_REGIONS_MAX)
		return error_set(err, ENOSPC, "guest memory: more than %d regions",
				 GUEST_MEMORY_REGIONS_MAX);
	if (memory->n_regions > 0) {
		const struct guest_region *last = &memory->regions[memory->n_regions - 1];

		last_end = last->gpa + last->size;
	}
	if (size == 0 || !is_aligned(gpa | size, page) || gpa + size < gpa || gpa < last_end ||
	    size > (1ull << 46))
		return error_set(err, EINVAL,
				 "guest memory: bad region 0x%" PRIx64 " of 0x%" PRIx64 " bytes", gpa, size);

	region.hva = map_with_guards(size, backing, err);
	if (!region.hva)
		return error_wrap(err, "guest memory");
	/* Both are advice: a host without THP, or a kernel without core filters, changes nothing. */
	if (backing == MEMORY_BACKING_TRANSPARENT)
		madvise(region.hva, size, MADV_HUGEPAGE);
	madvise(region.hva, size, MADV_DONTDUMP);
	if (track_dirty) {
		void *bits = mmap(NULL, dirty_words(size) * sizeof(uint64_t), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (bits == MAP_FAILED) {
			error_sys(err, errno, "guest memory: map dirty bitmap");
			region_release(&region);
			return -err->errnum;
		}
		region.dirty = bits;
	}
	memory->regions[memory->n_regions++] = region;
	return 0;
}

void guest_memory_release(struct guest_memory *memory)
{
	for (unsigned int i = 0; i < memory->n_regions; i++)
		region_release(&memory->regions[i]);
	memset(memory, 0, sizeof(*memory));
}

uint64_t guest_memory_size(const struct guest_memory *memory)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i < memory->n_regions; i++)
		total += memory->regions[i].size;
	return total;
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t len)
{
	if (len == 0)
		return NULL;
	for (unsigned int i = 0; i < memory->n_regions; i++) {
		const struct guest_region *r = &memory->regions[i];

		/* In this form nothing can overflow: gpa - r->gpa < size, then len <= what's left. */
		if (gpa >= r->gpa && gpa - r->gpa < r->size && len <= r->size - (gpa - r->gpa))
			return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

bool guest_memory_has_small_pages(const struct guest_memory *memory, uint64_t gpa)
{
	uint8_t *page = guest_memory_at(memory, gpa, 2 * GUEST_PAGE_SIZE);
	unsigned char resident[2];

	if (!page)
		return false;
	/*
	 * As by a write (Linux 5.14): a read would get the page of zeros. Nobody has touched the second
	 * page; if it's there, it came with the first one.
	 */
	return madvise(page, GUEST_PAGE_SIZE, MADV_POPULATE_WRITE) == 0 &&
	       mincore(page, sizeof(resident) * GUEST_PAGE_SIZE, resident) == 0 && !(resident[1] & 1);
}

int guest_memory_map(struct guest_memory *memory, uint64_t gpa, uint64_t len, int fd, uint64_t offset,
		     struct error *err)
{
	void *at = guest_memory_at(memory, gpa, len);

	if (!at || !is_aligned(gpa | len | offset, GUEST_PAGE_SIZE))
		return error_set(err, EINVAL, "guest memory: can't map 0x%" PRIx64 " bytes at 0x%" PRIx64,
				 len, gpa);
	if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, (off_t)offset) ==
	    MAP_FAILED)
		return error_sys(err, errno, "map");
	madvise(at, len, MADV_DONTDUMP);
	return 0;
}

bool guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *dst, uint64_t len)
{
	const void *src = guest_memory_at(memory, gpa, len);

	if (!src)
		return false;
	memcpy(dst, src, len);
	return true;
}

bool guest_memory_write(struct guest_memory *memory, uint64_t gpa, const void *src, uint64_t len)
{
	void *dst = guest_memory_at(memory, gpa, len);

	if (!dst)
		return false;
	memcpy(dst, src, len);
	guest_memory_mark_dirty(memory, dst, len);
	return true;
}

void guest_memory_mark_dirty(struct guest_memory *memory, const void *hva, uint64_t len)
{
	const uint8_t *p = hva;

	for (unsigned int i = 0; i < memory->n_regions; i++) {
		struct guest_region *r = &memory->regions[i];

		if (!r->dirty || len == 0 || p < r->hva || p >= r->hva + r->size)
			continue;
		uint64_t first = (uint64_t)(p - r->hva) / GUEST_PAGE_SIZE;
		uint64_t last = ((uint64_t)(p - r->hva) + len - 1) / GUEST_PAGE_SIZE;

		for (uint64_t page = first; page <= last && page < r->size / GUEST_PAGE_SIZE; page++)
			atomic_fetch_or_explicit(&r->dirty[page / 64], 1ull << (page % 64),
						 memory_order_relaxed);
		return;
	}
}

static struct guest_region *region_of(struct guest_memory *memory, const uint8_t *hva)
{
	for (unsigned int i = 0; i < memory->n_regions; i++) {
		struct guest_region *r = &memory->regions[i];

		if (hva >= r->hva && hva < r->hva + r->size)
			return r;
	}
	return NULL;
}

/* [start, end) of whole pages, none of them kept. */
static int64_t discard(struct guest_memory *memory, uint8_t *start, uint8_t *end)
{
	if (start >= end)
		return 0;
	if (madvise(start, (size_t)(end - start), MADV_DONTNEED) < 0)
		return -errno;
	guest_memory_mark_dirty(memory, start, (uint64_t)(end - start));
	return end - start;
}

int64_t guest_memory_discard(struct guest_memory *memory, void *hva, uint64_t len)
{
	struct guest_region *r = region_of(memory, hva);
	/* Regions begin at pages of the host. */
	uint8_t *start = (uint8_t *)align_up((uint64_t)(uintptr_t)hva, GUEST_PAGE_SIZE);
	uint8_t *end = (uint8_t *)align_down((uint64_t)(uintptr_t)hva + len, GUEST_PAGE_SIZE);
	int64_t before, behind;

	if (!r || r->hugetlb)
		return 0;
	before = discard(memory, start, !r->kept_size || end < r->kept ? end : r->kept);
	if (before < 0 || !r->kept_size)
		return before;
	if (start < r->kept + r->kept_size)
		start = r->kept + r->kept_size;
	behind = discard(memory, start, end);
	return behind < 0 ? behind : before + behind;
}

void guest_memory_keep(struct guest_memory *memory, void *hva, uint64_t len)
{
	struct guest_region *r = region_of(memory, hva);

	if (!r)
		return;
	r->kept = hva;
	r->kept_size = len;
}

bool guest_memory_is_dirty(const struct guest_memory *memory, uint64_t gpa)
{
	for (unsigned int i = 0; i < memory->n_regions; i++) {
		const struct guest_region *r = &memory->regions[i];

		if (gpa < r->gpa || gpa - r->gpa >= r->size || !r->dirty)
			continue;
		uint64_t page = (gpa - r->gpa) / GUEST_PAGE_SIZE;

		return atomic_load_explicit(&r->dirty[page / 64], memory_order_relaxed) >> (page % 64) & 1;
	}
	return false;
}

void guest_memory_clear_dirty(struct guest_memory *memory)
{
	for (unsigned int i = 0; i < memory->n_regions; i++) {
		struct guest_region *r = &memory->regions[i];

		for (size_t w = 0; r->dirty && w < dirty_words(r->size); w++)
			atomic_store_explicit(&r->dirty[w], 0, memory_order_relaxed);
	}
}
