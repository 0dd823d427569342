/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/json.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "vmm/api/fields.h"
#include "vmm/open.h"
#include "vmm/util.h"

#define PARTUUID_MAX  64
#define MAC_TEXT_LEN  17
#define MIN_GUEST_CID 3 /* 0 to 2: hypervisor, loopback, host (linux/vm_sockets.h) */

#define FIELD_PATH(name, t, member) FIELD_STRING(name, t, member, 1, CONFIG_PATH_MAX, NULL)

const char *const config_huge_pages_names[] = {
	[MEMORY_BACKING_NONE] = "None",
	[MEMORY_BACKING_TRANSPARENT] = "Transparent",
	[MEMORY_BACKING_HUGETLB_2M] = "2M",
	NULL,
};
const char *const config_platform_names[] = {
	[CONFIG_PLATFORM_ACPI] = "Acpi",
	[CONFIG_PLATFORM_MPTABLE] = "MpTable",
	NULL,
};
const char *const config_cache_type_names[] = {
	[CONFIG_CACHE_UNSAFE] = "Unsafe",
	[CONFIG_CACHE_WRITEBACK] = "Writeback",
	NULL,
};
const char *const config_io_engine_names[] = {
	[CONFIG_IO_SYNC] = "Sync",
	[CONFIG_IO_ASYNC] = "Async",
	NULL,
};
const char *const config_mmds_version_names[] = {
	[CONFIG_MMDS_V1] = "V1",
	[CONFIG_MMDS_V2] = "V2",
	NULL,
};

static bool is_id_byte(unsigned char c)
{
	return c == '_' || (isascii(c) && isalnum(c));
}

static int check_id(const char *text, struct error *err)
{
	for (const char *c = text; *c; c++)
		if (!is_id_byte((unsigned char)*c))
			return error_set(err, EINVAL,
					 "\"%s\" has more than ASCII letters, digits and _", text);
	return 0;
}

/* What the kernel's parser and a person at the console read alike: no line ends, no controls. */
static int check_printable_ascii(const char *text, struct error *err)
{
	for (const char *c = text; *c; c++)
		if (!isascii(*c) || !isprint(*c))
			return error_set(err, EINVAL, "byte %td (0x%02x) is not printable ASCII",
					 c - text, (unsigned char)*c);
	return 0;
}

static int check_partuuid(const char *text, struct error *err)
{
	int ret = check_printable_ascii(text, err);

	/* It becomes one word of the command line. */
	if (!ret && strpbrk(text, " \""))
		ret = error_set(err, EINVAL, "has a space or a quotation mark");
	return ret;
}

/*
 * What the kernel takes for the name of a device; '%' would make it a pattern to number. Or a queue
 * that was handed over.
 */
static int check_tap_name(const char *text, struct error *err)
{
	bool valid = strcmp(text, ".") != 0 && strcmp(text, "..") != 0;

	if (inherited_fd(text) >= 0)
		return 0;
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		valid = valid && isascii(*c) && isgraph(*c) && !strchr("/:%", *c);
	return valid ? 0 : error_set(err, EINVAL, "\"%s\" is no name for a network device", text);
}

static int parse_bucket(void *member, json_t *value, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_UINT("size", struct config_token_bucket, size, 0, INT64_MAX),
		  .required = true },
		{ FIELD_UINT("one_time_burst", struct config_token_bucket, one_time_burst, 0,
			     INT64_MAX) },
		/* as ns it must still be a 63-bit number */
		{ FIELD_UINT("refill_time", struct config_token_bucket, refill_time_ms, 0,
			     INT64_MAX / 1000000),
		  .required = true },
	};
	struct config_token_bucket *bucket = member;

	bucket->set = true;
	return fields_parse(fields, ARRAY_SIZE(fields), bucket, value, err);
}

static int parse_limiter(void *member, json_t *value, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_PARSED("bandwidth", struct config_rate_limiter, bandwidth, parse_bucket) },
		{ FIELD_PARSED("ops", struct config_rate_limiter, ops, parse_bucket) },
	};

	return fields_parse(fields, ARRAY_SIZE(fields), member, value, err);
}

int config_json_boot_source(struct config_boot_source *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_PATH("kernel_image_path", struct config_boot_source, kernel_image_path),
		  .required = true },
		{ FIELD_PATH("initrd_path", struct config_boot_source, initrd_path) },
		{ FIELD_STRING("boot_args", struct config_boot_source, boot_args, 0,
			       CONFIG_CMDLINE_MAX - 1, check_printable_ascii) },
	};
	struct config_boot_source fresh = { 0 };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	config_boot_source_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}

