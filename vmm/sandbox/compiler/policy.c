/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/sandbox/compiler/policy.h"

#include <errno.h>
#include <seccomp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/util.h"

#define ARGS_MAX     6
#define PRIORITY_MAX 255

const struct arch archs[] = {
	{ "x86_64", SCMP_ARCH_X86_64, "__x86_64__" },
	{ "aarch64", SCMP_ARCH_AARCH64, "__aarch64__" },
};
const unsigned int n_archs = ARRAY_SIZE(archs);

const char *const filter_names[FILTERS] = {
	[THREAD_VMM] = "vmm", [THREAD_VCPU] = "vcpu", [THREAD_IO] = "io", [FILTER_VMM_API] = "vmm-api",
};

const struct arch *arch_find(const char *name)
{
	for (unsigned int i = 0; i < n_archs; i++)
		if (strcmp(archs[i].name, name) == 0)
			return &archs[i];
	return NULL;
}

/* ---- reading ---- */

static bool known_key(const char *key, const char *const known[])
{
	while (*known && strcmp(*known, key) != 0)
		known++;
	return *known;
}

/* All members known, and these strings among them. */
static int check_object(json_t *object, const char *const known[], const char *const strings[],
			struct error *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return error_set(err, EINVAL, "is not an object");
	json_object_foreach(object, key, value)
		if (!known_key(key, known))
			return error_set(err, EINVAL, "\"%s\" is not known", key);
	for (; *strings; strings++) {
		const char *text = json_string_value(json_object_get(object, *strings));

		if (!text || !*text)
			return error_set(err, EINVAL, "\"%s\" must be a string that says something",
					 *strings);
	}
	return 0;
}

static int load_one(struct policies *policies, const char *path, struct error *err)
{
	static const char *const known[] = { "thread", "about", "rules", NULL };
	static const char *const strings[] = { "thread", "about", NULL };
	json_error_t at;
	json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &at);
	unsigned int filter = 0;
	int rc = 0;

	if (!root)
		return error_set(err, EINVAL, "line %d: %s", at.line, at.text);
	rc = check_object(root, known, strings, err);
	if (rc == 0 && json_array_size(json_object_get(root, "rules")) == 0)
		rc = error_set(err, EINVAL, "\"rules\" must be a list of rules");
	const char *name = json_string_value(json_object_get(root, "thread"));

	while (rc == 0 && filter < FILTERS && strcmp(filter_names[filter], name) != 0)
		filter++;
	if (rc == 0 && filter == FILTERS)
		rc = error_set(err, EINVAL, "\"%s\" is not a kind of thread", name);
	if (rc == 0 && policies->root[filter])
		rc = error_set(err, EINVAL, "a second policy of \"%s\"", name);
	if (rc < 0) {
		json_decref(root);
		return rc;
	}
	policies->root[filter] = root;
	policies->path[filter] = path;
	return 0;
}

int policies_load(struct policies *policies, char *const paths[], int n, struct error *err)
{
	*policies = (struct policies){ 0 };
	for (int i = 0; i < n; i++)
		if (load_one(policies, paths[i], err) < 0)
			return error_wrap(err, "%s", paths[i]);
	for (unsigned int filter = 0; filter < FILTERS; filter++)
		if (!policies->root[filter])
			return error_set(err, EINVAL, "there is no policy of \"%s\"",
					 filter_names[filter]);
	return 0;
}

void policies_release(struct policies *policies)
{
	for (unsigned int filter = 0; filter < FILTERS; filter++)
		json_decref(policies->root[filter]);
}

/* ---- rules ---- */

static int get_value(json_t *json, const struct arch *arch, uint32_t *value, struct error *err)
{
	if (json_is_integer(json)) {
		json_int_t number = json_integer_value(json);

		if (number < 0 || number > UINT32_MAX)
			return error_set(err, EINVAL, "%lld has more than 32 bits", (long long)number);
		*value = (uint32_t)number;
		return 0;
	}
	if (!json_is_string(json))
		return error_set(err, EINVAL, "neither a number nor a name");
	if (!constant_value(json_string_value(json), arch, value))
		return error_set(err, EINVAL, "\"%s\" is not known", json_string_value(json));
	return 0;
}

