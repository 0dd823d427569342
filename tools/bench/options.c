/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/measure.h"
#include "vmm/util.h"

#define ROUNDS_MAX 200

/* needs_api: only who speaks Firecracker's API or takes its configuration can be measured. */
static const struct {
	const char *what, *does, *example;
	bool needs_api;
} benches[] = {
	{ "boot",
	  "Starts microVMs, and says where the time goes: from exec to the first instruction of init, stage by\n"
	  "stage; exits, system calls, page faults, bytes copied.",
	  "mote bench boot --peer qemu-microvm --peer runc --html boot.html", false },
	{ "io", "Reads and writes a raw disk from inside the guest, by O_DIRECT: MB/s and IOPS.",
	  "mote bench io --peer qemu-microvm", false },
	{ "net", "Streams and round trips between the guest and a server on the host, over a tap.",
	  "mote bench net --peer qemu-microvm", false },
	{ "density", "Memory of N idle microVMs with a disk and a network card each, without the guests' RAM.",
	  "mote bench density --guests 4 --peer qemu-microvm", false },
	{ "api",
	  "From exec to the API's socket: connected, and first answer. The monitor's private memory then, and with\n"
	  "a disk, a network card, vsock, metadata and an idle guest, all of them asked for by the API.",
	  "mote bench api --peer firecracker", true },
	{ "vsock",
	  "Streams and round trips between the guest, which connects, and a server at the host's Unix socket.",
	  "mote bench vsock --peer firecracker", true },
	{ "mmds", "Requests a second that a guest gets answered by the metadata service, over its network card.",
	  "mote bench mmds --peer firecracker", true },
};

bool bench_needs_api(const char *what)
{
	for (unsigned int b = 0; b < ARRAY_SIZE(benches); b++)
		if (strcmp(benches[b].what, what) == 0)
			return benches[b].needs_api;
	return false;
}

void bench_options_help(const char *what)
{
	unsigned int b = 0;

	while (b < ARRAY_SIZE(benches) - 1 && strcmp(benches[b].what, what) != 0)
		b++;
	bool boot = b == 0, api = strcmp(what, "api") == 0;

	printf("usage: mote bench %s [OPTIONS..]\n\n%s\n\n"
	       "  -n, --rounds N          rounds, 1 to %d, after one that isn't counted (5)\n"
	       "  -k, --kernel FILE       guest kernel: ELF or bzImage (the one that comes with mote)\n"
	       "  -m, --memory MIB        of a guest (128)\n"
	       "  -c, --vcpus N           of a guest (1)\n"
	       "  -p, --peer NAME[=PATH]  measure that one too, by turns; repeatable: %s\n"
	       "                          What isn't here is named and left out.\n"
	       "%s%s"
	       "      --json              print one JSON object instead of a table\n"
	       "      --csv               print comma-separated values instead\n"
	       "      --html FILE         timeline, histogram and tables as one file for a browser\n"
	       "      --svg FILE          the timeline alone\n"
	       "  -h, --help              this text\n\n"
	       "Needs root, KVM that can run Linux%s. In a source tree without\n"
	       "such a KVM it runs in the test host, in virtual time: a nanosecond an instruction.\n\n"
	       "Exit status: 0 measured; 2 it could not be done.\n\n"
	       "Example:\n  %s\n",
	       benches[b].what, benches[b].does, ROUNDS_MAX,
	       boot			  ? "qemu-microvm,\n                          firecracker, kvmtool, runc, crun, bwrap, true."
	       : benches[b].needs_api ? "firecracker."
				      : "qemu-microvm,\n                          firecracker, kvmtool.",
	       boot ? "      --guest linux|reset  reset: a few instructions that mark their start and reset (linux)\n"
		      "      --cache warm|cold   cold: forget all that was read from files before each start (warm)\n"
		      "      --threshold-us N    leave out initcalls that took less (100)\n"
		    : "",
	       strcmp(benches[b].what, "density") == 0 ? "  -g, --guests N          at a time, 1 to 64 (4)\n"
	       : api ? "      --no-guest          the starts alone, here and now: they need no KVM\n" : "",
	       boot ? ", and tracefs with KVM's trace points" : "",
	       benches[b].example);
}

static int parse_number(const char *option, const char *text, unsigned int min, unsigned int max,
			unsigned int *value, struct error *err)
{
	char *end;

	errno = 0;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || errno || n < min || n > max)
		return error_set(err, EINVAL, "%s: \"%s\" is not a number from %u to %u", option, text, min, max);
	*value = (unsigned int)n;
	return 0;
}

/* One of two words; *second says which. */
static int parse_choice(const char *option, const char *text, const char *first, const char *other,
			bool *second, struct error *err)
{
	*second = strcmp(text, other) == 0;
	if (!*second && strcmp(text, first) != 0)
		return error_set(err, EINVAL, "%s: \"%s\" is neither %s nor %s", option, text, first, other);
	return 0;
}

