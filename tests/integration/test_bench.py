# SPDX-License-Identifier: Apache-2.0
"""The subcommands of `mote bench` that measure: what they report is complete and adds up; they leave nothing
behind, however they end. No times are asserted."""
import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from conftest import BUILD, sh, wait_for

INSTANCES = Path("/sys/kernel/tracing/instances")
SECONDS = 400
STAGES = ["exec", "program start", "monitor ready", "kernel loaded", "devices, tables", "KVM set up",
          "threads, filters", "first guest instruction", "kernel to init", "end"]
RUN_STAGES = ["exec", "root image, exec of mote-jailer", "jail, exec of mote-vmm", "kernel loaded, devices",
              "KVM set up", "kernel to init", "agent ready", "root mounted, command run", "end"]
BOTH = {"to_init", "total", "cpu", "page_faults", "exits", "exits_to_user", "system_calls", "bytes_copied",
        "to_init_traced"}


def traces():
    """Of what a bench could leave: trace instances, cgroups, files, processes, loop devices, links, mounts."""
    processes = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                processes.append(Path("/proc", name, "comm").read_text().strip())
            except OSError:
                pass
    return {
        "instances": set(os.listdir(INSTANCES)),
        "cgroups": {str(p) for p in Path("/sys/fs/cgroup").rglob("*bench*")},
        "tmp": {n for n in os.listdir("/tmp") + os.listdir("/var/tmp") if not n.startswith("pytest")},
        "processes": sorted(n for n in processes if n.startswith(("mote", "qemu", "runc", "true"))),
        "loops": sh("losetup --list --noheadings --output NAME").split(),
        "links": sorted(os.listdir("/sys/class/net")),
        "mounts": len(Path("/proc/self/mounts").read_text().splitlines()),
    }


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = traces()
    yield
    after = traces()
    # Files and processes of tests before may go meanwhile.
    assert after.pop("tmp") - before.pop("tmp") == set()
    assert not Counter(after.pop("processes")) - Counter(before.pop("processes"))
    assert after == before


def bench(*arguments, status=0, **options):
    """The result as a dict; of one that fails, the one line that says why."""
    done = subprocess.run([str(BUILD / "mote"), "bench", *map(str, arguments), "--json"], text=True,
                          capture_output=True, timeout=SECONDS, check=False, **options)
    assert done.returncode == status, done.stderr
    if status:
        assert done.stdout == ""
        lines = [line for line in done.stderr.splitlines() if not line.startswith(("warm-up", "round"))]
        assert len(lines) == 1, done.stderr
        return lines[0]
    return json.loads(done.stdout)


def subject(result, name):
    return next(s for s in result["subjects"] if s["name"] == name)


def figures(found):
    return {f["name"]: f["values"] for f in found["figures"]}


def assert_contiguous(stages):
    assert stages[0]["start_ms"] == 0
    for one, next_one in zip(stages, stages[1:]):
        assert one["start_ms"] <= one["end_ms"]
        assert next_one["start_ms"] == pytest.approx(one["end_ms"], abs=1e-6)


def assert_initcalls(calls):
    assert len(calls) > 200
    assert {"inet_init", "chr_dev_init", "populate_rootfs"} <= {c["name"] for c in calls}
    spans = sorted((c["start_ms"], c["end_ms"]) for c in calls)
    assert all(a[1] <= b[0] + 1e-6 for a, b in zip(spans, spans[1:]))


