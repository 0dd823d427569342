/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *device,
	    struct error *err)
{
	unsigned int at = 0;

	if (size == 0 || base + size - 1 < base)
		return error_set(err, EINVAL, "bus: bad range 0x%" PRIx64 "+0x%" PRIx64, base, size);
	if (bus->n_ranges == BUS_RANGES_MAX)
		return error_set(err, ENOSPC, "bus: more than %d ranges", BUS_RANGES_MAX);
	while (at < bus->n_ranges && bus->ranges[at].base < base)
		at++;
	if ((at < bus->n_ranges && base + size - 1 >= bus->ranges[at].base) ||
	    (at > 0 && bus->ranges[at - 1].base + bus->ranges[at - 1].size - 1 >= base))
		return error_set(err, EEXIST, "bus: range 0x%" PRIx64 "+0x%" PRIx64 " is taken", base,
				 size);
	memmove(&bus->ranges[at + 1], &bus->ranges[at],
		(bus->n_ranges - at) * sizeof(bus->ranges[0]));
	bus->ranges[at] = (struct bus_range){ base, size, ops, device };
	bus->n_ranges++;
	return 0;
}

static const struct bus_range *find(const struct bus *bus, uint64_t address, unsigned int len)
{
	unsigned int low = 0, high = bus->n_ranges;

	if (len != 1 && len != 2 && len != 4 && len != 8)
		return NULL;
	while (low < high) {
		unsigned int middle = (low + high) / 2;
		const struct bus_range *r = &bus->ranges[middle];

		if (address < r->base)
			high = middle;
		else if (address - r->base >= r->size)
			low = middle + 1;
		else
			return len <= r->size - (address - r->base) ? r : NULL;
	}
	return NULL;
}

bool bus_read(const struct bus *bus, uint64_t address, uint8_t *data, unsigned int len)
{
	const struct bus_range *r = find(bus, address, len);

	memset(data, 0xff, len);
	if (!r)
		return false;
	r->ops->read(r->device, address - r->base, data, len);
	return true;
}

bool bus_write(const struct bus *bus, uint64_t address, const uint8_t *data, unsigned int len)
{
	const struct bus_range *r = find(bus, address, len);

	if (!r)
		return false;
	r->ops->write(r->device, address - r->base, data, len);
	return true;
}
