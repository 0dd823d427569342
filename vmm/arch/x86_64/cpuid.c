/* SPDX-License-Identifier: Apache-2.0 */
/* CPUID: Intel SDM vol. 2A "CPUID", AMD APM vol. 3 appendix E, Linux virt/kvm/x86/cpuid.rst. */
#include <string.h>

#include "vmm/arch/x86_64/cpu.h"
#include "vmm/util.h"

#define LEAF1_ECX_MONITOR      (1u << 3)
#define LEAF1_ECX_VMX          (1u << 5)
#define LEAF1_ECX_X2APIC       (1u << 21)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_OSXSAVE      (1u << 27)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_ECX_PDCM         (1u << 15)
#define LEAF1_EDX_HTT          (1u << 28)
#define EXT1_ECX_SVM           (1u << 2)
#define EXT1_ECX_PERFCTR_CORE  (1u << 23)
#define EXT1_ECX_TOPOEXT       (1u << 22)
#define TOPOLOGY_SMT           1u
#define TOPOLOGY_CORE          2u

static const struct kvm_cpuid_entry2 *find(const struct cpuid *cpuid, uint32_t function)
{
	for (uint32_t i = 0; i < cpuid->n; i++)
		if (cpuid->entries[i].function == function)
			return &cpuid->entries[i];
	return NULL;
}

static bool is_amd(const struct cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *vendor = find(cpuid, 0);

	/* "AuthenticAMD" or "HygonGenuine" */
	return vendor && (vendor->ebx == 0x68747541 || vendor->ebx == 0x6f677948);
}

int cpuid_template(const struct kvm *kvm, struct cpuid *cpuid, struct error *err)
{
	memset(cpuid, 0, sizeof(*cpuid));
	cpuid->n = CPUID_ENTRIES_MAX;
	int rc = kvm_ioctl(kvm->fd, KVM_GET_SUPPORTED_CPUID, cpuid, "KVM_GET_SUPPORTED_CPUID", err);

	if (rc < 0)
		return rc;
	cpuid_filter(cpuid, kvm->tsc_deadline);
	return 0;
}

static void filter_leaf(struct kvm_cpuid_entry2 *e, bool tsc_deadline)
{
	switch (e->function) {
	case 0x1:
		/* MWAIT would halt a host CPU; nested guests widen the host's attack surface. */
		e->ecx &= ~(LEAF1_ECX_MONITOR | LEAF1_ECX_VMX | LEAF1_ECX_OSXSAVE | LEAF1_ECX_PDCM);
		e->ecx |= LEAF1_ECX_HYPERVISOR | LEAF1_ECX_X2APIC;
		if (tsc_deadline)
			e->ecx |= LEAF1_ECX_TSC_DEADLINE;
		break;
	case 0x5: /* MONITOR/MWAIT: gone with its feature bit */
	case 0xa: /* architectural PMU: counters are a side channel, and probing them costs boot time */
	case 0x8000000a: /* SVM */
	case 0x8000001f: /* memory encryption: a guest that sees it reads its MSR before it has an IDT */
	case 0x80000022: /* AMD's performance monitoring, version 2 */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x80000001:
		e->ecx &= ~(EXT1_ECX_SVM | EXT1_ECX_PERFCTR_CORE);
		break;
	}
}

/*
 * Since Linux 6.2 KVM gives of leaves 0xb and 0x1f sub-leaf 0 only, empty. Replace whatever is there
 * by the three sub-leaves that a guest reads: threads, cores, end. cpuid_set_vcpu fills them.
 */
static void make_topology_leaves(struct cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *first = find(cpuid, 0);
	uint32_t highest = first ? first->eax : 0, kept = 0;

	for (uint32_t i = 0; i < cpuid->n; i++)
		if (cpuid->entries[i].function != 0xb && cpuid->entries[i].function != 0x1f)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->n = kept;
	for (uint32_t leaf = 0xb; leaf <= 0x1f; leaf += 0x1f - 0xb)
		for (uint32_t sub = 0; highest >= leaf && sub < 3 && cpuid->n < CPUID_ENTRIES_MAX; sub++)
			cpuid->entries[cpuid->n++] = (struct kvm_cpuid_entry2){
				.function = leaf, .index = sub, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			};
}

