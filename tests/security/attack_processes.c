/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts at other processes, at new ones, and at more rights. */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/security/attacks.h"

/* The host's process, and whatever else this one can name. Not itself: it is process 1. */
static long kill_process(const struct target *t)
{
	long ret = syscall(SYS_kill, t->pid, SIGKILL);

	for (int pid = 2; ret < 0 && pid < 100; pid++)
		ret = syscall(SYS_kill, pid, SIGKILL);
	return ret;
}

static long kill_all(const struct target *t)
{
	(void)t;
	return syscall(SYS_kill, -1, SIGKILL);
}

/* Its own group it may; one that others outside are in too it mustn't. */
static long kill_group(const struct target *t)
{
	(void)t;
	if (syscall(SYS_kill, 0, 0) < 0)
		return -1;
	if (syscall(SYS_getpgid, 0) != syscall(SYS_getpid))
		return 0;
	errno = ESRCH;
	return -1;
}

static long kill_thread(const struct target *t)
{
	return syscall(SYS_tgkill, t->pid, t->pid, SIGKILL);
}

static long kill_thread_old(const struct target *t)
{
	return syscall(SYS_tkill, t->pid, SIGKILL);
}

static long queue_signal(const struct target *t)
{
	siginfo_t info = { .si_code = SI_QUEUE };

	return syscall(SYS_rt_sigqueueinfo, t->pid, SIGKILL, &info);
}

static long open_process(const struct target *t)
{
	return syscall(SYS_pidfd_open, t->pid, 0);
}

static long signal_by_fd(int fd)
{
	return syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
}

static long signal_by_fds(const struct target *t)
{
	(void)t;
	return of_any_fd(signal_by_fd);
}

static long take_fd_of(int fd)
{
	return syscall(SYS_pidfd_getfd, fd, 0, 0);
}

static long take_fds(const struct target *t)
{
	(void)t;
	return of_any_fd(take_fd_of);
}

static long attach(const struct target *t)
{
	return syscall(SYS_ptrace, PTRACE_ATTACH, t->pid, NULL, NULL);
}

static long seize(const struct target *t)
{
	return syscall(SYS_ptrace, PTRACE_SEIZE, t->pid, NULL, NULL);
}

static long ask_parent_to_trace(const struct target *t)
{
	(void)t;
	return syscall(SYS_prctl, PR_SET_PTRACER, -1, 0, 0, 0);
}

static long read_memory(const struct target *t)
{
	char byte;
	struct iovec local = { &byte, 1 }, remote = { (void *)0x400000, 1 };

	return syscall(SYS_process_vm_readv, t->pid, &local, 1, &remote, 1, 0);
}

static long write_memory(const struct target *t)
{
	char byte = 0;
	struct iovec local = { &byte, 1 }, remote = { (void *)0x400000, 1 };

	return syscall(SYS_process_vm_writev, t->pid, &local, 1, &remote, 1, 0);
}

static long compare_processes(const struct target *t)
{
	return syscall(SYS_kcmp, t->pid, t->pid, 0, 0, 0);
}

static long limits_of_process(const struct target *t)
{
	struct rlimit old;

	return syscall(SYS_prlimit64, t->pid, RLIMIT_CPU, NULL, &old);
}

static long robust_list(const struct target *t)
{
	void *head;
	size_t length;

	return syscall(SYS_get_robust_list, t->pid, &head, &length);
}

static long pin_process(const struct target *t)
{
	uint64_t cpus = 1;

	return syscall(SYS_sched_setaffinity, t->pid, sizeof(cpus), &cpus);
}

/* ---- new processes and programs ---- */

/* The child ends in the instructions after the call: it may have the parent's memory and stack. */
static long spawn(long call, long a, long b)
{
#ifdef __x86_64__
	long ret = call;
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%edi, %%edi\n\t"
			 "mov $231, %%eax\n\t"
			 "syscall\n"
			 "1:"
			 : "+a"(ret), "+D"(a), "+S"(b), "+r"(r10), "+r"(r8)
			 : "d"(0)
			 : "rcx", "r11", "memory");
	if (ret < 0) {
		errno = (int)-ret;
		return -1;
	}
	syscall(SYS_wait4, ret, NULL, __WALL, NULL);
	return ret;
#else
	return syscall(call, a, b, 0, 0, 0);
#endif
}

static long fork_process(const struct target *t)
{
	(void)t;
#ifdef SYS_fork
	return spawn(SYS_fork, 0, 0);
#else
	return spawn(SYS_clone, SIGCHLD, 0);
#endif
}

static long vfork_process(const struct target *t)
{
	(void)t;
#ifdef SYS_vfork
	return spawn(SYS_vfork, 0, 0);
#else
	return spawn(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0);
#endif
}

