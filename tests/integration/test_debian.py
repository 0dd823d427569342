# SPDX-License-Identifier: Apache-2.0
"""A kernel that knows nothing of mote: Debian's cloud kernel, by ACPI and its own modules."""
import hashlib

import pytest

from conftest import BUILD, config

DEBIAN = BUILD / "debian"


@pytest.mark.skipif(not DEBIAN.exists(), reason="tests/integration/debian-kernel has not prepared it")
def test_debian_cloud_kernel_boots_with_its_modules_and_reads_a_disk(vmm, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(range(256)) * 4096)
    result = vmm(config(
        DEBIAN / "vmlinuz", "console=ttyS0 panic=-1 quiet", memory=256, cpus=2,
        boot_source={"initrd_path": str(DEBIAN / "initrd")},
        drives=[{"drive_id": "disk", "path_on_host": str(disk), "is_root_device": False, "io_engine": "Async"}]),
        timeout=300)
    lines = dict(line.strip().split(" ", 2)[1:] for line in result.out.splitlines() if line.startswith("DEBIAN "))
    assert result.status == 0, result
    assert "cloud-amd64" in lines["kernel"], result
    assert lines["cpus"] == "2"
    assert lines["disk"].split()[0] == hashlib.md5(disk.read_bytes()).hexdigest()
    assert lines["acpi"] == "1"
