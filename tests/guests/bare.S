/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bare-metal guests of a few instructions, each an ELF with a PVH note. What they do is chosen by
 * -DGUEST_...; they start in 32-bit protected mode without paging (Xen's PVH entry).
 */
	.section .note.pvh, "a", @note
	.align	4
	.long	4, 4, 18	/* name size, desc size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.long	start

	.text
	.code32
	.globl	start
start:
#if defined(GUEST_RESET)
	/* The least that a guest can do: write to the boot timer, then reset. */
	movb	$123, 0xc0000000
	mov	$0xfe, %al
	out	%al, $0x64
#elif defined(GUEST_TRIPLE_FAULT)
	lidt	no_idt
	int3
#elif defined(GUEST_PANIC)
	mov	$1, %al
	mov	$0x505, %dx
	out	%al, %dx
#elif defined(GUEST_POWER_OFF)
	mov	$(5 << 2 | 1 << 5), %al
	mov	$0x600, %dx
	out	%al, %dx
#elif defined(GUEST_SPIN)
	jmp	.
#elif defined(GUEST_FLOOD)
	/* As fast as it can into the serial port, 192 KiB, then power off. */
	mov	$0x3f8, %dx
	mov	$196608, %ecx
	mov	$'x', %al
1:	out	%al, %dx
	loop	1b
	mov	$(5 << 2 | 1 << 5), %al
	mov	$0x600, %dx
	out	%al, %dx
#elif defined(GUEST_PROD)
	/* Ports below 0x1000 and every 4 bytes of the first MMIO pages, in all widths; then power off. */
	xor	%edx, %edx
1:	cmp	$0x64, %dx	/* the reset pulse and the power-off are tests of their own */
	je	2f
	cmp	$0x600, %dx
	je	2f
	cmp	$0x505, %dx
	je	2f
	in	%dx, %al
	in	%dx, %ax
	in	%dx, %eax
	xor	%eax, %eax
	out	%al, %dx
2:	inc	%edx
	cmp	$0x1000, %edx
	jne	1b
	mov	$0xc0000000, %ebx
3:	mov	(%ebx), %al
	mov	(%ebx), %ax
	mov	1(%ebx), %eax
	mov	(%ebx), %eax
	movl	$0xffffffff, (%ebx)
	movb	$0x55, (%ebx)
	movw	$0xaaaa, 3(%ebx)
	add	$4, %ebx
	cmp	$0xc0003000, %ebx
	jne	3b
	mov	$(5 << 2 | 1 << 5), %al
	mov	$0x600, %dx
	out	%al, %dx
#elif defined(GUEST_STRINGS)
	/* rep outsb and rep insb: several elements an exit. */
	mov	$message, %esi
	mov	$(message_end - message), %ecx
	mov	$0x3f8, %dx
	cld
	rep outsb
	mov	$(5 << 2 | 1 << 5), %al
	mov	$0x600, %dx
	out	%al, %dx
#else
#error "which guest?"
#endif
	hlt
	jmp	.-1

	.data
no_idt:	.word	0
	.long	0
message:
	.ascii	"rep outsb works\n"
message_end:
	.section .note.GNU-stack, "", @progbits
