/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our virtio devices against Linux's user API headers, which its drivers are built with: each
 * register, status, feature and ring is addressed as <linux/virtio_*.h> has it, and the numbers of
 * virtio 1.2's tables stand next to theirs.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>

#include "devices/virtio/balloon.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/mmio.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/vsock.h"
#include "private_net.h"
#include "virtio_driver.h"
#include "vmm/util.h"

#define DISK_BYTES (3 * MIB + 512)
#define GUEST_CID  0x12345
#define MTU	   1492

static const uint8_t mac[6] = { 0x02, 0xfc, 0x01, 0x02, 0x03, 0x04 };
static char directory[] = "/tmp/mote-uapi-XXXXXX";
static const char *no_net; /* why there's no tap to be had here */

struct spec_number {
	const char *name;
	uint64_t spec, uapi;
};

static void assert_equal(const struct spec_number *numbers, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (numbers[i].spec != numbers[i].uapi)
			fail_msg("%s is 0x%lx in the specification and 0x%lx in Linux",
				 numbers[i].name, numbers[i].spec, numbers[i].uapi);
}

/* §4.2.2, table 4.1; §4.2.2: bits of InterruptStatus; §2.1: device status. */
static void registers_have_the_same_numbers(void **state)
{
	static const struct spec_number numbers[] = {
		{ "MagicValue", 0x000, VIRTIO_MMIO_MAGIC_VALUE },
		{ "Version", 0x004, VIRTIO_MMIO_VERSION },
		{ "DeviceID", 0x008, VIRTIO_MMIO_DEVICE_ID },
		{ "VendorID", 0x00c, VIRTIO_MMIO_VENDOR_ID },
		{ "DeviceFeatures", 0x010, VIRTIO_MMIO_DEVICE_FEATURES },
		{ "DeviceFeaturesSel", 0x014, VIRTIO_MMIO_DEVICE_FEATURES_SEL },
		{ "DriverFeatures", 0x020, VIRTIO_MMIO_DRIVER_FEATURES },
		{ "DriverFeaturesSel", 0x024, VIRTIO_MMIO_DRIVER_FEATURES_SEL },
		{ "QueueSel", 0x030, VIRTIO_MMIO_QUEUE_SEL },
		{ "QueueNumMax", 0x034, VIRTIO_MMIO_QUEUE_NUM_MAX },
		{ "QueueNum", 0x038, VIRTIO_MMIO_QUEUE_NUM },
		{ "QueueReady", 0x044, VIRTIO_MMIO_QUEUE_READY },
		{ "QueueNotify", 0x050, VIRTIO_MMIO_QUEUE_NOTIFY },
		{ "the ioeventfd", VIRTIO_MMIO_NOTIFY, VIRTIO_MMIO_QUEUE_NOTIFY },
		{ "InterruptStatus", 0x060, VIRTIO_MMIO_INTERRUPT_STATUS },
		{ "InterruptACK", 0x064, VIRTIO_MMIO_INTERRUPT_ACK },
		{ "Status", 0x070, VIRTIO_MMIO_STATUS },
		{ "QueueDescLow", 0x080, VIRTIO_MMIO_QUEUE_DESC_LOW },
		{ "QueueDescHigh", 0x084, VIRTIO_MMIO_QUEUE_DESC_HIGH },
		{ "QueueDriverLow", 0x090, VIRTIO_MMIO_QUEUE_AVAIL_LOW },
		{ "QueueDriverHigh", 0x094, VIRTIO_MMIO_QUEUE_AVAIL_HIGH },
		{ "QueueDeviceLow", 0x0a0, VIRTIO_MMIO_QUEUE_USED_LOW },
		{ "QueueDeviceHigh", 0x0a4, VIRTIO_MMIO_QUEUE_USED_HIGH },
		{ "SHMSel", 0x0ac, VIRTIO_MMIO_SHM_SEL },
		{ "SHMLenLow", 0x0b0, VIRTIO_MMIO_SHM_LEN_LOW },
		{ "SHMLenHigh", 0x0b4, VIRTIO_MMIO_SHM_LEN_HIGH },
		{ "SHMBaseLow", 0x0b8, VIRTIO_MMIO_SHM_BASE_LOW },
		{ "SHMBaseHigh", 0x0bc, VIRTIO_MMIO_SHM_BASE_HIGH },
		{ "ConfigGeneration", 0x0fc, VIRTIO_MMIO_CONFIG_GENERATION },
		{ "Config", 0x100, VIRTIO_MMIO_CONFIG },
		{ "used buffer notification", 1, VIRTIO_MMIO_INT_VRING },
		{ "configuration change notification", 2, VIRTIO_MMIO_INT_CONFIG },
		{ "ACKNOWLEDGE", 1, VIRTIO_CONFIG_S_ACKNOWLEDGE },
		{ "DRIVER", 2, VIRTIO_CONFIG_S_DRIVER },
		{ "DRIVER_OK", 4, VIRTIO_CONFIG_S_DRIVER_OK },
		{ "FEATURES_OK", 8, VIRTIO_CONFIG_S_FEATURES_OK },
		{ "DEVICE_NEEDS_RESET", 64, VIRTIO_CONFIG_S_NEEDS_RESET },
		{ "FAILED", 128, VIRTIO_CONFIG_S_FAILED },
	};

	(void)state;
	assert_equal(numbers, ARRAY_SIZE(numbers));
}

