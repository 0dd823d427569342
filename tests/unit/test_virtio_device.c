/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a virtio device behind its transport: kicks, interrupts, failure, reset, ownership. */
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

#define INT_USED   VIRTIO_MMIO_INT_VRING
#define INT_CONFIG VIRTIO_MMIO_INT_CONFIG

struct fixture {
	struct virtio_driver drv;
	struct virtio_probe *probe;
	int destroyed;
};

static int setup(void **state)
{
	static struct fixture f;

	f.destroyed = 0;
	driver_setup(&f.drv);
	f.probe = probe_attach(&f.drv, 2, PROBE_QUEUE_SIZE, 0);
	f.probe->destroyed = &f.destroyed;
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	driver_teardown(&f->drv);
	return f->destroyed == 1 ? 0 : -1;
}

static void add_buffer(struct fixture *f)
{
	uint64_t gpa = driver_alloc(&f->drv, 16, 16);

	driver_add(&f->drv, 0, &(struct driver_buf){ gpa, 16 }, 0, 1);
}

/* Return everything with 16 bytes, and interrupt. */
static void echo(struct virtio_probe *probe, unsigned int queue)
{
	struct virtqueue_chain chain;

	while (virtio_device_pop(&probe->dev, queue, &chain) == 1)
		virtqueue_push(&probe->dev.queues[queue], chain.head, 16);
	virtio_device_signal_used(&probe->dev, queue);
}

/* Take one and keep it. */
static void hold(struct virtio_probe *probe, unsigned int queue)
{
	struct virtqueue_chain chain;

	virtio_device_pop(&probe->dev, queue, &chain);
}

static void a_kick_is_processed_by_the_event_loop(void **state)
{
	struct fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	driver_run(&f->drv);
	memset(f->probe->processed, 0, sizeof(f->probe->processed));
	driver_kick(&f->drv, 1);
	driver_kick(&f->drv, 1);
	assert_int_equal(f->probe->processed[1], 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[1], 1);
	driver_kick_eventfd(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
	assert_int_equal(f->probe->processed[1], 1);
	virtio_device_kick(&f->probe->dev, 1);
	virtio_device_kick(&f->probe->dev, 2);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[1], 2);
}

static void kicks_of_queues_that_dont_exist_are_ignored(void **state)
{
	static const uint32_t bad[] = { 2, 4, 0x100, 0x10000, 0x10001, 0x80000000, UINT32_MAX };
	struct fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	driver_run(&f->drv);
	memset(f->probe->processed, 0, sizeof(f->probe->processed));
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		driver_kick(&f->drv, bad[i]);
	assert_int_equal(loop_run_once(&f->drv.loop, 0, NULL), 0);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		assert_int_equal(f->probe->processed[i], 0);
}

/* A driver may fill its queues, and kick, before DRIVER_OK: neither too early nor never. */
static void activation_looks_at_all_queues(void **state)
{
	struct fixture *f = *state;

	f->probe->on_process = echo;
	driver_negotiate(&f->drv, ALL_FEATURES);
	driver_queue_setup(&f->drv, 0, 0);
	driver_queue_setup(&f->drv, 1, 0);
	add_buffer(f);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 0);
	assert_false(driver_get_used(&f->drv, 0, NULL, NULL));
	assert_int_equal(driver_ok(&f->drv), 0xf);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
	assert_int_equal(f->probe->processed[1], 1);
	assert_true(driver_get_used(&f->drv, 0, NULL, NULL));
	assert_int_equal(driver_interrupts(&f->drv), 1);
}

static void queues_that_arent_ready_arent_processed(void **state)
{
	struct fixture *f = *state;

	driver_negotiate(&f->drv, ALL_FEATURES);
	driver_queue_setup(&f->drv, 0, 0);
	assert_int_equal(driver_ok(&f->drv), 0xf);
	driver_kick(&f->drv, 1);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
	assert_int_equal(f->probe->processed[1], 0);
	assert_int_equal(virtio_device_pop(&f->probe->dev, 1, &(struct virtqueue_chain){ 0 }), 0);
}

static void interrupts_say_why_until_acknowledged(void **state)
{
	struct fixture *f = *state;

	f->probe->on_process = echo;
	driver_start(&f->drv, ALL_FEATURES);
	add_buffer(f);
	driver_run(&f->drv);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), INT_USED);
	virtio_device_signal_config(&f->probe->dev);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), INT_USED | INT_CONFIG);
	driver_write(&f->drv, VIRTIO_MMIO_INTERRUPT_ACK, INT_USED);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), INT_CONFIG);
	driver_write(&f->drv, VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	/* A buffer that the driver doesn't want to hear of. */
	driver_set_used_event(&f->drv, 0, 1000);
	add_buffer(f);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 2);
	assert_int_equal(driver_interrupts(&f->drv), 0);
	assert_int_equal(driver_ack_interrupts(&f->drv), 0);
}

