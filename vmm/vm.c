/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "vmm/arch/x86_64/cpu.h"
#include "vmm/boot/cmdline.h"
#include "vmm/log.h"
#include "vmm/open.h"
#include "vmm/util.h"

/* ---- ends: reported by any thread, acted upon by the event loop ---- */

void vm_end(struct vm *vm, enum vm_end end, const char *detail)
{
	uint64_t one = 1;

	pthread_mutex_lock(&vm->end_lock);
	bool first = vm->end == VM_END_NONE;

	if (first) {
		vm->end = end;
		snprintf(vm->end_detail, sizeof(vm->end_detail), "%s", detail ? detail : "");
	}
	pthread_mutex_unlock(&vm->end_lock);
	if (first && write(vm->end_eventfd, &one, sizeof(one)) < 0)
		log_error("end: eventfd: %s", strerrordesc_np(errno));
}

static void on_end_event(struct loop_source *source, uint32_t events)
{
	(void)events;
	loop_stop(source->owner);
}

static void on_vcpu_end(void *context, enum vm_end end, const char *detail)
{
	vm_end(context, end, detail);
}

static void on_signal(void *context, int signum)
{
	vm_end(context, vm_end_of_signal(signum), NULL);
}

static void on_i8042_reset(void *context)
{
	vm_end(context, VM_END_RESET, "i8042");
}

static void on_acpi_sleep(void *context, uint32_t sleep_type)
{
	(void)sleep_type;
	vm_end(context, VM_END_POWER_OFF, "ACPI");
}

static void on_pvpanic(void *context, uint32_t events)
{
	/* A guest that loads a crash kernel after its panic goes on by itself. */
	if (events & PVPANIC_PANICKED)
		vm_end(context, VM_END_PANIC, "pvpanic");
}

