/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life cycle and counters in libvirt's terms, compiled against its headers (nothing is linked).
 *
 * Each table covers its enumeration up to _LAST: a value is mapped to mote's, or it's said why mote
 * has none. A libvirt with more values fails these tests until somebody has decided about them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define VIR_ENUM_SENTINELS
#include <libvirt/libvirt.h>

#include "devices/virtio/blk.h"
#include "devices/virtio/net.h"
#include "vmm/state.h"
#include "vmm/util.h"

/* What stands at a libvirt value: one of mote's, or the reason why there is none. */
struct counterpart {
	bool mapped;
	int mote;
	const char *why_none;
};

#define IS(value)                                                                                  \
	{                                                                                          \
		.mapped = true, .mote = (value)                                                    \
	}
#define NONE(reason)                                                                               \
	{                                                                                          \
		.why_none = (reason)                                                               \
	}

#define ALWAYS_KNOWN "mote never changes state without knowing why"
#define NO_MIGRATION "mote doesn't migrate a running guest"
#define NO_SAVED     "mote has no stopped state that comes from a saved one"

static const struct counterpart states[] = {
	[VIR_DOMAIN_NOSTATE] = IS(VM_STATE_NOT_STARTED),
	[VIR_DOMAIN_RUNNING] = IS(VM_STATE_RUNNING),
	[VIR_DOMAIN_BLOCKED] = NONE("a vCPU that waits is no state of the microVM"),
	[VIR_DOMAIN_PAUSED] = IS(VM_STATE_PAUSED),
	[VIR_DOMAIN_SHUTDOWN] = IS(VM_STATE_SHUTTING_DOWN),
	[VIR_DOMAIN_SHUTOFF] = IS(VM_STATE_STOPPED),
	[VIR_DOMAIN_CRASHED] = IS(VM_STATE_CRASHED),
	[VIR_DOMAIN_PMSUSPENDED] = NONE("the ACPI tables offer no sleep state but S5"),
};

static const struct counterpart stopped_reasons[] = {
	[VIR_DOMAIN_SHUTOFF_UNKNOWN] = NONE(ALWAYS_KNOWN),
	[VIR_DOMAIN_SHUTOFF_SHUTDOWN] = IS(VM_STOPPED_SHUTDOWN),
	[VIR_DOMAIN_SHUTOFF_DESTROYED] = IS(VM_STOPPED_DESTROYED),
	[VIR_DOMAIN_SHUTOFF_CRASHED] = IS(VM_STOPPED_CRASHED),
	[VIR_DOMAIN_SHUTOFF_MIGRATED] = NONE(NO_MIGRATION),
	[VIR_DOMAIN_SHUTOFF_SAVED] = NONE(NO_SAVED),
	[VIR_DOMAIN_SHUTOFF_FAILED] = IS(VM_STOPPED_FAILED),
	[VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT] = NONE(NO_SAVED),
	[VIR_DOMAIN_SHUTOFF_DAEMON] = NONE("no daemon stands above the monitor"),
};

static const struct counterpart paused_reasons[] = {
	[VIR_DOMAIN_PAUSED_UNKNOWN] = NONE(ALWAYS_KNOWN),
	[VIR_DOMAIN_PAUSED_USER] = IS(VM_PAUSED_USER),
	[VIR_DOMAIN_PAUSED_MIGRATION] = NONE(NO_MIGRATION),
	[VIR_DOMAIN_PAUSED_SAVE] = NONE("a guest is saved only after the user paused it"),
	[VIR_DOMAIN_PAUSED_DUMP] = NONE("mote writes no core of the guest"),
	[VIR_DOMAIN_PAUSED_IOERROR] = NONE("disk errors go to the guest, which runs on"),
	[VIR_DOMAIN_PAUSED_WATCHDOG] = NONE("there is no watchdog device"),
	[VIR_DOMAIN_PAUSED_FROM_SNAPSHOT] = NONE("a restored guest that waits was asked to wait"),
	[VIR_DOMAIN_PAUSED_SHUTTING_DOWN] = NONE("a guest runs until its vCPUs stop for good"),
	[VIR_DOMAIN_PAUSED_SNAPSHOT] = NONE("a snapshot is taken only after the user paused"),
	[VIR_DOMAIN_PAUSED_CRASHED] = NONE("a crashed guest is ended, not kept"),
	[VIR_DOMAIN_PAUSED_STARTING_UP] = NONE("before its first instruction it is not started"),
	[VIR_DOMAIN_PAUSED_POSTCOPY] = NONE(NO_MIGRATION),
	[VIR_DOMAIN_PAUSED_POSTCOPY_FAILED] = NONE(NO_MIGRATION),
};

