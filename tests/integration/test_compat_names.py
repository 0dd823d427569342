# SPDX-License-Identifier: Apache-2.0
"""What process and threads are called: mote's names, or those that tools around Firecracker look for."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import BUILD, TIMEOUT, sh
from jailing import GID, UID, monitor_of, world
from test_api import GUESTS, Monitor, boot, monitor

assert monitor and world    # fixtures

OURS = ("mote-vmm", "vcpu")
THEIRS = ("firecracker", "fc_vcpu")


def names(pid):
    """(the process's comm, its threads' names)"""
    return (Path(f"/proc/{pid}/comm").read_text().strip(),
            sorted(task.read_text().strip() for task in Path(f"/proc/{pid}/task").glob("*/comm")))


def assert_named(pid, process, vcpu):
    assert names(pid) == (process, sorted([process, f"{vcpu} 0", f"{vcpu} 1"]))


def copy_as(directory, name):
    shutil.copy(BUILD / "mote-vmm", directory / name)
    return directory / name


# ways to be started: (file's name, argv[0], more arguments, names)
@pytest.mark.parametrize("file,argv0,arguments,expected", [
    ("mote-vmm", None, [], OURS),
    ("mote-vmm", None, ["--compat-names"], THEIRS),
    ("firecracker", None, [], THEIRS),
    ("mote-vmm", "firecracker", [], THEIRS),
    ("mote-vmm", "/usr/bin/firecracker", [], THEIRS),
    ("firecracker", "vmm", [], THEIRS),
    ("firecracker-v1", None, [], OURS),
    ("mote-vmm", "firecracker/mote-vmm", [], OURS),
])
def test_names(monitor, tmp_path, file, argv0, arguments, expected):
    program = copy_as(tmp_path, file)
    vmm = monitor(command=[argv0 or program, "--api-sock", tmp_path / "api.socket", *arguments], executable=program)
    assert names(vmm.process.pid)[0] == expected[0]
    boot(vmm.client, GUESTS / "spin.elf", vcpu_count=2)
    assert_named(vmm.process.pid, *expected)


@pytest.mark.parametrize("file,expected", [("mote-vmm", OURS), ("firecracker", THEIRS)])
def test_names_in_a_jail(world, tmp_path, file, expected):
    """Where there is neither /proc nor a file of that name: the jailer passes it on."""
    world.probe = world.install(copy_as(tmp_path, file))
    root = world.base / file / "a/root"
    root.mkdir(parents=True)
    os.chown(root, UID, GID)
    shutil.copy(GUESTS / "spin.elf", root / "guest.elf")
    vmm = Monitor(root, command=world.command(args=["--api-sock", "/api.socket"]))
    world.started.append(vmm.process)
    boot(vmm.client, "/guest.elf", vcpu_count=2)
    assert_named(monitor_of(vmm.process), *expected)


def test_version_as_clients_of_firecracker_read_it(tmp_path):
    ours = sh(f"{BUILD}/mote-vmm --version")
    assert ours.startswith("mote-vmm ") and ours.count("\n") == 1
    theirs = subprocess.run([copy_as(tmp_path, "firecracker"), "--version"], capture_output=True, text=True,
                            timeout=TIMEOUT, check=True).stdout
    assert theirs == "Firecracker v1.16.1\n\n" + ours
