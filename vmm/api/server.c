/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/api/server.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "vmm/log.h"
#include "vmm/util.h"

#define ACCEPT_BATCH 16
#define BACKLOG	     64
#define SOCKET_MODE  0660 /* less the umask */
#define NS_PER_S     1000000000ull

struct api_client {
	struct api_server *server;
	int fd;
	struct loop_source source;
	uint64_t idle_since_ns;
	bool told_end; /* that nothing more will be said */
	struct api_connection http;
};

/* ---- time ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* The timer to the next deadline. Most requests come whole, and need none. */
static void set_timer(struct api_server *server)
{
	struct itimerspec spec = { 0 };
	uint64_t next = server->accept_retry_ns;

	for (unsigned int i = 0; i < API_CLIENTS_MAX; i++)
		if (server->clients[i])
			next = earlier(next, server->clients[i]->http.deadline_ns);
	if (next == server->timer_ns)
		return;
	spec.it_value.tv_sec = (time_t)(next / NS_PER_S);
	spec.it_value.tv_nsec = (long)(next % NS_PER_S);
	if (timerfd_settime(server->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0)
		server->timer_ns = next;
}

/* ---- clients ---- */

static void drop(struct api_client *client)
{
	struct api_server *server = client->server;

	for (unsigned int i = 0; i < API_CLIENTS_MAX; i++)
		if (server->clients[i] == client)
			server->clients[i] = NULL;
	loop_remove(server->loop, &client->source);
	close_fd(&client->fd);
	api_connection_release(&client->http);
	free(client);
}

/* Send what there is, and the responses to what that lets through. False if the client is gone. */
static bool send_output(struct api_client *client)
{
	const char *at;
	size_t left;

	for (unsigned int i = 0;
	     i < API_BURST && (left = api_connection_output(&client->http, &at)); i++) {
		ssize_t n = send(client->fd, at, left, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		api_connection_sent(&client->http, (size_t)n, monotonic_ns());
	}
	return true;
}

static bool receive_input(struct api_client *client)
{
	char *at;
	size_t room = api_connection_room(&client->http, &at);

	if (room == 0)
		return true;
	ssize_t n = recv(client->fd, at, room, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	api_connection_received(&client->http, (size_t)n, monotonic_ns());
	return true;
}

/* What is to be waited for next. Input that is here already waits for its turn as output does. */
static bool settle(struct api_client *client)
{
	struct api_connection *http = &client->http;
	char *at;

	if (http->phase == API_DONE)
		return false;
	if (http->phase == API_DRAINING && !client->told_end)
		client->told_end = shutdown(client->fd, SHUT_WR) == 0;
	if (api_connection_idle(http))
		client->idle_since_ns = http->now_ns;
	return loop_modify(client->server->loop, &client->source,
			   api_connection_room(http, &at) ? EPOLLIN : EPOLLOUT, NULL) == 0;
}

static void on_client(struct loop_source *source, uint32_t events)
{
	struct api_client *client = source->owner;
	struct api_server *server = client->server;

	(void)events;
	if (!send_output(client) || !receive_input(client) || !send_output(client) ||
	    !settle(client))
		drop(client);
	set_timer(server);
}

static void expire_clients(struct api_server *server, uint64_t now_ns)
{
	for (unsigned int i = 0; i < API_CLIENTS_MAX; i++) {
		struct api_client *client = server->clients[i];

		if (!client || client->http.deadline_ns == 0 || client->http.deadline_ns > now_ns)
			continue;
		api_connection_expire(&client->http, now_ns);
		if (!send_output(client) || !settle(client))
			drop(client);
	}
}

/* ---- the listener ---- */

/* The slot of a new client: a free one, or that of the client that has been idle longest. */
static struct api_client **find_slot(struct api_server *server)
{
	struct api_client **oldest = NULL;

	for (unsigned int i = 0; i < API_CLIENTS_MAX; i++) {
		struct api_client **slot = &server->clients[i];

		if (!*slot)
			return slot;
		if (api_connection_idle(&(*slot)->http) &&
		    (!oldest || (*slot)->idle_since_ns < (*oldest)->idle_since_ns))
			oldest = slot;
	}
	if (oldest)
		drop(*oldest);
	return oldest;
}

static void turn_away(int fd)
{
	static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nServer: mote\r\n"
				   "Connection: close\r\nContent-Type: application/json\r\n"
				   "Content-Length: 46\r\n\r\n"
				   "{\"fault_message\":\"Too many open connections.\"}";

	if (send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("API: a client was turned away: %s", strerrordesc_np(errno));
}

static void take_client(struct api_server *server, int accepted)
{
	cleanup_close int fd = accepted;
	struct api_client **slot = find_slot(server);
	struct api_client *client = slot ? malloc(sizeof(*client)) : NULL;

	if (!client) {
		turn_away(fd);
		return;
	}
	*client =
		(struct api_client){ .server = server, .fd = -1, .idle_since_ns = monotonic_ns() };
	api_connection_init(&client->http, server->body_max, server->handler, server->context);
	if (loop_add(server->loop, &client->source, fd, EPOLLIN, on_client, client, NULL) < 0) {
		free(client);
		return;
	}
	client->fd = take_fd(&fd);
	*slot = client;
}

static void on_listener(struct loop_source *source, uint32_t events)
{
	struct api_server *server = source->owner;
	int fd = -1;

	(void)events;
	for (unsigned int i = 0; i < ACCEPT_BATCH; i++) {
		fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			break;
		take_client(server, fd);
	}
	if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		/* Without descriptors or memory a client stays in the backlog; at once would spin. */
		if (!server->accept_logged)
			log_warn("API: accept on \"%s\": %s (not logged again)", server->path,
				 strerrordesc_np(errno));
		server->accept_logged = true;
		server->accept_retry_ns = monotonic_ns() + API_ACCEPT_RETRY_MS * 1000000ull;
		loop_modify(server->loop, &server->listener, 0, NULL);
	}
	set_timer(server);
}

static void on_timer(struct loop_source *source, uint32_t events)
{
	struct api_server *server = source->owner;
	uint64_t expirations, now_ns = monotonic_ns();

	(void)events;
	if (read(server->timer_fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		server->timer_ns = 0;
	if (server->accept_retry_ns && server->accept_retry_ns <= now_ns) {
		server->accept_retry_ns = 0;
		loop_modify(server->loop, &server->listener, EPOLLIN, NULL);
	}
	expire_clients(server, now_ns);
	set_timer(server);
}

/* ---- open and close ---- */

static int listen_on(struct api_server *server, const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	struct stat st;

	if (length > API_PATH_MAX)
		return error_set(err, ENAMETOOLONG,
				 "\"%s\" has %zu bytes, more than the %d of a socket's path", path,
				 length, API_PATH_MAX);
	memcpy(address.sun_path, path, length + 1);
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* bind gives the file the socket's mode: at no moment is it open to others. */
	if (fd < 0 || fchmod(fd, SOCKET_MODE) < 0)
		return error_sys(err, errno, "socket");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_sys(err, errno, "bind \"%s\"", path);
	memcpy(server->path, path, length + 1);
	if (lstat(path, &st) == 0) {
		server->path_dev = st.st_dev;
		server->path_ino = st.st_ino;
	}
	server->listen_fd = take_fd(&fd);
	if (listen(server->listen_fd, BACKLOG) < 0)
		return error_sys(err, errno, "listen on \"%s\"", path);
	return 0;
}

static int open_all(struct api_server *server, const char *path, struct error *err)
{
	int rc = listen_on(server, path, err);

	if (rc < 0)
		return rc;
	server->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (server->timer_fd < 0)
		return error_sys(err, errno, "timerfd_create");
	rc = loop_add(server->loop, &server->timer, server->timer_fd, EPOLLIN, on_timer, server,
		      err);
	if (rc == 0)
		rc = loop_add(server->loop, &server->listener, server->listen_fd, EPOLLIN,
			      on_listener, server, err);
	return rc;
}

int api_server_open(struct api_server *server, struct loop *loop, const char *path, size_t body_max,
		    api_handler handler, void *context, struct error *err)
{
	*server = (struct api_server){
		.loop = loop,
		.listen_fd = -1,
		.timer_fd = -1,
		.body_max = body_max,
		.handler = handler,
		.context = context,
	};
	if (open_all(server, path, err) < 0) {
		api_server_close(server);
		return error_wrap(err, "API");
	}
	return 0;
}

void api_server_close(struct api_server *server)
{
	struct stat st;

	if (!server->loop)
		return;
	for (unsigned int i = 0; i < API_CLIENTS_MAX; i++)
		if (server->clients[i])
			drop(server->clients[i]);
	loop_remove(server->loop, &server->listener);
	loop_remove(server->loop, &server->timer);
	/* A file that somebody put there meanwhile isn't ours to remove. */
	if (server->listen_fd >= 0 && lstat(server->path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    st.st_dev == server->path_dev && st.st_ino == server->path_ino)
		unlink(server->path);
	close_fd(&server->listen_fd);
	close_fd(&server->timer_fd);
	server->loop = NULL;
}
