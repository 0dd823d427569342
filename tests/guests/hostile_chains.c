/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptor chains of the hostile guest. */
#include "hostile.h"

static void put(volatile struct desc *table, u32 i, u32 address, u32 len, u16 flags, u16 next)
{
	table[i] = (struct desc){ address, 0, len, flags, next };
}

static void loop_of_one(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 0);
}

static void loop_of_two(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 1);
	put(d, 1, DATA, 512, NEXT, 0);
}

static void long_loop(volatile struct desc *d)
{
	for (u16 i = 0; i < 64; i++)
		put(d, i, HEADER, 16, NEXT, (u16)((i + 1) % 64));
}

static void next_outside(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 64);
}

static void next_far_outside(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 0xffff);
}

static void readable_after_writable(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT | WRITE, 1);
	put(d, 1, DATA, 512, 0, 0);
}

static void outside_of_ram(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 1);
	put(d, 1, RAM_END, 512, WRITE, 0);
}

static void across_the_end(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 1);
	put(d, 1, RAM_END - 256, 512, WRITE, 0);
}

static void in_device_registers(volatile struct desc *d)
{
	put(d, 0, DEVICES, 16, NEXT, 1);
	put(d, 1, DEVICES + 0x100, 512, WRITE, 0);
}

static void wrapping(volatile struct desc *d)
{
	put(d, 0, 0xffffff00u, 0x1000, WRITE, 0);
	d[0].high = 0xffffffffu;
}

static void high_address(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 1);
	put(d, 1, DATA, 512, WRITE, 0);
	d[1].high = 0x80000000u;
}

static void empty(volatile struct desc *d)
{
	put(d, 0, HEADER, 0, 0, 0);
}

static void empty_tail(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 1);
	put(d, 1, STATUS, 0, WRITE, 0);
}

static void whole_address_space(volatile struct desc *d)
{
	put(d, 0, 0, 0xffffffffu, WRITE, 0);
}

static void all_of_ram(volatile struct desc *d)
{
	for (u16 i = 0; i < 40; i++)
		put(d, i, 0, RAM_END, WRITE | NEXT, (u16)(i + 1));
	put(d, 40, 0, RAM_END, WRITE, 0);
}

static void short_header(volatile struct desc *d)
{
	put(d, 0, HEADER, 15, NEXT, 1);
	put(d, 1, STATUS, 1, WRITE, 0);
}

static void no_status(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, 0, 0);
}

void only_status(volatile struct desc *d)
{
	put(d, 0, STATUS, 1, WRITE, 0);
}

static void odd_length(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 1);
	put(d, 1, DATA + 1, 513, NEXT | (any() % 2 ? WRITE : 0), 2);
	put(d, 2, STATUS, 1, WRITE, 0);
}

static void bytes(volatile struct desc *d)
{
	for (u16 i = 0; i < 62; i++)
		put(d, i, HEADER + i, 1, NEXT, (u16)(i + 1));
	put(d, 62, STATUS, 1, WRITE, 0);
}

static void over_the_descriptors(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 1);
	put(d, 1, (u32)d, 1024, NEXT | WRITE, 2);
	put(d, 2, STATUS, 1, WRITE, 0);
}

static void over_the_rings(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 1);
	put(d, 1, (u32)d + AVAIL, 0x3000, NEXT | WRITE, 2);
	put(d, 2, (u32)d + USED + 2, 1, WRITE, 0);
}

static void overlapping(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, NEXT, 1);
	put(d, 1, HEADER, 1024, NEXT | WRITE, 2);
	put(d, 2, HEADER, 1, WRITE, 0);
}

static void empty_table(volatile struct desc *d)
{
	put(d, 0, (u32)d + TABLE, 0, INDIRECT, 0);
}

static void odd_table(volatile struct desc *d)
{
	put(d, 0, (u32)d + TABLE, 17, INDIRECT, 0);
}

static void huge_table(volatile struct desc *d)
{
	put(d, 0, (u32)d + TABLE, 0xfffffff0u, INDIRECT, 0);
}

static void table_outside_of_ram(volatile struct desc *d)
{
	put(d, 0, RAM_END - 16, 32, INDIRECT, 0);
}

static void table_and_next(volatile struct desc *d)
{
	put(d, 0, (u32)d + TABLE, 16, INDIRECT | NEXT, 1);
}

static void nested_table(volatile struct desc *d)
{
	volatile struct desc *table = (volatile struct desc *)((u32)d + TABLE);

	put(d, 0, (u32)table, 32, INDIRECT, 0);
	put(table, 0, HEADER, 16, NEXT, 1);
	put(table, 1, (u32)table, 32, INDIRECT, 0);
}

static void table_of_loops(volatile struct desc *d)
{
	volatile struct desc *table = (volatile struct desc *)((u32)d + TABLE);

	put(d, 0, (u32)table, 32, INDIRECT, 0);
	put(table, 0, HEADER, 16, NEXT, 1);
	put(table, 1, DATA, 512, NEXT, 0);
}

static void table_is_itself(volatile struct desc *d)
{
	put(d, 0, (u32)d, 1024, INDIRECT, 0);
}

static void unaligned_table(volatile struct desc *d)
{
	volatile struct desc *table = (volatile struct desc *)((u32)d + TABLE + 3);

	put(d, 0, (u32)table, 32, INDIRECT, 0);
	put(table, 0, HEADER, 16, NEXT, 1);
	put(table, 1, STATUS, 1, WRITE, 0);
}

static void unknown_flags(volatile struct desc *d)
{
	put(d, 0, HEADER, 16, 0xfff8 | NEXT, 1);
	put(d, 1, STATUS, 512, 0xfff8 | WRITE, 0xffff);
}

void (*const hostile_chains[])(volatile struct desc *) = {
	loop_of_one, loop_of_two, long_loop, next_outside, next_far_outside, readable_after_writable,
	outside_of_ram, across_the_end, in_device_registers, wrapping, high_address, empty, empty_tail,
	whole_address_space, all_of_ram, short_header, no_status, only_status, odd_length, bytes,
	over_the_descriptors, over_the_rings, overlapping, empty_table, odd_table, huge_table,
	table_outside_of_ram, table_and_next, nested_table, table_of_loops, table_is_itself,
	unaligned_table, unknown_flags,
};

const u32 n_hostile_chains = sizeof(hostile_chains) / sizeof(hostile_chains[0]);