static int parse_cache(struct bench_options *o, const char *text, struct error *err)
{
	if (strcmp(text, "restore") == 0 || strcmp(text, "fork") == 0)
		return error_set(err, ENOTSUP, "--cache %s: mote has no snapshots yet", text);
	return parse_choice("--cache", text, "warm", "cold", &o->cold, err);
}

/* NAME[=PATH]; the text is cut in two. */
static int add_peer(struct bench_options *o, char *text, struct error *err)
{
	char *path = strchr(text, '=');
	unsigned int known = 0;

	if (path)
		*path++ = 0;
	while (bench_peer_names[known] && strcmp(bench_peer_names[known], text) != 0)
		known++;
	if (!bench_peer_names[known])
		return error_set(err, EINVAL, "--peer: \"%s\" is none of qemu-microvm, firecracker, kvmtool, runc, "
				 "crun, bwrap, true", text);
	if (path && !*path)
		return error_set(err, EINVAL, "--peer: %s= needs a path", text);
	for (unsigned int i = 0; i < o->n_peers; i++)
		if (strcmp(o->peers[i].name, text) == 0)
			return error_set(err, EINVAL, "--peer: %s was given twice", text);
	o->peers[o->n_peers++] = (struct bench_peer){ bench_peer_names[known], path };
	return 0;
}

enum { OPT_CACHE = 256, OPT_GUEST, OPT_THRESHOLD, OPT_NO_GUEST, OPT_JSON, OPT_CSV, OPT_HTML, OPT_SVG };

static int take_option(struct bench_options *o, int option, struct error *err)
{
	switch (option) {
	case 'n':
		return parse_number("--rounds", optarg, 1, ROUNDS_MAX, &o->rounds, err);
	case 'k':
		o->kernel = optarg;
		return 0;
	case 'm':
		return parse_number("--memory", optarg, 16, 255 * 1024, &o->memory_mib, err);
	case 'c':
		return parse_number("--vcpus", optarg, 1, 32, &o->vcpus, err);
	case 'p':
		return add_peer(o, optarg, err);
	case 'g':
		return parse_number("--guests", optarg, 1, 64, &o->guests, err);
	case OPT_CACHE:
		return parse_cache(o, optarg, err);
	case OPT_GUEST:
		return parse_choice("--guest", optarg, "linux", "reset", &o->reset_guest, err);
	case OPT_THRESHOLD:
		return parse_number("--threshold-us", optarg, 0, 1000000, &o->threshold_us, err);
	case OPT_NO_GUEST:
		o->no_guest = true;
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	case OPT_CSV:
		o->csv = true;
		return 0;
	case OPT_HTML:
		o->html = optarg;
		return 0;
	case OPT_SVG:
		o->svg = optarg;
		return 0;
	default:
		o->help = true;
		return 0;
	}
}

int bench_options_parse(struct bench_options *o, int argc, char *argv[], struct error *err)
{
	static const struct option longs[] = {
		{ "cache", required_argument, NULL, OPT_CACHE },
		{ "guest", required_argument, NULL, OPT_GUEST },
		{ "threshold-us", required_argument, NULL, OPT_THRESHOLD },
		{ "guests", required_argument, NULL, 'g' },
		{ "no-guest", no_argument, NULL, OPT_NO_GUEST },
		{ "rounds", required_argument, NULL, 'n' },
		{ "kernel", required_argument, NULL, 'k' },
		{ "memory", required_argument, NULL, 'm' },
		{ "vcpus", required_argument, NULL, 'c' },
		{ "peer", required_argument, NULL, 'p' },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "csv", no_argument, NULL, OPT_CSV },
		{ "html", required_argument, NULL, OPT_HTML },
		{ "svg", required_argument, NULL, OPT_SVG },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool boot = strcmp(argv[0], "boot") == 0, density = strcmp(argv[0], "density") == 0,
	     api = strcmp(argv[0], "api") == 0;
	int option, rc = 0;

	*o = (struct bench_options){ .what = argv[0], .rounds = 5, .memory_mib = 128, .vcpus = 1,
				     .threshold_us = 100, .guests = 4 };
	opterr = 0;
	optind = 0;
	while (rc == 0 && (option = getopt_long(argc, argv, "+:n:k:m:c:p:g:h", longs, NULL)) != -1) {
		bool foreign = (option == 'g' && !density) || (option == OPT_NO_GUEST && !api) ||
			       (option >= OPT_CACHE && option <= OPT_THRESHOLD && !boot);

		if (option == '?' || foreign)
			return error_set(err, EINVAL, "\"%s\" is not an option; see `mote bench %s --help`",
					 foreign && optind >= 2 && optarg == argv[optind - 1] ? argv[optind - 2]
											       : argv[optind - 1],
					 o->what);
		if (option == ':')
			return error_set(err, EINVAL, "%s needs an argument", argv[optind - 1]);
		rc = take_option(o, option, err);
	}
	if (rc < 0 || o->help)
		return rc;
	if (optind < argc)
		return error_set(err, EINVAL, "\"%s\": takes no arguments", argv[optind]);
	if (o->json && o->csv)
		return error_set(err, EINVAL, "--json and --csv exclude each other");
	return 0;
}
