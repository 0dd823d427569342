# SPDX-License-Identifier: Apache-2.0
"""`mote doctor --isolation`: what it counts is what there is, and it says so of a monitor that leaks."""
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from conftest import BUILD, TIMEOUT, wait_for
from jailing import AS_NOBODY, NOBODY, WITH_DEVICES, host_mounts

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "security"))
import policies  # noqa: E402

LEAKY = next((p for p in (BUILD / "leaky_monitor", BUILD / "tests/integration/leaky_monitor") if p.exists()), None)
OTHERS = ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
SYS_LANDLOCK_CREATE_RULESET = 444

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts as root and as nobody")


def has_kvm():
    return subprocess.run([BUILD / "mote", "doctor", "--kvm"], capture_output=True, check=False).returncode == 0


with_kvm = pytest.mark.skipif(not has_kvm(), reason="no KVM that runs Linux")


@pytest.fixture
def place():
    """A directory where nobody can reach mote's programs."""
    directory = Path(tempfile.mkdtemp(prefix="mote-isolation-", dir="/tmp"))
    directory.chmod(0o755)
    for name in ("mote", "mote-vmm", "mote-jailer"):
        shutil.copy(BUILD / name, directory / name)
        (directory / name).chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def look(place, prefix=(), status=0):
    """{check: (result, text, count if there is one)}"""
    result = subprocess.run([*prefix, str(place / "mote"), "doctor", "--isolation", "--json"], text=True,
                            capture_output=True, timeout=TIMEOUT, check=False)
    assert (result.returncode, result.stderr) == (status, ""), result
    wait_for(lambda: not running(place), what="the monitor's end")
    value = json.loads(result.stdout)
    assert value["isolated"] == (status == 0)
    return {c["check"]: (c["result"], re.sub(r"pipe:\[\d+\]", "pipe", c["text"]),
                         *([c["count"]] if "count" in c else [])) for c in value["checks"]}


def running(place):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += [pid] if os.readlink(f"/proc/{pid}/exe").startswith(str(place)) else []
        except OSError:
            pass
    return found


def system_calls():
    """By the policies, which the filters are made from."""
    counts = {}
    for kind, rules in policies.load().items():
        calls = {rule.call for rule in rules}
        whole = {rule.call for rule in rules if not rule.args}
        counts[f"system calls, {'' if kind == 'vmm-api' else 'thread '}{kind}"] = (
            "ok", f"{len(calls - whole)} of them only with certain arguments", len(calls))
    return counts


def landlock():
    abi = ctypes.CDLL(None, use_errno=True).syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, 1)
    if abi < 0:
        return ("warn", "not on in this kernel")
    return ("note", f"version {abi}, of which the jail uses all it knows; from outside this can't be seen")


def jail(**changes):
    """A jail as it should be, but for the changes."""
    found = {
        **system_calls(),
        "threads": ("ok", "mote-vmm, disk probe, vcpu 0; each under the jail's seccomp filter and one of its own", 3),
        "capabilities": ("ok", "in all five sets", 0),
        "user": ("ok", f"{NOBODY}, group {NOBODY}, 0 more groups"),
        "no_new_privs": ("ok", "set: no program gives it privileges"),
        "dumpable": ("ok", "no: neither core dumps nor debuggers"),
        "namespaces of its own": ("ok", ", ".join(OTHERS), 6),
        "mounts": ("ok", "/, /dev", 2),
        "files in its root": ("ok", "/dev, /dev/kvm", 2),
        "network interfaces": ("ok", "lo", 1),
        "file descriptors": ("ok", "KVM's, events and timers; and /dev/null, pipe, pipe, /memfd:disk (deleted), "
                                   "/dev/kvm, /dev/null, pipe", 18),
        "Landlock": landlock(),
    }
    return {**found, **{key.replace("_", " "): value for key, value in changes.items()}}


ROOTLESS = {
    "namespaces of its own": ("ok", ", ".join(sorted([*OTHERS, "user"])), 7),
    "mounts": ("ok", "/, /dev, /dev/kvm", 3),
}
LEAKS = {
    "threads": ("fail", "leaky, second; without a seccomp filter of its own: leaky, second", 2),
    "dumpable": ("fail", "its user's other processes can read its memory"),
}


