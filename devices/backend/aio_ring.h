/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking what the kernel has completed out of the ring that it shares with us, without a system
 * call: io_getevents(2) would copy the same events. The kernel's side is aio_complete() and
 * user_refill_reqs_available() in fs/aio.c, which expects that user space moves the head; an
 * io_context_t is the ring's address.
 */
#ifndef MOTE_DEVICES_BACKEND_AIO_RING_H
#define MOTE_DEVICES_BACKEND_AIO_RING_H

#include <libaio.h>
#include <stdbool.h>

/* Whether this kernel's ring is one that we know. */
bool aio_ring_is_known(io_context_t ctx);

/* Take at most max events, max > 0. Returns their number. One caller at a time. */
unsigned int aio_ring_take(io_context_t ctx, struct io_event *events, unsigned int max);

#endif
