# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: running mote-vmm and mote on a host that has a working KVM."""
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("MOTE_BUILD", Path(__file__).resolve().parents[2] / "build"))
KERNEL = BUILD / "vmlinux-x86_64"
BZIMAGE = BUILD / "bzImage-x86_64"
INITRD = BUILD / "mote-initrd.cpio"
ROOT = BUILD / "mote-root.erofs"
# Guests run in software on the test host: generous, since it only matters when something hangs.
TIMEOUT = 120
CONSOLE = "console=ttyS0 panic=-1 reboot=k"


class Result:
    """A finished process: status, output as text, and the metrics line if there was one."""

    def __init__(self, process, metrics=None):
        self.status = process.returncode
        self.out = process.stdout
        self.err = process.stderr
        self.metrics = metrics

    def __repr__(self):
        return f"status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def config(kernel=KERNEL, args=CONSOLE, memory=128, cpus=1, **more):
    """A configuration with what every microVM needs; keywords replace - by _."""
    result = {
        "boot-source": {"kernel_image_path": str(kernel), "boot_args": args},
        "machine-config": {"vcpu_count": cpus, "mem_size_mib": memory},
    }
    for key, value in more.items():
        key = key.replace("_", "-")
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key].update(value)
        else:
            result[key] = value
    return result


@pytest.fixture
def vmm(tmp_path):
    """vmm(config, *arguments, stdin=..) runs mote-vmm to its end."""

    def run(conf, *arguments, stdin="", timeout=TIMEOUT, prefix=()):
        path = tmp_path / "config.json"
        metrics = tmp_path / "metrics"
        conf.setdefault("metrics", {"metrics_path": str(metrics)})
        path.write_text(json.dumps(conf))
        process = subprocess.run(
            [*prefix, str(BUILD / "mote-vmm"), "--no-api", "--config-file", str(path), *arguments],
            input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
            errors="replace")
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        return Result(process, json.loads(lines[-1]) if lines else None)

    return run


@pytest.fixture
def start_vmm(tmp_path):
    """start_vmm(config, *arguments) -> Popen; killed at the end of the test."""
    started = []

    def start(conf, *arguments, **options):
        path = tmp_path / f"config-{len(started)}.json"
        path.write_text(json.dumps(conf))
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                   **options}
        process = subprocess.Popen(
            [str(BUILD / "mote-vmm"), "--no-api", "--config-file", str(path), *arguments], **options)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def mote():
    """mote(*arguments) runs the command and asserts that it leaves nothing in /tmp."""

    def run(*arguments, stdin="", timeout=TIMEOUT, text=True, **options):
        before = set(os.listdir("/tmp"))
        process = subprocess.run([str(BUILD / "mote"), *map(str, arguments)],
                                 input=stdin if text else stdin or b"", capture_output=True, text=text,
                                 timeout=timeout, check=False, **options)
        left = {name for name in set(os.listdir("/tmp")) - before if name.startswith("mote-")}
        assert not left, f"mote left {left} in /tmp"
        return Result(process)

    return run


def wait_for(condition, seconds=30, what="condition"):
    """Poll condition() until it holds; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def busybox_tree(tree, *applets):
    """The beginning of a root file system in the directory `tree`: busybox with these of its applets, mount points."""
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (tree / name).mkdir(parents=True)
    sh(f"cp $(command -v busybox) {tree}/bin/busybox")
    for applet in applets:
        (tree / "bin" / applet).symlink_to("busybox")


def sh(command):
    """Run a shell command that must succeed; its output."""
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
