# SPDX-License-Identifier: Apache-2.0
"""Every feature of the monitor, once, under strace: what test_seccomp.py compares with the policies."""
import ctypes
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

import policies as policy_files
from conftest import BUILD, BZIMAGE, CONSOLE, KERNEL, TIMEOUT, busybox_tree, config, sh, wait_for

GUESTS = BUILD / "guests"
COMPILER = BUILD / "mote-seccomp-compile"
INIT = CONSOLE + " quiet root=/dev/vda rootfstype=erofs ro init=/bin/sh"


class Traced:
    """A mote-vmm (or a mote run) under strace, which doesn't get in the way: the process is its own."""

    def __init__(self, directory, name, command, **options):
        self.trace = directory / f"{name}.strace"
        self.api = "--api-sock" in command
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
        return policy_files.parse(self.trace.read_text(), self.api)


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
    busybox_tree(tree, "sh", "stty", "mount", "echo", "cat", "dd", "ping", "ifconfig", "route", "wget", "wc", "poweroff",
                 "basename", "sleep")
    sh(f"cp {GUESTS}/exercise {tree}/bin; mkfs.erofs --quiet {image} {tree}")
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
    for name in ("loop", "ext4", "file"):
        with open(directory / name, "wb") as f:
            f.truncate(32 << 20)
    # Blocks of 4096 bytes, where the guest has 512: what isn't aligned goes through a buffer.
    loops = {}
    for name in ("loop", "ext4"):
        loops[name] = sh(f"losetup --show -f -b 4096 {directory}/{name}").strip()
        undo.append(f"losetup -d {loops[name]}")
    sh(f"mke2fs -q -t ext4 {loops['ext4']}")
    fat_image(directory / "fat")
    # The file on ext4 ends within a block: no direct I/O.
    for kind, source, size in (("ext4", loops["ext4"], (16 << 20) + 512), ("vfat", directory / "fat", 16 << 20)):
        mount = directory / f"mnt-{kind}"
        mount.mkdir()
        sh(f"mount {'-o loop' if kind == 'vfat' else ''} -t {kind} {source} {mount}")
        undo.append(f"umount {mount}")
        (mount / "disk").write_bytes(bytes(size))
    yield {"loop": loops["loop"], "file": directory / "file", "buffered": directory / "mnt-ext4/disk",
           "fat": directory / "mnt-vfat/disk"}
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


