/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/rate_limiter.h"

#include <errno.h>
#include <sys/timerfd.h>

#include "vmm/util.h"

#define NS_PER_MS 1000000ull

typedef unsigned __int128 uint128;

/* ---- one bucket ---- */

void token_bucket_init(struct token_bucket *bucket, const struct rate_limit *limit, uint64_t now_ns)
{
	*bucket = (struct token_bucket){ .updated_ns = now_ns };
	if (limit->size == 0 || limit->refill_ms == 0)
		return;
	bucket->size = limit->size;
	bucket->burst = limit->one_time_burst;
	/* 292 years stand for more. */
	bucket->refill_ns =
		limit->refill_ms < INT64_MAX / NS_PER_MS ? limit->refill_ms * NS_PER_MS : INT64_MAX;
}

static void refill(struct token_bucket *bucket, uint64_t now_ns)
{
	uint128 gained = (uint128)(now_ns - bucket->updated_ns) * bucket->size;

	bucket->missing -= gained < bucket->missing ? gained : bucket->missing;
	bucket->updated_ns = now_ns;
}

/* What isn't paid by the burst. */
static uint64_t beyond_burst(const struct token_bucket *bucket, uint64_t tokens)
{
	return tokens > bucket->burst ? tokens - bucket->burst : 0;
}

uint64_t token_bucket_wait(struct token_bucket *bucket, uint64_t tokens, uint64_t now_ns)
{
	uint64_t wanted = beyond_burst(bucket, tokens);
	uint128 may_miss, wait;

	if (bucket->size == 0 || wanted == 0)
		return 0;
	refill(bucket, now_ns);
	may_miss = wanted < bucket->size ? (uint128)(bucket->size - wanted) * bucket->refill_ns : 0;
	if (bucket->missing <= may_miss)
		return 0;
	wait = (bucket->missing - may_miss - 1) / bucket->size + 1;
	return wait < INT64_MAX ? (uint64_t)wait : INT64_MAX;
}

void token_bucket_take(struct token_bucket *bucket, uint64_t tokens, uint64_t now_ns)
{
	uint64_t wanted = beyond_burst(bucket, tokens);
	uint128 missing;

	if (bucket->size == 0)
		return;
	bucket->burst -= tokens - wanted;
	refill(bucket, now_ns);
	/* A debt that would be too large to count stays the largest. */
	if (__builtin_add_overflow(bucket->missing, (uint128)wanted * bucket->refill_ns, &missing))
		missing = ~(uint128)0;
	bucket->missing = missing;
}

/* ---- a device's limiter ---- */

struct rate_limiter {
	struct token_bucket bandwidth, ops;
	struct rate_limiter_counters counters;
	bool throttled; /* the timer is set */
	int timer_fd;
	struct loop_source source;
	struct rate_limiter_user user;
};

