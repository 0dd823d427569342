/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer's input as a program: its bytes are taken from the front, and past its end everything is
 * 0. So each prefix of a program is a program, and a byte changed in one operation leaves those
 * behind it what they were.
 */
#ifndef MOTE_TESTS_FUZZ_INPUT_H
#define MOTE_TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t left;
};

static inline void input_bytes(struct input *in, void *dst, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(dst, 0, len);
	if (n == 0)
		return;
	memcpy(dst, in->data, n);
	in->data += n;
	in->left -= n;
}

static inline uint8_t input_u8(struct input *in)
{
	uint8_t value;

	input_bytes(in, &value, sizeof(value));
	return value;
}

static inline uint16_t input_u16(struct input *in)
{
	uint16_t value;

	input_bytes(in, &value, sizeof(value));
	return value;
}

static inline uint32_t input_u32(struct input *in)
{
	uint32_t value;

	input_bytes(in, &value, sizeof(value));
	return value;
}

static inline uint64_t input_u64(struct input *in)
{
	uint64_t value;

	input_bytes(in, &value, sizeof(value));
	return value;
}

/* Change up to 3 bytes of a saved state, as somebody who gives away a snapshot might. Returns how many. */
static inline unsigned int input_patch(struct input *in, void *state, size_t size)
{
	unsigned int n = input_u8(in) % 4;

	for (unsigned int i = 0; i < n && size > 0; i++) {
		size_t at = input_u16(in) % size;

		((uint8_t *)state)[at] = input_u8(in);
	}
	return n;
}

/* What a target finds wrong ends it, as a sanitizer's finding does. */
#define must(holds) must_hold(holds, #holds, __FILE__, __LINE__)

static inline void must_hold(bool holds, const char *what, const char *file, int line)
{
	if (holds)
		return;
	fprintf(stderr, "%s:%d: ERROR: doesn't hold: %s\n", file, line, what);
	__builtin_trap();
}

#endif