static int parse_cpu_template(void *member, json_t *value, struct error *err)
{
	(void)member;
	if (!json_is_string(value))
		return fields_wrong_type("a string", value, err);
	if (strcmp(json_string_value(value), "None") == 0)
		return 0;
	return error_set(err, EOPNOTSUPP,
			 "\"%.64s\": only \"None\" is supported, there are no static templates",
			 json_string_value(value));
}

static const struct field machine_fields[] = {
	{ FIELD_UINT("vcpu_count", struct config_machine, vcpu_count, 1, CONFIG_VCPUS_MAX),
	  .required = true },
	{ FIELD_UINT("mem_size_mib", struct config_machine, mem_size_mib, 1, CONFIG_MEMORY_MIB_MAX),
	  .required = true },
	{ FIELD_BOOL("smt", struct config_machine, smt) },
	{ FIELD_BOOL("track_dirty_pages", struct config_machine, track_dirty_pages) },
	{ FIELD_NAME("huge_pages", struct config_machine, huge_pages, config_huge_pages_names) },
	{ FIELD_NAME("platform", struct config_machine, platform, config_platform_names) },
	{ FIELD_WHOLE("cpu_template", parse_cpu_template) },
};

int config_json_machine(struct config_machine *out, json_t *object, struct error *err)
{
	struct config_machine fresh = { 0 };
	int ret = fields_parse(machine_fields, ARRAY_SIZE(machine_fields), &fresh, object, err);

	if (ret == 0)
		*out = fresh;
	return ret;
}

int config_json_machine_patch(struct config_machine *out, json_t *object, struct error *err)
{
	struct field fields[ARRAY_SIZE(machine_fields)];
	struct config_machine changed = *out;

	memcpy(fields, machine_fields, sizeof(fields));
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++)
		fields[i].required = false;
	if (json_is_object(object) && json_object_size(object) == 0)
		return error_set(err, EINVAL, "names nothing to change");
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &changed, object, err);

	if (ret == 0)
		*out = changed;
	return ret;
}

static int no_vhost_user(void *member, json_t *value, struct error *err)
{
	(void)member;
	(void)value;
	return error_set(err, EOPNOTSUPP, "vhost-user drives are not supported by this version");
}

int config_json_drive(struct config_drive *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_STRING("drive_id", struct config_drive, drive_id, 1, CONFIG_ID_MAX,
			       check_id),
		  .required = true },
		{ FIELD_PATH("path_on_host", struct config_drive, path_on_host), .required = true },
		{ FIELD_BOOL("is_root_device", struct config_drive, is_root_device),
		  .required = true },
		{ FIELD_BOOL("is_read_only", struct config_drive, is_read_only) },
		{ FIELD_STRING("partuuid", struct config_drive, partuuid, 1, PARTUUID_MAX,
			       check_partuuid) },
		{ FIELD_NAME("cache_type", struct config_drive, cache_type, config_cache_type_names) },
		{ FIELD_NAME("io_engine", struct config_drive, io_engine, config_io_engine_names) },
		{ FIELD_PARSED("rate_limiter", struct config_drive, rate_limiter, parse_limiter) },
		{ FIELD_WHOLE("socket", no_vhost_user) },
	};
	struct config_drive fresh = { 0 };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	config_drive_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}

int config_json_drive_patch(struct config_drive *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_STRING("drive_id", struct config_drive, drive_id, 1, CONFIG_ID_MAX,
			       check_id),
		  .required = true },
		{ FIELD_PATH("path_on_host", struct config_drive, path_on_host) },
		{ FIELD_PARSED("rate_limiter", struct config_drive, rate_limiter, parse_limiter) },
	};
	struct config_drive fresh = { 0 };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	if (ret == 0 && json_object_size(object) == 1)
		ret = error_set(err, EINVAL, "names nothing to change");
	config_drive_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Exactly xx:xx:xx:xx:xx:xx. */
