# SPDX-License-Identifier: Apache-2.0
"""A monitor that somebody else controls (compromised.c), in a jail that the real jailer made, under the
real filters and without them: what it tries must be refused, each attempt a test. Needs no KVM."""
import ctypes
import fcntl
import hashlib
import os
import pty
import re
import socket
import stat
import subprocess
import sys
import termios
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from conftest import BUILD  # noqa: E402
from jailing import AS_NOBODY, GID, NOBODY, TIMEOUT, UID, WITH_DEVICES, World, root_only  # noqa: E402

PROGRAM = next((p for p in (BUILD / "compromised", BUILD / "tests/security/compromised") if p.exists()), None)
pytestmark = [root_only, pytest.mark.skipif(PROGRAM is None, reason="not built: sanitizers have no static programs")]
ATTEMPTS = subprocess.run([PROGRAM, "--list"], capture_output=True, text=True,
                          check=True).stdout.splitlines() if PROGRAM else []


class Attacked:
    """The host's side: a file, a process of the jail's user, listeners, a key, a terminal."""

    def __init__(self, rootless):
        self.rootless = rootless
        self.uid, self.gid = (NOBODY, NOBODY) if rootless else (UID, GID)
        self.world = World()
        self.world.probe = self.world.install(PROGRAM)
        self.secret = self.world.file("secret", "secret", 0o666)
        self.abstract = f"mote-attack-{os.getpid()}"
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.listeners = [self.tcp, self.listen(f"\0{self.abstract}"), self.listen(f"{self.secret}.sock")]
        os.chmod(f"{self.secret}.sock", 0o666)
        self.victim = subprocess.Popen(["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}",
                                        "--clear-groups", "sleep", "1000"])
        sockets = self.world.make("sockets")
        os.chown(sockets, self.uid, self.gid)
        self.log = self.world.file("log", "", 0o666)
        self.config = self.world.config(vsock={"guest_cid": 3, "uds_path": str(sockets / "v")},
                                        logger={"log_path": str(self.log)})
        if rootless:    # what its own user may do to its own files
            os.chown(self.world.files / "kernel", self.uid, self.gid)
        self.before = self.state()

    @staticmethod
    def listen(path):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        return listener

    def state(self):
        return {p: (p.lstat().st_mode, p.lstat().st_uid, hashlib.sha256(p.read_bytes()).hexdigest())
                for p in self.world.files.iterdir() if p.is_file()}

    def caller(self):
        """Its session has the terminal and a keyring."""
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        libc = ctypes.CDLL(None)
        libc.syscall(250, 1, None)                                              # KEYCTL_JOIN_SESSION_KEYRING
        libc.syscall(248, b"user", b"mote-secret", b"x", ctypes.c_size_t(1), -3)   # add_key: to the session's

    def attack(self, kind):
        master, slave = pty.openpty()
        command = self.world.command("--config", self.config, uid=None if self.rootless else UID,
                                     base=not self.rootless,
                                     args=[kind, self.victim.pid, self.secret, self.abstract,
                                           self.tcp.getsockname()[1]])
        result = subprocess.run([*WITH_DEVICES, *(AS_NOBODY if self.rootless else []), *command], stdin=slave,
                                capture_output=True, text=True, timeout=TIMEOUT, check=False,
                                start_new_session=True, preexec_fn=self.caller)
        os.close(slave)
        os.close(master)
        assert result.returncode == 0, (result.returncode, result.stdout, result.stderr)
        assert result.stdout.endswith("# the end\n"), result.stdout
        return result.stdout

    def close(self):
        self.victim.kill()
        self.victim.wait()
        for listener in self.listeners:
            listener.close()
        self.world.close()


