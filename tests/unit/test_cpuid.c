/* SPDX-License-Identifier: Apache-2.0 */
/* CPUID: what is hidden, and that the topology is one that Linux reads as meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/arch/x86_64/cpu.h"
#include "vmm/util.h"

static struct kvm_cpuid_entry2 *leaf(struct cpuid *cpuid, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->n; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	fail_msg("leaf 0x%x.%u is missing", function, index);
	return NULL;
}

static void add(struct cpuid *cpuid, struct kvm_cpuid_entry2 entry)
{
	cpuid->entries[cpuid->n++] = entry;
}

/* All bits set where the filter must clear some. */
static struct cpuid host(bool amd)
{
	struct cpuid c = { 0 };

	add(&c, (struct kvm_cpuid_entry2){ .function = 0, .eax = 0x1f,
					   .ebx = amd ? 0x68747541 : 0x756e6547 });
	add(&c, (struct kvm_cpuid_entry2){ .function = 1, .ebx = 0xabcd1234, .ecx = ~0u, .edx = ~0u });
	/* L1d, L2, L3: type | level << 5 | stale sharing */
	for (uint32_t i = 0; i < 3; i++)
		add(&c, (struct kvm_cpuid_entry2){ .function = amd ? 0x8000001d : 4, .index = i,
						   .eax = 1 | (i + 1) << 5 | 63u << 14 | 31u << 26 });
	add(&c, (struct kvm_cpuid_entry2){ .function = amd ? 0x8000001d : 4, .index = 3, .eax = 0 });
	add(&c, (struct kvm_cpuid_entry2){ .function = 5, .eax = 64, .ecx = 3 });
	add(&c, (struct kvm_cpuid_entry2){ .function = 0xa, .eax = 0x7300402 });
	/* All that KVM gives since Linux 6.2. */
	add(&c, (struct kvm_cpuid_entry2){ .function = 0xb, .eax = 7, .ebx = 99, .edx = 77 });
	add(&c, (struct kvm_cpuid_entry2){ .function = 0x8000001f, .eax = 2 });
	add(&c, (struct kvm_cpuid_entry2){ .function = 0x80000001, .ecx = ~0u });
	add(&c, (struct kvm_cpuid_entry2){ .function = 0x80000008, .ecx = 0x4040 });
	add(&c, (struct kvm_cpuid_entry2){ .function = 0x8000000a, .eax = 1, .ebx = 8, .edx = 0xff });
	add(&c, (struct kvm_cpuid_entry2){ .function = 0x8000001e, .eax = 5, .ebx = 0x1ff, .ecx = 0x300 });
	return c;
}

static void virtualization_and_counters_are_hidden(void **state)
{
	struct cpuid c = host(false);

	(void)state;
	cpuid_filter(&c, true);
	assert_int_equal(leaf(&c, 1, 0)->ecx >> 5 & 1, 0);          /* VMX */
	assert_int_equal(leaf(&c, 1, 0)->ecx >> 3 & 1, 0);          /* MONITOR */
	assert_int_equal(leaf(&c, 1, 0)->ecx >> 27 & 1, 0);         /* OSXSAVE is the guest's to set */
	assert_int_equal(leaf(&c, 1, 0)->ecx >> 31 & 1, 1);         /* hypervisor */
	assert_int_equal(leaf(&c, 1, 0)->ecx >> 24 & 1, 1);         /* TSC deadline */
	assert_int_equal(leaf(&c, 0x80000001, 0)->ecx >> 2 & 1, 0); /* SVM */
	assert_int_equal(leaf(&c, 0x8000000a, 0)->edx, 0);
	assert_int_equal(leaf(&c, 0xa, 0)->eax, 0);
	assert_int_equal(leaf(&c, 5, 0)->eax, 0);
	assert_int_equal(leaf(&c, 1, 0)->ecx >> 15 & 1, 0);         /* PDCM */
	assert_int_equal(leaf(&c, 0x80000001, 0)->ecx >> 23 & 1, 0); /* PERFCTR_CORE */
	assert_int_equal(leaf(&c, 0x8000001f, 0)->eax, 0);          /* SME, SEV */
}

static void tsc_deadline_is_offered_only_if_kvm_has_it(void **state)
{
	struct cpuid c = host(false);

	(void)state;
	leaf(&c, 1, 0)->ecx = 0;
	cpuid_filter(&c, false);
	assert_int_equal(leaf(&c, 1, 0)->ecx >> 24 & 1, 0);
}

