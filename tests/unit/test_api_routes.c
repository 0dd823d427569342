/* SPDX-License-Identifier: Apache-2.0 */
/* Routes, rules of state and body, and what requests make of a config. The microVM is a fake. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/mmds/service.h"
#include "vmm/api/json.h"
#include "vmm/api/routes.h"
#include "vmm/util.h"

#define AFTER  "The requested operation is not supported after starting the microVM."
#define BEFORE "The requested operation is not supported before starting the microVM."

struct fake {
	enum vm_state state;
	bool fails;
	char done[256]; /* names of actions */
	struct config config;
	struct mmds mmds;
	struct api api;
};

static int did(void *context, const char *what, struct error *err)
{
	struct fake *f = context;

	snprintf(f->done + strlen(f->done), sizeof(f->done) - strlen(f->done), "%s ", what);
	return f->fails ? error_set(err, EIO, "%s: failed", what) : 0;
}

static enum vm_state state_of(void *context)
{
	return ((struct fake *)context)->state;
}

static int start(void *context, struct error *err)
{
	struct fake *f = context;
	int rc = did(context, "start", err);

	if (rc == 0)
		f->state = VM_STATE_RUNNING;
	return rc;
}

static int pause_vm(void *context, struct error *err)
{
	return did(context, "pause", err);
}

static int resume_vm(void *context, struct error *err)
{
	return did(context, "resume", err);
}

static int flush(void *context, struct error *err)
{
	return did(context, "flush", err);
}

static int ctrl_alt_del(void *context, struct error *err)
{
	return did(context, "ctrl_alt_del", err);
}

static int limit_drive(void *context, const char *id, const struct config_rate_limiter *limits,
		       struct error *err)
{
	char what[64];

	snprintf(what, sizeof(what), "%s:%d%d", id, limits->bandwidth.set, limits->ops.set);
	return did(context, what, err);
}

static int change_drive(void *context, const char *id, const char *path, struct error *err)
{
	char what[64];

	snprintf(what, sizeof(what), "%s=%s", id, path);
	return did(context, what, err);
}

static int limit_net(void *context, const char *id, const struct config_rate_limiter *rx,
		     const struct config_rate_limiter *tx, struct error *err)
{
	char what[64];

	snprintf(what, sizeof(what), "%s:%d%d%d%d", id, rx->bandwidth.set, rx->ops.set,
		 tx->bandwidth.set, tx->ops.set);
	return did(context, what, err);
}

static int open_log(void *context, const struct config_logger *logger, struct error *err)
{
	(void)logger;
	return did(context, "log", err);
}

static int open_metrics(void *context, const struct config_metrics *metrics, struct error *err)
{
	(void)metrics;
	return did(context, "metrics", err);
}

static const struct api_actions actions = {
	.state = state_of,
	.start = start,
	.pause = pause_vm,
	.resume = resume_vm,
	.flush_metrics = flush,
	.ctrl_alt_del = ctrl_alt_del,
	.limit_drive = limit_drive,
	.change_drive = change_drive,
	.limit_net = limit_net,
	.open_log = open_log,
	.open_metrics = open_metrics,
};

static void begin(struct fake *f)
{
	memset(f, 0, sizeof(*f));
	config_init(&f->config);
	f->api = (struct api){ &f->config, "vm-1", &actions, f, &f->mmds };
}

/* "STATUS BODY" of the answer to "METHOD PATH [BODY]". */
static const char *ask(struct fake *f, const char *text)
{
	static char answer[8192];
	char method[16], path[512];
	const char *body = NULL;
	int n = 0;

	assert_int_equal(sscanf(text, "%15s %511s%n", method, path, &n), 2);
	if (text[n] == ' ')
		body = text + n + 1;
	const struct api_request request = { method, path, body, body ? strlen(body) : 0 };
	struct api_response response = { 0 };

	api_handle(&f->api, &request, &response);
	snprintf(answer, sizeof(answer), "%u%s%.*s", response.status, response.body ? " " : "",
		 (int)response.body_length, response.body ? response.body : "");
	free(response.body);
	return answer;
}

#define refused(f, text, message)                                                                  \
	assert_string_equal(ask(f, text), "400 {\"fault_message\":\"" message "\"}")
#define done(f, text) assert_string_equal(ask(f, text), "204")

