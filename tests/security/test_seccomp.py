# SPDX-License-Identifier: Apache-2.0
"""The seccomp filters with real guests: every feature of the monitor works under them, strace shows that
each rule is used by something and that nothing else is needed; and what happens at a violation."""
import ctypes
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
import policies as policy_files  # noqa: E402
from conftest import (BUILD, BZIMAGE, CONSOLE, KERNEL, TIMEOUT, config, sh, start_vmm, vmm,  # noqa: E402, F401
                      wait_for)

GUESTS = BUILD / "guests"
COMPILER = BUILD / "mote-seccomp-compile"
INIT = CONSOLE + " quiet root=/dev/vda rootfstype=erofs ro init=/bin/sh"

# No test can make the monitor use these. A rule that is added here needs a reason in the policy.
UNTESTED = {
    "vmm: gettid", "vmm: tgkill 0=TGID 2=SIGABRT", "vmm: restart_syscall", "vmm: clock_gettime",
    "vcpu: mmap 2={'without': 'PROT_EXEC'} 3=MAP_PRIVATE|MAP_ANONYMOUS", "vcpu: getpid", "vcpu: gettid",
    "vcpu: tgkill 0=TGID 2=SIGABRT", "vcpu: restart_syscall",
    "io: getpid", "io: gettid", "io: tgkill 0=TGID 2=SIGABRT", "io: clock_gettime", "io: writev",
}
# A lock is contended or not: which of futex's operations a run makes is chance, that it makes some isn't.
CHANCE = {"futex"}


class Traced:
    """A mote-vmm (or a mote run) under strace, which doesn't get in the way: the process is its own."""

    def __init__(self, directory, name, command, **options):
        self.trace = directory / f"{name}.strace"
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.process = subprocess.Popen(
            ["strace", "-D", "-f", "-Y", "-q", "-e", "raw=all", "-o", str(self.trace), "--",
             *map(str, command)], **options)

    def end(self, stdin=b"", status=0):
        """The end of process and recording."""
        out, err = self.process.communicate(stdin, timeout=2 * TIMEOUT)
        assert self.process.returncode == status, (self.process.returncode, out, err)
        wait_for(lambda: re.search(rf"^{self.process.pid}<.*> \+\+\+ ", self.trace.read_text(), re.M),
                 what="strace's last line")
        return out, err

    def recording(self):
        return policy_files.parse(self.trace.read_text())


def vmm_command(directory, name, conf, *arguments, variant="mote-vmm"):
    path = directory / f"{name}.json"
    path.write_text(json.dumps(conf))
    return [BUILD / variant, "--no-api", "--config-file", path, *arguments]


# ---- what the host gives to the guest ----

@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A root file system: busybox and tests/guests/exercise.c."""
    directory = tmp_path_factory.mktemp("root")
    tree, image = directory / "tree", directory / "root.erofs"
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (tree / name).mkdir(parents=True)
    sh(f"cp $(command -v busybox) {tree}/bin/busybox; cp {GUESTS}/exercise {tree}/bin; "
       f"for a in sh stty mount echo cat dd ping ifconfig poweroff basename sleep; do ln -s busybox {tree}/bin/$a; done; "
       f"mkfs.erofs --quiet {image} {tree}")
    return image


def fat_image(path, mib=32):
    """An empty FAT16 file system: one without RWF_NOWAIT."""
    sectors = mib * 2048
    fat = (sectors // 4 * 2 + 511) // 512
    boot = struct.pack("<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"mote    ", 512, 4, 1, 2, 512, 0, 0xf8, fat,
                       32, 2, 0, sectors)
    boot += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 1, b"MOTE       ", b"FAT16   ")
    with open(path, "wb") as f:
        f.truncate(sectors * 512)
        f.write(boot.ljust(510, b"\0") + b"\x55\xaa")
        for i in range(2):
            f.seek((1 + i * fat) * 512)
            f.write(b"\xf8\xff\xff\xff")


@pytest.fixture(scope="session")
def disks(tmp_path_factory):
    """One of each way that the host may store a disk: {name: path}."""
    directory = tmp_path_factory.mktemp("disks")
    undo = []
    for name in ("loop", "file", "buffered"):
        with open(directory / name, "wb") as f:
            f.truncate(16 << 20)
    # Blocks of 4096 bytes, where the guest has 512: what isn't aligned goes through a buffer.
    loop = sh(f"losetup --show -f -b 4096 {directory}/loop").strip()
    undo.append(f"losetup -d {loop}")
    fat_image(directory / "fat")
    (directory / "mnt").mkdir()
    sh(f"mount -o loop -t vfat {directory}/fat {directory}/mnt")
    undo.append(f"umount {directory}/mnt")
    with open(directory / "mnt/disk", "wb") as f:
        f.write(bytes(16 << 20))
    yield {"loop": loop, "file": directory / "file", "buffered": directory / "buffered",
           "fat": directory / "mnt/disk"}
    sh("; ".join(reversed(undo)))


@pytest.fixture(scope="session")
def tap():
    sh("ip tuntap add mtsec0 mode tap vnet_hdr && ip addr add 10.98.0.1/24 dev mtsec0 && ip link set mtsec0 up")
    yield "mtsec0"
    sh("ip link del mtsec0")


def drive(name, path, engine, **more):
    return {"drive_id": name, "path_on_host": str(path), "is_root_device": False, "io_engine": engine,
            "cache_type": "Writeback", **more}


# ---- the features ----

class Console:
    """Reads what a process writes until a mark appears."""

    def __init__(self, fd):
        self.fd, self.text = fd, b""

    def until(self, mark):
        end = time.monotonic() + 2 * TIMEOUT
        while mark not in self.text:
            assert time.monotonic() < end, self.text
            data = os.read(self.fd, 65536)
            assert data, self.text
            self.text += data


def client(uds, how, then=lambda s: None):
    """A host program that connects to the guest's port 5000."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(TIMEOUT)
        s.connect(str(uds))
        s.sendall(b"CONNECT 5000\n")
        answer = s.recv(32)
        assert answer.startswith(b"OK "), answer
        s.sendall(how)
        then(s)


