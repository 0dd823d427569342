/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/backend/vsock_mux.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <linux/virtio_vsock.h>

#include "vmm/log.h"
#include "vmm/util.h"

#define NS_PER_MS 1000000ull

/* Connections by their ports */

/* The index of the first connection whose ports aren't below these. */
static unsigned int table_index(const struct vsock_mux *mux, uint32_t host_port,
				uint32_t guest_port)
{
	uint64_t key = (uint64_t)host_port << 32 | guest_port;
	unsigned int low = 0, high = mux->n_table;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;
		const struct vsock_conn *conn = mux->table[mid];

		if (((uint64_t)conn->host_port << 32 | conn->guest_port) < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct vsock_conn *table_find(const struct vsock_mux *mux, uint32_t host_port,
				     uint32_t guest_port)
{
	unsigned int i = table_index(mux, host_port, guest_port);

	if (i == mux->n_table || mux->table[i]->host_port != host_port ||
	    mux->table[i]->guest_port != guest_port)
		return NULL;
	return mux->table[i];
}

bool vsock_mux_enter(struct vsock_conn *conn)
{
	struct vsock_mux *mux = conn->mux;

	if (table_find(mux, conn->host_port, conn->guest_port))
		return false;
	if (mux->n_table == mux->table_size) {
		unsigned int size = mux->table_size ? 2 * mux->table_size : 16;
		struct vsock_conn **table = realloc(mux->table, size * sizeof(*table));

		if (!table)
			return false;
		mux->table = table;
		mux->table_size = size;
	}

	unsigned int i = table_index(mux, conn->host_port, conn->guest_port);

	memmove(&mux->table[i + 1], &mux->table[i], (mux->n_table - i) * sizeof(*mux->table));
	mux->table[i] = conn;
	mux->n_table++;
	conn->in_table = true;
	return true;
}

void vsock_mux_leave(struct vsock_conn *conn)
{
	struct vsock_mux *mux = conn->mux;

	if (!conn->in_table)
		return;

	unsigned int i = table_index(mux, conn->host_port, conn->guest_port);

	mux->n_table--;
	memmove(&mux->table[i], &mux->table[i + 1], (mux->n_table - i) * sizeof(*mux->table));
	conn->in_table = false;
}

bool vsock_mux_enter_client(struct vsock_conn *conn, uint32_t guest_port)
{
	struct vsock_mux *mux = conn->mux;

	conn->guest_port = guest_port;
	/* VSOCK_CONNECTIONS_MAX ports can be taken: one more try finds a free one. */
	for (unsigned int i = 0; i <= VSOCK_CONNECTIONS_MAX; i++) {
		conn->host_port = VSOCK_HOST_PORT_FIRST | mux->next_host_port;
		mux->next_host_port = (mux->next_host_port + 1) & (VSOCK_HOST_PORT_FIRST - 1);
		if (vsock_mux_enter(conn))
			return true;
	}
	return false;
}

/* Life and death of connections */

struct vsock_conn *vsock_mux_new(struct vsock_mux *mux, enum vsock_conn_state state)
{
	struct vsock_conn *conn;

	if (mux->n_live == VSOCK_CONNECTIONS_MAX)
		return NULL;
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return NULL;
	conn->mux = mux;
	conn->fd = -1;
	conn->state = state;
	TAILQ_INSERT_TAIL(&mux->live, conn, list);
	mux->n_live++;
	vsock_count(&mux->counters.connections, 1);
	return conn;
}

void vsock_mux_kill(struct vsock_conn *conn)
{
	struct vsock_mux *mux = conn->mux;

	if (conn->state == VSOCK_DEAD)
		return;
	vsock_mux_leave(conn);
	if (conn->queued)
		TAILQ_REMOVE(&mux->ready, conn, ready);
	conn->queued = false;
	TAILQ_REMOVE(&mux->live, conn, list);
	TAILQ_INSERT_TAIL(&mux->dead, conn, list);
	mux->n_live--;
	atomic_fetch_sub_explicit(&mux->counters.connections, 1, memory_order_relaxed);
	if (conn->state == VSOCK_GREETING)
		mux->n_greetings--;
	conn->state = VSOCK_DEAD;
}

void vsock_mux_reap(struct vsock_mux *mux)
{
	struct vsock_conn *conn;

	while ((conn = TAILQ_FIRST(&mux->dead))) {
		TAILQ_REMOVE(&mux->dead, conn, list);
		vsock_conn_close_socket(conn);
		free(conn);
	}
	vsock_listener_update(mux);
}

void vsock_mux_schedule(struct vsock_conn *conn)
{
	if (conn->queued || !vsock_conn_has_output(conn))
		return;
	TAILQ_INSERT_TAIL(&conn->mux->ready, conn, ready);
	conn->queued = true;
}

/* Time */

void vsock_mux_set_timer(struct vsock_mux *mux, uint64_t at_ns)
{
	struct itimerspec when = {
		.it_value = { (time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u) },
	};

	if (mux->timer_ns != 0 && mux->timer_ns <= at_ns)
		return;
	mux->timer_ns = at_ns;
	timerfd_settime(mux->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void vsock_mux_set_deadline(struct vsock_conn *conn, uint32_t ms)
{
	conn->deadline_ns = monotonic_ns() + ms * NS_PER_MS;
	vsock_mux_set_timer(conn->mux, conn->deadline_ns);
}

/*
 * Whatever passed is handled, the timer set for what comes next. Deadlines that were given up leave
 * a timer behind: it finds nothing to do.
 */
static void expire(struct vsock_mux *mux)
{
	uint64_t now = monotonic_ns();
	struct vsock_conn *conn, *next;

	if (mux->accept_retry_ns != 0 && mux->accept_retry_ns <= now)
		mux->accept_retry_ns = 0;
	if (mux->accept_retry_ns != 0)
		vsock_mux_set_timer(mux, mux->accept_retry_ns);
	for (conn = TAILQ_FIRST(&mux->live); conn; conn = next) {
		next = TAILQ_NEXT(conn, list);
		if (conn->deadline_ns != 0 && conn->deadline_ns <= now) {
			conn->deadline_ns = 0;
			vsock_conn_expire(conn);
		} else if (conn->deadline_ns != 0) {
			vsock_mux_set_timer(mux, conn->deadline_ns);
		}
	}
}

/* The end of an event of the mux's own, with the lock held. */
static void finish(struct vsock_mux *mux)
{
	if (mux->active && vsock_mux_has_output(mux))
		mux->output(mux->owner);
	vsock_mux_reap(mux);
	pthread_mutex_unlock(mux->lock);
}

static void timer_event(struct loop_source *source, uint32_t events)
{
	struct vsock_mux *mux = source->owner;
	uint64_t expirations;

	(void)events;
	pthread_mutex_lock(mux->lock);
	if (read(mux->timer_fd, &expirations, sizeof(expirations)) == sizeof(expirations)) {
		mux->timer_ns = 0;
		expire(mux);
	}
	finish(mux);
}

void vsock_mux_socket_event(struct loop_source *source, uint32_t events)
{
	struct vsock_conn *conn = source->owner;
	struct vsock_mux *mux = conn->mux;

	pthread_mutex_lock(mux->lock);
	if (conn->state == VSOCK_GREETING)
		vsock_greeting_read(conn, events & (EPOLLRDHUP | EPOLLHUP));
	/* Events come once: what this one says beyond the line counts for the connection. */
	if (conn->state != VSOCK_GREETING && conn->state != VSOCK_DEAD)
		vsock_conn_socket_event(conn, events);
	finish(mux);
}

/* Packets */

bool vsock_mux_can_take(const struct vsock_mux *mux)
{
	return mux->n_resets < VSOCK_RESETS_MAX;
}

/* Answer a packet that belongs to no connection. RST isn't answered (§5.10.6.4). */
static void refuse(struct vsock_mux *mux, const struct vsock_packet *packet)
{
	if (packet->op == VIRTIO_VSOCK_OP_RST || !vsock_mux_can_take(mux))
		return;
	mux->resets[(mux->first_reset + mux->n_resets) % VSOCK_RESETS_MAX] = (struct vsock_reset){
		.host_port = packet->host_port,
		.guest_port = packet->guest_port,
		.type = packet->type,
	};
	mux->n_resets++;
}

/* The Unix socket of a port that the guest wants. fd, or -1 when nobody is there. */
static int connect_host(struct vsock_mux *mux, uint32_t port)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	cleanup_close int fd = vsock_ports_claim(mux, port);

	if (fd >= 0)
		return take_fd(&fd);
	if (!mux->path[0])
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	/* VSOCK_PATH_MAX leaves room for any port. */
	snprintf(address.sun_path, sizeof(address.sun_path), "%s_%u", mux->path, port);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	return take_fd(&fd);
}

static void open_from_guest(struct vsock_mux *mux, const struct vsock_packet *packet)
{
	cleanup_close int fd = -1;
	struct vsock_conn *conn = vsock_mux_new(mux, VSOCK_OPEN);

	if (conn) {
		conn->host_port = packet->host_port;
		conn->guest_port = packet->guest_port;
		conn->guest_buf_alloc = packet->buf_alloc;
		conn->guest_fwd_cnt = packet->fwd_cnt;
		conn->say_response = true;
		fd = connect_host(mux, packet->host_port);
		if (fd >= 0 && vsock_mux_enter(conn) && vsock_conn_watch(conn, take_fd(&fd)) == 0) {
			vsock_count(&mux->counters.opened, 1);
			vsock_mux_schedule(conn);
			return;
		}
		vsock_mux_kill(conn);
	}
	vsock_count(&mux->counters.refused, 1);
	refuse(mux, packet);
}

void vsock_mux_from_guest(struct vsock_mux *mux, const struct vsock_packet *packet,
			  const struct iovec *payload, unsigned int n)
{
	struct vsock_conn *conn = NULL;

	/* Connections are streams: the same ports with another type are another socket's. */
	if (packet->type == VIRTIO_VSOCK_TYPE_STREAM)
		conn = table_find(mux, packet->host_port, packet->guest_port);
	if (conn)
		vsock_conn_from_guest(conn, packet, payload, n);
	else if (packet->op == VIRTIO_VSOCK_OP_REQUEST && packet->type == VIRTIO_VSOCK_TYPE_STREAM)
		open_from_guest(mux, packet);
	else
		refuse(mux, packet);
}

void vsock_mux_reject(struct vsock_mux *mux, const struct vsock_packet *packet)
{
	struct vsock_packet invalid = *packet;

	if (packet->op != VIRTIO_VSOCK_OP_RST)
		invalid.op = VIRTIO_VSOCK_OP_INVALID;
	invalid.len = 0;
	vsock_mux_from_guest(mux, &invalid, NULL, 0);
}

bool vsock_mux_has_output(const struct vsock_mux *mux)
{
	return mux->n_resets > 0 || !TAILQ_EMPTY(&mux->ready);
}

bool vsock_mux_to_guest(struct vsock_mux *mux, struct vsock_packet *packet,
			const struct iovec *payload, unsigned int n)
{
	struct vsock_conn *conn;

	if (mux->n_resets > 0) {
		const struct vsock_reset *reset = &mux->resets[mux->first_reset];

		*packet = (struct vsock_packet){
			.host_port = reset->host_port,
			.guest_port = reset->guest_port,
			.type = reset->type,
			.op = VIRTIO_VSOCK_OP_RST,
		};
		mux->first_reset = (mux->first_reset + 1) % VSOCK_RESETS_MAX;
		mux->n_resets--;
		return true;
	}
	while ((conn = TAILQ_FIRST(&mux->ready))) {
		TAILQ_REMOVE(&mux->ready, conn, ready);
		conn->queued = false;

		/* Without a packet it found its socket empty, and isn't queued again. */
		bool produced = vsock_conn_to_guest(conn, packet, payload, n);

		vsock_mux_schedule(conn);
		if (produced)
			return true;
	}
	return false;
}

/* Creation and end */

int vsock_mux_init(struct vsock_mux *mux, const char *path, struct loop *loop,
		   pthread_mutex_t *lock, void (*output)(void *owner), void *owner,
		   struct error *err)
{
	*mux = (struct vsock_mux){
		.loop = loop,
		.lock = lock,
		.output = output,
		.owner = owner,
		.listen_fd = -1,
		.timer_fd = -1,
	};
	TAILQ_INIT(&mux->live);
	TAILQ_INIT(&mux->dead);
	TAILQ_INIT(&mux->ready);
	mux->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (mux->timer_fd < 0)
		return error_sys(err, errno, "timerfd_create");

	int r = loop_add(loop, &mux->timer, mux->timer_fd, EPOLLIN, timer_event, mux, err);

	return r < 0 || !path ? r : vsock_listener_open(mux, path, err);
}

void vsock_mux_release(struct vsock_mux *mux)
{
	if (!mux->loop)
		return;
	vsock_mux_stop(mux);
	vsock_mux_reap(mux);
	vsock_listener_close(mux);
	vsock_ports_close(mux);
	loop_remove(mux->loop, &mux->timer);
	close_fd(&mux->timer_fd);
	free(mux->table);
	mux->table = NULL;
	mux->table_size = 0;
}

void vsock_mux_start(struct vsock_mux *mux)
{
	mux->active = true;
	/* For the listening socket: the loop's thread looks after it. */
	vsock_mux_set_timer(mux, 1);
}

void vsock_mux_stop(struct vsock_mux *mux)
{
	struct vsock_conn *conn;

	mux->active = false;
	mux->n_resets = 0;
	while ((conn = TAILQ_FIRST(&mux->live)))
		vsock_mux_kill(conn);
	vsock_mux_set_timer(mux, 1);
}
