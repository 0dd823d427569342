/* SPDX-License-Identifier: Apache-2.0 */
/* The pages that a guest gives up, in the three ways that it may say so. */
#include <string.h>

#include "devices/virtio/balloon_private.h"
#include "vmm/log.h"

/*
 * Page numbers that are read of one chain; Linux sends 256, Windows 1024. Those behind stay with the
 * guest's balloon, and with the host's memory.
 */
#define PFNS_MAX 1024u

static void failed(struct virtio_balloon *balloon, const char *what)
{
	balloon->counters.failures++;
	if (!balloon->failure_logged)
		log_warn("balloon: %s (further failures are only counted)", what);
	balloon->failure_logged = true;
}

/* Returns the bytes that the host has back, or -1 if it didn't take them. */
static int64_t give_back(struct virtio_balloon *balloon, void *hva, uint64_t len)
{
	int64_t freed = guest_memory_discard(balloon->dev.memory, hva, len);

	if (freed >= 0)
		return freed;
	failed(balloon, strerrordesc_np((int)-freed));
	return -1;
}

/* Shell's, by Ciura's gaps: glibc's qsort() may allocate, and asks the system how much there is. */
static void sort_pfns(uint32_t *pfns, size_t n)
{
	static const size_t gaps[] = { 701, 301, 132, 57, 23, 10, 4, 1 };

	for (unsigned int g = 0; g < ARRAY_SIZE(gaps); g++) {
		for (size_t i = gaps[g]; i < n; i++) {
			uint32_t pfn = pfns[i];
			size_t at = i;

			for (; at >= gaps[g] && pfns[at - gaps[g]] > pfn; at -= gaps[g])
				pfns[at] = pfns[at - gaps[g]];
			pfns[at] = pfn;
		}
	}
}

/* §5.5.6: an array of page numbers. Neighbours go together, as each call stops the vCPUs. */
unsigned int balloon_inflate(struct virtio_balloon *balloon, const struct virtqueue_chain *chain)
{
	uint32_t pfns[PFNS_MAX];
	size_t n = iov_read(chain->iov, chain->n_readable, 0, pfns, sizeof(pfns)) / sizeof(pfns[0]);
	uint8_t *start = NULL, *end = NULL;
	unsigned int calls = 0;

	balloon->counters.inflations++;
	sort_pfns(pfns, n);
	for (size_t i = 0; i < n; i++) {
		uint8_t *page = guest_memory_at(balloon->dev.memory,
						(uint64_t)pfns[i] << VIRTIO_BALLOON_PFN_SHIFT,
						GUEST_PAGE_SIZE);

		if (!page) {
			failed(balloon, "the guest gave up a page that isn't RAM");
			continue;
		}
		if (i > 0 && pfns[i] == pfns[i - 1])
			continue;
		if (page != end) {
			if (start)
				give_back(balloon, start, (uint64_t)(end - start));
			calls += start != NULL;
			start = page;
		}
		end = page + GUEST_PAGE_SIZE;
	}
	if (start)
		give_back(balloon, start, (uint64_t)(end - start));
	return calls + (start != NULL);
}

/* The buffers of the chain are the pages (§5.5.6.5, §5.5.6.7). */
static unsigned int give_back_buffers(struct virtio_balloon *balloon,
				      const struct virtqueue_chain *chain, uint64_t *freed,
				      uint64_t *failures)
{
	for (unsigned int i = 0; i < chain->n_writable; i++) {
		const struct iovec *iov = &chain->iov[chain->n_readable + i];
		int64_t bytes = give_back(balloon, iov->iov_base, iov->iov_len);

		if (bytes < 0)
			(*failures)++;
		else
			*freed += (uint64_t)bytes;
	}
	return chain->n_writable;
}

unsigned int balloon_report(struct virtio_balloon *balloon, const struct virtqueue_chain *chain)
{
	struct virtio_balloon_counters *c = &balloon->counters;

	c->reports++;
	return give_back_buffers(balloon, chain, &c->report_freed, &c->report_failures);
}

static void take_hint_cmd(struct virtio_balloon *balloon, const struct virtqueue_chain *chain)
{
	uint32_t cmd;

	if (iov_read(chain->iov, chain->n_readable, 0, &cmd, sizeof(cmd)) != sizeof(cmd)) {
		failed(balloon, "the guest's hints begin with less than a number");
		return;
	}
	balloon->hint_guest_cmd = cmd;
	balloon->hint_guest_has_cmd = true;
	/* It has told of all: it may have its pages back. */
	if (cmd == VIRTIO_BALLOON_CMD_ID_STOP && balloon->hint_acknowledge &&
	    balloon->config.free_page_hint_cmd_id > VIRTIO_BALLOON_CMD_ID_DONE)
		balloon_set_hint_cmd(balloon, VIRTIO_BALLOON_CMD_ID_DONE);
}

/* §5.5.6.5: the run's number, then pages that are free as long as it lasts. */
unsigned int balloon_hint(struct virtio_balloon *balloon, const struct virtqueue_chain *chain)
{
	struct virtio_balloon_counters *c = &balloon->counters;
	uint32_t run = balloon->config.free_page_hint_cmd_id;

	if (chain->n_readable > 0)
		take_hint_cmd(balloon, chain);
	if (chain->n_writable == 0)
		return 0;
	/* Hints of a run that's over are of pages that the guest may use again. */
	if (run <= VIRTIO_BALLOON_CMD_ID_DONE || !balloon->hint_guest_has_cmd ||
	    balloon->hint_guest_cmd != run)
		return 0;
	c->hints++;
	return give_back_buffers(balloon, chain, &c->hint_freed, &c->hint_failures);
}
