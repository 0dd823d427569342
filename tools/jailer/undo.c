/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/jailer/undo.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct undo_entry *add(struct undo *undo, enum undo_when when, int fd)
{
	int copy = undo->n < UNDO_MAX ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

	if (copy < 0)
		return NULL;
	struct undo_entry *entry = &undo->entries[undo->n++];

	*entry = (struct undo_entry){ .when = when, .fd = copy };
	return entry;
}

void undo_add_name(struct undo *undo, enum undo_when when, int dir, const char *name, bool directory)
{
	struct undo_entry *entry = add(undo, when, dir);

	if (!entry)
		return;
	entry->directory = directory;
	entry->name = strdup(name);
	if (!entry->name) /* it would be taken for an owner */
		close(undo->entries[--undo->n].fd);
}

void undo_add_owner(struct undo *undo, int fd, uid_t uid, gid_t gid)
{
	struct undo_entry *entry = add(undo, UNDO_ON_FAILURE, fd);

	if (!entry)
		return;
	entry->uid = uid;
	entry->gid = gid;
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
	while (undo->n) {
		const struct undo_entry *entry = &undo->entries[--undo->n];

		close(entry->fd);
		free(entry->name);
	}
}
