/* SPDX-License-Identifier: Apache-2.0 */
/* A guest of a few instructions in a real jail. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tools/mote/doctor_jail.h"
#include "tools/mote/mote.h"
#include "vmm/boot/platform.h"
#include "vmm/util.h"

#define NOBODY		     65534
#define PATIENCE_MS	     30000 /* in an emulated host everything takes its time */
#define READY		     '!'
#define XEN_PHYS32_ENTRY     18 /* Xen public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY */
#define CONFIG                                                                                     \
	"{\"boot-source\": {\"kernel_image_path\": \"/dev/fd/%d\"}, "                              \
	"\"machine-config\": {\"vcpu_count\": 1, \"mem_size_mib\": 16}, "                          \
	"\"drives\": [{\"drive_id\": \"probe\", \"path_on_host\": \"/dev/fd/%d\", "                 \
	"\"is_root_device\": false, \"io_engine\": \"Async\"}]}"

/* An ELF with one segment, whose note says that it's entered in 32-bit mode. */
struct guest {
	Elf64_Ehdr header;
	Elf64_Phdr load, notes;
	Elf64_Nhdr note;
	char owner[4];
	uint32_t entry;
	uint8_t code[16];
};

static const struct guest guest = {
	.header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
		.e_phoff = offsetof(struct guest, load), .e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2,
	},
	.load = { .p_type = PT_LOAD, .p_paddr = LAYOUT_HIMEM, .p_filesz = sizeof(struct guest),
		  .p_memsz = sizeof(struct guest) },
	.notes = { .p_type = PT_NOTE, .p_offset = offsetof(struct guest, note),
		   .p_filesz = offsetof(struct guest, code) - offsetof(struct guest, note) },
	.note = { sizeof(guest.owner), sizeof(guest.entry), XEN_PHYS32_ENTRY },
	.owner = "Xen",
	.entry = LAYOUT_HIMEM + offsetof(struct guest, code),
	.code = {
		0x66, 0xba, SERIAL_BASE & 0xff, SERIAL_BASE >> 8, /* mov $SERIAL_BASE, %dx */
		0xb0, READY, 0xee,				  /* mov $READY, %al; out %al, %dx */
		0xfa, 0xf4, 0xeb, 0xfd,				  /* cli; 1: hlt; jmp 1b */
	},
};

/* What the jailer inherits; ours in the end. */
struct gifts {
	int kernel, disk, config;
	int said[2]; /* pipe: what the guest and the programs say */
	int told[2]; /* pipe: the monitor's process ID */
};

static void close_pipe(int pipe[2])
{
	close_fd(&pipe[0]);
	close_fd(&pipe[1]);
}

static void gifts_close(struct gifts *gifts)
{
	close_fd(&gifts->kernel);
	close_fd(&gifts->disk);
	close_fd(&gifts->config);
	close_pipe(gifts->said);
	close_pipe(gifts->told);
}

static int gifts_make(struct gifts *gifts, struct error *err)
{
	*gifts = (struct gifts){ memfd_create("kernel", MFD_CLOEXEC), memfd_create("disk", MFD_CLOEXEC),
				 memfd_create("config", MFD_CLOEXEC), { -1, -1 }, { -1, -1 } };
	if (gifts->kernel < 0 || gifts->disk < 0 || gifts->config < 0 ||
	    write(gifts->kernel, &guest, sizeof(guest)) != sizeof(guest) ||
	    ftruncate(gifts->disk, MIB) < 0 ||
	    dprintf(gifts->config, CONFIG, gifts->kernel, gifts->disk) < 0 ||
	    lseek(gifts->config, 0, SEEK_SET) < 0 || pipe2(gifts->said, O_CLOEXEC) < 0 ||
	    pipe2(gifts->told, O_CLOEXEC) < 0)
		return error_sys(err, errno, "make the guest");
	return 0;
}

