/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/metrics.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/timerfd.h>

#include "vmm/log.h"
#include "vmm/metrics_delta.h"
#include "vmm/open.h"
#include "vmm/util.h"

/* The one that is running, which main owns: a handler of a fatal signal gets no argument. */
static struct metrics *_Atomic running;

int metrics_open(struct metrics *metrics, const char *path, const char *id, struct error *err)
{
	*metrics = (struct metrics){ .timer_fd = -1 };
	metrics->fd = open_sink(path, err);
	if (metrics->fd < 0) {
		metrics->fd = -1;
		return error_wrap(err, "metrics: open \"%s\"", path);
	}
	if (id) {
		metrics->id = strdup(id);
		if (!metrics->id) {
			close_fd(&metrics->fd);
			return error_sys(err, ENOMEM, "metrics: copy id");
		}
	}
	return 0;
}

static void on_timer(struct loop_source *source, uint32_t events)
{
	struct metrics *metrics = source->owner;
	uint64_t expirations;

	(void)events;
	if (read(metrics->timer_fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		metrics_write(metrics);
}

int metrics_start(struct metrics *metrics, struct loop *loop, unsigned int period_ms,
		  metrics_fill fill, void *context, struct error *err)
{
	struct timespec period = { period_ms / 1000, (long)(period_ms % 1000) * 1000000 };
	struct itimerspec spec = { .it_interval = period, .it_value = period };

	metrics->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (metrics->timer_fd < 0)
		return error_sys(err, errno, "metrics: timerfd_create");
	if (timerfd_settime(metrics->timer_fd, 0, &spec, NULL) < 0)
		return error_sys(err, errno, "metrics: timerfd_settime");
	if (loop_add(loop, &metrics->timer, metrics->timer_fd, EPOLLIN, on_timer, metrics, err) < 0)
		return error_wrap(err, "metrics");
	metrics->loop = loop;
	metrics->fill = fill;
	metrics->context = context;
	atomic_store(&running, metrics);
	return 0;
}

static json_t *build(const struct metrics *metrics)
{
	struct timespec now;
	json_t *root;

	clock_gettime(CLOCK_REALTIME, &now);
	root = json_pack("{s:I, s:s*, s:O*, s:{s:I, s:I}}", "utc_timestamp_ms",
			 (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, "id", metrics->id,
			 "properties", metrics->properties, "logger", "missed_log_count", (json_int_t)log_lines_lost(),
			 "missed_metrics_count", (json_int_t)metrics->lines_lost);
	if (root && metrics->fill)
		metrics->fill(metrics->context, root);
	return root;
}

/* The object as one line with its newline, of *length bytes; NULL without memory. */
static char *to_line(json_t *root, size_t *length)
{
	size_t size = root ? json_dumpb(root, NULL, 0, JSON_COMPACT) : 0;
	char *line = size ? malloc(size + 1) : NULL;

	if (line && json_dumpb(root, line, size, JSON_COMPACT) == size) {
		line[size] = '\n';
		*length = size + 1;
		return line;
	}
	free(line);
	return NULL;
}

/* Send what is left of the line. True if nothing is left. */
static bool send_rest(struct metrics *metrics)
{
	while (metrics->line && metrics->sent < metrics->length) {
		ssize_t n = write(metrics->fd, metrics->line + metrics->sent,
				  metrics->length - metrics->sent);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		metrics->sent += (size_t)n;
	}
	free(metrics->line);
	metrics->line = NULL;
	return true;
}

/*
 * The line that is next, of length metrics->length; NULL without memory. *totals: if deltas are wanted,
 * a new reference to what they were made of.
 */
static char *next_line(struct metrics *metrics, json_t **totals)
{
	json_t *root = build(metrics);
	char *line;

	*totals = NULL;
	if (metrics->deltas) {
		*totals = json_deep_copy(root);
		/* Without them the next line would count all again: rather lose this one. */
		if (!*totals) {
			json_decref(root);
			return NULL;
		}
		metrics_since(root, metrics->last);
	}
	line = to_line(root, &metrics->length);
	json_decref(root);
	return line;
}

bool metrics_write(struct metrics *metrics)
{
	json_t *totals = NULL;

	if (send_rest(metrics)) {
		metrics->line = next_line(metrics, &totals);
		metrics->sent = 0;
		if (metrics->line && (send_rest(metrics) || metrics->sent > 0)) {
			/* Of a lost line the counts are in the next one. */
			json_decref(metrics->last);
			metrics->last = totals;
			return true;
		}
		free(metrics->line);
		metrics->line = NULL;
	}
	json_decref(totals);
	metrics->lines_lost++;
	return false;
}

/* A line of its own with these members, unless one is unfinished. */
static void write_from_handler(const char *members)
{
	const struct metrics *metrics = atomic_load(&running);
	struct timespec now;
	char line[256];

	if (!metrics || metrics->line)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	int n = snprintf(line, sizeof(line),
			 "{\"utc_timestamp_ms\":%lld,%s%s%s%s}\n",
			 (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000,
			 metrics->id ? "\"id\":\"" : "", metrics->id ? metrics->id : "",
			 metrics->id ? "\"," : "", members);

	if (write(metrics->fd, line, (size_t)n) < 0)
		return;
}

void metrics_fault_from_handler(int syscall)
{
	char members[64];

	snprintf(members, sizeof(members), "\"seccomp\":{\"num_faults\":1,\"syscall\":%d}", syscall);
	write_from_handler(members);
}

void metrics_signal_from_handler(const char *name)
{
	char members[64];

	snprintf(members, sizeof(members), "\"signals\":{\"%s\":1}", name);
	write_from_handler(members);
}

void metrics_close(struct metrics *metrics)
{
	if (atomic_load(&running) == metrics)
		atomic_store(&running, NULL);
	if (metrics->loop) {
		metrics_write(metrics);
		loop_remove(metrics->loop, &metrics->timer);
	}
	close_fd(&metrics->timer_fd);
	close_fd(&metrics->fd);
	free(metrics->id);
	json_decref(metrics->properties);
	json_decref(metrics->last);
	free(metrics->line);
	*metrics = (struct metrics){ .fd = -1, .timer_fd = -1 };
}
