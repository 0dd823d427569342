/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a request to what it does. Every path of Firecracker's API is in the table, also those that
 * this version can't serve: they answer 400 with what is missing. Tests compare the table with
 * openapi.yaml.
 */
#ifndef MOTE_API_ROUTES_H
#define MOTE_API_ROUTES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/api/actions.h"
#include "vmm/api/connection.h"
#include "vmm/config.h"

struct mmds; /* devices/mmds/service.h */

#define API_ROUTES_MAX 64

/* Of one route, since the start. */
struct api_calls {
	uint64_t count, fails; /* fails: of count, answered with an error */
};

/* What requests are about, borrowed; and what came of them. */
struct api {
	struct config *config; /* of the microVM to be; not to be changed once it runs */
	const char *id;
	const struct api_actions *actions;
	void *context; /* of actions */
	struct mmds *mmds;
	struct api_calls calls[API_ROUTES_MAX]; /* by their place in the table */
	uint64_t deprecated;			/* requests that use what Firecracker deprecates */
	uint64_t pause_us, resume_us;		/* how long the last ones took */
};

enum api_when { API_ANY_TIME, API_BEFORE_START, API_AFTER_START };

/* id: of the path, NULL if its pattern has none. body: NULL = there was none. *out: of a GET, else NULL. */
typedef int (*api_route_fn)(struct api *api, const char *id, json_t *body, json_t **out,
			    struct error *err);

struct api_route {
	const char *method;
	const char *path; /* may end in "/{id}" */
	enum api_when when;
	api_route_fn handle; /* NULL: not supported, */
	const char *missing; /* for want of this: "balloon is" */
	const char *metric;  /* its calls in metrics: "METRIC_count"; NULL: they aren't there */
};

/* The table. */
const struct api_route *api_routes(size_t *n);

/* A metrics_fill: what requests there were, under Firecracker's keys. */
void api_fill_metrics(void *api, json_t *root);

/* An api_handler, whose context is a struct api. Logs each call with its duration. */
void api_handle(void *api, const struct api_request *request, struct api_response *response);

#endif
