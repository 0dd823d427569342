/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/smaps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/util.h"

struct mapping {
	bool ram;
	char name[64];
	uint64_t private_kib;
};

/* "7f..-7f.. rw-p 0 00:00 0    /path": a mapping begins. */
static bool parse_header(const char *line, unsigned int ram_mib, struct mapping *mapping)
{
	uint64_t from, to;
	int n = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*4s %*x %*s %*u %n", &from, &to, &n) != 2 || n == 0)
		return false;
	const char *path = line + n, *slash = strrchr(path, '/');

	*mapping = (struct mapping){ .ram = to - from == (uint64_t)ram_mib << 20 };
	path = slash ? slash + 1 : path;
	snprintf(mapping->name, sizeof(mapping->name), "%.*s", (int)strcspn(path, "\n"), path);
	if (!mapping->name[0])
		strcpy(mapping->name, "anonymous");
	return true;
}

static int finish(const struct mapping *mapping, smaps_each each, void *context)
{
	return each && mapping->private_kib ? each(context, mapping->name, mapping->private_kib) : 0;
}

int smaps_read(FILE *smaps, unsigned int ram_mib, struct smaps_totals *totals, smaps_each each, void *context)
{
	struct mapping mapping = { 0 }, next;
	char line[4200];
	uint64_t kib;
	int rc = 0;

	*totals = (struct smaps_totals){ 0 };
	while (rc == 0 && fgets(line, sizeof(line), smaps)) {
		if (parse_header(line, ram_mib, &next)) {
			rc = finish(&mapping, each, context);
			mapping = next;
		} else if (mapping.ram) {
			if (sscanf(line, "Rss: %" SCNu64 " kB", &kib) == 1)
				totals->ram_kib += kib;
		} else if (sscanf(line, "Pss: %" SCNu64 " kB", &kib) == 1) {
			totals->pss_kib += kib;
		} else if (sscanf(line, "Private_Clean: %" SCNu64 " kB", &kib) == 1 ||
			   sscanf(line, "Private_Dirty: %" SCNu64 " kB", &kib) == 1) {
			totals->private_kib += kib;
			mapping.private_kib += kib;
		}
	}
	return rc == 0 ? finish(&mapping, each, context) : rc;
}

int smaps_read_pid(pid_t pid, unsigned int ram_mib, struct smaps_totals *totals, smaps_each each, void *context,
		   struct error *err)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	cleanup_fclose FILE *f = fopen(path, "re");

	return f ? smaps_read(f, ram_mib, totals, each, context) : error_sys(err, errno, "open \"%s\"", path);
}
