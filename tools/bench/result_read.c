/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "tools/bench/result.h"
#include "vmm/api/fields.h"
#include "vmm/api/json.h"
#include "vmm/open.h"
#include "vmm/util.h"

#define VALUE_MAX 1e15 /* as long as that, a number with three decimals is exact enough */

static void cleanup_json(json_t **json)
{
	json_decref(*json);
}

/* jansson has made sure of UTF-8; C0, DEL and C1 would reach a terminal. */
static int check_printable(const char *text, struct error *err)
{
	for (const unsigned char *s = (const unsigned char *)text; *s; s++)
		if (*s < 0x20 || *s == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0))
			return error_set(err, EINVAL, "has a control character");
	return 0;
}

static int check_text(const char *text, struct error *err)
{
	size_t length = strlen(text);

	if (length > BENCH_TEXT_MAX)
		return error_set(err, EINVAL, "is %zu bytes long, at most %d are allowed", length,
				 BENCH_TEXT_MAX);
	return check_printable(text, err);
}

static int check_key(const char *key, struct error *err)
{
	return check_text(key, err) < 0 ? error_wrap(err, "a key") : 0;
}

static int parse_number(double *out, json_t *value, struct error *err)
{
	if (!json_is_number(value))
		return fields_wrong_type("a number", value, err);
	*out = json_number_value(value);
	if (!(fabs(*out) <= VALUE_MAX))
		return error_set(err, EINVAL, "%g is out of range (%g to %g)", *out, -VALUE_MAX,
				 VALUE_MAX);
	return 0;
}

static int parse_time(void *member, json_t *value, struct error *err)
{
	return parse_number(member, value, err);
}

#define TEXT(name, t, member, least) \
	FIELD_STRING(name, t, member, least, BENCH_TEXT_MAX, check_printable), .required = true

static int parse_value(void *figure, json_t *value, struct error *err)
{
	double number = 0;
	int ret = parse_number(&number, value, err);

	return ret < 0 ? ret : bench_value_add(figure, number, err);
}

static int parse_figure(void *subject, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ TEXT("name", struct bench_figure, name, 1) },
		{ TEXT("title", struct bench_figure, title, 1) },
		{ TEXT("unit", struct bench_figure, unit, 0) },
		{ FIELD_NAME("better", struct bench_figure, better, bench_better_names),
		  .required = true },
		{ FIELD_ARRAY("values", parse_value), .required = true },
	};
	struct bench_figure read = { 0 };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &read, object, err);
	struct bench_figure *figure = NULL;

	if (ret == 0)
		figure = bench_figure_add(subject, read.name, read.title, read.unit, read.better, err);
	if (figure) {
		figure->values = take_ptr_fn(&read.values);
		figure->n_values = read.n_values;
		figure->room = read.room;
	} else if (ret == 0) {
		ret = -err->errnum;
	}
	free(read.name);
	free(read.title);
	free(read.unit);
	free(read.values);
	return ret;
}

static int parse_count(struct bench_subject *subject, const char *group, const char *name,
		       json_t *value, struct error *err)
{
	if (check_key(name, err) < 0)
		return -EINVAL;
	if (!json_is_integer(value))
		fields_wrong_type("an integer", value, err);
	else if (json_integer_value(value) < 0 || json_number_value(value) > VALUE_MAX)
		error_set(err, EINVAL, "%" JSON_INTEGER_FORMAT " is out of range (0 to %g)",
			  json_integer_value(value), VALUE_MAX);
	else
		return bench_count_add(subject, group, name, (uint64_t)json_integer_value(value),
				       err);
	return error_wrap(err, "%s", name);
}

static int parse_group(struct bench_subject *subject, const char *group, json_t *object,
		       struct error *err)
{
	const char *name;
	json_t *value;

	if (check_key(group, err) < 0)
		return -EINVAL;
	if (!json_is_object(object)) {
		fields_wrong_type("an object", object, err);
		return error_wrap(err, "%s", group);
	}
	json_object_foreach(object, name, value)
		if (parse_count(subject, group, name, value, err) < 0)
			return error_wrap(err, "%s", group);
	return 0;
}

static int parse_counts(void *subject, json_t *object, struct error *err)
{
	const char *group;
	json_t *value;

	if (!json_is_object(object))
		return fields_wrong_type("an object", object, err);
	json_object_foreach(object, group, value)
	{
		int ret = parse_group(subject, group, value, err);

		if (ret < 0)
			return ret;
	}
	return 0;
}

