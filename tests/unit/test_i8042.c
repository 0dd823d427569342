/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/legacy/i8042.h"
#include "vmm/util.h"

#define DATA	0x60
#define COMMAND 0x64

#define OBF	0x01 /* status: output buffer full */
#define IBF	0x02
#define KEYLOCK 0x10 /* 1 = not locked */
#define AUXDATA 0x20

#define CTR_KBDINT 0x01
#define CTR_KBDDIS 0x10
#define CTR_AUXDIS 0x20
#define CTR_XLATE  0x40

struct fixture {
	struct bus bus;
	struct i8042 i8042;
	int resets;
	unsigned int accesses;
};

static void count_reset(void *context)
{
	((struct fixture *)context)->resets++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(i8042_init(&f->i8042, count_reset, f, NULL), 0);
	assert_int_equal(bus_add(&f->bus, I8042_BASE, I8042_SIZE, &i8042_bus_ops, &f->i8042, NULL),
			 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	i8042_release(&f->i8042);
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, uint16_t port)
{
	uint8_t value;

	f->accesses++;
	assert_true(bus_read(&f->bus, port, &value, 1));
	return value;
}

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	f->accesses++;
	assert_true(bus_write(&f->bus, port, &value, 1));
}

static unsigned int interrupts(struct fixture *f)
{
	uint64_t count = 0;

	return read(f->i8042.irq.eventfd, &count, sizeof(count)) == sizeof(count)
		       ? (unsigned int)count
		       : 0;
}

/* A command with an answer, as Linux's i8042_command(): wait for room, write, wait, read. */
static uint8_t ask(struct fixture *f, uint8_t command)
{
	assert_int_equal(in(f, COMMAND) & IBF, 0);
	out(f, COMMAND, command);
	assert_int_equal(in(f, COMMAND) & OBF, OBF);
	return in(f, DATA);
}

static void tell(struct fixture *f, uint8_t command, uint8_t parameter)
{
	assert_int_equal(in(f, COMMAND) & IBF, 0);
	out(f, COMMAND, command);
	assert_int_equal(in(f, COMMAND) & IBF, 0);
	out(f, DATA, parameter);
}

/* Linux's i8042_flush(). */
static unsigned int flush(struct fixture *f)
{
	unsigned int n = 0;

	while (in(f, COMMAND) & OBF) {
		in(f, DATA);
		assert_true(++n <= 16);
	}
	return n;
}

/* Read what the interrupts announce, one byte each. */
static unsigned int receive(struct fixture *f, uint8_t *bytes)
{
	unsigned int n = 0;

	while (interrupts(f) > 0) {
		assert_int_equal(in(f, COMMAND) & (OBF | AUXDATA), OBF);
		bytes[n++] = in(f, DATA);
	}
	assert_int_equal(in(f, COMMAND) & OBF, 0);
	return n;
}

/* i8042_probe() without AUX port, up to the keyboard's interrupt. */
static void probe(struct fixture *f)
{
	flush(f);
	assert_int_equal(ask(f, 0xaa), 0x55);
	uint8_t ctr = ask(f, 0x20);

	assert_int_equal(ask(f, 0x20), ctr);
	/* Translating, not locked. */
	assert_int_equal(ctr & CTR_XLATE, CTR_XLATE);
	assert_int_equal(in(f, COMMAND) & KEYLOCK, KEYLOCK);
	tell(f, 0x60, (ctr | CTR_KBDDIS) & ~CTR_KBDINT);
	flush(f);
	tell(f, 0x60, (ctr & ~CTR_KBDDIS) | CTR_KBDINT);
	assert_int_equal(ask(f, 0x20), (ctr & ~CTR_KBDDIS) | CTR_KBDINT);
	interrupts(f);
}

static void the_pulse_of_the_reset_line_resets(void **state)
{
	struct fixture *f = *state;

	/* As Linux's reboot=k: wait for the input buffer, then the pulse. */
	assert_int_equal(in(f, COMMAND) & IBF, 0);
	out(f, COMMAND, 0xfe);
	assert_int_equal(f->resets, 1);
	/* Bit 0 is the line; 0xff pulses none, data isn't a command. */
	out(f, COMMAND, 0xff);
	out(f, COMMAND, 0xfd);
	out(f, DATA, 0xfe);
	assert_int_equal(f->resets, 1);
	out(f, COMMAND, 0xf0);
	assert_int_equal(f->resets, 2);
}

static void the_output_port_resets_too(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, 0xd0), 0x03);
	tell(f, 0xd1, 0xdf);
	assert_int_equal(f->resets, 0);
	assert_int_equal(ask(f, 0xd0), 0xdf);
	tell(f, 0xd1, 0xde);
	assert_int_equal(f->resets, 1);
	assert_int_equal(ask(f, 0xd0) & 1, 1);
}

