/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/balloon.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/timerfd.h>

#include <linux/virtio_ids.h>

#include "devices/virtio/balloon_private.h"
#include "vmm/log.h"

#define PAGES_PER_MIB (MIB / GUEST_PAGE_SIZE)

/* One turn of a queue ends after so many chains, or calls that stop the vCPUs. */
#define TURN_CHAINS 64
#define TURN_CALLS  256

/* What one buffer of statistics is read of: all that there may be, and as much again. */
#define STATS_READ (2 * VIRTIO_BALLOON_STATS)

#define FEATURE(name) (1ull << VIRTIO_BALLOON_F_##name)

static uint32_t memory_mib(const struct virtio_device *dev)
{
	return (uint32_t)(guest_memory_size(dev->memory) / MIB);
}

/* ---- statistics: the driver's one buffer goes back and forth ---- */

/* Nothing can be done about a failure, which no valid time brings. */
static void set_timer(struct virtio_balloon *balloon, uint16_t seconds)
{
	struct itimerspec after = { .it_value.tv_sec = seconds };

	timerfd_settime(balloon->timer_fd, 0, &after, NULL);
}

static void read_stats(struct virtio_balloon *balloon, const struct virtqueue_chain *chain)
{
	struct virtio_balloon_stat stats[STATS_READ];
	size_t n =
		iov_read(chain->iov, chain->n_readable, 0, stats, sizeof(stats)) / sizeof(stats[0]);

	balloon->counters.stats_updates++;
	balloon->counters.stats_failures += chain->readable_len % sizeof(stats[0]) != 0;
	balloon->stats.present = 0;
	for (size_t i = 0; i < n; i++) {
		/* A driver may know more than we do (§5.5.6.3.1). */
		if (stats[i].tag >= VIRTIO_BALLOON_STATS)
			continue;
		balloon->stats.present |= 1u << stats[i].tag;
		balloon->stats.values[stats[i].tag] = stats[i].val;
	}
}

static void run_stats(struct virtio_balloon *balloon, unsigned int queue)
{
	struct virtqueue_chain chain;

	/* A driver that has more than one buffer waits with the others. */
	if (balloon->stats_held || virtio_device_pop(&balloon->dev, queue, &chain) != 1)
		return;
	read_stats(balloon, &chain);
	balloon->stats_held = true;
	balloon->stats_head = chain.head;
	set_timer(balloon, balloon->stats_interval_s);
}

static unsigned int stats_queue(const struct virtio_balloon *balloon)
{
	unsigned int queue = 0;

	while (balloon->queues[queue] != BALLOON_STATS)
		queue++;
	return queue;
}

/* The driver fills its buffer again when it gets it back. */
static void on_timer(struct loop_source *source, uint32_t events)
{
	struct virtio_balloon *balloon = source->owner;
	struct virtio_device *dev = &balloon->dev;

	(void)events;
	pthread_mutex_lock(&dev->lock);
	if (balloon->stats_held && dev->activated && !dev->needs_reset) {
		unsigned int queue = stats_queue(balloon);

		balloon->stats_held = false;
		virtqueue_push(&dev->queues[queue], balloon->stats_head, 0);
		virtio_device_signal_used(dev, queue);
		/* Another one may lie there. */
		run_stats(balloon, queue);
	}
	pthread_mutex_unlock(&dev->lock);
}

/* ---- hinting ---- */

void balloon_set_hint_cmd(struct virtio_balloon *balloon, uint32_t cmd)
{
	balloon->config.free_page_hint_cmd_id = cmd;
	virtio_device_signal_config(&balloon->dev);
}

/* ---- the device ---- */

static void balloon_process_queue(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	enum balloon_queue what = balloon->queues[queue];
	unsigned int chains = 0, calls = 0;
	struct virtqueue_chain chain;

	if (what == BALLOON_STATS) {
		run_stats(balloon, queue);
		return;
	}
	while (what != BALLOON_NONE && chains < TURN_CHAINS && calls < TURN_CALLS &&
	       virtio_device_pop(dev, queue, &chain) == 1) {
		if (what == BALLOON_INFLATE)
			calls += balloon_inflate(balloon, &chain);
		else if (what == BALLOON_REPORTS)
			calls += balloon_report(balloon, &chain);
		else if (what == BALLOON_HINTS)
			calls += balloon_hint(balloon, &chain);
		else
			balloon->counters.deflations++;
		virtqueue_push(&dev->queues[queue], chain.head, 0);
		chains++;
	}
	virtio_device_signal_used(dev, queue);
	if (chains == TURN_CHAINS || calls >= TURN_CALLS)
		virtio_device_kick(dev, queue);
}