/* §2.7: what virtqueue.c takes from guest memory. */
static void rings_have_the_same_layout(void **state)
{
	static const struct spec_number numbers[] = {
		{ "virtq_desc", 16, sizeof(struct vring_desc) },
		{ "virtq_desc.addr", 0, offsetof(struct vring_desc, addr) },
		{ "virtq_desc.len", 8, offsetof(struct vring_desc, len) },
		{ "virtq_desc.flags", 12, offsetof(struct vring_desc, flags) },
		{ "virtq_desc.next", 14, offsetof(struct vring_desc, next) },
		{ "virtq_avail.flags", 0, offsetof(struct vring_avail, flags) },
		{ "virtq_avail.idx", 2, offsetof(struct vring_avail, idx) },
		{ "virtq_avail.ring", 4, offsetof(struct vring_avail, ring) },
		{ "virtq_used.flags", 0, offsetof(struct vring_used, flags) },
		{ "virtq_used.idx", 2, offsetof(struct vring_used, idx) },
		{ "virtq_used.ring", 4, offsetof(struct vring_used, ring) },
		{ "virtq_used_elem", 8, sizeof(struct vring_used_elem) },
		{ "virtq_used_elem.id", 0, offsetof(struct vring_used_elem, id) },
		{ "virtq_used_elem.len", 4, offsetof(struct vring_used_elem, len) },
		{ "VIRTQ_DESC_F_NEXT", 1, VRING_DESC_F_NEXT },
		{ "VIRTQ_DESC_F_WRITE", 2, VRING_DESC_F_WRITE },
		{ "VIRTQ_DESC_F_INDIRECT", 4, VRING_DESC_F_INDIRECT },
		{ "VIRTQ_AVAIL_F_NO_INTERRUPT", 1, VRING_AVAIL_F_NO_INTERRUPT },
		{ "VIRTQ_USED_F_NO_NOTIFY", 1, VRING_USED_F_NO_NOTIFY },
		{ "descriptor table alignment", 16, VRING_DESC_ALIGN_SIZE },
		{ "available ring alignment", 2, VRING_AVAIL_ALIGN_SIZE },
		{ "used ring alignment", 4, VRING_USED_ALIGN_SIZE },
	};

	(void)state;
	assert_equal(numbers, ARRAY_SIZE(numbers));
}

static struct virtio_device *create_rng(struct virtio_driver *drv)
{
	struct virtio_device *device;

	assert_int_equal(virtio_rng_create("rng", &drv->memory, &drv->loop, &device, NULL), 0);
	return device;
}

static struct virtio_device *create_blk(struct virtio_driver *drv)
{
	struct virtio_device *device;
	struct error err = { 0 };
	char path[128];

	snprintf(path, sizeof(path), "%s/disk", directory);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
	close(fd);
	const struct virtio_blk_options options = { .id = "disk", .path = path, .writeback = true };
	int r = virtio_blk_create(&options, &drv->memory, &drv->loop, &device, &err);

	unlink(path);
	if (r < 0)
		fail_msg("%s", err.message);
	return device;
}

static struct virtio_device *create_vsock(struct virtio_driver *drv)
{
	struct virtio_device *device;
	struct error err = { 0 };
	char path[128];

	snprintf(path, sizeof(path), "%s/vsock", directory);
	const struct virtio_vsock_options options = { .guest_cid = GUEST_CID, .uds_path = path };

	if (virtio_vsock_create(&options, &drv->memory, &drv->loop, &device, &err) < 0)
		fail_msg("%s", err.message);
	return device;
}