# What the jail alone, without the monitor's filters, lets through, and why nobody is harmed.
ITS_OWN_CODE = "changes only what runs in the jail, which the attacker chose already"
ITS_OWN_PROCESSES = "they stay in the jail with its rights, are counted, and end with it"
HARMLESS = {
    **dict.fromkeys(["map executable memory", "map writable and executable memory", "map an open file executable",
                     "make memory executable", "make memory executable by pkey_mprotect", "make code writable",
                     "make what is readable executable", "make and attach executable shared memory",
                     "memfd_create", "execveat a program in memory", "arch_prctl", "seccomp: add a filter",
                     "move memory"], ITS_OWN_CODE),
    **dict.fromkeys(["fork", "vfork", "clone"], ITS_OWN_PROCESSES),
    "outlive the jailer": "it can be found by its cgroup and its pid file, and ended (--cleanup)",
    "use all CPUs": "those of its cgroup's cpuset, which the kernel applies to what is asked for",
    "name a tracer": "what may trace it, in its PID namespace, is what runs in the jail",
    "listen on a TCP port": "in a network namespace with nobody else in it (old Landlock)",
    "vsyscall: time": "reads the clock; no system call",
    "io_uring_setup": "does nothing that system calls don't; the attempts by it are refused",
    "make another VM (KVM_CREATE_VM)": "what /dev/kvm is for: its memory is this process's",
    "change the VM (KVM_CREATE_IRQCHIP)": "its own",
}
# ... and what the file's owner may do to it, if that's the user whom the jail belongs to.
HARMLESS_ROOTLESS = {"change a file's attributes by its descriptor": "a file of this user's own, as an owner may"}
# Without Landlock the directory of the vsock's sockets, which the configuration gives to the jail, is like
# any other; old kernels have no other name for it.
HARMLESS_WITHOUT_LANDLOCK = {"make a file in /vsock": "in the one directory that it was given"}

# What passes the filter of the event loop and is refused by the jail.
FOR_THE_JAIL = {"vmm": {"find out whether a host file exists", "remove /dev/kvm", "remove a host file",
                        "connect to an abstract Unix socket", "connect to a Unix socket by its path",
                        "connect to the system's Unix sockets"},
                "vcpu": set(), "io": set()}
# With an API it looks at files and opens them; what it can't name isn't there.
FOR_THE_JAIL["vmm-api"] = FOR_THE_JAIL["vmm"] | {
    "open a host file as an image", "open a host file as an image, by a relative path",
    "open a host file as an image, through /proc", "open a file of the system as an image",
    "open a file of /proc or /sys as an image", "open a device as an image", "find out what an image would be"}
# The processor refuses before the filter is asked where the kernel has no 32-bit entry.
BY_THE_PROCESSOR = {"int 0x80: getpid", "int 0x80: open", "vsyscall: time"}


def has_landlock():
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) > 0


@pytest.fixture(scope="module", params=["root", "rootless"])
def attacked(request):
    target = Attacked(request.param == "rootless")
    yield target
    target.close()


@pytest.fixture(scope="module", params=["jail", "vmm", "vmm-api", "vcpu", "io"])
def outcome(request, attacked):
    """(kind, whether rootless, what was said)"""
    return request.param, attacked.rootless, attacked.attack(request.param)


@pytest.mark.parametrize("name", ATTEMPTS)
def test_refused(outcome, name):
    kind, rootless, said = outcome
    match = re.search(rf"^(ok - refused|not ok - got through): {re.escape(name)}(?: \((\w+)\)| # SKIP (.*))?$",
                      said, re.M)
    assert match, said
    if match[3]:
        pytest.skip(match[3])
    refused, how = match[1] == "ok - refused", match[2]
    if kind == "jail":
        harmless = {**HARMLESS, **(HARMLESS_ROOTLESS if rootless else {}),
                    **({} if has_landlock() else HARMLESS_WITHOUT_LANDLOCK)}
        assert refused or name in harmless
    else:
        assert refused
        assert how == "SIGSYS" or name in FOR_THE_JAIL[kind] or (name in BY_THE_PROCESSOR and how == "SIGSEGV")


def test_only_what_the_configuration_names_is_open(outcome, attacked):
    files = attacked.world.files
    want = {(p.stat().st_dev, p.stat().st_ino): mode for p, mode in (
        (files / "kernel", os.O_RDONLY), (files / "disk", os.O_RDWR), (attacked.log, os.O_WRONLY))}
    streams, others = {}, []
    for fd, flags, mode, device, inode in re.findall(r"^# fd (\d+) (\d) (\d+) (\d+) (\d+)$", outcome[2], re.M):
        if int(fd) < 3:
            streams[int(fd)] = stat.S_IFMT(int(mode, 8))
        elif want.get((int(device), int(inode))) == int(flags):
            del want[int(device), int(inode)]
        else:
            others.append((int(flags), stat.S_IFMT(int(mode, 8))))
    assert streams == {0: stat.S_IFCHR, 1: stat.S_IFIFO, 2: stat.S_IFIFO}
    assert want == {}
    assert others == [(os.O_RDWR, stat.S_IFREG)]    # the configuration, a file in memory


def test_nothing_outside_has_changed(outcome, attacked):
    assert attacked.victim.poll() is None
    assert attacked.state() == attacked.before
    for listener in attacked.listeners:
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
