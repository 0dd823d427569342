/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the block device (virtio 1.2 §5.2.6): from chain to disk, and back as an answer. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "devices/virtio/blk_internal.h"
#include "vmm/log.h"

/* Answer from parsing: the disk has to do something first. */
#define STATUS_SUBMIT 0x100

_Static_assert(sizeof(struct blk_slot) <= BLK_SLOT_STRIDE, "a slot has its pages to itself");

static struct blk_slot *slot_at(const struct virtio_blk *blk, uint16_t index)
{
	return (struct blk_slot *)(blk->slots + (size_t)index * BLK_SLOT_STRIDE);
}

struct blk_slot *blk_slot_get(struct virtio_blk *blk)
{
	struct blk_slot *slot;

	if (blk->free_slot != BLK_NO_SLOT) {
		slot = slot_at(blk, blk->free_slot);
		blk->free_slot = slot->next_free;
		return slot;
	}
	return blk->n_slots < VIRTIO_BLK_QUEUE_SIZE ? slot_at(blk, blk->n_slots++) : NULL;
}

void blk_slot_put(struct virtio_blk *blk, struct blk_slot *slot)
{
	slot->next_free = blk->free_slot;
	blk->free_slot = (uint16_t)(((uint8_t *)slot - blk->slots) / BLK_SLOT_STRIDE);
}

void blk_slots_reset(struct virtio_blk *blk)
{
	blk->free_slot = BLK_NO_SLOT;
	/* What a busy time has touched goes back to the host. */
	if (blk->n_slots > 0)
		madvise(blk->slots, BLK_SLOTS_SIZE, MADV_DONTNEED);
	blk->n_slots = 0;
}

/* One writer at a time, under the device's lock: no read-modify-write is needed. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static void count(struct virtio_blk *blk, const struct blk_slot *slot, bool ok)
{
	struct virtio_blk_counter *counter;

	if (slot->request.op == DISK_OPS) {
		if (!ok)
			add(&blk->counters.invalid, 1);
		return;
	}
	counter = &blk->counters.op[slot->request.op];
	add(&counter->requests, 1);
	add(ok ? &counter->bytes : &counter->errors, ok ? slot->request.len : 1);
	add(&counter->total_ns, monotonic_ns() - slot->start_ns);
}

/* Answer: the status is the last byte of the chain, and the last one written (§5.2.6). */
static void answer(struct virtio_blk *blk, struct blk_slot *slot, uint8_t status)
{
	bool ok = status == VIRTIO_BLK_S_OK;

	count(blk, slot, ok);
	__atomic_store_n(slot->status, status, __ATOMIC_RELEASE);
	guest_memory_mark_dirty(blk->dev.memory, slot->status, 1);
	/* Bytes of a read that failed may have been written, but none that the driver can rely on. */
	virtqueue_push(&blk->dev.queues[0], slot->chain.head, (ok ? slot->written : 0) + 1);
	blk->pushed = true;
	blk_slot_put(blk, slot);
}

static void log_host_error(struct virtio_blk *blk, const struct disk_request *request)
{
	if (blk->error_logged)
		return;
	blk->error_logged = true;
	log_error("drive \"%s\": %s of %" PRIu64 " bytes at %" PRIu64
		  ": %s (further errors are counted, "
		  "not logged)",
		  blk->dev.id, disk_op_name(request->op), request->len, request->offset,
		  strerrordesc_np(-request->result));
}

