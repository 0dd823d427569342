/* SPDX-License-Identifier: Apache-2.0 */
/* A table on a terminal: cells of text, aligned, folded when it's too wide. */
#ifndef MOTE_BENCH_GRID_H
#define MOTE_BENCH_GRID_H

#include <stddef.h>
#include <stdio.h>

#include "vmm/error.h"

#define GRID_WIDTH 120 /* columns of the terminal that a table keeps to where it can */

struct grid {
	size_t rows, columns;
	size_t left;  /* so many columns are aligned left, and stand in every part when it's folded */
	char **cells; /* NULL: empty */
};

/* Errors: -ENOMEM. */
int grid_init(struct grid *grid, size_t rows, size_t columns, size_t left, struct error *err);
void grid_release(struct grid *grid);

int grid_set(struct grid *grid, size_t row, size_t column, const char *text, struct error *err);
const char *grid_at(const struct grid *grid, size_t row, size_t column);

/* Two spaces before every line, none behind. */
void grid_print(const struct grid *grid, FILE *out);

#define cleanup_grid __attribute__((cleanup(grid_release)))

#endif
