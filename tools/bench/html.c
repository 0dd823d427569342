/* SPDX-License-Identifier: Apache-2.0 */
/* The whole result as one HTML file that needs nothing else: no network, no script. */
#include <errno.h>
#include <string.h>

#include "tools/bench/report.h"
#include "tools/bench/text.h"
#include "vmm/util.h"

#define NAME_COLUMNS 48

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" "
	"content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
	"<style>\n:root{color-scheme:light dark}\n"
	"body{font:14px/1.5 system-ui,sans-serif;max-width:1200px;margin:24px auto;padding:0 16px;"
	"background:#fff;color:#1f2328}\n"
	"svg{max-width:100%;height:auto;display:block}\n"
	"h1{font-size:22px}h2{font-size:17px;margin:28px 0 8px}p{margin:4px 0}\n"
	".scroll{overflow-x:auto}\n"
	"table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
	"th,td{padding:3px 10px;text-align:right;border-bottom:1px solid #d1d9e0}\n"
	"th{font-weight:600}th.n,td.n{text-align:left}p{overflow-wrap:anywhere}\n"
	"@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}"
	"th,td{border-color:#30363d}}\n</style>\n<title>mote bench ";

static void element(FILE *out, const char *name, const char *text)
{
	fprintf(out, "<%s>", name);
	bench_text_escaped(out, text);
	fprintf(out, "</%s>\n", name);
}

/* Cut to what a row has room for; the whole as its tooltip. */
static void name_cell(FILE *out, const char *text)
{
	char cut[BENCH_TEXT_MAX + 4];

	fputs("<td class=\"n\" title=\"", out);
	bench_text_escaped(out, text);
	fputs("\">", out);
	bench_text_escaped(out, bench_text_cut(cut, text, NAME_COLUMNS));
	fputs("</td>", out);
}

static void number_cells(FILE *out, const struct bench_summary *s)
{
	const double numbers[] = { s->min, s->p50, s->p90, s->p99, s->max };
	char text[BENCH_NUMBER_MAX];

	fprintf(out, "<td>%zu</td>", s->n);
	for (unsigned int i = 0; i < ARRAY_SIZE(numbers); i++)
		fprintf(out, "<td>%s</td>", s->n ? bench_number(text, numbers[i]) : "");
	fputs("</tr>\n", out);
}

static void table_start(FILE *out, const char *first)
{
	fprintf(out,
		"<div class=\"scroll\"><table>\n<tr><th class=\"n\">%s</th><th class=\"n\">figure</th>"
		"<th>rounds</th><th>min</th><th>p50</th><th>p90</th><th>p99</th><th>max</th></tr>\n",
		first);
}

static int figures(FILE *out, const struct bench_result *result, struct error *err)
{
	char heading[BENCH_HEADING_MAX];

	element(out, "h2", "Figures");
	table_start(out, "subject");
	for (size_t i = 0; i < result->n_subjects; i++) {
		const struct bench_subject *subject = &result->subjects[i];

		for (size_t k = 0; k < subject->n_figures; k++) {
			const struct bench_figure *figure = &subject->figures[k];
			struct bench_summary summary;

			if (bench_summarize(&summary, figure->values, figure->n_values, err) < 0)
				return -ENOMEM;
			fputs("<tr>", out);
			name_cell(out, subject->name);
			name_cell(out, bench_heading(heading, figure));
			number_cells(out, &summary);
		}
	}
	fputs("</table></div>\n", out);
	return 0;
}

static int ratios_to(FILE *out, const struct bench_subject *own, const struct bench_subject *peer,
		     struct error *err)
{
	char name[BENCH_PAIR_MAX];

	bench_pair(name, own, peer);
	for (size_t k = 0; k < own->n_figures; k++) {
		const struct bench_figure *a = &own->figures[k], *b = bench_figure_find(peer, a->name);
		struct bench_summary summary;

		if (!b)
			continue;
		if (bench_ratios(&summary, a->values, a->n_values, b->values, b->n_values, err) < 0)
			return -ENOMEM;
		if (summary.n == 0)
			continue;
		fputs("<tr>", out);
		name_cell(out, name);
		name_cell(out, a->title);
		number_cells(out, &summary);
	}
	return 0;
}

static int ratios(FILE *out, const struct bench_result *result, struct error *err)
{
	const struct bench_subject *own = bench_own_subject(result);
	bool any = false;
	int ret = 0;

	for (size_t i = 0; own && i < result->n_subjects; i++)
		any |= result->subjects[i].peer;
	if (!any)
		return 0;
	element(out, "h2", "Ratios, round by round");
	table_start(out, "subjects");
	for (size_t i = 0; ret == 0 && i < result->n_subjects; i++)
		if (result->subjects[i].peer)
			ret = ratios_to(out, own, &result->subjects[i], err);
	fputs("</table></div>\n", out);
	return ret;
}

static int counts(FILE *out, const struct bench_result *result, struct error *err)
{
	bool any = false;

	for (size_t i = 0; i < result->n_subjects; i++)
		any |= result->subjects[i].n_groups > 0;
	if (!any)
		return 0;
	element(out, "h2", "Counts");
	for (size_t i = 0; i < result->n_subjects; i++) {
		for (size_t k = 0; k < result->subjects[i].n_groups; k++) {
			cleanup_free char *text = NULL;

			if (bench_group_line(&result->subjects[i], &result->subjects[i].groups[k],
					     &text, err) < 0)
				return -ENOMEM;
			element(out, "p", text);
		}
	}
	return 0;
}

static int pictures(FILE *out, const struct bench_result *result, struct error *err)
{
	int ret = 0;

	if (bench_has_timeline(result)) {
		element(out, "h2", "Where the time goes: the round with the median");
		ret = bench_timeline_svg(result, out, err);
	}
	if (ret == 0 && bench_has_histogram(result)) {
		char title[BENCH_HEADING_MAX];

		element(out, "h2", bench_heading(title, &result->subjects[0].figures[0]));
		ret = bench_histogram_svg(result, out, err);
	}
	return ret;
}

int bench_html(const struct bench_result *result, FILE *out, struct error *err)
{
	cleanup_free char *host = NULL, *options = NULL;
	char title[BENCH_TEXT_MAX + 16];
	int ret = bench_host_line(result, &host, err);

	if (ret == 0)
		ret = bench_options_line(result, &options, err);
	if (ret < 0)
		return ret;
	fputs(head, out);
	bench_text_escaped(out, result->what);
	fputs("</title>\n</head>\n<body>\n", out);
	snprintf(title, sizeof(title), "mote bench %s", result->what);
	element(out, "h1", title);
	element(out, "p", host);
	element(out, "p", options);
	ret = pictures(out, result, err);
	if (ret == 0)
		ret = figures(out, result, err);
	if (ret == 0)
		ret = ratios(out, result, err);
	if (ret == 0)
		ret = counts(out, result, err);
	for (size_t i = 0; ret == 0 && i < result->n_left_out; i++) {
		fputs("<p>Left out: ", out);
		bench_text_escaped(out, result->left_out[i].name);
		fputs(": ", out);
		bench_text_escaped(out, result->left_out[i].why);
		fputs("</p>\n", out);
	}
	fputs("</body>\n</html>\n", out);
	return ret;
}
