/* SPDX-License-Identifier: Apache-2.0 */
/* /dev/kvm and the VM's file descriptor: opening, capabilities, memory slots, interrupts, kicks. */
#ifndef MOTE_KVM_H
#define MOTE_KVM_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "vmm/error.h"
#include "vmm/memory.h"

struct kvm {
	int fd;          /* /dev/kvm */
	int vm_fd;
	uint32_t run_size; /* bytes of the shared struct kvm_run */
	bool tsc_deadline;
};

/* A capability that mote needs, and what for. */
struct kvm_need {
	int capability;
	const char *name;
	const char *purpose;
};

/* All of them, ended by .name = NULL; mote doctor prints this list. */
extern const struct kvm_need kvm_needs[];

/*
 * Open /dev/kvm, check its API version (12) and every needed capability, create the VM.
 * Errors: those of open(2) ("no such file": no KVM; "permission denied"), -ENOTSUP.
 */
int kvm_open(struct kvm *kvm, struct error *err);
void kvm_close(struct kvm *kvm);

/* Open and check only; returns the fd of /dev/kvm or a negative errno. */
int kvm_open_device(struct error *err);

int kvm_set_memory(struct kvm *kvm, const struct guest_memory *memory, struct error *err);

/* In-kernel PIC, IOAPIC and LAPICs; with_pit adds the i8254. */
int kvm_create_irqchip(struct kvm *kvm, bool with_pit, struct error *err);

/* Each write to eventfd is one edge on gsi. Needs the irqchip. */
int kvm_add_irqfd(struct kvm *kvm, int eventfd, uint32_t gsi, struct error *err);

/* A 4-byte guest write of value to gpa signals eventfd, without an exit to user space. */
int kvm_add_ioeventfd(struct kvm *kvm, int eventfd, uint64_t gpa, uint32_t value,
		      struct error *err);

/* ioctl that retries EINTR; returns its value or a negative errno with "KVM_X: cause". */
int kvm_ioctl(int fd, unsigned long request, void *argument, const char *name, struct error *err);

#endif
