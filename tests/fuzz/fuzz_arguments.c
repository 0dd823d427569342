/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: the command lines of mote-jailer, mote-vmm and mote run: words that they know and words
 * that they don't, in any order. What is taken is within its documented bounds, what isn't gets one
 * printable line.
 */
#include <ctype.h>
#include <stdlib.h>

#include "input.h"
#include "tools/jailer/args.h"
#include "tools/mote/run.h"
#include "vmm/options.h"
#include "vmm/util.h"

#define WORDS_MAX 160
#define WORD_SIZE 80

/* getopt's state is the library's: each program has its argv for itself. */
struct line {
	char bytes[WORDS_MAX][WORD_SIZE];
	char *argv[WORDS_MAX + 1];
	int argc;
};

static const char *const words[] = {
	"--", "--id", "--id=a-1", "--exec-file", "--uid", "--uid=1", "--gid", "--chroot-base-dir",
	"--netns", "--daemonize", "--new-pid-ns", "--cgroup", "--cgroup=cpu.max=1", "--cgroup-version",
	"--parent-cgroup", "--resource-limit", "fsize=1", "no-file=9223372036854775807", "memlock=0",
	"nproc=-1", "--config", "--private-root", "--handover", "--userfaultfd", "--oom-score-adj",
	"-1000", "--cleanup", "--version", "--help", "-h", "--config-file", "--no-api", "--boot-timer",
	"--log-path", "--level", "Warn", "--show-level", "--show-log-origin", "--metrics-path",
	"--no-seccomp", "--seccomp-filter", "--start-time-us", "--start-time-cpu-us",
	"--parent-cpu-time-us", "--api-sock", "--mmds-size-limit=1", "--cpus", "--memory", "--rootfs",
	"--kernel", "--net", "tap=t,ip=1.2.3.4/24,gw=1.2.3.1", "none", "--env", "A=b", "--workdir",
	"--tty", "--writable", "--timeout", "--console", "--timing", "--json", "-c", "-m", "-e", "0",
	"1", "2", "32", "a/b", "..", "a/../b", "18446744073709551616", "",
};

static void read_line(struct input *in, struct line *line)
{
	line->argc = 0;
	line->argv[line->argc++] = strcpy(line->bytes[0], "program");
	while (in->left > 0 && line->argc < WORDS_MAX) {
		uint8_t which = input_u8(in);
		char *word = line->bytes[line->argc];

		if (which < ARRAY_SIZE(words)) {
			strcpy(word, words[which]);
		} else {
			input_bytes(in, word, which % WORD_SIZE);
			word[which % WORD_SIZE] = 0;
		}
		line->argv[line->argc++] = word;
	}
	line->argv[line->argc] = NULL;
}

static void check_error(const struct error *err)
{
	must(err->message[0] && err->errnum > 0);
	for (const char *c = err->message; *c; c++)
		must((unsigned char)*c >= 0x20 && *c != 0x7f);
}

static void check_id(const char *id)
{
	must(strlen(id) <= ARGS_ID_MAX);
	for (const char *c = id; *c; c++)
		must(isascii(*c) && (isalnum(*c) || *c == '-'));
}

static void jailer(struct line *line)
{
	struct args args;
	struct error err = { 0 };

	if (args_parse(&args, line->argc, line->argv, &err) < 0) {
		check_error(&err);
		return;
	}
	if (args.action == ARGS_HELP || args.action == ARGS_VERSION)
		return;
	check_id(args.id);
	must(args.action == ARGS_CLEANUP || args.exec_file);
	must(!args.has_uid || args.uid != 0);
	must(args.n_cgroups <= ARGS_CGROUPS_MAX && args.cgroup_version >= 1 && args.cgroup_version <= 2);
	for (unsigned int i = 0; i < args.n_cgroups; i++)
		must(!strchr(args.cgroups[i].file, '/') && args.cgroups[i].value[0]);
	for (const char *c = args.parent_cgroup; c; c = strchr(c + 1, '/'))
		must(strcmp(c, "/..") != 0 && strncmp(c, "/../", 4) != 0);
}

static void vmm(struct line *line)
{
	static struct config config;
	struct options options;
	struct error err = { 0 };

	if (options_parse(&options, line->argc, line->argv, &err) < 0) {
		check_error(&err);
		return;
	}
	if (options.action != OPTIONS_RUN)
		return;
	check_id(options.id);
	must(options.config_path || options.api_path);
	config_init(&config);
	must(options_apply(&options, &config, &err) == 0);
	config_release(&config);
}

static void mote_run(struct line *line)
{
	struct run_options options = { 0 };
	struct error err = { 0 };

	if (run_options_parse(&options, line->argc, line->argv, &err) < 0)
		check_error(&err);
	else if (!options.help)
		must(options.cpus >= 1 && options.cpus <= 32 && options.command && options.command[0]);
	free(options.env);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct line line;
	struct input in = { data, size };
	uint8_t program = input_u8(&in) % 3;

	read_line(&in, &line);
	if (program == 0)
		jailer(&line);
	else if (program == 1)
		vmm(&line);
	else
		mote_run(&line);
	return 0;
}
