# SPDX-License-Identifier: Apache-2.0
"""firecracker_flow.sh against the monitor, as it is and in a jail, with Linux as the guest."""
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import metrics_table
from conftest import BUILD, KERNEL, ROOT, TIMEOUT, sh
from jailing import GID, UID, world
from test_api import Monitor, monitor, read_until

assert monitor and world    # fixtures

FLOW = Path(__file__).with_name("firecracker_flow.sh")
GUEST = "\n" * 32 + """stty -echo
mount -t devtmpfs d /dev; mount -t tmpfs t /tmp; cat /dev/vdc >/tmp/exercise; chmod +x /tmp/exercise
ip addr add 169.254.0.2/16 dev eth0; ip link set eth0 up
echo "<$(wget -q -O - http://169.254.169.254/latest/meta-data/ami-id)>"
/tmp/exercise vsock 52 &
mount -t sysfs s /sys
(while [ $(cat /sys/block/vdb/size) = 2048 ]; do sleep 1; done; echo "<$(head -c 12 /dev/vdb)>"; sleep 1000) &
"""


@pytest.fixture
def tap():
    sh(f"ip tuntap add mtflow0 mode tap vnet_hdr user {UID}; ip link set mtflow0 up")
    yield
    sh("ip link del mtflow0")


def provide(directory):
    """What the flow's microVM is made of, for the jail's user."""
    shutil.copy(KERNEL, directory / "kernel")
    shutil.copy(ROOT, directory / "root")
    (directory / "disk").write_bytes(bytes(1 << 20))
    (directory / "disk2").write_bytes(b"second image".ljust(3 << 20))
    program = (BUILD / "guests/exercise").read_bytes()
    (directory / "exercise").write_bytes(program + bytes(-len(program) % 4096))
    for name in ("kernel", "root", "disk", "disk2", "exercise"):
        os.chown(directory / name, UID, GID)


def last_line(directory):
    return json.loads((directory / "metrics").read_text().splitlines()[-1])


def flow(vmm, files, vsock):
    vmm.process.stdin.write(GUEST.encode())
    vmm.process.stdin.flush()
    result = subprocess.run([FLOW, vmm.path, files, vsock], capture_output=True, text=True, timeout=4 * TIMEOUT,
                            check=False)
    if result.returncode != 0:
        vmm.process.kill()
    assert result.returncode == 0, (result.stderr, vmm.process.communicate())
    assert int(result.stdout.split()[0]) >= 60
    said = read_until(vmm.process.stdout, b"<second image>")
    out, err = vmm.end(stdin=b"poweroff -f\n")
    assert b"<ami-12345678>" in said + out and err == b""


def test_the_flow(monitor, tap, tmp_path):
    vmm = monitor()
    provide(tmp_path)
    flow(vmm, tmp_path, tmp_path)
    assert "SendCtrlAltDel" in (tmp_path / "log").read_text()
    line = last_line(tmp_path)
    assert not metrics_table.check(line)
    assert line["api_server"] == {"process_startup_time_us": 0, "process_startup_time_cpu_us": 0}


def test_the_flow_in_a_jail(world, tap):
    world.probe = world.install(BUILD / "mote-vmm")
    root = world.base / "mote-vmm/a/root"
    root.mkdir(parents=True)
    os.chown(root, UID, GID)
    provide(root)
    vmm = Monitor(root, command=world.command("--netns", "/proc/self/ns/net", args=["--api-sock", "/api.socket"]))
    world.started.append(vmm.process)
    flow(vmm, "", root)
    line = last_line(root)
    assert not metrics_table.check(line)
    startup = line["api_server"]
    assert 0 < startup["process_startup_time_cpu_us"] and 0 < startup["process_startup_time_us"] < 10**7
