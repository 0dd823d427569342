/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/legacy/serial.h"

#include <errno.h>
#include <string.h>

#include "devices/legacy/serial_host.h"
#include "vmm/util.h"

/* Registers by offset, and with DLAB the divisor latch at 0 and 1 (PC16550D §8.0, table II). */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RDI	 0x01 /* received data */
#define IER_THRI 0x02 /* transmitter empty */
#define IER_RLSI 0x04 /* receiver line status */
#define IER_MSI	 0x08 /* modem status */
#define IER_MASK 0x0f

#define IIR_NONE       0x01
#define IIR_MODEM      0x00
#define IIR_THRE       0x02
#define IIR_RX	       0x04
#define IIR_LINE       0x06
#define IIR_RX_TIMEOUT 0x0c
#define IIR_FIFO       0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_TRIGGER  0xc0

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

#define LSR_DATA      0x01
#define LSR_OVERRUN   0x02
#define LSR_ERRORS    0x1e
#define LSR_THR_EMPTY 0x20
#define LSR_IDLE      0x40

#define MSR_CTS	   0x10
#define MSR_DSR	   0x20
#define MSR_RI	   0x40
#define MSR_DCD	   0x80
#define MSR_LINES  0xf0
#define MSR_DELTAS 0x0f
#define MSR_TERI   0x04

#define DIVISOR_9600 12

/* A guest that reads so many times "no data" in a row is waiting for some. */
#define POLLS_MEAN_LISTENING 32

/* Causes of an interrupt, as bits. */
#define CAUSE_LINE  1u
#define CAUSE_RX    2u
#define CAUSE_THRE  4u
#define CAUSE_MODEM 8u

static unsigned int rx_depth(const struct serial_state *r)
{
	return r->fcr & FCR_ENABLE ? SERIAL_RX_FIFO : 1;
}

static unsigned int rx_trigger(const struct serial_state *r)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };

	return r->fcr & FCR_ENABLE ? levels[r->fcr >> 6] : 1;
}

unsigned int serial_rx_room(const struct serial *serial)
{
	const struct serial_state *r = &serial->regs;
	bool listening = r->mcr & MCR_RTS || r->ier & IER_RDI || r->polls >= POLLS_MEAN_LISTENING;

	/* In loopback the receiver isn't connected to the outside. */
	if (!listening || r->mcr & MCR_LOOP || r->rx_count >= rx_depth(r))
		return 0;
	return rx_depth(r) - r->rx_count;
}

static unsigned int pending_causes(const struct serial_state *r)
{
	unsigned int causes = 0;

	if (r->ier & IER_RLSI && r->lsr & LSR_ERRORS)
		causes |= CAUSE_LINE;
	if (r->ier & IER_RDI && r->rx_count > 0)
		causes |= CAUSE_RX;
	if (r->ier & IER_THRI && r->thr_pending)
		causes |= CAUSE_THRE;
	if (r->ier & IER_MSI && r->msr & MSR_DELTAS)
		causes |= CAUSE_MODEM;
	return causes;
}

/*
 * The causes that reach the interrupt controller. OUT2 gates the line on a PC, and loopback holds
 * OUT2's pin inactive.
 */
static unsigned int signalled_causes(const struct serial_state *r)
{
	return (r->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 ? pending_causes(r) : 0;
}

/* False if the FIFO is full: what's in it stays, the new byte is lost. */
static bool rx_push(struct serial_state *r, uint8_t byte)
{
	if (r->rx_count >= rx_depth(r)) {
		r->lsr |= LSR_OVERRUN;
		return false;
	}
	r->rx[r->rx_count++] = byte;
	return true;
}

static uint8_t rx_pop(struct serial_state *r)
{
	uint8_t byte = r->rx[0];

	if (r->rx_count == 0)
		return 0;
	r->rx_count--;
	memmove(r->rx, r->rx + 1, r->rx_count);
	return byte;
}

/* Recompute the modem lines; a line that has changed sets its delta bit until MSR is read. */
static void update_modem(struct serial_state *r)
{
	/* A cable to a terminal that is on and ready, or the port's own outputs. */
	uint8_t lines = MSR_CTS | MSR_DSR | MSR_DCD;

	if (r->mcr & MCR_LOOP)
		lines = (uint8_t)((r->mcr & MCR_RTS ? MSR_CTS : 0) |
				  (r->mcr & MCR_DTR ? MSR_DSR : 0) |
				  (r->mcr & MCR_OUT1 ? MSR_RI : 0) |
				  (r->mcr & MCR_OUT2 ? MSR_DCD : 0));
	uint8_t changed = (lines ^ r->msr) & MSR_LINES;
	uint8_t deltas = (changed & ~MSR_RI) >> 4;

	/* RI counts at the end of a ring only. */
	if (changed & MSR_RI && !(lines & MSR_RI))
		deltas |= MSR_TERI;
	r->msr = (uint8_t)(lines | (r->msr & MSR_DELTAS) | deltas);
}

static void write_fcr(struct serial_state *r, uint8_t value)
{
	/* A byte already received stays readable when the FIFO is turned on, and only then. */
	if (value & FCR_CLEAR_RX || (r->fcr & FCR_ENABLE && !(value & FCR_ENABLE)))
		r->rx_count = 0;
	r->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | FCR_TRIGGER) : 0;
}