#define BOOT "{\"kernel_image_path\": \"/dev/null\"}"
#define DRIVE(id)                                                                                  \
	"{\"drive_id\": \"" id "\", \"path_on_host\": \"/dev/null\", \"is_root_device\": false}"
#define NET(id)	  "{\"iface_id\": \"" id "\", \"host_dev_name\": \"tap" id "\"}"
#define ACT(name) "PUT /actions {\"action_type\": \"" name "\"}"

static void what_there_is_can_be_asked_for(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	assert_string_equal(ask(&f, "GET /"),
			    "200 {\"app_name\":\"mote\",\"id\":\"vm-1\",\"state\":\"Not started\","
			    "\"vmm_version\":\"" MOTE_VERSION "\"}");
	f.state = VM_STATE_RUNNING;
	assert_non_null(strstr(ask(&f, "GET /"), "\"state\":\"Running\""));
	f.state = VM_STATE_PAUSED;
	assert_non_null(strstr(ask(&f, "GET /"), "\"state\":\"Paused\""));
	assert_string_equal(
		ask(&f, "GET /version"),
		"200 {\"firecracker_version\":\"1.16.1\",\"mote_version\":\"" MOTE_VERSION "\"}");
	assert_string_equal(ask(&f, "GET /machine-config"),
			    "200 {\"vcpu_count\":1,\"mem_size_mib\":128,\"smt\":false,"
			    "\"track_dirty_pages\":false,\"huge_pages\":\"None\"}");
	assert_string_equal(f.done, "");
	config_release(&f.config);
}

static void every_object_reaches_the_config(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, "PUT /boot-source {\"kernel_image_path\": \"/dev/null\", \"boot_args\": \"a\"}");
	done(&f, "PUT /boot-source " BOOT);
	assert_null(f.config.boot_source.boot_args);
	done(&f, "PUT /machine-config {\"vcpu_count\": 4, \"mem_size_mib\": 64, \"smt\": true}");
	done(&f, "PATCH /machine-config {\"mem_size_mib\": 32}");
	assert_int_equal(f.config.machine.vcpu_count, 4);
	assert_int_equal(f.config.machine.mem_size_mib, 32);
	assert_true(f.config.machine.smt);
	done(&f, "PUT /machine-config {\"vcpu_count\": 1, \"mem_size_mib\": 64}");
	assert_false(f.config.machine.smt);
	done(&f, "PUT /drives/a " DRIVE("a"));
	done(&f, "PUT /drives/b " DRIVE("b"));
	done(&f, "PUT /drives/a {\"drive_id\": \"a\", \"path_on_host\": \"/dev/zero\", "
		 "\"is_root_device\": true}");
	assert_int_equal(f.config.n_drives, 2);
	assert_string_equal(f.config.drives[0].path_on_host, "/dev/zero");
	done(&f, "PUT /network-interfaces/x " NET("x"));
	done(&f, "PUT /network-interfaces/y " NET("y"));
	done(&f, "PUT /network-interfaces/y {\"iface_id\": \"y\", \"host_dev_name\": \"t\", "
		 "\"mtu\": 1400}");
	assert_int_equal(f.config.n_nets, 2);
	assert_int_equal(f.config.nets[1].mtu, 1400);
	done(&f, "PUT /vsock {\"guest_cid\": 3, \"uds_path\": \"a\"}");
	done(&f, "PUT /vsock {\"guest_cid\": 4, \"uds_path\": \"b\"}");
	assert_int_equal(f.config.vsock.guest_cid, 4);
	done(&f, "PUT /entropy {}");
	done(&f, "PUT /serial {\"serial_out_path\": \"s\"}");
	done(&f, "PUT /logger {\"log_path\": \"l\", \"level\": \"Error\"}");
	done(&f, "PUT /logger {\"level\": \"Debug\"}");
	assert_null(f.config.logger.log_path);
	done(&f, "PUT /metrics {\"metrics_path\": \"m\"}");
	assert_string_equal(f.done, "log log metrics ");
	assert_string_equal(
		ask(&f, "GET /vm/config"),
		"200 {\"boot-source\":{\"kernel_image_path\":\"/dev/null\"},"
		"\"machine-config\":{\"vcpu_count\":1,\"mem_size_mib\":64,\"smt\":false,"
		"\"track_dirty_pages\":false,\"huge_pages\":\"None\"},"
		"\"drives\":[{\"drive_id\":\"a\",\"path_on_host\":\"/dev/"
		"zero\",\"is_root_device\":true,"
		"\"is_read_only\":false,\"cache_type\":\"Unsafe\",\"io_engine\":\"Sync\"},"
		"{\"drive_id\":\"b\",\"path_on_host\":\"/dev/null\",\"is_root_device\":false,"
		"\"is_read_only\":false,\"cache_type\":\"Unsafe\",\"io_engine\":\"Sync\"}],"
		"\"network-interfaces\":[{\"iface_id\":\"x\",\"host_dev_name\":\"tapx\"},"
		"{\"iface_id\":\"y\",\"host_dev_name\":\"t\",\"mtu\":1400}],"
		"\"vsock\":{\"guest_cid\":4,\"uds_path\":\"b\"},\"entropy\":{},"
		"\"serial\":{\"serial_out_path\":\"s\"},"
		"\"logger\":{\"level\":\"Debug\",\"show_level\":false,\"show_log_origin\":false},"
		"\"metrics\":{\"metrics_path\":\"m\",\"emit_id\":false},"
		"\"balloon\":null,\"cpu-config\":null,\"memory-hotplug\":null,\"mmds-config\":null,"
		"\"pmem\":[]}");
	config_release(&f.config);
}

