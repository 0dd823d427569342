/* SPDX-License-Identifier: Apache-2.0 */
/* Changing a configuration object by object, as the API does. */
#include <errno.h>
#include <string.h>

#include "vmm/config.h"
#include "vmm/open.h"

int config_find_file(const char *what, const char *path, struct error *err)
{
	struct stat st;

	return stat_file(path, &st, err) < 0 ? error_wrap(err, "%s \"%s\"", what, path) : 0;
}

struct config_drive *config_find_drive(struct config *config, const char *id)
{
	for (unsigned int i = 0; i < config->n_drives; i++)
		if (strcmp(config->drives[i].drive_id, id) == 0)
			return &config->drives[i];
	return NULL;
}

struct config_net *config_find_net(struct config *config, const char *id)
{
	for (unsigned int i = 0; i < config->n_nets; i++)
		if (strcmp(config->nets[i].iface_id, id) == 0)
			return &config->nets[i];
	return NULL;
}

void config_update_limiter(struct config_rate_limiter *limiter,
			   const struct config_rate_limiter *update)
{
	if (update->bandwidth.set)
		limiter->bandwidth = update->bandwidth;
	if (update->ops.set)
		limiter->ops = update->ops;
}

int config_put_boot_source(struct config *config, struct config_boot_source *boot,
			   struct error *err)
{
	if (config_find_file("boot-source: kernel_image_path", boot->kernel_image_path, err) < 0 ||
	    (boot->initrd_path &&
	     config_find_file("boot-source: initrd_path", boot->initrd_path, err) < 0))
		return -err->errnum;
	config_boot_source_release(&config->boot_source);
	config->boot_source = *boot;
	*boot = (struct config_boot_source){ 0 };
	return 0;
}

int config_put_machine(struct config *config, const struct config_machine *machine,
		       struct error *err)
{
	struct config candidate = *config;

	candidate.machine = *machine;
	int rc = config_validate_objects(&candidate, err);

	if (rc == 0)
		config->machine = *machine;
	return rc;
}

int config_put_drive(struct config *config, struct config_drive *drive, struct error *err)
{
	struct config candidate = *config;
	struct config_drive *old = config_find_drive(config, drive->drive_id);
	unsigned int i = old ? (unsigned int)(old - config->drives) : config->n_drives;

	if (i == CONFIG_DRIVES_MAX)
		return error_set(err, EINVAL, "drives: at most %d are possible", CONFIG_DRIVES_MAX);
	if (config_find_file("drive: path_on_host", drive->path_on_host, err) < 0)
		return -err->errnum;
	candidate.drives[i] = *drive;
	candidate.n_drives += i == config->n_drives;
	int rc = config_validate_objects(&candidate, err);

	if (rc < 0)
		return rc;
	if (old)
		config_drive_release(old);
	*config = candidate;
	*drive = (struct config_drive){ 0 };
	return 0;
}

int config_put_net(struct config *config, struct config_net *net, struct error *err)
{
	struct config candidate = *config;
	struct config_net *old = config_find_net(config, net->iface_id);
	unsigned int i = old ? (unsigned int)(old - config->nets) : config->n_nets;

	if (i == CONFIG_NETS_MAX)
		return error_set(err, EINVAL, "network-interfaces: at most %d are possible",
				 CONFIG_NETS_MAX);
	candidate.nets[i] = *net;
	candidate.n_nets += i == config->n_nets;
	int rc = config_validate_objects(&candidate, err);

	if (rc < 0)
		return rc;
	if (old)
		config_net_release(old);
	*config = candidate;
	*net = (struct config_net){ 0 };
	return 0;
}

int config_put_vsock(struct config *config, struct config_vsock *vsock, struct error *err)
{
	struct config candidate = *config;

	candidate.vsock = *vsock;
	int rc = config_validate_objects(&candidate, err);

	if (rc < 0)
		return rc;
	config_vsock_release(&config->vsock);
	config->vsock = *vsock;
	*vsock = (struct config_vsock){ 0 };
	return 0;
}

int config_put_entropy(struct config *config, const struct config_entropy *entropy,
		       struct error *err)
{
	struct config candidate = *config;

	candidate.entropy = *entropy;
	int rc = config_validate_objects(&candidate, err);

	if (rc == 0)
		config->entropy = *entropy;
	return rc;
}

int config_put_balloon(struct config *config, const struct config_balloon *balloon, struct error *err)
{
	struct config candidate = *config;

	candidate.balloon = *balloon;
	int rc = config_validate_objects(&candidate, err);

	if (rc == 0)
		config->balloon = *balloon;
	return rc;
}

int config_put_mmds(struct config *config, struct config_mmds *mmds, struct error *err)
{
	struct config candidate = *config;

	candidate.mmds = *mmds;
	int rc = config_validate_objects(&candidate, err);

	if (rc < 0)
		return rc;
	config_mmds_release(&config->mmds);
	config->mmds = *mmds;
	*mmds = (struct config_mmds){ 0 };
	return 0;
}

int config_put_serial(struct config *config, struct config_serial *serial, struct error *err)
{
	struct config candidate = *config;

	candidate.serial = *serial;
	int rc = config_validate_objects(&candidate, err);

	if (rc < 0)
		return rc;
	config_serial_release(&config->serial);
	config->serial = *serial;
	*serial = (struct config_serial){ 0 };
	return 0;
}
