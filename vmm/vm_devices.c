/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio devices of the configuration, each with its transport. */
#include <string.h>

#include "devices/mmds/service.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/vsock.h"
#include "vmm/vm.h"

struct rate_limit vm_rate_limit(const struct config_token_bucket *bucket)
{
	return (struct rate_limit){ .given = bucket->set,
				    .size = bucket->size,
				    .one_time_burst = bucket->one_time_burst,
				    .refill_ms = bucket->refill_time_ms };
}

struct rate_limits vm_rate_limits(const struct config_rate_limiter *limiter)
{
	return (struct rate_limits){ .bandwidth = vm_rate_limit(&limiter->bandwidth),
				     .ops = vm_rate_limit(&limiter->ops) };
}

/* Give a virtio device its transport, its page of MMIO and its GSI. Takes ownership of it. */
static int attach_virtio(struct vm *vm, struct virtio_device *device, struct error *err)
{
	unsigned int i = vm->n_virtio;
	int rc = virtio_mmio_init(&vm->virtio[i], device, err);

	if (rc < 0)
		return rc;
	vm->slots[i] = (struct platform_virtio){
		.mmio_base = LAYOUT_VIRTIO_MMIO + i * (uint64_t)VIRTIO_MMIO_SIZE,
		.gsi = VIRTIO_GSI_FIRST + i,
	};
	vm->n_virtio++;
	return bus_add(&vm->mmio, vm->slots[i].mmio_base, VIRTIO_MMIO_SIZE, &virtio_mmio_bus_ops,
		       &vm->virtio[i], err);
}

static int add_drive(struct vm *vm, const struct config_drive *drive, struct error *err)
{
	struct virtio_blk_options options = {
		.id = drive->drive_id,
		.path = drive->path_on_host,
		.read_only = drive->is_read_only,
		.writeback = drive->cache_type == CONFIG_CACHE_WRITEBACK,
		.engine = drive->io_engine == CONFIG_IO_ASYNC ? DISK_ASYNC : DISK_SYNC,
		/* No thread of ours may make another one once the guest runs. */
		.start_thread = true,
		.thread_rules = vm->thread_rules,
		.limits = vm_rate_limits(&drive->rate_limiter),
	};
	struct virtio_device *device;
	int rc = virtio_blk_create(&options, &vm->memory, &vm->loop, &device, err);

	return rc < 0 ? rc : attach_virtio(vm, device, err);
}

static bool has_mmds(const struct config_mmds *mmds, const char *iface_id)
{
	for (unsigned int i = 0; i < mmds->n_network_interfaces; i++)
		if (strcmp(mmds->network_interfaces[i], iface_id) == 0)
			return true;
	return false;
}

static void set_up_mmds(struct vm *vm)
{
	const struct config_mmds *mmds = &vm->config->mmds;

	vm->mmds->version = mmds->version == CONFIG_MMDS_V2 ? MMDS_V2 : MMDS_V1;
	vm->mmds->imds_compat = mmds->imds_compat;
}

static int add_net(struct vm *vm, const struct config_net *net, struct error *err)
{
	struct virtio_net_options options = {
		.id = net->iface_id,
		.tap_name = net->host_dev_name,
		.has_mac = net->has_mac,
		.mtu = net->mtu,
		.mmds = has_mmds(&vm->config->mmds, net->iface_id) ? vm->mmds : NULL,
		.mmds_ip = vm->config->mmds.ipv4_address,
		.rx_limits = vm_rate_limits(&net->rx_rate_limiter),
		.tx_limits = vm_rate_limits(&net->tx_rate_limiter),
	};
	struct virtio_device *device;

	memcpy(options.mac, net->guest_mac, sizeof(options.mac));
	int rc = virtio_net_create(&options, &vm->memory, &vm->loop, &device, err);

	return rc < 0 ? rc : attach_virtio(vm, device, err);
}

static int add_vsock(struct vm *vm, const struct config_vsock *vsock, struct error *err)
{
	struct vsock_guest_port ports[CONFIG_GUEST_PORTS_MAX];
	struct virtio_vsock_options options = {
		.id = "vsock",
		.guest_cid = vsock->guest_cid,
		.uds_path = vsock->uds_path,
		.guest_ports = ports,
		.n_guest_ports = vsock->n_guest_ports,
	};
	struct virtio_device *device;

	for (unsigned int i = 0; i < vsock->n_guest_ports; i++)
		ports[i] = (struct vsock_guest_port){ .port = vsock->guest_ports[i].port,
						      .fd = (int)vsock->guest_ports[i].fd };
	int rc = virtio_vsock_create(&options, &vm->memory, &vm->loop, &device, err);

	return rc < 0 ? rc : attach_virtio(vm, device, err);
}

static int add_entropy(struct vm *vm, const struct config_entropy *entropy, struct error *err)
{
	const struct rate_limits limits = vm_rate_limits(&entropy->rate_limiter);
	struct virtio_device *device;
	int rc = virtio_rng_create("entropy", &vm->memory, &vm->loop, &device, err);

	if (rc == 0)
		rc = attach_virtio(vm, device, err);
	return rc < 0 ? rc : virtio_rng_set_limits(device, &limits, err);
}

static int add_balloon(struct vm *vm, const struct config_balloon *balloon, struct error *err)
{
	const struct virtio_balloon_options options = {
		.amount_mib = balloon->amount_mib,
		.deflate_on_oom = balloon->deflate_on_oom,
		.stats_interval_s = balloon->stats_polling_interval_s,
		.hinting = balloon->free_page_hinting,
		.reporting = balloon->free_page_reporting,
	};
	struct virtio_device *device;
	int rc = virtio_balloon_create(&options, &vm->memory, &vm->loop, &device, err);

	return rc < 0 ? rc : attach_virtio(vm, device, err);
}

/* Firecracker's order: the root drive first, so that it is /dev/vda. */
int vm_add_virtio_devices(struct vm *vm, struct error *err)
{
	const struct config *c = vm->config;
	int rc = 0;

	for (unsigned int pass = 0; pass < 2; pass++)
		for (unsigned int i = 0; rc == 0 && i < c->n_drives; i++)
			if (c->drives[i].is_root_device == (pass == 0))
				rc = add_drive(vm, &c->drives[i], err);
	set_up_mmds(vm);
	for (unsigned int i = 0; rc == 0 && i < c->n_nets; i++)
		rc = add_net(vm, &c->nets[i], err);
	if (rc == 0 && c->vsock.set)
		rc = add_vsock(vm, &c->vsock, err);
	if (rc == 0 && c->entropy.set)
		rc = add_entropy(vm, &c->entropy, err);
	if (rc == 0 && c->balloon.set)
		rc = add_balloon(vm, &c->balloon, err);
	return rc;
}
