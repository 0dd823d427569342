/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mote-agent: PID 1 of sandboxes that `mote run` makes. It tells the monitor that the guest is up,
 * asks the host for a job, makes the job's root, runs the command, forwards its streams, reports
 * how it ended and powers the machine off.
 *
 * It lives in an initramfs of its own, so the root may hold anything. Static, few system calls:
 * each line here is part of the time until the command starts.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/agent/agent.h"

#define BOOT_TIMER_GPA   0xc0000000
#define BOOT_TIMER_VALUE 123

/* The monitor notes the time of this write: the guest is in user space. */
static void touch_boot_timer(void)
{
	volatile uint8_t *timer;

	/* The kernel's default initramfs has /dev/console only; devtmpfs comes later. */
	mknod("/dev/mem", S_IFCHR | 0600, makedev(1, 1));
	int fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);

	if (fd < 0)
		return;
	timer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, BOOT_TIMER_GPA);
	if (timer != MAP_FAILED) {
		*timer = BOOT_TIMER_VALUE;
		munmap((void *)timer, 4096);
	}
	close(fd);
}

/*
 * Without a console the kernel starts its first process with no streams. Nothing of ours may get
 * their numbers: the command's streams take their place.
 */
static void occupy_standard_streams(void)
{
	int fd;

	mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3));
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int connect_to_host(void)
{
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = AGENT_PORT,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&host, sizeof(host)) == 0)
		return fd;
	return -1;
}

/* root_rw: the root is the user's own image, which must be clean when the machine is gone. */
static void power_off(bool root_rw)
{
	if (root_rw) {
		kill(-1, SIGKILL);
		while (wait(NULL) > 0 || errno == EINTR)
			;
		mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	}
	sync();
	reboot(RB_POWER_OFF);
	/* A kernel without a way to power off: the monitor takes a reset as an end too. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

int main(void)
{
	struct agent_ready ready = { .version = AGENT_VERSION };
	struct timespec now;
	static struct job job;
	int host;

	clock_gettime(CLOCK_BOOTTIME, &now);
	touch_boot_timer();
	occupy_standard_streams();
	ready.kernel_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;

	host = connect_to_host();
	if (host < 0) {
		dprintf(STDERR_FILENO, "mote-agent: connect to the host: %s\n", strerror(errno));
		power_off(false);
	}
	if (send_frame(host, AGENT_READY, &ready, sizeof(ready)) == 0 && receive_job(host, &job) == 0 &&
	    make_root(host, &job) == 0 && configure_network(host, &job) == 0)
		run_command(host, &job);
	/* The host closes its end when it has read everything: power-off must not outrun the data. */
	shutdown(host, SHUT_WR);
	drain(host);
	power_off(job.root_rw);
}
