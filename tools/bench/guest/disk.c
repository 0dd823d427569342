/* SPDX-License-Identifier: Apache-2.0 */
/* Disk: sequential 64 KiB and random 4 KiB, reads and writes, O_DIRECT, timed by the guest. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

struct pattern {
	const char *name; /* of the result */
	size_t block;
	bool write, random;
};

static const struct pattern patterns[] = {
	{ "sequential_read", 65536, false, false },
	{ "sequential_write", 65536, true, false },
	{ "random_read", 4096, false, true },
	{ "random_write", 4096, true, true },
};

/* One request after another at places of this worker's own; 0, or an errno. */
static int work(const char *device, const struct pattern *p, uint64_t blocks, unsigned int requests,
		unsigned int worker, unsigned int workers)
{
	int fd = open(device, (p->write ? O_WRONLY : O_RDONLY) | O_DIRECT | O_CLOEXEC);
	void *buffer = mmap(NULL, p->block, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	uint64_t seed = worker + 1;

	if (fd < 0 || buffer == MAP_FAILED)
		return errno;
	for (unsigned int i = worker; i < requests; i += workers) {
		uint64_t at = i;

		if (p->random) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			at = seed >> 33;
		}
		off_t offset = (off_t)(at % blocks * p->block);
		ssize_t n = p->write ? pwrite(fd, buffer, p->block, offset)
				     : pread(fd, buffer, p->block, offset);

		if (n != (ssize_t)p->block)
			return n < 0 ? errno : EIO;
	}
	return 0;
}

/* ns for all requests, shared among the workers; 0 when one of them failed. */
static uint64_t measure(const char *device, const struct pattern *p, uint64_t blocks,
			unsigned int requests, unsigned int workers)
{
	uint64_t start = now_ns();
	int error = 0, status;

	for (unsigned int w = 1; w < workers; w++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(work(device, p, blocks, requests, w, workers));
		if (pid < 0)
			error = errno;
	}
	int own = work(device, p, blocks, requests, 0, workers);

	while (wait(&status) > 0)
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			error = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
	errno = own ? own : error;
	return errno ? 0 : now_ns() - start;
}

int bench_disk(int argc, char *argv[])
{
	if (argc != 4)
		return errno = EINVAL, failed("disk DEVICE MIB REQUESTS WORKERS");
	uint64_t bytes = strtoull(argv[1], NULL, 10) << 20;
	unsigned int requests = (unsigned int)strtoul(argv[2], NULL, 10);
	unsigned int workers = (unsigned int)strtoul(argv[3], NULL, 10);

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		const struct pattern *p = &patterns[i];
		unsigned int n = p->random ? requests : (unsigned int)(bytes / p->block);
		say_begin(p->name);
		uint64_t ns = measure(argv[0], p, bytes / p->block, n, p->random ? workers : 2);

		if (!ns)
			return failed(p->name);
		say_end(p->name, ns / n);
	}
	return 0;
}
