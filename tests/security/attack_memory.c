/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts to run code that wasn't there, and to enter the kernel by other doors. */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/shm.h>
#ifdef __x86_64__
#include <asm/ldt.h>
#include <asm/prctl.h>
#endif

#include "tests/security/attacks.h"

#define PAGE 4096
#define X32_BIT 0x40000000

static long map_executable(const struct target *t)
{
	(void)t;
	return syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1
		       ? -1
		       : 0;
}

static long map_all(const struct target *t)
{
	(void)t;
	return syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1
		       ? -1
		       : 0;
}

static long map_file_executable(int fd)
{
	return syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == -1 ? -1 : 0;
}

static long map_files_executable(const struct target *t)
{
	(void)t;
	return of_any_fd(map_file_executable);
}

static uint8_t page[PAGE] __attribute__((aligned(PAGE)));

static long make_executable(const struct target *t)
{
	(void)t;
	return syscall(SYS_mprotect, page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static long make_executable_by_key(const struct target *t)
{
	(void)t;
	return syscall(SYS_pkey_mprotect, page, PAGE, PROT_READ | PROT_EXEC, -1);
}

static long make_code_writable(const struct target *t)
{
	uintptr_t code = (uintptr_t)make_code_writable & ~(uintptr_t)(PAGE - 1);

	(void)t;
	return syscall(SYS_mprotect, code, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
}

/* What is on the stack now, so that reading makes executable. */
static long read_implies_exec(const struct target *t)
{
	(void)t;
	return syscall(SYS_personality, READ_IMPLIES_EXEC);
}

static long shared_memory(const struct target *t)
{
	long id = syscall(SYS_shmget, IPC_PRIVATE, PAGE, IPC_CREAT | 0700);

	(void)t;
	return id < 0 ? -1 : syscall(SYS_shmat, id, NULL, SHM_EXEC) == -1 ? -1 : 0;
}

static long attach_shared_memory(const struct target *t)
{
	(void)t;
	return syscall(SYS_shmat, 0, NULL, SHM_EXEC) == -1 ? -1 : 0;
}

static long memory_file(const struct target *t)
{
	(void)t;
	return syscall(SYS_memfd_create, "x", 0);
}

static long move_memory(const struct target *t)
{
	(void)t;
	return syscall(SYS_mremap, page, PAGE, PAGE, 3, page) == -1 ? -1 : 0;
}

static long handle_faults(const struct target *t)
{
	(void)t;
	return syscall(SYS_userfaultfd, O_CLOEXEC);
}

#ifdef __x86_64__
/* The kernel's other table of system calls, where 20 is getpid. */
static long call_32_bit(const struct target *t)
{
	long ret = 20;

	(void)t;
	__asm__ volatile("int $0x80" : "+a"(ret) : : "r8", "r9", "r10", "r11", "memory");
	errno = ret < 0 ? (int)-ret : 0;
	return ret < 0 ? -1 : 0;
}

/* open(2) is number 5 there; that NULL is no path is EFAULT: the kernel has looked at it. */
static long open_32_bit(const struct target *t)
{
	long ret = 5;

	(void)t;
	__asm__ volatile("int $0x80"
			 : "+a"(ret)
			 : "b"(0), "c"(0), "d"(0)
			 : "r8", "r9", "r10", "r11", "memory");
	errno = ret < 0 ? (int)-ret : 0;
	return ret == -EFAULT ? 0 : ret < 0 ? -1 : 0;
}

static long call_x32(const struct target *t)
{
	(void)t;
	return syscall(SYS_getpid | X32_BIT);
}

static long call_x32_open(const struct target *t)
{
	return syscall(SYS_open | X32_BIT, t->secret, O_RDONLY);
}

static long call_vsyscall(const struct target *t)
{
	long (*time_there)(long *) = (long (*)(long *))0xffffffffff600400ul;

	(void)t;
	return time_there(NULL);
}

static long change_ldt(const struct target *t)
{
	struct user_desc desc = { .base_addr = 0, .limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1 };

	(void)t;
	return syscall(SYS_modify_ldt, 1, &desc, sizeof(desc));
}

static long change_segment_base(const struct target *t)
{
	(void)t;
	return syscall(SYS_arch_prctl, ARCH_SET_GS, 0x1000);
}

static long raise_io_level(const struct target *t)
{
	(void)t;
	return syscall(SYS_iopl, 3);
}

static long open_ports(const struct target *t)
{
	(void)t;
	return syscall(SYS_ioperm, 0x70, 2, 1);
}
#endif

const struct attack memory_attacks[] = {
	{ "map executable memory", map_executable },
	{ "map writable and executable memory", map_all },
	{ "map an open file executable", map_files_executable },
	{ "make memory executable", make_executable },
	{ "make memory executable by pkey_mprotect", make_executable_by_key },
	{ "make code writable", make_code_writable },
	{ "make what is readable executable", read_implies_exec },
	{ "attach shared memory of the host's", attach_shared_memory },
	{ "make and attach executable shared memory", shared_memory },
	{ "memfd_create", memory_file },
	{ "move memory", move_memory },
	{ "handle page faults by userfaultfd", handle_faults },
#ifdef __x86_64__
	{ "int 0x80: getpid", call_32_bit },
	{ "int 0x80: open", open_32_bit },
	{ "x32: getpid", call_x32 },
	{ "x32: open a host file", call_x32_open },
	{ "vsyscall: time", call_vsyscall },
	{ "modify_ldt", change_ldt },
	{ "arch_prctl", change_segment_base },
	{ "iopl", raise_io_level },
	{ "ioperm", open_ports },
#endif
	{ NULL, NULL },
};
