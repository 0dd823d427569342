/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio memory balloon (virtio 1.2 §5.5): the driver gives pages up when it's asked to, tells of
 * those that are free anyway (reporting, and hinting on demand), and says how its memory is used.
 * Pages given up go back to the host, and come back as zeroes when the guest touches them.
 *
 * Offered by the options alone: DEFLATE_ON_OOM, STATS_VQ, FREE_PAGE_HINT, REPORTING. Not offered:
 * MUST_TELL_HOST, as a page may be used again at any time; PAGE_POISON, as pages come back as zeroes
 * whatever the driver's pattern is.
 *
 * A guest whose driver reuses hinted pages before the device has seen the hint loses their content
 * (Linux under memory pressure): hinting is for times when the guest is known to have free memory.
 */
#ifndef MOTE_DEVICES_VIRTIO_BALLOON_H
#define MOTE_DEVICES_VIRTIO_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/device.h"

#define VIRTIO_BALLOON_QUEUE_SIZE 256
#define VIRTIO_BALLOON_STATS	  16 /* tags 0 to 15, those of Linux 6.12's driver */

struct virtio_balloon_options {
	uint32_t amount_mib; /* to be given up from the start; at most the guest's memory */
	bool deflate_on_oom; /* the guest may take pages back rather than kill its processes */
	uint16_t stats_interval_s; /* 0 = no statistics */
	bool hinting;
	bool reporting;
};

/* Errors: -EINVAL for an amount beyond the guest's memory; -ENOMEM, eventfd(2), timerfd_create(2). */
int virtio_balloon_create(const struct virtio_balloon_options *options, struct guest_memory *memory,
			  struct loop *loop, struct virtio_device **out, struct error *err);

/*
 * What the API does. From any thread. Errors: -ENODEV while the guest has no driver for it, of those
 * that tell it something; -EOPNOTSUPP for what the options left out; -EINVAL for values.
 */

/* How much the guest is to give up from now on. It's told, and does what it can. */
int virtio_balloon_set_amount(struct virtio_device *dev, uint32_t mib, struct error *err);
/* Statistics come every so many seconds, 1 or more, if they came before; 0 only if they didn't. */
int virtio_balloon_set_stats_interval(struct virtio_device *dev, uint16_t seconds,
				      struct error *err);

struct virtio_balloon_stats {
	uint32_t target_pages; /* of 4 KiB: what the guest is to give up */
	uint32_t actual_pages; /* what it says that it has given up */
	uint32_t present;      /* bit t: the guest's last statistics had tag t (§5.5.6.3) */
	uint64_t values[VIRTIO_BALLOON_STATS];
};
int virtio_balloon_get_stats(struct virtio_device *dev, struct virtio_balloon_stats *stats,
			     struct error *err);
/* What stands in the configuration now. */
void virtio_balloon_get_options(struct virtio_device *dev, struct virtio_balloon_options *options);

/*
 * Ask for hints: the guest hands out what is free, and keeps its hands off it until the run is
 * stopped, here or (acknowledge_on_stop) when it has told of all.
 */
int virtio_balloon_start_hinting(struct virtio_device *dev, bool acknowledge_on_stop,
				 struct error *err);
int virtio_balloon_stop_hinting(struct virtio_device *dev, struct error *err);

struct virtio_balloon_hinting {
	uint32_t host_cmd;  /* 0 = never asked, 1 = done, else the run's number */
	uint32_t guest_cmd; /* what the guest said last, of the same numbers */
	bool guest_has_cmd; /* it said something */
};
int virtio_balloon_get_hinting(struct virtio_device *dev, struct virtio_balloon_hinting *status,
			       struct error *err);

struct virtio_balloon_counters {
	uint64_t inflations, deflations; /* chains */
	uint64_t stats_updates, stats_failures;
	uint64_t reports, report_freed, report_failures; /* chains, bytes, ranges */
	uint64_t hints, hint_freed, hint_failures;
	uint64_t failures; /* pages that aren't RAM, and those that the host didn't take back */
};
/* From any thread. */
struct virtio_balloon_counters virtio_balloon_counters(struct virtio_device *dev);

struct virtio_balloon_state {
	uint32_t target_pages, actual_pages;
	uint32_t hint_host_cmd, hint_last_run, hint_guest_cmd;
	uint8_t hint_guest_has_cmd, hint_acknowledge; /* 0 or 1 */
	uint16_t stats_interval_s;
	uint32_t stats_present;
	uint8_t reserved[4];
	uint64_t stats[VIRTIO_BALLOON_STATS];
};

#endif
