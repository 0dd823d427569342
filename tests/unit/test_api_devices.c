/* SPDX-License-Identifier: Apache-2.0 */
/* Balloon and metadata by the API: a real balloon behind the test's driver, a real store. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/virtio_balloon.h>

#include "balloon_rig.h"
#include "devices/mmds/service.h"
#include "vmm/api/json.h"
#include "vmm/api/routes.h"

#define AFTER  "The requested operation is not supported after starting the microVM."
#define BEFORE "The requested operation is not supported before starting the microVM."
#define LIMIT  40 /* bytes of metadata */

struct fake {
	enum vm_state state;
	struct virtio_device *device;
	struct config config;
	struct mmds mmds;
	struct api api;
};

static enum vm_state state_of(void *context)
{
	return ((struct fake *)context)->state;
}

static struct virtio_device *balloon_of(void *context)
{
	return ((struct fake *)context)->device;
}

static const struct api_actions actions = { .state = state_of, .balloon = balloon_of };

static void begin(struct fake *f)
{
	memset(f, 0, sizeof(*f));
	config_init(&f->config);
	assert_int_equal(mmds_init(&f->mmds, LIMIT, NULL), 0);
	f->api = (struct api){ &f->config, "vm-1", &actions, f, &f->mmds };
}

static void end(struct fake *f)
{
	config_release(&f->config);
	mmds_release(&f->mmds);
}

/* "STATUS BODY" of the answer to "METHOD PATH [BODY]". */
static const char *ask(struct fake *f, const char *text)
{
	static char answer[8192];
	char method[16], path[512];
	int n = 0;

	assert_int_equal(sscanf(text, "%15s %511s%n", method, path, &n), 2);
	const char *body = text[n] == ' ' ? text + n + 1 : NULL;
	const struct api_request request = { method, path, body, body ? strlen(body) : 0 };
	struct api_response response = { 0 };

	api_handle(&f->api, &request, &response);
	snprintf(answer, sizeof(answer), "%u%s%.*s", response.status, response.body ? " " : "",
		 (int)response.body_length, response.body ? response.body : "");
	free(response.body);
	return answer;
}

#define refused(f, text, message) assert_string_equal(ask(f, text), "400 {\"fault_message\":\"" message "\"}")
#define done(f, text)		  assert_string_equal(ask(f, text), "204")
#define BALLOON(mib)		  "{\"amount_mib\": " mib ", \"deflate_on_oom\": true}"
#define NET(id)			  "PUT /network-interfaces/" id " {\"iface_id\": \"" id "\", \"host_dev_name\": \"" id "\"}"

/* The guest has it, with a driver, as after a start. */
static void start(struct fake *f, struct balloon_rig *rig)
{
	const struct config_balloon *b = &f->config.balloon;
	const struct virtio_balloon_options options = {
		b->amount_mib, b->deflate_on_oom, b->stats_polling_interval_s, b->free_page_hinting,
		b->free_page_reporting,
	};

	balloon_setup(rig, options, ALL_FEATURES);
	f->device = rig->drv.device;
	f->state = VM_STATE_RUNNING;
}

/* ---- balloon ---- */

static void a_balloon_is_configured(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	refused(&f, "GET /balloon", "balloon: there is none");
	done(&f, "PUT /balloon {\"amount_mib\": 128, \"deflate_on_oom\": false, \"stats_polling_interval_s\": 65535, "
		 "\"free_page_hinting\": true, \"free_page_reporting\": true}");
	assert_string_equal(ask(&f, "GET /balloon"),
			    "200 {\"amount_mib\":128,\"deflate_on_oom\":false,\"stats_polling_interval_s\":65535,"
			    "\"free_page_hinting\":true,\"free_page_reporting\":true}");
	done(&f, "PUT /balloon " BALLOON("0"));
	assert_string_equal(ask(&f, "GET /balloon"),
			    "200 {\"amount_mib\":0,\"deflate_on_oom\":true,\"stats_polling_interval_s\":0,"
			    "\"free_page_hinting\":false,\"free_page_reporting\":false}");
	/* Not more than the memory that there is to be, whichever is said first. */
	refused(&f, "PUT /balloon " BALLOON("129"),
		"balloon: amount_mib: 129 is more than the machine's mem_size_mib (128)");
	done(&f, "PATCH /machine-config {\"mem_size_mib\": 129}");
	done(&f, "PUT /balloon " BALLOON("129"));
	refused(&f, "PATCH /machine-config {\"mem_size_mib\": 128}",
		"balloon: amount_mib: 129 is more than the machine's mem_size_mib (128)");
	assert_int_equal(f.config.balloon.amount_mib, 129);
	end(&f);
}

