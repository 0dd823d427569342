/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/rng.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include <linux/virtio_ids.h>

#include "vmm/log.h"
#include "vmm/util.h"

/* What one round of the event loop spends on entropy, about half a millisecond. */
#define ROUND_REQUESTS VIRTIO_RNG_QUEUE_SIZE
#define ROUND_BYTES    (4 * VIRTIO_RNG_REQUEST_MAX)

struct virtio_rng {
	struct virtio_device dev;
	struct virtio_rng_counters counters;
	struct rate_limiter *limiter; /* NULL = without limits */
	bool failure_logged;
};

static struct virtio_rng *to_rng(struct virtio_device *dev)
{
	return CONTAINER_OF(dev, struct virtio_rng, dev);
}

/*
 * Fill up to len bytes at dst. Returns how many: all of them but for a host whose generator isn't
 * seeded yet, which nobody here waits for.
 */
static size_t fill(struct virtio_rng *rng, uint8_t *dst, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = getrandom(dst + done, len - done, GRND_NONBLOCK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (!rng->failure_logged)
				log_warn("entropy \"%s\": getrandom: %s (logged once)", rng->dev.id,
					 strerrordesc_np(n < 0 ? errno : EIO));
			rng->failure_logged = true;
			break;
		}
		done += (size_t)n;
	}
	guest_memory_mark_dirty(rng->dev.memory, dst, done);
	return done;
}

static uint32_t wanted(const struct virtqueue_chain *chain)
{
	return chain->writable_len < VIRTIO_RNG_REQUEST_MAX ? chain->writable_len
							    : VIRTIO_RNG_REQUEST_MAX;
}

/* Returns the bytes written, at most VIRTIO_RNG_REQUEST_MAX. */
static uint32_t answer(struct virtio_rng *rng, const struct virtqueue_chain *chain)
{
	const struct iovec *iov = &chain->iov[chain->n_readable];
	size_t left = VIRTIO_RNG_REQUEST_MAX, written = 0;

	for (unsigned int i = 0; i < chain->n_writable && left > 0; i++) {
		size_t len = iov[i].iov_len < left ? iov[i].iov_len : left;
		size_t done = fill(rng, iov[i].iov_base, len);

		written += done;
		left -= len;
		if (done < len)
			break;
	}
	return (uint32_t)written;
}

static void rng_process_queue(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_rng *rng = to_rng(dev);
	struct virtqueue_chain chain;
	unsigned int requests = 0;
	size_t bytes = 0;

	while (requests < ROUND_REQUESTS && bytes < ROUND_BYTES &&
	       !rate_limiter_throttled(rng->limiter) &&
	       virtio_device_pop(dev, queue, &chain) == 1) {
		if (!rate_limiter_allows(rng->limiter, wanted(&chain))) {
			virtqueue_unpop(&dev->queues[queue], &chain.head, 1);
			break;
		}
		uint32_t written = answer(rng, &chain);

		rate_limiter_charge(rng->limiter, written);
		/* §5.4.6.1 wants a byte at least, but to keep the buffer would help nobody. */
		virtqueue_push(&dev->queues[queue], chain.head, written);
		requests++;
		bytes += written;
		rng->counters.errors += written == 0;
	}
	rng->counters.requests += requests;
	rng->counters.bytes += bytes;
	virtio_device_signal_used(dev, queue);
	if (requests == ROUND_REQUESTS || bytes >= ROUND_BYTES)
		virtio_device_kick(dev, queue);
}

static void on_limit_over(void *owner)
{
	struct virtio_device *dev = owner;

	if (dev->activated && !dev->needs_reset)
		rng_process_queue(dev, 0);
}

static struct rate_limiter_user limiter_user(struct virtio_device *dev)
{
	return (struct rate_limiter_user){ dev->loop, &dev->lock, on_limit_over, dev };
}

static int rng_activate(struct virtio_device *dev, struct error *err)
{
	(void)dev;
	(void)err;
	return 0;
}

/* Nothing is ever in flight between two callbacks. */
static void rng_reset(struct virtio_device *dev)
{
	(void)dev;
}

static void rng_save(struct virtio_device *dev, void *state)
{
	struct virtio_rng *rng = to_rng(dev);

	/* From here on nothing is touched until process_queue is called again. */
	rate_limiter_disarm(rng->limiter);
	rate_limiter_save(rng->limiter, &((struct virtio_rng_state *)state)->limiter);
}

static int rng_restore(struct virtio_device *dev, const void *state, struct error *err)
{
	const struct virtio_rng_state *s = state;
	struct rate_limiter_user user = limiter_user(dev);

	return rate_limiter_restore(&to_rng(dev)->limiter, &s->limiter, &user, err);
}

static void rng_destroy(struct virtio_device *dev)
{
	rate_limiter_destroy(to_rng(dev)->limiter);
	virtio_device_release(dev);
	free(to_rng(dev));
}

static const struct virtio_device_ops rng_ops = {
	.device_id = VIRTIO_ID_RNG,
	.kind = "entropy",
	.activate = rng_activate,
	.process_queue = rng_process_queue,
	.reset = rng_reset,
	.state_size = sizeof(struct virtio_rng_state),
	.save = rng_save,
	.restore = rng_restore,
	.destroy = rng_destroy,
};

int virtio_rng_create(const char *id, struct guest_memory *memory, struct loop *loop,
		      struct virtio_device **out, struct error *err)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));

	if (!rng)
		return error_sys(err, ENOMEM, "entropy \"%s\": allocate", id);

	int r = virtio_device_init(&rng->dev, &rng_ops, id, memory, loop, 0, NULL, 0, 1,
				   VIRTIO_RNG_QUEUE_SIZE, err);
	if (r < 0) {
		rng_destroy(&rng->dev);
		return r;
	}
	*out = &rng->dev;
	return 0;
}

int virtio_rng_set_limits(struct virtio_device *dev, const struct rate_limits *limits,
			  struct error *err)
{
	struct rate_limiter_user user = limiter_user(dev);

	pthread_mutex_lock(&dev->lock);
	int r = rate_limiter_set(&to_rng(dev)->limiter, limits, &user, err);

	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? error_wrap(err, "entropy \"%s\"", dev->id) : 0;
}

struct rate_limiter_counters virtio_rng_limiter_counters(struct virtio_device *dev)
{
	return rate_limiter_counters(to_rng(dev)->limiter);
}

struct virtio_rng_counters virtio_rng_counters(struct virtio_device *dev)
{
	struct virtio_rng_counters counters;

	pthread_mutex_lock(&dev->lock);
	counters = to_rng(dev)->counters;
	pthread_mutex_unlock(&dev->lock);
	return counters;
}