/*
 * §5.5.2 numbers the queues as if there were all of them. Drivers (Linux) number those that there
 * are, so that a queue's number depends on what was negotiated before it.
 */
static int balloon_activate(struct virtio_device *dev, struct error *err)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	unsigned int n = 0;

	(void)err;
	balloon->queues[n++] = BALLOON_INFLATE;
	balloon->queues[n++] = BALLOON_DEFLATE;
	if (virtio_acked(dev, VIRTIO_BALLOON_F_STATS_VQ))
		balloon->queues[n++] = BALLOON_STATS;
	if (virtio_acked(dev, VIRTIO_BALLOON_F_FREE_PAGE_HINT))
		balloon->queues[n++] = BALLOON_HINTS;
	if (virtio_acked(dev, VIRTIO_BALLOON_F_REPORTING))
		balloon->queues[n++] = BALLOON_REPORTS;
	return 0;
}

static void forget_stats_buffer(struct virtio_balloon *balloon)
{
	balloon->stats_held = false;
	if (balloon->stats_interval_s > 0)
		set_timer(balloon, 0);
}

static void balloon_reset(struct virtio_device *dev)
{
	struct virtio_balloon *balloon = balloon_of(dev);

	forget_stats_buffer(balloon);
	memset(balloon->queues, 0, sizeof(balloon->queues));
	/* All of its memory is the guest's again, and no run goes on. */
	balloon->config.actual = 0;
	balloon->config.free_page_hint_cmd_id = VIRTIO_BALLOON_CMD_ID_STOP;
	balloon->hint_guest_has_cmd = false;
	balloon->hint_guest_cmd = 0;
}

/* The driver says what it has given up (§5.5.6.1); everything else isn't its to write. */
static void balloon_config_write(struct virtio_device *dev, uint32_t offset, const uint8_t *data,
				 unsigned int len)
{
	struct virtio_balloon_config *config = &balloon_of(dev)->config;
	const uint32_t start = offsetof(struct virtio_balloon_config, actual);

	for (unsigned int i = 0; i < len; i++)
		if (offset + i >= start && offset + i < start + sizeof(config->actual))
			((uint8_t *)config)[offset + i] = data[i];
}

static void balloon_save(struct virtio_device *dev, void *buf)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	struct virtio_balloon_state *state = buf;

	/* The buffer goes back to the queue: who restores finds it there, with the same statistics. */
	if (balloon->stats_held)
		virtqueue_unpop(&dev->queues[stats_queue(balloon)], &balloon->stats_head, 1);
	forget_stats_buffer(balloon);
	*state = (struct virtio_balloon_state){
		.target_pages = balloon->config.num_pages,
		.actual_pages = balloon->config.actual,
		.hint_host_cmd = balloon->config.free_page_hint_cmd_id,
		.hint_last_run = balloon->hint_last_run,
		.hint_guest_cmd = balloon->hint_guest_cmd,
		.hint_guest_has_cmd = balloon->hint_guest_has_cmd,
		.hint_acknowledge = balloon->hint_acknowledge,
		.stats_interval_s = balloon->stats_interval_s,
		.stats_present = balloon->stats.present,
	};
	memcpy(state->stats, balloon->stats.values, sizeof(state->stats));
}

static int check_state(const struct virtio_balloon *balloon,
		       const struct virtio_balloon_state *state, struct error *err)
{
	static const uint8_t zero[sizeof(state->reserved)];
	uint64_t pages = (uint64_t)memory_mib(&balloon->dev) * PAGES_PER_MIB;

	if (state->hint_guest_has_cmd > 1 || state->hint_acknowledge > 1 ||
	    (state->hint_guest_cmd && !state->hint_guest_has_cmd) ||
	    state->stats_present >> VIRTIO_BALLOON_STATS ||
	    memcmp(state->reserved, zero, sizeof(zero)) != 0)
		return error_set(err, EINVAL, "unknown flags");
	if (state->target_pages > pages)
		return error_set(err, EINVAL, "saved with %u pages to be given up of %" PRIu64,
				 state->target_pages, pages);
	if ((state->stats_interval_s != 0) != (balloon->stats_interval_s != 0))
		return error_set(err, EINVAL, "saved %s statistics, made %s",
				 state->stats_interval_s ? "with" : "without",
				 state->stats_interval_s ? "without" : "with them");
	if (state->hint_host_cmd && !(balloon->dev.features & FEATURE(FREE_PAGE_HINT)))
		return error_set(err, EINVAL, "saved with hinting, made without");
	return 0;
}

