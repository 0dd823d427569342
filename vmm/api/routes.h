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

#include "vmm/api/actions.h"
#include "vmm/api/connection.h"
#include "vmm/config.h"

struct mmds; /* devices/mmds/service.h */

/* What requests are about. All borrowed. */
struct api {
	struct config *config; /* of the microVM to be; not to be changed once it runs */
	const char *id;
	const struct api_actions *actions;
	void *context; /* of actions */
	struct mmds *mmds;
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
};

/* The table. */
const struct api_route *api_routes(size_t *n);

/* An api_handler, whose context is a struct api. Logs each call with its duration. */
void api_handle(void *api, const struct api_request *request, struct api_response *response);

#endif
