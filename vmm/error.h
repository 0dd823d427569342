/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors are values with a reason. A function that can fail returns 0 (or a count) or a negative
 * errno, and describes the failure in the struct error it was given. Callers add context on the
 * way up; what a person reads at the end is one line: object, operation, cause.
 *
 *	drive "rootfs": open "/x.ext4": No such file or directory
 */
#ifndef MOTE_ERROR_H
#define MOTE_ERROR_H

#define ERROR_MESSAGE_MAX 1024

struct error {
	int errnum;                    /* positive errno of the root cause; 0 = no error */
	char message[ERROR_MESSAGE_MAX]; /* one line, no newline; control characters replaced */
};

/*
 * Describe a failed system call: message = "<fmt>: <strerror(errnum)>". err may be NULL.
 * Returns -errnum (errnum must be positive; 0 is taken as EIO), so that callers can write
 * `return error_sys(err, errno, "open \"%s\"", path);`
 */
int error_sys(struct error *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As error_sys, but the message is fmt alone: for causes that no errno describes. */
int error_set(struct error *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Put context in front of the message: "<fmt>: <message so far>".
 * Returns -err->errnum (or -EIO when err is NULL), so that it can end a function too.
 */
int error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
