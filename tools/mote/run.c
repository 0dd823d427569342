/* SPDX-License-Identifier: Apache-2.0 */
/* `mote run`: root image -> monitor -> session with the agent -> result. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>

#include "tools/mote/mote.h"
#include "tools/mote/run.h"
#include "tools/mote/session.h"
#include "vmm/util.h"

struct stage {
	const char *key, *text;
	double ms;
};

#define STAGES 8

/* 0 if either end wasn't reached. */
static double ms_between(uint64_t from, uint64_t to)
{
	return from && to > from ? (double)(to - from) / 1e6 : 0;
}

static uint64_t metric(json_t *metrics, const char *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(json_object_get(metrics, object), key));
}

/* When the monitor reached a stage, in ns of CLOCK_MONOTONIC; 0 = it didn't. */
static uint64_t stage(json_t *metrics, const char *key)
{
	uint64_t since_start = metric(metrics, "stages", key);

	return since_start ? metric(metrics, "stages", "start_monotonic_ns") + since_start : 0;
}

/* The stages follow one another without gaps, so they add up to the total. */
static void compute_stages(struct stage stages[STAGES], const struct session *s, json_t *metrics,
			   uint64_t start_ns, uint64_t end_ns)
{
	uint64_t vmm = metric(metrics, "stages", "start_monotonic_ns");
	uint64_t prepared = stage(metrics, "prepared_ns");
	uint64_t running = stage(metrics, "running_ns");
	uint64_t guest = stage(metrics, "guest_ready_ns");
	uint64_t jailer = vmm - metric(metrics, "stages", "jail_ns");

	stages[0] = (struct stage){ "exec_ms", "mote, root image, exec of mote-jailer",
				    ms_between(start_ns, jailer) };
	stages[1] = (struct stage){ "jail_ms", "jail: namespaces, files, exec of mote-vmm",
				    ms_between(jailer, vmm) };
	stages[2] = (struct stage){ "prepare_ms", "config, kernel into memory, disks, sockets",
				    ms_between(vmm, prepared) };
	stages[3] = (struct stage){ "kvm_ms", "KVM: VM, memory, interrupts, vCPUs",
				    ms_between(prepared, running) };
	stages[4] = (struct stage){ "kernel_ms", "guest kernel to its first process",
				    ms_between(running, guest) };
	stages[5] = (struct stage){ "agent_ms", "agent connected and ready", ms_between(guest, s->ready_ns) };
	stages[6] = (struct stage){ "command_ms", "root mounted, command run", ms_between(s->ready_ns, s->exit_ns) };
	stages[7] = (struct stage){ "end_ms", "power-off and clean-up", ms_between(s->exit_ns, end_ns) };
}

static void print_timing(const struct stage stages[STAGES], double total)
{
	/* A stage that wasn't reached has no time. */
	for (unsigned int i = 0; i < STAGES; i++)
		if (stages[i].ms > 0)
			fprintf(stderr, "  %-44s %9.2f ms\n", stages[i].text, stages[i].ms);
	fprintf(stderr, "  %-44s %9.2f ms\n", "total", total);
}

/* Bytes that aren't UTF-8 can't be a JSON string: each becomes U+FFFD. */
static json_t *json_text(const struct capture *c)
{
	json_t *text = json_stringn(c->bytes ? c->bytes : "", c->length);

	if (text)
		return text;
	char *copy = malloc(3 * c->length + 1);
	size_t n = 0;

	for (size_t i = 0; copy && i < c->length; i++) {
		unsigned char byte = (unsigned char)c->bytes[i];

		if (byte < 0x80) {
			copy[n++] = (char)byte;
		} else {
			memcpy(copy + n, "\xef\xbf\xbd", 3);
			n += 3;
		}
	}
	text = copy ? json_stringn(copy, n) : json_string("");
	free(copy);
	return text;
}

static const char *const end_names[] = {
	[SESSION_EXITED] = "exited",     [SESSION_FAILED] = "failed", [SESSION_LOST] = "lost",
	[SESSION_BROKEN] = "broken",     [SESSION_TIMED_OUT] = "timed_out", [SESSION_KILLED] = "killed",
};

