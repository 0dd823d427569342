/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mote bench api`: from exec to the API's socket, and what memory the monitor has of its own then, and
 * with a disk, a network card, vsock, metadata and an idle guest, all of which it is asked for by the API.
 */
#include "tools/bench/api.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

#include "tools/bench/boot.h"
#include "tools/bench/hostdev.h"
#include "tools/bench/http_client.h"
#include "tools/bench/smaps.h"
#include "vmm/util.h"

#define PLACE	   "/bench"
#define API_SOCKET PLACE "/api.sock"
#define VSOCK	   PLACE "/vsock"
#define TAP	   "motebench0"
#define ARGS	   KERNEL_ARGS " console=ttyS0 -- idle"
/* Before a start: what the end of the one before left to the kernel to do. After: what a guest still does. */
#define BEFORE_US 30000
#define SETTLE_US 500000

enum { SOCKET, ANSWER, PRIVATE_START, PRIVATE_GUEST, FIGURES };

static const struct {
	const char *name, *title, *unit;
} figures[FIGURES] = {
	[SOCKET] = { "to_socket", "exec to API socket connected", "ms" },
	[ANSWER] = { "to_answer", "exec to first answer", "ms" },
	[PRIVATE_START] = { "private_start", "private, before the guest", "KiB" },
	[PRIVATE_GUEST] = { "private_guest", "private, all devices, idle guest", "KiB" },
};

struct mappings {
	struct bench_subject *subject;
	struct error *err;
};

static int count_mapping(void *context, const char *name, uint64_t kib)
{
	const struct mappings *m = context;

	return bench_count_add(m->subject, "private KiB by mapping", name, kib, m->err);
}

static int put(int fd, const char *path, const json_t *body, struct error *err)
{
	cleanup_free char *text = json_dumps(body, JSON_COMPACT);
	int status = text ? http_request(fd, "PUT", path, text, err) : error_sys(err, ENOMEM, "%s", path);

	return status < 0 ? status : 0;
}

/* Each of an array goes to the path that ends in the first of its keys' values: PUT /drives/ID. */
static int put_each(int fd, const char *key, const json_t *all, struct error *err)
{
	char path[128];
	size_t i;
	json_t *one;
	int rc = 0;

	json_array_foreach(all, i, one) {
		const json_t *id = json_object_iter_value(json_object_iter(one));

		snprintf(path, sizeof(path), "/%s/%s", key, json_string_value(id));
		rc = rc == 0 ? put(fd, path, one, err) : rc;
	}
	return rc;
}

int api_configure(int fd, json_t *config, struct error *err)
{
	const char *key;
	json_t *value;
	char path[64];
	int rc = 0;

	json_object_foreach(config, key, value) {
		snprintf(path, sizeof(path), "/%s", strcmp(key, "mmds-config") == 0 ? "mmds/config" : key);
		if (rc == 0)
			rc = json_is_array(value) ? put_each(fd, key, value, err) : put(fd, path, value, err);
	}
	return rc;
}

/* Why there's no socket: the monitor ended, or time is up. */
static int never_there(struct launch *launch, struct error *err)
{
	int rc = launch_finish(launch, 0, err);

	return rc < 0 ? error_wrap(err, "no socket at \"%s\"", API_SOCKET)
		      : error_set(err, ECHILD, "ended without a socket at \"%s\"", API_SOCKET);
}

/*
 * Connected as soon as it can be: directory (inotify) says when the socket is there; until somebody
 * listens at it we let others run.
 */
static int await_socket(struct launch *launch, int directory, struct error *err)
{
	struct pollfd fds[2] = { { .fd = directory, .events = POLLIN },
				 { .fd = launch->pidfd, .events = POLLIN } };
	uint64_t deadline = launch->start_ns + BENCH_TIMEOUT_S * UINT64_C(1000000000);
	char events[4096];

	while (monotonic_ns() < deadline) {
		int fd = http_connect(API_SOCKET, BENCH_TIMEOUT_S);

		if (fd >= 0)
			return fd;
		if (fd == -ECONNREFUSED && fds[1].revents == 0) {
			sched_yield();
			poll(&fds[1], 1, 0);
			continue;
		}
		if (fd != -ENOENT || poll(fds, 2, BENCH_TIMEOUT_S * 1000) < 0 || fds[1].revents)
			break;
		if (fds[0].revents && read(directory, events, sizeof(events)) < 0)
			break;
	}
	return never_there(launch, err);
}

/* In a watched directory: see await_socket. */
static int start(const struct subject *subject, struct launch *launch, double values[FIGURES], struct error *err)
{
	cleanup_launch_argv struct launch_argv argv = { 0 };
	cleanup_close int directory = inotify_init1(IN_CLOEXEC);
	int rc = launch_arg(&argv, err, "%s", subject->program);

	unlink(API_SOCKET);
	unlink(VSOCK);
	if (rc == 0)
		rc = launch_arg(&argv, err, "--api-sock");
	if (rc == 0)
		rc = launch_arg(&argv, err, "%s", API_SOCKET);
	if (rc == 0 && (directory < 0 || inotify_add_watch(directory, PLACE, IN_CREATE) < 0))
		rc = error_sys(err, errno, "inotify");
	usleep(BEFORE_US);
	if (rc == 0)
		rc = launch_start(launch, &argv, err);
	int fd = rc == 0 ? await_socket(launch, directory, err) : rc;

	values[SOCKET] = (double)(monotonic_ns() - launch->start_ns) / 1e6;
	if (fd >= 0)
		rc = http_request(fd, "GET", "/", NULL, err);
	values[ANSWER] = (double)(monotonic_ns() - launch->start_ns) / 1e6;
	if (fd >= 0 && rc < 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

/* One disk, one network card, vsock, metadata, and then it runs. */
static int run_guest(const struct bench *bench, int fd, const char *disk, struct launch *launch, struct error *err)
{
	const struct guest guest = {
		.args = ARGS, .console = true, .memory_mib = bench->options->memory_mib,
		.vcpus = bench->options->vcpus, .disk = disk, .tap = TAP, .vsock = VSOCK, .mmds = true,
	};
	json_t *config = subject_config(&guest);
	json_t *data = subject_metadata();
	json_t *action = json_pack("{s:s}", "action_type", "InstanceStart");
	int rc = config && data && action ? 0 : error_sys(err, ENOMEM, "configuration");

	if (rc == 0)
		rc = api_configure(fd, config, err);
	if (rc == 0)
		rc = put(fd, "/mmds", data, err);
	if (rc == 0)
		rc = put(fd, "/actions", action, err);
	if (rc == 0)
		rc = launch_await(launch, "idle", BENCH_TIMEOUT_S, err);
	json_decref(config);
	json_decref(data);
	json_decref(action);
	return rc;
}

static int measure_memory(const struct bench *bench, int fd, const char *disk, struct launch *launch,
			  struct bench_subject *subject, double values[FIGURES], struct error *err)
{
	struct mappings mappings = { subject, err };
	unsigned int ram = bench->options->memory_mib;
	bool guest = !bench->options->no_guest;
	struct smaps_totals totals = { 0 };
	int rc = smaps_read_pid(launch->pid, ram, &totals, subject && !guest ? count_mapping : NULL, &mappings, err);

	values[PRIVATE_START] = (double)totals.private_kib;
	if (rc < 0 || !guest)
		return rc;
	rc = run_guest(bench, fd, disk, launch, err);
	usleep(SETTLE_US);
	if (rc == 0)
		rc = smaps_read_pid(launch->pid, ram, &totals, subject ? count_mapping : NULL, &mappings, err);
	values[PRIVATE_GUEST] = (double)totals.private_kib;
	return rc;
}

/* One monitor, its figures into values; its mappings into the result, if this is the last round. */
static int measure(const struct bench *bench, unsigned int i, const char *disk, bool last, double values[FIGURES],
		   struct error *err)
{
	const struct subject *subject = &bench->subjects->all[i];
	cleanup_free struct launch *launch = malloc(sizeof(*launch));

	if (!launch)
		return error_sys(err, ENOMEM, "%s", subject->kind->name);
	*launch = (struct launch){ .pid = -1, .pidfd = -1, .out = -1, .errors = -1 };
	cleanup_close int fd = start(subject, launch, values, err);
	int rc = fd < 0 ? fd : measure_memory(bench, fd, disk, launch, last ? &bench->result->subjects[i] : NULL,
					      values, err);

	launch_release(launch);
	return rc < 0 ? error_wrap(err, "%s", subject->kind->name) : 0;
}

static int add_values(const struct bench *bench, unsigned int i, const double values[FIGURES], struct error *err)
{
	struct bench_subject *subject = &bench->result->subjects[i];

	for (unsigned int f = 0; f < (bench->options->no_guest ? PRIVATE_GUEST : FIGURES); f++) {
		struct bench_figure *figure = bench_figure_find(subject, figures[f].name);

		if (!figure)
			figure = bench_figure_add(subject, figures[f].name, figures[f].title, figures[f].unit,
						  BENCH_LOWER, err);
		if (!figure || bench_value_add(figure, values[f], err) < 0)
			return -err->errnum;
	}
	return 0;
}

/* One round that isn't counted; leaves out who can't do it. */
static int warm_up(struct bench *bench, const char *disk, struct error *err)
{
	double values[FIGURES];
	struct error why;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < bench->subjects->n;) {
		bench_progress(bench, 0, bench->subjects->all[i].kind->name);
		if (measure(bench, i, disk, false, values, i ? &why : err) == 0)
			i++;
		else if (i == 0)
			return -err->errnum;
		else
			rc = subjects_leave_out(bench->subjects, i, bench->result, &why, err);
	}
	return rc == 0 ? bench_add_subjects(bench, err) : rc;
}

static int run_rounds(struct bench *bench, const char *disk, struct error *err)
{
	unsigned int rounds = bench->options->rounds;
	double values[SUBJECTS_MAX][FIGURES];
	int rc = warm_up(bench, disk, err);

	for (unsigned int r = 1; rc == 0 && r <= rounds; r++) {
		for (unsigned int i = 0; rc == 0 && i < bench->subjects->n; i++) {
			bench_progress(bench, r, bench->subjects->all[i].kind->name);
			rc = measure(bench, i, disk, r == rounds, values[i], err);
		}
		for (unsigned int i = 0; rc == 0 && i < bench->subjects->n; i++)
			rc = add_values(bench, i, values[i], err);
	}
	return rc;
}

int bench_do_api(struct bench *bench, struct error *err)
{
	struct hostdev_disk disk;
	int rc;

	if (bench->options->no_guest)
		return run_rounds(bench, NULL, err);
	rc = hostdev_tap_make(TAP, NULL, err);
	if (rc < 0)
		return rc;
	rc = hostdev_disk_open(&disk, PLACE, 0, 1, err);
	if (rc == 0)
		rc = run_rounds(bench, disk.path, err);
	hostdev_disk_close(&disk);
	return rc;
}