static bool mac_from_text(uint8_t mac[6], const char *text)
{
	if (strlen(text) != MAC_TEXT_LEN)
		return false;
	for (int i = 0; i < 6; i++) {
		int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);

		if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static int parse_mac(void *member, json_t *value, struct error *err)
{
	static const uint8_t zero[6];
	struct config_net *net = member;

	if (!json_is_string(value))
		return fields_wrong_type("a string", value, err);
	if (!mac_from_text(net->guest_mac, json_string_value(value)))
		return error_set(err, EINVAL, "\"%.64s\" is not of the form 06:00:ac:10:00:02",
				 json_string_value(value));
	/* A guest can't bring an interface up with one of these. */
	if ((net->guest_mac[0] & 1) || memcmp(net->guest_mac, zero, sizeof(zero)) == 0)
		return error_set(err, EINVAL, "\"%s\" is not the address of one station",
				 json_string_value(value));
	net->has_mac = true;
	return 0;
}

int config_json_net(struct config_net *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_STRING("iface_id", struct config_net, iface_id, 1, CONFIG_ID_MAX, check_id),
		  .required = true },
		{ FIELD_STRING("host_dev_name", struct config_net, host_dev_name, 1,
			       CONFIG_TAP_NAME_MAX, check_tap_name),
		  .required = true },
		{ FIELD_WHOLE("guest_mac", parse_mac) },
		{ FIELD_UINT("mtu", struct config_net, mtu, 68, UINT16_MAX) },
		{ FIELD_PARSED("rx_rate_limiter", struct config_net, rx_rate_limiter,
			       parse_limiter) },
		{ FIELD_PARSED("tx_rate_limiter", struct config_net, tx_rate_limiter,
			       parse_limiter) },
	};
	struct config_net fresh = { 0 };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	config_net_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}

int config_json_net_patch(struct config_net *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_STRING("iface_id", struct config_net, iface_id, 1, CONFIG_ID_MAX, check_id),
		  .required = true },
		{ FIELD_PARSED("rx_rate_limiter", struct config_net, rx_rate_limiter,
			       parse_limiter) },
		{ FIELD_PARSED("tx_rate_limiter", struct config_net, tx_rate_limiter,
			       parse_limiter) },
	};
	struct config_net fresh = { 0 };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	if (ret == 0 && json_object_size(object) == 1)
		ret = error_set(err, EINVAL, "names nothing to change");
	config_net_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}

/* Deprecated by Firecracker: read, and without effect. */
static int parse_vsock_id(void *member, json_t *value, struct error *err)
{
	(void)member;
	return json_is_string(value) ? 0 : fields_wrong_type("a string", value, err);
}

static int parse_guest_port(void *member, json_t *value, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_UINT("port", struct config_guest_port, port, 0, UINT32_MAX - 1),
		  .required = true },
		/* 0 to 2 stay what they are. */
		{ FIELD_UINT("fd", struct config_guest_port, fd, 3, INT_MAX), .required = true },
	};
	struct config_vsock *vsock = member;
	struct config_guest_port fresh = { 0 };

	if (vsock->n_guest_ports == CONFIG_GUEST_PORTS_MAX)
		return error_set(err, EINVAL, "at most %d are possible", CONFIG_GUEST_PORTS_MAX);
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, value, err);

	for (unsigned int i = 0; ret == 0 && i < vsock->n_guest_ports; i++)
		if (vsock->guest_ports[i].port == fresh.port)
			ret = error_set(err, EINVAL, "port: %u is already that of guest_ports[%u]",
					fresh.port, i);
	if (ret == 0)
		vsock->guest_ports[vsock->n_guest_ports++] = fresh;
	return ret;
}

int config_json_vsock(struct config_vsock *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_UINT("guest_cid", struct config_vsock, guest_cid, MIN_GUEST_CID,
			     UINT32_MAX - 1),
		  .required = true },
		{ FIELD_STRING("uds_path", struct config_vsock, uds_path, 1, CONFIG_UDS_PATH_MAX,
			       NULL) },
		{ FIELD_ARRAY("guest_ports", parse_guest_port) },
		{ FIELD_WHOLE("vsock_id", parse_vsock_id) },
	};
	struct config_vsock fresh = { .set = true };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	if (ret == 0 && !fresh.uds_path && fresh.n_guest_ports == 0)
		ret = error_set(err, EINVAL, "missing key \"uds_path\"");
	config_vsock_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}

/* RFC 3927 §2.1: the first and the last 256 addresses of 169.254/16 are reserved. */
static int parse_link_local(void *member, json_t *value, struct error *err)
{
	struct config_mmds *mmds = member;
	struct in_addr address;

	if (!json_is_string(value))
		return fields_wrong_type("a string", value, err);
	if (inet_pton(AF_INET, json_string_value(value), &address) != 1)
		return error_set(err, EINVAL, "\"%.64s\" is not an IPv4 address", json_string_value(value));
	mmds->ipv4_address = ntohl(address.s_addr);
	if (mmds->ipv4_address < 0xa9fe0100 || mmds->ipv4_address > 0xa9fefeff)
		return error_set(err, EINVAL, "\"%s\" is not link-local (169.254.1.0 to 169.254.254.255)",
				 json_string_value(value));
	return 0;
}

