/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot/cmdline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/util.h"

/* Append to a memory stream what belongs between the kernel's and init's arguments. */
static void append_ours(FILE *f, const struct config *config, const struct platform_info *info)
{
	for (unsigned int i = 0; i < config->n_drives; i++) {
		const struct config_drive *drive = &config->drives[i];

		if (!drive->is_root_device)
			continue;
		if (drive->partuuid)
			fprintf(f, " root=PARTUUID=%s", drive->partuuid);
		else
			fprintf(f, " root=/dev/vda"); /* the root drive is attached first */
		fprintf(f, " %s", drive->is_read_only ? "ro" : "rw");
	}
	if (config->machine.platform != CONFIG_PLATFORM_MPTABLE)
		return;
	for (unsigned int i = 0; i < info->n_virtio; i++)
		fprintf(f, " virtio_mmio.device=4K@0x%" PRIx64 ":%u", info->virtio[i].mmio_base,
			info->virtio[i].gsi);
}

int cmdline_build(const struct config *config, const struct platform_info *info, char *out,
		  struct error *err)
{
	const char *args = config->boot_source.boot_args ? config->boot_source.boot_args
							 : CONFIG_DEFAULT_BOOT_ARGS;
	const char *init_args = strstr(args, " -- ");
	cleanup_free char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return error_sys(err, errno, "command line");
	fprintf(f, "%.*s", init_args ? (int)(init_args - args) : (int)strlen(args), args);
	append_ours(f, config, info);
	fputs(init_args ? init_args : "", f);
	if (fclose(f) != 0)
		return error_sys(err, ENOMEM, "command line");
	if (len + 1 > CONFIG_CMDLINE_MAX)
		return error_set(err, E2BIG,
				 "boot-source: boot_args: with what the monitor adds the command line is "
				 "%zu bytes, at most %d are possible",
				 len, CONFIG_CMDLINE_MAX - 1);
	memcpy(out, text, len + 1);
	return 0;
}