static void bad_balloons_are_refused(void **state)
{
	static const struct {
		const char *body, *message;
	} cases[] = {
		{ "[]", "expected an object, got an array" },
		{ "{}", "missing key \\\"amount_mib\\\"" },
		{ "{\"amount_mib\": 1}", "missing key \\\"deflate_on_oom\\\"" },
		{ "{\"deflate_on_oom\": true}", "missing key \\\"amount_mib\\\"" },
		{ "{\"amount_mib\": -1, \"deflate_on_oom\": true}", "amount_mib: -1 is out of range (0 to 261120)" },
		{ "{\"amount_mib\": \"1\", \"deflate_on_oom\": true}",
		  "amount_mib: expected an integer, got a string" },
		{ "{\"amount_mib\": 1, \"deflate_on_oom\": 1}",
		  "deflate_on_oom: expected true or false, got an integer" },
		{ "{\"amount_mib\": 1, \"deflate_on_oom\": true, \"stats_polling_interval_s\": 65536}",
		  "stats_polling_interval_s: 65536 is out of range (0 to 65535)" },
		{ "{\"amount_mib\": 1, \"deflate_on_oom\": true, \"free_page_hinting\": \"on\"}",
		  "free_page_hinting: expected true or false, got a string" },
		{ "{\"amount_mib\": 1, \"deflate_on_oom\": true, \"must_tell_host\": true}",
		  "unknown key \\\"must_tell_host\\\"" },
	};
	char text[256], want[256];
	struct fake f;

	(void)state;
	begin(&f);
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(text, sizeof(text), "PUT /balloon %s", cases[i].body);
		snprintf(want, sizeof(want), "400 {\"fault_message\":\"balloon: %s\"}", cases[i].message);
		assert_string_equal(ask(&f, text), want);
	}
	assert_false(f.config.balloon.set);
	end(&f);
}

static void its_rules_of_state(void **state)
{
	static const char *const later[] = {
		"PATCH /balloon {\"amount_mib\": 1}", "GET /balloon/statistics",
		"PATCH /balloon/statistics {\"stats_polling_interval_s\": 1}", "GET /balloon/hinting/status",
		"PATCH /balloon/hinting/start", "PATCH /balloon/hinting/stop",
	};
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, "PUT /balloon " BALLOON("1"));
	for (unsigned int i = 0; i < ARRAY_SIZE(later); i++)
		refused(&f, later[i], BEFORE);
	f.state = VM_STATE_PAUSED;
	refused(&f, "PUT /balloon " BALLOON("1"), AFTER);
	/* Without a balloon, there's nothing to do after the start either. */
	f.config.balloon.set = false;
	for (unsigned int i = 0; i < ARRAY_SIZE(later); i++)
		refused(&f, later[i], "balloon: there is none");
	end(&f);
}