def client(uds, how):
    """A host program that connects to the guest's port 5000."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(TIMEOUT)
    s.connect(str(uds))
    s.sendall(b"CONNECT 5000\n")
    answer = s.recv(32)
    assert answer.startswith(b"OK "), answer
    s.sendall(how)
    return s


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


def slow_readers(sockets):
    """So that each connection needs its buffer, and the monitor more memory."""
    time.sleep(2)
    for s in sockets:
        left = 4 << 20
        while left > 0:
            data = s.recv(65536)
            assert data
            left -= len(data)
        s.close()


def talk_by_vsock(console, uds, listener):
    console.until(b"ANSWER world")
    listener.close()
    console.until(b"LISTENING")
    with client(uds, b"e") as s:
        echo(s)
    with client(uds, b"r"):
        time.sleep(0.5)
    with client(uds, b"w") as s:
        assert s.recv(1) == b""
    slow_readers([client(uds, b"m") for _ in range(10)])
    client(uds, b"q").close()


def answer_guest(listener):
    wait_for(lambda: select.select([listener], [], [], 0.1)[0], seconds=3 * TIMEOUT, what="the guest's connection")
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(16) == b"hello"
        connection.sendall(b"world")


UNBIND = "; ".join(
    f"for d in /sys/bus/virtio/drivers/{driver}/virtio*; do echo $(basename $d) >/sys/bus/virtio/drivers/{driver}/unbind; done"
    for driver in ("virtio_net", "vmw_vsock_virtio_transport", "virtio_balloon"))


# So many that what sorts them in the monitor wants memory, and asks how much there is.
METADATA = {"many": {f"key{i:03}": str(i) for i in range(300)}}

# Few enough for a guest to wait, and often enough to go on.
LIMIT = {"ops": {"size": 4, "refill_time": 20}}


def linux_with_everything(directory, variant, root, disks, tap):
    uds = directory / "v.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{uds}_6000")
    listener.listen()
    conf = config(
        KERNEL, INIT, cpus=2, entropy={"rate_limiter": LIMIT}, vsock={"guest_cid": 3, "uds_path": str(uds)},
        network_interfaces=[{"iface_id": "eth0", "host_dev_name": tap, "rx_rate_limiter": LIMIT,
                             "tx_rate_limiter": LIMIT}],
        drives=[drive("root", root, "Sync", is_read_only=True), drive("b", disks["loop"], "Async"),
                drive("c", disks["file"], "Sync", rate_limiter=LIMIT), drive("d", disks["buffered"], "Async"),
                drive("e", disks["fat"], "Async")],
        balloon={"amount_mib": 8, "deflate_on_oom": True, "stats_polling_interval_s": 1, "free_page_hinting": True,
                 "free_page_reporting": True},
        metrics={"metrics_path": str(directory / "metrics")},
        mmds_config={"network_interfaces": ["eth0"]},
        logger={"log_path": str(directory / "log"), "level": "Debug"})
    metadata = directory / "metadata.json"
    metadata.write_text(json.dumps(METADATA))
    script = ("\n" * 32 + "stty -echo; PS1= PS2=; mount -t proc p /proc; mount -t sysfs s /sys\n"
              "for d in b c d e; do exercise disk /dev/vd$d; done\n"
              "dd if=/dev/hwrng of=/dev/null bs=256 count=8 2>/dev/null\n"
              "ifconfig eth0 10.98.0.2 up; ping -c 3 -W 10 10.98.0.1\n"
              "route add -host 169.254.169.254 dev eth0\n"
              "echo KEYS $(wget -q -O - http://169.254.169.254/many | wc -w)\n"
              "exercise connect 6000; exercise vsock 5000\n"
              f"{UNBIND}\necho DO''NE; poweroff -f\n")
    traced = Traced(directory, "linux", vmm_command(directory, "linux", conf, "--metadata", metadata, variant=variant))
    traced.process.stdin.write(script.encode())
    traced.process.stdin.flush()
    console = Console(traced.process.stdout.fileno())
    answer_guest(listener)
    talk_by_vsock(console, uds, listener)
    console.until(b"DONE")
    _, err = traced.end()
    assert err == b"" and b"FAILED" not in console.text, (console.text, err)
    assert b"3 packets received" in console.text
    assert b"KEYS 300" in console.text, console.text
    assert not uds.exists()
    return traced


def linux_on_a_socket(directory, variant, root, tap):
    """bzImage; console on a socket; ended by a signal while the drivers run."""
    ours, theirs = socket.socketpair()
    conf = config(BZIMAGE, INIT, drives=[drive("root", root, "Async", is_read_only=True)],
                  network_interfaces=[{"iface_id": "eth0", "host_dev_name": tap}])
    traced = Traced(directory, "socket", vmm_command(directory, "socket", conf, variant=variant),
                    stdin=theirs, stdout=theirs)
    theirs.close()
    ours.sendall(b"\n" * 32 + b"stty -echo; echo RUN''NING\n")
    Console(ours.fileno()).until(b"RUNNING")
    traced.process.send_signal(signal.SIGTERM)
    traced.end(status=143)
    ours.close()
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


def disk_broken_by_its_guest(directory, variant, disks):
    """The event loop, which notices, cleans up."""
    conf = config(GUESTS / "disk_break.elf", "x", drives=[drive("d", disks["loop"], "Async")])
    traced = Traced(directory, "broken", vmm_command(directory, "broken", conf, variant=variant))
    _, err = traced.end()
    assert b'drive "d": stopped until the guest resets it' in err and err.count(b"\n") == 1, err
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


def listens(path):
    """A socket's file is there before somebody listens."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0


