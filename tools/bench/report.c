/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/report.h"

#include <errno.h>
#include <string.h>

#include "vmm/util.h"

static void csv_text(FILE *out, const char *text)
{
	/* RFC 4180; texts have no line ends. */
	if (!strpbrk(text, ",\"")) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

void bench_csv(const struct bench_result *result, FILE *out)
{
	fputs("subject,figure,unit,round,value\n", out);
	for (size_t i = 0; i < result->n_subjects; i++) {
		const struct bench_subject *subject = &result->subjects[i];

		for (size_t k = 0; k < subject->n_figures; k++) {
			const struct bench_figure *figure = &subject->figures[k];

			for (size_t round = 0; round < figure->n_values; round++) {
				csv_text(out, subject->name);
				fputc(',', out);
				csv_text(out, figure->name);
				fputc(',', out);
				csv_text(out, figure->unit);
				fprintf(out, ",%zu,%.15g\n", round + 1, figure->values[round]);
			}
		}
	}
}

typedef int (*draw_fn)(const struct bench_result *result, FILE *out, struct error *err);

/* All of it or an error: a picture that lacks its end would be blamed on the browser. */
static int draw_into(const struct bench_result *result, const char *path, draw_fn draw,
		     struct error *err)
{
	cleanup_fclose FILE *out = fopen(path, "we");

	if (!out)
		return error_sys(err, errno, "create \"%s\"", path);
	int ret = draw(result, out, err);

	if (ret == 0 && (fflush(out) == EOF || ferror(out)))
		ret = error_sys(err, errno, "write \"%s\"", path);
	return ret;
}

int bench_report(const struct bench_result *result, const struct bench_report_options *options,
		 struct error *err)
{
	int ret = 0;

	if (options->json)
		ret = bench_result_write(result, stdout, err);
	else if (options->csv)
		bench_csv(result, stdout);
	else
		ret = bench_table(result, stdout, err);
	if (ret == 0 && (fflush(stdout) == EOF || ferror(stdout)))
		ret = error_sys(err, errno, "write to stdout");
	if (ret == 0 && options->html)
		ret = draw_into(result, options->html, bench_html, err);
	if (ret == 0 && options->svg)
		ret = draw_into(result, options->svg, bench_timeline_svg, err);
	return ret;
}
