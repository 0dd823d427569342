/* SPDX-License-Identifier: Apache-2.0 */
#include "disk_rig.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "disk_faults.h"
#include "vmm/util.h"

void rig_on_done(struct disk_request *request, void *owner)
{
	struct rig *rig = owner;

	rig->n_done++;
	rig->last_done = request;
	if (rig->done)
		rig->done(request, rig->owner);
}

void rig_make_file(struct rig *rig, const char *dir, uint64_t size)
{
	int fd;

	memset(rig, 0, sizeof(*rig));
	rig->disk.fd = -1;
	snprintf(rig->path, sizeof(rig->path), "%s/mote-disk-XXXXXX", dir);
	fd = mkstemp(rig->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	rig->size = size;
	rig->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(rig->event_fd >= 0);
}

static int attach_loop(struct rig *rig, uint32_t sector_size)
{
	struct loop_config config = { .block_size = sector_size,
				      .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	char path[64];
	int fd, file;

	if (control >= 0)
		close(control);
	if (number < 0)
		return -1;
	snprintf(path, sizeof(path), "/dev/loop%d", number);
	fd = open(path, O_RDWR | O_CLOEXEC);
	file = open(rig->path, O_RDWR | O_CLOEXEC);
	config.fd = (uint32_t)file;
	if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) < 0) {
		close(fd);
		fd = -1;
	}
	close(file);
	unlink(rig->path);
	strcpy(rig->path, path);
	return fd;
}

void rig_make_loop(struct rig *rig, uint64_t size, uint32_t sector_size)
{
	rig_make_file(rig, RIG_DISK, size);
	rig->loop_fd = attach_loop(rig, sector_size);
	if (rig->loop_fd >= 0)
		return;
	if (strncmp(rig->path, "/dev/", 5) != 0)
		unlink(rig->path);
	close(rig->event_fd);
	print_message("# no loop device\n");
	skip();
}

void rig_open(struct rig *rig, enum rig_mode mode)
{
	struct disk_options options = { .path = rig->path,
					.name = "test",
					.engine = mode == RIG_SYNC ? DISK_SYNC : DISK_ASYNC,
					.event_fd = rig->event_fd,
					.done = rig_on_done,
					.owner = rig };
	struct error err = { 0 };

	rig->mode = mode;
	if (disk_open(&rig->disk, &options, &err) < 0)
		fail_msg("%s", err.message);
	if (mode == RIG_ASYNC_BUFFERED) {
		assert_int_equal(fcntl(rig->disk.fd, F_SETFL, 0), 0);
		rig->disk.direct = false;
		rig->disk.memory_align = rig->disk.offset_align = 1;
	} else if (mode == RIG_ASYNC_4K) {
		rig->disk.memory_align = rig->disk.offset_align = 4096;
	}
}

void rig_setup(struct rig *rig, const char *dir, uint64_t size, enum rig_mode mode)
{
	rig_make_file(rig, dir, size);
	rig_open(rig, mode);
}

void rig_teardown(struct rig *rig)
{
	disk_close(&rig->disk);
	close(rig->event_fd);
	if (rig->loop_fd > 0)
		close(rig->loop_fd); /* and the device goes away */
	else
		unlink(rig->path);
	disk_faults_reset();
}

void rig_reap(struct rig *rig)
{
	struct pollfd event = { .fd = rig->event_fd, .events = POLLIN };
	eventfd_t value;

	assert_int_equal(poll(&event, 1, 10000), 1);
	assert_int_equal(eventfd_read(rig->event_fd, &value), 0);
	disk_reap(&rig->disk);
}

int rig_do(struct rig *rig, struct disk_request *request)
{
	unsigned int before = rig->n_done;

	request->result = 12345;
	disk_submit(&rig->disk, request);
	disk_kick(&rig->disk);
	while (rig->n_done == before)
		rig_reap(rig);
	assert_int_equal(rig->n_done, before + 1);
	assert_ptr_equal(rig->last_done, request);
	assert_int_equal(disk_in_flight(&rig->disk), 0);
	return request->result;
}

int rig_read(struct rig *rig, uint64_t offset, void *buffer, uint64_t len)
{
	struct iovec iov = { buffer, len };
	struct disk_request request = {
		.op = DISK_READ, .offset = offset, .len = len, .iov = &iov, .n_iov = 1
	};

	return rig_do(rig, &request);
}

int rig_write(struct rig *rig, uint64_t offset, const void *buffer, uint64_t len)
{
	struct iovec iov = { (void *)(uintptr_t)buffer, len };
	struct disk_request request = {
		.op = DISK_WRITE, .offset = offset, .len = len, .iov = &iov, .n_iov = 1
	};

	return rig_do(rig, &request);
}

void rig_skip_without_direct_io(void)
{
	struct rig rig;
	bool direct;

	rig_setup(&rig, RIG_DISK, 64 * KIB, RIG_ASYNC);
	direct = rig.disk.direct;
	rig_teardown(&rig);
	if (!direct) {
		print_message("# no direct I/O on " RIG_DISK "\n");
		skip();
	}
}

void *rig_alloc(size_t size)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 4096, size), 0);
	memset(p, 0, size);
	return p;
}
