/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/routes.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/api/handlers.h"
#include "vmm/api/json.h"
#include "vmm/api/response.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define ID_PATTERN   "/{id}"
#define LOG_BODY_MAX 1024
#define LOG_PATH_MAX 200

static const char no_hotplug[] = "memory hotplug is";
static const char no_pmem[] = "pmem is";
static const char no_snapshots[] = "snapshots are";
static const char no_templates[] = "CPU templates are";
static const char no_unplug[] = "removing devices is";

/* The last: the calls' name in metrics, where Firecracker has one. */
static const struct api_route routes[] = {
	{ "GET", "/", API_ANY_TIME, api_get_instance, NULL, "instance_info" },
	{ "GET", "/version", API_ANY_TIME, api_get_version, NULL, "vmm_version" },
	{ "GET", "/vm/config", API_ANY_TIME, api_get_config, NULL, NULL },
	{ "GET", "/machine-config", API_ANY_TIME, api_get_machine, NULL, "machine_cfg" },
	{ "PUT", "/machine-config", API_BEFORE_START, api_put_machine, NULL, "machine_cfg" },
	{ "PATCH", "/machine-config", API_BEFORE_START, api_patch_machine, NULL, "machine_cfg" },
	{ "PUT", "/actions", API_ANY_TIME, api_put_action, NULL, "actions" }, /* each has a rule of its own */
	{ "PUT", "/boot-source", API_BEFORE_START, api_put_boot_source, NULL, "boot_source" },
	{ "PUT", "/drives/{id}", API_BEFORE_START, api_put_drive, NULL, "drive" },
	{ "PATCH", "/drives/{id}", API_AFTER_START, api_patch_drive, NULL, "drive" },
	{ "DELETE", "/drives/{id}", API_AFTER_START, NULL, no_unplug, NULL },
	{ "PUT", "/network-interfaces/{id}", API_BEFORE_START, api_put_net, NULL, "network" },
	{ "PATCH", "/network-interfaces/{id}", API_AFTER_START, api_patch_net, NULL, "network" },
	{ "DELETE", "/network-interfaces/{id}", API_AFTER_START, NULL, no_unplug, NULL },
	{ "PUT", "/vsock", API_BEFORE_START, api_put_vsock, NULL, "vsock" },
	{ "PUT", "/entropy", API_BEFORE_START, api_put_entropy, NULL, NULL },
	{ "PUT", "/serial", API_BEFORE_START, api_put_serial, NULL, "serial" },
	{ "PUT", "/logger", API_BEFORE_START, api_put_logger, NULL, "logger" },
	{ "PUT", "/metrics", API_BEFORE_START, api_put_metrics, NULL, "metrics" },
	{ "PATCH", "/vm", API_AFTER_START, api_patch_vm, NULL, NULL },
	{ "GET", "/balloon", API_ANY_TIME, api_get_balloon, NULL, NULL },
	{ "PUT", "/balloon", API_BEFORE_START, api_put_balloon, NULL, NULL },
	{ "PATCH", "/balloon", API_AFTER_START, api_patch_balloon, NULL, NULL },
	{ "GET", "/balloon/statistics", API_AFTER_START, api_get_balloon_stats, NULL, NULL },
	{ "PATCH", "/balloon/statistics", API_AFTER_START, api_patch_balloon_stats, NULL, NULL },
	{ "GET", "/balloon/hinting/status", API_AFTER_START, api_get_hinting, NULL, NULL },
	{ "PATCH", "/balloon/hinting/start", API_AFTER_START, api_start_hinting, NULL, NULL },
	{ "PATCH", "/balloon/hinting/stop", API_AFTER_START, api_stop_hinting, NULL, NULL },
	{ "GET", "/mmds", API_ANY_TIME, api_get_mmds, NULL, "mmds" },
	{ "PUT", "/mmds", API_ANY_TIME, api_put_mmds, NULL, "mmds" },
	{ "PATCH", "/mmds", API_ANY_TIME, api_patch_mmds, NULL, "mmds" },
	{ "PUT", "/mmds/config", API_BEFORE_START, api_put_mmds_config, NULL, "mmds" },
	{ "PUT", "/cpu-config", API_BEFORE_START, NULL, no_templates, "cpu_cfg" },
	{ "PUT", "/pmem/{id}", API_BEFORE_START, NULL, no_pmem, "pmem" },
	{ "PATCH", "/pmem/{id}", API_AFTER_START, NULL, no_pmem, NULL },
	{ "DELETE", "/pmem/{id}", API_AFTER_START, NULL, no_unplug, NULL },
	{ "GET", "/hotplug/memory", API_ANY_TIME, NULL, no_hotplug, "hotplug_memory" },
	{ "PUT", "/hotplug/memory", API_BEFORE_START, NULL, no_hotplug, "hotplug_memory" },
	{ "PATCH", "/hotplug/memory", API_AFTER_START, NULL, no_hotplug, "hotplug_memory" },
	{ "PUT", "/snapshot/create", API_AFTER_START, NULL, no_snapshots, NULL },
	{ "PUT", "/snapshot/load", API_BEFORE_START, NULL, no_snapshots, NULL },
};

