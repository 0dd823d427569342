/* SPDX-License-Identifier: Apache-2.0 */
/* The socket that host clients connect to, and what they say before they have a connection. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "devices/backend/vsock_mux.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define ACCEPT_BATCH 16
#define BACKLOG	     128

int vsock_listener_open(struct vsock_mux *mux, const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(path);
	struct stat st;

	if (len == 0)
		return error_set(err, EINVAL, "uds_path is empty");
	if (len > VSOCK_PATH_MAX)
		return error_set(
			err, ENAMETOOLONG,
			"uds_path \"%s\" has %zu bytes, more than the %zu that a socket address "
			"with a port takes",
			path, len, VSOCK_PATH_MAX);
	memcpy(address.sun_path, path, len + 1);

	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_sys(err, errno, "socket");
	/*
	 * bind gives the file the socket's own mode: it's never accessible to others, and the
	 * umask, which all threads share, stays as it is.
	 */
	if (fchmod(fd, 0600) < 0)
		return error_sys(err, errno, "fchmod of a socket");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_sys(err, errno, "bind \"%s\"", path);
	memcpy(mux->path, path, len + 1);
	if (lstat(path, &st) == 0) {
		mux->path_dev = st.st_dev;
		mux->path_ino = st.st_ino;
	}
	mux->listen_fd = take_fd(&fd);
	if (listen(mux->listen_fd, BACKLOG) < 0)
		return error_sys(err, errno, "listen on \"%s\"", path);
	return 0;
}

void vsock_listener_close(struct vsock_mux *mux)
{
	struct stat st;

	loop_remove(mux->loop, &mux->listener);
	if (mux->listen_fd < 0)
		return;
	/* A file that somebody put there meanwhile isn't ours to remove. */
	if (lstat(mux->path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == mux->path_dev &&
	    st.st_ino == mux->path_ino)
		unlink(mux->path);
	close_fd(&mux->listen_fd);
}

static void take_client(struct vsock_mux *mux, int client)
{
	cleanup_close int fd = client;
	struct vsock_conn *conn = vsock_mux_new(mux, VSOCK_GREETING);

	if (!conn) {
		vsock_count(&mux->counters.refused, 1);
		return;
	}
	mux->n_greetings++;
	if (vsock_conn_watch(conn, take_fd(&fd)) < 0) {
		vsock_count(&mux->counters.refused, 1);
		vsock_mux_kill(conn);
		return;
	}
	vsock_mux_set_deadline(conn, VSOCK_GREETING_TIMEOUT_MS);
}

/* Without descriptors or memory a client stays in the backlog; trying again at once would spin. */
static void pause_accepting(struct vsock_mux *mux)
{
	if (!mux->accept_logged)
		log_warn("vsock: accept on \"%s\": %s (not logged again)", mux->path,
			 strerrordesc_np(errno));
	mux->accept_logged = true;
	mux->accept_retry_ns = monotonic_ns() + VSOCK_ACCEPT_RETRY_MS * 1000000ull;
	vsock_mux_set_timer(mux, mux->accept_retry_ns);
}

static void listener_event(struct loop_source *source, uint32_t events)
{
	struct vsock_mux *mux = source->owner;

	(void)events;
	pthread_mutex_lock(mux->lock);
	for (unsigned int i = 0;
	     i < ACCEPT_BATCH && mux->active && mux->n_greetings < VSOCK_GREETINGS_MAX; i++) {
		int fd = accept4(mux->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0)
			take_client(mux, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accepting(mux);
		if (fd < 0)
			break;
	}
	vsock_mux_reap(mux);
	pthread_mutex_unlock(mux->lock);
}

void vsock_listener_update(struct vsock_mux *mux)
{
	bool accepting = mux->active && mux->listen_fd >= 0 && mux->accept_retry_ns == 0 &&
			 mux->n_greetings < VSOCK_GREETINGS_MAX;

	if (!accepting)
		loop_remove(mux->loop, &mux->listener);
	else if (!mux->listener.callback)
		loop_add(mux->loop, &mux->listener, mux->listen_fd, EPOLLIN, listener_event, mux,
			 NULL);
}

/* "CONNECT <port>", the port decimal. false if line says something else. */
static bool parse_greeting(char *line, uint32_t *port)
{
	static const char verb[] = "connect";
	const size_t verb_len = sizeof(verb) - 1;
	char *p = line + verb_len, *end;
	unsigned long value;

	if (strncasecmp(line, verb, verb_len) != 0 || (*p != ' ' && *p != '\t'))
		return false;
	p += strspn(p, " \t");
	if (!isdigit((unsigned char)*p))
		return false;
	/* Beyond unsigned long it saturates, which is beyond 32 bits too. */
	value = strtoul(p, &end, 10);
	end += strspn(end, " \t\r");
	*port = (uint32_t)value;
	return *end == 0 && value <= UINT32_MAX;
}

/* 1 with the line, 0 if it hasn't all come yet, -1 if it never will. ended: no more can come. */
static int read_line(int fd, bool ended, char line[VSOCK_GREETING_MAX + 1])
{
	ssize_t n;

	do
		n = recv(fd, line, VSOCK_GREETING_MAX, MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;

	const char *newline = memchr(line, '\n', (size_t)n);

	if (!newline)
		return ended || n == 0 || n == VSOCK_GREETING_MAX ? -1 : 0;

	/* What follows the newline is for the guest and stays in the socket. */
	size_t len = (size_t)(newline - line) + 1;

	if (recv(fd, line, len, MSG_DONTWAIT) != (ssize_t)len || memchr(line, 0, len))
		return -1;
	line[len - 1] = 0;
	return 1;
}

void vsock_greeting_read(struct vsock_conn *conn, bool ended)
{
	struct vsock_mux *mux = conn->mux;
	char line[VSOCK_GREETING_MAX + 1];
	uint32_t port;
	int r = read_line(conn->fd, ended, line);

	if (r == 0)
		return;
	if (r < 0 || !parse_greeting(line, &port) || !vsock_mux_enter_client(conn, port)) {
		vsock_count(&mux->counters.refused, 1);
		vsock_mux_kill(conn);
		return;
	}
	mux->n_greetings--;
	conn->state = VSOCK_REQUESTED;
	conn->say_request = true;
	vsock_mux_set_deadline(conn, VSOCK_REQUEST_TIMEOUT_MS);
	vsock_mux_schedule(conn);
}
