/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of tracefs, a line an event:
 *
 *	          vcpu 0-144     [000] d..1.     1.875621: kvm_entry: vcpu 0, rip 0x1000000
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/trace.h"

/* The name has a field of this width, and may contain anything. */
#define COMM_WIDTH 16

/* Where what follows `key` in text begins; NULL: it isn't there. */
static const char *after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? at + strlen(key) : NULL;
}

/* A word of the event's, without the prefix that all exits to user space have. */
static bool take_reason(struct trace_event *event, const char *text)
{
	const char *word = after(text, "reason ");

	if (word && strncmp(word, "KVM_EXIT_", 9) == 0)
		word += 9;
	return word && sscanf(word, "%31s", event->reason) == 1;
}

static bool take_rip(struct trace_event *event, const char *text)
{
	const char *rip = after(text, "rip ");

	return rip && sscanf(rip, "%" SCNx64, &event->value) == 1;
}

static bool parse_entry(struct trace_event *event, const char *text)
{
	return take_rip(event, text);
}

static bool parse_exit(struct trace_event *event, const char *text)
{
	return take_reason(event, text) && take_rip(event, text);
}

static bool parse_user_exit(struct trace_event *event, const char *text)
{
	return take_reason(event, text);
}

static bool parse_mmio(struct trace_event *event, const char *text)
{
	return sscanf(text, "mmio write len %*u gpa %" SCNx64 " val %" SCNx64, &event->value,
		      &event->data) == 2;
}

static bool parse_sys_enter(struct trace_event *event, const char *text)
{
	return sscanf(text, "NR %" SCNu64 " (%*x, %" SCNx64, &event->value, &event->data) == 2;
}

static bool parse_sys_exit(struct trace_event *event, const char *text)
{
	int64_t returned;

	if (sscanf(text, "NR %" SCNu64 " = %" SCNd64, &event->value, &returned) != 2)
		return false;
	event->data = (uint64_t)returned;
	return true;
}

static const struct {
	const char *name;
	enum trace_kind kind;
	bool (*parse)(struct trace_event *event, const char *text);
} kinds[] = {
	{ "kvm_entry", TRACE_ENTRY, parse_entry },
	{ "kvm_exit", TRACE_EXIT, parse_exit },
	{ "kvm_userspace_exit", TRACE_USER_EXIT, parse_user_exit },
	{ "kvm_mmio", TRACE_MMIO_WRITE, parse_mmio },
	{ "sys_enter", TRACE_SYS_ENTER, parse_sys_enter },
	{ "sys_exit", TRACE_SYS_EXIT, parse_sys_exit },
};

bool trace_parse_line(const char *line, struct trace_event *event)
{
	uint64_t seconds, micros;
	char name[32];
	int n = 0;

	*event = (struct trace_event){ 0 };
	if (strlen(line) <= COMM_WIDTH ||
	    sscanf(line + COMM_WIDTH, "-%d [%*d] %*s %" SCNu64 ".%6" SCNu64 ": %31[a-z_]: %n", &event->pid,
		   &seconds, &micros, name, &n) != 4 || n == 0)
		return false;
	event->at_ns = seconds * 1000000000u + micros * 1000u;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		event->kind = kinds[i].kind;
		if (strcmp(name, kinds[i].name) == 0)
			return kinds[i].parse(event, line + COMM_WIDTH + n);
	}
	return false;
}

static int append(struct trace_log *log, const struct trace_event *event, struct error *err)
{
	if (log->n == log->room) {
		size_t room = log->room ? 2 * log->room : 1024;
		struct trace_event *events = realloc(log->events, room * sizeof(*events));

		if (!events)
			return error_sys(err, ENOMEM, "trace");
		log->events = events;
		log->room = room;
	}
	log->events[log->n++] = *event;
	return 0;
}

int trace_parse(struct trace_log *log, const char *text, struct error *err)
{
	struct trace_event event;
	uint64_t kept, written;

	*log = (struct trace_log){ 0 };
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (sscanf(line, "# entries-in-buffer/entries-written: %" SCNu64 "/%" SCNu64, &kept,
			   &written) == 2)
			log->lost = written - kept;
		else if (*line != '#' && trace_parse_line(line, &event) && append(log, &event, err) < 0)
			return -err->errnum;
	}
	return 0;
}

void trace_log_free(struct trace_log *log)
{
	free(log->events);
	*log = (struct trace_log){ 0 };
}