@with_kvm
def test_as_root(place):
    assert look(place) == jail()


@with_kvm
def test_without_root(place):
    mode = os.stat("/dev/kvm").st_mode & 0o777
    os.chmod("/dev/kvm", 0o666)
    try:
        assert look(place, AS_NOBODY) == {**jail(), **ROOTLESS}
    finally:
        os.chmod("/dev/kvm", mode)


def leak(place):
    """What the jailer passes to mote-vmm and this keeps: configuration, kernel, disk."""
    shutil.copy(LEAKY, place / "mote-vmm")
    return {**LEAKS, "file descriptors": ("ok", "KVM's, events and timers; and /dev/null, pipe, pipe, "
                                                "/memfd:kernel (deleted), /memfd:disk (deleted), "
                                                "/memfd:config (deleted), socket", 7)}


def no_numbers(found):
    result, text, count = found["file descriptors"]
    return {**found, "file descriptors": (result, re.sub(r"socket:\[\d+\]", "socket", text), count)}


def test_a_monitor_that_leaks_as_root(place):
    expected = {**jail(), **leak(place)}
    assert no_numbers(look(place, status=1)) == expected


def test_a_monitor_that_leaks_without_root(place):
    expected = {**jail(), **ROOTLESS, **leak(place)}
    assert no_numbers(look(place, [*WITH_DEVICES, *AS_NOBODY], status=1)) == expected


@pytest.mark.parametrize("groups, more", [([], 0), (["--groups=6,7"], 2)])
def test_groups_without_root_stay(place, groups, more):
    """They are what gives access to /dev/kvm."""
    leak(place)
    found = look(place, [*WITH_DEVICES, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                         *(groups or ["--clear-groups"])], status=1)

    assert found["user"] == ("ok", f"{NOBODY}, group {NOBODY}, {more} more groups")


NO_JAIL = """#!/usr/bin/python3
import os, sys
words = dict(zip(sys.argv[1:], sys.argv[2:]))
pid = os.fork()
if pid == 0:
    os.execv(words["--exec-file"], ["mote-vmm"])
os.write(int(words["--handover"]), str(pid).encode())
"""


def test_a_jailer_that_makes_no_jail(place):
    leak(place)
    (place / "mote-jailer").write_text(NO_JAIL)
    before = len(host_mounts().splitlines())
    found = look(place, status=1)

    # Not "dumpable": what is root's is root's either way.
    assert {check for check in found if found[check][0] == "fail"} == {
        "threads", "capabilities", "user", "no_new_privs", "namespaces of its own", "mounts",
        "files in its root", *(["network interfaces"] if os.listdir("/sys/class/net") != ["lo"] else [])}
    with open("/proc/self/status", encoding="ascii") as status:
        sets = [int(line.split()[1], 16) for line in status if line.startswith("Cap")]
    assert found["capabilities"][2] == (sets[0] | sets[1] | sets[2] | sets[3] | sets[4]).bit_count() > 0
    assert found["user"][1].startswith("0, group 0, ")
    assert found["namespaces of its own"][1:] == ("", 0)
    assert found["mounts"][2] in (before, len(host_mounts().splitlines()))  # other tests mount, too
    assert found["files in its root"][2] == 1000    # it stops there


def test_no_jailer(place):
    (place / "mote-jailer").unlink()

    assert look(place, status=1) == {**system_calls(), "jail": (
        "fail", f'mote-jailer is not beside mote in "{place}"; tools/quickstart builds it')}


def test_no_jail(place):
    """The line of the one who couldn't."""
    (place / "mote-vmm").write_text("#!/bin/sh\n")

    found = look(place, status=1)["jail"]
    assert found[0] == "fail" and found[1].startswith(f'mote-jailer: exec "{place}/mote-vmm"')


def test_not_the_same_at_once(place):
    result = subprocess.run([place / "mote", "doctor", "--kvm", "--isolation"], text=True, capture_output=True,
                            timeout=TIMEOUT, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (
        125, "", "mote doctor: --kvm: not with --isolation\n")
