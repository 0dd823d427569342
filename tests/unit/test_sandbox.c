/* SPDX-License-Identifier: Apache-2.0 */
/* The filters, each in a process of its own that tries system calls. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "sandbox_rig.h"
#include "vmm/util.h"

/* What the event loop of a monitor with an API opens images with. */
#define OPEN_FLAGS (O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* With descriptors and addresses that aren't any: what counts is that the kernel looks at them. */
static void what_the_monitor_needs_is_allowed(void **state)
{
	static const struct attempt allowed[] = {
		{ THREAD_VCPU, SYS_ioctl, { -1, KVM_RUN } },
		{ THREAD_VCPU, SYS_ioctl, { -1, TUNSETOFFLOAD } },
		{ THREAD_VCPU, SYS_ioctl, { -1, TCSETS } },
		{ THREAD_VCPU, SYS_write, { -1 } },
		{ THREAD_VCPU, SYS_futex, { 0, FUTEX_WAKE_PRIVATE } },
		{ THREAD_VCPU, SYS_epoll_ctl, { -1, EPOLL_CTL_MOD } },
		{ THREAD_VCPU, SYS_tgkill, { OWN, NO_ONE, SIGABRT } },
		{ THREAD_VCPU, SYS_prctl, { PR_GET_NAME } },
		{ THREAD_VCPU, SYS_mmap,
		  { 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1 } },
		{ THREAD_VMM, SYS_read, { -1 } },
		{ THREAD_VMM, SYS_mmap,
		  { 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1 } },
		{ THREAD_VMM, SYS_socket,
		  { AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0 } },
		{ THREAD_VMM, SYS_tgkill, { OWN, NO_ONE, 34 } },
		{ THREAD_VMM, SYS_tgkill, { OWN, NO_ONE, SIGABRT } },
		{ THREAD_VMM, SYS_getrandom, { 0, 0, GRND_NONBLOCK } },
		{ THREAD_VMM, SYS_getrusage, { RUSAGE_SELF } },
		{ THREAD_VMM, SYS_shutdown, { -1, SHUT_WR } },
		{ THREAD_VMM, SYS_accept4, { -1, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK } },
		{ THREAD_IO, SYS_fallocate,
		  { -1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096 } },
		{ THREAD_IO, SYS_fdatasync, { -1 } },
		{ THREAD_VMM, SYS_madvise, { 0, 0, MADV_DONTNEED } },
		{ THREAD_IO, SYS_madvise, { 0, 0, MADV_DONTNEED } },
		/* Only the lower half of such an argument is the kernel's. */
		{ THREAD_VCPU, SYS_ioctl, { -1, 0x7700000000 | KVM_RUN } },
	};

	(void)state;
	expect(allowed, ARRAY_SIZE(allowed), 0);
}

/* To put another image into a drive: with an API, and not without. */
static const struct attempt for_images[] = {
	{ FILTER_VMM_API, SYS_openat, { AT_FDCWD, 0, O_RDONLY | OPEN_FLAGS } },
	{ FILTER_VMM_API, SYS_openat, { AT_FDCWD, 0, O_RDWR | OPEN_FLAGS, 0600 } },
	{ FILTER_VMM_API, SYS_newfstatat, { AT_FDCWD, 0, 0, 0 } },
	{ FILTER_VMM_API, SYS_fcntl, { -1, F_SETFL, 0 } },
	{ FILTER_VMM_API, SYS_fcntl, { -1, F_SETFL, O_DIRECT } },
	{ FILTER_VMM_API, SYS_fcntl, { -1, F_OFD_SETLK } },
	{ FILTER_VMM_API, SYS_fcntl, { -1, F_GETFD } },
	{ FILTER_VMM_API, SYS_fcntl, { -1, F_GETFL } },
	{ FILTER_VMM_API, SYS_fcntl, { -1, F_SETFD, FD_CLOEXEC } },
	{ FILTER_VMM_API, SYS_fcntl, { -1, F_DUPFD_CLOEXEC, 3 } },
	{ FILTER_VMM_API, SYS_ioctl, { -1, BLKSSZGET } },
	{ FILTER_VMM_API, SYS_statx, { -1, 0, AT_EMPTY_PATH, 0x2000 } },
	{ FILTER_VMM_API, SYS_pread64, { -1 } },
	{ FILTER_VMM_API, SYS_io_setup, { 128 } },
};

