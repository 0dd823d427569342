/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rate limits as token buckets: a full bucket of `size` tokens, which refills from empty in
 * `refill_ms`, and a burst that is used up first and never comes back. An operation waits until the
 * bucket has its tokens; one that is bigger than the bucket goes when the bucket is full, and what
 * was missing is paid before the next one. So no time t passes more than
 * burst + max(size, one operation) + t * size / refill.
 */
#ifndef MOTE_DEVICES_RATE_LIMITER_H
#define MOTE_DEVICES_RATE_LIMITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"
#include "vmm/loop.h"

/* Any values are fine. size or refill_ms 0: no limit, and no burst either. */
struct rate_limit {
	bool given; /* in an update: whether this bucket changes at all */
	uint64_t size, one_time_burst, refill_ms;
};

struct rate_limits {
	struct rate_limit bandwidth; /* bytes */
	struct rate_limit ops;
};

/*
 * Exact: what is missing is counted in tokens * refill_ns, which a nanosecond lessens by size.
 * A bucket of zeroes is no limit. Not thread-safe.
 */
struct token_bucket {
	uint64_t size, refill_ns; /* both 0 or neither; refill_ns at most INT64_MAX */
	uint64_t burst;		  /* what is left of it */
	uint64_t updated_ns;	  /* when missing was right */
	unsigned __int128 missing;
};

/* limit's bucket, full. Times are of any clock that never goes back. */
void token_bucket_init(struct token_bucket *bucket, const struct rate_limit *limit,
		       uint64_t now_ns);
/* ns until tokens may be taken, at most INT64_MAX; 0 = now, as always for no tokens. */
uint64_t token_bucket_wait(struct token_bucket *bucket, uint64_t tokens, uint64_t now_ns);
/* Take them, even if they aren't there: later ones wait for it then. */
void token_bucket_take(struct token_bucket *bucket, uint64_t tokens, uint64_t now_ns);

/*
 * A device's two buckets, and the timer that tells it to go on. A device without limits has none of
 * it: all functions take NULL for that. With the device's lock held, but
 * for destroy.
 */
struct rate_limiter;

struct rate_limiter_user {
	struct loop *loop;
	pthread_mutex_t *lock;
	/* Not throttled any more. On the loop's thread, with the lock held. */
	void (*resume)(void *owner);
	void *owner;
};

/*
 * Set limits: *limiter is made if it's NULL and there's something to limit, else changed. Buckets
 * that aren't given stay what they are; a given one is new, and full. What was throttled is resumed
 * at the next turn of the loop. Errors: -ENOMEM; those of timerfd_create(2) and epoll_ctl(2). On the
 * loop's thread, or in a time without it.
 */
int rate_limiter_set(struct rate_limiter **limiter, const struct rate_limits *limits,
		     const struct rate_limiter_user *user, struct error *err);
/* On the loop's thread. */
void rate_limiter_destroy(struct rate_limiter *limiter);

/*
 * Whether an operation of so many bytes may be done. If not, the device is throttled from now on:
 * nothing is allowed until resume is called.
 */
bool rate_limiter_allows(struct rate_limiter *limiter, uint64_t bytes);
/* The operation is done (or started). One that turned out bigger than what was allowed runs up a debt. */
void rate_limiter_charge(struct rate_limiter *limiter, uint64_t bytes);
bool rate_limiter_throttled(const struct rate_limiter *limiter);
/* Not throttled any more, and no resume follows: whoever calls this sees to that. */
void rate_limiter_disarm(struct rate_limiter *limiter);

struct rate_limiter_counters {
	uint64_t throttled; /* operations that had to wait */
	uint64_t resumed;   /* times the timer came */
};
struct rate_limiter_counters rate_limiter_counters(const struct rate_limiter *limiter);

/* Zeroes: no limit. The time between save and restore fills no bucket. */
struct token_bucket_state {
	uint64_t size, refill_ns, burst, missing_low, missing_high;
};
struct rate_limiter_state {
	struct token_bucket_state bandwidth, ops;
};

void rate_limiter_save(struct rate_limiter *limiter, struct rate_limiter_state *state);
/*
 * The limits become the saved ones, whatever they were. The state may come from somebody else's file.
 * Errors: -EINVAL for a state that can't be; those of rate_limiter_set().
 */
int rate_limiter_restore(struct rate_limiter **limiter, const struct rate_limiter_state *state,
			 const struct rate_limiter_user *user, struct error *err);

#endif
