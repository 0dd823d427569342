/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: files, texts that are taken, limits. What is refused: test_config_refused.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include <cmocka.h>

#include "config_text.h"
#include "vmm/api/json.h"
#include "vmm/config.h"
#include "vmm/util.h"

static void defaults_are_the_documented_ones(void **state)
{
	struct config config;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(config_text_read(&config, "{" BOOT "}", &err), 0);
	assert_string_equal(config.boot_source.kernel_image_path, "/k");
	assert_null(config.boot_source.initrd_path);
	assert_null(config.boot_source.boot_args);
	assert_int_equal(config.machine.vcpu_count, 1);
	assert_int_equal(config.machine.mem_size_mib, 128);
	assert_int_equal(config.machine.huge_pages, MEMORY_BACKING_NONE);
	assert_int_equal(config.machine.platform, CONFIG_PLATFORM_ACPI);
	assert_false(config.machine.smt || config.machine.track_dirty_pages);
	assert_int_equal(config.n_drives + config.n_nets, 0);
	assert_false(config.vsock.set || config.entropy.set || config.serial.set);
	assert_false(config.logger.set || config.metrics.set);
	assert_int_equal(config.logger.level, LOG_INFO);
	config_release(&config);
}

static void every_key_reaches_its_field(void **state)
{
	static const char text[] =
		"{\"boot-source\": {\"kernel_image_path\": \"/vmlinux\", \"initrd_path\": "
		"\"/initrd\","
		" \"boot_args\": \"console=ttyS0 quiet\"},"
		"\"machine-config\": {\"vcpu_count\": 4, \"mem_size_mib\": 66, \"smt\": true,"
		" \"track_dirty_pages\": true, \"huge_pages\": \"2M\", \"platform\": \"MpTable\","
		" \"cpu_template\": \"None\"},"
		"\"drives\": [{\"drive_id\": \"rootfs\", \"path_on_host\": \"/r.ext4\","
		" \"is_root_device\": true, \"is_read_only\": true, \"partuuid\": \"0eaa91a0-01\","
		" \"cache_type\": \"Writeback\", \"io_engine\": \"Async\"},"
		" {\"drive_id\": \"b_2\", \"path_on_host\": \"/b\", \"is_root_device\": false}],"
		"\"network-interfaces\": [{\"iface_id\": \"eth0\", \"host_dev_name\": "
		"\"tap-mote.0\","
		" \"guest_mac\": \"06:00:aC:10:00:fF\", \"mtu\": 1500}],"
		"\"vsock\": {\"guest_cid\": 3, \"uds_path\": \"/v.sock\", \"vsock_id\": \"v\","
		" \"guest_ports\": [{\"port\": 1024, \"fd\": 7}, {\"port\": 4294967294, \"fd\": 3}]},"
		"\"entropy\": {},"
		"\"balloon\": {\"amount_mib\": 66, \"deflate_on_oom\": true,"
		" \"stats_polling_interval_s\": 65535, \"free_page_hinting\": true,"
		" \"free_page_reporting\": true},"
		"\"serial\": {\"serial_out_path\": \"/s.log\"},"
		"\"logger\": {\"log_path\": \"/l.log\", \"level\": \"warn\", \"show_level\": true,"
		" \"show_log_origin\": true},"
		"\"metrics\": {\"metrics_path\": \"/m.fifo\", \"emit_id\": true}}";
	static const uint8_t mac[6] = { 0x06, 0x00, 0xac, 0x10, 0x00, 0xff };
	struct config c;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(config_text_read(&c, text, &err), 0);
	assert_string_equal(c.boot_source.kernel_image_path, "/vmlinux");
	assert_string_equal(c.boot_source.initrd_path, "/initrd");
	assert_string_equal(c.boot_source.boot_args, "console=ttyS0 quiet");
	assert_int_equal(c.machine.vcpu_count, 4);
	assert_int_equal(c.machine.mem_size_mib, 66);
	assert_true(c.machine.smt && c.machine.track_dirty_pages);
	assert_int_equal(c.machine.huge_pages, MEMORY_BACKING_HUGETLB_2M);
	assert_int_equal(c.machine.platform, CONFIG_PLATFORM_MPTABLE);
	assert_int_equal(c.n_drives, 2);
	assert_string_equal(c.drives[0].drive_id, "rootfs");
	assert_string_equal(c.drives[0].path_on_host, "/r.ext4");
	assert_string_equal(c.drives[0].partuuid, "0eaa91a0-01");
	assert_true(c.drives[0].is_root_device && c.drives[0].is_read_only);
	assert_int_equal(c.drives[0].cache_type, CONFIG_CACHE_WRITEBACK);
	assert_int_equal(c.drives[0].io_engine, CONFIG_IO_ASYNC);
	assert_string_equal(c.drives[1].drive_id, "b_2");
	assert_false(c.drives[1].is_root_device || c.drives[1].is_read_only);
	assert_int_equal(c.drives[1].cache_type, CONFIG_CACHE_UNSAFE);
	assert_int_equal(c.drives[1].io_engine, CONFIG_IO_SYNC);
	assert_null(c.drives[1].partuuid);
	assert_int_equal(c.n_nets, 1);
	assert_string_equal(c.nets[0].iface_id, "eth0");
	assert_string_equal(c.nets[0].host_dev_name, "tap-mote.0");
	assert_true(c.nets[0].has_mac);
	assert_memory_equal(c.nets[0].guest_mac, mac, sizeof(mac));
	assert_int_equal(c.nets[0].mtu, 1500);
	assert_true(c.vsock.set && c.entropy.set && c.serial.set);
	assert_int_equal(c.vsock.guest_cid, 3);
	assert_string_equal(c.vsock.uds_path, "/v.sock");
	assert_int_equal(c.vsock.n_guest_ports, 2);
	assert_int_equal(c.vsock.guest_ports[0].port, 1024);
	assert_int_equal(c.vsock.guest_ports[0].fd, 7);
	assert_int_equal(c.vsock.guest_ports[1].port, 4294967294);
	assert_int_equal(c.vsock.guest_ports[1].fd, 3);
	assert_true(c.balloon.set && c.balloon.deflate_on_oom);
	assert_int_equal(c.balloon.amount_mib, 66);
	assert_int_equal(c.balloon.stats_polling_interval_s, 65535);
	assert_true(c.balloon.free_page_hinting && c.balloon.free_page_reporting);
	assert_string_equal(c.serial.serial_out_path, "/s.log");
	assert_true(c.logger.set && c.logger.show_level && c.logger.show_log_origin);
	assert_string_equal(c.logger.log_path, "/l.log");
	assert_int_equal(c.logger.level, LOG_WARN);
	assert_true(c.metrics.set && c.metrics.emit_id);
	assert_string_equal(c.metrics.metrics_path, "/m.fifo");
	config_release(&c);
	assert_null(c.boot_source.kernel_image_path);
	assert_int_equal(c.n_drives, 0);
}

