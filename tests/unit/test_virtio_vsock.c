/* SPDX-License-Identifier: Apache-2.0 */
/* virtio-vsock: the device, its socket, its state. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/util.h"
#include "vsock_guest.h"

static atomic_bool stop_loop;

static int create_error(struct guest *g, uint32_t cid, const char *path, struct error *err)
{
	const struct virtio_vsock_options options = { .guest_cid = cid, .uds_path = path };
	struct virtio_device *device;

	*err = (struct error){ 0 };
	return virtio_vsock_create(&options, &g->drv.memory, &g->drv.loop, &device, err);
}

static void device_says_what_it_is(void **state)
{
	struct guest g;
	uint64_t cid = 0;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);
	assert_int_equal(driver_read(&g.drv, VIRTIO_MMIO_DEVICE_ID), 19);
	assert_int_equal(driver_offered(&g.drv), VERSION_1 | EVENT_IDX | INDIRECT_DESC);
	assert_int_equal(g.device->n_queues, 3);
	assert_int_equal(g.device->config_size, 8);
	driver_read_config(&g.drv, 0, &cid, sizeof(cid));
	assert_int_equal(cid, GUEST_CID);
	/* Read only. */
	driver_write_width(&g.drv, VIRTIO_MMIO_CONFIG, 7, 4);
	driver_read_config(&g.drv, 0, &cid, sizeof(cid));
	assert_int_equal(cid, GUEST_CID);
	guest_teardown(&g);
}