static void linux_finds_a_controller_with_keyboard_only(void **state)
{
	struct fixture *f = *state;

	probe(f);
	/* What the probe costs a guest. */
	assert_in_range(f->accesses, 10, 32);
	assert_int_equal(ask(f, 0xab), 0);
	assert_int_equal(ask(f, 0xc0), 0x80);
	/* i8042_check_aux(): the loop comes back from the keyboard, the test fails. */
	tell(f, 0xd3, 0x5a);
	assert_int_equal(in(f, COMMAND) & (OBF | AUXDATA), OBF);
	assert_int_equal(in(f, DATA), 0x5a);
	assert_in_range(ask(f, 0xa9), 1, 4);
	out(f, COMMAND, 0xa8);
	assert_int_equal(ask(f, 0x20) & CTR_AUXDIS, CTR_AUXDIS);
	/* Nobody answers a byte for the mouse. */
	tell(f, 0xd4, 0xf2);
	assert_int_equal(in(f, COMMAND) & OBF, 0);
}

static void keyboard_enable_and_disable(void **state)
{
	struct fixture *f = *state;

	out(f, COMMAND, 0xad);
	assert_int_equal(ask(f, 0x20) & CTR_KBDDIS, CTR_KBDDIS);
	interrupts(f);
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, NULL), 0);
	assert_int_equal(in(f, COMMAND) & OBF, 0);
	assert_int_equal(interrupts(f), 0);
	/* The controller still answers, before the keyboard's bytes. */
	assert_int_equal(ask(f, 0xaa), 0x55);
	interrupts(f);
	out(f, COMMAND, 0xae);
	assert_int_equal(in(f, COMMAND) & OBF, OBF);
	assert_int_equal(interrupts(f), 1);
	assert_int_equal(in(f, DATA), 0x1d);
}

/* Linux's codes of set 1: Ctrl 0x1d, Alt 0x38, Del 0xe0 0x53; 0x80 more when released. */
static void ctrl_alt_del_in_set_1(void **state)
{
	static const uint8_t expected[] = { 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d };
	struct fixture *f = *state;
	uint8_t bytes[32];

	probe(f);
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, NULL), 0);
	assert_int_equal(receive(f, bytes), sizeof(expected));
	assert_memory_equal(bytes, expected, sizeof(expected));
	/* And once more. */
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, NULL), 0);
	assert_int_equal(receive(f, bytes), sizeof(expected));
}

static void ctrl_alt_del_without_translation(void **state)
{
	static const uint8_t expected[] = { 0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0,
					    0x71, 0xf0, 0x11, 0xf0, 0x14 };
	struct fixture *f = *state;
	uint8_t bytes[32];

	tell(f, 0x60, CTR_KBDINT);
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, NULL), 0);
	assert_int_equal(receive(f, bytes), sizeof(expected));
	assert_memory_equal(bytes, expected, sizeof(expected));
}

static void ctrl_alt_del_is_refused_until_it_was_read(void **state)
{
	struct error err = { 0 };
	struct fixture *f = *state;
	uint8_t bytes[32];

	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, &err), 0);
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, &err), -EBUSY);
	assert_string_equal(err.message, "Ctrl-Alt-Del: the guest hasn't read earlier keys");
	assert_int_equal(receive(f, bytes), 8);
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, &err), 0);
}

static void no_interrupt_unless_enabled(void **state)
{
	struct fixture *f = *state;

	tell(f, 0x60, CTR_XLATE);
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, NULL), 0);
	assert_int_equal(interrupts(f), 0);
	assert_int_equal(flush(f), 8);
	assert_int_equal(interrupts(f), 0);
	/* A byte that's there when the interrupt is enabled is announced. */
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, NULL), 0);
	tell(f, 0x60, CTR_XLATE | CTR_KBDINT);
	assert_int_equal(interrupts(f), 1);
}

/* What Linux's atkbd asks without i8042.dumbkbd: no question may run into its timeout. */
static void the_keyboard_answers(void **state)
{
	static const struct {
		uint8_t sent;
		uint8_t n, answer[3];
	} dialogue[] = {
		{ 0xf5, 1, { 0xfa } },		   /* disable scanning */
		{ 0xf2, 3, { 0xfa, 0xab, 0x41 } }, /* identify: MF2, translated */
		{ 0xed, 1, { 0xfa } },
		{ 0x07, 1, { 0xfa } }, /* lights */
		{ 0xf3, 1, { 0xfa } },
		{ 0x00, 1, { 0xfa } }, /* repeat rate */
		{ 0xf0, 1, { 0xfa } },
		{ 0x02, 1, { 0xfa } }, /* scan code set 2 */
		{ 0xf0, 1, { 0xfa } },
		{ 0x00, 2, { 0xfa, 0x41 } }, /* which set? */
		{ 0xf4, 1, { 0xfa } },	     /* enable */
		{ 0xee, 1, { 0xee } },	     /* echo */
		{ 0xff, 2, { 0xfa, 0xaa } }, /* reset and self-test */
	};
	struct fixture *f = *state;
	uint8_t bytes[32];

	probe(f);
	for (unsigned int i = 0; i < ARRAY_SIZE(dialogue); i++) {
		out(f, DATA, dialogue[i].sent);
		assert_int_equal(receive(f, bytes), dialogue[i].n);
		assert_memory_equal(bytes, dialogue[i].answer, dialogue[i].n);
	}
}

