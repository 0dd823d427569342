/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device that does nothing but count what the core asks of it, and misbehaves on request.
 * For tests of the core itself.
 */
#ifndef MOTE_TESTS_VIRTIO_PROBE_H
#define MOTE_TESTS_VIRTIO_PROBE_H

#include <stdint.h>

#include "virtio_driver.h"

#define PROBE_DEVICE_ID	  42
#define PROBE_CONFIG_SIZE 12
#define PROBE_FEATURES	  (1ull << 5)

struct probe_state {
	uint64_t value; /* restore refuses 0 */
};

struct virtio_probe {
	struct virtio_device dev;
	uint8_t config[PROBE_CONFIG_SIZE];
	struct probe_state state;
	unsigned int activations, resets, config_writes;
	unsigned int processed[VIRTIO_QUEUES_MAX];
	uint32_t write_offset;
	unsigned int write_len;
	uint8_t write_data[8];
	int *destroyed; /* counted there: the probe is gone */

	/* What to do instead of nothing. */
	int activate_result;
	void (*on_process)(struct virtio_probe *probe, unsigned int queue);
	void (*on_reset)(struct virtio_probe *probe);
	void (*on_save)(struct virtio_probe *probe);
};

/* A driver and a probe behind its transport; flags: 0, or PROBE_READ_ONLY_CONFIG. */
#define PROBE_READ_ONLY_CONFIG 1
struct virtio_probe *probe_new(struct virtio_driver *drv, unsigned int n_queues, uint16_t size,
			       unsigned int flags);
static inline struct virtio_probe *probe_attach(struct virtio_driver *drv, unsigned int n_queues,
						uint16_t size, unsigned int flags)
{
	struct virtio_probe *probe = probe_new(drv, n_queues, size, flags);

	driver_attach(drv, &probe->dev);
	return probe;
}

#define PROBE_QUEUE_SIZE 8

/* For tests of the transport: a driver and a probe with two queues, nothing negotiated yet. */
struct probe_fixture {
	struct virtio_driver drv;
	struct virtio_probe *probe;
	int destroyed;
};

/* cmocka set-up and tear-down; *state becomes a struct probe_fixture *. */
int probe_setup(void **state);
int probe_teardown(void **state); /* fails if the probe isn't destroyed once */

#define PROBE_TEST(name) cmocka_unit_test_setup_teardown(name, probe_setup, probe_teardown)

/* A behaviour (on_process): return everything with 16 bytes written, and interrupt. */
void probe_echo(struct virtio_probe *probe, unsigned int queue);
/* Another: take one chain and keep it. */
void probe_hold(struct virtio_probe *probe, unsigned int queue);

/* For tests of a queue alone: a probe with one started queue. */
struct queue_fixture {
	struct virtio_driver drv;
	struct virtqueue *queue;
	uint64_t buffer; /* 4 KiB of guest memory */
	struct virtqueue_chain chain;
};

/* cmocka set-up functions; *state becomes a struct queue_fixture *. */
int queue_setup(void **state);
int queue_setup_plain(void **state);   /* neither INDIRECT_DESC nor EVENT_IDX */
int queue_setup_largest(void **state); /* VIRTQUEUE_SIZE_MAX descriptors */
int queue_teardown(void **state);

#define QUEUE_TEST(name) cmocka_unit_test_setup_teardown(name, queue_setup, queue_teardown)
#define QUEUE_TEST_PLAIN(name)                                                                     \
	cmocka_unit_test_setup_teardown(name, queue_setup_plain, queue_teardown)
#define QUEUE_TEST_LARGEST(name)                                                                   \
	cmocka_unit_test_setup_teardown(name, queue_setup_largest, queue_teardown)

/* The next pop finds the queue broken for this reason, and so does every later one. */
void queue_assert_breaks(struct queue_fixture *f, const char *reason);

#endif
