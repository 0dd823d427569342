/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "seccomp_filters.h"
#include "vmm/sandbox/arch.h"
#include "vmm/util.h"

#if defined(__x86_64__)
#define X32_BIT 0x40000000 /* marks system calls of the x32 ABI */
#else
#define X32_BIT 0
#endif

#define SI_SECCOMP 1 /* SYS_SECCOMP of <asm-generic/siginfo.h>, which <signal.h> lacks */

static const char *const filter_names[FILTERS] = {
	[THREAD_VMM] = "vmm", [THREAD_VCPU] = "vcpu", [THREAD_IO] = "io", [FILTER_VMM_API] = "vmm-api",
};

const char *sandbox_filter_name(unsigned int filter)
{
	return filter_names[filter];
}

void sandbox_init(struct sandbox *sandbox)
{
	*sandbox = (struct sandbox){ .programs = {
		[THREAD_VMM] = { filter_vmm, ARRAY_SIZE(filter_vmm) },
		[THREAD_VCPU] = { filter_vcpu, ARRAY_SIZE(filter_vcpu) },
		[THREAD_IO] = { filter_io, ARRAY_SIZE(filter_io) },
		[FILTER_VMM_API] = { filter_vmm_api, ARRAY_SIZE(filter_vmm_api) },
	} };
}

void sandbox_release(struct sandbox *sandbox)
{
	free(sandbox->loaded);
	*sandbox = (struct sandbox){ 0 };
}

/* ---- a file of filters ---- */

#define FILE_MAX                                                                                   \
	(sizeof(struct filter_file_header) +                                                       \
	 FILTERS * (sizeof(struct filter_file_section) +                                           \
		    FILTER_INSNS_MAX * sizeof(struct sock_filter)))

/* All of it, at most FILE_MAX bytes, allocated. */
static void *read_file(const char *path, size_t *size, struct error *err)
{
	/* O_NONBLOCK: a FIFO must be refused, not waited for. */
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	cleanup_free uint8_t *bytes = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		error_sys(err, errno, "open");
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || (size_t)st.st_size > FILE_MAX) {
		error_set(err, EINVAL, "not a regular file of 1 to %zu bytes", FILE_MAX);
		return NULL;
	}
	*size = (size_t)st.st_size;
	bytes = malloc(*size);
	if (!bytes || pread(fd, bytes, *size, 0) != (ssize_t)*size) {
		error_sys(err, bytes ? EIO : ENOMEM, "read");
		return NULL;
	}
	return take_ptr_fn(&bytes);
}

static int take_section(struct sandbox *sandbox, unsigned int filter, const uint8_t **at,
			size_t *left, struct error *err)
{
	const struct filter_file_section *section = (const void *)*at;
	char name[sizeof(section->thread)] = "";

	memcpy(name, filter_names[filter], strlen(filter_names[filter]));
	if (*left < sizeof(*section) || memcmp(section->thread, name, sizeof(name)) != 0)
		return error_set(err, EINVAL, "the filter of \"%s\" isn't where it should be", name);
	*left -= sizeof(*section);
	if (section->reserved != 0 || section->n_insns == 0 || section->n_insns > FILTER_INSNS_MAX ||
	    section->n_insns > *left / sizeof(section->insns[0]))
		return error_set(err, EINVAL, "the filter of \"%s\" has %u instructions, not 1 to %u",
				 name, section->n_insns,
				 (unsigned int)(*left / sizeof(section->insns[0])));
	sandbox->programs[filter] = (struct sandbox_program){ section->insns, section->n_insns };
	*left -= section->n_insns * sizeof(section->insns[0]);
	*at = (const uint8_t *)(section->insns + section->n_insns);
	return 0;
}

static int take_file(struct sandbox *sandbox, const uint8_t *bytes, size_t left, struct error *err)
{
	const struct filter_file_header *header = (const void *)bytes;

	if (left < sizeof(*header) || memcmp(header->magic, FILTER_FILE_MAGIC, 8) != 0)
		return error_set(err, EINVAL, "not made by mote-seccomp-compile --binary");
	if (header->arch != SANDBOX_ARCH)
		return error_set(err, EINVAL, "for architecture 0x%x, not 0x%x", header->arch, SANDBOX_ARCH);
	if (header->n_sections != FILTERS)
		return error_set(err, EINVAL, "%u filters instead of %d", header->n_sections,
				 FILTERS);
	bytes += sizeof(*header);
	left -= sizeof(*header);
	for (unsigned int filter = 0; filter < FILTERS; filter++) {
		int rc = take_section(sandbox, filter, &bytes, &left, err);

		if (rc < 0)
			return rc;
	}
	return left ? error_set(err, EINVAL, "%zu bytes too many", left) : 0;
}

int sandbox_load(struct sandbox *sandbox, const char *path, struct error *err)
{
	size_t size;

	*sandbox = (struct sandbox){ .loaded = read_file(path, &size, err) };
	if (!sandbox->loaded || take_file(sandbox, sandbox->loaded, size, err) < 0) {
		sandbox_release(sandbox);
		return error_wrap(err, "seccomp filter \"%s\"", path);
	}
	return 0;
}

/* ---- confinement ---- */

int sandbox_enter(struct error *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_sys(err, errno, "PR_SET_NO_NEW_PRIVS");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_sys(err, errno, "PR_SET_DUMPABLE");
	return 0;
}

int sandbox_apply(const void *context, enum thread_kind kind, struct error *err)
{
	const struct sandbox *sandbox = context;
	unsigned int filter = kind == THREAD_VMM && sandbox->has_api ? FILTER_VMM_API : kind;
	const struct sandbox_program *program = &sandbox->programs[filter];
	struct sock_filter insns[FILTER_INSNS_MAX];
	struct sock_fprog prog = { .len = (unsigned short)program->n, .filter = insns };
	uint32_t tgid = (uint32_t)getpid();

	memcpy(insns, program->insns, program->n * sizeof(insns[0]));
	for (uint32_t i = 0; i < program->n; i++)
		if (insns[i].code == (BPF_JMP | BPF_JEQ | BPF_K) && insns[i].k == FILTER_TGID)
			insns[i].k = tgid;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		return error_sys(err, errno, "seccomp filter of \"%s\"", filter_names[filter]);
	return 0;
}

/* ---- violations ---- */

/* The names are one after the other, by number. */
static const char *syscall_name(int nr)
{
	const char *name = syscall_names;

	for (int i = 0; i < nr && name < syscall_names + sizeof(syscall_names) - 1; i++)
		name += strlen(name) + 1;
	return nr >= 0 && *name ? name : "unknown";
}

bool sandbox_describe(const siginfo_t *info, char line[SANDBOX_LINE_MAX])
{
	int nr = info->si_syscall;
	char thread[THREAD_NAME_SIZE] = "?";
	const char *name = info->si_arch != SANDBOX_ARCH ? "of another architecture"
			   : nr & X32_BIT	 ? "of the x32 ABI"
						 : syscall_name(nr);

	if (info->si_code != SI_SECCOMP)
		return false;
	prctl(PR_GET_NAME, thread);
	snprintf(line, SANDBOX_LINE_MAX, "thread \"%s\": system call %d (%s) is not allowed", thread,
		 nr & ~X32_BIT, name);
	return true;
}
