/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/config.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "vmm/util.h"

#define MACHINE_DEFAULT_MEMORY_MIB 128

void config_init(struct config *config)
{
	*config = (struct config){
		.machine = {
			.vcpu_count = 1,
			.mem_size_mib = MACHINE_DEFAULT_MEMORY_MIB,
			.huge_pages = MEMORY_BACKING_NONE,
			.platform = CONFIG_PLATFORM_ACPI,
		},
		.logger = { .level = LOG_INFO },
	};
}

void config_boot_source_release(struct config_boot_source *boot_source)
{
	free(boot_source->kernel_image_path);
	free(boot_source->initrd_path);
	free(boot_source->boot_args);
	*boot_source = (struct config_boot_source){ 0 };
}

void config_drive_release(struct config_drive *drive)
{
	free(drive->drive_id);
	free(drive->path_on_host);
	free(drive->partuuid);
	*drive = (struct config_drive){ 0 };
}

void config_net_release(struct config_net *net)
{
	free(net->iface_id);
	free(net->host_dev_name);
	*net = (struct config_net){ 0 };
}

void config_vsock_release(struct config_vsock *vsock)
{
	free(vsock->uds_path);
	*vsock = (struct config_vsock){ 0 };
}

void config_mmds_release(struct config_mmds *mmds)
{
	for (unsigned int i = 0; i < mmds->n_network_interfaces; i++)
		free(mmds->network_interfaces[i]);
	*mmds = (struct config_mmds){ 0 };
}

void config_serial_release(struct config_serial *serial)
{
	free(serial->serial_out_path);
	*serial = (struct config_serial){ 0 };
}

void config_logger_release(struct config_logger *logger)
{
	free(logger->log_path);
	free(logger->module);
	*logger = (struct config_logger){ 0 };
}

void config_metrics_release(struct config_metrics *metrics)
{
	free(metrics->metrics_path);
	json_decref(metrics->properties);
	*metrics = (struct config_metrics){ 0 };
}

void config_release(struct config *config)
{
	config_boot_source_release(&config->boot_source);
	for (unsigned int i = 0; i < config->n_drives; i++)
		config_drive_release(&config->drives[i]);
	for (unsigned int i = 0; i < config->n_nets; i++)
		config_net_release(&config->nets[i]);
	config_vsock_release(&config->vsock);
	config_mmds_release(&config->mmds);
	config_serial_release(&config->serial);
	config_logger_release(&config->logger);
	config_metrics_release(&config->metrics);
	config_init(config);
}

static int validate_machine(const struct config_machine *machine, struct error *err)
{
	struct sysinfo host;

	if (machine->smt && machine->vcpu_count != 1 && machine->vcpu_count % 2)
		return error_set(
			err, EINVAL,
			"machine-config: vcpu_count: %u is neither 1 nor even, as smt needs",
			machine->vcpu_count);
	if (machine->huge_pages == MEMORY_BACKING_HUGETLB_2M && machine->mem_size_mib % 2)
		return error_set(err, EINVAL,
				 "machine-config: mem_size_mib: %" PRIu64
				 " is not a multiple of 2, as huge_pages \"2M\" needs",
				 machine->mem_size_mib);
	if (sysinfo(&host) < 0)
		return error_sys(err, errno, "machine-config: mem_size_mib: sysinfo");
	uint64_t host_mib = (uint64_t)host.totalram * host.mem_unit / MIB;

	if (machine->mem_size_mib > host_mib)
		return error_set(err, EINVAL,
				 "machine-config: mem_size_mib: %" PRIu64
				 " is more than the host has (%" PRIu64 ")",
				 machine->mem_size_mib, host_mib);
	return 0;
}

static int already_taken(struct error *err, const char *array, unsigned int i, unsigned int other,
			 const char *key, const char *value)
{
	return error_set(err, EINVAL, "%s[%u]: %s: \"%s\" is already that of %s[%u]", array, i, key,
			 value, array, other);
}

