/* SPDX-License-Identifier: Apache-2.0 */
/* mote-vmm as a child, in a jail: its configuration, what it inherits, its end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tools/agent/protocol.h"
#include "tools/mote/mote.h"
#include "tools/mote/run.h"
#include "vmm/util.h"

#define GUEST_CID 3

/*
 * quiet, 8250.nr_uarts=0: the serial port is probed and written to a byte an exit. panic=-1 with
 * reboot=k: a panic ends the microVM at once. The root is the agent's business, hence no root=.
 */
#define BOOT_ARGS_QUIET   "quiet loglevel=0 8250.nr_uarts=0 panic=-1 reboot=k"
#define BOOT_ARGS_CONSOLE "console=ttyS0 panic=-1 reboot=k"

/* What the monitor inherits, under the same numbers. */
struct inheritance {
	int config, root, metrics, agent;
};

static json_t *make_config(const struct run_options *o, const struct inheritance *fds,
			   const char *kernel, const char *initrd)
{
	char root[32], metrics[32];

	snprintf(root, sizeof(root), "/dev/fd/%d", fds->root);
	snprintf(metrics, sizeof(metrics), "/dev/fd/%d", fds->metrics);
	json_t *config = json_pack(
		"{s:{s:s, s:s, s:s}, s:{s:i, s:i}, s:[{s:s, s:s, s:b, s:b, s:s}], s:{s:i, s:[{s:i, s:i}]}, s:{}, "
		"s:{s:s}, s:{s:s}}",
		"boot-source", "kernel_image_path", kernel, "initrd_path", initrd, "boot_args",
		o->console ? BOOT_ARGS_CONSOLE : BOOT_ARGS_QUIET,
		"machine-config", "vcpu_count", (int)o->cpus, "mem_size_mib", (int)o->memory_mib,
		"drives", "drive_id", "root", "path_on_host", root, "is_root_device", 0,
		"is_read_only", !o->writable, "io_engine", "Async",
		"vsock", "guest_cid", GUEST_CID, "guest_ports", "port", (int)AGENT_PORT, "fd", fds->agent,
		"entropy",
		"metrics", "metrics_path", metrics,
		"logger", "level", "Warning");
	if (config && o->tap)
		json_object_set_new(config, "network-interfaces",
				    json_pack("[{s:s, s:s}]", "iface_id", "eth0", "host_dev_name", o->tap));
	return config;
}

/* What a jail is made of, as arguments of mote-jailer. */
struct jail {
	char id[32], ids[2][16], config[32], handover[16];
	const char *argv[20];
};

/*
 * A user of its own for each microVM, without a table of who has which: the IDs above
 * systemd's for containers, by our process ID, of which there is one at a time.
 */
#define JAIL_UID_BASE 0x70000000u

static void make_jail(struct jail *jail, const char *jailer, const char *vmm,
		      const struct inheritance *fds, int handover)
{
	unsigned int n = 0;

	snprintf(jail->id, sizeof(jail->id), "run-%d", (int)getpid());
	snprintf(jail->config, sizeof(jail->config), "/dev/fd/%d", fds->config);
	snprintf(jail->handover, sizeof(jail->handover), "%d", handover);
	for (unsigned int i = 0; i < 2; i++)
		snprintf(jail->ids[i], sizeof(jail->ids[i]), "%u", JAIL_UID_BASE + (unsigned int)getpid());
	for (const char *const *arg = (const char *const[]){ jailer, "--id", jail->id, "--exec-file", vmm,
							     "--config", jail->config, "--private-root",
							     "--handover", jail->handover, NULL };
	     *arg; arg++)
		jail->argv[n++] = *arg;
	/* Without root the jail is in a user namespace, and the user stays who it is. */
	for (const char *const *arg = (const char *const[]){ "--uid", jail->ids[0], "--gid", jail->ids[1], NULL };
	     geteuid() == 0 && *arg; arg++)
		jail->argv[n++] = *arg;
	jail->argv[n++] = "--";
	jail->argv[n++] = "--boot-timer";
	jail->argv[n] = NULL;
}

/* In the child: only what the monitor needs survives exec. */
static void become(const char *const argv[], const struct run_options *o, const struct inheritance *fds,
		   int handover, pid_t parent)
{
	const int inherited[] = { fds->config, fds->root, fds->metrics, fds->agent, handover };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(MOTE_FAILED);
	/* Its own group: a ^C at the terminal is mote's to forward, not the monitor's to die of. */
	setpgid(0, 0);
	dup2(null, STDIN_FILENO);
	dup2(o->console ? STDERR_FILENO : null, STDOUT_FILENO);
	for (unsigned int i = 0; i < ARRAY_SIZE(inherited); i++)
		if (inherited[i] >= 0)
			fcntl(inherited[i], F_SETFD, 0);
	execv(argv[0], (char *const *)argv);
	dprintf(STDERR_FILENO, "mote run: exec \"%s\": %s\n", argv[0], strerrordesc_np(errno));
	_exit(MOTE_FAILED);
}

static int write_config(const struct run_options *o, const struct inheritance *fds,
			const char *default_kernel, const char *initrd, struct error *err)
{
	json_t *config = make_config(o, fds, o->kernel ? o->kernel : default_kernel, initrd);
	/* json_dumpfd would write it by the word. */
	cleanup_free char *text = config ? json_dumps(config, JSON_COMPACT) : NULL;
	ssize_t length = text ? (ssize_t)strlen(text) : -1;

	json_decref(config);
	return text && write(fds->config, text, (size_t)length) == length
		       ? 0
		       : error_set(err, ENOMEM, "write the monitor's configuration");
}

