/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: the virtqueue alone, called in every order that a device could call it, while the guest
 * writes to the rings. What it says and what its books say is compared with a model's.
 */
#include <errno.h>

#include <linux/virtio_ring.h>

#include "devices/virtio/virtqueue.h"
#include "input.h"
#include "vmm/util.h"

#define RAM_SIZE    0x4000u
#define DESC_GPA    0x0u
#define AVAIL_GPA   0x400u
#define USED_GPA    0x500u
#define MAX_SIZE    32
#define STEPS_MAX   512

/* The model: what was popped and not given back, oldest first. */
struct model {
	struct input in;
	struct guest_memory *memory;
	struct virtqueue queue;
	uint16_t heads[MAX_SIZE];
	unsigned int n;
};

static struct guest_memory *ram(void)
{
	static struct guest_memory memory;

	if (memory.n_regions == 0)
		must(guest_memory_add(&memory, 0, RAM_SIZE, MEMORY_BACKING_NONE, true, NULL) == 0);
	memset(memory.regions[0].hva, 0, RAM_SIZE);
	return &memory;
}

static void start(struct model *m)
{
	uint8_t how = input_u8(&m->in);
	uint64_t features = (how & 1 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0) |
			    (how & 2 ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0);
	struct error err = { 0 };

	virtqueue_stop(&m->queue);
	m->n = 0;
	m->queue.size = how & 128 ? input_u16(&m->in) : (uint16_t)(MAX_SIZE >> (how >> 2 & 3));
	m->queue.desc_gpa = how & 16 ? input_u64(&m->in) : DESC_GPA;
	m->queue.avail_gpa = how & 32 ? input_u64(&m->in) : AVAIL_GPA;
	m->queue.used_gpa = how & 64 ? input_u64(&m->in) : USED_GPA;
	m->queue.ready = true;
	if (virtqueue_start(&m->queue, m->memory, features, &err) < 0)
		must(err.message[0] && virtqueue_pop(&m->queue, &(struct virtqueue_chain){ 0 }) == 0);
}

/* What the contract promises of a chain, without a look at the rings. */
static void check_chain(const struct model *m, const struct virtqueue_chain *chain)
{
	const uint8_t *start = m->memory->regions[0].hva;
	uint64_t sums[2] = { 0, 0 };

	must(chain->head < m->queue.size &&
	     chain->n_readable + chain->n_writable <= m->queue.size &&
	     chain->n_readable + chain->n_writable > 0);
	for (unsigned int i = 0; i < chain->n_readable + chain->n_writable; i++) {
		const uint8_t *base = chain->iov[i].iov_base;

		must(chain->iov[i].iov_len > 0 && base >= start &&
		     base + chain->iov[i].iov_len <= start + RAM_SIZE);
		sums[i >= chain->n_readable] += chain->iov[i].iov_len;
	}
	must(sums[0] == chain->readable_len && sums[1] == chain->writable_len &&
	     sums[0] + sums[1] <= UINT32_MAX);
	for (unsigned int i = 0; i < m->n; i++)
		must(m->heads[i] != chain->head);
}

static void pop(struct model *m)
{
	static struct virtqueue_chain chain;
	bool was_broken = m->queue.broken;
	int r = virtqueue_pop(&m->queue, &chain);

	if (r == 1) {
		must(!was_broken && m->n < m->queue.size);
		check_chain(m, &chain);
		m->heads[m->n++] = chain.head;
	} else if (r != 0) {
		must(r == -EPROTO && m->queue.broken && m->queue.broken_reason);
	}
	must(!was_broken || r == -EPROTO);
}

/* Some of the chains, or heads that aren't in flight at all. */
static void push(struct model *m)
{
	uint8_t how = input_u8(&m->in);
	unsigned int n = how & 7, taken = 0;
	struct virtqueue_used used[8];
	uint16_t before = m->queue.next_used;
	bool works = m->queue.used && !m->queue.broken;

	for (unsigned int i = 0; i < n; i++) {
		used[i].written = input_u8(&m->in);
		if (how & 8) {
			used[i].head = input_u16(&m->in);
		} else if (taken < m->n) {
			used[i].head = m->heads[taken++];
		} else {
			n = i;
		}
	}
	if (n == 1)
		virtqueue_push(&m->queue, used[0].head, used[0].written);
	else
		virtqueue_push_together(&m->queue, used, n);
	if (!works) {
		must(m->queue.next_used == before);
		return;
	}
	/* The books follow what was really in flight. */
	for (unsigned int i = 0; i < n; i++) {
		for (unsigned int k = 0; k < m->n; k++) {
			if (m->heads[k] != used[i].head)
				continue;
			memmove(&m->heads[k], &m->heads[k + 1], (m->n - k - 1) * sizeof(m->heads[0]));
			m->n--;
			before++;
			break;
		}
	}
	must(m->queue.next_used == before && m->queue.used->idx == before);
}

