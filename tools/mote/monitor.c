/* SPDX-License-Identifier: Apache-2.0 */
/* mote-vmm as a child: its configuration, its sockets, its end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

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

static json_t *make_config(const struct run_options *o, const struct monitor *m,
			   const struct root_image *root, const char *kernel, const char *initrd)
{
	char uds_path[96], metrics_path[64];

	snprintf(uds_path, sizeof(uds_path), "%s/v", m->directory);
	snprintf(metrics_path, sizeof(metrics_path), "/proc/self/fd/%d", m->metrics_fd);
	json_t *config = json_pack(
		"{s:{s:s, s:s, s:s}, s:{s:i, s:i}, s:[{s:s, s:s, s:b, s:b, s:s}], s:{s:i, s:s}, s:{}, "
		"s:{s:s}, s:{s:s}}",
		"boot-source", "kernel_image_path", kernel, "initrd_path", initrd, "boot_args",
		o->console ? BOOT_ARGS_CONSOLE : BOOT_ARGS_QUIET,
		"machine-config", "vcpu_count", (int)o->cpus, "mem_size_mib", (int)o->memory_mib,
		"drives", "drive_id", "root", "path_on_host", root->path, "is_root_device", 0,
		"is_read_only", !o->writable, "io_engine", "Async",
		"vsock", "guest_cid", GUEST_CID, "uds_path", uds_path,
		"entropy",
		"metrics", "metrics_path", metrics_path,
		"logger", "level", "Warning");
	if (config && o->tap)
		json_object_set_new(config, "network-interfaces",
				    json_pack("[{s:s, s:s}]", "iface_id", "eth0", "host_dev_name", o->tap));
	return config;
}

/* The socket that mote-vmm connects to when the guest calls CID 2, AGENT_PORT: "<uds>_<port>". */
static int listen_for_agent(struct monitor *m, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(m->directory, sizeof(m->directory), "/tmp/mote-XXXXXX");
	if (!mkdtemp(m->directory)) {
		m->directory[0] = 0;
		return error_sys(err, errno, "make a directory in /tmp");
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/v_%u", m->directory, AGENT_PORT);
	m->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (m->listener < 0 || bind(m->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(m->listener, 1) < 0)
		return error_sys(err, errno, "listen on \"%s\"", address.sun_path);
	return 0;
}

static void remove_sockets(struct monitor *m)
{
	char path[96];

	if (!m->directory[0])
		return;
	snprintf(path, sizeof(path), "%s/v_%u", m->directory, AGENT_PORT);
	unlink(path);
	snprintf(path, sizeof(path), "%s/v", m->directory);
	unlink(path);
	rmdir(m->directory);
	m->directory[0] = 0;
}

/* In the child: only what the monitor needs survives exec. */
static void become_monitor(const char *vmm, const struct run_options *o, int config_fd, int root_fd,
			   int metrics_fd, pid_t parent)
{
	char path[64];
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
	fcntl(config_fd, F_SETFD, 0);
	fcntl(root_fd, F_SETFD, 0);
	fcntl(metrics_fd, F_SETFD, 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", config_fd);
	execl(vmm, vmm, "--no-api", "--boot-timer", "--config-file", path, NULL);
	dprintf(STDERR_FILENO, "mote run: exec \"%s\": %s\n", vmm, strerrordesc_np(errno));
	_exit(MOTE_FAILED);
}

int monitor_start(struct monitor *m, const struct run_options *o, const struct root_image *root,
		  struct error *err)
{
	cleanup_free char *vmm = mote_find("mote-vmm", err);
	cleanup_free char *initrd = vmm ? mote_find("mote-initrd.cpio", err) : NULL;
	cleanup_free char *found = NULL;
	cleanup_close int config_fd = memfd_create("mote-config", MFD_CLOEXEC);
	const char *kernel = o->kernel;

	*m = (struct monitor){ .pid = -1, .pidfd = -1, .listener = -1, .metrics_fd = -1 };
	if (!initrd)
		return -err->errnum;
	if (!kernel)
		kernel = found = mote_find("vmlinux-x86_64", err);
	if (!kernel)
		return -err->errnum;
	m->metrics_fd = memfd_create("mote-metrics", MFD_CLOEXEC);
	if (config_fd < 0 || m->metrics_fd < 0)
		return error_sys(err, errno, "memfd_create");
	int rc = listen_for_agent(m, err);

	if (rc < 0)
		return rc;
	json_t *config = make_config(o, m, root, kernel, initrd);

	rc = config ? json_dumpfd(config, config_fd, JSON_COMPACT) : -1;
	json_decref(config);
	if (rc < 0)
		return error_set(err, ENOMEM, "write the monitor's configuration");

	pid_t self = getpid();

	m->spawned_ns = monotonic_ns();
	m->pid = fork();
	if (m->pid < 0)
		return error_sys(err, errno, "fork");
	if (m->pid == 0)
		become_monitor(vmm, o, config_fd, root->fd, m->metrics_fd, self);
	m->pidfd = (int)syscall(SYS_pidfd_open, m->pid, 0);
	return m->pidfd < 0 ? error_sys(err, errno, "pidfd_open") : 0;
}

int monitor_accept(struct monitor *m, struct error *err)
{
	int fd = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return error_sys(err, errno, "accept the agent's connection");
	/* One agent, one connection: a second one of the guest's finds nobody. */
	close_fd(&m->listener);
	remove_sockets(m);
	return fd;
}

int monitor_stop(struct monitor *m)
{
	struct pollfd p = { .fd = m->pidfd, .events = POLLIN };
	int status = 0;

	if (m->pid <= 0)
		return 0;
	/* It ends by itself when the agent powers off; if not within two seconds, it's helped. */
	if (poll(&p, 1, 2000) != 1)
		kill(m->pid, SIGTERM);
	if (poll(&p, 1, 2000) != 1)
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
	monitor_stop(m);
	close_fd(&m->pidfd);
	close_fd(&m->listener);
	close_fd(&m->metrics_fd);
	remove_sockets(m);
}