static uint64_t process_cpu_ns(void)
{
	struct timespec cpu;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	return (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec;
}

static void on_boot_timer(void *context, uint32_t value)
{
	struct vm *vm = context;
	uint64_t now = monotonic_ns();

	if (value != BOOT_TIMER_VALUE || vm->stages.guest_ready != 0)
		return;
	vm->stages.guest_ready = now;
	uint64_t us = (now - vm->stages.start) / 1000;
	uint64_t cpu_us = process_cpu_ns() / 1000;

	log_info("Guest-boot-time = %6lu us %lu ms, %6lu CPU us %lu CPU ms", us, us / 1000, cpu_us,
		 cpu_us / 1000);
}

/* ---- vm_prepare: what the configuration names on the host ---- */

static int prepare_memory(struct vm *vm, struct error *err)
{
	const struct config_machine *m = &vm->config->machine;
	uint64_t size = m->mem_size_mib * MIB;
	uint64_t low = size < LAYOUT_MMIO_START ? size : LAYOUT_MMIO_START;
	int rc = guest_memory_add(&vm->memory, 0, low, m->huge_pages, m->track_dirty_pages, err);

	if (rc == 0 && size > low)
		rc = guest_memory_add(&vm->memory, LAYOUT_MMIO_END, size - low, m->huge_pages,
				      m->track_dirty_pages, err);
	return rc < 0 ? error_wrap(err, "machine-config: mem_size_mib") : 0;
}

static int prepare_kernel(struct vm *vm, struct error *err)
{
	const struct config_boot_source *boot = &vm->config->boot_source;
	/* O_NONBLOCK: a FIFO under this name must be refused, not waited for. */
	cleanup_close int kernel = open_file(boot->kernel_image_path, O_RDONLY | O_NONBLOCK, err);
	cleanup_close int initrd = -1;
	int rc;

	if (kernel < 0)
		return error_wrap(err, "boot-source: kernel: open \"%s\"", boot->kernel_image_path);
	rc = kernel_load(&vm->memory, kernel, boot->kernel_image_path, &vm->kernel, err);
	if (rc == 0 && boot->initrd_path) {
		initrd = open_file(boot->initrd_path, O_RDONLY | O_NONBLOCK, err);
		if (initrd < 0)
			return error_wrap(err, "boot-source: initrd: open \"%s\"", boot->initrd_path);
		rc = initrd_load(&vm->memory, initrd, boot->initrd_path, &vm->kernel, &vm->initrd, err);
	}
	return rc < 0 ? error_wrap(err, "boot-source") : 0;
}

/* The guest's console is stdin and stdout, or the output file or FIFO of the configuration. */
static int prepare_serial(struct vm *vm, struct error *err)
{
	const char *path = vm->config->serial.serial_out_path;

	if (!path)
		return serial_init(&vm->serial, &vm->loop, STDIN_FILENO, STDOUT_FILENO, err);
	cleanup_close int fd = open_sink(path, err);

	if (fd < 0)
		return error_wrap(err, "serial: open \"%s\"", path);
	return serial_init(&vm->serial, &vm->loop, -1, fd, err);
}

static int prepare_legacy(struct vm *vm, struct error *err)
{
	const struct rate_limit limit = vm_rate_limit(&vm->config->serial.rate_limiter);
	int rc = prepare_serial(vm, err);

	vm->has_serial = rc == 0;
	if (rc == 0)
		serial_set_limit(&vm->serial, &limit);
	if (rc == 0)
		rc = i8042_init(&vm->i8042, on_i8042_reset, vm, err);
	vm->has_i8042 = rc == 0;
	vm->acpi_sleep = (struct platform_device){ on_acpi_sleep, vm };
	vm->pvpanic = (struct platform_device){ on_pvpanic, vm };
	vm->boot_timer = (struct platform_device){ on_boot_timer, vm };
	if (rc == 0)
		rc = bus_add(&vm->pio, SERIAL_BASE, SERIAL_SIZE, &serial_bus_ops, &vm->serial, err);
	if (rc == 0)
		rc = bus_add(&vm->pio, I8042_BASE, I8042_SIZE, &i8042_bus_ops, &vm->i8042, err);
	if (rc == 0)
		rc = bus_add(&vm->pio, ACPI_SLEEP_BASE, ACPI_SLEEP_SIZE, &acpi_sleep_bus_ops,
			     &vm->acpi_sleep, err);
	if (rc == 0)
		rc = bus_add(&vm->pio, PVPANIC_BASE, PVPANIC_SIZE, &pvpanic_bus_ops, &vm->pvpanic, err);
	if (rc == 0 && vm->boot_timer_enabled)
		rc = bus_add(&vm->mmio, LAYOUT_BOOT_TIMER, 0x1000, &boot_timer_bus_ops, &vm->boot_timer,
			     err);
	return rc;
}

/* What the guest finds in its memory: tables, command line, boot parameters. */
static int prepare_tables(struct vm *vm, struct error *err)
{
	const struct platform_info info = {
		.n_vcpus = vm->config->machine.vcpu_count,
		.serial = true,
		.n_virtio = vm->n_virtio,
		.virtio = vm->slots,
	};
	bool acpi = vm->config->machine.platform == CONFIG_PLATFORM_ACPI;
	char cmdline[CONFIG_CMDLINE_MAX];
	int rc = cmdline_build(vm->config, &info, cmdline, err);

	if (rc == 0)
		rc = acpi ? acpi_write_tables(&vm->memory, &info, err)
			  : mptable_write(&vm->memory, &info, err);
	if (rc == 0)
		rc = boot_params_write(&vm->memory, &vm->kernel, &vm->initrd, cmdline,
				       acpi ? LAYOUT_RSDP : 0, &vm->boot_info, err);
	if (rc == 0)
		rc = cpu_write_boot_tables(&vm->memory, &vm->kernel, err);
	return rc;
}

/* ---- opening KVM: on a thread of its own ---- */

static void open_kvm(void *owner, const struct error *unruled)
{
	struct vm *vm = owner;

	(void)unruled;
	vm->kvm_opening.rc = kvm_open(&vm->kvm, &vm->kvm_opening.err);
}

/*
 * KVM_CREATE_VM waits, for 0.3 to 40 ms: it starts a kernel thread and moves it into our cgroup,
 * for which a cgroup2 mounted without favordynmods needs an RCU grace period. So it runs beside the
 * loading of the kernel, which is work. No thread, no gain: vm_build opens KVM itself then.
 * Without rules: it has ended long before the guest starts.
 */
static void start_opening_kvm(struct vm *vm)
{
	struct thread *thread = &vm->kvm_opening.thread;

	*thread = (struct thread){ .name = "open kvm", .main = open_kvm, .owner = vm };
	thread_start(thread, NULL);
}

static int finish_opening_kvm(struct vm *vm, struct error *err)
{
	struct kvm_opening *o = &vm->kvm_opening;

	if (!o->thread.started)
		return kvm_open(&vm->kvm, err);
	thread_join(&o->thread);
	if (o->rc < 0)
		*err = o->err;
	return o->rc;
}

int vm_init(struct vm *vm, const struct vm_options *options, struct error *err)
{
	int rc;

	memset(vm, 0, sizeof(*vm));
	vm->id = options->id;
	vm->boot_timer_enabled = options->boot_timer;
	vm->compat_names = options->compat_names;
	vm->thread_rules = options->thread_rules;
	vm->mmds = options->mmds;
	vm->stages.start = options->start_ns;
	vm->stages.jail = options->jail_start_ns;
	vm->stages.jail_cpu_ns = options->jail_cpu_ns;
	vm->stages.configured = monotonic_ns();
	vm->stages.configured_cpu_ns = process_cpu_ns();
	vm->before_exec_ns = options->before_exec_ns;
	vm->loop.epoll_fd = vm->kvm.fd = vm->kvm.vm_fd = vm->signals.fd = -1;
	vm->metrics.fd = vm->metrics.timer_fd = -1;
	pthread_mutex_init(&vm->end_lock, NULL);
	vm->end_eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->end_eventfd < 0)
		return error_sys(err, errno, "eventfd");
	rc = loop_init(&vm->loop, err);
	if (rc == 0)
		rc = loop_add(&vm->loop, &vm->end_source, vm->end_eventfd, EPOLLIN, on_end_event,
			      &vm->loop, err);
	if (rc == 0)
		rc = signals_init(&vm->signals, &vm->loop, on_signal, vm, err);
	return rc;
}

