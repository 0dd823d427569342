/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/handlers.h"

#include <errno.h>
#include <string.h>

#include "vmm/api/fields.h"
#include "vmm/api/json.h"
#include "vmm/api/json_out.h"
#include "vmm/util.h"

/* A handler needn't take all that it's given. */
#define UNUSED __attribute__((unused))

static enum vm_state state_of(const struct api *api)
{
	return api->actions->state(api->context);
}

int api_check_state(const struct api *api, enum api_when when, struct error *err)
{
	bool started = state_of(api) != VM_STATE_NOT_STARTED;

	if (when == API_BEFORE_START && started)
		return error_set(
			err, EPERM,
			"The requested operation is not supported after starting the microVM.");
	if (when == API_AFTER_START && !started)
		return error_set(
			err, EPERM,
			"The requested operation is not supported before starting the microVM.");
	return 0;
}

int api_answer(json_t *root, json_t **out, struct error *err)
{
	*out = root;
	return root ? 0 : error_sys(err, ENOMEM, "make the answer");
}

/* ---- what there is ---- */

int api_get_instance(struct api *api, UNUSED const char *id, UNUSED json_t *body, json_t **out,
		     struct error *err)
{
	return api_answer(json_pack("{s:s, s:s, s:s, s:s}", "app_name", "mote", "id", api->id, "state",
				    vm_state_name(state_of(api)), "vmm_version", MOTE_VERSION),
			  out, err);
}

int api_get_version(UNUSED struct api *api, UNUSED const char *id, UNUSED json_t *body,
		    json_t **out, struct error *err)
{
	return api_answer(json_pack("{s:s, s:s}", "firecracker_version", API_FIRECRACKER_VERSION,
				    "mote_version", MOTE_VERSION),
			  out, err);
}

int api_get_config(struct api *api, UNUSED const char *id, UNUSED json_t *body, json_t **out,
		   struct error *err)
{
	return api_answer(config_to_json(api->config), out, err);
}

int api_get_machine(struct api *api, UNUSED const char *id, UNUSED json_t *body, json_t **out,
		    struct error *err)
{
	return api_answer(config_machine_to_json(&api->config->machine), out, err);
}

/* ---- the config ---- */

static int check_id(const char *key, const char *id, const char *in_body, struct error *err)
{
	if (strcmp(id, in_body) != 0)
		return error_set(err, EINVAL, "%s: \"%s\" is not the \"%s\" of the path", key,
				 in_body, id);
	return 0;
}

int api_put_boot_source(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
			struct error *err)
{
	struct config_boot_source boot = { 0 };

	if (config_json_boot_source(&boot, body, err) < 0)
		return error_wrap(err, "boot-source");
	int rc = config_put_boot_source(api->config, &boot, err);

	config_boot_source_release(&boot);
	return rc;
}

int api_put_machine(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		    struct error *err)
{
	struct config_machine machine;

	if (config_json_machine(&machine, body, err) < 0)
		return error_wrap(err, "machine-config");
	api->deprecated += json_object_get(body, "cpu_template") != NULL;
	return config_put_machine(api->config, &machine, err);
}

int api_patch_machine(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		      struct error *err)
{
	struct config_machine machine = api->config->machine;

	if (config_json_machine_patch(&machine, body, err) < 0)
		return error_wrap(err, "machine-config");
	api->deprecated += json_object_get(body, "cpu_template") != NULL;
	return config_put_machine(api->config, &machine, err);
}

int api_put_drive(struct api *api, const char *id, json_t *body, UNUSED json_t **out,
		  struct error *err)
{
	struct config_drive drive = { 0 };

	if (config_json_drive(&drive, body, err) < 0)
		return error_wrap(err, "drive");
	int rc = check_id("drive: drive_id", id, drive.drive_id, err);

	if (rc == 0)
		rc = config_put_drive(api->config, &drive, err);
	config_drive_release(&drive);
	return rc;
}

int api_put_net(struct api *api, const char *id, json_t *body, UNUSED json_t **out,
		struct error *err)
{
	struct config_net net = { 0 };

	if (config_json_net(&net, body, err) < 0)
		return error_wrap(err, "network-interface");
	int rc = check_id("network-interface: iface_id", id, net.iface_id, err);

	if (rc == 0)
		rc = config_put_net(api->config, &net, err);
	config_net_release(&net);
	return rc;
}

/* What of patch has taken effect is the config's. */
static int patch_drive(struct api *api, const char *id, struct config_drive *patch,
		       struct error *err)
{
	struct config_drive *drive = config_find_drive(api->config, id);

	if (!drive)
		return error_set(err, ENOENT, "drive: there is none with the drive_id \"%s\"", id);
	int rc = 0;

	if (patch->path_on_host)
		rc = api->actions->change_drive(api->context, id, patch->path_on_host, err);
	if (rc == 0 && patch->path_on_host) {
		free(drive->path_on_host);
		drive->path_on_host = take_ptr_fn(&patch->path_on_host);
	}
	if (rc == 0)
		rc = api->actions->limit_drive(api->context, id, &patch->rate_limiter, err);
	if (rc == 0)
		config_update_limiter(&drive->rate_limiter, &patch->rate_limiter);
	return rc;
}

int api_patch_drive(struct api *api, const char *id, json_t *body, UNUSED json_t **out,
		    struct error *err)
{
	struct config_drive patch = { 0 };

