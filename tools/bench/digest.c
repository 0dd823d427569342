/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/digest.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "syscall_names.h" /* made by meson.build */
#include "vmm/util.h"

/* Where a 64-bit Linux runs once it has its own page tables; its decompressor runs far below. */
#define KERNEL_TEXT 0xffffffff80000000u

const char *digest_syscall_name(uint64_t nr, char buffer[static 24])
{
	if (nr < ARRAY_SIZE(syscall_names) && syscall_names[nr])
		return syscall_names[nr];
	snprintf(buffer, 24, "#%llu", (unsigned long long)nr);
	return buffer;
}

/* The first event of that kind (and value, if any) from i on; NULL: none. */
static const struct trace_event *find(const struct trace_log *log, enum trace_kind kind, uint64_t value,
				      bool any)
{
	for (size_t i = 0; i < log->n; i++)
		if (log->events[i].kind == kind && (any || log->events[i].value == value))
			return &log->events[i];
	return NULL;
}

uint64_t digest_mark_ns(const struct trace_log *log)
{
	const struct trace_event *mark = find(log, TRACE_MMIO_WRITE, TRACE_MARK_GPA, false);

	return mark ? mark->at_ns : 0;
}

/* Index of the exec of the program; log->n: none. */
static size_t find_exec(const struct trace_log *log, pid_t own)
{
	size_t i = 0;

	while (i < log->n && !(log->events[i].kind == TRACE_SYS_EXIT && log->events[i].pid != own &&
			       log->events[i].value == SYS_execve && log->events[i].data == 0))
		i++;
	return i;
}

uint64_t digest_exec_ns(const struct trace_log *log, pid_t own)
{
	size_t i = find_exec(log, own);

	return i < log->n ? log->events[i].at_ns : 0;
}

static bool copies_bytes(uint64_t nr)
{
	switch (nr) {
	case SYS_read:
	case SYS_write:
	case SYS_pread64:
	case SYS_pwrite64:
	case SYS_readv:
	case SYS_writev:
	case SYS_preadv:
	case SYS_pwritev:
	case SYS_preadv2:
	case SYS_pwritev2:
		return true;
	default:
		return false;
	}
}

void digest_totals(const struct trace_log *log, pid_t own, struct digest_totals *totals)
{
	size_t exec = find_exec(log, own);

	*totals = (struct digest_totals){ 0 };
	for (size_t i = 0; i < log->n; i++) {
		const struct trace_event *event = &log->events[i];
		bool ours = i > exec && event->pid != own;

		totals->exits += event->kind == TRACE_EXIT;
		totals->to_user += event->kind == TRACE_USER_EXIT;
		totals->system_calls += event->kind == TRACE_SYS_ENTER && ours;
		if (event->kind == TRACE_SYS_EXIT && ours && copies_bytes(event->value) &&
		    (int64_t)event->data > 0)
			totals->bytes += event->data;
	}
}

int digest_counts(const struct trace_log *log, pid_t own, struct bench_subject *subject, struct error *err)
{
	size_t exec = find_exec(log, own);
	char unknown[24];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < log->n; i++) {
		const struct trace_event *event = &log->events[i];

		if (event->kind == TRACE_EXIT)
			rc = bench_count_add(subject, "exits by reason", event->reason, 1, err);
		else if (event->kind == TRACE_USER_EXIT)
			rc = bench_count_add(subject, "exits to user space", event->reason, 1, err);
		else if (event->kind == TRACE_SYS_ENTER && i > exec && event->pid != own)
			rc = bench_count_add(subject, "system calls", digest_syscall_name(event->value, unknown), 1,
					     err);
	}
	return rc;
}

struct point {
	const char *name; /* of the stage that ends here */
	uint64_t at_ns;	  /* 0: not reached */
};

/* When any other thread than own made that ioctl first; 0: never. */
static uint64_t ioctl_ns(const struct digest_run *run, unsigned long request)
{
	for (size_t i = 0; i < run->log->n; i++) {
		const struct trace_event *event = &run->log->events[i];

		if (event->kind == TRACE_SYS_ENTER && event->value == SYS_ioctl && event->pid != run->own &&
		    (uint32_t)event->data == request)
			return event->at_ns;
	}
	return 0;
}

/* The end of the decompressor: the first exit in the kernel proper. */
static uint64_t decompressed_ns(const struct digest_run *run)
{
	for (size_t i = 0; run->bzimage && i < run->log->n; i++)
		if (run->log->events[i].kind == TRACE_EXIT && run->log->events[i].value >= KERNEL_TEXT)
			return run->log->events[i].at_ns;
	return 0;
}