void cpuid_filter(struct cpuid *cpuid, bool tsc_deadline)
{
	for (uint32_t i = 0; i < cpuid->n; i++)
		filter_leaf(&cpuid->entries[i], tsc_deadline);
	make_topology_leaves(cpuid);
}

static uint32_t log2_ceil(uint32_t value)
{
	uint32_t bits = 0;

	while ((1u << bits) < value)
		bits++;
	return bits;
}

/* Leaves 0xb and 0x1f: level 0 = threads of a core, level 1 = all of the one package. */
static void extended_topology(struct kvm_cpuid_entry2 *e, uint32_t index,
			      const struct cpu_topology *t)
{
	uint32_t level = e->index;

	e->eax = e->ebx = 0;
	e->ecx = level;
	e->edx = index;
	if (level == 0) {
		e->eax = log2_ceil(t->threads_per_core);
		e->ebx = t->threads_per_core;
		e->ecx |= TOPOLOGY_SMT << 8;
	} else if (level == 1) {
		e->eax = log2_ceil(t->n_vcpus);
		e->ebx = t->n_vcpus;
		e->ecx |= TOPOLOGY_CORE << 8;
	}
}

/*
 * Leaves 4 (Intel) and 0x8000001d (AMD): caches, with the number of logical processors that share
 * each. L1 and L2 belong to a core, L3 to the package.
 */
static void cache_sharing(struct kvm_cpuid_entry2 *e, const struct cpu_topology *t, bool intel)
{
	uint32_t level = e->eax >> 5 & 7;

	if ((e->eax & 0x1f) == 0)
		return;
	uint32_t sharing = level >= 3 ? t->n_vcpus : t->threads_per_core;

	e->eax = (e->eax & ~(0xfffu << 14)) | (sharing - 1) << 14;
	if (intel) {
		uint32_t cores = t->n_vcpus / t->threads_per_core;

		e->eax = (e->eax & ~(0x3fu << 26)) | ((1u << log2_ceil(cores)) - 1) << 26;
	}
}

static void set_leaf(struct kvm_cpuid_entry2 *e, uint32_t index, const struct cpu_topology *t,
		     bool amd, bool topoext)
{
	switch (e->function) {
	case 0x1:
		e->ebx = (e->ebx & 0x0000ffff) | index << 24 | (1u << log2_ceil(t->n_vcpus)) << 16;
		e->edx = t->n_vcpus > 1 ? e->edx | LEAF1_EDX_HTT : e->edx & ~LEAF1_EDX_HTT;
		break;
	case 0x4:
		cache_sharing(e, t, true);
		break;
	case 0xb:
	case 0x1f:
		extended_topology(e, index, t);
		break;
	case 0x80000001:
		if (topoext)
			e->ecx |= EXT1_ECX_TOPOEXT;
		break;
	case 0x80000008:
		if (amd) /* number of logical processors - 1, and bits of the APIC id for them */
			e->ecx = (t->n_vcpus - 1) | log2_ceil(t->n_vcpus) << 12;
		break;
	case 0x8000001d:
		cache_sharing(e, t, false);
		break;
	case 0x8000001e:
		e->eax = index;
		e->ebx = index / t->threads_per_core | (t->threads_per_core - 1) << 8;
		e->ecx = 0; /* one node */
		e->edx = 0;
		break;
	}
}

void cpuid_set_vcpu(struct cpuid *cpuid, uint32_t index, const struct cpu_topology *topology)
{
	bool amd = is_amd(cpuid), topoext = amd && find(cpuid, 0x8000001e);

	for (uint32_t i = 0; i < cpuid->n; i++)
		set_leaf(&cpuid->entries[i], index, topology, amd, topoext);
}
