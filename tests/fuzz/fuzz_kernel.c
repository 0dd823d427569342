/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: kernel files of any content never reach beyond guest memory. */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/boot/kernel.h"
#include "vmm/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest_memory memory = { 0 };
	struct kernel_image image;
	struct error err = { 0 };
	cleanup_close int fd = memfd_create("kernel", MFD_CLOEXEC);
	uint64_t info;

	if (write(fd, data, size) != (ssize_t)size ||
	    guest_memory_add(&memory, 0, 32 * MIB, MEMORY_BACKING_NONE, false, &err) < 0)
		return 0;
	if (kernel_load(&memory, fd, "input", &image, &err) == 0) {
		struct initrd initrd = { 0 };

		/* What the loader accepted must serve the steps after it. */
		if (image.end > 32 * MIB || !guest_memory_at(&memory, image.entry, 1))
			__builtin_trap();
		boot_params_write(&memory, &image, &initrd, "quiet", 0, &info, &err);
		if (initrd_load(&memory, fd, "input", &image, &initrd, &err) == 0 &&
		    (initrd.gpa < image.end || !guest_memory_at(&memory, initrd.gpa, initrd.size)))
			__builtin_trap();
	} else if (!err.message[0]) {
		__builtin_trap(); /* a refusal without a reason */
	}
	guest_memory_release(&memory);
	return 0;
}
