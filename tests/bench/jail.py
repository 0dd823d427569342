# SPDX-License-Identifier: Apache-2.0
"""jail: from the jailer's start to the first line of the monitor in it; see jail."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from stats import Table

UID = "4321"
MOUNTS = """
mkdir "$1" && mount -t tmpfs mounts "$1" && i=0
while [ $i -lt 500 ]; do i=$((i + 1)); mkdir "$1/$i" && mount -t tmpfs x "$1/$i" || exit 1; done
shift; exec "$@" """


class Bench:
    """A base for jails, and what is measured: {row: (command, how many at once, with 500 mounts)}."""

    def __init__(self, place, jailer, stamp):
        self.place = place
        self.jailer = jailer
        self.stamp = stamp
        self.count = 0

    def jail(self, *arguments):
        return [self.jailer, "--exec-file", self.stamp, *arguments]

    def plain(self):
        # A new base each time, and none removed until the end: ext4 looks long for an inode that wasn't
        # in use lately.
        base = self.place / f"base{self.count}"
        self.count += 1
        base.mkdir(mode=0o755)
        return self.jail("--uid", UID, "--gid", UID, "--chroot-base-dir", base)

    def private(self):
        config = self.place / "vm.json"
        config.write_text(json.dumps({"boot-source": {"kernel_image_path": str(config)}}))
        return self.jail("--uid", UID, "--gid", UID, "--config", config, "--private-root")

    def subjects(self):
        found = {
            "no jail": ([self.stamp], 1, False),
            "jail": (self.plain(), 1, False),
            "jail, 10 at once": (self.plain(), 10, False),
            "jail, 500 mounts": (self.plain(), 1, True),
            "jail, 500 mounts, 10 at once": (self.plain(), 10, True),
            "--config --private-root": (self.private(), 1, False),
            "... 10 at once": (self.private(), 10, False),
        }
        if os.path.isdir("/sys/fs/cgroup/memory"):
            found["jail, cgroup 1"] = ([*self.plain(), "--parent-cgroup", "mote-bench", "--cgroup",
                                        "memory.limit_in_bytes=268435456"], 1, False)
        return found

    def measure(self, command, at_once, mounts):
        """[(round, ms)], and ms of CPU time a start."""
        rounds = max(1, 20 // at_once)
        words = [self.stamp, rounds, at_once, *command]
        if mounts:
            self.count += 1
            words = ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", self.place / f"m{self.count}", *words]
        done = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True,
                              timeout=120)
        lines = [line.split() for line in done.stdout.splitlines()]
        cpu = next(int(line[1]) for line in lines if line[0] == "cpu") / 1e6 / (rounds * at_once)
        return [(int(r), int(ns) / 1e6) for r, ns in (line for line in lines if line[0] != "cpu")], cpu

    def system_calls(self, command):
        """Of the jailer, outside and inside, and of the monitor."""
        trace = self.place / "trace"
        subprocess.run(["strace", "-f", "-qq", "-o", trace, *map(str, [command[0], "--id", "trace-0", *command[1:]])],
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120)
        lines = trace.read_text().splitlines()
        return sum("resumed>" not in line and "---" not in line and "+++" not in line for line in lines)


def main():
    parser = argparse.ArgumentParser()
    for name in ("--jailer", "--stamp"):
        parser.add_argument(name, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    table = Table("jail: from just before the jailer's fork to the first line of the monitor, a static program",
                  {"to_the_monitor": "ms", "to_the_last": "ms", "cpu": "ms", "system_calls": ""})
    place = Path(tempfile.mkdtemp(prefix="mote-bench-jail-"))
    try:
        place.chmod(0o755)
        stamp = place / "stamp"
        shutil.copy(options.stamp, stamp)
        stamp.chmod(0o755)
        bench = Bench(place, options.jailer, stamp)
        for r in range(options.rounds + 1):
            for name, (command, at_once, mounts) in bench.subjects().items():
                print(f"\rround {r} of {options.rounds}: {name:30}", end="", file=sys.stderr, flush=True)
                samples, cpu = bench.measure(command, at_once, mounts)
                if r == 0:      # warm-up
                    continue
                for _, ms in samples:
                    table.add(name, to_the_monitor=ms)
                for number in {n for n, _ in samples}:
                    table.add(name, to_the_last=max(ms for n, ms in samples if n == number))
                if not mounts:      # which would be counted
                    table.add(name, cpu=cpu)
                if r == 1 and at_once == 1 and not mounts:
                    table.add(name, system_calls=bench.system_calls(command))
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    finally:
        shutil.rmtree(place, ignore_errors=True)
        for path in Path("/sys/fs/cgroup").glob("*/mote-bench"):
            path.rmdir()
    print(json.dumps(table.as_dict()) if options.json else table.text())


if __name__ == "__main__":
    main()
