/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least that a guest can do: say that it runs (a write to mote's boot timer), then reset, by the
 * i8042 where there is one and by a triple fault where there is none (QEMU's microvm).
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
	movb	$123, 0xc0000000
	mov	$0xfe, %al
	out	%al, $0x64
	lidt	no_idt
	int3
	hlt

	.data
no_idt:	.word	0
	.long	0
	.section .note.GNU-stack, "", @progbits