static void a_guest_that_never_reads_fills_nothing(void **state)
{
	struct fixture *f = *state;
	struct i8042_state s;

	for (int i = 0; i < 10000; i++) {
		out(f, DATA, 0xf2);
		out(f, COMMAND, 0x20);
	}
	i8042_save(&f->i8042, &s);
	assert_true(s.n_pending <= I8042_PENDING_MAX);
	assert_true(flush(f) <= 17);
	assert_int_equal(ask(f, 0xaa), 0x55);
}

static void ports_between_and_wide_accesses(void **state)
{
	struct fixture *f = *state;
	uint8_t data[4];

	/* Port 0x61: no NMI reason, and the PIT's output is up for who waits for it. */
	assert_int_equal(in(f, 0x61), 0x20);
	out(f, 0x61, 0xff);
	assert_int_equal(in(f, 0x61), 0x20);
	assert_int_equal(in(f, 0x62), 0xff);
	assert_true(bus_read(&f->bus, DATA, data, 4));
	assert_int_equal(data[1], 0x20);
	assert_int_equal(data[2], 0xff);
	assert_false(bus_read(&f->bus, COMMAND, data, 2));
	assert_false(bus_write(&f->bus, COMMAND, data, 2));
}

static void state_survives_a_save(void **state)
{
	struct fixture *f = *state, *other;
	struct i8042_state saved;
	uint8_t bytes[32];
	void *other_state;

	probe(f);
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, NULL), 0);
	assert_int_equal(in(f, DATA), 0x1d);
	out(f, COMMAND, 0x60);
	i8042_save(&f->i8042, &saved);

	setup(&other_state);
	other = other_state;
	assert_int_equal(i8042_restore(&other->i8042, &saved, NULL), 0);
	assert_int_equal(receive(other, bytes), 7);
	assert_int_equal(bytes[0], 0x38);
	assert_int_equal(bytes[6], 0x9d);
	/* The command byte that was being written arrives. */
	out(other, DATA, CTR_XLATE);
	assert_int_equal(ask(other, 0x20), CTR_XLATE | CTR_AUXDIS);
	teardown(&other_state);
}

static void impossible_states_are_refused(void **state)
{
	struct fixture *f = *state;
	struct i8042_state good, bad;
	struct error err = { 0 };

	i8042_save(&f->i8042, &good);
	bad = good;
	bad.n_pending = I8042_PENDING_MAX + 1;
	assert_int_equal(i8042_restore(&f->i8042, &bad, &err), -EINVAL);
	assert_string_equal(err.message, "i8042: restore: a state that the controller can't have");
	bad = good;
	bad.has_response = 2;
	assert_int_equal(i8042_restore(&f->i8042, &bad, NULL), -EINVAL);
	bad = good;
	bad.control = 0x80;
	assert_int_equal(i8042_restore(&f->i8042, &bad, NULL), -EINVAL);
	bad = good;
	bad.output_port = 0;
	assert_int_equal(i8042_restore(&f->i8042, &bad, NULL), -EINVAL);
	assert_int_equal(i8042_restore(&f->i8042, &good, NULL), 0);
	assert_int_equal(interrupts(f), 0);
}

static void accesses_are_counted(void **state)
{
	struct fixture *f = *state;
	struct i8042_counters c;
	uint8_t bytes[4] = { 0 };

	in(f, COMMAND);
	in(f, DATA);
	out(f, COMMAND, 0xae);
	bus_read(&f->bus, DATA, bytes, sizeof(bytes)); /* 0x60 and 0x61 exist */
	bus_write(&f->bus, DATA + 2, bytes, 2);
	out(f, COMMAND, 0xfe);
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, NULL), 0);
	assert_int_equal(i8042_ctrl_alt_del(&f->i8042, NULL), -EBUSY);
	i8042_read_counters(&f->i8042, &c);
	assert_int_equal(c.reads, 2 + 2);
	assert_int_equal(c.missed_reads, 2);
	assert_int_equal(c.writes, 2);
	assert_int_equal(c.missed_writes, 2);
	assert_int_equal(c.resets, 1);
	assert_int_equal(c.errors, 1);
	assert_int_equal(f->i8042.irq.raised, interrupts(f));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_pulse_of_the_reset_line_resets),
		TEST(the_output_port_resets_too),
		TEST(linux_finds_a_controller_with_keyboard_only),
		TEST(keyboard_enable_and_disable),
		TEST(ctrl_alt_del_in_set_1),
		TEST(ctrl_alt_del_without_translation),
		TEST(ctrl_alt_del_is_refused_until_it_was_read),
		TEST(no_interrupt_unless_enabled),
		TEST(the_keyboard_answers),
		TEST(a_guest_that_never_reads_fills_nothing),
		TEST(ports_between_and_wide_accesses),
		TEST(state_survives_a_save),
		TEST(accesses_are_counted),
		TEST(impossible_states_are_refused),
	};

	return cmocka_run_group_tests_name("i8042", tests, NULL, NULL);
}