static void print_json(const struct session *s, enum session_end end, int status,
		       const struct stage stages[STAGES], double total, json_t *metrics,
		       const struct error *err)
{
	json_t *timing = json_object();
	json_t *result = json_pack("{s:s, s:i, s:i, s:o, s:o, s:b, s:o}", "result", end_names[end],
				   "exit_status", status, "signal", (int)s->exit.signal, "stdout",
				   json_text(&s->output[1]), "stderr", json_text(&s->output[2]),
				   "output_truncated", s->output[1].truncated || s->output[2].truncated,
				   "timing", timing);

	for (unsigned int i = 0; i < STAGES; i++)
		json_object_set_new(timing, stages[i].key, json_real(stages[i].ms));
	json_object_set_new(timing, "total_ms", json_real(total));
	json_object_set_new(timing, "guest_boot_ms", json_real((double)s->guest_boot_ns / 1e6));
	if (end != SESSION_EXITED)
		json_object_set_new(result, "error", json_string(err->message));
	if (metrics)
		json_object_set(result, "metrics", metrics);
	json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(result);
}

static int exit_status(const struct session *s, enum session_end end)
{
	switch (end) {
	case SESSION_EXITED:
		return s->exit.signal ? 128 + (int)s->exit.signal : (int)s->exit.status;
	case SESSION_TIMED_OUT:
		return MOTE_TIMED_OUT;
	case SESSION_KILLED:
		return 128 + (int)s->killed_by;
	default:
		return MOTE_FAILED;
	}
}

/* With --tty our terminal passes everything through; the guest's does the editing. */
static bool make_raw(struct termios *saved)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, saved) < 0)
		return false;
	raw = *saved;
	cfmakeraw(&raw);
	return tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void explain(enum session_end end, const struct run_options *o, struct error *err, int vmm_status)
{
	if (end == SESSION_TIMED_OUT)
		error_set(err, ETIMEDOUT, "timed out after %u s", o->timeout_s);
	else if (end == SESSION_KILLED)
		error_set(err, EINTR, "interrupted");
	else if (end != SESSION_EXITED && WIFEXITED(vmm_status) && WEXITSTATUS(vmm_status) != 0)
		error_wrap(err, "mote-vmm exited with %d", WEXITSTATUS(vmm_status));
}

/* Everything after the options; err holds the reason whenever the result isn't SESSION_EXITED. */
static int run(const struct run_options *o, uint64_t start_ns, struct error *err)
{
	struct root_image root;
	struct monitor monitor = { .pid = -1, .pidfd = -1, .agent = -1, .metrics_fd = -1 };
	struct session session;
	struct stage stages[STAGES] = { 0 };
	struct termios saved;
	enum session_end end = SESSION_LOST;
	bool raw = false;
	int vmm_status, status;

	session_init(&session, o);
	int rc = root_image_open(&root, o->rootfs, o->writable, err);

	if (rc == 0)
		rc = session_open(&session, err);
	if (rc == 0)
		rc = monitor_start(&monitor, o, &root, err);
	if (rc == 0) {
		session.agent = take_fd(&monitor.agent);
		session.monitor = monitor.pidfd;
		session.root_type = root.type;
		raw = o->tty && make_raw(&saved);
		end = session_run(&session, err);
		if (raw)
			tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	}
	vmm_status = monitor_stop(&monitor, end == SESSION_BROKEN || end == SESSION_TIMED_OUT ||
						    end == SESSION_KILLED);
	uint64_t end_ns = monotonic_ns();
	json_t *metrics = monitor_metrics(&monitor);

	compute_stages(stages, &session, metrics, start_ns, end_ns);
	explain(end, o, err, vmm_status);
	status = exit_status(&session, end);
	if (o->json)
		print_json(&session, end, status, stages, ms_between(start_ns, end_ns), metrics, err);
	else if (end != SESSION_EXITED)
		mote_fail("run", err);
	if (o->timing)
		print_timing(stages, ms_between(start_ns, end_ns));
	json_decref(metrics);
	session_release(&session);
	monitor_release(&monitor);
	root_image_close(&root);
	return status;
}

int mote_run(int argc, char *argv[])
{
	uint64_t start_ns = monotonic_ns();
	struct run_options options;
	struct error err = { 0 };
	int status;

	if (run_options_parse(&options, argc, argv, &err) < 0)
		status = mote_fail("run", &err);
	else if (options.help)
		status = (run_options_help(), 0);
	else
		status = run(&options, start_ns, &err);
	free(options.env);
	return status;
}
