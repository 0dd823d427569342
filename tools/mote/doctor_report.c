/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/mote/doctor.h"
#include "vmm/util.h"

static void add(struct report *report, enum verdict verdict, const char *check, long count,
		const char *fmt, va_list ap)
{
	struct finding *f;

	if (report->n == ARRAY_SIZE(report->findings))
		return;
	f = &report->findings[report->n++];
	*f = (struct finding){ .verdict = verdict, .group = report->group, .count = count };
	snprintf(f->check, sizeof(f->check), "%s", check);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
}

void report_add(struct report *report, enum verdict verdict, const char *check, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(report, verdict, check, -1, fmt, ap);
	va_end(ap);
}

void report_count(struct report *report, enum verdict verdict, const char *check, long count,
		  const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(report, verdict, check, count, fmt, ap);
	va_end(ap);
}

static const struct finding *first_bad(const struct report *report)
{
	for (unsigned int i = 0; i < report->n; i++)
		if (report->findings[i].verdict == BAD)
			return &report->findings[i];
	return NULL;
}

const char *report_first_bad(const struct report *report)
{
	const struct finding *bad = first_bad(report);

	return bad ? bad->text : NULL;
}

bool report_is_good(const struct report *report)
{
	return !first_bad(report);
}

static void print_finding(const struct finding *f)
{
	static const char *const marks[] = {
		[GOOD] = "ok  ", [NOTE] = "note", [WARN] = "warn", [BAD] = "FAIL",
	};

	printf("%s  %-26s ", marks[f->verdict], f->check);
	if (f->count >= 0)
		printf("%ld%s", f->count, f->text[0] ? ": " : "");
	puts(f->text);
}

void report_print(const struct report *report, const char *good, const char *bad)
{
	const struct finding *worst = first_bad(report);

	for (unsigned int i = 0; i < report->n; i++) {
		const struct finding *f = &report->findings[i];

		if (i == 0 || strcmp(f->group, f[-1].group) != 0)
			printf("%s%s\n", i ? "\n" : "", f->group);
		print_finding(f);
	}
	if (worst)
		printf("\n%s: %s: %s\n", bad, worst->check, worst->text);
	else
		printf("\n%s.\n", good);
}

void report_print_json(const struct report *report, const char *key)
{
	static const char *const results[] = {
		[GOOD] = "ok", [NOTE] = "note", [WARN] = "warn", [BAD] = "fail",
	};
	json_t *checks = json_array();
	json_t *root = json_pack("{s:b, s:o}", key, report_is_good(report), "checks", checks);

	for (unsigned int i = 0; i < report->n; i++) {
		const struct finding *f = &report->findings[i];
		json_t *check = json_pack("{s:s, s:s, s:s, s:s}", "group", f->group, "check", f->check,
					  "result", results[f->verdict], "text", f->text);

		if (f->count >= 0)
			json_object_set_new(check, "count", json_integer(f->count));
		json_array_append_new(checks, check);
	}
	json_dumpf(root, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(root);
}
