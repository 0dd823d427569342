/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/hostdev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "vmm/util.h"

/* Random, so that nothing on the way finds it easy; the same 4 KiB all over. */
static int fill(int fd, unsigned int mib, struct error *err)
{
	char block[4096];

	if (getrandom(block, sizeof(block), 0) != (ssize_t)sizeof(block))
		return error_sys(err, errno, "getrandom");
	for (unsigned int i = 0; i < mib * 256; i++)
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
			return error_sys(err, errno, "write the disk's file");
	return 0;
}

/* A file without a name; overlayfs, for one, must first give it one. */
static int open_unnamed(const char *dir)
{
	int fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	char path[64];

	if (fd >= 0 || errno != EOPNOTSUPP)
		return fd;
	snprintf(path, sizeof(path), "%s/mote-bench-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

int hostdev_disk_open(struct hostdev_disk *disk, const char *dir, unsigned int full_mib, unsigned int mib,
		      struct error *err)
{
	cleanup_close int file = open_unnamed(dir);
	cleanup_close int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = { .fd = (unsigned int)file, .info.lo_flags = LO_FLAGS_AUTOCLEAR };

	disk->fd = -1;
	if (file < 0 || ftruncate(file, (off_t)mib << 20) < 0)
		return error_sys(err, errno, "a file in \"%s\"", dir);
	if (fill(file, full_mib, err) < 0)
		return -err->errnum;
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);

	if (number < 0)
		return error_sys(err, errno, "\"/dev/loop-control\"");
	snprintf(disk->path, sizeof(disk->path), "/dev/loop%d", number);
	disk->fd = open(disk->path, O_RDWR | O_CLOEXEC);
	if (disk->fd < 0 || ioctl(disk->fd, LOOP_CONFIGURE, &config) < 0)
		return error_sys(err, errno, "\"%s\"", disk->path);
	return 0;
}

void hostdev_disk_close(struct hostdev_disk *disk)
{
	close_fd(&disk->fd);
}

static int set_address(int fd, struct ifreq *request, const char *address, const char *mask)
{
	struct sockaddr_in in = { .sin_family = AF_INET };

	inet_pton(AF_INET, address, &in.sin_addr);
	memcpy(&request->ifr_addr, &in, sizeof(in));
	if (ioctl(fd, SIOCSIFADDR, request) < 0)
		return -1;
	inet_pton(AF_INET, mask, &in.sin_addr);
	memcpy(&request->ifr_netmask, &in, sizeof(in));
	return ioctl(fd, SIOCSIFNETMASK, request);
}

int hostdev_tap_make(const char *name, const char *address, struct error *err)
{
	cleanup_close int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (tun < 0 || fd < 0)
		return error_sys(err, errno, "tap \"%s\": open \"/dev/net/tun\"", name);
	if (ioctl(tun, TUNSETIFF, &request) < 0 || ioctl(tun, TUNSETPERSIST, 1) < 0)
		return error_sys(err, errno, "tap \"%s\"", name);
	if (address && set_address(fd, &request, address, "255.255.255.0") < 0)
		return error_sys(err, errno, "tap \"%s\": address", name);
	request.ifr_flags = IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? error_sys(err, errno, "tap \"%s\": up", name) : 0;
}
