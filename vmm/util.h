/* SPDX-License-Identifier: Apache-2.0 */
/* Small helpers that every layer uses: scope-bound cleanup, sizes, unaligned access. */
#ifndef MOTE_UTIL_H
#define MOTE_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)

#define ARRAY_SIZE(a)                 (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

static inline uint64_t align_up(uint64_t value, uint64_t power_of_two)
{
	return (value + power_of_two - 1) & ~(power_of_two - 1);
}

static inline uint64_t align_down(uint64_t value, uint64_t power_of_two)
{
	return value & ~(power_of_two - 1);
}

static inline bool is_aligned(uint64_t value, uint64_t power_of_two)
{
	return (value & (power_of_two - 1)) == 0;
}

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* Scope-bound ownership: `cleanup_close int fd = open(...)`; take the value out with take_fd(). */
static inline void cleanup_close_fn(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free_fn(void *p)
{
	void *victim;

	memcpy(&victim, p, sizeof(victim));
	free(victim);
}

static inline void cleanup_fclose_fn(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define cleanup_close  __attribute__((cleanup(cleanup_close_fn)))
#define cleanup_free   __attribute__((cleanup(cleanup_free_fn)))
#define cleanup_fclose __attribute__((cleanup(cleanup_fclose_fn)))

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void *take_ptr_fn(void *pp)
{
	void *taken;

	memcpy(&taken, pp, sizeof(taken));
	memset(pp, 0, sizeof(taken));
	return taken;
}

/* Close *fd if open and mark it closed. */
static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

#endif