static void with_an_api_images_can_be_opened(void **state)
{
	static const struct attempt as_ever[] = {
		{ FILTER_VMM_API, SYS_read, { -1 } },
		{ FILTER_VMM_API, SYS_newfstatat, { -1, 0, 0, AT_EMPTY_PATH } },
		{ FILTER_VMM_API, SYS_newfstatat, { AT_FDCWD, 0, 0, AT_SYMLINK_NOFOLLOW } },
		{ FILTER_VMM_API, SYS_ioctl, { -1, BLKGETSIZE64 } },
		{ FILTER_VMM_API, SYS_tgkill, { OWN, NO_ONE, 34 } },
	};

	(void)state;
	expect(for_images, ARRAY_SIZE(for_images), 0);
	expect(as_ever, ARRAY_SIZE(as_ever), 0);
}

static void without_an_api_they_cannot(void **state)
{
	static const unsigned int others[] = { THREAD_VMM, THREAD_VCPU, THREAD_IO };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++) {
		struct attempt attempts[ARRAY_SIZE(for_images)];

		memcpy(attempts, for_images, sizeof(attempts));
		for (unsigned int k = 0; k < ARRAY_SIZE(attempts); k++)
			attempts[k].filter = others[i];
		expect(attempts, ARRAY_SIZE(attempts), VIOLATION);
	}
}

static void with_an_api_nothing_else_can_be_done(void **state)
{
	static const struct attempt denied[] = {
		/* Files are neither made nor emptied, nor reached by way of a directory. */
		{ FILTER_VMM_API, SYS_openat, { AT_FDCWD, 0, O_WRONLY | OPEN_FLAGS } },
		{ FILTER_VMM_API, SYS_openat, { AT_FDCWD, 0, O_RDONLY } },
		{ FILTER_VMM_API, SYS_openat, { AT_FDCWD, 0, O_RDWR | O_CREAT | OPEN_FLAGS } },
		{ FILTER_VMM_API, SYS_openat, { AT_FDCWD, 0, O_RDWR | O_TRUNC | OPEN_FLAGS } },
		{ FILTER_VMM_API, SYS_openat, { AT_FDCWD, 0, O_RDWR | O_TMPFILE | OPEN_FLAGS } },
		{ FILTER_VMM_API, SYS_openat, { AT_FDCWD, 0, O_RDONLY | O_DIRECTORY | OPEN_FLAGS } },
		{ FILTER_VMM_API, SYS_openat, { AT_FDCWD, 0, O_PATH | OPEN_FLAGS } },
		{ FILTER_VMM_API, SYS_openat, { 3, 0, O_RDONLY | OPEN_FLAGS } },
		{ FILTER_VMM_API, SYS_openat2, { AT_FDCWD } },
		{ FILTER_VMM_API, SYS_open_by_handle_at, { -1 } },
		{ FILTER_VMM_API, SYS_newfstatat, { 3, 0, 0, 0 } },
		{ FILTER_VMM_API, SYS_fcntl, { -1, F_SETFL, O_ASYNC } },
		{ FILTER_VMM_API, SYS_fcntl, { -1, F_SETFL, O_DIRECT | O_APPEND } },
		{ FILTER_VMM_API, SYS_fcntl, { -1, F_SETFD, 0 } },
		{ FILTER_VMM_API, SYS_fcntl, { -1, F_DUPFD, 3 } },
		{ FILTER_VMM_API, SYS_fcntl, { -1, F_DUPFD_CLOEXEC, 0 } },
		{ FILTER_VMM_API, SYS_fcntl, { -1, F_SETOWN, OWN } },
		{ FILTER_VMM_API, SYS_fcntl, { -1, F_SETLEASE, F_WRLCK } },
		{ FILTER_VMM_API, SYS_fcntl, { -1, F_SETPIPE_SZ, 1 << 20 } },
		{ FILTER_VMM_API, SYS_statx, { AT_FDCWD, 0, 0, 0x2000 } },
		{ FILTER_VMM_API, SYS_statx, { -1, 0, AT_EMPTY_PATH, 0xfff } },
		{ FILTER_VMM_API, SYS_io_setup, { 65536 } },
		{ FILTER_VMM_API, SYS_ioctl, { -1, BLKDISCARD } },
		{ FILTER_VMM_API, SYS_ioctl, { -1, KVM_RUN } },
		{ FILTER_VMM_API, SYS_ioctl, { -1, KVM_CREATE_VM } },
		{ FILTER_VMM_API, SYS_execve, { 0 } },
		{ FILTER_VMM_API, SYS_clone, { SIGCHLD } },
		{ FILTER_VMM_API, SYS_mmap, { 0, 4096, PROT_READ, MAP_PRIVATE, 0 } },
		{ FILTER_VMM_API, SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, 0 } },
		{ FILTER_VMM_API, SYS_getdents64, { -1 } },
	};

	(void)state;
	expect(denied, ARRAY_SIZE(denied), VIOLATION);
}

