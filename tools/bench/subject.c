/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/subject.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "tools/bench/peers.h"
#include "vmm/util.h"

#define CONFIG	"/bench/config.json"
#define METRICS "/bench/metrics"
#define METADATA "/bench/metadata.json"

static int add_devices(json_t *config, const struct guest *guest)
{
	int rc = 0;

	if (guest->disk)
		rc |= json_object_set_new(config, "drives",
			json_pack("[{s:s, s:s, s:b, s:b, s:s}]", "drive_id", "disk", "path_on_host", guest->disk,
				  "is_root_device", 0, "is_read_only", 0, "io_engine", "Async"));
	if (guest->tap)
		rc |= json_object_set_new(config, "network-interfaces",
			json_pack("[{s:s, s:s}]", "iface_id", "eth0", "host_dev_name", guest->tap));
	if (guest->vsock)
		rc |= json_object_set_new(config, "vsock",
			json_pack("{s:i, s:s}", "guest_cid", 3, "uds_path", guest->vsock));
	if (guest->mmds)
		rc |= json_object_set_new(config, "mmds-config",
			json_pack("{s:[s], s:s}", "network_interfaces", "eth0", "version", "V2"));
	if (guest->metrics)
		rc |= json_object_set_new(config, "metrics", json_pack("{s:s}", "metrics_path", METRICS));
	return rc;
}

json_t *subject_config(const struct guest *guest)
{
	json_t *boot = json_pack("{s:s, s:s}", "kernel_image_path", guest->reset ? PLACE_RESET : PLACE_KERNEL,
				 "boot_args", guest->args);
	json_t *config;
	int rc = 0;

	if (boot && !guest->reset)
		rc |= json_object_set_new(boot, "initrd_path", json_string(PLACE_INIT));
	config = json_pack("{s:o, s:{s:i, s:i}, s:{s:s}}", "boot-source", boot, "machine-config", "vcpu_count",
			   (int)guest->vcpus, "mem_size_mib", (int)guest->memory_mib, "logger", "level", "Warning");
	rc |= config ? add_devices(config, guest) : -1;
	if (rc == 0)
		return config;
	json_decref(config);
	return NULL;
}

json_t *subject_metadata(void)
{
	return json_pack("{s:{s:{s:s}}}", "latest", "meta-data", "instance-id", "i-0123456789abcdef0");
}

static int write_json(json_t *value, const char *path)
{
	int rc = value ? json_dump_file(value, path, JSON_COMPACT) : -1;

	json_decref(value);
	return rc;
}

static int write_config(const struct guest *guest, struct error *err)
{
	int rc = write_json(subject_config(guest), CONFIG);

	if (rc == 0 && guest->mmds)
		rc = write_json(subject_metadata(), METADATA);
	/* Firecracker leaves it, and doesn't start where it is. */
	if (guest->vsock)
		unlink(guest->vsock);
	unlink(METRICS);
	return rc ? error_set(err, EIO, "write \"%s\"", CONFIG) : 0;
}

/* Firecracker takes the same. */
static int mote_command(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
			struct error *err)
{
	const char *const args[] = { subject->program, "--no-api", "--config-file", CONFIG,
				     guest->metrics ? "--boot-timer" : NULL,
				     guest->mmds ? "--metadata=" METADATA : NULL };
	int rc = write_config(guest, err);

	for (unsigned int i = 0; rc == 0 && i < ARRAY_SIZE(args); i++)
		rc = args[i] ? launch_arg(argv, err, "%s", args[i]) : 0;
	return rc;
}

/* A sandbox, in its jail, with an agent, for a command that prints a line. */
static int run_command(const struct subject *subject, const struct guest *guest, struct launch_argv *argv,
		       struct error *err)
{
	const char *const words[] = { subject->program, "run", "--kernel", PLACE_KERNEL, NULL };
	int rc = guest->reset ? error_set(err, ENOTSUP, "it runs Linux") : 0;

	for (unsigned int i = 0; rc == 0 && words[i]; i++)
		rc = launch_arg(argv, err, "%s", words[i]);
	if (rc == 0)
		rc = launch_arg(argv, err, "--memory=%u", guest->memory_mib);
	if (rc == 0)
		rc = launch_arg(argv, err, "--cpus=%u", guest->vcpus);
	if (rc == 0 && guest->timing)
		rc = launch_arg(argv, err, "--json");
	for (unsigned int i = 0; rc == 0 && i < 3; i++)
		rc = launch_arg(argv, err, "%s", (const char *const[]){ "--", "echo", "hello" }[i]);
	return rc;
}

