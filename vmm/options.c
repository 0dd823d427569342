/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "vmm/api/limits.h"
#include "vmm/util.h"

enum {
	/* Behind all characters: none has a short form but -h. */
	OPT_CONFIG_FILE = 256,
	OPT_NO_API,
	OPT_API_SOCK,
	OPT_API_BODY_MAX,
	OPT_ID,
	OPT_BOOT_TIMER,
	OPT_COMPAT_NAMES,
	OPT_LOG_PATH,
	OPT_LEVEL,
	OPT_SHOW_LEVEL,
	OPT_SHOW_LOG_ORIGIN,
	OPT_MODULE,
	OPT_METRICS_PATH,
	OPT_METADATA,
	OPT_MMDS_SIZE_LIMIT,
	OPT_NO_SECCOMP,
	OPT_SECCOMP_FILTER,
	OPT_START_TIME_US,
	OPT_START_TIME_CPU_US,
	OPT_PARENT_CPU_TIME_US,
	OPT_VERSION,
	OPT_HELP,
	OPT_NOT_YET, /* all from here on */
	OPT_END,
};

/* What the options of a later version take doesn't matter: they're refused either way. */
static const struct option known[] = {
	{ "config-file", required_argument, NULL, OPT_CONFIG_FILE },
	{ "no-api", no_argument, NULL, OPT_NO_API },
	{ "api-sock", required_argument, NULL, OPT_API_SOCK },
	{ "http-api-max-payload-size", required_argument, NULL, OPT_API_BODY_MAX },
	{ "id", required_argument, NULL, OPT_ID },
	{ "boot-timer", no_argument, NULL, OPT_BOOT_TIMER },
	{ "compat-names", no_argument, NULL, OPT_COMPAT_NAMES },
	{ "log-path", required_argument, NULL, OPT_LOG_PATH },
	{ "level", required_argument, NULL, OPT_LEVEL },
	{ "show-level", no_argument, NULL, OPT_SHOW_LEVEL },
	{ "show-log-origin", no_argument, NULL, OPT_SHOW_LOG_ORIGIN },
	{ "module", required_argument, NULL, OPT_MODULE },
	{ "metrics-path", required_argument, NULL, OPT_METRICS_PATH },
	{ "metadata", required_argument, NULL, OPT_METADATA },
	{ "mmds-size-limit", required_argument, NULL, OPT_MMDS_SIZE_LIMIT },
	{ "no-seccomp", no_argument, NULL, OPT_NO_SECCOMP },
	{ "seccomp-filter", required_argument, NULL, OPT_SECCOMP_FILTER },
	{ "start-time-us", required_argument, NULL, OPT_START_TIME_US },
	{ "start-time-cpu-us", required_argument, NULL, OPT_START_TIME_CPU_US },
	{ "parent-cpu-time-us", required_argument, NULL, OPT_PARENT_CPU_TIME_US },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "describe-snapshot", optional_argument, NULL, OPT_NOT_YET },
	{ "enable-pci", optional_argument, NULL, OPT_NOT_YET },
	{ "snapshot-version", optional_argument, NULL, OPT_NOT_YET },
	{ 0 },
};

