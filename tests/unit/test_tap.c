/* SPDX-License-Identifier: Apache-2.0 */
/* tap: real devices, in a network namespace of the test's own. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>

#include "devices/backend/tap.h"
#include "private_net.h"
#include "vmm/util.h"

#define NAME "mote-test"

static const char *skip_reason;
static const char *vanished; /* this device is deleted right after tap_open has looked for it */

/* In the way of libc's: the only way to win a race every time. */
int ioctl(int fd, unsigned long command, ...)
{
	va_list ap;
	void *arg;
	int r;

	va_start(ap, command);
	arg = va_arg(ap, void *);
	va_end(ap);
	r = (int)syscall(SYS_ioctl, fd, command, arg);
	if (command == SIOCGIFINDEX && vanished) {
		const char *name = vanished;

		vanished = NULL;
		private_net_delete(name);
	}
	return r;
}

static int enter(void **state)
{
	(void)state;
	skip_reason = private_net_enter();
	if (skip_reason)
		print_message("skipped: %s\n", skip_reason);
	return 0;
}

static int add_tap(void **state)
{
	(void)state;
	if (!skip_reason)
		private_net_add(NAME, 0);
	return 0;
}

static int delete_tap(void **state)
{
	(void)state;
	if (!skip_reason && private_net_exists(NAME))
		private_net_delete(NAME);
	return 0;
}

