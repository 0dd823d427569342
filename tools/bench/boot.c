/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mote bench boot`. A round starts each subject twice: with nothing traced but the guest's mark, for
 * the times; then with everything traced, for counts and timeline; mote a third time with nothing
 * traced at all, to see by its own boot timer what tracing costs.
 */
#include "tools/bench/boot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/bench/initcalls.h"
#include "tools/bench/start.h"
#include "vmm/util.h"

enum {
	TO_MARK,
	TO_OUTPUT,
	TOTAL,
	KERNEL,
	CPU,
	INSTRUCTIONS,
	PAGE_FAULTS,
	EXITS,
	TO_USER,
	SYSTEM_CALLS,
	BYTES,
	UNTRACED,
	TRACED,
	FIGURES
};

static const struct {
	const char *name, *title, *unit;
	double scale; /* of what is measured, in the unit */
} figures[FIGURES] = {
	[TO_MARK] = { "to_init", "exec to init", "ms", 1e-6 },
	[TO_OUTPUT] = { "to_output", "exec to first output", "ms", 1e-6 },
	[TOTAL] = { "total", "exec to end", "ms", 1e-6 },
	[KERNEL] = { "kernel", "kernel to init", "ms", 1e-6 },
	[CPU] = { "cpu", "processor time", "ms", 1e-6 },
	[INSTRUCTIONS] = { "instructions", "instructions", "M", 1e-6 },
	[PAGE_FAULTS] = { "page_faults", "page faults", "", 1 },
	[EXITS] = { "exits", "exits", "", 1 },
	[TO_USER] = { "exits_to_user", "exits to user space", "", 1 },
	[SYSTEM_CALLS] = { "system_calls", "system calls", "", 1 },
	[BYTES] = { "bytes_copied", "bytes through read and write", "KiB", 1.0 / 1024 },
	[UNTRACED] = { "to_init_untraced", "exec to init, nothing traced", "ms", 1e-6 },
	[TRACED] = { "to_init_traced", "exec to init, all traced", "ms", 1e-6 },
};

/* What a bare-metal guest's mark is called. */
static const char *const reset_names[FIGURES][2] = {
	[TO_MARK] = { "to_guest", "exec to guest" },
	[KERNEL] = { "entry", "entry of the guest" },
	[UNTRACED] = { "to_guest_untraced", "exec to guest, nothing traced" },
	[TRACED] = { "to_guest_traced", "exec to guest, all traced" },
};

/* One subject in one round; NAN: there is no such figure of it. */
struct sample {
	double values[FIGURES];
	struct start traced;
};

static struct guest boot_guest(const struct bench_options *o, bool metrics, const char *args)
{
	return (struct guest){ .reset = o->reset_guest, .args = args, .memory_mib = o->memory_mib,
			       .vcpus = o->vcpus, .metrics = metrics };
}

static uint64_t boot_timer_ns(const struct start *start)
{
	return start->stages.guest_ready > start->start_ns ? start->stages.guest_ready - start->start_ns : 0;
}

static void take_plain(struct sample *sample, const struct subject *subject, const struct start *start)
{
	double *v = sample->values;

	v[TOTAL] = (double)(start->end_ns - start->start_ns);
	v[CPU] = (double)start->cpu_ns;
	v[PAGE_FAULTS] = (double)start->page_faults;
	if (start->instructions)
		v[INSTRUCTIONS] = (double)start->instructions;
	if (subject->kind->monitor)
		v[TO_MARK] = (double)start->mark_ns;
	if (subject_is_mote_run(subject))
		v[TO_OUTPUT] = (double)start->output_ns;
	if (start->stages.running)
		v[KERNEL] = (double)(start->stages.guest_ready - start->stages.running);
}

static void take_traced(struct sample *sample, const struct subject *subject, pid_t own)
{
	struct digest_totals totals;

	digest_totals(&sample->traced.log, own, &totals);
	sample->values[SYSTEM_CALLS] = (double)totals.system_calls;
	sample->values[BYTES] = (double)totals.bytes;
	if (!subject->kind->monitor)
		return;
	sample->values[EXITS] = (double)totals.exits;
	sample->values[TO_USER] = (double)totals.to_user;
	sample->values[TRACED] = (double)sample->traced.mark_ns;
}

static int measure(const struct bench *bench, const struct subject *subject, struct sample *sample,
		   struct error *err)
{
	struct guest guest = boot_guest(bench->options, subject_is_mote(subject),
					      KERNEL_ARGS " " NO_CONSOLE " -- boot");
	const enum trace_level marks = TRACE_MARKS, all = TRACE_ALL;
	struct start start;

	for (unsigned int i = 0; i < FIGURES; i++)
		sample->values[i] = NAN;
	int rc = start_once(subject, &guest, bench->place, bench->trace, &marks, &start, err);

	if (rc == 0)
		take_plain(sample, subject, &start);
	start_release(&start);
	guest.timing = true;
	if (rc == 0)
		rc = start_once(subject, &guest, bench->place, bench->trace, &all, &sample->traced, err);
	if (rc == 0)
		take_traced(sample, subject, bench->place->outside_pid);
	if (rc < 0 || !subject_is_mote(subject))
		return rc;
	rc = start_once(subject, &guest, bench->place, bench->trace, NULL, &start, err);
	sample->values[UNTRACED] = (double)boot_timer_ns(&start);
	start_release(&start);
	return rc;
}

static void sample_release(struct sample *sample)
{
	start_release(&sample->traced);
}

static int add_figure(const struct bench *bench, struct bench_subject *subject, unsigned int f, double value,
		      struct error *err)
{
	bool renamed = bench->options->reset_guest && reset_names[f][0];
	const char *name = renamed ? reset_names[f][0] : figures[f].name;
	struct bench_figure *figure = bench_figure_find(subject, name);

	if (!figure)
		figure = bench_figure_add(subject, name, renamed ? reset_names[f][1] : figures[f].title,
					  figures[f].unit, BENCH_LOWER, err);
	return figure ? bench_value_add(figure, value * figures[f].scale, err) : -err->errnum;
}

static int add_sample(const struct bench *bench, unsigned int i, const struct sample *sample,
		      struct error *err)
{
	int rc = 0;

	for (unsigned int f = 0; rc == 0 && f < FIGURES; f++)
		if (!isnan(sample->values[f]))
			rc = add_figure(bench, &bench->result->subjects[i], f, sample->values[f], err);
	return rc;
}

/* Round 0, which isn't counted: who can't do it is left out, unless it's mote. */
static int warm_up(struct bench *bench, struct error *err)
{
	struct error why;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < bench->subjects->n;) {
		struct sample sample = { 0 };

		bench_progress(bench, 0, bench->subjects->all[i].kind->name);
		int failed = measure(bench, &bench->subjects->all[i], &sample, i == 0 ? err : &why);

		sample_release(&sample);
		if (failed < 0 && i == 0)
			return failed;
		if (failed < 0)
			rc = subjects_leave_out(bench->subjects, i, bench->result, &why, err);
		else
			i++;
	}
	return rc;
}

/* Rounds have n samples each, one a subject. */
static int run_round(const struct bench *bench, unsigned int round, struct sample *samples,
		     struct error *err)
{
	unsigned int n = bench->subjects->n;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < n; i++) {
		bench_progress(bench, round + 1, bench->subjects->all[i].kind->name);
		rc = measure(bench, &bench->subjects->all[i], &samples[i], err);
	}
	for (unsigned int i = 0; rc == 0 && i < n; i++)
		rc = add_sample(bench, i, &samples[i], err);
	return rc;
}

/* The round whose headline figure of subject i is nearest to the median. */
static unsigned int median_round(const struct bench *bench, const struct sample *samples, unsigned int i)
{
	unsigned int rounds = bench->options->rounds, n = bench->subjects->n;
	unsigned int f = bench->subjects->all[i].kind->monitor ? TO_MARK : TOTAL;

	for (unsigned int r = 0; r < rounds; r++) {
		unsigned int below = 0, same = 0;

		for (unsigned int other = 0; other < rounds; other++) {
			double difference = samples[other * n + i].values[f] - samples[r * n + i].values[f];

			below += difference < 0;
			same += difference == 0;
		}
		if (below <= rounds / 2 && rounds / 2 < below + same)
			return r;
	}
	return 0;
}

static bool is_elf(const char *path)
{
	cleanup_fclose FILE *f = fopen(path, "re");
	char magic[4] = "";

	return f && fread(magic, 1, sizeof(magic), f) == sizeof(magic) && memcmp(magic, "\177ELF", 4) == 0;
}

static int add_timeline(const struct bench *bench, unsigned int i, const struct start *start,
			struct error *err)
{
	const struct subject *subject = &bench->subjects->all[i];
	const struct digest_run run = {
		.log = &start->log, .stages = subject_is_mote(subject) ? &start->stages : NULL,
		.start_ns = start->start_ns, .end_ns = start->end_ns, .own = bench->place->outside_pid,
		.bzimage = !bench->options->reset_guest && !is_elf(PLACE_KERNEL),
	};
	int rc = digest_counts(&start->log, run.own, &bench->result->subjects[i], err);

	if (rc < 0 || !subject->kind->monitor)
		return rc;
	return start->output ? digest_run_timeline(&run, start->output, &bench->result->subjects[i], err)
			     : digest_timeline(&run, &bench->result->subjects[i], err);
}

/*
 * Initcalls of mote's guest, from a start of their own: printing them takes time, which is left out by
 * laying them one behind the other, up to where the last one was seen before the mark. How long each
 * took the kernel measures; when it ended is of no use, since the log's clock may stand still until the
 * kernel knows that it can trust the TSC.
 */
static int add_initcalls(const struct bench *bench, double end_ms, struct error *err)
{
	const struct guest guest = boot_guest(bench->options, true,
		KERNEL_ARGS " " NO_CONSOLE " initcall_debug log_buf_len=1M -- log");
	const enum trace_level marks = TRACE_MARKS;
	cleanup_initcalls struct initcalls calls = { 0 };
	struct start start;
	int rc = start_once(&bench->subjects->all[0], &guest, bench->place, bench->trace, &marks, &start, err);
	cleanup_free char *text = rc == 0 ? digest_data(&start.log) : NULL;

	start_release(&start);
	if (rc == 0)
		rc = text ? initcalls_parse(&calls, text, err) : error_sys(err, ENOMEM, "initcalls");
	if (rc == 0)
		initcalls_name(&calls, "/bench/System.map");
	if (calls.n && calls.calls[calls.n - 1].end_us < calls.mark_us)
		end_ms -= (double)(calls.mark_us - calls.calls[calls.n - 1].end_us) / 1e3;
	for (size_t i = calls.n; rc == 0 && i-- > 0;) {
		const struct initcall *call = &calls.calls[i];
		double start_ms = end_ms - (double)call->took_us / 1e3;

		if (call->took_us >= bench->options->threshold_us && start_ms >= 0)
			rc = bench_initcall_add(&bench->result->subjects[0], call->name, start_ms, end_ms, err);
		end_ms = start_ms;
	}
	return rc;
}

static int note_initcalls(const struct bench *bench, struct error *err)
{
	const char *how = "from a start of their own with initcall_debug, laid end to end before init";

	return json_object_set_new(bench->result->options, "initcalls", json_string(how)) < 0
		       ? error_sys(err, ENOMEM, "initcalls") : 0;
}

static int after_rounds(const struct bench *bench, const struct sample *samples, struct error *err)
{
	unsigned int n = bench->subjects->n;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < n; i++)
		rc = add_timeline(bench, i, &samples[median_round(bench, samples, i) * n + i].traced, err);
	if (rc < 0 || bench->options->reset_guest)
		return rc;
	const struct start *own = &samples[median_round(bench, samples, 0) * n].traced;

	rc = add_initcalls(bench, (double)own->mark_ns / 1e6, err);
	return rc == 0 ? note_initcalls(bench, err) : rc;
}

int bench_do_boot(struct bench *bench, struct error *err)
{
	unsigned int rounds = bench->options->rounds, n;
	int counts = start_counts_instructions();
	char why[128];
	int rc = 0;

	snprintf(why, sizeof(why), "the processor's counter: perf_event_open: %s", strerror(-counts));
	if (counts < 0)
		rc = bench_left_out_add(bench->result, "instructions", why, err);
	if (rc == 0)
		rc = warm_up(bench, err);
	if (rc == 0)
		rc = bench_add_subjects(bench, err);
	if (rc < 0)
		return rc;
	n = bench->subjects->n;
	struct sample *samples = calloc((size_t)rounds * n, sizeof(*samples));

	if (!samples)
		return error_sys(err, ENOMEM, "%u rounds", rounds);
	for (unsigned int r = 0; rc == 0 && r < rounds; r++)
		rc = run_round(bench, r, &samples[r * n], err);
	if (rc == 0)
		rc = after_rounds(bench, samples, err);
	for (unsigned int i = 0; i < rounds * n; i++)
		sample_release(&samples[i]);
	free(samples);
	return rc;
}
