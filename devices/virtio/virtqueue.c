/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/virtqueue.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "vmm/util.h"

_Static_assert(__BYTE_ORDER == __LITTLE_ENDIAN, "rings are read without byte swaps");
_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.2 §2.7.5");

/*
 * A descriptor where the driver put it. Volatile: each field is loaded exactly once. Packed: no
 * rule aligns an indirect table.
 */
struct shared_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
} __attribute__((packed));

static struct vring_desc read_desc(const volatile void *table, uint32_t index)
{
	const volatile struct shared_desc *shared =
		(const volatile struct shared_desc *)table + index;

	return (struct vring_desc){ .addr = shared->addr,
				    .len = shared->len,
				    .flags = shared->flags,
				    .next = shared->next };
}

static uint64_t avail_bytes(uint16_t size)
{
	return sizeof(struct vring_avail) + (uint64_t)(size + 1) * sizeof(__virtio16);
}

static uint64_t used_bytes(uint16_t size)
{
	return sizeof(struct vring_used) + (uint64_t)size * sizeof(struct vring_used_elem) +
	       sizeof(__virtio16);
}

static bool head_in_flight(const struct virtqueue *queue, uint16_t head)
{
	return queue->in_flight[head / 64] >> (head % 64) & 1;
}

static int broke(struct virtqueue *queue, const char *reason)
{
	queue->broken = true;
	queue->broken_reason = reason;
	return -EPROTO;
}

/* Index of the next entry that the driver will fill; acquire: entries before it are visible. */
static uint16_t load_avail_idx(const struct virtqueue *queue)
{
	return __atomic_load_n(&queue->avail->idx, __ATOMIC_ACQUIRE);
}

/* §2.7.10: the driver kicks when it makes the entry with this index available. */
static void store_avail_event(struct virtqueue *queue, uint16_t index)
{
	__virtio16 *event = (__virtio16 *)&queue->used->ring[queue->size];

	__atomic_store_n(event, index, __ATOMIC_RELAXED);
	guest_memory_mark_dirty(queue->memory, event, sizeof(*event));
}

/* §2.7.9: without EVENT_IDX a flag says whether the device wants kicks. */
static void store_used_flags(struct virtqueue *queue, uint16_t flags)
{
	__atomic_store_n(&queue->used->flags, flags, __ATOMIC_RELAXED);
	guest_memory_mark_dirty(queue->memory, &queue->used->flags, sizeof(queue->used->flags));
}

static bool valid_size(const struct virtqueue *queue, uint16_t size)
{
	return size > 0 && size <= queue->max_size && (size & (size - 1)) == 0;
}

int virtqueue_start(struct virtqueue *queue, struct guest_memory *memory, uint64_t features,
		    struct error *err)
{
	if (!queue->ready)
		return error_set(err, EINVAL, "not ready");
	if (!valid_size(queue, queue->size))
		return error_set(err, EINVAL, "size %u is not a power of two from 1 to %u",
				 queue->size, queue->max_size);
	if (!is_aligned(queue->desc_gpa, VRING_DESC_ALIGN_SIZE))
		return error_set(err, EINVAL, "descriptor table at 0x%" PRIx64 " isn't aligned",
				 queue->desc_gpa);
	if (!is_aligned(queue->avail_gpa, VRING_AVAIL_ALIGN_SIZE))
		return error_set(err, EINVAL, "available ring at 0x%" PRIx64 " isn't aligned",
				 queue->avail_gpa);
	if (!is_aligned(queue->used_gpa, VRING_USED_ALIGN_SIZE))
		return error_set(err, EINVAL, "used ring at 0x%" PRIx64 " isn't aligned",
				 queue->used_gpa);

	void *desc = guest_memory_at(memory, queue->desc_gpa,
				     (uint64_t)queue->size * sizeof(struct vring_desc));
	void *avail = guest_memory_at(memory, queue->avail_gpa, avail_bytes(queue->size));
	void *used = guest_memory_at(memory, queue->used_gpa, used_bytes(queue->size));

	if (!desc)
		return error_set(err, EINVAL, "descriptor table at 0x%" PRIx64 " isn't in RAM",
				 queue->desc_gpa);
	if (!avail)
		return error_set(err, EINVAL, "available ring at 0x%" PRIx64 " isn't in RAM",
				 queue->avail_gpa);
	if (!used)
		return error_set(err, EINVAL, "used ring at 0x%" PRIx64 " isn't in RAM",
				 queue->used_gpa);

