/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/blk.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/eventfd.h>

#include "devices/virtio/blk_internal.h"
#include "vmm/log.h"

/* Each request has a header and a status besides its data. */
#define SEG_MAX (VIRTIO_BLK_QUEUE_SIZE - 2)
/* One call of the event loop takes so much from the queue, then others get their turn. */
#define BUDGET_REQUESTS 64
#define BUDGET_BYTES	(4 * MIB)

#define MAX_PHYSICAL_BLOCK_EXP 3

/* Up to and with the fields of VIRTIO_BLK_F_WRITE_ZEROES. */
#define CONFIG_SIZE (offsetof(struct virtio_blk_config, unused1) + 3)

static struct virtio_blk *to_blk(struct virtio_device *dev)
{
	return CONTAINER_OF(dev, struct virtio_blk, dev);
}

struct budget {
	unsigned int requests;
	uint64_t bytes;
};

/* Returns false if the budget ended before the queue or the rate limit did. */
static bool take_requests(struct virtio_blk *blk, struct budget *budget)
{
	struct blk_slot *slot;

	while (budget->requests > 0 && budget->bytes > 0) {
		slot = blk_slot_get(blk);
		if (!slot) {
			blk->starved = true;
			return true;
		}
		if (virtio_device_pop(&blk->dev, 0, &slot->chain) <= 0) {
			blk_slot_put(blk, slot);
			return true;
		}
		uint64_t bytes = (uint64_t)slot->chain.readable_len + slot->chain.writable_len;

		if (!blk_handle(blk, slot))
			return true;
		budget->requests--;
		budget->bytes -= bytes < budget->bytes ? bytes : budget->bytes;
	}
	return false;
}

static void signal_used(struct virtio_blk *blk)
{
	if (blk->pushed)
		virtio_device_signal_used(&blk->dev, 0);
	blk->pushed = false;
}

static void blk_process_queue(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_blk *blk = to_blk(dev);
	struct budget budget = { BUDGET_REQUESTS, BUDGET_BYTES };

	/* Kicks stay disabled: the limiter's timer comes. */
	if (rate_limiter_throttled(blk->limiter))
		return;
	blk->starved = false;
	do {
		virtqueue_disable_kicks(&dev->queues[queue]);
		if (!take_requests(blk, &budget)) {
			/* Kicks stay disabled: we come again by ourselves. */
			virtio_device_kick(dev, queue);
			break;
		}
	} while (!blk->starved && !dev->needs_reset && !rate_limiter_throttled(blk->limiter) &&
		 virtqueue_enable_kicks(&dev->queues[queue]));
	disk_kick(&blk->disk);
	signal_used(blk);
}

static void on_disk_event(struct loop_source *source, uint32_t events)
{
	struct virtio_blk *blk = source->owner;
	struct virtio_device *dev = &blk->dev;

	(void)events;
	pthread_mutex_lock(&dev->lock);
	disk_reap(&blk->disk);
	signal_used(blk);
	if (blk->starved && dev->activated)
		blk_process_queue(dev, 0);
	pthread_mutex_unlock(&dev->lock);
}

static void on_limit_over(void *owner)
{
	struct virtio_device *dev = owner;

	if (dev->activated && !dev->needs_reset)
		blk_process_queue(dev, 0);
}

static struct rate_limiter_user limiter_user(struct virtio_device *dev)
{
	return (struct rate_limiter_user){ dev->loop, &dev->lock, on_limit_over, dev };
}

static int set_limits(struct virtio_blk *blk, const struct rate_limits *limits, struct error *err)
{
	struct rate_limiter_user user = limiter_user(&blk->dev);

	return rate_limiter_set(&blk->limiter, limits, &user, err);
}

static int blk_activate(struct virtio_device *dev, struct error *err)
{
	(void)dev;
	(void)err;
	return 0;
}

static void blk_reset(struct virtio_device *dev)
{
	struct virtio_blk *blk = to_blk(dev);

	/* The driver has no use for results: so little is done here as this may be a vCPU's thread. */
	blk->dropping = true;
	disk_cancel(&blk->disk);
	blk->dropping = false;
	blk->starved = blk->pushed = false;
	blk_slots_reset(blk);
}

