/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent is told to do, and the frames that wait for it. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

#include "tools/mote/session.h"
#include "vmm/util.h"

static int append(struct outbox *tx, const void *bytes, size_t length)
{
	if (tx->length + length > tx->size) {
		size_t size = tx->size ? tx->size : 1024;

		while (size < tx->length + length)
			size *= 2;
		char *grown = realloc(tx->bytes, size);

		if (!grown)
			return -ENOMEM;
		tx->bytes = grown;
		tx->size = size;
	}
	if (length > 0)
		memcpy(tx->bytes + tx->length, bytes, length);
	tx->length += length;
	return 0;
}

int outbox_add(struct outbox *tx, uint32_t type, const void *payload, size_t length, struct error *err)
{
	struct agent_frame frame = { .type = type, .length = (uint32_t)length };

	if (append(tx, &frame, sizeof(frame)) < 0 || append(tx, payload, length) < 0)
		return error_sys(err, ENOMEM, "frame for the guest's agent");
	return 0;
}

void outbox_send(struct outbox *tx, int agent)
{
	ssize_t n = send(agent, tx->bytes, tx->length, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* The agent is gone; who reads from it learns that, behind what it sent before. */
	if (n < 0)
		n = (ssize_t)tx->length;
	tx->length -= (size_t)n;
	memmove(tx->bytes, tx->bytes + n, tx->length);
}

static int add_field(struct outbox *job, uint32_t tag, const void *value, size_t length)
{
	struct agent_field field = { .tag = tag, .length = (uint32_t)length };
	int rc = append(job, &field, sizeof(field));

	return rc < 0 ? rc : append(job, value, length);
}

static int add_text(struct outbox *job, uint32_t tag, const char *text)
{
	return add_field(job, tag, text, strlen(text));
}

static int add_environment(struct outbox *job, const struct run_options *o)
{
	int rc = add_text(job, AGENT_ENV,
			  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");

	if (rc == 0)
		rc = add_text(job, AGENT_ENV, "HOME=/root");
	if (rc == 0 && o->tty)
		rc = add_text(job, AGENT_ENV, "TERM=xterm");
	for (unsigned int i = 0; rc == 0 && i < o->n_env; i++)
		rc = add_text(job, AGENT_ENV, o->env[i]);
	return rc;
}

static int add_fields(struct outbox *job, const struct run_options *o, const char *root_type)
{
	struct winsize size = { 0 };
	int rc = 0;

	for (char **arg = o->command; rc == 0 && *arg; arg++)
		rc = add_text(job, AGENT_ARG, *arg);
	if (rc == 0)
		rc = add_environment(job, o);
	if (rc == 0)
		rc = add_text(job, AGENT_ROOT_TYPE, root_type);
	if (rc == 0 && o->writable)
		rc = add_field(job, AGENT_ROOT_RW, NULL, 0);
	if (rc == 0 && o->cwd)
		rc = add_text(job, AGENT_CWD, o->cwd);
	if (rc == 0)
		rc = add_text(job, AGENT_HOSTNAME, "mote");
	if (rc == 0 && o->address[0])
		rc = add_text(job, AGENT_ADDRESS, o->address);
	if (rc == 0 && o->gateway[0])
		rc = add_text(job, AGENT_GATEWAY, o->gateway);
	if (rc == 0 && o->tty) {
		ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
		rc = add_field(job, AGENT_TTY, (uint16_t[]){ size.ws_row, size.ws_col }, 4);
	}
	return rc;
}

int job_send(struct outbox *tx, const struct run_options *options, const char *root_type,
	     struct error *err)
{
	struct agent_frame frame = { .type = AGENT_JOB };
	size_t start = tx->length;

	/* The length is known when everything is there. */
	if (append(tx, &frame, sizeof(frame)) < 0 || add_fields(tx, options, root_type) < 0)
		return error_sys(err, ENOMEM, "job");
	size_t length = tx->length - start - sizeof(frame);

	if (length > AGENT_JOB_MAX)
		return error_set(err, E2BIG, "command, environment and options are %zu bytes, at most %u go",
				 length, AGENT_JOB_MAX);
	frame.length = (uint32_t)length;
	memcpy(tx->bytes + start, &frame, sizeof(frame));
	return 0;
}
