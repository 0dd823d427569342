/* SPDX-License-Identifier: Apache-2.0 */
/* The histogram of the headline figure: a row for every subject, all on one scale. */
#include <errno.h>
#include <math.h>

#include "tools/bench/report.h"
#include "tools/bench/svg.h"
#include "tools/bench/text.h"
#include "vmm/util.h"

#define BINS	 85 /* 10 px each */
#define ROW	 56.0
#define TALLEST	 40.0
#define LEAST_SPAN 0.02 /* of the scale, as part of the largest value */
#define AXIS_TOP 28.0

struct histogram {
	struct svg svg;
	struct svg_scale scale;
	const char *name, *unit; /* of the headline figure */
	unsigned int highest;	 /* values in the fullest bin */
};

static unsigned int bin_of(const struct histogram *h, double value)
{
	double part = (value - h->scale.low) / (h->scale.high - h->scale.low);

	return part < 1 ? (unsigned int)(part * BINS) : BINS - 1;
}

static void fill(const struct histogram *h, const struct bench_figure *figure, unsigned int bins[BINS])
{
	for (size_t i = 0; i < figure->n_values; i++)
		bins[bin_of(h, figure->values[i])]++;
}

static void find_scale(struct histogram *h, const struct bench_result *result)
{
	double low = INFINITY, high = -INFINITY, margin;

	for (size_t i = 0; i < result->n_subjects; i++) {
		const struct bench_figure *figure = bench_figure_find(&result->subjects[i], h->name);

		for (size_t k = 0; figure && k < figure->n_values; k++) {
			low = fmin(low, figure->values[k]);
			high = fmax(high, figure->values[k]);
		}
	}
	/* The outer ones don't lie on its ends, and a spread of next to nothing doesn't look like one. */
	margin = fmax((high - low) * 0.02, (fmax(fabs(low), fabs(high)) * LEAST_SPAN - (high - low)) / 2);
	if (margin <= 0)
		margin = 1; /* all are 0 */
	h->scale = (struct svg_scale){ low - margin, high + margin };
}

static void find_highest(struct histogram *h, const struct bench_result *result)
{
	for (size_t i = 0; i < result->n_subjects; i++) {
		const struct bench_figure *figure = bench_figure_find(&result->subjects[i], h->name);
		unsigned int bins[BINS] = { 0 };

		if (figure)
			fill(h, figure, bins);
		for (unsigned int bin = 0; bin < BINS; bin++)
			h->highest = bins[bin] > h->highest ? bins[bin] : h->highest;
	}
}

static void draw_bins(struct histogram *h, const struct bench_figure *figure, const char *colour)
{
	unsigned int bins[BINS] = { 0 };
	double step = (h->scale.high - h->scale.low) / BINS, bottom = h->svg.y + ROW - 8;

	fill(h, figure, bins);
	for (unsigned int bin = 0; bin < BINS; bin++) {
		double low = h->scale.low + bin * step, height = TALLEST * bins[bin] / h->highest;
		double x = svg_x(&h->scale, low);
		char tooltip[3 * BENCH_NUMBER_MAX], from[BENCH_NUMBER_MAX], to[BENCH_NUMBER_MAX];

		if (!bins[bin])
			continue;
		snprintf(tooltip, sizeof(tooltip), "%u from %s to %s", bins[bin],
			 bench_number(from, low), bench_number(to, low + step));
		svg_bar(&h->svg, x, bottom - height, svg_x(&h->scale, low + step) - x - 1, height,
			colour, tooltip);
	}
	fprintf(h->svg.out, "<path class=\"g\" d=\"M%d %.1fH%d\"/>\n", SVG_LEFT, bottom, SVG_RIGHT);
}

static int draw_subject(struct histogram *h, const struct bench_subject *subject, const char *colour,
			struct error *err)
{
	const struct bench_figure *figure = bench_figure_find(subject, h->name);
	struct bench_summary summary;
	char text[BENCH_SPREAD_MAX], rounds[32];
	int ret;

	if (!figure || figure->n_values == 0)
		return 0;
	ret = bench_summarize(&summary, figure->values, figure->n_values, err);
	if (ret < 0)
		return ret;
	svg_name(&h->svg, 0, h->svg.y + 24, SVG_PLAIN, subject->name);
	svg_name(&h->svg, 0, h->svg.y + 42, SVG_MUTED, bench_spread(text, &summary));
	snprintf(rounds, sizeof(rounds), "%zu round%s", figure->n_values,
		 figure->n_values == 1 ? "" : "s");
	svg_text(&h->svg, SVG_RIGHT + 8, h->svg.y + ROW - 8, SVG_MUTED, SVG_FROM, rounds);
	draw_bins(h, figure, colour);
	h->svg.y += ROW;
	return 0;
}

static const struct bench_figure *headline(const struct bench_result *result)
{
	if (result->n_subjects == 0 || result->subjects[0].n_figures == 0)
		return NULL;
	return &result->subjects[0].figures[0];
}

bool bench_has_histogram(const struct bench_result *result)
{
	const struct bench_figure *figure = headline(result);

	return figure && figure->n_values > 0;
}

int bench_histogram_svg(const struct bench_result *result, FILE *out, struct error *err)
{
	const struct bench_figure *figure = headline(result);
	struct histogram h = { 0 };
	int ret;

	if (!bench_has_histogram(result))
		return error_set(err, EINVAL, "the result has no figure to draw");
	h.name = figure->name;
	h.unit = figure->unit;
	find_scale(&h, result);
	find_highest(&h, result);
	ret = svg_start(&h.svg, err);
	if (ret == 0)
		svg_axis(&h.svg, &h.scale, h.unit, AXIS_TOP);
	h.svg.y = AXIS_TOP;
	for (size_t i = 0; ret == 0 && i < result->n_subjects; i++)
		ret = draw_subject(&h, &result->subjects[i], svg_colour(i % (SVG_COLOURS - 1)), err);
	if (ret == 0)
		ret = svg_finish(&h.svg, figure->title, out, err);
	svg_drop(&h.svg);
	return ret;
}