static void null_and_nothing_are_the_same_where_a_key_is_optional(void **state)
{
	struct config config;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(
		config_text_read(&config,
				 "{\"boot-source\": {\"kernel_image_path\": \"/k\","
				 " \"initrd_path\": null, \"boot_args\": null}, \"balloon\": null,"
				 " \"cpu-config\": null, \"mmds-config\": null, \"pmem\": [],"
				 " \"memory-hotplug\": null, \"vsock\": null, \"entropy\": null,"
				 " \"machine-config\": null, \"drives\": [{" DRIVE
				 ", \"rate_limiter\": null, \"socket\": null,"
				 " \"partuuid\": null}], \"network-interfaces\": [{" NET
				 ", \"guest_mac\": null, \"mtu\": null}]}",
				 &err),
		0);
	assert_false(config.vsock.set || config.entropy.set || config.nets[0].has_mac);
	assert_int_equal(config.machine.mem_size_mib, 128);
	config_release(&config);
}

static void metadata_service(void **state)
{
	struct config config;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(config_text_read(&config,
					  "{" BOOT ", \"network-interfaces\": [{" NET "}], \"mmds-config\":"
					  " {\"network_interfaces\": [\"e\"], \"version\": null}}",
					  &err),
			 0);
	assert_true(config.mmds.set);
	assert_int_equal(config.mmds.version, CONFIG_MMDS_V1);
	assert_int_equal(config.mmds.ipv4_address, 0xa9fea9fe);
	assert_false(config.mmds.imds_compat);
	assert_int_equal(config.mmds.n_network_interfaces, 1);
	assert_string_equal(config.mmds.network_interfaces[0], "e");
	config_release(&config);
	assert_int_equal(config.mmds.n_network_interfaces, 0);

	/* The interfaces may come behind it; one that's named twice is one. */
	assert_int_equal(config_text_read(&config,
					  "{" BOOT ", \"mmds-config\": {\"network_interfaces\": [\"f\","
					  " \"e\", \"f\"], \"version\": \"V2\", \"imds_compat\": true,"
					  " \"ipv4_address\": \"169.254.1.0\"}, \"network-interfaces\": [{" NET
					  "}, {\"iface_id\": \"f\", \"host_dev_name\": \"t\"}]}",
					  &err),
			 0);
	assert_int_equal(config.mmds.version, CONFIG_MMDS_V2);
	assert_int_equal(config.mmds.ipv4_address, 0xa9fe0100);
	assert_true(config.mmds.imds_compat);
	assert_int_equal(config.mmds.n_network_interfaces, 2);
	assert_string_equal(config.mmds.network_interfaces[0], "f");
	assert_string_equal(config.mmds.network_interfaces[1], "e");
	config_release(&config);
}