static const struct counterpart crashed_reasons[] = {
	[VIR_DOMAIN_CRASHED_UNKNOWN] = IS(VM_CRASHED_UNKNOWN),
	[VIR_DOMAIN_CRASHED_PANICKED] = IS(VM_CRASHED_PANICKED),
};

/* Every value up to last is decided, and each of mote's n values stands at exactly one of them. */
static void assert_one_to_one(const struct counterpart *table, size_t length, int last, int n)
{
	assert_int_equal(length, last);
	for (int vir = 0; vir < last; vir++) {
		assert_true(table[vir].mapped == (table[vir].why_none == NULL));
		if (table[vir].mapped)
			assert_in_range(table[vir].mote, 0, n - 1);
	}
	for (int mote = 0; mote < n; mote++) {
		int found = 0;

		for (int vir = 0; vir < last; vir++)
			found += table[vir].mapped && table[vir].mote == mote;
		assert_int_equal(found, 1);
	}
}

static void states_map_one_to_one(void **state)
{
	(void)state;
	assert_one_to_one(states, ARRAY_SIZE(states), VIR_DOMAIN_LAST, VM_STATES);
}

static void stopped_reasons_map_one_to_one(void **state)
{
	(void)state;
	assert_one_to_one(stopped_reasons, ARRAY_SIZE(stopped_reasons), VIR_DOMAIN_SHUTOFF_LAST,
			  VM_STOPPED_REASONS);
}

static void paused_reasons_map_one_to_one(void **state)
{
	(void)state;
	assert_one_to_one(paused_reasons, ARRAY_SIZE(paused_reasons), VIR_DOMAIN_PAUSED_LAST,
			  VM_PAUSED_REASONS);
}

static void crashed_reasons_map_one_to_one(void **state)
{
	(void)state;
	assert_one_to_one(crashed_reasons, ARRAY_SIZE(crashed_reasons), VIR_DOMAIN_CRASHED_LAST,
			  VM_CRASHED_REASONS);
}

/* libvirt's value for one of mote's. */
static int to_libvirt(const struct counterpart *table, size_t length, int mote)
{
	for (size_t vir = 0; vir < length; vir++)
		if (table[vir].mapped && table[vir].mote == mote)
			return (int)vir;
	return -1;
}

static void each_end_is_a_state_and_a_reason_of_libvirt(void **state)
{
	static const struct {
		enum vm_end end;
		virDomainState state;
		int reason;
	} expected[] = {
		{ VM_END_POWER_OFF, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SHUTDOWN },
		{ VM_END_RESET, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_SHUTDOWN },
		{ VM_END_SIGINT, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED },
		{ VM_END_SIGTERM, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED },
		{ VM_END_SIGHUP, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED },
		{ VM_END_PANIC, VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED },
		{ VM_END_TRIPLE_FAULT, VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_UNKNOWN },
		{ VM_END_KVM_FAILURE, VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_UNKNOWN },
		{ VM_END_MONITOR_FAILURE, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_CRASHED },
		{ VM_END_START_FAILURE, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED },
	};

	(void)state;
	assert_int_equal(ARRAY_SIZE(expected), VM_ENDS - 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(expected); i++) {
		const struct vm_end_info *info = vm_end_info(expected[i].end);
		int reason = info->state == VM_STATE_STOPPED
				     ? to_libvirt(stopped_reasons, ARRAY_SIZE(stopped_reasons),
						  (int)info->stopped)
				     : to_libvirt(crashed_reasons, ARRAY_SIZE(crashed_reasons),
						  (int)info->crashed);

		assert_int_equal(to_libvirt(states, ARRAY_SIZE(states), (int)info->state),
				 expected[i].state);
		assert_int_equal(reason, expected[i].reason);
	}
}