def test_boot_adds_up():
    """One start of everything takes long in the test host, hence one test."""
    result = bench("boot", "--rounds", 1, "--threshold-us", 0, "--peer", "true", "--peer", "firecracker=/nonexistent")
    assert result["mote_bench"] == 1 and result["what"] == "boot"
    assert result["options"]["rounds"] == 1 and result["options"]["kernel"] == "vmlinux-x86_64"
    assert [s["name"] for s in result["subjects"]] == ["mote", "mote run", "true"]
    assert {"name": "firecracker", "why": '"/nonexistent": No such file or directory'} in result["left_out"]
    mote, run, true = result["subjects"]
    extra = {"instructions"} if all(entry["name"] != "instructions" for entry in result["left_out"]) else set()
    assert set(figures(mote)) == BOTH | {"kernel", "to_init_untraced"} | extra
    assert set(figures(run)) == BOTH | {"to_output"} | extra
    assert set(figures(true)) == {"total", "cpu", "page_faults", "system_calls", "bytes_copied"} | extra
    assert [true["peer"], mote["peer"], run["peer"]] == [True, False, False]
    for s in (mote, run):
        values = figures(s)
        assert all(len(v) == 1 and v[0] > 0 for v in values.values())
        # One round, so that it is the one whose counts and timeline are given.
        for group, name in (("exits by reason", "exits"), ("exits to user space", "exits_to_user"),
                            ("system calls", "system_calls")):
            assert sum(s["counts"][group].values()) == values[name][0]
        assert len(s["timeline"]["exits"]) == values["exits"][0]
        assert values["to_init"][0] < values["total"][0]
        assert_contiguous(s["timeline"]["stages"])
    assert [s["name"] for s in mote["timeline"]["stages"]] == STAGES
    assert [s["name"] for s in run["timeline"]["stages"]] == RUN_STAGES
    assert mote["timeline"]["stages"][-2]["end_ms"] == pytest.approx(figures(mote)["to_init_traced"][0], abs=1e-6)
    assert figures(run)["to_init"][0] < figures(run)["to_output"][0] < figures(run)["total"][0]
    # The kernel has 9 MB to be read, and is read once.
    assert figures(mote)["bytes_copied"][0] * 1024 > (BUILD / "vmlinux-x86_64").stat().st_size * 0.8
    assert mote["counts"]["exits to user space"]["MMIO"] == 1  # the mark, and nothing else
    assert mote["counts"]["system calls"]["ioctl"] > 20
    assert_initcalls(mote["timeline"]["initcalls"])


def test_reset_guest_and_cold_caches():
    result = bench("boot", "--guest", "reset", "--cache", "cold", "--rounds", 2, "--peer", "qemu-microvm", "--peer", "runc")
    assert [s["name"] for s in result["subjects"]] == ["mote", "qemu-microvm", "runc"]
    assert result["options"]["cache"] == "cold" and result["options"]["guest"] == "reset"
    mote = subject(result, "mote")
    assert all(len(v) == 2 for s in result["subjects"] for v in figures(s).values())
    assert "to_guest" in figures(mote) and "to_init" not in figures(mote)
    # A write to the boot timer, one to the i8042's port; a stop of vCPUs may be a third.
    assert mote["counts"]["exits to user space"]["MMIO"] == 1
    assert mote["counts"]["exits to user space"]["IO"] == 1
    assert subject(result, "qemu-microvm")["counts"]["exits to user space"]["SHUTDOWN"] == 1


def test_system_calls_are_those_that_strace_sees():
    """Of a program that does the same each time; strace counts what returns, and sees the execve as well."""
    result = bench("boot", "--guest", "reset", "--rounds", 1, "--peer", "true")
    seen = subprocess.run(["strace", "-f", "-c", "-U", "name,calls", "/bin/true"], text=True, check=True,
                          capture_output=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}).stderr
    counts = {w[0]: int(w[1]) for w in map(str.split, seen.splitlines()) if len(w) == 2 and w[1].isdigit()}
    del counts["total"]
    counts["execve"] -= 1
    counts["exit_group"] = 1
    assert subject(result, "true")["counts"]["system calls"] == {k: v for k, v in counts.items() if v}


@pytest.mark.parametrize("what, names, streams", [
    ("io", {"random_read", "random_write"}, {"sequential_read", "sequential_write"}),
    ("net", {"tcp_round_trip", "udp_round_trip"}, {"stream_to_host", "stream_to_guest"}),
    ("vsock", {"round_trip"}, {"stream_to_host", "stream_to_guest"}),
    ("mmds", {"one_connection", "connection_each"}, set()),
])
def test_devices(what, names, streams):
    result = bench(what, "--rounds", 1, "--peer", "runc")
    assert [s["name"] for s in result["subjects"]] == ["mote"]
    assert {"name": "runc", "why": "it runs no guests"} in result["left_out"]
    values = figures(result["subjects"][0])
    cpu = {f"{name}_cpu" for name in streams}
    kernel_cpu = {f"{name}_kernel_cpu" for name in streams}
    assert set(values) == names | streams | cpu | kernel_cpu
    assert all(v[0] > 0 for name, v in values.items() if name not in kernel_cpu)
    assert all(v[0] >= 0 for v in values.values())