static void opens_an_existing_tap(void **state)
{
	struct error err = { 0 };
	struct ifreq ifr = { 0 };
	struct tap tap;
	int value = 0;

	(void)state;
	if (skip_reason)
		skip();
	assert_int_equal(tap_open(&tap, NAME, &err), 0);
	assert_string_equal(tap.name, NAME);
	assert_int_equal(fcntl(tap.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(tap.fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(ioctl(tap.fd, TUNGETIFF, &ifr), 0);
	assert_int_equal((unsigned short)ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR),
			 IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	assert_int_equal(ioctl(tap.fd, TUNGETVNETHDRSZ, &value), 0);
	assert_int_equal(value, 12);
	assert_int_equal(ioctl(tap.fd, TUNGETVNETLE, &value), 0);
	assert_int_equal(value, 1);
	tap_close(&tap);
	assert_int_equal(tap.fd, -1);
	assert_true(private_net_exists(NAME));
	/* And it's free again. */
	assert_int_equal(tap_open(&tap, NAME, &err), 0);
	tap_close(&tap);
	tap_close(&tap);
}

static void undoes_what_its_last_user_left(void **state)
{
	struct tap tap;
	int value = 1;

	(void)state;
	if (skip_reason)
		skip();
	assert_int_equal(tap_open(&tap, NAME, NULL), 0);
	assert_int_equal(ioctl(tap.fd, TUNSETSNDBUF, &value), 0);
	assert_int_equal(tap_set_offload(&tap, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, NULL), 0);
	tap_close(&tap);
	assert_int_equal(private_net_ethtool(NAME, ETHTOOL_GTSO), 1);

	assert_int_equal(tap_open(&tap, NAME, NULL), 0);
	assert_int_equal(private_net_ethtool(NAME, ETHTOOL_GTSO), 0);
	assert_int_equal(private_net_ethtool(NAME, ETHTOOL_GTXCSUM), 0);
	assert_int_equal(ioctl(tap.fd, TUNGETSNDBUF, &value), 0);
	assert_int_equal(value, INT_MAX);
	tap_close(&tap);
}

static void offload_follows_what_is_set(void **state)
{
	struct error err = { 0 };
	struct tap tap;

	(void)state;
	if (skip_reason)
		skip();
	assert_int_equal(tap_open(&tap, NAME, NULL), 0);
	assert_int_equal(private_net_ethtool(NAME, ETHTOOL_GTXCSUM), 0);
	assert_int_equal(tap_set_offload(&tap, TUN_F_CSUM, NULL), 0);
	assert_int_equal(private_net_ethtool(NAME, ETHTOOL_GTXCSUM), 1);
	assert_int_equal(private_net_ethtool(NAME, ETHTOOL_GTSO), 0);
	assert_int_equal(tap_set_offload(&tap, TUN_F_CSUM | TUN_F_TSO4, NULL), 0);
	assert_int_equal(private_net_ethtool(NAME, ETHTOOL_GTSO), 1);
	assert_int_equal(tap_set_offload(&tap, 0, NULL), 0);
	assert_int_equal(private_net_ethtool(NAME, ETHTOOL_GTXCSUM), 0);

	assert_int_equal(tap_set_offload(&tap, TUN_F_TSO4, &err), -EINVAL);
	assert_string_equal(err.message, "tap \"" NAME "\": TUNSETOFFLOAD 0x2: Invalid argument");
	private_net_delete(NAME);
	assert_int_equal(tap_set_offload(&tap, TUN_F_CSUM, &err), -EBADFD);
	tap_close(&tap);
}

static void a_missing_tap_is_not_created(void **state)
{
	struct error err = { 0 };
	struct tap tap;

	(void)state;
	if (skip_reason)
		skip();
	assert_int_equal(tap_open(&tap, "nosuch", &err), -ENODEV);
	assert_string_equal(err.message, "tap \"nosuch\": no such network device "
					 "(ip tuntap add nosuch mode tap)");
	assert_int_equal(tap.fd, -1);
	assert_false(private_net_exists("nosuch"));
}

static void a_tap_deleted_meanwhile_is_not_created_again(void **state)
{
	struct error err = { 0 };
	struct tap tap;

	(void)state;
	if (skip_reason)
		skip();
	vanished = NAME;
	assert_int_equal(tap_open(&tap, NAME, &err), -ENODEV);
	assert_null(vanished);
	assert_int_equal(err.errnum, ENODEV);
	assert_int_equal(tap.fd, -1);
	assert_false(private_net_exists(NAME));
}

static void bad_names_are_refused(void **state)
{
	static const char *const names[] = { "", "sixteen-letters-", "mote%d", "%d" };
	struct error err = { 0 };
	struct tap tap;

	(void)state;
	if (skip_reason)
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(tap_open(&tap, names[i], &err), -EINVAL);
		assert_non_null(strstr(err.message, "not a device name (1 to 15 characters)"));
	}
	assert_false(private_net_exists("mote0"));
}

static void what_is_no_tap_is_refused(void **state)
{
	struct error err = { 0 };
	struct tap tap;

	(void)state;
	if (skip_reason)
		skip();
	assert_int_equal(tap_open(&tap, "lo", &err), -EINVAL);
	assert_string_equal(err.message, "tap \"lo\": not a tap device");

	private_net_add("tun-test", IFF_TUN);
	assert_int_equal(tap_open(&tap, "tun-test", &err), -EINVAL);
	assert_string_equal(err.message, "tap \"tun-test\": a tun device (layer 3), not a tap");
	private_net_delete("tun-test");

	private_net_add("mq-test", IFF_MULTI_QUEUE);
	assert_int_equal(tap_open(&tap, "mq-test", &err), -EINVAL);
	assert_string_equal(err.message, "tap \"mq-test\": has several queues (multi_queue); one "
					 "with a single queue is needed");
	private_net_delete("mq-test");
}

/* In another process: have the tap until told to end. Returns its pid. */
static pid_t hold_tap(int *end)
{
	int ready[2], finish[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(finish), 0);
	pid_t pid = fork();

	if (pid == 0) {
		struct tap tap;

		close(finish[1]);
		if (tap_open(&tap, NAME, NULL) == 0 && write(ready[1], "", 1) == 1)
			read(finish[0], &byte, 1) == 0 ? _exit(0) : _exit(1);
		_exit(2);
	}
	close(ready[1]);
	close(finish[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*end = finish[1];
	return pid;
}

static void a_tap_in_use_is_refused(void **state)
{
	static const char message[] =
		"tap \"" NAME "\": in use by another process or interface: Device or resource busy";
	struct error err = { 0 };
	struct tap tap, second;
	int end, status;

	(void)state;
	if (skip_reason)
		skip();
	pid_t pid = hold_tap(&end);

	assert_int_equal(tap_open(&tap, NAME, &err), -EBUSY);
	assert_string_equal(err.message, message);
	close(end);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);

	assert_int_equal(tap_open(&tap, NAME, NULL), 0);
	assert_int_equal(tap_open(&second, NAME, &err), -EBUSY);
	assert_string_equal(err.message, message);
	tap_close(&tap);
}

static void set_effective_capabilities(uint32_t clear)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	data[0].effective = data[0].permitted & ~clear;
	data[1].effective = data[1].permitted;
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

static void a_tap_of_another_user_is_refused(void **state)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI, .ifr_name = NAME };
	struct error err = { 0 };
	struct tap tap;
	int r, fd;

	(void)state;
	if (skip_reason)
		skip();
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	r = ioctl(fd, TUNSETOWNER, 12345ul);
	close(fd);
	if (r < 0) {
		/* A user namespace maps no second user. */
		assert_int_equal(errno, EINVAL);
		skip();
	}
	set_effective_capabilities(1u << CAP_NET_ADMIN);
	r = tap_open(&tap, NAME, &err);
	set_effective_capabilities(0);
	assert_int_equal(r, -EPERM);
	assert_string_equal(err.message, "tap \"" NAME "\": belongs to another user "
					 "(tuntap add ... user): Operation not permitted");
}

static int queue(unsigned int flags)
{
	struct ifreq ifr = { .ifr_flags = (short)flags, .ifr_name = NAME };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	assert_int_equal(dup2(fd, 100), 100);
	close(fd);
	return 100;
}

static void an_inherited_queue_is_taken(void **state)
{
	struct error err = { 0 };
	struct tap tap;
	int value = 0;

	(void)state;
	if (skip_reason)
		skip();
	/* One that isn't persistent, too: who made it wants it to go with the microVM. */
	queue(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	set_effective_capabilities(1u << CAP_NET_ADMIN);
	assert_int_equal(tap_open(&tap, "/dev/fd/100", &err), 0);
	set_effective_capabilities(0);
	assert_int_equal(tap.fd, 100);
	assert_string_equal(tap.name, NAME);
	assert_int_equal(fcntl(100, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(100, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(ioctl(100, TUNGETVNETHDRSZ, &value), 0);
	assert_int_equal(value, 12);
	tap_close(&tap);
	assert_false(private_net_exists(NAME));
}

static void an_inherited_file_that_is_no_queue_is_refused(void **state)
{
	struct error err = { 0 };
	struct tap tap;
	int fd;

	(void)state;
	if (skip_reason)
		skip();
	assert_int_equal(tap_open(&tap, "/dev/fd/100", &err), -EBADF);
	assert_string_equal(err.message, "tap \"/dev/fd/100\": file descriptor 100 was not "
					 "inherited, or is taken already");
	queue(IFF_TAP | IFF_NO_PI);
	assert_int_equal(tap_open(&tap, "/dev/fd/100", &err), -EINVAL);
	assert_string_equal(err.message, "tap \"/dev/fd/100\": \"" NAME "\" isn't attached with "
					 "IFF_TAP, IFF_NO_PI and IFF_VNET_HDR");
	queue(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
	assert_int_equal(tap_open(&tap, "/dev/fd/100", &err), -EINVAL);
	assert_string_equal(err.message, "tap \"/dev/fd/100\": \"" NAME "\" isn't attached with "
					 "IFF_TAP, IFF_NO_PI and IFF_VNET_HDR");
	for (int i = 0; i < 2; i++) {
		fd = open(i ? "/dev/null" : "/dev/net/tun", O_RDWR | O_CLOEXEC);
		assert_int_equal(dup2(fd, 100), 100);
		close(fd);
		assert_int_equal(tap_open(&tap, "/dev/fd/100", &err), -EINVAL);
		assert_string_equal(err.message,
				    "tap \"/dev/fd/100\": not attached to a tap device");
	}
	assert_int_equal(tap.fd, -1);
	assert_int_equal(fcntl(100, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(opens_an_existing_tap, add_tap, delete_tap),
		cmocka_unit_test_setup_teardown(undoes_what_its_last_user_left, add_tap,
						delete_tap),
		cmocka_unit_test_setup_teardown(offload_follows_what_is_set, add_tap, delete_tap),
		cmocka_unit_test(a_missing_tap_is_not_created),
		cmocka_unit_test_setup_teardown(a_tap_deleted_meanwhile_is_not_created_again,
						add_tap, delete_tap),
		cmocka_unit_test(bad_names_are_refused),
		cmocka_unit_test(what_is_no_tap_is_refused),
		cmocka_unit_test_setup_teardown(a_tap_in_use_is_refused, add_tap, delete_tap),
		cmocka_unit_test_setup_teardown(a_tap_of_another_user_is_refused, add_tap,
						delete_tap),
		cmocka_unit_test(an_inherited_queue_is_taken),
		cmocka_unit_test(an_inherited_file_that_is_no_queue_is_refused),
	};

	return cmocka_run_group_tests_name("tap", tests, enter, NULL);
}