static long clone_process(const struct target *t)
{
	(void)t;
	return spawn(SYS_clone, SIGCHLD, 0);
}

static long clone3_with(uint64_t flags)
{
	struct clone_args args = { .flags = flags, .exit_signal = SIGCHLD };

	return spawn(SYS_clone3, (long)&args, sizeof(args));
}

static long clone3_process(const struct target *t)
{
	(void)t;
	return clone3_with(0);
}

static long clone3_user(const struct target *t)
{
	(void)t;
	return clone3_with(CLONE_NEWUSER);
}

static long clone_user(const struct target *t)
{
	(void)t;
	return spawn(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0);
}

static long clone_others(const struct target *t)
{
	static const long flags[] = { CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC,
				      CLONE_NEWUTS, CLONE_NEWCGROUP };

	(void)t;
	for (unsigned int i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (spawn(SYS_clone, flags[i] | SIGCHLD, 0) >= 0)
			return 0;
	return -1;
}

static long unshare_user(const struct target *t)
{
	(void)t;
	return syscall(SYS_unshare, CLONE_NEWUSER);
}

static long unshare_others(const struct target *t)
{
	static const long flags[] = { CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC,
				      CLONE_NEWUTS, CLONE_NEWCGROUP };

	(void)t;
	for (unsigned int i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (syscall(SYS_unshare, flags[i]) >= 0)
			return 0;
	return -1;
}

static long enter(int fd)
{
	return syscall(SYS_setns, fd, 0);
}

static long enter_namespaces(const struct target *t)
{
	(void)t;
	return of_any_fd(enter);
}

static char *const no_words[] = { NULL };

/* Where there is no filter a child tries it, whose status says how it went: errno, or another one. */
static long exec_file(const struct target *t, int dir, const char *path, int flags)
{
	int status = 0;
	long pid = t->filtered ? 0 : syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid < 0)
		return -1;
	if (pid == 0) {
		long ret = syscall(SYS_execveat, dir, path, no_words, no_words, flags);

		if (t->filtered)
			return ret;
		syscall(SYS_exit_group, errno);
	}
	syscall(SYS_wait4, pid, &status, 0, NULL);
	/* A program of nonsense dies of a signal: it was run. */
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	return errno > 0 && errno < 77 ? -1 : 0;
}

static long exec_paths(const struct target *t)
{
	static const char *const paths[] = { "/bin/sh", "/proc/self/exe", "/dev/fd/0", "/usr/bin/env" };

	for (unsigned int i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (exec_file(t, AT_FDCWD, paths[i], 0) >= 0)
			return 0;
	return -1;
}

static long exec_old_call(const struct target *t)
{
	(void)t;
	return syscall(SYS_execve, "/bin/sh", no_words, no_words);
}

static long exec_fds(const struct target *t)
{
	int why = EBADF;

	for (int fd = 0; fd < FDS_MAX; fd++) {
		if (exec_file(t, fd, "", AT_EMPTY_PATH) >= 0)
			return 0;
		why = errno == EBADF ? why : errno;
	}
	errno = why;
	return -1;
}

/* A program of two instructions: exit(77). */
static long exec_from_memory(const struct target *t)
{
	static const unsigned char program[] = {
		0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* ident */
		2, 0, 62, 0, 1, 0, 0, 0, 0x78, 0, 0x40, 0, 0, 0, 0, 0,	 /* EXEC, entry */
		64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,	 /* program headers */
		0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0,	 /* sizes */
		1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,		 /* LOAD, RX */
		0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0,
		0x84, 0, 0, 0, 0, 0, 0, 0, 0x84, 0, 0, 0, 0, 0, 0, 0,
		0, 0x10, 0, 0, 0, 0, 0, 0,
		0xbf, 77, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05,
	};
	int fd = (int)syscall(SYS_memfd_create, "x", 0);

	if (fd < 0 || write(fd, program, sizeof(program)) < 0)
		return -1;
	return exec_file(t, fd, "", AT_EMPTY_PATH);
}

/* ---- rights ---- */

static long become_root(const struct target *t)
{
	(void)t;
	return syscall(SYS_setuid, 0);
}

static long become_roots_group(const struct target *t)
{
	(void)t;
	return syscall(SYS_setgid, 0);
}

static long become_root_by_all(const struct target *t)
{
	(void)t;
	return syscall(SYS_setresuid, 0, 0, 0);
}

static long join_groups(const struct target *t)
{
	const unsigned int groups[] = { 0, 6 };

	(void)t;
	return syscall(SYS_setgroups, 2, groups);
}

/* It returns the old one, whatever happens. */
static long become_root_for_files(const struct target *t)
{
	(void)t;
	syscall(SYS_setfsuid, 0);
	errno = EPERM;
	return syscall(SYS_setfsuid, -1) == 0 ? 0 : -1;
}

static long take_capabilities(const struct target *t)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct all[2] = { { ~0u, ~0u, 0 }, { 0x1ff, 0x1ff, 0 } };

	(void)t;
	return syscall(SYS_capset, &header, all);
}

static long inherit_capability(const struct target *t)
{
	(void)t;
	return syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0);
}