static struct virtio_device *create_net(struct virtio_driver *drv)
{
	struct virtio_net_options options = {
		.id = "eth0", .tap_name = "mote-uapi", .has_mac = true, .mtu = MTU
	};
	struct virtio_device *device;
	struct error err = { 0 };

	memcpy(options.mac, mac, sizeof(mac));
	if (!private_net_exists(options.tap_name))
		private_net_add(options.tap_name, 0);
	if (virtio_net_create(&options, &drv->memory, &drv->loop, &device, &err) < 0)
		fail_msg("%s", err.message);
	return device;
}

static struct virtio_device *create_balloon(struct virtio_driver *drv)
{
	const struct virtio_balloon_options options = { 3, true, 1, true, true };
	struct virtio_device *device;

	assert_int_equal(virtio_balloon_create(&options, &drv->memory, &drv->loop, &device, NULL),
			 0);
	return device;
}

/* Features by the number in virtio 1.2 (§5.2.3, §5.1.3, §6). */
static const struct spec_number common_features[] = {
	{ "VIRTIO_F_INDIRECT_DESC", 28, VIRTIO_RING_F_INDIRECT_DESC },
	{ "VIRTIO_F_EVENT_IDX", 29, VIRTIO_RING_F_EVENT_IDX },
	{ "VIRTIO_F_VERSION_1", 32, VIRTIO_F_VERSION_1 },
};
static const struct spec_number blk_features[] = {
	{ "VIRTIO_BLK_F_SEG_MAX", 2, VIRTIO_BLK_F_SEG_MAX },
	{ "VIRTIO_BLK_F_BLK_SIZE", 6, VIRTIO_BLK_F_BLK_SIZE },
	{ "VIRTIO_BLK_F_FLUSH", 9, VIRTIO_BLK_F_FLUSH },
	{ "VIRTIO_BLK_F_TOPOLOGY", 10, VIRTIO_BLK_F_TOPOLOGY },
	{ "VIRTIO_BLK_F_DISCARD", 13, VIRTIO_BLK_F_DISCARD },
	{ "VIRTIO_BLK_F_WRITE_ZEROES", 14, VIRTIO_BLK_F_WRITE_ZEROES },
};
static const struct spec_number net_features[] = {
	{ "VIRTIO_NET_F_CSUM", 0, VIRTIO_NET_F_CSUM },
	{ "VIRTIO_NET_F_GUEST_CSUM", 1, VIRTIO_NET_F_GUEST_CSUM },
	{ "VIRTIO_NET_F_MTU", 3, VIRTIO_NET_F_MTU },
	{ "VIRTIO_NET_F_MAC", 5, VIRTIO_NET_F_MAC },
	{ "VIRTIO_NET_F_GUEST_TSO4", 7, VIRTIO_NET_F_GUEST_TSO4 },
	{ "VIRTIO_NET_F_GUEST_TSO6", 8, VIRTIO_NET_F_GUEST_TSO6 },
	{ "VIRTIO_NET_F_HOST_TSO4", 11, VIRTIO_NET_F_HOST_TSO4 },
	{ "VIRTIO_NET_F_HOST_TSO6", 12, VIRTIO_NET_F_HOST_TSO6 },
	{ "VIRTIO_NET_F_MRG_RXBUF", 15, VIRTIO_NET_F_MRG_RXBUF },
};

static const struct spec_number balloon_features[] = {
	{ "VIRTIO_BALLOON_F_STATS_VQ", 1, VIRTIO_BALLOON_F_STATS_VQ },
	{ "VIRTIO_BALLOON_F_DEFLATE_ON_OOM", 2, VIRTIO_BALLOON_F_DEFLATE_ON_OOM },
	{ "VIRTIO_BALLOON_F_FREE_PAGE_HINT", 3, VIRTIO_BALLOON_F_FREE_PAGE_HINT },
	{ "VIRTIO_BALLOON_F_PAGE_REPORTING", 5, VIRTIO_BALLOON_F_REPORTING },
};

/* Configuration space, read as a driver would, at the offsets of the header's struct. */
#define CONFIG_IS(drv, type, field, expected)                                                      \
	do {                                                                                       \
		__typeof__(((type *)0)->field) value;                                              \
                                                                                                   \
		driver_read_config(drv, offsetof(type, field), &value, sizeof(value));             \
		assert_int_equal(value, expected);                                                 \
		assert_int_equal(driver_read_width(drv,                                            \
						   VIRTIO_MMIO_CONFIG + offsetof(type, field),     \
						   sizeof(value)),                                 \
				 expected);                                                        \
	} while (0)