def test_density():
    result = bench("density", "--rounds", 1, "--guests", 2)
    values = figures(result["subjects"][0])
    assert set(values) == {"private", "pss", "guest_ram"}
    assert result["options"]["guests"] == 2
    assert 0 < values["private"][0] < values["pss"][0] < values["guest_ram"][0] < 128 * 1024
    # Of the first guest; the figure is a mean.
    by_mapping = sum(result["subjects"][0]["counts"]["private KiB of a microVM by mapping"].values())
    assert by_mapping == pytest.approx(values["private"][0], rel=0.2)


def test_api():
    result = bench("api", "--rounds", 2, "--peer", "qemu-microvm", "--peer", "true")
    assert {"name": "qemu-microvm", "why": "it doesn't speak Firecracker's API"} in result["left_out"]
    assert {"name": "true", "why": "it runs no guests"} in result["left_out"]
    (mote,) = result["subjects"]
    values = figures(mote)
    assert set(values) == {"to_socket", "to_answer", "private_start", "private_guest"}
    assert all(0 < socket < answer for socket, answer in zip(values["to_socket"], values["to_answer"]))
    assert all(0 < start < guest < 2048 for start, guest in zip(values["private_start"], values["private_guest"]))
    assert sum(mote["counts"]["private KiB by mapping"].values()) == values["private_guest"][-1]


def test_api_without_guests():
    result = bench("api", "--no-guest", "--rounds", 3)
    assert result["options"]["no_guest"] is True
    values = figures(result["subjects"][0])
    assert {name: len(v) for name, v in values.items()} == {"to_socket": 3, "to_answer": 3, "private_start": 3}
    assert sum(result["subjects"][0]["counts"]["private KiB by mapping"].values()) == values["private_start"][-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(number):
    with subprocess.Popen([str(BUILD / "mote"), "bench", "boot", "--guest", "reset", "--rounds", "200",
                           "--peer", "runc"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == "warm-up: mote\n"
        wait_for(lambda: [n for n in os.listdir(INSTANCES) if n == f"mote-bench-{process.pid}"], what="trace instance")
        while not process.stderr.readline().startswith("round 1 of 200: runc"):
            pass
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
        assert process.stdout.read() == ""
    assert f"mote-bench-{process.pid}" not in os.listdir(INSTANCES)


def test_a_measuring_process_that_is_killed_leaves_nothing():
    with subprocess.Popen([str(BUILD / "mote"), "bench", "boot", "--guest", "reset", "--rounds", "200"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == "warm-up: mote\n"
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(child, signal.SIGKILL)
        assert process.wait(timeout=60) == 2
        assert process.stderr.read().splitlines()[-1] == \
            "mote bench boot: the measuring process was ended by signal 9"


def test_mistakes_are_one_line(tmp_path):
    nothing = tmp_path / "empty"
    nothing.write_bytes(b"not a kernel" * 1000)
    assert bench("boot", "--kernel", nothing, status=2).startswith("mote bench boot: mote: exit status ")
    assert bench("boot", "--kernel", tmp_path / "absent", status=2) == \
        f'mote bench boot: --kernel: "{tmp_path}/absent": No such file or directory'
    assert bench("boot", "--cache", "restore", status=2) == \
        "mote bench boot: --cache restore: mote has no snapshots yet"
    assert bench("fork", status=2) == \
        "mote bench fork: mote has no snapshots yet, so there is nothing to fork from"


def test_without_tracefs():
    done = subprocess.run(["unshare", "-m", "sh", "-c", 'umount /sys/kernel/tracing; exec "$0" bench boot',
                           str(BUILD / "mote")], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith('mote bench boot: tracefs isn\'t at "/sys/kernel/tracing"')
    assert done.stderr.count("\n") == 1


def test_without_root():
    os.chmod("/dev/kvm", 0o666)
    try:
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(BUILD / "mote"),
                               "bench", "boot"], capture_output=True, text=True, check=False, timeout=60)
    finally:
        os.chmod("/dev/kvm", 0o660)
    assert done.returncode == 2
    assert done.stderr == ("mote bench boot: needs root, for trace points, network devices, and a root directory "
                           "of its own\n")