def swap_images(patch, disks, root, inherited):
    """Of each kind that there is, read-only and writable, by path and inherited."""
    maximum = Path("/proc/sys/fs/aio-max-nr")
    usual = maximum.read_text()
    try:
        maximum.write_text(Path("/proc/sys/fs/aio-nr").read_text())
        patch("swap", disks["fat"], answer="400")
    finally:
        maximum.write_text(usual)
    patch("swap", disks["fat"])
    patch("loop", disks["buffered"])
    patch("swap", disks["loop"])
    patch("ro", "/dev/fd/1")
    patch("swap", f"/dev/fd/{inherited}")
    patch("ro", root)
    patch("swap", "/none", answer="400")


def by_api(directory, variant, disks, root):
    """Everything after the start: calls, a broken one, a client that leaves, pause and resume, other images."""
    path = directory / "api.socket"
    for name in ("a", "b"):
        (directory / f"api-{name}").write_bytes(bytes(1 << 20))
    with open(directory / "api-a", "r+b") as first, open(directory / "api-b", "r+b") as second:
        traced = Traced(directory, "api", [BUILD / variant, "--api-sock", path, "--log-path", directory / "api.log",
                                           "--level", "Info"], stdout=first, pass_fds=[second.fileno()])
        inherited = second.fileno()
    wait_for(lambda: listens(path), what="the API's socket")

    def say(request, answer, closes=False):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(TIMEOUT)
            s.connect(str(path))
            s.sendall(request.encode())
            got = s.recv(65536)
            assert got.startswith(f"HTTP/1.1 {answer}".encode()), got
            while got and closes:
                got = s.recv(65536)

    def put(target, body, method="PUT", answer="204"):
        body = json.dumps(body)
        say(f"{method} {target} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}", answer)

    put("/boot-source", {"kernel_image_path": str(GUESTS / "spin.elf"), "boot_args": "x"})
    put("/metrics", {"metrics_path": str(directory / "api.metrics")})
    for name in ("loop", "file"):
        put(f"/drives/{name}", {"drive_id": name, "path_on_host": str(disks[name]), "is_root_device": False})
    put("/drives/swap", drive("swap", disks["buffered"], "Async"))
    put("/drives/ro", drive("ro", root, "Sync", is_read_only=True))
    put("/actions", {"action_type": "InstanceStart"})
    for name in ("loop", "file"):
        put(f"/drives/{name}", {"drive_id": name, "path_on_host": str(disks[name]),
                                "rate_limiter": {"ops": {"size": 1, "refill_time": 100}}}, "PATCH")
    swap_images(lambda name, image, answer="204": put(
        f"/drives/{name}", {"drive_id": name, "path_on_host": str(image)}, "PATCH", answer), disks, root, inherited)
    put("/vm", {"state": "Paused"}, "PATCH")
    put("/vm", {"state": "Resumed"}, "PATCH")
    put("/actions", {"action_type": "FlushMetrics"})
    put("/actions", {"action_type": "SendCtrlAltDel"})
    say("GET /vm/config HTTP/1.1\r\n\r\n", "200")
    say("nonsense\r\n\r\n", "400 Bad Request", closes=True)
    traced.process.send_signal(signal.SIGTERM)
    traced.end(status=143)
    assert not path.exists()
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


def all_of_them(directory, variant, root, disks, tap):
    """Each, one after the other."""
    features = [
        (linux_with_everything, root, disks, tap),
        (linux_on_a_socket, root, tap),
        (boot_timer,),
        (disk_reset_in_flight, disks),
        (disk_broken_by_its_guest, disks),
        (kvm_failure,),
        (by_api, disks, root),
        (on_a_terminal, disks, None, signal.SIGTERM, 143),
        (on_a_terminal, disks, "vcpu 0", signal.SIGSEGV, 150),
        (on_a_terminal, disks, "disk d", signal.SIGSEGV, 150),
        (io_violation, disks),
    ]
    traced = [run(directory, variant, *arguments) for run, *arguments in features]
    if variant == "mote-vmm":
        traced.append(mote_run(directory))
    return traced
