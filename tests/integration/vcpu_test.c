/* SPDX-License-Identifier: Apache-2.0 */
/* vCPUs on a real KVM: pause, resume and end, under a guest that exits without pause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

#include <cmocka.h>

#include "vmm/arch/x86_64/cpu.h"
#include "vmm/util.h"
#include "vmm/vcpu.h"

#define CODE_GPA  0x100000
#define VALUE_GPA 0x101000
#define PORT      0x10

/* mov dx, PORT; again: in eax, dx; mov [VALUE_GPA], eax; jmp again */
static const uint8_t code[] = { 0x66, 0xba, PORT, 0, 0xed, 0xa3, 0x00, 0x10, 0x10, 0x00, 0xeb, 0xf8 };

struct rig {
	struct kvm kvm;
	struct guest_memory memory;
	struct bus pio, mmio;
	struct vcpu_group vcpus;
	_Atomic uint32_t reads; /* each read of the port gives one more */
	_Atomic int ends;
};

static void port_read(void *device, uint64_t offset, uint8_t *data, unsigned int len)
{
	struct rig *rig = device;
	uint32_t value = atomic_fetch_add(&rig->reads, 1) + 1;

	(void)offset;
	memcpy(data, &value, len);
}

static void port_write(void *device, uint64_t offset, const uint8_t *data, unsigned int len)
{
	(void)device;
	(void)offset;
	(void)data;
	(void)len;
}

static const struct bus_ops port_ops = { port_read, port_write };

static void on_end(void *context, enum vm_end end, const char *detail)
{
	struct rig *rig = context;

	(void)end;
	print_message("# ended: %s\n", detail);
	atomic_fetch_add(&rig->ends, 1);
}

static int setup(void **state)
{
	static struct rig rig;
	static struct cpuid cpuid;
	struct kernel_image image = { .protocol = BOOT_PVH, .entry = CODE_GPA };
	const struct cpu_topology topology = { 2, 1 };
	struct error err = { 0 };

	memset(&rig, 0, sizeof(rig));
	*state = &rig;
	if (kvm_open(&rig.kvm, &err) < 0 ||
	    guest_memory_add(&rig.memory, 0, 4 * MIB, MEMORY_BACKING_NONE, false, &err) < 0 ||
	    !guest_memory_write(&rig.memory, CODE_GPA, code, sizeof(code)) ||
	    cpu_write_boot_tables(&rig.memory, &image, &err) < 0 ||
	    kvm_set_memory(&rig.kvm, &rig.memory, &err) < 0 ||
	    kvm_create_irqchip(&rig.kvm, false, &err) < 0 ||
	    bus_add(&rig.pio, PORT, 4, &port_ops, &rig, &err) < 0 ||
	    vcpus_create(&rig.vcpus, &rig.kvm, 2, &rig.pio, &rig.mmio, on_end, &rig, &err) < 0 ||
	    cpuid_template(&rig.kvm, &cpuid, &err) < 0 ||
	    cpu_setup(rig.vcpus.vcpus[0].fd, &cpuid, 0, &topology, &image, 0, false, &err) < 0 ||
	    cpu_setup(rig.vcpus.vcpus[1].fd, &cpuid, 1, &topology, &image, 0, false, &err) < 0) {
		print_message("# %s\n", err.message);
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	vcpus_release(&rig->vcpus);
	kvm_close(&rig->kvm);
	guest_memory_release(&rig->memory);
	return 0;
}

static void wait_for_reads(struct rig *rig, uint32_t more)
{
	uint32_t from = atomic_load(&rig->reads);

	for (int i = 0; i < 20000 && atomic_load(&rig->reads) - from < more; i++)
		usleep(500);
	assert_true(atomic_load(&rig->reads) - from >= more);
}

static void paused_vcpus_stand_still_with_their_last_read_completed(void **state)
{
	struct rig *rig = *state;
	struct error err = { 0 };

	vcpus_set(&rig->vcpus, VCPU_RUNNING);
	assert_int_equal(vcpus_start(&rig->vcpus, "vcpu", NULL, &err), 0);
	for (int i = 0; i < 100; i++) {
		struct kvm_regs regs;
		uint32_t reads;

		wait_for_reads(rig, 1 + (uint32_t)i % 3);
		vcpus_set(&rig->vcpus, VCPU_PAUSED);
		reads = atomic_load(&rig->reads);
		/* The value of the last exit is in the register, not under way to it. */
		assert_int_equal(ioctl(rig->vcpus.vcpus[0].fd, KVM_GET_REGS, &regs), 0);
		assert_int_equal(regs.rax, reads);
		if (i % 20 == 0) {
			usleep(20000);
			assert_int_equal(atomic_load(&rig->reads), reads);
		}
		vcpus_set(&rig->vcpus, VCPU_RUNNING);
	}
	wait_for_reads(rig, 1);
	assert_int_equal(atomic_load(&rig->ends), 0);
}

static void a_group_can_end_while_paused_running_or_never_started(void **state)
{
	struct rig *rig = *state;
	struct error err = { 0 };

	assert_int_equal(vcpus_start(&rig->vcpus, "vcpu", NULL, &err), 0); /* parked: the target is PAUSED */
	vcpus_set(&rig->vcpus, VCPU_PAUSED);
	assert_int_equal(atomic_load(&rig->reads), 0);
	vcpus_set(&rig->vcpus, VCPU_EXITED);
}

static void a_triple_fault_ends_once_and_parks_its_vcpu(void **state)
{
	struct rig *rig = *state;
	struct error err = { 0 };
	static const uint8_t fault[] = { 0x0f, 0x0b }; /* ud2, without an IDT */

	guest_memory_write(&rig->memory, CODE_GPA, fault, sizeof(fault));
	vcpus_set(&rig->vcpus, VCPU_RUNNING);
	assert_int_equal(vcpus_start(&rig->vcpus, "vcpu", NULL, &err), 0);
	for (int i = 0; i < 20000 && !atomic_load(&rig->ends); i++)
		usleep(500);
	assert_int_equal(atomic_load(&rig->ends), 1);
	vcpus_set(&rig->vcpus, VCPU_PAUSED);
	vcpus_set(&rig->vcpus, VCPU_RUNNING);
	usleep(20000);
	assert_int_equal(atomic_load(&rig->ends), 1);
}

#define ON_KVM(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_KVM(paused_vcpus_stand_still_with_their_last_read_completed),
		ON_KVM(a_group_can_end_while_paused_running_or_never_started),
		ON_KVM(a_triple_fault_ends_once_and_parks_its_vcpu),
	};

	return cmocka_run_group_tests_name("vcpu", tests, NULL, NULL);
}