static int spawn(pid_t *pid, char *const argv[], const struct gifts *gifts, struct error *err)
{
	const int passed[] = { gifts->kernel, gifts->disk, gifts->config, gifts->told[1] };
	char *const no_environment[] = { NULL };
	posix_spawn_file_actions_t actions;
	int rc = posix_spawn_file_actions_init(&actions);

	if (rc)
		return error_sys(err, rc, "start \"%s\"", argv[0]);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, gifts->said[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, gifts->said[1], STDERR_FILENO);
	for (unsigned int i = 0; i < ARRAY_SIZE(passed); i++) /* onto itself: survives exec */
		posix_spawn_file_actions_adddup2(&actions, passed[i], passed[i]);
	rc = posix_spawn(pid, argv[0], &actions, NULL, argv, no_environment);
	posix_spawn_file_actions_destroy(&actions);
	return rc ? error_sys(err, rc, "start \"%s\"", argv[0]) : 0;
}

static int start_jailer(pid_t *jailer, const struct gifts *gifts, struct error *err)
{
	cleanup_free char *program = mote_find("mote-jailer", err);
	cleanup_free char *vmm = program ? mote_find("mote-vmm", err) : NULL;
	char id[32], uid[16], gid[16], config[32], told[16];
	uid_t user = geteuid() ? geteuid() : NOBODY;
	gid_t group = geteuid() ? getegid() : NOBODY;

	if (!vmm)
		return -err->errnum;
	snprintf(id, sizeof(id), "doctor-%d", (int)getpid());
	snprintf(uid, sizeof(uid), "%u", user);
	snprintf(gid, sizeof(gid), "%u", group);
	snprintf(config, sizeof(config), "/dev/fd/%d", gifts->config);
	snprintf(told, sizeof(told), "%d", gifts->told[1]);
	char *const argv[] = {
		program, "--id", id, "--exec-file", vmm, "--uid", uid, "--gid", gid, "--private-root",
		"--config", config, "--handover", told, NULL,
	};

	return spawn(jailer, argv, gifts, err);
}

/* What comes next from the pipe, as text; 0 = its end, or nothing for too long. */
static size_t read_some(int fd, char *text, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n = poll(&p, 1, PATIENCE_MS) == 1 ? read(fd, text, size - 1) : 0;

	text[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

/* The first thing said is the guest's word, or the line of a program that says why there's none. */
static int await_guest(const struct gifts *gifts, struct error *err)
{
	char text[512];

	if (read_some(gifts->said[0], text, sizeof(text)) == 0)
		return error_set(err, ETIMEDOUT, "the guest in it says nothing");
	if (text[0] == READY)
		return 0;
	text[strcspn(text, "\n")] = 0;
	return error_set(err, EPROTO, "%s", text);
}

/* Our own ends are closed, so that the pipes end with the others. */
static int await(struct doctor_jail *jail, pid_t jailer, struct gifts *gifts, struct error *err)
{
	char text[32];

	close_fd(&gifts->said[1]);
	close_fd(&gifts->told[1]);
	if (read_some(gifts->told[0], text, sizeof(text)) > 0)
		jail->pid = (pid_t)atoi(text);
	waitpid(jailer, NULL, 0);
	if (await_guest(gifts, err) < 0)
		return -err->errnum;
	if (jail->pid > 0)
		jail->pidfd = (int)syscall(SYS_pidfd_open, jail->pid, 0);
	return jail->pidfd < 0 ? error_sys(err, errno, "pidfd_open") : 0;
}

int doctor_jail_start(struct doctor_jail *jail, struct error *err)
{
	struct gifts gifts;
	pid_t jailer;
	int rc = gifts_make(&gifts, err);

	*jail = (struct doctor_jail){ .pid = -1, .pidfd = -1 };
	if (rc == 0)
		rc = start_jailer(&jailer, &gifts, err);
	if (rc == 0)
		rc = await(jail, jailer, &gifts, err);
	gifts_close(&gifts);
	return rc;
}

void doctor_jail_stop(struct doctor_jail *jail)
{
	if (jail->pid > 0) {
		kill(jail->pid, SIGKILL);
		waitpid(jail->pid, NULL, 0);
	}
	jail->pid = -1;
	close_fd(&jail->pidfd);
}
