/* SPDX-License-Identifier: Apache-2.0 */
/* What to take back when a jail can't be made, and when it has ended: last done, first undone. */
#ifndef MOTE_JAILER_UNDO_H
#define MOTE_JAILER_UNDO_H

#include <stdbool.h>
#include <sys/types.h>

#define UNDO_MAX 64

enum undo_when {
	UNDO_ON_FAILURE,
	UNDO_ALWAYS, /* also after the monitor's end */
};

struct undo_entry {
	enum undo_when when;
	int fd;		  /* the directory that name is in, or what was chowned */
	bool directory;	  /* name is one */
	const char *name; /* what to remove; NULL = give fd back to uid and gid */
	uid_t uid;
	gid_t gid;
};

struct undo {
	unsigned int n, n_fds;
	struct undo_entry entries[UNDO_MAX];
	int fds[UNDO_MAX]; /* that entries may be about */
};

/* Hand fd over, to stay open until undo_release. Returns it; negative ones go through. */
int undo_own(struct undo *undo, int fd);
/* fd is owned, and name lives as long as undo. Beyond UNDO_MAX what was done stays done. */
void undo_add_name(struct undo *undo, enum undo_when when, int fd, const char *name,
		   bool directory);
void undo_add_owner(struct undo *undo, int fd, uid_t uid, gid_t gid);
/* Undo all, or what is UNDO_ALWAYS only, and release. What is gone or not empty is left. */
void undo_run(struct undo *undo, bool failed);
/* Forget all. */
void undo_release(struct undo *undo);

#endif