void options_help(FILE *out)
{
	fputs("Usage: mote-vmm --config-file FILE --no-api [OPTION]...\n"
	      "       mote-vmm --api-sock SOCKET [--config-file FILE] [OPTION]...\n"
	      "Run one microVM as this process. Its console is on stdin and stdout.\n"
	      "\n"
	      "  --api-sock SOCKET    Unix socket of the API, which configures, starts and controls the\n"
	      "                       microVM (default: " OPTIONS_DEFAULT_API_PATH ")\n"
	      "  --http-api-max-payload-size N\n"
	      "                       bytes that the body of a request may have (default: 51200)\n"
	      "  --config-file FILE   the microVM, as JSON in Firecracker's form; starts it at once\n"
	      "  --no-api             with --config-file: without an API\n"
	      "  --id ID              name in logs and metrics: letters, digits and -, up to 64\n"
	      "  --boot-timer         log how long the guest took to boot\n"
	      "  --compat-names       process and threads are called as Firecracker's: \"firecracker\",\n"
	      "                       \"fc_vcpu N\" (\"fc_api\" doesn't exist: the first thread serves the\n"
	      "                       API), and metrics count from line to line as theirs, not from\n"
	      "                       the start. So it is anyway if the program's file is \"firecracker\"\n"
	      "  --log-path FILE      log to a file or FIFO instead of stderr\n"
	      "  --level LEVEL        Off, Error, Warning, Info, Debug or Trace\n"
	      "  --show-level         begin log lines with their level\n"
	      "  --show-log-origin    begin log lines with the source line they come from\n"
	      "  --module PREFIX      log only what comes from source files whose path begins so:\n"
	      "                       vmm/api\n"
	      "  --metrics-path FILE  append metrics to a file or FIFO: at the end, and every "
	      "minute\n"
	      "  --metadata FILE      what the guest reads from the metadata service, as JSON\n"
	      "  --mmds-size-limit N  how many bytes of it there may be (default: as many as a request)\n"
	      "  --no-seccomp         without seccomp filters, and debuggers may attach\n"
	      "  --seccomp-filter FILE\n"
	      "                       filters of mote-seccomp-compile instead of the built-in ones\n"
	      "  --start-time-us, --start-time-cpu-us, --parent-cpu-time-us N\n"
	      "                       what a jailer says of its own start and CPU time, for metrics\n"
	      "  --version            print the version and exit\n"
	      "  -h, --help           print this help and exit\n"
	      "\n"
	      "Example:\n"
	      "  cat >vm.json <<END\n"
	      "  {\n"
	      "    \"boot-source\": {\n"
	      "      \"kernel_image_path\": \"build/vmlinux-x86_64\",\n"
	      "      \"boot_args\": \"console=ttyS0 reboot=k panic=1\"\n"
	      "    },\n"
	      "    \"machine-config\": { \"vcpu_count\": 1, \"mem_size_mib\": 128 },\n"
	      "    \"drives\": [{\n"
	      "      \"drive_id\": \"rootfs\", \"path_on_host\": \"rootfs.ext4\",\n"
	      "      \"is_root_device\": true, \"is_read_only\": true\n"
	      "    }]\n"
	      "  }\n"
	      "  END\n"
	      "  mote-vmm --config-file vm.json --no-api\n"
	      "or with the API, request by request:\n"
	      "  mote-vmm --api-sock vm.socket &\n"
	      "  curl --unix-socket vm.socket -X PUT http://localhost/boot-source -d "
	      "'{\"kernel_image_path\": \"build/vmlinux-x86_64\"}'\n"
	      "  curl --unix-socket vm.socket -X PUT http://localhost/actions -d "
	      "'{\"action_type\": \"InstanceStart\"}'\n"
	      "\n"
	      "The exit status is 0 when the guest has powered off or rebooted, 152 for a bad\n"
	      "configuration, 153 for bad arguments, 160 when the guest panicked, 161 after a "
	      "triple\n"
	      "fault, 162 when KVM failed, 1 for other errors.\n",
	      out);
}

/* 1 to 64 letters, digits and '-', as Firecracker's. */
static int check_id(const char *id, struct error *err)
{
	size_t len = strlen(id);

	if (len > CONFIG_ID_MAX)
		return error_set(err, EINVAL,
				 "--id: is %zu characters long, at most %d are allowed", len,
				 CONFIG_ID_MAX);
	for (const char *c = id; *c; c++)
		if (*c != '-' && !(isascii(*c) && isalnum(*c)))
			return error_set(err, EINVAL,
					 "--id: \"%s\" has more than ASCII letters, digits and -",
					 id);
	return 0;
}

/* At most what is still a number of ns. */
static int take_us(const char *name, const char *value, uint64_t *us, struct error *err)
{
	char *end;

	errno = 0;
	*us = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end || errno || *us > INT64_MAX / 1000)
		return error_set(err, EINVAL, "--%s: \"%s\" is not a number of microseconds", name,
				 value);
	return 0;
}

static int take_size(const char *name, const char *value, size_t *bytes, struct error *err)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end || errno || number == 0 || number > INT32_MAX)
		return error_set(err, EINVAL, "--%s: \"%s\" is not a number from 1 to %d", name, value,
				 INT32_MAX);
	*bytes = number;
	return 0;
}

static int take_option(struct options *options, int opt, const char *value, struct error *err)
{
	switch (opt) {
	case OPT_CONFIG_FILE:
		options->config_path = value;
		break;
	case OPT_API_SOCK:
		options->api_path = value;
		break;
	case OPT_API_BODY_MAX:
		return take_size("http-api-max-payload-size", value, &options->api_body_max, err);
	case OPT_ID:
		options->id = value;
		return check_id(value, err);
	case OPT_COMPAT_NAMES:
		options->compat_names = true;
		break;
	case OPT_BOOT_TIMER:
		options->boot_timer = true;
		break;
	case OPT_LOG_PATH:
		options->log_path = value;
		break;
	case OPT_LEVEL:
		options->has_level = true;
		if (log_level_parse(value, &options->level) < 0)
			return error_set(err, EINVAL,
					 "--level: \"%s\" is none of Off, Error, Warning, Info, "
					 "Debug, Trace",
					 value);
		break;
	case OPT_SHOW_LEVEL:
		options->show_level = true;
		break;
	case OPT_SHOW_LOG_ORIGIN:
		options->show_log_origin = true;
		break;
	case OPT_MODULE:
		options->log_module = value;
		break;
	case OPT_METRICS_PATH:
		options->metrics_path = value;
		break;
	case OPT_METADATA:
		options->metadata_path = value;
		break;
	case OPT_MMDS_SIZE_LIMIT:
		return take_size("mmds-size-limit", value, &options->mmds_size_limit, err);
	case OPT_NO_SECCOMP:
		options->no_seccomp = true;
		break;
	case OPT_SECCOMP_FILTER:
		options->seccomp_filter = value;
		break;
	case OPT_START_TIME_US:
		return take_us("start-time-us", value, &options->start_time_us, err);
	case OPT_START_TIME_CPU_US:
		return take_us("start-time-cpu-us", value, &options->start_time_cpu_us, err);
	case OPT_PARENT_CPU_TIME_US:
		return take_us("parent-cpu-time-us", value, &options->parent_cpu_time_us, err);
	default: /* OPT_NO_API only needs to have been seen */
		break;
	}
	return 0;
}

