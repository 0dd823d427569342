/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/text.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "vmm/util.h"

const char *bench_number(char buf[BENCH_NUMBER_MAX], double value)
{
	double size = fabs(value);

	if (value == 0)
		snprintf(buf, BENCH_NUMBER_MAX, "0");
	else if (size >= 1e15)
		snprintf(buf, BENCH_NUMBER_MAX, "%.3g", value);
	else if (size >= 1000 || (size >= 1 && value == floor(value)))
		snprintf(buf, BENCH_NUMBER_MAX, "%.0f", value);
	else if (size >= 20)
		snprintf(buf, BENCH_NUMBER_MAX, "%.1f", value);
	else if (size >= 0.1)
		snprintf(buf, BENCH_NUMBER_MAX, "%.2f", value);
	else
		snprintf(buf, BENCH_NUMBER_MAX, "%.2g", value);
	return buf;
}

const char *bench_spread(char buf[BENCH_SPREAD_MAX], const struct bench_summary *summary)
{
	char middle[BENCH_NUMBER_MAX], low[BENCH_NUMBER_MAX], high[BENCH_NUMBER_MAX];

	if (summary->n == 0)
		return strcpy(buf, "-");
	bench_number(middle, summary->p50);
	bench_number(low, summary->min);
	bench_number(high, summary->max);
	if (strcmp(low, high) == 0)
		snprintf(buf, BENCH_SPREAD_MAX, "%s", middle);
	else
		snprintf(buf, BENCH_SPREAD_MAX, "%s (%s to %s)", middle, low, high);
	return buf;
}

/* The columns of the sequence at *s, which moves behind it. */
static size_t next_width(const char **s)
{
	unsigned char c = (unsigned char)*(*s)++;
	uint32_t code = c;

	if (c >= 0x80)
		code &= c >= 0xf0 ? 0x07 : c >= 0xe0 ? 0x0f : 0x1f;
	while ((*(*s) & 0xc0) == 0x80)
		code = code << 6 | (*(*s)++ & 0x3f);
	if (code >= 0x300 && code <= 0x36f) /* combining */
		return 0;
	return (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xa4cf) ||
			       (code >= 0xac00 && code <= 0xd7a3) ||
			       (code >= 0xff00 && code <= 0xff60) || code >= 0x1f300
		       ? 2
		       : 1;
}

size_t bench_text_width(const char *text)
{
	size_t width = 0;

	while (*text)
		width += next_width(&text);
	return width;
}

const char *bench_text_cut(char buf[BENCH_TEXT_MAX + 4], const char *text, size_t width)
{
	static const char ellipsis[] = "\xe2\x80\xa6";
	const char *s = text;
	size_t used = 0, kept = 0;

	if (bench_text_width(text) <= width)
		return strcpy(buf, text);
	while (*s) {
		used += next_width(&s);
		if (used + 1 > width)
			break;
		kept = (size_t)(s - text);
	}
	memcpy(buf, text, kept);
	strcpy(buf + kept, ellipsis);
	return buf;
}

const char *bench_pair(char buf[BENCH_PAIR_MAX], const struct bench_subject *own,
		       const struct bench_subject *peer)
{
	char a[BENCH_TEXT_MAX + 4], b[BENCH_TEXT_MAX + 4];

	snprintf(buf, BENCH_PAIR_MAX, "%s / %s", bench_text_cut(a, own->name, 18),
		 bench_text_cut(b, peer->name, 19));
	return buf;
}

void bench_text_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		case '\'':
			fputs("&#39;", out);
			break;
		default:
			fputc(*text, out);
		}
	}
}

const char *bench_heading(char buf[BENCH_HEADING_MAX], const struct bench_figure *figure)
{
	if (figure->unit[0])
		snprintf(buf, BENCH_HEADING_MAX, "%s [%s]", figure->title, figure->unit);
	else
		snprintf(buf, BENCH_HEADING_MAX, "%s", figure->title);
	return buf;
}

int bench_text_end(FILE *out, char **text, struct error *err)
{
	bool failed = ferror(out);

	if (fclose(out) == 0 && !failed)
		return 0;
	free(*text);
	*text = NULL;
	return error_sys(err, ENOMEM, "a line");
}

int bench_host_line(const struct bench_result *result, char **text, struct error *err)
{
	size_t length;
	FILE *out = open_memstream(text, &length);

	if (!out)
		return error_sys(err, ENOMEM, "a line");
	fprintf(out, "Linux %s, %s, %u CPU%s, ", result->host.kernel[0] ? result->host.kernel : "?",
		result->host.cpu[0] ? result->host.cpu : "unknown CPU", result->host.cpus,
		result->host.cpus == 1 ? "" : "s");
	fputs(result->host.virtual_time ? "virtual time (1 ns an instruction)" : "wall-clock time", out);
	fprintf(out, ", %s", result->date);
	return bench_text_end(out, text, err);
}

int bench_options_line(const struct bench_result *result, char **text, struct error *err)
{
	const char *name;
	json_t *value;
	size_t length;
	FILE *out = open_memstream(text, &length);

	if (!out)
		return error_sys(err, ENOMEM, "a line");
	json_object_foreach(result->options, name, value)
	{
		fprintf(out, "%s%s ", ftell(out) > 0 ? ", " : "", name);
		if (json_is_string(value))
			fputs(json_string_value(value), out);
		else if (json_is_integer(value))
			fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		else
			fputs(json_is_true(value) ? "yes" : "no", out);
	}
	return bench_text_end(out, text, err);
}
