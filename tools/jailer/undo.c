/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/jailer/undo.h"

#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

int undo_own(struct undo *undo, int fd)
{
	if (fd >= 0 && undo->n_fds < UNDO_MAX)
		undo->fds[undo->n_fds++] = fd;
	return fd;
}

static void add(struct undo *undo, struct undo_entry entry)
{
	if (undo->n < UNDO_MAX)
		undo->entries[undo->n++] = entry;
}

void undo_add_name(struct undo *undo, enum undo_when when, int fd, const char *name, bool directory)
{
	add(undo,
	    (struct undo_entry){ .when = when, .fd = fd, .name = name, .directory = directory });
}

void undo_add_owner(struct undo *undo, int fd, uid_t uid, gid_t gid)
{
	add(undo, (struct undo_entry){ .when = UNDO_ON_FAILURE, .fd = fd, .uid = uid, .gid = gid });
}

static int take_back(const struct undo_entry *entry)
{
	if (!entry->name)
		return fchown(entry->fd, entry->uid, entry->gid);
	return unlinkat(entry->fd, entry->name, entry->directory ? AT_REMOVEDIR : 0);
}

void undo_run(struct undo *undo, bool failed)
{
	for (unsigned int i = undo->n; i-- > 0;)
		if ((failed || undo->entries[i].when == UNDO_ALWAYS) &&
		    take_back(&undo->entries[i]) < 0)
			continue; /* it is gone already, or not empty: --cleanup says why */
	undo_release(undo);
}

void undo_release(struct undo *undo)
{
	while (undo->n_fds)
		close(undo->fds[--undo->n_fds]);
	undo->n = 0;
}
