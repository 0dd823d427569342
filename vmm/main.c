/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mote-vmm: one process, one microVM.
 *
 *	arguments -> configuration -> host resources -> KVM VM -> vCPU threads -> event loop -> end
 *	arguments -> event loop with API -> configuration -> ... -> vCPU threads -> end
 *
 * Each step takes what the one before it made, and each failure is one line and an exit code. What is
 * in a config file is done before the loop runs; the rest when the API says so (vm_actions.c), and a
 * failure is that request's.
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "devices/mmds/service.h"
#include "vmm/api/handlers.h"
#include "vmm/api/json.h"
#include "vmm/api/routes.h"
#include "vmm/api/server.h"
#include "vmm/config.h"
#include "vmm/exit.h"
#include "vmm/log.h"
#include "vmm/options.h"
#include "vmm/sandbox/sandbox.h"
#include "vmm/util.h"
#include "vmm/vm.h"
#include "vmm/vm_actions.h"

static int fail(enum exit_code code, const struct error *err)
{
	fprintf(stderr, "mote-vmm: %s\n", err->message);
	return (int)code;
}

/* A closed stdin must not become the number of an eventfd that the console then reads. */
static void open_standard_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* In place of Firecracker, by the name it was started under or by that of its file. */
static bool is_called_firecracker(const char *argv0)
{
	char file[CONFIG_PATH_MAX + 1];
	/* Fails in a jail, which has no /proc; the jailer passes the name. */
	ssize_t n = readlink("/proc/self/exe", file, sizeof(file) - 1);

	file[n < 0 ? 0 : n] = 0;
	return strcmp(basename(file), "firecracker") == 0 ||
	       (argv0 && strcmp(basename(argv0), "firecracker") == 0);
}

/*
 * The filters that threads will be put under when the guest is about to run, and what the whole
 * process gives up now, before it has threads.
 */
static int set_up_sandbox(struct sandbox *sandbox, const struct options *options, struct error *err)
{
	/* Threads hardly allocate: one heap for all, instead of 64 MiB of addresses for each. */
	mallopt(M_ARENA_MAX, 1);
	if (options->no_seccomp)
		return 0;
	sandbox_init(sandbox);
	if (options->seccomp_filter && sandbox_load(sandbox, options->seccomp_filter, err) < 0)
		return -err->errnum;
	sandbox->has_api = options->api_path;
	return sandbox_enter(err);
}

/* The metadata service, and what it serves from the beginning. */
static int load_metadata(struct mmds *mmds, const struct options *options, struct error *err)
{
	int rc = mmds_init(mmds, options->mmds_size_limit, err);
	json_t *data;

	if (rc < 0 || !options->metadata_path)
		return rc;
	rc = config_json_read(options->metadata_path, &data, err);
	if (rc == 0)
		rc = mmds_store_put(&mmds->store, data, err);
	json_decref(data);
	return rc < 0 ? error_wrap(err, "metadata \"%s\"", options->metadata_path) : 0;
}

static void warn_of_sandbox(const struct options *options)
{
	if (options->no_seccomp)
		log_warn("--no-seccomp: the monitor's threads have no filters of their own");
	if (options->seccomp_filter)
		log_warn("--seccomp-filter: \"%s\" instead of the built-in filters",
			 options->seccomp_filter);
}

/* What a config file says, until the guest runs. */
static int boot(struct vm *vm, const struct config *config)
{
	struct error err = { 0 };

	if (vm_prepare(vm, config, &err) < 0)
		return fail(EXIT_BAD_CONFIGURATION, &err);
	if (vm_build(vm, &err) < 0)
		return fail(EXIT_GENERIC_ERROR, &err);
	if (vm_start(vm, &err) < 0)
		vm_end(vm, VM_END_MONITOR_FAILURE, err.message);
	return EXIT_OK;
}

static int run_to_end(struct vm *vm)
{
	const struct vm_end_info *end = vm_end_info(vm_run(vm));

	log_info("%s%s%s", end->line, vm->end_detail[0] ? ": " : "", vm->end_detail);
	if (end->exit_code != EXIT_OK)
		fprintf(stderr, "mote-vmm: %s%s%s\n", end->line, vm->end_detail[0] ? ": " : "",
			vm->end_detail);
	return (int)end->exit_code;
}

