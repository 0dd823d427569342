/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets, by exact values of time and tokens, and the limiter made of two of them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/backend/rate_limiter.h"
#include "fake_time.h"
#include "vmm/util.h"

#define MS 1000000ull
#define T0 5000000000ull

static struct token_bucket bucket_of(uint64_t size, uint64_t burst, uint64_t refill_ms)
{
	const struct rate_limit limit = { true, size, burst, refill_ms };
	struct token_bucket bucket;

	token_bucket_init(&bucket, &limit, T0);
	return bucket;
}

/* Whether tokens are there at that time; if so, they're taken. */
static bool take(struct token_bucket *bucket, uint64_t tokens, uint64_t now)
{
	if (token_bucket_wait(bucket, tokens, now) > 0)
		return false;
	token_bucket_take(bucket, tokens, now);
	return true;
}

static void a_full_bucket_gives_all_it_has_and_refills_steadily(void **state)
{
	struct token_bucket b = bucket_of(1000, 0, 100);

	(void)state;
	assert_true(take(&b, 400, T0));
	assert_true(take(&b, 600, T0));
	/* A token is 100 µs. */
	assert_int_equal(token_bucket_wait(&b, 1, T0), MS / 10);
	assert_int_equal(token_bucket_wait(&b, 1000, T0), 100 * MS);
	assert_int_equal(token_bucket_wait(&b, 500, T0 + 50 * MS), 0);
	assert_int_equal(token_bucket_wait(&b, 501, T0 + 50 * MS), MS / 10);
	assert_true(take(&b, 500, T0 + 50 * MS));
	assert_int_equal(token_bucket_wait(&b, 1, T0 + 50 * MS), MS / 10);
	/* However long nothing happens, no more than the bucket is there. */
	assert_true(take(&b, 1000, T0 + 3600000 * MS));
	assert_false(take(&b, 1, T0 + 3600000 * MS));
}

static void parts_of_a_token_are_not_lost(void **state)
{
	struct token_bucket b = bucket_of(3, 0, 10);
	unsigned int n = 0;

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		assert_true(take(&b, 1, T0));
	/* A third of 10 ms, rounded up to what a clock can show. */
	assert_int_equal(token_bucket_wait(&b, 1, T0), 3333334);
	assert_int_equal(token_bucket_wait(&b, 1, T0 + 3333333), 1);
	assert_true(take(&b, 1, T0 + 3333334));
	/* Looked at every microsecond: 300 in a second. */
	for (uint64_t t = 4 * MS; t <= 1000 * MS; t += 1000)
		n += take(&b, 1, T0 + t);
	assert_int_equal(n + 1, 300);
}

static void the_burst_goes_first_and_once(void **state)
{
	struct token_bucket b = bucket_of(10, 25, 10);

	(void)state;
	assert_true(take(&b, 20, T0));
	assert_int_equal(b.burst, 5);
	assert_int_equal((uint64_t)b.missing, 0);
	/* Five from the burst, five from the bucket. */
	assert_true(take(&b, 10, T0));
	assert_int_equal(token_bucket_wait(&b, 5, T0), 0);
	assert_int_equal(token_bucket_wait(&b, 6, T0), MS);
	assert_int_equal(b.burst, 0);
	/* An hour later only the bucket is full again. */
	assert_true(take(&b, 10, T0 + 3600000 * MS));
	assert_int_equal(token_bucket_wait(&b, 1, T0 + 3600000 * MS), MS);
}

static void what_is_refused_costs_nothing(void **state)
{
	struct token_bucket b = bucket_of(10, 4, 10);

	(void)state;
	assert_true(take(&b, 3, T0));
	assert_true(take(&b, 1 + 8, T0));
	b.burst = 4;
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(token_bucket_wait(&b, 4 + 3, T0), MS);
	assert_int_equal(b.burst, 4);
	assert_true(take(&b, 4 + 2, T0));
	assert_int_equal(token_bucket_wait(&b, 1, T0), MS);
}

