/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/mote/run.h"
#include "vmm/util.h"

#define TIMEOUT_MAX_S (365u * 24 * 3600)

void run_options_help(void)
{
	printf("usage: mote run [OPTIONS..] -- COMMAND [ARGUMENT..]\n\n"
	       "Runs COMMAND in a fresh microVM as if it were a local command: its output is mote's\n"
	       "output, its exit status is mote's exit status.\n\n"
	       "  -c, --cpus N         processors, 1 to 32 (1)\n"
	       "  -m, --memory MIB     memory (128)\n"
	       "  -r, --rootfs PATH    root: an ext4, erofs or squashfs image, or a directory; it is never\n"
	       "                       written to: changes stay in the guest's memory (built-in busybox)\n"
	       "      --writable       write to the image (ext4)\n"
	       "  -k, --kernel PATH    guest kernel: ELF or bzImage (the one that comes with mote)\n"
	       "  -n, --net SPEC       none, or tap=NAME[,ip=A.B.C.D/LEN[,gw=A.B.C.D]]; the tap exists (none)\n"
	       "  -e, --env NAME=VALUE in the command's environment; repeatable\n"
	       "  -w, --workdir DIR    the command's directory (/)\n"
	       "  -t, --tty            give the command a terminal\n"
	       "      --timeout S      kill the microVM after S seconds, exit status 124\n"
	       "      --console        show the guest kernel's messages on stderr\n"
	       "      --timing         show on stderr how long each stage took\n"
	       "      --json           print one JSON object with output, status and timing instead\n"
	       "      --no-jail        the monitor runs with your rights, not in a jail; says so on stderr\n"
	       "  -h, --help           this text\n\n"
	       "Exit status: the command's; 128 + N if signal N ended it; 124 timed out; 125 mote failed;\n"
	       "126, 127 the command can't be run, isn't there.\n\n"
	       "Example:\n"
	       "  mote run --memory 256 --rootfs ./my-root -- sh -c 'echo hello from $(uname -r)'\n");
}

/* A decimal number within [min, max]; anything else is an error that names the option. */
static int parse_number(const char *option, const char *text, unsigned int min, unsigned int max,
			unsigned int *value, struct error *err)
{
	char *end;

	errno = 0;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || errno || n < min || n > max)
		return error_set(err, EINVAL, "%s: \"%s\" is not a number from %u to %u", option, text,
				 min, max);
	*value = (unsigned int)n;
	return 0;
}

static bool valid_address(const char *text, bool with_length)
{
	char copy[32], *slash, *end;
	struct in_addr address;

	snprintf(copy, sizeof(copy), "%s", text);
	slash = strchr(copy, '/');
	if ((slash != NULL) != with_length)
		return false;
	if (slash) {
		*slash = 0;
		long bits = strtol(slash + 1, &end, 10);

		if (slash[1] < '0' || slash[1] > '9' || *end || bits > 32)
			return false;
	}
	return inet_pton(AF_INET, copy, &address) == 1;
}

static int parse_net(struct run_options *o, char *spec, struct error *err)
{
	char *saved = NULL;

	if (strcmp(spec, "none") == 0)
		return 0;
	for (char *part = strtok_r(spec, ",", &saved); part; part = strtok_r(NULL, ",", &saved)) {
		if (strncmp(part, "tap=", 4) == 0 && part[4])
			o->tap = part + 4;
		else if (strncmp(part, "ip=", 3) == 0 && valid_address(part + 3, true))
			snprintf(o->address, sizeof(o->address), "%s", part + 3);
		else if (strncmp(part, "gw=", 3) == 0 && valid_address(part + 3, false))
			snprintf(o->gateway, sizeof(o->gateway), "%s", part + 3);
		else
			return error_set(err, EINVAL,
					 "--net: \"%s\" is none of tap=NAME, ip=A.B.C.D/LEN, gw=A.B.C.D", part);
	}
	if (!o->tap)
		return error_set(err, EINVAL, "--net: tap=NAME is missing (or say \"none\")");
	if (o->gateway[0] && !o->address[0])
		return error_set(err, EINVAL, "--net: gw= needs ip=");
	return 0;
}

