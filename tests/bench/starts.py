# SPDX-License-Identifier: Apache-2.0
"""reset: from a process's start to its end, with a guest that only resets. boot: to the guest's init."""
import json
import shutil
import subprocess

import monitors
import trace
from stats import Table


class Program:
    """A peer that is just a command."""

    def __init__(self, name, argv):
        self.name = name
        self.argv = argv


def oci_bundle(place):
    """The least that runc takes: a static busybox and a configuration without a terminal."""
    bundle = place / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(shutil.which("busybox"), bundle / "rootfs/bin/true")
    subprocess.run(["runc", "spec", "--bundle", str(bundle)], check=True)
    conf = json.loads((bundle / "config.json").read_text())
    conf["process"]["terminal"] = False
    conf["process"]["args"] = ["/bin/true"]
    (bundle / "config.json").write_text(json.dumps(conf))
    return bundle


def programs(place, missing):
    found = [Program("true", ["/bin/true"])]
    if not monitors.find("busybox"):
        missing.append("busybox (for runc and bwrap)")
        return found
    (place / "bundle").mkdir(exist_ok=True)
    if monitors.find("runc"):
        bundle = oci_bundle(place)
        found.append(Program("runc run true",
                             ["runc", "--root", place / "runc", "run", "--bundle", bundle, "bench"]))
    else:
        missing.append("runc")
    if monitors.find("bwrap"):
        (place / "bundle/rootfs/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(shutil.which("busybox"), place / "bundle/rootfs/bin/true")
        found.append(Program("bwrap true", ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind",
                                            place / "bundle/rootfs", "/", "/bin/true"]))
    else:
        missing.append("bwrap")
    return found


def ms(ns):
    return None if ns is None else ns / 1e6


def reset(place, rounds, tracer, missing, progress):
    table = Table("reset: a bare-metal guest that marks its first instruction and resets, 128 MiB, 1 vCPU",
                  {"to_the_guest": "ms", "to_the_end": "ms", "cpu": "ms"})
    subjects = monitors.monitors(place, missing) + programs(place, missing)
    for r, s in monitors.run_in_turn(rounds, subjects, progress):
        command = s.argv if isinstance(s, Program) else s.command(place / "reset.elf")
        if tracer:
            tracer.start(histograms=False)
        result = place.time(command)
        if r == 0:
            continue
        if isinstance(s, Program):
            to_guest = None
        elif tracer:
            to_guest = tracer.mark_ns(result["start_ns"])
        else:
            to_guest = first_instruction(s, result)
        table.add(s.name, to_the_guest=ms(to_guest), to_the_end=ms(result["wall_ns"]),
                  cpu=ms(result["cpu_ns"]))
    return [table]


def first_instruction(subject, result):
    """By mote's boot timer alone, from the stopwatch's start."""
    if subject.name != "mote-vmm":
        return None
    stages = subject.stages()
    return stages["start_monotonic_ns"] + stages["guest_ready_ns"] - result["start_ns"]


def syscalls(command, place):
    """System calls of COMMAND and its threads and children, by strace: {name: n}."""
    out = place / "strace"
    subprocess.run(["strace", "-f", "-qq", "-c", "-U", "name,calls", "-o", str(out), *map(str, command)],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=120, check=True)
    counts = {}
    for line in out.read_text().splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit() and words[0] != "total":
            counts[words[0]] = int(words[1])
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def summary(counts, most=12):
    text = ", ".join(f"{n} {name}" for name, n in list(counts.items())[:most])
    rest = sum(list(counts.values())[most:])
    return text + (f", {rest} other" if rest else "")


def boot(place, rounds, tracer, missing, progress):
    table = Table("boot: our kernel and an initramfs with one program, 128 MiB, 1 vCPU, no devices",
                  {"to_init": "ms", "to_the_end": "ms", "cpu": "ms", "kernel": "ms", "exits": "",
                   "exits_to_user": "", "system_calls": ""})
    subjects = monitors.monitors(place, missing)
    agent = monitors.Mote(place, name="mote-vmm, mote's agent")
    subjects.append(agent)
    notes = {}
    for r, s in monitors.run_in_turn(rounds, subjects, progress):
        args = f"{monitors.ARGS} {monitors.NO_CONSOLE}"
        command = s.command(place / "vmlinux-x86_64", args=args if s is agent else args + " -- boot",
                            initrd=place / ("mote-initrd.cpio" if s is agent else "init.cpio"))
        # The last round only counts: histograms slow exits down a little.
        if tracer:
            tracer.start(histograms=r == rounds)
        result = place.time(command)
        if r > 0 and tracer:
            to_init = tracer.mark_ns(result["start_ns"])
        elif r > 0:
            to_init = first_instruction(s, result)
        if r > 0:
            table.add(s.name, to_init=ms(to_init), to_the_end=ms(result["wall_ns"]),
                      cpu=ms(result["cpu_ns"]))
        if r > 0 and isinstance(s, monitors.Mote) and s.binary.endswith("mote-vmm"):
            stages = s.stages()
            table.add(s.name, kernel=ms(stages["guest_ready_ns"] - stages["running_ns"]))
        if r == rounds and tracer:
            exits, to_user = tracer.exits()
            table.add(s.name, exits=sum(exits.values()), exits_to_user=sum(to_user.values()))
            notes[s.name] = [f"exits of {s.name}: {summary(exits)}",
                             f"to user space: {summary(to_user)}"]
            tracer.stop_all()
        if r == rounds and monitors.find("strace"):
            counts = syscalls(command, place)
            table.add(s.name, system_calls=sum(counts.values()))
            notes.setdefault(s.name, []).append(f"system calls of {s.name}: {summary(counts)}")
    if not monitors.find("strace"):
        missing.append("strace")
    for lines in notes.values():
        table.notes += lines
    return [table]
