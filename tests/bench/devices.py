# SPDX-License-Identifier: Apache-2.0
"""Memory of an idle monitor; disk and network as a guest sees them."""
import os
import re
import signal
import subprocess
import time

import monitors
from stats import Table

RAM_MIB = 128
DISK_MIB = 64
DISK_SEQUENTIAL_MIB = 8
DISK_REQUESTS = 600
DISK_WORKERS = 4
NET_MIB = 8
NET_PINGS = 200
TAP = "motebench0"
HOST, GUEST = "192.0.2.1", "192.0.2.2"
BOOT_SECONDS = 60


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Tap:
    """A tap with an address, in this process's own network namespace."""

    def __enter__(self):
        if os.geteuid() != 0:
            raise monitors.Failed("taps need root")
        ip("tuntap", "add", "dev", TAP, "mode", "tap", "vnet_hdr")
        ip("address", "add", HOST + "/24", "dev", TAP)
        ip("link", "set", TAP, "up")
        return TAP

    def __exit__(self, *_):
        ip("link", "delete", TAP)


class Loop:
    """A loop device over a file on tmpfs, full of data: block storage that takes O_DIRECT."""

    def __init__(self, place):
        self.file = place / "disk.img"
        self.device = None

    def __enter__(self):
        if os.geteuid() != 0:
            raise monitors.Failed("loop devices need root")
        with open(self.file, "wb") as f:
            for _ in range(DISK_MIB):
                f.write(os.urandom(4096) * 256)
        out = subprocess.run(["losetup", "--find", "--show", str(self.file)], check=True,
                             capture_output=True, text=True)
        self.device = out.stdout.strip()
        return self.device

    def __exit__(self, *_):
        subprocess.run(["losetup", "--detach", self.device], check=False)
        self.file.unlink()


def guest(place, subject, *words, **devices):
    """The command of a guest whose init is given WORDS."""
    args = f"{monitors.ARGS} {monitors.CONSOLE} -- {' '.join(map(str, words))}"
    return subject.command(place / "vmlinux-x86_64", initrd=place / "init.cpio", args=args,
                           memory=RAM_MIB, boot_timer=False, **devices)


def child(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return int(f.read().split()[0])


def private_kib(pid):
    """(KiB of private memory without the guest's RAM, KiB of PSS of the same, {kind: private KiB})."""
    private, pss, kinds, skip, kind = 0, 0, {}, False, ""
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as f:
        for line in f:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+\s*(.*)", line)
            if m:
                # Guest RAM is the one mapping of exactly its size (mote has guards around it).
                skip = int(m[2], 16) - int(m[1], 16) == RAM_MIB << 20
                kind = os.path.basename(m[3]) or "anonymous"
                continue
            m = re.match(r"(Pss|Private_Clean|Private_Dirty):\s+(\d+) kB", line)
            if not m or skip:
                continue
            if m[1] == "Pss":
                pss += int(m[2])
            else:
                private += int(m[2])
                kinds[kind] = kinds.get(kind, 0) + int(m[2])
    return private, pss, dict(sorted(kinds.items(), key=lambda item: -item[1]))


def memory(place, rounds, tracer, missing, progress):
    """Rounds would show nothing: it is the same each time. Two are taken to see that."""
    del tracer
    table = Table("memory of the monitor without the guest's RAM: an idle Linux guest, 1 vCPU, "
                  "1 disk, 1 network card", {"private": "KiB", "pss": "KiB"})
    notes = {}
    with Loop(place) as disk, Tap() as tap:
        for r, s in monitors.run_in_turn(min(rounds, 2), monitors.monitors(place, missing), progress):
            if r == 0:
                continue
            command = place.stopwatch(guest(place, s, "idle", disk=disk, tap=tap))
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, env=monitors.ENVIRONMENT) as process:
                try:
                    wait_for_line(process, b"idle")
                    time.sleep(0.5)
                    private, pss, kinds = private_kib(child(process.pid))
                finally:
                    process.kill()
            table.add(s.name, private=private, pss=pss)
            notes[s.name] = f"private of {s.name}: " + ", ".join(
                f"{kib} {kind}" for kind, kib in list(kinds.items())[:8] if kib)
    table.notes += notes.values()
    return [table]


def wait_for_line(process, word):
    """Until the process has printed WORD; raises Failed after BOOT_SECONDS or at its end."""
    signal.signal(signal.SIGALRM, lambda *_: process.kill())
    signal.alarm(BOOT_SECONDS)
    seen = b""
    while word not in seen:
        more = os.read(process.stdout.fileno(), 4096)
        if not more:
            raise monitors.Failed(f"the guest said only: {seen[-300:]!r}")
        seen += more
    signal.alarm(0)


def results(place, command):
    """What the guest said, {name: number}. Raises Failed on its errors."""
    result = place.time(command, timeout=BOOT_SECONDS)
    out = result["stdout"].replace("\r", "")
    found = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+) (\d+)$", out, re.M)}
    if "error" in out or "kernel_ns" not in found:
        raise monitors.Failed(f"the guest said: {out[-300:]!r}")
    return found


def disk(place, rounds, tracer, missing, progress):
    del tracer
    patterns = ("sequential_read", "sequential_write", "random_read", "random_write")
    table = Table(f"disk: O_DIRECT in the guest on a raw loop device, {DISK_WORKERS} requests in flight; "
                  "sequential 64 KiB, random 4 KiB",
                  {p: "MB/s" if "seq" in p else "IOPS" for p in patterns})
    with Loop(place) as device:
        for r, s in monitors.run_in_turn(rounds, monitors.monitors(place, missing), progress):
            found = results(place, guest(place, s, "disk", "/dev/vda", DISK_SEQUENTIAL_MIB, DISK_REQUESTS,
                                         DISK_WORKERS, disk=device))
            if r > 0:
                table.add(s.name, **{p: (65536e3 if "seq" in p else 1e9) / found[p + "_ns"]
                                     for p in patterns})
    return [table]


def net(place, rounds, tracer, missing, progress):
    del tracer
    streams, pings = ("stream_to_host", "stream_to_guest"), ("tcp_round_trip", "udp_round_trip")
    table = Table(f"net: a tap with offloads, no vhost; TCP streams of {NET_MIB} MiB, {NET_PINGS} round trips "
                  "of a byte", {**{s: "MB/s" for s in streams}, **{p: "us" for p in pings}})
    with Tap() as tap, subprocess.Popen([place / "netserver", HOST], stdout=subprocess.PIPE) as server:
        try:
            wait_for_line(server, b"ready")
            for r, s in monitors.run_in_turn(rounds, monitors.monitors(place, missing), progress):
                found = results(place, guest(place, s, "net", GUEST, HOST, NET_MIB, NET_PINGS, tap=tap))
                if r > 0:
                    table.add(s.name, **{n: (NET_MIB << 20) * 1e3 / found[n + "_ns"] for n in streams},
                              **{n: found[n + "_ns"] / 1e3 for n in pings})
        finally:
            server.kill()
    return [table]