int vm_open_metrics(struct vm *vm, const struct config_metrics *config, struct error *err)
{
	if (!config->set || vm->metrics.fd >= 0)
		return 0;
	int rc = metrics_open(&vm->metrics, config->metrics_path, config->emit_id ? vm->id : NULL, err);

	if (rc < 0)
		return rc;
	vm->metrics.properties = json_incref(config->properties);
	vm->metrics.deltas = vm->compat_names;
	return metrics_start(&vm->metrics, &vm->loop, METRICS_PERIOD_MS, vm_fill_metrics, vm, err);
}

int vm_prepare(struct vm *vm, const struct config *config, struct error *err)
{
	int rc;

	vm->config = config;
	start_opening_kvm(vm);
	rc = prepare_memory(vm, err);
	if (rc == 0)
		rc = prepare_kernel(vm, err);
	vm->stages.loaded = monotonic_ns();
	if (rc == 0)
		rc = prepare_legacy(vm, err);
	if (rc == 0)
		rc = vm_add_virtio_devices(vm, err);
	if (rc == 0)
		rc = prepare_tables(vm, err);
	if (rc == 0)
		rc = vm_open_metrics(vm, &config->metrics, err);
	vm->stages.prepared = monotonic_ns();
	return rc;
}

/* ---- vm_build: the KVM VM ---- */

