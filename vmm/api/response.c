/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/response.h"

#include <string.h>

#include "vmm/util.h"

void api_response_json(struct api_response *response, unsigned int status, json_t *root)
{
	size_t size = root ? json_dumpb(root, NULL, 0, JSON_COMPACT) : 0;

	response->status = status;
	response->body = size ? malloc(size) : NULL;
	if (response->body)
		response->body_length = json_dumpb(root, response->body, size, JSON_COMPACT);
	json_decref(root);
}

void api_response_fault(struct api_response *response, unsigned int status, const char *message)
{
	char ascii[1024];
	json_t *text = json_string(message);

	if (!text) { /* a message that was cut within a character, or a path of any bytes */
		size_t n = strnlen(message, sizeof(ascii) - 1);

		for (size_t i = 0; i < n; i++)
			ascii[i] = (unsigned char)message[i] < 0x80 ? message[i] : '?';
		ascii[n] = 0;
		text = json_string(ascii);
	}
	api_response_json(response, status, json_pack("{s:o*}", "fault_message", text));
}
