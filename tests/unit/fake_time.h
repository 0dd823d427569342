/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time that passes when the test says so: the clock of monotonic_ns() and the timers made after
 * fake_time_start(). For programs linked with clock_gettime, timerfd_create and timerfd_settime
 * wrapped.
 */
#ifndef MOTE_TESTS_FAKE_TIME_H
#define MOTE_TESTS_FAKE_TIME_H

#include <stdint.h>

/* It is a second after the clock's zero, and no timer exists. */
void fake_time_start(void);
/* The host's time again. */
void fake_time_stop(void);

/* Timers that expire on the way are ready then; the loop is the test's to run. */
void fake_time_pass(uint64_t ns);
/* ns until the next timer expires; UINT64_MAX = none is set. */
uint64_t fake_time_next(void);

/* Calls since fake_time_start(). */
unsigned int fake_timers_made(void);
unsigned int fake_timers_set(void);
/* The next timer isn't made: timerfd_create fails with errnum. */
void fake_timer_fails(int errnum);

#endif
