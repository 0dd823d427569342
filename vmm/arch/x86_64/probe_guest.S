/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest code of the probe (vmm/probe.c). Position independent; runs at CPL 0 in long mode with one
 * 2 MiB page mapped for user and kernel. Each test ends with one byte written to port 0xf4:
 * PASS or FAIL by the test itself, 0x80 | vector from an exception.
 *
 * rdi = 64-byte aligned scratch page, rsi = user stack top, given by the monitor.
 */
#define RESULT_PORT 0xf4
#define PASS        1
#define FAIL        2
#define USER_CODE   0x2b
#define USER_DATA   0x23
#define MSR_STAR    0xc0000081
#define MSR_LSTAR   0xc0000082
#define MSR_FMASK   0xc0000084

	.section .rodata, "a"
	.code64

	.macro report value
	mov	$\value, %al
	out	%al, $RESULT_PORT
1:	hlt
	jmp	1b
	.endm

	.macro global_label name
	.globl	\name
	.hidden	\name
\name:
	.endm

	.balign	16
global_label probe_code_start

/* 32 exception stubs of 8 bytes each, so that the monitor can compute their addresses. */
global_label probe_exceptions
	.set	vector, 0
	.rept	32
	.balign	8
	mov	$(0x80 | vector), %al
	out	%al, $RESULT_PORT
	jmp	.
	.set	vector, vector + 1
	.endr

global_label probe_port
	report	PASS

global_label probe_int3
	int3
	report	FAIL

global_label probe_popcnt
	mov	$0xff00ff, %eax
	popcnt	%eax, %eax
	cmp	$16, %eax
	jne	fail
	report	PASS

global_label probe_cmpxchg16b
	movq	$1, (%rdi)
	movq	$2, 8(%rdi)
	mov	%rdi, %r8
	mov	$1, %eax
	mov	$2, %edx
	mov	$3, %ebx
	mov	$4, %ecx
	lock cmpxchg16b (%r8)
	jne	fail
	cmpq	$3, (%r8)
	jne	fail
	cmpq	$4, 8(%r8)
	jne	fail
	report	PASS

global_label probe_xsave
	mov	%cr4, %rax
	or	$(1 << 18 | 3 << 9), %rax	/* OSXSAVE, OSFXSR, OSXMMEXCPT */
	mov	%rax, %cr4
	xor	%ecx, %ecx
	mov	$3, %eax			/* x87 and SSE */
	xor	%edx, %edx
	xsetbv
	mov	$0x1234, %eax
	movd	%eax, %xmm0
	mov	$3, %eax
	xsave	(%rdi)
	pxor	%xmm0, %xmm0
	mov	$3, %eax
	xor	%edx, %edx
	xrstor	(%rdi)
	movd	%xmm0, %eax
	cmp	$0x1234, %eax
	jne	fail
	report	PASS

/* Enter CPL 3, and come back by SYSCALL: the handler must run at CPL 0. */
global_label probe_syscall
	mov	$MSR_STAR, %ecx
	xor	%eax, %eax
	mov	$(0x1b << 16 | 0x08), %edx	/* SYSCALL: CS 0x08; SYSRET: CS 0x1b + 16 */
	wrmsr
	lea	syscall_entry(%rip), %rax
	mov	%rax, %rdx
	shr	$32, %rdx
	mov	$MSR_LSTAR, %ecx
	wrmsr
	mov	$MSR_FMASK, %ecx
	mov	$0x200, %eax
	xor	%edx, %edx
	wrmsr
	pushq	$USER_DATA
	push	%rsi
	pushq	$2				/* rflags: IOPL 0 */
	pushq	$USER_CODE
	lea	user_entry(%rip), %rax
	push	%rax
	iretq
user_entry:
	syscall
	ud2
syscall_entry:
	mov	%cs, %eax
	test	$3, %al
	jnz	fail_user
	report	PASS				/* at CPL 3 this faults: IOPL is 0 */
fail_user:
	ud2

global_label probe_smap
	mov	%cr4, %rax
	or	$(1 << 21), %rax
	mov	%rax, %cr4
	stac
	movq	$7, (%rdi)			/* a user page: allowed between stac and clac */
	clac
	report	PASS

fail:
	report	FAIL

global_label probe_code_end

	.section .note.GNU-stack, "", @progbits
