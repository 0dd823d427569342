# SPDX-License-Identifier: Apache-2.0
"""The jail's cgroups, on hosts with version 1, version 2 or both."""
import subprocess
from pathlib import Path

import pytest

from jailing import ends, monitor_of, root_only, world

pytestmark = root_only
assert world    # a fixture


def hierarchies():
    """{controller: mount} of version 1, and the mount of version 2 or None."""
    first, second = {}, None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind = fields[fields.index("-") + 1]
        if kind == "cgroup2":
            second = Path(fields[4])
        elif kind == "cgroup":
            for option in fields[-1].split(","):
                first[option] = Path(fields[4])
    return first, second


V1, V2 = hierarchies()


def needs_v1(*controllers):
    return pytest.mark.skipif(not all(c in V1 for c in controllers), reason="no such version 1 hierarchy")


def cgroup_of(pid, controller=""):
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def v2_setting():
    """A file and a value for a controller of version 2 that this host has."""
    if V2 is None:
        pytest.skip("no cgroup2 file system")
    controllers = (V2 / "cgroup.controllers").read_text().split()
    for controller, setting in {"memory": ("memory.max", "134217728"), "pids": ("pids.max", "33"),
                                "hugetlb": ("hugetlb.2MB.max", "2097152")}.items():
        if controller in controllers:
            return setting
    return pytest.skip("version 2 has no controller here")


@pytest.fixture
def names(world):
    """The parent cgroup of this test; nothing of it may be left."""
    yield "mote-jail-test"
    world.stop()
    for mount in {*V1.values(), *([V2] if V2 else [])}:
        for path in sorted((mount / "mote-jail-test").rglob("*/"), reverse=True):
            path.rmdir()
        if (mount / "mote-jail-test").exists():
            (mount / "mote-jail-test").rmdir()


def test_no_cgroup_without_asking(world):
    process, _ = world.start()

    assert Path(f"/proc/{monitor_of(process)}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()


@needs_v1("memory", "pids", "cpu")
def test_version_1(world, names):
    process, seen = world.start(
        "--parent-cgroup", names, "--cgroup", "memory.limit_in_bytes=134217728", "--cgroup", "pids.max=17",
        "--cgroup", "cpu.shares=333")
    pid = monitor_of(process)

    assert (V1["memory"] / names / "a/memory.limit_in_bytes").read_text() == "134217728\n"
    assert (V1["pids"] / names / "a/pids.max").read_text() == "17\n"
    assert (V1["cpu"] / names / "a/cpu.shares").read_text() == "333\n"
    for controller in ("memory", "pids", "cpu"):
        assert cgroup_of(pid, controller) == f"/{names}/a"
        assert cgroup_of(process.pid, controller) != f"/{names}/a"
    assert seen["pid"] == 1
    process.terminate()
    assert process.wait(10) == 42
    assert not (V1["memory"] / names / "a").exists()
    assert not (V1["pids"] / names / "a").exists()


@needs_v1("cpuset")
def test_version_1_cpuset_has_what_nobody_named(world, names):
    process, _ = world.start("--parent-cgroup", names, "--cgroup", "cpuset.cpus=0")

    assert (V1["cpuset"] / names / "a/cpuset.cpus").read_text() == "0\n"
    assert (V1["cpuset"] / names / "a/cpuset.mems").read_text() == (V1["cpuset"] / "cpuset.mems").read_text()
    assert Path(f"/proc/{monitor_of(process)}/status").read_text().split("Cpus_allowed_list:")[1].split()[0] == "0"


@needs_v1("pids")
def test_the_parent_is_named_after_the_monitor(world):
    process, _ = world.start("--cgroup", "pids.max=50")

    assert cgroup_of(monitor_of(process), "pids") == "/jail_probe/a"
    process.terminate()
    process.wait(10)
    (V1["pids"] / "jail_probe").rmdir()


def test_version_2(world, names):
    file, value = v2_setting()
    process, _ = world.start("--cgroup-version", "2", "--parent-cgroup", f"{names}/deep", "--cgroup",
                             f"{file}={value}")
    pid = monitor_of(process)

    assert cgroup_of(pid) == f"/{names}/deep/a"
    assert (V2 / names / "deep/a" / file).read_text() == f"{value}\n"
    assert (V2 / names / "deep/a/cgroup.procs").read_text() == f"{pid}\n"
    # Its own cgroup is all that it can see of them.
    assert Path(f"/proc/{pid}/ns/cgroup").stat().st_ino != Path("/proc/self/ns/cgroup").stat().st_ino
    process.terminate()
    assert process.wait(10) == 42
    assert not (V2 / names / "deep/a").exists()


def test_version_2_with_an_existing_cgroup_and_no_values(world, names):
    if V2 is None:
        pytest.skip("no cgroup2 file system")
    (V2 / names).mkdir()
    process, _ = world.start("--cgroup-version", "2", "--parent-cgroup", names)

    assert cgroup_of(monitor_of(process)) == f"/{names}"
    process.terminate()
    process.wait(10)
    assert (V2 / names).exists()


def test_version_2_with_a_configuration_in_a_private_root(world, names):
    file, value = v2_setting()
    process, seen = world.start("--cgroup-version", "2", "--parent-cgroup", names, "--cgroup",
                                f"{file}={value}", "--config", world.config(), "--private-root")

    assert cgroup_of(monitor_of(process)) == f"/{names}/a"
    assert seen["config"]["drives"][0]["path_on_host"].startswith("/dev/fd/")


def settings(names):
    if "pids" in V1:
        return V1["pids"], ["--parent-cgroup", names, "--cgroup", "pids.max=50"]
    file, value = v2_setting()
    return V2, ["--cgroup-version", "2", "--parent-cgroup", names, "--cgroup", f"{file}={value}"]


def test_what_a_crash_left_is_cleaned_up(world, names):
    mount, arguments = settings(names)
    process, _ = world.start(*arguments)
    pid = monitor_of(process)
    process.kill()
    process.wait(10)
    ends(pid)
    assert (mount / names / "a").exists()

    clean = subprocess.run([world.jailer, "--cleanup", "a", "--exec-file", world.probe, "--chroot-base-dir",
                            world.base, "--parent-cgroup", names], capture_output=True, text=True, check=False)
    assert (clean.returncode, clean.stderr) == (0, "")
    assert not (mount / names / "a").exists()
    assert not (world.base / "jail_probe/a").exists()


def test_a_cgroup_with_processes_is_in_use(world, names):
    mount, arguments = settings(names)
    (mount / names / "a").mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            if mount == V2:     # processes in leaves only; the parent hands the controller down first
                assert world.run(*arguments, name="first").returncode == 0
            (mount / names / "a/cgroup.procs").write_text(str(sleeper.pid))
            result = world.run(*arguments)
            assert result.returncode == 1
            assert result.stderr == (
                f'mote-jailer: id "a" is in use: cgroup "{mount}/{names}/a" has processes\n')
            assert (mount / names / "a").exists()
        finally:
            sleeper.kill()
    assert not (world.base / "jail_probe/a").exists()


def test_ten_at_once_share_a_parent(world, names):
    mount, arguments = settings(names)
    started = [world.start(*arguments, name=f"n{i}") for i in range(10)]

    for i, (process, _) in enumerate(started):
        assert (mount / names / f"n{i}/cgroup.procs").read_text() == f"{monitor_of(process)}\n"
        process.terminate()
    assert [process.wait(10) for process, _ in started] == [42] * 10
    assert [p.name for p in (mount / names).iterdir() if p.is_dir()] == []
