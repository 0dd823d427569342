/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is left to a monitor while its guest runs. Counted, not claimed: the filters are run, and a
 * real jail is looked at from outside.
 */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/landlock.h>

#include "tools/mote/doctor.h"
#include "tools/mote/doctor_jail.h"
#include "vmm/sandbox/sandbox.h"
#include "vmm/util.h"

static void count_system_calls(struct report *r)
{
	struct sandbox sandbox;

	sandbox_init(&sandbox);
	for (unsigned int filter = 0; filter < FILTERS; filter++) {
		struct sandbox_count count;
		char check[40];

		sandbox_count(&sandbox.programs[filter], &count);
		snprintf(check, sizeof(check), "system calls, %s%s",
			 filter == FILTER_VMM_API ? "" : "thread ", sandbox_filter_name(filter));
		report_count(r, GOOD, check, count.allowed, "%u of them only with certain arguments",
			     count.conditional);
	}
	sandbox_release(&sandbox);
}

/* Namespaces that every jail has of its own; without root also the user's. */
static bool has_namespaces(const struct seen *seen)
{
	return strcmp(seen->namespaces.names, geteuid() == 0 ? "cgroup, ipc, mnt, net, pid, uts"
							     : "cgroup, ipc, mnt, net, pid, user, uts") == 0;
}

static void report_rights(struct report *r, const struct seen *seen)
{
	report_count(r, seen->unfiltered.n ? BAD : GOOD, "threads", seen->threads.n, "%s; %s%s",
		     seen->threads.names, seen->unfiltered.n ? "without a seccomp filter of its own: "
							     : "each under the jail's seccomp filter and one of its own",
		     seen->unfiltered.names);
	report_count(r, seen->capabilities ? BAD : GOOD, "capabilities", seen->capabilities,
		     "in all five sets");
	report_add(r, seen->uid == 0 || (geteuid() == 0 && seen->groups) ? BAD : GOOD, "user",
		   "%u, group %u, %ld more groups", seen->uid, seen->gid, seen->groups);
	report_add(r, seen->no_new_privs ? GOOD : BAD, "no_new_privs", "%s",
		   seen->no_new_privs ? "set: no program gives it privileges" : "not set");
	report_add(r, seen->dumpable ? BAD : GOOD, "dumpable", "%s",
		   seen->dumpable ? "its user's other processes can read its memory"
				  : "no: neither core dumps nor debuggers");
}

static void report_surroundings(struct report *r, const struct seen *seen)
{
	report_count(r, has_namespaces(seen) ? GOOD : BAD, "namespaces of its own", seen->namespaces.n, "%s",
		     seen->namespaces.names);
	report_count(r, seen->mounts.n <= 3 ? GOOD : BAD, "mounts", seen->mounts.n, "%s", seen->mounts.names);
	report_count(r, strcmp(seen->files.names, "/dev, /dev/kvm") == 0 ? GOOD : BAD, "files in its root",
		     seen->files.n, "%s", seen->files.names);
	report_count(r, strcmp(seen->interfaces.names, "lo") == 0 ? GOOD : BAD, "network interfaces",
		     seen->interfaces.n, "%s", seen->interfaces.names);
	report_count(r, GOOD, "file descriptors", seen->fds,
		     "KVM's, events and timers; and %s", seen->host_fds.names);
}

static void report_landlock(struct report *r)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (abi < 0)
		report_add(r, WARN, "Landlock", "not on in this kernel");
	else
		report_add(r, NOTE, "Landlock", "version %ld, of which the jail uses all it knows; from outside "
						"this can't be seen", abi);
}

void doctor_check_isolation(struct report *report)
{
	struct doctor_jail jail;
	struct seen seen;
	struct error err = { 0 };

	report->group = "seccomp";
	count_system_calls(report);
	report->group = "jail";
	if (doctor_jail_start(&jail, &err) < 0 || seen_look(&seen, jail.pid, jail.pidfd, &err) < 0) {
		report_add(report, BAD, "jail", "%s", err.message);
	} else {
		report_rights(report, &seen);
		report_surroundings(report, &seen);
		report_landlock(report);
	}
	doctor_jail_stop(&jail);
}
