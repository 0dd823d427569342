/* SPDX-License-Identifier: Apache-2.0 */
/* The config file: reading it, and its top level. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/api/fields.h"
#include "vmm/api/json.h"
#include "vmm/config.h"
#include "vmm/open.h"
#include "vmm/util.h"

static int no_room(unsigned int n, unsigned int max, struct error *err)
{
	return error_set(err, EINVAL, "too many devices: %u of at most %u", n + 1, max);
}

static int parse_boot_source(void *config, json_t *value, struct error *err)
{
	return config_json_boot_source(&((struct config *)config)->boot_source, value, err);
}

static int parse_machine(void *config, json_t *value, struct error *err)
{
	return config_json_machine(&((struct config *)config)->machine, value, err);
}

static int parse_drive(void *member, json_t *value, struct error *err)
{
	struct config *config = member;

	if (config->n_drives == CONFIG_DRIVES_MAX)
		return no_room(config->n_drives, CONFIG_DRIVES_MAX, err);
	int ret = config_json_drive(&config->drives[config->n_drives], value, err);

	if (ret == 0)
		config->n_drives++;
	return ret;
}

static int parse_net(void *member, json_t *value, struct error *err)
{
	struct config *config = member;

	if (config->n_nets == CONFIG_NETS_MAX)
		return no_room(config->n_nets, CONFIG_NETS_MAX, err);
	int ret = config_json_net(&config->nets[config->n_nets], value, err);

	if (ret == 0)
		config->n_nets++;
	return ret;
}

static int parse_vsock(void *config, json_t *value, struct error *err)
{
	return config_json_vsock(&((struct config *)config)->vsock, value, err);
}

static int parse_mmds(void *config, json_t *value, struct error *err)
{
	return config_json_mmds(&((struct config *)config)->mmds, value, err);
}

static int parse_entropy(void *config, json_t *value, struct error *err)
{
	return config_json_entropy(&((struct config *)config)->entropy, value, err);
}

static int parse_balloon(void *config, json_t *value, struct error *err)
{
	return config_json_balloon(&((struct config *)config)->balloon, value, err);
}

static int parse_serial(void *config, json_t *value, struct error *err)
{
	return config_json_serial(&((struct config *)config)->serial, value, err);
}

static int parse_logger(void *config, json_t *value, struct error *err)
{
	return config_json_logger(&((struct config *)config)->logger, value, err);
}

static int parse_metrics(void *config, json_t *value, struct error *err)
{
	return config_json_metrics(&((struct config *)config)->metrics, value, err);
}

/* Firecracker's objects that mote has no counterpart of yet. Empty lists ask for nothing. */
static int parse_unsupported(void *config, json_t *value, struct error *err)
{
	(void)config;
	if (json_is_array(value) && json_array_size(value) == 0)
		return 0;
	return error_set(err, EOPNOTSUPP, "not supported yet by this version");
}

static const struct field sections[] = {
	{ FIELD_WHOLE("boot-source", parse_boot_source) },
	{ FIELD_WHOLE("machine-config", parse_machine) },
	{ FIELD_ARRAY("drives", parse_drive) },
	{ FIELD_ARRAY("network-interfaces", parse_net) },
	{ FIELD_WHOLE("vsock", parse_vsock) },
	{ FIELD_WHOLE("mmds-config", parse_mmds) },
	{ FIELD_WHOLE("entropy", parse_entropy) },
	{ FIELD_WHOLE("balloon", parse_balloon) },
	{ FIELD_WHOLE("serial", parse_serial) },
	{ FIELD_WHOLE("logger", parse_logger) },
	{ FIELD_WHOLE("metrics", parse_metrics) },
	{ FIELD_WHOLE("cpu-config", parse_unsupported) },
	{ FIELD_WHOLE("memory-hotplug", parse_unsupported) },
	{ FIELD_WHOLE("pmem", parse_unsupported) },
};

int config_json_text(json_t **root, const char *text, size_t length, struct error *err)
{
	json_error_t why;

	*root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
	if (*root)
		return 0;
	return error_set(err, EINVAL, "line %d, column %d: %s", why.line, why.column, why.text);
}

/* The whole of path in *text (for the caller to free), which is one byte longer than *length. */
static int read_file(const char *path, char **text, size_t *length, struct error *err)
{
	cleanup_close int fd = open_file(path, O_RDONLY, err);
	cleanup_free char *buf = NULL;
	size_t len = 0;

	if (fd < 0)
		return error_wrap(err, "open");
	/* Whoever gave us the file may have written it. A pipe has no beginning. */
	lseek(fd, 0, SEEK_SET);
	buf = malloc(CONFIG_FILE_MAX + 1);
	if (!buf)
		return error_sys(err, ENOMEM, "read");
	while (len <= CONFIG_FILE_MAX) {
		ssize_t n = read(fd, buf + len, CONFIG_FILE_MAX + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_sys(err, errno, "read");
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (len > CONFIG_FILE_MAX)
		return error_set(err, EFBIG, "larger than %lu KiB", CONFIG_FILE_MAX / 1024);
	if (len == 0)
		return error_set(err, EINVAL, "empty");
	*text = buf;
	buf = NULL;
	*length = len;
	return 0;
}

static void cleanup_json(json_t **json)
{
	json_decref(*json);
}

int config_json_read(const char *path, json_t **root, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t length = 0;
	int ret = read_file(path, &text, &length, err);

	*root = NULL;
	return ret < 0 ? ret : config_json_text(root, text, length, err);
}

static int load(struct config *config, const char *path, json_t **root, struct error *err)
{
	int ret = config_json_read(path, root, err);

	if (!ret)
		ret = fields_parse(sections, ARRAY_SIZE(sections), config, *root, err);
	return ret;
}

int config_json_file(struct config *config, const char *path, json_t **root, struct error *err)
{
	*root = NULL;
	return load(config, path, root, err) < 0 ? error_wrap(err, "config \"%s\"", path) : 0;
}

int config_load_json(struct config *config, const char *path, struct error *err)
{
	__attribute__((cleanup(cleanup_json))) json_t *root = NULL;

	return config_json_file(config, path, &root, err);
}
