/* SPDX-License-Identifier: Apache-2.0 */
/* The table for people. */
#include <errno.h>
#include <string.h>

#include "tools/bench/grid.h"
#include "tools/bench/report.h"
#include "tools/bench/text.h"
#include "vmm/util.h"

#define COUNTS_SHOWN 12 /* of a group; the rest is a sum */
#define ITEM_MAX     (3 * BENCH_TEXT_MAX + 64) /* bytes of the longest item: it names group and subject */

/* The figures of all subjects, each name once, as the first that has it shows it. */
struct columns {
	const struct bench_figure *figures[BENCH_SUBJECTS_MAX * BENCH_FIGURES_MAX];
	size_t n;
};

static bool has_column(const struct columns *columns, const char *name)
{
	for (size_t i = 0; i < columns->n; i++)
		if (strcmp(columns->figures[i]->name, name) == 0)
			return true;
	return false;
}

static void collect_columns(struct columns *columns, const struct bench_result *result)
{
	columns->n = 0;
	for (size_t i = 0; i < result->n_subjects; i++)
		for (size_t k = 0; k < result->subjects[i].n_figures; k++)
			if (!has_column(columns, result->subjects[i].figures[k].name))
				columns->figures[columns->n++] = &result->subjects[i].figures[k];
}

const struct bench_subject *bench_own_subject(const struct bench_result *result)
{
	for (size_t i = 0; i < result->n_subjects; i++)
		if (!result->subjects[i].peer)
			return &result->subjects[i];
	return NULL;
}

static size_t peers_of(const struct bench_result *result)
{
	size_t n = 0;

	for (size_t i = 0; bench_own_subject(result) && i < result->n_subjects; i++)
		n += result->subjects[i].peer;
	return n;
}

static int set_subject(struct grid *grid, size_t row, const struct bench_subject *subject,
		       const struct columns *columns, struct error *err)
{
	int ret = grid_set(grid, row, 0, subject->name, err);

	for (size_t c = 0; ret == 0 && c < columns->n; c++) {
		const struct bench_figure *figure =
			bench_figure_find(subject, columns->figures[c]->name);
		struct bench_summary summary = { 0 };
		char text[BENCH_SPREAD_MAX];

		if (figure)
			ret = bench_summarize(&summary, figure->values, figure->n_values, err);
		if (ret == 0)
			ret = grid_set(grid, row, c + 1, bench_spread(text, &summary), err);
	}
	return ret;
}

static int set_ratios(struct grid *grid, size_t row, const struct bench_subject *own,
		      const struct bench_subject *peer, const struct columns *columns,
		      struct error *err)
{
	char name[BENCH_PAIR_MAX];
	int ret = grid_set(grid, row, 0, bench_pair(name, own, peer), err);

	for (size_t c = 0; ret == 0 && c < columns->n; c++) {
		const struct bench_figure *a = bench_figure_find(own, columns->figures[c]->name);
		const struct bench_figure *b = bench_figure_find(peer, columns->figures[c]->name);
		struct bench_summary ratios = { 0 };
		char text[BENCH_SPREAD_MAX];

		if (a && b)
			ret = bench_ratios(&ratios, a->values, a->n_values, b->values, b->n_values,
					   err);
		if (ret == 0)
			ret = grid_set(grid, row, c + 1, bench_spread(text, &ratios), err);
	}
	return ret;
}

static int print_figures(const struct bench_result *result, const struct columns *columns,
			 FILE *out, struct error *err)
{
	const struct bench_subject *own = bench_own_subject(result);
	cleanup_grid struct grid grid = { 0 };
	char heading[BENCH_HEADING_MAX];
	size_t row = 1;
	int ret = grid_init(&grid, 1 + result->n_subjects + peers_of(result), 1 + columns->n, 1, err);

	for (size_t c = 0; ret == 0 && c < columns->n; c++)
		ret = grid_set(&grid, 0, c + 1, bench_heading(heading, columns->figures[c]), err);
	for (size_t i = 0; ret == 0 && i < result->n_subjects; i++)
		ret = set_subject(&grid, row++, &result->subjects[i], columns, err);
	for (size_t i = 0; ret == 0 && own && i < result->n_subjects; i++)
		if (result->subjects[i].peer)
			ret = set_ratios(&grid, row++, own, &result->subjects[i], columns, err);
	if (ret == 0)
		grid_print(&grid, out);
	return ret;
}

static int set_percentiles(struct grid *grid, size_t row, const struct bench_subject *subject,
			   const struct bench_figure *figure, const struct bench_summary *s,
			   struct error *err)
{
	const double numbers[] = { (double)s->n, s->min, s->p50, s->p90, s->p99, s->max };
	char heading[BENCH_HEADING_MAX], text[BENCH_NUMBER_MAX];
	int ret = grid_set(grid, row, 0, subject->name, err);

	if (ret == 0)
		ret = grid_set(grid, row, 1, bench_heading(heading, figure), err);
	for (size_t i = 0; ret == 0 && i < ARRAY_SIZE(numbers); i++)
		ret = grid_set(grid, row, i + 2, bench_number(text, numbers[i]), err);
	return ret;
}

static bool varies(const struct bench_summary *s)
{
	char low[BENCH_NUMBER_MAX], high[BENCH_NUMBER_MAX];

	return strcmp(bench_number(low, s->min), bench_number(high, s->max)) != 0;
}

