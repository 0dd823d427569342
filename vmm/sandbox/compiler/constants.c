/* SPDX-License-Identifier: Apache-2.0 */
/* The constants that policies may name. */
#include <asm/termbits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>

#include <fcntl.h>

#include "vmm/sandbox/compiler/policy.h"
#include "vmm/sandbox/filter_file.h"
#include "vmm/util.h"

#ifndef STATX_DIOALIGN /* Linux 6.1 */
#define STATX_DIOALIGN 0x2000u
#endif

#define CONSTANT(name) { #name, (uint32_t)(name) }

/* Their values are the same on both architectures. */
static const struct {
	const char *name;
	uint32_t value;
} constants[] = {
	CONSTANT(AF_UNIX),
	CONSTANT(AT_EMPTY_PATH),
	CONSTANT(AT_FDCWD),
	CONSTANT(AT_SYMLINK_NOFOLLOW),
	CONSTANT(CLOCK_MONOTONIC),
	CONSTANT(BLKGETSIZE64),
	CONSTANT(BLKSSZGET),
	CONSTANT(EPOLL_CTL_ADD),
	CONSTANT(EPOLL_CTL_DEL),
	CONSTANT(EPOLL_CTL_MOD),
	CONSTANT(FALLOC_FL_KEEP_SIZE),
	CONSTANT(FALLOC_FL_PUNCH_HOLE),
	CONSTANT(FALLOC_FL_ZERO_RANGE),
	CONSTANT(FD_CLOEXEC),
	CONSTANT(FUTEX_CLOCK_REALTIME),
	CONSTANT(FUTEX_WAIT_BITSET),
	CONSTANT(FUTEX_WAIT_BITSET_PRIVATE),
	CONSTANT(FUTEX_WAIT_PRIVATE),
	CONSTANT(FUTEX_WAKE_PRIVATE),
	CONSTANT(F_DUPFD_CLOEXEC),
	CONSTANT(F_GETFD),
	CONSTANT(F_GETFL),
	CONSTANT(F_OFD_SETLK),
	CONSTANT(F_SETFD),
	CONSTANT(F_SETFL),
	CONSTANT(GRND_NONBLOCK),
	CONSTANT(KVM_GET_REGS),
	CONSTANT(KVM_KVMCLOCK_CTRL),
	CONSTANT(KVM_RUN),
	CONSTANT(MADV_DONTNEED),
	CONSTANT(MAP_ANONYMOUS),
	CONSTANT(MAP_PRIVATE),
	CONSTANT(MSG_DONTWAIT),
	CONSTANT(MSG_NOSIGNAL),
	CONSTANT(MSG_PEEK),
	CONSTANT(O_CLOEXEC),
	CONSTANT(O_NOCTTY),
	CONSTANT(O_NONBLOCK),
	CONSTANT(O_RDONLY),
	CONSTANT(O_RDWR),
	CONSTANT(PROT_EXEC),
	CONSTANT(PR_GET_NAME),
	CONSTANT(RUSAGE_SELF),
	CONSTANT(SHUT_RD),
	CONSTANT(SHUT_WR),
	CONSTANT(SIGABRT),
	CONSTANT(SOCK_CLOEXEC),
	CONSTANT(SOCK_NONBLOCK),
	CONSTANT(SOCK_STREAM),
	CONSTANT(STATX_DIOALIGN),
	CONSTANT(TCGETS),
	CONSTANT(TCSETS),
	CONSTANT(TFD_CLOEXEC),
	CONSTANT(TFD_NONBLOCK),
	CONSTANT(TFD_TIMER_ABSTIME),
	CONSTANT(TUNSETOFFLOAD),
	{ "SIGRTMIN", 34 }, /* __SIGRTMIN is 32, and glibc keeps two for itself */
	{ "TGID", FILTER_TGID },
};

/* By the architecture's place in archs. */
static const uint32_t o_direct[] = { 0x4000, 0x10000 };

static bool find(const char *name, size_t length, const struct arch *arch, uint32_t *value)
{
	if (length == strlen("O_DIRECT") && memcmp(name, "O_DIRECT", length) == 0) {
		*value |= o_direct[arch - archs];
		return true;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(constants); i++) {
		if (strlen(constants[i].name) != length ||
		    memcmp(constants[i].name, name, length) != 0)
			continue;
		*value |= constants[i].value;
		return true;
	}
	return false;
}

bool constant_value(const char *names, const struct arch *arch, uint32_t *value)
{
	size_t length = strcspn(names, "|");

	*value = 0;
	while (find(names, length, arch, value)) {
		if (names[length] == 0)
			return true;
		names += length + 1;
		length = strcspn(names, "|");
	}
	return false;
}
