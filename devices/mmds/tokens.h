/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session tokens of version 2: text that only we can make, and that says itself until when it is
 * valid. So no number of tokens costs memory, and none ends before its time. After a restart or a
 * restore there's another key, and old tokens are void.
 */
#ifndef MOTE_DEVICES_MMDS_TOKENS_H
#define MOTE_DEVICES_MMDS_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"

#define MMDS_TOKEN_TTL_MIN 1 /* seconds */
#define MMDS_TOKEN_TTL_MAX 21600
#define MMDS_TOKEN_LENGTH  64 /* characters: hexadecimal digits */

struct mmds_tokens {
	uint64_t key[2];
	uint64_t made; /* how many, so that no two are the same */
};

/* A new key. Errors: -EAGAIN while the host has no random numbers yet. */
int mmds_tokens_init(struct mmds_tokens *tokens, struct error *err);

/* A token for ttl seconds (within the limits) from now, in ns of a monotonic clock. */
void mmds_token_make(struct mmds_tokens *tokens, uint64_t now, uint32_t ttl,
		     char text[MMDS_TOKEN_LENGTH + 1]);

/* Whether text is a token that was made here and whose time isn't over. */
bool mmds_token_valid(const struct mmds_tokens *tokens, uint64_t now, const char *text);

/* SipHash-2-4 with 128 bits of output (Aumasson, Bernstein 2012), for tests: in, out little endian. */
void siphash128(const uint64_t key[2], const uint64_t *words, unsigned int n, uint64_t out[2]);

#endif
