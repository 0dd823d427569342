/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/cpu.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/util.h"

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */

bool cpu_is_kernel_thread(const char *stat)
{
	/* A name may have anything in it, but what follows it has no brackets. */
	const char *after = strrchr(stat, ')');
	unsigned int flags;

	return after && sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && flags & PF_KTHREAD;
}

/* A file of a process's, which may have ended; text is empty then. */
static void read_file(int proc, const char *pid, const char *name, char *text, size_t size)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", pid, name);
	cleanup_close int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = 0;
}

static uint64_t kernel_threads_ns(int proc)
{
	int fd = proc < 0 ? -1 : openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	uint64_t sum = 0;
	char text[512];

	if (!dir && fd >= 0)
		close(fd);
	while (dir && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		read_file(proc, entry->d_name, "stat", text, sizeof(text));
		if (!cpu_is_kernel_thread(text))
			continue;
		/* "RAN WAITED SLICES", ns. */
		read_file(proc, entry->d_name, "schedstat", text, sizeof(text));
		sum += strtoull(text, NULL, 10);
	}
	if (dir)
		closedir(dir);
	return sum;
}

int cpu_read(pid_t pid, int proc, struct cpu_times *times, struct error *err)
{
	struct timespec t;
	clockid_t clock;
	int rc = clock_getcpuclockid(pid, &clock);

	if (rc != 0 || clock_gettime(clock, &t) < 0)
		return error_sys(err, rc ? rc : errno, "processor time of process %d", (int)pid);
	*times = (struct cpu_times){
		.process_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec,
		.kernel_ns = kernel_threads_ns(proc),
	};
	return 0;
}
