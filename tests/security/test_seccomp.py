# SPDX-License-Identifier: Apache-2.0
"""The seccomp filters with real guests: every feature of the monitor works under them, strace shows that
each rule is used by something and that nothing else is needed; and what happens at a violation."""
import os
import re
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
import features  # noqa: E402
import policies as policy_files  # noqa: E402
from conftest import BUILD, CONSOLE, KERNEL, config, sh, start_vmm, vmm, wait_for  # noqa: E402, F401
from features import GUESTS, disks, drive, root, tap, weaker  # noqa: E402, F401

# No test can make the monitor use these. A rule that is added here needs a reason in the policy.
UNTESTED = {
    "vmm: gettid", "vmm: tgkill 0=TGID 2=SIGABRT", "vmm: restart_syscall", "vmm: clock_gettime",
    "vcpu: mmap 2={'without': 'PROT_EXEC'} 3=MAP_PRIVATE|MAP_ANONYMOUS", "vcpu: getpid", "vcpu: gettid",
    "vcpu: tgkill 0=TGID 2=SIGABRT", "vcpu: restart_syscall",
    "io: getpid", "io: gettid", "io: tgkill 0=TGID 2=SIGABRT", "io: clock_gettime", "io: writev",
}
# A lock is contended or not: which of futex's operations a run makes is chance, that it makes some isn't.
CHANCE = {"futex"}


VARIANTS = [v for v in ("mote-vmm", "mote-vmm-dynamic") if (BUILD / v).exists()]


# Whether a reset still meets requests in flight, and has to wait for them, is a matter of moments.
MOMENTS = {"vcpu: poll", "vcpu: read"}


@pytest.fixture(scope="module", params=VARIANTS)
def recordings(request, tmp_path_factory, root, disks, tap):
    """Every feature, once: what the threads did."""
    directory, variant = tmp_path_factory.mktemp(request.param), request.param
    traced = features.all_of_them(directory, variant, root, disks, tap)
    return {t.trace.name: t.recording() for t in traced}


def test_nothing_but_the_rules_is_used(recordings):
    policies = policy_files.load()
    outside = set()
    for name, recording in recordings.items():
        kinds = {kind.removesuffix("-api") for kind, _ in recording.threads.values()}
        assert kinds >= {"vmm", "vcpu"} or name == "violation.strace", name
        for kind, call, args, tgid in recording.calls:
            if not any(r.call == call and r.allows(args, tgid) for r in policies[kind]):
                outside.add(f"{name}: {kind}: {call}({', '.join(hex(a) for a in args)})")
    assert not outside, "\n".join(sorted(outside))


def test_every_rule_is_used_or_says_why_not(recordings):
    used, chance = set(), set()
    policies = policy_files.load()
    for recording in recordings.values():
        for kind, call, args, tgid in recording.calls:
            chance.update((r.kind, call) for r in policies[kind] if r.call == call)
            used.update(str(r) for r in policies[kind] if r.call == call and r.allows(args, tgid))
    rules = [r for kind in policies.values() for r in kind]
    unused = {str(r) for r in rules if str(r) not in used and not (r.call in CHANCE and (r.kind, r.call) in chance)}
    unused -= MOMENTS
    assert unused == UNTESTED, f"unused: {sorted(unused - UNTESTED)}, used after all: {sorted(UNTESTED - unused)}"
    assert {str(r) for r in rules if r.untested} == UNTESTED


# ---- violations and options ----

def test_a_violation_is_told_everywhere_and_ends_with_148(vmm, tmp_path):
    """The entropy device's system call is missing: the guest's kernel asks for entropy when it starts."""
    log = tmp_path / "log"
    filters = weaker(tmp_path, "vmm", "getrandom")
    result = vmm(config(KERNEL, CONSOLE, entropy={}), "--log-path", str(log), "--seccomp-filter", str(filters))
    assert result.status == 148, result
    assert result.err == 'mote-vmm: SIGSYS: thread "mote-vmm": system call 318 (getrandom) is not allowed\n'
    lines = log.read_text().splitlines()
    assert any(f'--seccomp-filter: "{filters}" instead of the built-in filters' in line for line in lines)
    assert lines[-1].endswith('thread "mote-vmm": system call 318 (getrandom) is not allowed')
    assert result.metrics["seccomp"] == {"num_faults": 1, "syscall": 318}


