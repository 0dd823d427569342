/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port and MMIO dispatch: address ranges to device callbacks. Filled before the vCPUs start and
 * only read afterwards, so it has no lock; a device that two threads can reach has its own.
 */
#ifndef MOTE_BUS_H
#define MOTE_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"

#define BUS_RANGES_MAX 48

/*
 * A device's side of an access. offset is relative to the range's base; len is 1, 2, 4 or 8 and
 * offset + len <= size: the bus guarantees both. read fills all of data.
 */
struct bus_ops {
	void (*read)(void *device, uint64_t offset, uint8_t *data, unsigned int len);
	void (*write)(void *device, uint64_t offset, const uint8_t *data, unsigned int len);
};

struct bus_range {
	uint64_t base;
	uint64_t size;
	const struct bus_ops *ops;
	void *device;
};

struct bus {
	unsigned int n_ranges; /* ascending base, no overlap */
	struct bus_range ranges[BUS_RANGES_MAX];
};

/* Errors: -EEXIST when the range overlaps another, -ENOSPC, -EINVAL (empty or wrapping range). */
int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *device,
	    struct error *err);

/*
 * An access of a vCPU, with whatever address and length the guest chose. Returns false if nothing
 * is there or the access leaves its range: reads give all ones then, writes are ignored.
 */
bool bus_read(const struct bus *bus, uint64_t address, uint8_t *data, unsigned int len);
bool bus_write(const struct bus *bus, uint64_t address, const uint8_t *data, unsigned int len);

#endif
