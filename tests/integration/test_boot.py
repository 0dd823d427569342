# SPDX-License-Identifier: Apache-2.0
"""Real kernels: each boot protocol, processors, memory, platform tables, console, disks."""
import hashlib
import re
import struct

import pytest

from conftest import BZIMAGE, CONSOLE, INITRD, KERNEL, ROOT, config

# busybox as init: run one shell line, then power off or reboot by what the kernel offers.
INIT = CONSOLE + " quiet root=/dev/vda rootfstype=erofs ro init=/bin/sh"


# The driver empties the receiver's FIFO when it opens the port, as on hardware: lines to lose.
LOSE = "\n" * 32


def root_drive(**more):
    return {"drive_id": "root", "path_on_host": str(ROOT), "is_root_device": False,
            "is_read_only": True, **more}


def in_guest(script, args="", **more):
    """A configuration whose guest reads `script` from its console: see run_script."""
    more.setdefault("drives", [root_drive()])
    return config(more.pop("kernel", KERNEL), f"{INIT} {args}", **more)


def run_script(vmm, script, end="poweroff -f", **more):
    """Run the script by a shell on the serial console; its output between two marks."""
    text = (LOSE + "stty -echo; PS1= PS2=; mount -t proc p /proc; mount -t sysfs s /sys; echo BEGIN''MARK\n"
            f"{script}\necho END''MARK; {end}\n")
    result = vmm(in_guest(script, **more), stdin=text)
    assert result.status == 0, result
    match = re.search(r"BEGINMARK\r?\n(.*)ENDMARK", result.out, re.S)
    assert match, result
    lines = [line.strip() for line in match.group(1).splitlines()]
    return [line for line in lines if line and not line.startswith("/ #")], result


def without_pvh_note(tmp_path):
    """Our kernel with the PVH note renamed: the 64-bit boot protocol has to serve."""
    image = KERNEL.read_bytes()
    note = struct.pack("<III4s", 4, 8, 18, b"Xen\0")
    assert image.count(note) == 1
    path = tmp_path / "vmlinux-64"
    path.write_bytes(image.replace(note, struct.pack("<III4s", 4, 8, 18, b"Yen\0")))
    return path


@pytest.mark.parametrize("kind", ["pvh", "bzimage", "elf64"])
@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("memory", [128, 4096])
def test_boots(vmm, tmp_path, kind, cpus, memory):
    kernel = {"pvh": lambda: KERNEL, "bzimage": lambda: BZIMAGE,
              "elf64": lambda: without_pvh_note(tmp_path)}[kind]()
    out, result = run_script(vmm, "nproc; grep MemTotal /proc/meminfo", kernel=kernel, cpus=cpus, memory=memory)
    assert out[0] == str(cpus), result
    kib = int(out[1].split()[1])
    # What Linux keeps for itself is below 64 MiB and a thirtieth.
    assert memory * 1024 - 65536 - memory * 35 < kib < memory * 1024, result


def test_mptable_and_command_line_devices_without_acpi(vmm):
    out, result = run_script(vmm, "nproc; ls /sys/bus/virtio/devices | wc -l; grep -c LNRO /proc/iomem; cat /proc/cmdline",
                             end="reboot -f",  # powering off takes ACPI
                             cpus=2, machine_config={"platform": "MpTable"}, entropy={})
    assert out[:3] == ["2", "2", "0"], result
    assert "virtio_mmio.device=4K@0xc0001000:5 virtio_mmio.device=4K@0xc0002000:6" in out[3]


def test_acpi_names_the_devices(vmm):
    out, result = run_script(vmm, "ls /sys/bus/acpi/devices | sort | tr '\\n' ' '; echo; grep virtio /proc/interrupts",
                             entropy={})
    assert out[0].count("LNRO0005:") == 2, result
    assert "virtio0" in "".join(out[1:]), result


def test_thirty_two_processors(vmm):
    out, result = run_script(vmm, "nproc", cpus=32, memory=512)
    assert out == ["32"], result


def test_topology_is_one_package_of_cores(vmm):
    out, result = run_script(
        vmm, "cat /sys/devices/system/cpu/cpu*/topology/physical_package_id "
        "/sys/devices/system/cpu/cpu*/topology/core_id | tr '\\n' ' '", cpus=4)
    assert out == ["0 0 0 0 0 1 2 3"], result


def test_topology_with_smt(vmm):
    out, result = run_script(
        vmm, "cat /sys/devices/system/cpu/cpu*/topology/thread_siblings_list; "
        "cat /sys/devices/system/cpu/cpu0/topology/package_cpus_list", cpus=4, machine_config={"smt": True})
    assert out == ["0-1", "0-1", "2-3", "2-3", "0-3"], result


