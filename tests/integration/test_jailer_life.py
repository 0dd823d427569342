# SPDX-License-Identifier: Apache-2.0
"""A jail's life: who waits for it, which signals reach it, how it ends, and what is left then."""
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from conftest import wait_for
from jailing import (AS_NOBODY, UID, WITH_DEVICES, children, ends, host_mounts, is_running, listing,
                     monitor_of, namespaces, pause, root_only, world)

pytestmark = root_only
assert world    # a fixture


def pid_file(world, name="a"):
    return world.root(name) / "jail_probe.pid"


def said(world, name="a"):
    """What a probe that runs with --out /run/said has said."""
    path = world.root(name) / "run/said"
    return json.loads(wait_for(lambda: path.exists() and path.read_text().endswith("\n") and
                               path.read_text(), what=str(path)))


def test_the_exit_status_is_the_monitors(world):
    assert world.run(args=["--exit", "77"]).returncode == 77
    assert not pid_file(world).exists()
    # The same ID again: nothing is in the way.
    assert world.run().returncode == 0


def test_the_signal_that_ended_the_monitor_ends_the_jailer(world):
    assert world.run(args=["--trap"]).returncode == -signal.SIGILL
    assert not pid_file(world).exists()


@pytest.mark.parametrize("signum, status", [(signal.SIGTERM, 42), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_pid_file_names_the_monitor_as_the_host_sees_it(world, signum, status):
    process, _ = world.start()
    pid = int(pid_file(world).read_text())

    assert pid == monitor_of(process)
    assert Path(f"/proc/{pid}/comm").read_text() in ("jail_probe\n", "3\n")     # before Linux 6.14
    os.kill(pid, signum)
    assert process.wait(10) == status


def test_signals_are_passed_on(world):
    process, _ = world.start()

    process.send_signal(signal.SIGHUP)      # which the probe, being init there, doesn't notice
    pause()
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 42


def test_a_signal_that_comes_before_the_monitor_is_ready_is_kept(world):
    """Without a handler it would be nothing to the first process of a PID namespace."""
    assert world.look()["blocked"] == [1, 1, 1, 0, 0]     # hup, int, term; chld, usr1
    for i in range(20):
        process = subprocess.Popen(world.command(name=f"s{i}", args=["--wait"]), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        while not pid_file(world, f"s{i}").exists() and process.poll() is None:
            pass    # as early as can be
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 42


def test_a_caller_that_ignores_its_children_gets_the_status_too(world):
    result = world.run(args=["--exit", "5"], prefix=[
        "/usr/bin/python3", "-c",
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "os.execv(sys.argv[1], sys.argv[1:])"])

    assert result.returncode == 5


@pytest.mark.parametrize("rootless", [False, True], ids=["root", "rootless"])
def test_killing_the_jailer_kills_the_monitor(world, rootless):
    before = host_mounts()
    if rootless:
        process, _ = world.start("--config", world.config(), prefix=[*WITH_DEVICES, *AS_NOBODY], uid=None,
                                 base=False)
    else:
        process, _ = world.start("--config", world.config(), "--private-root")
    pid = monitor_of(process)

    process.kill()
    process.wait(10)
    ends(pid)
    assert host_mounts() == before
    assert listing(world.base) == {}


def test_killing_a_jailer_with_a_directory_leaves_what_cleanup_removes(world):
    process, _ = world.start()
    pid = monitor_of(process)
    process.kill()
    process.wait(10)
    ends(pid)

    again = world.run()
    assert again.returncode == 1
    assert again.stderr == (
        'mote-jailer: id "a" is in use, or left something behind (mote-jailer --cleanup a): its pid file '
        '"jail_probe.pid" exists\n')
    assert clean_up(world, "a").returncode == 0
    assert listing(world.base) == {str(world.base / "jail_probe"): (0o40755, 0, 0)}
    assert world.run().returncode == 0


def clean_up(world, name, *more):
    return subprocess.run([world.jailer, "--cleanup", name, "--exec-file", world.probe,
                           "--chroot-base-dir", world.base, *more], capture_output=True, text=True,
                          timeout=60, check=False)


def test_cleanup_leaves_a_jail_that_runs(world):
    process, _ = world.start()

    result = clean_up(world, "a")
    assert result.returncode == 1
    assert result.stderr == f'mote-jailer: id "a" is in use by process {monitor_of(process)}\n'
    assert pid_file(world).exists()
    assert process.poll() is None


def test_cleanup_of_nothing_is_done_at_once(world):
    result = clean_up(world, "nothing")

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_second_jail_of_the_same_id_is_refused(world):
    process, _ = world.start()
    before = listing(world.base)

    second = world.run()
    assert second.returncode == 1
    assert "is in use" in second.stderr
    assert listing(world.base) == before
    assert process.poll() is None


def test_a_second_jail_of_the_same_id_is_refused_with_a_configuration(world):
    process, _ = world.start("--config", world.config())
    before = listing(world.base)

    second = world.run("--config", world.config("second.json"))
    assert second.returncode == 1
    assert second.stderr.startswith('mote-jailer: id "a" is in use, or left something behind')
    assert listing(world.base) == before
    process.terminate()
    assert process.wait(10) == 42


def test_what_a_terminal_sends_reaches_the_monitor(world):
    """Which is in a session of its own, with no terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(world.command(args=["--wait"]), stdin=slave, stdout=subprocess.PIPE,
                               start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    world.started.append(process)
    assert json.loads(process.stdout.readline())["sid"] == 1
    os.write(master, b"\x03")
    assert process.wait(10) == 42
    os.close(slave)
    os.close(master)


def processes_of(world):
    """Of this world's programs, inside and outside, by the files that they run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe").startswith(str(world.directory)):
                found.append(int(pid))
        except OSError:
            pass
    return found


@pytest.mark.parametrize("more", [[], ["--private-root"]], ids=["directory", "private"])
def test_killing_the_jailer_at_any_moment(world, more):
    before = host_mounts()
    more = ["--config", world.config(), *more] if more else []
    for i in range(30):
        process = subprocess.Popen(world.command(*more, name=f"k{i}", args=["--wait"]),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(i / 5000)
        process.kill()
        process.wait(10)
        wait_for(lambda: not processes_of(world), what="the end of every process")
    assert host_mounts() == before
    for i in range(30):
        assert clean_up(world, f"k{i}").returncode == 0
    assert set(listing(world.base)) <= {str(world.base / "jail_probe")}


# ---- Firecracker's ways to leave ----

@pytest.mark.parametrize("how", [["--new-pid-ns"], ["--daemonize"], ["--daemonize", "--new-pid-ns"]],
                         ids=" ".join)
def test_the_jailer_leaves_when_the_monitor_runs(world, how):
    with open(world.files / "output", "w+", encoding="ascii") as output:
        status = subprocess.call(world.command(*how, args=["--wait", "--out", "/run/said"]), timeout=60,
                                 stdin=output, stdout=output, stderr=output)
    pid = int(pid_file(world).read_text())
    try:
        assert (status, (world.files / "output").read_text()) == (0, "")
        seen = said(world)
        assert is_running(pid)
        assert seen["death_signal"] == 0
        assert seen["pid"] == 1
        assert namespaces(pid)["pid"] != namespaces("self")["pid"]
        streams = {os.path.basename(os.readlink(f"/proc/{pid}/fd/{fd}")) for fd in (0, 1, 2)}
        assert seen["sid"] == 1     # a session of its own
        assert streams == ({"null"} if "--daemonize" in how else {"output"})
    finally:
        os.kill(pid, signal.SIGKILL)
    ends(pid)


def test_a_failure_is_told_before_the_jailer_leaves(world):
    world.probe.write_bytes(b"not a program")

    result = world.run("--daemonize")
    assert result.returncode == 1
    assert result.stderr == f'mote-jailer: exec "{world.probe}" as user {UID}: Exec format error\n'
    assert listing(world.base) == {}


def test_a_monitor_that_its_user_may_not_run(world):
    world.probe.chmod(0o700)

    result = world.run()
    assert result.returncode == 1
    assert result.stderr == f'mote-jailer: exec "{world.probe}" as user {UID}: Permission denied\n'
    assert listing(world.base) == {}


# ---- --handover ----

# A caller: starts the jailer with the write end of a pipe, says what it sees, then does as $1 says.
CALLER = """
import os, sys, json
action, command = sys.argv[1], sys.argv[2:]
read, write = os.pipe()
os.set_inheritable(write, True)
command[command.index("FD")] = str(write)
jailer = os.fork()
if jailer == 0:
    os.execv(command[0], command)
os.close(write)
pid = int(os.read(read, 64) or 0)
assert os.read(read, 64) == b""
status = os.waitpid(jailer, 0)[1]
print(json.dumps({"pid": pid, "status": os.waitstatus_to_exitcode(status)}), flush=True)
if action == "wait":
    print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
elif action == "sleep":
    sys.stdin.read()
"""


def caller(world, action, *arguments, **words):
    command = world.command("--handover", "FD", *arguments, **words)
    return subprocess.Popen([sys.executable, "-c", CALLER, action, *command], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("private", [False, True], ids=["directory", "private"])
def test_the_monitor_is_handed_over_to_the_caller(world, private):
    more = ["--config", world.config(), "--private-root"] if private else []
    process = caller(world, "wait", *more, args=["--exit", "9"])
    out, err = process.communicate(timeout=60)
    lines = [json.loads(line) for line in out.splitlines()]

    assert err == ""
    assert {"pid": 1} not in lines
    told = next(line for line in lines if isinstance(line, dict) and "status" in line)
    assert told["status"] == 0
    assert told["pid"] > 1
    assert lines[-1] == 9


def test_the_monitor_ends_with_the_caller_that_it_was_handed_over_to(world):
    process = caller(world, "sleep", "--config", world.config(), "--private-root", args=["--wait"])
    pid = wait_for(lambda: json.loads(process.stdout.readline()).get("pid"), what="the process ID")
    while pid == 1:     # what the probe says of itself
        pid = json.loads(process.stdout.readline())["pid"]

    assert children(process.pid) == [pid]
    process.kill()
    process.communicate()
    ends(pid)


def test_a_failed_handover_says_why_and_whom_to_reap(world):
    world.probe.write_bytes(b"not a program")
    process = caller(world, "wait")
    out, err = process.communicate(timeout=60)
    lines = [json.loads(line) for line in out.splitlines()]

    assert lines[0]["status"] == 1 and lines[0]["pid"] > 1
    assert lines[1] == 1
    assert err == f'mote-jailer: exec "{world.probe}" as user {UID}: Exec format error\n'
    assert listing(world.base) == {}
