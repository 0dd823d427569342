/* SPDX-License-Identifier: Apache-2.0 */
/* The constants that policies may name. Their values are the same on both architectures. */
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
#include <sys/timerfd.h>
#include <time.h>

#include <fcntl.h>

#include "vmm/sandbox/compiler/policy.h"
#include "vmm/sandbox/filter_file.h"
#include "vmm/util.h"

#define CONSTANT(name) { #name, (uint32_t)(name) }

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
	CONSTANT(EPOLL_CTL_ADD),
	CONSTANT(EPOLL_CTL_DEL),
	CONSTANT(EPOLL_CTL_MOD),
	CONSTANT(FALLOC_FL_KEEP_SIZE),
	CONSTANT(FALLOC_FL_PUNCH_HOLE),
	CONSTANT(FALLOC_FL_ZERO_RANGE),
	CONSTANT(FUTEX_CLOCK_REALTIME),
	CONSTANT(FUTEX_WAIT_BITSET),
	CONSTANT(FUTEX_WAIT_BITSET_PRIVATE),
	CONSTANT(FUTEX_WAIT_PRIVATE),
	CONSTANT(FUTEX_WAKE_PRIVATE),
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
	CONSTANT(PROT_EXEC),
	CONSTANT(PR_GET_NAME),
	CONSTANT(RUSAGE_SELF),
	CONSTANT(SHUT_RD),
	CONSTANT(SHUT_WR),
	CONSTANT(SIGABRT),
	CONSTANT(SOCK_CLOEXEC),
	CONSTANT(SOCK_NONBLOCK),
	CONSTANT(SOCK_STREAM),
	CONSTANT(TCGETS),
	CONSTANT(TCSETS),
	CONSTANT(TFD_CLOEXEC),
	CONSTANT(TFD_NONBLOCK),
	CONSTANT(TFD_TIMER_ABSTIME),
	CONSTANT(TUNSETOFFLOAD),
	{ "SIGRTMIN", 34 }, /* __SIGRTMIN is 32, and glibc keeps two for itself */
	{ "TGID", FILTER_TGID },
};

static bool find(const char *name, size_t length, uint32_t *value)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(constants); i++) {
		if (strlen(constants[i].name) != length ||
		    memcmp(constants[i].name, name, length) != 0)
			continue;
		*value |= constants[i].value;
		return true;
	}
	return false;
}

bool constant_value(const char *names, uint32_t *value)
{
	size_t length = strcspn(names, "|");

	*value = 0;
	while (find(names, length, value)) {
		if (names[length] == 0)
			return true;
		names += length + 1;
		length = strcspn(names, "|");
	}
	return false;
}
