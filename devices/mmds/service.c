/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/mmds/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/util.h"

#define TOKEN_PATH "/latest/api/token"
#define TEXT_MAX   1280 /* of an error, which may quote a path or a header */

static int by_byte(const void *a, const void *b)
{
	return *(const char *)a - *(const char *)b;
}

/*
 * Keys are sorted, by jansson as well, and glibc's qsort() asks the system for its memory when it first
 * gets more than 1 KiB: a system call that the event loop's filter doesn't know, and a guest's request
 * could bring about. So it is asked now.
 */
static void prepare_to_sort(void)
{
	char bytes[1025] = { 0 };

	qsort(bytes, sizeof(bytes), 1, by_byte);
}

int mmds_init(struct mmds *mmds, size_t size_limit, struct error *err)
{
	*mmds = (struct mmds){ .version = MMDS_V1 };
	prepare_to_sort();
	mmds_store_init(&mmds->store, size_limit);
	return mmds_tokens_init(&mmds->tokens, err);
}

void mmds_release(struct mmds *mmds)
{
	mmds_store_release(&mmds->store);
}

static void refuse(struct mmds_response *response, unsigned int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* What these say is part of the interface: guests' programs look for Firecracker's words. */
static void refuse(struct mmds_response *response, unsigned int status, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	response->status = status;
	response->body = strdup(text);
}

/* Whether both name the same, several slashes being one. */
static bool same_path(const char *path, const char *other)
{
	while (*path && *path == *other) {
		path += *path == '/' ? strspn(path, "/") : 1;
		other++;
	}
	return *path == *other;
}

/* Without a token everything can be read in version 1, where they're only counted. */
static bool may_read(struct mmds *mmds, const struct mmds_request *request, uint64_t now,
		     struct mmds_response *response)
{
	if (!request->token) {
		mmds->counters.rx_no_token++;
		refuse(response, 401,
		       "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to "
		       "specify the session token.");
	} else if (!mmds_token_valid(&mmds->tokens, now, request->token)) {
		mmds->counters.rx_invalid_token++;
		refuse(response, 401, "MMDS token not valid.");
	} else {
		return true;
	}
	if (mmds->version == MMDS_V2)
		return false;
	free(response->body);
	response->body = NULL;
	return true;
}

static void answer_get(struct mmds *mmds, const struct mmds_request *request, uint64_t now,
		       struct mmds_response *response)
{
	enum mmds_format format = request->wants_json && !mmds->imds_compat ? MMDS_JSON : MMDS_IMDS;

	if (!may_read(mmds, request, now, response))
		return;
	int r = mmds_store_get(&mmds->store, request->path, format, &response->body);

	if (r == -ENOENT)
		refuse(response, 404, "Resource not found: %s.", request->path);
	else if (r == -EOPNOTSUPP)
		refuse(response, 501, "Cannot retrieve value. The value has an unsupported type.");
	else
		response->status = 200;
	response->json = response->status == 200 && format == MMDS_JSON;
}

/* A 32-bit number, as Rust reads one. */
static bool read_ttl(const char *text, uint32_t *ttl)
{
	const char *digits = text + (text[0] == '+');
	size_t len = strlen(digits), zeros = strspn(digits, "0");

	if (len == 0 || strspn(digits, "0123456789") != len || len - zeros > 10)
		return false;
	unsigned long long value = strtoull(digits, NULL, 10);

	*ttl = (uint32_t)value;
	return value <= UINT32_MAX;
}

static void answer_put(struct mmds *mmds, const struct mmds_request *request, uint64_t now,
		       struct mmds_response *response)
{
	char token[MMDS_TOKEN_LENGTH + 1];
	uint32_t ttl;

	/* A proxy in the guest that anybody can use must not get tokens for them. */
	if (request->forwarded) {
		refuse(response, 400, "Invalid header. Reason: Unsupported header name. Key: %s",
		       request->forwarded);
	} else if (!same_path(request->path, TOKEN_PATH)) {
		refuse(response, 404, "Resource not found: %s.", request->path);
	} else if (!request->ttl) {
		refuse(response, 400,
		       "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or "
		       "`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.");
	} else if (!read_ttl(request->ttl, &ttl)) {
		refuse(response, 400, "Invalid header. Reason: Invalid value. Key:%s; Value:%s",
		       request->ttl_name, request->ttl);
	} else if (ttl < MMDS_TOKEN_TTL_MIN || ttl > MMDS_TOKEN_TTL_MAX) {
		refuse(response, 400,
		       "Invalid time to live value provided for token: %" PRIu32
		       ". Please provide a value between %d and %d.",
		       ttl, MMDS_TOKEN_TTL_MIN, MMDS_TOKEN_TTL_MAX);
	} else {
		mmds_token_make(&mmds->tokens, now, ttl, token);
		response->status = 200;
		response->ttl = ttl;
		response->body = strdup(token);
	}
}

void mmds_answer(struct mmds *mmds, const struct mmds_request *request, uint64_t now,
		 struct mmds_response *response)
{
	*response = (struct mmds_response){ 0 };
	if (request->path[0] == 0) {
		refuse(response, 400, "Invalid URI.");
	} else if (request->get) {
		answer_get(mmds, request, now, response);
	} else if (request->put) {
		answer_put(mmds, request, now, response);
	} else {
		refuse(response, 405, "Not allowed HTTP method.");
		response->allow = true;
	}
}

int mmds_save(const struct mmds *mmds, void **buf, size_t *size, struct error *err)
{
	struct mmds_state state = { .version = (uint8_t)mmds->version,
				    .imds_compat = mmds->imds_compat,
				    .filled = mmds->store.root != NULL };
	cleanup_free char *text = mmds_store_text(&mmds->store);

	if (text && state.filled)
		state.text_size = strlen(text);
	*size = sizeof(state) + state.text_size;
	*buf = text ? malloc(*size) : NULL;
	if (!*buf)
		return error_sys(err, ENOMEM, "mmds: save");
	memcpy(*buf, &state, sizeof(state));
	memcpy((char *)*buf + sizeof(state), text, state.text_size);
	return 0;
}

static int restore_store(struct mmds *mmds, const char *text, size_t size, struct error *err)
{
	json_error_t why;
	json_t *root = json_loadb(text, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);

	if (!root)
		return error_set(err, EINVAL, "mmds: saved data: %s", why.text);
	int r = mmds_store_put(&mmds->store, root, err);

	json_decref(root);
	return r;
}

int mmds_restore(struct mmds *mmds, const void *buf, size_t size, struct error *err)
{
	static const uint8_t zero[5];
	struct mmds_state state;

	if (size < sizeof(state))
		return error_set(err, EINVAL, "mmds: saved state: %zu bytes are too few", size);
	memcpy(&state, buf, sizeof(state));
	if (state.version > MMDS_V2 || state.imds_compat > 1 || state.filled > 1 ||
	    memcmp(state.reserved, zero, sizeof(zero)) != 0)
		return error_set(err, EINVAL, "mmds: saved state: unknown flags");
	if (state.text_size != size - sizeof(state) || (!state.filled && state.text_size != 0))
		return error_set(err, EINVAL, "mmds: saved state: wrong size");
	if (state.filled) {
		int r = restore_store(mmds, (const char *)buf + sizeof(state), state.text_size, err);

		if (r < 0)
			return r;
	} else {
		mmds_store_release(&mmds->store);
	}
	mmds->version = state.version;
	mmds->imds_compat = state.imds_compat;
	return mmds_tokens_init(&mmds->tokens, err);
}
