/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "vmm/open.h"
#include "vmm/util.h"

#define LOG_LINE_MAX 2048
#define LOG_ID_MAX   64
#define LOG_MODULE_MAX 255 /* more than any source file's path has: cut, it still matches none */

/* Set once by log_open, before other threads exist; afterwards only `lost` changes. */
static struct {
	int fd;
	bool owned;
	enum log_level level;
	bool show_level;
	bool show_origin;
	char id[LOG_ID_MAX + 1];
	char module[LOG_MODULE_MAX + 1];
	_Atomic uint64_t lost;
} logger = { .fd = STDERR_FILENO, .level = LOG_WARN, .show_level = true, .id = "mote" };

static const char *const level_names[] = {
	[LOG_OFF] = "Off",   [LOG_ERROR] = "Error", [LOG_WARN] = "Warning",
	[LOG_INFO] = "Info", [LOG_DEBUG] = "Debug", [LOG_TRACE] = "Trace",
};

int log_level_parse(const char *name, enum log_level *level)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (strcasecmp(name, level_names[i]) == 0) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	if (strcasecmp(name, "warn") != 0)
		return -EINVAL;
	*level = LOG_WARN;
	return 0;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

bool log_enabled(enum log_level level)
{
	return level <= logger.level;
}

bool log_is_stderr(void)
{
	return logger.fd == STDERR_FILENO;
}

uint64_t log_lines_lost(void)
{
	return atomic_load(&logger.lost);
}

int log_open(const struct log_options *options, struct error *err)
{
	int fd = STDERR_FILENO;

	if (options->path) {
		fd = open_sink(options->path, err);
		if (fd < 0)
			return error_wrap(err, "log: open \"%s\"", options->path);
	}
	log_close();
	logger.fd = fd;
	logger.owned = options->path != NULL;
	logger.level = options->level;
	logger.show_level = options->show_level;
	logger.show_origin = options->show_origin;
	snprintf(logger.module, sizeof(logger.module), "%s", options->module ? options->module : "");
	snprintf(logger.id, sizeof(logger.id), "%s", options->id ? options->id : "mote");
	return 0;
}

void log_close(void)
{
	if (logger.owned)
		close(logger.fd);
	logger.fd = STDERR_FILENO;
	logger.owned = false;
}

/*
 * Not gmtime_r: it reads the host's time zone at its first call, which opens files (and the
 * sandbox forbids that), allocates and takes a lock (and a handler of a fatal signal can't).
 */
void log_utc(int64_t seconds, char text[LOG_UTC_SIZE])
{
	/* Eras of 400 years of days, which begin in March: a leap day is the last of its year. */
	uint64_t days = (uint64_t)seconds / 86400 + 719468, rest = (uint64_t)seconds % 86400;
	uint64_t era = days / 146097, day = days % 146097;
	uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;

	day -= 365 * year + year / 4 - year / 100;
	uint64_t month = (5 * day + 2) / 153; /* from March */

	day -= (153 * month + 2) / 5;
	year += 400 * era + (month >= 10);
	month = month >= 10 ? month - 9 : month + 3;
	snprintf(text, LOG_UTC_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u", (unsigned int)(year % 10000),
		 (unsigned int)month % 100, (unsigned int)(day + 1) % 100,
		 (unsigned int)(rest / 3600), (unsigned int)(rest / 60 % 60),
		 (unsigned int)(rest % 60));
}

/* __FILE__ in the source tree: the compiler runs in a directory beside it. */
static const char *source_path(const char *file)
{
	while (strncmp(file, "../", 3) == 0)
		file += 3;
	return file;
}

/* Whether path begins with module, in which "::" is "/". */
static bool is_in_module(const char *path, const char *module)
{
	for (; *module; module++, path++) {
		bool separator = module[0] == ':' && module[1] == ':';

		if (*path != (separator ? '/' : *module))
			return false;
		module += separator;
	}
	return true;
}

void log_line(enum log_level level, const char *file, int line, const char *fmt, ...)
{
	char buf[LOG_LINE_MAX];
	char thread[16] = "?";
	char utc[LOG_UTC_SIZE];
	struct timespec now;
	va_list ap;
	size_t len;
	int saved_errno = errno;

	file = source_path(file);
	if (!is_in_module(file, logger.module))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	log_utc(now.tv_sec, utc);
	prctl(PR_GET_NAME, thread);
	len = (size_t)snprintf(buf, sizeof(buf), "%s.%09ld [%s:%s", utc, now.tv_nsec, logger.id,
			       thread);
	if (logger.show_level)
		len += (size_t)snprintf(buf + len, sizeof(buf) - len, ":%s", level_names[level]);
	if (logger.show_origin)
		len += (size_t)snprintf(buf + len, sizeof(buf) - len, ":%s:%d", file, line);
	len += (size_t)snprintf(buf + len, sizeof(buf) - len, "] ");
	va_start(ap, fmt);
	int n = vsnprintf(buf + len, sizeof(buf) - len, fmt, ap);
	va_end(ap);
	if (n > 0)
		len += (size_t)n;
	if (len > sizeof(buf) - 2)
		len = sizeof(buf) - 2;
	buf[len++] = '\n';
	/*
	 * One write, so that lines of several threads don't mix; what isn't taken at once is lost.
	 * stderr may be shared with a shell, so it isn't made O_NONBLOCK: poll first. A line is
	 * shorter than PIPE_BUF, so a pipe that polls writable takes it whole.
	 */
	struct pollfd ready = { .fd = logger.fd, .events = POLLOUT };

	if (poll(&ready, 1, 0) != 1 || write(logger.fd, buf, len) != (ssize_t)len)
		atomic_fetch_add(&logger.lost, 1);
	errno = saved_errno;
}
