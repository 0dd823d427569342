/* SPDX-License-Identifier: Apache-2.0 */
/* What the pictures share: one SVG, filled from top to bottom, readable on light and on dark. */
#ifndef MOTE_BENCH_SVG_H
#define MOTE_BENCH_SVG_H

#include <stddef.h>
#include <stdio.h>

#include "vmm/error.h"

#define SVG_WIDTH  1200
#define SVG_LEFT   250 /* of the plot; names stand before it */
#define SVG_RIGHT  1100
#define SVG_CHAR   7.25 /* width of a character of monospace text, generously */
#define SVG_COLUMNS 32 /* characters of a name before the plot */

struct svg {
	FILE *out; /* for what is drawn; its length comes to be known at the end */
	char *body;
	size_t length;
	double y; /* where the next row goes */
};

/* Errors: -ENOMEM. svg_drop releases it in any case. */
int svg_start(struct svg *svg, struct error *err);
int svg_finish(struct svg *svg, const char *title, FILE *out, struct error *err);
void svg_drop(struct svg *svg);

/* Of a set that is told apart on both backgrounds; the last, grey, is for what has no own colour. */
#define SVG_COLOURS 9
const char *svg_colour(size_t index);

enum svg_style { SVG_PLAIN, SVG_STRONG, SVG_MUTED };
enum svg_anchor { SVG_FROM, SVG_MIDDLE, SVG_TO };

/* y is the text's base line. Any text: it's escaped. */
void svg_text(struct svg *svg, double x, double y, enum svg_style style, enum svg_anchor anchor,
	      const char *text);

/* A name before the plot, cut to what there is room for; the whole as its tooltip. indent in px. */
void svg_name(struct svg *svg, double indent, double y, enum svg_style style, const char *name);

/* A bar with a tooltip; one that is thinner than can be seen becomes 1.5 px wide. */
void svg_bar(struct svg *svg, double x, double y, double width, double height, const char *colour,
	     const char *tooltip);

/*
 * Numbers from low to high at round steps, with lines from top (y, below the numbers) to the picture's
 * end, and the unit behind the last. First, so that the lines are under what's drawn then.
 */
struct svg_scale {
	double low, high; /* low < high */
};
void svg_axis(struct svg *svg, const struct svg_scale *scale, const char *unit, double top);
double svg_x(const struct svg_scale *scale, double value);

#endif