/* What GET /vm/config says is a config file, of the same microVM. */
static void the_config_that_is_told_can_be_read(void **state)
{
	static const char text[] =
		"{\"boot-source\":{\"kernel_image_path\":\"/k\",\"initrd_path\":\"/"
		"i\",\"boot_args\":\"\"},"
		"\"machine-config\":{\"vcpu_count\":2,\"mem_size_mib\":64,\"smt\":true,"
		"\"track_dirty_pages\":true,\"huge_pages\":\"2M\",\"platform\":\"MpTable\"},"
		"\"drives\":[{\"drive_id\":\"a\",\"path_on_host\":\"/a\",\"is_root_device\":true,"
		"\"is_read_only\":true,\"partuuid\":\"p\",\"cache_type\":\"Writeback\",\"io_"
		"engine\":\"Async\","
		"\"rate_limiter\":{\"bandwidth\":{\"size\":0,\"one_time_burst\":5,\"refill_time\":"
		"1},"
		"\"ops\":{\"size\":1,\"one_time_burst\":0,\"refill_time\":0}}}],"
		"\"network-interfaces\":[{\"iface_id\":\"n\",\"host_dev_name\":\"t\","
		"\"guest_mac\":\"06:00:ac:10:00:02\",\"mtu\":9000}],"
		"\"vsock\":{\"guest_cid\":4294967294,\"uds_path\":\"/"
		"v\",\"guest_ports\":[{\"port\":9,\"fd\":3}]},"
		"\"entropy\":{\"rate_limiter\":{\"ops\":{\"size\":0,\"one_time_burst\":0,\"refill_"
		"time\":0}}},"
		"\"serial\":{\"rate_limiter\":{\"size\":0,\"one_time_burst\":0,\"refill_time\":0}},"
		"\"logger\":{\"log_path\":\"/"
		"l\",\"level\":\"Off\",\"show_level\":true,\"show_log_origin\":true},"
		"\"metrics\":{\"metrics_path\":\"/m\",\"emit_id\":true},"
		"\"balloon\":null,\"cpu-config\":null,\"memory-hotplug\":null,\"mmds-config\":null,"
		"\"pmem\":[]}";
	char path[] = "/tmp/test-api-XXXXXX", want[sizeof(text) + 4];
	cleanup_close int fd = mkstemp(path);
	struct error err = { 0 };
	struct fake f;

	(void)state;
	begin(&f);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	assert_int_equal(config_load_json(&f.config, path, &err), 0);
	unlink(path);
	snprintf(want, sizeof(want), "200 %s", text);
	assert_string_equal(ask(&f, "GET /vm/config"), want);
	config_release(&f.config);
}

