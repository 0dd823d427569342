/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "tools/bench/result.h"
#include "vmm/util.h"

/* jansson's setters take a NULL for a value that couldn't be made, and fail: one check at the end. */
struct json_maker {
	bool failed;
};

static void put(struct json_maker *make, json_t *object, const char *key, json_t *value)
{
	make->failed |= json_object_set_new(object, key, value) < 0;
}

static void append(struct json_maker *make, json_t *array, json_t *value)
{
	make->failed |= json_array_append_new(array, value) < 0;
}

static json_t *figure_json(struct json_maker *make, const struct bench_figure *figure)
{
	json_t *values = json_array();

	for (size_t i = 0; i < figure->n_values; i++)
		append(make, values, json_real(figure->values[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", figure->name, "title", figure->title,
			 "unit", figure->unit, "better", bench_better_names[figure->better],
			 "values", values);
}

static json_t *counts_json(struct json_maker *make, const struct bench_subject *subject)
{
	json_t *groups = json_object();

	for (size_t i = 0; i < subject->n_groups; i++) {
		const struct bench_group *group = &subject->groups[i];
		json_t *counts = json_object();

		for (size_t k = 0; k < group->n_counts; k++)
			put(make, counts, group->counts[k].name,
			    json_integer((json_int_t)group->counts[k].count));
		put(make, groups, group->name, counts);
	}
	return groups;
}

static json_t *spans_json(struct json_maker *make, const struct bench_spans *spans)
{
	json_t *array = json_array();

	for (size_t i = 0; i < spans->n; i++)
		append(make, array,
		       json_pack("{s:s, s:f, s:f}", "name", spans->spans[i].name, "start_ms",
				 spans->spans[i].start_ms, "end_ms", spans->spans[i].end_ms));
	return array;
}

static json_t *timeline_json(struct json_maker *make, const struct bench_timeline *timeline)
{
	json_t *exits = json_array();

	for (size_t i = 0; i < timeline->n_exits; i++)
		append(make, exits,
		       json_pack("{s:f, s:s}", "at_ms", timeline->exits[i].at_ms, "reason",
				 timeline->exits[i].reason));
	return json_pack("{s:o, s:o, s:o}", "stages", spans_json(make, &timeline->stages),
			 "initcalls", spans_json(make, &timeline->initcalls), "exits", exits);
}

static json_t *subject_json(struct json_maker *make, const struct bench_subject *subject)
{
	const struct bench_timeline *timeline = &subject->timeline;
	json_t *figures = json_array();
	json_t *object = json_pack("{s:s, s:s, s:b, s:o, s:o}", "name", subject->name, "version",
				   subject->version, "peer", subject->peer, "figures", figures,
				   "counts", counts_json(make, subject));

	for (size_t i = 0; i < subject->n_figures; i++)
		append(make, figures, figure_json(make, &subject->figures[i]));
	if (timeline->stages.n || timeline->initcalls.n || timeline->n_exits)
		put(make, object, "timeline", timeline_json(make, timeline));
	return object;
}

static json_t *result_json(struct json_maker *make, const struct bench_result *result)
{
	json_t *subjects = json_array(), *left_out = json_array();

	for (size_t i = 0; i < result->n_subjects; i++)
		append(make, subjects, subject_json(make, &result->subjects[i]));
	for (size_t i = 0; i < result->n_left_out; i++)
		append(make, left_out,
		       json_pack("{s:s, s:s}", "name", result->left_out[i].name, "why",
				 result->left_out[i].why));
	return json_pack("{s:i, s:s, s:s, s:{s:s, s:s, s:i, s:b}, s:O, s:o, s:o}", "mote_bench",
			 BENCH_FORMAT, "what", result->what, "date", result->date, "host", "kernel",
			 result->host.kernel, "cpu", result->host.cpu, "cpus",
			 (int)result->host.cpus, "virtual_time", result->host.virtual_time,
			 "options", result->options, "subjects", subjects, "left_out", left_out);
}

int bench_result_write(const struct bench_result *result, FILE *out, struct error *err)
{
	struct json_maker make = { 0 };
	json_t *root = result_json(&make, result);
	int ret = 0;

	if (!root || make.failed)
		ret = error_sys(err, ENOMEM, "bench result as JSON");
	else if (json_dumpf(root, out, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) < 0 ||
		 fputc('\n', out) == EOF || fflush(out) == EOF)
		ret = error_sys(err, errno, "write the bench result");
	json_decref(root);
	return ret;
}
