/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>

#include "vmm/open.h"
#include "vmm/util.h"

static int no_such_tap(const char *name, struct error *err)
{
	return error_set(err, ENODEV,
			 "tap \"%s\": no such network device (ip tuntap add %s mode tap)", name,
			 name);
}

/* TUNSETIFF makes a device that doesn't exist, so ask first. */
static int check_exists(const char *name, struct error *err)
{
	struct ifreq ifr = { 0 };
	cleanup_close int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return error_sys(err, errno, "tap \"%s\": socket", name);
	strcpy(ifr.ifr_name, name);
	if (ioctl(sock, SIOCGIFINDEX, &ifr) == 0)
		return 0;
	if (errno == ENODEV)
		return no_such_tap(name, err);
	return error_sys(err, errno, "tap \"%s\": SIOCGIFINDEX", name);
}

/* The kernel says EINVAL for any device that can't be attached: find out why. */
static int explain_einval(const char *name, struct error *err)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq ifr = { .ifr_data = (void *)&info };
	cleanup_close int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(ifr.ifr_name, name);
	if (sock < 0 || ioctl(sock, SIOCETHTOOL, &ifr) < 0 || strcmp(info.driver, "tun") != 0)
		return error_set(err, EINVAL, "tap \"%s\": not a tap device", name);
	if (strcmp(info.bus_info, "tap") != 0)
		return error_set(err, EINVAL, "tap \"%s\": a tun device (layer 3), not a tap",
				 name);
	return error_set(
		err, EINVAL,
		"tap \"%s\": has several queues (multi_queue); one with a single queue is needed",
		name);
}

static int attach(int fd, const char *name, struct error *err)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	strcpy(ifr.ifr_name, name);
	if (ioctl(fd, TUNSETIFF, &ifr) == 0)
		return 0;
	switch (errno) {
	case EBUSY:
		return error_sys(err, EBUSY, "tap \"%s\": in use by another process or interface",
				 name);
	case EPERM:
		return error_sys(err, EPERM,
				 "tap \"%s\": belongs to another user (tuntap add ... user)", name);
	case EINVAL:
		return explain_einval(name, err);
	default:
		return error_sys(err, errno, "tap \"%s\": TUNSETIFF", name);
	}
}

/*
 * If the device was deleted after check_exists, TUNSETIFF has made a new one. That one isn't
 * persistent (and one made by another process would be in use), so closing fd deletes it.
 */
static int check_not_ours(int fd, const char *name, struct error *err)
{
	struct ifreq ifr = { 0 };

	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return error_sys(err, errno, "tap \"%s\": TUNGETIFF", name);
	if (!(ifr.ifr_flags & IFF_PERSIST))
		return no_such_tap(name, err);
	return 0;
}

/* All of these stay with the device when its user goes, so none can be taken for granted. */
static int set_up(int fd, const char *name, struct error *err)
{
	int header_size = TAP_HEADER_SIZE, little_endian = 1, sndbuf = INT_MAX;

	if (ioctl(fd, TUNSETVNETHDRSZ, &header_size) < 0)
		return error_sys(err, errno, "tap \"%s\": TUNSETVNETHDRSZ", name);
	if (ioctl(fd, TUNSETVNETLE, &little_endian) < 0)
		return error_sys(err, errno, "tap \"%s\": TUNSETVNETLE", name);
	if (ioctl(fd, TUNSETSNDBUF, &sndbuf) < 0)
		return error_sys(err, errno, "tap \"%s\": TUNSETSNDBUF", name);
	return 0;
}

/* Attach to the device called name. Returns an fd. */
static int open_by_name(const char *name, struct error *err)
{
	size_t len = strlen(name);

	/* A % is where TUNSETIFF puts a number of its choice; no device has it in its name. */
	if (len == 0 || len >= IFNAMSIZ || strchr(name, '%'))
		return error_set(err, EINVAL, "tap \"%s\": not a device name (1 to %d characters)",
				 name, IFNAMSIZ - 1);

	int r = check_exists(name, err);

	if (r < 0)
		return r;

	cleanup_close int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return error_sys(err, errno, "tap \"%s\": open \"/dev/net/tun\"", name);
	r = attach(fd, name, err);
	if (r == 0)
		r = check_not_ours(fd, name, err);
	return r < 0 ? r : take_fd(&fd);
}

/*
 * Take inherited: a queue of a tap that the giver attached, persistent or not. path: its name in
 * messages; name: gets the device's. Returns an fd.
 */
static int take_queue(int inherited, const char *path, char name[IFNAMSIZ], struct error *err)
{
	const short wanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	struct ifreq ifr = { 0 };
	cleanup_close int fd = inherited_take(inherited, O_RDWR, err);

	if (fd < 0)
		return error_wrap(err, "tap \"%s\"", path);
	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return error_set(err, EINVAL, "tap \"%s\": not attached to a tap device", path);
	if ((ifr.ifr_flags & (wanted | IFF_TUN)) != wanted)
		return error_set(err, EINVAL,
				 "tap \"%s\": \"%.*s\" isn't attached with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR",
				 path, IFNAMSIZ - 1, ifr.ifr_name);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return error_sys(err, errno, "tap \"%s\": set O_NONBLOCK", path);
	memcpy(name, ifr.ifr_name, IFNAMSIZ - 1);
	return take_fd(&fd);
}

int tap_open(struct tap *tap, const char *name, struct error *err)
{
	int inherited = inherited_fd(name);

	*tap = (struct tap){ .fd = -1 };

	int r = inherited >= 0 ? take_queue(inherited, name, tap->name, err) : open_by_name(name, err);

	if (r < 0)
		return r;
	tap->fd = r;
	if (inherited < 0)
		strcpy(tap->name, name);
	r = set_up(tap->fd, tap->name, err);
	if (r == 0)
		r = tap_set_offload(tap, 0, err);
	if (r < 0)
		tap_close(tap);
	return r;
}

void tap_close(struct tap *tap)
{
	close_fd(&tap->fd);
}

int tap_set_offload(struct tap *tap, unsigned int offload, struct error *err)
{
	if (ioctl(tap->fd, TUNSETOFFLOAD, (unsigned long)offload) < 0)
		return error_sys(err, errno, "tap \"%s\": TUNSETOFFLOAD 0x%x", tap->name, offload);
	return 0;
}