static void write_ier(struct serial_state *r, uint8_t value)
{
	/* The transmitter is always empty: enabling its interrupt makes it pending at once. */
	if (value & IER_THRI && !(r->ier & IER_THRI))
		r->thr_pending = 1;
	r->ier = value & IER_MASK;
}

static void write_thr(struct serial *serial, uint8_t byte)
{
	struct serial_state *r = &serial->regs;

	if (r->mcr & MCR_LOOP)
		rx_push(r, byte);
	else
		serial_host_transmit(serial, byte);
	r->thr_pending = 1;
}

static void write_register(struct serial *serial, unsigned int reg, uint8_t value)
{
	struct serial_state *r = &serial->regs;

	r->polls = 0;
	switch (reg) {
	case REG_DATA:
		if (r->lcr & LCR_DLAB)
			r->divisor = (uint16_t)((r->divisor & 0xff00) | value);
		else
			write_thr(serial, value);
		break;
	case REG_IER:
		if (r->lcr & LCR_DLAB)
			r->divisor = (uint16_t)((r->divisor & 0x00ff) | value << 8);
		else
			write_ier(r, value);
		break;
	case REG_IIR_FCR:
		write_fcr(r, value);
		break;
	case REG_LCR:
		r->lcr = value;
		break;
	case REG_MCR:
		r->mcr = value & MCR_MASK;
		update_modem(r);
		break;
	case REG_SCR:
		r->scr = value;
		break;
	default:
		break; /* LSR and MSR: factory tests only */
	}
}

/* Reading says which cause is first; if it's the transmitter, that is told now. */
static uint8_t read_iir(struct serial_state *r)
{
	unsigned int causes = pending_causes(r);
	uint8_t iir = IIR_NONE;

	if (causes & CAUSE_LINE) {
		iir = IIR_LINE;
	} else if (causes & CAUSE_RX) {
		/* Below the trigger level: the time without further bytes has passed already. */
		iir = r->rx_count >= rx_trigger(r) ? IIR_RX : IIR_RX_TIMEOUT;
	} else if (causes & CAUSE_THRE) {
		iir = IIR_THRE;
		r->thr_pending = 0;
	} else if (causes & CAUSE_MODEM) {
		iir = IIR_MODEM;
	}
	return r->fcr & FCR_ENABLE ? iir | IIR_FIFO : iir;
}

static uint8_t read_lsr(struct serial_state *r)
{
	uint8_t lsr = r->lsr | LSR_THR_EMPTY | LSR_IDLE;

	if (r->rx_count > 0)
		lsr |= LSR_DATA;
	else if (r->polls < POLLS_MEAN_LISTENING)
		r->polls++;
	r->lsr = 0;
	return lsr;
}

static uint8_t read_msr(struct serial_state *r)
{
	uint8_t msr = r->msr;

	r->msr &= MSR_LINES;
	return msr;
}

static uint8_t read_register(struct serial_state *r, unsigned int reg)
{
	if (reg != REG_LSR)
		r->polls = 0;
	switch (reg) {
	case REG_DATA:
		return r->lcr & LCR_DLAB ? (uint8_t)r->divisor : rx_pop(r);
	case REG_IER:
		return r->lcr & LCR_DLAB ? (uint8_t)(r->divisor >> 8) : r->ier;
	case REG_IIR_FCR:
		return read_iir(r);
	case REG_LCR:
		return r->lcr;
	case REG_MCR:
		return r->mcr;
	case REG_LSR:
		return read_lsr(r);
	case REG_MSR:
		return read_msr(r);
	default:
		return r->scr;
	}
}

