/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: the memory balloon. What it gives back to the host must be marked as written. */
#include <linux/virtio_balloon.h>

#include "devices/virtio/balloon.h"
#include "hostile_guest.h"
#include "machine.h"
#include "vmm/util.h"

#define SECOND 1000000000ull

static struct virtio_device *create(struct hostile_guest *g)
{
	const struct virtio_balloon_options options = {
		.deflate_on_oom = g->options & 1,
		.stats_interval_s = g->options & 2 ? 1 : 0,
		.hinting = g->options & 4,
		.reporting = g->options & 8,
	};
	struct virtio_device *device;

	return virtio_balloon_create(&options, &g->memory, &g->loop, &device, NULL) < 0 ? NULL
											: device;
}

/* What the API asks for, at any time. */
static void host_event(struct hostile_guest *g)
{
	struct virtio_balloon_options options;
	struct virtio_balloon_hinting status;
	struct virtio_balloon_stats stats;
	uint8_t how = input_u8(&g->in);

	switch (how % 8) {
	case 0:
		virtio_balloon_set_amount(g->device, input_u32(&g->in), NULL);
		break;
	case 1:
		virtio_balloon_set_amount(g->device, 0, NULL);
		break;
	case 2:
		virtio_balloon_set_stats_interval(g->device, how / 8, NULL);
		break;
	case 3:
		virtio_balloon_start_hinting(g->device, how & 8, NULL);
		break;
	case 4:
		virtio_balloon_stop_hinting(g->device, NULL);
		break;
	default:
		machine_pass(how / 8 * SECOND);
		break;
	}
	virtio_balloon_get_options(g->device, &options);
	must(options.amount_mib <= guest_memory_size(&g->memory) / MIB);
	if (virtio_balloon_get_stats(g->device, &stats, NULL) == 0)
		must(stats.present >> VIRTIO_BALLOON_STATS == 0);
	if (virtio_balloon_get_hinting(g->device, &status, NULL) == 0)
		must(status.guest_has_cmd || status.guest_cmd == 0);
}

/* Page numbers, statistics, or a hinting run's number, of which the next one is a good guess. */
static size_t header(struct hostile_guest *g, unsigned int queue, uint8_t *bytes)
{
	uint8_t how = input_u8(&g->in);
	uint32_t words[GUEST_HEADER_MAX / 4];
	struct virtio_balloon_stat stat;
	unsigned int n = how % ARRAY_SIZE(words) + 1;

	if (queue >= 2 && how & 0x80) {
		stat = (struct virtio_balloon_stat){ input_u8(&g->in), input_u64(&g->in) };
		memcpy(bytes, &stat, sizeof(stat));
		return sizeof(stat);
	}
	if (queue >= 2) {
		words[0] = how % 8;
		memcpy(bytes, words, 4);
		return how & 0x40 ? 3 : 4;
	}
	words[0] = how & 0x40 ? input_u32(&g->in) : input_u8(&g->in);
	for (unsigned int i = 1; i < n; i++)
		words[i] = words[0] + (how & 0x20 ? i : input_u8(&g->in));
	memcpy(bytes, words, 4 * n);
	return 4 * n - (how & 0x10 ? 1 : 0);
}

/* Inflating and deflating wait for nothing, and statistics only for time. */
static void settled(struct hostile_guest *g)
{
	hostile_guest_all_taken(g, 0);
	hostile_guest_all_taken(g, 1);
	machine_pass(UINT16_MAX * SECOND);
	machine_settle(&g->loop);
}

static const struct hostile_device balloon = {
	.create = create,
	.host_event = host_event,
	.header = header,
	.settled = settled,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	hostile_guest_run(&balloon, data, size);
	return 0;
}
