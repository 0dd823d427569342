/* SPDX-License-Identifier: Apache-2.0 */
/* The API in the metrics line. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "vmm/api/routes.h"

#define KEY_MAX 48

/* Several routes may count under one key. */
static void add(json_t *group, const char *metric, const char *what, uint64_t n)
{
	char key[KEY_MAX];

	snprintf(key, sizeof(key), "%s_%s", metric, what);
	n += (uint64_t)json_integer_value(json_object_get(group, key));
	json_object_set_new(group, key, json_integer((json_int_t)n));
}

/* "put_api_requests" for a PUT. */
static json_t *group_of(json_t *root, const char *method)
{
	char name[KEY_MAX];

	snprintf(name, sizeof(name), "%s_api_requests", method);
	for (char *c = name; *c; c++)
		*c = (char)tolower(*c);
	if (!json_object_get(root, name))
		json_object_set_new(root, name, json_object());
	return json_object_get(root, name);
}

void api_fill_metrics(void *context, json_t *root)
{
	const struct api *api = context;
	size_t n;
	const struct api_route *routes = api_routes(&n);

	for (size_t i = 0; i < n; i++) {
		if (!routes[i].metric)
			continue;
		json_t *group = group_of(root, routes[i].method);

		add(group, routes[i].metric, "count", api->calls[i].count);
		if (strcmp(routes[i].method, "GET") != 0)
			add(group, routes[i].metric, "fails", api->calls[i].fails);
	}
	json_object_set_new(root, "deprecated_api",
			    json_pack("{s:I}", "deprecated_http_api_calls",
				      (json_int_t)api->deprecated));
	json_object_update_new(json_object_get(root, "latencies_us"),
			       json_pack("{s:I, s:I}", "pause_vm", (json_int_t)api->pause_us,
					 "resume_vm", (json_int_t)api->resume_us));
}
