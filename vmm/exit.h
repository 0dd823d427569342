/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's exit codes. 0 to 157 are Firecracker's, which existing clients know; 130 and 143
 * are what a shell shows for a process that the signal ended, as it does Firecracker; from 160 on
 * they are mote's own, for ends that Firecracker reports as 0 or 1.
 */
#ifndef MOTE_EXIT_H
#define MOTE_EXIT_H

enum exit_code {
	EXIT_OK = 0,		   /* the guest powered off or rebooted */
	EXIT_GENERIC_ERROR = 1,	   /* also: no usable KVM */
	EXIT_UNEXPECTED_ERROR = 2, /* the monitor itself failed while the guest ran */
	EXIT_SIGINT = 130,
	EXIT_SIGTERM = 143,
	EXIT_BAD_SYSCALL = 148, /* SIGSYS: a system call that seccomp forbids */
	EXIT_SIGBUS = 149,
	EXIT_SIGSEGV = 150,
	EXIT_SIGXFSZ = 151,
	EXIT_BAD_CONFIGURATION = 152, /* the config, or a file or device that it names */
	EXIT_ARGUMENT_PARSING = 153,
	EXIT_SIGXCPU = 154,
	EXIT_SIGPIPE = 155,
	EXIT_SIGHUP = 156,
	EXIT_SIGILL = 157,
	EXIT_GUEST_PANIC = 160,
	EXIT_TRIPLE_FAULT = 161,
	EXIT_KVM_FAILURE = 162, /* internal error, failed entry, or KVM_RUN itself failed */
};

#endif