static int parse_mmds_interface(void *member, json_t *value, struct error *err)
{
	struct config_mmds *mmds = member;
	const char *id = json_string_value(value);

	if (!id)
		return fields_wrong_type("a string", value, err);
	for (unsigned int i = 0; i < mmds->n_network_interfaces; i++)
		if (strcmp(mmds->network_interfaces[i], id) == 0)
			return 0;
	if (mmds->n_network_interfaces == CONFIG_NETS_MAX)
		return error_set(err, EINVAL, "at most %d are possible", CONFIG_NETS_MAX);
	char *copy = strdup(id);

	if (!copy)
		return error_sys(err, ENOMEM, "copy");
	mmds->network_interfaces[mmds->n_network_interfaces++] = copy;
	return 0;
}

int config_json_mmds(struct config_mmds *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_NAME("version", struct config_mmds, version, config_mmds_version_names) },
		{ FIELD_ARRAY("network_interfaces", parse_mmds_interface), .required = true },
		{ FIELD_WHOLE("ipv4_address", parse_link_local) },
		{ FIELD_BOOL("imds_compat", struct config_mmds, imds_compat) },
	};
	struct config_mmds fresh = { .set = true, .ipv4_address = CONFIG_MMDS_IPV4 };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	if (ret == 0 && fresh.n_network_interfaces == 0)
		ret = error_set(err, EINVAL, "network_interfaces: is empty");
	config_mmds_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}

int config_json_entropy(struct config_entropy *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_PARSED("rate_limiter", struct config_entropy, rate_limiter,
			       parse_limiter) },
	};
	struct config_entropy fresh = { .set = true };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	if (ret == 0)
		*out = fresh;
	return ret;
}

int config_json_balloon(struct config_balloon *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_UINT("amount_mib", struct config_balloon, amount_mib, 0,
			     CONFIG_MEMORY_MIB_MAX),
		  .required = true },
		{ FIELD_BOOL("deflate_on_oom", struct config_balloon, deflate_on_oom),
		  .required = true },
		{ FIELD_UINT("stats_polling_interval_s", struct config_balloon,
			     stats_polling_interval_s, 0, UINT16_MAX) },
		{ FIELD_BOOL("free_page_hinting", struct config_balloon, free_page_hinting) },
		{ FIELD_BOOL("free_page_reporting", struct config_balloon, free_page_reporting) },
	};
	struct config_balloon fresh = { .set = true };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	if (ret == 0)
		*out = fresh;
	return ret;
}

int config_json_serial(struct config_serial *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_PATH("serial_out_path", struct config_serial, serial_out_path) },
		{ FIELD_PARSED("rate_limiter", struct config_serial, rate_limiter, parse_bucket) },
	};
	struct config_serial fresh = { .set = true };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	config_serial_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}

static int parse_level(void *member, json_t *value, struct error *err)
{
	if (!json_is_string(value))
		return fields_wrong_type("a string", value, err);
	if (log_level_parse(json_string_value(value), member) < 0)
		return error_set(err, EINVAL,
				 "\"%.64s\" is none of \"Off\", \"Error\", \"Warning\", \"Info\", "
				 "\"Debug\", \"Trace\"",
				 json_string_value(value));
	return 0;
}

int config_json_logger(struct config_logger *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_PATH("log_path", struct config_logger, log_path) },
		{ FIELD_PARSED("level", struct config_logger, level, parse_level) },
		{ FIELD_BOOL("show_level", struct config_logger, show_level) },
		{ FIELD_BOOL("show_log_origin", struct config_logger, show_log_origin) },
		{ FIELD_STRING("module", struct config_logger, module, 0, CONFIG_PATH_MAX, NULL) },
	};
	struct config_logger fresh = { .set = true, .level = LOG_INFO };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	config_logger_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}

/* What the operator wants in every line: names of its own with texts. */
static int parse_properties(void *member, json_t *value, struct error *err)
{
	json_t **properties = member, *text;
	const char *key;

	if (!json_is_object(value))
		return fields_wrong_type("an object", value, err);
	json_object_foreach(value, key, text) {
		if (json_is_string(text))
			continue;
		fields_wrong_type("a string", text, err);
		return error_wrap(err, "%.64s", key);
	}
	*properties = json_incref(value);
	return 0;
}

int config_json_metrics(struct config_metrics *out, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_PATH("metrics_path", struct config_metrics, metrics_path),
		  .required = true },
		{ FIELD_BOOL("emit_id", struct config_metrics, emit_id) },
		{ FIELD_PARSED("properties", struct config_metrics, properties, parse_properties) },
	};
	struct config_metrics fresh = { .set = true };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &fresh, object, err);

	config_metrics_release(ret < 0 ? &fresh : out);
	if (ret == 0)
		*out = fresh;
	return ret;
}
