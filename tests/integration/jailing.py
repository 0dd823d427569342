# SPDX-License-Identifier: Apache-2.0
"""Running mote-jailer with a probe in the monitor's place: what the tests of the jail share."""
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from conftest import BUILD, wait_for

UID, GID = 5432, 5433
NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
TIMEOUT = 60
# A /dev with the devices that the jailer looks for, on hosts that have no KVM too, and for everyone.
WITH_DEVICES = ["unshare", "--mount", "sh", "-c", """
mount -t tmpfs -o mode=755 dev /dev && mkdir /dev/net && cd / &&
mknod -m 666 /dev/kvm c 10 232 && mknod -m 666 /dev/net/tun c 10 200 && mknod -m 666 /dev/null c 1 3 &&
exec "$@" """, "sh"]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes jails for others")


class World:
    """A directory with a base for jails, the probe, and files for configurations to name."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="mote-jail-"))
        self.directory.chmod(0o755)
        self.base = self.make("base")
        self.files = self.make("files")
        # Programs of the build, where nobody can reach them.
        self.jailer = self.install(BUILD / "mote-jailer")
        probe = BUILD / "jail_probe"
        self.probe = self.install(probe if probe.exists() else BUILD / "tests/integration/jail_probe")
        self.started = []

    def make(self, name):
        path = self.directory / name
        path.mkdir(mode=0o755)
        return path

    def install(self, program):
        target = self.directory / program.name
        shutil.copy(program, target)
        target.chmod(0o755)
        return target

    def file(self, name, content, mode=0o644):
        path = self.files / name
        path.write_text(content)
        path.chmod(mode)
        return path

    def root(self, name="a"):
        return self.base / "jail_probe" / name / "root"

    def command(self, *arguments, name="a", uid=UID, gid=GID, base=True, args=()):
        command = [self.jailer, "--id", name, "--exec-file", self.probe]
        command += ["--uid", uid, "--gid", gid] if uid else []
        command += ["--chroot-base-dir", self.base] if base else []
        return [str(word) for word in [*command, *arguments, "--", *args]]

    def config(self, path="config.json", **objects):
        kernel, disk = self.file("kernel", "the kernel"), self.file("disk", "the disk", 0o666)
        config = {
            "boot-source": {"kernel_image_path": str(kernel)},
            "drives": [{"drive_id": "d", "path_on_host": str(disk), "is_root_device": True}],
        }
        config.update({key.replace("_", "-"): value for key, value in objects.items()})
        return self.file(path, json.dumps(config))

    def run(self, *arguments, prefix=(), stdin=subprocess.DEVNULL, timeout=TIMEOUT, pass_fds=(), **words):
        return subprocess.run([*prefix, *self.command(*arguments, **words)], capture_output=True, text=True,
                              timeout=timeout, check=False, stdin=stdin, pass_fds=pass_fds)

    def look(self, *arguments, **words):
        """What the probe says of the jail."""
        result = self.run(*arguments, **words)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        return json.loads(result.stdout)

    def start(self, *arguments, prefix=(), args=("--wait",), pass_fds=(), **words):
        """A jail whose probe has said everything and waits: (the jailer's process, what was said)."""
        process = subprocess.Popen([*prefix, *self.command(*arguments, args=args, **words)], text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, pass_fds=pass_fds)
        self.started.append(process)
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        return process, json.loads(line)

    def stop(self):
        for process in self.started:
            monitors = children(process.pid) if process.poll() is None else []
            process.kill()
            process.communicate()
            for pid in monitors:
                ends(pid)
        self.started = []

    def close(self):
        self.stop()
        shutil.rmtree(self.directory)


@pytest.fixture
def world():
    made = World()
    yield made
    made.close()


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def monitor_of(process):
    """The process in the jail that this jailer waits for."""
    found = children(process.pid)
    assert len(found) == 1
    return found[0]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(pid):
    return wait_for(lambda: not is_running(pid), what=f"the end of process {pid}")


def namespaces(pid):
    return {name: os.readlink(f"/proc/{pid}/ns/{name}")
            for name in ("mnt", "pid", "ipc", "uts", "net", "cgroup", "user", "time")}


def visible(pid):
    """What that process finds in its root, as {path: (type and mode, uid, gid)}."""
    root = f"/proc/{pid}/root"
    found = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory, name)
            st = os.lstat(path)
            found[path.removeprefix(root)] = (f"{st.st_mode:o}", st.st_uid, st.st_gid)
    return found


def listing(directory):
    """Everything below a directory, with owners and modes."""
    return {str(p): (p.lstat().st_mode, p.lstat().st_uid, p.lstat().st_gid) for p in directory.rglob("*")}


def host_mounts():
    return Path("/proc/self/mountinfo").read_text()


def pause():
    time.sleep(0.05)
