# SPDX-License-Identifier: Apache-2.0
"""Firecracker's metrics keys, and what mote has for each. test_api_flow.py holds a real line against it.

moved:   counted by mote, and more than 0 at the end of firecracker_flow.sh
counted: counted by mote; the flow may leave it at 0
zero:    always 0: mote doesn't count it, or has no such thing
A key of the form NAME_agg is an object; NAME_agg.KEY is a number in it.
"""


def agg(*names):
    return {f"{name}_agg.{key}" for name in names for key in ("min_us", "max_us", "sum_us")}


def keys(text):
    return set(text.split())


def fails(text):
    return {f"{name}_fails" for name in text.split()}


def counts(text):
    return {f"{name}_count" for name in text.split()}


NOTHING = set()

# group: (moved, counted, zero)
TABLE = {
    # With a jailer, which says when it began.
    "api_server": (NOTHING, keys("process_startup_time_us process_startup_time_cpu_us"), NOTHING),
    "balloon": (
        keys("inflate_count deflate_count stats_updates_count"),
        keys("stats_update_fails event_fails free_page_report_count free_page_report_freed free_page_report_fails "
             "free_page_hint_count free_page_hint_freed free_page_hint_fails"),
        keys("activate_fails cfg_fails")),
    "block": (
        keys("read_bytes read_count read_agg.sum_us update_count"),
        keys("update_fails execute_fails invalid_reqs_count flush_count rate_limiter_event_count "
             "rate_limiter_throttled_events write_bytes write_count write_agg.sum_us"),
        keys("activate_fails cfg_fails no_avail_buffer event_fails queue_event_count "
             "io_engine_throttled_events remaining_reqs_count read_agg.min_us read_agg.max_us write_agg.min_us "
             "write_agg.max_us")),
    "deprecated_api": (keys("deprecated_http_api_calls"), NOTHING, NOTHING),
    "entropy": (
        keys("entropy_event_count entropy_bytes"),
        keys("entropy_event_fails entropy_rate_limiter_throttled rate_limiter_event_count"),
        keys("activate_fails host_rng_fails")),
    "get_api_requests": (counts("instance_info machine_cfg mmds vmm_version"), counts("hotplug_memory"), NOTHING),
    "i8042": (      # the flow's kernel has no driver for it
        NOTHING,
        keys("error_count missed_read_count missed_write_count read_count reset_count write_count"),
        NOTHING),
    "interrupts": (keys("triggers"), NOTHING, keys("config_updates")),
    "latencies_us": (
        keys("pause_vm resume_vm vmm_pause_vm vmm_resume_vm"),
        NOTHING,
        keys("full_create_snapshot diff_create_snapshot load_snapshot vmm_full_create_snapshot "
             "vmm_diff_create_snapshot vmm_load_snapshot")),
    "logger": (NOTHING, keys("missed_metrics_count missed_log_count"), keys("metrics_fails")),
    "memory_hotplug": (
        NOTHING,
        NOTHING,
        keys("activate_fails queue_event_fails queue_event_count plug_count plug_bytes plug_fails unplug_count "
             "unplug_bytes unplug_fails unplug_discard_fails unplug_all_count unplug_all_fails state_count "
             "state_fails") | agg("plug", "unplug", "unplug_all", "state")),
    "mmds": (
        keys("rx_accepted rx_count rx_no_token tx_bytes tx_count tx_frames connections_created"),
        keys("rx_accepted_err rx_accepted_unusual rx_invalid_token tx_errors connections_destroyed"),
        keys("rx_bad_eth")),
    "net": (
        keys("tx_bytes_count tx_packets_count tx_count"),
        keys("rx_bytes_count rx_packets_count rx_count rx_fails tx_fails tx_malformed_frames "
             "rx_event_rate_limiter_count rx_rate_limiter_throttled tx_rate_limiter_event_count "
             "tx_rate_limiter_throttled"),
        keys("activate_fails cfg_fails mac_address_updates no_rx_avail_buffer no_tx_avail_buffer event_fails "
             "rx_queue_event_count rx_tap_event_count tap_read_fails tap_write_fails tx_partial_reads "
             "tx_queue_event_count tx_spoofed_mac_count tx_remaining_reqs_count") | agg("tap_write")),
    "patch_api_requests": (
        counts("drive network machine_cfg mmds"),
        counts("hotplug_memory") | fails("drive network machine_cfg mmds hotplug_memory"),
        NOTHING),
    "pmem": (NOTHING, NOTHING, keys("activate_fails cfg_fails event_fails queue_event_count")),
    "put_api_requests": (
        counts("actions boot_source drive logger machine_cfg metrics network mmds vsock")
        | fails("actions boot_source drive machine_cfg mmds"),
        counts("cpu_cfg pmem serial hotplug_memory")
        | fails("logger cpu_cfg metrics network vsock pmem serial hotplug_memory"),
        NOTHING),
    # Of the line that on its violation a handler writes; 0 in all others.
    "seccomp": (NOTHING, keys("num_faults"), NOTHING),
    # As seccomp's, but for sighup, which ends the microVM in order.
    "signals": (NOTHING, keys("sigbus sigsegv sigxfsz sigxcpu sighup sigill"), keys("sigpipe")),
    "uart": (
        keys("read_count write_count"),
        keys("missed_read_count missed_write_count rate_limiter_dropped_bytes"),
        keys("error_count flush_count")),
    "vcpu": (
        keys("exit_io_in exit_io_out exit_mmio_read exit_mmio_write"),
        keys("failures kvmclock_ctrl_fails"),
        agg("exit_io_in", "exit_io_out", "exit_mmio_read", "exit_mmio_write")),
    "vmm": (NOTHING, NOTHING, keys("panic_count")),
    "vsock": (
        keys("rx_bytes_count tx_bytes_count rx_packets_count tx_packets_count conns_added"),
        keys("conns_killed"),
        keys("activate_fails cfg_fails rx_queue_event_fails tx_queue_event_fails ev_queue_event_fails "
             "muxer_event_fails conn_event_fails rx_queue_event_count tx_queue_event_count conns_removed killq_resync "
             "tx_flush_fails tx_write_fails rx_read_fails")),
}
DEVICES = {"block": ("block_rootfs", "block_scratch", "block_exercise"), "net": ("net_eth0",)}


def numbers(group):
    """{"KEY" or "KEY.KEY": number} of a group in a line"""
    flat = {}
    for key, value in group.items():
        nested = value.items() if isinstance(value, dict) else ()
        flat.update({f"{key}.{inner}": number for inner, number in nested} if nested else {key: value})
    return flat


def check(line):
    """What is wrong with a line written at the end of the flow, in words."""
    wrong = []
    for group, (moved, counted, zero) in TABLE.items():
        for name in (group, *DEVICES.get(group, ())):
            found = numbers(line.get(name, {}))
            wrong += [f"{name}.{key}: missing" for key in moved | counted | zero if key not in found]
            wrong += [f"{name}.{key}: {found[key]}" for key in zero if found.get(key)]
        found = numbers(line.get(group, {}))
        wrong += [f"{group}.{key}: didn't move" for key in moved if not found.get(key)]
        for key in moved | counted if group in DEVICES else ():
            parts = sum(numbers(line[name]).get(key, 0) for name in DEVICES[group])
            wrong += [f"{group}.{key}: {found[key]} isn't {parts}, the sum"] if found.get(key) != parts else []
    return wrong
