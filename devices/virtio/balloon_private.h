/* SPDX-License-Identifier: Apache-2.0 */
/* What balloon.c and balloon_pages.c share. dev.lock protects all of it. */
#ifndef MOTE_DEVICES_VIRTIO_BALLOON_PRIVATE_H
#define MOTE_DEVICES_VIRTIO_BALLOON_PRIVATE_H

#include <linux/virtio_balloon.h>

#include "devices/virtio/balloon.h"
#include "vmm/util.h"

/* What a queue is for. Which one it is depends on what the driver acked. */
enum balloon_queue {
	BALLOON_NONE,
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS,
	BALLOON_HINTS,
	BALLOON_REPORTS,
};

struct virtio_balloon {
	struct virtio_device dev;
	struct virtio_balloon_config config;
	struct virtio_balloon_counters counters;
	enum balloon_queue queues[VIRTIO_QUEUES_MAX];
	bool failure_logged;

	/* The driver's statistics buffer stays here until it's time for the next ones (§5.5.6.3). */
	uint16_t stats_interval_s; /* 0 = without statistics, and without timer */
	int timer_fd;
	struct loop_source timer;
	bool stats_held;
	uint16_t stats_head;
	struct virtio_balloon_stats stats;

	uint32_t hint_last_run;
	uint32_t hint_guest_cmd;
	bool hint_guest_has_cmd;
	bool hint_acknowledge;
};

static inline struct virtio_balloon *balloon_of(struct virtio_device *dev)
{
	return CONTAINER_OF(dev, struct virtio_balloon, dev);
}

/* Tell the driver which hinting run it is, or that it's over. */
void balloon_set_hint_cmd(struct virtio_balloon *balloon, uint32_t cmd);

/* Do with a chain of the queue what it's for. Returns how often the host was called. */
unsigned int balloon_inflate(struct virtio_balloon *balloon, const struct virtqueue_chain *chain);
unsigned int balloon_report(struct virtio_balloon *balloon, const struct virtqueue_chain *chain);
unsigned int balloon_hint(struct virtio_balloon *balloon, const struct virtqueue_chain *chain);

#endif