/*
 * getopt takes abbreviations, which later options would make ambiguous; and it takes what looks
 * like the next option for a missing argument.
 */
static int check_form(const char *word, const struct option *option, const char *value,
		      struct error *err)
{
	size_t len = strcspn(word + 2, "=");

	if (strlen(option->name) != len)
		return error_set(err, EINVAL, "unknown option \"%s\"", word);
	if (option->val == OPT_NOT_YET)
		return error_set(err, EOPNOTSUPP, "--%s: not supported yet by this version",
				 option->name);
	if (value && (value[0] == 0 || (value[0] == '-' && value[1] == '-')))
		return error_set(err, EINVAL, "--%s: missing argument", option->name);
	return 0;
}

static int combine_options(struct options *options, const bool seen[OPT_END], struct error *err)
{
	if (options->no_seccomp && options->seccomp_filter)
		return error_set(err, EINVAL, "--no-seccomp: can't go with --seccomp-filter");
	if (seen[OPT_NO_API] && options->api_path)
		return error_set(err, EINVAL, "--no-api: can't go with --api-sock");
	if (seen[OPT_NO_API] && !options->config_path)
		return error_set(err, EINVAL, "--no-api: needs --config-file");
	if (!seen[OPT_NO_API] && !options->api_path)
		options->api_path = OPTIONS_DEFAULT_API_PATH;
	if (!seen[OPT_MMDS_SIZE_LIMIT])
		options->mmds_size_limit = options->api_body_max;
	return 0;
}

int options_parse(struct options *options, int argc, char *const argv[], struct error *err)
{
	bool seen[OPT_END] = { false };

	*options = (struct options){ .id = OPTIONS_DEFAULT_ID, .api_body_max = API_BODY_DEFAULT_MAX };
	optind = 0; /* glibc: start anew */
	opterr = 0;
	for (;;) {
		/* '+': in order; ':': tell a missing argument from an unknown option */
		const char *word = optind < argc ? argv[optind ? optind : 1] : NULL;
		int index = -1;
		int opt = getopt_long(argc, argv, "+:h", known, &index);

		if (opt == -1)
			break;
		if (opt == 'h')
			opt = OPT_HELP;
		if (opt == ':')
			return error_set(err, EINVAL, "%s: missing argument", word);
		if (opt == '?' && optopt >= OPT_CONFIG_FILE)
			return error_set(err, EINVAL, "%s: takes no argument", word);
		if (opt == '?')
			return error_set(err, EINVAL, "unknown option \"%s\"", word);
		int ret = index >= 0 ? check_form(word, &known[index], optarg, err) : 0;

		if (ret < 0)
			return ret;
		if (opt == OPT_HELP || opt == OPT_VERSION) {
			options->action = opt == OPT_HELP ? OPTIONS_HELP : OPTIONS_VERSION;
			return 0;
		}
		if (seen[opt])
			return error_set(err, EINVAL, "--%s: given twice", known[index].name);
		seen[opt] = true;
		ret = take_option(options, opt, optarg, err);
		if (ret < 0)
			return ret;
	}
	if (optind < argc)
		return error_set(err, EINVAL, "unexpected argument \"%s\"", argv[optind]);
	return combine_options(options, seen, err);
}

static int replace_path(char **path, const char *with, struct error *err)
{
	char *copy = strdup(with);

	if (!copy)
		return error_sys(err, ENOMEM, "options: copy path");
	free(*path);
	*path = copy;
	return 0;
}

int options_apply(const struct options *options, struct config *config, struct error *err)
{
	struct config_logger *logger = &config->logger;
	int ret = 0;

	if (options->log_path)
		ret = replace_path(&logger->log_path, options->log_path, err);
	if (ret == 0 && options->metrics_path)
		ret = replace_path(&config->metrics.metrics_path, options->metrics_path, err);
	if (ret == 0 && options->log_module)
		ret = replace_path(&logger->module, options->log_module, err);
	if (ret < 0)
		return ret;
	if (options->has_level)
		logger->level = options->level;
	logger->show_level |= options->show_level;
	logger->show_log_origin |= options->show_log_origin;
	logger->set |= options->log_path || options->has_level || options->show_level ||
		       options->show_log_origin || options->log_module;
	config->metrics.set |= options->metrics_path != NULL;
	return 0;
}
