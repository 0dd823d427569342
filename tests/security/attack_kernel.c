/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts at the kernel itself, and by ioctls that no filter lists. */
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/bpf.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/nsfs.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>

#include "tests/security/attacks.h"

static long load_module(const struct target *t)
{
	(void)t;
	return syscall(SYS_init_module, "x", 1, "");
}

static long module_of(int fd)
{
	return syscall(SYS_finit_module, fd, "", 0);
}

static long load_module_of_fds(const struct target *t)
{
	(void)t;
	return of_any_fd(module_of);
}

static long unload_module(const struct target *t)
{
	(void)t;
	return syscall(SYS_delete_module, "kvm", O_NONBLOCK);
}

static long load_kernel(const struct target *t)
{
	(void)t;
	return syscall(SYS_kexec_load, 0, 0, NULL, 0);
}

static long load_kernel_file(const struct target *t)
{
	(void)t;
	return syscall(SYS_kexec_file_load, 0, -1, 0ul, NULL, 4ul);
}

static long restart(const struct target *t)
{
	(void)t;
	/* LINUX_REBOOT_CMD_CAD_OFF: refused like the others, and nothing if it isn't. */
	return syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL);
}

static long trace_kernel(const struct target *t)
{
	const struct bpf_insn end[] = { { .code = 0xb7 }, { .code = 0x95 } };
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_KPROBE, .insn_cnt = 2,
				.insns = (unsigned long)end, .license = (unsigned long)"GPL" };

	(void)t;
	return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static long filter_packets(const struct target *t)
{
	const struct bpf_insn end[] = { { .code = 0xb7 }, { .code = 0x95 } };
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2,
				.insns = (unsigned long)end, .license = (unsigned long)"GPL" };

	(void)t;
	return syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static long enumerate_programs(const struct target *t)
{
	union bpf_attr attr = { 0 };

	(void)t;
	return syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &attr, sizeof(attr));
}

static long watch_cpu(const struct target *t)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr),
					.config = PERF_COUNT_SW_CPU_CLOCK };

	(void)t;
	return syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0);
}

static long watch_itself(const struct target *t)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr),
					.config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1 };

	(void)t;
	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static long read_kernel_log(const struct target *t)
{
	char line[256];

	(void)t;
	return syscall(SYS_syslog, 3, line, sizeof(line));
}

static long set_time(const struct target *t)
{
	struct timespec now = { .tv_sec = 1 };

	(void)t;
	return syscall(SYS_clock_settime, CLOCK_REALTIME, &now);
}

static long bend_time(const struct target *t)
{
	struct timex timex = { .modes = ADJ_FREQUENCY };

	(void)t;
	return syscall(SYS_adjtimex, &timex);
}

static long rename_host(const struct target *t)
{
	(void)t;
	return syscall(SYS_sethostname, "x", 1);
}

static long swap_to_file(const struct target *t)
{
	return syscall(SYS_swapon, t->secret, 0);
}

static long keep_accounts(const struct target *t)
{
	(void)t;
	return syscall(SYS_acct, "/vsock/acct");
}

/* One that allows everything, and would see everything. */
static long add_filter(const struct target *t)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { 1, &allow };

	(void)t;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static long set_up_ring(const struct target *t)
{
	char params[120] = { 0 };

	(void)t;
	return syscall(SYS_io_uring_setup, 1, params);
}

/* ---- ioctls ---- */

static long type_into(int fd)
{
	return syscall(SYS_ioctl, fd, TIOCSTI, "x");
}

static long type_into_terminal(const struct target *t)
{
	(void)t;
	return of_any_fd(type_into);
}

static long paste_into(int fd)
{
	char paste = 3;

	return syscall(SYS_ioctl, fd, TIOCLINUX, &paste);
}

static long paste_into_console(const struct target *t)
{
	(void)t;
	return of_any_fd(paste_into);
}

static long steal(int fd)
{
	return syscall(SYS_ioctl, fd, TIOCSCTTY, 1);
}

