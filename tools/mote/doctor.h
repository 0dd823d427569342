/* SPDX-License-Identifier: Apache-2.0 */
/* `mote doctor`: what was found, and who looks for what. */
#ifndef MOTE_DOCTOR_H
#define MOTE_DOCTOR_H

#include <stdbool.h>

enum verdict {
	GOOD,
	NOTE, /* something is missing that only some uses need */
	WARN, /* guests run, but less is between them and the host than could be */
	BAD,
};

struct finding {
	enum verdict verdict;
	const char *group;
	char check[40];
	long count; /* -1 = this is no count */
	char text[400];
};

/* What was found, in order. */
struct report {
	const char *group; /* of what is found next; static */
	unsigned int n;
	struct finding findings[96];
};

void report_add(struct report *report, enum verdict verdict, const char *check, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A number that was counted, for programs apart from the text that says what of. */
void report_count(struct report *report, enum verdict verdict, const char *check, long count,
		  const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* What the first BAD finding says; NULL: there is none. */
const char *report_first_bad(const struct report *report);
/* Whether nothing is BAD. */
bool report_is_good(const struct report *report);
/* One line for each finding, then the sentence that is true; the other one with the first BAD. */
void report_print(const struct report *report, const char *good, const char *bad);
/* One object; key: the name of what report_is_good means. */
void report_print_json(const struct report *report, const char *key);

/* KVM, with guests of a few instructions that try what a Linux kernel does. */
void doctor_check_kvm(struct report *report);
/* What comes with mote. */
void doctor_check_parts(struct report *report);

/*
 * What only some microVMs need, and what stands between guests beside mote's own doing; root: the
 * directory that has the host's /proc and /sys.
 */
void doctor_check_host(struct report *report, int root);
void doctor_check_security(struct report *report, int root);
/* Holes of the processor that the kernel knows. */
void doctor_check_holes(struct report *report, int root);

/* First line of the file path, which begins with no "/", without its newline; false if there's none. */
bool doctor_read_line(int root, const char *path, char *line, unsigned int size);

/* Run a guest in a jail, and count what is left to its monitor. */
void doctor_check_isolation(struct report *report);

#endif