def echo(s):
    """More than the guest takes at once, so that everybody's buffers fill."""
    data = os.urandom(1 << 20)
    got = b""
    s.setblocking(False)
    sent = 0
    end = time.monotonic() + TIMEOUT
    while len(got) < len(data):
        assert time.monotonic() < end, (sent, len(got))
        try:
            sent += s.send(data[sent:sent + 65536]) if sent < len(data) else 0
        except BlockingIOError:
            pass
        try:
            got += s.recv(65536)
        except BlockingIOError:
            time.sleep(0.005)
    assert got == data


def slow_reader(s):
    time.sleep(2)
    left = 4 << 20
    while left > 0:
        data = s.recv(65536)
        assert data
        left -= len(data)


def talk_by_vsock(console, uds, listener):
    console.until(b"ANSWER world")
    listener.close()
    console.until(b"LISTENING")
    client(uds, b"e", echo)
    client(uds, b"r", lambda s: time.sleep(0.5))
    client(uds, b"w", lambda s: s.recv(1))
    client(uds, b"m", slow_reader)
    client(uds, b"q")


def answer_guest(listener):
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(16) == b"hello"
        connection.sendall(b"world")


UNBIND = "; ".join(
    f"for d in /sys/bus/virtio/drivers/{driver}/virtio*; do echo $(basename $d) >/sys/bus/virtio/drivers/{driver}/unbind; done"
    for driver in ("virtio_net", "vmw_vsock_virtio_transport"))


def linux_with_everything(directory, variant, root, disks, tap):
    uds = directory / "v.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{uds}_6000")
    listener.listen()
    listener.settimeout(2 * TIMEOUT)
    conf = config(
        KERNEL, INIT, cpus=2, entropy={}, vsock={"guest_cid": 3, "uds_path": str(uds)},
        network_interfaces=[{"iface_id": "eth0", "host_dev_name": tap}],
        drives=[drive("root", root, "Sync", is_read_only=True), drive("b", disks["loop"], "Async"),
                drive("c", disks["file"], "Sync"), drive("d", disks["buffered"], "Async"),
                drive("e", disks["fat"], "Async")],
        metrics={"metrics_path": str(directory / "metrics")},
        logger={"log_path": str(directory / "log"), "level": "Debug"})
    script = ("\n" * 32 + "stty -echo; PS1= PS2=; mount -t proc p /proc; mount -t sysfs s /sys\n"
              "for d in b c d e; do exercise disk /dev/vd$d; done\n"
              "dd if=/dev/hwrng of=/dev/null bs=256 count=8 2>/dev/null\n"
              "ifconfig eth0 10.98.0.2 up; ping -c 3 -W 10 10.98.0.1\n"
              "exercise connect 6000; exercise vsock 5000\n"
              f"{UNBIND}\necho DO''NE; poweroff -f\n")
    traced = Traced(directory, "linux", vmm_command(directory, "linux", conf, variant=variant))
    traced.process.stdin.write(script.encode())
    traced.process.stdin.flush()
    console = Console(traced.process.stdout.fileno())
    answer_guest(listener)
    talk_by_vsock(console, uds, listener)
    console.until(b"DONE")
    _, err = traced.end()
    assert err == b"" and b"FAILED" not in console.text, (console.text, err)
    assert b"3 packets received" in console.text
    assert not uds.exists()
    return traced


