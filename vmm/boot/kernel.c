/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot/kernel.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/boot/platform.h"
#include "vmm/util.h"

int read_exactly(int fd, void *dst, uint64_t len, uint64_t offset, struct error *err)
{
	uint8_t *p = dst;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_sys(err, errno, "read");
		if (n == 0)
			return error_set(err, ENOEXEC, "file ends early, at byte %" PRIu64, offset);
		p += n;
		len -= (uint64_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

static int regular_size(int fd, uint64_t *size, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_sys(err, errno, "stat");
	if (S_ISDIR(st.st_mode))
		return error_sys(err, EISDIR, "read");
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "not a regular file");
	*size = (uint64_t)st.st_size;
	return *size > 0 ? 0 : error_set(err, ENOEXEC, "file is empty");
}

int kernel_load(struct guest_memory *memory, int fd, const char *path, struct kernel_image *image,
		struct error *err)
{
	uint8_t magic[0x206] = { 0 };
	uint64_t size;
	int rc = regular_size(fd, &size, err);

	memset(image, 0, sizeof(*image));
	if (rc == 0)
		rc = read_exactly(fd, magic, size < sizeof(magic) ? size : sizeof(magic), 0, err);
	if (rc == 0) {
		if (memcmp(magic, ELFMAG, SELFMAG) == 0)
			rc = elf_load(memory, fd, size, image, err);
		else if (memcmp(magic + 0x202, "HdrS", 4) == 0)
			rc = bzimage_load(memory, fd, size, image, err);
		else
			rc = error_set(err, ENOEXEC, "neither an ELF executable nor a bzImage");
	}
	/* The 64-bit entry starts on page tables for the first GiB, the PVH entry without any. */
	if (rc == 0 && image->protocol == BOOT_LINUX_64 && image->end > GIB)
		rc = error_set(err, ENOEXEC, "ends at 0x%" PRIx64 ", the boot page tables at 1 GiB", image->end);
	if (rc == 0 && image->protocol == BOOT_PVH && image->entry > UINT32_MAX)
		rc = error_set(err, ENOEXEC, "PVH entry 0x%" PRIx64 " is not a 32-bit address", image->entry);
	return rc < 0 ? error_wrap(err, "kernel \"%s\"", path) : 0;
}

/* The end of RAM that begins at 0: an initrd must lie below the hole. */
static uint64_t low_memory_end(const struct guest_memory *memory)
{
	return memory->regions[0].gpa + memory->regions[0].size;
}

static int initrd_place(struct guest_memory *memory, int fd, const struct kernel_image *image,
			struct initrd *initrd, struct error *err)
{
	uint64_t size, top = low_memory_end(memory);
	int rc = regular_size(fd, &size, err);

	if (rc < 0)
		return rc;
	if (top > image->initrd_max + 1)
		top = image->initrd_max + 1;
	if (size > top || align_down(top - size, GUEST_PAGE_SIZE) < align_up(image->end, GUEST_PAGE_SIZE))
		return error_set(err, ENOMEM,
				 "%" PRIu64 " KiB don't fit between the kernel and 0x%" PRIx64,
				 size / KIB, top);
	initrd->gpa = align_down(top - size, GUEST_PAGE_SIZE);
	initrd->size = size;
	void *dst = guest_memory_at(memory, initrd->gpa, size);

	if (!dst)
		return error_set(err, ENOMEM, "no memory at 0x%" PRIx64, initrd->gpa);
	return read_exactly(fd, dst, size, 0, err);
}

int initrd_load(struct guest_memory *memory, int fd, const char *path,
		const struct kernel_image *image, struct initrd *initrd, struct error *err)
{
	int rc = initrd_place(memory, fd, image, initrd, err);

	return rc < 0 ? error_wrap(err, "initrd \"%s\"", path) : 0;
}
