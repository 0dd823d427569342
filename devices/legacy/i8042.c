/* SPDX-License-Identifier: Apache-2.0 */
/* Intel 8042 as the IBM PS/2 uses it; command and bit names as in Linux's include/linux/i8042.h. */
#include "devices/legacy/i8042.h"

#include <errno.h>
#include <string.h>

#include "vmm/util.h"

enum { REG_DATA = 0, REG_PORT_B = 1, REG_COMMAND = 4 };

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM	   0x04 /* self-test passed */
#define STATUS_COMMAND	   0x08 /* the last write went to the command port */
#define STATUS_UNLOCKED	   0x10

#define CTR_KBD_IRQ	 0x01
#define CTR_SYSTEM	 0x04
#define CTR_KBD_DISABLED 0x10
#define CTR_AUX_DISABLED 0x20
#define CTR_TRANSLATE	 0x40 /* the keyboard's set 2 becomes set 1 */
#define CTR_MASK	 0x77

/* The output port as it rests: not in reset, A20 on. */
#define PORT_NOT_RESET 0x01
#define PORT_REST      0x03

#define CMD_READ_CTR	 0x20
#define CMD_WRITE_CTR	 0x60
#define CMD_AUX_DISABLE	 0xa7
#define CMD_AUX_ENABLE	 0xa8
#define CMD_AUX_TEST	 0xa9
#define CMD_SELF_TEST	 0xaa
#define CMD_KBD_TEST	 0xab
#define CMD_KBD_DISABLE	 0xad
#define CMD_KBD_ENABLE	 0xae
#define CMD_READ_INPUT	 0xc0
#define CMD_READ_OUTPUT	 0xd0
#define CMD_WRITE_OUTPUT 0xd1
#define CMD_KBD_LOOP	 0xd2
#define CMD_AUX_LOOP	 0xd3
#define CMD_AUX_SEND	 0xd4
#define CMD_PULSE	 0xf0 /* and a mask of output port bits that stay high */

#define SELF_TEST_PASSED  0x55
#define KBD_TEST_PASSED	  0x00
#define AUX_TEST_NO_CLOCK 0x01
#define INPUT_UNLOCKED	  0x80

#define KBD_SET_LEDS	    0xed
#define KBD_ECHO	    0xee
#define KBD_SCAN_SET	    0xf0
#define KBD_GET_ID	    0xf2
#define KBD_SET_RATE	    0xf3
#define KBD_RESET	    0xff
#define KBD_ACK		    0xfa
#define KBD_TEST_PASSED_BAT 0xaa

/* Port 0x61 where no PIT is: the timer's output is high, so that nobody waits for it; no NMI. */
#define PORT_B_TIMER_DONE 0x20

/* Ctrl, Alt, Del pressed and released in reverse order. */
static const uint8_t keys_set1[] = { 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d };
static const uint8_t keys_set2[] = { 0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0,
				     0x71, 0xf0, 0x11, 0xf0, 0x14 };

/* What a read of the data port gives now; the keyboard's bytes only while it's enabled. */
static bool output_full(const struct i8042_state *r)
{
	return r->has_response || (r->n_pending > 0 && !(r->control & CTR_KBD_DISABLED));
}

static uint8_t status(const struct i8042_state *r)
{
	return (uint8_t)(STATUS_UNLOCKED | (output_full(r) ? STATUS_OUTPUT_FULL : 0) |
			 (r->control & CTR_SYSTEM ? STATUS_SYSTEM : 0) |
			 (r->last_was_command ? STATUS_COMMAND : 0));
}

static void respond(struct i8042_state *r, uint8_t byte)
{
	r->response = byte;
	r->has_response = 1;
}

/* All of the bytes or none: half a key sequence would leave a key pressed for ever. */
static bool kbd_send(struct i8042_state *r, const uint8_t *bytes, unsigned int n)
{
	if (n > sizeof(r->pending) - r->n_pending)
		return false;
	memcpy(r->pending + r->n_pending, bytes, n);
	r->n_pending += n;
	return true;
}

static uint8_t read_data(struct i8042_state *r)
{
	uint8_t byte = r->has_response ? r->response : r->pending[0];

	if (!output_full(r))
		return r->response; /* the last byte stays in the buffer */
	if (!r->has_response) {
		r->n_pending--;
		memmove(r->pending, r->pending + 1, r->n_pending);
	}
	r->has_response = 0;
	r->response = byte;
	return byte;
}

/*
 * A byte for the keyboard. Every command and every parameter is acknowledged; parameters (lights,
 * rate, scan code set) change nothing that this keyboard has.
 */
