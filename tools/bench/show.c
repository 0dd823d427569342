/* SPDX-License-Identifier: Apache-2.0 */
/* `mote bench show`: a result that was kept, as table, CSV or picture. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "tools/bench/bench.h"
#include "tools/bench/report.h"

static void help(void)
{
	printf("usage: mote bench show [OPTIONS..] RESULT.json\n\n"
	       "Prints what `mote bench WHAT --json` measured; \"-\" reads it from stdin.\n\n"
	       "  --csv        subject,figure,unit,round,value instead of the table\n"
	       "  --json       the result itself\n"
	       "  --html FILE  timeline, histogram and tables as one file for a browser\n"
	       "  --svg FILE   the timeline alone\n");
}

struct show_options {
	struct bench_report_options report;
	const char *path;
	bool help;
};

static int parse(struct show_options *options, int argc, char *argv[], struct error *err)
{
	static const struct option longs[] = {
		{ "csv", no_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "html", required_argument, NULL, 'm' },
		{ "svg", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*options = (struct show_options){ 0 };
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", longs, NULL)) != -1) {
		if (option == '?' || option == ':')
			return bench_bad_option("show", option, argv, err);
		options->help |= option == 'h';
		options->report.csv |= option == 'c';
		options->report.json |= option == 'j';
		options->report.html = option == 'm' ? optarg : options->report.html;
		options->report.svg = option == 's' ? optarg : options->report.svg;
	}
	if (options->help)
		return 0;
	if (argc - optind != 1)
		return error_set(err, EINVAL, "takes one file; see `mote bench show --help`");
	if (options->report.csv && options->report.json)
		return error_set(err, EINVAL, "--csv: not with --json");
	options->path = argv[optind];
	return 0;
}

int bench_show(int argc, char *argv[])
{
	struct show_options options;
	struct error err = { 0 };
	cleanup_bench_result struct bench_result *result = NULL;

	if (parse(&options, argc, argv, &err) < 0)
		return bench_fail("show", &err);
	if (options.help) {
		help();
		return BENCH_OK;
	}
	result = bench_result_read(options.path, &err);
	if (!result || bench_report(result, &options.report, &err) < 0)
		return bench_fail("show", &err);
	return BENCH_OK;
}
