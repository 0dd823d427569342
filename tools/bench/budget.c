/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/budget.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "tools/bench/stats.h"
#include "vmm/api/fields.h"
#include "vmm/api/json.h"
#include "vmm/util.h"

#define AMOUNT_MAX    1e15
#define TOLERANCE_MAX 100.0
#define HAIR	      1e-9 /* of the budget: what adding the tolerance may round */

static void cleanup_json(json_t **json)
{
	json_decref(*json);
}

static int parse_format(void *budget, json_t *value, struct error *err)
{
	(void)budget;
	if (json_is_integer(value) && json_integer_value(value) == BENCH_FORMAT)
		return 0;
	return error_set(err, EINVAL, "not %d, the only format that this version reads",
			 BENCH_FORMAT);
}

static int parse_amount(double *out, json_t *value, double max, struct error *err)
{
	if (!json_is_number(value))
		return fields_wrong_type("a number", value, err);
	*out = json_number_value(value);
	if (!(*out >= 0 && *out <= max))
		return error_set(err, EINVAL, "%g is out of range (0 to %g)", *out, max);
	return 0;
}

static int parse_tolerance(void *budget, json_t *value, struct error *err)
{
	return parse_amount(&((struct budget *)budget)->tolerance, value, TOLERANCE_MAX, err);
}

static int parse_options(void *budget, json_t *value, struct error *err)
{
	if (!json_is_object(value))
		return fields_wrong_type("an object", value, err);
	json_decref(((struct budget *)budget)->options);
	((struct budget *)budget)->options = json_incref(value);
	return 0;
}

static int add_line(struct budget *budget, const char *subject, const char *figure, json_t *value,
		    struct error *err)
{
	struct budget_line *line = &budget->lines[budget->n_lines];

	if (budget->n_lines == BUDGET_LINES_MAX)
		return error_set(err, E2BIG, "more than %d budgets", BUDGET_LINES_MAX);
	int ret = parse_amount(&line->amount, value, AMOUNT_MAX, err);

	if (ret < 0)
		return error_wrap(err, "%s: %s", subject, figure);
	budget->n_lines++;
	ret = bench_text_set(&line->subject, subject, err);
	return ret < 0 ? ret : bench_text_set(&line->figure, figure, err);
}

static int parse_budgets(void *member, json_t *value, struct error *err)
{
	struct budget *budget = member;
	const char *subject, *figure;
	json_t *figures, *amount;
	int ret = 0;

	if (!json_is_object(value))
		return fields_wrong_type("an object", value, err);
	json_object_foreach(value, subject, figures)
	{
		if (!json_is_object(figures)) {
			fields_wrong_type("an object", figures, err);
			return error_wrap(err, "%s", subject);
		}
		json_object_foreach(figures, figure, amount)
			if (ret == 0)
				ret = add_line(budget, subject, figure, amount, err);
	}
	if (ret == 0 && budget->n_lines == 0)
		ret = error_set(err, EINVAL, "there is none");
	return ret;
}

static const struct field fields[] = {
	{ FIELD_WHOLE("mote_budget", parse_format), .required = true },
	{ FIELD_STRING("what", struct budget, what, 1, BENCH_TEXT_MAX, NULL), .required = true },
	{ FIELD_BOOL("virtual_time", struct budget, virtual_time), .required = true },
	{ FIELD_WHOLE("tolerance_percent", parse_tolerance), .required = true },
	{ FIELD_WHOLE("options", parse_options) },
	{ FIELD_WHOLE("budgets", parse_budgets), .required = true },
};

int budget_parse(struct budget *budget, const char *text, size_t length, struct error *err)
{
	__attribute__((cleanup(cleanup_json))) json_t *root = NULL;

	*budget = (struct budget){ 0 };
	if (config_json_text(&root, text, length, err) < 0)
		return -err->errnum;
	return fields_parse(fields, ARRAY_SIZE(fields), budget, root, err);
}

int budget_read(struct budget *budget, const char *path, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t length;

	*budget = (struct budget){ 0 };
	int ret = bench_file_read(path, &text, &length, err);

	if (ret < 0)
		return ret;
	ret = budget_parse(budget, text, length, err);
	return ret < 0 ? error_wrap(err, "\"%s\"", path) : 0;
}

void budget_release(struct budget *budget)
{
	for (size_t i = 0; i < budget->n_lines; i++) {
		free(budget->lines[i].subject);
		free(budget->lines[i].figure);
	}
	free(budget->what);
	json_decref(budget->options);
	*budget = (struct budget){ 0 };
}

int budget_fits(const struct budget *budget, const struct bench_result *result, struct error *err)
{
	const char *name;
	json_t *value;

	if (strcmp(budget->what, result->what) != 0)
		return error_set(err, EINVAL, "the budget is for `mote bench %s`, the result of `%s`",
				 budget->what, result->what);
	if (budget->virtual_time != result->host.virtual_time)
		return error_set(err, EINVAL, "the budget is %s virtual time, the result %s",
				 budget->virtual_time ? "for" : "not for",
				 result->host.virtual_time ? "is" : "isn't");
	json_object_foreach(budget->options, name, value)
		if (!json_equal(value, json_object_get(result->options, name)))
			return error_set(err, EINVAL,
					 "option \"%s\" isn't what the budget was made with", name);
	return 0;
}

int budget_check(struct budget_check *out, const struct budget *budget, size_t line,
		 const struct bench_result *result, struct error *err)
{
	const struct budget_line *l = &budget->lines[line];
	const struct bench_subject *subject = bench_subject_find(result, l->subject);
	struct bench_summary summary = { 0 };
	int ret = 0;

	*out = (struct budget_check){
		.figure = subject ? bench_figure_find(subject, l->figure) : NULL,
	};
	if (out->figure)
		ret = bench_summarize(&summary, out->figure->values, out->figure->n_values, err);
	if (ret == 0 && summary.n == 0)
		ret = error_set(err, ENOENT, "the result has no \"%s\" of \"%s\"", l->figure, l->subject);
	if (ret < 0)
		return ret;

	double more = summary.p50 - l->amount;
	double worse = out->figure->better == BENCH_HIGHER ? -more : more;

	out->median = summary.p50;
	out->off = worse == 0 ? 0 : l->amount == 0 ? copysign(INFINITY, worse) : worse / l->amount * 100;
	if (out->off > budget->tolerance + HAIR)
		out->verdict = BUDGET_EXCEEDED;
	else
		out->verdict = out->off < -budget->tolerance ? BUDGET_SLACK : BUDGET_WITHIN;
	return 0;
}
