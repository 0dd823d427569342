/* SPDX-License-Identifier: Apache-2.0 */
/* The command lines of the subcommands of `mote bench` that measure. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tools/bench/measure.h"
#include "vmm/util.h"

#define WORDS_MAX 32

/* Words of one line, split at blanks, in `copy`, which the options borrow from. */
static int parse(struct bench_options *o, const char *line, char copy[256], struct error *err)
{
	char *argv[WORDS_MAX + 1], *saved = NULL;
	int argc = 0;

	snprintf(copy, 256, "%s", line);
	for (char *word = strtok_r(copy, " ", &saved); word; word = strtok_r(NULL, " ", &saved))
		argv[argc++] = word;
	argv[argc] = NULL;
	return bench_options_parse(o, argc, argv, err);
}

static void defaults(void **state)
{
	struct bench_options o;
	char copy[256];

	(void)state;
	assert_int_equal(parse(&o, "boot", copy, NULL), 0);
	assert_string_equal(o.what, "boot");
	assert_int_equal(o.rounds, 5);
	assert_int_equal(o.memory_mib, 128);
	assert_int_equal(o.vcpus, 1);
	assert_int_equal(o.threshold_us, 100);
	assert_false(o.cold || o.reset_guest || o.help || o.json || o.csv);
	assert_null(o.kernel);
	assert_null(o.html);
	assert_int_equal(o.n_peers, 0);
}

static void everything_given(void **state)
{
	struct bench_options o;
	char copy[256];

	(void)state;
	assert_int_equal(parse(&o, "boot -n 20 --cache cold --kernel k -m 256 -c 2 --guest=reset --threshold-us 0 --json "
			       "--html f --svg g -p runc --peer firecracker=/x=y", copy, NULL), 0);
	assert_int_equal(o.rounds, 20);
	assert_true(o.cold && o.reset_guest && o.json);
	assert_string_equal(o.kernel, "k");
	assert_int_equal(o.memory_mib, 256);
	assert_int_equal(o.vcpus, 2);
	assert_int_equal(o.threshold_us, 0);
	assert_string_equal(o.html, "f");
	assert_string_equal(o.svg, "g");
	assert_int_equal(o.n_peers, 2);
	assert_string_equal(o.peers[0].name, "runc");
	assert_null(o.peers[0].path);
	assert_string_equal(o.peers[1].name, "firecracker");
	assert_string_equal(o.peers[1].path, "/x=y");
	assert_int_equal(parse(&o, "density --guests 64", copy, NULL), 0);
	assert_int_equal(o.guests, 64);
	assert_false(o.no_guest);
	assert_int_equal(parse(&o, "api --no-guest -n 100", copy, NULL), 0);
	assert_string_equal(o.what, "api");
	assert_true(o.no_guest);
	assert_true(bench_needs_api("api") && bench_needs_api("vsock") && bench_needs_api("mmds"));
	assert_false(bench_needs_api("boot") || bench_needs_api("net"));
}

static void refused_with_one_line(void **state)
{
	static const struct {
		const char *line, *message;
		int errnum;
	} cases[] = {
		{ "boot --cache restore", "--cache restore: mote has no snapshots yet", ENOTSUP },
		{ "boot --cache fork", "--cache fork: mote has no snapshots yet", ENOTSUP },
		{ "boot --cache hot", "--cache: \"hot\" is neither warm nor cold", EINVAL },
		{ "boot --guest bsd", "--guest: \"bsd\" is neither linux nor reset", EINVAL },
		{ "boot --rounds 0", "--rounds: \"0\" is not a number from 1 to 200", EINVAL },
		{ "boot --rounds 201", "--rounds: \"201\" is not a number from 1 to 200", EINVAL },
		{ "boot --rounds 5x", "--rounds: \"5x\" is not a number from 1 to 200", EINVAL },
		{ "boot --rounds -1", "--rounds: \"-1\" is not a number from 1 to 200", EINVAL },
		{ "boot --memory 8", "--memory: \"8\" is not a number from 16 to 261120", EINVAL },
		{ "boot --vcpus 33", "--vcpus: \"33\" is not a number from 1 to 32", EINVAL },
		{ "boot --rounds", "--rounds needs an argument", EINVAL },
		{ "boot --bogus", "\"--bogus\" is not an option; see `mote bench boot --help`", EINVAL },
		{ "boot now", "\"now\": takes no arguments", EINVAL },
		{ "boot --json --csv", "--json and --csv exclude each other", EINVAL },
		{ "boot --peer xen",
		  "--peer: \"xen\" is none of qemu-microvm, firecracker, kvmtool, runc, crun, bwrap, true", EINVAL },
		{ "boot --peer runc=", "--peer: runc= needs a path", EINVAL },
		{ "boot -p runc -p runc=/x", "--peer: runc was given twice", EINVAL },
		{ "boot --guests 3", "\"--guests\" is not an option; see `mote bench boot --help`", EINVAL },
		{ "io --cache cold", "\"--cache\" is not an option; see `mote bench io --help`", EINVAL },
		{ "density --no-guest", "\"--no-guest\" is not an option; see `mote bench density --help`", EINVAL },
		{ "vsock --no-guest", "\"--no-guest\" is not an option; see `mote bench vsock --help`", EINVAL },
		{ "api --guests 2", "\"--guests\" is not an option; see `mote bench api --help`", EINVAL },
		{ "net --guest=reset", "\"--guest=reset\" is not an option; see `mote bench net --help`", EINVAL },
	};
	struct bench_options o;
	struct error err;
	char copy[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int rc = parse(&o, cases[i].line, copy, &err);

		if (rc != -cases[i].errnum || strcmp(err.message, cases[i].message) != 0)
			fail_msg("%s: %d, \"%s\"", cases[i].line, rc, err.message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(everything_given),
		cmocka_unit_test(refused_with_one_line),
	};

	return cmocka_run_group_tests_name("bench_options", tests, NULL, NULL);
}
