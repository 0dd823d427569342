/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life cycle of a microVM: its states, the reasons for them, and the ways in which it ends.
 *
 * The states and reasons are a subset of libvirt's (virDomainState and the reasons that go with
 * it), each the counterpart of exactly one value there, so that a libvirt driver needs a table and
 * no judgement: tests/reference/test_libvirt.c holds that table. Ends are finer than reasons:
 * several ends can have the same one.
 */
#ifndef MOTE_STATE_H
#define MOTE_STATE_H

#include "vmm/exit.h"

enum vm_state {
	VM_STATE_NOT_STARTED, /* being configured: no vCPU has run */
	VM_STATE_RUNNING,
	VM_STATE_PAUSED,	/* see enum vm_paused_reason */
	VM_STATE_SHUTTING_DOWN, /* an end is decided, vCPUs and devices are being stopped */
	VM_STATE_STOPPED,	/* see enum vm_stopped_reason */
	VM_STATE_CRASHED,	/* the guest is beyond running on: see enum vm_crashed_reason */
};
#define VM_STATES (VM_STATE_CRASHED + 1)

enum vm_paused_reason {
	VM_PAUSED_USER, /* asked for from outside */
};
#define VM_PAUSED_REASONS (VM_PAUSED_USER + 1)

enum vm_stopped_reason {
	VM_STOPPED_SHUTDOWN,  /* the guest ended itself: power-off or reset */
	VM_STOPPED_DESTROYED, /* ended from outside: a signal */
	VM_STOPPED_CRASHED,   /* the monitor failed while the guest was well */
	VM_STOPPED_FAILED,    /* never came to run */
};
#define VM_STOPPED_REASONS (VM_STOPPED_FAILED + 1)

enum vm_crashed_reason {
	VM_CRASHED_UNKNOWN,  /* a processor can't go on, and the guest said nothing about it */
	VM_CRASHED_PANICKED, /* the guest's kernel reported a panic */
};
#define VM_CRASHED_REASONS (VM_CRASHED_PANICKED + 1)

/* How a microVM ended. The first one that is reported counts. */
enum vm_end {
	VM_END_NONE, /* it hasn't */
	VM_END_POWER_OFF,
	VM_END_RESET,
	VM_END_SIGINT,
	VM_END_SIGTERM,
	VM_END_SIGHUP,
	VM_END_PANIC,
	VM_END_TRIPLE_FAULT,
	VM_END_KVM_FAILURE,
	VM_END_MONITOR_FAILURE,
	VM_END_START_FAILURE,
};
#define VM_ENDS (VM_END_START_FAILURE + 1)

struct vm_end_info {
	enum vm_state state;		/* STOPPED or CRASHED; for VM_END_NONE, RUNNING */
	enum vm_stopped_reason stopped; /* if state is STOPPED */
	enum vm_crashed_reason crashed; /* if state is CRASHED */
	enum exit_code exit_code;
	const char *line; /* what a person reads: one line, no newline */
};

/* What follows from an end; static, never NULL. */
const struct vm_end_info *vm_end_info(enum vm_end end);

/* The state as the API names it ("Not started", "Running", "Paused" are Firecracker's). Static. */
const char *vm_state_name(enum vm_state state);

/* Which end a signal that asks the monitor to stop brings: SIGINT, SIGTERM, SIGHUP; NONE if none. */
enum vm_end vm_end_of_signal(int signum);

#endif
