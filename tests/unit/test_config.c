/* SPDX-License-Identifier: Apache-2.0 */
/* The config file: what is taken, and for all else the one line that says why not. */
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

#include "vmm/api/json.h"
#include "vmm/config.h"
#include "vmm/util.h"

#define BOOT	"\"boot-source\": {\"kernel_image_path\": \"/k\"}"
#define MACHINE "\"machine-config\": {\"vcpu_count\": 2, \"mem_size_mib\": 64"
#define DRIVE	"\"drive_id\": \"d\", \"path_on_host\": \"/d\", \"is_root_device\": false"
#define NET	"\"iface_id\": \"e\", \"host_dev_name\": \"tap0\""

static char directory[] = "/tmp/mote-test-config-XXXXXX";
static char path[64];

static int make_directory(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/c.json", directory);
	return 0;
}

static int remove_directory(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(directory);
}

static void write_file(const void *bytes, size_t length)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, length), length);
}

/* Load text and validate it; the config is released by the caller. */
static int read_config(struct config *config, const char *text, struct error *err)
{
	write_file(text, strlen(text));
	config_init(config);
	int ret = config_load_json(config, path, err);

	return ret ? ret : config_validate(config, err);
}

/* The same, for a text that must be refused with this message (behind the name of the file). */
static void assert_refused(const char *text, const char *message)
{
	struct config config;
	struct error err = { 0 };
	char prefix[96];

	assert_true(read_config(&config, text, &err) < 0);
	config_release(&config);
	snprintf(prefix, sizeof(prefix), "config \"%s\": ", path);
	bool from_file = strncmp(err.message, prefix, strlen(prefix)) == 0;

	assert_string_equal(err.message + (from_file ? strlen(prefix) : 0), message);
}