	queue->desc = desc;
	queue->avail = avail;
	queue->used = used;
	queue->memory = memory;
	queue->event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1;
	queue->indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	queue->broken = false;
	queue->broken_reason = NULL;
	memset(queue->in_flight, 0, sizeof(queue->in_flight));
	/*
	 * What the ring says after a restore is where kicks stood when it was saved, maybe disabled:
	 * left so, none would ever come.
	 */
	queue->kicks_enabled = true;
	store_used_flags(queue, 0);
	if (queue->event_idx)
		store_avail_event(queue, queue->next_avail);
	return 0;
}

void virtqueue_stop(struct virtqueue *queue)
{
	*queue = (struct virtqueue){
		.max_size = queue->max_size,
		.size = queue->size,
		.ready = queue->ready,
		.desc_gpa = queue->desc_gpa,
		.avail_gpa = queue->avail_gpa,
		.used_gpa = queue->used_gpa,
		.signalled_used_valid = true,
	};
}

void virtqueue_reset(struct virtqueue *queue)
{
	*queue = (struct virtqueue){ .max_size = queue->max_size, .signalled_used_valid = true };
}

static int add_buffer(struct virtqueue *queue, struct virtqueue_chain *chain,
		      const struct vring_desc *desc)
{
	unsigned int n = chain->n_readable + chain->n_writable;
	bool writable = desc->flags & VRING_DESC_F_WRITE;

	/* Loops end here too: a chain as long as the table has used every descriptor. */
	if (n == queue->size)
		return broke(queue, "descriptor chain longer than the queue");
	if (!writable && chain->n_writable > 0)
		return broke(queue, "readable descriptor after a writable one");
	if (desc->len == 0)
		return broke(queue, "empty buffer");
	if ((uint64_t)chain->readable_len + chain->writable_len + desc->len > UINT32_MAX)
		return broke(queue, "descriptor chain of 4 GiB or more");

	void *hva = guest_memory_at(queue->memory, desc->addr, desc->len);

	if (!hva)
		return broke(queue, "buffer outside of RAM");
	chain->iov[n] = (struct iovec){ .iov_base = hva, .iov_len = desc->len };
	if (writable) {
		chain->n_writable++;
		chain->writable_len += desc->len;
	} else {
		chain->n_readable++;
		chain->readable_len += desc->len;
	}
	return 0;
}

/* §2.7.5.3: where the rest of the chain is. The WRITE flag means nothing here. */
static int open_indirect(struct virtqueue *queue, const struct vring_desc *desc, bool nested,
			 const volatile void **table, uint32_t *entries)
{
	if (!queue->indirect)
		return broke(queue, "indirect descriptor without VIRTIO_F_INDIRECT_DESC");
	if (nested)
		return broke(queue, "indirect descriptor in an indirect table");
	if (desc->flags & VRING_DESC_F_NEXT)
		return broke(queue, "indirect descriptor with a next one");
	if (desc->len == 0 || desc->len % sizeof(struct vring_desc) != 0)
		return broke(queue, "indirect table's length isn't a multiple of 16");
	if (desc->len / sizeof(struct vring_desc) > queue->size)
		return broke(queue, "indirect table longer than the queue");
	*table = guest_memory_at(queue->memory, desc->addr, desc->len);
	if (!*table)
		return broke(queue, "indirect table outside of RAM");
	*entries = desc->len / sizeof(struct vring_desc);
	return 0;
}

static int walk(struct virtqueue *queue, uint16_t head, struct virtqueue_chain *chain)
{
	const volatile void *table = queue->desc;
	uint32_t entries = queue->size, index = head;
	bool in_indirect = false;

	chain->head = head;
	chain->n_readable = chain->n_writable = 0;
	chain->readable_len = chain->writable_len = 0;
	for (;;) {
		struct vring_desc desc = read_desc(table, index);
		int r;

		if (desc.flags & VRING_DESC_F_INDIRECT) {
			r = open_indirect(queue, &desc, in_indirect, &table, &entries);
			if (r < 0)
				return r;
			in_indirect = true;
			index = 0;
			continue;
		}
		r = add_buffer(queue, chain, &desc);
		if (r < 0)
			return r;
		if (!(desc.flags & VRING_DESC_F_NEXT))
			return 0;
		if (desc.next >= entries)
			return broke(queue, "next descriptor outside of its table");
		index = desc.next;
	}
}