static void check_blk(struct virtio_driver *drv)
{
	CONFIG_IS(drv, struct virtio_blk_config, capacity, DISK_BYTES / 512);
	CONFIG_IS(drv, struct virtio_blk_config, blk_size, 512);
	CONFIG_IS(drv, struct virtio_blk_config, alignment_offset, 0);
	CONFIG_IS(drv, struct virtio_blk_config, max_discard_seg, 1);
	CONFIG_IS(drv, struct virtio_blk_config, discard_sector_alignment, 1);
	CONFIG_IS(drv, struct virtio_blk_config, max_write_zeroes_seg, 1);
	CONFIG_IS(drv, struct virtio_blk_config, write_zeroes_may_unmap, 1);
}

static void check_net(struct virtio_driver *drv)
{
	uint8_t read[6];

	driver_read_config(drv, offsetof(struct virtio_net_config, mac), read, sizeof(read));
	assert_memory_equal(read, mac, sizeof(mac));
	CONFIG_IS(drv, struct virtio_net_config, mtu, MTU);
}

static void check_vsock(struct virtio_driver *drv)
{
	CONFIG_IS(drv, struct virtio_vsock_config, guest_cid, GUEST_CID);
}

static void check_balloon(struct virtio_driver *drv)
{
	CONFIG_IS(drv, struct virtio_balloon_config, num_pages, 3 * 256);
	CONFIG_IS(drv, struct virtio_balloon_config, actual, 0);
	CONFIG_IS(drv, struct virtio_balloon_config, free_page_hint_cmd_id, 0);
}

struct kind {
	struct virtio_device *(*create)(struct virtio_driver *drv);
	struct spec_number id; /* §5 */
	const struct spec_number *features;
	unsigned int n_features, n_queues;
	size_t config_top;
	void (*check_config)(struct virtio_driver *drv);
};

static const struct kind rng = { create_rng, { "entropy device", 4, VIRTIO_ID_RNG }, NULL, 0, 1, 0,
				 NULL };
static const struct kind blk = {
	create_blk, { "block device", 2, VIRTIO_ID_BLOCK }, blk_features, ARRAY_SIZE(blk_features),
	1,	    sizeof(struct virtio_blk_config),	    check_blk
};
static const struct kind net = {
	create_net, { "network device", 1, VIRTIO_ID_NET }, net_features, ARRAY_SIZE(net_features),
	2,	    sizeof(struct virtio_net_config),	    check_net
};
static const struct kind vsock = { create_vsock,
				   { "socket device", 19, VIRTIO_ID_VSOCK },
				   NULL,
				   0,
				   3,
				   sizeof(struct virtio_vsock_config),
				   check_vsock };

static const struct kind balloon = {
	create_balloon,
	{ "memory balloon device", 5, VIRTIO_ID_BALLOON },
	balloon_features,
	ARRAY_SIZE(balloon_features),
	5,
	sizeof(struct virtio_balloon_config),
	check_balloon
};

static int attach(void **state, const struct kind *kind)
{
	static struct virtio_driver drv;

	if (kind == &net && no_net) {
		*state = NULL;
		return 0;
	}
	driver_setup(&drv);
	driver_attach(&drv, kind->create(&drv));
	*state = &drv;
	return 0;
}

static int setup_rng(void **state)
{
	return attach(state, &rng);
}

static int setup_blk(void **state)
{
	return attach(state, &blk);
}

static int setup_net(void **state)
{
	return attach(state, &net);
}

static int setup_vsock(void **state)
{
	return attach(state, &vsock);
}

static int setup_balloon(void **state)
{
	return attach(state, &balloon);
}

static int teardown(void **state)
{
	if (*state)
		driver_teardown(*state);
	return 0;
}

static uint64_t mask(const struct spec_number *features, unsigned int n)
{
	uint64_t bits = 0;

	assert_equal(features, n);
	for (unsigned int i = 0; i < n; i++)
		bits |= 1ull << features[i].uapi;
	return bits;
}