static void defaults_are_the_documented_ones(void **state)
{
	struct config config;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(read_config(&config, "{" BOOT "}", &err), 0);
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
		"\"vsock\": {\"guest_cid\": 3, \"uds_path\": \"/v.sock\", \"vsock_id\": \"v\"},"
		"\"entropy\": {},"
		"\"serial\": {\"serial_out_path\": \"/s.log\"},"
		"\"logger\": {\"log_path\": \"/l.log\", \"level\": \"warn\", \"show_level\": true,"
		" \"show_log_origin\": true},"
		"\"metrics\": {\"metrics_path\": \"/m.fifo\", \"emit_id\": true}}";
	static const uint8_t mac[6] = { 0x06, 0x00, 0xac, 0x10, 0x00, 0xff };
	struct config c;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(read_config(&c, text, &err), 0);
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
		read_config(&config,
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
	assert_int_equal(read_config(&config, text, &err), 0);
	assert_int_equal(strlen(config.boot_source.boot_args), 2047);
	assert_int_equal(config.vsock.guest_cid, UINT32_MAX - 1);
	assert_int_equal(config.nets[0].mtu, UINT16_MAX);
	config_release(&config);
}

struct refusal {
	const char *text;
	const char *message;
};

static void assert_all_refused(const struct refusal *refusals, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_refused(refusals[i].text, refusals[i].message);
}

static void text_that_is_not_json_is_refused_with_its_place(void **state)
{
	static const struct refusal refusals[] = {
		{ "hello", "line 1, column 5: '[' or '{' expected near 'hello'" },
		{ "{\n \"a\": 1\n \"b\": 2}", "line 3, column 4: '}' expected near '\"b\"'" },
		{ "{" BOOT "} x", "line 1, column 46: end of file expected near 'x'" },
		{ "{" BOOT, "line 1, column 43: '}' expected near end of file" },
		{ "{\"drives\": [], \"drives\": []}",
		  "line 1, column 23: duplicate object key near '\"drives\"'" },
		{ "{\"boot-source\": {\"kernel_image_path\": \"/k\\u0000x\"}}",
		  "line 1, column 49: \\u0000 is not allowed without JSON_ALLOW_NUL near "
		  "'\"/k\\u0000x\"'" },
		{ "{\"a\": \"\xff\"}", "line 1, column 7: unable to decode byte 0xff near '\"'" },
		{ "{\"a\": 99999999999999999999}",
		  "line 1, column 26: too big integer near '99999999999999999999'" },
		{ "[]", "expected an object, got an array" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
}

static void unknown_keys_are_refused_by_name(void **state)
{
	static const struct refusal refusals[] = {
		{ "{\"boot_source\": {}}",
		  "unknown key \"boot_source\" (did you mean \"boot-source\"?)" },
		{ "{\"gpu\": {}}", "unknown key \"gpu\"" },
		{ "{\"boot-source\": {\"kernel_image_path\": \"/k\", \"kernel\": \"/k\"}}",
		  "boot-source: unknown key \"kernel\"" },
		{ "{" MACHINE ", \"vcpu_cont\": 1}}",
		  "machine-config: unknown key \"vcpu_cont\" (did you mean \"vcpu_count\"?)" },
		{ "{\"drives\": [{" DRIVE "}, {\"paht_on_host\": \"/d\"}]}",
		  "drives[1]: unknown key \"paht_on_host\" (did you mean \"path_on_host\"?)" },
		{ "{\"drives\": [{" DRIVE ", \"rate_limiter\": {\"iops\": null}}]}",
		  "drives[0]: rate_limiter: unknown key \"iops\" (did you mean \"ops\"?)" },
		{ "{\"drives\": [{" DRIVE ", \"rate_limiter\": {\"ops\": {\"rate\": 1}}}]}",
		  "drives[0]: rate_limiter: ops: unknown key \"rate\"" },
		{ "{\"network-interfaces\": [{\"mac\": \"x\"}]}",
		  "network-interfaces[0]: unknown key \"mac\"" },
		{ "{\"vsock\": {\"cid\": 3}}", "vsock: unknown key \"cid\"" },
		{ "{\"entropy\": {\"rate\": 3}}", "entropy: unknown key \"rate\"" },
		{ "{\"serial\": {\"out\": 3}}", "serial: unknown key \"out\"" },
		{ "{\"logger\": {\"levle\": \"Info\"}}",
		  "logger: unknown key \"levle\" (did you mean \"level\"?)" },
		{ "{\"metrics\": {\"path\": \"x\"}}", "metrics: unknown key \"path\"" },
		{ "{\"\\u001b[2J\\n\": 1}", "unknown key \"?[2J?\"" },
		{ "{\"01234567890123456789012345678901234567890123456789012345678901234567\": 1}",
		  "unknown key "
		  "\"0123456789012345678901234567890123456789012345678901234567890123\"" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
}

static void wrong_types_are_refused_with_both_types(void **state)
{
	static const struct refusal refusals[] = {
		{ "{" MACHINE "}, \"boot-source\": \"/k\"}",
		  "boot-source: expected an object, got a string" },
		{ "{\"boot-source\": {\"kernel_image_path\": 7}}",
		  "boot-source: kernel_image_path: expected a string, got an integer" },
		{ "{\"boot-source\": {\"kernel_image_path\": null}}",
		  "boot-source: kernel_image_path: expected a string, got null" },
		{ "{\"machine-config\": {\"vcpu_count\": \"2\"}}",
		  "machine-config: vcpu_count: expected an integer, got a string" },
		{ "{\"machine-config\": {\"vcpu_count\": 2.0}}",
		  "machine-config: vcpu_count: expected an integer, got a number with a fraction "
		  "or an "
		  "exponent" },
		{ "{\"machine-config\": {\"mem_size_mib\": 1e3}}",
		  "machine-config: mem_size_mib: expected an integer, got a number with a fraction "
		  "or an "
		  "exponent" },
		{ "{\"machine-config\": {\"mem_size_mib\": true}}",
		  "machine-config: mem_size_mib: expected an integer, got true" },
		{ "{\"machine-config\": {\"smt\": 1}}",
		  "machine-config: smt: expected true or false, got an integer" },
		{ "{\"machine-config\": {\"huge_pages\": 2}}",
		  "machine-config: huge_pages: expected a string, got an integer" },
		{ "{\"machine-config\": {\"cpu_template\": {}}}",
		  "machine-config: cpu_template: expected a string, got an object" },
		{ "{\"drives\": {}}", "drives: expected an array, got an object" },
		{ "{\"drives\": [[]]}", "drives[0]: expected an object, got an array" },
		{ "{\"drives\": [null]}", "drives[0]: expected an object, got null" },
		{ "{\"drives\": [{\"rate_limiter\": 5}]}",
		  "drives[0]: rate_limiter: expected an object, got an integer" },
		{ "{\"drives\": [{\"rate_limiter\": {\"bandwidth\": []}}]}",
		  "drives[0]: rate_limiter: bandwidth: expected an object, got an array" },
		{ "{\"network-interfaces\": \"tap0\"}",
		  "network-interfaces: expected an array, got a string" },
		{ "{\"network-interfaces\": [{\"guest_mac\": 6}]}",
		  "network-interfaces[0]: guest_mac: expected a string, got an integer" },
		{ "{\"vsock\": {\"vsock_id\": 1}}",
		  "vsock: vsock_id: expected a string, got an integer" },
		{ "{\"logger\": {\"level\": 3}}",
		  "logger: level: expected a string, got an integer" },
		{ "{\"logger\": {\"show_level\": \"yes\"}}",
		  "logger: show_level: expected true or false, got a string" },
		{ "{\"metrics\": {\"emit_id\": null, \"metrics_path\": false}}",
		  "metrics: metrics_path: expected a string, got false" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
}

static void values_out_of_range_are_refused_with_the_range(void **state)
{
	static const struct refusal refusals[] = {
		{ "{\"machine-config\": {\"vcpu_count\": 0}}",
		  "machine-config: vcpu_count: 0 is out of range (1 to 32)" },
		{ "{\"machine-config\": {\"vcpu_count\": 33}}",
		  "machine-config: vcpu_count: 33 is out of range (1 to 32)" },
		{ "{\"machine-config\": {\"vcpu_count\": -1}}",
		  "machine-config: vcpu_count: -1 is out of range (1 to 32)" },
		{ "{\"machine-config\": {\"vcpu_count\": 4294967297}}",
		  "machine-config: vcpu_count: 4294967297 is out of range (1 to 32)" },
		{ "{\"machine-config\": {\"mem_size_mib\": 0}}",
		  "machine-config: mem_size_mib: 0 is out of range (1 to 261120)" },
		{ "{\"machine-config\": {\"mem_size_mib\": 261121}}",
		  "machine-config: mem_size_mib: 261121 is out of range (1 to 261120)" },
		{ "{\"machine-config\": {\"mem_size_mib\": 9223372036854775807}}",
		  "machine-config: mem_size_mib: 9223372036854775807 is out of range (1 to "
		  "261120)" },
		{ "{\"machine-config\": {\"huge_pages\": \"1G\"}}",
		  "machine-config: huge_pages: \"1G\" is none of \"None\", \"Transparent\", "
		  "\"2M\"" },
		{ "{\"machine-config\": {\"platform\": \"acpi\"}}",
		  "machine-config: platform: \"acpi\" is none of \"Acpi\", \"MpTable\"" },
		{ "{\"machine-config\": {\"cpu_template\": \"T2\"}}",
		  "machine-config: cpu_template: \"T2\": only \"None\" is supported, there are no "
		  "static "
		  "templates" },
		{ "{\"drives\": [{\"cache_type\": \"Safe\"}]}",
		  "drives[0]: cache_type: \"Safe\" is none of \"Unsafe\", \"Writeback\"" },
		{ "{\"drives\": [{\"io_engine\": \"Uring\"}]}",
		  "drives[0]: io_engine: \"Uring\" is none of \"Sync\", \"Async\"" },
		{ "{\"drives\": [{\"rate_limiter\": {\"ops\": {\"size\": -1}}}]}",
		  "drives[0]: rate_limiter: ops: size: -1 is out of range (0 to "
		  "9223372036854775807)" },
		{ "{\"drives\": [{\"rate_limiter\": {\"ops\": {\"refill_time\": 9223372036855}}}]}",
		  "drives[0]: rate_limiter: ops: refill_time: 9223372036855 is out of range (0 to "
		  "9223372036854)" },
		{ "{\"network-interfaces\": [{\"mtu\": 67}]}",
		  "network-interfaces[0]: mtu: 67 is out of range (68 to 65535)" },
		{ "{\"network-interfaces\": [{\"mtu\": 65536}]}",
		  "network-interfaces[0]: mtu: 65536 is out of range (68 to 65535)" },
		{ "{\"vsock\": {\"guest_cid\": 2}}",
		  "vsock: guest_cid: 2 is out of range (3 to 4294967294)" },
		{ "{\"vsock\": {\"guest_cid\": 4294967295}}",
		  "vsock: guest_cid: 4294967295 is out of range (3 to 4294967294)" },
		{ "{\"logger\": {\"level\": \"Loud\"}}",
		  "logger: level: \"Loud\" is none of \"Off\", \"Error\", \"Warning\", \"Info\", "
		  "\"Debug\", "
		  "\"Trace\"" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
}

#define X16 "xxxxxxxxxxxxxxxx"
#define X64 X16 X16 X16 X16

static void strings_of_a_wrong_form_are_refused(void **state)
{
	static const struct refusal refusals[] = {
		{ "{\"boot-source\": {\"kernel_image_path\": \"\"}}",
		  "boot-source: kernel_image_path: is empty" },
		{ "{\"boot-source\": {\"boot_args\": \"a\\nb\"}}",
		  "boot-source: boot_args: byte 1 (0x0a) is not printable ASCII" },
		{ "{\"boot-source\": {\"boot_args\": \"quiet\\t\"}}",
		  "boot-source: boot_args: byte 5 (0x09) is not printable ASCII" },
		{ "{\"boot-source\": {\"boot_args\": \"\xc3\xa9\"}}",
		  "boot-source: boot_args: byte 0 (0xc3) is not printable ASCII" },
		{ "{\"drives\": [{\"drive_id\": \"\"}]}", "drives[0]: drive_id: is empty" },
		{ "{\"drives\": [{\"drive_id\": \"a/b\"}]}",
		  "drives[0]: drive_id: \"a/b\" has more than ASCII letters, digits and _" },
		{ "{\"drives\": [{\"drive_id\": \"a-b\"}]}",
		  "drives[0]: drive_id: \"a-b\" has more than ASCII letters, digits and _" },
		{ "{\"drives\": [{\"drive_id\": \"" X64 "x\"}]}",
		  "drives[0]: drive_id: is 65 bytes long, at most 64 are allowed" },
		{ "{\"drives\": [{\"partuuid\": \"x init=/bin/sh\"}]}",
		  "drives[0]: partuuid: has a space or a quotation mark" },
		{ "{\"drives\": [{\"socket\": \"/s\"}]}",
		  "drives[0]: socket: vhost-user drives are not supported by this version" },
		{ "{\"network-interfaces\": [{\"iface_id\": \"eth 0\"}]}",
		  "network-interfaces[0]: iface_id: \"eth 0\" has more than ASCII letters, digits "
		  "and _" },
		{ "{\"network-interfaces\": [{\"host_dev_name\": \"" X16 "\"}]}",
		  "network-interfaces[0]: host_dev_name: is 16 bytes long, at most 15 are "
		  "allowed" },
		{ "{\"network-interfaces\": [{\"host_dev_name\": \"tap%d\"}]}",
		  "network-interfaces[0]: host_dev_name: \"tap%d\" is no name for a network "
		  "device" },
		{ "{\"network-interfaces\": [{\"host_dev_name\": \"..\"}]}",
		  "network-interfaces[0]: host_dev_name: \"..\" is no name for a network device" },
		{ "{\"network-interfaces\": [{\"host_dev_name\": \"a/b\"}]}",
		  "network-interfaces[0]: host_dev_name: \"a/b\" is no name for a network device" },
		{ "{\"network-interfaces\": [{\"guest_mac\": \"6:0:ac:10:0:2\"}]}",
		  "network-interfaces[0]: guest_mac: \"6:0:ac:10:0:2\" is not of the form "
		  "06:00:ac:10:00:02" },
		{ "{\"network-interfaces\": [{\"guest_mac\": \"06:00:ac:10:00:0g\"}]}",
		  "network-interfaces[0]: guest_mac: \"06:00:ac:10:00:0g\" is not of the form "
		  "06:00:ac:10:00:02" },
		{ "{\"network-interfaces\": [{\"guest_mac\": \"06-00-ac-10-00-02\"}]}",
		  "network-interfaces[0]: guest_mac: \"06-00-ac-10-00-02\" is not of the form "
		  "06:00:ac:10:00:02" },
		{ "{\"network-interfaces\": [{\"guest_mac\": \"01:00:5e:00:00:01\"}]}",
		  "network-interfaces[0]: guest_mac: \"01:00:5e:00:00:01\" is not the address of "
		  "one "
		  "station" },
		{ "{\"network-interfaces\": [{\"guest_mac\": \"00:00:00:00:00:00\"}]}",
		  "network-interfaces[0]: guest_mac: \"00:00:00:00:00:00\" is not the address of "
		  "one "
		  "station" },
		{ "{\"vsock\": {\"guest_cid\": 3, \"uds_path\": \"" X64 X16 X16 "x\"}}",
		  "vsock: uds_path: is 97 bytes long, at most 96 are allowed" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
}

static void missing_keys_are_refused_by_name(void **state)
{
	static const struct refusal refusals[] = {
		{ "{}", "missing key \"boot-source\"" },
		{ "{\"boot-source\": {}}", "boot-source: missing key \"kernel_image_path\"" },
		{ "{\"machine-config\": {\"vcpu_count\": 1}}",
		  "machine-config: missing key \"mem_size_mib\"" },
		{ "{\"machine-config\": {\"mem_size_mib\": 1}}",
		  "machine-config: missing key \"vcpu_count\"" },
		{ "{\"drives\": [{}]}", "drives[0]: missing key \"drive_id\"" },
		{ "{\"drives\": [{\"drive_id\": \"a\", \"is_root_device\": true}]}",
		  "drives[0]: missing key \"path_on_host\"" },
		{ "{\"drives\": [{\"drive_id\": \"a\", \"path_on_host\": \"/a\"}]}",
		  "drives[0]: missing key \"is_root_device\"" },
		{ "{\"drives\": [{" DRIVE ", \"rate_limiter\": {\"ops\": {\"size\": 1}}}]}",
		  "drives[0]: rate_limiter: ops: missing key \"refill_time\"" },
		{ "{\"network-interfaces\": [{\"iface_id\": \"a\"}]}",
		  "network-interfaces[0]: missing key \"host_dev_name\"" },
		{ "{\"vsock\": {\"guest_cid\": 3}}", "vsock: missing key \"uds_path\"" },
		{ "{\"metrics\": {}}", "metrics: missing key \"metrics_path\"" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
}

#define BUCKET "{\"size\": 1, \"refill_time\": 1}"

static void what_this_version_lacks_is_refused_not_ignored(void **state)
{
	static const struct refusal refusals[] = {
		{ "{\"balloon\": {\"amount_mib\": 1}}",
		  "balloon: not supported yet by this version" },
		{ "{\"mmds-config\": {}}", "mmds-config: not supported yet by this version" },
		{ "{\"pmem\": [{}]}", "pmem: not supported yet by this version" },
		{ "{\"cpu-config\": \"/t.json\"}",
		  "cpu-config: not supported yet by this version" },
		{ "{\"memory-hotplug\": {}}", "memory-hotplug: not supported yet by this version" },
		{ "{\"logger\": {\"module\": \"x\"}}",
		  "logger: module: not supported yet by this version" },
		{ "{\"metrics\": {\"properties\": {}}}",
		  "metrics: properties: not supported yet by this version" },
		{ "{" BOOT ", \"drives\": [{" DRIVE ", \"rate_limiter\": {\"ops\": " BUCKET "}}]}",
		  "drives[0]: rate_limiter: rate limits are not supported yet by this version" },
		{ "{" BOOT ", \"drives\": [{" DRIVE ", \"rate_limiter\": {\"bandwidth\": " BUCKET
		  "}}]}",
		  "drives[0]: rate_limiter: rate limits are not supported yet by this version" },
		{ "{" BOOT ", \"network-interfaces\": [{" NET
		  ", \"rx_rate_limiter\": {\"ops\": " BUCKET "}}]}",
		  "network-interfaces[0]: rx_rate_limiter: rate limits are not supported yet by "
		  "this "
		  "version" },
		{ "{" BOOT ", \"network-interfaces\": [{" NET
		  ", \"tx_rate_limiter\": {\"ops\": " BUCKET "}}]}",
		  "network-interfaces[0]: tx_rate_limiter: rate limits are not supported yet by "
		  "this "
		  "version" },
		{ "{" BOOT ", \"entropy\": {\"rate_limiter\": {\"ops\": " BUCKET "}}}",
		  "entropy: rate_limiter: rate limits are not supported yet by this version" },
		{ "{" BOOT ", \"serial\": {\"rate_limiter\": " BUCKET "}}",
		  "serial: rate_limiter: rate limits are not supported yet by this version" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
}

static void rate_limiters_that_limit_nothing_are_taken(void **state)
{
	struct config config;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(
		read_config(
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

static void rules_between_values_hold(void **state)
{
	static const struct refusal refusals[] = {
		{ "{" BOOT
		  ", \"machine-config\": {\"vcpu_count\": 3, \"mem_size_mib\": 1, \"smt\": true}}",
		  "machine-config: vcpu_count: 3 is neither 1 nor even, as smt needs" },
		{ "{" BOOT ", \"machine-config\": {\"vcpu_count\": 1, \"mem_size_mib\": 129,"
		  " \"huge_pages\": \"2M\"}}",
		  "machine-config: mem_size_mib: 129 is not a multiple of 2, as huge_pages \"2M\" "
		  "needs" },
		{ "{" BOOT ", \"drives\": [{" DRIVE "}, {" DRIVE "}]}",
		  "drives[1]: drive_id: \"d\" is already that of drives[0]" },
		{ "{" BOOT ", \"drives\": [{\"drive_id\": \"a\", \"path_on_host\": \"/a\","
		  " \"is_root_device\": true}, {" DRIVE "}, {\"drive_id\": \"b\", \"path_on_host\":"
		  " \"/b\", \"is_root_device\": true}]}",
		  "drives[2]: is_root_device: drives[0] is the root already" },
		{ "{" BOOT ", \"network-interfaces\": [{" NET "}, {" NET "}]}",
		  "network-interfaces[1]: iface_id: \"e\" is already that of "
		  "network-interfaces[0]" },
		{ "{" BOOT ", \"network-interfaces\": [{" NET "}, {\"iface_id\": \"f\","
		  " \"host_dev_name\": \"tap0\"}]}",
		  "network-interfaces[1]: host_dev_name: \"tap0\" is already that of "
		  "network-interfaces[0]" },
		{ "{" BOOT ", \"network-interfaces\": [{" NET
		  ", \"guest_mac\": \"0A:00:00:00:00:01\"},"
		  " {\"iface_id\": \"f\", \"host_dev_name\": \"tap1\", \"guest_mac\":"
		  " \"0a:00:00:00:00:01\"}]}",
		  "network-interfaces[1]: guest_mac: \"0a:00:00:00:00:01\" is already that of "
		  "network-interfaces[0]" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
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

	assert_int_equal(read_config(&config, "{" BOOT "}", &err), 0);
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
	assert_int_equal(read_config(&config, text, &err), 0);
	assert_int_equal(config.n_drives, 17);
	config_release(&config);
	many_devices(text, sizeof(text), 18);
	assert_refused(text, "too many devices: 20 of at most 19");
	many_devices(text, sizeof(text), 20);
	assert_refused(text, "drives[19]: too many devices: 20 of at most 19");
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
	assert_int_equal(config_load_json(&config, directory, &err), -EISDIR);
	snprintf(expected, sizeof(expected), "config \"%s\": read: Is a directory", directory);
	assert_string_equal(err.message, expected);
	assert_refused("", "empty");

	/* As large as allowed: it isn't the size that's wrong then. */
	memset(large, ' ', sizeof(large));
	write_file(large, sizeof(large) - 1);
	assert_int_equal(config_load_json(&config, path, &err), -EINVAL);
	assert_non_null(strstr(err.message, "expected near end of file"));
	write_file(large, sizeof(large));
	assert_int_equal(config_load_json(&config, path, &err), -EFBIG);
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
		cmocka_unit_test(limits_themselves_are_allowed),
		cmocka_unit_test(text_that_is_not_json_is_refused_with_its_place),
		cmocka_unit_test(unknown_keys_are_refused_by_name),
		cmocka_unit_test(wrong_types_are_refused_with_both_types),
		cmocka_unit_test(values_out_of_range_are_refused_with_the_range),
		cmocka_unit_test(strings_of_a_wrong_form_are_refused),
		cmocka_unit_test(missing_keys_are_refused_by_name),
		cmocka_unit_test(what_this_version_lacks_is_refused_not_ignored),
		cmocka_unit_test(rate_limiters_that_limit_nothing_are_taken),
		cmocka_unit_test(rules_between_values_hold),
		cmocka_unit_test(more_memory_than_the_host_has_is_refused),
		cmocka_unit_test(devices_are_counted_together),
		cmocka_unit_test(files_that_cannot_be_read_are_refused),
		cmocka_unit_test(a_pipe_is_as_good_as_a_file),
		cmocka_unit_test(objects_replace_and_errors_leave_them),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
