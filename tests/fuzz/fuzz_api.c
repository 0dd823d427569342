/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: the API's requests: bytes of a client in any pieces, before and after the start. */
#include <errno.h>
#include <jansson.h>

#include "input.h"
#include "vmm/api/routes.h"
#include "vmm/util.h"

#define BODY_MAX   2048
#define NS_PER_MS  1000000ull
#define ROUNDS_MAX 65536

/* A microVM of which only the state is there. */
static enum vm_state state(void *context)
{
	return *(enum vm_state *)context;
}

static int start(void *context, struct error *err)
{
	(void)err;
	must(state(context) == VM_STATE_NOT_STARTED);
	*(enum vm_state *)context = VM_STATE_RUNNING;
	return 0;
}

static int pause_vm(void *context, struct error *err)
{
	(void)err;
	must(state(context) != VM_STATE_NOT_STARTED);
	*(enum vm_state *)context = VM_STATE_PAUSED;
	return 0;
}

static int when_started(void *context, struct error *err)
{
	must(state(context) != VM_STATE_NOT_STARTED);
	return error_set(err, EIO, "failed");
}

static int limit_drive(void *context, const char *id, const struct config_rate_limiter *limits,
		       struct error *err)
{
	(void)limits;
	must(*id);
	return when_started(context, err);
}

static int change_drive(void *context, const char *id, const char *path, struct error *err)
{
	must(*id && *path);
	return when_started(context, err);
}

static int limit_net(void *context, const char *id, const struct config_rate_limiter *rx,
		     const struct config_rate_limiter *tx, struct error *err)
{
	(void)rx;
	(void)tx;
	must(*id);
	return when_started(context, err);
}

static int open_log(void *context, const struct config_logger *logger, struct error *err)
{
	(void)err;
	must(state(context) == VM_STATE_NOT_STARTED && logger->set);
	return 0;
}

static int open_metrics(void *context, const struct config_metrics *metrics, struct error *err)
{
	(void)err;
	must(state(context) == VM_STATE_NOT_STARTED && metrics->set && metrics->metrics_path);
	return 0;
}

static const struct api_actions actions = {
	.state = state,
	.start = start,
	.pause = pause_vm,
	.resume = when_started,
	.flush_metrics = when_started,
	.ctrl_alt_del = when_started,
	.limit_drive = limit_drive,
	.change_drive = change_drive,
	.limit_net = limit_net,
	.open_log = open_log,
	.open_metrics = open_metrics,
};

static void handle(void *context, const struct api_request *request, struct api_response *response)
{
	must(request->body_length <= BODY_MAX &&
	     (request->body_length > 0) == (request->body != NULL));
	api_handle(context, request, response);
	must(response->status == 200 || response->status == 204 || response->status == 400);
	must((response->status == 204) == (response->body == NULL));
	if (!response->body)
		return;
	json_t *body = json_loadb(response->body, response->body_length, 0, NULL);

	must(json_is_object(body));
	must(response->status == 200 || json_is_string(json_object_get(body, "fault_message")));
	json_decref(body);
}

/* The client takes what it's told, at once or bit by bit. */
static void take(struct api_connection *c, bool whole, uint64_t now_ns)
{
	const char *at;
	size_t left;

	while ((left = api_connection_output(c, &at)) > 0) {
		must(memchr(at, 0, left) == NULL);
		api_connection_sent(c, whole ? left : 1 + left / 2, now_ns);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config config;
	static struct api_connection c;
	struct input in = { data, size };
	uint8_t options = input_u8(&in);
	size_t piece = 1 + input_u8(&in) * 8u;
	enum vm_state vm = options & 1 ? VM_STATE_RUNNING : VM_STATE_NOT_STARTED;
	struct api api = { &config, "fuzz", &actions, &vm };
	uint64_t now_ns = NS_PER_MS;
	char *at;

	config_init(&config);
	api_connection_init(&c, BODY_MAX, handle, &api);
	for (unsigned int i = 0; i < ROUNDS_MAX && c.phase != API_DONE && in.left > 0; i++) {
		size_t room = api_connection_room(&c, &at);

		must(room > 0); /* what was said has been taken */
		size_t n = piece < room ? piece : room;

		n = n < in.left ? n : in.left;
		input_bytes(&in, at, n);
		api_connection_received(&c, n, now_ns);
		must(c.body_length <= BODY_MAX && c.body_room <= BODY_MAX);
		take(&c, options & 2, now_ns);
		now_ns += (options >> 4) * 100 * NS_PER_MS;
		if (c.deadline_ns && c.deadline_ns <= now_ns) {
			api_connection_expire(&c, now_ns);
			take(&c, options & 2, now_ns);
		}
	}
	api_connection_release(&c);
	config_release(&config);
	return 0;
}
