/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/mmio.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "vmm/util.h"

/* The device status field as the driver builds it up (§3.1.1), one bit at a time. */
#define STATUS_ACKNOWLEDGED VIRTIO_CONFIG_S_ACKNOWLEDGE
#define STATUS_DRIVER	    (STATUS_ACKNOWLEDGED | VIRTIO_CONFIG_S_DRIVER)
#define STATUS_FEATURES_OK  (STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define STATUS_DRIVER_OK    (STATUS_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

#define INTERRUPT_MASK (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG)

static void kick_queue(struct virtio_mmio *mmio, unsigned int queue)
{
	uint64_t one = 1;

	/* EAGAIN means the counter is full: a kick is pending anyway. */
	if (write(mmio->kicks[queue].eventfd, &one, sizeof(one)) < 0)
		return;
}

static void kick_from_device(struct virtio_device *dev, unsigned int queue)
{
	if (queue < dev->n_queues)
		kick_queue(dev->transport, queue);
}

/* Stop what activation began. Never from within a callback of the device. */
static void quiesce(struct virtio_device *dev)
{
	if (dev->activated)
		dev->ops->reset(dev);
	dev->activated = false;
	for (unsigned int i = 0; i < dev->n_queues; i++)
		virtqueue_stop(&dev->queues[i]);
}

static void on_kick(struct loop_source *source, uint32_t events)
{
	struct virtio_mmio_kick *kick = source->owner;
	struct virtio_device *dev = kick->transport->device;

	(void)events;
	pthread_mutex_lock(&dev->lock);
	/* Kicks before DRIVER_OK are dropped: activation looks at all queues. */
	if (dev->activated && !dev->needs_reset && dev->queues[kick->queue].ready)
		dev->ops->process_queue(dev, kick->queue);
	if (dev->needs_reset)
		quiesce(dev);
	pthread_mutex_unlock(&dev->lock);
}

static int start_device(struct virtio_mmio *mmio, struct error *err)
{
	struct virtio_device *dev = mmio->device;

	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct virtqueue *queue = &dev->queues[i];

		if (queue->ready && virtqueue_start(queue, dev->memory, dev->acked, err) < 0)
			return error_wrap(err, "queue %u", i);
	}
	int r = dev->ops->activate(dev, err);

	if (r < 0) {
		dev->ops->reset(dev);
		return r;
	}
	dev->activated = true;
	return 0;
}

static void activate(struct virtio_mmio *mmio)
{
	struct virtio_device *dev = mmio->device;
	struct error err = { 0 };

	mmio->status = STATUS_DRIVER_OK;
	dev->driver_ok = true;
	if (start_device(mmio, &err) < 0) {
		virtio_device_fail(dev, err.message);
		quiesce(dev);
		return;
	}
	/* The configuration changed while the driver was still reading it: tell it now. */
	if (atomic_load(&dev->interrupt_status))
		irq_line_raise(&dev->irq);
	for (unsigned int i = 0; i < dev->n_queues; i++)
		kick_queue(mmio, i);
}

static void reset(struct virtio_mmio *mmio)
{
	struct virtio_device *dev = mmio->device;

	quiesce(dev);
	for (unsigned int i = 0; i < dev->n_queues; i++)
		virtqueue_reset(&dev->queues[i]);
	dev->acked = 0;
	dev->needs_reset = false;
	dev->driver_ok = false;
	atomic_store(&dev->interrupt_status, 0);
	mmio->status = 0;
	mmio->driver_features = 0;
	mmio->device_features_sel = mmio->driver_features_sel = 0;
	mmio->queue_sel = mmio->shm_sel = 0;
}

static bool features_acceptable(const struct virtio_device *dev, uint64_t features)
{
	return (features & ~dev->features) == 0 && (features >> VIRTIO_F_VERSION_1 & 1);
}

/*
 * §2.1, §3.1.1: bits come one by one and in order, and only a reset takes them away. FAILED may
 * come at any time: the driver gave up. A write that is neither changes nothing.
 */
