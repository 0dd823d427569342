/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timeline: a row for every stage, all subjects on one axis of time. Below the stage in which the
 * initcalls ran, all of them in one row and the longest in rows of their own; then a row of exits for
 * every reason.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "tools/bench/report.h"
#include "tools/bench/svg.h"
#include "tools/bench/text.h"
#include "vmm/util.h"

#define STAGE_ROW	18.0
#define SMALL_ROW	15.0
#define AXIS_TOP	28.0 /* of the lines; numbers stand above */
#define INITCALLS_SHOWN 8    /* in rows of their own */
#define REASONS_SHOWN	7    /* in rows of their own; the rest shares one */
#define TOOLTIP_MAX	(BENCH_TEXT_MAX + 128)
#define PIXELS		(SVG_RIGHT - SVG_LEFT + 1)

/* How often a reason is there. */
struct tally {
	const char *reason;
	size_t n;
};

struct tallies {
	struct tally *tallies;
	size_t n;
};

/* What all subjects share: the scale, and colours by name. */
struct timeline {
	struct svg svg;
	struct svg_scale scale;
	const char *stages[BENCH_SUBJECTS_MAX * BENCH_STAGES_MAX];
	size_t n_stages;
	struct tallies reasons;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int by_tally(const void *a, const void *b)
{
	const struct tally *x = a, *y = b;

	if (x->n != y->n)
		return x->n < y->n ? 1 : -1;
	return strcmp(x->reason, y->reason);
}

/* The reasons of n subjects' exits, most frequent first. */
static int tally_reasons(struct tallies *out, const struct bench_subject *subjects, size_t n,
			 struct error *err)
{
	size_t total = 0, filled = 0;

	for (size_t i = 0; i < n; i++)
		total += subjects[i].timeline.n_exits;
	cleanup_free const char **reasons = calloc(total + 1, sizeof(*reasons));

	out->tallies = calloc(total + 1, sizeof(*out->tallies));
	if (!reasons || !out->tallies)
		return error_sys(err, ENOMEM, "picture");
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < subjects[i].timeline.n_exits; k++)
			reasons[filled++] = subjects[i].timeline.exits[k].reason;
	qsort(reasons, total, sizeof(*reasons), by_text);
	for (size_t i = 0; i < total; i++) {
		if (i == 0 || strcmp(reasons[i], reasons[i - 1]) != 0)
			out->tallies[out->n++].reason = reasons[i];
		out->tallies[out->n - 1].n++;
	}
	qsort(out->tallies, out->n, sizeof(*out->tallies), by_tally);
	return 0;
}

static void tallies_release(struct tallies *tallies)
{
	free(tallies->tallies);
}

static const char *reason_colour(const struct timeline *t, const char *reason)
{
	for (size_t i = 0; i < t->reasons.n && i < SVG_COLOURS; i++)
		if (strcmp(t->reasons.tallies[i].reason, reason) == 0)
			return svg_colour(i);
	return svg_colour(SVG_COLOURS - 1);
}

static const char *stage_colour(struct timeline *t, const char *name)
{
	size_t i = 0;

	while (i < t->n_stages && strcmp(t->stages[i], name) != 0)
		i++;
	if (i == t->n_stages)
		t->stages[t->n_stages++] = name;
	return svg_colour(i % (SVG_COLOURS - 1));
}

static void draw_span(struct timeline *t, const struct bench_span *span, double y, double height,
		      const char *colour)
{
	char tooltip[TOOLTIP_MAX], from[BENCH_NUMBER_MAX], to[BENCH_NUMBER_MAX], took[BENCH_NUMBER_MAX];
	double x = svg_x(&t->scale, span->start_ms);

	snprintf(tooltip, sizeof(tooltip), "%s: %s ms (%s to %s)", span->name,
		 bench_number(took, span->end_ms - span->start_ms), bench_number(from, span->start_ms),
		 bench_number(to, span->end_ms));
	svg_bar(&t->svg, x, y, svg_x(&t->scale, span->end_ms) - x, height, colour, tooltip);
}

/* A row with a span's name, bar, and how long it took. */
static void draw_row(struct timeline *t, const struct bench_span *span, bool small, const char *colour)
{
	double row = small ? SMALL_ROW : STAGE_ROW, base = t->svg.y + row - 5;
	char took[BENCH_NUMBER_MAX], text[BENCH_NUMBER_MAX + 4];

	svg_name(&t->svg, small ? 2 * SVG_CHAR : 0, base, small ? SVG_MUTED : SVG_PLAIN, span->name);
	draw_span(t, span, t->svg.y + 2, row - 4, colour);
	snprintf(text, sizeof(text), "%s ms", bench_number(took, span->end_ms - span->start_ms));
	svg_text(&t->svg, svg_x(&t->scale, span->end_ms) + 6, base, small ? SVG_MUTED : SVG_PLAIN,
		 SVG_FROM, text);
	t->svg.y += row;
}

