/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of mote-vmm. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/options.h"
#include "vmm/util.h"

#define ARGS_MAX 24

/* Parse a line whose words are separated by one space; "~" stands for an empty word. */
static int parse(struct options *options, const char *line, struct error *err)
{
	static char words[1024];
	char *argv[ARGS_MAX + 1] = { NULL };
	int argc = 0;

	snprintf(words, sizeof(words), "mote-vmm %s", line);
	for (char *word = strtok(words, " "); word && argc < ARGS_MAX; word = strtok(NULL, " "))
		argv[argc++] = strcmp(word, "~") == 0 ? word + 1 : word;
	return options_parse(options, argc, argv, err);
}

static void the_shortest_command_line_has_the_defaults(void **state)
{
	struct options o;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse(&o, "--config-file c.json --no-api", &err), 0);
	assert_int_equal(o.action, OPTIONS_RUN);
	assert_string_equal(o.config_path, "c.json");
	assert_string_equal(o.id, "anonymous-instance");
	assert_false(o.boot_timer || o.compat_names || o.has_level);
	assert_false(o.show_level || o.show_log_origin);
	assert_null(o.log_path);
	assert_null(o.metrics_path);
	assert_null(o.metadata_path);
	assert_int_equal(o.mmds_size_limit, 51200);
	assert_false(o.no_seccomp);
	assert_null(o.seccomp_filter);
}

static void every_option_reaches_its_field(void **state)
{
	struct options o;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse(&o,
			       "--id vm-7 --no-api --compat-names --boot-timer --log-path=l --level warn "
			       "--show-level --show-log-origin --module vmm/api --metrics-path m --config-file=c "
			       "--seccomp-filter f --metadata m.json --mmds-size-limit 2147483647",
			       &err),
			 0);
	assert_string_equal(o.metadata_path, "m.json");
	assert_int_equal(o.mmds_size_limit, 2147483647);
	assert_string_equal(o.config_path, "c");
	assert_string_equal(o.id, "vm-7");
	assert_string_equal(o.log_path, "l");
	assert_string_equal(o.metrics_path, "m");
	assert_true(o.boot_timer && o.compat_names && o.show_level && o.show_log_origin);
	assert_true(o.has_level);
	assert_int_equal(o.level, LOG_WARN);
	assert_string_equal(o.seccomp_filter, "f");
	assert_string_equal(o.log_module, "vmm/api");
	assert_int_equal(parse(&o, "--no-seccomp --no-api --config-file c", &err), 0);
	assert_true(o.no_seccomp);
}

static void the_api_has_a_socket_unless_there_is_to_be_none(void **state)
{
	struct options o;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse(&o, "", &err), 0);
	assert_string_equal(o.api_path, "/run/firecracker.socket");
	assert_int_equal(o.api_body_max, 51200);
	assert_null(o.config_path);
	assert_int_equal(parse(&o, "--config-file c", &err), 0);
	assert_string_equal(o.api_path, "/run/firecracker.socket");
	assert_int_equal(parse(&o, "--api-sock=s --http-api-max-payload-size 1", &err), 0);
	assert_string_equal(o.api_path, "s");
	assert_int_equal(o.api_body_max, 1);
	assert_int_equal(parse(&o, "--config-file c --no-api", &err), 0);
	assert_null(o.api_path);
}

static void what_a_jailer_says_is_in_microseconds(void **state)
{
	struct options o;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse(&o,
			       "--start-time-us 9223372036854775 --start-time-cpu-us=0 "
			       "--parent-cpu-time-us 1500 --config-file c --no-api",
			       &err),
			 0);
	assert_int_equal(o.start_time_us, 9223372036854775);
	assert_int_equal(o.start_time_cpu_us, 0);
	assert_int_equal(o.parent_cpu_time_us, 1500);
}

static void help_and_version_need_nothing_else(void **state)
{
	struct options o;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse(&o, "--help", &err), 0);
	assert_int_equal(o.action, OPTIONS_HELP);
	assert_int_equal(parse(&o, "-h", &err), 0);
	assert_int_equal(o.action, OPTIONS_HELP);
	assert_int_equal(parse(&o, "--no-api --version", &err), 0);
	assert_int_equal(o.action, OPTIONS_VERSION);
}