static void blk_save(struct virtio_device *dev, void *state)
{
	struct virtio_blk *blk = to_blk(dev);
	struct virtio_blk_state *s = state;

	disk_drain(&blk->disk);
	signal_used(blk);
	/* From here on nothing is touched until process_queue is called again. */
	rate_limiter_disarm(blk->limiter);
	*s = (struct virtio_blk_state){ .capacity = blk->config.capacity,
					.read_only = blk->read_only,
					.physical_block_exp = blk->config.physical_block_exp };
	rate_limiter_save(blk->limiter, &s->limiter);
}

static void set_physical_block(struct virtio_blk *blk, uint8_t exp)
{
	blk->config.physical_block_exp = exp;
	blk->config.min_io_size = (uint16_t)(1u << exp);
}

static int blk_restore(struct virtio_device *dev, const void *state, struct error *err)
{
	static const uint8_t zero[sizeof(((struct virtio_blk_state *)0)->reserved)];
	struct virtio_blk *blk = to_blk(dev);
	const struct virtio_blk_state *s = state;
	uint64_t sectors = blk->disk.size / DISK_SECTOR_SIZE;
	struct rate_limiter_user user = limiter_user(dev);

	if (s->capacity == 0 || s->read_only > 1 ||
	    s->physical_block_exp > MAX_PHYSICAL_BLOCK_EXP ||
	    memcmp(s->reserved, zero, sizeof(zero)) != 0)
		return error_set(err, EINVAL, "saved state can't be");
	if (s->read_only != blk->read_only)
		return error_set(err, EINVAL, "%s in the snapshot, %s in the configuration",
				 s->read_only ? "read-only" : "writable",
				 s->read_only ? "writable" : "read-only");
	/* One that has grown is fine: the guest goes on with the size that it knows. */
	if (s->capacity > sectors)
		return error_set(err, EINVAL,
				 "the disk has %" PRIu64
				 " sectors, in the snapshot it had %" PRIu64,
				 sectors, s->capacity);
	int rc = rate_limiter_restore(&blk->limiter, &s->limiter, &user, err);

	if (rc < 0)
		return rc;
	blk->config.capacity = s->capacity;
	set_physical_block(blk, s->physical_block_exp);
	return 0;
}

static void blk_destroy(struct virtio_device *dev)
{
	struct virtio_blk *blk = to_blk(dev);

	rate_limiter_destroy(blk->limiter);
	loop_remove(dev->loop, &blk->source);
	blk->dropping = true;
	disk_close(&blk->disk);
	close_fd(&blk->event_fd);
	if (blk->slots)
		munmap(blk->slots, BLK_SLOTS_SIZE);
	virtio_device_release(dev);
	free(blk);
}

static const struct virtio_device_ops blk_ops = {
	.device_id = VIRTIO_ID_BLOCK,
	.kind = "drive",
	.activate = blk_activate,
	.process_queue = blk_process_queue,
	.reset = blk_reset,
	.state_size = sizeof(struct virtio_blk_state),
	.save = blk_save,
	.restore = blk_restore,
	.destroy = blk_destroy,
};

static uint64_t offered_features(const struct virtio_blk_options *options)
{
	uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
			    1ull << VIRTIO_BLK_F_TOPOLOGY;

	if (options->read_only)
		features |= 1ull << VIRTIO_BLK_F_RO;
	else
		features |= 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	if (options->writeback)
		features |= 1ull << VIRTIO_BLK_F_FLUSH;
	return features;
}

static void fill_config(struct virtio_blk *blk)
{
	blk->config = (struct virtio_blk_config){
		.capacity = blk->disk.size / DISK_SECTOR_SIZE,
		.seg_max = SEG_MAX,
		.blk_size = DISK_SECTOR_SIZE,
	};
	set_physical_block(blk,
			   (uint8_t)__builtin_ctz(blk->disk.physical_block / DISK_SECTOR_SIZE));
	if (blk->read_only)
		return;
	blk->config.max_discard_sectors = BLK_MAX_DISCARD_SECTORS;
	blk->config.max_discard_seg = 1;
	blk->config.discard_sector_alignment = 1;
	blk->config.max_write_zeroes_sectors = BLK_MAX_WRITE_ZEROES_SECTORS;
	blk->config.max_write_zeroes_seg = 1;
	blk->config.write_zeroes_may_unmap = 1;
}

