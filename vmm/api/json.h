/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The microVM's objects as JSON, as they stand in a config file and in the bodies of API requests.
 *
 * Each config_json_OBJECT replaces *out by what object says, with defaults for what it doesn't:
 * strings that *out owned are freed. On error *out is untouched and err says "KEY: cause"; the
 * caller adds the object's name. Errors: -EINVAL; -EOPNOTSUPP for keys that this version knows of
 * but can't honour; -ENOMEM.
 */
#ifndef MOTE_API_JSON_H
#define MOTE_API_JSON_H

#include <jansson.h>

#include "vmm/config.h"
#include "vmm/error.h"

/*
 * Parse length bytes of text, strictly: UTF-8, an object or array, no duplicate keys, no NULs in
 * strings. *root is a new reference for the caller. Errors: -EINVAL with line and column.
 */
int config_json_text(json_t **root, const char *text, size_t length, struct error *err);

/*
 * The JSON in path, read and parsed as a config file: a new reference. Errors begin with the cause.
 */
int config_json_read(const char *path, json_t **root, struct error *err);

/*
 * config_load_json, and the text that it read as *root: a new reference for the caller, also on
 * error unless it's NULL.
 */
int config_json_file(struct config *config, const char *path, json_t **root, struct error *err);

int config_json_boot_source(struct config_boot_source *out, json_t *object, struct error *err);
int config_json_machine(struct config_machine *out, json_t *object, struct error *err);
/* Only what object says changes. -EINVAL also if it says nothing. */
int config_json_machine_patch(struct config_machine *out, json_t *object, struct error *err);
int config_json_drive(struct config_drive *out, json_t *object, struct error *err);
/* Only drive_id and what changes: path_on_host is NULL, buckets aren't set, if it stays. */
int config_json_drive_patch(struct config_drive *out, json_t *object, struct error *err);
int config_json_net(struct config_net *out, json_t *object, struct error *err);
int config_json_net_patch(struct config_net *out, json_t *object, struct error *err);
int config_json_vsock(struct config_vsock *out, json_t *object, struct error *err);
int config_json_mmds(struct config_mmds *out, json_t *object, struct error *err);
int config_json_entropy(struct config_entropy *out, json_t *object, struct error *err);
int config_json_balloon(struct config_balloon *out, json_t *object, struct error *err);
int config_json_serial(struct config_serial *out, json_t *object, struct error *err);
int config_json_logger(struct config_logger *out, json_t *object, struct error *err);
int config_json_metrics(struct config_metrics *out, json_t *object, struct error *err);

/* The names of values, by their enums; ended by NULL. */
extern const char *const config_huge_pages_names[];
extern const char *const config_platform_names[];
extern const char *const config_cache_type_names[];
extern const char *const config_io_engine_names[];
extern const char *const config_mmds_version_names[];

#endif
