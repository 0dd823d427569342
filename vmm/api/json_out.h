/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as JSON, in the form of the config file: what config_to_json gives can be read
 * by config_load_json. New references; NULL without memory.
 */
#ifndef MOTE_API_JSON_OUT_H
#define MOTE_API_JSON_OUT_H

#include <jansson.h>

#include "vmm/config.h"

json_t *config_machine_to_json(const struct config_machine *machine);
json_t *config_balloon_to_json(const struct config_balloon *balloon);

/* Every object that Firecracker's form has; those that aren't configured are null, lists empty. */
json_t *config_to_json(const struct config *config);

#endif