struct rule {
	const struct arch *arch;
	int nr;
	unsigned int n;
	struct scmp_arg_cmp cmp[ARGS_MAX];
	json_t *list;	   /* one argument may have several values: NULL or them, */
	unsigned int list_at; /* and the one of cmp that they go into */
};

static int get_condition(struct rule *rule, unsigned int arg, json_t *json, struct error *err)
{
	static const char *const known[] = { "without", NULL };
	static const char *const none[] = { NULL };
	uint32_t mask = UINT32_MAX, value = 0;
	int rc;

	if (json_is_array(json)) {
		if (rule->list || json_array_size(json) == 0)
			return error_set(err, EINVAL, "one list of values is possible, not empty");
		rule->list = json;
		rule->list_at = rule->n;
		rc = 0;
	} else if (json_is_object(json)) {
		rc = check_object(json, known, none, err);
		if (rc == 0)
			rc = get_value(json_object_get(json, "without"), rule->arch, &mask, err);
		if (rc == 0 && mask == 0)
			rc = error_set(err, EINVAL, "\"without\" no bits");
	} else {
		rc = get_value(json, rule->arch, &value, err);
	}
	rule->cmp[rule->n++] = SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, value);
	return rc;
}

static int get_args(struct rule *rule, json_t *args, struct error *err)
{
	const char *key;
	json_t *value;

	if (args && json_object_size(args) == 0)
		return error_set(err, EINVAL, "\"args\" must be an object of conditions");
	json_object_foreach(args, key, value) {
		if (key[0] < '0' || key[0] >= '0' + ARGS_MAX || key[1] != 0)
			return error_set(err, EINVAL, "\"%s\" is not an argument, 0 to 5", key);
		if (get_condition(rule, (unsigned int)(key[0] - '0'), value, err) < 0)
			return error_wrap(err, "argument %s", key);
	}
	return 0;
}

static int add(scmp_filter_ctx ctx, const struct rule *rule, struct error *err)
{
	int rc = seccomp_rule_add_exact_array(ctx, SCMP_ACT_ALLOW, rule->nr, rule->n, rule->cmp);

	return rc < 0 ? error_sys(err, -rc, "libseccomp") : 0;
}