/* What a Linux driver finds when it probes the device. */
static void assert_probes_as(struct virtio_driver *drv, const struct kind *kind)
{
	assert_equal(&kind->id, 1);
	assert_int_equal(driver_read(drv, VIRTIO_MMIO_MAGIC_VALUE),
			 'v' | 'i' << 8 | 'r' << 16 | 't' << 24);
	assert_int_equal(driver_read(drv, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(driver_read(drv, VIRTIO_MMIO_DEVICE_ID), kind->id.uapi);
	assert_int_equal(driver_offered(drv),
			 mask(kind->features, kind->n_features) |
				 mask(common_features, ARRAY_SIZE(common_features)));
	for (unsigned int i = 0; i <= kind->n_queues; i++) {
		driver_write(drv, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(driver_read(drv, VIRTIO_MMIO_QUEUE_READY), 0);
		assert_int_equal(driver_read(drv, VIRTIO_MMIO_QUEUE_NUM_MAX),
				 i < kind->n_queues ? 256 : 0);
	}
	assert_true(drv->device->config_size <= kind->config_top);
	if (kind->check_config)
		kind->check_config(drv);
	assert_int_equal(driver_start(drv, ALL_FEATURES),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	driver_run(drv);
}

static void an_entropy_device_probes_as_one(void **state)
{
	assert_probes_as(*state, &rng);
}

static void a_block_device_probes_as_one(void **state)
{
	assert_probes_as(*state, &blk);
}

static void a_network_device_probes_as_one(void **state)
{
	if (!*state) {
		print_message("no network device here: %s\n", no_net);
		skip();
	}
	assert_probes_as(*state, &net);
}

static void a_socket_device_probes_as_one(void **state)
{
	assert_probes_as(*state, &vsock);
}

static void a_balloon_probes_as_one(void **state)
{
	assert_probes_as(*state, &balloon);
}

/*
 * A ring that the header's own vring_init() lays out, at the very end of RAM: what the device
 * touches is what vring_size() counts, and both event indexes are where the macros say.
 */
static void a_ring_of_vring_init_works(void **state)
{
	struct virtio_driver *drv = *state;
	const unsigned int num = 16, align = VRING_USED_ALIGN_SIZE;
	uint64_t gpa = align_down(DRIVER_LOW_SIZE - vring_size(num, align), VRING_DESC_ALIGN_SIZE);
	uint64_t buffer = driver_alloc(drv, 4096, 4096);
	struct vring vring;

	assert_true(DRIVER_LOW_SIZE - gpa - vring_size(num, align) < VRING_DESC_ALIGN_SIZE);
	vring_init(&vring, num, driver_ptr(drv, gpa, vring_size(num, align)), align);
	driver_negotiate(drv, ALL_FEATURES);
	driver_queue_registers(drv, 0, num, gpa,
			       gpa + (uint64_t)((char *)vring.avail - (char *)vring.desc),
			       gpa + (uint64_t)((char *)vring.used - (char *)vring.desc));
	assert_int_equal(driver_ok(drv), 0xf);
	driver_run(drv);
	assert_int_equal(vring_avail_event(&vring), 0);
	for (uint16_t i = 0; i < 1000; i++) {
		uint16_t head = (uint16_t)(i * 7 % num), old = i;

		vring.desc[head] = (struct vring_desc){ .addr = buffer,
							.len = 32u + i % 8,
							.flags = VRING_DESC_F_WRITE };
		vring.avail->ring[i % num] = head;
		vring_used_event(&vring) = i % 2 ? i : (uint16_t)(i - 1);
		vring.avail->idx = (uint16_t)(i + 1);
		assert_true(vring_need_event(vring_avail_event(&vring), vring.avail->idx, old));
		driver_kick(drv, 0);
		driver_run(drv);
		assert_int_equal(vring.used->idx, i + 1);
		assert_int_equal(vring.used->ring[i % num].id, head);
		assert_int_equal(vring.used->ring[i % num].len, 32 + i % 8);
		assert_int_equal(vring_avail_event(&vring), i + 1);
		assert_int_equal(driver_interrupts(drv),
				 vring_need_event(vring_used_event(&vring), vring.used->idx, i));
	}
}

static int make_directory(void **state)
{
	(void)state;
	no_net = private_net_enter();
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

int main(void)
{
#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_have_the_same_numbers),
		cmocka_unit_test(rings_have_the_same_layout),
		TEST(an_entropy_device_probes_as_one, setup_rng),
		TEST(a_block_device_probes_as_one, setup_blk),
		TEST(a_network_device_probes_as_one, setup_net),
		TEST(a_socket_device_probes_as_one, setup_vsock),
		TEST(a_balloon_probes_as_one, setup_balloon),
		TEST(a_ring_of_vring_init_works, setup_rng),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
