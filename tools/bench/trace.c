/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/util.h"

#define TRACEFS "/sys/kernel/tracing"
/* Of each processor: some 20,000 events. */
#define BUFFER_KIB 2048

/* Each of the first TRACE_MARKS_EVENTS always, the others for TRACE_ALL. */
static const char *const events[] = {
	"kvm/kvm_mmio", "kvm/kvm_entry", "kvm/kvm_exit", "kvm/kvm_userspace_exit",
	"raw_syscalls/sys_enter", "raw_syscalls/sys_exit",
};
#define TRACE_MARKS_EVENTS 1

static int put(const struct trace *trace, const char *file, const char *text, struct error *err)
{
	cleanup_close int fd = openat(trace->dir, file, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return error_sys(err, errno, "tracefs: write \"%s\" to \"%s/instances/%s/%s\"", text, TRACEFS,
				 trace->name, file);
	return 0;
}

int trace_create(struct trace *trace, struct error *err)
{
	char path[96], text[16];

	trace->dir = -1;
	snprintf(trace->name, sizeof(trace->name), "mote-bench-%d", (int)getpid());
	if (access(TRACEFS "/instances", F_OK) < 0)
		return error_sys(err, errno, "tracefs isn't at \"" TRACEFS "\" (mount -t tracefs none " TRACEFS
				 "): \"instances\"");
	if (access(TRACEFS "/events/kvm/kvm_mmio", F_OK) < 0)
		return error_sys(err, errno, "tracefs: no trace points of KVM: \"" TRACEFS
				 "/events/kvm/kvm_mmio\"");
	snprintf(path, sizeof(path), TRACEFS "/instances/%s", trace->name);
	if (mkdir(path, 0700) < 0)
		return error_sys(err, errno, "tracefs: mkdir \"%s\"", path);
	trace->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (trace->dir < 0)
		return error_sys(err, errno, "tracefs: open \"%s\"", path);
	snprintf(text, sizeof(text), "%d", BUFFER_KIB);
	int rc = put(trace, "tracing_on", "0", err);

	if (rc == 0)
		rc = put(trace, "trace_clock", "mono", err);
	if (rc == 0)
		rc = put(trace, "buffer_size_kb", text, err);
	if (rc == 0)
		rc = put(trace, "options/event-fork", "1", err);
	if (rc == 0)
		/* type: a write. A guest's mark, or its data. */
		rc = put(trace, "events/kvm/kvm_mmio/filter",
			 "type == 2 && gpa >= 0xc0000000 && gpa < 0xc0001000", err);
	return rc;
}

void trace_remove(struct trace *trace)
{
	char path[96];

	if (trace->dir < 0)
		return;
	close_fd(&trace->dir);
	snprintf(path, sizeof(path), TRACEFS "/instances/%s", trace->name);
	/* A reader that was killed may hold it for a moment still. */
	for (int tries = 0; rmdir(path) < 0 && errno == EBUSY && tries < 100; tries++)
		usleep(10000);
}

int trace_follow(const struct trace *trace, pid_t pid, struct error *err)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	return put(trace, "set_event_pid", text, err);
}

int trace_start(const struct trace *trace, enum trace_level level, struct error *err)
{
	char file[64];
	int rc = put(trace, "trace", "", err);

	for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(events); i++) {
		snprintf(file, sizeof(file), "events/%s/enable", events[i]);
		rc = put(trace, file, level == TRACE_ALL || i < TRACE_MARKS_EVENTS ? "1" : "0", err);
	}
	return rc == 0 ? put(trace, "tracing_on", "1", err) : rc;
}

/* A file of tracefs, which doesn't know its size. malloc'd. */
static char *read_all(const struct trace *trace, const char *file, struct error *err)
{
	cleanup_close int fd = openat(trace->dir, file, O_RDONLY | O_CLOEXEC);
	size_t n = 0, room = 0;
	char *text = NULL;
	ssize_t got = fd < 0 ? -1 : 1;

	while (got > 0) {
		if (room - n < 65536) {
			char *more = realloc(text, room = 2 * room + 131072);

			if (!more)
				break;
			text = more;
		}
		got = read(fd, text + n, room - n - 1);
		n += got > 0 ? (size_t)got : 0;
	}
	if (got == 0) {
		text[n] = 0;
		return text;
	}
	error_sys(err, got < 0 ? errno : ENOMEM, "tracefs: read \"%s\"", file);
	free(text);
	return NULL;
}

int trace_stop(const struct trace *trace, struct trace_log *log, struct error *err)
{
	/* First: what follows are traced system calls of ours. */
	int rc = put(trace, "tracing_on", "0", err);
	cleanup_free char *text = rc == 0 ? read_all(trace, "trace", err) : NULL;

	*log = (struct trace_log){ 0 };
	if (!text || trace_parse(log, text, err) < 0)
		return -err->errnum;
	if (log->lost > 0)
		return error_set(err, E2BIG, "tracefs: %llu events more than fit into %d KiB",
				 (unsigned long long)log->lost, BUFFER_KIB);
	return 0;
}
