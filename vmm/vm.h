/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One microVM: what it owns and its life cycle. main.c shows the order of the calls.
 *
 * vm_init makes what there is without a guest: the event loop, signals, the way to an end. vm_prepare
 * takes everything on the host that the configuration names (files, taps, sockets, memory); a failure
 * there is the configuration's. vm_build turns it into a KVM VM; a failure there is the host's.
 * vm_start lets the guest run. vm_run runs the event loop on the calling thread until the microVM has
 * ended; with an API it may be called before the rest, which then happens in callbacks of the loop.
 */
#ifndef MOTE_VM_H
#define MOTE_VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/backend/rate_limiter.h"
#include "devices/legacy/i8042.h"
#include "devices/legacy/platform.h"
#include "devices/legacy/serial.h"
#include "devices/virtio/mmio.h"
#include "vmm/boot/kernel.h"
#include "vmm/boot/platform.h"
#include "vmm/bus.h"
#include "vmm/config.h"
#include "vmm/kvm.h"
#include "vmm/loop.h"
#include "vmm/memory.h"
#include "vmm/metrics.h"
#include "vmm/signals.h"
#include "vmm/state.h"
#include "vmm/terminal.h"
#include "vmm/thread.h"
#include "vmm/vcpu.h"

/* Milestones, in ns of CLOCK_MONOTONIC; 0 = not reached. */
struct vm_stages {
	uint64_t jail;        /* the jailer's start, if one said so */
	uint64_t jail_cpu_ns; /* CPU time from there to main's first line, no milestone */
	uint64_t start;       /* main's first line */
	uint64_t configured;  /* config read, log open, what the process gives up given up */
	uint64_t configured_cpu_ns; /* CPU time of the process by then */
	uint64_t loaded;      /* kernel in memory */
	uint64_t prepared;    /* config read, files open, kernel in memory */
	uint64_t built;       /* KVM VM complete */
	uint64_t running;     /* vCPU threads released: the guest's first instruction follows */
	uint64_t guest_ready; /* first write to the boot timer */
	uint64_t ended;
};

struct vm {
	const struct config *config; /* borrowed */
	const char *id;              /* borrowed */
	bool boot_timer_enabled;
	bool compat_names;           /* threads are called as Firecracker's, metrics count as theirs */
	const struct thread_rules *thread_rules; /* borrowed */
	struct mmds *mmds;           /* borrowed */
	struct vm_stages stages;
	uint64_t before_exec_ns;     /* CPU time of this process while it still was the jailer */
	enum vm_state state;

	struct loop loop;
	struct guest_memory memory;
	struct kernel_image kernel;
	struct initrd initrd;
	uint64_t boot_info;          /* gpa of hvm_start_info or of the zero page */

	struct bus pio, mmio;
	struct serial serial;
	struct i8042 i8042;
	struct platform_device acpi_sleep, pvpanic, boot_timer;
	unsigned int n_virtio;
	struct virtio_mmio virtio[CONFIG_VIRTIO_MAX];
	struct platform_virtio slots[CONFIG_VIRTIO_MAX]; /* address and GSI of each */
	bool has_serial, has_i8042;

	struct terminal terminal;
	struct signals signals;
	struct metrics metrics;      /* idle unless configured */
	metrics_fill fill_more;	     /* what others have for the metrics line; NULL = nothing */
	void *fill_context;
	uint64_t pause_us, resume_us; /* how long the last ones took */
	uint64_t kvmclock_failures;

	struct kvm kvm;
	struct kvm_opening {         /* KVM_CREATE_VM, while the kernel is being loaded */
		struct thread thread;
		int rc;
		struct error err;
	} kvm_opening;
	struct vcpu_group vcpus;

	/* The first end that anybody reports counts; any thread may report. */
	pthread_mutex_t end_lock;
	enum vm_end end;
	char end_detail[512];
	int end_eventfd;
	struct loop_source end_source;
};

struct vm_options {
	const char *id;
	struct mmds *mmds; /* the metadata service; may have data already */
	bool boot_timer;
	bool compat_names;
	uint64_t start_ns; /* CLOCK_MONOTONIC at the start of the process */
	/* What each thread is put under before the guest's first instruction; NULL = nothing. */
	const struct thread_rules *thread_rules;
	/* What a jailer said of the time before; 0 = nothing did. */
	uint64_t jail_start_ns;
	uint64_t jail_cpu_ns;	   /* CPU time of the jail's making, this process's part included */
	uint64_t before_exec_ns;   /* that part */
};

/* vm may be uninitialised memory. Whatever happens, vm_release must follow. */
int vm_init(struct vm *vm, const struct vm_options *options, struct error *err);
int vm_prepare(struct vm *vm, const struct config *config, struct error *err);
int vm_build(struct vm *vm, struct error *err);
/* The calling thread, which is to be that of vm_run, is under its rules from now on. */
int vm_start(struct vm *vm, struct error *err);
/* After a failure of one of these three: as after vm_init, so that vm_prepare may be called again. */
void vm_discard(struct vm *vm);

/* Begin to write metrics, unless it's done already. Errors: those of metrics_open(). */
int vm_open_metrics(struct vm *vm, const struct config_metrics *config, struct error *err);

/* Run the event loop until the end. Returns how the microVM ended. */
enum vm_end vm_run(struct vm *vm);

/* Pause: vCPUs parked, devices quiet. Resume: guest clock told, queues looked at again. */
int vm_pause(struct vm *vm, struct error *err);
int vm_resume(struct vm *vm, struct error *err);

/* Ask the microVM to end; any thread. detail may be NULL; it goes to the log and the last line. */
void vm_end(struct vm *vm, enum vm_end end, const char *detail);

/* Stop what runs, complete what is in flight, give everything back. */
void vm_release(struct vm *vm);

/* vm_prepare's: make what the configuration names, and put it on the bus. Firecracker's order. */
int vm_add_virtio_devices(struct vm *vm, struct error *err);

/* What the configuration, or an update of it, says, as devices take it. */
struct rate_limit vm_rate_limit(const struct config_token_bucket *bucket);
struct rate_limits vm_rate_limits(const struct config_rate_limiter *limiter);

/* Fill the metrics object: stages, exits, devices. Any time after vm_init. */
void vm_fill_metrics(void *vm, json_t *root);

#endif
