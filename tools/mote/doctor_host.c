/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host, by its own files. What is about security follows what the field recommends for hosts in
 * production; nothing of it keeps a guest from running.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <linux/landlock.h>

#include "tools/mote/doctor.h"
#include "vmm/util.h"

static FILE *open_text(int root, const char *path)
{
	cleanup_close int fd = openat(root, path, O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

	if (file)
		take_fd(&fd);
	return file;
}

bool doctor_read_line(int root, const char *path, char *line, unsigned int size)
{
	cleanup_fclose FILE *file = open_text(root, path);

	if (!file || !fgets(line, (int)size, file))
		return false;
	line[strcspn(line, "\n")] = 0;
	return true;
}

static bool exists(int root, const char *path)
{
	return faccessat(root, path, F_OK, 0) == 0;
}

/* ---- what some microVMs need ---- */

static void check_tap(struct report *r)
{
	const char *path = "/dev/net/tun", *use = "only network interfaces need it";
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		report_add(r, NOTE, "tap", "open \"%s\": %s; %s", path, strerrordesc_np(errno), use);
	else if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(10, 200))
		report_add(r, NOTE, "tap", "\"%s\" is not the device 10:200; %s", path, use);
	else
		report_add(r, GOOD, "tap", "\"%s\" opens", path);
}

static void check_cgroups(struct report *r, int root)
{
	char controllers[256];

	if (doctor_read_line(root, "sys/fs/cgroup/cgroup.controllers", controllers, sizeof(controllers)))
		report_add(r, GOOD, "cgroups", "version 2: %s", controllers);
	else if (exists(root, "sys/fs/cgroup/memory"))
		report_add(r, GOOD, "cgroups", "version 1%s",
			   exists(root, "sys/fs/cgroup/unified") ? ", with version 2 beside it" : "");
	else
		report_add(r, NOTE, "cgroups", "none mounted; only limits of microVMs need them");
}

/* A version 2 hierarchy without the option makes KVM_CREATE_VM wait for all CPUs, Linux 6.1 on. */
static void check_favordynmods(struct report *r, int root)
{
	cleanup_fclose FILE *mounts = open_text(root, "proc/mounts");
	char line[1024], where[512], type[64], options[256], nx[16];

	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%*s %511s %63s %255s", where, type, options) != 3 ||
		    strcmp(type, "cgroup2") != 0)
			continue;
		if (strstr(options, "favordynmods"))
			report_add(r, GOOD, "favordynmods", "\"%s\" has it", where);
		else if (doctor_read_line(root, "sys/module/kvm/parameters/nx_huge_pages", nx, sizeof(nx)) &&
			 strcmp(nx, "never") == 0)
			report_add(r, GOOD, "favordynmods", "not needed: kvm.nx_huge_pages=never");
		else
			report_add(r, NOTE, "favordynmods",
				   "starts may wait tens of ms for cgroup's lock; mount -o "
				   "remount,favordynmods \"%s\"", where);
		return;
	}
}

