/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: results of mote bench, which somebody else may have written, are taken or refused with one
 * line; what is taken is printed, drawn, compared with itself, and the same once it was written and read.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "tools/bench/budget.h"
#include "tools/bench/compare.h"
#include "tools/bench/report.h"
#include "vmm/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
	if (!holds)
		__builtin_trap();
}

static void check_error(const struct error *err)
{
	check(err->message[0] && !strpbrk(err->message, "\n\r\033"));
}

/* Into memory: no terminal or browser may be given a control character. */
static void print(const struct bench_result *result)
{
	cleanup_free char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	check(bench_table(result, out, NULL) == 0 && bench_html(result, out, NULL) == 0);
	bench_csv(result, out);
	fclose(out);
	for (size_t i = 0; i < length; i++)
		check(text[i] == '\n' || (unsigned char)text[i] >= 0x20);
}

static void compare(const struct bench_result *result)
{
	__attribute__((cleanup(comparison_release))) struct comparison comparison = { 0 };
	struct error err = { 0 };

	if (bench_compare(&comparison, result, result, 3, &err) < 0)
		check_error(&err);
	check(comparison.regressions == 0);
}

static char *written(const struct bench_result *result)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	check(bench_result_write(result, out, NULL) == 0);
	fclose(out);
	return text;
}

static void write_and_read(const struct bench_result *result)
{
	cleanup_free char *first = written(result);
	cleanup_bench_result struct bench_result *again =
		bench_result_parse(first, strlen(first), NULL);

	check(again != NULL);
	cleanup_free char *second = written(again);

	check(strcmp(first, second) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = { 0 };
	cleanup_bench_result struct bench_result *result =
		bench_result_parse((const char *)data, size, &err);
	__attribute__((cleanup(budget_release))) struct budget budget;

	if (!result)
		check_error(&err);
	if (budget_parse(&budget, (const char *)data, size, &err) < 0)
		check_error(&err);
	if (!result)
		return 0;
	print(result);
	compare(result);
	write_and_read(result);
	return 0;
}
