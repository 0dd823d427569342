/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi_dump VCPUS VIRTIO: the first MiB's ACPI area, as a guest with so many processors and virtio
 * devices finds it, to stdout. acpi_iasl.py reads it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "vmm/boot/platform.h"
#include "vmm/util.h"

#define DEVICES_MAX 19

int main(int argc, char **argv)
{
	struct platform_virtio virtio[DEVICES_MAX];
	struct guest_memory memory = { 0 };
	struct error err;

	if (argc != 3 || atoi(argv[2]) < 0 || atoi(argv[2]) > DEVICES_MAX) {
		fprintf(stderr, "usage: acpi_dump VCPUS VIRTIO\n");
		return 2;
	}
	for (unsigned int i = 0; i < DEVICES_MAX; i++)
		virtio[i] = (struct platform_virtio){ LAYOUT_VIRTIO_MMIO + i * 0x1000ull,
						      VIRTIO_GSI_FIRST + i };
	const struct platform_info info = {
		.n_vcpus = (unsigned int)atoi(argv[1]),
		.serial = true,
		.n_virtio = (unsigned int)atoi(argv[2]),
		.virtio = virtio,
	};
	const size_t size = LAYOUT_TABLES_END - LAYOUT_RSDP;

	if (guest_memory_add(&memory, 0, 1 * MIB, MEMORY_BACKING_NONE, false, &err) < 0 ||
	    acpi_write_tables(&memory, &info, &err) < 0) {
		fprintf(stderr, "acpi_dump: %s\n", err.message);
		return 1;
	}
	if (fwrite(guest_memory_at(&memory, LAYOUT_RSDP, size), 1, size, stdout) != size)
		return 1;
	guest_memory_release(&memory);
	return fflush(stdout) == 0 ? 0 : 1;
}