static void set_status(struct virtio_mmio *mmio, uint32_t value)
{
	struct virtio_device *dev = mmio->device;

	if (value == 0) {
		reset(mmio);
		return;
	}
	/* The driver adds bits to what it read, which may include the device's own. */
	if (dev->needs_reset)
		value &= ~(uint32_t)VIRTIO_CONFIG_S_NEEDS_RESET;
	if (mmio->status != 0 && value == (mmio->status | VIRTIO_CONFIG_S_FAILED)) {
		mmio->status = value;
		dev->driver_ok = false;
		quiesce(dev);
		return;
	}
	if (dev->needs_reset)
		return;
	if ((mmio->status == 0 && value == STATUS_ACKNOWLEDGED) ||
	    (mmio->status == STATUS_ACKNOWLEDGED && value == STATUS_DRIVER)) {
		mmio->status = value;
	} else if (mmio->status == STATUS_DRIVER && value == STATUS_FEATURES_OK) {
		/* Refused by leaving the bit clear: the driver reads the field again (§3.1.1). */
		if (!features_acceptable(dev, mmio->driver_features))
			return;
		dev->acked = mmio->driver_features;
		mmio->status = value;
	} else if (mmio->status == STATUS_FEATURES_OK && value == STATUS_DRIVER_OK) {
		activate(mmio);
	}
}

/* The queue that QueueSel names, or NULL. */
static struct virtqueue *selected_queue(struct virtio_mmio *mmio)
{
	struct virtio_device *dev = mmio->device;

	return mmio->queue_sel < dev->n_queues ? &dev->queues[mmio->queue_sel] : NULL;
}

static uint32_t read_register(struct virtio_mmio *mmio, uint64_t offset)
{
	struct virtio_device *dev = mmio->device;
	const struct virtqueue *queue = selected_queue(mmio);

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return VIRTIO_MMIO_MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return dev->ops->device_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VIRTIO_MMIO_VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		if (mmio->device_features_sel > 1)
			return 0;
		return (uint32_t)(dev->features >> (32 * mmio->device_features_sel));
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return queue ? queue->max_size : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return queue ? queue->ready : 0;
	case VIRTIO_MMIO_STATUS:
		return mmio->status | (dev->needs_reset ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return dev->config_generation;
	default:
		/* Shared memory regions, of which there are none, have to read so too (§4.2.2). */
		return UINT32_MAX;
	}
}

static void set_half(uint64_t *value, bool high, uint32_t half)
{
	unsigned int shift = high ? 32 : 0;

	*value = (*value & ~(0xffffffffull << shift)) | (uint64_t)half << shift;
}

/* What describes a queue can change after the features are agreed and before the device runs. */
static void write_queue_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	struct virtqueue *queue = selected_queue(mmio);

	if (!queue || mmio->status != STATUS_FEATURES_OK || mmio->device->needs_reset)
		return;
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		if (value <= 1)
			queue->ready = value;
		return;
	}
	if (queue->ready)
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		/* One that can't be is kept as 0, so that the start fails instead of guessing. */
		queue->size = value <= queue->max_size && (value & (value - 1)) == 0
				      ? (uint16_t)value
				      : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&queue->desc_gpa, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&queue->avail_gpa, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&queue->used_gpa, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	}
}

static void write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		mmio->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		mmio->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		if (mmio->status == STATUS_DRIVER && mmio->driver_features_sel <= 1)
			set_half(&mmio->driver_features, mmio->driver_features_sel == 1, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		mmio->queue_sel = value;
		break;
	case VIRTIO_MMIO_SHM_SEL:
		mmio->shm_sel = value;
		break;
	case VIRTIO_MMIO_STATUS:
		set_status(mmio, value);
		break;
	default:
		write_queue_register(mmio, offset, value);
		break;
	}
}

/* Whether [offset, offset + len) of the page is inside of the configuration space. */
static bool in_config(const struct virtio_device *dev, uint64_t offset, unsigned int len)
{
	return offset >= VIRTIO_MMIO_CONFIG &&
	       offset - VIRTIO_MMIO_CONFIG + len <= dev->config_size;
}

static void mmio_read(void *device, uint64_t offset, uint8_t *data, unsigned int len)
{
	struct virtio_mmio *mmio = device;
	struct virtio_device *dev = mmio->device;
	uint32_t value;

	memset(data, 0xff, len);
	if (offset < VIRTIO_MMIO_CONFIG && (len != 4 || offset % 4 != 0))
		return;
	/* Interrupt handlers read this one: they don't wait for the lock. */
	if (offset == VIRTIO_MMIO_INTERRUPT_STATUS) {
		value = atomic_load(&dev->interrupt_status);
		memcpy(data, &value, sizeof(value));
		return;
	}
	pthread_mutex_lock(&dev->lock);
	if (offset < VIRTIO_MMIO_CONFIG) {
		value = read_register(mmio, offset);
		memcpy(data, &value, sizeof(value));
	} else if (in_config(dev, offset, len)) {
		memcpy(data, (uint8_t *)dev->config + (offset - VIRTIO_MMIO_CONFIG), len);
	}
	pthread_mutex_unlock(&dev->lock);
}

