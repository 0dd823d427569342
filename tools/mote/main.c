/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "tools/mote/mote.h"
#include "vmm/util.h"

static const struct {
	const char *name;
	int (*function)(int argc, char *argv[]);
	const char *summary;
} commands[] = {
	{ "run", mote_run, "run a command in a fresh microVM" },
	{ "bench", mote_bench, "measure starts and devices, beside other monitors" },
	{ "doctor", mote_doctor, "say whether this machine can run microVMs, and what is missing" },
};

char *mote_find(const char *name, struct error *err)
{
	static const char *const places[] = { ".", "../libexec/mote", "../share/mote" };
	char self[PATH_MAX];
	char *path;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0) {
		error_sys(err, errno, "readlink \"/proc/self/exe\"");
		return NULL;
	}
	self[n] = 0;
	*strrchr(self, '/') = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		if (asprintf(&path, "%s/%s%s%s", self, i ? places[i] : "", i ? "/" : "", name) < 0) {
			error_sys(err, ENOMEM, "%s", name);
			return NULL;
		}
		if (access(path, R_OK) == 0)
			return path;
		free(path);
	}
	error_set(err, ENOENT, "%s is not beside mote in \"%s\"; tools/quickstart builds it", name, self);
	return NULL;
}

int mote_fail(const char *subcommand, const struct error *err)
{
	fprintf(stderr, "mote %s: %s\n", subcommand, err->message);
	return MOTE_FAILED;
}

static void help(FILE *out)
{
	fprintf(out, "usage: mote COMMAND [OPTIONS..]\n\n"
		     "Linux microVMs that start like processes.\n\n");
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fprintf(out, "\n`mote COMMAND --help` says more. Example:\n\n  mote run -- uname -a\n");
}

/* A file of ours under the number of a closed stream would receive that stream's output. */
static void occupy_standard_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	close_fd(&fd);
}

int main(int argc, char *argv[])
{
	const char *name = argc > 1 ? argv[1] : "";

	occupy_standard_streams();
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
		help(stdout);
		return 0;
	}
	if (strcmp(name, "--version") == 0) {
		printf("mote " MOTE_VERSION "\n");
		return 0;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].function(argc - 1, argv + 1);
	if (argc < 2)
		help(stderr);
	else
		fprintf(stderr, "mote: \"%s\" is not a command; `mote --help` lists them\n", name);
	return MOTE_FAILED;
}