static void socket_is_private_and_removed_again(void **state)
{
	struct guest g;
	struct stat st;
	mode_t mask = umask(0);

	(void)state;
	guest_create(&g, "v.sock");
	umask(mask);
	assert_int_equal(lstat(g.path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	guest_teardown(&g);
}

static void socket_of_somebody_else_is_left_alone(void **state)
{
	struct guest g;
	struct stat st;

	(void)state;
	guest_create(&g, "v.sock");
	assert_int_equal(unlink(g.path), 0);
	assert_int_equal(mkfifo(g.path, 0600), 0);
	driver_teardown(&g.drv);
	assert_int_equal(lstat(g.path, &st), 0);
	assert_int_equal(unlink(g.path), 0);
	assert_int_equal(rmdir(g.dir), 0);
}

static void bad_options_say_what_is_wrong(void **state)
{
	struct guest g;
	struct error err;
	char path[200], expected[300];

	(void)state;
	guest_create(&g, "v.sock");
	assert_int_equal(create_error(&g, 3, g.path, &err), -EADDRINUSE);
	snprintf(expected, sizeof(expected), "vsock \"vsock\": bind \"%s\": Address already in use",
		 g.path);
	assert_string_equal(err.message, expected);
	/* The failure left the file of the other device alone. */
	assert_int_equal(access(g.path, F_OK), 0);

	assert_int_equal(create_error(&g, 3, "/nonexistent/v.sock", &err), -ENOENT);
	assert_string_equal(err.message, "vsock \"vsock\": bind \"/nonexistent/v.sock\": No such "
					 "file or directory");
	assert_int_equal(create_error(&g, 3, "", &err), -EINVAL);
	assert_string_equal(err.message, "vsock \"vsock\": uds_path is empty");
	assert_int_equal(create_error(&g, 2, "x", &err), -EINVAL);
	assert_string_equal(err.message, "vsock \"vsock\": guest CID 2 isn't 3 to 4294967294");
	assert_int_equal(create_error(&g, UINT32_MAX, "x", &err), -EINVAL);

	/* 96 bytes leave room for "_4294967295" and a NUL in the 108 of sun_path. */
	memset(path, 'x', sizeof(path));
	memcpy(path, g.path, strlen(g.path));
	path[97] = 0;
	assert_int_equal(create_error(&g, 3, path, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.message, "97 bytes, more than the 96"));
	guest_teardown(&g);
}

static void longest_path_reaches_the_last_port(void **state)
{
	struct guest g;
	struct ports ports = { UINT32_MAX - 1, 1024 };
	char name[128];

	(void)state;
	/* dir, a slash, name: 96 bytes. */
	memset(name, 'x', sizeof(name));
	name[96 - strlen("/tmp/mote-vsock-XXXXXX/")] = 0;
	guest_create(&g, name);
	assert_int_equal(strlen(g.path), 96);
	guest_start(&g, ALL_FEATURES, 4);

	int fd = connect_to_host(&g, ports);

	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static void client_waits_in_the_backlog_for_the_driver(void **state)
{
	struct guest g;
	struct ports ports = { 1u << 30, 9 };

	(void)state;
	guest_create(&g, "v.sock");

	int fd = host_client(&g, "CONNECT 9\n");

	host_expect_nothing(fd);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_start(&g, ALL_FEATURES, 4);
	guest_expect(&g, ports, VIRTIO_VSOCK_OP_REQUEST);
	guest_send(&g, ports, VIRTIO_VSOCK_OP_RESPONSE);
	host_expect(fd, "OK 1073741824\n", 14);
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static void device_reset_drops_everything(void **state)
{
	struct guest g;
	struct ports a, b = { 52, 4000 };

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_guest(&g, &a), other = connect_to_host(&g, b);
	int greeting = host_client(&g, "CONNE");

	driver_reset(&g.drv);
	guest_run(&g);
	host_expect_end(fd);
	host_expect_end(other);
	host_expect_closed(greeting);
	close(fd);
	close(other);
	close(greeting);
	assert_int_equal(guest_counters(&g).connections, 0);

	/* The next driver starts afresh, with a client that came in between. */
	fd = host_client(&g, "CONNECT 9\n");
	host_expect_nothing(fd);
	guest_start(&g, VERSION_1, 4);
	guest_expect(&g, (struct ports){ (1u << 30) + 1, 9 }, VIRTIO_VSOCK_OP_REQUEST);
	guest_send(&g, a, VIRTIO_VSOCK_OP_RW);
	guest_expect(&g, a, VIRTIO_VSOCK_OP_RST);
	close(fd);
	guest_teardown(&g);
}

static void *loop_thread(void *arg)
{
	struct guest *g = arg;

	while (!atomic_load(&stop_loop))
		loop_run_once(&g->drv.loop, 1, NULL);
	return NULL;
}

/* The loop runs in another thread: clients may fill the backlog for a while. */
static int connect_patiently(const struct guest *g)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, g->path);
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		assert_int_equal(errno, EAGAIN);
		usleep(1000);
	}
	return fd;
}

/* Status writes come from vCPU threads, while the loop's thread handles clients and packets. */
static void driver_resets_while_clients_come_and_go(void **state)
{
	struct guest g;
	pthread_t thread;
	int fds[8];

	(void)state;
	guest_create(&g, "v.sock");
	memset(fds, 0xff, sizeof(fds));
	atomic_store(&stop_loop, false);
	assert_int_equal(pthread_create(&thread, NULL, loop_thread, &g), 0);
	for (int cycle = 0; cycle < 150; cycle++) {
		assert_int_equal(driver_start(&g.drv, VERSION_1), 0xf);
		guest_post_rx(&g, 8, 256);
		driver_kick(&g.drv, RX);
		for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
			if (fds[i] >= 0)
				close(fds[i]);
			fds[i] = connect_patiently(&g);
			send(fds[i], i % 2 ? "CONNECT 1\n" : "CONN", i % 2 ? 10 : 4, MSG_NOSIGNAL);
		}
		/* Sometimes at once, sometimes when the loop has got somewhere. */
		usleep((useconds_t)(cycle % 10) * 100);
		while (cycle == 100 && guest_counters(&g).rx_packets == 0)
			usleep(1000);
		driver_reset(&g.drv);
	}
	atomic_store(&stop_loop, true);
	pthread_join(thread, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	guest_run(&g);
	assert_int_equal(guest_counters(&g).connections, 0);
	guest_start(&g, ALL_FEATURES, 4);

	struct ports ports = { 52, 4000 };
	int fd = connect_to_host(&g, ports);

	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static void destroy_closes_the_hosts_ends(void **state)
{
	struct guest g;
	struct ports ports;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);

	int fd = connect_to_guest(&g, &ports), greeting = host_connect(&g);

	guest_run(&g);
	guest_teardown(&g);
	host_expect_end(fd);
	host_expect_end(greeting);
	close(fd);
	close(greeting);
}

static void restored_driver_is_told_to_forget_its_connections(void **state)
{
	struct guest g;
	struct ports ports;
	struct virtio_mmio_state transport;
	struct virtio_vsock_state saved, other = { .guest_cid = 77 };
	uint64_t cid = 0, gpa;
	uint32_t len;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);
	assert_int_equal(g.device->ops->state_size, sizeof(saved));
	gpa = driver_alloc(&g.drv, 4, 4);
	memset(driver_ptr(&g.drv, gpa, 4), 0xff, 4);
	driver_add(&g.drv, EVENT, &(struct driver_buf){ gpa, 4 }, 0, 1);
	driver_kick(&g.drv, EVENT);

	int fd = connect_to_guest(&g, &ports);

	guest_run(&g);
	assert_false(driver_get_used(&g.drv, EVENT, NULL, NULL));
	virtio_mmio_save(&g.drv.mmio, &transport, &saved);
	assert_int_equal(saved.guest_cid, GUEST_CID);
	/* Saving disturbs nothing: this microVM may go on. */
	host_write(&g, fd, "x", 1);
	guest_expect_data(&g, ports, "x", 1);
	virtio_mmio_save(&g.drv.mmio, &transport, &saved);

	assert_int_equal(virtio_mmio_restore(&g.drv.mmio, &transport, &other, NULL), 0);
	virtio_mmio_rekick(&g.drv.mmio);
	guest_run(&g);
	host_expect_end(fd);
	close(fd);
	assert_true(driver_get_used(&g.drv, EVENT, NULL, &len));
	assert_int_equal(len, 4);
	assert_int_equal(*(uint32_t *)driver_ptr(&g.drv, gpa, 4), 0);
	assert_true(guest_memory_is_dirty(&g.drv.memory, gpa));
	assert_true(driver_interrupts(&g.drv) > 0);
	driver_read_config(&g.drv, 0, &cid, sizeof(cid));
	assert_int_equal(cid, 77);
	/* Once. */
	driver_add(&g.drv, EVENT, &(struct driver_buf){ gpa, 4 }, 0, 1);
	driver_kick(&g.drv, EVENT);
	guest_run(&g);
	assert_false(driver_get_used(&g.drv, EVENT, NULL, NULL));
	guest_teardown(&g);
}

