/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "vmm/boot/platform.h"
#include "vmm/util.h"

const struct kvm_need kvm_needs[] = {
	{ KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "interrupt controllers in the kernel" },
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory" },
	{ KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "the guest's CPUID" },
	{ KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR", "real mode on old Intel processors" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD", "device interrupts without a system call" },
	{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD", "queue kicks without an exit" },
	{ KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "save and restore of vCPUs" },
	{ KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "save and restore of vCPUs" },
	{ KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "save and restore of vCPUs" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "pausing vCPUs without a race" },
	{ KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK", "the guest's clock across pauses" },
	{ 0, NULL, NULL },
};

int kvm_ioctl(int fd, unsigned long request, void *argument, const char *name, struct error *err)
{
	int r;

	do {
		r = ioctl(fd, request, argument);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? error_sys(err, errno, "%s", name) : r;
}

int kvm_open_device(struct error *err)
{
	cleanup_close int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return error_sys(err, errno, "open \"/dev/kvm\"");
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);

	if (version < 0)
		return error_sys(err, errno, "\"/dev/kvm\": KVM_GET_API_VERSION");
	if (version != KVM_API_VERSION)
		return error_set(err, ENOTSUP, "\"/dev/kvm\": KVM API version %d, need %d", version,
				 KVM_API_VERSION);
	return take_fd(&fd);
}

int kvm_open(struct kvm *kvm, struct error *err)
{
	*kvm = (struct kvm){ .fd = -1, .vm_fd = -1 };
	kvm->fd = kvm_open_device(err);
	if (kvm->fd < 0)
		return kvm->fd;
	int size = kvm_ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE", err);

	if (size < 0)
		return size;
	kvm->run_size = (uint32_t)size;
	kvm->vm_fd = kvm_ioctl(kvm->fd, KVM_CREATE_VM, NULL, "KVM_CREATE_VM", err);
	if (kvm->vm_fd < 0)
		return kvm->vm_fd;
	/* On the VM, not on /dev/kvm: some capabilities depend on the kind of VM (api.rst 4.4). */
	for (const struct kvm_need *need = kvm_needs; need->name; need++)
		if (ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, need->capability) <= 0)
			return error_set(err, ENOTSUP, "\"/dev/kvm\": %s is missing (%s)", need->name,
					 need->purpose);
	kvm->tsc_deadline = ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	return 0;
}

void kvm_close(struct kvm *kvm)
{
	close_fd(&kvm->vm_fd);
	close_fd(&kvm->fd);
}

int kvm_set_memory(struct kvm *kvm, const struct guest_memory *memory, struct error *err)
{
	for (unsigned int i = 0; i < memory->n_regions; i++) {
		const struct guest_region *r = &memory->regions[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.flags = r->dirty ? KVM_MEM_LOG_DIRTY_PAGES : 0,
			.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr = (uint64_t)(uintptr_t)r->hva,
		};
		int rc = kvm_ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot,
				   "KVM_SET_USER_MEMORY_REGION", err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int kvm_create_irqchip(struct kvm *kvm, bool with_pit, struct error *err)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int rc = kvm_ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)LAYOUT_KVM_TSS,
			   "KVM_SET_TSS_ADDR", err);

	if (rc == 0)
		rc = kvm_ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, NULL, "KVM_CREATE_IRQCHIP", err);
	if (rc == 0 && with_pit)
		rc = kvm_ioctl(kvm->vm_fd, KVM_CREATE_PIT2, &pit, "KVM_CREATE_PIT2", err);
	return rc;
}

int kvm_add_irqfd(struct kvm *kvm, int eventfd, uint32_t gsi, struct error *err)
{
	struct kvm_irqfd irqfd = { .fd = (uint32_t)eventfd, .gsi = gsi };

	return kvm_ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd, "KVM_IRQFD", err);
}

int kvm_add_ioeventfd(struct kvm *kvm, int eventfd, uint64_t gpa, uint32_t value,
		      struct error *err)
{
	struct kvm_ioeventfd ioeventfd = {
		.datamatch = value,
		.addr = gpa,
		.len = 4,
		.fd = eventfd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	return kvm_ioctl(kvm->vm_fd, KVM_IOEVENTFD, &ioeventfd, "KVM_IOEVENTFD", err);
}
