/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/svg.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>

#include "tools/bench/text.h"
#include "vmm/util.h"

#define THINNEST   1.5
#define STEPS_MOST 10

static const char *const styles[] = { [SVG_PLAIN] = "t", [SVG_STRONG] = "t b", [SVG_MUTED] = "m" };
static const char *const anchors[] = {
	[SVG_FROM] = "start", [SVG_MIDDLE] = "middle", [SVG_TO] = "end",
};
static const char css[] =
	".bg{fill:#fff}.t{fill:#1f2328}.m{fill:#59636e}.b{font-weight:bold}.g{stroke:#d1d9e0}"
	"@media(prefers-color-scheme:dark){"
	".bg{fill:#0d1117}.t{fill:#e6edf3}.m{fill:#9198a1}.g{stroke:#30363d}}";

const char *svg_colour(size_t index)
{
	static const char *const colours[SVG_COLOURS] = {
		"#4c86c6", "#f28e2b", "#d9534f", "#3fa7a0", "#59a14f", "#c9a227", "#a873c9",
		"#e377a2", "#8c959f",
	};

	return colours[index < SVG_COLOURS ? index : SVG_COLOURS - 1];
}

int svg_start(struct svg *svg, struct error *err)
{
	*svg = (struct svg){ 0 };
	svg->out = open_memstream(&svg->body, &svg->length);
	return svg->out ? 0 : error_sys(err, ENOMEM, "picture");
}

void svg_drop(struct svg *svg)
{
	if (svg->out)
		fclose(svg->out);
	free(svg->body);
	*svg = (struct svg){ 0 };
}

int svg_finish(struct svg *svg, const char *title, FILE *out, struct error *err)
{
	bool failed = fflush(svg->out) == EOF || ferror(svg->out);

	if (!failed) {
		fprintf(out,
			"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" "
			"height=\"%.0f\" role=\"img\" font-family=\"ui-monospace,Menlo,Consolas,"
			"'DejaVu Sans Mono',monospace\" font-size=\"12\">\n<title>",
			SVG_WIDTH, svg->y, SVG_WIDTH, svg->y);
		bench_text_escaped(out, title);
		fprintf(out,
			"</title>\n<style>%s</style>\n<rect class=\"bg\" width=\"100%%\" "
			"height=\"100%%\"/>\n",
			css);
		fwrite(svg->body, 1, svg->length, out);
		fputs("</svg>\n", out);
	}
	return failed ? error_sys(err, ENOMEM, "picture") : 0;
}

void svg_text(struct svg *svg, double x, double y, enum svg_style style, enum svg_anchor anchor,
	      const char *text)
{
	fprintf(svg->out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y,
		styles[style], anchors[anchor]);
	bench_text_escaped(svg->out, text);
	fputs("</text>\n", svg->out);
}

void svg_name(struct svg *svg, double indent, double y, enum svg_style style, const char *name)
{
	char cut[BENCH_TEXT_MAX + 4];

	bench_text_cut(cut, name, SVG_COLUMNS - (size_t)(indent / SVG_CHAR));
	fprintf(svg->out, "<g><title>");
	bench_text_escaped(svg->out, name);
	fprintf(svg->out, "</title>");
	svg_text(svg, 8 + indent, y, style, SVG_FROM, cut);
	fprintf(svg->out, "</g>\n");
}

void svg_bar(struct svg *svg, double x, double y, double width, double height, const char *colour,
	     const char *tooltip)
{
	fprintf(svg->out,
		"<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"%s\"><title>", x, y,
		fmax(width, THINNEST), height, colour);
	bench_text_escaped(svg->out, tooltip);
	fputs("</title></rect>\n", svg->out);
}

double svg_x(const struct svg_scale *scale, double value)
{
	return SVG_LEFT + (value - scale->low) / (scale->high - scale->low) * (SVG_RIGHT - SVG_LEFT);
}

/* 1, 2 or 5 times a power of ten, the least with at most STEPS_MOST steps in span. */
static double round_step(double span)
{
	double step = pow(10, floor(log10(span / STEPS_MOST)));
	static const double factors[] = { 1, 2, 5 };

	for (unsigned int i = 0; i < ARRAY_SIZE(factors); i++)
		if (span / (step * factors[i]) <= STEPS_MOST)
			return step * factors[i];
	return step * 10;
}

void svg_axis(struct svg *svg, const struct svg_scale *scale, const char *unit, double top)
{
	double step = round_step(scale->high - scale->low);
	int decimals = step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
	/* Counted: where step is below the numbers' precision, adding it up would never end. */
	double first = ceil(scale->low / step);

	for (unsigned int i = 0; i <= STEPS_MOST && (first + i) * step <= scale->high; i++) {
		double x = svg_x(scale, (first + i) * step);
		char text[BENCH_NUMBER_MAX];

		fprintf(svg->out, "<line class=\"g\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"100%%\"/>\n",
			x, x, top);
		snprintf(text, sizeof(text), "%.*f", decimals < 9 ? decimals : 9, (first + i) * step);
		svg_text(svg, x, top - 4, SVG_MUTED, SVG_MIDDLE, text);
	}
	svg_text(svg, SVG_RIGHT + 24, top - 4, SVG_MUTED, SVG_FROM, unit);
}
