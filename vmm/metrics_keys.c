/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/metrics_keys.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "vmm/util.h"

#define KEYS_MAX 32

/* A key that ends in "_agg" is an object of these. */
#define AGGREGATE_SUFFIX "_agg"
#define AGGREGATE_SUM	 "sum_us"
static const char *const aggregate_keys[] = { "min_us", "max_us", AGGREGATE_SUM };

struct group {
	const char *name;
	bool per_device; /* there is one for each device, too: NAME_ID */
	const char *keys[KEYS_MAX]; /* up to the first NULL */
};

/* By Firecracker's source, API version 1.16 and what has been added since. */
static const struct group groups[] = {
	{ .name = "api_server",
	  .keys = { "process_startup_time_us", "process_startup_time_cpu_us" } },
	{ .name = "balloon",
	  .keys = { "activate_fails", "cfg_fails", "inflate_count", "stats_updates_count",
		    "stats_update_fails", "deflate_count", "event_fails", "free_page_report_count",
		    "free_page_report_freed", "free_page_report_fails", "free_page_hint_count",
		    "free_page_hint_freed", "free_page_hint_fails" } },
	{ .name = "block",
	  .per_device = true,
	  .keys = { "activate_fails", "cfg_fails", "no_avail_buffer", "event_fails", "execute_fails",
		    "invalid_reqs_count", "flush_count", "queue_event_count",
		    "rate_limiter_event_count", "update_count", "update_fails", "read_bytes",
		    "write_bytes", "read_count", "write_count", "read_agg", "write_agg",
		    "rate_limiter_throttled_events", "io_engine_throttled_events",
		    "remaining_reqs_count" } },
	{ .name = "deprecated_api", .keys = { "deprecated_http_api_calls" } },
	{ .name = "entropy",
	  .keys = { "activate_fails", "entropy_event_fails", "entropy_event_count", "entropy_bytes",
		    "host_rng_fails", "entropy_rate_limiter_throttled",
		    "rate_limiter_event_count" } },
	{ .name = "get_api_requests",
	  .keys = { "instance_info_count", "machine_cfg_count", "mmds_count", "vmm_version_count",
		    "hotplug_memory_count" } },
	{ .name = "i8042",
	  .keys = { "error_count", "missed_read_count", "missed_write_count", "read_count",
		    "reset_count", "write_count" } },
	{ .name = "interrupts", .keys = { "triggers", "config_updates" } },
	{ .name = "latencies_us",
	  .keys = { "full_create_snapshot", "diff_create_snapshot", "load_snapshot", "pause_vm",
		    "resume_vm", "vmm_full_create_snapshot", "vmm_diff_create_snapshot",
		    "vmm_load_snapshot", "vmm_pause_vm", "vmm_resume_vm" } },
	{ .name = "logger",
	  .keys = { "missed_metrics_count", "metrics_fails", "missed_log_count" } },
	{ .name = "memory_hotplug",
	  .keys = { "activate_fails", "queue_event_fails", "queue_event_count", "plug_agg",
		    "plug_count", "plug_bytes", "plug_fails", "unplug_agg", "unplug_count",
		    "unplug_bytes", "unplug_fails", "unplug_discard_fails", "unplug_all_agg",
		    "unplug_all_count", "unplug_all_fails", "state_agg", "state_count",
		    "state_fails" } },
	{ .name = "mmds",
	  .keys = { "rx_accepted", "rx_accepted_err", "rx_accepted_unusual", "rx_bad_eth",
		    "rx_invalid_token", "rx_no_token", "rx_count", "tx_bytes", "tx_count",
		    "tx_errors", "tx_frames", "connections_created", "connections_destroyed" } },
	{ .name = "net",
	  .per_device = true,
	  .keys = { "activate_fails", "cfg_fails", "mac_address_updates", "no_rx_avail_buffer",
		    "no_tx_avail_buffer", "event_fails", "rx_queue_event_count",
		    "rx_event_rate_limiter_count", "rx_rate_limiter_throttled",
		    "rx_tap_event_count", "rx_bytes_count", "rx_packets_count", "rx_fails",
		    "rx_count", "tap_read_fails", "tap_write_fails", "tap_write_agg",
		    "tx_bytes_count", "tx_malformed_frames", "tx_fails", "tx_count",
		    "tx_packets_count", "tx_partial_reads", "tx_queue_event_count",
		    "tx_rate_limiter_event_count", "tx_rate_limiter_throttled",
		    "tx_spoofed_mac_count", "tx_remaining_reqs_count" } },
	{ .name = "patch_api_requests",
	  .keys = { "drive_count", "drive_fails", "network_count", "network_fails",
		    "machine_cfg_count", "machine_cfg_fails", "mmds_count", "mmds_fails",
		    "hotplug_memory_count", "hotplug_memory_fails" } },
	{ .name = "pmem",
	  .per_device = true,
	  .keys = { "activate_fails", "cfg_fails", "event_fails", "queue_event_count" } },
	{ .name = "put_api_requests",
	  .keys = { "actions_count", "actions_fails", "boot_source_count", "boot_source_fails",
		    "drive_count", "drive_fails", "logger_count", "logger_fails",
		    "machine_cfg_count", "machine_cfg_fails", "cpu_cfg_count", "cpu_cfg_fails",
		    "metrics_count", "metrics_fails", "network_count", "network_fails",
		    "mmds_count", "mmds_fails", "vsock_count", "vsock_fails", "pmem_count",
		    "pmem_fails", "serial_count", "serial_fails", "hotplug_memory_count",
		    "hotplug_memory_fails" } },
	{ .name = "seccomp", .keys = { "num_faults" } },
	{ .name = "signals",
	  .keys = { "sigbus", "sigsegv", "sigxfsz", "sigxcpu", "sigpipe", "sighup", "sigill" } },
	{ .name = "uart",
	  .keys = { "error_count", "flush_count", "missed_read_count", "missed_write_count",
		    "read_count", "write_count", "rate_limiter_dropped_bytes" } },
	{ .name = "vcpu",
	  .keys = { "exit_io_in", "exit_io_out", "exit_mmio_read", "exit_mmio_write", "failures",
		    "kvmclock_ctrl_fails", "exit_io_in_agg", "exit_io_out_agg",
		    "exit_mmio_read_agg", "exit_mmio_write_agg" } },
	{ .name = "vmm", .keys = { "panic_count" } },
	{ .name = "vsock",
	  .keys = { "activate_fails", "cfg_fails", "rx_queue_event_fails", "tx_queue_event_fails",
		    "ev_queue_event_fails", "muxer_event_fails", "conn_event_fails",
		    "rx_queue_event_count", "tx_queue_event_count", "rx_bytes_count",
		    "tx_bytes_count", "rx_packets_count", "tx_packets_count", "conns_added",
		    "conns_killed", "conns_removed", "killq_resync", "tx_flush_fails",
		    "tx_write_fails", "rx_read_fails" } },
};