/* A wider access to this 8-bit device is one to each of its registers, as the ISA bus splits it. */
static void serial_read(void *device, uint64_t offset, uint8_t *data, unsigned int len)
{
	struct serial *serial = device;

	pthread_mutex_lock(&serial->lock);
	unsigned int before = signalled_causes(&serial->regs);

	for (unsigned int i = 0; i < len; i++)
		data[i] = read_register(&serial->regs, (unsigned int)offset + i);
	unsigned int after = signalled_causes(&serial->regs);

	serial_host_settle(serial);
	pthread_mutex_unlock(&serial->lock);
	if (after & ~before)
		irq_line_raise(&serial->irq);
}

static void serial_write(void *device, uint64_t offset, const uint8_t *data, unsigned int len)
{
	struct serial *serial = device;

	pthread_mutex_lock(&serial->lock);
	unsigned int before = signalled_causes(&serial->regs);

	for (unsigned int i = 0; i < len; i++)
		write_register(serial, (unsigned int)offset + i, data[i]);
	unsigned int after = signalled_causes(&serial->regs);

	serial_host_settle(serial);
	pthread_mutex_unlock(&serial->lock);
	if (after & ~before)
		irq_line_raise(&serial->irq);
}

const struct bus_ops serial_bus_ops = { .read = serial_read, .write = serial_write };

void serial_receive(struct serial *serial, const uint8_t *bytes, unsigned int n)
{
	pthread_mutex_lock(&serial->lock);
	unsigned int before = signalled_causes(&serial->regs);
	unsigned int depth = serial->regs.mcr & MCR_LOOP ? 0 : rx_depth(&serial->regs);
	unsigned int room = depth > serial->regs.rx_count ? depth - serial->regs.rx_count : 0;

	/* The guest may have closed its receiver between the look for room and this. */
	for (unsigned int i = 0; i < n && i < room; i++)
		rx_push(&serial->regs, bytes[i]);
	serial->counters.rx_bytes += n;
	serial->counters.rx_missed += n > room ? n - room : 0;
	unsigned int after = signalled_causes(&serial->regs);

	pthread_mutex_unlock(&serial->lock);
	if (after & ~before)
		irq_line_raise(&serial->irq);
}

int serial_init(struct serial *serial, struct loop *loop, int in_fd, int out_fd, struct error *err)
{
	memset(serial, 0, sizeof(*serial));
	serial->loop = loop;
	serial->irq.eventfd = -1;
	serial->in.fd = serial->out.fd = serial->wake_fd = -1;
	serial->regs.divisor = DIVISOR_9600;
	update_modem(&serial->regs);
	serial->regs.msr &= MSR_LINES;
	pthread_mutex_init(&serial->lock, NULL);
	int rc = irq_line_open(&serial->irq, err);

	if (rc == 0)
		rc = serial_host_init(serial, in_fd, out_fd, err);
	if (rc < 0) {
		serial_release(serial);
		error_wrap(err, "serial");
	}
	return rc;
}

void serial_release(struct serial *serial)
{
	serial_host_release(serial);
	irq_line_close(&serial->irq);
	pthread_mutex_destroy(&serial->lock);
}

void serial_set_limit(struct serial *serial, const struct rate_limit *limit)
{
	pthread_mutex_lock(&serial->lock);
	token_bucket_init(&serial->tx_limit, limit, monotonic_ns());
	pthread_mutex_unlock(&serial->lock);
}

void serial_read_counters(struct serial *serial, struct serial_counters *counters)
{
	pthread_mutex_lock(&serial->lock);
	*counters = serial->counters;
	pthread_mutex_unlock(&serial->lock);
}

void serial_save(struct serial *serial, struct serial_state *state)
{
	pthread_mutex_lock(&serial->lock);
	*state = serial->regs;
	pthread_mutex_unlock(&serial->lock);
}

int serial_restore(struct serial *serial, const struct serial_state *state, struct error *err)
{
	struct serial_state r = *state;

	if (r.rx_count > rx_depth(&r) || r.thr_pending > 1 || r.polls > POLLS_MEAN_LISTENING ||
	    r.ier & ~IER_MASK || r.mcr & ~MCR_MASK || r.lsr & ~LSR_ERRORS ||
	    r.fcr & ~(FCR_ENABLE | FCR_TRIGGER))
		return error_set(err, EINVAL,
				 "serial: restore: registers that a 16550A can't have");
	memset(r.reserved, 0, sizeof(r.reserved));
	pthread_mutex_lock(&serial->lock);
	serial->regs = r;
	bool raise = signalled_causes(&r) != 0;

	serial_host_settle(serial);
	pthread_mutex_unlock(&serial->lock);
	/* An interrupt that was under way when the state was saved may be lost; one too many is not. */
	if (raise)
		irq_line_raise(&serial->irq);
	return 0;
}
