/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/loop.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "vmm/util.h"

int loop_init(struct loop *loop, struct error *err)
{
	memset(loop, 0, sizeof(*loop));
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return error_sys(err, errno, "event loop: epoll_create1");
	return 0;
}

void loop_release(struct loop *loop)
{
	close_fd(&loop->epoll_fd);
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events,
	     loop_callback callback, void *owner, struct error *err)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	*source = (struct loop_source){
		.fd = fd, .events = events, .callback = callback, .owner = owner
	};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		source->callback = NULL;
		return error_sys(err, errno, "event loop: watch fd %d", fd);
	}
	return 0;
}

int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events, struct error *err)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (!source->callback || source->events == events)
		return 0;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
		return error_sys(err, errno, "event loop: change fd %d", source->fd);
	source->events = events;
	return 0;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	if (!source->callback)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	/* Its owner may be freed next: events of this batch that still name it must not be seen. */
	for (int i = 0; i < loop->pending; i++)
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
	source->callback = NULL;
	source->events = 0;
}

int loop_run_once(struct loop *loop, int timeout_ms, struct error *err)
{
	int n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : error_sys(err, errno, "event loop: epoll_wait");
	loop->pending = n;
	for (int i = 0; i < n; i++) {
		struct loop_source *source = loop->batch[i].data.ptr;

		if (source)
			source->callback(source, loop->batch[i].events);
	}
	loop->pending = 0;
	return n;
}

int loop_run(struct loop *loop, struct error *err)
{
	while (!loop->stopping) {
		int n = loop_run_once(loop, -1, err);

		if (n < 0)
			return n;
	}
	loop->stopping = false;
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
}
