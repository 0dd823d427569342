/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzzer's targets stand on: time that passes when the input says so, and the check that
 * nothing is left behind.
 */
#ifndef MOTE_TESTS_FUZZ_MACHINE_H
#define MOTE_TESTS_FUZZ_MACHINE_H

#include <stdint.h>

#include "vmm/loop.h"

/* Log lines are made and thrown away; the clock starts anew. For the beginning of each input. */
void machine_begin(void);
/* Traps if a file descriptor is open that wasn't at machine_begin. */
void machine_end(void);

/*
 * The clock of monotonic_ns(), and the timerfds, are the target's: they are linked with clock_gettime, timerfd_create and timerfd_settime wrapped.
 */
void machine_pass(uint64_t ns);

/* Rounds of the loop, a microsecond each, until nothing happens. Traps if it never calms down. */
void machine_settle(struct loop *loop);

#endif
