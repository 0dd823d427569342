/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts of libaio that are used again: the kernel's io_destroy waits for tens of milliseconds, and
 * the fuzzed disk has drained its own before. Linked with io_setup and io_destroy wrapped.
 */
#include <libaio.h>

#include "input.h"

#define CONTEXTS 4 /* one disk replaces another that is still open */

int __wrap_io_setup(int events, io_context_t *context);
int __wrap_io_destroy(io_context_t context);
int __real_io_setup(int events, io_context_t *context);

struct idle {
	io_context_t contexts[CONTEXTS];
	unsigned int n;
};

static struct idle *idle(void)
{
	static struct idle idle;

	return &idle;
}

int __wrap_io_setup(int events, io_context_t *context)
{
	if (idle()->n == 0)
		return __real_io_setup(events, context);
	*context = idle()->contexts[--idle()->n];
	return 0;
}

int __wrap_io_destroy(io_context_t context)
{
	must(idle()->n < CONTEXTS);
	idle()->contexts[idle()->n++] = context;
	return 0;
}
