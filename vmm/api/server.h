/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API: Firecracker's, HTTP/1.1 with JSON on one Unix socket.
 *
 *	server       the socket and its clients on the monitor's event loop: who may speak, how long
 *	connection   bytes of one client -> request -> bytes of the response; HTTP, no socket
 *	routes       method and path -> rules of state and body -> handler; no HTTP
 *	handlers     JSON body -> a change of the config, or an action of the microVM (actions.h)
 *
 * A body is read by the functions that read the config file (json.h), and what it would make of the
 * config is judged by the same rules (config_put_*), so that file and API never differ. No handler
 * knows a device: what a request makes the microVM do is a function of struct api_actions, which
 * the monitor fills with its own (vm_actions.c) and tests fill with theirs.
 *
 * Threads. There is none of its own: requests are handled one after the other on the event loop's
 * thread, which also makes the VM when InstanceStart comes. A request does what it does before the
 * next one is read, so nothing here has a lock. Making a VM takes some milliseconds, in which no
 * guest waits, since there is none; afterwards nothing that a request does waits for a disk's or a
 * client's pleasure, except pausing, which waits until each vCPU has come out of the guest, and a
 * drive's PATCH with another image, which waits for what the drive has in flight and unflushed.
 *
 * Confinement. The thread's filter (policy/vmm.json and vmm-api.json) is installed at the end of
 * InstanceStart, when each vCPU thread is under its own and before one enters the guest; for a
 * config file likewise.
 * Before that there is nothing hostile in the process: who configures a microVM over the socket
 * chooses its files by that, and is trusted with them. What requests need afterwards is in the
 * policy. For a drive's PATCH the thread, which a guest may have broken, opens what is there under a
 * name, to read or to read and write: it makes, empties and executes no file, and which ones there
 * are is the jail's business. Log, metrics and serial output are fixed when the guest starts.
 *
 * A client may be slow, stuck or hostile, and neither the guest nor other clients notice: sockets
 * don't block; a client gets one read of API_INPUT_SIZE bytes and at most some API_BURST responses
 * per turn of the event loop; while its response isn't taken, nothing more of it is read. It has
 * API_REQUEST_TIMEOUT_MS from the first byte of a request to its last one, and as long for taking a
 * response (limits.h). There are at most API_CLIENTS_MAX; one more takes the place of the one that
 * has been idle, between two requests, longest, or is turned away with status 503 if none is.
 * Memory of a client: its struct, a body of at most body_max bytes, one response.
 *
 * The socket is made with mode 0660 less the umask, never in place of something that exists, and
 * removed at the end if the path still leads to it.
 */
#ifndef MOTE_API_SERVER_H
#define MOTE_API_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/api/connection.h"
#include "vmm/error.h"
#include "vmm/loop.h"

#define API_PATH_MAX 107 /* sun_path without its NUL */

struct api_client;

struct api_server {
	struct loop *loop; /* borrowed; NULL = not open */
	char path[API_PATH_MAX + 1];
	dev_t path_dev;
	ino_t path_ino;
	int listen_fd, timer_fd;
	struct loop_source listener, timer;
	uint64_t timer_ns;	  /* for when it's armed; 0 = it isn't */
	uint64_t accept_retry_ns; /* nobody is accepted before; 0 = now */
	bool accept_logged;
	struct api_client *clients[API_CLIENTS_MAX];
	size_t body_max;
	api_handler handler;
	void *context;
};

/*
 * Make the socket and listen on it. Requests go to handler(context, ..). server may be uninitialised
 * memory; on error it needs no close. Errors: one line that begins with `API`: -EADDRINUSE if
 * path exists, -ENAMETOOLONG, those of bind(2).
 */
int api_server_open(struct api_server *server, struct loop *loop, const char *path, size_t body_max,
		    api_handler handler, void *context, struct error *err);

/* Drop the clients and remove the socket. Harmless if server is closed or all zero. */
void api_server_close(struct api_server *server);

#endif
