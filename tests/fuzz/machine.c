/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "input.h"
#include "vmm/log.h"

#define START_NS      1000000000ull
#define SETTLE_ROUNDS 4096
#define TIMERS_MAX    16

static uint64_t now_ns;
static struct {
	int fd;		  /* an eventfd: reads as a timerfd does */
	uint64_t expires; /* 0 = not set */
} timers[TIMERS_MAX];
static unsigned int n_timers;
static int first_free_fd;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old);

static uint64_t to_ns(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	*now = (struct timespec){ .tv_sec = (time_t)(now_ns / 1000000000u),
				  .tv_nsec = (long)(now_ns % 1000000000u) };
	return 0;
}

static unsigned int timer_of(int fd)
{
	unsigned int i = 0;

	while (i < n_timers && timers[i].fd != fd)
		i++;
	return i;
}

int __wrap_timerfd_create(int clock, int flags)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* In the place of one that had this number and was closed, or a new one. */
	unsigned int i = timer_of(fd);

	must(clock == CLOCK_MONOTONIC && flags == (TFD_CLOEXEC | TFD_NONBLOCK));
	must(fd >= 0 && i < TIMERS_MAX);
	n_timers += i == n_timers;
	timers[i].fd = fd;
	timers[i].expires = 0;
	return fd;
}

static void expire(void)
{
	for (unsigned int i = 0; i < n_timers; i++) {
		if (timers[i].expires == 0 || timers[i].expires > now_ns)
			continue;
		timers[i].expires = 0;
		must(eventfd_write(timers[i].fd, 1) == 0);
	}
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old)
{
	unsigned int i = timer_of(fd);
	eventfd_t count;

	must(i < n_timers && !old && to_ns(&value->it_interval) == 0);
	must(value->it_value.tv_nsec >= 0 && value->it_value.tv_nsec < 1000000000);
	(void)eventfd_read(fd, &count); /* setting a timer forgets what has expired */
	timers[i].expires = to_ns(&value->it_value);
	if (timers[i].expires != 0 && !(flags & TFD_TIMER_ABSTIME))
		timers[i].expires += now_ns;
	expire();
	return 0;
}

void machine_pass(uint64_t ns)
{
	now_ns += ns;
	expire();
}

void machine_settle(struct loop *loop)
{
	for (unsigned int round = 0; round < SETTLE_ROUNDS; round++) {
		machine_pass(1000);

		int n = loop_run_once(loop, 0, NULL);

		must(n >= 0);
		if (n == 0)
			return;
	}
	must(false);
}

/* The lowest number that the next descriptor would get. */
static int free_fd(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	close(fd);
	return fd;
}

void machine_begin(void)
{
	static bool quiet;

	if (!quiet) {
		struct log_options log = { .path = "/dev/null", .level = LOG_TRACE };

		must(log_open(&log, NULL) == 0);
		signal(SIGPIPE, SIG_IGN); /* as main does */
		quiet = true;
	}
	now_ns = START_NS;
	n_timers = 0;
	first_free_fd = free_fd();
}

void machine_end(void)
{
	must(free_fd() == first_free_fd);
}