static void write_config(struct virtio_mmio *mmio, uint64_t offset, const uint8_t *data,
			 unsigned int len)
{
	struct virtio_device *dev = mmio->device;

	if (!dev->ops->config_write || !in_config(dev, offset, len))
		return;
	/* §3.1.1: not before there's a driver, nor after it gave up or the device did. */
	if (!(mmio->status & VIRTIO_CONFIG_S_DRIVER) || mmio->status & VIRTIO_CONFIG_S_FAILED ||
	    dev->needs_reset)
		return;
	dev->ops->config_write(dev, (uint32_t)(offset - VIRTIO_MMIO_CONFIG), data, len);
	if (dev->needs_reset)
		quiesce(dev);
}

static void mmio_write(void *device, uint64_t offset, const uint8_t *data, unsigned int len)
{
	struct virtio_mmio *mmio = device;
	struct virtio_device *dev = mmio->device;
	uint32_t value = 0;

	if (offset < VIRTIO_MMIO_CONFIG) {
		if (len != 4 || offset % 4 != 0)
			return;
		memcpy(&value, data, sizeof(value));
	}
	/* The two that a running driver writes don't wait for the lock. */
	if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
		if (value < dev->n_queues)
			kick_queue(mmio, value);
		return;
	}
	if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
		atomic_fetch_and(&dev->interrupt_status, ~value);
		return;
	}
	pthread_mutex_lock(&dev->lock);
	if (offset < VIRTIO_MMIO_CONFIG)
		write_register(mmio, offset, value);
	else
		write_config(mmio, offset, data, len);
	pthread_mutex_unlock(&dev->lock);
}

const struct bus_ops virtio_mmio_bus_ops = { .read = mmio_read, .write = mmio_write };

int virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_device *device, struct error *err)
{
	int r = 0;

	*mmio = (struct virtio_mmio){ .device = device };
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		mmio->kicks[i] =
			(struct virtio_mmio_kick){ .transport = mmio, .queue = i, .eventfd = -1 };
	device->transport = mmio;
	device->kick = kick_from_device;
	for (unsigned int i = 0; r == 0 && i < device->n_queues; i++) {
		struct virtio_mmio_kick *kick = &mmio->kicks[i];

		kick->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (kick->eventfd < 0)
			r = error_sys(err, errno, "queue %u: eventfd", i);
		else
			/* Edges: each kick is one, and the counter needn't be read. */
			r = loop_add(device->loop, &kick->source, kick->eventfd, EPOLLIN | EPOLLET,
				     on_kick, kick, err);
	}
	if (r < 0) {
		error_wrap(err, "%s \"%s\"", device->ops->kind, device->id);
		virtio_mmio_release(mmio);
	}
	return r;
}

void virtio_mmio_release(struct virtio_mmio *mmio)
{
	struct virtio_device *dev = mmio->device;

	if (!dev)
		return;
	for (unsigned int i = 0; i < dev->n_queues; i++)
		loop_remove(dev->loop, &mmio->kicks[i].source);
	pthread_mutex_lock(&dev->lock);
	reset(mmio);
	dev->kick = NULL;
	dev->transport = NULL;
	pthread_mutex_unlock(&dev->lock);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		close_fd(&mmio->kicks[i].eventfd);
	mmio->device = NULL;
	dev->ops->destroy(dev);
}

void virtio_mmio_rekick(struct virtio_mmio *mmio)
{
	struct virtio_device *dev = mmio->device;

	pthread_mutex_lock(&dev->lock);
	if (dev->driver_ok && atomic_load(&dev->interrupt_status))
		irq_line_raise(&dev->irq);
	pthread_mutex_unlock(&dev->lock);
	for (unsigned int i = 0; i < dev->n_queues; i++)
		kick_queue(mmio, i);
}

void virtio_mmio_save(struct virtio_mmio *mmio, struct virtio_mmio_state *state, void *device_state)
{
	struct virtio_device *dev = mmio->device;

	*state = (struct virtio_mmio_state){ 0 };
	pthread_mutex_lock(&dev->lock);
	/* A failure that the event loop hasn't noticed yet. */
	if (dev->needs_reset)
		quiesce(dev);
	if (dev->ops->save)
		dev->ops->save(dev, device_state);
	state->driver_features = mmio->driver_features;
	state->status = mmio->status;
	state->device_features_sel = mmio->device_features_sel;
	state->driver_features_sel = mmio->driver_features_sel;
	state->queue_sel = mmio->queue_sel;
	state->interrupt_status = atomic_load(&dev->interrupt_status);
	state->config_generation = dev->config_generation;
	state->needs_reset = dev->needs_reset;
	state->n_queues = dev->n_queues;
	for (unsigned int i = 0; i < dev->n_queues; i++)
		virtqueue_save(&dev->queues[i], &state->queues[i]);
	pthread_mutex_unlock(&dev->lock);
}

