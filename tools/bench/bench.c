/* SPDX-License-Identifier: Apache-2.0 */
/* `mote bench`: which of its subcommands. */
#include "tools/bench/bench.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tools/bench/measure.h"
#include "tools/mote/mote.h"
#include "vmm/util.h"

static const struct {
	const char *name;
	int (*function)(int argc, char *argv[]);
	const char *summary;
} subcommands[] = {
	{ "boot", bench_measure, "starts: stages, exits, system calls" },
	{ "io", bench_measure, "disks" },
	{ "net", bench_measure, "networks" },
	{ "density", bench_measure, "memory of idle microVMs" },
	{ "api", bench_measure, "start to API socket; the monitor's memory" },
	{ "vsock", bench_measure, "vsock streams and round trips" },
	{ "mmds", bench_measure, "requests to the metadata service" },
	{ "fork", bench_fork, "(not yet: mote has no snapshots)" },
	{ "show", bench_show, "print or draw a result that was kept" },
	{ "compare", bench_compare_command, "say what changed between two results" },
	{ "budget", bench_budget_command, "say whether a result is within what it may cost" },
	{ NULL },
};

int bench_fail(const char *subcommand, const struct error *err)
{
	fprintf(stderr, "mote bench %s: %s\n", subcommand, err->message);
	return BENCH_FAILED;
}

int bench_bad_option(const char *subcommand, int option, char *argv[], struct error *err)
{
	if (option == ':')
		return error_set(err, EINVAL, "%s: needs a value", argv[optind - 1]);
	return error_set(err, EINVAL, "\"%s\" is not an option; see `mote bench %s --help`",
			 argv[optind - 1], subcommand);
}

static void help(FILE *out)
{
	fprintf(out, "usage: mote bench SUBCOMMAND [OPTIONS..]\n\n");
	for (unsigned int i = 0; subcommands[i].name; i++)
		fprintf(out, "  %-8s %s\n", subcommands[i].name, subcommands[i].summary);
	fprintf(out, "\n`mote bench SUBCOMMAND --help` says more. Example:\n\n"
		     "  mote bench boot --peer qemu-microvm --peer runc --html boot.html\n");
}

int mote_bench(int argc, char *argv[])
{
	const char *name = argc > 1 ? argv[1] : "";

	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		help(stdout);
		return BENCH_OK;
	}
	for (unsigned int i = 0; subcommands[i].name; i++)
		if (strcmp(name, subcommands[i].name) == 0)
			return subcommands[i].function(argc - 1, argv + 1);
	if (argc < 2)
		help(stderr);
	else
		fprintf(stderr, "mote bench: \"%s\" is not a subcommand; `mote bench --help` lists them\n",
			name);
	return BENCH_FAILED;
}
