/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: regions of RAM at guest physical addresses (gpa), each one anonymous mapping at a
 * host virtual address (hva) with inaccessible guard pages on both sides.
 *
 * This is the only way from a guest address to a host pointer. Every translation checks address
 * and length together against one region; a range that leaves its region (a hole, the end of RAM,
 * an overflow) has no translation. Thread-safe: regions never change after creation.
 */
#ifndef MOTE_MEMORY_H
#define MOTE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/error.h"

#define GUEST_PAGE_SIZE         4096ull
#define GUEST_MEMORY_REGIONS_MAX 4

struct guest_region {
	uint64_t gpa;   /* page aligned */
	uint64_t size;  /* bytes, page aligned, > 0 */
	uint8_t *hva;
	bool hugetlb;
	uint8_t *kept; /* guest_memory_keep(): kept_size bytes from here */
	uint64_t kept_size;
	/* One bit a page, set by devices' writes; NULL unless dirty tracking is on. */
	_Atomic uint64_t *dirty;
};

struct guest_memory {
	unsigned int n_regions; /* ascending gpa, no overlap */
	struct guest_region regions[GUEST_MEMORY_REGIONS_MAX];
};

enum memory_backing {
	MEMORY_BACKING_NONE,        /* the host's default page size */
	MEMORY_BACKING_TRANSPARENT, /* MADV_HUGEPAGE */
	MEMORY_BACKING_HUGETLB_2M,  /* hugetlbfs 2 MiB pages, from the host's pool */
};

/*
 * Add a zeroed region of RAM. gpa and size are bytes, page aligned (2 MiB aligned for
 * MEMORY_BACKING_HUGETLB_2M), regions are added in ascending order.
 * Errors: -EINVAL for a bad range, -ENOSPC for too many regions, else those of mmap(2).
 * Pages are not reserved: they are allocated as they're touched.
 */
int guest_memory_add(struct guest_memory *memory, uint64_t gpa, uint64_t size,
		     enum memory_backing backing, bool track_dirty, struct error *err);

/* Unmap everything; the struct can be used again. */
void guest_memory_release(struct guest_memory *memory);

/* Sum of the regions' sizes in bytes. */
uint64_t guest_memory_size(const struct guest_memory *memory);

/*
 * The host address of [gpa, gpa + len), or NULL if that isn't wholly inside one region. len 0 is
 * never valid. The guest may change what's there at any time: copy once, check the copy, use it.
 */
void *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t len);

/*
 * Whether the host gives the region at gpa 4 KiB pages rather than huge ones. It touches the page at
 * gpa to find out: the size of the first region's pages is decided by the host, its settings and what
 * it has left.
 */
bool guest_memory_has_small_pages(const struct guest_memory *memory, uint64_t gpa);

/*
 * Put len bytes of the file fd, from offset, at gpa: as a private mapping, which the guest may write
 * to. All three are multiples of GUEST_PAGE_SIZE. Before the region is KVM's; not over 2 MiB pages of
 * hugetlbfs. Whoever changes or truncates the file later changes the guest's memory or takes it away.
 * Errors: -EINVAL if the range isn't all RAM, those of mmap(2).
 */
int guest_memory_map(struct guest_memory *memory, uint64_t gpa, uint64_t len, int fd, uint64_t offset,
		     struct error *err);

/* Copy between host and guest. Returns false, with nothing copied, if the range isn't all RAM. */
bool guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *dst, uint64_t len);
bool guest_memory_write(struct guest_memory *memory, uint64_t gpa, const void *src, uint64_t len);

/*
 * Note that the monitor wrote [hva, hva + len), which must come from guest_memory_at(). Devices
 * call it for every write into guest memory; nothing happens unless dirty tracking is on.
 */
void guest_memory_mark_dirty(struct guest_memory *memory, const void *hva, uint64_t len);

/*
 * Give the pages that lie wholly in [hva, hva + len), which must come from guest_memory_at(), back
 * to the host: they read as zeroes, and cost memory again when they're touched. They count as
 * written. Pages of hugetlbfs stay, because a later fault may find the host's pool empty, and so do
 * kept ones. Returns the bytes given back, or the negative errno of madvise(2).
 */
int64_t guest_memory_discard(struct guest_memory *memory, void *hva, uint64_t len);

/*
 * [hva, hva + len), page aligned and all of it in one region, is mapped from a file, whose content
 * a discard would bring back: it's left alone from now on. One such range a region.
 */
void guest_memory_keep(struct guest_memory *memory, void *hva, uint64_t len);

/* Whether the page at gpa was marked since the last clear; false for addresses without RAM. */
bool guest_memory_is_dirty(const struct guest_memory *memory, uint64_t gpa);
void guest_memory_clear_dirty(struct guest_memory *memory);

#endif