def test_hypervisor_is_seen_and_nested_virtualization_is_not(vmm):
    out, result = run_script(vmm, "grep -c -w hypervisor /proc/cpuinfo; grep -c -w -E 'svm|vmx' /proc/cpuinfo; "
                             "cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
    assert out == ["1", "0", "kvm-clock"], result


def test_initrd_runs(vmm):
    """The agent is the initrd here; without a vsock it says so and powers off."""
    result = vmm(config(KERNEL, CONSOLE, boot_source={"initrd_path": str(INITRD)}))
    assert result.status == 0, result
    assert "mote-agent: connect to the host:" in result.out


def test_reboot_ends_the_microvm(vmm):
    result = vmm(in_guest(""), stdin=LOSE + "reboot -f\n")
    assert result.status == 0, result
    assert "reboot: Restarting system" in result.out


def test_console_input_and_output_are_byte_exact(vmm):
    """Through the receive FIFO of 16 bytes, with the shell's own flow control."""
    data = "".join(f"{i:06d}" for i in range(500))
    out, result = run_script(vmm, "md5sum <<X\n" + "\n".join(data[i:i + 60] for i in range(0, 3000, 60)) + "\nX")
    want = hashlib.md5(("\n".join(data[i:i + 60] for i in range(0, 3000, 60)) + "\n").encode()).hexdigest()
    assert any(line.startswith(want) for line in out), result


@pytest.mark.parametrize("engine", ["Async", "Sync"])
def test_disk_filled_by_the_guest_and_verified_by_the_host(vmm, tmp_path, engine):
    disk = tmp_path / "disk"
    size = 8 << 20
    disk.write_bytes(b"\xff" * size)
    out, result = run_script(
        # A shell of its own: busybox's applets are forks of the shell that calls them, and head would
        # find in its stdin's buffer what that one has read ahead on the console.
        vmm, "/bin/sh -c 'mount -t devtmpfs d /dev 2>/dev/null; cat /sys/block/vdb/size; "
        "seq 1 1300000 | head -c 8388608 | dd of=/dev/vdb bs=64k conv=fsync 2>/dev/null; "
        "echo 3 >/proc/sys/vm/drop_caches; md5sum </dev/vdb' </dev/null",
        memory=256,
        drives=[root_drive(), {"drive_id": "data", "path_on_host": str(disk), "is_root_device": False,
                               "io_engine": engine, "cache_type": "Writeback"}])
    written = disk.read_bytes()
    numbers = b"".join(b"%d\n" % i for i in range(1, 1300001))[:size]
    assert out[0] == str(size // 512), result
    assert written == numbers, "the host sees other bytes than the guest wrote"
    assert hashlib.md5(numbers).hexdigest() in out[1], result
    counters = result.metrics["block_data"]
    assert counters["write"]["bytes"] == size and counters["read"]["bytes"] >= size
    assert counters["flush"]["count"] >= 1 and counters["write"]["errors"] == 0


def test_read_only_disk_stays_as_it_was(vmm, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"a" * (1 << 20))
    out, result = run_script(
        vmm, "mount -t devtmpfs d /dev 2>/dev/null; cat /sys/block/vdb/ro; "
        "dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync 2>&1 | grep -c 'not permitted'",
        drives=[root_drive(), {"drive_id": "data", "path_on_host": str(disk), "is_root_device": False,
                               "is_read_only": True}])
    assert out == ["1", "1"], result
    assert disk.read_bytes() == b"a" * (1 << 20)


def test_discard_gives_space_back(vmm, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(b"a" * (8 << 20))
    out, result = run_script(
        vmm, "mount -t devtmpfs d /dev 2>/dev/null; blkdiscard -o 1048576 -l 4194304 /dev/vdb && "
        "dd if=/dev/vdb bs=1M skip=1 count=4 2>/dev/null | tr -d '\\0' | wc -c",
        drives=[root_drive(), {"drive_id": "data", "path_on_host": str(disk), "is_root_device": False}])
    assert out == ["0"], result
    assert disk.stat().st_blocks * 512 <= (5 << 20)
    assert disk.read_bytes() == b"a" * (1 << 20) + b"\0" * (4 << 20) + b"a" * (3 << 20)


def test_drive_serial_is_its_id(vmm):
    out, result = run_script(vmm, "cat /sys/block/vda/serial", drives=[root_drive(drive_id="my_root_disk")])
    assert out == ["my_root_disk"], result


def test_entropy_device_feeds_the_kernel(vmm):
    out, result = run_script(vmm, "cat /sys/class/misc/hw_random/rng_current; mount -t devtmpfs d /dev 2>/dev/null; "
                             "head -c 64 /dev/hwrng | wc -c", entropy={})
    assert out == ["virtio_rng.0", "64"], result


def test_root_device_goes_to_the_command_line(vmm):
    """is_root_device: root=/dev/vda ro comes from the monitor, whatever the order of drives."""
    conf = config(KERNEL, CONSOLE + " quiet rootfstype=erofs init=/bin/sh", drives=[
        {"drive_id": "b", "path_on_host": str(ROOT), "is_root_device": False, "is_read_only": True},
        {"drive_id": "a", "path_on_host": str(ROOT), "is_root_device": True, "is_read_only": True}])
    result = vmm(conf, stdin=LOSE + "mount -t proc p /proc; mount -t sysfs s /sys; cat /proc/cmdline /sys/block/vda/serial; poweroff -f\n")
    assert result.status == 0, result
    assert "init=/bin/sh root=/dev/vda ro" in result.out
    assert re.search(r"^a\b", result.out, re.M), result
