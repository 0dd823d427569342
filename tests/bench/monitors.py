# SPDX-License-Identifier: Apache-2.0
"""The monitors that are compared, and one run of any program under the stopwatch."""
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

QEMU = "qemu-system-x86_64"
# `mote run`'s; without a console there is no serial port to probe, in no monitor.
ARGS = "quiet loglevel=0 panic=-1 reboot=t"
NO_CONSOLE = "8250.nr_uarts=0"
CONSOLE = "console=ttyS0"
TIMEOUT = 60
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin", "LC_ALL": "C"}
# What is copied to where programs run: programs with their libraries, and files that they open.
PROGRAMS = (QEMU, "firecracker", "runc", "bwrap", "busybox", "true", "strace")
DATA = ("/usr/share/qemu/qboot.rom", "/usr/share/qemu/pvh.bin", "/etc/passwd", "/etc/group")


class Failed(Exception):
    """A program under measurement didn't do what it should."""


class Place:
    """
    The directory (on tmpfs) with copies of all that is measured. As root it also has a root directory
    for programs under measurement, with their libraries: in the test host an open of a file of the
    machine's waits for the machine, and its time would be the machine's, too.
    """

    def __init__(self, directory, build, tools):
        self.dir = Path(directory)
        self.root = None
        for name in ("mote-vmm", "mote-agent", "mote-initrd.cpio", "vmlinux-x86_64"):
            shutil.copy(Path(build) / name, self.dir)
        for name in ("init", "init.cpio", "reset.elf", "stopwatch", "netserver"):
            shutil.copy(Path(tools) / name, self.dir)
        if os.geteuid() == 0:
            self.root = self / "root"
            self._make_root()

    def _make_root(self):
        self.root.mkdir()
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.root / "usr" / name).mkdir(parents=True, exist_ok=True)
            (self.root / name).symlink_to("usr/" + name)
        for name in ("dev", "proc", "sys", "tmp", "run", "etc"):
            (self.root / name).mkdir()
        for name in PROGRAMS:
            if shutil.which(name):
                self._add(shutil.which(name))
        for path in DATA:
            if Path(path).exists():
                self._copy(path)
        subprocess.run(["ldconfig", "-r", str(self.root)], check=True, capture_output=True)

    def _copy(self, path):
        to = self.root / Path(path).relative_to("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        if not to.exists():
            shutil.copy(path, to)

    def _add(self, path):
        """Copy a program and the libraries that it names."""
        self._copy(path)
        listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", listed):
            self._copy(library)

    def __truediv__(self, name):
        return self.dir / name

    def stopwatch(self, command, timeout=TIMEOUT):
        """COMMAND, as a command that runs it under the stopwatch and in our root."""
        return [str(self / "stopwatch"), str(timeout), str(self.root or ""), *map(str, command)]

    def time(self, command, timeout=TIMEOUT, status=(0,)):
        """
        Run COMMAND under the stopwatch; its result as a dict, with "stdout" and "stderr".
        Raises Failed.
        """
        done = subprocess.run(self.stopwatch(command, timeout), env=ENVIRONMENT, errors="replace",
                              capture_output=True, text=True, check=False, timeout=timeout + 30)
        if done.returncode != 0:
            raise Failed(f"stopwatch: status {done.returncode}: {done.stderr}")
        out, _, line = done.stdout.rstrip("\n").rpartition("\n")
        result = json.loads(line)
        result.update(stdout=out, stderr=done.stderr)
        if result["timeout"] or result["status"] not in status:
            raise Failed(f"{Path(command[0]).name}: " + (
                f"not done after {timeout} s" if result["timeout"] else
                f"status {result['status']}, signal {result['signal']}: {done.stderr[-300:]}"))
        return result


def find(name):
    """A peer's path, or None."""
    return shutil.which(name)


class Mote:
    """mote-vmm. Firecracker takes the same configuration, hence `binary`."""

    name = "mote-vmm"

    def __init__(self, place, binary=None, name=None):
        self.place = place
        self.binary = str(binary or place / "mote-vmm")
        self.name = name or self.name

    def command(self, kernel, initrd=None, args="", memory=128, disk=None, tap=None, boot_timer=True):
        conf = {
            "boot-source": {"kernel_image_path": str(kernel), "boot_args": args},
            "machine-config": {"vcpu_count": 1, "mem_size_mib": memory},
            "logger": {"level": "Warning"},
        }
        if initrd:
            conf["boot-source"]["initrd_path"] = str(initrd)
        if disk:
            conf["drives"] = [{"drive_id": "disk", "path_on_host": str(disk), "is_root_device": False,
                               "is_read_only": False, "io_engine": "Async"}]
        if tap:
            conf["network-interfaces"] = [{"iface_id": "eth0", "host_dev_name": tap}]
        if boot_timer:
            conf["metrics"] = {"metrics_path": str(self.place / "metrics")}
        path = self.place / f"{self.name}.json"
        path.write_text(json.dumps(conf))
        (self.place / "metrics").unlink(missing_ok=True)
        return [self.binary, "--no-api", "--config-file", str(path),
                *(["--boot-timer"] if boot_timer else [])]

    def stages(self):
        """The stages of the last run that had its boot timer on, in ns since the process's start."""
        return json.loads((self.place / "metrics").read_text().splitlines()[-1])["stages"]


class Qemu:
    """QEMU's microvm in the form that boots our kernel quickest of those tried (see README.md)."""

    name = "QEMU microvm"

    def __init__(self, place):
        self.place = place

    def command(self, kernel, initrd=None, args="", memory=128, disk=None, tap=None, boot_timer=True):
        del boot_timer
        serial = CONSOLE in args
        machine = f"microvm,acpi=on,pit=off,pic=off,rtc=off,isa-serial={'on' if serial else 'off'}"
        command = [QEMU, "-M", machine, "-bios", "qboot.rom", "-accel", "kvm", "-cpu", "host",
                   "-m", str(memory), "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none",
                   "-no-reboot", "-global", "virtio-mmio.force-legacy=false", "-kernel", str(kernel)]
        if serial:
            command += ["-serial", "stdio"]
        if initrd:
            command += ["-initrd", str(initrd), "-append", args]
        if disk:
            command += ["-drive", f"id=d,file={disk},format=raw,if=none,cache=none,aio=native",
                        "-object", "iothread,id=io", "-device", "virtio-blk-device,drive=d,iothread=io"]
        if tap:
            command += ["-netdev", f"tap,id=n,ifname={tap},script=no,downscript=no,vhost=off",
                        "-device", "virtio-net-device,netdev=n"]
        return command


def monitors(place, missing):
    """All that are here; names of the others go to the list `missing`."""
    found = [Mote(place)]
    if find("firecracker"):
        found.append(Mote(place, find("firecracker"), "Firecracker"))
    else:
        missing.append("firecracker")
    if find(QEMU):
        found.append(Qemu(place))
    else:
        missing.append(QEMU)
    return found


def run_in_turn(rounds, subjects, progress):
    """(round, subject) for a warm-up round and ROUNDS more, interleaved; the warm-up is round 0."""
    for r in range(rounds + 1):
        for subject in subjects:
            progress(f"round {r} of {rounds}: {subject.name}")
            yield r, subject
