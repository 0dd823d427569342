/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/arch/x86_64/cpu.h"

#include <errno.h>
#include <string.h>

#include "vmm/boot/platform.h"
#include "vmm/util.h"

#define CR0_PE           (1ull << 0)
#define CR0_ET           (1ull << 4)
#define CR0_PG           (1ull << 31)
#define CR4_PAE          (1ull << 5)
#define EFER_LME         (1ull << 8)
#define EFER_LMA         (1ull << 10)
#define RFLAGS_FIXED     0x2ull

#define PTE_PRESENT      (1ull << 0)
#define PTE_WRITABLE     (1ull << 1)
#define PTE_LARGE        (1ull << 7)

#define MSR_MISC_ENABLE  0x1a0u
#define MISC_FAST_STRING 1ull
#define MSR_MTRR_DEFAULT 0x2ffu
#define MTRR_ENABLE      (1ull << 11)
#define MTRR_WRITE_BACK  6ull

#define LAPIC_LVT_LINT0  0x350
#define LAPIC_LVT_LINT1  0x360
#define LAPIC_DM_EXTINT  (7u << 8)
#define LAPIC_DM_NMI     (4u << 8)

/* The selectors that boot.rst asks for: __BOOT_CS 0x10, __BOOT_DS 0x18. */
enum { GDT_NULL, GDT_UNUSED, GDT_CODE, GDT_DATA, GDT_TSS, GDT_TSS_HIGH, GDT_ENTRIES };

static struct kvm_segment flat_code(bool long_mode)
{
	return (struct kvm_segment){ .base = 0, .limit = 0xffffffff, .selector = GDT_CODE * 8,
				     .type = 0xb, .present = 1, .s = 1, .g = 1,
				     .l = long_mode, .db = !long_mode };
}

static struct kvm_segment flat_data(void)
{
	return (struct kvm_segment){ .base = 0, .limit = 0xffffffff, .selector = GDT_DATA * 8,
				     .type = 0x3, .present = 1, .s = 1, .g = 1, .db = 1 };
}

static struct kvm_segment task_state(void)
{
	return (struct kvm_segment){ .base = 0, .limit = 0x67, .selector = GDT_TSS * 8,
				     .type = 0xb, .present = 1 };
}

/* Intel SDM vol. 3A §3.4.5: the descriptor of a segment. */
static uint64_t descriptor(const struct kvm_segment *s)
{
	uint64_t limit = s->g ? s->limit >> 12 : s->limit;
	uint64_t flags = s->type | (uint64_t)s->s << 4 | (uint64_t)s->dpl << 5 |
			 (uint64_t)s->present << 7 | (uint64_t)s->avl << 12 | (uint64_t)s->l << 13 |
			 (uint64_t)s->db << 14 | (uint64_t)s->g << 15;

	return (limit & 0xffff) | (s->base & 0xffffff) << 16 | flags << 40 |
	       (limit >> 16 & 0xf) << 48 | (s->base >> 24 & 0xff) << 56;
}

int cpu_write_boot_tables(struct guest_memory *memory, const struct kernel_image *image,
			  struct error *err)
{
	struct kvm_segment code = flat_code(image->protocol == BOOT_LINUX_64), data = flat_data();
	struct kvm_segment tss = task_state();
	uint64_t gdt[GDT_ENTRIES] = {
		[GDT_CODE] = descriptor(&code), [GDT_DATA] = descriptor(&data),
		[GDT_TSS] = descriptor(&tss),
	};
	bool ok = guest_memory_write(memory, LAYOUT_BOOT_GDT, gdt, sizeof(gdt));

	if (ok && image->protocol == BOOT_LINUX_64) {
		/* 1:1 in 2 MiB pages for the first GiB: kernel, zero page and command line lie there. */
		uint64_t pml4 = (LAYOUT_PML4 + 0x1000) | PTE_PRESENT | PTE_WRITABLE;
		uint64_t pdpt = (LAYOUT_PML4 + 0x2000) | PTE_PRESENT | PTE_WRITABLE;
		uint64_t pd[512];

		for (uint64_t i = 0; i < ARRAY_SIZE(pd); i++)
			pd[i] = i << 21 | PTE_PRESENT | PTE_WRITABLE | PTE_LARGE;
		ok = guest_memory_write(memory, LAYOUT_PML4, &pml4, sizeof(pml4)) &&
		     guest_memory_write(memory, LAYOUT_PML4 + 0x1000, &pdpt, sizeof(pdpt)) &&
		     guest_memory_write(memory, LAYOUT_PML4 + 0x2000, pd, sizeof(pd));
	}
	return ok ? 0 : error_set(err, ENOMEM, "no memory for the boot page tables");
}

