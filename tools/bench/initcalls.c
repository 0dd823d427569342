/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/initcalls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/util.h"

/* "6,123,45678,-;initcall acpi_init+0x0/0x5c0 returned 0 after 900 usecs": priority, number, us */
static bool parse_record(const char *line, uint64_t *at_us, const char **message)
{
	int n = 0;

	if (sscanf(line, "%*u,%*u,%" SCNu64 ",%*[^;\n]%n", at_us, &n) != 1 || n == 0 || line[n] != ';')
		return false;
	*message = line + n + 1;
	return true;
}

static bool parse_initcall(const char *message, struct initcall *call)
{
	if (sscanf(message, "initcall %63s returned %*d after %" SCNu64 " usecs", call->name,
		   &call->took_us) != 2)
		return false;
	call->name[strcspn(call->name, "+")] = 0;
	return true;
}

static int append(struct initcalls *initcalls, const struct initcall *call, struct error *err)
{
	if (initcalls->n == initcalls->room) {
		size_t room = initcalls->room ? 2 * initcalls->room : 256;
		struct initcall *calls = realloc(initcalls->calls, room * sizeof(*calls));

		if (!calls)
			return error_sys(err, ENOMEM, "initcalls");
		initcalls->calls = calls;
		initcalls->room = room;
	}
	initcalls->calls[initcalls->n++] = *call;
	return 0;
}

int initcalls_parse(struct initcalls *initcalls, const char *log, struct error *err)
{
	struct initcall call;
	const char *message;

	*initcalls = (struct initcalls){ 0 };
	for (const char *line = log; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (!parse_record(line, &call.end_us, &message))
			continue;
		if (strncmp(message, INITCALLS_MARK, strlen(INITCALLS_MARK)) == 0)
			initcalls->mark_us = call.end_us;
		else if (parse_initcall(message, &call) && append(initcalls, &call, err) < 0)
			return -err->errnum;
	}
	if (!initcalls->mark_us || !initcalls->n)
		return error_set(err, ENODATA, "initcalls: the guest's log has %zu initcalls and %s mark",
				 initcalls->n, initcalls->mark_us ? "a" : "no");
	return 0;
}

void initcalls_name(struct initcalls *initcalls, const char *system_map)
{
	cleanup_fclose FILE *f = fopen(system_map, "re");
	uint64_t address;
	char line[512], name[64];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNx64 " %*c %63s", &address, name) != 2)
			continue;
		for (size_t i = 0; i < initcalls->n; i++) {
			char *own = initcalls->calls[i].name;

			if (strncmp(own, "0x", 2) == 0 && strtoull(own, NULL, 16) == address)
				memcpy(own, name, sizeof(name));
		}
	}
}

void initcalls_free(struct initcalls *initcalls)
{
	free(initcalls->calls);
	*initcalls = (struct initcalls){ 0 };
}