static void bad_bodies_are_refused_and_change_nothing(void **state)
{
	static const struct {
		const char *request, *message;
	} cases[] = {
		{ "PUT /boot-source {",
		  "An error occurred when deserializing the json body of a request: "
		  "line 1, column 1: string or '}' expected near end of file" },
		{ "PUT /boot-source []", "boot-source: expected an object, got an array" },
		{ "PUT /boot-source {}", "boot-source: missing key \\\"kernel_image_path\\\"" },
		{ "PUT /boot-source {\"kernel_image_path\": \"/nope\"}",
		  "boot-source: kernel_image_path \\\"/nope\\\": No such file or directory" },
		{ "PUT /boot-source {\"kernel_image_path\": \"/dev/null\", \"initrd_path\": "
		  "\"/nope\"}",
		  "boot-source: initrd_path \\\"/nope\\\": No such file or directory" },
		{ "PUT /boot-source {\"kernel_image_path\": \"/dev/null\", \"kernel\": 1}",
		  "boot-source: unknown key \\\"kernel\\\"" },
		{ "PUT /boot-source {\"kernel_image_path\": \"a\", \"kernel_image_path\": \"b\"}",
		  "An error occurred when deserializing the json body of a request: "
		  "line 1, column 46: duplicate object key near '\\\"kernel_image_path\\\"'" },
		{ "PUT /machine-config {\"vcpu_count\": 33, \"mem_size_mib\": 1}",
		  "machine-config: vcpu_count: 33 is out of range (1 to 32)" },
		{ "PUT /machine-config {\"vcpu_count\": 1}",
		  "machine-config: missing key \\\"mem_size_mib\\\"" },
		{ "PUT /machine-config {\"vcpu_count\": 3, \"mem_size_mib\": 1, \"smt\": true}",
		  "machine-config: vcpu_count: 3 is neither 1 nor even, as smt needs" },
		{ "PUT /machine-config {\"vcpu_count\": 1, \"mem_size_mib\": 3, \"huge_pages\": "
		  "\"2M\"}",
		  "machine-config: mem_size_mib: 3 is not a multiple of 2, as huge_pages "
		  "\\\"2M\\\" needs" },
		{ "PUT /machine-config {\"vcpu_count\": 1, \"mem_size_mib\": 1, \"cpu_template\": "
		  "\"T2\"}",
		  "machine-config: cpu_template: \\\"T2\\\": only \\\"None\\\" is supported, there "
		  "are no static templates" },
		{ "PATCH /machine-config {}", "machine-config: names nothing to change" },
		{ "PATCH /machine-config {\"vcpu_count\": 0}",
		  "machine-config: vcpu_count: 0 is out of range (1 to 32)" },
		{ "PATCH /machine-config {\"vcpu_count\": \"1\"}",
		  "machine-config: vcpu_count: expected an integer, got a string" },
		{ "PUT /drives/a {\"drive_id\": \"a\", \"is_root_device\": true}",
		  "drive: missing key \\\"path_on_host\\\"" },
		{ "PUT /drives/a " DRIVE("b"),
		  "drive: drive_id: \\\"b\\\" is not the \\\"a\\\" of the path" },
		{ "PUT /drives/ " DRIVE("b"),
		  "drive: drive_id: \\\"b\\\" is not the \\\"\\\" of the path" },
		{ "PUT /drives/a {\"drive_id\": \"a\", \"path_on_host\": \"/nope\", "
		  "\"is_root_device\": true}",
		  "drive: path_on_host \\\"/nope\\\": No such file or directory" },
		{ "PUT /drives/a {\"drive_id\": \"a\", \"path_on_host\": \"/dev/null\", "
		  "\"is_root_device\": true}",
		  "drives[1]: is_root_device: drives[0] is the root already" },
		{ "PUT /drives/a {\"drive_id\": \"a\", \"path_on_host\": \"/dev/null\", "
		  "\"is_root_device\": false,"
		  " \"rate_limiter\": {\"ops\": {\"size\": 1}}}",
		  "drive: rate_limiter: ops: missing key \\\"refill_time\\\"" },
		{ "PUT /drives/a {\"drive_id\": \"a\", \"is_root_device\": false, \"socket\": "
		  "\"s\"}",
		  "drive: socket: vhost-user drives are not supported by this version" },
		{ "PUT /network-interfaces/b {\"iface_id\": \"b\", \"host_dev_name\": \"tap0\"}",
		  "network-interfaces[1]: host_dev_name: \\\"tap0\\\" is already that of "
		  "network-interfaces[0]" },
		{ "PUT /network-interfaces/b " NET("c"),
		  "network-interface: iface_id: \\\"c\\\" is not the \\\"b\\\" of the path" },
		{ "PUT /network-interfaces/b {\"iface_id\": \"b\", \"host_dev_name\": \"t\", "
		  "\"mtu\": 67}",
		  "network-interface: mtu: 67 is out of range (68 to 65535)" },
		{ "PUT /vsock {\"guest_cid\": 2, \"uds_path\": \"a\"}",
		  "vsock: guest_cid: 2 is out of range (3 to 4294967294)" },
		{ "PUT /vsock {\"guest_cid\": 3}", "vsock: missing key \\\"uds_path\\\"" },
		{ "PUT /entropy {\"rate\": 1}", "entropy: unknown key \\\"rate\\\"" },
		{ "PUT /serial {\"rate_limiter\": {\"bandwidth\": {}}}",
		  "serial: rate_limiter: unknown key \\\"bandwidth\\\"" },
		{ "PUT /logger {\"level\": \"Loud\"}",
		  "logger: level: \\\"Loud\\\" is none of \\\"Off\\\", \\\"Error\\\", "
		  "\\\"Warning\\\", \\\"Info\\\", "
		  "\\\"Debug\\\", \\\"Trace\\\"" },
		{ "PUT /logger {\"module\": 1}",
		  "logger: module: expected a string, got an integer" },
		{ "PUT /metrics {\"metrics_path\": \"m\", \"properties\": {\"a\": 1}}",
		  "metrics: properties: a: expected a string, got an integer" },
		{ "PUT /metrics {}", "metrics: missing key \\\"metrics_path\\\"" },
		{ "PUT /actions {}", "action: missing key \\\"action_type\\\"" },
		{ "PUT /actions {\"action_type\": \"Jump\"}",
		  "action: action_type: \\\"Jump\\\" is none of \\\"InstanceStart\\\", "
		  "\\\"FlushMetrics\\\", "
		  "\\\"SendCtrlAltDel\\\"" },
		{ "PUT /actions {\"action_type\": \"InstanceStart\", \"payload\": \"\"}",
		  "action: unknown key \\\"payload\\\"" },
		{ "PUT /actions {\"action_type\": \"InstanceStart\"}",
		  "missing key \\\"boot-source\\\"" },
	};
	char before[4096];
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, "PUT /drives/root {\"drive_id\": \"root\", \"path_on_host\": \"/dev/null\", "
		 "\"is_root_device\": true}");
	done(&f, "PUT /network-interfaces/a {\"iface_id\": \"a\", \"host_dev_name\": \"tap0\"}");
	snprintf(before, sizeof(before), "%s", ask(&f, "GET /vm/config"));
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		char want[1024];

		snprintf(want, sizeof(want), "400 {\"fault_message\":\"%s\"}", cases[i].message);
		assert_string_equal(ask(&f, cases[i].request), want);
		assert_string_equal(ask(&f, "GET /vm/config"), before);
	}
	assert_string_equal(f.done, "");
	config_release(&f.config);
}

