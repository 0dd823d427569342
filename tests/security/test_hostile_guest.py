# SPDX-License-Identifier: Apache-2.0
"""A guest that attacks every device and every address (tests/guests/hostile.c): the monitor ends when the
guest resets and not before, it and the host keep their files, memory and descriptors, and a microVM beside
it goes on. Needs a KVM."""
import collections
import hashlib
import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from conftest import BUILD, TIMEOUT, config, sh  # noqa: E402

MIB = 1 << 20
RAM = 128
PHASES = ["malformed chains", "malformed rings", "queues anywhere", "status machine", "resets in flight", "floods",
          "random descriptors", "ports", "addresses", "strings"]
SECTOR, WRITE_FIRST, WRITE_END = 512, 2048, 4096    # hostile.c's
VARIANTS = [v for v in ("mote-vmm", "mote-vmm-asan") if (BUILD / v).exists()]


@pytest.fixture(scope="module")
def netns():
    sh("ip netns add mote-hostile && ip -n mote-hostile tuntap add hostile0 mode tap vnet_hdr && "
       "ip -n mote-hostile link set hostile0 up")
    yield "mote-hostile"
    sh("ip netns del mote-hostile")


class Neighbour:
    """A microVM that answers all the time."""

    def __init__(self):
        self.process = subprocess.Popen([BUILD / "mote", "run", "--", "cat"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, bufsize=0)
        self.asked = 0
        self.answers()

    def answers(self):
        self.asked += 1
        self.process.stdin.write(b"%d\n" % self.asked)
        assert select.select([self.process.stdout], [], [], TIMEOUT)[0], "the neighbour is silent"
        assert self.process.stdout.readline() == b"%d\n" % self.asked

    def end(self):
        try:
            assert self.process.communicate(timeout=TIMEOUT)[0] == b""
        finally:
            self.process.kill()
        assert self.process.returncode == 0


@pytest.fixture(scope="module")
def neighbour():
    made = Neighbour()
    yield made
    made.end()


def make_disks(directory):
    """{name: (path, content)}"""
    disks = {}
    for name in ("fixed", "sync", "async"):
        disks[name] = directory / name
        # No byte of it makes a valid request, should one be taken for such.
        disks[name].write_bytes(b"\xa5" * (4 * MIB))
    return disks


def private_memory(pid):
    """Bytes of a process's own, without the guest's RAM."""
    total, size = 0, 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if match:
            size = int(match[2], 16) - int(match[1], 16)
        elif line.startswith("Private_") and size != RAM * MIB:
            total += int(line.split()[1]) * 1024
    return total


def descriptors(pid):
    return sorted(os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd"))


def outside_of_the_zone(path):
    content = path.read_bytes()
    return content[:WRITE_FIRST * SECTOR] + content[WRITE_END * SECTOR:]


def threads_of(process):
    """What each does, for a monitor that has stopped doing anything."""
    return [[(task / name).read_text().strip() for name in ("comm", "syscall", "stack")]
            for task in Path(f"/proc/{process.pid}/task").iterdir()]


class GuestIsSilent(Exception):
    pass


def phases_of(process):
    """The names of the phases that the guest ends, as it does."""
    text = b""
    while True:
        if not select.select([process.stdout], [], [], TIMEOUT)[0]:
            raise GuestIsSilent(text[-200:], threads_of(process))
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            return
        *lines, text = (text + data).split(b"\n")
        for line in lines:
            match = re.search(rb"phase (.*) done$", line)
            if match:
                yield match[1].decode()


def attack(directory, netns, neighbour, variant, seed):
    """(monitor's status, what it wrote to stderr, log, [(open files, private memory)] after each phase)"""
    disks = make_disks(directory)
    conf = config(BUILD / "guests/hostile.elf", f"seed={seed}", memory=RAM, entropy={},
                  drives=[{"drive_id": name, "path_on_host": str(path), "is_root_device": False,
                           "is_read_only": name == "fixed", "io_engine": "Async" if name == "async" else "Sync",
                           "cache_type": "Writeback"} for name, path in disks.items()],
                  network_interfaces=[{"iface_id": "eth0", "host_dev_name": "hostile0"}],
                  vsock={"guest_cid": 3, "uds_path": str(directory / "v")})
    (directory / "config.json").write_text(json.dumps(conf))
    log = directory / "log"
    # Sanitizers make system calls of their own.
    more = ["--no-seccomp"] if variant.endswith("asan") else []
    process = subprocess.Popen(["ip", "netns", "exec", netns, BUILD / variant, "--no-api", "--config-file",
                                directory / "config.json", "--log-path", log, "--level", "Info", *more],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    seen = []
    try:
        for phase in phases_of(process):
            assert phase == PHASES[len(seen)]
            try:
                seen.append((descriptors(process.pid), private_memory(process.pid)))
            except FileNotFoundError:   # the reset follows the last one
                seen.append(seen[-1])
            neighbour.answers()
    except GuestIsSilent:
        # It waits for nothing without a bound. Whether the monitor stands still too tells who is at fault.
        neighbour.answers()
        process.terminate()
        assert process.wait(TIMEOUT) == 143, log.read_text()
        raise
    else:
        _, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert len(seen) == len(PHASES), (process.returncode, err, log.read_text(), seen)
    return process.returncode, err.decode(), log.read_text(), seen


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_hostile_guest(tmp_path, netns, neighbour, variant, seed):
    status, err, log, seen = attack(tmp_path, netns, neighbour, variant, seed)

    assert (status, err) == (0, ""), log
    lines = log.splitlines()
    for device in ('drive "fixed"', 'drive "sync"', 'drive "async"', 'network interface "eth0"', 'vsock "vsock"',
                   'entropy "entropy"'):
        assert sum(f"{device}: stopped until the guest resets it" in line for line in lines) == 1, (device, log)
    assert len(lines) < 32, log
    for fds, _ in seen:     # the console's input closes when it ends
        assert not collections.Counter(fds) - collections.Counter(seen[0][0])
    if not variant.endswith("asan"):
        assert max(memory for _, memory in seen) < 8 * MIB, seen
    unchanged = hashlib.sha256(b"\xa5" * (4 * MIB)).digest()
    assert hashlib.sha256((tmp_path / "fixed").read_bytes()).digest() == unchanged
    for name in ("sync", "async"):
        left = outside_of_the_zone(tmp_path / name)
        assert left == b"\xa5" * len(left), name