static void kbd_receive(struct i8042_state *r, uint8_t byte)
{
	static const uint8_t ack[] = { KBD_ACK }, echo[] = { KBD_ECHO };
	static const uint8_t reset[] = { KBD_ACK, KBD_TEST_PASSED_BAT };
	static const uint8_t set2[] = { KBD_ACK, 0x02 }, set2_translated[] = { KBD_ACK, 0x41 };
	static const uint8_t id[] = { KBD_ACK, 0xab, 0x83 },
			     id_translated[] = { KBD_ACK, 0xab, 0x41 };
	bool translate = r->control & CTR_TRANSLATE;
	uint8_t command = r->kbd_command;

	r->kbd_command = 0;
	if (command == KBD_SCAN_SET && byte == 0) {
		kbd_send(r, translate ? set2_translated : set2, sizeof(set2));
	} else if (command) {
		kbd_send(r, ack, sizeof(ack));
	} else if (byte == KBD_ECHO) {
		kbd_send(r, echo, sizeof(echo));
	} else if (byte == KBD_GET_ID) {
		kbd_send(r, translate ? id_translated : id, sizeof(id));
	} else if (byte == KBD_RESET) {
		kbd_send(r, reset, sizeof(reset));
	} else {
		if (byte == KBD_SET_LEDS || byte == KBD_SET_RATE || byte == KBD_SCAN_SET)
			r->kbd_command = byte;
		kbd_send(r, ack, sizeof(ack));
	}
}

/* True if it resets the machine. */
static bool write_data(struct i8042_state *r, uint8_t value)
{
	uint8_t command = r->command;

	r->command = 0;
	r->last_was_command = 0;
	switch (command) {
	case CMD_WRITE_CTR:
		r->control = (value & CTR_MASK) | CTR_AUX_DISABLED;
		break;
	case CMD_WRITE_OUTPUT:
		r->output_port = value | PORT_NOT_RESET;
		return !(value & PORT_NOT_RESET);
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP:
		/* Without an AUX port both come back as the keyboard's, which tells a driver so. */
		respond(r, value);
		break;
	case CMD_AUX_SEND:
		break;
	default:
		kbd_receive(r, value);
	}
	return false;
}

static bool write_command(struct i8042_state *r, uint8_t value)
{
	r->last_was_command = 1;
	r->command = 0;
	if (value >= CMD_PULSE)
		return !(value & PORT_NOT_RESET);
	switch (value) {
	case CMD_READ_CTR:
		respond(r, r->control);
		break;
	case CMD_SELF_TEST:
		r->control |= CTR_SYSTEM;
		respond(r, SELF_TEST_PASSED);
		break;
	case CMD_KBD_TEST:
		respond(r, KBD_TEST_PASSED);
		break;
	case CMD_AUX_TEST:
		respond(r, AUX_TEST_NO_CLOCK);
		break;
	case CMD_KBD_DISABLE:
		r->control |= CTR_KBD_DISABLED;
		break;
	case CMD_KBD_ENABLE:
		r->control &= (uint8_t)~CTR_KBD_DISABLED;
		break;
	case CMD_READ_INPUT:
		respond(r, INPUT_UNLOCKED);
		break;
	case CMD_READ_OUTPUT:
		respond(r, r->output_port);
		break;
	case CMD_WRITE_CTR:
	case CMD_WRITE_OUTPUT:
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP:
	case CMD_AUX_SEND:
		r->command = value;
		break;
	default:
		break; /* CMD_AUX_DISABLE and _ENABLE too: it stays disabled */
	}
	return false;
}

/*
 * Under the lock: whether the line to the interrupt controller is up. Every byte that comes into
 * the output buffer is one edge, so a read that leaves another byte in it raises too.
 */
static bool wants_irq(const struct i8042_state *r)
{
	return output_full(r) && r->control & CTR_KBD_IRQ;
}

static uint8_t read_register(struct i8042_state *r, uint64_t offset, bool *raise)
{
	switch (offset) {
	case REG_DATA: {
		bool was_full = output_full(r);
		uint8_t byte = read_data(r);

		*raise |= was_full && wants_irq(r);
		return byte;
	}
	case REG_PORT_B:
		return PORT_B_TIMER_DONE;
	case REG_COMMAND:
		return status(r);
	default:
		return 0xff;
	}
}

static bool is_register(uint64_t offset)
{
	return offset == REG_DATA || offset == REG_PORT_B || offset == REG_COMMAND;
}