static void more_than_the_bucket_goes_when_it_is_full_and_pays_after(void **state)
{
	struct token_bucket b = bucket_of(100, 0, 100);

	(void)state;
	assert_true(take(&b, 1, T0));
	assert_int_equal(token_bucket_wait(&b, 250, T0), MS);
	assert_true(take(&b, 250, T0 + MS));
	/* 250 are missing: 151 ms until 99 are. */
	assert_int_equal(token_bucket_wait(&b, 1, T0 + MS), 151 * MS);
	assert_int_equal(token_bucket_wait(&b, 250, T0 + MS), 250 * MS);
	assert_false(take(&b, 250, T0 + 251 * MS - 1));
	assert_true(take(&b, 250, T0 + 251 * MS));
}

static void no_limit_and_no_tokens_never_wait(void **state)
{
	static const uint64_t unlimited[][2] = { { 0, 0 }, { 0, 100 }, { 100, 0 } };
	struct token_bucket b;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(unlimited); i++) {
		b = bucket_of(unlimited[i][0], 7, unlimited[i][1]);
		for (unsigned int n = 0; n < 3; n++)
			assert_true(take(&b, UINT64_MAX, T0));
	}
	b = bucket_of(1, 0, 1);
	assert_true(take(&b, 1000, T0));
	assert_true(take(&b, 0, T0));
	assert_int_equal(token_bucket_wait(&b, 1, T0), 1000 * MS);
}

static void no_number_is_too_large(void **state)
{
	struct token_bucket b = bucket_of(1, 0, UINT64_MAX);

	(void)state;
	assert_true(take(&b, 1, T0));
	assert_int_equal(token_bucket_wait(&b, 1, T0), INT64_MAX);
	assert_int_equal(token_bucket_wait(&b, 1, T0 + INT64_MAX - 1), 1);
	assert_true(take(&b, 1, T0 + INT64_MAX));

	b = bucket_of(UINT64_MAX, UINT64_MAX, 1);
	assert_true(take(&b, UINT64_MAX, T0));
	assert_true(take(&b, UINT64_MAX, T0));
	assert_int_equal(token_bucket_wait(&b, 1, T0), 1);
	assert_int_equal(token_bucket_wait(&b, UINT64_MAX, T0), MS);
	assert_true(take(&b, UINT64_MAX, T0 + MS));

	/* A debt that grows beyond all numbers doesn't become none. */
	b = bucket_of(UINT64_MAX, 0, UINT64_MAX);
	for (unsigned int i = 0; i < 10; i++)
		token_bucket_take(&b, UINT64_MAX, T0);
	assert_int_equal(token_bucket_wait(&b, 1, T0), INT64_MAX);
	assert_true(token_bucket_wait(&b, UINT64_MAX, UINT64_MAX) > 0);

	b = bucket_of(1, 0, 1);
	token_bucket_take(&b, UINT64_MAX, T0);
	assert_int_equal(token_bucket_wait(&b, 1, T0), INT64_MAX);
}

/* xorshift64 */
static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* What any operation may count on: it goes after exactly the wait, and not a nanosecond before. */
static void a_wait_is_exact(void **state)
{
	uint64_t seed = 88172645463325252ull;

	(void)state;
	for (unsigned int i = 0; i < 2000; i++) {
		uint64_t size = 1 + next_random(&seed) % (i % 2 ? 10 : 1000000007);
		uint64_t refill_ms = 1 + next_random(&seed) % 5000;
		struct token_bucket b = bucket_of(size, next_random(&seed) % 100, refill_ms);
		uint64_t now = T0, burst = b.burst, passed = 0, largest = size;

		for (unsigned int n = 0; n < 20; n++) {
			uint64_t tokens = next_random(&seed) % (2 * size + 1);
			uint64_t wait = token_bucket_wait(&b, tokens, now);

			if (wait > 1)
				assert_int_equal(token_bucket_wait(&b, tokens, now + wait - 1), 1);
			now += wait;
			assert_true(take(&b, tokens, now));
			passed += tokens;
			largest = tokens > largest ? tokens : largest;
			/* passed <= burst + largest + time * size / refill */
			unsigned __int128 refilled = (unsigned __int128)(now - T0) * size;
			unsigned __int128 per_token = (unsigned __int128)refill_ms * MS;

			assert_true(passed <= burst + largest ||
				    (passed - burst - largest) * per_token <= refilled);
			now += next_random(&seed) % 3 * (next_random(&seed) % (refill_ms * MS));
		}
	}
}

