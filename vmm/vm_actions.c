/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm_actions.h"

#include <errno.h>

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
		.path = logger->log_path, .level = logger->level, .show_level = logger->show_level,
		.show_origin = logger->show_log_origin, .id = id,
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
		return error_set(err, EINVAL, "metrics: there is no file: it's configured before the start");
	metrics_write(&vm->metrics);
	return 0;
}

static int ctrl_alt_del(void *context, struct error *err)
{
	return i8042_ctrl_alt_del(&vm_of(context)->i8042, err);
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
	.open_log = open_log,
	.open_metrics = open_metrics,
};
