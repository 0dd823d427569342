/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/result.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "vmm/util.h"

const char *const bench_better_names[] = {
	[BENCH_LOWER] = "lower",
	[BENCH_HIGHER] = "higher",
	[BENCH_NONE] = "none",
	NULL,
};

/* Bytes of the UTF-8 sequence at s, 0 if it's none that may be printed (RFC 3629 section 4). */
static size_t printable_sequence(const unsigned char *s)
{
	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	uint32_t code = s[0] & (0x7fu >> length);

	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	static const uint32_t least[] = { [2] = 0xa0, [3] = 0x800, [4] = 0x10000 };
	bool valid = s[0] >= 0xc2 && s[0] <= 0xf4 && code >= least[length] && code <= 0x10ffff &&
		     (code < 0xd800 || code > 0xdfff) && (code & 0xfffe) != 0xfffe;

	return valid ? length : 0;
}

int bench_text_set(char **text, const char *source, struct error *err)
{
	char copy[BENCH_TEXT_MAX + 1];
	size_t n = 0;

	for (const unsigned char *s = (const unsigned char *)source; *s;) {
		size_t length = printable_sequence(s);

		if (n + (length ? length : 1) > BENCH_TEXT_MAX)
			break;
		if (length)
			memcpy(copy + n, s, length);
		else
			copy[n] = '?';
		n += length ? length : 1;
		s += length ? length : 1;
	}
	copy[n] = 0;
	char *fresh = strdup(copy);

	if (!fresh)
		return error_sys(err, ENOMEM, "copy");
	free(*text);
	*text = fresh;
	return 0;
}

struct bench_result *bench_result_new(const char *what, struct error *err)
{
	cleanup_bench_result struct bench_result *result = calloc(1, sizeof(*result));
	char date[sizeof("2026-11-26T10:00:00Z")];
	time_t now = time(NULL);
	struct tm utc;

	if (!result) {
		error_sys(err, ENOMEM, "bench result");
		return NULL;
	}
	strftime(date, sizeof(date), "%FT%TZ", gmtime_r(&now, &utc));
	result->options = json_object();
	if (!result->options)
		error_sys(err, ENOMEM, "bench result");
	if (!result->options || bench_text_set(&result->what, what, err) < 0 ||
	    bench_text_set(&result->date, date, err) < 0 ||
	    bench_text_set(&result->host.kernel, "", err) < 0 ||
	    bench_text_set(&result->host.cpu, "", err) < 0)
		return NULL;
	return take_ptr_fn(&result);
}

static void spans_release(struct bench_spans *spans)
{
	for (size_t i = 0; i < spans->n; i++)
		free(spans->spans[i].name);
	free(spans->spans);
}

static void figure_release(struct bench_figure *figure)
{
	free(figure->name);
	free(figure->title);
	free(figure->unit);
	free(figure->values);
}

static void group_release(struct bench_group *group)
{
	for (size_t i = 0; i < group->n_counts; i++)
		free(group->counts[i].name);
	free(group->counts);
	free(group->name);
}

static void subject_release(struct bench_subject *subject)
{
	for (size_t i = 0; i < subject->n_figures; i++)
		figure_release(&subject->figures[i]);
	for (size_t i = 0; i < subject->n_groups; i++)
		group_release(&subject->groups[i]);
	spans_release(&subject->timeline.stages);
	spans_release(&subject->timeline.initcalls);
	for (size_t i = 0; i < subject->timeline.n_exits; i++)
		free(subject->timeline.exits[i].reason);
	free(subject->timeline.exits);
	free(subject->name);
	free(subject->version);
}

void bench_result_free(struct bench_result *result)
{
	if (!result)
		return;
	for (size_t i = 0; i < result->n_subjects; i++)
		subject_release(&result->subjects[i]);
	for (size_t i = 0; i < result->n_left_out; i++) {
		free(result->left_out[i].name);
		free(result->left_out[i].why);
	}
	json_decref(result->options);
	free(result->what);
	free(result->date);
	free(result->host.kernel);
	free(result->host.cpu);
	free(result);
}

