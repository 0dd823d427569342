/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data that the metadata service serves: one JSON document, written by the host, read by host and
 * guest. Only for the event loop's thread.
 */
#ifndef MOTE_DEVICES_MMDS_STORE_H
#define MOTE_DEVICES_MMDS_STORE_H

#include <jansson.h>
#include <stddef.h>

#include "vmm/error.h"

#define MMDS_SIZE_LIMIT 51200 /* of the document as compact JSON, in bytes; Firecracker's default */

struct mmds_store {
	json_t *root;  /* NULL = nothing was put yet */
	size_t limit;  /* what its compact text may have */
	int precision; /* digits that its real numbers need to be read back as what they were */
};

enum mmds_format {
	MMDS_IMDS, /* EC2's: a string as it is, an object as the list of its keys */
	MMDS_JSON,
};

void mmds_store_init(struct mmds_store *store, size_t limit);
void mmds_store_release(struct mmds_store *store);

/*
 * Replace the document, or change it by a JSON Merge Patch (RFC 7396). value and patch are borrowed
 * and may be any JSON. On error the document is what it was. Errors: -EFBIG above the limit, -ENOENT
 * for a patch of nothing, -ENOMEM.
 */
int mmds_store_put(struct mmds_store *store, json_t *value, struct error *err);
int mmds_store_patch(struct mmds_store *store, json_t *patch, struct error *err);

/* The document as compact JSON, keys in order, "null" before the first put. To be freed; NULL = no memory. */
char *mmds_store_text(const struct mmds_store *store);

/*
 * What path names: keys and indices between slashes, of which several are one, in JSON Pointer's form
 * (RFC 6901: ~0 is ~, ~1 is /). *text is to be freed. Errors: -ENOENT; -EOPNOTSUPP for what
 * MMDS_IMDS has no form for: numbers, arrays, true, false and null; -ENOMEM.
 */
int mmds_store_get(const struct mmds_store *store, const char *path, enum mmds_format format,
		   char **text);

#endif