static double length_of(const struct bench_span *span)
{
	return span->end_ms - span->start_ms;
}

static int by_length(const void *a, const void *b)
{
	double x = length_of(a), y = length_of(b);

	return (x < y) - (x > y);
}

static int by_start(const void *a, const void *b)
{
	const struct bench_span *x = a, *y = b;

	return (x->start_ms > y->start_ms) - (x->start_ms < y->start_ms);
}

static int draw_initcalls(struct timeline *t, const struct bench_spans *initcalls,
			  const char *colour, struct error *err)
{
	size_t n = initcalls->n, shown = n < INITCALLS_SHOWN ? n : INITCALLS_SHOWN;
	cleanup_free struct bench_span *longest = calloc(n + 1, sizeof(*longest));
	char name[64];

	if (!longest)
		return error_sys(err, ENOMEM, "picture");
	if (n == 0)
		return 0;
	snprintf(name, sizeof(name), "%zu initcalls", n);
	svg_name(&t->svg, SVG_CHAR, t->svg.y + SMALL_ROW - 5, SVG_MUTED, name);
	for (size_t i = 0; i < n; i++)
		draw_span(t, &initcalls->spans[i], t->svg.y + 2, SMALL_ROW - 4, colour);
	t->svg.y += SMALL_ROW;
	memcpy(longest, initcalls->spans, n * sizeof(*longest));
	qsort(longest, n, sizeof(*longest), by_length);
	qsort(longest, shown, sizeof(*longest), by_start);
	for (size_t i = 0; i < shown; i++)
		draw_row(t, &longest[i], true, colour);
	return 0;
}

/* The shortest of the stages in which most of the initcalls' time lies; n if there's none. */
static size_t stage_of_initcalls(const struct bench_timeline *timeline)
{
	const struct bench_spans *stages = &timeline->stages, *calls = &timeline->initcalls;
	double start = INFINITY, end = 0, best = -1;
	size_t found = stages->n;

	for (size_t i = 0; i < calls->n; i++) {
		start = fmin(start, calls->spans[i].start_ms);
		end = fmax(end, calls->spans[i].end_ms);
	}
	for (size_t i = 0; i < stages->n; i++) {
		const struct bench_span *stage = &stages->spans[i];
		double shared = fmin(end, stage->end_ms) - fmax(start, stage->start_ms);

		if (shared < 0 || shared < best ||
		    (shared == best && length_of(stage) >= length_of(&stages->spans[found])))
			continue;
		best = shared;
		found = i;
	}
	return found;
}

static int draw_stages(struct timeline *t, const struct bench_timeline *timeline, struct error *err)
{
	size_t host = stage_of_initcalls(timeline);
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < timeline->stages.n; i++) {
		const struct bench_span *stage = &timeline->stages.spans[i];
		const char *colour = stage_colour(t, stage->name);

		draw_row(t, stage, false, colour);
		if (i == host)
			ret = draw_initcalls(t, &timeline->initcalls, colour, err);
	}
	if (ret == 0 && host == timeline->stages.n)
		ret = draw_initcalls(t, &timeline->initcalls, svg_colour(0), err);
	return ret;
}

/* Ticks where exits are, one a pixel, longer by a quarter for every doubling of their number. */
static void draw_ticks(struct timeline *t, const size_t at[PIXELS], const char *colour,
		       const char *tooltip)
{
	double bottom = t->svg.y + SMALL_ROW - 2;

	fprintf(t->svg.out, "<g><title>");
	bench_text_escaped(t->svg.out, tooltip);
	fprintf(t->svg.out, "</title><path stroke=\"%s\" d=\"", colour);
	for (int x = 0; x < PIXELS; x++)
		if (at[x])
			fprintf(t->svg.out, "M%.1f %.1fv-%.1f", SVG_LEFT + x + 0.5, bottom,
				fmin(SMALL_ROW - 3, 5 + 1.5 * log2((double)at[x])));
	fprintf(t->svg.out, "\"/></g>\n");
}

/* The row of one reason, or (NULL) of those that aren't among the first REASONS_SHOWN of tallies. */
static void draw_reason(struct timeline *t, const struct bench_timeline *timeline,
			const struct tallies *tallies, const char *reason)
{
	size_t at[PIXELS] = { 0 }, n = 0;
	const char *colour = reason ? reason_colour(t, reason) : svg_colour(SVG_COLOURS - 1);
	char label[TOOLTIP_MAX];

	for (size_t i = 0; i < timeline->n_exits; i++) {
		const struct bench_exit *exit = &timeline->exits[i];
		bool ours = reason && strcmp(exit->reason, reason) == 0;

		if (!reason) {
			ours = true;
			for (size_t k = 0; k < REASONS_SHOWN; k++)
				ours &= strcmp(tallies->tallies[k].reason, exit->reason) != 0;
		}
		if (!ours)
			continue;
		at[(size_t)(svg_x(&t->scale, exit->at_ms) - SVG_LEFT)]++;
		n++;
	}
	snprintf(label, sizeof(label), "%zu %s", n, reason ? reason : "other");
	fprintf(t->svg.out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"8\" height=\"8\" fill=\"%s\"/>\n",
		8 + SVG_CHAR, t->svg.y + 3, colour);
	svg_name(&t->svg, 3 * SVG_CHAR, t->svg.y + SMALL_ROW - 4, SVG_MUTED, label);
	draw_ticks(t, at, colour, label);
	t->svg.y += SMALL_ROW;
}