static void what_an_attacker_would_like_is_not(void **state)
{
	static const struct attempt denied[] = {
		/* Never: processes, programs, files, the network, other processes. */
		{ THREAD_VMM, SYS_execve, { 0 } },
		{ THREAD_VMM, SYS_execveat, { -1 } },
		{ THREAD_VMM, SYS_clone, { SIGCHLD } },
		{ THREAD_VMM, SYS_clone, { CLONE_VM | CLONE_THREAD | CLONE_SIGHAND } },
		{ THREAD_VMM, SYS_clone3, { 0 } },
		{ THREAD_VMM, SYS_openat, { AT_FDCWD } },
		{ THREAD_VMM, SYS_openat2, { AT_FDCWD } },
		{ THREAD_VMM, SYS_open_by_handle_at, { -1 } },
		{ THREAD_VMM, SYS_socket, { AF_INET, SOCK_STREAM } },
		{ THREAD_VMM, SYS_socket, { AF_NETLINK, SOCK_RAW } },
		{ THREAD_VMM, SYS_socket, { AF_UNIX, SOCK_DGRAM } },
		{ THREAD_VMM, SYS_kill, { OWN, 0 } },
		{ THREAD_VMM, SYS_tgkill, { 1, 1, SIGABRT } },
		{ THREAD_VMM, SYS_tgkill, { NO_ONE, NO_ONE, 34 } },
		{ THREAD_VMM, SYS_tgkill, { FILTER_TGID, 1, 34 } },
		{ THREAD_VMM, SYS_tgkill, { OWN, NO_ONE, SIGKILL } },
		{ THREAD_VMM, SYS_pidfd_open, { OWN } },
		{ THREAD_VMM, SYS_ptrace, { 0 } },
		{ THREAD_VMM, SYS_process_vm_writev, { OWN } },
		{ THREAD_VMM, SYS_bpf, { 0 } },
		{ THREAD_VMM, SYS_io_uring_setup, { 1 } },
		{ THREAD_VMM, SYS_userfaultfd, { 0 } },
		{ THREAD_VMM, SYS_mount, { 0 } },
		{ THREAD_VMM, SYS_unshare, { CLONE_NEWUSER } },
		{ THREAD_VMM, SYS_setns, { -1 } },
		{ THREAD_VMM, SYS_init_module, { 0 } },
		{ THREAD_VMM, SYS_seccomp, { 1 } },
		{ THREAD_VMM, SYS_rt_sigaction, { SIGSYS } },
		{ THREAD_VMM, SYS_prctl, { PR_SET_DUMPABLE, 1 } },
		/* Memory that can be executed, in all ways to get it. */
		{ THREAD_VMM, SYS_mprotect, { 0, 4096, PROT_READ | PROT_EXEC } },
		{ THREAD_VMM, SYS_mprotect, { 0, 4096, PROT_READ } },
		{ THREAD_VMM, SYS_pkey_mprotect, { 0, 4096, PROT_READ | PROT_EXEC } },
		{ THREAD_VMM, SYS_mremap, { 0 } },
		{ THREAD_VMM, SYS_mmap,
		  { 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1 } },
		{ THREAD_VMM, SYS_mmap,
		  { 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1 } },
		{ THREAD_VMM, SYS_mmap, { 0, 4096, PROT_READ, MAP_PRIVATE, 0 } },
		{ THREAD_VMM, SYS_mmap,
		  { 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1 } },
		{ THREAD_VCPU, SYS_mmap,
		  { 0, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1 } },
		{ THREAD_IO, SYS_mmap, { 0, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1 } },
		/* Requests that belong to another thread, or to nobody. */
		{ THREAD_VMM, SYS_ioctl, { -1, KVM_RUN } },
		{ THREAD_VMM, SYS_ioctl, { -1, KVM_CREATE_VM } },
		{ THREAD_VMM, SYS_ioctl, { -1, TIOCSTI } },
		{ THREAD_VMM, SYS_ioctl, { -1, TUNSETIFF } },
		{ THREAD_VCPU, SYS_ioctl, { -1, KVM_SET_USER_MEMORY_REGION } },
		{ THREAD_VCPU, SYS_ioctl, { -1, TIOCSTI } },
		{ THREAD_VCPU, SYS_socket, { AF_UNIX, SOCK_STREAM } },
		{ THREAD_VCPU, SYS_brk, { 0 } },
		{ THREAD_VCPU, SYS_epoll_ctl, { -1, EPOLL_CTL_ADD } },
		{ THREAD_VCPU, SYS_tgkill, { OWN, NO_ONE, 34 } },
		{ THREAD_VCPU, SYS_openat, { AT_FDCWD } },
		{ THREAD_VCPU, SYS_close, { -1 } },
		{ THREAD_IO, SYS_ioctl, { -1, KVM_RUN } },
		{ THREAD_IO, SYS_fallocate, { -1, FALLOC_FL_COLLAPSE_RANGE } },
		{ THREAD_IO, SYS_fallocate, { -1, 0 } },
		{ THREAD_IO, SYS_read, { -1 } },
		{ THREAD_IO, SYS_socket, { AF_UNIX, SOCK_STREAM } },
		{ THREAD_IO, SYS_clone, { SIGCHLD } },
		/* No such system call. */
		{ THREAD_VMM, 1023 },
		{ THREAD_VMM, 0xffff },
	};

	(void)state;
	expect(denied, ARRAY_SIZE(denied), VIOLATION);
}

