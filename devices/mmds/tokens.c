/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token is its end and its number, and a message authentication code of the two: SipHash-2-4-128, a
 * pseudorandom function of a secret key of 128 bits. A guest that doesn't know the key can't do
 * better than guess 128 bits.
 */
#include "devices/mmds/tokens.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define NS_PER_S 1000000000ull

static uint64_t rotate(uint64_t x, unsigned int n)
{
	return x << n | x >> (64 - n);
}

static void rounds(uint64_t v[4], unsigned int n)
{
	for (; n > 0; n--) {
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

void siphash128(const uint64_t key[2], const uint64_t *words, unsigned int n, uint64_t out[2])
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d ^ 0xee,
			  key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573 };
	uint64_t last = (uint64_t)(8 * n & 0xff) << 56; /* the length, and no odd bytes */

	for (unsigned int i = 0; i <= n; i++) {
		uint64_t m = i < n ? words[i] : last;

		v[3] ^= m;
		rounds(v, 2);
		v[0] ^= m;
	}
	v[2] ^= 0xee;
	rounds(v, 4);
	out[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
	v[1] ^= 0xdd;
	rounds(v, 4);
	out[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}

int mmds_tokens_init(struct mmds_tokens *tokens, struct error *err)
{
	*tokens = (struct mmds_tokens){ 0 };
	if (getrandom(tokens->key, sizeof(tokens->key), GRND_NONBLOCK) != sizeof(tokens->key))
		return error_sys(err, errno, "mmds: getrandom");
	return 0;
}

void mmds_token_make(struct mmds_tokens *tokens, uint64_t now, uint32_t ttl,
		     char text[MMDS_TOKEN_LENGTH + 1])
{
	const uint64_t words[2] = { now + ttl * NS_PER_S, tokens->made++ };
	uint64_t code[2];

	siphash128(tokens->key, words, 2, code);
	snprintf(text, MMDS_TOKEN_LENGTH + 1, "%016" PRIx64 "%016" PRIx64 "%016" PRIx64 "%016" PRIx64,
		 code[0], code[1], words[0], words[1]);
}

/* 16 lower-case digits, as they were written. */
static bool read_word(const char *text, uint64_t *word)
{
	*word = 0;
	for (unsigned int i = 0; i < 16; i++) {
		const char *digits = "0123456789abcdef", *digit = strchr(digits, text[i]);

		if (!text[i] || !digit)
			return false;
		*word = *word << 4 | (uint64_t)(digit - digits);
	}
	return true;
}

bool mmds_token_valid(const struct mmds_tokens *tokens, uint64_t now, const char *text)
{
	uint64_t words[4], code[2];

	if (strlen(text) != MMDS_TOKEN_LENGTH)
		return false;
	for (unsigned int i = 0; i < 4; i++)
		if (!read_word(text + 16 * i, &words[i]))
			return false;
	siphash128(tokens->key, words + 2, 2, code);
	/* In one go: how many digits were right can't be timed. */
	return ((code[0] ^ words[0]) | (code[1] ^ words[1])) == 0 && words[2] > now;
}