static void i8042_read(void *device, uint64_t offset, uint8_t *data, unsigned int len)
{
	struct i8042 *i8042 = device;
	bool raise = false;

	pthread_mutex_lock(&i8042->lock);
	for (unsigned int i = 0; i < len; i++) {
		data[i] = read_register(&i8042->regs, offset + i, &raise);
		if (is_register(offset + i))
			i8042->counters.reads++;
		else
			i8042->counters.missed_reads++;
	}
	pthread_mutex_unlock(&i8042->lock);
	if (raise)
		irq_line_raise(&i8042->irq);
}

static void i8042_write(void *device, uint64_t offset, const uint8_t *data, unsigned int len)
{
	struct i8042 *i8042 = device;
	bool reset = false;

	pthread_mutex_lock(&i8042->lock);
	bool before = wants_irq(&i8042->regs);

	for (unsigned int i = 0; i < len; i++) {
		if (is_register(offset + i))
			i8042->counters.writes++;
		else
			i8042->counters.missed_writes++;
		if (offset + i == REG_DATA)
			reset |= write_data(&i8042->regs, data[i]);
		else if (offset + i == REG_COMMAND)
			reset |= write_command(&i8042->regs, data[i]);
	}
	bool raise = !before && wants_irq(&i8042->regs);

	i8042->counters.resets += reset;
	pthread_mutex_unlock(&i8042->lock);
	if (raise)
		irq_line_raise(&i8042->irq);
	if (reset)
		i8042->on_reset(i8042->context);
}

const struct bus_ops i8042_bus_ops = { .read = i8042_read, .write = i8042_write };

int i8042_init(struct i8042 *i8042, void (*on_reset)(void *), void *context, struct error *err)
{
	memset(i8042, 0, sizeof(*i8042));
	i8042->on_reset = on_reset;
	i8042->context = context;
	/* As firmware leaves it: tested, keyboard on with its interrupt, translating. */
	i8042->regs.control = CTR_KBD_IRQ | CTR_SYSTEM | CTR_AUX_DISABLED | CTR_TRANSLATE;
	i8042->regs.output_port = PORT_REST;
	pthread_mutex_init(&i8042->lock, NULL);
	int rc = irq_line_open(&i8042->irq, err);

	if (rc < 0)
		error_wrap(err, "i8042");
	return rc;
}

void i8042_release(struct i8042 *i8042)
{
	irq_line_close(&i8042->irq);
	pthread_mutex_destroy(&i8042->lock);
}

int i8042_ctrl_alt_del(struct i8042 *i8042, struct error *err)
{
	struct i8042_state *r = &i8042->regs;

	pthread_mutex_lock(&i8042->lock);
	bool translate = r->control & CTR_TRANSLATE;
	bool before = wants_irq(r);
	bool sent =
		r->n_pending == 0 && kbd_send(r, translate ? keys_set1 : keys_set2,
					      translate ? sizeof(keys_set1) : sizeof(keys_set2));
	bool raise = !before && wants_irq(r);

	i8042->counters.errors += !sent;
	pthread_mutex_unlock(&i8042->lock);
	if (!sent)
		return error_set(err, EBUSY, "Ctrl-Alt-Del: the guest hasn't read earlier keys");
	if (raise)
		irq_line_raise(&i8042->irq);
	return 0;
}

void i8042_read_counters(struct i8042 *i8042, struct i8042_counters *counters)
{
	pthread_mutex_lock(&i8042->lock);
	*counters = i8042->counters;
	pthread_mutex_unlock(&i8042->lock);
}

void i8042_save(struct i8042 *i8042, struct i8042_state *state)
{
	pthread_mutex_lock(&i8042->lock);
	*state = i8042->regs;
	pthread_mutex_unlock(&i8042->lock);
}

int i8042_restore(struct i8042 *i8042, const struct i8042_state *state, struct error *err)
{
	struct i8042_state r = *state;

	if (r.n_pending > sizeof(r.pending) || r.has_response > 1 || r.last_was_command > 1 ||
	    r.control & ~CTR_MASK || !(r.output_port & PORT_NOT_RESET))
		return error_set(err, EINVAL,
				 "i8042: restore: a state that the controller can't have");
	r.control |= CTR_AUX_DISABLED;
	pthread_mutex_lock(&i8042->lock);
	i8042->regs = r;
	bool raise = wants_irq(&r);

	pthread_mutex_unlock(&i8042->lock);
	if (raise)
		irq_line_raise(&i8042->irq);
	return 0;
}