static void a_violation_names_thread_and_system_call(void **state)
{
	static const struct attempt exec = { THREAD_VCPU, SYS_execve, { 0 } };
	static const struct attempt strange = { THREAD_IO, 1001, { 0 } };
	struct sandbox sandbox;
	char line[SANDBOX_LINE_MAX], want[SANDBOX_LINE_MAX];

	(void)state;
	sandbox_init(&sandbox);
	assert_int_equal(try_call(&sandbox, &exec, line), VIOLATION);
	snprintf(want, sizeof(want), "thread \"trial\": system call %d (execve) is not allowed",
		 SYS_execve);
	assert_string_equal(line, want);
	assert_int_equal(try_call(&sandbox, &strange, line), VIOLATION);
	assert_string_equal(line, "thread \"trial\": system call 1001 (unknown) is not allowed");
}

static void a_signal_that_was_sent_is_no_violation(void **state)
{
	siginfo_t info = { .si_code = SI_USER };
	char line[SANDBOX_LINE_MAX];

	(void)state;
	assert_false(sandbox_describe(&info, line));
}

#ifdef __x86_64__
static void the_x32_abi_is_not_a_way_around(void **state)
{
	/* getpid, which the filters of both allow as what it is. */
	static const struct attempt x32[] = {
		{ THREAD_VMM, 0x40000000 | SYS_getpid, { 0 } },
		{ THREAD_VCPU, 0x40000000 | SYS_getpid, { 0 } },
		{ THREAD_IO, 0x40000000 | SYS_write, { 1 } },
	};
	struct sandbox sandbox;
	char line[SANDBOX_LINE_MAX];

	(void)state;
	expect(x32, ARRAY_SIZE(x32), VIOLATION);
	sandbox_init(&sandbox);
	try_call(&sandbox, &x32[0], line);
	assert_string_equal(line,
			    "thread \"trial\": system call 39 (of the x32 ABI) is not allowed");
}

static void the_32_bit_abi_is_not_a_way_around(void **state)
{
	const struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		struct sandbox sandbox;
		long result = 20; /* getpid of i386, and writev of x86_64 */

		sandbox_init(&sandbox);
		close(STDOUT_FILENO);
		open("/dev/null", O_WRONLY);
		sigaction(SIGSYS, &action, NULL);
		if (sandbox_enter(NULL) < 0 || sandbox_apply(&sandbox, THREAD_VMM, NULL) < 0)
			end(2);
		__asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
		end(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	/* A kernel without that ABI has another answer. */
	assert_true((WIFEXITED(status) && WEXITSTATUS(status) == VIOLATION) ||
		    (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_monitor_needs_is_allowed),
		cmocka_unit_test(with_an_api_images_can_be_opened),
		cmocka_unit_test(without_an_api_they_cannot),
		cmocka_unit_test(with_an_api_nothing_else_can_be_done),
		cmocka_unit_test(what_an_attacker_would_like_is_not),
		cmocka_unit_test(a_violation_names_thread_and_system_call),
		cmocka_unit_test(a_signal_that_was_sent_is_no_violation),
#ifdef __x86_64__
		cmocka_unit_test(the_x32_abi_is_not_a_way_around),
		cmocka_unit_test(the_32_bit_abi_is_not_a_way_around),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
