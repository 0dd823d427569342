/* SPDX-License-Identifier: Apache-2.0 */
/* The result of `mote bench`: what is added, written and read, and what is refused. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tools/bench/result.h"
#include "vmm/util.h"

static struct bench_result *sample(void)
{
	struct bench_result *result = bench_result_new("boot", NULL);
	struct bench_subject *mote, *peer;
	struct bench_figure *figure;

	assert_non_null(result);
	assert_int_equal(bench_text_set(&result->host.kernel, "6.1.0-56-amd64", NULL), 0);
	assert_int_equal(bench_text_set(&result->host.cpu, "AMD \"EPYC\"", NULL), 0);
	result->host.cpus = 2;
	result->host.virtual_time = true;
	json_object_set_new(result->options, "rounds", json_integer(2));
	json_object_set_new(result->options, "cache", json_string("warm"));
	mote = bench_subject_add(result, "mote", "0.1.0", false, NULL);
	peer = bench_subject_add(result, "QEMU microvm", "", true, NULL);
	figure = bench_figure_add(mote, "to_init", "exec to init", "ms", BENCH_LOWER, NULL);
	assert_int_equal(bench_value_add(figure, 91.118004, NULL), 0);
	assert_int_equal(bench_value_add(figure, 91.2, NULL), 0);
	assert_non_null(bench_figure_add(peer, "to_init", "exec to init", "ms", BENCH_LOWER, NULL));
	assert_int_equal(bench_count_add(mote, "exits by reason", "npf", 500, NULL), 0);
	assert_int_equal(bench_count_add(mote, "exits by reason", "npf", 6, NULL), 0);
	assert_int_equal(bench_stage_add(mote, "kernel", 1.5, 40, NULL), 0);
	assert_int_equal(bench_initcall_add(mote, "acpi_init", 2, 2, NULL), 0);
	assert_int_equal(bench_exit_add(mote, 3.25, "npf", NULL), 0);
	assert_int_equal(bench_left_out_add(result, "runc", "not installed", NULL), 0);
	return result;
}

static char *text_of(const struct bench_result *result)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	assert_int_equal(bench_result_write(result, out, NULL), 0);
	fclose(out);
	return text;
}

static void what_is_written_is_read(void **state)
{
	cleanup_bench_result struct bench_result *result = sample();
	cleanup_free char *first = text_of(result);
	struct error err = { 0 };
	cleanup_bench_result struct bench_result *read =
		bench_result_parse(first, strlen(first), &err);

	(void)state;
	assert_string_equal(err.message, "");
	assert_non_null(read);
	cleanup_free char *second = text_of(read);

	assert_string_equal(first, second);
	assert_string_equal(read->host.cpu, "AMD \"EPYC\"");
	assert_true(read->host.virtual_time);
	assert_int_equal(read->n_subjects, 2);
	assert_true(read->subjects[1].peer);
	const struct bench_subject *mote = bench_subject_find(read, "mote");
	const struct bench_figure *figure = bench_figure_find(mote, "to_init");

	assert_int_equal(figure->n_values, 2);
	assert_true(figure->values[0] == 91.118004 && figure->values[1] == 91.2);
	assert_int_equal(bench_group_find(mote, "exits by reason")->counts[0].count, 506);
	assert_int_equal(mote->timeline.n_exits, 1);
	assert_true(mote->timeline.stages.spans[0].start_ms == 1.5);
	assert_null(bench_subject_find(read, "runc"));
	assert_string_equal(read->left_out[0].why, "not installed");
}

static void texts_that_are_added_become_printable(void **state)
{
	static const struct {
		const char *source, *text;
	} cases[] = {
		{ "a\n\x1b[2J\x7f", "a??[2J?" },
		{ "\xc2\x9b" "2J \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "??2J \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "\xc0\xaf \xed\xa0\x80 \xf9\x90\x80\x80 \xff \xe2\x82", "?? ??? ???? ? ??" },
	};
	cleanup_free char *text = NULL;
	char longest[BENCH_TEXT_MAX + 10];

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(bench_text_set(&text, cases[i].source, NULL), 0);
		assert_string_equal(text, cases[i].text);
	}
	/* A sequence that doesn't fit is left out as a whole. */
	memset(longest, 'x', sizeof(longest));
	strcpy(longest + BENCH_TEXT_MAX - 1, "\xc3\xa9");
	assert_int_equal(bench_text_set(&text, longest, NULL), 0);
	assert_int_equal(strlen(text), BENCH_TEXT_MAX - 1);
}

static void additions_have_bounds(void **state)
{
	cleanup_bench_result struct bench_result *result = sample();
	struct bench_subject *mote = &result->subjects[0];
	struct error err = { 0 };
	char name[32];

	(void)state;
	assert_null(bench_subject_add(result, "mote", "", true, &err));
	assert_string_equal(err.message, "subject \"mote\" is there twice");
	assert_null(bench_figure_add(mote, "to_init", "", "", BENCH_NONE, &err));
	assert_string_equal(err.message, "figure \"to_init\" is there twice");
	assert_int_equal(bench_value_add(&mote->figures[0], NAN, &err), -EINVAL);
	assert_int_equal(bench_value_add(&mote->figures[0], INFINITY, &err), -EINVAL);
	assert_int_equal(bench_stage_add(mote, "x", 2, 1, &err), -EINVAL);
	assert_int_equal(bench_stage_add(mote, "x", -1, 1, &err), -EINVAL);
	assert_int_equal(bench_exit_add(mote, NAN, "x", &err), -EINVAL);
	for (unsigned int i = 2; i < BENCH_SUBJECTS_MAX; i++) {
		snprintf(name, sizeof(name), "peer %u", i);
		assert_non_null(bench_subject_add(result, name, "", true, NULL));
	}
	assert_null(bench_subject_add(result, "one more", "", true, &err));
	assert_string_equal(err.message, "more than 32 subjects");
	for (size_t i = mote->figures[0].n_values; i < BENCH_VALUES_MAX; i++)
		assert_int_equal(bench_value_add(&mote->figures[0], (double)i, NULL), 0);
	assert_int_equal(bench_value_add(&mote->figures[0], 1, &err), -E2BIG);
}