def linux_on_a_socket(directory, variant, root):
    """bzImage; console on a socket; ended by a signal with the network card's driver running."""
    ours, theirs = socket.socketpair()
    conf = config(BZIMAGE, INIT, drives=[drive("root", root, "Async", is_read_only=True)])
    traced = Traced(directory, "socket", vmm_command(directory, "socket", conf, variant=variant),
                    stdin=theirs, stdout=theirs)
    theirs.close()
    ours.sendall(b"\n" * 32 + b"stty -echo; echo RUN''NING\n")
    Console(ours.fileno()).until(b"RUNNING")
    traced.process.send_signal(signal.SIGTERM)
    traced.end(status=143)
    ours.close()
    return traced


def linux_with_a_network_ended_by_its_guest(directory, variant, root, tap):
    """The driver still has its offloads when the monitor ends."""
    conf = config(KERNEL, INIT, drives=[drive("root", root, "Sync", is_read_only=True)],
                  network_interfaces=[{"iface_id": "eth0", "host_dev_name": tap}])
    traced = Traced(directory, "network", vmm_command(directory, "network", conf, variant=variant))
    traced.end(b"\n" * 32 + b"ifconfig eth0 10.98.0.2 up\nifconfig eth0\npoweroff -f\n")
    return traced


def boot_timer(directory, variant):
    conf = config(GUESTS / "reset.elf", "x")
    traced = Traced(directory, "reset", vmm_command(
        directory, "reset", conf, "--boot-timer", "--log-path", directory / "reset.log", "--level", "Info",
        variant=variant))
    traced.end()
    assert "Guest-boot-time" in (directory / "reset.log").read_text()
    return traced


def disk_reset_in_flight(directory, variant, disks):
    conf = config(GUESTS / "disk_reset.elf", "x", drives=[drive("d", disks["loop"], "Async")])
    traced = Traced(directory, "disk", vmm_command(directory, "disk", conf, variant=variant))
    _, err = traced.end()
    assert err == b""
    return traced


def kvm_failure(directory, variant):
    conf = config(GUESTS / "fetch_mmio.elf", "x")
    traced = Traced(directory, "failure", vmm_command(directory, "failure", conf, variant=variant))
    _, err = traced.end(status=162)
    assert err.startswith(b"mote-vmm: ") and b"at rip 0xd0000000" in err, err
    return traced


def on_a_terminal(directory, variant, disks, thread, signum, status):
    """A raw terminal, restored by whichever thread ends the process. thread: None for a signal to all."""
    name = f"terminal-{thread or 'all'}".replace(" ", "")
    master, slave = pty.openpty()
    before = terminal_settings(slave)
    conf = config(GUESTS / "spin.elf", "x", drives=[drive("d", disks["buffered"], "Async")])
    traced = Traced(directory, name, vmm_command(directory, name, conf, variant=variant), stdin=slave)
    pid = traced.process.pid
    wait_for(lambda: terminal_settings(slave) != before, what="a raw terminal")
    wait_for(lambda: ", 0xae80, " in traced.trace.read_text(), what="KVM_RUN")
    if thread is None:
        traced.process.send_signal(signum)
    else:
        tid = next(t for t in os.listdir(f"/proc/{pid}/task")
                   if Path(f"/proc/{pid}/task/{t}/comm").read_text().strip() == thread)
        tgkill(pid, int(tid), signum)
    traced.end(status=status)
    assert terminal_settings(slave) == before
    os.close(slave)
    os.close(master)
    return traced


def terminal_settings(fd):
    return subprocess.run(["stty", "-g"], stdin=fd, capture_output=True, check=True).stdout


def tgkill(pid, tid, signum):
    assert ctypes.CDLL(None).syscall(234, pid, tid, int(signum)) == 0


def mote_run(directory):
    traced = Traced(directory, "mote-run", [BUILD / "mote", "run", "--", "sh", "-c", "cat; exit 7"])
    out, _ = traced.end(b"through mote run", status=7)
    assert out == b"through mote run"
    return traced


def weaker(directory, kind, *without):
    """A filter file whose policy of that kind lacks the rules of these system calls."""
    paths = []
    for name in policy_files.KINDS:
        policy = json.loads((policy_files.DIRECTORY / f"{name}.json").read_text())
        if name == kind:
            policy["rules"] = [r for r in policy["rules"] if r["call"] not in without]
        path = directory / f"without-{name}.json"
        path.write_text(json.dumps(policy))
        paths.append(str(path))
    out = directory / f"without-{kind}.bpf"
    subprocess.run([COMPILER, "--binary", "x86_64", out, *paths], check=True)
    return out


