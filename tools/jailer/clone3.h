/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone3(2) for a child that shares our memory, which no C library has. Copying even this small
 * process costs more than all of its namespaces together: page tables, then a fault for each page
 * that either side writes to.
 */
#ifndef MOTE_JAILER_CLONE3_H
#define MOTE_JAILER_CLONE3_H

#include <sys/syscall.h>

#include <linux/sched.h>

/* Must not return. */
typedef void clone3_function(void *argument);

/*
 * args: with CLONE_VM, CLONE_VFORK and a stack whose end is aligned to 16 bytes. Returns the
 * child's process ID once it has called exec or is gone, or a negative errno. Errno, and all other
 * memory, is the child's until then.
 */
static inline long clone3_call(struct clone_args *args, clone3_function *function, void *argument)
{
#if defined(__x86_64__)
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "mov %[argument], %%rdi\n\t"
			 "call *%[function]\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(ret)
			 : "a"((long)SYS_clone3), "D"(args),
			   "S"(sizeof(*args)), [function] "r"(function), [argument] "r"(argument)
			 : "rcx", "r11", "cc", "memory");
	return ret;
#elif defined(__aarch64__)
	register long x0 __asm__("x0") = (long)args;
	register long x1 __asm__("x1") = sizeof(*args);
	register long x8 __asm__("x8") = SYS_clone3;

	__asm__ volatile("svc #0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x0, %[argument]\n\t"
			 "blr %[function]\n\t"
			 "brk #1\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(x1), "r"(x8), [function] "r"(function), [argument] "r"(argument)
			 : "cc", "memory");
	return x0;
#endif
}

#endif