/* The microVM from arguments and configuration to its end; returns the exit code. */
static int run(struct vm *vm, struct config *config, const struct options *options,
	       const struct vm_options *vm_options)
{
	/* The last metrics are written, with the API's counters, when this has returned. */
	static struct vm_control control;
	static struct api api;
	struct api_server server = { 0 };
	struct error err = { 0 };
	int code = EXIT_OK;

	control = (struct vm_control){ vm, config };
	api = (struct api){ config, options->id, &vm_actions, &control, vm_options->mmds };
	if (vm_init(vm, vm_options, &err) < 0)
		return fail(EXIT_GENERIC_ERROR, &err);
	vm->fill_more = api_fill_metrics;
	vm->fill_context = &api;
	if (options->api_path) {
		if (api_server_open(&server, &vm->loop, options->api_path, options->api_body_max,
				    api_handle, &api, &err) < 0)
			return fail(EXIT_GENERIC_ERROR, &err);
		log_info("API server started.");
	}
	if (options->config_path)
		code = boot(vm, config);
	else if (vm_open_metrics(vm, &config->metrics, &err) < 0)
		code = fail(EXIT_BAD_CONFIGURATION, &err);
	if (code == EXIT_OK)
		code = run_to_end(vm);
	api_server_close(&server);
	return code;
}

static int load_config(struct config *config, const struct options *options, struct error *err)
{
	if (options->config_path && config_load_json(config, options->config_path, err) < 0)
		return -err->errnum;
	if (options_apply(options, config, err) < 0)
		return -err->errnum;
	return options->config_path ? config_validate(config, err) : 0;
}

int main(int argc, char *argv[])
{
	static struct config config;
	static struct vm vm;
	static struct mmds mmds;
	struct sandbox sandbox = { 0 };
	const struct thread_rules rules = { sandbox_apply, &sandbox };
	struct vm_options vm_options = { .start_ns = monotonic_ns() };
	struct options options;
	struct error err = { 0 };
	int code;

	open_standard_streams();
	if (options_parse(&options, argc, argv, &err) < 0)
		return fail(EXIT_ARGUMENT_PARSING, &err);
	vm_options.compat_names = options.compat_names || is_called_firecracker(argv[0]);
	/* A jailer executes an open file, and the kernel takes its number for our name. */
	prctl(PR_SET_NAME, vm_options.compat_names ? "firecracker" : "mote-vmm");
	if (options.action == OPTIONS_HELP) {
		options_help(stdout);
		return EXIT_OK;
	}
	if (options.action == OPTIONS_VERSION) {
		/* Who starts a Firecracker reads the version of its API here. */
		if (vm_options.compat_names)
			printf("Firecracker v" API_FIRECRACKER_VERSION "\n\n");
		printf("mote-vmm " MOTE_VERSION "\n");
		return EXIT_OK;
	}

	config_init(&config);
	if (set_up_sandbox(&sandbox, &options, &err) < 0 ||
	    load_metadata(&mmds, &options, &err) < 0 ||
	    load_config(&config, &options, &err) < 0 ||
	    vm_open_log(&config.logger, options.id, &err) < 0) {
		config_release(&config);
		mmds_release(&mmds);
		sandbox_release(&sandbox);
		return fail(EXIT_BAD_CONFIGURATION, &err);
	}
	warn_of_sandbox(&options);
	vm_options.id = options.id;
	vm_options.mmds = &mmds;
	vm_options.boot_timer = options.boot_timer;
	vm_options.thread_rules = options.no_seccomp ? NULL : &rules;
	vm_options.jail_start_ns = 1000 * options.start_time_us;
	vm_options.jail_cpu_ns = 1000 * options.parent_cpu_time_us;
	vm_options.before_exec_ns = 1000 * options.start_time_cpu_us;
	code = run(&vm, &config, &options, &vm_options);
	vm_release(&vm);
	config_release(&config);
	mmds_release(&mmds);
	sandbox_release(&sandbox);
	log_close();
	return code;
}
