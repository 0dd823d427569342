# SPDX-License-Identifier: Apache-2.0
"""Another image for the drive of a running guest, over the API: in a jail and without, by both engines; and
images that are refused."""
import os
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from api_cases import NO_IMAGES
from conftest import BUILD, CONSOLE, KERNEL, ROOT
from jailing import GID, UID, world
from test_api import GUESTS, Monitor, boot, monitor, read_until

assert monitor and world    # fixtures


def make_no_images(directory):
    """What NO_IMAGES needs; a process that runs its program."""
    (directory / "directory").mkdir()
    os.mkfifo(directory / "fifo")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(directory / "socket"))
    os.mknod(directory / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.symlink("loop", directory / "loop")
    (directory / "empty").touch()
    (directory / "small").write_bytes(bytes(511))
    shutil.copy("/bin/sleep", directory / "program")
    for name in ("old", "used", "new"):
        (directory / name).write_bytes(bytes(1 << 20))
    return subprocess.Popen([directory / "program", "1000"])


def open_files(pid):
    """What a process has open of regular files, by name."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += [os.readlink(fd)] if stat.S_ISREG(fd.stat().st_mode) else []
        except FileNotFoundError:
            pass
    return sorted(found)


@pytest.mark.parametrize("engine", ["Sync", "Async"])
def test_an_image_that_cannot_be_used_leaves_the_old_one(monitor, tmp_path, engine):
    program = make_no_images(tmp_path)
    vmm = monitor()
    client = vmm.client
    for drive, name in (("d", "old"), ("u", "used")):
        client.put(f"/drives/{drive}", drive_id=drive, path_on_host=str(tmp_path / name), is_root_device=False,
                   io_engine=engine)
    boot(client, GUESTS / "spin.elf")
    before = open_files(vmm.process.pid)
    assert str(tmp_path / "old") in before
    for name, why in NO_IMAGES:
        path = str(tmp_path / name)
        assert client.call("PATCH", "/drives/d", {"drive_id": "d", "path_on_host": path}) == (
            400, f'drive "d": {why.format(path)}')
        assert open_files(vmm.process.pid) == before
        assert client.get("/vm/config")["drives"][0]["path_on_host"] == str(tmp_path / "old")
    client.patch("/drives/d", drive_id="d", path_on_host=str(tmp_path / "new"),
                 rate_limiter={"ops": {"size": 1, "refill_time": 1}})
    assert open_files(vmm.process.pid) == [p.replace("/old", "/new") for p in before]
    changed = client.get("/vm/config")["drives"][0]
    assert (changed["path_on_host"], changed["rate_limiter"]["ops"]["size"]) == (str(tmp_path / "new"), 1)
    program.kill()
    program.wait()
    vmm.process.send_signal(signal.SIGTERM)
    vmm.end(status=143)


READ_OLD = (b"\n" * 32 + b"stty -echo; mount -t devtmpfs d /dev; mount -t sysfs s /sys; "
            b"echo OLD=$(head -c 9 /dev/vdb),$(cat /sys/block/vdb/size)\n"
            # Reads are in flight when the image changes.
            b"while [ $(cat /sys/block/vdb/size) = 2048 ]; do cat /dev/vdb >/dev/null; done; "
            b"echo NEW=$(head -c 9 /dev/vdb),$(cat /sys/block/vdb/size); echo written >/dev/vdb; sync; echo DO''NE\n")


def swap_of_linux(vmm, files, seen, engine):
    """files, of the host: old and new; seen: the directory that the monitor knows them in."""
    client, stdin, stdout = vmm.client, vmm.process.stdin, vmm.process.stdout
    client.put("/drives/d", drive_id="d", path_on_host=f"{seen}/old", is_root_device=False, io_engine=engine)
    boot(client, f"{seen}/kernel", CONSOLE + " quiet rootfstype=erofs init=/bin/sh")
    stdin.write(READ_OLD)
    stdin.flush()
    read_until(stdout, b"OLD=old image,2048")
    client.patch("/drives/d", drive_id="d", path_on_host=f"{seen}/new")
    said = read_until(stdout, b"DONE")
    assert b"NEW=new image,6144" in said, said
    vmm.end(stdin=b"poweroff -f\n")
    assert (files / "new").read_bytes()[:18] == b"written\nenew image"
    assert (files / "old").read_bytes() == b"old image".ljust(1 << 20, b"-")


def provide(directory):
    shutil.copy(KERNEL, directory / "kernel")
    shutil.copy(ROOT, directory / "root")
    (directory / "old").write_bytes(b"old image".ljust(1 << 20, b"-"))
    (directory / "new").write_bytes(b"new image" * 2 + bytes((3 << 20) - 18))


@pytest.mark.parametrize("engine", ["Sync", "Async"])
def test_linux_finds_another_image_in_its_drive(monitor, tmp_path, engine):
    provide(tmp_path)
    vmm = monitor()
    vmm.client.put("/drives/root", drive_id="root", path_on_host=str(tmp_path / "root"), is_root_device=True,
                   is_read_only=True)
    swap_of_linux(vmm, tmp_path, tmp_path, engine)


@pytest.mark.parametrize("engine", ["Sync", "Async"])
def test_linux_in_a_jail_finds_another_image_in_its_drive(world, engine):
    """What is put into the jail's root later, and belongs to its user; nothing of what's outside."""
    world.probe = world.install(BUILD / "mote-vmm")
    root = world.base / "mote-vmm/a/root"
    root.mkdir(parents=True)
    provide(root)
    (root / "new").rename(root / "later")
    for name in ("", "kernel", "root", "old"):
        os.chown(root / name, UID, GID)
    vmm = Monitor(root, command=world.command(args=["--api-sock", "/api.socket"]))
    world.started.append(vmm.process)
    client = vmm.client
    client.put("/drives/root", drive_id="root", path_on_host="/root", is_root_device=True, is_read_only=True)

    def refuses(path, why):
        assert client.call("PATCH", "/drives/d", {"drive_id": "d", "path_on_host": path}) == (
            400, f'drive "d": open "{path}"{why}')

    patch = client.patch

    def tries_first(path, **body):
        refuses("/new", ": No such file or directory")
        (root / "later").rename(root / "new")
        (root / "new").chmod(0o644)
        refuses("/new", " for writing: Permission denied")
        os.chown(root / "new", UID, GID)
        for outside in ("/etc/passwd", "/../../../../../../../etc/passwd", "/proc/1/root/etc/passwd"):
            refuses(outside, ": No such file or directory")
        os.symlink("/etc/passwd", root / "link")
        refuses("/link", ": No such file or directory")
        patch(path, **body)

    client.patch = tries_first
    swap_of_linux(vmm, root, "", engine)
