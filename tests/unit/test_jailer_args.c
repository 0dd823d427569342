/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of mote-jailer; for what it refuses see test_jailer_bad_input.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tools/jailer/args.h"
#include "vmm/util.h"

#define WORDS_MAX 40

/* Parse a line whose words are separated by one space. */
static int parse(struct args *args, const char *line, struct error *err)
{
	static char words[1024];
	static char *argv[WORDS_MAX + 1];
	int argc = 0;

	memset(argv, 0, sizeof(argv));
	snprintf(words, sizeof(words), "mote-jailer %s", line);
	for (char *word = strtok(words, " "); word && argc < WORDS_MAX; word = strtok(NULL, " "))
		argv[argc++] = word;
	return args_parse(args, argc, argv, err);
}

static void firecrackers_defaults(void **state)
{
	struct args a;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse(&a, "--id x --exec-file /f --uid 1 --gid 0", &err), 0);
	assert_int_equal(a.action, ARGS_RUN);
	assert_string_equal(a.id, "x");
	assert_string_equal(a.exec_file, "/f");
	assert_true(a.has_uid && a.has_gid);
	assert_int_equal(a.uid, 1);
	assert_int_equal(a.gid, 0);
	assert_string_equal(a.chroot_base, "/srv/jailer");
	assert_int_equal(a.cgroup_version, 1);
	assert_int_equal(a.n_cgroups, 0);
	assert_int_equal(a.handover, -1);
	assert_null(a.netns);
	assert_null(a.parent_cgroup);
	assert_null(a.config_path);
	assert_null(a.monitor_args[0]);
	assert_false(a.daemonize || a.new_pid_ns || a.private_root || a.userfaultfd ||
		     a.has_oom_score_adj);
	assert_true(a.no_file == ARGS_NO_LIMIT && a.fsize == ARGS_NO_LIMIT);
}

static void every_argument_reaches_its_field(void **state)
{
	struct args a;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(
		parse(&a,
		      "--id=vm-1 --exec-file=f --uid 4294967294 --gid 7 --chroot-base-dir b "
		      "--netns n "
		      "--daemonize --new-pid-ns --cgroup memory.max=5 --cgroup hugetlb.2MB.max=a=b "
		      "--cgroup-version 2 --parent-cgroup p/q --resource-limit fsize=9 "
		      "--resource-limit no-file=8 --resource-limit memlock=7 --resource-limit "
		      "nproc=6 "
		      "--config c --private-root --userfaultfd --oom-score-adj -1000 -- --id y --",
		      &err),
		0);
	assert_string_equal(a.id, "vm-1");
	assert_int_equal(a.uid, 4294967294);
	assert_string_equal(a.chroot_base, "b");
	assert_string_equal(a.netns, "n");
	assert_string_equal(a.parent_cgroup, "p/q");
	assert_string_equal(a.config_path, "c");
	assert_true(a.daemonize && a.new_pid_ns && a.private_root && a.userfaultfd);
	assert_int_equal(a.n_cgroups, 2);
	assert_string_equal(a.cgroups[0].file, "memory.max");
	assert_string_equal(a.cgroups[0].value, "5");
	assert_string_equal(a.cgroups[1].file, "hugetlb.2MB.max");
	assert_string_equal(a.cgroups[1].value, "a=b");
	assert_int_equal(a.cgroup_version, 2);
	assert_int_equal(a.fsize, 9);
	assert_int_equal(a.no_file, 8);
	assert_int_equal(a.memlock, 7);
	assert_int_equal(a.nproc, 6);
	assert_true(a.has_oom_score_adj);
	assert_int_equal(a.oom_score_adj, -1000);
	assert_string_equal(a.monitor_args[0], "--id");
	assert_string_equal(a.monitor_args[1], "y");
	assert_string_equal(a.monitor_args[2], "--");
	assert_null(a.monitor_args[3]);
}

static void the_other_actions_need_nothing_else(void **state)
{
	struct args a;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse(&a, "--help", &err), 0);
	assert_int_equal(a.action, ARGS_HELP);
	assert_int_equal(parse(&a, "--id x -h", &err), 0);
	assert_int_equal(a.action, ARGS_HELP);
	assert_int_equal(parse(&a, "--version", &err), 0);
	assert_int_equal(a.action, ARGS_VERSION);
	assert_int_equal(parse(&a, "--cleanup x --chroot-base-dir b", &err), 0);
	assert_int_equal(a.action, ARGS_CLEANUP);
	assert_string_equal(a.id, "x");
}

static void the_help_names_every_argument(void **state)
{
	static const char *const words[] = {
		"--id ID",
		"--exec-file FILE",
		"--uid UID",
		"--gid GID",
		"--chroot-base-dir DIR",
		"--netns PATH",
		"--daemonize",
		"--new-pid-ns",
		"--cgroup FILE=VALUE",
		"--cgroup-version N",
		"--parent-cgroup PATH",
		"--resource-limit NAME=N",
		"--config FILE",
		"--private-root",
		"--handover FD",
		"--userfaultfd",
		"--oom-score-adj N",
		"--cleanup ID",
		"--version",
		"--help",
		"isn't copied",
		"mote-jailer --id b --exec-file build/mote-vmm --config vm.json",
	};
	cleanup_free char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	(void)state;
	assert_non_null(out);
	args_help(out);
	fclose(out);
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		if (!strstr(text, words[i]))
			fail_msg("%s is missing", words[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(firecrackers_defaults),
		cmocka_unit_test(every_argument_reaches_its_field),
		cmocka_unit_test(the_other_actions_need_nothing_else),
		cmocka_unit_test(the_help_names_every_argument),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