static int no_room(const char *what, size_t max, struct error *err)
{
	return error_set(err, E2BIG, "more than %zu %s", max, what);
}

/* Room for element n of *array, of which there may be max. */
static int grow(void *array, size_t *room, size_t n, size_t size, size_t max, const char *what,
		struct error *err)
{
	void *old, *fresh;

	if (n >= max)
		return no_room(what, max, err);
	if (n < *room)
		return 0;
	size_t wanted = *room ? 2 * *room : 16;

	memcpy(&old, array, sizeof(old));
	fresh = reallocarray(old, wanted, size);
	if (!fresh)
		return error_sys(err, ENOMEM, "%s", what);
	memcpy(array, &fresh, sizeof(fresh));
	*room = wanted;
	return 0;
}

struct bench_subject *bench_subject_find(const struct bench_result *result, const char *name)
{
	for (size_t i = 0; i < result->n_subjects; i++)
		if (strcmp(result->subjects[i].name, name) == 0)
			return (struct bench_subject *)&result->subjects[i];
	return NULL;
}

struct bench_figure *bench_figure_find(const struct bench_subject *subject, const char *name)
{
	for (size_t i = 0; i < subject->n_figures; i++)
		if (strcmp(subject->figures[i].name, name) == 0)
			return (struct bench_figure *)&subject->figures[i];
	return NULL;
}

struct bench_group *bench_group_find(const struct bench_subject *subject, const char *name)
{
	for (size_t i = 0; i < subject->n_groups; i++)
		if (strcmp(subject->groups[i].name, name) == 0)
			return (struct bench_group *)&subject->groups[i];
	return NULL;
}

struct bench_subject *bench_subject_add(struct bench_result *result, const char *name,
					const char *version, bool peer, struct error *err)
{
	struct bench_subject *subject = &result->subjects[result->n_subjects];

	if (result->n_subjects == BENCH_SUBJECTS_MAX) {
		no_room("subjects", BENCH_SUBJECTS_MAX, err);
		return NULL;
	}
	if (bench_text_set(&subject->name, name, err) < 0 ||
	    bench_text_set(&subject->version, version, err) < 0 ||
	    (bench_subject_find(result, subject->name) &&
	     error_set(err, EEXIST, "subject \"%s\" is there twice", subject->name) < 0)) {
		subject_release(subject);
		*subject = (struct bench_subject){ 0 };
		return NULL;
	}
	subject->peer = peer;
	result->n_subjects++;
	return subject;
}

struct bench_figure *bench_figure_add(struct bench_subject *subject, const char *name,
				      const char *title, const char *unit, enum bench_better better,
				      struct error *err)
{
	struct bench_figure *figure = &subject->figures[subject->n_figures];

	if (subject->n_figures == BENCH_FIGURES_MAX) {
		no_room("figures", BENCH_FIGURES_MAX, err);
		return NULL;
	}
	if (bench_text_set(&figure->name, name, err) < 0 ||
	    bench_text_set(&figure->title, title, err) < 0 ||
	    bench_text_set(&figure->unit, unit, err) < 0 ||
	    (bench_figure_find(subject, figure->name) &&
	     error_set(err, EEXIST, "figure \"%s\" is there twice", figure->name) < 0)) {
		figure_release(figure);
		*figure = (struct bench_figure){ 0 };
		return NULL;
	}
	figure->better = better;
	subject->n_figures++;
	return figure;
}

int bench_value_add(struct bench_figure *figure, double value, struct error *err)
{
	if (!isfinite(value))
		return error_set(err, EINVAL, "figure \"%s\": a value is no number", figure->name);
	int ret = grow(&figure->values, &figure->room, figure->n_values, sizeof(double),
		       BENCH_VALUES_MAX, "values", err);

	if (ret == 0)
		figure->values[figure->n_values++] = value;
	return ret;
}

static struct bench_group *group_of(struct bench_subject *subject, const char *name, struct error *err)
{
	struct bench_group *group = bench_group_find(subject, name);

