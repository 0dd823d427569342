/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vCPU threads: the run loop, exits, and stopping them without a race.
 *
 * All vCPUs of a VM follow one target state. A thread that isn't to run parks on a condition
 * variable; vcpus_set() sets the target, kicks every thread out of KVM_RUN and, for a pause, waits
 * until all are parked. A kick sets immediate_exit before the signal, so that one that arrives
 * between the check and KVM_RUN isn't lost (KVM api.rst, kvm_run.immediate_exit).
 */
#ifndef MOTE_VCPU_H
#define MOTE_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/state.h"
#include "vmm/thread.h"

enum vcpu_target { VCPU_PAUSED, VCPU_RUNNING, VCPU_EXITED };

/* Exits to user space by kind. Written by the vCPU's thread, read by anybody. */
struct vcpu_stats {
	_Atomic uint64_t runs;  /* KVM_RUN calls */
	_Atomic uint64_t pio_in, pio_out, mmio_read, mmio_write;
	_Atomic uint64_t interrupted;
	_Atomic uint64_t failures; /* KVM couldn't go on */
	_Atomic uint64_t unclaimed; /* accesses to addresses where nothing is */
};

struct vcpu_group;

struct vcpu {
	struct vcpu_group *group;
	uint32_t index;
	int fd;
	struct kvm_run *run; /* shared with KVM: group->run_size bytes */
	struct thread thread;
	struct vcpu_stats stats;
};

/* Called on a vCPU's thread, at most once by each, when the guest can't or won't go on. */
typedef void (*vcpu_end_fn)(void *context, enum vm_end end, const char *detail);

struct vcpu_group {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic int target;     /* enum vcpu_target */
	unsigned int n_parked;
	unsigned int n;
	uint32_t run_size;
	struct vcpu vcpus[CONFIG_VCPUS_MAX];
	const struct bus *pio, *mmio;
	vcpu_end_fn on_end;
	void *context;
};

/* Create n vCPUs (KVM_CREATE_VCPU) without threads. The group starts paused. */
int vcpus_create(struct vcpu_group *group, const struct kvm *kvm, unsigned int n,
		 const struct bus *pio, const struct bus *mmio, vcpu_end_fn on_end, void *context,
		 struct error *err);

/*
 * Start the threads, named "NAME N" (NAME: up to 12 characters), each under the rules of THREAD_VCPU
 * (NULL = none) before anything else; they run at once if the target is VCPU_RUNNING.
 */
int vcpus_start(struct vcpu_group *group, const char *name, const struct thread_rules *rules,
		struct error *err);

/*
 * Change what all vCPUs do. VCPU_PAUSED returns when each is parked with its last exit completed,
 * so that its state can be saved (api.rst 5, KVM_EXIT_IO: "pending operations").
 */
void vcpus_set(struct vcpu_group *group, enum vcpu_target target);

/* End and join the threads, close everything; the statistics stay readable. */
void vcpus_release(struct vcpu_group *group);

#endif
