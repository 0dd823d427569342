/* SPDX-License-Identifier: Apache-2.0 */
/* Responses with JSON bodies. Without memory for its body a response goes without one. */
#ifndef MOTE_API_RESPONSE_H
#define MOTE_API_RESPONSE_H

#include <jansson.h>

#include "vmm/api/connection.h"

/* Takes over the reference to root. */
void api_response_json(struct api_response *response, unsigned int status, json_t *root);

/* {"fault_message": message}; bytes that are no UTF-8 become '?'. */
void api_response_fault(struct api_response *response, unsigned int status, const char *message);

#endif