static uint64_t stage(json_t *stages, const char *name)
{
	uint64_t since = (uint64_t)json_integer_value(json_object_get(stages, name));

	return since ? since + (uint64_t)json_integer_value(json_object_get(stages, "start_monotonic_ns")) : 0;
}

int subject_mote_stages(struct mote_stages *s, struct error *err)
{
	cleanup_fclose FILE *f = fopen(METRICS, "re");
	json_t *last = NULL, *line;

	if (!f)
		return error_sys(err, errno, "mote-vmm's metrics: open \"%s\"", METRICS);
	while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
		json_decref(last);
		last = line;
	}
	json_t *stages = json_object_get(last, "stages");

	*s = (struct mote_stages){
		.start = (uint64_t)json_integer_value(json_object_get(stages, "start_monotonic_ns")),
		.configured = stage(stages, "configured_ns"), .loaded = stage(stages, "loaded_ns"),
		.prepared = stage(stages, "prepared_ns"), .built = stage(stages, "built_ns"),
		.running = stage(stages, "running_ns"), .guest_ready = stage(stages, "guest_ready_ns"),
		.ended = stage(stages, "ended_ns"),
	};
	json_decref(last);
	return s->start ? 0 : error_set(err, EIO, "mote-vmm's metrics have no stages");
}

static const struct subject_kind mote = { "mote", NULL, true, mote_command, NULL };
static const struct subject_kind mote_run = { "mote run", NULL, true, run_command, NULL };
static const struct subject_kind kinds[] = {
	{ "qemu-microvm", "qemu-system-x86_64", true, peer_qemu, NULL },
	{ "firecracker", "firecracker", true, mote_command, NULL },
	{ "kvmtool", "lkvm", true, peer_kvmtool, NULL },
	{ "runc", "runc", false, peer_oci, peer_oci_prepare },
	{ "crun", "crun", false, peer_oci, peer_oci_prepare },
	{ "bwrap", "bwrap", false, peer_bwrap, NULL },
	{ "true", "true", false, peer_plain, NULL },
};

const char *const bench_run_files[BENCH_RUN_FILES] = { "mote", "mote-jailer", "mote-initrd.cpio",
						       "mote-root.erofs" };
const char *const bench_peer_names[] = {
	"qemu-microvm", "firecracker", "kvmtool", "runc", "crun", "bwrap", "true", NULL,
};

bool subject_is_mote(const struct subject *subject)
{
	return subject->kind == &mote;
}

bool subject_is_mote_run(const struct subject *subject)
{
	return subject->kind == &mote_run;
}

