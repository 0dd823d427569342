/* SPDX-License-Identifier: Apache-2.0 */
/* Registers, CPUID and MSRs of an x86_64 vCPU at boot. */
#ifndef MOTE_ARCH_X86_64_CPU_H
#define MOTE_ARCH_X86_64_CPU_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/boot/kernel.h"
#include "vmm/error.h"
#include "vmm/kvm.h"

/* One struct kvm_cpuid2 with room for every leaf that KVM knows. */
#define CPUID_ENTRIES_MAX 256

struct cpuid {
	uint32_t n;
	uint32_t padding;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

struct cpu_topology {
	uint32_t n_vcpus;          /* 1..32 */
	uint32_t threads_per_core; /* 1 or 2 */
};

/*
 * What KVM supports, made into what all vCPUs of this VM show: nested virtualization, memory
 * encryption and the PMU hidden, topology leaves made, hypervisor and TSC-deadline bits set. Once per VM; per vCPU see cpuid_set_vcpu.
 */
int cpuid_template(const struct kvm *kvm, struct cpuid *cpuid, struct error *err);

/* The pure part of cpuid_template, on leaves that were read elsewhere (tests, templates). */
void cpuid_filter(struct cpuid *cpuid, bool tsc_deadline);

/* APIC id and topology of vCPU `index`: leaves 1, 4, 0xb, 0x1f, 0x80000008, 0x8000001d, 0x8000001e. */
void cpuid_set_vcpu(struct cpuid *cpuid, uint32_t index, const struct cpu_topology *topology);

/*
 * Set up vCPU `index` to start: CPUID, MSRs and, for vCPU 0, the registers that the boot protocol
 * asks for. Other vCPUs wait for INIT/SIPI. info: gpa for rsi/ebx. virtual_wire: LAPIC LINT0 as
 * ExtINT and LINT1 as NMI, as a BIOS with an MPTable leaves them.
 */
int cpu_setup(int vcpu_fd, struct cpuid *cpuid, uint32_t index, const struct cpu_topology *topology,
	      const struct kernel_image *image, uint64_t info, bool virtual_wire,
	      struct error *err);

/* Page tables and GDT that the 64-bit protocol needs; nothing for PVH. */
int cpu_write_boot_tables(struct guest_memory *memory, const struct kernel_image *image,
			  struct error *err);

#endif