	if (group)
		return group;
	if (subject->n_groups == BENCH_GROUPS_MAX) {
		no_room("groups of counts", BENCH_GROUPS_MAX, err);
		return NULL;
	}
	group = &subject->groups[subject->n_groups];
	if (bench_text_set(&group->name, name, err) < 0)
		return NULL;
	subject->n_groups++;
	return group;
}

int bench_count_add(struct bench_subject *subject, const char *group_name, const char *name,
		    uint64_t count, struct error *err)
{
	cleanup_free char *group_text = NULL, *text = NULL;

	/* As they will stand there, so that they are found. */
	if (bench_text_set(&group_text, group_name, err) < 0 || bench_text_set(&text, name, err) < 0)
		return -ENOMEM;
	struct bench_group *group = group_of(subject, group_text, err);

	if (!group)
		return subject->n_groups == BENCH_GROUPS_MAX ? -E2BIG : -ENOMEM;
	for (size_t i = 0; i < group->n_counts; i++) {
		if (strcmp(group->counts[i].name, text) == 0) {
			group->counts[i].count += count;
			return 0;
		}
	}
	int ret = grow(&group->counts, &group->room, group->n_counts, sizeof(struct bench_count),
		       BENCH_COUNTS_MAX, "counts", err);

	if (ret == 0)
		group->counts[group->n_counts++] = (struct bench_count){ take_ptr_fn(&text), count };
	return ret;
}

static bool is_time(double ms)
{
	return ms >= 0 && ms <= BENCH_TIME_MAX_MS;
}

static int span_add(struct bench_spans *spans, size_t max, const char *what,
		    const struct bench_span *span, struct error *err)
{
	cleanup_free char *text = NULL;

	if (!is_time(span->start_ms) || !is_time(span->end_ms) || span->end_ms < span->start_ms)
		return error_set(err, EINVAL, "\"%.64s\" is not from a time to a later one",
				 span->name);
	int ret = bench_text_set(&text, span->name, err);

	if (ret == 0)
		ret = grow(&spans->spans, &spans->room, spans->n, sizeof(*span), max, what, err);
	if (ret == 0)
		spans->spans[spans->n++] =
			(struct bench_span){ take_ptr_fn(&text), span->start_ms, span->end_ms };
	return ret;
}

int bench_stage_add(struct bench_subject *subject, const char *name, double start_ms,
		    double end_ms, struct error *err)
{
	const struct bench_span span = { (char *)name, start_ms, end_ms };

	return span_add(&subject->timeline.stages, BENCH_STAGES_MAX, "stages", &span, err);
}

int bench_initcall_add(struct bench_subject *subject, const char *name, double start_ms,
		       double end_ms, struct error *err)
{
	const struct bench_span span = { (char *)name, start_ms, end_ms };

	return span_add(&subject->timeline.initcalls, BENCH_INITCALLS_MAX, "initcalls", &span, err);
}

int bench_exit_add(struct bench_subject *subject, double at_ms, const char *reason,
		   struct error *err)
{
	struct bench_timeline *t = &subject->timeline;
	cleanup_free char *text = NULL;

	if (!is_time(at_ms))
		return error_set(err, EINVAL, "an exit is at no time of the run");
	int ret = bench_text_set(&text, reason, err);

	if (ret == 0)
		ret = grow(&t->exits, &t->room, t->n_exits, sizeof(struct bench_exit),
			   BENCH_EXITS_MAX, "exits", err);
	if (ret == 0)
		t->exits[t->n_exits++] = (struct bench_exit){ at_ms, take_ptr_fn(&text) };
	return ret;
}

int bench_left_out_add(struct bench_result *result, const char *name, const char *why,
		       struct error *err)
{
	struct bench_left_out *left_out = &result->left_out[result->n_left_out];

	if (result->n_left_out == BENCH_LEFT_OUT_MAX)
		return no_room("subjects left out", BENCH_LEFT_OUT_MAX, err);
	if (bench_text_set(&left_out->name, name, err) < 0 ||
	    bench_text_set(&left_out->why, why, err) < 0) {
		free(left_out->name);
		*left_out = (struct bench_left_out){ 0 };
		return -ENOMEM;
	}
	result->n_left_out++;
	return 0;
}