static void requests_have_their_form(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	refused(&f, "GET /nope", "Invalid request method and/or path: GET /nope.");
	refused(&f, "PUT /nope {}", "Invalid request method and/or path: PUT /nope.");
	refused(&f, "POST /actions {}", "Invalid request method and/or path: POST /actions.");
	refused(&f, "GET /actions", "Invalid request method and/or path: GET /actions.");
	refused(&f, "GET /drives/a/b", "Invalid request method and/or path: GET /drives/a/b.");
	refused(&f, "PUT /drives {}", "Invalid request method and/or path: PUT /drives.");
	refused(&f, "GET /version?x", "Invalid request method and/or path: GET /version?x.");
	refused(&f, "GET * x", "Invalid request method and/or path: GET *.");
	refused(&f, "GET / {}", "GET request cannot have a body.");
	refused(&f, "PUT /vsock", "Empty PUT request.");
	refused(&f, "PATCH /vm", "Empty PATCH request.");
	refused(&f, "PUT /balloon", "Empty PUT request.");
	config_release(&f.config);
}

/* Each route before and after the start, by the table's own word. */
static void the_rules_of_state_hold_for_every_route(void **state)
{
	size_t n;
	const struct api_route *routes = api_routes(&n);
	struct fake f;
	char text[128];

	(void)state;
	begin(&f);
	for (int started = 0; started < 2; started++) {
		f.state = started ? VM_STATE_PAUSED : VM_STATE_NOT_STARTED;
		for (size_t i = 0; i < n; i++) {
			const struct api_route *r = &routes[i];
			bool refused = r->when == (started ? API_BEFORE_START : API_AFTER_START);

			snprintf(text, sizeof(text), "%s %.*sx%s", r->method,
				 (int)strcspn(r->path, "{"), r->path,
				 strcmp(r->method, "GET") == 0 ? "" : " []");
			if (!strchr(r->path, '{'))
				snprintf(text, sizeof(text), "%s %s%s", r->method, r->path,
					 strcmp(r->method, "GET") == 0 ? "" : " []");
			const char *answer = ask(&f, text);

			if (!r->handle)
				assert_non_null(
					strstr(answer, "not supported by this version yet."));
			else
				assert_int_equal(strstr(answer, started ? AFTER : BEFORE) != NULL,
						 refused);
		}
	}
	assert_string_equal(f.done, "");
	config_release(&f.config);
}

