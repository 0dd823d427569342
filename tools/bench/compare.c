/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/compare.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "vmm/util.h"

const char *const compare_verdicts[] = {
	[COMPARE_SAME] = "same",
	[COMPARE_UNTESTED] = "too few to test",
	[COMPARE_CHANCE] = "not significant",
	[COMPARE_CHANGED] = "changed",
	[COMPARE_BETTER] = "better",
	[COMPARE_WORSE] = "worse, within threshold",
	[COMPARE_PEER_WORSE] = "worse, but a peer",
	[COMPARE_REGRESSION] = "REGRESSION",
};

static int note(json_t *list, struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int note(json_t *list, struct error *err, const char *fmt, ...)
{
	cleanup_free char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		text = NULL;
	if (n < 0 || json_array_append_new(list, json_string(text)) < 0)
		return error_sys(err, ENOMEM, "comparison");
	return 0;
}

static int note_texts(json_t *list, const char *name, const char *a, const char *b, struct error *err)
{
	return strcmp(a, b) == 0 ? 0 : note(list, err, "%s: %s / %s", name, a, b);
}

/* An option's value as text, quoted if it's a string. */
static char *option_text(const json_t *options, const char *name)
{
	const json_t *value = json_object_get(options, name);

	return value ? json_dumps(value, JSON_ENCODE_ANY) : strdup("not given");
}

static int note_option(json_t *list, const char *name, const json_t *older, const json_t *newer,
		       struct error *err)
{
	cleanup_free char *a = option_text(older, name), *b = option_text(newer, name);

	if (!a || !b)
		return error_sys(err, ENOMEM, "comparison");
	return note_texts(list, name, a, b, err);
}

static int note_options(json_t *list, const json_t *older, const json_t *newer, struct error *err)
{
	const char *name;
	json_t *value;
	int ret = 0;

	json_object_foreach((json_t *)older, name, value)
		if (ret == 0)
			ret = note_option(list, name, older, newer, err);
	json_object_foreach((json_t *)newer, name, value)
		if (ret == 0 && !json_object_get(older, name))
			ret = note_option(list, name, older, newer, err);
	return ret;
}

static int note_peers(json_t *list, const struct bench_result *older,
		      const struct bench_result *newer, struct error *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < newer->n_subjects; i++) {
		const struct bench_subject *b = &newer->subjects[i];
		const struct bench_subject *a = bench_subject_find(older, b->name);

		if (a && b->peer)
			ret = note_texts(list, b->name, a->version, b->version, err);
	}
	return ret;
}

static int note_conditions(json_t *list, const struct bench_result *older,
			   const struct bench_result *newer, struct error *err)
{
	static const char *const clocks[] = { "wall-clock", "virtual" };
	int ret = note_texts(list, "host kernel", older->host.kernel, newer->host.kernel, err);

	if (ret == 0)
		ret = note_texts(list, "CPU", older->host.cpu, newer->host.cpu, err);
	if (ret == 0 && older->host.cpus != newer->host.cpus)
		ret = note(list, err, "CPUs: %u / %u", older->host.cpus, newer->host.cpus);
	if (ret == 0)
		ret = note_texts(list, "time", clocks[older->host.virtual_time],
				 clocks[newer->host.virtual_time], err);
	if (ret == 0)
		ret = note_options(list, older->options, newer->options, err);
	if (ret == 0)
		ret = note_peers(list, older, newer, err);
	return ret;
}

/* What of have isn't in other. */
static int note_unmatched(json_t *list, const struct bench_result *have,
			  const struct bench_result *other, const char *which, struct error *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < have->n_subjects; i++) {
		const struct bench_subject *subject = &have->subjects[i];
		const struct bench_subject *match = bench_subject_find(other, subject->name);

		if (!match)
			ret = note(list, err, "%s: only in the %s", subject->name, which);
		for (size_t k = 0; ret == 0 && match && k < subject->n_figures; k++)
			if (!bench_figure_find(match, subject->figures[k].name))
				ret = note(list, err, "%s, %s: only in the %s", subject->name,
					   subject->figures[k].title, which);
	}
	return ret;
}

