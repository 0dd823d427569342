/* SPDX-License-Identifier: Apache-2.0 */
/* What each route does (routes.c has the table). */
#ifndef MOTE_API_HANDLERS_H
#define MOTE_API_HANDLERS_H

#include "vmm/api/routes.h"

/* Of the version of Firecracker whose API this is, for clients that look. */
#define API_FIRECRACKER_VERSION "1.16.1"

int api_get_instance(struct api *api, const char *id, json_t *body, json_t **out,
		     struct error *err);
int api_get_version(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_get_config(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_get_machine(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);

int api_put_action(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_boot_source(struct api *api, const char *id, json_t *body, json_t **out,
			struct error *err);
int api_put_drive(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_entropy(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_logger(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_machine(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_metrics(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_net(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_serial(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_vsock(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_patch_drive(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_patch_net(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_patch_machine(struct api *api, const char *id, json_t *body, json_t **out,
		      struct error *err);
int api_patch_vm(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);

/* Of devices that have an API of their own: handlers_devices.c. */
int api_get_balloon(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_balloon(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_patch_balloon(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_get_balloon_stats(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_patch_balloon_stats(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_get_hinting(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_start_hinting(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_stop_hinting(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_get_mmds(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_mmds(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_patch_mmds(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);
int api_put_mmds_config(struct api *api, const char *id, json_t *body, json_t **out, struct error *err);

/* root, a new reference, as *out. Error -ENOMEM: it's NULL. */
int api_answer(json_t *root, json_t **out, struct error *err);

/*
 * The state rules' words are Firecracker's: clients look for them.
 * Error -EPERM: before, or after, the start.
 */
int api_check_state(const struct api *api, enum api_when when, struct error *err);

#endif
