/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: the job that mote-agent gets, made of good and bad fields. */
#include <stdlib.h>
#include <sys/socket.h>

#include "input.h"
#include "tools/agent/agent.h"
#include "vmm/util.h"

#define JOB_SIZE_MAX (64 * 1024) /* a socket takes it without a reader */

static size_t field(struct input *in, uint8_t *out)
{
	static const uint8_t tags[] = { AGENT_ARG, AGENT_ENV, AGENT_CWD, AGENT_ROOT_TYPE,
					AGENT_ROOT_RW, AGENT_HOSTNAME, AGENT_ADDRESS, AGENT_GATEWAY,
					AGENT_TTY };
	uint8_t how = input_u8(in);
	struct agent_field head = { .tag = how % 16 < sizeof(tags) ? tags[how % 16] : input_u32(in),
				    .length = how & 16 ? input_u8(in) : how >> 5 };
	uint32_t length = head.length;

	if (how == 0xff)
		head.length = input_u32(in);
	memcpy(out, &head, sizeof(head));
	input_bytes(in, out + sizeof(head), length);
	return sizeof(head) + length;
}

/* A string of the job: within its bytes, with its end. */
static void check_text(const struct job *job, size_t length, const char *text)
{
	if (!text)
		return;
	must(text >= job->bytes && text <= job->bytes + length);
	must(memchr(text, 0, (size_t)(job->bytes + length + 1 - text)));
}

static void check(const struct job *job, size_t length)
{
	must(job->argv[0] && job->root_type && !job->argv[JOB_ARGS_MAX] && !job->envp[JOB_ENV_MAX]);
	for (unsigned int i = 0; job->argv[i]; i++)
		check_text(job, length, job->argv[i]);
	for (unsigned int i = 0; job->envp[i]; i++)
		check_text(job, length, job->envp[i]);
	check_text(job, length, job->cwd);
	check_text(job, length, job->root_type);
	check_text(job, length, job->hostname);
	check_text(job, length, job->address);
	check_text(job, length, job->gateway);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[sizeof(struct agent_frame) + JOB_SIZE_MAX + 512];
	static struct job job;
	struct input in = { data, size };
	uint8_t how = input_u8(&in);
	struct agent_frame frame = { .type = how & 1 ? input_u32(&in) : AGENT_JOB };
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	/* So many of one kind that its list is full, and one more. */
	for (unsigned int i = 0; how & 8 && i < JOB_ARGS_MAX + (how >> 7); i++) {
		const struct agent_field arg = { .tag = how & 16 ? AGENT_ARG : AGENT_ENV };

		memcpy(bytes + sizeof(frame) + frame.length, &arg, sizeof(arg));
		frame.length += sizeof(arg);
	}
	while (in.left > 0 && frame.length < JOB_SIZE_MAX)
		frame.length += (uint32_t)field(&in, bytes + sizeof(frame) + frame.length);

	size_t sent = sizeof(frame) + frame.length;

	if (how & 2)
		frame.length = input_u32(&in);
	if (how & 4)
		frame.length -= frame.length > 0;
	memcpy(bytes, &frame, sizeof(frame));
	must(send(ends[1], bytes, sent, MSG_DONTWAIT) == (ssize_t)sent);
	shutdown(ends[1], SHUT_WR);
	if (receive_job(ends[0], &job) == 0)
		check(&job, frame.length);
	free(job.bytes);
	close(ends[0]);
	close(ends[1]);
	return 0;
}
