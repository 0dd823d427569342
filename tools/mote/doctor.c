/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `mote doctor`: everything that could keep a microVM from running, or let it out, checked before
 * anybody asks.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "tools/mote/doctor.h"
#include "tools/mote/mote.h"
#include "vmm/util.h"

struct options {
	bool help, kvm, isolation, json;
	const char *sysroot; /* for tests: where the host's /proc and /sys are looked for */
};

static void help(void)
{
	printf("usage: mote doctor [--kvm | --isolation] [--json]\n\n"
	       "Checks what microVMs need: KVM (with guests of a few instructions that try what a Linux\n"
	       "kernel does), the guest kernel and mote's own parts, devices, cgroups, huge pages; and what\n"
	       "of the host is between guests: processor, memory, kernel. That only warns.\n\n"
	       "      --kvm        only the checks of KVM\n"
	       "      --isolation  instead, run a guest in a jail and count what its monitor has left:\n"
	       "                   system calls, capabilities, files, descriptors, ...\n"
	       "      --json       print one JSON object instead\n"
	       "  -h, --help       this text\n\n"
	       "Exit status: 0 if a Linux guest can run here (--isolation: if the jail is what it should\n"
	       "be), 1 if not, 125 for bad arguments.\n\n"
	       "Example:\n"
	       "  mote doctor && mote run -- uname -a\n");
}

static int parse(struct options *options, int argc, char *argv[], struct error *err)
{
	static const struct option longs[] = {
		{ "kvm", no_argument, NULL, 'k' },
		{ "isolation", no_argument, NULL, 'i' },
		{ "json", no_argument, NULL, 'j' },
		{ "sysroot", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*options = (struct options){ .sysroot = "/" };
	opterr = 0;
	while ((option = getopt_long(argc, argv, "+:h", longs, NULL)) != -1) {
		if (option == '?')
			return error_set(err, EINVAL, "\"%s\" is not an option; see `mote doctor --help`",
					 argv[optind - 1]);
		if (option == ':')
			return error_set(err, EINVAL, "%s: needs a value", argv[optind - 1]);
		options->help = options->help || option == 'h';
		options->kvm = options->kvm || option == 'k';
		options->isolation = options->isolation || option == 'i';
		options->json = options->json || option == 'j';
		options->sysroot = option == 's' ? optarg : options->sysroot;
	}
	if (optind < argc)
		return error_set(err, EINVAL, "\"%s\": takes no arguments", argv[optind]);
	if (options->kvm && options->isolation)
		return error_set(err, EINVAL, "--kvm: not with --isolation");
	return 0;
}

static int check_all(struct report *report, const char *sysroot, struct error *err)
{
	cleanup_close int root = open(sysroot, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return error_sys(err, errno, "--sysroot: open \"%s\"", sysroot);
	doctor_check_kvm(report);
	doctor_check_parts(report);
	doctor_check_host(report, root);
	doctor_check_security(report, root);
	return 0;
}

int mote_doctor(int argc, char *argv[])
{
	static struct report report;
	struct options options;
	struct error err = { 0 };
	int rc = parse(&options, argc, argv, &err);

	if (rc == 0 && options.help) {
		help();
		return 0;
	}
	if (rc == 0 && options.isolation)
		doctor_check_isolation(&report);
	else if (rc == 0 && options.kvm)
		doctor_check_kvm(&report);
	else if (rc == 0)
		rc = check_all(&report, options.sysroot, &err);
	if (rc < 0)
		return mote_fail("doctor", &err);
	if (options.json)
		report_print_json(&report, options.isolation ? "isolated" : "linux_can_run");
	else if (options.isolation)
		report_print(&report, "The jail is what it should be", "The jail is not what it should be");
	else
		report_print(&report, "A Linux guest can run here", "A Linux guest cannot run here");
	return report_is_good(&report) ? 0 : 1;
}
