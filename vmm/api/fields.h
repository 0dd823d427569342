/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a JSON object to a struct by a table of its keys. What the table doesn't name is refused,
 * so is a value of another type or out of range, and the error names the key.
 */
#ifndef MOTE_API_FIELDS_H
#define MOTE_API_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/error.h"

enum field_type {
	FIELD_TYPE_STRING, /* member char *; the old value is replaced, not freed */
	FIELD_TYPE_BOOL,   /* member bool */
	FIELD_TYPE_UINT,   /* member an unsigned integer of any size */
	FIELD_TYPE_NAME,   /* one of names; member an enum, whose value is the name's index */
	FIELD_TYPE_PARSED, /* whatever parse makes of it */
	FIELD_TYPE_ARRAY,  /* whatever parse makes of each element, in order */
};

struct field {
	const char *key;
	enum field_type type;
	bool required;		  /* others may be absent or null, and then stay as they are */
	size_t offset, size;	  /* of the member */
	uint64_t min, max;	  /* FIELD_TYPE_UINT: value; FIELD_TYPE_STRING: length in bytes */
	const char *const *names; /* FIELD_TYPE_NAME: ended by NULL */
	/* FIELD_TYPE_STRING: an optional check of the content. */
	int (*check)(const char *text, struct error *err);
	/* FIELD_TYPE_PARSED: value is never null. FIELD_TYPE_ARRAY: value is an element. */
	int (*parse)(void *member, json_t *value, struct error *err);
};

/* Entries of a table, without their braces. t: the struct that has member. */
#define FIELD_MEMBER(t, member) .offset = offsetof(t, member), .size = sizeof(((t *)0)->member)
#define FIELD_STRING(name, t, member, shortest, longest, content)                                  \
	.key = (name), .type = FIELD_TYPE_STRING, FIELD_MEMBER(t, member), .min = (shortest),      \
	.max = (longest), .check = (content)
#define FIELD_BOOL(name, t, member) .key = (name), .type = FIELD_TYPE_BOOL, FIELD_MEMBER(t, member)
#define FIELD_UINT(name, t, member, lowest, highest)                                               \
	.key = (name), .type = FIELD_TYPE_UINT, FIELD_MEMBER(t, member), .min = (lowest),          \
	.max = (highest)
#define FIELD_NAME(name, t, member, list)                                                          \
	.key = (name), .type = FIELD_TYPE_NAME, FIELD_MEMBER(t, member), .names = (list)
#define FIELD_PARSED(name, t, member, function)                                                    \
	.key = (name), .type = FIELD_TYPE_PARSED, FIELD_MEMBER(t, member), .parse = (function)
/* The function is given the struct itself. */
#define FIELD_WHOLE(name, function) .key = (name), .type = FIELD_TYPE_PARSED, .parse = (function)
#define FIELD_ARRAY(name, function) .key = (name), .type = FIELD_TYPE_ARRAY, .parse = (function)

/*
 * Fill out (which holds the defaults) from object. On error, out's strings that were filled so far
 * stay: release it either way. Errors: -EINVAL, -EOPNOTSUPP or -ENOMEM with "KEY: cause" or
 * "KEY[INDEX]: cause".
 */
int fields_parse(const struct field *fields, size_t n_fields, void *out, json_t *object,
		 struct error *err);

/* "expected WANTED, got a string", naming value's type in JSON's words. -EINVAL. */
int fields_wrong_type(const char *wanted, const json_t *value, struct error *err);

#endif