static void the_help_names_every_option_and_gives_an_example(void **state)
{
	static const char *const options[] = { "--config-file FILE",
					       "--no-api",
					       "--api-sock SOCKET",
					       "--http-api-max-payload-size N",
					       "--id ID",
					       "--boot-timer",
					       "--log-path FILE",
					       "--level LEVEL",
					       "--show-level",
					       "--show-log-origin",
					       "--metrics-path FILE",
					       "--metadata FILE",
					       "--mmds-size-limit N",
					       "--no-seccomp",
					       "--seccomp-filter FILE",
					       "--version",
					       "--help",
					       "Example:",
					       "mote-vmm --config-file vm.json --no-api" };
	cleanup_free char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	(void)state;
	assert_non_null(out);
	options_help(out);
	fclose(out);
	for (unsigned int i = 0; i < ARRAY_SIZE(options); i++)
		assert_non_null(strstr(text, options[i]));
}

static void bad_command_lines_are_refused_with_one_line(void **state)
{
	static const struct {
		const char *line, *message;
	} bad[] = {
		{ "--no-api", "--no-api: needs --config-file" },
		{ "--no-api --config-file c --api-sock s", "--no-api: can't go with --api-sock" },
		{ "--api-sock", "--api-sock: missing argument" },
		{ "--api-sock --id x", "--api-sock: missing argument" },
		{ "--api-sock a --api-sock b", "--api-sock: given twice" },
		{ "--http-api-max-payload-size 0",
		  "--http-api-max-payload-size: \"0\" is not a number from 1 to 2147483647" },
		{ "--http-api-max-payload-size 2147483648",
		  "--http-api-max-payload-size: \"2147483648\" is not a number from 1 to 2147483647" },
		{ "--http-api-max-payload-size 5k",
		  "--http-api-max-payload-size: \"5k\" is not a number from 1 to 2147483647" },
		{ "--config-file", "--config-file: missing argument" },
		{ "--config-file --no-api", "--config-file: missing argument" },
		{ "--config-file ~", "--config-file: missing argument" },
		{ "--config-file=", "--config-file: missing argument" },
		{ "--config-file a --config-file b", "--config-file: given twice" },
		{ "--no-api --no-api", "--no-api: given twice" },
		{ "--no-api=1", "--no-api=1: takes no argument" },
		{ "--config-file c --no-api x", "unexpected argument \"x\"" },
		{ "--config-file c --no-api -- x", "unexpected argument \"x\"" },
		{ "x --config-file c --no-api", "unexpected argument \"x\"" },
		{ "-", "unexpected argument \"-\"" },
		{ "--frobnicate", "unknown option \"--frobnicate\"" },
		{ "--config c --no-api", "unknown option \"--config\"" },
		{ "--conf=c --no-api", "unknown option \"--conf=c\"" },
		{ "--show", "unknown option \"--show\"" },
		{ "-x", "unknown option \"-x\"" },
		{ "-c c", "unknown option \"-c\"" },
		{ "--id a_b", "--id: \"a_b\" has more than ASCII letters, digits and -" },
		{ "--id ../a", "--id: \"../a\" has more than ASCII letters, digits and -" },
		{ "--id x23456789012345678901234567890123456789012345678901234567890123456789",
		  "--id: is 69 characters long, at most 64 are allowed" },
		{ "--level loud",
		  "--level: \"loud\" is none of Off, Error, Warning, Info, Debug, Trace" },
		{ "--level", "--level: missing argument" },
		{ "--\x1b[31m", "unknown option \"--?[31m\"" },
		{ "--enable-pci", "--enable-pci: not supported yet by this version" },
		{ "--config-file c --no-api --no-seccomp --seccomp-filter f",
		  "--no-seccomp: can't go with --seccomp-filter" },
		{ "--seccomp-filter", "--seccomp-filter: missing argument" },
		{ "--no-seccomp=1", "--no-seccomp=1: takes no argument" },
		{ "--start-time-us -5", "--start-time-us: \"-5\" is not a number of microseconds" },
		{ "--start-time-cpu-us 5x",
		  "--start-time-cpu-us: \"5x\" is not a number of microseconds" },
		{ "--parent-cpu-time-us 9223372036854776",
		  "--parent-cpu-time-us: \"9223372036854776\" is not a number of microseconds" },
		{ "--metadata", "--metadata: missing argument" },
		{ "--mmds-size-limit 0", "--mmds-size-limit: \"0\" is not a number from 1 to 2147483647" },
		{ "--mmds-size-limit 2147483648",
		  "--mmds-size-limit: \"2147483648\" is not a number from 1 to 2147483647" },
		{ "--mmds-size-limit 5k", "--mmds-size-limit: \"5k\" is not a number from 1 to 2147483647" },
		{ "--describe-snapshot f",
		  "--describe-snapshot: not supported yet by this version" },
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct options o;
		struct error err = { 0 };
		int ret = parse(&o, bad[i].line, &err);

		assert_string_equal(err.message, bad[i].message);
		assert_int_equal(ret,
				 strstr(bad[i].message, "not supported") ? -EOPNOTSUPP : -EINVAL);
	}
}

