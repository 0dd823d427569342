/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/start.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "vmm/util.h"

/*
 * Before each start: what the start before it and the tracer left to the kernel to do, RCU's callbacks
 * above all, is not to be waited for by this one.
 */
#define SETTLE_US 30000

/* Counts, from its exec on, what we start next, its threads, children, and guest. */
static int open_instructions(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = PERF_COUNT_HW_INSTRUCTIONS,
		.disabled = 1, .inherit = 1, .enable_on_exec = 1,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int start_counts_instructions(void)
{
	int fd = open_instructions();

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int run(const struct subject *subject, const struct launch_argv *argv, struct start *start,
	       struct error *err)
{
	struct launch *launch = malloc(sizeof(*launch));
	cleanup_close int counter = open_instructions();

	if (!launch)
		return error_sys(err, ENOMEM, "%s", subject->kind->name);
	int rc = launch_start(launch, argv, err);

	if (rc == 0)
		rc = launch_finish(launch, BENCH_TIMEOUT_S, err);
	start->start_ns = launch->start_ns;
	start->end_ns = launch->end_ns;
	start->cpu_ns = launch->cpu_ns;
	start->page_faults = launch->page_faults;
	if (launch->first_byte_ns)
		start->output_ns = launch->first_byte_ns - launch->start_ns;
	if (rc == 0 && subject_is_mote_run(subject) && !(start->output = strdup(launch->output)))
		rc = error_sys(err, ENOMEM, "output");
	launch_release(launch);
	free(launch);
	if (counter >= 0 && read(counter, &start->instructions, sizeof(uint64_t)) != sizeof(uint64_t))
		start->instructions = 0;
	return rc;
}

int start_once(const struct subject *subject, const struct guest *guest, const struct place *place,
	       const struct trace *trace, const enum trace_level *level, struct start *start,
	       struct error *err)
{
	cleanup_launch_argv struct launch_argv argv = { 0 };
	struct error ignored;

	*start = (struct start){ 0 };
	int rc = subject->kind->command(subject, guest, &argv, err);

	if (rc == 0)
		rc = place_forget(place, err);
	if (rc == 0 && level)
		rc = trace_start(trace, *level, err);
	if (rc < 0)
		return error_wrap(err, "%s", subject->kind->name);
	usleep(SETTLE_US);
	rc = run(subject, &argv, start, err);
	if (level) {
		int stopped = trace_stop(trace, &start->log, rc == 0 ? err : &ignored);

		rc = rc == 0 ? stopped : rc;
	}
	uint64_t mark = digest_mark_ns(&start->log);

	start->mark_ns = mark > start->start_ns ? mark - start->start_ns : 0;
	if (rc == 0 && subject_is_mote(subject) && guest->metrics)
		rc = subject_mote_stages(&start->stages, err);
	if (rc == 0 && level && subject->kind->monitor && !start->mark_ns)
		rc = error_set(err, ENODATA, "the guest did not come as far as its mark");
	return rc < 0 ? error_wrap(err, "%s", subject->kind->name) : 0;
}

void start_release(struct start *start)
{
	trace_log_free(&start->log);
	free(start->output);
	start->output = NULL;
}