static_assert(ARRAY_SIZE(routes) <= API_ROUTES_MAX, "each has its counters");

const struct api_route *api_routes(size_t *n)
{
	*n = ARRAY_SIZE(routes);
	return routes;
}

/* Whether path is what the pattern says; *id: what stands in the place of {id}. */
static bool matches(const char *pattern, const char *path, const char **id)
{
	const char *tail = strstr(pattern, ID_PATTERN);
	size_t fixed = tail ? (size_t)(tail - pattern) + 1 : 0;

	*id = tail ? path + fixed : NULL;
	if (!tail)
		return strcmp(pattern, path) == 0;
	return strncmp(pattern, path, fixed) == 0 && !strchr(*id, '/');
}

static const struct api_route *find(const struct api_request *request, const char **id)
{
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
		if (strcmp(routes[i].method, request->method) == 0 &&
		    matches(routes[i].path, request->path, id))
			return &routes[i];
	return NULL;
}

static int check_body(const struct api_request *request, struct error *err)
{
	bool get = strcmp(request->method, "GET") == 0;

	if (get && request->body)
		return error_set(err, EINVAL, "GET request cannot have a body.");
	/* A DELETE has none, and these may have one. */
	if (!get && !request->body && strcmp(request->method, "DELETE") != 0 &&
	    strncmp(request->path, "/balloon/hinting/", strlen("/balloon/hinting/")) != 0)
		return error_set(err, EINVAL, "Empty %s request.", request->method);
	return 0;
}

static int dispatch(struct api *api, const struct api_request *request, json_t **out,
		    struct error *err)
{
	const char *id = NULL;
	const struct api_route *route = find(request, &id);
	json_t *body = NULL;

	if (!route)
		return error_set(err, ENOENT, "Invalid request method and/or path: %s %s.",
				 request->method, request->path);
	struct api_calls *calls = &api->calls[route - routes];
	int rc = check_body(request, err);

	if (rc == 0 && !route->handle)
		rc = error_set(err, EOPNOTSUPP, "%s not supported by this version yet.",
			       route->missing);
	if (rc == 0)
		rc = api_check_state(api, route->when, err);
	if (rc == 0 && request->body &&
	    config_json_text(&body, request->body, request->body_length, err) < 0)
		rc = error_wrap(err,
				"An error occurred when deserializing the json body of a request");
	if (rc == 0)
		rc = route->handle(api, id, body, out, err);
	calls->count++;
	calls->fails += rc < 0;
	json_decref(body);
	return rc;
}

/* Metadata that are too large aren't merely wrong, for Firecracker's clients. */
static unsigned int status_of(const struct api_request *request, const struct error *err)
{
	return err->errnum == EFBIG && strcmp(request->path, "/mmds") == 0 ? 413 : 400;
}

/* One line of printable characters, as a Rust or C string has them; cut if long. */
static const char *quote(const char *text, size_t length, char *line, size_t size)
{
	size_t n = 0, i;

	for (i = 0; i < length && n + 8 < size; i++) {
		char c = text[i];

		if (c == '"' || c == '\\')
			n += (size_t)snprintf(line + n, size - n, "\\%c", c);
		else if (c == '\n')
			n += (size_t)snprintf(line + n, size - n, "\\n");
		else
			line[n++] = (unsigned char)c < 0x20 || c == 0x7f ? '?' : c;
	}
	snprintf(line + n, size - n, "%s", i < length ? "..." : "");
	return line;
}

static void log_request(const struct api_request *request)
{
	char path[LOG_PATH_MAX], body[LOG_BODY_MAX], method[16];
	bool secret = strncmp(request->path, "/mmds", 5) == 0; /* credentials of guests */

	if (!log_enabled(LOG_INFO))
		return;
	/* "Put": their logs' form, which clients' tests look for. */
	snprintf(method, sizeof(method), "%s", request->method);
	for (char *c = method + 1; *c; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
	quote(request->path, strlen(request->path), path, sizeof(path));
	if (request->body && !secret)
		log_info("The API server received a %s request on \"%s\" with body \"%s\".", method,
			 path, quote(request->body, request->body_length, body, sizeof(body)));
	else
		log_info("The API server received a %s request on \"%s\".", method, path);
}

void api_handle(void *context, const struct api_request *request, struct api_response *response)
{
	uint64_t start_ns = monotonic_ns();
	struct error err = { 0 };
	json_t *out = NULL;

	log_request(request);
	if (dispatch(context, request, &out, &err) < 0) {
		json_decref(out);
		api_response_fault(response, status_of(request, &err), err.message);
		log_info("API: status %u: %s", response->status, err.message);
	} else if (out) {
		api_response_json(response, 200, out);
	} else {
		response->status = 204;
	}
	log_info("Total previous API call duration: %" PRIu64 " us.",
		 (monotonic_ns() - start_ns) / 1000);
}
