/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/metrics_delta.h"

#include <string.h>

#include "vmm/util.h"

/* What isn't a count: times of day and durations, and what mote says of the process. */
static bool stays_whole(const char *key)
{
	static const char *const keys[] = { "utc_timestamp_ms", "api_server", "latencies_us", "process",
					    "properties", "stages" };

	for (unsigned int i = 0; i < ARRAY_SIZE(keys); i++)
		if (strcmp(keys[i], key) == 0)
			return true;
	return false;
}

static void subtract(json_t *now, const json_t *before)
{
	const char *key;
	json_t *value;

	json_object_foreach(now, key, value) {
		const json_t *was = json_object_get(before, key);

		if (json_is_object(value))
			subtract(value, was);
		else if (json_is_integer(value))
			json_integer_set(value, json_integer_value(value) - json_integer_value(was));
	}
}

void metrics_since(json_t *root, const json_t *before)
{
	const char *key;
	json_t *value;

	json_object_foreach(root, key, value)
		if (!stays_whole(key))
			subtract(value, json_object_get(before, key));
}
