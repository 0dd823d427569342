/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/irq.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/util.h"

int irq_line_open(struct irq_line *irq, struct error *err)
{
	atomic_init(&irq->raised, 0);
	irq->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (irq->eventfd < 0)
		return error_sys(err, errno, "interrupt line: eventfd");
	return 0;
}

void irq_line_close(struct irq_line *irq)
{
	close_fd(&irq->eventfd);
}

void irq_line_raise(struct irq_line *irq)
{
	uint64_t one = 1;

	atomic_fetch_add_explicit(&irq->raised, 1, memory_order_relaxed);
	/* EAGAIN means the counter is full: an interrupt is pending anyway. */
	if (write(irq->eventfd, &one, sizeof(one)) < 0)
		return;
}
