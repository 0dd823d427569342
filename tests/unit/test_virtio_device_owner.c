/* SPDX-License-Identifier: Apache-2.0 */
/* Who owns what of a virtio device, what it may cost, and vCPUs that race for it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "virtio_probe.h"
#include "vmm/log.h"
#include "vmm/util.h"

static void add_buffer(struct probe_fixture *f)
{
	uint64_t gpa = driver_alloc(&f->drv, 16, 16);

	driver_add(&f->drv, 0, &(struct driver_buf){ gpa, 16 }, 0, 1);
}

static void drain(struct virtio_probe *probe)
{
	/* The queue is still there, for what is in flight to be completed into. */
	assert_int_equal(virtqueue_in_flight(&probe->dev.queues[0]), 1);
	assert_non_null(probe->dev.queues[0].used);
	virtqueue_push(&probe->dev.queues[0], 0, 5);
}

static unsigned int count_lines(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned int n = 0;

	assert_non_null(file);
	for (int c; (c = fgetc(file)) != EOF;)
		n += c == '\n';
	fclose(file);
	return n;
}

static void a_guest_that_fails_for_ever_logs_once(void **state)
{
	struct probe_fixture *f = *state;
	char path[] = "/tmp/mote-test-log-XXXXXX";
	struct log_options options = { .path = path, .level = LOG_TRACE };
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(log_open(&options, NULL), 0);
	f->probe->on_process = probe_echo;
	for (int i = 0; i < 200; i++) {
		driver_start(&f->drv, ALL_FEATURES);
		driver_offer(&f->drv, 0, UINT16_MAX);
		driver_run(&f->drv);
		assert_int_equal(driver_status(&f->drv), 0x4f);
		driver_negotiate(&f->drv, ALL_FEATURES);
		driver_queue_registers(&f->drv, 0, 3, 1, 1, 1);
		assert_int_equal(driver_ok(&f->drv), 0x4f);
		for (uint32_t offset = 0; offset < 0x200; offset++)
			driver_write(&f->drv, offset, (uint32_t)i);
		driver_run(&f->drv);
	}
	log_close();
	assert_int_equal(count_lines(path), 1);
	unlink(path);
}

static unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		n++;
	closedir(dir);
	return n;
}

static void release_gives_everything_back_and_drains(void **state)
{
	unsigned int before = count_fds();
	struct virtio_driver drv;
	int destroyed = 0;

	(void)state;
	driver_setup(&drv);
	struct virtio_probe *probe = probe_attach(&drv, 1, 4, 0);

	probe->destroyed = &destroyed;
	probe->on_process = probe_hold;
	probe->on_reset = drain;
	driver_start(&drv, ALL_FEATURES);
	driver_add(&drv, 0, &(struct driver_buf){ 4096, 4 }, 1, 0);
	driver_run(&drv);
	assert_int_equal(fcntl(drv.mmio.kicks[0].eventfd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(probe->dev.irq.eventfd, F_GETFD), FD_CLOEXEC);
	virtio_mmio_release(&drv.mmio);
	assert_int_equal(destroyed, 1);
	assert_int_equal(drv.queues[0].vring.used->idx, 1);
	virtio_mmio_release(&drv.mmio);
	assert_int_equal(destroyed, 1);
	drv.device = NULL;
	driver_teardown(&drv);
	assert_int_equal(count_fds(), before);
}

static void a_failed_init_destroys_the_device(void **state)
{
	struct rlimit limit, no_more;
	struct error err = { 0 };
	struct virtio_driver drv;
	int destroyed = 0;

	(void)state;
	driver_setup(&drv);
	struct virtio_probe *probe = probe_new(&drv, 2, 4, 0);
	unsigned int before = count_fds();

	probe->destroyed = &destroyed;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	/* Room for one of the two eventfds. */
	no_more = limit;
	no_more.rlim_cur = (rlim_t)probe->dev.irq.eventfd + 2;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &no_more), 0);
	int r = virtio_mmio_init(&drv.mmio, &probe->dev, &err);

	setrlimit(RLIMIT_NOFILE, &limit);
	assert_int_equal(r, -EMFILE);
	assert_string_equal(err.message, "probe \"p0\": queue 1: eventfd: Too many open files");
	assert_int_equal(destroyed, 1);
	assert_int_equal(count_fds(), before - 1);
	virtio_mmio_release(&drv.mmio);
	driver_teardown(&drv);
}