/* ---- the limiter ---- */

struct rig {
	struct loop loop;
	pthread_mutex_t lock;
	struct rate_limiter_user user;
	struct rate_limiter *limiter;
	unsigned int resumed;
};

static void on_resume(void *owner)
{
	struct rig *rig = owner;

	/* Held by the limiter. */
	assert_int_equal(pthread_mutex_trylock(&rig->lock), EBUSY);
	assert_false(rate_limiter_throttled(rig->limiter));
	rig->resumed++;
}

static int rig_setup(void **state)
{
	static struct rig rig;

	memset(&rig, 0, sizeof(rig));
	fake_time_start();
	assert_int_equal(loop_init(&rig.loop, NULL), 0);
	pthread_mutex_init(&rig.lock, NULL);
	rig.user = (struct rate_limiter_user){ &rig.loop, &rig.lock, on_resume, &rig };
	*state = &rig;
	return 0;
}

static int rig_teardown(void **state)
{
	struct rig *rig = *state;

	rate_limiter_destroy(rig->limiter);
	loop_release(&rig->loop);
	fake_time_stop();
	return 0;
}

static void set(struct rig *rig, struct rate_limits limits)
{
	assert_int_equal(rate_limiter_set(&rig->limiter, &limits, &rig->user, NULL), 0);
}

static void set_both(struct rig *rig, uint64_t bytes, uint64_t ops, uint64_t refill_ms)
{
	set(rig,
	    (struct rate_limits){ { true, bytes, 0, refill_ms }, { true, ops, 0, refill_ms } });
}

static bool operation(struct rig *rig, uint64_t bytes)
{
	if (!rate_limiter_allows(rig->limiter, bytes))
		return false;
	rate_limiter_charge(rig->limiter, bytes);
	return true;
}

static void pass(struct rig *rig, uint64_t ns)
{
	fake_time_pass(ns);
	while (loop_run_once(&rig->loop, 0, NULL) > 0)
		;
}

static void without_limits_there_is_nothing(void **state)
{
	struct rig *rig = *state;
	struct rate_limiter_state saved;
	static const struct rate_limiter_state zero;

	set(rig, (struct rate_limits){ { true, 0, 5, 7 }, { true, 7, 5, 0 } });
	set(rig, (struct rate_limits){ .ops = { false, 1, 1, 1 } });
	assert_null(rig->limiter);
	assert_int_equal(fake_timers_made(), 0);
	for (unsigned int i = 0; i < 1000; i++)
		assert_true(operation(rig, UINT64_MAX));
	assert_false(rate_limiter_throttled(NULL));
	rate_limiter_disarm(NULL);
	rate_limiter_destroy(NULL);
	assert_int_equal(rate_limiter_counters(NULL).throttled, 0);
	rate_limiter_save(NULL, &saved);
	assert_memory_equal(&saved, &zero, sizeof(zero));
	assert_int_equal(rate_limiter_restore(&rig->limiter, &saved, &rig->user, NULL), 0);
	assert_null(rig->limiter);
}

static void it_sets_its_timer_only_while_throttled(void **state)
{
	struct rig *rig = *state;

	set_both(rig, 1000, 10, 100);
	assert_int_equal(fake_timers_made(), 1);
	for (unsigned int i = 0; i < 5; i++)
		assert_true(operation(rig, 200));
	assert_int_equal(fake_timers_set(), 0);
	assert_false(operation(rig, 200));
	assert_int_equal(fake_timers_set(), 1);
	assert_true(rate_limiter_throttled(rig->limiter));
	/* Nothing is asked again meanwhile, and what is small doesn't overtake. */
	for (unsigned int i = 0; i < 5; i++)
		assert_false(operation(rig, 0));
	assert_int_equal(fake_timers_set(), 1);
	assert_int_equal(fake_time_next(), 20 * MS);
	pass(rig, 20 * MS - 1);
	assert_int_equal(rig->resumed, 0);
	pass(rig, 1);
	assert_int_equal(rig->resumed, 1);
	assert_int_equal(fake_time_next(), UINT64_MAX);
	assert_true(operation(rig, 200));
	assert_int_equal(rate_limiter_counters(rig->limiter).throttled, 1);
	assert_int_equal(rate_limiter_counters(rig->limiter).resumed, 1);
}