static int parse_span(struct bench_span *span, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ TEXT("name", struct bench_span, name, 1) },
		{ FIELD_PARSED("start_ms", struct bench_span, start_ms, parse_time),
		  .required = true },
		{ FIELD_PARSED("end_ms", struct bench_span, end_ms, parse_time), .required = true },
	};

	return fields_parse(fields, ARRAY_SIZE(fields), span, object, err);
}

static int parse_stage(void *subject, json_t *object, struct error *err)
{
	struct bench_span span = { 0 };
	int ret = parse_span(&span, object, err);

	if (ret == 0)
		ret = bench_stage_add(subject, span.name, span.start_ms, span.end_ms, err);
	free(span.name);
	return ret;
}

static int parse_initcall(void *subject, json_t *object, struct error *err)
{
	struct bench_span span = { 0 };
	int ret = parse_span(&span, object, err);

	if (ret == 0)
		ret = bench_initcall_add(subject, span.name, span.start_ms, span.end_ms, err);
	free(span.name);
	return ret;
}

static int parse_exit(void *subject, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_PARSED("at_ms", struct bench_exit, at_ms, parse_time), .required = true },
		{ TEXT("reason", struct bench_exit, reason, 1) },
	};
	struct bench_exit exit = { 0 };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &exit, object, err);

	if (ret == 0)
		ret = bench_exit_add(subject, exit.at_ms, exit.reason, err);
	free(exit.reason);
	return ret;
}

static int parse_timeline(void *subject, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_ARRAY("stages", parse_stage) },
		{ FIELD_ARRAY("initcalls", parse_initcall) },
		{ FIELD_ARRAY("exits", parse_exit) },
	};

	return fields_parse(fields, ARRAY_SIZE(fields), subject, object, err);
}

/* What a subject is, before it's added; what it has is read into it afterwards. */
struct subject_head {
	char *name, *version;
	bool peer;
};

static int skip(void *member, json_t *value, struct error *err)
{
	(void)member;
	(void)value;
	(void)err;
	return 0;
}

static int parse_head(struct subject_head *head, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ TEXT("name", struct subject_head, name, 1) },
		{ FIELD_STRING("version", struct subject_head, version, 0, BENCH_TEXT_MAX,
			       check_printable) },
		{ FIELD_BOOL("peer", struct subject_head, peer) },
		{ FIELD_WHOLE("figures", skip), .required = true },
		{ FIELD_WHOLE("counts", skip) },
		{ FIELD_WHOLE("timeline", skip) },
	};

	return fields_parse(fields, ARRAY_SIZE(fields), head, object, err);
}

static int parse_parts(struct bench_subject *subject, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ FIELD_WHOLE("name", skip) },
		{ FIELD_WHOLE("version", skip) },
		{ FIELD_WHOLE("peer", skip) },
		{ FIELD_ARRAY("figures", parse_figure) },
		{ FIELD_WHOLE("counts", parse_counts) },
		{ FIELD_WHOLE("timeline", parse_timeline) },
	};

	return fields_parse(fields, ARRAY_SIZE(fields), subject, object, err);
}

static int parse_subject(void *result, json_t *object, struct error *err)
{
	struct subject_head head = { 0 };
	struct bench_subject *subject = NULL;
	int ret = parse_head(&head, object, err);

	if (ret == 0) {
		subject = bench_subject_add(result, head.name, head.version ? head.version : "",
					    head.peer, err);
		ret = subject ? parse_parts(subject, object, err) : -err->errnum;
	}
	free(head.name);
	free(head.version);
	return ret;
}

static int parse_left_out(void *result, json_t *object, struct error *err)
{
	static const struct field fields[] = {
		{ TEXT("name", struct bench_left_out, name, 1) },
		{ TEXT("why", struct bench_left_out, why, 0) },
	};
	struct bench_left_out left_out = { 0 };
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &left_out, object, err);

	if (ret == 0)
		ret = bench_left_out_add(result, left_out.name, left_out.why, err);
	free(left_out.name);
	free(left_out.why);
	return ret;
}

static int parse_options(void *member, json_t *object, struct error *err)
{
	struct bench_result *result = member;
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return fields_wrong_type("an object", object, err);
	json_object_foreach(object, name, value)
	{
		if (check_key(name, err) < 0)
			return -EINVAL;
		if (!json_is_integer(value) && !json_is_boolean(value) && !json_is_string(value)) {
			fields_wrong_type("a string, an integer, true or false", value, err);
			return error_wrap(err, "%s", name);
		}
		if (json_is_string(value) && check_text(json_string_value(value), err) < 0)
			return error_wrap(err, "%s", name);
		if (json_object_set(result->options, name, value) < 0)
			return error_sys(err, ENOMEM, "%s", name);
	}
	return 0;
}

