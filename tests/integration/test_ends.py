# SPDX-License-Identifier: Apache-2.0
"""How a microVM ends: exit codes, the one line that says why, and what a hostile start can't do."""
import signal
import time

import pytest

from conftest import BUILD, CONSOLE, KERNEL, config, wait_for

GUESTS = BUILD / "guests"


@pytest.mark.parametrize("guest,status,line", [
    ("reset", 0, ""),
    ("power_off", 0, ""),
    ("strings", 0, ""),
    ("panic", 160, "mote-vmm: guest kernel panicked: pvpanic\n"),
    ("triple_fault", 161, "mote-vmm: guest processor stopped with a triple fault: vcpu 0\n"),
])
def test_bare_metal_guest_ends_with_its_own_exit_code(vmm, guest, status, line):
    result = vmm(config(GUESTS / f"{guest}.elf", "x"))
    assert (result.status, result.err) == (status, line), result


def test_boot_timer_is_logged_in_firecrackers_form(vmm, tmp_path):
    log = tmp_path / "log"
    result = vmm(config(GUESTS / "reset.elf", "x"), "--boot-timer", "--log-path", str(log), "--level", "Info")
    assert result.status == 0, result
    words = next(l for l in log.read_text().splitlines() if "Guest-boot-time" in l).split("Guest-boot-time = ")[1].split()
    assert words[1::2] == ["us", "ms,", "CPU", "CPU"] or words[1] == "us", words
    assert int(words[0]) > 0
    assert result.metrics["stages"]["guest_ready_ns"] > result.metrics["stages"]["running_ns"]


def test_without_the_option_there_is_no_boot_timer(vmm):
    result = vmm(config(GUESTS / "reset.elf", "x"))
    assert "guest_ready_ns" not in result.metrics["stages"]
    assert result.metrics["vcpu"]["unclaimed_accesses"] == 1


def test_exits_of_a_resetting_guest_are_exactly_two(vmm):
    """One write to the boot timer, one to the i8042: nothing else leaves the kernel."""
    vcpu = vmm(config(GUESTS / "reset.elf", "x"), "--boot-timer").metrics["vcpu"]
    assert (vcpu["exit_mmio_write"], vcpu["exit_io_out"], vcpu["exit_io_in"], vcpu["exit_mmio_read"]) == (1, 1, 0, 0)


def test_string_instructions_reach_the_serial_port_whole(vmm):
    assert vmm(config(GUESTS / "strings.elf", "x")).out == "rep outsb works\n"


def test_every_port_and_register_in_every_width_leaves_the_monitor_alive(vmm, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"\0" * 4096)
    result = vmm(config(GUESTS / "prod.elf", "x", entropy={}, drives=[
        {"drive_id": "d", "path_on_host": str(disk), "is_root_device": False}]), timeout=300)
    assert result.status == 0, result
    assert result.metrics["vcpu"]["unclaimed_accesses"] > 12000
    assert disk.read_bytes() == b"\0" * 4096


def test_a_flood_into_a_blocked_pipe_neither_stalls_nor_grows(start_vmm):
    """Nobody reads stdout: the guest gets through its 192 KiB all the same."""
    process = start_vmm(config(GUESTS / "flood.elf", "x"))
    assert process.wait(timeout=300) == 0
    assert 4096 <= len(process.stdout.read()) < 192 << 10


@pytest.mark.parametrize("signum,status,line", [
    (signal.SIGTERM, 143, b"mote-vmm: stopped by SIGTERM\n"),
    (signal.SIGINT, 130, b"mote-vmm: stopped by SIGINT\n"),
    (signal.SIGHUP, 156, b"mote-vmm: stopped by SIGHUP\n"),
    (signal.SIGSEGV, 150, b"mote-vmm: SIGSEGV: the monitor touched memory that isn't its own\n"),
    (signal.SIGBUS, 149, b"mote-vmm: SIGBUS: guest memory or a mapped file is gone\n"),
    (signal.SIGILL, 157, b"mote-vmm: SIGILL: illegal instruction in the monitor\n"),
    (signal.SIGXCPU, 154, b"mote-vmm: SIGXCPU: the CPU time limit is reached\n"),
    (signal.SIGXFSZ, 151, b"mote-vmm: SIGXFSZ: a file reached the file size limit\n"),
])
def test_signals_have_their_own_exit_codes(start_vmm, tmp_path, signum, status, line):
    uds = tmp_path / "v.sock"
    process = start_vmm(config(GUESTS / "spin.elf", "x", vsock={"guest_cid": 3, "uds_path": str(uds)}))
    # A process that spins in its guest has four threads' worth of time to show: the socket is there.
    wait_for(uds.exists, what="the vsock socket")
    time.sleep(0.3)
    process.send_signal(signum)
    assert process.wait(timeout=30) == status
    assert process.stderr.read() == line
    if signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        assert not uds.exists()


def test_a_panic_of_linux_is_told_at_once(vmm):
    result = vmm(config(KERNEL, CONSOLE + " root=/dev/nosuch"))
    assert result.status == 160, result
    assert "Kernel panic - not syncing" in result.out
    assert result.err == "mote-vmm: guest kernel panicked: pvpanic\n"
