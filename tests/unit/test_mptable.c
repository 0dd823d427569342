/* SPDX-License-Identifier: Apache-2.0 */
/* The MPTable as Linux's arch/x86/kernel/mpparse.c reads it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/boot/platform.h"
#include "vmm/util.h"

struct parsed {
	unsigned int cpus, buses, ioapics, interrupts, locals;
	uint32_t pins; /* of the I/O APIC with an interrupt, as bits */
};

static uint64_t number(const uint8_t *p, unsigned int n)
{
	uint64_t value = 0;

	memcpy(&value, p, n);
	return value;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t total = 0;

	while (n-- > 0)
		total += *p++;
	return total;
}

/* Linux's smp_scan_config() of the last KiB below 640: a pointer on a 16-byte boundary. */
static const uint8_t *find_pointer(const struct guest_memory *memory)
{
	for (uint64_t gpa = 639 * KIB; gpa < 640 * KIB; gpa += 16) {
		const uint8_t *p = guest_memory_at(memory, gpa, 16);

		if (memcmp(p, "_MP_", 4) == 0 && p[8] == 1 && sum(p, 16) == 0 &&
		    (p[9] == 1 || p[9] == 4))
			return p;
	}
	return NULL;
}

static struct parsed parse(const struct guest_memory *memory, unsigned int n_vcpus)
{
	const uint8_t *pointer = find_pointer(memory);
	struct parsed parsed = { 0 };
	unsigned int entries = 0;

	assert_non_null(pointer);
	assert_int_equal(pointer[11], 0);	 /* a table, not a default configuration */
	assert_int_equal(pointer[12] & 0x80, 0); /* virtual wire mode */
	uint64_t gpa = number(pointer + 4, 4);
	const uint8_t *mpc = guest_memory_at(memory, gpa, 44);

	assert_memory_equal(mpc, "PCMP", 4);
	size_t length = number(mpc + 4, 2);

	assert_true(gpa + length <= 640 * KIB);
	assert_int_equal(mpc[6], 4);
	assert_int_equal(sum(mpc, length), 0);
	assert_int_equal(number(mpc + 36, 4), 0xfee00000);

	const uint8_t *e = mpc + 44;
	unsigned int last_type = 0;

	for (; e < mpc + length; entries++) {
		/* In ascending order of type (§4.3). */
		assert_true(e[0] >= last_type);
		last_type = e[0];
		switch (e[0]) {
		case 0:
			assert_int_equal(e[1], parsed.cpus);
			assert_int_equal(e[3], parsed.cpus == 0 ? 3 : 1);
			parsed.cpus++;
			e += 20;
			continue;
		case 1:
			assert_int_equal(e[1], 0);
			assert_memory_equal(e + 2, "ISA   ", 6);
			parsed.buses++;
			break;
		case 2:
			/* Its id is no processor's. */
			assert_int_equal(e[1], n_vcpus);
			assert_int_equal(e[3], 1);
			assert_int_equal(number(e + 4, 4), 0xfec00000);
			parsed.ioapics++;
			break;
		case 3:
			assert_int_equal(e[1], 0);
			assert_int_equal(number(e + 2, 2), 5); /* edge, active high */
			assert_int_equal(e[4], 0);
			assert_int_equal(e[6], n_vcpus);
			assert_int_equal(e[5], e[7]);
			assert_in_range(e[7], 0, 23);
			parsed.pins |= 1u << e[7];
			parsed.interrupts++;
			break;
		case 4:
			/* ExtINT at LINT0 of the first processor, NMI at LINT1 of all. */
			assert_int_equal(e[1], parsed.locals == 0 ? 3 : 1);
			assert_int_equal(e[6], parsed.locals == 0 ? 0 : 0xff);
			assert_int_equal(e[7], parsed.locals);
			parsed.locals++;
			break;
		default:
			fail_msg("entry of type %u", e[0]);
		}
		e += 8;
	}
	assert_ptr_equal(e, mpc + length);
	assert_int_equal(number(mpc + 34, 2), entries);
	return parsed;
}

static void linux_reads_every_size(void **state)
{
	static const unsigned int cpus[] = { 1, 2, 32 }, devices[] = { 0, 3, 19 };
	struct platform_virtio virtio[19];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(virtio); i++)
		virtio[i] = (struct platform_virtio){ LAYOUT_VIRTIO_MMIO + i * 0x1000,
						      VIRTIO_GSI_FIRST + i };
	for (unsigned int c = 0; c < ARRAY_SIZE(cpus); c++) {
		for (unsigned int d = 0; d < ARRAY_SIZE(devices); d++) {
			struct platform_info info = { .n_vcpus = cpus[c],
						      .serial = true,
						      .n_virtio = devices[d],
						      .virtio = virtio };
			/* ISA's without the cascade, and virtio's above them. */
			uint32_t pins = 0xfffb | (devices[d] == 19 ? 0xff0000 : 0);
			struct guest_memory memory = { 0 };

			assert_int_equal(guest_memory_add(&memory, 0, 1 * MIB, MEMORY_BACKING_NONE,
							  true, NULL),
					 0);
			assert_int_equal(mptable_write(&memory, &info, NULL), 0);
			struct parsed parsed = parse(&memory, cpus[c]);

			assert_int_equal(parsed.cpus, cpus[c]);
			assert_int_equal(parsed.buses, 1);
			assert_int_equal(parsed.ioapics, 1);
			assert_int_equal(parsed.locals, 2);
			assert_int_equal(parsed.pins, pins);
			assert_int_equal(parsed.interrupts, __builtin_popcount(pins));
			assert_true(guest_memory_is_dirty(&memory, LAYOUT_EBDA));
			guest_memory_release(&memory);
		}
	}
}

static void what_does_not_fit_is_an_error(void **state)
{
	struct platform_virtio virtio = { LAYOUT_VIRTIO_MMIO, 24 };
	struct platform_info info = { .n_vcpus = 0 };
	struct guest_memory memory = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(guest_memory_add(&memory, 0, 1 * MIB, MEMORY_BACKING_NONE, false, NULL),
			 0);
	assert_int_equal(mptable_write(&memory, &info, &err), -EINVAL);
	assert_string_equal(err.message, "MPTable: no processors");
	info.n_vcpus = 1000;
	assert_int_equal(mptable_write(&memory, &info, &err), -ENOSPC);
	assert_string_equal(err.message, "MPTable: 1000 processors don't fit into 1024 bytes");
	assert_null(find_pointer(&memory));
	info = (struct platform_info){ .n_vcpus = 1, .n_virtio = 1, .virtio = &virtio };
	assert_int_equal(mptable_write(&memory, &info, &err), -EINVAL);
	assert_string_equal(err.message, "MPTable: virtio 0: GSI 24");
	guest_memory_release(&memory);

	info.n_virtio = 0;
	assert_int_equal(guest_memory_add(&memory, 0, 512 * KIB, MEMORY_BACKING_NONE, false, NULL),
			 0);
	assert_int_equal(mptable_write(&memory, &info, &err), -ENOSPC);
	assert_string_equal(err.message, "MPTable: no guest memory at 0x9fc00");
	guest_memory_release(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linux_reads_every_size),
		cmocka_unit_test(what_does_not_fit_is_an_error),
	};

	return cmocka_run_group_tests_name("mptable", tests, NULL, NULL);
}