static void init_refuses_impossible_queues(void **state)
{
	static const struct virtio_device_ops ops = { .kind = "probe" };
	static const struct {
		unsigned int n;
		uint16_t size;
		const char *message;
	} bad[] = {
		{ 0, 4, "probe \"x\": 0 queues, not 1 to 5" },
		{ 6, 4, "probe \"x\": 6 queues, not 1 to 5" },
		{ 1, 0, "probe \"x\": queue size 0 is not a power of two up to 256" },
		{ 1, 3, "probe \"x\": queue size 3 is not a power of two up to 256" },
		{ 1, 512, "probe \"x\": queue size 512 is not a power of two up to 256" },
	};
	struct virtio_device dev;
	struct error err = { 0 };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(virtio_device_init(&dev, &ops, "x", NULL, NULL, 0, NULL, 0,
						    bad[i].n, bad[i].size, &err),
				 -EINVAL);
		assert_string_equal(err.message, bad[i].message);
		virtio_device_release(&dev);
	}
}

struct hammer {
	struct virtio_driver *drv;
	unsigned int seed;
	_Atomic bool *stop;
};

/* A vCPU that writes any value to any register, but likes those that mean something. */
static void *hammer_registers(void *context)
{
	struct hammer *hammer = context;
	static const uint32_t statuses[] = { 0, 1, 3, 0xb, 0xf, 0x8f, 0x4f };
	unsigned int seed = hammer->seed;

	while (!*hammer->stop) {
		uint32_t offset = (uint32_t)rand_r(&seed) % 0x110 & ~3u;
		uint32_t value = (uint32_t)rand_r(&seed);

		switch (value % 4) {
		case 0:
			driver_write(hammer->drv, VIRTIO_MMIO_STATUS,
				     statuses[value / 4 % ARRAY_SIZE(statuses)]);
			break;
		case 1:
			driver_kick(hammer->drv, value / 4 % 3);
			break;
		case 2:
			driver_write(hammer->drv, offset, value / 4 % 16);
			break;
		default:
			driver_read(hammer->drv, offset);
			break;
		}
	}
	return NULL;
}

/* For the sanitizers: two vCPUs that obey nothing, one that drives the device, the event loop. */
static void vcpus_that_race_with_the_event_loop_harm_nothing(void **state)
{
	struct probe_fixture *f = *state;
	_Atomic bool stop = false;
	struct hammer hammers[] = { { &f->drv, 1, &stop }, { &f->drv, 2, &stop } };
	pthread_t threads[2];

	f->probe->on_process = probe_echo;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hammer_registers, &hammers[i]),
				 0);
	for (uint64_t end = monotonic_ns() + 300000000; monotonic_ns() < end;) {
		f->drv.heap = 64 * KIB;
		driver_negotiate(&f->drv, ALL_FEATURES);
		/* Sizes of our own: what QueueNumMax says depends on whose QueueSel it is. */
		driver_queue_setup(&f->drv, 0, PROBE_QUEUE_SIZE);
		driver_queue_setup(&f->drv, 1, PROBE_QUEUE_SIZE);
		driver_ok(&f->drv);
		loop_run_once(&f->drv.loop, 0, NULL);
		add_buffer(f);
		loop_run_once(&f->drv.loop, 0, NULL);
	}
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	/* And it still works. */
	f->drv.heap = 64 * KIB;
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	memset(driver_ptr(&f->drv, 64 * KIB, 64 * KIB), 0, 64 * KIB);
	driver_interrupts(&f->drv);
	add_buffer(f);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_true(driver_get_used(&f->drv, 0, NULL, NULL));
	assert_int_equal(driver_interrupts(&f->drv), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROBE_TEST(a_guest_that_fails_for_ever_logs_once),
		cmocka_unit_test(release_gives_everything_back_and_drains),
		cmocka_unit_test(a_failed_init_destroys_the_device),
		cmocka_unit_test(init_refuses_impossible_queues),
		PROBE_TEST(vcpus_that_race_with_the_event_loop_harm_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