static int add_env(struct run_options *o, const char *text, struct error *err)
{
	if (!strchr(text, '=') || *text == '=')
		return error_set(err, EINVAL, "--env: \"%s\" is not NAME=VALUE", text);
	const char **env = realloc(o->env, (o->n_env + 1) * sizeof(*env));

	if (!env)
		return error_sys(err, ENOMEM, "--env");
	o->env = env;
	o->env[o->n_env++] = text;
	return 0;
}

enum { OPT_WRITABLE = 256, OPT_TIMEOUT, OPT_CONSOLE, OPT_TIMING, OPT_JSON, OPT_NO_JAIL };

static int take_option(struct run_options *o, int option, struct error *err)
{
	switch (option) {
	case 'c':
		return parse_number("--cpus", optarg, 1, 32, &o->cpus, err);
	case 'm':
		return parse_number("--memory", optarg, 16, 255 * 1024, &o->memory_mib, err);
	case 'r':
		o->rootfs = optarg;
		return 0;
	case 'k':
		o->kernel = optarg;
		return 0;
	case 'n':
		return parse_net(o, optarg, err);
	case 'e':
		return add_env(o, optarg, err);
	case 'w':
		o->cwd = optarg;
		return 0;
	case 't':
		o->tty = true;
		return 0;
	case 'h':
		o->help = true;
		return 0;
	case OPT_WRITABLE:
		o->writable = true;
		return 0;
	case OPT_TIMEOUT:
		return parse_number("--timeout", optarg, 1, TIMEOUT_MAX_S, &o->timeout_s, err);
	case OPT_CONSOLE:
		o->console = true;
		return 0;
	case OPT_TIMING:
		o->timing = true;
		return 0;
	case OPT_NO_JAIL:
		o->no_jail = true;
		return 0;
	default:
		o->json = true;
		return 0;
	}
}

int run_options_parse(struct run_options *o, int argc, char *argv[], struct error *err)
{
	static const struct option longs[] = {
		{ "cpus", required_argument, NULL, 'c' },
		{ "memory", required_argument, NULL, 'm' },
		{ "rootfs", required_argument, NULL, 'r' },
		{ "kernel", required_argument, NULL, 'k' },
		{ "net", required_argument, NULL, 'n' },
		{ "env", required_argument, NULL, 'e' },
		{ "workdir", required_argument, NULL, 'w' },
		{ "tty", no_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ "writable", no_argument, NULL, OPT_WRITABLE },
		{ "timeout", required_argument, NULL, OPT_TIMEOUT },
		{ "console", no_argument, NULL, OPT_CONSOLE },
		{ "timing", no_argument, NULL, OPT_TIMING },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "no-jail", no_argument, NULL, OPT_NO_JAIL },
		{ NULL, 0, NULL, 0 },
	};
	int option, rc = 0;

	*o = (struct run_options){ .cpus = 1, .memory_mib = 128 };
	opterr = 0;
	optind = 0;
	while (rc == 0 && (option = getopt_long(argc, argv, "+:c:m:r:k:n:e:w:th", longs, NULL)) != -1) {
		if (option == '?')
			return error_set(err, EINVAL, "\"%s\" is not an option; see `mote run --help`",
					 argv[optind - 1]);
		if (option == ':')
			return error_set(err, EINVAL, "%s needs an argument", argv[optind - 1]);
		rc = take_option(o, option, err);
	}
	if (rc < 0 || o->help)
		return rc;
	if (optind >= argc)
		return error_set(err, EINVAL, "no command given; see `mote run --help`");
	o->command = argv + optind;
	if (o->writable && !o->rootfs)
		return error_set(err, EINVAL, "--writable needs --rootfs");
	if (o->tty && o->json)
		return error_set(err, EINVAL, "--tty and --json exclude each other");
	if (o->tty && !isatty(STDIN_FILENO))
		return error_set(err, ENOTTY, "--tty: stdin is not a terminal");
	return 0;
}