static long unlock_securebits(const struct target *t)
{
	(void)t;
	return syscall(SYS_prctl, PR_SET_SECUREBITS, 0, 0, 0, 0);
}

static long keep_capabilities(const struct target *t)
{
	(void)t;
	return syscall(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
}

static long allow_new_privileges(const struct target *t)
{
	(void)t;
	return syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0);
}

static long outlive_jailer(const struct target *t)
{
	(void)t;
	return syscall(SYS_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0);
}

static long raise_limit(const struct target *t)
{
	struct rlimit limit;

	(void)t;
	if (syscall(SYS_getrlimit, RLIMIT_NOFILE, &limit) < 0)
		return -1;
	limit.rlim_max++;
	return syscall(SYS_setrlimit, RLIMIT_NOFILE, &limit);
}

static long lock_memory(const struct target *t)
{
	(void)t;
	return syscall(SYS_mlockall, 1);
}

static long raise_priority(const struct target *t)
{
	(void)t;
	return syscall(SYS_setpriority, PRIO_PROCESS, 0, -20);
}

static long become_real_time(const struct target *t)
{
	struct sched_param param = { .sched_priority = 1 };

	(void)t;
	return syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &param);
}

static long use_all_cpus(const struct target *t)
{
	uint64_t cpus = ~0ull;

	(void)t;
	return syscall(SYS_sched_setaffinity, 0, sizeof(cpus), &cpus);
}

static long search_keyring(const struct target *t)
{
	(void)t;
	return syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "mote-secret", 0);
}

static long request_key(const struct target *t)
{
	(void)t;
	return syscall(SYS_request_key, "user", "mote-secret", NULL, 0);
}

static long leave_key(const struct target *t)
{
	(void)t;
	return syscall(SYS_add_key, "user", "mote-left", "x", 1, KEY_SPEC_USER_KEYRING);
}

const struct attack process_attacks[] = {
	{ "kill another process", kill_process },
	{ "kill all processes", kill_all },
	{ "signal a process group that isn't its own", kill_group },
	{ "tgkill a thread of another process", kill_thread },
	{ "tkill another process", kill_thread_old },
	{ "queue a signal to another process", queue_signal },
	{ "open another process by pidfd_open", open_process },
	{ "signal a process by any descriptor", signal_by_fds },
	{ "take a descriptor of another process", take_fds },
	{ "ptrace: attach to another process", attach },
	{ "ptrace: seize another process", seize },
	{ "name a tracer", ask_parent_to_trace },
	{ "read another process's memory", read_memory },
	{ "write another process's memory", write_memory },
	{ "compare other processes", compare_processes },
	{ "read another process's limits", limits_of_process },
	{ "read another process's robust list", robust_list },
	{ "pin another process to a CPU", pin_process },
	{ "fork", fork_process },
	{ "vfork", vfork_process },
	{ "clone", clone_process },
	{ "clone3", clone3_process },
	{ "clone into a user namespace", clone_user },
	{ "clone3 into a user namespace", clone3_user },
	{ "clone into other namespaces", clone_others },
	{ "unshare the user namespace", unshare_user },
	{ "unshare other namespaces", unshare_others },
	{ "enter a namespace by any descriptor", enter_namespaces },
	{ "execve", exec_old_call },
	{ "execveat a program of the host's, or its own", exec_paths },
	{ "execveat any descriptor", exec_fds },
	{ "execveat a program in memory", exec_from_memory },
	{ "setuid 0", become_root },
	{ "setgid 0", become_roots_group },
	{ "setresuid 0", become_root_by_all },
	{ "setgroups", join_groups },
	{ "setfsuid 0", become_root_for_files },
	{ "capset", take_capabilities },
	{ "raise an ambient capability", inherit_capability },
	{ "unlock securebits", unlock_securebits },
	{ "keep capabilities", keep_capabilities },
	{ "take no_new_privs back", allow_new_privileges },
	{ "outlive the jailer", outlive_jailer },
	{ "raise a resource limit", raise_limit },
	{ "lock memory", lock_memory },
	{ "raise its priority", raise_priority },
	{ "become a real-time process", become_real_time },
	{ "use all CPUs", use_all_cpus },
	{ "find a key of the caller's", search_keyring },
	{ "request a key of the caller's", request_key },
	{ "leave a key behind", leave_key },
	{ NULL, NULL },
};
