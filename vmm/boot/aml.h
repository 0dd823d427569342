/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small encoder of ACPI Machine Language (ACPI 6.5 §20) and of the little-endian tables around
 * it. Everything is appended to one buffer; what doesn't fit sets `overflow` and is left out, so
 * that callers check once, at the end.
 */
#ifndef MOTE_BOOT_AML_H
#define MOTE_BOOT_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *data; /* borrowed */
	size_t size;
	size_t len; /* bytes written */
	bool overflow;
};

void aml_bytes(struct aml *aml, const void *bytes, size_t n);
void aml_byte(struct aml *aml, uint8_t byte);
/* The n low bytes of value, little-endian; n is at most 8. */
void aml_number(struct aml *aml, uint64_t value, unsigned int n);
/* Zeros up to a multiple of a power of two. */
void aml_align(struct aml *aml, size_t alignment);

/*
 * Objects with a length in front (§20.2.4): begin gives a mark for aml_end, which puts the length
 * in its place when the contents are known. name: one segment of four characters, padded with '_'.
 */
size_t aml_begin_scope(struct aml *aml, const char *name);
size_t aml_begin_device(struct aml *aml, const char *name);
void aml_end(struct aml *aml, size_t mark);

/* Name (NAME, value), in the scope that is open. */
void aml_name_integer(struct aml *aml, const char *name, uint64_t value);
void aml_name_string(struct aml *aml, const char *name, const char *value);
/* id: three capital letters and four hexadecimal digits, as in PNP0501 (§19.3.4, EISAID). */
void aml_name_eisa_id(struct aml *aml, const char *name, const char *id);
/* A package of one small integer. */
void aml_name_package(struct aml *aml, const char *name, uint8_t value);

/* Resource descriptors (§6.4), collected and then appended as Name (_CRS, ResourceTemplate). */
struct aml_resources {
	uint8_t data[64];
	size_t len;
};

void aml_resource_io(struct aml_resources *r, uint16_t port, uint8_t n_ports);
void aml_resource_memory32(struct aml_resources *r, uint32_t base, uint32_t size);
/* Edge-triggered, active high, not shared. */
void aml_resource_interrupt(struct aml_resources *r, uint32_t gsi);
void aml_name_crs(struct aml *aml, const struct aml_resources *r);

#endif