/* Number of entries to pop; asks for a kick and looks again if there's none. */
static uint16_t count_available(struct virtqueue *queue)
{
	uint16_t n = load_avail_idx(queue) - queue->next_avail;

	if (n > 0 || !queue->event_idx || !queue->kicks_enabled)
		return n;
	store_avail_event(queue, queue->next_avail);
	/* Either the driver sees the new avail_event, or we see its new index. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load_avail_idx(queue) - queue->next_avail;
}

int virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain)
{
	if (queue->broken)
		return -EPROTO;
	if (!queue->desc)
		return 0;

	uint16_t n = count_available(queue);

	if (n == 0)
		return 0;
	if (n > queue->size)
		return broke(queue, "available index ran more than the queue's size ahead");

	uint16_t head = queue->avail->ring[queue->next_avail & (queue->size - 1)];

	if (head >= queue->size)
		return broke(queue, "head outside of the descriptor table");
	/* Two requests with one head would complete, and free what they own, twice. */
	if (head_in_flight(queue, head))
		return broke(queue, "head made available while the device has it");

	int r = walk(queue, head, chain);

	if (r < 0)
		return r;
	queue->next_avail++;
	queue->in_flight[head / 64] |= 1ull << (head % 64);
	return 1;
}

void virtqueue_unpop(struct virtqueue *queue, const uint16_t *heads, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		if (heads[i] >= queue->size || !head_in_flight(queue, heads[i]))
			continue;
		queue->in_flight[heads[i] / 64] &= ~(1ull << (heads[i] % 64));
		queue->next_avail--;
	}
}

static void fill_used(struct virtqueue *queue, uint16_t head, uint32_t written)
{
	struct vring_used_elem *elem = &queue->used->ring[queue->next_used & (queue->size - 1)];

	if (head >= queue->size || !head_in_flight(queue, head))
		return;
	queue->in_flight[head / 64] &= ~(1ull << (head % 64));
	elem->id = head;
	elem->len = written;
	guest_memory_mark_dirty(queue->memory, elem, sizeof(*elem));
	queue->next_used++;
	/* A whole lap without asking: "since the last interrupt" has no meaning any more. */
	if (queue->next_used == queue->signalled_used)
		queue->signalled_used_valid = false;
}

void virtqueue_push_together(struct virtqueue *queue, const struct virtqueue_used *used,
			     unsigned int n)
{
	if (!queue->used || queue->broken)
		return;
	for (unsigned int i = 0; i < n; i++)
		fill_used(queue, used[i].head, used[i].written);
	/* Release: the entries, and the data in their buffers, before the index that announces them. */
	__atomic_store_n(&queue->used->idx, queue->next_used, __ATOMIC_RELEASE);
	guest_memory_mark_dirty(queue->memory, &queue->used->idx, sizeof(queue->used->idx));
}

void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written)
{
	struct virtqueue_used used = { .head = head, .written = written };

	virtqueue_push_together(queue, &used, 1);
}

unsigned int virtqueue_in_flight(const struct virtqueue *queue)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(queue->in_flight); i++)
		n += (unsigned int)__builtin_popcountll(queue->in_flight[i]);
	return n;
}

bool virtqueue_wants_interrupt(struct virtqueue *queue)
{
	uint16_t old = queue->signalled_used, new = queue->next_used;
	bool old_valid = queue->signalled_used_valid;

	if (!queue->used || queue->broken || (old_valid && old == new))
		return false;
	/* Either the driver sees our used index, or we see that it wants to be told of it. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	queue->signalled_used = new;
	queue->signalled_used_valid = true;
	if (!queue->event_idx)
		return !(queue->avail->flags & VRING_AVAIL_F_NO_INTERRUPT);

	uint16_t used_event = queue->avail->ring[queue->size];

	return !old_valid || vring_need_event(used_event, new, old);
}

void virtqueue_disable_kicks(struct virtqueue *queue)
{
	if (!queue->used)
		return;
	queue->kicks_enabled = false;
	/* With EVENT_IDX, an avail_event that stays behind asks for nothing. */
	if (!queue->event_idx)
		store_used_flags(queue, VRING_USED_F_NO_NOTIFY);
}