/* While the device works through a batch, an interrupt handler and a kick go on. */
static void interrupt_registers_dont_wait_for_the_device(void **state)
{
	struct fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	virtio_device_signal_config(&f->probe->dev);
	alarm(10); /* a deadlock ends the test */
	pthread_mutex_lock(&f->probe->dev.lock);
	assert_int_equal(driver_ack_interrupts(&f->drv), INT_CONFIG);
	assert_int_equal(driver_ack_interrupts(&f->drv), 0);
	driver_kick(&f->drv, 0);
	pthread_mutex_unlock(&f->probe->dev.lock);
	alarm(0);
}

static void a_configuration_change_has_a_new_generation(void **state)
{
	struct fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	uint32_t before = driver_read(&f->drv, VIRTIO_MMIO_CONFIG_GENERATION);

	virtio_device_signal_config(&f->probe->dev);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_CONFIG_GENERATION), before + 1);
	assert_int_equal(driver_interrupts(&f->drv), 1);
}

/* The driver may have read the configuration already: it hears of the change, but not too early. */
static void a_configuration_change_during_the_handshake_waits_for_driver_ok(void **state)
{
	struct fixture *f = *state;

	driver_negotiate(&f->drv, ALL_FEATURES);
	virtio_device_signal_config(&f->probe->dev);
	assert_int_equal(driver_interrupts(&f->drv), 0);
	driver_ok(&f->drv);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_ack_interrupts(&f->drv), INT_CONFIG);
}

static void a_failed_activation_needs_a_reset(void **state)
{
	struct fixture *f = *state;

	f->probe->activate_result = -EIO;
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0x4f);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_ack_interrupts(&f->drv), INT_CONFIG);
	assert_int_equal(f->probe->resets, 1);
	assert_false(f->probe->dev.activated);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 0);
	assert_int_equal(f->probe->resets, 1);
	f->probe->activate_result = 0;
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
}

static void a_broken_queue_stops_the_device_until_its_reset(void **state)
{
	struct fixture *f = *state;

	f->probe->on_process = echo;
	driver_start(&f->drv, ALL_FEATURES);
	driver_run(&f->drv);
	driver_offer(&f->drv, 0, UINT16_MAX);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(driver_status(&f->drv), 0x4f);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	assert_int_equal(driver_ack_interrupts(&f->drv), INT_CONFIG);
	assert_int_equal(f->probe->resets, 1);

	unsigned int processed = f->probe->processed[0] + f->probe->processed[1];

	assert_int_equal(virtio_device_pop(&f->probe->dev, 1, &(struct virtqueue_chain){ 0 }),
			 -EPROTO);
	driver_kick(&f->drv, 0);
	driver_kick(&f->drv, 1);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0] + f->probe->processed[1], processed);
	virtio_device_signal_used(&f->probe->dev, 1);
	assert_int_equal(driver_interrupts(&f->drv), 0);

	driver_reset(&f->drv);
	assert_int_equal(driver_status(&f->drv), 0);
	assert_int_equal(f->probe->resets, 1);
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
	add_buffer(f);
	driver_run(&f->drv);
	assert_true(driver_get_used(&f->drv, 0, NULL, NULL));
}

/* A tap or a timer finds the queue broken: nobody kicked, and yet the device is stopped. */
static void a_failure_outside_of_the_transport_stops_the_device(void **state)
{
	struct fixture *f = *state;
	struct virtqueue_chain chain;

	driver_start(&f->drv, ALL_FEATURES);
	driver_run(&f->drv);
	driver_kick(&f->drv, 0);
	add_buffer(f);
	pthread_mutex_lock(&f->probe->dev.lock);
	assert_int_equal(virtio_device_pop(&f->probe->dev, 0, &chain), 1);
	virtqueue_push(&f->probe->dev.queues[0], chain.head, 0);
	virtio_device_fail(&f->probe->dev, "out of the blue");
	virtio_device_fail(&f->probe->dev, "again");
	virtio_device_signal_used(&f->probe->dev, 0);
	assert_int_equal(f->probe->resets, 0);
	pthread_mutex_unlock(&f->probe->dev.lock);
	assert_int_equal(driver_status(&f->drv), 0x4f);
	assert_int_equal(driver_interrupts(&f->drv), 1);
	driver_run(&f->drv);
	assert_int_equal(f->probe->resets, 1);
	assert_int_equal(f->probe->processed[0], 1); /* as before */
	assert_false(f->probe->dev.activated);
}

static void before_driver_ok_a_failure_interrupts_nobody(void **state)
{
	struct fixture *f = *state;

	driver_negotiate(&f->drv, ALL_FEATURES);
	driver_queue_setup(&f->drv, 0, 0);
	pthread_mutex_lock(&f->probe->dev.lock);
	virtio_device_fail(&f->probe->dev, "early");
	pthread_mutex_unlock(&f->probe->dev.lock);
	assert_int_equal(driver_status(&f->drv), 0x4b);
	assert_int_equal(driver_interrupts(&f->drv), 0);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	/* No way on but a reset; queue registers and configuration space are closed too. */
	assert_int_equal(driver_ok(&f->drv), 0x4b);
	driver_write(&f->drv, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_READY), 1);
	driver_write_width(&f->drv, VIRTIO_MMIO_CONFIG, 0, 1);
	assert_int_equal(f->probe->config_writes, 0);
	assert_int_equal(f->probe->activations, 0);
	driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0xcb);
	assert_int_equal(driver_status(&f->drv), 0xcb);
	driver_reset(&f->drv);
	assert_int_equal(driver_status(&f->drv), 0);
}