#define HEAD                                                          \
	"{\"mote_bench\":1,\"what\":\"boot\",\"date\":\"\",\"host\":" \
	"{\"kernel\":\"\",\"cpu\":\"\",\"cpus\":1,\"virtual_time\":false},\"options\":{},"
#define WITH_SUBJECT(rest) HEAD "\"subjects\":[{\"name\":\"m\"," rest "}]}"
#define WITH_FIGURE(rest) \
	WITH_SUBJECT("\"figures\":[{\"name\":\"f\",\"title\":\"F\",\"unit\":\"ms\"," rest "}]")

static void malformed_results_are_refused(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "", "line 1, column 0: '[' or '{' expected near end of file" },
		{ "[]", "expected an object, got an array" },
		{ "{}", "missing key \"mote_bench\"" },
		{ "{\"mote_bench\":2}", "mote_bench: not 1, the only format that this version reads" },
		{ HEAD "\"subjects\":[],\"more\":1}", "unknown key \"more\"" },
		{ HEAD "\"options\":{}}", "line 1, column 122: duplicate object key near '\"options\"'" },
		{ HEAD "\"subjects\":{}}", "subjects: expected an array, got an object" },
		{ HEAD "\"subjects\":[],\"left_out\":[{\"name\":\"runc\"}]}",
		  "left_out[0]: missing key \"why\"" },
		{ HEAD "\"subjects\":[{\"name\":\"m\"}]}", "subjects[0]: missing key \"figures\"" },
		{ WITH_SUBJECT("\"figures\":[],\"counts\":{\"exits\":{\"npf\":-1}}"),
		  "subjects[0]: counts: exits: npf: -1 is out of range (0 to 1e+15)" },
		{ WITH_SUBJECT("\"figures\":[],\"counts\":{\"exits\":{\"n\\u001b\":1}}"),
		  "subjects[0]: counts: exits: a key: has a control character" },
		{ WITH_SUBJECT("\"figures\":[],\"version\":\"\\u009b2J\""),
		  "subjects[0]: version: has a control character" },
		{ WITH_SUBJECT("\"figures\":[],\"timeline\":{\"stages\":[{\"name\":\"a\",\"start_ms\":2,"
			       "\"end_ms\":1}]}"),
		  "subjects[0]: timeline: stages[0]: \"a\" is not from a time to a later one" },
		{ WITH_SUBJECT("\"figures\":[],\"timeline\":{\"exits\":[{\"at_ms\":1e300,\"reason\":"
			       "\"npf\"}]}"),
		  "subjects[0]: timeline: exits[0]: at_ms: 1e+300 is out of range (-1e+15 to 1e+15)" },
		{ WITH_FIGURE("\"better\":\"lower\",\"values\":[1,\"2\"]"),
		  "subjects[0]: figures[0]: values[1]: expected a number, got a string" },
		{ WITH_FIGURE("\"better\":\"lower\",\"values\":[1e999]"),
		  "line 1, column 216: real number overflow near '1e999'" },
		{ WITH_FIGURE("\"better\":\"less\",\"values\":[1]"),
		  "subjects[0]: figures[0]: better: \"less\" is none of \"lower\", \"higher\", \"none\"" },
		{ WITH_FIGURE("\"better\":\"none\",\"values\":[1]},{\"name\":\"f\",\"title\":\"F\","
			      "\"unit\":\"\",\"better\":\"none\",\"values\":[1]"),
		  "subjects[0]: figures[1]: figure \"f\" is there twice" },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = { 0 };

		assert_null(bench_result_parse(cases[i].text, strlen(cases[i].text), &err));
		assert_string_equal(err.message, cases[i].message);
	}
}

static void whole_numbers_are_values(void **state)
{
	static const char text[] = WITH_FIGURE("\"better\":\"lower\",\"values\":[748, 0.5, -2]");
	cleanup_bench_result struct bench_result *result =
		bench_result_parse(text, strlen(text), NULL);

	(void)state;
	assert_non_null(result);
	assert_true(result->subjects[0].figures[0].values[0] == 748);
	assert_true(result->subjects[0].figures[0].values[2] == -2);
	assert_string_equal(result->subjects[0].version, "");
	assert_false(result->subjects[0].peer);
}

static void reading_names_the_file(void **state)
{
	char path[] = "/tmp/mote-test-result.XXXXXX";
	int fd = mkstemp(path);
	struct error err = { 0 };

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "{}", 2), 2);
	assert_null(bench_result_read(path, &err));
	assert_non_null(strstr(err.message, "\": missing key \"mote_bench\""));
	assert_memory_equal(err.message + 1, path, strlen(path));
	assert_int_equal(ftruncate(fd, BENCH_FILE_MAX + 1), 0);
	assert_null(bench_result_read(path, &err));
	assert_non_null(strstr(err.message, "\": larger than 32 MiB"));
	close(fd);
	unlink(path);
	assert_null(bench_result_read(path, &err));
	assert_int_equal(err.errnum, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(texts_that_are_added_become_printable),
		cmocka_unit_test(additions_have_bounds),
		cmocka_unit_test(malformed_results_are_refused),
		cmocka_unit_test(whole_numbers_are_values),
		cmocka_unit_test(reading_names_the_file),
	};

	return cmocka_run_group_tests_name("bench_result", tests, NULL, NULL);
}
