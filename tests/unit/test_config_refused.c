/* SPDX-License-Identifier: Apache-2.0 */
/* What a configuration may not say, and the line that each mistake gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config_text.h"
#include "vmm/util.h"

struct refusal {
	const char *text;
	const char *message;
};

static void assert_all_refused(const struct refusal *refusals, size_t n)
{
	for (size_t i = 0; i < n; i++)
		config_text_refused(refusals[i].text, refusals[i].message);
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
		{ "{\"balloon\": {\"deflate_on_oom\": 1}}",
		  "balloon: deflate_on_oom: expected true or false, got an integer" },
		{ "{\"balloon\": []}", "balloon: expected an object, got an array" },
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
		{ "{\"network-interfaces\": [{\"host_dev_name\": \"/dev/fd/07\"}]}",
		  "network-interfaces[0]: host_dev_name: \"/dev/fd/07\" is no name for a network "
		  "device" },
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
		{ "{\"vsock\": {\"guest_ports\": [{\"port\": 1, \"fd\": 2}]}}",
		  "vsock: guest_ports[0]: fd: 2 is out of range (3 to 2147483647)" },
		{ "{\"vsock\": {\"guest_ports\": [{\"port\": 1, \"fd\": 3}, {\"port\": 1, "
		  "\"fd\": 4}]}}",
		  "vsock: guest_ports[1]: port: 1 is already that of guest_ports[0]" },
		{ "{\"vsock\": {\"guest_ports\": ["
		  "{\"port\": 1, \"fd\": 3}, {\"port\": 2, \"fd\": 3},"
		  "{\"port\": 3, \"fd\": 3}, {\"port\": 4, \"fd\": 3},"
		  "{\"port\": 5, \"fd\": 3}, {\"port\": 6, \"fd\": 3},"
		  "{\"port\": 7, \"fd\": 3}, {\"port\": 8, \"fd\": 3},"
		  "{\"port\": 9, \"fd\": 3}]}}",
		  "vsock: guest_ports[8]: at most 8 are possible" },
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
		{ "{\"vsock\": {\"guest_cid\": 3, \"guest_ports\": []}}",
		  "vsock: missing key \"uds_path\"" },
		{ "{\"vsock\": {\"guest_ports\": [{\"fd\": 3}]}}",
		  "vsock: guest_ports[0]: missing key \"port\"" },
		{ "{\"vsock\": {\"guest_ports\": [{\"port\": 3}]}}",
		  "vsock: guest_ports[0]: missing key \"fd\"" },
		{ "{\"metrics\": {}}", "metrics: missing key \"metrics_path\"" },
		{ "{\"balloon\": {\"amount_mib\": 1}}",
		  "balloon: missing key \"deflate_on_oom\"" },
		{ "{\"balloon\": {\"deflate_on_oom\": true}}",
		  "balloon: missing key \"amount_mib\"" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
}

static void metadata_service_is_where_it_can_be(void **state)
{
#define MMDS(more) "{" BOOT ", \"network-interfaces\": [{" NET "}], \"mmds-config\": {" more "}}"
	static const struct refusal refusals[] = {
		{ MMDS(""), "mmds-config: missing key \"network_interfaces\"" },
		{ MMDS("\"network_interfaces\": []"), "mmds-config: network_interfaces: is empty" },
		{ MMDS("\"network_interfaces\": \"e\""),
		  "mmds-config: network_interfaces: expected an array, got a string" },
		{ MMDS("\"network_interfaces\": [1]"),
		  "mmds-config: network_interfaces[0]: expected a string, got an integer" },
		{ MMDS("\"network_interfaces\": [\"e\", \"f\"]"),
		  "mmds-config: network_interfaces[1]: no network interface is called \"f\"" },
		{ MMDS("\"network_interfaces\": [\"e\"], \"version\": \"V3\""),
		  "mmds-config: version: \"V3\" is none of \"V1\", \"V2\"" },
		{ MMDS("\"network_interfaces\": [\"e\"], \"ipv4_address\": 1"),
		  "mmds-config: ipv4_address: expected a string, got an integer" },
		{ MMDS("\"network_interfaces\": [\"e\"], \"ipv4_address\": \"169.254.1\""),
		  "mmds-config: ipv4_address: \"169.254.1\" is not an IPv4 address" },
		{ MMDS("\"network_interfaces\": [\"e\"], \"ipv4_address\": \"169.254.0.255\""),
		  "mmds-config: ipv4_address: \"169.254.0.255\" is not link-local (169.254.1.0 to "
		  "169.254.254.255)" },
		{ MMDS("\"network_interfaces\": [\"e\"], \"ipv4_address\": \"169.254.255.0\""),
		  "mmds-config: ipv4_address: \"169.254.255.0\" is not link-local (169.254.1.0 to "
		  "169.254.254.255)" },
		{ MMDS("\"network_interfaces\": [\"e\"], \"ipv4_address\": \"10.0.0.1\""),
		  "mmds-config: ipv4_address: \"10.0.0.1\" is not link-local (169.254.1.0 to "
		  "169.254.254.255)" },
		{ MMDS("\"network_interfaces\": [\"e\"], \"imds_compat\": 1"),
		  "mmds-config: imds_compat: expected true or false, got an integer" },
		{ MMDS("\"network_interfaces\": [\"e\"], \"data\": 1"),
		  "mmds-config: unknown key \"data\"" },
		{ "{" BOOT ", \"mmds-config\": {\"network_interfaces\": [\"e\"]}}",
		  "mmds-config: network_interfaces[0]: no network interface is called \"e\"" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
}

static void what_this_version_lacks_is_refused_not_ignored(void **state)
{
	static const struct refusal refusals[] = {
		{ "{\"pmem\": [{}]}", "pmem: not supported yet by this version" },
		{ "{\"cpu-config\": \"/t.json\"}",
		  "cpu-config: not supported yet by this version" },
		{ "{\"memory-hotplug\": {}}", "memory-hotplug: not supported yet by this version" },
	};

	(void)state;
	assert_all_refused(refusals, ARRAY_SIZE(refusals));
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
		{ "{" BOOT ", \"balloon\": {\"amount_mib\": 129, \"deflate_on_oom\": true}}",
		  "balloon: amount_mib: 129 is more than the machine's mem_size_mib (128)" },
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_that_is_not_json_is_refused_with_its_place),
		cmocka_unit_test(unknown_keys_are_refused_by_name),
		cmocka_unit_test(wrong_types_are_refused_with_both_types),
		cmocka_unit_test(values_out_of_range_are_refused_with_the_range),
		cmocka_unit_test(strings_of_a_wrong_form_are_refused),
		cmocka_unit_test(missing_keys_are_refused_by_name),
		cmocka_unit_test(metadata_service_is_where_it_can_be),
		cmocka_unit_test(what_this_version_lacks_is_refused_not_ignored),
		cmocka_unit_test(rules_between_values_hold),
	};

	return cmocka_run_group_tests(tests, config_text_setup, config_text_teardown);
}