static void the_guest_is_told_of_another_amount(void **state)
{
	struct balloon_rig rig;
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, "PUT /balloon " BALLOON("2"));
	start(&f, &rig);
	assert_int_equal(balloon_config(&rig, 0), 2 * 256);
	done(&f, "PATCH /balloon {\"amount_mib\": 17}");
	assert_int_equal(driver_interrupts(&rig.drv), 1);
	assert_int_equal(balloon_config(&rig, 0), 17 * 256);
	assert_string_equal(ask(&f, "GET /balloon"),
			    "200 {\"amount_mib\":17,\"deflate_on_oom\":true,\"stats_polling_interval_s\":0,"
			    "\"free_page_hinting\":false,\"free_page_reporting\":false}");
	refused(&f, "PATCH /balloon {\"amount_mib\": 18}",
		"balloon: amount_mib: 18 MiB is more than the guest has (17)");
	refused(&f, "PATCH /balloon {\"amount_mib\": 4294967296}",
		"balloon: amount_mib: 4294967296 is out of range (0 to 261120)");
	refused(&f, "PATCH /balloon {}", "balloon: missing key \\\"amount_mib\\\"");
	refused(&f, "PATCH /balloon " BALLOON("1"), "balloon: unknown key \\\"deflate_on_oom\\\"");
	assert_int_equal(driver_interrupts(&rig.drv), 0);
	assert_int_equal(balloon_config(&rig, 0), 17 * 256);
	assert_int_equal(f.config.balloon.amount_mib, 17);
	done(&f, "PATCH /balloon {\"amount_mib\": 0}");
	assert_int_equal(balloon_config(&rig, 0), 0);
	/* Nobody to tell. */
	driver_write(&rig.drv, VIRTIO_MMIO_STATUS, 0);
	refused(&f, "PATCH /balloon {\"amount_mib\": 1}",
		"balloon: amount_mib: the guest has no driver for it");
	assert_int_equal(f.config.balloon.amount_mib, 0);
	balloon_teardown(&rig);
	end(&f);
}

static void offer_stats(struct balloon_rig *rig, const struct virtio_balloon_stat *stats, unsigned int n)
{
	uint32_t len = (uint32_t)(n * sizeof(*stats));

	memcpy(driver_ptr(&rig->drv, rig->buffer, len), stats, len);
	driver_add(&rig->drv, 2, &(struct driver_buf){ rig->buffer, len }, 1, 0);
	driver_kick(&rig->drv, 2);
	driver_run(&rig->drv);
}

static void statistics_are_told(void **state)
{
	struct virtio_balloon_stat all[VIRTIO_BALLOON_STATS];
	struct balloon_rig rig;
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, "PUT /balloon {\"amount_mib\": 3, \"deflate_on_oom\": true, \"stats_polling_interval_s\": 5}");
	start(&f, &rig);
	assert_string_equal(ask(&f, "GET /balloon/statistics"),
			    "200 {\"target_pages\":768,\"actual_pages\":0,\"target_mib\":3,\"actual_mib\":0}");
	driver_write(&rig.drv, VIRTIO_MMIO_CONFIG + 4, 511);
	offer_stats(&rig, (const struct virtio_balloon_stat[]){ { 4, 1000 }, { 0, UINT64_MAX } }, 2);
	assert_string_equal(ask(&f, "GET /balloon/statistics"),
			    "200 {\"target_pages\":768,\"actual_pages\":511,\"target_mib\":3,\"actual_mib\":1,"
			    "\"swap_in\":9223372036854775807,\"free_memory\":1000}");
	done(&f, "PATCH /balloon/statistics {\"stats_polling_interval_s\": 1}");
	assert_int_equal(f.config.balloon.stats_polling_interval_s, 1);
	fake_time_pass(1000000000);
	driver_run(&rig.drv);
	assert_true(driver_get_used(&rig.drv, 2, NULL, NULL));
	for (uint16_t tag = 0; tag < VIRTIO_BALLOON_STATS; tag++)
		all[tag] = (struct virtio_balloon_stat){ tag, 100u + tag };
	offer_stats(&rig, all, VIRTIO_BALLOON_STATS);
	assert_string_equal(ask(&f, "GET /balloon/statistics"),
			    "200 {\"target_pages\":768,\"actual_pages\":511,\"target_mib\":3,\"actual_mib\":1,"
			    "\"swap_in\":100,\"swap_out\":101,\"major_faults\":102,\"minor_faults\":103,"
			    "\"free_memory\":104,\"total_memory\":105,\"available_memory\":106,\"disk_caches\":107,"
			    "\"hugetlb_allocations\":108,\"hugetlb_failures\":109,\"oom_kill\":110,"
			    "\"alloc_stall\":111,\"async_scan\":112,\"direct_scan\":113,\"async_reclaim\":114,"
			    "\"direct_reclaim\":115}");
	refused(&f, "PATCH /balloon/statistics {\"stats_polling_interval_s\": 0}",
		"balloon: stats_polling_interval_s: statistics can't be turned on or off while the guest runs");
	refused(&f, "PATCH /balloon/statistics {\"stats_polling_interval_s\": 65536}",
		"balloon: stats_polling_interval_s: 65536 is out of range (0 to 65535)");
	refused(&f, "PATCH /balloon/statistics {\"amount_mib\": 1}", "balloon: unknown key \\\"amount_mib\\\"");
	refused(&f, "PATCH /balloon/statistics {}", "balloon: missing key \\\"stats_polling_interval_s\\\"");
	assert_int_equal(f.config.balloon.stats_polling_interval_s, 1);
	balloon_teardown(&rig);
	end(&f);
}

