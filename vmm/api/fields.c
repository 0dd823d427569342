/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/fields.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/util.h"

#define KEY_MAX	     32 /* no key that we know is longer */
#define ENUM_TEXT    256
#define QUOTED_BYTES "64" /* of a name that we don't know, in an error */

int fields_wrong_type(const char *wanted, const json_t *value, struct error *err)
{
	static const char *const types[] = {
		[JSON_OBJECT] = "an object",
		[JSON_ARRAY] = "an array",
		[JSON_STRING] = "a string",
		[JSON_INTEGER] = "an integer",
		[JSON_REAL] = "a number with a fraction or an exponent",
		[JSON_TRUE] = "true",
		[JSON_FALSE] = "false",
		[JSON_NULL] = "null",
	};

	return error_set(err, EINVAL, "expected %s, got %s", wanted, types[json_typeof(value)]);
}

static unsigned int least(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

/*
 * Typing errors from a to b: letters left out, added, wrong, or two of them exchanged (the optimal
 * string alignment distance). Both are at most KEY_MAX long.
 */
static unsigned int typing_errors(const char *a, const char *b)
{
	unsigned int d[KEY_MAX + 1][KEY_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	for (unsigned int i = 0; i <= la; i++)
		d[i][0] = i;
	for (unsigned int k = 0; k <= lb; k++)
		d[0][k] = k;
	for (unsigned int i = 1; i <= la; i++) {
		for (unsigned int k = 1; k <= lb; k++) {
			unsigned int added = least(d[i - 1][k], d[i][k - 1]) + 1;

			d[i][k] = least(added, d[i - 1][k - 1] + (a[i - 1] != b[k - 1]));
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
				d[i][k] = least(d[i][k], d[i - 2][k - 2] + 1);
		}
	}
	return d[la][lb];
}

static int unknown_key(const char *key, const struct field *fields, size_t n_fields,
		       struct error *err)
{
	const char *closest = NULL;
	size_t len = strlen(key);
	/* More than one error in three letters is another word. */
	unsigned int best = (unsigned int)(len / 3) + 1;

	for (size_t i = 0; i < n_fields && len <= KEY_MAX; i++) {
		unsigned int errors = typing_errors(key, fields[i].key);

		if (errors < best) {
			best = errors;
			closest = fields[i].key;
		}
	}
	if (closest)
		return error_set(err, EINVAL, "unknown key \"%s\" (did you mean \"%s\"?)", key,
				 closest);
	return error_set(err, EINVAL, "unknown key \"%." QUOTED_BYTES "s\"", key);
}

static int parse_string(const struct field *field, char **out, json_t *value, struct error *err)
{
	if (!json_is_string(value))
		return fields_wrong_type("a string", value, err);
	const char *text = json_string_value(value);
	size_t len = strlen(text);

	if (len < field->min)
		return error_set(err, EINVAL, "is empty");
	if (len > field->max)
		return error_set(err, EINVAL, "is %zu bytes long, at most %" PRIu64 " are allowed",
				 len, field->max);
	int ret = field->check ? field->check(text, err) : 0;

	if (ret < 0)
		return ret;
	*out = strdup(text);
	return *out ? 0 : error_sys(err, ENOMEM, "copy");
}

static void store(void *member, size_t size, uint64_t value)
{
	uint8_t u8 = (uint8_t)value;
	uint16_t u16 = (uint16_t)value;
	uint32_t u32 = (uint32_t)value;

	switch (size) {
	case sizeof(u8):
		memcpy(member, &u8, size);
		break;
	case sizeof(u16):
		memcpy(member, &u16, size);
		break;
	case sizeof(u32):
		memcpy(member, &u32, size);
		break;
	default:
		memcpy(member, &value, sizeof(value));
	}
}

static int parse_uint(const struct field *field, void *member, json_t *value, struct error *err)
{
	if (!json_is_integer(value))
		return fields_wrong_type("an integer", value, err);
	json_int_t number = json_integer_value(value);

	if (number < 0 || (uint64_t)number < field->min || (uint64_t)number > field->max)
		return error_set(err, EINVAL,
				 "%" JSON_INTEGER_FORMAT " is out of range (%" PRIu64 " to %" PRIu64
				 ")",
				 number, field->min, field->max);
	store(member, field->size, (uint64_t)number);
	return 0;
}

static int parse_name(const struct field *field, void *member, json_t *value, struct error *err)
{
	char allowed[ENUM_TEXT] = "";

	if (!json_is_string(value))
		return fields_wrong_type("a string", value, err);
	for (unsigned int i = 0; field->names[i]; i++) {
		size_t len = strlen(allowed);

		if (strcmp(json_string_value(value), field->names[i]) == 0) {
			store(member, field->size, i);
			return 0;
		}
		snprintf(allowed + len, sizeof(allowed) - len, "%s\"%s\"", i ? ", " : "",
			 field->names[i]);
	}
	return error_set(err, EINVAL, "\"%." QUOTED_BYTES "s\" is none of %s",
			 json_string_value(value), allowed);
}

static int parse_array(const struct field *field, void *member, json_t *array, struct error *err)
{
	json_t *element;
	size_t i;

	if (!json_is_array(array)) {
		fields_wrong_type("an array", array, err);
		return error_wrap(err, "%s", field->key);
	}
	json_array_foreach(array, i, element) if (field->parse(member, element, err) <
						  0) return error_wrap(err, "%s[%zu]", field->key,
								       i);
	return 0;
}

/* Returns errors without the key, but for arrays, where it comes with an index. */
static int parse_value(const struct field *field, void *out, json_t *value, struct error *err)
{
	void *member = (char *)out + field->offset;
	bool flag;

	switch (field->type) {
	case FIELD_TYPE_STRING:
		return parse_string(field, member, value, err);
	case FIELD_TYPE_BOOL:
		if (!json_is_boolean(value))
			return fields_wrong_type("true or false", value, err);
		flag = json_is_true(value);
		memcpy(member, &flag, sizeof(flag));
		return 0;
	case FIELD_TYPE_UINT:
		return parse_uint(field, member, value, err);
	case FIELD_TYPE_NAME:
		return parse_name(field, member, value, err);
	case FIELD_TYPE_PARSED:
		return field->parse(member, value, err);
	case FIELD_TYPE_ARRAY:
		return parse_array(field, member, value, err);
	}
	return error_set(err, EINVAL, "no such type of field");
}

int fields_parse(const struct field *fields, size_t n_fields, void *out, json_t *object,
		 struct error *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return fields_wrong_type("an object", object, err);
	json_object_foreach(object, key, value)
	{
		size_t i = 0;

		while (i < n_fields && strcmp(fields[i].key, key) != 0)
			i++;
		if (i == n_fields)
			return unknown_key(key, fields, n_fields, err);
		if (json_is_null(value) && !fields[i].required)
			continue;
		int ret = parse_value(&fields[i], out, value, err);

		if (ret < 0)
			return fields[i].type == FIELD_TYPE_ARRAY ? ret
								  : error_wrap(err, "%s", key);
	}
	for (size_t i = 0; i < n_fields; i++)
		if (fields[i].required && !json_object_get(object, fields[i].key))
			return error_set(err, EINVAL, "missing key \"%s\"", fields[i].key);
	return 0;
}
