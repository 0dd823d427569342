/* SPDX-License-Identifier: Apache-2.0 */
/* `mote bench io`, `net`, `vsock` and `mmds`: devices as a guest sees them, in the guest's time. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "tools/bench/boot.h"
#include "tools/bench/cpu.h"
#include "tools/bench/hostdev.h"
#include "tools/bench/netserver.h"
#include "vmm/util.h"

#define DISK_MIB	64
#define SEQUENTIAL	8 /* MiB */
#define SEQUENTIAL_MIB	"8"
#define REQUESTS	"600"
#define WORKERS		"4"
#define NET_MIB		8
#define NET_MIB_TEXT	"8"
#define PINGS		"200"
#define TAP		"motebench0"
#define HOST_ADDRESS	"192.0.2.1"
#define GUEST_ADDRESS	"192.0.2.2"
#define SERVICE		"169.254.169.254"
#define SERVICE_GUEST	"169.254.1.2"
#define REQUESTS_MMDS	"200"
#define VSOCK		"/bench/vsock"
#define VSOCK_PORT	"7"
#define CONSOLE_ARGS	KERNEL_ARGS " console=ttyS0 -- "

/* What the guest says as "NAME_ns NUMBER". */
struct quantity {
	const char *name, *title, *unit;
	enum bench_better better;
	double scale;  /* of ns */
	bool per_time; /* scale / ns */
	uint64_t bytes; /* that it moves, and whose processor time is counted; 0: it isn't */
};

/* Of one quantity; processor times in ms for a GiB. */
struct measured {
	double value, cpu, kernel_cpu; /* kernel_cpu < 0: can't be counted */
};

static const struct quantity io[] = {
	{ "sequential_read", "sequential read, 64 KiB", "MB/s", BENCH_HIGHER, 65536e3, true, SEQUENTIAL * MIB },
	{ "sequential_write", "sequential write, 64 KiB", "MB/s", BENCH_HIGHER, 65536e3, true, SEQUENTIAL * MIB },
	{ "random_read", "random read, 4 KiB, " WORKERS " at a time", "IOPS", BENCH_HIGHER, 1e9, true, 0 },
	{ "random_write", "random write, 4 KiB, " WORKERS " at a time", "IOPS", BENCH_HIGHER, 1e9, true, 0 },
	{ NULL },
};

static const struct quantity net[] = {
	{ "stream_to_host", "TCP stream to the host", "MB/s", BENCH_HIGHER, NET_MIB * 1048576e3, true, NET_MIB * MIB },
	{ "stream_to_guest", "TCP stream to the guest", "MB/s", BENCH_HIGHER, NET_MIB * 1048576e3, true, NET_MIB * MIB },
	{ "tcp_round_trip", "TCP round trip", "us", BENCH_LOWER, 1e-3, false, 0 },
	{ "udp_round_trip", "UDP round trip", "us", BENCH_LOWER, 1e-3, false, 0 },
	{ NULL },
};

static const struct quantity vsock[] = {
	{ "stream_to_host", "stream to the host", "MB/s", BENCH_HIGHER, NET_MIB * 1048576e3, true, NET_MIB * MIB },
	{ "stream_to_guest", "stream to the guest", "MB/s", BENCH_HIGHER, NET_MIB * 1048576e3, true, NET_MIB * MIB },
	{ "round_trip", "round trip", "us", BENCH_LOWER, 1e-3, false, 0 },
	{ NULL },
};

static const struct quantity mmds[] = {
	{ "one_connection", "requests over one connection", "1/s", BENCH_HIGHER, 1e9, true, 0 },
	{ "connection_each", "requests, a connection each", "1/s", BENCH_HIGHER, 1e9, true, 0 },
	{ NULL },
};

/* At most, of a guest. */
#define QUANTITIES 4

/* The number on the guest's line NAME_ns; -ENODATA with what it said instead. */
static int find_number(const char *output, const char *name, double *ns, struct error *err)
{
	unsigned long long number = 0;
	char key[48];

	snprintf(key, sizeof(key), "\n%s_ns ", name);
	const char *at = strstr(output, key), *wrong = strstr(output, "error ");

	if (at && sscanf(at + strlen(key), "%llu", &number) == 1 && number > 0) {
		*ns = (double)number;
		return 0;
	}
	return error_set(err, ENODATA, "the guest said \"%.*s\" for %s", wrong ? (int)strcspn(wrong, "\r\n") : 7,
			 wrong ? wrong : "nothing", name);
}

