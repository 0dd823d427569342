/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/state.h"

#include <signal.h>

#include "vmm/util.h"

static const char *const state_names[VM_STATES] = {
	[VM_STATE_NOT_STARTED] = "Not started", [VM_STATE_RUNNING] = "Running",
	[VM_STATE_PAUSED] = "Paused",		[VM_STATE_SHUTTING_DOWN] = "Shutting down",
	[VM_STATE_STOPPED] = "Stopped",		[VM_STATE_CRASHED] = "Crashed",
};

#define STOPPED(why, code, text)                                                                   \
	{                                                                                          \
		.state = VM_STATE_STOPPED, .stopped = (why), .exit_code = (code), .line = (text)   \
	}
#define CRASHED(why, code, text)                                                                   \
	{                                                                                          \
		.state = VM_STATE_CRASHED, .crashed = (why), .exit_code = (code), .line = (text)   \
	}

static const struct vm_end_info ends[VM_ENDS] = {
	[VM_END_NONE] = { .state = VM_STATE_RUNNING, .exit_code = EXIT_OK, .line = "guest runs" },
	[VM_END_POWER_OFF] = STOPPED(VM_STOPPED_SHUTDOWN, EXIT_OK, "guest powered off"),
	[VM_END_RESET] = STOPPED(VM_STOPPED_SHUTDOWN, EXIT_OK, "guest reset the machine"),
	[VM_END_SIGINT] = STOPPED(VM_STOPPED_DESTROYED, EXIT_SIGINT, "stopped by SIGINT"),
	[VM_END_SIGTERM] = STOPPED(VM_STOPPED_DESTROYED, EXIT_SIGTERM, "stopped by SIGTERM"),
	[VM_END_SIGHUP] = STOPPED(VM_STOPPED_DESTROYED, EXIT_SIGHUP, "stopped by SIGHUP"),
	[VM_END_PANIC] = CRASHED(VM_CRASHED_PANICKED, EXIT_GUEST_PANIC, "guest kernel panicked"),
	[VM_END_TRIPLE_FAULT] = CRASHED(VM_CRASHED_UNKNOWN, EXIT_TRIPLE_FAULT,
					"guest processor stopped with a triple fault"),
	[VM_END_KVM_FAILURE] =
		CRASHED(VM_CRASHED_UNKNOWN, EXIT_KVM_FAILURE, "KVM could not run the guest on"),
	[VM_END_MONITOR_FAILURE] = STOPPED(VM_STOPPED_CRASHED, EXIT_UNEXPECTED_ERROR,
					   "monitor failed while the guest ran"),
	[VM_END_START_FAILURE] =
		STOPPED(VM_STOPPED_FAILED, EXIT_GENERIC_ERROR, "microVM could not be started"),
};

const struct vm_end_info *vm_end_info(enum vm_end end)
{
	return &ends[(unsigned int)end < VM_ENDS ? end : VM_END_MONITOR_FAILURE];
}

const char *vm_state_name(enum vm_state state)
{
	return (unsigned int)state < VM_STATES ? state_names[state] : "Unknown";
}

enum vm_end vm_end_of_signal(int signum)
{
	switch (signum) {
	case SIGINT:
		return VM_END_SIGINT;
	case SIGTERM:
		return VM_END_SIGTERM;
	case SIGHUP:
		return VM_END_SIGHUP;
	default:
		return VM_END_NONE;
	}
}
