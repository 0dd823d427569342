/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio_probe.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/util.h"

static struct virtio_probe *to_probe(struct virtio_device *dev)
{
	return CONTAINER_OF(dev, struct virtio_probe, dev);
}

static void probe_config_write(struct virtio_device *dev, uint32_t offset, const uint8_t *data,
			       unsigned int len)
{
	struct virtio_probe *probe = to_probe(dev);

	probe->config_writes++;
	probe->write_offset = offset;
	probe->write_len = len;
	memcpy(probe->write_data, data, len);
}

static int probe_activate(struct virtio_device *dev, struct error *err)
{
	struct virtio_probe *probe = to_probe(dev);

	probe->activations++;
	if (probe->activate_result < 0)
		return error_sys(err, -probe->activate_result, "backend");
	return 0;
}

static void probe_process_queue(struct virtio_device *dev, unsigned int queue)
{
	struct virtio_probe *probe = to_probe(dev);

	probe->processed[queue]++;
	if (probe->on_process)
		probe->on_process(probe, queue);
}

static void probe_reset(struct virtio_device *dev)
{
	struct virtio_probe *probe = to_probe(dev);

	probe->resets++;
	if (probe->on_reset)
		probe->on_reset(probe);
}

static void probe_save(struct virtio_device *dev, void *state)
{
	struct virtio_probe *probe = to_probe(dev);

	if (probe->on_save)
		probe->on_save(probe);
	memcpy(state, &probe->state, sizeof(probe->state));
}

static int probe_restore(struct virtio_device *dev, const void *state, struct error *err)
{
	struct virtio_probe *probe = to_probe(dev);
	struct probe_state copy;

	memcpy(&copy, state, sizeof(copy));
	if (copy.value == 0)
		return error_set(err, EINVAL, "value 0");
	probe->state = copy;
	return 0;
}

static void probe_destroy(struct virtio_device *dev)
{
	struct virtio_probe *probe = to_probe(dev);

	if (probe->destroyed)
		(*probe->destroyed)++;
	virtio_device_release(dev);
	free(probe);
}

#define PROBE_OPS                                                                                  \
	.device_id = PROBE_DEVICE_ID, .kind = "probe", .activate = probe_activate,                 \
	.process_queue = probe_process_queue, .reset = probe_reset,                                \
	.state_size = sizeof(struct probe_state), .save = probe_save, .restore = probe_restore,    \
	.destroy = probe_destroy

static const struct virtio_device_ops probe_ops = {
	PROBE_OPS,
	.config_write = probe_config_write,
};
static const struct virtio_device_ops probe_ops_read_only = { PROBE_OPS };

struct virtio_probe *probe_new(struct virtio_driver *drv, unsigned int n_queues, uint16_t size,
			       unsigned int flags)
{
	struct virtio_probe *probe = calloc(1, sizeof(*probe));
	const struct virtio_device_ops *ops =
		flags & PROBE_READ_ONLY_CONFIG ? &probe_ops_read_only : &probe_ops;

	assert_non_null(probe);
	for (unsigned int i = 0; i < PROBE_CONFIG_SIZE; i++)
		probe->config[i] = (uint8_t)(0xa0 + i);
	probe->state.value = 7;
	assert_int_equal(virtio_device_init(&probe->dev, ops, "p0", &drv->memory, &drv->loop,
					    PROBE_FEATURES, probe->config, PROBE_CONFIG_SIZE,
					    n_queues, size, NULL),
			 0);
	return probe;
}

int probe_setup(void **state)
{
	static struct probe_fixture f;

	f.destroyed = 0;
	driver_setup(&f.drv);
	f.probe = probe_attach(&f.drv, 2, PROBE_QUEUE_SIZE, 0);
	f.probe->destroyed = &f.destroyed;
	*state = &f;
	return 0;
}

int probe_teardown(void **state)
{
	struct probe_fixture *f = *state;

	driver_teardown(&f->drv);
	return f->destroyed == 1 ? 0 : -1;
}

void probe_echo(struct virtio_probe *probe, unsigned int queue)
{
	struct virtqueue_chain chain;

	while (virtio_device_pop(&probe->dev, queue, &chain) == 1)
		virtqueue_push(&probe->dev.queues[queue], chain.head, 16);
	virtio_device_signal_used(&probe->dev, queue);
}

void probe_hold(struct virtio_probe *probe, unsigned int queue)
{
	struct virtqueue_chain chain;

	virtio_device_pop(&probe->dev, queue, &chain);
}

static int fixture_setup(void **state, uint16_t size, uint64_t features)
{
	static struct queue_fixture f;

	driver_setup(&f.drv);
	f.queue = &probe_attach(&f.drv, 1, size, 0)->dev.queues[0];
	assert_int_equal(driver_start(&f.drv, features), 0xf);
	/* Without the looks at the queues that follow activation. */
	driver_run(&f.drv);
	f.buffer = driver_alloc(&f.drv, 4096, 4096);
	*state = &f;
	return 0;
}

int queue_setup(void **state)
{
	return fixture_setup(state, PROBE_QUEUE_SIZE, ALL_FEATURES);
}

int queue_setup_plain(void **state)
{
	return fixture_setup(state, PROBE_QUEUE_SIZE, VERSION_1);
}

int queue_setup_largest(void **state)
{
	return fixture_setup(state, VIRTQUEUE_SIZE_MAX, ALL_FEATURES);
}

int queue_teardown(void **state)
{
	struct queue_fixture *f = *state;

	driver_teardown(&f->drv);
	return 0;
}

void queue_assert_breaks(struct queue_fixture *f, const char *reason)
{
	struct driver_queue *q = &f->drv.queues[0];
	uint16_t used = q->vring.used->idx;

	assert_int_equal(virtqueue_pop(f->queue, &f->chain), -EPROTO);
	assert_non_null(f->queue->broken_reason);
	assert_string_equal(f->queue->broken_reason, reason);
	q->vring.avail->idx = f->queue->next_avail;
	assert_int_equal(virtqueue_pop(f->queue, &f->chain), -EPROTO);
	assert_int_equal(q->vring.used->idx, used);
}