static double ms_per_gib(uint64_t before_ns, uint64_t after_ns, uint64_t bytes)
{
	/* A thread of the kernel's may be gone with what it had. */
	return after_ns > before_ns ? (double)(after_ns - before_ns) / 1e6 * (double)GIB / (double)bytes : 0;
}

/* While the guest runs: what moving those bytes costs the host (tools/bench/guest/bench.h: say_begin). */
static int count_cpu(const struct bench *bench, struct launch *launch, const struct quantity *quantity,
		     struct measured *measured, struct error *err)
{
	struct cpu_times before, after;
	char begin[48], end[48];

	snprintf(begin, sizeof(begin), "%s_begin", quantity->name);
	snprintf(end, sizeof(end), "%s_ns ", quantity->name);
	int rc = launch_await(launch, begin, BENCH_TIMEOUT_S, err);

	if (rc == 0)
		rc = cpu_read(launch->pid, bench->place->outside_proc, &before, err);
	if (rc == 0)
		rc = launch_await(launch, end, BENCH_TIMEOUT_S, err);
	if (rc == 0)
		rc = cpu_read(launch->pid, bench->place->outside_proc, &after, err);
	if (rc < 0)
		return rc;
	measured->cpu = ms_per_gib(before.process_ns, after.process_ns, quantity->bytes);
	measured->kernel_cpu =
		before.kernel_ns ? ms_per_gib(before.kernel_ns, after.kernel_ns, quantity->bytes) : -1;
	return 0;
}

/* One guest to its end. */
static int run_guest(const struct bench *bench, unsigned int subject_number, const struct guest *guest,
		     const struct quantity *quantities, struct measured measured[QUANTITIES], struct error *err)
{
	const struct subject *subject = &bench->subjects->all[subject_number];
	cleanup_launch_argv struct launch_argv argv = { 0 };
	cleanup_free struct launch *launch = malloc(sizeof(*launch));
	double ns = 0;

	if (!launch)
		return error_sys(err, ENOMEM, "%s", subject->kind->name);
	if (subject->kind->command(subject, guest, &argv, err) < 0)
		return error_wrap(err, "%s", subject->kind->name);
	int rc = launch_start(launch, &argv, err);

	for (unsigned int q = 0; rc == 0 && quantities[q].name; q++)
		if (quantities[q].bytes)
			rc = count_cpu(bench, launch, &quantities[q], &measured[q], err);
	if (rc == 0)
		rc = launch_finish(launch, BENCH_TIMEOUT_S, err);
	for (unsigned int q = 0; rc == 0 && quantities[q].name; q++) {
		rc = find_number(launch->output, quantities[q].name, &ns, err);
		measured[q].value = quantities[q].per_time ? quantities[q].scale / ns : quantities[q].scale * ns;
	}
	launch_release(launch);
	return rc < 0 ? error_wrap(err, "%s", subject->kind->name) : 0;
}

static int add_value(struct bench_subject *subject, const char *name, const char *title, const char *unit,
		     enum bench_better better, double value, struct error *err)
{
	struct bench_figure *figure = bench_figure_find(subject, name);

	if (!figure)
		figure = bench_figure_add(subject, name, title, unit, better, err);
	return figure ? bench_value_add(figure, value, err) : -err->errnum;
}

static int add_cpu(struct bench_subject *subject, const struct quantity *quantity, const struct measured *measured,
		   struct error *err)
{
	char name[48], title[96];

	snprintf(name, sizeof(name), "%s_cpu", quantity->name);
	snprintf(title, sizeof(title), "%s: CPU", quantity->title);
	int rc = add_value(subject, name, title, "ms/GiB", BENCH_LOWER, measured->cpu, err);

	snprintf(name, sizeof(name), "%s_kernel_cpu", quantity->name);
	snprintf(title, sizeof(title), "%s: kernel threads", quantity->title);
	return rc == 0 && measured->kernel_cpu >= 0 ?
		       add_value(subject, name, title, "ms/GiB", BENCH_LOWER, measured->kernel_cpu, err) : rc;
}

static int add_values(const struct bench *bench, unsigned int i, const struct quantity *quantities,
		      const struct measured measured[QUANTITIES], struct error *err)
{
	struct bench_subject *subject = &bench->result->subjects[i];
	int rc = 0;

	for (unsigned int q = 0; rc == 0 && quantities[q].name; q++)
		rc = add_value(subject, quantities[q].name, quantities[q].title, quantities[q].unit,
			       quantities[q].better, measured[q].value, err);
	for (unsigned int q = 0; rc == 0 && quantities[q].name; q++)
		rc = quantities[q].bytes ? add_cpu(subject, &quantities[q], &measured[q], err) : 0;
	return rc;
}