static int set_registers(int fd, const struct kernel_image *image, uint64_t info, struct error *err)
{
	bool pvh = image->protocol == BOOT_PVH;
	struct kvm_regs regs = { .rflags = RFLAGS_FIXED, .rip = image->entry };
	struct kvm_sregs sregs;
	int rc = kvm_ioctl(fd, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS", err);

	if (rc < 0)
		return rc;
	sregs.cs = flat_code(!pvh);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_data();
	sregs.tr = task_state();
	sregs.gdt = (struct kvm_dtable){ .base = LAYOUT_BOOT_GDT, .limit = GDT_ENTRIES * 8 - 1 };
	sregs.idt = (struct kvm_dtable){ .base = LAYOUT_BOOT_IDT, .limit = 7 };
	sregs.cr0 = CR0_PE | CR0_ET;
	if (pvh) {
		regs.rbx = info;
	} else {
		sregs.cr3 = LAYOUT_PML4;
		sregs.cr4 = CR4_PAE;
		sregs.cr0 |= CR0_PG;
		sregs.efer = EFER_LME | EFER_LMA;
		regs.rsi = info;
		regs.rsp = regs.rbp = LAYOUT_BOOT_STACK;
	}
	rc = kvm_ioctl(fd, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS", err);
	return rc < 0 ? rc : kvm_ioctl(fd, KVM_SET_REGS, &regs, "KVM_SET_REGS", err);
}

static int set_msrs(int fd, struct error *err)
{
	/*
	 * KVM's reset values serve for all others. Fast strings: the kernel uses `rep movsb` freely.
	 * MTRR: a BIOS would have made RAM write-back; without it Linux turns PAT off.
	 */
	struct { /* struct kvm_msrs with its flexible array */
		uint32_t n, padding;
		struct kvm_msr_entry entries[2];
	} msrs = { .n = 2,
		   .entries = { { .index = MSR_MISC_ENABLE, .data = MISC_FAST_STRING },
				{ .index = MSR_MTRR_DEFAULT, .data = MTRR_ENABLE | MTRR_WRITE_BACK } } };
	int n = kvm_ioctl(fd, KVM_SET_MSRS, &msrs, "KVM_SET_MSRS", err);

	/* The result is how many were set: fewer is a failure of the next one (api.rst 4.19). */
	if (n >= 0 && n < (int)msrs.n)
		return error_set(err, EINVAL, "KVM_SET_MSRS: MSR 0x%x refused", msrs.entries[n].index);
	return n < 0 ? n : 0;
}

static int set_virtual_wire(int fd, struct error *err)
{
	struct kvm_lapic_state lapic;
	uint32_t lint0 = LAPIC_DM_EXTINT, lint1 = LAPIC_DM_NMI;
	int rc = kvm_ioctl(fd, KVM_GET_LAPIC, &lapic, "KVM_GET_LAPIC", err);

	if (rc < 0)
		return rc;
	memcpy(&lapic.regs[LAPIC_LVT_LINT0], &lint0, sizeof(lint0));
	memcpy(&lapic.regs[LAPIC_LVT_LINT1], &lint1, sizeof(lint1));
	return kvm_ioctl(fd, KVM_SET_LAPIC, &lapic, "KVM_SET_LAPIC", err);
}

int cpu_setup(int vcpu_fd, struct cpuid *cpuid, uint32_t index, const struct cpu_topology *topology,
	      const struct kernel_image *image, uint64_t info, bool virtual_wire,
	      struct error *err)
{
	cpuid_set_vcpu(cpuid, index, topology);
	/* CPUID before any MSR: since Linux 5.16 KVM checks MSRs against it. */
	int rc = kvm_ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2", err);

	if (rc == 0)
		rc = set_msrs(vcpu_fd, err);
	if (rc == 0 && virtual_wire)
		rc = set_virtual_wire(vcpu_fd, err);
	if (rc == 0 && index == 0)
		rc = set_registers(vcpu_fd, image, info, err);
	return rc < 0 ? error_wrap(err, "vcpu %u", index) : 0;
}
