/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A balloon behind the test's virtio driver, and a look at which pages the host has. Linked with
 * madvise wrapped, and in the test's time (fake_time.h). All functions assert.
 */
#ifndef MOTE_TESTS_BALLOON_RIG_H
#define MOTE_TESTS_BALLOON_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "devices/virtio/balloon.h"
#include "fake_time.h"
#include "virtio_driver.h"
#include "vmm/util.h"

struct balloon_rig {
	struct virtio_driver drv;
	uint64_t buffer; /* 16 KiB for what is sent */
};

/* Calls of madvise(MADV_DONTNEED) since balloon_setup(), and the errno that they fail with. */
struct balloon_calls {
	unsigned int n;
	uint64_t bytes;
	int errnum;
};
extern struct balloon_calls balloon_calls;

void balloon_setup(struct balloon_rig *rig, struct virtio_balloon_options options,
		   uint64_t features);
void balloon_teardown(struct balloon_rig *rig);
/* A device made anew, in place of the one there is, which is released. */
void balloon_replace(struct balloon_rig *rig, struct virtio_balloon_options options);

/* Send a chain, kick, run the loop and take it back: nothing was written to it. */
void balloon_send(struct balloon_rig *rig, unsigned int queue, const struct driver_buf *bufs,
		  unsigned int n_readable, unsigned int n_writable);
void balloon_send_pfns(struct balloon_rig *rig, unsigned int queue, const uint32_t *pfns,
		       unsigned int n);
/* 32 bits of configuration space. */
uint32_t balloon_config(struct balloon_rig *rig, uint32_t offset);

/* Fill n pages from pfn on; whether they're gone (not there, then zeroes), or as they were filled. */
void balloon_touch(struct balloon_rig *rig, uint64_t pfn, unsigned int n);
void balloon_expect_gone(struct balloon_rig *rig, uint64_t pfn, unsigned int n);
void balloon_expect_kept(struct balloon_rig *rig, uint64_t pfn, unsigned int n);

#endif