	if (config_json_drive_patch(&patch, body, err) < 0)
		return error_wrap(err, "drive");
	int rc = check_id("drive: drive_id", id, patch.drive_id, err);

	if (rc == 0)
		rc = patch_drive(api, id, &patch, err);
	config_drive_release(&patch);
	return rc;
}

static int patch_net(struct api *api, const char *id, const struct config_net *patch,
		     struct error *err)
{
	struct config_net *net = config_find_net(api->config, id);

	if (!net)
		return error_set(err, ENOENT,
				 "network-interface: there is none with the iface_id \"%s\"", id);
	int rc = api->actions->limit_net(api->context, id, &patch->rx_rate_limiter,
					 &patch->tx_rate_limiter, err);

	if (rc == 0) {
		config_update_limiter(&net->rx_rate_limiter, &patch->rx_rate_limiter);
		config_update_limiter(&net->tx_rate_limiter, &patch->tx_rate_limiter);
	}
	return rc;
}

int api_patch_net(struct api *api, const char *id, json_t *body, UNUSED json_t **out,
		  struct error *err)
{
	struct config_net patch = { 0 };

	if (config_json_net_patch(&patch, body, err) < 0)
		return error_wrap(err, "network-interface");
	int rc = check_id("network-interface: iface_id", id, patch.iface_id, err);

	if (rc == 0)
		rc = patch_net(api, id, &patch, err);
	config_net_release(&patch);
	return rc;
}

int api_put_vsock(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		  struct error *err)
{
	struct config_vsock vsock = { 0 };

	if (config_json_vsock(&vsock, body, err) < 0)
		return error_wrap(err, "vsock");
	api->deprecated += json_object_get(body, "vsock_id") != NULL;
	int rc = config_put_vsock(api->config, &vsock, err);

	config_vsock_release(&vsock);
	return rc;
}

int api_put_entropy(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		    struct error *err)
{
	struct config_entropy entropy;

	if (config_json_entropy(&entropy, body, err) < 0)
		return error_wrap(err, "entropy");
	return config_put_entropy(api->config, &entropy, err);
}

int api_put_serial(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		   struct error *err)
{
	struct config_serial serial = { 0 };

	if (config_json_serial(&serial, body, err) < 0)
		return error_wrap(err, "serial");
	int rc = config_put_serial(api->config, &serial, err);

	config_serial_release(&serial);
	return rc;
}

int api_put_logger(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		   struct error *err)
{
	struct config_logger logger = { 0 };

	if (config_json_logger(&logger, body, err) < 0)
		return error_wrap(err, "logger");
	int rc = api->actions->open_log(api->context, &logger, err);

	if (rc < 0) {
		config_logger_release(&logger);
		return rc;
	}
	config_logger_release(&api->config->logger);
	api->config->logger = logger;
	return 0;
}

int api_put_metrics(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		    struct error *err)
{
	struct config_metrics metrics = { 0 };
	int rc = config_json_metrics(&metrics, body, err);

	if (rc < 0)
		return error_wrap(err, "metrics");
	if (api->config->metrics.set)
		rc = error_set(err, EALREADY, "metrics: already open");
	if (rc == 0)
		rc = api->actions->open_metrics(api->context, &metrics, err);
	if (rc < 0) {
		config_metrics_release(&metrics);
		return rc;
	}
	api->config->metrics = metrics;
	return 0;
}

/* ---- actions ---- */

enum action { START, FLUSH_METRICS, CTRL_ALT_DEL };

static int start(struct api *api, struct error *err)
{
	int rc = api_check_state(api, API_BEFORE_START, err);

	if (rc == 0)
		rc = config_validate(api->config, err);
	return rc < 0 ? rc : api->actions->start(api->context, err);
}

int api_put_action(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		   struct error *err)
{
	static const char *const names[] = {
		[START] = "InstanceStart",
		[FLUSH_METRICS] = "FlushMetrics",
		[CTRL_ALT_DEL] = "SendCtrlAltDel",
		NULL,
	};
	struct request {
		enum action action;
	} request;
	static const struct field fields[] = {
		{ FIELD_NAME("action_type", struct request, action, names), .required = true },
	};

	if (fields_parse(fields, ARRAY_SIZE(fields), &request, body, err) < 0)
		return error_wrap(err, "action");
	if (request.action == START)
		return start(api, err);
	if (api_check_state(api, API_AFTER_START, err) < 0)
		return -err->errnum;
	return request.action == FLUSH_METRICS ? api->actions->flush_metrics(api->context, err)
					       : api->actions->ctrl_alt_del(api->context, err);
}

int api_patch_vm(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		 struct error *err)
{
	enum target { PAUSED, RESUMED };
	static const char *const names[] = { [PAUSED] = "Paused", [RESUMED] = "Resumed", NULL };
	struct request {
		enum target state;
	} request;
	static const struct field fields[] = {
		{ FIELD_NAME("state", struct request, state, names), .required = true },
	};

	if (fields_parse(fields, ARRAY_SIZE(fields), &request, body, err) < 0)
		return error_wrap(err, "vm");
	uint64_t start_ns = monotonic_ns();
	int rc = request.state == PAUSED ? api->actions->pause(api->context, err)
					 : api->actions->resume(api->context, err);

	if (rc == 0)
		*(request.state == PAUSED ? &api->pause_us : &api->resume_us) =
			(monotonic_ns() - start_ns) / 1000;
	return rc;
}
