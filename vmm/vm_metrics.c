/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics line of a microVM: where the time went, exits, devices. mote's own keys stand beside
 * Firecracker's (metrics_keys.c).
 */
#include <sys/resource.h>

#include "devices/mmds/service.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/vsock.h"
#include "vmm/metrics_keys.h"
#include "vmm/util.h"
#include "vmm/vm.h"

static void set(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/*
 * Nanoseconds since the process started; stages not reached are left out. jail_ns: how long before
 * that the jailer started.
 */
static json_t *stages(const struct vm *vm)
{
	const struct vm_stages *s = &vm->stages;
	const struct {
		const char *name;
		uint64_t at;
	} all[] = { { "configured_ns", s->configured }, { "loaded_ns", s->loaded },
		    { "prepared_ns", s->prepared },     { "built_ns", s->built },
		    { "running_ns", s->running },       { "guest_ready_ns", s->guest_ready },
		    { "ended_ns", s->ended } };
	json_t *object = json_object();

	set(object, "start_monotonic_ns", s->start);
	if (s->jail && s->jail <= s->start) {
		set(object, "jail_ns", s->start - s->jail);
		set(object, "jail_cpu_ns", s->jail_cpu_ns);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].at)
			set(object, all[i].name, all[i].at - s->start);
	return object;
}

static json_t *exits(const struct vm *vm)
{
	uint64_t runs = 0, in = 0, out = 0, read = 0, write = 0, interrupted = 0, unclaimed = 0;
	uint64_t failures = 0;
	json_t *object = json_object();

	for (unsigned int i = 0; i < vm->vcpus.n; i++) {
		const struct vcpu_stats *s = &vm->vcpus.vcpus[i].stats;

		runs += get(&s->runs);
		in += get(&s->pio_in);
		out += get(&s->pio_out);
		read += get(&s->mmio_read);
		write += get(&s->mmio_write);
		interrupted += get(&s->interrupted);
		unclaimed += get(&s->unclaimed);
		failures += get(&s->failures);
	}
	set(object, "runs", runs);
	set(object, "exit_io_in", in);
	set(object, "exit_io_out", out);
	set(object, "exit_mmio_read", read);
	set(object, "exit_mmio_write", write);
	set(object, "interrupted", interrupted);
	set(object, "unclaimed_accesses", unclaimed);
	set(object, "failures", failures);
	set(object, "kvmclock_ctrl_fails", vm->kvmclock_failures);
	return object;
}

/* Firecracker's keys for what is above them in more detail. */
static void drive_in_short(json_t *object, const struct virtio_blk_counters *c)
{
	const struct virtio_blk_counter *read = &c->op[DISK_READ], *write = &c->op[DISK_WRITE];
	uint64_t errors = 0;

	for (unsigned int op = 0; op < DISK_OPS; op++)
		errors += get(&c->op[op].errors);
	set(object, "read_count", get(&read->requests) - get(&read->errors));
	set(object, "read_bytes", get(&read->bytes));
	set(object, "write_count", get(&write->requests) - get(&write->errors));
	set(object, "write_bytes", get(&write->bytes));
	set(object, "flush_count", get(&c->op[DISK_FLUSH].requests));
	set(object, "execute_fails", errors);
	set(object, "invalid_reqs_count", get(&c->invalid));
	set(object, "update_count", get(&c->updates));
	set(object, "update_fails", get(&c->update_failures));
	json_object_set_new(object, "read_agg",
			    json_pack("{s:I}", "sum_us", (json_int_t)(get(&read->total_ns) / 1000)));
	json_object_set_new(object, "write_agg",
			    json_pack("{s:I}", "sum_us", (json_int_t)(get(&write->total_ns) / 1000)));
}

static json_t *drive(const struct virtio_device *device)
{
	static const char *const names[DISK_OPS] = {
		[DISK_READ] = "read", [DISK_WRITE] = "write", [DISK_FLUSH] = "flush",
		[DISK_DISCARD] = "discard", [DISK_WRITE_ZEROES] = "write_zeroes",
	};
	const struct virtio_blk_counters *c = virtio_blk_counters(device);
	const struct rate_limiter_counters limiter = virtio_blk_limiter_counters(device);
	json_t *object = json_object();

	for (unsigned int op = 0; op < DISK_OPS; op++) {
		json_t *counter = json_object();

		set(counter, "count", get(&c->op[op].requests));
		set(counter, "bytes", get(&c->op[op].bytes));
		set(counter, "errors", get(&c->op[op].errors));
		set(counter, "total_ns", get(&c->op[op].total_ns));
		json_object_set_new(object, names[op], counter);
	}
	set(object, "invalid_requests", get(&c->invalid));
	drive_in_short(object, c);
	set(object, "rate_limiter_throttled_events", limiter.throttled);
	set(object, "rate_limiter_event_count", limiter.resumed);
	return object;
}

