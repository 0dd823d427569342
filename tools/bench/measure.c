/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The subcommands of `mote bench` that measure: a child does, in namespaces of its own, we wait for its
 * result, and clean up whatever becomes of it, or of us by a signal.
 */
#include "tools/bench/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "tools/bench/bench.h"
#include "tools/bench/report.h"
#include "tools/mote/doctor.h"
#include "tools/mote/mote.h"
#include "vmm/util.h"

int bench_fork(int argc, char *argv[])
{
	(void)argc;
	fprintf(stderr, "mote bench %s: mote has no snapshots yet, so there is nothing to fork from\n", argv[0]);
	return BENCH_FAILED;
}

static void files_release(struct bench_files *files)
{
	free(files->vmm);
	free(files->kernel);
	free(files->init);
	free(files->reset);
	free(files->bzimage);
	free(files->system_map);
	for (unsigned int i = 0; i < BENCH_RUN_FILES; i++)
		free(files->run[i]);
}

/* What lies beside the kernel under a name of the same kind: DIR/System.map-SUFFIX; NULL: nothing. */
static char *beside(const char *kernel, const char *name)
{
	const char *base = strrchr(kernel, '/') + 1;
	const char *suffix = strchr(base, '-');
	char *path;

	if (asprintf(&path, "%.*s%s%s", (int)(base - kernel), kernel, name, suffix ? suffix : "") < 0)
		return NULL;
	if (access(path, R_OK) == 0)
		return path;
	free(path);
	return NULL;
}

static int find_files(struct bench_files *files, const struct bench_options *o, struct error *err)
{
	cleanup_free char *own = o->kernel ? NULL : mote_find("vmlinux-x86_64", err);

	*files = (struct bench_files){ 0 };
	if (!o->kernel && !own)
		return -err->errnum;
	files->kernel = realpath(o->kernel ? o->kernel : own, NULL);
	if (!files->kernel || access(files->kernel, R_OK) < 0)
		return error_sys(err, errno, "--kernel: \"%s\"", o->kernel ? o->kernel : own);
	files->vmm = mote_find("mote-vmm", err);
	files->init = files->vmm ? mote_find("bench-init.cpio", err) : NULL;
	files->reset = files->init ? mote_find("bench-reset.elf", err) : NULL;
	files->bzimage = beside(files->kernel, "bzImage");
	files->system_map = beside(files->kernel, "System.map");
	for (unsigned int i = 0; files->reset && i < BENCH_RUN_FILES; i++) {
		struct error ignored;

		files->run[i] = i == 0 ? realpath("/proc/self/exe", NULL) : mote_find(bench_run_files[i], &ignored);
	}
	return files->reset ? 0 : -err->errnum;
}

/* The value of a line "KEY : VALUE" of path. */
static void read_value(const char *path, const char *key, char *value, size_t size)
{
	cleanup_fclose FILE *f = fopen(path, "re");
	char line[512];

	snprintf(value, size, "unknown");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0 && strchr(line, ':')) {
			snprintf(value, size, "%s", strchr(line, ':') + 2);
			value[strcspn(value, "\n")] = 0;
			return;
		}
}

/* The test host says so (testhost.c): a process can't see that its time counts instructions. */
static bool time_is_virtual(void)
{
	return getenv("MOTE_BENCH_VIRTUAL_TIME") != NULL;
}

static int describe(struct bench_result *result, const struct bench_options *o,
		    const struct bench_files *files, struct error *err)
{
	struct utsname name;
	char cpu[128];

	uname(&name);
	read_value("/proc/cpuinfo", "model name", cpu, sizeof(cpu));
	result->host.cpus = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
	result->host.virtual_time = time_is_virtual();
	int rc = bench_text_set(&result->host.kernel, name.release, err);

	if (rc == 0)
		rc = bench_text_set(&result->host.cpu, cpu, err);
	json_t *options = json_pack("{s:i, s:i, s:i, s:s}", "rounds", (int)o->rounds, "memory_mib",
				    (int)o->memory_mib, "vcpus", (int)o->vcpus, "kernel",
				    strrchr(files->kernel, '/') + 1);
	bool boot = strcmp(o->what, "boot") == 0;
	int set = 0;

	if (boot)
		set |= json_object_set_new(options, "cache", json_string(o->cold ? "cold" : "warm")) |
		       json_object_set_new(options, "guest", json_string(o->reset_guest ? "reset" : "linux"));
	if (o->no_guest)
		set |= json_object_set_new(options, "no_guest", json_true());
	if (strcmp(o->what, "density") == 0)
		set |= json_object_set_new(options, "guests", json_integer(o->guests));
	if (rc == 0 && (!options || set || json_object_update(result->options, options) < 0))
		rc = error_sys(err, ENOMEM, "options");
	json_decref(options);
	return rc;
}

/* The child's part: everything, and its result into fd. */
static int work(const struct bench_options *o, const struct bench_files *files, struct trace *trace, int fd)
{
	struct error err = { 0 };
	cleanup_bench_result struct bench_result *result = bench_result_new(o->what, &err);
	cleanup_fclose FILE *out = fdopen(fd, "w");
	sigset_t none;

	/* Should our parent be killed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (!result || !out || describe(result, o, files, &err) < 0 ||
	    bench_work(o, files, trace, result, &err) < 0 || bench_result_write(result, out, &err) < 0)
		return bench_fail(o->what, &err);
	return BENCH_OK;
}

/* Directories that a container of that name may have left when it was killed. */
static void remove_cgroups(const char *name)
{
	static const char *const hierarchies[] = { "", "cpu,cpuacct/", "cpuset/", "memory/", "pids/", "blkio/",
		"devices/", "freezer/", "hugetlb/", "net_cls,net_prio/", "perf_event/", "rdma/", "misc/",
		"systemd/", "unified/", "cpu/", "cpuacct/", "net_cls/", "net_prio/" };
	char path[128];

	for (unsigned int i = 0; i < ARRAY_SIZE(hierarchies); i++) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s%s", hierarchies[i], name);
		rmdir(path);
	}
}