static void a_microvm_starts_once(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	refused(&f, ACT("FlushMetrics"), BEFORE);
	refused(&f, ACT("SendCtrlAltDel"), BEFORE);
	refused(&f, "PATCH /vm {\"state\": \"Paused\"}", BEFORE);
	done(&f, "PUT /boot-source " BOOT);
	f.fails = true;
	refused(&f, ACT("InstanceStart"), "start: failed");
	f.fails = false;
	done(&f, ACT("InstanceStart"));
	refused(&f, ACT("InstanceStart"), AFTER);
	refused(&f, "PUT /boot-source " BOOT, AFTER);
	done(&f, ACT("FlushMetrics"));
	done(&f, ACT("SendCtrlAltDel"));
	done(&f, "PATCH /vm {\"state\": \"Paused\"}");
	done(&f, "PATCH /vm {\"state\": \"Resumed\"}");
	refused(&f, "PATCH /vm {\"state\": \"Halted\"}",
		"vm: state: \\\"Halted\\\" is none of \\\"Paused\\\", \\\"Resumed\\\"");
	assert_string_equal(f.done, "start start flush ctrl_alt_del pause resume ");
	f.fails = true;
	refused(&f, "PATCH /vm {\"state\": \"Paused\"}", "pause: failed");
	refused(&f, ACT("FlushMetrics"), "flush: failed");
	config_release(&f.config);
}

