/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the hostile guest share (hostile.c): where things are in its memory. */
#ifndef MOTE_TESTS_HOSTILE_H
#define MOTE_TESTS_HOSTILE_H

/* Each part is compiled to assembly for 32 bits, and that assembled into a 64-bit ELF file. */
__asm__(".code32");

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

/*
 * The program and its stack are in the upper half of the 64 KiB at 0x7f00000. Where a used ring lies over
 * its own descriptors, its index becomes the upper half of an address: the device then writes to the
 * beginnings of 64 KiB, one after the other from below, and nothing that it does must end this program.
 */
#define RAM_END	    0x8000000u	/* 128 MiB */
#define MMIO_START  0xc0000000u
#define DEVICES	    0xc0001000u
#define N_DEVICES   6
#define WRITE_FIRST 2048
#define WRITE_END   4096

#define RINGS  0x1000000u /* 64 KiB a queue: descriptors, then the rings; indirect tables behind */
#define AVAIL  0x2000
#define USED   0x4000
#define TABLE  0x8000
#define HEADER 0x2000000u /* of a disk request, or a packet */
#define DATA   0x3000000u
#define STATUS 0x2100000u

#define NEXT	 1
#define WRITE	 2
#define INDIRECT 4

enum { MAGIC = 0, ID = 8, OFFERED = 0x10, OFFERED_SEL = 0x14, ACCEPTED = 0x20, ACCEPTED_SEL = 0x24,
       SEL = 0x30, NUM_MAX = 0x34, NUM = 0x38, READY = 0x44, NOTIFY = 0x50, ACK = 0x64, STATE = 0x70,
       DESC_LOW = 0x80, AVAIL_LOW = 0x90, USED_LOW = 0xa0 };

struct desc {
	u32 low, high, len;
	u16 flags, next;
};

/* From "seed=N" on the command line. */
u32 any(void);

/* Chains from descriptor 0 on, none of which a driver would make. */
extern void (*const hostile_chains[])(volatile struct desc *table);
extern const u32 n_hostile_chains;

/* One of them: a chain of one byte that the device writes. */
void only_status(volatile struct desc *table);

#endif