/* at_ns 0: never. */
static void set_timer(struct rate_limiter *limiter, uint64_t at_ns)
{
	struct itimerspec at = { .it_value = { .tv_sec = (time_t)(at_ns / 1000000000u),
					       .tv_nsec = (long)(at_ns % 1000000000u) } };

	timerfd_settime(limiter->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void on_timer(struct loop_source *source, uint32_t events)
{
	struct rate_limiter *limiter = source->owner;

	(void)events;
	pthread_mutex_lock(limiter->user.lock);
	/* Unless it was disarmed in this turn of the loop, when the event was in the batch already. */
	if (limiter->throttled) {
		limiter->throttled = false;
		limiter->counters.resumed++;
		limiter->user.resume(limiter->user.owner);
	}
	pthread_mutex_unlock(limiter->user.lock);
}

void rate_limiter_destroy(struct rate_limiter *limiter)
{
	if (!limiter)
		return;
	loop_remove(limiter->user.loop, &limiter->source);
	close_fd(&limiter->timer_fd);
	free(limiter);
}

static int create(struct rate_limiter **out, const struct rate_limiter_user *user,
		  struct error *err)
{
	struct rate_limiter *limiter = calloc(1, sizeof(*limiter));
	int rc = 0;

	if (!limiter)
		return error_sys(err, ENOMEM, "rate limiter");
	limiter->user = *user;
	limiter->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (limiter->timer_fd < 0)
		rc = error_sys(err, errno, "rate limiter: timerfd_create");
	if (rc == 0)
		/* Edges: each expiry is one, and the count needn't be read. */
		rc = loop_add(user->loop, &limiter->source, limiter->timer_fd, EPOLLIN | EPOLLET,
			      on_timer, limiter, err);
	if (rc < 0) {
		rate_limiter_destroy(limiter);
		return rc;
	}
	*out = limiter;
	return 0;
}

static bool limits_something(const struct rate_limit *limit)
{
	return limit->given && limit->size > 0 && limit->refill_ms > 0;
}

int rate_limiter_set(struct rate_limiter **limiter, const struct rate_limits *limits,
		     const struct rate_limiter_user *user, struct error *err)
{
	uint64_t now = monotonic_ns();

	if (!*limiter) {
		if (!limits_something(&limits->bandwidth) && !limits_something(&limits->ops))
			return 0;
		int rc = create(limiter, user, err);

		if (rc < 0)
			return rc;
	}
	if (limits->bandwidth.given)
		token_bucket_init(&(*limiter)->bandwidth, &limits->bandwidth, now);
	if (limits->ops.given)
		token_bucket_init(&(*limiter)->ops, &limits->ops, now);
	/* What waits may go already, or sooner, or later. */
	if ((*limiter)->throttled)
		set_timer(*limiter, now);
	return 0;
}

bool rate_limiter_throttled(const struct rate_limiter *limiter)
{
	return limiter && limiter->throttled;
}

bool rate_limiter_allows(struct rate_limiter *limiter, uint64_t bytes)
{
	uint64_t now, wait, wait_ops;

	if (!limiter)
		return true;
	if (limiter->throttled)
		return false;
	now = monotonic_ns();
	wait = token_bucket_wait(&limiter->bandwidth, bytes, now);
	wait_ops = token_bucket_wait(&limiter->ops, 1, now);
	if (wait_ops > wait)
		wait = wait_ops;
	if (wait == 0)
		return true;
	limiter->throttled = true;
	limiter->counters.throttled++;
	set_timer(limiter, now + wait);
	return false;
}

void rate_limiter_charge(struct rate_limiter *limiter, uint64_t bytes)
{
	uint64_t now;

	if (!limiter)
		return;
	now = monotonic_ns();
	token_bucket_take(&limiter->bandwidth, bytes, now);
	token_bucket_take(&limiter->ops, 1, now);
}

void rate_limiter_disarm(struct rate_limiter *limiter)
{
	if (!rate_limiter_throttled(limiter))
		return;
	limiter->throttled = false;
	set_timer(limiter, 0);
}

struct rate_limiter_counters rate_limiter_counters(const struct rate_limiter *limiter)
{
	return limiter ? limiter->counters : (struct rate_limiter_counters){ 0 };
}

/* ---- saved state ---- */

static void save_bucket(struct token_bucket *bucket, struct token_bucket_state *state, uint64_t now)
{
	refill(bucket, now);
	*state = (struct token_bucket_state){ .size = bucket->size,
					      .refill_ns = bucket->refill_ns,
					      .burst = bucket->burst,
					      .missing_low = (uint64_t)bucket->missing,
					      .missing_high = (uint64_t)(bucket->missing >> 64) };
}

void rate_limiter_save(struct rate_limiter *limiter, struct rate_limiter_state *state)
{
	uint64_t now = monotonic_ns();

	*state = (struct rate_limiter_state){ 0 };
	if (!limiter)
		return;
	save_bucket(&limiter->bandwidth, &state->bandwidth, now);
	save_bucket(&limiter->ops, &state->ops, now);
}

static bool bucket_can_be(const struct token_bucket_state *state)
{
	static const struct token_bucket_state unlimited;

	if (state->size == 0)
		return memcmp(state, &unlimited, sizeof(unlimited)) == 0;
	return state->refill_ns > 0 && state->refill_ns <= INT64_MAX;
}

static void restore_bucket(struct token_bucket *bucket, const struct token_bucket_state *state,
			   uint64_t now)
{
	*bucket = (struct token_bucket){
		.size = state->size,
		.refill_ns = state->refill_ns,
		.burst = state->burst,
		.updated_ns = now,
		.missing = (uint128)state->missing_high << 64 | state->missing_low,
	};
}

int rate_limiter_restore(struct rate_limiter **limiter, const struct rate_limiter_state *state,
			 const struct rate_limiter_user *user, struct error *err)
{
	uint64_t now = monotonic_ns();

	if (!bucket_can_be(&state->bandwidth) || !bucket_can_be(&state->ops))
		return error_set(err, EINVAL, "saved rate limits can't be");
	if (!*limiter) {
		if (state->bandwidth.size == 0 && state->ops.size == 0)
			return 0;
		int rc = create(limiter, user, err);

		if (rc < 0)
			return rc;
	}
	rate_limiter_disarm(*limiter);
	restore_bucket(&(*limiter)->bandwidth, &state->bandwidth, now);
	restore_bucket(&(*limiter)->ops, &state->ops, now);
	return 0;
}
