/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jailstart ROUNDS AT_ONCE JAILER [ARG..]: starts AT_ONCE jailers at the same time, ROUNDS times,
 * each with --id of its own in front of ARGs. JAILER must run the monitor called "stamp", which is
 * this program: it says the time of its first line, and lives until all have. Prints a line for
 * each start:
 *
 *	ROUND NS_TO_MONITOR
 *
 * with the time from just before the jailer's fork. The jails' CPU time follows in the end: "cpu
 * NS".
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AT_ONCE_MAX 100

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* argv: stamp --id rROUND-NUMBER .. */
static int stamp(char *argv[], uint64_t at)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%s %llu\n", strrchr(argv[2], '-') + 1,
			 (unsigned long long)at);

	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		return 1;
	return read(STDIN_FILENO, line, 1) == 0 ? 0 : 1;
}

static void start(int round, int number, int in, int out, int argc, char *argv[])
{
	char id[32], *command[64] = { argv[3], "--id", id };

	snprintf(id, sizeof(id), "r%d-%d", round, number);
	for (int i = 4; i < argc && i < 60; i++)
		command[i - 1] = argv[i];
	if (vfork() == 0) {
		dup2(in, STDIN_FILENO);
		dup2(out, STDOUT_FILENO);
		execv(command[0], command);
		_exit(127);
	}
}

static int measure(int round, int at_once, int argc, char *argv[])
{
	uint64_t started[AT_ONCE_MAX];
	int out[2], in[2], failed = 0, status;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(in, O_CLOEXEC) < 0)
		return 1;
	for (int i = 0; i < at_once; i++) {
		started[i] = now_ns();
		start(round, i, in[0], out[1], argc, argv);
	}
	close(out[1]);
	close(in[0]);
	FILE *lines = fdopen(out[0], "r");
	unsigned long long at;
	unsigned int number;

	for (int n = 0; n < at_once && fscanf(lines, "%u %llu", &number, &at) == 2; n++)
		printf("%d %llu\n", round, at - (unsigned long long)started[number % AT_ONCE_MAX]);
	fclose(lines);
	close(in[1]);
	while (wait(&status) > 0)
		failed |= status != 0;
	return failed;
}

int main(int argc, char *argv[])
{
	uint64_t at = now_ns();
	struct rusage usage;

	if (argc > 2 && strcmp(argv[1], "--id") == 0)
		return stamp(argv, at);
	int rounds = argc > 3 ? atoi(argv[1]) : 0, at_once = argc > 3 ? atoi(argv[2]) : 0;

	if (rounds < 1 || at_once < 1 || at_once > AT_ONCE_MAX)
		return 2;
	for (int i = 0; i < rounds; i++)
		if (measure(i, at_once, argc, argv))
			return 1;
	getrusage(RUSAGE_CHILDREN, &usage);
	printf("cpu %llu\n",
	       (unsigned long long)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
		       (unsigned long long)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) *
			       1000u);
	return 0;
}