static int start(const char *const argv[], const struct run_options *o, const struct inheritance *fds,
		 int handover, pid_t *child, struct error *err)
{
	pid_t self = getpid();

	*child = fork();
	if (*child < 0)
		return error_sys(err, errno, "fork");
	if (*child == 0)
		become(argv, o, fds, handover, self);
	return 0;
}

static int status_of(pid_t child)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* The jailer's end says that the monitor runs, as our child; or why not, on stderr by then. */
static int await_jailer(struct monitor *m, pid_t jailer, int handover, struct error *err)
{
	int status = status_of(jailer);
	char text[16] = "";
	/* An empty pipe that nobody writes to any more: it ended before it had a child. */
	ssize_t n = read(handover, text, sizeof(text) - 1);
	pid_t pid = n > 0 ? (pid_t)strtol(text, NULL, 10) : -1;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && pid > 0) {
		m->pid = pid;
		return 0;
	}
	if (pid > 0)
		status_of(pid);
	return WIFEXITED(status) ? error_set(err, ECHILD, "mote-jailer exited with %d", WEXITSTATUS(status))
				 : error_set(err, ECHILD, "mote-jailer ended by signal %d", WTERMSIG(status));
}

static int start_in_jail(struct monitor *m, const char *vmm, const struct run_options *o,
			 const struct inheritance *fds, struct error *err)
{
	cleanup_free char *jailer = mote_find("mote-jailer", err);
	cleanup_close int read_end = -1, write_end = -1;
	struct jail jail;
	int pipe_fds[2];
	pid_t child;

	if (!jailer)
		return -err->errnum;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_sys(err, errno, "pipe");
	read_end = pipe_fds[0];
	write_end = pipe_fds[1];
	make_jail(&jail, jailer, vmm, fds, write_end);

	int rc = start(jail.argv, o, fds, write_end, &child, err);

	if (rc < 0)
		return rc;
	close_fd(&write_end);
	return await_jailer(m, child, read_end, err);
}

static int start_without_jail(struct monitor *m, const char *vmm, const struct run_options *o,
			      const struct inheritance *fds, struct error *err)
{
	char path[32];
	const char *const argv[] = { vmm, "--no-api", "--boot-timer", "--config-file", path, NULL };

	fputs("mote run: --no-jail: the monitor has your rights and sees your files\n", stderr);
	snprintf(path, sizeof(path), "/dev/fd/%d", fds->config);
	return start(argv, o, fds, -1, &m->pid, err);
}

static int spawn(struct monitor *m, const char *vmm, const struct run_options *o,
		 const struct inheritance *fds, struct error *err)
{
	m->spawned_ns = monotonic_ns();
	int rc = o->no_jail ? start_without_jail(m, vmm, o, fds, err) : start_in_jail(m, vmm, o, fds, err);

	if (rc < 0)
		return rc;
	m->pidfd = (int)syscall(SYS_pidfd_open, m->pid, 0);
	return m->pidfd < 0 ? error_sys(err, errno, "pidfd_open") : 0;
}

int monitor_start(struct monitor *m, const struct run_options *o, const struct root_image *root,
		  struct error *err)
{
	cleanup_free char *vmm = mote_find("mote-vmm", err);
	cleanup_free char *initrd = vmm ? mote_find("mote-initrd.cpio", err) : NULL;
	cleanup_free char *kernel = initrd && !o->kernel ? mote_find("vmlinux-x86_64", err) : NULL;
	cleanup_close int config_fd = memfd_create("mote-config", MFD_CLOEXEC);
	cleanup_close int agent_fd = -1;
	int pair[2];

	*m = (struct monitor){ .pid = -1, .pidfd = -1, .agent = -1, .metrics_fd = -1 };
	if (!initrd || (!kernel && !o->kernel))
		return -err->errnum;
	m->metrics_fd = memfd_create("mote-metrics", MFD_CLOEXEC);
	if (config_fd < 0 || m->metrics_fd < 0)
		return error_sys(err, errno, "memfd_create");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_sys(err, errno, "socketpair");
	m->agent = pair[0];
	agent_fd = pair[1];

	const struct inheritance fds = { .config = config_fd, .root = root->fd,
					 .metrics = m->metrics_fd, .agent = agent_fd };
	int rc = write_config(o, &fds, kernel, initrd, err);

	return rc < 0 ? rc : spawn(m, vmm, o, &fds, err);
}

int monitor_stop(struct monitor *m, bool at_once)
{
	struct pollfd p = { .fd = m->pidfd, .events = POLLIN };
	int status = 0;

	if (m->pid <= 0)
		return 0;
	/* It ends by itself when the agent powers off; if not within two seconds, it's helped. */
	if (!at_once && poll(&p, 1, 2000) != 1)
		kill(m->pid, SIGTERM);
	if (at_once || poll(&p, 1, 2000) != 1)
		kill(m->pid, SIGKILL);
	while (waitpid(m->pid, &status, 0) < 0 && errno == EINTR)
		;
	m->pid = -1;
	return status;
}

json_t *monitor_metrics(const struct monitor *m)
{
	FILE *f;
	int fd = dup(m->metrics_fd);

	if (fd < 0)
		return NULL;
	lseek(fd, 0, SEEK_SET);
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return NULL;
	}
	/* NDJSON, one line a minute: the last one has the totals. */
	json_t *last = NULL, *line;

	while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
		json_decref(last);
		last = line;
	}
	fclose(f);
	return last;
}

void monitor_release(struct monitor *m)
{
	monitor_stop(m, true);
	close_fd(&m->pidfd);
	close_fd(&m->agent);
	close_fd(&m->metrics_fd);
}
