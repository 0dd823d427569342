/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holes of the processor through which a guest could look at what isn't its own, and what the kernel
 * says of each (Documentation/admin-guide/hw-vuln): mote is no help against them, the host is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "tools/mote/doctor.h"
#include "vmm/util.h"

#define DIRECTORY "sys/devices/system/cpu/vulnerabilities"

/* What a guest could do. */
static const struct {
	const char *file, *what;
} holes[] = {
	{ "gather_data_sampling", "gather instructions read what others had in vector registers (Downfall)" },
	{ "indirect_target_selection", "some indirect branches of the host go where a guest trained them to" },
	{ "itlb_multihit", "a guest can stop the whole machine by changing its page sizes" },
	{ "l1tf", "a guest reads the core's L1 cache, whoever filled it (Foreshadow); boot with l1tf=full,force" },
	{ "mds", "what others just loaded and stored leaks from the core's buffers (ZombieLoad, RIDL)" },
	{ "meltdown", "code reads the memory of the host's kernel, for want of page table isolation (KPTI)" },
	{ "mmio_stale_data", "reads of device registers return what others left in the core's buffers" },
	{ "old_microcode", "the processor's microcode lacks fixes that the kernel knows of; update it" },
	{ "reg_file_data_sampling", "registers that others used can be read" },
	{ "retbleed", "returns in the host's kernel go where a guest trained them to" },
	{ "spec_rstack_overflow", "returns in the host's kernel go where a guest trained them to (Inception)" },
	{ "spec_store_bypass", "loads see memory as it was before a store that they should have waited for" },
	{ "spectre_v1", "the host's checks of an index are run past, and what lies behind it leaks" },
	{ "spectre_v2", "indirect branches of the host go where a guest trained them to" },
	{ "srbds", "random numbers that other cores just drew can be read" },
	{ "tsa", "how long loads take tells what others stored" },
	{ "tsx_async_abort", "aborted transactions read what others left in the core's buffers" },
	{ "vmscape", "branches of the monitor go where its guest trained them to" },
};

static const char *what_of(const char *file)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(holes); i++)
		if (strcmp(holes[i].file, file) == 0)
			return holes[i].what;
	return "see Documentation/admin-guide/hw-vuln of the kernel";
}

/* The kernel's words: also for parts of a mitigation ("SMT vulnerable"), or if it can't know. */
static bool is_open(const char *state)
{
	return strcasestr(state, "vulnerable") || strcasestr(state, "unknown") ||
	       strstr(state, "conditional cache flushes");
}

static int is_name(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

void doctor_check_holes(struct report *report, int root)
{
	struct dirent **files;
	int n = scandirat(root, DIRECTORY, &files, is_name, alphasort);
	long closed = 0;

	if (n < 0) {
		report_add(report, WARN, "processor", "open \"/" DIRECTORY "\": %s; its holes aren't known",
			   strerrordesc_np(errno));
		return;
	}
	for (int i = 0; i < n; i++) {
		char path[sizeof(DIRECTORY) + sizeof(files[i]->d_name) + 1], state[256];
		const char *file = files[i]->d_name;

		snprintf(path, sizeof(path), DIRECTORY "/%s", file);
		if (!doctor_read_line(root, path, state, sizeof(state)))
			snprintf(state, sizeof(state), "Unknown");
		if (is_open(state))
			report_add(report, WARN, file, "%s: %s", state, what_of(file));
		else
			closed++;
		free(files[i]);
	}
	free(files);
	report_count(report, GOOD, "processor", closed, "known holes that are closed, or not this processor's");
}