static void event_waits_for_a_buffer(void **state)
{
	struct guest g;
	struct virtio_mmio_state transport;
	struct virtio_vsock_state saved;
	struct ports ports;
	uint64_t gpa;

	(void)state;
	guest_setup(&g, VERSION_1, 4);
	virtio_mmio_save(&g.drv.mmio, &transport, &saved);
	assert_int_equal(virtio_mmio_restore(&g.drv.mmio, &transport, &saved, NULL), 0);
	virtio_mmio_rekick(&g.drv.mmio);
	guest_run(&g);

	/* The restored device works all the same. */
	int fd = connect_to_guest(&g, &ports);

	gpa = driver_alloc(&g.drv, 64, 4);
	driver_add(&g.drv, EVENT, &(struct driver_buf){ gpa, 64 }, 0, 1);
	assert_true(driver_kick_wanted(&g.drv, EVENT));
	driver_kick(&g.drv, EVENT);
	guest_run(&g);

	uint32_t len;

	assert_true(driver_get_used(&g.drv, EVENT, NULL, &len));
	assert_int_equal(len, 4);
	disconnect(&g, fd, ports);
	guest_teardown(&g);
}

static void state_before_the_driver_brings_no_event(void **state)
{
	struct guest g;
	struct virtio_mmio_state transport;
	struct virtio_vsock_state saved;
	uint64_t gpa;

	(void)state;
	guest_create(&g, "v.sock");
	virtio_mmio_save(&g.drv.mmio, &transport, &saved);
	assert_int_equal(virtio_mmio_restore(&g.drv.mmio, &transport, &saved, NULL), 0);
	guest_start(&g, ALL_FEATURES, 4);
	gpa = driver_alloc(&g.drv, 4, 4);
	driver_add(&g.drv, EVENT, &(struct driver_buf){ gpa, 4 }, 0, 1);
	driver_kick(&g.drv, EVENT);
	guest_run(&g);
	assert_false(driver_get_used(&g.drv, EVENT, NULL, NULL));
	guest_teardown(&g);
}

static void hostile_state_is_refused(void **state)
{
	static const uint64_t cids[] = { 0, 1, 2, UINT32_MAX, 1ull << 32, UINT64_MAX };
	struct guest g;
	struct virtio_mmio_state transport;
	struct virtio_vsock_state saved;
	struct error err = { 0 };
	uint64_t cid = 0;

	(void)state;
	guest_setup(&g, ALL_FEATURES, 4);
	virtio_mmio_save(&g.drv.mmio, &transport, &saved);
	for (size_t i = 0; i < ARRAY_SIZE(cids); i++) {
		saved.guest_cid = cids[i];
		assert_int_equal(virtio_mmio_restore(&g.drv.mmio, &transport, &saved, &err),
				 -EINVAL);
	}
	assert_string_equal(err.message,
			    "vsock \"vsock\": guest CID 18446744073709551615 isn't 3 to "
			    "4294967294");
	driver_read_config(&g.drv, 0, &cid, sizeof(cid));
	assert_int_equal(cid, GUEST_CID);
	guest_teardown(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(device_says_what_it_is),
		cmocka_unit_test(socket_is_private_and_removed_again),
		cmocka_unit_test(socket_of_somebody_else_is_left_alone),
		cmocka_unit_test(bad_options_say_what_is_wrong),
		cmocka_unit_test(longest_path_reaches_the_last_port),
		cmocka_unit_test(client_waits_in_the_backlog_for_the_driver),
		cmocka_unit_test(device_reset_drops_everything),
		cmocka_unit_test(driver_resets_while_clients_come_and_go),
		cmocka_unit_test(destroy_closes_the_hosts_ends),
		cmocka_unit_test(restored_driver_is_told_to_forget_its_connections),
		cmocka_unit_test(event_waits_for_a_buffer),
		cmocka_unit_test(state_before_the_driver_brings_no_event),
		cmocka_unit_test(hostile_state_is_refused),
	};

	return cmocka_run_group_tests_name("virtio-vsock", tests, NULL, NULL);
}
