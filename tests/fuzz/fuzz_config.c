/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: configuration files of any content are taken or refused with one line. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/config.h"
#include "vmm/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config config;
	struct error err = { 0 };
	cleanup_close int fd = memfd_create("config", MFD_CLOEXEC);
	char path[64];

	if (write(fd, data, size) != (ssize_t)size)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config_init(&config);
	if ((config_load_json(&config, path, &err) < 0 || config_validate(&config, &err) < 0) &&
	    (!err.message[0] || strpbrk(err.message, "\n\r\033")))
		__builtin_trap();
	config_release(&config);
	return 0;
}