void blk_request_done(struct disk_request *request, void *owner)
{
	struct virtio_blk *blk = owner;
	struct blk_slot *slot = CONTAINER_OF(request, struct blk_slot, request);

	if (request->op == DISK_READ)
		iov_mark_dirty(blk->dev.memory, request->iov, request->n_iov, 0, request->len);
	if (request->result < 0)
		log_host_error(blk, request);
	if (blk->dropping)
		blk_slot_put(blk, slot);
	else
		answer(blk, slot, request->result < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

/*
 * The framing of a request is the driver's choice (§2.7.4): only the order of bytes counts. These
 * are what's left of the chain when the header and the status are taken away.
 */
struct data {
	struct iovec *iov;
	unsigned int n;
	uint32_t len;
};

/* Returns false for a chain without room for a status: there's no way to answer it. */
static bool take_status(struct blk_slot *slot, struct data *in)
{
	struct virtqueue_chain *chain = &slot->chain;
	struct iovec *last;

	if (chain->n_writable == 0)
		return false;
	*in = (struct data){ &chain->iov[chain->n_readable], chain->n_writable,
			     chain->writable_len - 1 };
	last = &in->iov[in->n - 1];
	last->iov_len--;
	slot->status = (uint8_t *)last->iov_base + last->iov_len;
	if (last->iov_len == 0)
		in->n--;
	return true;
}

static bool take_header(struct blk_slot *slot, struct virtio_blk_outhdr *header, struct data *out)
{
	struct virtqueue_chain *chain = &slot->chain;
	size_t left = sizeof(*header);

	if (iov_read(chain->iov, chain->n_readable, 0, header, sizeof(*header)) != sizeof(*header))
		return false;
	*out = (struct data){ chain->iov, chain->n_readable,
			      chain->readable_len - sizeof(*header) };
	while (left > 0 && left >= out->iov->iov_len) {
		left -= out->iov->iov_len;
		out->iov++;
		out->n--;
	}
	if (left > 0) {
		out->iov->iov_base = (uint8_t *)out->iov->iov_base + left;
		out->iov->iov_len -= left;
	}
	return true;
}

static bool in_capacity(const struct virtio_blk *blk, uint64_t sector, uint64_t sectors)
{
	return sector <= blk->config.capacity && sectors <= blk->config.capacity - sector;
}

/* Without FLUSH the driver can't ask for durability: each write has it then (§5.2.6.2). */
static bool write_through(const struct virtio_blk *blk)
{
	return (blk->dev.features & ~blk->dev.acked) >> VIRTIO_BLK_F_FLUSH & 1;
}

static int parse_read_write(struct virtio_blk *blk, struct blk_slot *slot, uint64_t sector,
			    const struct data *data, const struct data *other)
{
	struct disk_request *request = &slot->request;

	if (request->op == DISK_WRITE && blk->read_only)
		return VIRTIO_BLK_S_IOERR;
	/* Data of the other direction: the driver means something that this request can't do. */
	if (other->len > 0 || data->len % DISK_SECTOR_SIZE != 0 ||
	    !in_capacity(blk, sector, data->len / DISK_SECTOR_SIZE))
		return VIRTIO_BLK_S_IOERR;
	if (data->len == 0)
		return VIRTIO_BLK_S_OK;
	request->offset = sector * DISK_SECTOR_SIZE;
	request->len = data->len;
	request->iov = data->iov;
	request->n_iov = (uint16_t)data->n;
	if (request->op == DISK_READ)
		slot->written = data->len;
	else
		request->fua = write_through(blk);
	return STATUS_SUBMIT;
}

static int parse_flush(struct virtio_blk *blk)
{
	if (!(blk->dev.features >> VIRTIO_BLK_F_FLUSH & 1))
		return VIRTIO_BLK_S_UNSUPP;
	/* There's nothing to flush that a read-only disk could have been given. */
	return blk->read_only ? VIRTIO_BLK_S_OK : STATUS_SUBMIT;
}

/* DISCARD and WRITE_ZEROES: one segment (§5.2.6). */
static int parse_range(struct virtio_blk *blk, struct blk_slot *slot, const struct data *out)
{
	struct disk_request *request = &slot->request;
	bool zeroes = request->op == DISK_WRITE_ZEROES;
	struct virtio_blk_discard_write_zeroes range;

	if (blk->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (!virtio_acked(&blk->dev, zeroes ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD))
		return VIRTIO_BLK_S_UNSUPP;
	if (out->len != sizeof(range) ||
	    iov_read(out->iov, out->n, 0, &range, sizeof(range)) != sizeof(range))
		return VIRTIO_BLK_S_IOERR;
	if (range.flags & ~(zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u))
		return VIRTIO_BLK_S_UNSUPP;
	if (range.num_sectors > (zeroes ? BLK_MAX_WRITE_ZEROES_SECTORS : BLK_MAX_DISCARD_SECTORS) ||
	    !in_capacity(blk, range.sector, range.num_sectors))
		return VIRTIO_BLK_S_IOERR;
	if (range.num_sectors == 0)
		return VIRTIO_BLK_S_OK;
	request->offset = range.sector * DISK_SECTOR_SIZE;
	request->len = (uint64_t)range.num_sectors * DISK_SECTOR_SIZE;
	request->unmap = range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	request->fua = write_through(blk);
	return STATUS_SUBMIT;
}

static int parse_get_id(struct virtio_blk *blk, struct blk_slot *slot, const struct data *in)
{
	if (in->len < sizeof(blk->serial))
		return VIRTIO_BLK_S_IOERR;
	slot->written = (uint32_t)iov_write(blk->dev.memory, in->iov, in->n, 0, blk->serial,
					    sizeof(blk->serial));
	return VIRTIO_BLK_S_OK;
}

/* What the chain asks for. Returns a virtio status, or STATUS_SUBMIT. */
static int parse(struct virtio_blk *blk, struct blk_slot *slot, const struct data *in)
{
	struct virtio_blk_outhdr header;
	struct data out;

	if (!take_header(slot, &header, &out))
		return VIRTIO_BLK_S_IOERR;
	switch (header.type) {
	case VIRTIO_BLK_T_IN:
		slot->request.op = DISK_READ;
		return parse_read_write(blk, slot, header.sector, in, &out);
	case VIRTIO_BLK_T_OUT:
		slot->request.op = DISK_WRITE;
		return parse_read_write(blk, slot, header.sector, &out, in);
	case VIRTIO_BLK_T_FLUSH:
		slot->request.op = DISK_FLUSH;
		return parse_flush(blk);
	case VIRTIO_BLK_T_DISCARD:
		slot->request.op = DISK_DISCARD;
		return parse_range(blk, slot, &out);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		slot->request.op = DISK_WRITE_ZEROES;
		return parse_range(blk, slot, &out);
	case VIRTIO_BLK_T_GET_ID:
		return parse_get_id(blk, slot, in);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

/* Bytes that the host's storage moves for the request. A discard moves none. */
static uint64_t costs(const struct disk_request *request)
{
	switch (request->op) {
	case DISK_READ:
	case DISK_WRITE:
	case DISK_WRITE_ZEROES:
		return request->len;
	default:
		return 0;
	}
}

bool blk_handle(struct virtio_blk *blk, struct blk_slot *slot)
{
	struct data in;
	int status;

	slot->start_ns = monotonic_ns();
	slot->request = (struct disk_request){ .op = DISK_OPS };
	slot->written = 0;
	if (!take_status(slot, &in)) {
		blk_slot_put(blk, slot);
		virtio_device_fail(&blk->dev, "request without room for a status");
		return true;
	}
	status = parse(blk, slot, &in);
	if (!rate_limiter_allows(blk->limiter, costs(&slot->request))) {
		virtqueue_unpop(&blk->dev.queues[0], &slot->chain.head, 1);
		blk_slot_put(blk, slot);
		return false;
	}
	rate_limiter_charge(blk->limiter, costs(&slot->request));
	if (status == STATUS_SUBMIT)
		disk_submit(&blk->disk, &slot->request);
	else
		answer(blk, slot, (uint8_t)status);
	return true;
}