static int draw_exits(struct timeline *t, const struct bench_subject *subject, struct error *err)
{
	__attribute__((cleanup(tallies_release))) struct tallies tallies = { 0 };
	int ret = tally_reasons(&tallies, subject, 1, err);
	char name[64];

	if (ret < 0 || tallies.n == 0)
		return ret;
	snprintf(name, sizeof(name), "%zu exits, by reason", subject->timeline.n_exits);
	svg_name(&t->svg, 0, t->svg.y + STAGE_ROW - 5, SVG_PLAIN, name);
	t->svg.y += STAGE_ROW;
	for (size_t i = 0; i < tallies.n && i < REASONS_SHOWN; i++)
		draw_reason(t, &subject->timeline, &tallies, tallies.tallies[i].reason);
	if (tallies.n > REASONS_SHOWN)
		draw_reason(t, &subject->timeline, &tallies, NULL);
	return 0;
}

static double end_of_timeline(const struct bench_timeline *timeline)
{
	double end = 0;

	for (size_t i = 0; i < timeline->stages.n; i++)
		end = fmax(end, timeline->stages.spans[i].end_ms);
	for (size_t i = 0; i < timeline->initcalls.n; i++)
		end = fmax(end, timeline->initcalls.spans[i].end_ms);
	for (size_t i = 0; i < timeline->n_exits; i++)
		end = fmax(end, timeline->exits[i].at_ms);
	return end;
}

static bool has_timeline(const struct bench_subject *subject)
{
	const struct bench_timeline *timeline = &subject->timeline;

	return timeline->stages.n || timeline->initcalls.n || timeline->n_exits;
}

bool bench_has_timeline(const struct bench_result *result)
{
	for (size_t i = 0; i < result->n_subjects; i++)
		if (has_timeline(&result->subjects[i]))
			return true;
	return false;
}

static int draw_subject(struct timeline *t, const struct bench_subject *subject, struct error *err)
{
	char name[BENCH_TEXT_MAX + 4], version[BENCH_TEXT_MAX + 4], title[2 * BENCH_TEXT_MAX + 16];
	int ret;

	/* It may run over the plot, which is empty there. */
	snprintf(title, sizeof(title), "%s %s", bench_text_cut(name, subject->name, 100),
		 bench_text_cut(version, subject->version, 60));
	t->svg.y += 20;
	fprintf(t->svg.out, "<path class=\"g\" d=\"M8 %.1fH%d\"/>\n", t->svg.y, SVG_WIDTH - 8);
	t->svg.y += 18;
	svg_text(&t->svg, 8, t->svg.y - 3, SVG_STRONG, SVG_FROM, title);
	t->svg.y += 4;
	ret = draw_stages(t, &subject->timeline, err);
	return ret < 0 ? ret : draw_exits(t, subject, err);
}

static int draw(struct timeline *t, const struct bench_result *result, struct error *err)
{
	double end = 0;
	int ret = svg_start(&t->svg, err);

	for (size_t i = 0; i < result->n_subjects; i++)
		end = fmax(end, end_of_timeline(&result->subjects[i].timeline));
	t->scale = (struct svg_scale){ 0, end > 0 ? end : 1 };
	if (ret == 0)
		ret = tally_reasons(&t->reasons, result->subjects, result->n_subjects, err);
	if (ret == 0)
		svg_axis(&t->svg, &t->scale, "ms", AXIS_TOP);
	t->svg.y = AXIS_TOP - 12;
	for (size_t i = 0; ret == 0 && i < result->n_subjects; i++)
		if (has_timeline(&result->subjects[i]))
			ret = draw_subject(t, &result->subjects[i], err);
	t->svg.y += 12;
	return ret;
}

int bench_timeline_svg(const struct bench_result *result, FILE *out, struct error *err)
{
	cleanup_free struct timeline *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return error_sys(err, ENOMEM, "picture");
	if (!bench_has_timeline(result))
		return error_set(err, EINVAL, "the result has no timeline: only boots have one");
	ret = draw(t, result, err);
	if (ret == 0)
		ret = svg_finish(&t->svg, "Where the time of a boot goes", out, err);
	svg_drop(&t->svg);
	tallies_release(&t->reasons);
	return ret;
}