static void limits_themselves_are_allowed(void **state)
{
	struct config config;
	struct error err = { 0 };
	char text[8192], args[CONFIG_CMDLINE_MAX], id[CONFIG_ID_MAX + 1];
	char uds[CONFIG_UDS_PATH_MAX + 1];

	(void)state;
	memset(args, 'a', sizeof(args));
	args[sizeof(args) - 1] = 0;
	memset(id, 'i', sizeof(id));
	id[sizeof(id) - 1] = 0;
	memset(uds, 'u', sizeof(uds));
	uds[sizeof(uds) - 1] = 0;
	snprintf(text, sizeof(text),
		 "{\"boot-source\": {\"kernel_image_path\": \"k\", \"boot_args\": \"%s\"},"
		 "\"machine-config\": {\"vcpu_count\": 32, \"mem_size_mib\": 1},"
		 "\"drives\": [{\"drive_id\": \"%s\", \"path_on_host\": \"/d\","
		 " \"is_root_device\": true}],"
		 "\"network-interfaces\": [{\"iface_id\": \"%s\", \"host_dev_name\":"
		 " \"tap0123456789ab\", \"mtu\": 65535}, {\"iface_id\": \"j\", \"host_dev_name\":"
		 " \"t\", \"mtu\": 68}],"
		 "\"vsock\": {\"guest_cid\": 4294967294, \"uds_path\": \"%s\"}}",
		 args, id, id, uds);
	assert_int_equal(config_text_read(&config, text, &err), 0);
	assert_int_equal(strlen(config.boot_source.boot_args), 2047);
	assert_int_equal(config.vsock.guest_cid, UINT32_MAX - 1);
	assert_int_equal(config.nets[0].mtu, UINT16_MAX);
	config_release(&config);
}

static void rate_limiters_that_limit_nothing_are_taken(void **state)
{
	struct config config;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(
		config_text_read(
			&config,
			"{" BOOT ", \"drives\": [{" DRIVE
			", \"rate_limiter\": {\"bandwidth\": {\"size\": 0, \"one_time_burst\": 5,"
			" \"refill_time\": 7}, \"ops\": null}}], \"entropy\": {\"rate_limiter\": "
			"{}}}",
			&err),
		0);
	assert_true(config.drives[0].rate_limiter.bandwidth.set);
	assert_int_equal(config.drives[0].rate_limiter.bandwidth.one_time_burst, 5);
	assert_int_equal(config.drives[0].rate_limiter.bandwidth.refill_time_ms, 7);
	assert_false(config.drives[0].rate_limiter.ops.set);
	config_release(&config);
}

