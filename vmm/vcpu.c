/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vmm/log.h"
#include "vmm/util.h"

#define KICK_SIGNAL SIGRTMIN

static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* The handler only has to exist: its delivery makes KVM_RUN return EINTR. */
static void on_kick(int signal)
{
	(void)signal;
}

int vcpus_create(struct vcpu_group *group, const struct kvm *kvm, unsigned int n,
		 const struct bus *pio, const struct bus *mmio, vcpu_end_fn on_end, void *context,
		 struct error *err)
{
	struct sigaction action = { .sa_handler = on_kick };

	memset(group, 0, sizeof(*group));
	pthread_mutex_init(&group->lock, NULL);
	pthread_cond_init(&group->changed, NULL);
	atomic_init(&group->target, VCPU_PAUSED);
	group->run_size = kvm->run_size;
	group->pio = pio;
	group->mmio = mmio;
	group->on_end = on_end;
	group->context = context;
	sigaction(KICK_SIGNAL, &action, NULL);
	for (unsigned int i = 0; i < n; i++) {
		struct vcpu *v = &group->vcpus[i];

		v->group = group;
		v->index = i;
		v->fd = kvm_ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (void *)(uintptr_t)i,
				  "KVM_CREATE_VCPU", err);
		if (v->fd < 0)
			return error_wrap(err, "vcpu %u", i);
		group->n = i + 1;
		v->run = mmap(NULL, group->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
		if (v->run == MAP_FAILED) {
			v->run = NULL;
			return error_sys(err, errno, "vcpu %u: map kvm_run", i);
		}
	}
	return 0;
}

/* A string instruction (rep outsb) gives several elements at once. */
static void handle_pio(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool in = run->io.direction == KVM_EXIT_IO_IN;

	count(in ? &v->stats.pio_in : &v->stats.pio_out);
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		bool claimed = in ? bus_read(v->group->pio, run->io.port, data, run->io.size)
				  : bus_write(v->group->pio, run->io.port, data, run->io.size);
		if (!claimed)
			count(&v->stats.unclaimed);
	}
}

static void handle_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	bool claimed;

	count(run->mmio.is_write ? &v->stats.mmio_write : &v->stats.mmio_read);
	/* KVM splits what is wider than 8 bytes; what it can't split it doesn't send. */
	if (run->mmio.len > sizeof(run->mmio.data))
		return;
	claimed = run->mmio.is_write
			  ? bus_write(v->group->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len)
			  : bus_read(v->group->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	if (!claimed)
		count(&v->stats.unclaimed);
}

