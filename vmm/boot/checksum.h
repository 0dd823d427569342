/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MOTE_BOOT_CHECKSUM_H
#define MOTE_BOOT_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The byte that makes the sum of all n bytes zero, for a checksum field that is zero so far. */
static inline uint8_t table_checksum(const void *data, size_t n)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	while (n-- > 0)
		sum += *p++;
	return (uint8_t)-sum;
}

#endif
