/* SPDX-License-Identifier: Apache-2.0 */
/* The architecture as filters see it. */
#ifndef MOTE_SANDBOX_ARCH_H
#define MOTE_SANDBOX_ARCH_H

#include <linux/audit.h>

#if defined(__x86_64__)
#define SANDBOX_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SANDBOX_ARCH AUDIT_ARCH_AARCH64
#endif

#endif