def test_a_vcpu_that_violates_is_named(vmm, tmp_path):
    """KVM_RUN itself is missing; everything of a vCPU that isn't KVM_RUN stays allowed."""
    filters = weaker(tmp_path, "vcpu", "ioctl")
    result = vmm(config(GUESTS / "reset.elf", "x"), "--seccomp-filter", str(filters))
    assert result.status == 148, result
    lines = result.err.splitlines()
    assert lines[-1] == 'mote-vmm: SIGSYS: thread "vcpu 0": system call 16 (ioctl) is not allowed'


def test_sigsys_that_somebody_sends_is_not_a_violation(start_vmm, tmp_path):
    process = start_vmm(config(GUESTS / "spin.elf", "x"))
    wait_for(lambda: seccomp_of(process.pid).get("vcpu 0"), what="the vCPU's filter")
    process.send_signal(signal.SIGSYS)
    assert process.wait(timeout=30) == 148
    assert process.stderr.read() == b"mote-vmm: SIGSYS: a system call that is not allowed\n"


def statuses_of(pid):
    """/proc's status of each thread, as dictionaries."""
    result = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            lines = (task / "status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        result.append(dict(line.split(":\t", 1) for line in lines if ":\t" in line))
    return result


def has_vcpu(pid):
    return "vcpu 0" in [status["Name"] for status in statuses_of(pid)]


def seccomp_of(pid):
    """{thread name: number of its filters}, of threads that have some."""
    return {status["Name"]: int(status["Seccomp_filters"]) for status in statuses_of(pid)
            if status["Seccomp"] == "2"}


def test_no_thread_without_a_name_and_one_filter(start_vmm, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    process = start_vmm(config(GUESTS / "spin.elf", "x", cpus=3, drives=[drive("d", disk, "Async")],
                               entropy={}, vsock={"guest_cid": 3, "uds_path": str(tmp_path / "v")}))
    want = {"mote-vmm": 1, "vcpu 0": 1, "vcpu 1": 1, "vcpu 2": 1, "disk d": 1}
    wait_for(lambda: seccomp_of(process.pid) == want, what="five filtered threads")
    statuses = statuses_of(process.pid)
    assert sorted(s["Name"] for s in statuses) == sorted(want)
    assert {s["NoNewPrivs"] for s in statuses} == {"1"}


def test_without_seccomp_says_so(start_vmm):
    process = start_vmm(config(GUESTS / "spin.elf", "x"), "--no-seccomp")
    assert b"--no-seccomp: the monitor's threads have no filters of their own" in process.stderr.readline()
    wait_for(lambda: has_vcpu(process.pid), what="a vCPU")
    assert seccomp_of(process.pid) == {}
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143


# ---- memory and debuggers ----

def mappings(pid):
    """[(start, end, permissions, name, VmFlags)]"""
    result = []
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)", line)
        if match:
            result.append([int(match[1], 16), int(match[2], 16), match[3], match[4], []])
        elif line.startswith("VmFlags:"):
            result[-1][4] = line.split()[1:]
    return result


def test_guest_memory_is_guarded_not_executable_and_not_dumped(start_vmm):
    process = start_vmm(config(GUESTS / "spin.elf", "x", memory=4096))
    wait_for(lambda: seccomp_of(process.pid).get("vcpu 0"), what="the vCPU's filter")
    maps = mappings(process.pid)
    assert not [m for m in maps if "w" in m[2] and "x" in m[2]]
    ram = [m for m in maps if m[1] - m[0] in (3 << 30, 1 << 30)]
    assert len(ram) == 2, maps
    for start, end, permissions, _, flags in ram:
        assert permissions == "rw-p" and "dd" in flags
        for page in (start - 4096, end):
            guard = [m for m in maps if m[0] <= page < m[1]]
            assert guard and guard[0][2] == "---p", (hex(page), guard)


@pytest.mark.parametrize("arguments,owner", [([], 0), (["--no-seccomp"], 65534)])
def test_nobody_may_look_into_the_monitor(start_vmm, tmp_path, arguments, owner):
    """Not dumpable: what /proc shows of it is root's, also to the user that it runs as."""
    os.chmod("/dev/kvm", 0o666)
    sh(f"chmod 755 {tmp_path} {tmp_path.parent} {tmp_path.parent.parent} {BUILD}; chmod -R a+rX {BUILD}")

    def become_nobody():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    process = start_vmm(config(GUESTS / "spin.elf", "x"), *arguments, preexec_fn=become_nobody)
    wait_for(lambda: has_vcpu(process.pid), what="a vCPU")
    assert os.stat(f"/proc/{process.pid}/mem").st_uid == owner
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
