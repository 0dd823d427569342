/* SPDX-License-Identifier: Apache-2.0 */
/* Where KVM can't run Linux, in a source tree: `mote bench` runs once more, in the test host. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tools/bench/launch.h"
#include "tools/bench/measure.h"
#include "vmm/util.h"

#define MEMORY_MIB "3072"
#define SECONDS	   "3600"

/* The source tree that meson built this program from, NULL: it isn't in a build directory. malloc'd. */
static char *source_tree(char build[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", build, PATH_MAX - 1);
	cleanup_free char *info = NULL;
	char *run = NULL;

	if (n <= 0)
		return NULL;
	build[n] = 0;
	*strrchr(build, '/') = 0;
	if (asprintf(&info, "%s/meson-info/meson-info.json", build) < 0)
		return NULL;
	json_t *root = json_load_file(info, 0, NULL);
	const char *source =
		json_string_value(json_object_get(json_object_get(root, "directories"), "source"));

	if (source && asprintf(&run, "%s/tests/testhost/run", source) < 0)
		run = NULL;
	json_decref(root);
	if (run && access(run, X_OK) == 0)
		return run;
	free(run);
	return NULL;
}

/* A path as it is seen in the test host, where these directories are empty. */
static int add_path(struct launch_argv *argv, const char *prefix, const char *path, struct error *err)
{
	static const char *const hidden[] = { "/tmp/", "/run/", "/dev/shm/" };
	cleanup_free char *full = realpath(path, NULL);
	const char *below = "";

	for (unsigned int i = 0; full && i < ARRAY_SIZE(hidden); i++)
		if (strncmp(full, hidden[i], strlen(hidden[i])) == 0)
			below = "/machine";
	/* What isn't there is said there. */
	return launch_arg(argv, err, "%s%s%s", prefix, below, full ? full : path);
}

static int add_options(struct launch_argv *argv, const struct bench_options *o, struct error *err)
{
	const char *const flags[] = { o->cold ? "--cache=cold" : NULL, o->reset_guest ? "--guest=reset" : NULL };
	char prefix[48];
	int rc = launch_arg(argv, err, "--rounds=%u", o->rounds);

	if (rc == 0)
		rc = launch_arg(argv, err, "--memory=%u", o->memory_mib);
	if (rc == 0)
		rc = launch_arg(argv, err, "--vcpus=%u", o->vcpus);
	if (rc == 0 && strcmp(o->what, "boot") == 0)
		rc = launch_arg(argv, err, "--threshold-us=%u", o->threshold_us);
	if (rc == 0 && strcmp(o->what, "density") == 0)
		rc = launch_arg(argv, err, "--guests=%u", o->guests);
	for (unsigned int i = 0; rc == 0 && i < ARRAY_SIZE(flags); i++)
		rc = flags[i] ? launch_arg(argv, err, "%s", flags[i]) : 0;
	if (rc == 0 && o->kernel)
		rc = add_path(argv, "--kernel=", o->kernel, err);
	for (unsigned int i = 0; rc == 0 && i < o->n_peers; i++) {
		const struct bench_peer *peer = &o->peers[i];

		snprintf(prefix, sizeof(prefix), "--peer=%s=", peer->name);
		rc = peer->path ? add_path(argv, prefix, peer->path, err)
				: launch_arg(argv, err, "--peer=%s", peer->name);
	}
	return rc;
}

static int make_command(struct launch_argv *argv, const char *run, const char *build,
			const struct bench_options *o, struct error *err)
{
	const char *const host[] = { run, "--icount", "-m", MEMORY_MIB, "-t", SECONDS, "--", "env",
				     "MOTE_BENCH_VIRTUAL_TIME=1" };
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < ARRAY_SIZE(host); i++)
		rc = launch_arg(argv, err, "%s", host[i]);
	if (rc == 0)
		rc = launch_arg(argv, err, "%s/mote", build);
	if (rc == 0)
		rc = launch_arg(argv, err, "bench");
	if (rc == 0)
		rc = launch_arg(argv, err, "%s", o->what);
	if (rc == 0)
		rc = launch_arg(argv, err, "--json");
	return rc == 0 ? add_options(argv, o, err) : rc;
}

/* Run it with stdout into fd; stderr is ours. It ends with us. */
static int run(const struct launch_argv *argv, int fd, struct error *err)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return error_sys(err, errno, "fork");
	if (pid == 0) {
		dup2(fd, STDOUT_FILENO);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		execv(argv->args[0], argv->args);
		_exit(127);
	}
	signal(SIGINT, SIG_IGN); /* of the terminal's: it gets it too, and cleans up */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	signal(SIGINT, SIG_DFL);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return WIFEXITED(status) ? error_set(err, ECHILD, "in the test host: exit status %d", WEXITSTATUS(status))
				 : error_set(err, ECHILD, "in the test host: signal %d", WTERMSIG(status));
}

struct bench_result *bench_in_testhost(const struct bench_options *o, const char *why, struct error *err)
{
	cleanup_launch_argv struct launch_argv argv = { 0 };
	cleanup_close int out = memfd_create("result", 0);
	char build[PATH_MAX], path[32];
	cleanup_free char *command = source_tree(build);

	if (!command) {
		error_set(err, ENOTSUP, "no Linux guest can run here: %s (`mote doctor --kvm` says more)", why);
		return NULL;
	}
	if (strncmp(build, "/tmp/", 5) == 0 || strncmp(build, "/run/", 5) == 0 ||
	    strncmp(build, "/dev/shm/", 9) == 0) {
		error_set(err, ENOTSUP, "\"%s\": the test host can't see what lies below /tmp, /run and /dev/shm",
			  build);
		return NULL;
	}
	if (out < 0 || make_command(&argv, command, build, o, err) < 0)
		return NULL;
	fprintf(stderr, "no Linux guest can run here: %s\n"
		"in the test host instead (QEMU, in software), in virtual time: 1 ns an instruction\n", why);
	if (run(&argv, out, err) < 0)
		return NULL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", out);
	cleanup_bench_result struct bench_result *now = bench_result_new(o->what, err);
	struct bench_result *result = now ? bench_result_read(path, err) : NULL;

	/* Its clock is virtual as well. */
	if (result && bench_text_set(&result->date, now->date, err) < 0) {
		bench_result_free(result);
		result = NULL;
	}
	return result;
}