static void limits_can_change(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, "PUT /drives/a {\"drive_id\": \"a\", \"path_on_host\": \"/dev/null\", "
		 "\"is_root_device\": false, "
		 "\"rate_limiter\": {\"ops\": {\"size\": 1, \"refill_time\": 2}}}");
	done(&f, "PUT /network-interfaces/x " NET("x"));
	refused(&f, "PATCH /drives/a {\"drive_id\": \"a\"}", BEFORE);
	f.state = VM_STATE_RUNNING;
	refused(&f, "PATCH /drives/a {\"drive_id\": \"a\"}", "drive: names nothing to change");
	refused(&f, "PATCH /drives/b {\"drive_id\": \"a\", \"rate_limiter\": {}}",
		"drive: drive_id: \\\"a\\\" is not the \\\"b\\\" of the path");
	refused(&f, "PATCH /drives/b {\"drive_id\": \"b\", \"rate_limiter\": {}}",
		"drive: there is none with the drive_id \\\"b\\\"");
	refused(&f, "PATCH /drives/a {\"drive_id\": \"a\", \"is_read_only\": true}",
		"drive: unknown key \\\"is_read_only\\\"");
	refused(&f, "PATCH /drives/a {\"path_on_host\": \"/dev/null\"}",
		"drive: missing key \\\"drive_id\\\"");
	refused(&f, "PATCH /drives/a {\"drive_id\": \"a\", \"path_on_host\": \"\"}",
		"drive: path_on_host: is empty");
	refused(&f, "PATCH /drives/a {\"drive_id\": \"a\", \"path_on_host\": {}}",
		"drive: path_on_host: expected a string, got an object");
	refused(&f, "PATCH /network-interfaces/x {\"iface_id\": \"x\"}",
		"network-interface: names nothing to change");
	refused(&f, "PATCH /network-interfaces/y {\"iface_id\": \"y\", \"rx_rate_limiter\": {}}",
		"network-interface: there is none with the iface_id \\\"y\\\"");
	refused(&f, "PATCH /network-interfaces/x {\"iface_id\": \"x\", \"mtu\": 1500}",
		"network-interface: unknown key \\\"mtu\\\"");
	done(&f, "PATCH /drives/a {\"drive_id\": \"a\", \"rate_limiter\": {\"bandwidth\": "
		 "{\"size\": 3, \"refill_time\": 4}}}");
	done(&f, "PATCH /network-interfaces/x {\"iface_id\": \"x\", \"tx_rate_limiter\": {\"ops\": "
		 "{\"size\": 5, \"refill_time\": 6}}}");
	assert_string_equal(f.done, "a:10 x:0001 ");
	f.done[0] = 0;
	done(&f, "PATCH /drives/a {\"drive_id\": \"a\", \"path_on_host\": \"/dev/null\"}");
	assert_string_equal(f.done, "a=/dev/null a:00 ");
	f.done[0] = 0;
	f.fails = true;
	refused(&f, "PATCH /drives/a {\"drive_id\": \"a\", \"path_on_host\": \"/other\"}",
		"a=/other: failed");
	assert_string_equal(f.config.drives[0].path_on_host, "/dev/null");
	f.fails = false;
	f.done[0] = 0;
	done(&f, "PATCH /drives/a {\"drive_id\": \"a\", \"path_on_host\": \"/other\", "
		 "\"rate_limiter\": {\"bandwidth\": {\"size\": 3, \"refill_time\": 4}}}");
	assert_string_equal(f.done, "a=/other a:10 ");
	assert_string_equal(f.config.drives[0].path_on_host, "/other");
	assert_int_equal(f.config.drives[0].rate_limiter.ops.size, 1);
	assert_int_equal(f.config.drives[0].rate_limiter.bandwidth.refill_time_ms, 4);
	assert_int_equal(f.config.nets[0].tx_rate_limiter.ops.size, 5);
	assert_false(f.config.nets[0].rx_rate_limiter.ops.set);
	f.fails = true;
	refused(&f,
		"PATCH /drives/a {\"drive_id\": \"a\", \"rate_limiter\": {\"ops\": {\"size\": 9, "
		"\"refill_time\": 9}}}",
		"a:01: failed");
	assert_int_equal(f.config.drives[0].rate_limiter.ops.size, 1);
	config_release(&f.config);
}

static void logs_and_metrics_that_cannot_be_opened_are_not_configured(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	f.fails = true;
	refused(&f, "PUT /logger {\"log_path\": \"l\"}", "log: failed");
	refused(&f, "PUT /metrics {\"metrics_path\": \"m\"}", "metrics: failed");
	assert_false(f.config.logger.set || f.config.metrics.set);
	f.fails = false;
	done(&f, "PUT /metrics {\"metrics_path\": \"m\"}");
	refused(&f, "PUT /metrics {\"metrics_path\": \"m\"}", "metrics: already open");
	config_release(&f.config);
}

static void there_is_room_for_so_many_devices(void **state)
{
	struct fake f;
	char text[256];

	(void)state;
	begin(&f);
	for (int i = 0; i < CONFIG_VIRTIO_MAX; i++) {
		snprintf(text, sizeof(text),
			 "PUT /drives/d%d {\"drive_id\": \"d%d\", \"path_on_host\": \"/dev/null\", "
			 "\"is_root_device\": false}",
			 i, i);
		done(&f, text);
	}
	refused(&f, "PUT /drives/a " DRIVE("a"), "drives: at most 19 are possible");
	refused(&f, "PUT /entropy {}", "too many devices: 20 of at most 19");
	refused(&f, "PUT /network-interfaces/a " NET("a"), "too many devices: 20 of at most 19");
	assert_int_equal(f.config.n_drives, 19);
	assert_int_equal(f.config.n_nets, 0);
	config_release(&f.config);
}