static void what_is_off_stays_off(void **state)
{
	struct balloon_rig rig;
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, "PUT /balloon " BALLOON("0"));
	start(&f, &rig);
	refused(&f, "GET /balloon/statistics", "balloon: statistics are not enabled");
	refused(&f, "PATCH /balloon/statistics {\"stats_polling_interval_s\": 1}",
		"balloon: stats_polling_interval_s: statistics can't be turned on or off while the guest runs");
	done(&f, "PATCH /balloon/statistics {\"stats_polling_interval_s\": 0}");
	refused(&f, "GET /balloon/hinting/status", "balloon: hinting is not enabled");
	refused(&f, "PATCH /balloon/hinting/start", "balloon: hinting is not enabled");
	refused(&f, "PATCH /balloon/hinting/stop", "balloon: hinting is not enabled");
	balloon_teardown(&rig);
	end(&f);
}

/* What the guest says on the queue of hints, which is the third without statistics. */
static void guest_says(struct balloon_rig *rig, uint32_t command)
{
	balloon_send_pfns(rig, 2, &command, 1);
}

static void hinting_is_started_and_stopped(void **state)
{
	struct balloon_rig rig;
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, "PUT /balloon {\"amount_mib\": 0, \"deflate_on_oom\": true, \"free_page_hinting\": true}");
	start(&f, &rig);
	assert_string_equal(ask(&f, "GET /balloon/hinting/status"), "200 {\"host_cmd\":0,\"guest_cmd\":null}");
	/* Without a body, the end of the run is acknowledged. */
	done(&f, "PATCH /balloon/hinting/start");
	assert_string_equal(ask(&f, "GET /balloon/hinting/status"), "200 {\"host_cmd\":2,\"guest_cmd\":null}");
	assert_int_equal(balloon_config(&rig, 8), 2);
	guest_says(&rig, 2);
	assert_string_equal(ask(&f, "GET /balloon/hinting/status"), "200 {\"host_cmd\":2,\"guest_cmd\":2}");
	guest_says(&rig, 0);
	assert_string_equal(ask(&f, "GET /balloon/hinting/status"), "200 {\"host_cmd\":1,\"guest_cmd\":0}");
	done(&f, "PATCH /balloon/hinting/start {\"acknowledge_on_stop\": false}");
	guest_says(&rig, 3);
	guest_says(&rig, 0);
	assert_string_equal(ask(&f, "GET /balloon/hinting/status"), "200 {\"host_cmd\":3,\"guest_cmd\":0}");
	done(&f, "PATCH /balloon/hinting/stop");
	assert_int_equal(balloon_config(&rig, 8), 1);
	done(&f, "PATCH /balloon/hinting/start {}");
	guest_says(&rig, 4);
	guest_says(&rig, 0);
	assert_int_equal(balloon_config(&rig, 8), 1);
	done(&f, "PATCH /balloon/hinting/stop {}");
	refused(&f, "PATCH /balloon/hinting/stop {\"now\": true}", "balloon: unknown key \\\"now\\\"");
	refused(&f, "PATCH /balloon/hinting/start {\"acknowledge_on_stop\": 1}",
		"balloon: acknowledge_on_stop: expected true or false, got an integer");
	refused(&f, "PATCH /balloon/hinting/start []", "balloon: expected an object, got an array");
	driver_write(&rig.drv, VIRTIO_MMIO_STATUS, 0);
	refused(&f, "PATCH /balloon/hinting/start", "balloon: the guest has no driver for it");
	balloon_teardown(&rig);
	end(&f);
}

