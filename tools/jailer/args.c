/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/jailer/args.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "vmm/util.h"

#define DEFAULT_BASE "/srv/jailer"

enum option_id {
	/* Behind all characters: none has a short form but -h. */
	OPT_ID = 256,
	OPT_EXEC_FILE,
	OPT_UID,
	OPT_GID,
	OPT_CHROOT_BASE_DIR,
	OPT_NETNS,
	OPT_DAEMONIZE,
	OPT_NEW_PID_NS,
	OPT_CGROUP,
	OPT_CGROUP_VERSION,
	OPT_PARENT_CGROUP,
	OPT_RESOURCE_LIMIT,
	OPT_CONFIG,
	OPT_PRIVATE_ROOT,
	OPT_HANDOVER,
	OPT_USERFAULTFD,
	OPT_OOM_SCORE_ADJ,
	OPT_CLEANUP,
	OPT_VERSION,
	OPT_HELP,
	OPT_END,
};

static const struct option known[] = {
	{ "id", required_argument, NULL, OPT_ID },
	{ "exec-file", required_argument, NULL, OPT_EXEC_FILE },
	{ "uid", required_argument, NULL, OPT_UID },
	{ "gid", required_argument, NULL, OPT_GID },
	{ "chroot-base-dir", required_argument, NULL, OPT_CHROOT_BASE_DIR },
	{ "netns", required_argument, NULL, OPT_NETNS },
	{ "daemonize", no_argument, NULL, OPT_DAEMONIZE },
	{ "new-pid-ns", no_argument, NULL, OPT_NEW_PID_NS },
	{ "cgroup", required_argument, NULL, OPT_CGROUP },
	{ "cgroup-version", required_argument, NULL, OPT_CGROUP_VERSION },
	{ "parent-cgroup", required_argument, NULL, OPT_PARENT_CGROUP },
	{ "resource-limit", required_argument, NULL, OPT_RESOURCE_LIMIT },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "private-root", no_argument, NULL, OPT_PRIVATE_ROOT },
	{ "handover", required_argument, NULL, OPT_HANDOVER },
	{ "userfaultfd", no_argument, NULL, OPT_USERFAULTFD },
	{ "oom-score-adj", required_argument, NULL, OPT_OOM_SCORE_ADJ },
	{ "cleanup", required_argument, NULL, OPT_CLEANUP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

static int parse_number(const char *option, const char *text, long long min, long long max,
			long long *value, struct error *err)
{
	const char *digits = text + (text[0] == '-' && min < 0);
	char *end;

	errno = 0;
	*value = strtoll(text, &end, 10);
	if (!isdigit((unsigned char)digits[0]) || *end || errno || *value < min || *value > max)
		return error_set(err, EINVAL, "%s: \"%s\" is not a number from %lld to %lld",
				 option, text, min, max);
	return 0;
}

static int take_id(const char *option, const char *id, const char **out, struct error *err)
{
	size_t len = strlen(id);

	if (len > ARGS_ID_MAX)
		return error_set(err, EINVAL, "%s: is %zu characters long, at most %d are allowed",
				 option, len, ARGS_ID_MAX);
	for (const char *c = id; *c; c++)
		if (*c != '-' && !(isascii(*c) && isalnum(*c)))
			return error_set(err, EINVAL,
					 "%s: \"%s\" has more than ASCII letters, digits and -",
					 option, id);
	*out = id;
	return 0;
}

static int take_uid(struct args *args, const char *text, struct error *err)
{
	long long value;
	int ret = parse_number("--uid", text, 0, UINT32_MAX - 1, &value, err);

	if (ret == 0 && value == 0)
		ret = error_set(err, EINVAL, "--uid: 0 is root, which a jail doesn't hold");
	args->uid = (uid_t)value;
	args->has_uid = true;
	return ret;
}

static int take_gid(struct args *args, const char *text, struct error *err)
{
	long long value;
	int ret = parse_number("--gid", text, 0, UINT32_MAX - 1, &value, err);

	args->gid = (gid_t)value;
	args->has_gid = true;
	return ret;
}

static bool is_cgroup_file(const char *name)
{
	for (const char *c = name; *c; c++)
		if (!isascii(*c) || (!isalnum(*c) && *c != '_' && *c != '.'))
			return false;
	return isalpha(name[0]) && strchr(name, '.') && !strstr(name, "..");
}

static int take_cgroup(struct args *args, char *text, struct error *err)
{
	struct args_cgroup *cgroup = &args->cgroups[args->n_cgroups];
	size_t length = strcspn(text, "=");

	if (args->n_cgroups == ARGS_CGROUPS_MAX)
		return error_set(err, EINVAL, "--cgroup: given more than %d times",
				 ARGS_CGROUPS_MAX);
	if (text[length] != '=' || text[length + 1] == 0)
		return error_set(err, EINVAL, "--cgroup: \"%s\" is not of the form FILE=VALUE",
				 text);
	if (length > NAME_MAX)
		return error_set(err, EINVAL,
				 "--cgroup: the file's name is longer than %d characters",
				 NAME_MAX);
	text[length] = 0;
	cgroup->file = text;
	if (!is_cgroup_file(cgroup->file))
		return error_set(err, EINVAL,
				 "--cgroup: \"%s\" is not the name of a controller's file",
				 cgroup->file);
	cgroup->value = text + length + 1;
	args->n_cgroups++;
	return 0;
}

/* A path below a hierarchy's root that leads nowhere else. */
static int take_parent_cgroup(struct args *args, const char *path, struct error *err)
{
	bool valid = path[0] != '/';

	for (const char *c = path; valid && *c; c += strspn(c, "/")) {
		size_t length = strcspn(c, "/");

		valid = length <= NAME_MAX && strncmp(c, "..", length) != 0;
		c += length;
	}
	if (!valid || strlen(path) >= PATH_MAX / 2)
		return error_set(
			err, EINVAL,
			"--parent-cgroup: \"%s\" is not a relative path without \".\" and \"..\"",
			path);
	args->parent_cgroup = path;
	return 0;
}

static int take_resource_limit(struct args *args, const char *text, struct error *err)
{
	const struct {
		const char *name;
		rlim_t *limit;
	} limits[] = {
		{ "fsize", &args->fsize },
		{ "no-file", &args->no_file },
		{ "memlock", &args->memlock },
		{ "nproc", &args->nproc },
	};
	size_t length = strcspn(text, "=");

	for (unsigned int i = 0; i < ARRAY_SIZE(limits); i++) {
		char option[32];
		long long value;

		if (strlen(limits[i].name) != length ||
		    strncmp(limits[i].name, text, length) != 0 || text[length] != '=')
			continue;
		snprintf(option, sizeof(option), "--resource-limit %s", limits[i].name);
		int ret = parse_number(option, text + length + 1, 0, INT64_MAX, &value, err);

		*limits[i].limit = (rlim_t)value;
		return ret;
	}
	return error_set(
		err, EINVAL,
		"--resource-limit: \"%s\" is none of fsize=N, no-file=N, memlock=N, nproc=N", text);
}

static int take_int(const char *option, const char *text, long long min, long long max, int *out,
		    struct error *err)
{
	long long value;
	int ret = parse_number(option, text, min, max, &value, err);

	*out = (int)value;
	return ret;
}

static int take_option(struct args *args, int opt, char *value, struct error *err)
{
	int number, ret;

	switch (opt) {
	case OPT_ID:
		return take_id("--id", value, &args->id, err);
	case OPT_CLEANUP:
		args->action = ARGS_CLEANUP;
		return take_id("--cleanup", value, &args->id, err);
	case OPT_UID:
		return take_uid(args, value, err);
	case OPT_GID:
		return take_gid(args, value, err);
	case OPT_CGROUP:
		return take_cgroup(args, value, err);
	case OPT_PARENT_CGROUP:
		return take_parent_cgroup(args, value, err);
	case OPT_RESOURCE_LIMIT:
		return take_resource_limit(args, value, err);
	case OPT_HANDOVER:
		return take_int("--handover", value, 0, 1 << 20, &args->handover, err);
	case OPT_OOM_SCORE_ADJ:
		args->has_oom_score_adj = true;
		return take_int("--oom-score-adj", value, -1000, 1000, &args->oom_score_adj, err);
	case OPT_CGROUP_VERSION:
		ret = take_int("--cgroup-version", value, 1, 2, &number, err);
		args->cgroup_version = (unsigned int)number;
		return ret;
	case OPT_EXEC_FILE:
		args->exec_file = value;
		break;
	case OPT_CHROOT_BASE_DIR:
		args->chroot_base = value;
		break;
	case OPT_NETNS:
		args->netns = value;
		break;
	case OPT_CONFIG:
		args->config_path = value;
		break;
	case OPT_DAEMONIZE:
		args->daemonize = true;
		break;
	case OPT_NEW_PID_NS:
		args->new_pid_ns = true;
		break;
	case OPT_PRIVATE_ROOT:
		args->private_root = true;
		break;
	case OPT_USERFAULTFD:
		args->userfaultfd = true;
		break;
	default:
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
	if (strlen(option->name) != strcspn(word + 2, "="))
		return error_set(err, EINVAL, "unknown argument \"%s\"", word);
	if (value && (value[0] == 0 || (value[0] == '-' && value[1] == '-')))
		return error_set(err, EINVAL, "--%s: missing value", option->name);
	return 0;
}

/* What can't be said of one argument alone. */
static int check_whole(const struct args *args, const bool seen[OPT_END], struct error *err)
{
	if (args->action == ARGS_CLEANUP)
		return seen[OPT_ID] ? error_set(err, EINVAL, "--cleanup: excludes --id") : 0;
	if (!args->id)
		return error_set(err, EINVAL, "--id: required");
	if (!args->exec_file)
		return error_set(err, EINVAL, "--exec-file: required");
	if (args->private_root && !args->config_path)
		return error_set(err, EINVAL,
				 "--private-root: needs --config: nobody could put files there");
	if (args->handover >= 0 && (args->daemonize || args->new_pid_ns))
		return error_set(err, EINVAL, "--handover: excludes --daemonize and --new-pid-ns");
	return 0;
}

int args_parse(struct args *args, int argc, char *argv[], struct error *err)
{
	bool seen[OPT_END] = { false };
	int ret;

	*args = (struct args){
		.chroot_base = DEFAULT_BASE,
		.handover = -1,
		.cgroup_version = 1,
		.no_file = ARGS_NO_LIMIT,
		.fsize = ARGS_NO_LIMIT,
		.memlock = ARGS_NO_LIMIT,
		.nproc = ARGS_NO_LIMIT,
	};
	optind = 0; /* glibc: start anew */
	opterr = 0;
	for (;;) {
		/* '+': in order; ':': tell a missing value from an unknown argument */
		const char *word = optind < argc ? argv[optind ? optind : 1] : NULL;
		int index = -1;
		int opt = getopt_long(argc, argv, "+:h", known, &index);

		if (opt == -1)
			break;
		if (opt == ':')
			return error_set(err, EINVAL, "%s: missing value", word);
		if (opt == '?' && optopt >= OPT_ID)
			return error_set(err, EINVAL, "%s: takes no value", word);
		if (opt == '?')
			return error_set(err, EINVAL, "unknown argument \"%s\"", word);
		if (index >= 0 && (ret = check_form(word, &known[index], optarg, err)) < 0)
			return ret;
		if (opt == 'h' || opt == OPT_HELP || opt == OPT_VERSION) {
			args->action = opt == OPT_VERSION ? ARGS_VERSION : ARGS_HELP;
			return 0;
		}
		if (seen[opt] && opt != OPT_CGROUP && opt != OPT_RESOURCE_LIMIT)
			return error_set(err, EINVAL, "--%s: given twice", known[index].name);
		seen[opt] = true;
		ret = take_option(args, opt, optarg, err);
		if (ret < 0)
			return ret;
	}
	if (optind < argc && strcmp(argv[optind - 1], "--") != 0)
		return error_set(err, EINVAL, "unexpected argument \"%s\"", argv[optind]);
	args->monitor_args = argv + optind;
	if (argc - optind > ARGS_MONITOR_MAX)
		return error_set(err, E2BIG, "--: more than %d arguments for the monitor",
				 ARGS_MONITOR_MAX);
	return check_whole(args, seen, err);
}