static json_int_t number_at(json_t *root, const char *group, const char *key)
{
	json_t *number = json_object_get(json_object_get(root, group), key);

	assert_true(json_is_integer(number));
	return json_integer_value(number);
}

static void modules_and_properties_are_told_again(void **state)
{
	struct fake f;

	(void)state;
	begin(&f);
	done(&f, "PUT /logger {\"module\": \"vmm::api\"}");
	assert_string_equal(f.config.logger.module, "vmm::api");
	done(&f, "PUT /metrics {\"metrics_path\": \"m\", \"properties\": {\"b\": \"x\", \"a\": \"\"}}");
	const char *told = ask(&f, "GET /vm/config");

	assert_non_null(strstr(told, "\"module\":\"vmm::api\""));
	assert_non_null(strstr(told, "\"metrics\":{\"metrics_path\":\"m\",\"emit_id\":false,"
				     "\"properties\":{\"b\":\"x\",\"a\":\"\"}}"));
	config_release(&f.config);
}

/* Under Firecracker's keys. */
static void calls_are_counted(void **state)
{
	json_t *root = json_pack("{s:{s:i}}", "latencies_us", "vmm_pause_vm", 7);
	struct fake f;

	(void)state;
	begin(&f);
	ask(&f, "GET /");
	ask(&f, "GET /");
	ask(&f, "GET /nope");
	done(&f, "PUT /drives/a " DRIVE("a"));
	ask(&f, "PUT /drives/a {}");
	ask(&f, "PUT /drives/a");
	ask(&f, "PATCH /drives/a {}");
	ask(&f, "PUT /mmds/config {}");
	ask(&f, "PUT /mmds []");
	ask(&f, "PUT /cpu-config {}");
	done(&f, "PUT /machine-config {\"vcpu_count\": 1, \"mem_size_mib\": 64, "
		 "\"cpu_template\": \"None\"}");
	done(&f, "PUT /vsock {\"guest_cid\": 3, \"uds_path\": \"v\", \"vsock_id\": \"x\"}");
	done(&f, "PUT /vsock {\"guest_cid\": 3, \"uds_path\": \"v\"}");
	api_fill_metrics(&f.api, root);
	assert_int_equal(number_at(root, "get_api_requests", "instance_info_count"), 2);
	assert_int_equal(number_at(root, "get_api_requests", "mmds_count"), 0);
	assert_null(json_object_get(json_object_get(root, "get_api_requests"), "instance_info_fails"));
	assert_int_equal(number_at(root, "put_api_requests", "drive_count"), 3);
	assert_int_equal(number_at(root, "put_api_requests", "drive_fails"), 2);
	assert_int_equal(number_at(root, "patch_api_requests", "drive_count"), 1);
	assert_int_equal(number_at(root, "patch_api_requests", "drive_fails"), 1);
	assert_int_equal(number_at(root, "put_api_requests", "mmds_count"), 2);
	assert_int_equal(number_at(root, "put_api_requests", "mmds_fails"), 2);
	assert_int_equal(number_at(root, "put_api_requests", "cpu_cfg_fails"), 1);
	assert_int_equal(number_at(root, "put_api_requests", "vsock_count"), 2);
	assert_int_equal(number_at(root, "put_api_requests", "vsock_fails"), 0);
	assert_int_equal(number_at(root, "deprecated_api", "deprecated_http_api_calls"), 2);
	assert_int_equal(number_at(root, "latencies_us", "vmm_pause_vm"), 7);
	assert_int_equal(number_at(root, "latencies_us", "pause_vm"), 0);
	json_decref(root);
	config_release(&f.config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_there_is_can_be_asked_for),
		cmocka_unit_test(every_object_reaches_the_config),
		cmocka_unit_test(the_config_that_is_told_can_be_read),
		cmocka_unit_test(bad_bodies_are_refused_and_change_nothing),
		cmocka_unit_test(requests_have_their_form),
		cmocka_unit_test(the_rules_of_state_hold_for_every_route),
		cmocka_unit_test(a_microvm_starts_once),
		cmocka_unit_test(limits_can_change),
		cmocka_unit_test(logs_and_metrics_that_cannot_be_opened_are_not_configured),
		cmocka_unit_test(there_is_room_for_so_many_devices),
		cmocka_unit_test(modules_and_properties_are_told_again),
		cmocka_unit_test(calls_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