static int replace(char **text, char **fresh, int ret)
{
	if (*fresh) {
		free(*text);
		*text = take_ptr_fn(fresh);
	}
	return ret;
}

static int parse_host(void *member, json_t *object, struct error *err)
{
	struct host {
		char *kernel, *cpu;
		unsigned int cpus;
		bool virtual_time;
	} host = { 0 };
	static const struct field fields[] = {
		{ TEXT("kernel", struct host, kernel, 0) },
		{ TEXT("cpu", struct host, cpu, 0) },
		{ FIELD_UINT("cpus", struct host, cpus, 0, INT_MAX), .required = true },
		{ FIELD_BOOL("virtual_time", struct host, virtual_time), .required = true },
	};
	struct bench_result *result = member;
	int ret = fields_parse(fields, ARRAY_SIZE(fields), &host, object, err);

	ret = replace(&result->host.kernel, &host.kernel, ret);
	ret = replace(&result->host.cpu, &host.cpu, ret);
	result->host.cpus = host.cpus;
	result->host.virtual_time = host.virtual_time;
	return ret;
}

static int parse_format(void *member, json_t *value, struct error *err)
{
	(void)member;
	if (json_is_integer(value) && json_integer_value(value) == BENCH_FORMAT)
		return 0;
	return error_set(err, EINVAL, "not %d, the only format that this version reads",
			 BENCH_FORMAT);
}

static int parse_what(void *member, json_t *value, struct error *err)
{
	struct bench_result *result = member;

	if (!json_is_string(value))
		return fields_wrong_type("a string", value, err);
	int ret = check_text(json_string_value(value), err);

	return ret < 0 ? ret : bench_text_set(&result->what, json_string_value(value), err);
}

static int parse_date(void *member, json_t *value, struct error *err)
{
	struct bench_result *result = member;

	if (!json_is_string(value))
		return fields_wrong_type("a string", value, err);
	int ret = check_text(json_string_value(value), err);

	return ret < 0 ? ret : bench_text_set(&result->date, json_string_value(value), err);
}

static const struct field top_fields[] = {
	{ FIELD_WHOLE("mote_bench", parse_format), .required = true },
	{ FIELD_WHOLE("what", parse_what), .required = true },
	{ FIELD_WHOLE("date", parse_date), .required = true },
	{ FIELD_WHOLE("host", parse_host), .required = true },
	{ FIELD_WHOLE("options", parse_options), .required = true },
	{ FIELD_ARRAY("subjects", parse_subject), .required = true },
	{ FIELD_ARRAY("left_out", parse_left_out) },
};

struct bench_result *bench_result_parse(const char *text, size_t length, struct error *err)
{
	__attribute__((cleanup(cleanup_json))) json_t *root = NULL;
	cleanup_bench_result struct bench_result *result = bench_result_new("", err);

	if (!result || config_json_text(&root, text, length, err) < 0 ||
	    fields_parse(top_fields, ARRAY_SIZE(top_fields), result, root, err) < 0)
		return NULL;
	return take_ptr_fn(&result);
}

int bench_file_read(const char *path, char **text, size_t *length, struct error *err)
{
	bool standard_input = strcmp(path, "-") == 0;
	cleanup_close int fd = standard_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
					      : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	cleanup_free char *buffer = NULL;
	size_t n = 0, room = 0;

	if (fd < 0)
		return error_sys(err, errno, "open \"%s\"", path);
	for (ssize_t got = 1; got > 0;) {
		if (n == room) {
			room = room ? 2 * room : 65536;
			char *fresh = realloc(buffer, room + 1);

			if (!fresh)
				return error_sys(err, ENOMEM, "read \"%s\"", path);
			buffer = fresh;
		}
		got = TEMP_FAILURE_RETRY(read(fd, buffer + n, room - n));
		if (got < 0)
			return error_sys(err, errno, "read \"%s\"", path);
		n += (size_t)got;
		if (n > BENCH_FILE_MAX)
			return error_set(err, EFBIG, "\"%s\": larger than %u MiB", path,
					 BENCH_FILE_MAX >> 20);
	}
	buffer[n] = 0;
	*text = take_ptr_fn(&buffer);
	*length = n;
	return 0;
}

struct bench_result *bench_result_read(const char *path, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t length;

	if (bench_file_read(path, &text, &length, err) < 0)
		return NULL;
	struct bench_result *result = bench_result_parse(text, length, err);

	if (!result)
		error_wrap(err, "\"%s\"", path);
	return result;
}
