/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that attacks its monitor: every virtio device by malformed rings and by its registers, every
 * port and unclaimed address. Bare metal, 32 bits, without paging (bare.S starts it). What it does
 * follows from "seed=N" on its command line alone. Each phase ends with "phase NAME done" on the serial
 * port, the whole with a reset.
 *
 * Disks are written to by valid requests too, but only in sectors WRITE_FIRST to WRITE_END.
 */
#include "hostile.h"

/* In a page of its own: an emulator translates code anew whenever its page is written to. */
static u32 seed __attribute__((section(".data"), aligned(4096))) = 1;

u32 any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static void out8(u16 port, u8 value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void out16(u16 port, u16 value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static void out32(u16 port, u32 value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static u32 in_any_width(u16 port)
{
	u8 b;
	u16 w;
	u32 l;

	__asm__ volatile("inb %1, %0" : "=a"(b) : "Nd"(port));
	__asm__ volatile("inw %1, %0" : "=a"(w) : "Nd"(port));
	__asm__ volatile("inl %1, %0" : "=a"(l) : "Nd"(port));
	return b + w + l;
}

static void say(const char *text)
{
	for (; *text; text++)
		out8(0x3f8, (u8)*text);
}

static u32 reg(u32 device, u32 offset)
{
	return *(volatile u32 *)(DEVICES + 0x1000 * device + offset);
}

static void set(u32 device, u32 offset, u32 value)
{
	*(volatile u32 *)(DEVICES + 0x1000 * device + offset) = value;
}

static volatile struct desc *descriptors(u32 queue)
{
	return (volatile struct desc *)(RINGS + 0x10000 * queue);
}

static volatile u16 *avail(u32 queue)
{
	return (volatile u16 *)(RINGS + 0x10000 * queue + AVAIL);
}

static volatile u16 *used(u32 queue)
{
	return (volatile u16 *)(RINGS + 0x10000 * queue + USED);
}

static void put(volatile struct desc *table, u32 i, u32 address, u32 len, u16 flags, u16 next)
{
	table[i].low = address;
	table[i].high = 0;
	table[i].len = len;
	table[i].flags = flags;
	table[i].next = next;
}

static void clear_rings(void)
{
	for (volatile u32 *p = (volatile u32 *)RINGS; p < (volatile u32 *)(RINGS + 0x30000); p++)
		*p = 0;
}

/* ---- a driver ---- */

static void accept_features(u32 device)
{
	set(device, STATE, 0);
	set(device, STATE, 1);
	set(device, STATE, 3);
	for (u32 half = 0; half < 2; half++) {
		set(device, OFFERED_SEL, half);
		set(device, ACCEPTED_SEL, half);
		set(device, ACCEPTED, reg(device, OFFERED));
	}
	set(device, STATE, 0xb);
}

static void place_queue(u32 device, u32 queue, u32 size, u32 desc, u32 ring, u32 answer)
{
	set(device, SEL, queue);
	set(device, NUM, size);
	set(device, DESC_LOW, desc);
	set(device, AVAIL_LOW, ring);
	set(device, USED_LOW, answer);
	set(device, READY, 1);
}

/* Up to DRIVER_OK, with three empty queues of 64. */
static void start(u32 device)
{
	clear_rings();
	accept_features(device);
	for (u32 q = 0; q < 3; q++)
		place_queue(device, q, 64, (u32)descriptors(q), (u32)avail(q), (u32)used(q));
	set(device, STATE, 0xf);
}

static void offer(u32 queue, u16 head)
{
	volatile u16 *ring = avail(queue);

	ring[2 + ring[1] % 64] = head;
	ring[1]++;
}

/* Until the device is broken, or has answered, or it is time. */
static void notify(u32 device, u32 queue)
{
	set(device, NOTIFY, queue);
	for (u32 i = 0; i < 3000 && used(queue)[1] == 0; i++)
		__asm__ volatile("pause");
	(void)reg(device, STATE);
}

/* A header that is valid for a disk and a packet for the others; what is written stays in its place. */
static void fill_header(void)
{
	static const u8 types[] = { 0, 0, 1, 1, 4, 8, 11, 13, 99 };
	volatile u32 *header = (volatile u32 *)HEADER;

	header[0] = types[any() % sizeof(types)];
	header[1] = 0;
	header[2] = any() % 8 ? WRITE_FIRST + any() % (WRITE_END - WRITE_FIRST - 256) : 0xfffffff0u;
	header[3] = header[2] == 0xfffffff0u ? 0xffffffffu : 0;
	/* Of a discard or write zeroes: where, how much, how. Beyond the end, or in place. */
	*(volatile u32 *)DATA = header[2];
	*(volatile u32 *)(DATA + 4) = header[3];
	*(volatile u32 *)(DATA + 8) = any() % 2 ? any() % 128 : 0x7fffffff;
	*(volatile u32 *)(DATA + 12) = any() % 4;
}

/* ---- phases ---- */

static void malformed_chains(void)
{
	for (u32 device = 0; device < N_DEVICES; device++)
		for (u32 i = 0; i < n_hostile_chains; i++)
			for (u32 q = 0; q < 2; q++) {
				start(device);
				fill_header();
				hostile_chains[i](descriptors(q));
				offer(q, 0);
				notify(device, q);
			}
}

static void malformed_rings(void)
{
	static const u16 jumps[] = { 65, 64, 0x8000, 0xffff, 1000 };

	for (u32 device = 0; device < N_DEVICES; device++)
		for (u32 i = 0; i < 8; i++) {
			start(device);
			fill_header();
			only_status(descriptors(0));
			offer(0, 0);
			if (i < 5)
				avail(0)[1] = jumps[i];
			else if (i == 5)
				avail(0)[2] = 64;
			else if (i == 6)
				avail(0)[2] = 0xffff;
			else
				offer(0, 0); /* twice the same */
			notify(device, 0);
			avail(0)[1]--; /* backwards */
			notify(device, 0);
		}
}

static void queues_anywhere(void)
{
	static const u32 places[] = {
		0, 0xf0000, RAM_END - 8, RAM_END - 1024, RAM_END, DEVICES, MMIO_START, 0xfffff000u,
		0xfec00000u, 0xfee00000u, RINGS + 1, RINGS + 2, RINGS, 0x100000,
	};
	static const u32 sizes[] = { 0, 1, 3, 64, 256, 257, 1024, 32768, 65535, 65536, 0xffffffffu };

	for (u32 device = 0; device < N_DEVICES; device++)
		for (u32 i = 0; i < 60; i++) {
			accept_features(device);
			for (u32 q = 0; q < 4; q++) {
				place_queue(device, q, sizes[any() % 11], places[any() % 14],
					    places[any() % 14], places[any() % 14]);
				set(device, DESC_LOW + 4, any() % 3 ? 0 : any());
			}
			set(device, STATE, 0xf);
			notify(device, any() % 4);
		}
}

static void status_machine(void)
{
	for (u32 device = 0; device < N_DEVICES; device++) {
		for (u32 i = 0; i < 300; i++) {
			set(device, STATE, any() % 4 ? any() % 0x100 : any());
			if (any() % 2)
				set(device, (any() % 0x40) * 4, any());
		}
		/* Features that nobody offers. */
		set(device, STATE, 0);
		set(device, STATE, 1);
		set(device, STATE, 3);
		set(device, ACCEPTED_SEL, 0);
		set(device, ACCEPTED, 0xffffffffu);
		set(device, ACCEPTED_SEL, 7);
		set(device, ACCEPTED, 0xffffffffu);
		set(device, STATE, 0xb);
		set(device, STATE, 0xf);
		/* Everything once more while it runs. */
		start(device);
		for (u32 q = 0; q < 3; q++)
			place_queue(device, q, 1, DEVICES, DEVICES, DEVICES);
		set(device, ACCEPTED, 0);
		notify(device, 0);
	}
}

static void resets_in_flight(void)
{
	for (u32 i = 0; i < 240; i++) {
		u32 device = any() % N_DEVICES, q = any() % 2;
		volatile struct desc *d = descriptors(q);

		start(device);
		*(volatile u32 *)HEADER = 0; /* read */
		*(volatile u32 *)(HEADER + 8) = any() % 1024;
		*(volatile u32 *)(HEADER + 12) = 0;
		for (u16 n = 0; n < 21; n++) {
			put(d, 3u * n, HEADER, 16, NEXT, (u16)(3 * n + 1));
			put(d, 3u * n + 1, DATA, 0x10000, NEXT | WRITE, (u16)(3 * n + 2));
			put(d, 3u * n + 2, STATUS, 1, WRITE, 0);
			offer(q, (u16)(3 * n));
		}
		set(device, NOTIFY, q);
		for (u32 wait = any() % 4096; wait > 0; wait--)
			__asm__ volatile("pause");
		set(device, STATE, any() % 8 ? 0 : 0x8f);
	}
}

static void floods_of_notifications(void)
{
	for (u32 device = 0; device < N_DEVICES; device++) {
		start(device);
		for (u32 i = 0; i < 2000; i++) {
			set(device, NOTIFY, any() % 4);
			if (i % 64 == 0)
				set(device, NOTIFY, any());
			if (i % 16 == 0)
				set(device, ACK, any());
		}
	}
}

static void random_descriptors(void)
{
	static const u32 places[] = { HEADER, DATA, STATUS, RAM_END - 16, DEVICES, RINGS + TABLE, 0xfffffff0u };

	for (u32 i = 0; i < 300; i++) {
		u32 device = any() % N_DEVICES, q = any() % 2;

		start(device);
		fill_header();
		for (u32 n = 0; n < 64; n++)
			put(descriptors(q), n, n % 3 == 0 ? HEADER : places[any() % 7],
			    any() % 4 ? n % 3 == 0 ? 16 : any() % 0x2000 : any(),
			    (u16)(any() % (any() % 8 ? 4 : 8)), (u16)(any() % (any() % 16 ? 64 : 66)));
		for (u32 n = 0; n < 16; n++)
			offer(q, (u16)(3 * (any() % 21)));
		notify(device, q);
	}
}

/* Not what ends a microVM: the keyboard controller's commands, the sleep and panic registers. */
static int ends(u32 port)
{
	return (port >= 0x5d && port <= 0x64) || (port >= 0x502 && port <= 0x505) ||
	       (port >= 0x5fd && port <= 0x601) || (port >= 0x3f5 && port <= 0x3f8);
}

static void prod_port(u32 port)
{
	in_any_width((u16)port);
	if (ends(port))
		return;
	out8((u16)port, (u8)any());
	out16((u16)port, (u16)any());
	out32((u16)port, any());
}

static void ports(void)
{
	for (u32 port = 0; port < 0x700; port++)
		prod_port(port);
	for (u32 i = 0; i < 1000; i++)
		prod_port(any() & 0xffff);
	prod_port(0xffff);
	for (u32 i = 0; i < 200; i++) {
		u8 command = (u8)any();

		/* 0xd1 writes the output port, 0xf0 to 0xff pulse it: both may reset. */
		if (command < 0xf0 && command != 0xd1)
			out8(0x64, command);
		if (command != 0xd1)
			out8(0x60, (u8)(any() | 1));
	}
	/* The serial port as it was: 8 bits, no interrupts, no loopback. */
	out8(0x3fb, 3);
	out8(0x3f9, 0);
	out8(0x3fc, 3);
	out8(0x3fa, 7);
}

static void prod_address(u32 address)
{
	(void)*(volatile u8 *)address;
	(void)*(volatile u16 *)address;
	(void)*(volatile u32 *)address;
	*(volatile u8 *)address = (u8)any();
	*(volatile u16 *)address = (u16)any();
	*(volatile u32 *)address = any();
}

static void addresses(void)
{
	for (u32 device = 0; device < N_DEVICES; device++)
		for (u32 offset = 0; offset < 0x180; offset++)
			prod_address(DEVICES + 0x1000 * device + offset);
	for (u32 device = 0; device <= N_DEVICES; device++)
		prod_address(DEVICES + 0x1000 * device - 2); /* across two devices */
	for (u32 i = 0; i < 2000; i++)
		prod_address(MMIO_START + any() % 0x3ec00000u);
	for (u32 address = RAM_END - 2; address != RAM_END + 2; address++)
		prod_address(address);
}

static void strings(void)
{
	u32 from = DATA, to = DATA, n = 0x8000;

	__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(0x1234) : "memory");
	n = 0x2000;
	__asm__ volatile("rep insl" : "+D"(to), "+c"(n) : "d"(0x1234) : "memory");
	to = DEVICES;
	n = 0x200;
	__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(0x3fd) : "memory");
	from = DEVICES;
	to = DEVICES + 0x2000;
	n = 0x400;
	__asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
	from = DATA;
	for (n = 0; n < 4096; n++)
		((volatile u8 *)DATA)[n] = '.';
	n = 4096;
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(0x3f8) : "memory");
	say("\n");
}

