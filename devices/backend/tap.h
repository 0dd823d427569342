/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of a network interface: a tap device that somebody else has made
 * (`ip tuntap add NAME mode tap`). Frames go through with a virtio-net header of 12 bytes in front,
 * little endian (struct virtio_net_hdr_v1), so that checksums and segmentation can be left undone.
 */
#ifndef MOTE_DEVICES_BACKEND_TAP_H
#define MOTE_DEVICES_BACKEND_TAP_H

#include <net/if.h>

#include "vmm/error.h"

#define TAP_HEADER_SIZE 12

struct tap {
	int fd; /* non-blocking; -1 while closed. One readv or writev is one frame */
	char name[IFNAMSIZ];
};

/*
 * Attach to the tap device called name, with all offloads off. It must exist: nothing is created,
 * and nothing stays behind when this fails. "/dev/fd/N": take inherited file descriptor N, attached
 * already (TUNSETIFF with IFF_TAP, IFF_NO_PI, IFF_VNET_HDR); for a jail without /dev/net/tun.
 * Errors: -ENODEV there's none, -EINVAL a bad name, not a tap or one with several queues, -EBUSY
 * somebody has it, -EPERM it belongs to another user, those of inherited_take(), else those of
 * open(2) and ioctl(2).
 */
int tap_open(struct tap *tap, const char *name, struct error *err);

/* Detach; the device itself stays. */
void tap_close(struct tap *tap);

/*
 * What the reader of this tap takes without the host's network stack finishing it first: TUN_F_CSUM
 * (partial checksums), TUN_F_TSO4, TUN_F_TSO6 (TCP segments of up to 64 KiB; both need TUN_F_CSUM).
 * Errors: -EBADFD when the device is gone, -EINVAL for a set that the kernel doesn't know.
 */
int tap_set_offload(struct tap *tap, unsigned int offload, struct error *err);

#endif
