/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/probe.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "vmm/arch/x86_64/cpu.h"
#include "vmm/kvm.h"
#include "vmm/util.h"

/* Guest physical layout of the probe's 64 KiB. */
#define PROBE_PML4       0x1000u
#define PROBE_PDPT       0x2000u
#define PROBE_PD         0x3000u
#define PROBE_GDT        0x4000u
#define PROBE_IDT        0x5000u
#define PROBE_TSS        0x6000u
#define PROBE_STACK      0x8000u /* grows down from here */
#define PROBE_SCRATCH    0x9000u
#define PROBE_USER_STACK 0xb000u
#define PROBE_CODE       0xc000u
#define PROBE_MEMORY     0x10000u

#define RESULT_PORT      0xf4
#define RESULT_PASS      0x01
#define RESULT_EXCEPTION 0x80
#define TIMEOUT_MS       1000

extern const uint8_t probe_code_start[], probe_code_end[], probe_exceptions[];
extern const uint8_t probe_port[], probe_int3[], probe_popcnt[], probe_cmpxchg16b[], probe_xsave[],
	probe_syscall[], probe_smap[];

struct probe_test {
	const char *name;
	const char *purpose;
	const uint8_t *code;
	bool required;
	uint8_t expected;
	uint32_t leaf;     /* CPUID leaf, 0 = always there */
	char reg;          /* 'b' or 'c' */
	uint8_t bit;
};

static const struct probe_test tests[PROBE_TESTS] = {
	{ "port I/O", "anything at all", probe_port, true, RESULT_PASS, 0, 0, 0 },
	{ "int3", "the kernel patches its own code at boot", probe_int3, true, RESULT_EXCEPTION | 3, 0,
	  0, 0 },
	{ "popcnt", "kernel and user space count bits with it", probe_popcnt, true, RESULT_PASS, 1,
	  'c', 23 },
	{ "cmpxchg16b", "the memory allocator's free lists", probe_cmpxchg16b, true, RESULT_PASS, 1,
	  'c', 13 },
	{ "xsave", "saving processes' registers", probe_xsave, true, RESULT_PASS, 1, 'c', 26 },
	{ "SYSCALL", "system calls from user mode into the guest's kernel", probe_syscall, true,
	  RESULT_PASS, 0, 0, 0 },
	{ "stac/clac", "the kernel's access to user memory", probe_smap, true, RESULT_PASS, 7, 'b', 20 },
};

static bool offered(const struct cpuid *cpuid, const struct probe_test *test)
{
	if (test->leaf == 0)
		return true;
	for (uint32_t i = 0; i < cpuid->n; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == test->leaf && e->index == 0)
			return (test->reg == 'b' ? e->ebx : e->ecx) >> test->bit & 1;
	}
	return false;
}

/* Code or data segment of a given privilege level, as descriptor and as KVM's struct. */
static struct kvm_segment segment(uint16_t selector, bool code, uint8_t dpl)
{
	return (struct kvm_segment){ .limit = 0xffffffff, .selector = selector | dpl, .s = 1, .g = 1,
				     .present = 1, .dpl = dpl, .type = code ? 0xb : 0x3, .l = code,
				     .db = !code };
}

static uint64_t descriptor(const struct kvm_segment *s)
{
	return 0xffff | (uint64_t)(s->type | s->s << 4 | s->dpl << 5 | 1 << 7) << 40 |
	       UINT64_C(0xf) << 48 | (uint64_t)(s->l << 5 | s->db << 6 | s->g << 7) << 48;
}

static void write_idt(struct guest_memory *memory)
{
	for (uint32_t vector = 0; vector < 32; vector++) {
		uint32_t stub = PROBE_CODE + (uint32_t)(probe_exceptions - probe_code_start) + vector * 8;
		uint64_t gate[2] = { (stub & 0xffff) | UINT64_C(0x08) << 16 | UINT64_C(0xee) << 40 |
				     (uint64_t)(stub >> 16) << 48, 0 };

		guest_memory_write(memory, PROBE_IDT + vector * sizeof(gate), gate, sizeof(gate));
	}
}