static int balloon_restore(struct virtio_device *dev, const void *buf, struct error *err)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	const struct virtio_balloon_state *state = buf;
	int r = check_state(balloon, state, err);

	if (r < 0)
		return r;
	balloon->config.num_pages = state->target_pages;
	balloon->config.actual = state->actual_pages;
	balloon->config.free_page_hint_cmd_id = state->hint_host_cmd;
	balloon->hint_last_run = state->hint_last_run;
	balloon->hint_guest_cmd = state->hint_guest_cmd;
	balloon->hint_guest_has_cmd = state->hint_guest_has_cmd;
	balloon->hint_acknowledge = state->hint_acknowledge;
	balloon->stats_interval_s = state->stats_interval_s;
	balloon->stats.present = state->stats_present;
	memcpy(balloon->stats.values, state->stats, sizeof(state->stats));
	return 0;
}

static void balloon_destroy(struct virtio_device *dev)
{
	struct virtio_balloon *balloon = balloon_of(dev);

	loop_remove(dev->loop, &balloon->timer);
	close_fd(&balloon->timer_fd);
	virtio_device_release(dev);
	free(balloon);
}

static const struct virtio_device_ops balloon_ops = {
	.device_id = VIRTIO_ID_BALLOON,
	.kind = "balloon",
	.config_write = balloon_config_write,
	.activate = balloon_activate,
	.process_queue = balloon_process_queue,
	.reset = balloon_reset,
	.state_size = sizeof(struct virtio_balloon_state),
	.save = balloon_save,
	.restore = balloon_restore,
	.destroy = balloon_destroy,
};

static int check_amount(const struct virtio_device *dev, uint32_t mib, struct error *err)
{
	if (mib <= memory_mib(dev))
		return 0;
	return error_set(err, EINVAL, "%u MiB is more than the guest has (%u)", mib,
			 memory_mib(dev));
}

static int start_timer(struct virtio_balloon *balloon, struct error *err)
{
	balloon->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (balloon->timer_fd < 0)
		return error_sys(err, errno, "timerfd_create");
	/* Edges: each expiry is one, and the count needn't be read. */
	return loop_add(balloon->dev.loop, &balloon->timer, balloon->timer_fd, EPOLLIN | EPOLLET,
			on_timer, balloon, err);
}

int virtio_balloon_create(const struct virtio_balloon_options *options, struct guest_memory *memory,
			  struct loop *loop, struct virtio_device **out, struct error *err)
{
	struct virtio_balloon *balloon = calloc(1, sizeof(*balloon));
	uint64_t features = (options->deflate_on_oom ? FEATURE(DEFLATE_ON_OOM) : 0) |
			    (options->stats_interval_s ? FEATURE(STATS_VQ) : 0) |
			    (options->hinting ? FEATURE(FREE_PAGE_HINT) : 0) |
			    (options->reporting ? FEATURE(REPORTING) : 0);
	unsigned int n_queues =
		2 + (options->stats_interval_s > 0) + options->hinting + options->reporting;
	/* Fields behind the first two belong to features. */
	uint32_t config_size =
		options->hinting ? offsetof(struct virtio_balloon_config, poison_val)
				 : offsetof(struct virtio_balloon_config, free_page_hint_cmd_id);
	int r;

	if (!balloon)
		return error_sys(err, ENOMEM, "balloon");
	balloon->timer_fd = -1;
	balloon->stats_interval_s = options->stats_interval_s;
	r = virtio_device_init(&balloon->dev, &balloon_ops, "balloon", memory, loop, features,
			       &balloon->config, config_size, n_queues, VIRTIO_BALLOON_QUEUE_SIZE,
			       err);
	if (r == 0)
		r = check_amount(&balloon->dev, options->amount_mib, err);
	if (r == 0 && options->stats_interval_s > 0)
		r = start_timer(balloon, err);
	if (r < 0) {
		balloon_destroy(&balloon->dev);
		return error_wrap(err, "balloon");
	}
	balloon->config.num_pages = options->amount_mib * (uint32_t)PAGES_PER_MIB;
	*out = &balloon->dev;
	return 0;
}

/* ---- the API's side ---- */

static int check_driver(const struct virtio_device *dev, struct error *err)
{
	if (dev->activated && !dev->needs_reset)
		return 0;
	return error_set(err, ENODEV, "the guest has no driver for it");
}

static int check_feature(const struct virtio_device *dev, uint64_t feature, const char *name,
			 struct error *err)
{
	return dev->features & feature ? 0 : error_set(err, EOPNOTSUPP, "%s not enabled", name);
}