/* In PATH; malloc'd, NULL if it isn't there. */
static char *find_program(const char *name)
{
	static const char *const places[] = { "/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin",
					      "/bin", "/sbin" };
	char *path;

	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		if (asprintf(&path, "%s/%s", places[i], name) < 0)
			return NULL;
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

/* The program of a peer; NULL with the reason. */
static char *peer_program(const struct bench_peer *peer, const struct subject_kind *kind, char *why,
			  size_t size)
{
	cleanup_free char *busybox = find_program("busybox");
	char *path = peer->path ? realpath(peer->path, NULL) : find_program(kind->program);

	if (path && access(path, X_OK) < 0) {
		snprintf(why, size, "\"%s\": %s", path, strerror(errno));
		free(path);
		return NULL;
	}
	if (!path && peer->path)
		snprintf(why, size, "\"%s\": %s", peer->path, strerror(errno));
	else if (!path)
		snprintf(why, size, "not installed: no %s in PATH", kind->program);
	else if (!kind->monitor && kind->command != peer_plain && !busybox) {
		snprintf(why, size, "not installed: no busybox in PATH, which it would run");
		free(path);
		return NULL;
	}
	return path;
}

/* Why the bench `what` can't measure such a one; NULL: it can. */
static const char *unfit(const struct subject_kind *kind, const char *what)
{
	if (strcmp(what, "boot") == 0)
		return NULL;
	if (!kind->monitor)
		return "it runs no guests";
	return bench_needs_api(what) && kind->command != mote_command ? "it doesn't speak Firecracker's API" : NULL;
}

static int add_peer(struct subjects *subjects, const struct bench_peer *peer, const char *what,
		    struct place *place, struct bench_result *result, struct error *err)
{
	const struct subject_kind *kind = kinds;
	struct subject *subject = &subjects->all[subjects->n];
	char why[256];

	while (strcmp(kind->name, peer->name) != 0)
		kind++;
	const char *reason = unfit(kind, what);
	cleanup_free char *path = reason ? NULL : peer_program(peer, kind, why, sizeof(why));

	if (!path)
		return bench_left_out_add(result, peer->name, reason ? reason : why, err);
	*subject = (struct subject){ .kind = kind };
	snprintf(subject->program, sizeof(subject->program), "/bench/%s", kind->name);
	subjects->n++;
	return place_add(place, path, subject->program, true, err);
}

/* What peers need beside themselves. */
static int add_peers_files(struct place *place, struct error *err)
{
	static const char *const data[] = { "/usr/share/qemu/qboot.rom", "/usr/share/qemu/pvh.bin", "/etc/passwd",
					    "/etc/group" };
	cleanup_free char *busybox = find_program("busybox");
	int rc = busybox ? place_add(place, busybox, "/bench/bundle/rootfs/bin/true", false, err) : 0;

	for (unsigned int i = 0; rc == 0 && i < ARRAY_SIZE(data); i++)
		rc = place_add_data(place, data[i], err);
	return rc;
}

/* `mote run`, where all that it needs lies beside us. */
static int add_mote_run(struct subjects *subjects, const struct bench_files *files, struct place *place,
			struct error *err)
{
	struct subject *subject = &subjects->all[subjects->n];
	int rc = 0;

	*subject = (struct subject){ .kind = &mote_run, .program = "/bench/mote", .version = MOTE_VERSION };
	for (unsigned int i = 0; i < BENCH_RUN_FILES; i++)
		if (!files->run[i])
			return 0;
	subjects->n++;
	for (unsigned int i = 0; rc == 0 && i < BENCH_RUN_FILES; i++) {
		char to[64];

		snprintf(to, sizeof(to), "/bench/%s", bench_run_files[i]);
		rc = place_add(place, files->run[i], to, true, err);
	}
	return rc;
}

int subjects_find(struct subjects *subjects, const struct bench_options *options,
		  const struct bench_files *files, const char *container, struct place *place,
		  struct bench_result *result, struct error *err)
{
	bool boot = strcmp(options->what, "boot") == 0;
	struct subject *own = &subjects->all[0];

	*own = (struct subject){ .kind = &mote, .program = "/bench/mote-vmm", .version = MOTE_VERSION };
	subjects->n = 1;
	int rc = place_add(place, files->vmm, own->program, true, err);

	if (rc == 0)
		rc = place_add(place, files->kernel, PLACE_KERNEL, false, err);
	if (rc == 0)
		rc = place_add(place, files->init, PLACE_INIT, false, err);
	if (rc == 0)
		rc = place_add(place, files->reset, PLACE_RESET, false, err);
	if (rc == 0 && files->bzimage)
		rc = place_add(place, files->bzimage, PLACE_BZIMAGE, false, err);
	if (rc == 0)
		rc = add_peers_files(place, err);
	if (rc == 0 && boot && !options->reset_guest)
		rc = add_mote_run(subjects, files, place, err);
	for (unsigned int i = 0; rc == 0 && i < options->n_peers; i++)
		rc = add_peer(subjects, &options->peers[i], options->what, place, result, err);
	for (unsigned int i = 0; i < subjects->n; i++) {
		subjects->all[i].bzimage = files->bzimage != NULL;
		subjects->all[i].container = container;
	}
	return rc;
}

/* The first line of what it says of itself. */
static void find_version(struct subject *subject)
{
	const char *const argv[] = { subject->program, strcmp(subject->kind->name, "kvmtool") == 0 ? "version"
												   : "--version",
				     NULL };
	cleanup_free char *text = subject->version[0] ? NULL : place_output_of(argv);

	if (text)
		snprintf(subject->version, sizeof(subject->version), "%.*s", (int)strcspn(text, "\n"), text);
}

int subjects_leave_out(struct subjects *subjects, unsigned int i, struct bench_result *result,
		       const struct error *why, struct error *err)
{
	int rc = bench_left_out_add(result, subjects->all[i].kind->name, why->message, err);

	subjects->n--;
	memmove(&subjects->all[i], &subjects->all[i + 1], (subjects->n - i) * sizeof(subjects->all[0]));
	return rc;
}

int subjects_prepare(struct subjects *subjects, struct bench_result *result, struct error *err)
{
	struct error why;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < subjects->n;) {
		struct subject *subject = &subjects->all[i];

		find_version(subject);
		if (subject->kind->prepare && subject->kind->prepare(subject, &why) < 0)
			rc = subjects_leave_out(subjects, i, result, &why, err);
		else
			i++;
	}
	return rc;
}
