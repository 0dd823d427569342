/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tools/agent/agent.h"

int send_frame(int host, uint32_t type, const void *payload, size_t length)
{
	struct agent_frame frame = { .type = type, .length = (uint32_t)length };
	struct iovec parts[2] = { { &frame, sizeof(frame) }, { (void *)payload, length } };
	struct iovec *at = parts;
	int n = length > 0 ? 2 : 1;

	while (n > 0) {
		ssize_t sent = writev(host, at, n);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return -1;
		while (n > 0 && (size_t)sent >= at->iov_len) {
			sent -= (ssize_t)at->iov_len;
			at++;
			n--;
		}
		if (n > 0) {
			at->iov_base = (char *)at->iov_base + sent;
			at->iov_len -= (size_t)sent;
		}
	}
	return 0;
}

int send_failure(int host, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(text))
		n = sizeof(text) - 1;
	send_frame(host, AGENT_FAILED, text, (size_t)n);
	return -1;
}

int receive_exactly(int host, void *buffer, size_t length)
{
	char *p = buffer;

	while (length > 0) {
		ssize_t n = read(host, p, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		length -= (size_t)n;
	}
	return 0;
}

/* One field; its bytes lie in the job and are NUL-terminated by now. */
static int take_field(struct job *job, uint32_t tag, char *value, uint32_t length, size_t *n_args,
		      size_t *n_env)
{
	switch (tag) {
	case AGENT_ARG:
		if (*n_args == JOB_ARGS_MAX)
			return -1;
		job->argv[(*n_args)++] = value;
		return 0;
	case AGENT_ENV:
		if (*n_env == JOB_ENV_MAX)
			return -1;
		job->envp[(*n_env)++] = value;
		return 0;
	case AGENT_CWD:
		job->cwd = value;
		return 0;
	case AGENT_ROOT_TYPE:
		job->root_type = value;
		return 0;
	case AGENT_ROOT_RW:
		job->root_rw = true;
		return 0;
	case AGENT_HOSTNAME:
		job->hostname = value;
		return 0;
	case AGENT_ADDRESS:
		job->address = value;
		return 0;
	case AGENT_GATEWAY:
		job->gateway = value;
		return 0;
	case AGENT_TTY:
		if (length != 4)
			return -1;
		memcpy(&job->rows, value, 2);
		memcpy(&job->columns, value + 2, 2);
		job->tty = true;
		return 0;
	default:
		return -1;
	}
}

/*
 * Split `length` bytes into fields. Each value is moved down over its own header, which makes room
 * for a NUL behind it without copying the whole.
 */
static int parse_job(struct job *job, size_t length)
{
	size_t at = 0, n_args = 0, n_env = 0;

	while (length - at >= sizeof(struct agent_field)) {
		struct agent_field field;

		memcpy(&field, job->bytes + at, sizeof(field));
		if (field.length > length - at - sizeof(field))
			return -1;
		char *value = job->bytes + at;

		memmove(value, value + sizeof(field), field.length);
		value[field.length] = 0;
		if (take_field(job, field.tag, value, field.length, &n_args, &n_env) < 0)
			return -1;
		at += sizeof(field) + field.length;
	}
	return at == length && n_args > 0 && job->root_type ? 0 : -1;
}

int receive_job(int host, struct job *job)
{
	struct agent_frame frame;

	memset(job, 0, sizeof(*job));
	if (receive_exactly(host, &frame, sizeof(frame)) < 0)
		return -1;
	if (frame.type != AGENT_JOB || frame.length > AGENT_JOB_MAX)
		return send_failure(host, "agent: expected a job, got frame %u of %u bytes", frame.type,
				    frame.length);
	job->bytes = malloc(frame.length + 1);
	if (!job->bytes)
		return send_failure(host, "agent: no memory for a job of %u bytes", frame.length);
	if (receive_exactly(host, job->bytes, frame.length) < 0)
		return -1;
	if (parse_job(job, frame.length) < 0)
		return send_failure(host, "agent: malformed job");
	return 0;
}

void drain(int host)
{
	char scrap[512];
	ssize_t n;

	do {
		n = read(host, scrap, sizeof(scrap));
	} while (n > 0 || (n < 0 && errno == EINTR));
}