static int add_stages(struct bench_subject *subject, uint64_t start_ns, const struct point *points,
		      size_t n, struct error *err)
{
	uint64_t from = start_ns;
	int rc = 0;

	/* Marks have whole microseconds, and may thus lie before what they follow. */
	for (size_t i = 0; rc == 0 && i < n; i++) {
		uint64_t to = points[i].at_ns > from ? points[i].at_ns : from;

		if (points[i].at_ns)
			rc = bench_stage_add(subject, points[i].name, (double)(from - start_ns) / 1e6,
					     (double)(to - start_ns) / 1e6, err);
		from = points[i].at_ns ? to : from;
	}
	return rc;
}

static int add_exits(const struct digest_run *run, struct bench_subject *subject, struct error *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < run->log->n; i++) {
		const struct trace_event *event = &run->log->events[i];

		if (event->kind == TRACE_EXIT && event->at_ns >= run->start_ns)
			rc = bench_exit_add(subject, (double)(event->at_ns - run->start_ns) / 1e6, event->reason, err);
	}
	return rc;
}

int digest_run_timeline(const struct digest_run *run, const char *json, struct bench_subject *subject,
			struct error *err)
{
	static const struct {
		const char *key, *name;
	} stages[] = {
		{ "exec_ms", "root image, exec of mote-jailer" },
		{ "jail_ms", "jail, exec of mote-vmm" },
		{ "prepare_ms", "kernel loaded, devices" },
		{ "kvm_ms", "KVM set up" },
		{ "kernel_ms", "kernel to init" },
		{ "agent_ms", "agent ready" },
		{ "command_ms", "root mounted, command run" },
		{ "end_ms", "end" },
	};
	const unsigned int until_mark = 5;
	uint64_t mark = digest_mark_ns(run->log);
	json_t *root = json_loads(json, 0, NULL), *timing = json_object_get(root, "timing");
	double at = (double)(mark - run->start_ns) / 1e6, ms[ARRAY_SIZE(stages)];

	for (unsigned int i = 0; i < ARRAY_SIZE(stages); i++) {
		ms[i] = json_number_value(json_object_get(timing, stages[i].key));
		at -= i < until_mark ? ms[i] : 0;
	}
	json_decref(root);
	if (!mark || !timing || at < 0)
		return error_set(err, ENODATA, "`mote run --json` has no timing, or another one than the trace");
	int rc = bench_stage_add(subject, "exec", 0, at, err);

	for (unsigned int i = 0; rc == 0 && i < ARRAY_SIZE(stages); i++) {
		rc = bench_stage_add(subject, stages[i].name, at, at + ms[i], err);
		at += ms[i];
	}
	return rc == 0 ? add_exits(run, subject, err) : rc;
}

int digest_timeline(const struct digest_run *run, struct bench_subject *subject, struct error *err)
{
	const struct trace_event *entry = find(run->log, TRACE_ENTRY, 0, true);
	const struct mote_stages *s = run->stages;
	uint64_t first = entry ? entry->at_ns : 0, mark = digest_mark_ns(run->log);
	uint64_t exec = digest_exec_ns(run->log, run->own);
	const struct point inside[] = {
		{ "exec", exec },
		{ "program start", s ? s->start : 0 },
		{ "monitor ready", s ? s->configured : 0 },
		{ "kernel loaded", s ? s->loaded : 0 },
		{ "devices, tables", s ? s->prepared : 0 },
		{ "KVM set up", s ? s->built : 0 },
		{ "threads, filters", s ? s->running : 0 },
		{ "first guest instruction", first },
		{ "decompress", decompressed_ns(run) },
		{ "kernel to init", mark },
		{ "end", run->end_ns },
	};
	const struct point outside[] = {
		{ "exec", exec },
		{ "to KVM_CREATE_VM", ioctl_ns(run, KVM_CREATE_VM) },
		{ "to KVM_RUN", ioctl_ns(run, KVM_RUN) },
		{ "first guest instruction", first },
		{ "firmware, kernel to init", mark },
		{ "end", run->end_ns },
	};
	int rc = s ? add_stages(subject, run->start_ns, inside, ARRAY_SIZE(inside), err)
		   : add_stages(subject, run->start_ns, outside, ARRAY_SIZE(outside), err);

	return rc == 0 ? add_exits(run, subject, err) : rc;
}

char *digest_data(const struct trace_log *log)
{
	char *text = calloc(log->n + 1, sizeof(uint64_t));
	size_t n = 0;

	for (size_t i = 0; text && i < log->n; i++) {
		if (log->events[i].kind != TRACE_MMIO_WRITE || log->events[i].value != TRACE_DATA_GPA)
			continue;
		/* Little endian, and zeros after the last byte. */
		for (unsigned int byte = 0; byte < 8; byte++) {
			char c = (char)(log->events[i].data >> (8 * byte));

			if (c)
				text[n++] = c;
		}
	}
	return text;
}
