/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Names come from users, files and guests: a control character in one must not reach a terminal. */
static void one_printable_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

int error_sys(struct error *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	if (errnum <= 0)
		errnum = EIO;
	if (!err)
		return -errnum;
	err->errnum = errnum;
	va_start(ap, fmt);
	int n = vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->message))
		snprintf(err->message + n, sizeof(err->message) - (size_t)n, ": %s",
			 strerrordesc_np(errnum));
	one_printable_line(err->message);
	return -errnum;
}

int error_set(struct error *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	if (errnum <= 0)
		errnum = EIO;
	if (!err)
		return -errnum;
	err->errnum = errnum;
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	one_printable_line(err->message);
	return -errnum;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
	char context[ERROR_MESSAGE_MAX];
	char whole[2 * ERROR_MESSAGE_MAX + 4];
	va_list ap;

	if (!err)
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(context, sizeof(context), fmt, ap);
	va_end(ap);
	snprintf(whole, sizeof(whole), "%s: %s", context, err->message);
	/* The outermost context is what a reader needs; a message too long loses its tail. */
	memcpy(err->message, whole, sizeof(err->message) - 1);
	err->message[sizeof(err->message) - 1] = 0;
	one_printable_line(err->message);
	return err->errnum > 0 ? -err->errnum : -EIO;
}
