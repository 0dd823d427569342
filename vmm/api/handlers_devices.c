/* SPDX-License-Identifier: Apache-2.0 */
/* Devices whose state clients ask for and change while the guest runs: balloon and metadata. */
#include <errno.h>

#include "devices/mmds/service.h"
#include "devices/virtio/balloon.h"
#include "vmm/api/fields.h"
#include "vmm/api/handlers.h"
#include "vmm/api/json.h"
#include "vmm/api/json_out.h"
#include "vmm/util.h"

/* A handler needn't take all that it's given. */
#define UNUSED __attribute__((unused))

#define PAGES_PER_MIB 256

/* ---- balloon ---- */

static int no_balloon(struct error *err)
{
	return error_set(err, ENODEV, "balloon: there is none");
}

/* The running guest's. */
static int find_balloon(struct api *api, struct virtio_device **device, struct error *err)
{
	*device = api->config->balloon.set ? api->actions->balloon(api->context) : NULL;
	return *device ? 0 : no_balloon(err);
}

int api_get_balloon(struct api *api, UNUSED const char *id, UNUSED json_t *body, json_t **out,
		    struct error *err)
{
	if (!api->config->balloon.set)
		return no_balloon(err);
	return api_answer(config_balloon_to_json(&api->config->balloon), out, err);
}

int api_put_balloon(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		    struct error *err)
{
	struct config_balloon balloon;

	if (config_json_balloon(&balloon, body, err) < 0)
		return error_wrap(err, "balloon");
	return config_put_balloon(api->config, &balloon, err);
}

int api_patch_balloon(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		      struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_UINT("amount_mib", struct config_balloon, amount_mib, 0,
			     CONFIG_MEMORY_MIB_MAX),
		  .required = true },
	};
	struct config_balloon changed = api->config->balloon;
	struct virtio_device *device;

	if (fields_parse(fields, ARRAY_SIZE(fields), &changed, body, err) < 0)
		return error_wrap(err, "balloon");
	int rc = find_balloon(api, &device, err);

	if (rc == 0)
		rc = virtio_balloon_set_amount(device, changed.amount_mib, err);
	if (rc == 0)
		api->config->balloon = changed;
	return rc;
}

int api_patch_balloon_stats(struct api *api, UNUSED const char *id, json_t *body,
			    UNUSED json_t **out, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_UINT("stats_polling_interval_s", struct config_balloon,
			     stats_polling_interval_s, 0, UINT16_MAX),
		  .required = true },
	};
	struct config_balloon changed = api->config->balloon;
	struct virtio_device *device;

	if (fields_parse(fields, ARRAY_SIZE(fields), &changed, body, err) < 0)
		return error_wrap(err, "balloon");
	int rc = find_balloon(api, &device, err);

	if (rc == 0)
		rc = virtio_balloon_set_stats_interval(device, changed.stats_polling_interval_s,
						       err);
	if (rc == 0)
		api->config->balloon = changed;
	return rc;
}

/* What the guest told of itself: any number. JSON's integers here end at 63 bits. */
static json_t *stat_to_json(uint64_t value)
{
	return json_integer(value < INT64_MAX ? (json_int_t)value : INT64_MAX);
}

static json_t *stats_to_json(const struct virtio_balloon_stats *stats)
{
	/* By tag (virtio 1.2 §5.5.6.3, and Linux's from 10 on). */
	static const char *const names[VIRTIO_BALLOON_STATS] = {
		"swap_in",	    "swap_out",	   "major_faults",
		"minor_faults",	    "free_memory", "total_memory",
		"available_memory", "disk_caches", "hugetlb_allocations",
		"hugetlb_failures", "oom_kill",	   "alloc_stall",
		"async_scan",	    "direct_scan", "async_reclaim",
		"direct_reclaim",
	};
	json_t *object =
		json_pack("{s:I, s:I, s:I, s:I}", "target_pages", (json_int_t)stats->target_pages,
			  "actual_pages", (json_int_t)stats->actual_pages, "target_mib",
			  (json_int_t)stats->target_pages / PAGES_PER_MIB, "actual_mib",
			  (json_int_t)stats->actual_pages / PAGES_PER_MIB);

	for (unsigned int tag = 0; tag < VIRTIO_BALLOON_STATS; tag++)
		if (stats->present & 1u << tag)
			json_object_set_new(object, names[tag], stat_to_json(stats->values[tag]));
	return object;
}

int api_get_balloon_stats(struct api *api, UNUSED const char *id, UNUSED json_t *body, json_t **out,
			  struct error *err)
{
	struct virtio_balloon_stats stats;
	struct virtio_device *device;
	int rc = find_balloon(api, &device, err);

	if (rc == 0)
		rc = virtio_balloon_get_stats(device, &stats, err);
	return rc < 0 ? rc : api_answer(stats_to_json(&stats), out, err);
}

int api_get_hinting(struct api *api, UNUSED const char *id, UNUSED json_t *body, json_t **out,
		    struct error *err)
{
	struct virtio_balloon_hinting hinting;
	struct virtio_device *device;
	int rc = find_balloon(api, &device, err);

	if (rc == 0)
		rc = virtio_balloon_get_hinting(device, &hinting, err);
	if (rc < 0)
		return rc;
	return api_answer(
		json_pack("{s:I, s:o}", "host_cmd", (json_int_t)hinting.host_cmd, "guest_cmd",
			  hinting.guest_has_cmd ? json_integer(hinting.guest_cmd) : json_null()),
		out, err);
}

int api_start_hinting(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		      struct error *err)
{
	struct request {
		bool acknowledge_on_stop;
	} request = { true };
	static const struct field fields[] = {
		{ FIELD_BOOL("acknowledge_on_stop", struct request, acknowledge_on_stop) },
	};
	struct virtio_device *device;

	if (body && fields_parse(fields, ARRAY_SIZE(fields), &request, body, err) < 0)
		return error_wrap(err, "balloon");
	int rc = find_balloon(api, &device, err);

	return rc < 0 ? rc : virtio_balloon_start_hinting(device, request.acknowledge_on_stop, err);
}

int api_stop_hinting(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		     struct error *err)
{
	struct virtio_device *device;

	if (body && fields_parse(NULL, 0, NULL, body, err) < 0)
		return error_wrap(err, "balloon");
	int rc = find_balloon(api, &device, err);

	return rc < 0 ? rc : virtio_balloon_stop_hinting(device, err);
}

/* ---- metadata ---- */

int api_get_mmds(struct api *api, UNUSED const char *id, UNUSED json_t *body, json_t **out,
		 struct error *err)
{
	json_t *root = api->mmds->store.root;

	return api_answer(root ? json_incref(root) : json_object(), out, err);
}

int api_put_mmds(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		 struct error *err)
{
	return mmds_store_put(&api->mmds->store, body, err);
}

int api_patch_mmds(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
		   struct error *err)
{
	return mmds_store_patch(&api->mmds->store, body, err);
}

int api_put_mmds_config(struct api *api, UNUSED const char *id, json_t *body, UNUSED json_t **out,
			struct error *err)
{
	struct config_mmds mmds = { 0 };

	if (config_json_mmds(&mmds, body, err) < 0)
		return error_wrap(err, "mmds-config");
	api->deprecated += mmds.version == CONFIG_MMDS_V1;
	int rc = config_put_mmds(api->config, &mmds, err);

	config_mmds_release(&mmds);
	return rc;
}
