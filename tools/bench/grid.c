/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/grid.h"

#include <errno.h>

#include "tools/bench/text.h"
#include "vmm/util.h"

#define CELL_MAX 48 /* columns; longer texts are cut */
#define GAP	 2

int grid_init(struct grid *grid, size_t rows, size_t columns, size_t left, struct error *err)
{
	*grid = (struct grid){ rows, columns, left, calloc(rows * columns, sizeof(char *)) };
	return grid->cells ? 0 : error_sys(err, ENOMEM, "table");
}

void grid_release(struct grid *grid)
{
	for (size_t i = 0; grid->cells && i < grid->rows * grid->columns; i++)
		free(grid->cells[i]);
	free(grid->cells);
	*grid = (struct grid){ 0 };
}

int grid_set(struct grid *grid, size_t row, size_t column, const char *text, struct error *err)
{
	char *copy = strdup(text);

	if (!copy)
		return error_sys(err, ENOMEM, "table");
	free(grid->cells[row * grid->columns + column]);
	grid->cells[row * grid->columns + column] = copy;
	return 0;
}

const char *grid_at(const struct grid *grid, size_t row, size_t column)
{
	const char *text = grid->cells[row * grid->columns + column];

	return text ? text : "";
}

static size_t column_width(const struct grid *grid, size_t column)
{
	size_t widest = 0;

	for (size_t row = 0; row < grid->rows; row++) {
		size_t width = bench_text_width(grid_at(grid, row, column));

		widest = width > widest ? width : widest;
	}
	return widest > CELL_MAX ? CELL_MAX : widest;
}

/* Spaces that are due go before the next text, so that no line ends in one. */
static void print_cell(const struct grid *grid, size_t row, size_t column, size_t *spaces, FILE *out)
{
	char cut[BENCH_TEXT_MAX + 4];
	size_t width = column_width(grid, column);
	const char *text = bench_text_cut(cut, grid_at(grid, row, column), width);
	size_t used = bench_text_width(text);

	if (column >= grid->left)
		*spaces += width - used;
	if (used) {
		fprintf(out, "%*s%s", (int)*spaces, "", text);
		*spaces = 0;
	}
	*spaces += (column < grid->left ? width - used : 0) + GAP;
}

static void print_columns(const struct grid *grid, size_t first, size_t end, FILE *out)
{
	for (size_t row = 0; row < grid->rows; row++) {
		size_t spaces = GAP;

		for (size_t column = 0; column < grid->left; column++)
			print_cell(grid, row, column, &spaces, out);
		for (size_t column = first; column < end; column++)
			print_cell(grid, row, column, &spaces, out);
		fputc('\n', out);
	}
}

void grid_print(const struct grid *grid, FILE *out)
{
	size_t fixed = 0, end;

	for (size_t column = 0; column < grid->left; column++)
		fixed += GAP + column_width(grid, column);
	for (size_t first = grid->left; first < grid->columns; first = end) {
		size_t width = fixed + GAP + column_width(grid, first);

		for (end = first + 1; end < grid->columns; end++) {
			width += GAP + column_width(grid, end);
			if (width > GRID_WIDTH)
				break;
		}
		if (first > grid->left)
			fputc('\n', out);
		print_columns(grid, first, end, out);
	}
}