static long long count(const _Atomic uint64_t *counter)
{
	return (long long)atomic_load_explicit(counter, memory_order_relaxed);
}

/* What a libvirt driver for mote would do. */
static virDomainBlockStatsStruct block_stats(const struct virtio_blk_counters *counters)
{
	virDomainBlockStatsStruct stats = {
		.rd_req = count(&counters->op[DISK_READ].requests),
		.rd_bytes = count(&counters->op[DISK_READ].bytes),
		.wr_req = count(&counters->op[DISK_WRITE].requests),
		.wr_bytes = count(&counters->op[DISK_WRITE].bytes),
		.errs = count(&counters->invalid),
	};

	for (unsigned int op = 0; op < DISK_OPS; op++)
		stats.errs += count(&counters->op[op].errors);
	return stats;
}

static virDomainInterfaceStatsStruct interface_stats(const struct virtio_net_stats *net)
{
	return (virDomainInterfaceStatsStruct){
		.rx_bytes = (long long)net->rx_bytes,
		.rx_packets = (long long)net->rx_packets,
		.rx_errs = (long long)net->rx_errs,
		.rx_drop = (long long)net->rx_drop,
		.tx_bytes = (long long)net->tx_bytes,
		.tx_packets = (long long)net->tx_packets,
		.tx_errs = (long long)net->tx_errs,
		.tx_drop = (long long)net->tx_drop,
	};
}

static void drive_counters_fill_all_of_block_stats(void **state)
{
	struct virtio_blk_counters counters = {
		.op = {
			[DISK_READ] = { .requests = 11, .bytes = 12, .errors = 1000 },
			[DISK_WRITE] = { .requests = 13, .bytes = 14, .errors = 200 },
			[DISK_FLUSH] = { .requests = 99, .errors = 30 },
			[DISK_DISCARD] = { .requests = 98, .bytes = 97, .errors = 4 },
		},
		.invalid = 50000,
	};
	/* In the order of the structure, all of it: a member more would show as a difference. */
	static const long long expected[] = { 11, 12, 13, 14, 51234 };

	(void)state;
	assert_int_equal(sizeof(virDomainBlockStatsStruct), sizeof(expected));
	virDomainBlockStatsStruct stats = block_stats(&counters);

	assert_memory_equal(&stats, expected, sizeof(expected));
}

static void interface_counters_fill_all_of_interface_stats(void **state)
{
	static const struct virtio_net_stats net = {
		.rx_bytes = 1,
		.rx_packets = 2,
		.rx_errs = 3,
		.rx_drop = 4,
		.tx_bytes = 5,
		.tx_packets = 6,
		.tx_errs = 7,
		.tx_drop = 8,
	};
	static const long long expected[] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	(void)state;
	assert_int_equal(sizeof(virDomainInterfaceStatsStruct), sizeof(expected));
	virDomainInterfaceStatsStruct stats = interface_stats(&net);

	assert_memory_equal(&stats, expected, sizeof(expected));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_map_one_to_one),
		cmocka_unit_test(stopped_reasons_map_one_to_one),
		cmocka_unit_test(paused_reasons_map_one_to_one),
		cmocka_unit_test(crashed_reasons_map_one_to_one),
		cmocka_unit_test(each_end_is_a_state_and_a_reason_of_libvirt),
		cmocka_unit_test(drive_counters_fill_all_of_block_stats),
		cmocka_unit_test(interface_counters_fill_all_of_interface_stats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
