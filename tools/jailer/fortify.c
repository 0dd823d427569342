/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mote-jailer is linked with musl: glibc's start alone, with its CPUID instructions, relocations
 * and page faults, would take a third of the time that a jail may take. Debian's static jansson is
 * made for glibc, but all that it needs of it beyond the C standard is the checked forms of three
 * functions, and those are here. What the two libraries share with it is the C ABI: FILE and struct
 * lconv, of which it reads the first member, are the same to it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int __vsnprintf_chk(char *s, size_t size, int flag, size_t room, const char *format, va_list ap);
int __snprintf_chk(char *s, size_t size, int flag, size_t room, const char *format, ...);
char *__strncpy_chk(char *to, const char *from, size_t size, size_t room);

int __vsnprintf_chk(char *s, size_t size, int flag, size_t room, const char *format, va_list ap)
{
	(void)flag;
	if (room < size)
		abort();
	return vsnprintf(s, size, format, ap);
}

int __snprintf_chk(char *s, size_t size, int flag, size_t room, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	int n = __vsnprintf_chk(s, size, flag, room, format, ap);

	va_end(ap);
	return n;
}

char *__strncpy_chk(char *to, const char *from, size_t size, size_t room)
{
	if (room < size)
		abort();
	return strncpy(to, from, size);
}
