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
#elif defined(GUEST_KEYBOARD)
	/* What the keyboard sends, to the serial port; off at Del (set 1). */
1:	in	$0x64, %al
	test	$1, %al
	jz	1b
	in	$0x60, %al
	mov	$0x3f8, %dx
	out	%al, %dx
	cmp	$0x53, %al
	jne	1b
	mov	$(5 << 2 | 1 << 5), %al
	mov	$0x600, %dx
	out	%al, %dx
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
#elif defined(GUEST_FETCH_MMIO)
	/* Where there's nothing but devices KVM can't fetch instructions. */
	mov	$0xd0000000, %eax
	jmp	*%eax
#elif defined(GUEST_DISK_RESET)
	/*
	 * The first virtio device, a disk: 21 reads of 64 KiB, and a reset while they are in flight;
	 * 300 times, each a little later than the one before. Then power off.
	 */
	mov	$300, %ebp
1:	mov	$disk_setup, %esi
2:	lodsl
	mov	%eax, %edi
	lodsl
	mov	%eax, 0xc0001000(%edi)
	cmp	$disk_setup_end, %esi
	jne	2b
	mov	$301, %ecx
	sub	%ebp, %ecx
	shl	$7, %ecx
3:	loop	3b
	movl	$0, 0xc0001070
	dec	%ebp
	jnz	1b
	mov	$(5 << 2 | 1 << 5), %al
	mov	$0x600, %dx
	out	%al, %dx
#elif defined(GUEST_DISK_BREAK)
	/* The same reads, and behind them one of a descriptor that isn't there. Off when the disk says so. */
	mov	$disk_setup, %esi
1:	lodsl
	mov	%eax, %edi
	lodsl
	mov	%eax, 0xc0001000(%edi)
	cmp	$disk_setup_end, %esi
	jne	1b
	movw	$0xffff, avail + 4 + 2 * 21
	movw	$22, avail + 2
	movl	$0, 0xc0001050
2:	testl	$0x40, 0xc0001070
	jz	2b
	mov	$(5 << 2 | 1 << 5), %al
	mov	$0x600, %dx
	out	%al, %dx
#elif defined(GUEST_HOSTILE)
	/* hostile.c, with Xen's start info as its argument. */
	mov	$0x7f0f000, %esp
	cld
	push	%ebx
	call	hostile_main
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
#if defined(GUEST_DISK_RESET) || defined(GUEST_DISK_BREAK)
	.balign	4
disk_setup: /* register, value: a driver's start (virtio 1.2 §3.1.1), then the notification */
	.long	0x70, 0, 0x70, 1, 0x70, 3, 0x24, 1, 0x20, 1, 0x24, 0, 0x20, 0, 0x70, 0xb
	.long	0x30, 0, 0x38, 64, 0x80, descriptors, 0x84, 0, 0x90, avail, 0x94, 0, 0xa0, used, 0xa4, 0
	.long	0x44, 1, 0x70, 0xf, 0x50, 0
disk_setup_end:
	.balign	16
descriptors: /* header, 64 KiB at 4 MiB, status: 21 times */
	.set	i, 0
	.rept	21
	.quad	header
	.long	16
	.word	1, 3 * i + 1
	.quad	0x400000
	.long	0x10000
	.word	3, 3 * i + 2
	.quad	status
	.long	1
	.word	2, 0
	.set	i, i + 1
	.endr
avail:	.word	0, 21
	.set	i, 0
	.rept	21
	.word	3 * i
	.set	i, i + 1
	.endr
	.word	0
	.balign	16
header:	.quad	0, 0	/* read, sector 0 */
status:	.byte	0
	.balign	16
used:	.skip	6 + 8 * 64
#endif
	.section .note.GNU-stack, "", @progbits