/* What no sequence of register writes can lead to. */
static int check_state(const struct virtio_device *dev, const struct virtio_mmio_state *state,
		       struct error *err)
{
	uint32_t status = state->status & ~(uint32_t)VIRTIO_CONFIG_S_FAILED;
	uint64_t features = state->driver_features;

	if ((status != 0 && status != STATUS_ACKNOWLEDGED && status != STATUS_DRIVER &&
	     status != STATUS_FEATURES_OK && status != STATUS_DRIVER_OK) ||
	    (status == 0 && state->status != 0))
		return error_set(err, EINVAL, "device status 0x%x can't be", state->status);
	if (state->needs_reset > 1 || (state->needs_reset && !(status & VIRTIO_CONFIG_S_DRIVER)))
		return error_set(err, EINVAL, "DEVICE_NEEDS_RESET without a driver");
	if (state->interrupt_status & ~(uint32_t)INTERRUPT_MASK)
		return error_set(err, EINVAL, "interrupt status 0x%x can't be",
				 state->interrupt_status);
	if (features && !(status & VIRTIO_CONFIG_S_DRIVER))
		return error_set(err, EINVAL, "features of a driver without a driver");
	if (status & VIRTIO_CONFIG_S_FEATURES_OK && !features_acceptable(dev, features))
		return error_set(err, EINVAL,
				 "driver's features 0x%" PRIx64
				 " aren't among the device's 0x%" PRIx64,
				 features, dev->features);
	if (state->n_queues != dev->n_queues)
		return error_set(err, EINVAL, "%u queues instead of %u", state->n_queues,
				 dev->n_queues);
	return 0;
}

static int restore_queues(struct virtio_device *dev, const struct virtio_mmio_state *state,
			  bool live, struct error *err)
{
	static const struct virtqueue_state zero;

	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		const struct virtqueue_state *queue = &state->queues[i];

		if (i >= dev->n_queues) {
			if (memcmp(queue, &zero, sizeof(zero)) != 0)
				return error_set(err, EINVAL, "queue %u doesn't exist", i);
			continue;
		}
		if (queue->ready && !(state->status & VIRTIO_CONFIG_S_FEATURES_OK))
			return error_set(err, EINVAL, "queue %u: ready before FEATURES_OK", i);
		if (queue->next_avail != 0 && !(live && queue->ready))
			return error_set(err, EINVAL, "queue %u: used before it was started", i);
		if (virtqueue_restore(&dev->queues[i], queue, err) < 0)
			return error_wrap(err, "queue %u", i);
	}
	return 0;
}

static int restore(struct virtio_mmio *mmio, const struct virtio_mmio_state *state,
		   const void *device_state, struct error *err)
{
	struct virtio_device *dev = mmio->device;
	bool live = state->status == STATUS_DRIVER_OK && !state->needs_reset;
	int r = check_state(dev, state, err);

	if (r == 0)
		r = restore_queues(dev, state, live, err);
	if (r < 0)
		return r;
	mmio->status = state->status;
	mmio->driver_features = state->driver_features;
	mmio->device_features_sel = state->device_features_sel;
	mmio->driver_features_sel = state->driver_features_sel;
	mmio->queue_sel = state->queue_sel;
	dev->config_generation = state->config_generation;
	dev->needs_reset = state->needs_reset;
	if (state->status & VIRTIO_CONFIG_S_FEATURES_OK)
		dev->acked = state->driver_features;
	atomic_store(&dev->interrupt_status, state->interrupt_status);
	dev->driver_ok = state->status == STATUS_DRIVER_OK;
	if (dev->ops->restore)
		r = dev->ops->restore(dev, device_state, err);
	if (r == 0 && live)
		r = start_device(mmio, err);
	return r;
}

int virtio_mmio_restore(struct virtio_mmio *mmio, const struct virtio_mmio_state *state,
			const void *device_state, struct error *err)
{
	struct virtio_device *dev = mmio->device;
	int r;

	pthread_mutex_lock(&dev->lock);
	reset(mmio);
	r = restore(mmio, state, device_state, err);
	if (r < 0) {
		error_wrap(err, "%s \"%s\"", dev->ops->kind, dev->id);
		reset(mmio);
	}
	pthread_mutex_unlock(&dev->lock);
	return r;
}