static json_t *net(const struct virtio_device *device)
{
	struct rate_limiter_counters rx, tx;
	struct virtio_net_stats s;
	json_t *object = json_object();

	virtio_net_get_stats(device, &s);
	virtio_net_limiter_counters(device, &rx, &tx);
	set(object, "rx_bytes_count", s.rx_bytes);
	set(object, "rx_packets_count", s.rx_packets);
	set(object, "rx_errors", s.rx_errs);
	set(object, "rx_drops", s.rx_drop);
	set(object, "tx_bytes_count", s.tx_bytes);
	set(object, "tx_packets_count", s.tx_packets);
	set(object, "tx_errors", s.tx_errs);
	set(object, "tx_drops", s.tx_drop);
	/* Firecracker's keys for the same. */
	set(object, "rx_count", s.rx_packets);
	set(object, "rx_fails", s.rx_errs);
	set(object, "tx_count", s.tx_packets);
	set(object, "tx_fails", s.tx_errs);
	set(object, "tx_malformed_frames", s.tx_errs);
	set(object, "rx_rate_limiter_throttled", rx.throttled);
	set(object, "rx_event_rate_limiter_count", rx.resumed);
	set(object, "tx_rate_limiter_throttled", tx.throttled);
	set(object, "tx_rate_limiter_event_count", tx.resumed);
	return object;
}

static json_t *vsock(const struct virtio_device *device)
{
	struct virtio_vsock_counters c;
	json_t *object = json_object();

	virtio_vsock_counters(device, &c);
	set(object, "rx_bytes_count", c.rx_bytes);
	set(object, "rx_packets_count", c.rx_packets);
	set(object, "tx_bytes_count", c.tx_bytes);
	set(object, "tx_packets_count", c.tx_packets);
	set(object, "tx_drops", c.tx_dropped);
	set(object, "conns_added", c.connections_opened);
	set(object, "conns_refused", c.connections_refused);
	set(object, "conns_reset", c.connections_reset);
	set(object, "conns_killed", c.connections_reset); /* Firecracker's word */
	return object;
}

static json_t *mmds(const struct mmds *mmds)
{
	const struct mmds_counters *c = &mmds->counters;
	const struct {
		const char *key;
		const uint64_t *counter;
	} all[] = {
		{ "rx_accepted", &c->rx_accepted },
		{ "rx_accepted_err", &c->rx_accepted_err },
		{ "rx_accepted_unusual", &c->rx_accepted_unusual },
		{ "rx_count", &c->rx_count },
		{ "rx_no_token", &c->rx_no_token },
		{ "rx_invalid_token", &c->rx_invalid_token },
		{ "tx_bytes", &c->tx_bytes },
		{ "tx_count", &c->tx_count },
		{ "tx_errors", &c->tx_errors },
		{ "tx_frames", &c->tx_frames },
		{ "connections_created", &c->connections_created },
		{ "connections_destroyed", &c->connections_destroyed },
	};
	json_t *object = json_object();

	/* Frames that aren't Ethernet's never come as far as this. */
	set(object, "rx_bad_eth", 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++)
		set(object, all[i].key, *all[i].counter);
	return object;
}

static json_t *entropy(struct virtio_device *device)
{
	const struct virtio_rng_counters c = virtio_rng_counters(device);
	const struct rate_limiter_counters limiter = virtio_rng_limiter_counters(device);
	json_t *object = json_object();

	set(object, "entropy_event_count", c.requests);
	set(object, "entropy_bytes", c.bytes);
	set(object, "entropy_event_fails", c.errors);
	set(object, "entropy_rate_limiter_throttled", limiter.throttled);
	set(object, "rate_limiter_event_count", limiter.resumed);
	return object;
}

static json_t *balloon(struct virtio_device *device)
{
	const struct virtio_balloon_counters c = virtio_balloon_counters(device);
	json_t *object = json_object();

	set(object, "inflate_count", c.inflations);
	set(object, "deflate_count", c.deflations);
	set(object, "stats_updates_count", c.stats_updates);
	set(object, "stats_update_fails", c.stats_failures);
	set(object, "event_fails", c.failures);
	set(object, "free_page_report_count", c.reports);
	set(object, "free_page_report_freed", c.report_freed);
	set(object, "free_page_report_fails", c.report_failures);
	set(object, "free_page_hint_count", c.hints);
	set(object, "free_page_hint_freed", c.hint_freed);
	set(object, "free_page_hint_fails", c.hint_failures);
	return object;
}

