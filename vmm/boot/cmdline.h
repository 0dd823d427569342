/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel command line: the user's arguments plus what the monitor has to tell the kernel. */
#ifndef MOTE_BOOT_CMDLINE_H
#define MOTE_BOOT_CMDLINE_H

#include "vmm/boot/platform.h"
#include "vmm/config.h"
#include "vmm/error.h"

/*
 * boot_args, then root= and ro|rw for the root drive, then (without ACPI) one virtio_mmio.device=
 * for each device. What stands behind " -- " in boot_args is for init and stays last. out holds
 * CONFIG_CMDLINE_MAX bytes. -E2BIG if it doesn't fit.
 */
int cmdline_build(const struct config *config, const struct platform_info *info, char *out,
		  struct error *err);

#endif