static void both_buckets_count_or_neither(void **state)
{
	struct rig *rig = *state;

	set_both(rig, 1000, 2, 100);
	assert_true(operation(rig, 1));
	assert_true(operation(rig, 1));
	/* Operations: 50 ms each. The bytes stay. */
	assert_false(operation(rig, 998));
	assert_int_equal(fake_time_next(), 50 * MS);
	pass(rig, 50 * MS);
	assert_true(operation(rig, 1000));
	/* The longer wait of the two: 100 ms for bytes. */
	assert_false(operation(rig, 1000));
	assert_int_equal(fake_time_next(), 100 * MS);
	pass(rig, 100 * MS);
	assert_true(operation(rig, 1000));
	/* Without bytes, there is one operation left. */
	assert_true(operation(rig, 0));
	assert_false(operation(rig, 0));
	assert_int_equal(fake_time_next(), 50 * MS);
}

static void limits_change_bucket_by_bucket(void **state)
{
	struct rig *rig = *state;

	set_both(rig, 1000, 1, 100);
	assert_true(operation(rig, 600));
	assert_false(operation(rig, 1));
	/* Operations aren't limited any more; bytes still are as before. */
	set(rig, (struct rate_limits){ .ops = { .given = true } });
	pass(rig, 0);
	assert_int_equal(rig->resumed, 1);
	assert_true(operation(rig, 400));
	assert_false(operation(rig, 1));
	assert_int_equal(fake_time_next(), MS / 10);
	/* A new bucket is full. */
	set(rig, (struct rate_limits){ .bandwidth = { true, 50, 10, 50 } });
	pass(rig, 0);
	assert_int_equal(rig->resumed, 2);
	assert_true(operation(rig, 60));
	assert_false(operation(rig, 1));
	assert_int_equal(fake_time_next(), MS);
	/* Without any, there's nothing left but the memory. */
	set(rig, (struct rate_limits){ .bandwidth = { true, 0, 0, 0 } });
	pass(rig, 0);
	for (unsigned int i = 0; i < 1000; i++)
		assert_true(operation(rig, UINT64_MAX));
	assert_int_equal(fake_timers_made(), 1);
	assert_int_equal(rate_limiter_counters(rig->limiter).throttled, 3);
}

static void disarmed_it_stays_quiet(void **state)
{
	struct rig *rig = *state;

	set_both(rig, 0, 1, 10);
	assert_true(operation(rig, 0));
	assert_false(operation(rig, 0));
	rate_limiter_disarm(rig->limiter);
	assert_int_equal(fake_time_next(), UINT64_MAX);
	assert_false(rate_limiter_throttled(rig->limiter));
	pass(rig, 4 * MS);
	/* Asked again, it's the same limit. */
	assert_false(operation(rig, 0));
	assert_int_equal(fake_time_next(), 6 * MS);
	/* The event is there, and the limiter doesn't want it any more. */
	fake_time_pass(6 * MS);
	rate_limiter_disarm(rig->limiter);
	pass(rig, 0);
	assert_int_equal(rig->resumed, 0);
}

static void a_timer_that_cannot_be_made_is_an_error(void **state)
{
	struct rig *rig = *state;
	const struct rate_limits limits = { .ops = { true, 1, 0, 1 } };
	struct error err = { 0 };

	fake_timer_fails(EMFILE);
	assert_int_equal(rate_limiter_set(&rig->limiter, &limits, &rig->user, &err), -EMFILE);
	assert_string_equal(err.message, "rate limiter: timerfd_create: Too many open files");
	assert_null(rig->limiter);
}