static void the_longest_id_is_taken(void **state)
{
	struct options o;
	struct error err = { 0 };
	char line[128];

	(void)state;
	snprintf(line, sizeof(line), "--config-file c --no-api --id %064d", 7);
	assert_int_equal(parse(&o, line, &err), 0);
	assert_int_equal(strlen(o.id), 64);
}

static void parsing_again_starts_anew(void **state)
{
	struct options o;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse(&o, "--id a --id b", &err), -EINVAL);
	assert_int_equal(parse(&o, "--config-file c --no-api", &err), 0);
	assert_string_equal(o.id, OPTIONS_DEFAULT_ID);
}

static void options_go_before_the_config(void **state)
{
	struct config config;
	struct options o;
	struct error err = { 0 };

	(void)state;
	config_init(&config);
	config.logger = (struct config_logger){
		.set = true, .log_path = strdup("old"), .level = LOG_ERROR, .show_log_origin = true
	};
	parse(&o, "--config-file c --no-api", &err);
	assert_int_equal(options_apply(&o, &config, &err), 0);
	assert_string_equal(config.logger.log_path, "old");
	assert_int_equal(config.logger.level, LOG_ERROR);
	assert_false(config.logger.show_level || config.metrics.set);
	assert_true(config.logger.show_log_origin);

	parse(&o,
	      "--config-file c --no-api --log-path new --level Debug --show-level --metrics-path m",
	      &err);
	assert_int_equal(options_apply(&o, &config, &err), 0);
	assert_string_equal(config.logger.log_path, "new");
	assert_int_equal(config.logger.level, LOG_DEBUG);
	assert_true(config.logger.show_level && config.logger.show_log_origin);
	assert_null(config.logger.module);
	assert_true(config.metrics.set);
	assert_string_equal(config.metrics.metrics_path, "m");
	config_release(&config);
}

static void options_alone_make_a_logger(void **state)
{
	struct config config;
	struct options o;
	struct error err = { 0 };

	(void)state;
	config_init(&config);
	parse(&o, "--config-file c --no-api", &err);
	options_apply(&o, &config, &err);
	assert_false(config.logger.set);
	parse(&o, "--config-file c --no-api --show-level", &err);
	options_apply(&o, &config, &err);
	assert_true(config.logger.set && config.logger.show_level);
	assert_int_equal(config.logger.level, LOG_INFO);
	parse(&o, "--config-file c --no-api --module vmm", &err);
	options_apply(&o, &config, &err);
	assert_string_equal(config.logger.module, "vmm");
	config_release(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_shortest_command_line_has_the_defaults),
		cmocka_unit_test(every_option_reaches_its_field),
		cmocka_unit_test(the_api_has_a_socket_unless_there_is_to_be_none),
		cmocka_unit_test(what_a_jailer_says_is_in_microseconds),
		cmocka_unit_test(help_and_version_need_nothing_else),
		cmocka_unit_test(the_help_names_every_option_and_gives_an_example),
		cmocka_unit_test(bad_command_lines_are_refused_with_one_line),
		cmocka_unit_test(the_longest_id_is_taken),
		cmocka_unit_test(parsing_again_starts_anew),
		cmocka_unit_test(options_go_before_the_config),
		cmocka_unit_test(options_alone_make_a_logger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