static void report(struct vcpu *v, enum vm_end end, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void report(struct vcpu *v, enum vm_end end, const char *fmt, ...)
{
	char detail[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	if (end == VM_END_KVM_FAILURE)
		count(&v->stats.failures);
	v->group->on_end(v->group->context, end, detail);
}

static uint64_t instruction_pointer(struct vcpu *v)
{
	struct kvm_regs regs = { 0 };

	return ioctl(v->fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}

static void end_internal_error(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	char bytes[3 * 15 + 1] = "";
	uint8_t n = 0;

	/* The instruction's bytes come with the flag of KVM_CAP_EXIT_ON_EMULATION_FAILURE only. */
	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
	    run->emulation_failure.ndata >= 1 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)
		n = run->emulation_failure.insn_size;
	if (n > sizeof(run->emulation_failure.insn_bytes))
		n = sizeof(run->emulation_failure.insn_bytes);
	for (uint8_t i = 0; i < n; i++)
		snprintf(bytes + 3 * i, 4, " %02x", run->emulation_failure.insn_bytes[i]);
	report(v, VM_END_KVM_FAILURE, "KVM internal error, suberror %u, at rip 0x%" PRIx64 "%s%s",
	    run->internal.suberror, instruction_pointer(v), n ? ", instruction" : "", bytes);
}

/* Returns false when this vCPU is not to go on. */
static bool handle_exit(struct vcpu *v)
{
	const struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_pio(v);
		return true;
	case KVM_EXIT_MMIO:
		handle_mmio(v);
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_SHUTDOWN:
		/* Where is not known: KVM on AMD has reset the processor's registers by now. */
		report(v, VM_END_TRIPLE_FAULT, "vcpu %u", v->index);
		return false;
	case KVM_EXIT_SYSTEM_EVENT:
		report(v, run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? VM_END_POWER_OFF
		       : run->system_event.type == KVM_SYSTEM_EVENT_RESET  ? VM_END_RESET
									   : VM_END_PANIC,
		    "system event %u", run->system_event.type);
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		end_internal_error(v);
		return false;
	case KVM_EXIT_FAIL_ENTRY:
		report(v, VM_END_KVM_FAILURE, "entry failed, hardware reason 0x%llx on CPU %u at rip 0x%" PRIx64,
		    run->fail_entry.hardware_entry_failure_reason, run->fail_entry.cpu,
		    instruction_pointer(v));
		return false;
	default:
		report(v, VM_END_KVM_FAILURE, "unexpected exit %u at rip 0x%" PRIx64, run->exit_reason,
		    instruction_pointer(v));
		return false;
	}
}

/*
 * Give KVM the result of the last PIO or MMIO read, so that the registers are complete. An access
 * wider than 8 bytes or across pages comes in several exits; the instruction must end. Returns false
 * when this vCPU is not to go on.
 */
static bool complete_last_exit(struct vcpu *v)
{
	bool go_on = true;
	int r = 0;

	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	while (go_on && (r = ioctl(v->fd, KVM_RUN, 0)) == 0)
		go_on = handle_exit(v);
	if (r < 0 && errno != EINTR && errno != EAGAIN)
		log_warn("vcpu %u: completing its last exit: %s", v->index, strerrordesc_np(errno));
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	return go_on;
}

/* Run until the target changes (true) or the guest has ended (false). */
static bool run_guest(struct vcpu *v)
{
	while (atomic_load(&v->group->target) == VCPU_RUNNING) {
		count(&v->stats.runs);
		if (ioctl(v->fd, KVM_RUN, 0) == 0) {
			if (!handle_exit(v))
				return false;
			continue;
		}
		if (errno != EINTR && errno != EAGAIN) {
			report(v, VM_END_KVM_FAILURE, "KVM_RUN: %s", strerrordesc_np(errno));
			return false;
		}
		count(&v->stats.interrupted);
		/* Clear first, look at the target after: a kick in between sets it again. */
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	}
	return complete_last_exit(v);
}

/* Wait until the vCPUs are to run (true) or to end (false). ended: this one's guest is done. */
static bool park(struct vcpu *v, bool ended)
{
	struct vcpu_group *g = v->group;

	pthread_mutex_lock(&g->lock);
	g->n_parked++;
	pthread_cond_broadcast(&g->changed);
	while (atomic_load(&g->target) == VCPU_PAUSED ||
	       (ended && atomic_load(&g->target) != VCPU_EXITED))
		pthread_cond_wait(&g->changed, &g->lock);
	g->n_parked--;
	bool run = atomic_load(&g->target) == VCPU_RUNNING;

	pthread_mutex_unlock(&g->lock);
	return run;
}

static void vcpu_main(void *owner, const struct error *unruled)
{
	struct vcpu *v = owner;
	bool ended = unruled;

	if (unruled)
		report(v, VM_END_MONITOR_FAILURE, "vcpu %u: %s", v->index, unruled->message);
	while ((!ended && atomic_load(&v->group->target) == VCPU_RUNNING) || park(v, ended))
		ended = !run_guest(v) || ended;
}

int vcpus_start(struct vcpu_group *group, const char *name, const struct thread_rules *rules,
		struct error *err)
{
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < group->n; i++) {
		struct thread *thread = &group->vcpus[i].thread;

		*thread = (struct thread){
			.kind = THREAD_VCPU, .rules = rules, .wake_signal = KICK_SIGNAL,
			.main = vcpu_main, .owner = &group->vcpus[i],
		};
		snprintf(thread->name, sizeof(thread->name), "%s %u", name, i);
		rc = thread_start(thread, err);
	}
	return rc;
}

static void kick(struct vcpu *v)
{
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(v->thread.id, KICK_SIGNAL);
}

void vcpus_set(struct vcpu_group *group, enum vcpu_target target)
{
	unsigned int started = 0;

	pthread_mutex_lock(&group->lock);
	atomic_store(&group->target, target);
	pthread_cond_broadcast(&group->changed);
	for (unsigned int i = 0; i < group->n; i++) {
		if (!group->vcpus[i].thread.started)
			continue;
		started++;
		if (target != VCPU_RUNNING)
			kick(&group->vcpus[i]);
	}
	while (target == VCPU_PAUSED && group->n_parked < started)
		pthread_cond_wait(&group->changed, &group->lock);
	pthread_mutex_unlock(&group->lock);
	if (target != VCPU_PAUSED)
		return;
	/* A parked vCPU missed its kick's EINTR: it must not meet it at the next resume. */
	for (unsigned int i = 0; i < group->n; i++)
		__atomic_store_n(&group->vcpus[i].run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

void vcpus_release(struct vcpu_group *group)
{
	vcpus_set(group, VCPU_EXITED);
	for (unsigned int i = 0; i < group->n; i++) {
		struct vcpu *v = &group->vcpus[i];

		thread_join(&v->thread);
		if (v->run)
			munmap(v->run, group->run_size);
		v->run = NULL;
		close_fd(&v->fd);
	}
}