def io_violation(directory, variant, disks):
    """The helper of a disk can't even wait."""
    log = directory / "io.log"
    conf = config(GUESTS / "spin.elf", "x", drives=[drive("d", disks["buffered"], "Async")])
    traced = Traced(directory, "violation", vmm_command(
        directory, "violation", conf, "--log-path", log, "--seccomp-filter", weaker(directory, "io", "futex"),
        variant=variant))
    traced.end(status=148)
    assert 'thread "disk d": system call 202 (futex) is not allowed' in log.read_text()
    return traced


VARIANTS = [v for v in ("mote-vmm", "mote-vmm-dynamic") if (BUILD / v).exists()]


@pytest.fixture(scope="module", params=VARIANTS)
def recordings(request, tmp_path_factory, root, disks, tap):
    """Every feature, once: what the threads did."""
    directory, variant = tmp_path_factory.mktemp(request.param), request.param
    traced = [
        linux_with_everything(directory, variant, root, disks, tap),
        linux_on_a_socket(directory, variant, root),
        linux_with_a_network_ended_by_its_guest(directory, variant, root, tap),
        boot_timer(directory, variant),
        disk_reset_in_flight(directory, variant, disks),
        kvm_failure(directory, variant),
        on_a_terminal(directory, variant, disks, None, signal.SIGTERM, 143),
        on_a_terminal(directory, variant, disks, "vcpu 0", signal.SIGSEGV, 150),
        on_a_terminal(directory, variant, disks, "disk d", signal.SIGSEGV, 150),
        io_violation(directory, variant, disks),
    ]
    if variant == "mote-vmm":
        traced.append(mote_run(directory))
    return {t.trace.name: t.recording() for t in traced}


def test_nothing_but_the_rules_is_used(recordings):
    policies = policy_files.load()
    outside = set()
    for name, recording in recordings.items():
        assert {kind for kind, _ in recording.threads.values()} >= {"vmm", "vcpu"} or name == "violation.strace", name
        for kind, call, args, tgid in recording.calls:
            if not any(r.call == call and r.allows(args, tgid) for r in policies[kind]):
                outside.add(f"{name}: {kind}: {call}({', '.join(hex(a) for a in args)})")
    assert not outside, "\n".join(sorted(outside))


def test_every_rule_is_used_or_says_why_not(recordings):
    used, chance = set(), set()
    policies = policy_files.load()
    for recording in recordings.values():
        for kind, call, args, tgid in recording.calls:
            chance.add((kind, call))
            used.update(str(r) for r in policies[kind] if r.call == call and r.allows(args, tgid))
    rules = [r for kind in policies.values() for r in kind]
    unused = {str(r) for r in rules if str(r) not in used and not (r.call in CHANCE and (r.kind, r.call) in chance)}
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


def threads_of(pid):
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield task, dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)


def seccomp_of(pid):
    """{thread name: number of its filters}, of threads that have some."""
    return {status["Name"]: int(status["Seccomp_filters"]) for _, status in threads_of(pid)
            if status["Seccomp"] == "2"}


def test_no_thread_without_a_name_and_one_filter(start_vmm, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    process = start_vmm(config(GUESTS / "spin.elf", "x", cpus=3, drives=[drive("d", disk, "Async")],
                               entropy={}, vsock={"guest_cid": 3, "uds_path": str(tmp_path / "v")}))
    want = {"mote-vmm": 1, "vcpu 0": 1, "vcpu 1": 1, "vcpu 2": 1, "disk d": 1}
    wait_for(lambda: seccomp_of(process.pid) == want, what="five filtered threads")
    statuses = [status for _, status in threads_of(process.pid)]
    assert sorted(s["Name"] for s in statuses) == sorted(want)
    assert {s["NoNewPrivs"] for s in statuses} == {"1"}


def test_without_seccomp_says_so(start_vmm):
    process = start_vmm(config(GUESTS / "spin.elf", "x"), "--no-seccomp")
    assert b"--no-seccomp: no system call is forbidden to this microVM's monitor" in process.stderr.readline()
    wait_for(lambda: len(list(threads_of(process.pid))) == 2, what="a vCPU")
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
    wait_for(lambda: len(list(threads_of(process.pid))) == 2, what="a vCPU")
    assert os.stat(f"/proc/{process.pid}/mem").st_uid == owner
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