static const struct {
	const char *name;
	void (*run)(void);
} phases[] = {
	{ "malformed chains", malformed_chains },
	{ "malformed rings", malformed_rings },
	{ "queues anywhere", queues_anywhere },
	{ "status machine", status_machine },
	{ "resets in flight", resets_in_flight },
	{ "floods", floods_of_notifications },
	{ "random descriptors", random_descriptors },
	{ "ports", ports },
	{ "addresses", addresses },
	{ "strings", strings },
};

/* "seed=N" in the command line that Xen's struct hvm_start_info points to at offset 24. */
static void read_seed(const u8 *info)
{
	const u8 *c = *(const u8 *const *)(info + 24);

	while (*c && !(c[0] == 's' && c[1] == 'e' && c[2] == 'e' && c[3] == 'd' && c[4] == '='))
		c++;
	if (!*c)
		return;
	seed = 0;
	for (c += 5; *c >= '0' && *c <= '9'; c++)
		seed = 10 * seed + (*c - '0');
	seed = seed * 2654435761u + 1;
}

void hostile_main(const u8 *info);

void hostile_main(const u8 *info)
{
	read_seed(info);
	for (u32 i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		phases[i].run();
		say("phase ");
		say(phases[i].name);
		say(" done\n");
	}
	out8(0x64, 0xfe);
	for (;;)
		__asm__ volatile("hlt");
}
