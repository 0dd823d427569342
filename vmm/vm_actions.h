/* SPDX-License-Identifier: Apache-2.0 */
/* What the API makes of a microVM: its actions (vmm/api/actions.h) done by struct vm. */
#ifndef MOTE_VM_ACTIONS_H
#define MOTE_VM_ACTIONS_H

#include "vmm/api/actions.h"
#include "vmm/vm.h"

/* The context of vm_actions. Both borrowed. */
struct vm_control {
	struct vm *vm;
	const struct config *config;
};

extern const struct api_actions vm_actions;

/* The log that was asked for, if one was. Errors: those of log_open(). */
int vm_open_log(const struct config_logger *logger, const char *id, struct error *err);

#endif