static void unpop(struct model *m)
{
	unsigned int n = input_u8(&m->in) % MAX_SIZE;
	uint16_t before = m->queue.next_avail;

	n = n < m->n ? n : m->n;
	virtqueue_unpop(&m->queue, &m->heads[m->n - n], n);
	m->n -= n;
	must(m->queue.next_avail == (uint16_t)(before - n));
}

/* As around a snapshot: everything was given back before. */
static void save_and_restore(struct model *m)
{
	struct virtqueue_state state, again;
	struct error err = { 0 };
	bool live = m->queue.desc && !m->queue.broken && m->queue.ready;
	uint64_t features = (m->queue.event_idx ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0) |
			    (m->queue.indirect ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0);

	virtqueue_unpop(&m->queue, m->heads, m->n);
	m->n = 0;
	virtqueue_save(&m->queue, &state);

	unsigned int patches = input_patch(&m->in, &state, sizeof(state));

	if (virtqueue_restore(&m->queue, &state, &err) < 0) {
		must(err.message[0] && (patches > 0 || !live));
		virtqueue_reset(&m->queue);
		return;
	}
	virtqueue_save(&m->queue, &again);
	must(memcmp(&state, &again, sizeof(state)) == 0);
	if (virtqueue_start(&m->queue, m->memory, features, &err) < 0)
		must(err.message[0] && (patches > 0 || !live));
}

/* The guest: a descriptor, a word of the rings, or an offer as a driver makes it. */
static void guest(struct model *m)
{
	uint8_t how = input_u8(&m->in), at = input_u8(&m->in);
	struct vring_desc desc = { .addr = input_u8(&m->in) * 64u, .len = input_u8(&m->in) };
	struct vring_avail *avail = guest_memory_at(m->memory, AVAIL_GPA, 0x100);
	uint16_t word;

	switch (how & 3) {
	case 0:
		desc.flags = how >> 2 & 7;
		desc.next = how & 32 ? input_u16(&m->in) : (uint16_t)((at + 1) % MAX_SIZE);
		if (how & 64)
			desc.addr = input_u64(&m->in);
		if (how & 128)
			desc.len = input_u32(&m->in);
		/* Behind the queue's own table lie those for indirect descriptors. */
		guest_memory_write(m->memory, DESC_GPA + at * sizeof(desc), &desc, sizeof(desc));
		break;
	case 1:
		word = input_u16(&m->in);
		guest_memory_write(m->memory, AVAIL_GPA + (how >> 2) * 8u + at % 8, &word, 2);
		break;
	default:
		avail->ring[avail->idx % (m->queue.size ? m->queue.size : 1) % MAX_SIZE] = at % 64;
		avail->idx++;
		break;
	}
}

static void step(struct model *m)
{
	switch (input_u8(&m->in) % 12) {
	case 0:
		start(m);
		break;
	case 1:
	case 2:
		pop(m);
		break;
	case 3:
		push(m);
		break;
	case 4:
		unpop(m);
		break;
	case 5:
		virtqueue_disable_kicks(&m->queue);
		break;
	case 6:
		virtqueue_enable_kicks(&m->queue);
		break;
	case 7:
		virtqueue_wants_interrupt(&m->queue);
		/* Asked again at once, there's nothing to tell. */
		must(!virtqueue_wants_interrupt(&m->queue));
		break;
	case 8:
		save_and_restore(m);
		break;
	default:
		guest(m);
		break;
	}
	must(virtqueue_in_flight(&m->queue) == m->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct model m = { .in = { data, size }, .memory = ram() };

	m.queue.max_size = MAX_SIZE;
	virtqueue_reset(&m.queue);
	start(&m);
	for (unsigned int i = 0; i < STEPS_MAX && m.in.left > 0; i++)
		step(&m);
	return 0;
}