static void check_huge_pages(struct report *r, int root)
{
	char text[64] = "";

	doctor_read_line(root, "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", text, sizeof(text));
	if (atoi(text) > 0)
		report_add(r, GOOD, "huge pages", "%d of 2 MiB free", atoi(text));
	else
		report_add(r, NOTE, "huge pages", "no 2 MiB page is free; only \"huge_pages\": \"2M\" needs them");
	if (!doctor_read_line(root, "sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)) ||
	    strstr(text, "[never]"))
		report_add(r, NOTE, "transparent huge pages",
			   "off; \"huge_pages\": \"Transparent\" has no effect");
	else
		report_add(r, GOOD, "transparent huge pages", "%s", text);
}

void doctor_check_host(struct report *report, int root)
{
	report->group = "host";
	check_tap(report);
	check_cgroups(report, root);
	check_favordynmods(report, root);
	check_huge_pages(report, root);
}

/* ---- what is between guests, and between them and the host ---- */

struct setting {
	const char *check;
	const char *path;
	const char *good;    /* characters that a good value begins with */
	const char *is_good; /* NULL = say nothing then */
	const char *is_bad;
	const char *absent;  /* NULL = say nothing */
	enum verdict if_absent;
};

/* False if it is bad. */
static bool check_setting(struct report *r, int root, const struct setting *s)
{
	char value[64];

	if (!doctor_read_line(root, s->path, value, sizeof(value)) || !value[0]) {
		if (s->absent)
			report_add(r, s->if_absent, s->check, "%s", s->absent);
		return true;
	}
	if (!strchr(s->good, value[0])) {
		report_add(r, WARN, s->check, "%s (\"/%s\" is %s)", s->is_bad, s->path, value);
		return false;
	}
	if (s->is_good)
		report_add(r, GOOD, s->check, "%s", s->is_good);
	return true;
}

static void check_settings(struct report *r, int root)
{
	static const struct setting settings[] = {
		{ "SMT", "sys/devices/system/cpu/smt/active", "0", "off",
		  "on: guests on the two threads of one core can watch each other; boot with nosmt",
		  "not known whether two guests can share a core", WARN },
		{ "KSM", "sys/kernel/mm/ksm/run", "02", "off",
		  "on: guests learn by the time of a write which pages others have too; write 2 to it",
		  "not in this kernel", GOOD },
		{ "nested KVM", "sys/module/kvm_intel/parameters/nested", "Nn0", "off",
		  "on: KVM's most intricate code is in reach, should a guest ever see VMX; kvm_intel.nested=0",
		  NULL, GOOD },
		{ "nested KVM", "sys/module/kvm_amd/parameters/nested", "Nn0", "off",
		  "on: KVM's most intricate code is in reach, should a guest ever see SVM; kvm_amd.nested=0",
		  NULL, GOOD },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(settings); i++)
		check_setting(r, root, &settings[i]);
}

/* In a guest of a hypervisor there often is none, or one of all ones. */
static void check_microcode(struct report *r, int root)
{
	cleanup_fclose FILE *info = open_text(root, "proc/cpuinfo");
	unsigned long long revision = 0;
	char line[1024];

	while (info && fgets(line, sizeof(line), info))
		if (sscanf(line, "microcode : %llx", &revision) == 1)
			break;
	if (revision == 0 || revision == 0xffffffff)
		report_add(r, WARN, "microcode",
			   "its revision isn't known, so whether it has its fixes isn't either; an outer "
			   "hypervisor may hide it");
	else
		report_add(r, GOOD, "microcode", "revision 0x%llx; keep it up to date", revision);
}

static void check_swap(struct report *r, int root)
{
	cleanup_fclose FILE *swaps = open_text(root, "proc/swaps");
	char line[1024], device[512];

	while (swaps && fgets(line, sizeof(line), swaps))
		/* The heading; and what is in memory itself. */
		if (sscanf(line, "%511s", device) == 1 && device[0] == '/' &&
		    strncmp(device, "/dev/zram", strlen("/dev/zram")) != 0) {
			report_add(r, WARN, "swap",
				   "\"%s\": the memory of guests gets on a disk and stays there; swapoff -a",
				   device);
			return;
		}
	report_add(r, GOOD, "swap", "none on a disk");
}

/* Where there's one jail for all, without root. */
static void check_user_namespaces(struct report *r, int root)
{
	static const struct setting settings[] = {
		{ "user namespaces", "proc/sys/user/max_user_namespaces", "123456789", NULL,
		  "none can be made: no jail without root" },
		{ "user namespaces", "proc/sys/kernel/unprivileged_userns_clone", "1", NULL,
		  "only root can make them: no jail without root" },
		{ "user namespaces", "proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0", NULL,
		  "AppArmor lets only programs with a profile make them: no jail without root" },
	};
	bool good = exists(root, "proc/self/ns/user");

	if (!good)
		report_add(r, WARN, "user namespaces", "not in this kernel: no jail without root");
	for (unsigned int i = 0; i < ARRAY_SIZE(settings); i++)
		good = good && check_setting(r, root, &settings[i]);
	if (good)
		report_add(r, GOOD, "user namespaces", "users can make them, as jails without root need");
}

static bool has_word(const char *list, const char *word, const char *separators)
{
	size_t n = strlen(word);

	for (; *list; list += strspn(list, separators)) {
		size_t length = strcspn(list, separators);

		if (length == n && memcmp(list, word, n) == 0)
			return true;
		list += length;
	}
	return false;
}

/* By the list of security modules; where it isn't mounted, by trying. */
static bool has_landlock(int root)
{
	char modules[512];

	if (doctor_read_line(root, "sys/kernel/security/lsm", modules, sizeof(modules)))
		return has_word(modules, "landlock", ",");
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 0;
}

static void check_kernel_features(struct report *r, int root)
{
	char actions[256] = "";

	if (has_landlock(root))
		report_add(r, GOOD, "Landlock", "on: what a jail has of the file system is said twice");
	else
		report_add(r, WARN, "Landlock",
			   "off: only its mount namespace keeps a jail from files; boot with lsm=landlock,...");
	doctor_read_line(root, "proc/sys/kernel/seccomp/actions_avail", actions, sizeof(actions));
	if (has_word(actions, "trap", " "))
		report_add(r, GOOD, "seccomp", "on: filters can end what makes a forbidden system call");
	else
		report_add(r, WARN, "seccomp", "off: mote-vmm starts only with --no-seccomp");
}

void doctor_check_security(struct report *report, int root)
{
	report->group = "host security";
	doctor_check_holes(report, root);
	check_settings(report, root);
	check_microcode(report, root);
	check_swap(report, root);
	check_user_namespaces(report, root);
	check_kernel_features(report, root);
}
