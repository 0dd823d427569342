/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The logger: the only global mutable state of the monitor. One line per event, never blocking:
 * a line that its sink won't take at once is dropped and counted. Safe from any thread.
 */
#ifndef MOTE_LOG_H
#define MOTE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/error.h"

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

struct log_options {
	const char *path;    /* file or FIFO to append to; NULL = stderr */
	enum log_level level;
	bool show_level;
	bool show_origin;    /* file:line of the call */
	const char *module;  /* lines of source files whose path begins so; NULL = of all */
	const char *id;      /* name of the microVM, at most 64 characters */
};

/*
 * A module is a path in the source tree, "vmm/api/routes.c", or what it begins with; "::" may stand for
 * "/", as in the names of Firecracker's modules.
 */

/* The settings before log_open: warnings and errors, with their level, to stderr. */

/*
 * (Re)open the logger. A FIFO without a reader is fine: lines are lost and counted until one comes.
 * Errors: those of open(2).
 */
int log_open(const struct log_options *options, struct error *err);
void log_close(void);

/* "Error", "Warning", "Info", "Debug", "Trace", "Off", in any case ("Warn" too). -EINVAL if none. */
int log_level_parse(const char *name, enum log_level *level);
const char *log_level_name(enum log_level level);
bool log_enabled(enum log_level level);
bool log_is_stderr(void); /* what is said on stderr too need not be logged then */
uint64_t log_lines_lost(void);

/* Seconds since 1970 (not negative) as UTC: "2026-11-26T07:19:29". */
#define LOG_UTC_SIZE 20
void log_utc(int64_t seconds, char text[LOG_UTC_SIZE]);

/* Takes no lock and allocates nothing, so that a handler of a fatal signal may call it. */
void log_line(enum log_level level, const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define log_at(level, ...)                                                                         \
	(log_enabled(level) ? log_line(level, __FILE__, __LINE__, __VA_ARGS__) : (void)0)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

#endif