/* ---- metadata ---- */

static void metadata_are_put_and_patched(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	for (int started = 0; started < 2; started++) {
		f.state = started ? VM_STATE_RUNNING : VM_STATE_NOT_STARTED;
		done(&f, "PUT /mmds {\"a\": {\"b\": 1.5}, \"c\": \"x\"}");
		assert_string_equal(ask(&f, "GET /mmds"), "200 {\"a\":{\"b\":1.5},\"c\":\"x\"}");
		done(&f, "PATCH /mmds {\"a\": {\"d\": null, \"e\": []}, \"c\": null}");
		assert_string_equal(ask(&f, "GET /mmds"), "200 {\"a\":{\"b\":1.5,\"e\":[]}}");
	}
	done(&f, "PUT /mmds {}");
	assert_string_equal(ask(&f, "GET /mmds"), "200 {}");
	end(&f);
}

static void there_is_nothing_to_patch_at_first(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	assert_string_equal(ask(&f, "GET /mmds"), "200 {}");
	refused(&f, "PATCH /mmds {\"a\": 1}", "mmds: nothing to patch: the store is empty");
	refused(&f, "PUT /mmds", "Empty PUT request.");
	refused(&f, "PATCH /mmds", "Empty PATCH request.");
	refused(&f, "PUT /mmds {", "An error occurred when deserializing the json body of a request: "
				   "line 1, column 1: string or '}' expected near end of file");
	assert_string_equal(ask(&f, "GET /mmds"), "200 {}");
	end(&f);
}

static void metadata_that_are_too_large_are_413(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	/* 40 bytes are allowed, spaces apart. */
	done(&f, "PUT /mmds {\"a\":   \"0123456789012345678901234567890\"}");
	assert_string_equal(ask(&f, "PUT /mmds {\"a\":\"01234567890123456789012345678901234\"}"),
			    "413 {\"fault_message\":\"mmds: 43 bytes of JSON, at most 40 are allowed\"}");
	assert_string_equal(ask(&f, "PATCH /mmds {\"b\":1}"),
			    "413 {\"fault_message\":\"mmds: 45 bytes of JSON, at most 40 are allowed\"}");
	assert_string_equal(ask(&f, "GET /mmds"), "200 {\"a\":\"0123456789012345678901234567890\"}");
	end(&f);
}

static void metadata_are_configured(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	refused(&f, "PUT /mmds/config {\"network_interfaces\": [\"a\"]}",
		"mmds-config: network_interfaces[0]: no network interface is called \\\"a\\\"");
	assert_false(f.config.mmds.set);
	done(&f, NET("a"));
	done(&f, NET("b"));
	done(&f, "PUT /mmds/config {\"version\": \"V2\", \"network_interfaces\": [\"b\", \"a\"], "
		 "\"ipv4_address\": \"169.254.170.2\", \"imds_compat\": true}");
	assert_non_null(strstr(ask(&f, "GET /vm/config"),
			       ",\"mmds-config\":{\"version\":\"V2\",\"network_interfaces\":[\"b\",\"a\"],"
			       "\"ipv4_address\":\"169.254.170.2\",\"imds_compat\":true},"));
	done(&f, "PUT /mmds/config {\"network_interfaces\": [\"a\"]}");
	assert_non_null(strstr(ask(&f, "GET /vm/config"),
			       ",\"mmds-config\":{\"version\":\"V1\",\"network_interfaces\":[\"a\"],"
			       "\"ipv4_address\":\"169.254.169.254\",\"imds_compat\":false},"));
	f.state = VM_STATE_RUNNING;
	refused(&f, "PUT /mmds/config {\"network_interfaces\": [\"a\"]}", AFTER);
	end(&f);
}