static int connect_kicks(struct vm *vm, struct error *err)
{
	for (unsigned int i = 0; i < vm->n_virtio; i++) {
		const struct virtio_mmio *mmio = &vm->virtio[i];

		for (unsigned int q = 0; q < mmio->device->n_queues; q++) {
			int rc = kvm_add_ioeventfd(&vm->kvm, mmio->kicks[q].eventfd,
						   vm->slots[i].mmio_base + VIRTIO_MMIO_NOTIFY, q, err);

			if (rc < 0)
				return error_wrap(err, "%s", mmio->device->id);
		}
	}
	return 0;
}

static int connect_interrupts(struct vm *vm, struct error *err)
{
	int rc = kvm_add_irqfd(&vm->kvm, vm->serial.irq.eventfd, SERIAL_GSI, err);

	if (rc == 0)
		rc = kvm_add_irqfd(&vm->kvm, vm->i8042.irq.eventfd, I8042_GSI, err);
	for (unsigned int i = 0; rc == 0 && i < vm->n_virtio; i++)
		rc = kvm_add_irqfd(&vm->kvm, vm->virtio[i].device->irq.eventfd, vm->slots[i].gsi, err);
	return rc;
}

static int setup_vcpus(struct vm *vm, struct error *err)
{
	const struct config_machine *m = &vm->config->machine;
	const struct cpu_topology topology = {
		.n_vcpus = m->vcpu_count,
		.threads_per_core = m->smt && m->vcpu_count > 1 ? 2 : 1,
	};
	bool virtual_wire = m->platform == CONFIG_PLATFORM_MPTABLE;
	cleanup_free struct cpuid *cpuid = malloc(sizeof(*cpuid));
	int rc;

	if (!cpuid)
		return error_sys(err, ENOMEM, "cpuid");
	rc = cpuid_template(&vm->kvm, cpuid, err);
	for (unsigned int i = 0; rc == 0 && i < m->vcpu_count; i++)
		rc = cpu_setup(vm->vcpus.vcpus[i].fd, cpuid, i, &topology, &vm->kernel, vm->boot_info,
			       virtual_wire, err);
	return rc;
}

/*
 * The order is by what it costs on a host. KVM_SET_USER_MEMORY_REGION and KVM_IOEVENTFD wait for an
 * SRCU grace period, which is short while the VM has neither interrupt controllers nor vCPUs: a
 * memory region took 0.2 ms before KVM_CREATE_IRQCHIP and 4 to 8 ms after it (nested KVM,
 * Linux 6.18). irqfds and vCPUs' LAPICs need the irqchip, so they come last.
 */
int vm_build(struct vm *vm, struct error *err)
{
	const struct config_machine *m = &vm->config->machine;
	int rc = finish_opening_kvm(vm, err);

	if (rc == 0)
		rc = kvm_set_memory(&vm->kvm, &vm->memory, err);
	if (rc == 0)
		rc = connect_kicks(vm, err);
	if (rc == 0)
		/* ACPI here is hardware-reduced: no i8254. A kernel that boots by MPTable may want one. */
		rc = kvm_create_irqchip(&vm->kvm, m->platform == CONFIG_PLATFORM_MPTABLE, err);
	if (rc == 0)
		rc = connect_interrupts(vm, err);
	if (rc == 0)
		rc = vcpus_create(&vm->vcpus, &vm->kvm, m->vcpu_count, &vm->pio, &vm->mmio, on_vcpu_end,
				  vm, err);
	if (rc == 0)
		rc = setup_vcpus(vm, err);
	vm->stages.built = monotonic_ns();
	return rc;
}

/* ---- running ---- */

/* The guest's first instruction comes last: every thread is under its rules by then. */
int vm_start(struct vm *vm, struct error *err)
{
	const struct thread_rules *rules = vm->thread_rules;
	/* Raw only now: every message before this one was for a terminal in its normal mode. */
	int rc = terminal_make_raw(&vm->terminal, STDIN_FILENO, err);

	if (rc == 0)
		rc = vcpus_start(&vm->vcpus, vm->compat_names ? "fc_vcpu" : "vcpu", rules, err);
	if (rc == 0 && rules)
		rc = rules->apply(rules->context, THREAD_VMM, err);
	if (rc < 0)
		return rc;
	vm->stages.running = monotonic_ns();
	vm->state = VM_STATE_RUNNING;
	vcpus_set(&vm->vcpus, VCPU_RUNNING);
	return 0;
}