static bool is_aggregate(const char *key)
{
	const char *end = strrchr(key, '_');

	return end && strcmp(end, AGGREGATE_SUFFIX) == 0;
}

/* What parent has there, an object; made if it's missing. NULL without memory. */
static json_t *object_at(json_t *parent, const char *key)
{
	json_t *object = json_object_get(parent, key);

	if (object)
		return object;
	object = json_object();
	return json_object_set_new(parent, key, object) < 0 ? NULL : object;
}

/* Missing or not, the number under key becomes n larger. */
static void add(json_t *object, const char *key, json_int_t n)
{
	json_t *number = json_object_get(object, key);

	if (number)
		json_integer_set(number, json_integer_value(number) + n);
	else
		json_object_set_new(object, key, json_integer(n));
}

/* The whole's keys become larger by those of one part; NULL: by nothing, so that they are there. */
static void add_keys(json_t *whole, const json_t *part, const struct group *group)
{
	for (unsigned int i = 0; i < KEYS_MAX && group->keys[i]; i++) {
		const char *key = group->keys[i];
		const json_t *value = json_object_get(part, key);

		if (!is_aggregate(key)) {
			add(whole, key, json_integer_value(value));
			continue;
		}
		json_t *aggregate = object_at(whole, key);

		for (unsigned int k = 0; k < ARRAY_SIZE(aggregate_keys); k++)
			add(aggregate, aggregate_keys[k], 0);
		/* The extremes of several devices say nothing. */
		add(aggregate, AGGREGATE_SUM,
		    json_integer_value(json_object_get(value, AGGREGATE_SUM)));
	}
}

void metrics_complete(json_t *root)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(groups); i++) {
		const struct group *group = &groups[i];
		size_t length = strlen(group->name);
		json_t *whole = object_at(root, group->name), *part;
		const char *key;

		add_keys(whole, NULL, group);
		if (!group->per_device)
			continue;
		json_object_foreach(root, key, part) {
			if (strncmp(key, group->name, length) != 0 || key[length] != '_')
				continue;
			add_keys(part, NULL, group);
			add_keys(whole, part, group);
		}
	}
}
