/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mote doctor`: everything that could keep a microVM from running, checked before anybody asks.
 * KVM is not asked whether it claims to work: guests of a few instructions try (vmm/probe.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include "tools/mote/mote.h"
#include "vmm/boot/kernel.h"
#include "vmm/kvm.h"
#include "vmm/probe.h"
#include "vmm/util.h"

enum verdict { GOOD, NOTE, BAD };

struct finding {
	enum verdict verdict;
	const char *check;
	char text[320];
};

/* What was found, in order. NOTE: something is missing that only some uses need. */
struct report {
	unsigned int n;
	struct finding findings[48];
};

static void add(struct report *r, enum verdict verdict, const char *check, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void add(struct report *r, enum verdict verdict, const char *check, const char *fmt, ...)
{
	struct finding *f;
	va_list ap;

	if (r->n == ARRAY_SIZE(r->findings))
		return;
	f = &r->findings[r->n++];
	f->verdict = verdict;
	f->check = check;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

static const char *kvm_advice(int errnum)
{
	switch (errnum) {
	case ENOENT:
		return "; load kvm_intel or kvm_amd, or turn virtualization on in the firmware or the "
		       "outer hypervisor";
	case EACCES:
	case EPERM:
		return "; add the user to the group that owns it (often kvm)";
	default:
		return "";
	}
}

static bool check_kvm(struct report *r)
{
	struct error err = { 0 };
	struct kvm kvm;
	int fd = kvm_open_device(&err);

	if (fd < 0) {
		add(r, BAD, "kvm", "%s%s", err.message, kvm_advice(err.errnum));
		return false;
	}
	close(fd);
	add(r, GOOD, "kvm", "/dev/kvm opens, API version %d", KVM_API_VERSION);
	int rc = kvm_open(&kvm, &err);

	kvm_close(&kvm);
	if (rc < 0) {
		add(r, BAD, "capabilities", "%s", err.message);
		return false;
	}
	add(r, GOOD, "capabilities", "all that mote needs are there");
	return true;
}

static void check_guest_code(struct report *r)
{
	struct probe_report probes[PROBE_TESTS];
	struct error err = { 0 };

	if (probe_run(probes, &err) < 0) {
		add(r, BAD, "guest code", "%s", err.message);
		return;
	}
	for (unsigned int i = 0; i < PROBE_TESTS; i++) {
		const struct probe_report *p = &probes[i];

		if (p->result == PROBE_OK)
			add(r, GOOD, p->name, "works in a guest");
		else if (p->result == PROBE_NOT_OFFERED)
			add(r, NOTE, p->name, "not offered by this KVM; guests do without it");
		else
			add(r, p->required ? BAD : NOTE, p->name, "%s (needed for: %s)", p->detail,
			    p->purpose);
	}
}

static void check_device(struct report *r, const char *check, const char *path, unsigned int minor_number,
			 const char *use)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		add(r, NOTE, check, "open \"%s\": %s; %s", path, strerrordesc_np(errno), use);
	else if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(10, minor_number))
		add(r, NOTE, check, "\"%s\" is not the device 10:%u; %s", path, minor_number, use);
	else
		add(r, GOOD, check, "\"%s\" opens", path);
}

static void check_cgroups(struct report *r)
{
	char controllers[256] = "";
	cleanup_fclose FILE *f = fopen("/sys/fs/cgroup/cgroup.controllers", "re");

	if (f && fgets(controllers, sizeof(controllers), f)) {
		controllers[strcspn(controllers, "\n")] = 0;
		add(r, GOOD, "cgroups", "version 2: %s", controllers);
	} else if (access("/sys/fs/cgroup/memory", F_OK) == 0) {
		add(r, GOOD, "cgroups", "version 1%s",
		    access("/sys/fs/cgroup/unified", F_OK) == 0 ? ", with version 2 beside it" : "");
	} else {
		add(r, NOTE, "cgroups", "none mounted; only limits of microVMs need them");
	}
}

static void check_huge_pages(struct report *r)
{
	char text[32] = "";
	cleanup_fclose FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");

	if (f && fgets(text, sizeof(text), f) && atoi(text) > 0)
		add(r, GOOD, "huge pages", "%d of 2 MiB free", atoi(text));
	else
		add(r, NOTE, "huge pages", "no 2 MiB page is free; only \"huge_pages\": \"2M\" needs them");
}

/* Load it as the monitor would. */
static void check_kernel(struct report *r)
{
	struct error err = { 0 };
	struct guest_memory memory = { 0 };
	struct kernel_image image;
	cleanup_free char *path = mote_find("vmlinux-x86_64", &err);
	cleanup_close int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (!path) {
		add(r, BAD, "guest kernel", "%s", err.message);
		return;
	}
	if (fd < 0) {
		add(r, BAD, "guest kernel", "open \"%s\": %s", path, strerrordesc_np(errno));
		return;
	}
	if (guest_memory_add(&memory, 0, 128 * MIB, MEMORY_BACKING_NONE, false, &err) < 0 ||
	    kernel_load(&memory, fd, path, &image, &err) < 0)
		add(r, BAD, "guest kernel", "%s", err.message);
	else
		add(r, GOOD, "guest kernel", "\"%s\" loads, boots by %s", path,
		    image.protocol == BOOT_PVH ? "PVH" : "the 64-bit protocol");
	guest_memory_release(&memory);
}

static void check_parts(struct report *r)
{
	static const char *const parts[] = { "mote-vmm", "mote-initrd.cpio", "mote-root.erofs" };

	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		struct error err = { 0 };
		cleanup_free char *path = mote_find(parts[i], &err);

		if (path)
			add(r, GOOD, parts[i], "\"%s\"", path);
		else
			add(r, BAD, parts[i], "%s", err.message);
	}
}

static bool can_run(const struct report *r)
{
	for (unsigned int i = 0; i < r->n; i++)
		if (r->findings[i].verdict == BAD)
			return false;
	return true;
}

static void print_text(const struct report *r)
{
	static const char *const marks[] = { "ok  ", "note", "FAIL" };
	const struct finding *worst = NULL;

	for (unsigned int i = 0; i < r->n; i++) {
		const struct finding *f = &r->findings[i];

		printf("%s  %-18s %s\n", marks[f->verdict], f->check, f->text);
		if (f->verdict == BAD && !worst)
			worst = f;
	}
	if (worst)
		printf("\nA Linux guest cannot run here: %s: %s\n", worst->check, worst->text);
	else
		printf("\nA Linux guest can run here.\n");
}

static void print_json(const struct report *r)
{
	static const char *const names[] = { "ok", "note", "fail" };
	json_t *checks = json_array();
	json_t *root = json_pack("{s:b, s:o}", "linux_can_run", can_run(r), "checks", checks);

	for (unsigned int i = 0; i < r->n; i++)
		json_array_append_new(checks, json_pack("{s:s, s:s, s:s}", "check", r->findings[i].check,
							"result", names[r->findings[i].verdict], "text",
							r->findings[i].text));
	json_dumpf(root, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(root);
}

static void help(void)
{
	printf("usage: mote doctor [--kvm] [--json]\n\n"
	       "Checks what microVMs need: KVM (with guests of a few instructions that try what a Linux\n"
	       "kernel does), devices, cgroups, huge pages, the guest kernel and mote's own parts.\n\n"
	       "      --kvm   only the checks of KVM\n"
	       "      --json  print one JSON object instead\n"
	       "  -h, --help  this text\n\n"
	       "Exit status: 0 if a Linux guest can run here, 1 if not, 125 for bad arguments.\n\n"
	       "Example:\n"
	       "  mote doctor && mote run -- uname -a\n");
}

int mote_doctor(int argc, char *argv[])
{
	static const struct option longs[] = {
		{ "kvm", no_argument, NULL, 'k' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	static struct report report;
	bool json = false, kvm_only = false;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
		if (option == 'h') {
			help();
			return 0;
		}
		if (option == '?') {
			fprintf(stderr, "mote doctor: \"%s\" is not an option; see `mote doctor --help`\n",
				argv[optind - 1]);
			return MOTE_FAILED;
		}
		json = json || option == 'j';
		kvm_only = kvm_only || option == 'k';
	}
	if (optind < argc) {
		fprintf(stderr, "mote doctor: \"%s\": takes no arguments\n", argv[optind]);
		return MOTE_FAILED;
	}
	if (check_kvm(&report))
		check_guest_code(&report);
	if (!kvm_only) {
		check_kernel(&report);
		check_parts(&report);
		check_device(&report, "tap", "/dev/net/tun", 200, "only network interfaces need it");
		check_cgroups(&report);
		check_huge_pages(&report);
	}
	json ? print_json(&report) : print_text(&report);
	return can_run(&report) ? 0 : 1;
}
