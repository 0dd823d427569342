/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --config: the configuration is read and checked outside, what it names is opened with the
 * caller's rights, and the monitor gets one that says "/dev/fd/N" instead. It needs no file system
 * then, and no right to any file.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include <jansson.h>

#include "devices/backend/tap.h"
#include "tools/jailer/jail.h"
#include "tools/jailer/objects.h"
#include "vmm/api/json.h"
#include "vmm/open.h"
#include "vmm/util.h"

static int set_text(json_t *object, const char *key, const char *text, struct error *err)
{
	if (json_object_set_new(object, key, json_string(text)) < 0)
		return error_sys(err, ENOMEM, "rewrite the configuration");
	return 0;
}

/* The monitor inherits fd, and finds it where object says key. */
static int pass(struct jail *jail, int fd, json_t *object, const char *key, struct error *err)
{
	char name[32];

	jail->passed[jail->n_passed++] = fd;
	snprintf(name, sizeof(name), "/dev/fd/%d", fd);
	return set_text(object, key, name, err);
}

static int pass_file(struct jail *jail, const char *path, enum object_kind kind, int flags,
		     json_t *object, const char *key, struct error *err)
{
	int fd = object_open(path, kind, flags, err);

	return fd < 0 ? fd : pass(jail, fd, object, key, err);
}

static int pass_boot_source(struct jail *jail, const struct config_boot_source *boot, json_t *root,
			    struct error *err)
{
	json_t *object = json_object_get(root, "boot-source");

	if (pass_file(jail, boot->kernel_image_path, OBJECT_FILE, O_RDONLY, object,
		      "kernel_image_path", err) < 0)
		return error_wrap(err, "boot-source: kernel");
	if (boot->initrd_path && pass_file(jail, boot->initrd_path, OBJECT_FILE, O_RDONLY, object,
					   "initrd_path", err) < 0)
		return error_wrap(err, "boot-source: initrd");
	return 0;
}

static int pass_drives(struct jail *jail, const struct config *config, json_t *root,
		       struct error *err)
{
	json_t *array = json_object_get(root, "drives");

	for (unsigned int i = 0; i < config->n_drives; i++) {
		const struct config_drive *drive = &config->drives[i];

		if (pass_file(jail, drive->path_on_host, OBJECT_DISK,
			      drive->is_read_only ? O_RDONLY : O_RDWR, json_array_get(array, i),
			      "path_on_host", err) < 0)
			return error_wrap(err, "drive \"%s\"", drive->drive_id);
	}
	return 0;
}

static int pass_nets(struct jail *jail, const struct config *config, json_t *root,
		     struct error *err)
{
	json_t *array = json_object_get(root, "network-interfaces");

	for (unsigned int i = 0; i < config->n_nets; i++) {
		const struct config_net *net = &config->nets[i];
		struct tap tap;

		if (tap_open(&tap, net->host_dev_name, err) < 0 ||
		    pass(jail, tap.fd, json_array_get(array, i), "host_dev_name", err) < 0)
			return error_wrap(err, "network interface \"%s\"", net->iface_id);
	}
	return 0;
}

/* The sockets of guest_ports, which the caller has connected. */
static int pass_guest_ports(struct jail *jail, const struct config_vsock *vsock, json_t *root,
			    struct error *err)
{
	json_t *array = json_object_get(json_object_get(root, "vsock"), "guest_ports");

	for (unsigned int i = 0; i < vsock->n_guest_ports; i++) {
		int fd = inherited_take((int)vsock->guest_ports[i].fd, O_RDWR, err);

		if (fd < 0)
			return error_wrap(err, "vsock: guest_ports[%u]", i);
		jail->passed[jail->n_passed++] = fd;
		if (json_object_set_new(json_array_get(array, i), "fd", json_integer(fd)) < 0)
			return error_sys(err, ENOMEM, "rewrite the configuration");
	}
	return 0;
}

/* Other sockets are made and found beside the first one, so it is their directory that goes in. */
static int move_vsock(struct jail *jail, const struct config_vsock *vsock, json_t *root,
		      struct error *err)
{
	const char *slash = vsock->uds_path ? strrchr(vsock->uds_path, '/') : NULL;
	const char *name = slash ? slash + 1 : vsock->uds_path;
	char inside[PATH_MAX];

	if (!vsock->uds_path)
		return 0;
	if (name[0] == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(err, EINVAL, "vsock: uds_path \"%s\" is a directory",
				 vsock->uds_path);
	jail->vsock_dir = !slash ? strdup(".")
			  : slash == vsock->uds_path
				  ? strdup("/")
				  : strndup(vsock->uds_path, (size_t)(slash - vsock->uds_path));
	if (!jail->vsock_dir)
		return error_sys(err, ENOMEM, "vsock");
	snprintf(inside, sizeof(inside), "/" JAIL_VSOCK_DIR "/%s", name);
	if (strlen(inside) > CONFIG_UDS_PATH_MAX)
		return error_set(err, ENAMETOOLONG, "vsock: uds_path \"%s\" is too long for \"%s\"",
				 vsock->uds_path, inside);
	return set_text(json_object_get(root, "vsock"), "uds_path", inside, err);
}

/* Last: these may be made, and what fails later would leave them. */
static int pass_sinks(struct jail *jail, const struct config *config, json_t *root,
		      struct error *err)
{
	const struct {
		const char *object, *key, *path;
	} sinks[] = {
		{ "serial", "serial_out_path", config->serial.serial_out_path },
		{ "logger", "log_path", config->logger.log_path },
		{ "metrics", "metrics_path", config->metrics.metrics_path },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(sinks); i++)
		if (sinks[i].path &&
		    pass_file(jail, sinks[i].path, OBJECT_SINK, 0,
			      json_object_get(root, sinks[i].object), sinks[i].key, err) < 0)
			return error_wrap(err, "%s", sinks[i].object);
	return 0;
}

static int pass_config(struct jail *jail, json_t *root, struct error *err)
{
	cleanup_close int fd = memfd_create("config", MFD_CLOEXEC);

	if (fd < 0 || json_dumpfd(root, fd, JSON_COMPACT) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return error_sys(err, errno, "write the monitor's configuration");
	jail->config = take_fd(&fd);
	jail->passed[jail->n_passed++] = jail->config;
	return 0;
}

static int pass_all(struct jail *jail, const struct config *config, json_t *root, struct error *err)
{
	int ret = pass_boot_source(jail, &config->boot_source, root, err);

	if (ret == 0)
		ret = pass_drives(jail, config, root, err);
	if (ret == 0)
		ret = pass_nets(jail, config, root, err);
	if (ret == 0)
		ret = pass_guest_ports(jail, &config->vsock, root, err);
	if (ret == 0)
		ret = move_vsock(jail, &config->vsock, root, err);
	if (ret == 0)
		ret = pass_sinks(jail, config, root, err);
	return ret < 0 ? ret : pass_config(jail, root, err);
}

int objects_open(struct jail *jail, struct error *err)
{
	static struct config config;
	json_t *root = NULL;

	if (!jail->args->config_path)
		return 0;
	config_init(&config);
	int ret = config_json_file(&config, jail->args->config_path, &root, err);

	if (ret == 0)
		ret = config_validate(&config, err);
	if (ret == 0)
		ret = pass_all(jail, &config, root, err);
	json_decref(root);
	config_release(&config);
	return ret;
}