/* Null, kernel code 0x08 and data 0x10, (0x18 unused), user data 0x20 and code 0x28, TSS 0x30. */
static void write_tables(struct guest_memory *memory)
{
	const uint64_t user_page = 7; /* present, writable, user */
	struct kvm_segment s[] = { segment(0x08, true, 0), segment(0x10, false, 0),
				   segment(0x20, false, 3), segment(0x28, true, 3) };
	uint64_t gdt[8] = { 0, descriptor(&s[0]), descriptor(&s[1]), 0, descriptor(&s[2]),
			    descriptor(&s[3]),
			    /* 64-bit TSS, limit 0x67, base PROBE_TSS */
			    0x67 | (uint64_t)PROBE_TSS << 16 | UINT64_C(0x8b) << 40, 0 };
	uint64_t pml4 = PROBE_PDPT | user_page, pdpt = PROBE_PD | user_page, pd = 0x80 | user_page;
	uint64_t rsp0 = PROBE_STACK;

	guest_memory_write(memory, PROBE_PML4, &pml4, sizeof(pml4));
	guest_memory_write(memory, PROBE_PDPT, &pdpt, sizeof(pdpt));
	guest_memory_write(memory, PROBE_PD, &pd, sizeof(pd));
	guest_memory_write(memory, PROBE_GDT, gdt, sizeof(gdt));
	guest_memory_write(memory, PROBE_TSS + 4, &rsp0, sizeof(rsp0));
	guest_memory_write(memory, PROBE_CODE, probe_code_start,
			   (uint64_t)(probe_code_end - probe_code_start));
	write_idt(memory);
}