#define BUCKET(size) "{\"size\": " size ", \"refill_time\": 100}"

static void every_rate_limiter_is_taken(void **state)
{
	struct config config;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(
		config_text_read(
			&config,
			"{" BOOT ", \"drives\": [{" DRIVE ", \"rate_limiter\": {\"ops\": " BUCKET("1")
			"}}], \"network-interfaces\": [{" NET ", \"rx_rate_limiter\": {\"ops\": "
			BUCKET("2") "}, \"tx_rate_limiter\": {\"bandwidth\": " BUCKET("3")
			"}}], \"entropy\": {\"rate_limiter\": {\"bandwidth\": " BUCKET("4")
			"}}, \"serial\": {\"rate_limiter\": " BUCKET("5") "}}",
			&err),
		0);
	assert_int_equal(config.drives[0].rate_limiter.ops.size, 1);
	assert_int_equal(config.nets[0].rx_rate_limiter.ops.size, 2);
	assert_int_equal(config.nets[0].tx_rate_limiter.bandwidth.size, 3);
	assert_int_equal(config.entropy.rate_limiter.bandwidth.size, 4);
	assert_int_equal(config.serial.rate_limiter.size, 5);
	assert_int_equal(config.serial.rate_limiter.refill_time_ms, 100);
	assert_false(config.nets[0].tx_rate_limiter.ops.set);
	config_release(&config);
}

static void more_memory_than_the_host_has_is_refused(void **state)
{
	struct config config;
	struct error err = { 0 };
	struct sysinfo host;
	char expected[160];

	(void)state;
	assert_int_equal(sysinfo(&host), 0);
	uint64_t host_mib = (uint64_t)host.totalram * host.mem_unit / MIB;

	assert_int_equal(config_text_read(&config, "{" BOOT "}", &err), 0);
	config.machine.mem_size_mib = host_mib;
	assert_int_equal(config_validate(&config, &err), 0);
	config.machine.mem_size_mib = host_mib + 1;
	assert_int_equal(config_validate(&config, &err), -EINVAL);
	snprintf(expected, sizeof(expected),
		 "machine-config: mem_size_mib: %ju is more than the host has (%ju)",
		 (uintmax_t)host_mib + 1, (uintmax_t)host_mib);
	assert_string_equal(err.message, expected);
	config_release(&config);
}

/* A config with so many drives and one each of the rest. */
static void many_devices(char *text, size_t size, unsigned int n_drives)
{
	size_t len = (size_t)snprintf(text, size, "{" BOOT ", \"entropy\": {}, \"drives\": [");

	for (unsigned int i = 0; i < n_drives; i++)
		len += (size_t)snprintf(text + len, size - len,
					"%s{\"drive_id\": \"d%u\", \"path_on_host\": \"/d\","
					" \"is_root_device\": false}",
					i ? "," : "", i);
	snprintf(text + len, size - len, "], \"network-interfaces\": [{" NET "}]}");
}

static void devices_are_counted_together(void **state)
{
	struct config config;
	struct error err = { 0 };
	char text[4096];

	(void)state;
	many_devices(text, sizeof(text), 17);
	assert_int_equal(config_text_read(&config, text, &err), 0);
	assert_int_equal(config.n_drives, 17);
	config_release(&config);
	many_devices(text, sizeof(text), 18);
	config_text_refused(text, "too many devices: 20 of at most 19");
	many_devices(text, sizeof(text), 20);
	config_text_refused(text, "drives[19]: too many devices: 20 of at most 19");
}

