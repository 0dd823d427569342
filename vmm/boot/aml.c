/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot/aml.h"

#include <string.h>

#define OP_ZERO	      0x00
#define OP_ONE	      0x01
#define OP_NAME	      0x08
#define PREFIX_BYTE   0x0a
#define PREFIX_WORD   0x0b
#define PREFIX_DWORD  0x0c
#define PREFIX_STRING 0x0d
#define PREFIX_QWORD  0x0e
#define OP_SCOPE      0x10
#define OP_BUFFER     0x11
#define OP_PACKAGE    0x12
#define OP_EXTENDED   0x5b
#define OP_DEVICE     0x82

#define SEGMENT 4

void aml_bytes(struct aml *aml, const void *bytes, size_t n)
{
	if (n > aml->size - aml->len) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->data + aml->len, bytes, n);
	aml->len += n;
}

void aml_byte(struct aml *aml, uint8_t byte)
{
	aml_bytes(aml, &byte, 1);
}

void aml_number(struct aml *aml, uint64_t value, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		aml_byte(aml, (uint8_t)(value >> (8 * i)));
}

void aml_align(struct aml *aml, size_t alignment)
{
	while (!aml->overflow && aml->len % alignment != 0)
		aml_byte(aml, 0);
}

static void segment(struct aml *aml, const char *name)
{
	char seg[SEGMENT] = { '_', '_', '_', '_' };

	memcpy(seg, name, strnlen(name, SEGMENT));
	aml_bytes(aml, seg, SEGMENT);
}

static void integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		aml_byte(aml, value ? OP_ONE : OP_ZERO);
	} else if (value <= UINT8_MAX) {
		aml_byte(aml, PREFIX_BYTE);
		aml_number(aml, value, 1);
	} else if (value <= UINT16_MAX) {
		aml_byte(aml, PREFIX_WORD);
		aml_number(aml, value, 2);
	} else if (value <= UINT32_MAX) {
		aml_byte(aml, PREFIX_DWORD);
		aml_number(aml, value, 4);
	} else {
		aml_byte(aml, PREFIX_QWORD);
		aml_number(aml, value, 8);
	}
}

static void name(struct aml *aml, const char *seg)
{
	aml_byte(aml, OP_NAME);
	segment(aml, seg);
}

size_t aml_begin_scope(struct aml *aml, const char *seg)
{
	aml_byte(aml, OP_SCOPE);
	size_t mark = aml->len;

	segment(aml, seg);
	return mark;
}

size_t aml_begin_device(struct aml *aml, const char *seg)
{
	aml_byte(aml, OP_EXTENDED);
	aml_byte(aml, OP_DEVICE);
	size_t mark = aml->len;

	segment(aml, seg);
	return mark;
}

/* PkgLength counts itself: one byte up to 63, else 4 bits in the first and 8 in each further one. */
void aml_end(struct aml *aml, size_t mark)
{
	uint8_t encoded[4];
	size_t content = aml->len - mark, n = 1;

	while (n < 4 && content + n >= (n == 1 ? 64u : (size_t)1 << (8 * n - 4)))
		n++;
	size_t total = content + n;

	if (total >= (size_t)1 << 28 || n > aml->size - aml->len) {
		aml->overflow = true;
		return;
	}
	encoded[0] = n == 1 ? (uint8_t)total : (uint8_t)((n - 1) << 6 | (total & 0xf));
	for (size_t i = 1; i < n; i++)
		encoded[i] = (uint8_t)(total >> (8 * i - 4));
	memmove(aml->data + mark + n, aml->data + mark, content);
	memcpy(aml->data + mark, encoded, n);
	aml->len += n;
}

void aml_name_integer(struct aml *aml, const char *seg, uint64_t value)
{
	name(aml, seg);
	integer(aml, value);
}

void aml_name_string(struct aml *aml, const char *seg, const char *value)
{
	name(aml, seg);
	aml_byte(aml, PREFIX_STRING);
	aml_bytes(aml, value, strlen(value) + 1);
}

static uint8_t hex_digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

void aml_name_eisa_id(struct aml *aml, const char *seg, const char *id)
{
	unsigned int letters = (unsigned int)(id[0] - '@') << 10 |
			       (unsigned int)(id[1] - '@') << 5 | (unsigned int)(id[2] - '@');
	const uint8_t packed[] = {
		(uint8_t)(letters >> 8),
		(uint8_t)letters,
		(uint8_t)(hex_digit(id[3]) << 4 | hex_digit(id[4])),
		(uint8_t)(hex_digit(id[5]) << 4 | hex_digit(id[6])),
	};

	name(aml, seg);
	aml_byte(aml, PREFIX_DWORD);
	aml_bytes(aml, packed, sizeof(packed));
}

void aml_name_package(struct aml *aml, const char *seg, uint8_t value)
{
	name(aml, seg);
	aml_byte(aml, OP_PACKAGE);
	size_t mark = aml->len;

	aml_byte(aml, 1);
	integer(aml, value);
	aml_end(aml, mark);
}

static void resource(struct aml_resources *r, const void *descriptor, size_t n)
{
	if (n > sizeof(r->data) - r->len)
		return;
	memcpy(r->data + r->len, descriptor, n);
	r->len += n;
}

/* I/O port descriptor (§6.4.2.5): 16-bit decode, fixed range. */
void aml_resource_io(struct aml_resources *r, uint16_t port, uint8_t n_ports)
{
	uint8_t low = (uint8_t)port, high = (uint8_t)(port >> 8);
	const uint8_t d[] = { 0x47, 0x01, low, high, low, high, 0x00, n_ports };

	resource(r, d, sizeof(d));
}

/* 32-bit fixed memory range descriptor (§6.4.3.4), writable. */
void aml_resource_memory32(struct aml_resources *r, uint32_t base, uint32_t size)
{
	struct __attribute__((packed)) {
		uint8_t tag;
		uint16_t length;
		uint8_t flags;
		uint32_t base, size;
	} d = { 0x86, 9, 0x01, base, size };

	resource(r, &d, sizeof(d));
}

/* Extended interrupt descriptor (§6.4.3.6): consumer, edge, active high, exclusive. */
void aml_resource_interrupt(struct aml_resources *r, uint32_t gsi)
{
	struct __attribute__((packed)) {
		uint8_t tag;
		uint16_t length;
		uint8_t flags, count;
		uint32_t gsi;
	} d = { 0x89, 6, 0x03, 1, gsi };

	resource(r, &d, sizeof(d));
}

void aml_name_crs(struct aml *aml, const struct aml_resources *r)
{
	/* End tag with checksum 0, which means "not computed" (§6.4.2.9). */
	static const uint8_t end[] = { 0x79, 0x00 };

	name(aml, "_CRS");
	aml_byte(aml, OP_BUFFER);
	size_t mark = aml->len;

	integer(aml, r->len + sizeof(end));
	aml_bytes(aml, r->data, r->len);
	aml_bytes(aml, end, sizeof(end));
	aml_end(aml, mark);
}