static long steal_terminal(const struct target *t)
{
	(void)t;
	return of_any_fd(steal);
}

static long own_group(int fd)
{
	int group = 1;

	return syscall(SYS_ioctl, fd, TIOCSPGRP, &group);
}

static long take_foreground(const struct target *t)
{
	(void)t;
	return of_any_fd(own_group);
}

static long open_peer(int fd)
{
	return syscall(SYS_ioctl, fd, TIOCGPTPEER, O_RDWR | O_NOCTTY);
}

static long open_terminals_peer(const struct target *t)
{
	(void)t;
	return of_any_fd(open_peer);
}

static long attach_tap(int fd)
{
	char request[40] = "mote-attack";

	request[16] = IFF_TAP;
	return syscall(SYS_ioctl, fd, TUNSETIFF, request);
}

static long attach_taps(const struct target *t)
{
	(void)t;
	return of_any_fd(attach_tap);
}

static long discard(int fd)
{
	unsigned long range[2] = { 0, 512 };

	return syscall(SYS_ioctl, fd, BLKDISCARD, range);
}

static long discard_by_ioctl(const struct target *t)
{
	(void)t;
	return of_any_fd(discard);
}

static long reread(int fd)
{
	return syscall(SYS_ioctl, fd, BLKRRPART, 0);
}

static long reread_partitions(const struct target *t)
{
	(void)t;
	return of_any_fd(reread);
}

static long map_blocks(int fd)
{
	int block = 0;

	return syscall(SYS_ioctl, fd, FIBMAP, &block);
}

static long find_blocks(const struct target *t)
{
	(void)t;
	return of_any_fd(map_blocks);
}

static long user_namespace_of(int fd)
{
	return syscall(SYS_ioctl, fd, NS_GET_USERNS, 0);
}

static long find_namespace(const struct target *t)
{
	(void)t;
	return of_any_fd(user_namespace_of);
}

static long make_vm(const struct target *t)
{
	return syscall(SYS_ioctl, t->kvm, KVM_CREATE_VM, 0);
}

static long make_device(const struct target *t)
{
	return syscall(SYS_ioctl, t->kvm + 1, KVM_CREATE_IRQCHIP, 0);
}

const struct attack kernel_attacks[] = {
	{ "load a module", load_module },
	{ "load a module of any descriptor", load_module_of_fds },
	{ "unload a module", unload_module },
	{ "kexec_load", load_kernel },
	{ "kexec_file_load", load_kernel_file },
	{ "reboot", restart },
	{ "bpf: trace the kernel", trace_kernel },
	{ "bpf: load a socket filter", filter_packets },
	{ "bpf: enumerate the host's programs", enumerate_programs },
	{ "perf: watch a CPU", watch_cpu },
	{ "perf: watch itself", watch_itself },
	{ "read the kernel's log", read_kernel_log },
	{ "set the clock", set_time },
	{ "bend the clock", bend_time },
	{ "set the host name", rename_host },
	{ "swapon", swap_to_file },
	{ "acct", keep_accounts },
	{ "seccomp: add a filter", add_filter },
	{ "io_uring_setup", set_up_ring },
	{ "type into the terminal (TIOCSTI)", type_into_terminal },
	{ "paste into the console (TIOCLINUX)", paste_into_console },
	{ "steal a terminal (TIOCSCTTY)", steal_terminal },
	{ "take the terminal's foreground (TIOCSPGRP)", take_foreground },
	{ "open a terminal's other end (TIOCGPTPEER)", open_terminals_peer },
	{ "attach to a tap (TUNSETIFF)", attach_taps },
	{ "discard blocks (BLKDISCARD)", discard_by_ioctl },
	{ "read partitions again (BLKRRPART)", reread_partitions },
	{ "find blocks on the disk (FIBMAP)", find_blocks },
	{ "find a namespace (NS_GET_USERNS)", find_namespace },
	{ "make another VM (KVM_CREATE_VM)", make_vm, true },
	{ "change the VM (KVM_CREATE_IRQCHIP)", make_device, true },
	{ NULL, NULL },
};