enum vm_end vm_run(struct vm *vm)
{
	struct error err = { 0 };

	if (loop_run(&vm->loop, &err) < 0)
		vm_end(vm, VM_END_MONITOR_FAILURE, err.message);
	vm->state = VM_STATE_SHUTTING_DOWN;
	vm->stages.ended = monotonic_ns();
	vcpus_set(&vm->vcpus, VCPU_EXITED);
	terminal_restore(&vm->terminal);
	return vm->end;
}

int vm_pause(struct vm *vm, struct error *err)
{
	uint64_t start_ns = monotonic_ns();

	if (vm->state == VM_STATE_PAUSED)
		return 0;
	if (vm->state != VM_STATE_RUNNING)
		return error_set(err, EINVAL, "pause: the microVM is %s", vm_state_name(vm->state));
	vcpus_set(&vm->vcpus, VCPU_PAUSED);
	vm->state = VM_STATE_PAUSED;
	vm->pause_us = (monotonic_ns() - start_ns) / 1000;
	return 0;
}

int vm_resume(struct vm *vm, struct error *err)
{
	uint64_t start_ns = monotonic_ns();

	if (vm->state == VM_STATE_RUNNING)
		return 0;
	if (vm->state != VM_STATE_PAUSED)
		return error_set(err, EINVAL, "resume: the microVM is %s", vm_state_name(vm->state));
	/* Tells the guest's watchdog that the gap was ours; EINVAL = it doesn't use kvmclock. */
	for (unsigned int i = 0; i < vm->vcpus.n; i++)
		if (ioctl(vm->vcpus.vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0) < 0 && errno != EINVAL) {
			vm->kvmclock_failures++;
			log_warn("vcpu %u: KVM_KVMCLOCK_CTRL: %s", i, strerrordesc_np(errno));
		}
	vm->state = VM_STATE_RUNNING;
	vcpus_set(&vm->vcpus, VCPU_RUNNING);
	for (unsigned int i = 0; i < vm->n_virtio; i++)
		virtio_mmio_rekick(&vm->virtio[i]);
	vm->resume_us = (monotonic_ns() - start_ns) / 1000;
	return 0;
}

/* In the order in which things use each other: vCPUs, devices, KVM, memory. */
static void release_devices(struct vm *vm)
{
	for (unsigned int i = 0; i < vm->n_virtio; i++)
		virtio_mmio_release(&vm->virtio[i]);
	if (vm->has_i8042)
		i8042_release(&vm->i8042);
	if (vm->has_serial)
		serial_release(&vm->serial);
	vm->n_virtio = 0;
	vm->has_i8042 = vm->has_serial = false;
}

void vm_discard(struct vm *vm)
{
	thread_join(&vm->kvm_opening.thread);
	vcpus_release(&vm->vcpus);
	terminal_restore(&vm->terminal);
	release_devices(vm);
	kvm_close(&vm->kvm);
	guest_memory_release(&vm->memory);
	vm->pio = vm->mmio = (struct bus){ 0 };
	vm->kernel = (struct kernel_image){ 0 };
	vm->initrd = (struct initrd){ 0 };
	vm->stages.prepared = vm->stages.built = 0;
}

void vm_release(struct vm *vm)
{
	thread_join(&vm->kvm_opening.thread);
	vcpus_release(&vm->vcpus);
	/* After the vCPUs, so that the last figures are final; before the devices, which have them. */
	metrics_close(&vm->metrics);
	release_devices(vm);
	signals_release(&vm->signals, &vm->loop);
	kvm_close(&vm->kvm);
	loop_remove(&vm->loop, &vm->end_source);
	loop_release(&vm->loop);
	close_fd(&vm->end_eventfd);
	guest_memory_release(&vm->memory);
}
