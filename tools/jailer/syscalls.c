/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What no namespace, right or mount bounds. The monitor's own filters allow far less, but they are the
 * monitor's, who may be started without, and they come late: this one holds from its first instruction.
 * A list of what is forbidden, since the jail doesn't know what a monitor needs. What isn't on it the
 * kernel knows to be allowed always (seccomp's cache): it costs nothing.
 */
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "tools/jailer/jail.h"
#include "vmm/util.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#define NAMESPACES                                                                                 \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
	 CLONE_NEWNET)

#define FIELD(name) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, name))
/* The kernel takes the lower half of these arguments; both architectures are little-endian. */
#define ARGUMENT(n)	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]))
#define ALLOW		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE(errnum)	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (errnum))
/* Otherwise go on behind the next n instructions. */
#define IF_EQUAL(k, n)	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, n)
#define IF_ANY(bits, n) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, n)
/* If so, go on behind the next n instructions. */
#define OR_EQUAL(k, n)	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, n, 0)
#define NEVER(nr)	IF_EQUAL(nr, 1), REFUSE(EPERM)

static struct sock_filter filter[] = {
	/* One table of system calls: not int 0x80's, not x32's. */
	FIELD(arch), OR_EQUAL(ARCH, 1), REFUSE(ENOSYS),
	FIELD(nr),
#ifdef __x86_64__
	IF_ANY(0x40000000, 1), REFUSE(ENOSYS),
#endif
	/* A user namespace gives every capability in itself, and half of the kernel to attack. */
	NEVER(SYS_unshare), NEVER(SYS_setns),
	/* Its flags are in memory; C libraries use clone then. */
	IF_EQUAL(SYS_clone3, 1), REFUSE(ENOSYS),
	IF_EQUAL(SYS_clone, 4), ARGUMENT(0), IF_ANY(NAMESPACES, 1), REFUSE(EPERM), ALLOW,
	/* The caller's keys come along with its session, and each user's are everywhere the same. */
	NEVER(SYS_keyctl), NEVER(SYS_add_key), NEVER(SYS_request_key),
	/* Of other families some know no network namespace, vsock for one, and some no end of bugs. */
	IF_EQUAL(SYS_socket, 7), ARGUMENT(0), OR_EQUAL(AF_UNIX, 3), OR_EQUAL(AF_INET, 2),
	OR_EQUAL(AF_INET6, 1), IF_EQUAL(AF_NETLINK, 1), ALLOW, REFUSE(EAFNOSUPPORT),
	/* What a host may allow to all its users. */
	NEVER(SYS_bpf), NEVER(SYS_perf_event_open),
#ifdef __x86_64__
	NEVER(SYS_modify_ldt),
#endif
	ALLOW,
};

int syscalls_restrict(struct error *err)
{
	struct sock_fprog program = { .len = ARRAY_SIZE(filter), .filter = filter };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return error_sys(err, errno, "restrict system calls");
	return 0;
}