/* Of the figures that vary to the digits that are shown: the others were said. */
static int print_percentiles(const struct bench_result *result, FILE *out, struct error *err)
{
	static const char *const headings[] = { "", "", "rounds", "min", "p50", "p90", "p99", "max" };
	cleanup_grid struct grid grid = { 0 };
	size_t row = 1;
	int ret = grid_init(&grid, 1 + result->n_subjects * BENCH_FIGURES_MAX, ARRAY_SIZE(headings), 2,
			    err);

	for (size_t i = 0; ret == 0 && i < ARRAY_SIZE(headings); i++)
		ret = grid_set(&grid, 0, i, headings[i], err);
	for (size_t i = 0; i < result->n_subjects; i++) {
		const struct bench_subject *subject = &result->subjects[i];

		for (size_t k = 0; ret == 0 && k < subject->n_figures; k++) {
			const struct bench_figure *figure = &subject->figures[k];
			struct bench_summary s = { 0 };

			ret = bench_summarize(&s, figure->values, figure->n_values, err);
			if (ret == 0 && varies(&s))
				ret = set_percentiles(&grid, row++, subject, figure, &s, err);
		}
	}
	if (ret == 0 && row > 1) {
		grid.rows = row;
		grid_print(&grid, out);
		fputc('\n', out);
	}
	return ret;
}

static int by_count(const void *a, const void *b)
{
	const struct bench_count *x = a, *y = b;

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return strcmp(x->name, y->name);
}

int bench_group_line(const struct bench_subject *subject, const struct bench_group *group,
		     char **text, struct error *err)
{
	size_t n = group->n_counts, length;
	cleanup_free struct bench_count *sorted = calloc(n + 1, sizeof(*sorted));
	FILE *out = open_memstream(text, &length);
	uint64_t rest = 0;

	if (!out)
		return error_sys(err, ENOMEM, "counts");
	fprintf(out, "%s of %s:", group->name, subject->name);
	if (sorted && n)
		memcpy(sorted, group->counts, n * sizeof(*sorted));
	if (sorted)
		qsort(sorted, n, sizeof(*sorted), by_count);
	for (size_t i = 0; sorted && i < n; i++) {
		if (i < COUNTS_SHOWN)
			fprintf(out, "%s %lu %s", i ? "," : "", sorted[i].count, sorted[i].name);
		else
			rest += sorted[i].count;
	}
	if (rest)
		fprintf(out, ", %lu other", rest);
	return bench_text_end(out, text, err);
}

/* A list in lines that a terminal has room for, broken behind commas, the later ones indented by two. */
static void print_folded(const char *text, size_t indent, FILE *out)
{
	size_t used = 0;

	while (*text) {
		const char *comma = strstr(text, ", ");
		size_t length = comma ? (size_t)(comma + 1 - text) : strlen(text);
		char item[ITEM_MAX];
		size_t width;

		snprintf(item, sizeof(item), "%.*s", (int)length, text);
		width = bench_text_width(item);
		if (used == 0)
			used = (size_t)fprintf(out, "%*s", (int)indent, "");
		else if (used + 1 + width <= GRID_WIDTH)
			used += (size_t)fprintf(out, " ");
		else
			used = (size_t)fprintf(out, "\n%*s", (int)indent + 2, "") - 1;
		fputs(item, out);
		used += width;
		text += length + (comma != NULL);
	}
	fputc('\n', out);
}

static int print_group(const struct bench_subject *subject, const struct bench_group *group,
		       FILE *out, struct error *err)
{
	cleanup_free char *text = NULL;
	int ret = bench_group_line(subject, group, &text, err);

	if (ret == 0)
		print_folded(text, 2, out);
	return ret;
}

static int print_head(const struct bench_result *result, FILE *out, struct error *err)
{
	cleanup_free char *host = NULL, *options = NULL, *line = NULL;
	int ret = bench_host_line(result, &host, err);

	if (ret == 0)
		ret = bench_options_line(result, &options, err);
	if (ret == 0 && asprintf(&line, "%s: %s", result->what, options) < 0) {
		line = NULL;
		ret = error_sys(err, ENOMEM, "table");
	}
	if (ret < 0)
		return ret;
	print_folded(line, 0, out);
	print_folded(host, 0, out);
	fputs("Median (minimum to maximum); ratios of the same round.\n\n", out);
	return 0;
}

int bench_table(const struct bench_result *result, FILE *out, struct error *err)
{
	cleanup_free struct columns *columns = malloc(sizeof(*columns));
	int ret;

	if (!columns)
		return error_sys(err, ENOMEM, "table");
	collect_columns(columns, result);
	ret = print_head(result, out, err);
	if (ret == 0)
		ret = print_figures(result, columns, out, err);
	if (ret == 0) {
		fputc('\n', out);
		ret = print_percentiles(result, out, err);
	}
	for (size_t i = 0; i < result->n_subjects; i++)
		for (size_t k = 0; ret == 0 && k < result->subjects[i].n_groups; k++)
			ret = print_group(&result->subjects[i], &result->subjects[i].groups[k], out,
					  err);
	for (size_t i = 0; ret == 0 && i < result->n_left_out; i++)
		fprintf(out, "  left out: %s: %s\n", result->left_out[i].name,
			result->left_out[i].why);
	return ret;
}
