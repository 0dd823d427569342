/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/mmds/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/util.h"

/* Of a double: 15 digits are always right, 17 always enough. */
#define PRECISION_MIN 15
#define PRECISION_MAX 17

static void cleanup_json(json_t **json)
{
	json_decref(*json);
}

void mmds_store_init(struct mmds_store *store, size_t limit)
{
	*store = (struct mmds_store){ .limit = limit, .precision = PRECISION_MIN };
}

void mmds_store_release(struct mmds_store *store)
{
	json_decref(store->root);
	store->root = NULL;
}

static char *dump(const json_t *value, int precision)
{
	return json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY |
					 JSON_REAL_PRECISION(precision));
}

/* The text of value with as few digits as say what it is: 12.12, not 12.119999999999999. */
static char *dump_exactly(json_t *value, int *precision)
{
	for (*precision = PRECISION_MIN;; (*precision)++) {
		char *text = dump(value, *precision);
		__attribute__((cleanup(cleanup_json))) json_t *back =
			text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

		if (!text || *precision == PRECISION_MAX || json_equal(value, back))
			return text;
		free(text);
	}
}

/* Takes value. */
static int replace(struct mmds_store *store, json_t *value, struct error *err)
{
	int precision;
	cleanup_free char *text = value ? dump_exactly(value, &precision) : NULL;

	if (!text || strlen(text) > store->limit) {
		json_decref(value);
		if (!text)
			return error_sys(err, ENOMEM, "mmds");
		return error_set(err, EFBIG, "mmds: %zu bytes of JSON, at most %zu are allowed",
				 strlen(text), store->limit);
	}
	json_decref(store->root);
	store->root = value;
	store->precision = precision;
	return 0;
}

int mmds_store_put(struct mmds_store *store, json_t *value, struct error *err)
{
	return replace(store, json_deep_copy(value), err);
}

/* RFC 7396 §2. Takes target (NULL = none); returns the result, or NULL without memory. */
static json_t *merge(json_t *target, json_t *patch)
{
	const char *key;
	json_t *value;

	if (!json_is_object(patch)) {
		json_decref(target);
		return json_deep_copy(patch);
	}
	if (!json_is_object(target)) {
		json_decref(target);
		target = json_object();
	}
	json_object_foreach(patch, key, value)
	{
		json_t *old = json_object_get(target, key);

		if (json_is_null(value)) {
			json_object_del(target, key);
		} else if (json_object_set_new(target, key, merge(json_incref(old), value)) < 0) {
			json_decref(target);
			return NULL;
		}
	}
	return target;
}

int mmds_store_patch(struct mmds_store *store, json_t *patch, struct error *err)
{
	if (!store->root)
		return error_set(err, ENOENT, "mmds: nothing to patch: the store is empty");
	json_t *copy = json_deep_copy(store->root);

	return copy ? replace(store, merge(copy, patch), err) : error_sys(err, ENOMEM, "mmds");
}

char *mmds_store_text(const struct mmds_store *store)
{
	return store->root ? dump(store->root, store->precision) : strdup("null");
}

/* Copy the segment at *path, unescaped, into key, which is as long as the path; move past it. */
static void next_segment(const char **path, char *key)
{
	const char *from = *path;

	while (*from && *from != '/') {
		if (from[0] == '~' && (from[1] == '0' || from[1] == '1')) {
			*key++ = from[1] == '0' ? '~' : '/';
			from += 2;
		} else {
			*key++ = *from++;
		}
	}
	*key = 0;
	*path = from;
}

/* Decimal without leading zeros. */
static json_t *element(json_t *array, const char *key)
{
	size_t len = strlen(key);

	if (len == 0 || len > 9 || strspn(key, "0123456789") != len || (key[0] == '0' && len > 1))
		return NULL;
	return json_array_get(array, strtoul(key, NULL, 10));
}

/* Borrowed; NULL = there's no such thing. key: room for a segment. */
static json_t *find(json_t *value, const char *path, char *key)
{
	for (;;) {
		path += strspn(path, "/");
		if (!*path || !value)
			return value;
		next_segment(&path, key);
		value = json_is_array(value) ? element(value, key) : json_object_get(value, key);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* One key a line, in order; those of objects end in a slash. */
static char *list_keys(json_t *object)
{
	size_t n = 0, size = 1, len = 0;
	cleanup_free const char **keys = malloc((json_object_size(object) + 1) * sizeof(*keys));
	const char *key;
	json_t *value;

	if (!keys)
		return NULL;
	json_object_foreach(object, key, value)
	{
		keys[n++] = key;
		size += strlen(key) + 2;
	}
	qsort(keys, n, sizeof(*keys), by_name);
	char *text = malloc(size);

	if (!text)
		return NULL;
	text[0] = 0;
	for (size_t i = 0; i < n; i++) {
		bool nested = json_is_object(json_object_get(object, keys[i]));

		len += (size_t)snprintf(text + len, size - len, "%s%s%s", i ? "\n" : "", keys[i],
					nested ? "/" : "");
	}
	return text;
}

int mmds_store_get(const struct mmds_store *store, const char *path, enum mmds_format format,
		   char **text)
{
	cleanup_free char *key = malloc(strlen(path) + 1);
	__attribute__((cleanup(cleanup_json))) json_t *root =
		store->root ? json_incref(store->root) : json_null();

	if (!key)
		return -ENOMEM;
	json_t *value = find(root, path, key);

	if (!value)
		return -ENOENT;
	if (format == MMDS_JSON)
		*text = dump(value, store->precision);
	else if (json_is_object(value))
		*text = list_keys(value);
	else if (json_is_string(value))
		*text = strdup(json_string_value(value));
	else
		return -EOPNOTSUPP;
	return *text ? 0 : -ENOMEM;
}
