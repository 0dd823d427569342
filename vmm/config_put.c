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

int config_put_boot_source(struct config *config, struct config_boot_source *boot, struct error *err)
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

int config_put_machine(struct config *config, const struct config_machine *machine, struct error *err)
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
	unsigned int i = 0;

	while (i < config->n_drives && strcmp(config->drives[i].drive_id, drive->drive_id) != 0)
		i++;
	if (i == CONFIG_DRIVES_MAX)
		return error_set(err, EINVAL, "drives: at most %d are possible", CONFIG_DRIVES_MAX);
	if (config_find_file("drive: path_on_host", drive->path_on_host, err) < 0)
		return -err->errnum;
	candidate.drives[i] = *drive;
	candidate.n_drives += i == config->n_drives;
	int rc = config_validate_objects(&candidate, err);

	if (rc < 0)
		return rc;
	if (i < config->n_drives)
		config_drive_release(&config->drives[i]);
	*config = candidate;
	*drive = (struct config_drive){ 0 };
	return 0;
}

int config_put_net(struct config *config, struct config_net *net, struct error *err)
{
	struct config candidate = *config;
	unsigned int i = 0;

	while (i < config->n_nets && strcmp(config->nets[i].iface_id, net->iface_id) != 0)
		i++;
	if (i == CONFIG_NETS_MAX)
		return error_set(err, EINVAL, "network-interfaces: at most %d are possible",
				 CONFIG_NETS_MAX);
	candidate.nets[i] = *net;
	candidate.n_nets += i == config->n_nets;
	int rc = config_validate_objects(&candidate, err);

	if (rc < 0)
		return rc;
	if (i < config->n_nets)
		config_net_release(&config->nets[i]);
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

int config_put_entropy(struct config *config, const struct config_entropy *entropy, struct error *err)
{
	struct config candidate = *config;

	candidate.entropy = *entropy;
	int rc = config_validate_objects(&candidate, err);

	if (rc == 0)
		config->entropy = *entropy;
	return rc;
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
