/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm_actions.h"

#include <errno.h>
#include <string.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/net.h"
#include "vmm/log.h"

static struct vm *vm_of(void *context)
{
	return ((struct vm_control *)context)->vm;
}

int vm_open_log(const struct config_logger *logger, const char *id, struct error *err)
{
	/* Nobody asked for a log: warnings and errors go to stderr, and that's all. */
	if (!logger->set)
		return 0;
	const struct log_options options = {
		.path = logger->log_path,
		.level = logger->level,
		.show_level = logger->show_level,
		.show_origin = logger->show_log_origin,
		.module = logger->module,
		.id = id,
	};

	return log_open(&options, err);
}

static enum vm_state state(void *context)
{
	return vm_of(context)->state;
}

static int start(void *context, struct error *err)
{
	const struct vm_control *control = context;
	int rc = vm_prepare(control->vm, control->config, err);

	if (rc == 0)
		rc = vm_build(control->vm, err);
	if (rc == 0)
		rc = vm_start(control->vm, err);
	if (rc < 0)
		vm_discard(control->vm);
	return rc;
}

static int pause_vm(void *context, struct error *err)
{
	return vm_pause(vm_of(context), err);
}

static int resume_vm(void *context, struct error *err)
{
	return vm_resume(vm_of(context), err);
}

static int flush_metrics(void *context, struct error *err)
{
	struct vm *vm = vm_of(context);

	if (vm->metrics.fd < 0)
		return error_set(err, EINVAL,
				 "metrics: there is no file: it's configured before the start");
	metrics_write(&vm->metrics);
	return 0;
}

static int ctrl_alt_del(void *context, struct error *err)
{
	return i8042_ctrl_alt_del(&vm_of(context)->i8042, err);
}

#define VIRTIO_ID_NET	  1
#define VIRTIO_ID_BLOCK	  2
#define VIRTIO_ID_BALLOON 5

static struct virtio_device *find_device(struct vm *vm, uint32_t kind, const char *id)
{
	for (unsigned int i = 0; i < vm->n_virtio; i++) {
		struct virtio_device *device = vm->virtio[i].device;

		if (device->ops->device_id == kind && strcmp(device->id, id) == 0)
			return device;
	}
	return NULL;
}

static int limit_drive(void *context, const char *id, const struct config_rate_limiter *limits,
		       struct error *err)
{
	struct virtio_device *device = find_device(vm_of(context), VIRTIO_ID_BLOCK, id);
	const struct rate_limits changed = vm_rate_limits(limits);

	return device ? virtio_blk_set_limits(device, &changed, err)
		      : error_set(err, ENOENT, "drive \"%s\": there is none", id);
}

static int change_drive(void *context, const char *id, const char *path, struct error *err)
{
	struct virtio_device *device = find_device(vm_of(context), VIRTIO_ID_BLOCK, id);

	return device ? virtio_blk_change_path(device, path, err)
		      : error_set(err, ENOENT, "drive \"%s\": there is none", id);
}

static int limit_net(void *context, const char *id, const struct config_rate_limiter *rx,
		     const struct config_rate_limiter *tx, struct error *err)
{
	struct virtio_device *device = find_device(vm_of(context), VIRTIO_ID_NET, id);
	const struct rate_limits changed_rx = vm_rate_limits(rx), changed_tx = vm_rate_limits(tx);

	return device ? virtio_net_set_limits(device, &changed_rx, &changed_tx, err)
		      : error_set(err, ENOENT, "network interface \"%s\": there is none", id);
}

static struct virtio_device *balloon(void *context)
{
	return find_device(vm_of(context), VIRTIO_ID_BALLOON, "balloon");
}

static int open_log(void *context, const struct config_logger *logger, struct error *err)
{
	return vm_open_log(logger, vm_of(context)->id, err);
}

static int open_metrics(void *context, const struct config_metrics *metrics, struct error *err)
{
	return vm_open_metrics(vm_of(context), metrics, err);
}

const struct api_actions vm_actions = {
	.state = state,
	.start = start,
	.pause = pause_vm,
	.resume = resume_vm,
	.flush_metrics = flush_metrics,
	.ctrl_alt_del = ctrl_alt_del,
	.limit_drive = limit_drive,
	.change_drive = change_drive,
	.limit_net = limit_net,
	.balloon = balloon,
	.open_log = open_log,
	.open_metrics = open_metrics,
};