static void bad_configurations_of_metadata_are_refused(void **state)
{
	static const struct {
		const char *body, *message;
	} cases[] = {
		{ "[]", "expected an object, got an array" },
		{ "{}", "missing key \\\"network_interfaces\\\"" },
		{ "{\"network_interfaces\": []}", "network_interfaces: is empty" },
		{ "{\"network_interfaces\": \"a\"}", "network_interfaces: expected an array, got a string" },
		{ "{\"network_interfaces\": [\"a\", 1]}", "network_interfaces[1]: expected a string, got an integer" },
		{ "{\"network_interfaces\": [\"a\", \"b\"]}",
		  "network_interfaces[1]: no network interface is called \\\"b\\\"" },
		{ "{\"network_interfaces\": [\"a\"], \"version\": \"V3\"}",
		  "version: \\\"V3\\\" is none of \\\"V1\\\", \\\"V2\\\"" },
		{ "{\"network_interfaces\": [\"a\"], \"ipv4_address\": \"1.1.1.1\"}",
		  "ipv4_address: \\\"1.1.1.1\\\" is not link-local (169.254.1.0 to 169.254.254.255)" },
		{ "{\"network_interfaces\": [\"a\"], \"ipv4_address\": \"\"}",
		  "ipv4_address: \\\"\\\" is not an IPv4 address" },
		{ "{\"network_interfaces\": [\"a\"], \"imds_compat\": 1}",
		  "imds_compat: expected true or false, got an integer" },
		{ "{\"network_interfaces\": [\"a\"], \"token\": 1}", "unknown key \\\"token\\\"" },
	};
	char text[256], want[256];
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, NET("a"));
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(text, sizeof(text), "PUT /mmds/config %s", cases[i].body);
		snprintf(want, sizeof(want), "400 {\"fault_message\":\"mmds-config: %s\"}", cases[i].message);
		assert_string_equal(ask(&f, text), want);
	}
	assert_false(f.config.mmds.set);
	end(&f);
}

/* What GET /vm/config says of them is a config file. */
static void the_config_that_is_told_can_be_read(void **state)
{
	char path[] = "/tmp/test-api-XXXXXX", told[4096];
	cleanup_close int fd = mkstemp(path);
	struct error err = { 0 };
	struct fake f, again;

	(void)state;
	begin(&f);
	begin(&again);
	done(&f, NET("a"));
	done(&f, "PUT /balloon {\"amount_mib\": 7, \"deflate_on_oom\": true, \"stats_polling_interval_s\": 9, "
		 "\"free_page_reporting\": true}");
	done(&f, "PUT /mmds/config {\"version\": \"V2\", \"network_interfaces\": [\"a\"]}");
	snprintf(told, sizeof(told), "%s", ask(&f, "GET /vm/config"));
	assert_int_equal(write(fd, told + 4, strlen(told + 4)), strlen(told + 4));
	assert_int_equal(config_load_json(&again.config, path, &err), 0);
	unlink(path);
	assert_string_equal(ask(&again, "GET /vm/config"), told);
	assert_int_equal(again.config.balloon.amount_mib, 7);
	assert_int_equal(again.config.mmds.version, CONFIG_MMDS_V2);
	end(&f);
	end(&again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_balloon_is_configured),
		cmocka_unit_test(bad_balloons_are_refused),
		cmocka_unit_test(its_rules_of_state),
		cmocka_unit_test(the_guest_is_told_of_another_amount),
		cmocka_unit_test(statistics_are_told),
		cmocka_unit_test(what_is_off_stays_off),
		cmocka_unit_test(hinting_is_started_and_stopped),
		cmocka_unit_test(metadata_are_put_and_patched),
		cmocka_unit_test(there_is_nothing_to_patch_at_first),
		cmocka_unit_test(metadata_that_are_too_large_are_413),
		cmocka_unit_test(metadata_are_configured),
		cmocka_unit_test(bad_configurations_of_metadata_are_refused),
		cmocka_unit_test(the_config_that_is_told_can_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