static json_t *serial(struct vm *vm)
{
	struct serial_counters c;
	json_t *object = json_object();

	serial_read_counters(&vm->serial, &c);
	set(object, "read_count", c.rx_bytes);
	set(object, "write_count", c.tx_bytes);
	set(object, "tx_drops", c.tx_dropped);
	set(object, "missed_write_count", c.tx_dropped); /* Firecracker's words */
	set(object, "missed_read_count", c.rx_missed);
	set(object, "rate_limiter_dropped_bytes", c.tx_limited);
	return object;
}

static json_t *keyboard(struct vm *vm)
{
	struct i8042_counters c;
	json_t *object = json_object();

	i8042_read_counters(&vm->i8042, &c);
	set(object, "error_count", c.errors);
	set(object, "missed_read_count", c.missed_reads);
	set(object, "missed_write_count", c.missed_writes);
	set(object, "read_count", c.reads);
	set(object, "reset_count", c.resets);
	set(object, "write_count", c.writes);
	return object;
}

static json_t *interrupts(const struct vm *vm)
{
	uint64_t raised = 0;
	json_t *object = json_object();

	if (vm->has_serial)
		raised += get(&vm->serial.irq.raised);
	if (vm->has_i8042)
		raised += get(&vm->i8042.irq.raised);
	for (unsigned int i = 0; i < vm->n_virtio; i++)
		raised += get(&vm->virtio[i].device->irq.raised);
	set(object, "triggers", raised);
	return object;
}

/* From the jailer's start until the API was there: Firecracker's clients ask for it in these units. */
static json_t *startup(const struct vm *vm)
{
	const struct vm_stages *s = &vm->stages;
	json_t *object = json_object();

	if (!s->jail || s->jail > s->configured)
		return object;
	set(object, "process_startup_time_us", (s->configured - s->jail) / 1000);
	set(object, "process_startup_time_cpu_us",
	    (s->configured_cpu_ns - vm->before_exec_ns + s->jail_cpu_ns) / 1000);
	return object;
}

static json_t *latencies(const struct vm *vm)
{
	json_t *object = json_object();

	set(object, "vmm_pause_vm", vm->pause_us);
	set(object, "vmm_resume_vm", vm->resume_us);
	return object;
}

static json_t *signals(const struct vm *vm)
{
	json_t *object = json_object();

	set(object, "sighup", vm->end == VM_END_SIGHUP);
	return object;
}

static json_t *process(const struct vm *vm)
{
	struct rusage usage;
	json_t *object = json_object();

	getrusage(RUSAGE_SELF, &usage);
	set(object, "user_us", (uint64_t)usage.ru_utime.tv_sec * 1000000 + (uint64_t)usage.ru_utime.tv_usec);
	set(object, "system_us",
	    (uint64_t)usage.ru_stime.tv_sec * 1000000 + (uint64_t)usage.ru_stime.tv_usec);
	if (vm->before_exec_ns) /* which the two above contain */
		set(object, "jailer_us", vm->before_exec_ns / 1000);
	set(object, "minor_faults", (uint64_t)usage.ru_minflt);
	set(object, "major_faults", (uint64_t)usage.ru_majflt);
	return object;
}

void vm_fill_metrics(void *context, json_t *root)
{
	struct vm *vm = context;
	char key[VIRTIO_DEVICE_ID_MAX + 8];

	json_object_set_new(root, "stages", stages(vm));
	json_object_set_new(root, "vcpu", exits(vm));
	if (vm->has_serial)
		json_object_set_new(root, "uart", serial(vm));
	if (vm->has_i8042)
		json_object_set_new(root, "i8042", keyboard(vm));
	json_object_set_new(root, "api_server", startup(vm));
	json_object_set_new(root, "interrupts", interrupts(vm));
	json_object_set_new(root, "latencies_us", latencies(vm));
	json_object_set_new(root, "signals", signals(vm));
	json_object_set_new(root, "process", process(vm));
	json_object_set_new(root, "mmds", mmds(vm->mmds));
	for (unsigned int i = 0; i < vm->n_virtio; i++) {
		const struct virtio_device *device = vm->virtio[i].device;

		switch (device->ops->device_id) {
		case 1:
			snprintf(key, sizeof(key), "net_%s", device->id);
			json_object_set_new(root, key, net(device));
			break;
		case 2:
			snprintf(key, sizeof(key), "block_%s", device->id);
			json_object_set_new(root, key, drive(device));
			break;
		case 4:
			json_object_set_new(root, "entropy", entropy(vm->virtio[i].device));
			break;
		case 5:
			json_object_set_new(root, "balloon", balloon(vm->virtio[i].device));
			break;
		case 19:
			json_object_set_new(root, "vsock", vsock(device));
			break;
		}
	}
	if (vm->fill_more)
		vm->fill_more(vm->fill_context, root);
	metrics_complete(root);
}
