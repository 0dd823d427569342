/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/json_out.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "vmm/api/json.h"
#include "vmm/log.h"

/* In formats: "s*" and "o*" leave a key out whose value is NULL. */

static json_t *bucket(const struct config_token_bucket *b)
{
	if (!b->set)
		return NULL;
	return json_pack("{s:I, s:I, s:I}", "size", (json_int_t)b->size, "one_time_burst",
			 (json_int_t)b->one_time_burst, "refill_time",
			 (json_int_t)b->refill_time_ms);
}

static json_t *limiter(const struct config_rate_limiter *l)
{
	if (!l->bandwidth.set && !l->ops.set)
		return NULL;
	return json_pack("{s:o*, s:o*}", "bandwidth", bucket(&l->bandwidth), "ops",
			 bucket(&l->ops));
}

static json_t *boot_source(const struct config_boot_source *b)
{
	if (!b->kernel_image_path)
		return json_null();
	return json_pack("{s:s, s:s*, s:s*}", "kernel_image_path", b->kernel_image_path,
			 "initrd_path", b->initrd_path, "boot_args", b->boot_args);
}

json_t *config_machine_to_json(const struct config_machine *m)
{
	json_t *object = json_pack("{s:i, s:I, s:b, s:b, s:s}", "vcpu_count", (int)m->vcpu_count,
				   "mem_size_mib", (json_int_t)m->mem_size_mib, "smt", m->smt,
				   "track_dirty_pages", m->track_dirty_pages, "huge_pages",
				   config_huge_pages_names[m->huge_pages]);

	/* A key of ours: other clients see it only if somebody asked for it. */
	if (object && m->platform != CONFIG_PLATFORM_ACPI)
		json_object_set_new(object, "platform",
				    json_string(config_platform_names[m->platform]));
	return object;
}

static json_t *drive(const struct config_drive *d)
{
	return json_pack("{s:s, s:s, s:b, s:b, s:s*, s:s, s:s, s:o*}", "drive_id", d->drive_id,
			 "path_on_host", d->path_on_host, "is_root_device", d->is_root_device,
			 "is_read_only", d->is_read_only, "partuuid", d->partuuid, "cache_type",
			 config_cache_type_names[d->cache_type], "io_engine",
			 config_io_engine_names[d->io_engine], "rate_limiter",
			 limiter(&d->rate_limiter));
}

static json_t *net(const struct config_net *n)
{
	char mac[18];
	const uint8_t *m = n->guest_mac;

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
		 m[5]);
	return json_pack("{s:s, s:s, s:s*, s:o*, s:o*, s:o*}", "iface_id", n->iface_id,
			 "host_dev_name", n->host_dev_name, "guest_mac", n->has_mac ? mac : NULL,
			 "mtu", n->mtu ? json_integer(n->mtu) : NULL, "rx_rate_limiter",
			 limiter(&n->rx_rate_limiter), "tx_rate_limiter",
			 limiter(&n->tx_rate_limiter));
}

static json_t *guest_ports(const struct config_vsock *v)
{
	json_t *array = v->n_guest_ports ? json_array() : NULL;

	for (unsigned int i = 0; i < v->n_guest_ports; i++)
		json_array_append_new(array, json_pack("{s:I, s:I}", "port",
						       (json_int_t)v->guest_ports[i].port, "fd",
						       (json_int_t)v->guest_ports[i].fd));
	return array;
}

static json_t *vsock(const struct config_vsock *v)
{
	if (!v->set)
		return json_null();
	return json_pack("{s:I, s:s*, s:o*}", "guest_cid", (json_int_t)v->guest_cid, "uds_path",
			 v->uds_path, "guest_ports", guest_ports(v));
}

json_t *config_balloon_to_json(const struct config_balloon *b)
{
	if (!b->set)
		return json_null();
	return json_pack("{s:I, s:b, s:i, s:b, s:b}", "amount_mib", (json_int_t)b->amount_mib,
			 "deflate_on_oom", b->deflate_on_oom, "stats_polling_interval_s",
			 (int)b->stats_polling_interval_s, "free_page_hinting", b->free_page_hinting,
			 "free_page_reporting", b->free_page_reporting);
}

static json_t *mmds(const struct config_mmds *m)
{
	const struct in_addr address = { htonl(m->ipv4_address) };
	json_t *interfaces = m->set ? json_array() : NULL;
	char text[INET_ADDRSTRLEN];

	if (!m->set)
		return json_null();
	for (unsigned int i = 0; i < m->n_network_interfaces; i++)
		json_array_append_new(interfaces, json_string(m->network_interfaces[i]));
	inet_ntop(AF_INET, &address, text, sizeof(text));
	return json_pack("{s:s, s:o, s:s, s:b}", "version", config_mmds_version_names[m->version],
			 "network_interfaces", interfaces, "ipv4_address", text, "imds_compat",
			 m->imds_compat);
}

static json_t *entropy(const struct config_entropy *e)
{
	return e->set ? json_pack("{s:o*}", "rate_limiter", limiter(&e->rate_limiter))
		      : json_null();
}

static json_t *serial(const struct config_serial *s)
{
	if (!s->set)
		return json_null();
	return json_pack("{s:s*, s:o*}", "serial_out_path", s->serial_out_path, "rate_limiter",
			 bucket(&s->rate_limiter));
}

static json_t *logger(const struct config_logger *l)
{
	if (!l->set)
		return json_null();
	return json_pack("{s:s*, s:s, s:b, s:b, s:s*}", "log_path", l->log_path, "level",
			 log_level_name(l->level), "show_level", l->show_level, "show_log_origin",
			 l->show_log_origin, "module", l->module);
}

static json_t *metrics(const struct config_metrics *m)
{
	if (!m->set)
		return json_null();
	return json_pack("{s:s, s:b, s:O*}", "metrics_path", m->metrics_path, "emit_id", m->emit_id,
			 "properties", m->properties);
}

json_t *config_to_json(const struct config *config)
{
	json_t *drives = json_array(), *nets = json_array();

	for (unsigned int i = 0; i < config->n_drives; i++)
		json_array_append_new(drives, drive(&config->drives[i]));
	for (unsigned int i = 0; i < config->n_nets; i++)
		json_array_append_new(nets, net(&config->nets[i]));
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:n, s:n, s:o, s:[]}",
			 "boot-source", boot_source(&config->boot_source), "machine-config",
			 config_machine_to_json(&config->machine), "drives", drives,
			 "network-interfaces", nets, "vsock", vsock(&config->vsock), "entropy",
			 entropy(&config->entropy), "serial", serial(&config->serial), "logger",
			 logger(&config->logger), "metrics", metrics(&config->metrics), "balloon",
			 config_balloon_to_json(&config->balloon), "cpu-config", "memory-hotplug",
			 "mmds-config", mmds(&config->mmds), "pmem");
}
