/* SPDX-License-Identifier: Apache-2.0 */
/* KVM is not asked whether it claims to work: guests of a few instructions try (vmm/probe.h). */
#include <errno.h>

#include "tools/mote/doctor.h"
#include "vmm/kvm.h"
#include "vmm/probe.h"
#include "vmm/util.h"

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
		report_add(r, BAD, "kvm", "%s%s", err.message, kvm_advice(err.errnum));
		return false;
	}
	close(fd);
	report_add(r, GOOD, "kvm", "/dev/kvm opens, API version %d", KVM_API_VERSION);
	int rc = kvm_open(&kvm, &err);

	kvm_close(&kvm);
	if (rc < 0) {
		report_add(r, BAD, "capabilities", "%s", err.message);
		return false;
	}
	report_add(r, GOOD, "capabilities", "all that mote needs are there");
	return true;
}

static void check_guest_code(struct report *r)
{
	struct probe_report probes[PROBE_TESTS];
	struct error err = { 0 };

	if (probe_run(probes, &err) < 0) {
		report_add(r, BAD, "guest code", "%s", err.message);
		return;
	}
	for (unsigned int i = 0; i < PROBE_TESTS; i++) {
		const struct probe_report *p = &probes[i];

		if (p->result == PROBE_OK)
			report_add(r, GOOD, p->name, "works in a guest");
		else if (p->result == PROBE_NOT_OFFERED)
			report_add(r, NOTE, p->name, "not offered by this KVM; guests do without it");
		else
			report_add(r, p->required ? BAD : NOTE, p->name, "%s (needed for: %s)", p->detail,
				   p->purpose);
	}
}

void doctor_check_kvm(struct report *report)
{
	report->group = "KVM";
	if (check_kvm(report))
		check_guest_code(report);
}