static int validate_drives(const struct config *config, struct error *err)
{
	int root = -1;

	for (unsigned int i = 0; i < config->n_drives; i++) {
		const struct config_drive *drive = &config->drives[i];

		for (unsigned int k = 0; k < i; k++)
			if (strcmp(drive->drive_id, config->drives[k].drive_id) == 0)
				return already_taken(err, "drives", i, k, "drive_id",
						     drive->drive_id);
		if (drive->is_root_device && root >= 0)
			return error_set(
				err, EINVAL,
				"drives[%u]: is_root_device: drives[%d] is the root already", i,
				root);
		if (drive->is_root_device)
			root = (int)i;
	}
	return 0;
}

#define MAC_TEXT_SIZE 18

static const char *mac_text(const uint8_t mac[6], char text[MAC_TEXT_SIZE])
{
	snprintf(text, MAC_TEXT_SIZE, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return text;
}

static int validate_nets(const struct config *config, struct error *err)
{
	static const char array[] = "network-interfaces";
	char mac[MAC_TEXT_SIZE];

	for (unsigned int i = 0; i < config->n_nets; i++) {
		const struct config_net *net = &config->nets[i];

		for (unsigned int k = 0; k < i; k++) {
			const struct config_net *other = &config->nets[k];

			if (strcmp(net->iface_id, other->iface_id) == 0)
				return already_taken(err, array, i, k, "iface_id", net->iface_id);
			if (strcmp(net->host_dev_name, other->host_dev_name) == 0)
				return already_taken(err, array, i, k, "host_dev_name",
						     net->host_dev_name);
			if (net->has_mac && other->has_mac &&
			    memcmp(net->guest_mac, other->guest_mac, sizeof(net->guest_mac)) == 0)
				return already_taken(err, array, i, k, "guest_mac",
						     mac_text(net->guest_mac, mac));
		}
	}
	return 0;
}

static int validate_mmds(const struct config *config, struct error *err)
{
	const struct config_mmds *mmds = &config->mmds;

	for (unsigned int i = 0; i < mmds->n_network_interfaces; i++) {
		unsigned int k = 0;

		while (k < config->n_nets &&
		       strcmp(config->nets[k].iface_id, mmds->network_interfaces[i]) != 0)
			k++;
		if (k == config->n_nets)
			return error_set(err, EINVAL,
					 "mmds-config: network_interfaces[%u]: no network interface is called \"%s\"",
					 i, mmds->network_interfaces[i]);
	}
	return 0;
}

static int validate_device_count(const struct config *config, struct error *err)
{
	unsigned int n = config->n_drives + config->n_nets + config->vsock.set +
			 config->entropy.set + config->balloon.set;

	if (n > CONFIG_VIRTIO_MAX)
		return error_set(err, EINVAL, "too many devices: %u of at most %u", n,
				 CONFIG_VIRTIO_MAX);
	return 0;
}

static int validate_balloon(const struct config *config, struct error *err)
{
	const struct config_balloon *balloon = &config->balloon;

	if (!balloon->set || balloon->amount_mib <= config->machine.mem_size_mib)
		return 0;
	return error_set(err, EINVAL,
			 "balloon: amount_mib: %u is more than the machine's mem_size_mib (%" PRIu64
			 ")",
			 balloon->amount_mib, config->machine.mem_size_mib);
}

int config_validate_objects(const struct config *config, struct error *err)
{
	int ret = validate_machine(&config->machine, err);

	if (!ret)
		ret = validate_device_count(config, err);
	if (!ret)
		ret = validate_drives(config, err);
	if (!ret)
		ret = validate_nets(config, err);
	if (!ret)
		ret = validate_balloon(config, err);
	if (!ret)
		ret = validate_mmds(config, err);
	return ret;
}

int config_validate(const struct config *config, struct error *err)
{
	if (!config->boot_source.kernel_image_path)
		return error_set(err, EINVAL, "missing key \"boot-source\"");
	return config_validate_objects(config, err);
}