/* Rounds by turns, after one that isn't counted and that leaves out who can't do it. */
static int run_rounds(struct bench *bench, const struct guest *guest, const struct quantity *quantities,
		      struct error *err)
{
	struct measured values[SUBJECTS_MAX][QUANTITIES];
	struct subjects *subjects = bench->subjects;
	struct error why;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < subjects->n;) {
		bench_progress(bench, 0, subjects->all[i].kind->name);
		if (run_guest(bench, i, guest, quantities, values[i], i ? &why : err) == 0)
			i++;
		else if (i == 0)
			return -err->errnum;
		else
			rc = subjects_leave_out(subjects, i, bench->result, &why, err);
	}
	if (rc == 0)
		rc = bench_add_subjects(bench, err);
	for (unsigned int r = 1; rc == 0 && r <= bench->options->rounds; r++) {
		for (unsigned int i = 0; rc == 0 && i < subjects->n; i++) {
			bench_progress(bench, r, subjects->all[i].kind->name);
			rc = run_guest(bench, i, guest, quantities, values[i], err);
		}
		for (unsigned int i = 0; rc == 0 && i < subjects->n; i++)
			rc = add_values(bench, i, quantities, values[i], err);
	}
	return rc;
}

int bench_do_io(struct bench *bench, struct error *err)
{
	struct hostdev_disk disk;
	int rc = hostdev_disk_open(&disk, "/bench", DISK_MIB, DISK_MIB, err);
	const struct guest guest = {
		.args = CONSOLE_ARGS "disk /dev/vda " SEQUENTIAL_MIB " " REQUESTS " " WORKERS, .console = true,
		.memory_mib = bench->options->memory_mib, .vcpus = bench->options->vcpus, .disk = disk.path,
	};

	if (rc == 0)
		rc = run_rounds(bench, &guest, io, err);
	hostdev_disk_close(&disk);
	return rc;
}

/* Rounds beside a process that serves. */
static int run_with_server(struct bench *bench, const struct guest *guest, const struct netserver *server,
			   const struct quantity *quantities, struct error *err)
{
	pid_t child = fork();

	if (child < 0)
		return error_sys(err, errno, "fork");
	if (child == 0) {
		netserver_serve(server);
		_exit(1);
	}
	int rc = run_rounds(bench, guest, quantities, err);

	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return rc;
}

int bench_do_net(struct bench *bench, struct error *err)
{
	const struct guest guest = {
		.args = CONSOLE_ARGS "net " GUEST_ADDRESS " " HOST_ADDRESS " " NET_MIB_TEXT " " PINGS, .console = true,
		.memory_mib = bench->options->memory_mib, .vcpus = bench->options->vcpus, .tap = TAP,
	};
	struct netserver server;
	int rc = hostdev_tap_make(TAP, HOST_ADDRESS, err);

	if (rc == 0)
		rc = netserver_open(&server, HOST_ADDRESS, err);
	return rc == 0 ? run_with_server(bench, &guest, &server, net, err) : rc;
}

int bench_do_vsock(struct bench *bench, struct error *err)
{
	const struct guest guest = {
		.args = CONSOLE_ARGS "vsock " VSOCK_PORT " " NET_MIB_TEXT " " PINGS, .console = true,
		.memory_mib = bench->options->memory_mib, .vcpus = bench->options->vcpus, .vsock = VSOCK,
	};
	struct netserver server;
	int rc = netserver_open_unix(&server, VSOCK "_" VSOCK_PORT, err);

	return rc == 0 ? run_with_server(bench, &guest, &server, vsock, err) : rc;
}

int bench_do_mmds(struct bench *bench, struct error *err)
{
	const struct guest guest = {
		.args = CONSOLE_ARGS "mmds " SERVICE_GUEST " " SERVICE " " REQUESTS_MMDS, .console = true,
		.memory_mib = bench->options->memory_mib, .vcpus = bench->options->vcpus, .tap = TAP, .mmds = true,
	};
	int rc = hostdev_tap_make(TAP, NULL, err);

	return rc == 0 ? run_rounds(bench, &guest, mmds, err) : rc;
}