static void saved_and_restored_it_goes_on_where_it_was(void **state)
{
	struct rig *rig = *state;
	struct rate_limiter_state saved, again;

	set(rig, (struct rate_limits){ { true, 1000, 500, 100 }, { true, 10, 0, 1000 } });
	assert_true(operation(rig, 900));
	fake_time_pass(10 * MS);
	rate_limiter_save(rig->limiter, &saved);
	assert_int_equal(saved.bandwidth.size, 1000);
	assert_int_equal(saved.bandwidth.refill_ns, 100 * MS);
	assert_int_equal(saved.bandwidth.burst, 0);
	/* 400 taken, 100 refilled. */
	assert_int_equal(saved.bandwidth.missing_low, 300 * 100 * MS);
	assert_int_equal(saved.bandwidth.missing_high, 0);
	assert_int_equal(saved.ops.missing_low, 1000 * MS - 10 * MS * 10);
	rate_limiter_destroy(rig->limiter);
	rig->limiter = NULL;

	/* Where it had none, and other ones; the time between doesn't count. */
	for (unsigned int i = 0; i < 2; i++) {
		fake_time_pass(1000 * MS);
		assert_int_equal(rate_limiter_restore(&rig->limiter, &saved, &rig->user, NULL), 0);
		rate_limiter_save(rig->limiter, &again);
		assert_memory_equal(&again, &saved, sizeof(saved));
		assert_false(operation(rig, 701));
		assert_int_equal(fake_time_next(), MS / 10);
		pass(rig, MS / 10);
		assert_int_equal(rig->resumed, i + 1);
		set_both(rig, 7, 7, 7);
		assert_true(operation(rig, 7));
		assert_false(operation(rig, 7));
	}
	/* Restored while throttled, it isn't any more. */
	assert_int_equal(rate_limiter_restore(&rig->limiter, &saved, &rig->user, NULL), 0);
	assert_true(operation(rig, 700));
	/* Of one that had none. */
	memset(&saved, 0, sizeof(saved));
	assert_int_equal(rate_limiter_restore(&rig->limiter, &saved, &rig->user, NULL), 0);
	assert_true(operation(rig, UINT64_MAX));
	assert_true(operation(rig, UINT64_MAX));
}

static void states_that_cannot_be_are_refused(void **state)
{
	static const struct token_bucket_state bad[] = {
		{ .size = 1 },	      { .refill_ns = 1 },    { .burst = 1 },
		{ .missing_low = 1 }, { .missing_high = 1 }, { .size = 1, .refill_ns = 1ull << 63 },
	};
	static const struct token_bucket_state worst = {
		UINT64_MAX, INT64_MAX, 0, UINT64_MAX, UINT64_MAX,
	};
	struct rig *rig = *state;
	struct error err = { 0 };

	for (unsigned int i = 0; i < 2 * ARRAY_SIZE(bad); i++) {
		struct rate_limiter_state s = { 0 };

		*(i % 2 ? &s.ops : &s.bandwidth) = bad[i / 2];
		assert_int_equal(rate_limiter_restore(&rig->limiter, &s, &rig->user, &err),
				 -EINVAL);
		assert_string_equal(err.message, "saved rate limits can't be");
		assert_null(rig->limiter);
	}
	/* The largest of all debts: it's never paid, and counts don't wrap. */
	struct rate_limiter_state s = { .bandwidth = worst };

	assert_int_equal(rate_limiter_restore(&rig->limiter, &s, &rig->user, &err), 0);
	rate_limiter_charge(rig->limiter, UINT64_MAX);
	assert_false(operation(rig, 1));
}

#define LIMITER_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_bucket_gives_all_it_has_and_refills_steadily),
		cmocka_unit_test(parts_of_a_token_are_not_lost),
		cmocka_unit_test(the_burst_goes_first_and_once),
		cmocka_unit_test(what_is_refused_costs_nothing),
		cmocka_unit_test(more_than_the_bucket_goes_when_it_is_full_and_pays_after),
		cmocka_unit_test(no_limit_and_no_tokens_never_wait),
		cmocka_unit_test(no_number_is_too_large),
		cmocka_unit_test(a_wait_is_exact),
		LIMITER_TEST(without_limits_there_is_nothing),
		LIMITER_TEST(it_sets_its_timer_only_while_throttled),
		LIMITER_TEST(both_buckets_count_or_neither),
		LIMITER_TEST(limits_change_bucket_by_bucket),
		LIMITER_TEST(disarmed_it_stays_quiet),
		LIMITER_TEST(a_timer_that_cannot_be_made_is_an_error),
		LIMITER_TEST(saved_and_restored_it_goes_on_where_it_was),
		LIMITER_TEST(states_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