/* Read the child's result until it is complete, or a signal ends it all: its number, or 0. */
static int await(int fd, int signals, char **text, size_t *n, struct error *err)
{
	struct pollfd fds[2] = { { .fd = fd, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	struct signalfd_siginfo info;
	size_t room = 0;
	ssize_t got;

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return error_sys(err, errno, "poll");
		if (fds[1].revents && read(signals, &info, sizeof(info)) == sizeof(info))
			return (int)info.ssi_signo;
		if (!fds[0].revents)
			continue;
		if (room - *n < 65536) {
			char *more = realloc(*text, room = 2 * room + 131072);

			if (!more)
				return error_sys(err, ENOMEM, "result");
			*text = more;
		}
		got = read(fd, *text + *n, room - *n);
		if (got <= 0)
			return 0;
		*n += (size_t)got;
	}
}

/* The status of mote: that of the child, or a result in *result, or 128 + the signal that ended us. */
static int supervise(const struct bench_options *o, const struct bench_files *files, struct trace *trace,
		     int signals, struct bench_result **result, struct error *err)
{
	cleanup_close int from_child = -1, to_parent = -1;
	cleanup_free char *text = NULL;
	size_t n = 0;
	int ends[2], status;

	if (pipe2(ends, O_CLOEXEC) < 0 || unshare(CLONE_NEWPID) < 0)
		return error_sys(err, errno, "a PID namespace");
	from_child = ends[0];
	to_parent = ends[1];
	pid_t child = fork();

	if (child < 0)
		return error_sys(err, errno, "fork");
	if (child == 0)
		_exit(work(o, files, trace, take_fd(&to_parent)));
	close_fd(&to_parent);
	int ended_by = await(from_child, signals, &text, &n, err);

	/* With it everything in its namespaces ends. */
	if (ended_by)
		kill(child, SIGKILL);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (ended_by)
		return ended_by < 0 ? ended_by : 128 + ended_by;
	if (!WIFEXITED(status))
		return error_set(err, ECHILD, "the measuring process was ended by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) == BENCH_OK)
		*result = bench_result_parse(text ? text : "", n, err);
	return WEXITSTATUS(status) == BENCH_OK && !*result ? -err->errnum : WEXITSTATUS(status);
}

/* As supervise, with what the child can't clean up cleaned up. */
static int run_here(const struct bench_options *o, const struct bench_files *files,
		    struct bench_result **result, struct error *err)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE };
	cleanup_close int signals = -1;
	bool traced = strcmp(o->what, "boot") == 0;
	struct trace trace = { .dir = -1 };
	sigset_t set;

	sigemptyset(&set);
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++)
		sigaddset(&set, ends[i]);
	/* Blocked to the end: from here on there's something to clean up. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (signals < 0)
		return error_sys(err, errno, "signalfd");
	int rc = traced ? trace_create(&trace, err) : 0;

	if (rc == 0)
		rc = supervise(o, files, &trace, signals, result, err);
	trace_remove(&trace);
	if (traced)
		remove_cgroups(trace.name);
	return rc;
}

/* Why no guest can run here; NULL: one can. */
static const char *why_not(const struct bench_options *o)
{
	static struct report report;

	if (o->no_guest)
		return NULL;
	if (o->reset_guest)
		return access("/dev/kvm", R_OK | W_OK) == 0 ? NULL : "\"/dev/kvm\" isn't there or isn't yours";
	doctor_check_kvm(&report);
	return report_first_bad(&report);
}

/* Minutes before it is written: whether it can be. NULL: nothing to write. */
static int check_output(const char *path, struct error *err)
{
	const char *slash = path ? strrchr(path, '/') : NULL;
	cleanup_free char *directory = !slash ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);

	if (!path || !directory || access(path, W_OK) == 0 || (errno == ENOENT && access(directory, W_OK) == 0))
		return 0;
	return error_sys(err, errno, "write \"%s\"", path);
}

static int measure(const struct bench_options *o, struct bench_result **result, struct error *err)
{
	struct bench_files files;
	int rc = find_files(&files, o, err);

	if (rc == 0)
		rc = check_output(o->html, err);
	if (rc == 0)
		rc = check_output(o->svg, err);
	const char *why = rc == 0 ? why_not(o) : NULL;

	if (rc == 0 && why) {
		*result = bench_in_testhost(o, why, err);
		rc = *result ? 0 : -err->errnum;
	} else if (rc == 0 && geteuid() != 0) {
		rc = error_set(err, EPERM, "needs root, for trace points, network devices, and a root directory "
			       "of its own");
	} else if (rc == 0) {
		rc = run_here(o, &files, result, err);
	}
	files_release(&files);
	return rc;
}

int bench_measure(int argc, char *argv[])
{
	cleanup_bench_result struct bench_result *result = NULL;
	struct bench_options options;
	struct error err = { 0 };
	int rc = bench_options_parse(&options, argc, argv, &err);

	if (rc == 0 && options.help) {
		bench_options_help(options.what);
		return BENCH_OK;
	}
	if (rc == 0)
		rc = measure(&options, &result, &err);
	if (rc == 0)
		rc = bench_report(result, &(struct bench_report_options){ options.json, options.csv, options.html,
									  options.svg }, &err);
	return rc < 0 ? bench_fail(options.what, &err) : rc;
}