int virtio_balloon_set_amount(struct virtio_device *dev, uint32_t mib, struct error *err)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	int r;

	pthread_mutex_lock(&dev->lock);
	r = check_driver(dev, err);
	if (r == 0)
		r = check_amount(dev, mib, err);
	if (r == 0) {
		balloon->config.num_pages = mib * (uint32_t)PAGES_PER_MIB;
		virtio_device_signal_config(dev);
	}
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "balloon: amount_mib") : 0;
}

int virtio_balloon_set_stats_interval(struct virtio_device *dev, uint16_t seconds,
				      struct error *err)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	int r = 0;

	pthread_mutex_lock(&dev->lock);
	if ((seconds == 0) != (balloon->stats_interval_s == 0))
		r = error_set(err, EINVAL,
			      "statistics can't be turned on or off while the guest runs");
	if (r == 0) {
		balloon->stats_interval_s = seconds;
		if (balloon->stats_held)
			set_timer(balloon, seconds);
	}
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "balloon: stats_polling_interval_s") : 0;
}

int virtio_balloon_get_stats(struct virtio_device *dev, struct virtio_balloon_stats *stats,
			     struct error *err)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	int r;

	pthread_mutex_lock(&dev->lock);
	r = check_feature(dev, FEATURE(STATS_VQ), "statistics are", err);
	*stats = balloon->stats;
	stats->target_pages = balloon->config.num_pages;
	stats->actual_pages = balloon->config.actual;
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "balloon") : 0;
}

void virtio_balloon_get_options(struct virtio_device *dev, struct virtio_balloon_options *options)
{
	struct virtio_balloon *balloon = balloon_of(dev);

	pthread_mutex_lock(&dev->lock);
	*options = (struct virtio_balloon_options){
		.amount_mib = balloon->config.num_pages / (uint32_t)PAGES_PER_MIB,
		.deflate_on_oom = dev->features & FEATURE(DEFLATE_ON_OOM),
		.stats_interval_s = balloon->stats_interval_s,
		.hinting = dev->features & FEATURE(FREE_PAGE_HINT),
		.reporting = dev->features & FEATURE(REPORTING),
	};
	pthread_mutex_unlock(&dev->lock);
}

static int check_hinting(const struct virtio_device *dev, struct error *err)
{
	int r = check_feature(dev, FEATURE(FREE_PAGE_HINT), "hinting is", err);

	return r < 0 ? r : check_driver(dev, err);
}

int virtio_balloon_start_hinting(struct virtio_device *dev, bool acknowledge_on_stop,
				 struct error *err)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	int r;

	pthread_mutex_lock(&dev->lock);
	r = check_hinting(dev, err);
	if (r == 0) {
		/* Each run has a number of its own; 0 and 1 mean something else. */
		balloon->hint_last_run++;
		if (balloon->hint_last_run <= VIRTIO_BALLOON_CMD_ID_DONE)
			balloon->hint_last_run = VIRTIO_BALLOON_CMD_ID_DONE + 1;
		balloon->hint_acknowledge = acknowledge_on_stop;
		balloon_set_hint_cmd(balloon, balloon->hint_last_run);
	}
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "balloon") : 0;
}

int virtio_balloon_stop_hinting(struct virtio_device *dev, struct error *err)
{
	int r;

	pthread_mutex_lock(&dev->lock);
	r = check_hinting(dev, err);
	if (r == 0)
		balloon_set_hint_cmd(balloon_of(dev), VIRTIO_BALLOON_CMD_ID_DONE);
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "balloon") : 0;
}

int virtio_balloon_get_hinting(struct virtio_device *dev, struct virtio_balloon_hinting *status,
			       struct error *err)
{
	struct virtio_balloon *balloon = balloon_of(dev);
	int r;

	pthread_mutex_lock(&dev->lock);
	r = check_feature(dev, FEATURE(FREE_PAGE_HINT), "hinting is", err);
	*status = (struct virtio_balloon_hinting){
		.host_cmd = balloon->config.free_page_hint_cmd_id,
		.guest_cmd = balloon->hint_guest_cmd,
		.guest_has_cmd = balloon->hint_guest_has_cmd,
	};
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "balloon") : 0;
}

struct virtio_balloon_counters virtio_balloon_counters(struct virtio_device *dev)
{
	struct virtio_balloon_counters counters;

	pthread_mutex_lock(&dev->lock);
	counters = balloon_of(dev)->counters;
	pthread_mutex_unlock(&dev->lock);
	return counters;
}