bool virtqueue_enable_kicks(struct virtqueue *queue)
{
	if (!queue->used || queue->broken)
		return false;
	queue->kicks_enabled = true;
	if (queue->event_idx)
		store_avail_event(queue, queue->next_avail);
	else
		store_used_flags(queue, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return load_avail_idx(queue) != queue->next_avail;
}

void virtqueue_save(const struct virtqueue *queue, struct virtqueue_state *state)
{
	*state = (struct virtqueue_state){
		.desc_gpa = queue->desc_gpa,
		.avail_gpa = queue->avail_gpa,
		.used_gpa = queue->used_gpa,
		.size = queue->size,
		.next_avail = queue->next_avail,
		.next_used = queue->next_used,
		.signalled_used = queue->signalled_used,
		.ready = queue->ready,
		.signalled_used_valid = queue->signalled_used_valid,
	};
}

int virtqueue_restore(struct virtqueue *queue, const struct virtqueue_state *state,
		      struct error *err)
{
	static const uint8_t zero[sizeof(state->reserved)];

	if (state->size != 0 && !valid_size(queue, state->size))
		return error_set(err, EINVAL, "size %u is not a power of two from 1 to %u",
				 state->size, queue->max_size);
	if (state->ready > 1 || state->signalled_used_valid > 1 ||
	    memcmp(state->reserved, zero, sizeof(zero)) != 0)
		return error_set(err, EINVAL, "unknown flags");
	/* Each chain popped was pushed or unpopped before the save, so the indexes are equal. */
	if (state->next_avail != state->next_used)
		return error_set(err, EINVAL, "%u chains in flight",
				 (uint16_t)(state->next_avail - state->next_used));
	virtqueue_reset(queue);
	queue->desc_gpa = state->desc_gpa;
	queue->avail_gpa = state->avail_gpa;
	queue->used_gpa = state->used_gpa;
	queue->size = state->size;
	queue->ready = state->ready;
	queue->next_avail = state->next_avail;
	queue->next_used = state->next_used;
	queue->signalled_used = state->signalled_used;
	queue->signalled_used_valid = state->signalled_used_valid;
	return 0;
}

/* The part of iov[*i] from *offset on, at most len bytes; moves *i and *offset behind it. */
static struct iovec next_piece(const struct iovec *iov, unsigned int n, unsigned int *i,
			       size_t *offset, size_t len)
{
	struct iovec piece = { 0 };

	while (*i < n && *offset >= iov[*i].iov_len) {
		*offset -= iov[*i].iov_len;
		(*i)++;
	}
	if (*i == n)
		return piece;
	piece.iov_base = (uint8_t *)iov[*i].iov_base + *offset;
	piece.iov_len = iov[*i].iov_len - *offset;
	if (piece.iov_len > len)
		piece.iov_len = len;
	*offset += piece.iov_len;
	return piece;
}

size_t iov_read(const struct iovec *iov, unsigned int n, size_t offset, void *dst, size_t len)
{
	unsigned int i = 0;
	size_t done = 0;

	while (done < len) {
		struct iovec piece = next_piece(iov, n, &i, &offset, len - done);

		if (piece.iov_len == 0)
			break;
		memcpy((uint8_t *)dst + done, piece.iov_base, piece.iov_len);
		done += piece.iov_len;
	}
	return done;
}

size_t iov_write(struct guest_memory *memory, const struct iovec *iov, unsigned int n,
		 size_t offset, const void *src, size_t len)
{
	unsigned int i = 0;
	size_t done = 0;

	while (done < len) {
		struct iovec piece = next_piece(iov, n, &i, &offset, len - done);

		if (piece.iov_len == 0)
			break;
		memcpy(piece.iov_base, (const uint8_t *)src + done, piece.iov_len);
		guest_memory_mark_dirty(memory, piece.iov_base, piece.iov_len);
		done += piece.iov_len;
	}
	return done;
}

void iov_mark_dirty(struct guest_memory *memory, const struct iovec *iov, unsigned int n,
		    size_t offset, size_t len)
{
	unsigned int i = 0;

	while (len > 0) {
		struct iovec piece = next_piece(iov, n, &i, &offset, len);

		if (piece.iov_len == 0)
			break;
		guest_memory_mark_dirty(memory, piece.iov_base, piece.iov_len);
		len -= piece.iov_len;
	}
}
