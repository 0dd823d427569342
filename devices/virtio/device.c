/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/device.h"

#include <errno.h>
#include <stdio.h>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "vmm/log.h"

int virtio_device_init(struct virtio_device *dev, const struct virtio_device_ops *ops,
		       const char *id, struct guest_memory *memory, struct loop *loop,
		       uint64_t features, void *config, uint32_t config_size, unsigned int n_queues,
		       uint16_t queue_size, struct error *err)
{
	*dev = (struct virtio_device){
		.ops = ops,
		.memory = memory,
		.loop = loop,
		.features = features | 1ull << VIRTIO_F_VERSION_1 |
			    1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX,
		.config = config,
		.config_size = config_size,
		.n_queues = n_queues,
		.irq.eventfd = -1,
	};
	snprintf(dev->id, sizeof(dev->id), "%s", id);
	pthread_mutex_init(&dev->lock, NULL);
	if (n_queues == 0 || n_queues > VIRTIO_QUEUES_MAX)
		return error_set(err, EINVAL, "%s \"%s\": %u queues, not 1 to %d", ops->kind,
				 dev->id, n_queues, VIRTIO_QUEUES_MAX);
	if (queue_size == 0 || queue_size > VIRTQUEUE_SIZE_MAX || (queue_size & (queue_size - 1)))
		return error_set(err, EINVAL,
				 "%s \"%s\": queue size %u is not a power of two up to %d",
				 ops->kind, dev->id, queue_size, VIRTQUEUE_SIZE_MAX);
	for (unsigned int i = 0; i < n_queues; i++) {
		dev->queues[i].max_size = queue_size;
		virtqueue_reset(&dev->queues[i]);
	}
	if (irq_line_open(&dev->irq, err) < 0)
		return error_wrap(err, "%s \"%s\"", ops->kind, dev->id);
	return 0;
}

void virtio_device_release(struct virtio_device *dev)
{
	irq_line_close(&dev->irq);
	pthread_mutex_destroy(&dev->lock);
}

void virtio_device_kick(struct virtio_device *dev, unsigned int queue)
{
	if (dev->kick)
		dev->kick(dev, queue);
}

static void interrupt(struct virtio_device *dev, uint32_t reason)
{
	/* The status first: the driver reads it when the interrupt comes. */
	atomic_fetch_or(&dev->interrupt_status, reason);
	if (dev->driver_ok)
		irq_line_raise(&dev->irq);
}

void virtio_device_signal_used(struct virtio_device *dev, unsigned int queue)
{
	if (dev->driver_ok && !dev->needs_reset && virtqueue_wants_interrupt(&dev->queues[queue]))
		interrupt(dev, VIRTIO_MMIO_INT_VRING);
}

void virtio_device_signal_config(struct virtio_device *dev)
{
	dev->config_generation++;
	interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_device_fail(struct virtio_device *dev, const char *reason)
{
	if (dev->needs_reset)
		return;
	dev->needs_reset = true;
	if (!dev->failure_logged)
		log_error("%s \"%s\": stopped until the guest resets it: %s (further failures of "
			  "this "
			  "device aren't logged)",
			  dev->ops->kind, dev->id, reason);
	dev->failure_logged = true;
	/* §2.1.2: the driver is told with a configuration change notification, after DRIVER_OK. */
	if (dev->driver_ok)
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
	virtio_device_kick(dev, 0);
}

int virtio_device_pop(struct virtio_device *dev, unsigned int queue, struct virtqueue_chain *chain)
{
	if (dev->needs_reset)
		return -EPROTO;
	if (!dev->activated)
		return 0;

	int r = virtqueue_pop(&dev->queues[queue], chain);

	if (r == -EPROTO)
		virtio_device_fail(dev, dev->queues[queue].broken_reason);
	return r;
}