static int add_rule(scmp_filter_ctx ctx, const struct arch *arch, json_t *json, struct error *err)
{
	static const char *const known[] = { "call", "why", "args", "arch", "untested", NULL };
	static const char *const strings[] = { "call", "why", NULL };
	struct rule rule = { .arch = arch };
	json_t *only = json_object_get(json, "arch"), *value;
	size_t i;
	int rc = check_object(json, known, strings, err);

	if (rc == 0 && only && !(json_is_string(only) && arch_find(json_string_value(only))))
		return error_set(err, EINVAL, "\"arch\" is neither \"x86_64\" nor \"aarch64\"");
	if (rc == 0)
		rc = get_args(&rule, json_object_get(json, "args"), err);
	if (rc < 0)
		return rc;
	if (only && strcmp(json_string_value(only), arch->name) != 0)
		return 0;
	const char *call = json_string_value(json_object_get(json, "call"));

	if (seccomp_syscall_resolve_name_arch(arch->scmp, call) < 0)
		return error_set(err, EINVAL, "%s has no such system call", arch->name);
	/* libseccomp wants our own number, also for other architectures. */
	rule.nr = seccomp_syscall_resolve_name(call);
	if (!rule.list)
		return add(ctx, &rule, err);
	json_array_foreach(rule.list, i, value) {
		uint32_t number = 0;

		rc = get_value(value, arch, &number, err);
		rule.cmp[rule.list_at].datum_b = number;
		if (rc == 0)
			rc = add(ctx, &rule, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The order of the rules is how often they're used: it's the order in which the filter looks. */
static void set_priority(scmp_filter_ctx ctx, json_t *rules, size_t i)
{
	const char *call = json_string_value(json_object_get(json_array_get(rules, i), "call"));

	for (size_t k = 0; k < i; k++)
		if (strcmp(json_string_value(json_object_get(json_array_get(rules, k), "call")),
			   call) == 0)
			return;
	if (i < PRIORITY_MAX)
		seccomp_syscall_priority(ctx, seccomp_syscall_resolve_name(call),
					 (uint8_t)(PRIORITY_MAX - i));
}

/* The first ones were added without an error to another filter before: they're not the policy's own. */
static int add_rules(scmp_filter_ctx ctx, const struct arch *arch, json_t *rules, size_t others,
		     struct error *err)
{
	json_t *rule;
	size_t i;

	json_array_foreach(rules, i, rule) {
		const char *call = json_string_value(json_object_get(rule, "call"));

		if (add_rule(ctx, arch, rule, err) < 0)
			return error_wrap(err, "rule %zu (%s)", i + 1 - others, call ? call : "?");
		set_priority(ctx, rules, i);
	}
	return 0;
}

/* ---- output ---- */

static int export(scmp_filter_ctx ctx, struct sock_filter *insns, struct error *err)
{
	size_t size = FILTER_INSNS_MAX * sizeof(*insns);
	cleanup_close int fd = memfd_create("bpf", MFD_CLOEXEC);
	int rc = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);

	if (rc < 0)
		return error_sys(err, -rc, "export");
	off_t length = lseek(fd, 0, SEEK_END);

	if (length <= 0 || (size_t)length > size)
		return error_set(err, E2BIG, "%lld bytes of BPF, more than %zu", (long long)length,
				 size);
	if (pread(fd, insns, (size_t)length, 0) != length)
		return error_sys(err, errno, "read the BPF");
	return (int)((size_t)length / sizeof(*insns));
}

static int compile(scmp_filter_ctx ctx, const struct arch *arch, json_t *rules, size_t others,
		   struct sock_filter *insns, struct error *err)
{
	/* Another architecture's calls (int 0x80) and the x32 ABI's end the process the same way. */
	int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_TRAP);

	if (rc == 0 && arch->scmp != seccomp_arch_native()) {
		rc = seccomp_arch_add(ctx, arch->scmp);
		if (rc == 0)
			rc = seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
	}
	if (rc < 0)
		return error_sys(err, -rc, "libseccomp");
	rc = add_rules(ctx, arch, rules, others, err);
	return rc < 0 ? rc : export(ctx, insns, err);
}

/* A new reference, or NULL without memory. *others: so many of them, the first ones, are vmm's. */
static json_t *rules_of(const struct policies *policies, unsigned int filter, size_t *others)
{
	json_t *rules = json_object_get(policies->root[filter], "rules");
	json_t *vmm = json_object_get(policies->root[THREAD_VMM], "rules");

	*others = 0;
	if (filter != FILTER_VMM_API)
		return json_incref(rules);
	json_t *both = json_copy(vmm);

	if (json_array_extend(both, rules) < 0) {
		json_decref(both);
		return NULL;
	}
	*others = json_array_size(vmm);
	return both;
}

int policy_compile(const struct policies *policies, unsigned int filter, const struct arch *arch,
		   struct sock_filter *insns, struct error *err)
{
	size_t others;
	json_t *rules = rules_of(policies, filter, &others);
	scmp_filter_ctx ctx = rules ? seccomp_init(SCMP_ACT_TRAP) : NULL;
	int rc = ctx ? compile(ctx, arch, rules, others, insns, err)
		     : error_set(err, ENOMEM, "libseccomp");

	if (ctx)
		seccomp_release(ctx);
	json_decref(rules);
	return rc < 0 ? error_wrap(err, "%s", policies->path[filter]) : rc;
}
