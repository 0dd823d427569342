/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_time.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include <cmocka.h>

#define TIMERS_MAX 16

static struct {
	bool on;
	uint64_t now_ns;
	unsigned int made, set;
	int fails;
	unsigned int n;
	struct {
		int fd;		  /* an eventfd: reads as a timerfd does */
		uint64_t expires; /* 0 = not set */
	} timers[TIMERS_MAX];
} fake;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *value,
			   struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *value,
			   struct itimerspec *old);

void fake_time_start(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.on = true;
	fake.now_ns = 1000000000;
}

void fake_time_stop(void)
{
	fake.on = false;
}

static uint64_t to_ns(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

static void expire(void)
{
	for (unsigned int i = 0; i < fake.n; i++) {
		if (fake.timers[i].expires == 0 || fake.timers[i].expires > fake.now_ns)
			continue;
		fake.timers[i].expires = 0;
		assert_int_equal(eventfd_write(fake.timers[i].fd, 1), 0);
	}
}

void fake_time_pass(uint64_t ns)
{
	fake.now_ns += ns;
	expire();
}

uint64_t fake_time_next(void)
{
	uint64_t next = UINT64_MAX;

	for (unsigned int i = 0; i < fake.n; i++)
		if (fake.timers[i].expires != 0 && fake.timers[i].expires - fake.now_ns < next)
			next = fake.timers[i].expires - fake.now_ns;
	return next;
}

unsigned int fake_timers_made(void)
{
	return fake.made;
}

unsigned int fake_timers_set(void)
{
	return fake.set;
}

void fake_timer_fails(int errnum)
{
	fake.fails = errnum;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	if (!fake.on || clock != CLOCK_MONOTONIC)
		return __real_clock_gettime(clock, now);
	*now = (struct timespec){ .tv_sec = (time_t)(fake.now_ns / 1000000000u),
				  .tv_nsec = (long)(fake.now_ns % 1000000000u) };
	return 0;
}

static unsigned int timer_of(int fd)
{
	unsigned int i = 0;

	while (i < fake.n && fake.timers[i].fd != fd)
		i++;
	return i;
}

int __wrap_timerfd_create(int clock, int flags)
{
	if (!fake.on)
		return __real_timerfd_create(clock, flags);
	assert_int_equal(clock, CLOCK_MONOTONIC);
	assert_int_equal(flags, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fake.fails) {
		errno = fake.fails;
		fake.fails = 0;
		return -1;
	}
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* The number of one that was closed meanwhile, or a new one. */
	unsigned int i = timer_of(fd);

	assert_true(fd >= 0 && i < TIMERS_MAX);
	fake.n += i == fake.n;
	fake.timers[i].fd = fd;
	fake.timers[i].expires = 0;
	fake.made++;
	return fd;
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *value,
			   struct itimerspec *old)
{
	unsigned int i = timer_of(fd);
	eventfd_t count;

	if (i == fake.n)
		return __real_timerfd_settime(fd, flags, value, old);
	assert_null(old);
	assert_int_equal(to_ns(&value->it_interval), 0);
	assert_in_range(value->it_value.tv_nsec, 0, 999999999);
	/* Setting a timer forgets what has expired. */
	(void)eventfd_read(fd, &count);
	fake.set++;
	fake.timers[i].expires = to_ns(&value->it_value);
	if (fake.timers[i].expires != 0 && !(flags & TFD_TIMER_ABSTIME))
		fake.timers[i].expires += fake.now_ns;
	expire();
	return 0;
}