static void files_that_cannot_be_read_are_refused(void **state)
{
	struct config config;
	struct error err = { 0 };
	char expected[160];
	static char large[CONFIG_FILE_MAX + 1];

	(void)state;
	config_init(&config);
	assert_int_equal(config_load_json(&config, "/nonexistent/c.json", &err), -ENOENT);
	assert_string_equal(err.message,
			    "config \"/nonexistent/c.json\": open: No such file or directory");
	assert_int_equal(config_load_json(&config, config_text_directory, &err), -EISDIR);
	snprintf(expected, sizeof(expected), "config \"%s\": read: Is a directory",
		 config_text_directory);
	assert_string_equal(err.message, expected);
	config_text_refused("", "empty");

	/* As large as allowed: it isn't the size that's wrong then. */
	memset(large, ' ', sizeof(large));
	config_text_write(large, sizeof(large) - 1);
	assert_int_equal(config_load_json(&config, config_text_path, &err), -EINVAL);
	assert_non_null(strstr(err.message, "expected near end of file"));
	config_text_write(large, sizeof(large));
	assert_int_equal(config_load_json(&config, config_text_path, &err), -EFBIG);
	assert_non_null(strstr(err.message, "larger than 1024 KiB"));
	config_release(&config);
}

static void a_pipe_is_as_good_as_a_file(void **state)
{
	static const char text[] = "{" BOOT "}";
	struct config config;
	struct error err = { 0 };
	char name[32];
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], text, sizeof(text) - 1), sizeof(text) - 1);
	close(fds[1]);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fds[0]);
	config_init(&config);
	assert_int_equal(config_load_json(&config, name, &err), 0);
	assert_string_equal(config.boot_source.kernel_image_path, "/k");
	close(fds[0]);
	config_release(&config);
}

static void objects_replace_and_errors_leave_them(void **state)
{
	struct config_drive drive = { 0 };
	struct error err = { 0 };
	json_t *first = NULL, *second = NULL, *bad = NULL;
	static const char a[] = "{\"drive_id\": \"a\", \"path_on_host\": \"/a\","
				" \"is_root_device\": true, \"is_read_only\": true}";
	static const char b[] = "{\"drive_id\": \"b\", \"path_on_host\": \"/b\","
				" \"is_root_device\": false}";
	static const char c[] = "{\"drive_id\": \"c\", \"path_on_host\": 1}";

	(void)state;
	assert_int_equal(config_json_text(&first, a, strlen(a), &err), 0);
	assert_int_equal(config_json_text(&second, b, strlen(b), &err), 0);
	assert_int_equal(config_json_text(&bad, c, strlen(c), &err), 0);
	assert_int_equal(config_json_drive(&drive, first, &err), 0);
	assert_int_equal(config_json_drive(&drive, bad, &err), -EINVAL);
	assert_string_equal(err.message, "path_on_host: expected a string, got an integer");
	assert_string_equal(drive.drive_id, "a");
	assert_int_equal(config_json_drive(&drive, second, &err), 0);
	assert_string_equal(drive.path_on_host, "/b");
	assert_false(drive.is_read_only || drive.is_root_device);
	config_drive_release(&drive);
	json_decref(first);
	json_decref(second);
	json_decref(bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_the_documented_ones),
		cmocka_unit_test(every_key_reaches_its_field),
		cmocka_unit_test(null_and_nothing_are_the_same_where_a_key_is_optional),
		cmocka_unit_test(metadata_service),
		cmocka_unit_test(limits_themselves_are_allowed),
		cmocka_unit_test(rate_limiters_that_limit_nothing_are_taken),
		cmocka_unit_test(every_rate_limiter_is_taken),
		cmocka_unit_test(more_memory_than_the_host_has_is_refused),
		cmocka_unit_test(devices_are_counted_together),
		cmocka_unit_test(files_that_cannot_be_read_are_refused),
		cmocka_unit_test(a_pipe_is_as_good_as_a_file),
		cmocka_unit_test(objects_replace_and_errors_leave_them),
	};

	return cmocka_run_group_tests(tests, config_text_setup, config_text_teardown);
}