static void a_driver_that_gives_up_stops_the_device(void **state)
{
	struct fixture *f = *state;

	f->probe->on_process = hold;
	driver_start(&f->drv, ALL_FEATURES);
	add_buffer(f);
	driver_run(&f->drv);
	driver_write(&f->drv, VIRTIO_MMIO_STATUS, 0x8f);
	assert_int_equal(driver_status(&f->drv), 0x8f);
	assert_int_equal(f->probe->resets, 1);
	driver_kick(&f->drv, 0);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 1);
	virtio_device_signal_config(&f->probe->dev);
	assert_int_equal(driver_interrupts(&f->drv), 0);
	driver_reset(&f->drv);
	assert_int_equal(driver_start(&f->drv, ALL_FEATURES), 0xf);
}

static void drain(struct virtio_probe *probe)
{
	/* The queue is still there, for what is in flight to be completed into. */
	assert_int_equal(virtqueue_in_flight(&probe->dev.queues[0]), 1);
	assert_non_null(probe->dev.queues[0].used);
	virtqueue_push(&probe->dev.queues[0], 0, 5);
}

static void a_reset_drains_before_the_queues_go(void **state)
{
	struct fixture *f = *state;

	f->probe->on_process = hold;
	f->probe->on_reset = drain;
	driver_start(&f->drv, ALL_FEATURES);
	add_buffer(f);
	driver_run(&f->drv);
	assert_int_equal(virtqueue_in_flight(&f->probe->dev.queues[0]), 1);
	virtio_device_signal_config(&f->probe->dev);
	driver_reset(&f->drv);
	assert_int_equal(f->probe->resets, 1);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 1);

	assert_int_equal(driver_status(&f->drv), 0);
	assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_int_equal(f->probe->dev.acked, 0);
	for (uint32_t i = 0; i < 2; i++) {
		driver_write(&f->drv, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(driver_read(&f->drv, VIRTIO_MMIO_QUEUE_READY), 0);
		assert_int_equal(f->probe->dev.queues[i].desc_gpa, 0);
		assert_int_equal(f->probe->dev.queues[i].size, 0);
	}
	/* A late completion touches nothing. */
	virtqueue_push(&f->probe->dev.queues[0], 0, 5);
	assert_int_equal(f->drv.queues[0].vring.used->idx, 1);
	driver_reset(&f->drv);
	assert_int_equal(f->probe->resets, 1);
}

/* Kicks that were on their way when the driver reset the device find nothing to do. */
static void a_kick_from_before_a_reset_does_nothing(void **state)
{
	struct fixture *f = *state;

	driver_start(&f->drv, ALL_FEATURES);
	driver_kick(&f->drv, 0);
	driver_reset(&f->drv);
	driver_run(&f->drv);
	assert_int_equal(f->probe->processed[0], 0);
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
	struct fixture *f = *state;
	char path[] = "/tmp/mote-test-log-XXXXXX";
	struct log_options options = { .path = path, .level = LOG_TRACE };
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(log_open(&options, NULL), 0);
	f->probe->on_process = echo;
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
	probe->on_process = hold;
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
		{ 0, 4, "probe \"x\": 0 queues, not 1 to 4" },
		{ 5, 4, "probe \"x\": 5 queues, not 1 to 4" },
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
	struct fixture *f = *state;
	_Atomic bool stop = false;
	struct hammer hammers[] = { { &f->drv, 1, &stop }, { &f->drv, 2, &stop } };
	pthread_t threads[2];

	f->probe->on_process = echo;
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_kick_is_processed_by_the_event_loop),
		TEST(kicks_of_queues_that_dont_exist_are_ignored),
		TEST(activation_looks_at_all_queues),
		TEST(queues_that_arent_ready_arent_processed),
		TEST(interrupts_say_why_until_acknowledged),
		TEST(interrupt_registers_dont_wait_for_the_device),
		TEST(a_configuration_change_has_a_new_generation),
		TEST(a_configuration_change_during_the_handshake_waits_for_driver_ok),
		TEST(a_failed_activation_needs_a_reset),
		TEST(a_broken_queue_stops_the_device_until_its_reset),
		TEST(a_failure_outside_of_the_transport_stops_the_device),
		TEST(before_driver_ok_a_failure_interrupts_nobody),
		TEST(a_driver_that_gives_up_stops_the_device),
		TEST(a_reset_drains_before_the_queues_go),
		TEST(a_kick_from_before_a_reset_does_nothing),
		TEST(a_guest_that_fails_for_ever_logs_once),
		cmocka_unit_test(release_gives_everything_back_and_drains),
		cmocka_unit_test(a_failed_init_destroys_the_device),
		cmocka_unit_test(init_refuses_impossible_queues),
		TEST(vcpus_that_race_with_the_event_loop_harm_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