static void intel_topology(void **state)
{
	struct cpu_topology t = { .n_vcpus = 6, .threads_per_core = 2 };
	struct cpuid c = host(false);

	(void)state;
	cpuid_filter(&c, true);
	cpuid_set_vcpu(&c, 5, &t);
	assert_int_equal(leaf(&c, 1, 0)->ebx, 5u << 24 | 8u << 16 | 0x1234);
	assert_int_equal(leaf(&c, 1, 0)->edx >> 28 & 1, 1);
	/* Level 0: threads; 1: the package. EAX = bits to shift the APIC id by. */
	assert_int_equal(leaf(&c, 0xb, 0)->eax, 1);
	assert_int_equal(leaf(&c, 0xb, 0)->ebx, 2);
	assert_int_equal(leaf(&c, 0xb, 0)->ecx, 0x100);
	assert_int_equal(leaf(&c, 0xb, 0)->edx, 5);
	assert_int_equal(leaf(&c, 0xb, 1)->eax, 3);
	assert_int_equal(leaf(&c, 0xb, 1)->ebx, 6);
	assert_int_equal(leaf(&c, 0xb, 1)->ecx, 0x201);
	assert_int_equal(leaf(&c, 0xb, 2)->ebx, 0);
	assert_int_equal(leaf(&c, 0xb, 2)->ecx, 2);
	assert_int_equal(leaf(&c, 0xb, 1)->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	assert_memory_equal(&leaf(&c, 0x1f, 1)->eax, &leaf(&c, 0xb, 1)->eax, 4 * sizeof(uint32_t));
	/* L1 and L2 shared by 2 threads, L3 by all 6; 3 cores in 2 bits. */
	assert_int_equal(leaf(&c, 4, 0)->eax >> 14 & 0xfff, 1);
	assert_int_equal(leaf(&c, 4, 1)->eax >> 14 & 0xfff, 1);
	assert_int_equal(leaf(&c, 4, 2)->eax >> 14 & 0xfff, 5);
	assert_int_equal(leaf(&c, 4, 2)->eax >> 26, 3);
	assert_int_equal(leaf(&c, 4, 2)->eax & 0xff, 1 | 3 << 5);
	assert_int_equal(leaf(&c, 4, 3)->eax, 0);
}

static void amd_topology(void **state)
{
	struct cpu_topology t = { .n_vcpus = 4, .threads_per_core = 2 };
	struct cpuid c = host(true);

	(void)state;
	cpuid_filter(&c, true);
	cpuid_set_vcpu(&c, 3, &t);
	assert_int_equal(leaf(&c, 0x80000008, 0)->ecx, 3 | 2 << 12);
	assert_int_equal(leaf(&c, 0x8000001e, 0)->eax, 3);
	assert_int_equal(leaf(&c, 0x8000001e, 0)->ebx, 1 | 1 << 8);
	assert_int_equal(leaf(&c, 0x8000001e, 0)->ecx, 0);
	assert_int_equal(leaf(&c, 0x80000001, 0)->ecx >> 22 & 1, 1);
	assert_int_equal(leaf(&c, 0x8000001d, 1)->eax >> 14 & 0xfff, 1);
	assert_int_equal(leaf(&c, 0x8000001d, 2)->eax >> 14 & 0xfff, 3);
	/* On AMD bits 31..26 are reserved: left alone. */
	assert_int_equal(leaf(&c, 0x8000001d, 2)->eax >> 26, 31);
}

static void one_vcpu_has_no_siblings(void **state)
{
	struct cpu_topology t = { .n_vcpus = 1, .threads_per_core = 1 };
	struct cpuid c = host(false);

	(void)state;
	cpuid_filter(&c, true);
	cpuid_set_vcpu(&c, 0, &t);
	assert_int_equal(leaf(&c, 1, 0)->ebx >> 16, 1);
	assert_int_equal(leaf(&c, 1, 0)->edx >> 28 & 1, 0);
	assert_int_equal(leaf(&c, 0xb, 0)->eax, 0);
	assert_int_equal(leaf(&c, 0xb, 0)->ebx, 1);
	assert_int_equal(leaf(&c, 0xb, 1)->eax, 0);
	assert_int_equal(leaf(&c, 4, 2)->eax >> 14 & 0xfff, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(virtualization_and_counters_are_hidden),
		cmocka_unit_test(tsc_deadline_is_offered_only_if_kvm_has_it),
		cmocka_unit_test(intel_topology),
		cmocka_unit_test(amd_topology),
		cmocka_unit_test(one_vcpu_has_no_siblings),
	};

	return cmocka_run_group_tests_name("cpuid", tests, NULL, NULL);
}
