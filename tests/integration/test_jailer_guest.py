# SPDX-License-Identifier: Apache-2.0
"""The monitor itself in a jail, with guests: needs a KVM."""
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import BUILD, CONSOLE, INITRD, KERNEL, config, wait_for
from jailing import (AS_NOBODY, GID, NOBODY, UID, WITH_DEVICES, children, host_mounts, listing, monitor_of,
                     root_only, world)

pytestmark = root_only
assert world    # a fixture


@pytest.fixture
def jail(world):
    """The world with mote-vmm in the probe's place."""
    world.probe = world.install(BUILD / "mote-vmm")
    return world


def stages(path):
    return json.loads(path.read_text().splitlines()[-1])["stages"]


def write_config(world, objects):
    return world.file("vm.json", json.dumps(objects))


@pytest.mark.parametrize("how", ["directory", "private", "rootless"])
def test_a_guest_that_resets_ends_the_jail(jail, how):
    before = host_mounts()
    metrics = jail.file("metrics", "", 0o666)
    guest = jail.install(BUILD / "guests/reset.elf")
    conf = write_config(jail, config(guest, metrics={"metrics_path": str(metrics)}))
    if how == "rootless":
        result = jail.run("--config", conf, prefix=[*WITH_DEVICES, *AS_NOBODY], uid=None, base=False)
    else:
        result = jail.run("--config", conf, *(["--private-root"] if how == "private" else []))

    assert (result.returncode, result.stderr) == (0, "")
    assert 0 < stages(metrics)["jail_ns"] < 10**10
    assert host_mounts() == before
    assert [p for p in listing(jail.base) if not p.endswith("/mote-vmm")] == []


def test_the_monitors_process_has_its_name(jail):
    guest = jail.install(BUILD / "guests/spin.elf")
    process = subprocess.Popen(jail.command("--config", write_config(jail, config(guest)), "--private-root"),
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    jail.started.append(process)
    wait_for(lambda: children(process.pid), what="the monitor")
    pid = monitor_of(process)

    wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "mote-vmm\n", what="its name")
    process.terminate()
    assert process.wait(60) == 143


def test_firecrackers_way_with_files_in_the_root(jail):
    root = jail.base / "mote-vmm/a/root"
    root.mkdir(parents=True)
    shutil.copy(BUILD / "guests/reset.elf", root / "guest.elf")
    (root / "vm.json").write_text(json.dumps(config("/guest.elf")))

    result = jail.run(args=["--no-api", "--config-file", "/vm.json", "--metrics-path", "/metrics"])
    assert (result.returncode, result.stderr) == (0, "")
    assert stages(root / "metrics")["jail_cpu_ns"] > 0
    assert (root / "metrics").stat().st_uid == UID


def test_linux_with_a_disk_a_network_card_and_a_vsock(jail):
    sockets = jail.make("sockets")
    os.chown(sockets, UID, GID)
    disk = jail.file("disk.img", "", 0o600)
    os.truncate(disk, 1 << 20)
    conf = write_config(jail, config(
        KERNEL, CONSOLE + " rdinit=/none", boot_source={"initrd_path": str(INITRD)},
        drives=[{"drive_id": "d", "path_on_host": str(disk), "is_root_device": False, "io_engine": "Async"}],
        vsock={"guest_cid": 3, "uds_path": str(sockets / "v")}, entropy={}))

    result = jail.run("--config", conf, "--private-root", timeout=300)
    assert result.returncode == 160, result.stderr      # nothing to run: the guest panics
    assert "virtio_blk" in result.stdout


def test_a_monitor_that_refuses_its_configuration(jail):
    kernel = jail.file("kernel", "no kernel")
    result = jail.run("--config", write_config(jail, config(kernel)), "--private-root")

    assert result.returncode == 152
    assert "neither an ELF executable nor a bzImage" in result.stderr
    assert NOBODY not in (UID, GID)