static struct disk_options disk_options(struct virtio_blk *blk, const char *path)
{
	return (struct disk_options){ .path = path,
				      .name = blk->dev.id,
				      .read_only = blk->read_only,
				      .engine = blk->engine,
				      .start_thread = blk->start_thread,
				      .thread_rules = blk->thread_rules,
				      .event_fd = blk->event_fd,
				      .done = blk_request_done,
				      .owner = blk };
}

/* Everything but the common part. What's acquired is released by blk_destroy() in any case. */
static int acquire(struct virtio_blk *blk, const char *path, struct error *err)
{
	struct disk_options options;
	void *slots;
	int rc;

	blk->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (blk->event_fd < 0)
		return error_sys(err, errno, "eventfd");
	options = disk_options(blk, path);
	rc = disk_open(&blk->disk, &options, err);
	if (rc < 0)
		return rc;
	slots = mmap(NULL, BLK_SLOTS_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slots == MAP_FAILED)
		return error_sys(err, errno, "map requests");
	blk->slots = slots;
	/* It would fit into one huge page, of which hardly any is ever used. */
	madvise(slots, BLK_SLOTS_SIZE, MADV_NOHUGEPAGE);
	/* Edges: each completion is one, and the counter needn't be read. */
	return loop_add(blk->dev.loop, &blk->source, blk->event_fd, EPOLLIN | EPOLLET, on_disk_event,
			blk, err);
}

int virtio_blk_create(const struct virtio_blk_options *options, struct guest_memory *memory,
		      struct loop *loop, struct virtio_device **out, struct error *err)
{
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int rc;

	if (!blk)
		return error_sys(err, ENOMEM, "drive \"%s\": allocate", options->id);
	blk->disk.fd = blk->event_fd = -1;
	blk->free_slot = BLK_NO_SLOT;
	blk->read_only = options->read_only;
	blk->engine = options->engine;
	blk->start_thread = options->start_thread;
	blk->thread_rules = options->thread_rules;
	memcpy(blk->serial, options->id, strnlen(options->id, sizeof(blk->serial)));
	rc = virtio_device_init(&blk->dev, &blk_ops, options->id, memory, loop,
				offered_features(options), &blk->config, CONFIG_SIZE, 1,
				VIRTIO_BLK_QUEUE_SIZE, err);
	if (rc == 0) {
		rc = acquire(blk, options->path, err);
		if (rc == 0)
			rc = set_limits(blk, &options->limits, err);
		if (rc < 0)
			error_wrap(err, "drive \"%s\"", options->id);
	}
	if (rc < 0) {
		blk_destroy(&blk->dev);
		return rc;
	}
	fill_config(blk);
	*out = &blk->dev;
	return 0;
}

int virtio_blk_change_path(struct virtio_device *dev, const char *path, struct error *err)
{
	struct virtio_blk *blk = to_blk(dev);
	struct disk_options options = disk_options(blk, path);
	int rc;

	pthread_mutex_lock(&dev->lock);
	rc = disk_reopen(&blk->disk, &options, err);
	signal_used(blk);
	/* There's nothing left in flight whose end would make up for a lack of slots. */
	if (blk->starved)
		virtio_device_kick(dev, 0);
	if (rc == 0) {
		blk->config.capacity = blk->disk.size / DISK_SECTOR_SIZE;
		blk->error_logged = false; /* what the old image had is over */
		blk->counters.updates++;
		virtio_device_signal_config(dev);
	} else {
		error_wrap(err, "drive \"%s\"", dev->id);
		blk->counters.update_failures++;
	}
	pthread_mutex_unlock(&dev->lock);
	return rc;
}

int virtio_blk_set_limits(struct virtio_device *dev, const struct rate_limits *limits,
			  struct error *err)
{
	struct virtio_blk *blk = to_blk(dev);

	pthread_mutex_lock(&dev->lock);
	int rc = set_limits(blk, limits, err);

	pthread_mutex_unlock(&dev->lock);
	return rc < 0 ? error_wrap(err, "drive \"%s\"", dev->id) : 0;
}

struct rate_limiter_counters virtio_blk_limiter_counters(const struct virtio_device *dev)
{
	return rate_limiter_counters(CONTAINER_OF(dev, struct virtio_blk, dev)->limiter);
}

const struct virtio_blk_counters *virtio_blk_counters(const struct virtio_device *dev)
{
	return &CONTAINER_OF(dev, struct virtio_blk, dev)->counters;
}