static int set_vcpu(int fd, struct cpuid *cpuid, const struct probe_test *test, struct error *err)
{
	struct kvm_regs regs = {
		.rip = PROBE_CODE + (uint64_t)(test->code - probe_code_start),
		.rsp = PROBE_STACK, .rflags = 2, .rdi = PROBE_SCRATCH, .rsi = PROBE_USER_STACK,
	};
	struct kvm_sregs sregs;
	int rc = kvm_ioctl(fd, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2", err);

	if (rc == 0)
		rc = kvm_ioctl(fd, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS", err);
	if (rc < 0)
		return rc;
	sregs.cs = segment(0x08, true, 0);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(0x10, false, 0);
	sregs.tr = (struct kvm_segment){ .base = PROBE_TSS, .limit = 0x67, .selector = 0x30,
					 .type = 0xb, .present = 1 };
	sregs.gdt = (struct kvm_dtable){ .base = PROBE_GDT, .limit = 63 };
	sregs.idt = (struct kvm_dtable){ .base = PROBE_IDT, .limit = 32 * 16 - 1 };
	sregs.cr3 = PROBE_PML4;
	sregs.cr4 = 1 << 5 | 3 << 9;          /* PAE, OSFXSR, OSXMMEXCPT */
	sregs.cr0 = UINT64_C(0x80000033);     /* PG, NE, ET, MP, PE */
	sregs.efer = 1 << 10 | 1 << 8 | 1;    /* LMA, LME, SCE */
	rc = kvm_ioctl(fd, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS", err);
	return rc < 0 ? rc : kvm_ioctl(fd, KVM_SET_REGS, &regs, "KVM_SET_REGS", err);
}

/* Says in the report what the guest or KVM made of the test. */
static void judge(struct probe_report *report, const struct probe_test *test,
		  const struct kvm_run *run, int run_errno)
{
	uint8_t value;

	report->result = PROBE_FAILED;
	if (run_errno == EINTR) {
		snprintf(report->detail, sizeof(report->detail), "the guest hung");
	} else if (run_errno) {
		snprintf(report->detail, sizeof(report->detail), "KVM_RUN: %s",
			 strerrordesc_np(run_errno));
	} else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
		snprintf(report->detail, sizeof(report->detail),
			 "KVM can't emulate it (internal error, suberror %u)", run->internal.suberror);
	} else if (run->exit_reason != KVM_EXIT_IO || run->io.port != RESULT_PORT) {
		snprintf(report->detail, sizeof(report->detail), "unexpected exit %u", run->exit_reason);
	} else {
		value = *((const uint8_t *)run + run->io.data_offset);
		if (value == test->expected)
			report->result = PROBE_OK;
		else if (value & RESULT_EXCEPTION && test->code == probe_syscall)
			snprintf(report->detail, sizeof(report->detail),
				 "SYSCALL in user mode does not enter the guest's kernel (exception %u)",
				 value & 0x7fu);
		else if (value & RESULT_EXCEPTION)
			snprintf(report->detail, sizeof(report->detail), "exception %u in the guest",
				 value & 0x7fu);
		else
			snprintf(report->detail, sizeof(report->detail), "wrong result in the guest");
	}
}

/* One test in one VM. The alarm makes KVM_RUN return EINTR if the guest hangs. */
static int run_test(struct kvm *kvm, struct cpuid *cpuid, const struct probe_test *test,
		    struct probe_report *report, struct error *err)
{
	/* Again and again: one that comes before KVM_RUN must not be the last. */
	const struct timeval after = { .tv_sec = TIMEOUT_MS / 1000, .tv_usec = TIMEOUT_MS % 1000 * 1000 };
	const struct itimerval limit = { .it_value = after, .it_interval = after };
	const struct itimerval off = { 0 };
	struct guest_memory memory = { 0 };
	cleanup_close int vcpu = -1;
	int rc = guest_memory_add(&memory, 0, PROBE_MEMORY, MEMORY_BACKING_NONE, false, err);

	if (rc == 0) {
		write_tables(&memory);
		rc = kvm_set_memory(kvm, &memory, err);
	}
	if (rc == 0)
		rc = vcpu = kvm_ioctl(kvm->vm_fd, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU", err);
	if (rc >= 0)
		rc = set_vcpu(vcpu, cpuid, test, err);
	if (rc >= 0) {
		struct kvm_run *run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);

		if (run == MAP_FAILED) {
			rc = error_sys(err, errno, "map kvm_run");
		} else {
			setitimer(ITIMER_REAL, &limit, NULL);
			int run_errno = ioctl(vcpu, KVM_RUN, 0) < 0 ? errno : 0;

			setitimer(ITIMER_REAL, &off, NULL);
			judge(report, test, run, run_errno);
			munmap(run, kvm->run_size);
		}
	}
	guest_memory_release(&memory);
	return rc < 0 ? rc : 0;
}

static void on_alarm(int signum)
{
	(void)signum;
}

int probe_run(struct probe_report reports[PROBE_TESTS], struct error *err)
{
	struct sigaction action = { .sa_handler = on_alarm }, old;
	cleanup_free struct cpuid *cpuid = malloc(sizeof(*cpuid));
	sigset_t alarm, old_mask;
	int rc = 0;

	if (!cpuid)
		return error_sys(err, ENOMEM, "probe");
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarm, &old_mask);
	sigaction(SIGALRM, &action, &old);
	for (unsigned int i = 0; rc == 0 && i < PROBE_TESTS; i++) {
		const struct probe_test *test = &tests[i];
		struct kvm kvm;

		reports[i] = (struct probe_report){ .name = test->name, .purpose = test->purpose,
						    .required = test->required };
		rc = kvm_open(&kvm, err);
		if (rc == 0)
			rc = cpuid_template(&kvm, cpuid, err);
		if (rc == 0 && !offered(cpuid, test))
			reports[i].result = PROBE_NOT_OFFERED;
		else if (rc == 0)
			rc = run_test(&kvm, cpuid, test, &reports[i], err);
		kvm_close(&kvm);
	}
	sigaction(SIGALRM, &old, NULL);
	sigprocmask(SIG_SETMASK, &old_mask, NULL);
	return rc;
}

bool probe_linux_can_run(const struct probe_report reports[PROBE_TESTS])
{
	for (unsigned int i = 0; i < PROBE_TESTS; i++)
		if (reports[i].required && reports[i].result == PROBE_FAILED)
			return false;
	return true;
}