static double change_of(double older, double newer)
{
	if (older == newer)
		return 0;
	if (older == 0)
		return newer > 0 ? INFINITY : -INFINITY;
	return (newer - older) / fabs(older) * 100;
}

static enum compare_verdict verdict_of(const struct compare_row *row, double threshold)
{
	double worse_by = row->figure->better == BENCH_HIGHER ? -row->change : row->change;

	if (row->test.method == BENCH_TOO_FEW)
		return COMPARE_UNTESTED;
	if (!row->test.significant)
		return row->test.method == BENCH_BY_VALUE ? COMPARE_SAME : COMPARE_CHANCE;
	if (row->figure->better == BENCH_NONE || row->change == 0)
		return COMPARE_CHANGED;
	if (worse_by < 0)
		return COMPARE_BETTER;
	if (worse_by <= threshold)
		return COMPARE_WORSE;
	return row->subject->peer ? COMPARE_PEER_WORSE : COMPARE_REGRESSION;
}

static int compare_figure(struct compare_row *row, const struct bench_figure *older, double threshold,
			  struct error *err)
{
	const struct bench_figure *newer = row->figure;
	struct bench_summary a, b;

	if (strcmp(older->unit, newer->unit) != 0 || older->better != newer->better)
		return error_set(err, EINVAL,
				 "figure \"%s\" of \"%s\" is in \"%s\", better %s, and in \"%s\", better %s",
				 newer->name, row->subject->name, older->unit,
				 bench_better_names[older->better], newer->unit,
				 bench_better_names[newer->better]);
	int ret = bench_summarize(&a, older->values, older->n_values, err);

	if (ret == 0)
		ret = bench_summarize(&b, newer->values, newer->n_values, err);
	if (ret == 0)
		ret = bench_compare_samples(&row->test, older->values, older->n_values,
					    newer->values, newer->n_values, err);
	if (ret < 0)
		return ret;
	row->old_median = a.p50;
	row->new_median = b.p50;
	row->change = change_of(a.p50, b.p50);
	row->verdict = verdict_of(row, threshold);
	return 0;
}

static int compare_subject(struct comparison *out, const struct bench_subject *older,
			   const struct bench_subject *newer, double threshold, struct error *err)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < newer->n_figures; i++) {
		const struct bench_figure *figure = &newer->figures[i];
		const struct bench_figure *match = bench_figure_find(older, figure->name);
		struct compare_row row = { .subject = newer, .figure = figure };

		if (!match || match->n_values == 0 || figure->n_values == 0)
			continue;
		ret = compare_figure(&row, match, threshold, err);
		out->rows[out->n_rows++] = row;
		out->regressions += row.verdict == COMPARE_REGRESSION;
	}
	return ret;
}

int bench_compare(struct comparison *out, const struct bench_result *older,
		  const struct bench_result *newer, double threshold, struct error *err)
{
	int ret;

	*out = (struct comparison){
		.rows = calloc(BENCH_SUBJECTS_MAX * BENCH_FIGURES_MAX, sizeof(*out->rows)),
		.conditions = json_array(),
		.unmatched = json_array(),
	};
	if (!out->rows || !out->conditions || !out->unmatched)
		return error_sys(err, ENOMEM, "comparison");
	if (strcmp(older->what, newer->what) != 0)
		return error_set(err, EINVAL, "a result of `mote bench %s` and one of `mote bench %s`",
				 older->what, newer->what);
	ret = note_conditions(out->conditions, older, newer, err);
	if (ret == 0)
		ret = note_unmatched(out->unmatched, older, newer, "older", err);
	if (ret == 0)
		ret = note_unmatched(out->unmatched, newer, older, "newer", err);
	for (size_t i = 0; ret == 0 && i < newer->n_subjects; i++) {
		const struct bench_subject *match =
			bench_subject_find(older, newer->subjects[i].name);

		if (match)
			ret = compare_subject(out, match, &newer->subjects[i], threshold, err);
	}
	if (ret == 0 && out->n_rows == 0)
		ret = error_set(err, EINVAL, "the results have no figure in common");
	return ret;
}

void comparison_release(struct comparison *comparison)
{
	free(comparison->rows);
	json_decref(comparison->conditions);
	json_decref(comparison->unmatched);
	*comparison = (struct comparison){ 0 };
}
