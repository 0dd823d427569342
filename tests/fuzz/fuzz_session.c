/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: `mote run`'s talk with an agent that is the guest's: frames of any kind, in any pieces. */
#include <fcntl.h>
#include <sys/socket.h>

#include "input.h"
#include "machine.h"
#include "tools/mote/session.h"
#include "vmm/util.h"

#define TALK_MAX (96 * 1024) /* a socket takes it without a reader */

int __wrap_host_stream_open(struct host_stream *stream, int fd, int flags, struct error *err);
int __real_host_stream_open(struct host_stream *stream, int fd, int flags, struct error *err);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);
ssize_t __real_recv(int fd, void *buf, size_t len, int flags);

struct talk {
	int streams[3];
	size_t piece; /* bytes that come at a time */
};

static struct talk *talk(void)
{
	static struct talk talk;

	return &talk;
}

/* In place of the fuzzer's own streams. */
int __wrap_host_stream_open(struct host_stream *stream, int fd, int flags, struct error *err)
{
	return __real_host_stream_open(stream, talk()->streams[fd], flags, err);
}

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
	return __real_recv(fd, buf, len < talk()->piece ? len : talk()->piece, flags);
}

/* stdin with a few bytes; an output that takes all, or one whose reader is gone. */
static void open_streams(uint8_t options)
{
	int fds[2];

	must(pipe2(fds, O_CLOEXEC) == 0 && write(fds[1], "stdin", 5) == 5);
	close(fds[1]);
	talk()->streams[0] = fds[0];
	talk()->streams[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
	must(pipe2(fds, O_CLOEXEC) == 0);
	close(fds[0]);
	talk()->streams[2] = fds[1];
	if (options & 4)
		talk()->streams[2] = dup3(talk()->streams[1], fds[1], O_CLOEXEC);
}

/* A frame as the protocol has it, but for what the program does to its type, length and order. */
static size_t frame(struct input *in, uint8_t *out)
{
	static const uint32_t types[] = { AGENT_READY, AGENT_STDOUT,      AGENT_STDERR, AGENT_EXIT,
					  AGENT_FAILED, AGENT_STDIN_TAKEN, AGENT_JOB };
	static const struct agent_ready ready = { .version = AGENT_VERSION, .kernel_ns = 1 };
	uint8_t how = input_u8(in);
	struct agent_frame head = { .type = how % 8 < 7 ? types[how % 8] : input_u32(in) };
	uint8_t *payload = out + sizeof(head);

	if (head.type == AGENT_READY)
		head.length = sizeof(ready);
	else if (head.type == AGENT_EXIT)
		head.length = sizeof(struct agent_exit);
	else if (head.type != AGENT_STDIN_TAKEN)
		head.length = how & 16 ? input_u16(in) : input_u8(in);

	uint32_t length = head.length;

	if (head.type == AGENT_READY && !(how & 8))
		memcpy(payload, &ready, sizeof(ready));
	else
		input_bytes(in, payload, length);
	if (how & 32)
		head.length = input_u32(in);
	memcpy(out, &head, sizeof(head));
	return sizeof(head) + length;
}

static void fill(struct input *in, int agent)
{
	static uint8_t bytes[TALK_MAX + sizeof(struct agent_frame) + UINT16_MAX];
	size_t length = 0;

	while (in->left > 0 && length < TALK_MAX)
		length += frame(in, bytes + length);
	must(send(agent, bytes, length, MSG_DONTWAIT) == (ssize_t)length || length == 0);
}

static void check(const struct session *s, enum session_end end, const struct error *err)
{
	must(end == SESSION_EXITED || end == SESSION_FAILED || end == SESSION_LOST ||
	     end == SESSION_BROKEN);
	must((end == SESSION_EXITED) == !err->message[0]);
	if (end == SESSION_EXITED)
		must(s->ready_ns && s->exit.status <= 255 && s->exit.signal <= 64);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *command[] = { (char *)"true", NULL };
	struct input in = { data, size };
	uint8_t options = input_u8(&in);
	const struct run_options run = { .command = command, .json = options & 1 };
	struct session session;
	struct error err = { 0 };
	int ends[2];

	machine_begin();
	talk()->piece = 1 + input_u8(&in) * 16u;
	open_streams(options);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	fill(&in, ends[1]);
	/* Its end comes behind what it said, so that the session always has one too. */
	shutdown(ends[1], SHUT_WR);
	session_init(&session, &run);
	session.agent = ends[0];
	session.root_type = "erofs";
	check(&session, session_run(&session, &err), &err);
	session_release(&session);
	close(ends[1]);
	for (unsigned int i = 0; i < 3; i++)
		close(talk()->streams[i]);
	machine_end();
	return 0;
}
