# SPDX-License-Identifier: Apache-2.0
"""random_requests.py against the monitor, without a guest and beside one that counts on its console and reads its
disk. The monitor lives, what it has doesn't grow, and the guest goes on.

Short by itself. Ten minutes beside a guest, with figures (answers, p50, p99, growth), in the test host:

  tests/testhost/run -s 2 -m 6144 -t 900 -- env MOTE_RANDOM_SECONDS=600 \\
          tests/integration/run build -s -k 'test_beside_a_guest and not asan'

and without `not`, with the sanitized monitor of build/asan. MOTE_RANDOM_SEED repeats what the same seed asked."""
import os
import random
import re
import signal
import threading

import pytest

from conftest import BUILD, KERNEL, ROOT, TIMEOUT, wait_for
from random_requests import Storm, usage
from test_api import INIT, monitor

assert monitor    # a fixture

SEED = int(os.environ.get("MOTE_RANDOM_SEED", random.randrange(1 << 32)))
SECONDS = float(os.environ.get("MOTE_RANDOM_SECONDS", 0))
VARIANTS = ["mote-vmm"] + (["mote-vmm-asan"] if (BUILD / "mote-vmm-asan").exists() else [])
SANITIZER = {"ASAN_OPTIONS": "quarantine_size_mb=1:detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
WARM_UP = 200   # turns
# Clients come and go: 16 of them. Where a sanitizer allocates, it says at the end what was lost.
GROWTH = {"mote-vmm": {"fds": 20, "mappings": 20, "heap_kib": 2048}, "mote-vmm-asan": {"fds": 20}}
HEARTBEAT = """stty -echo
(while :; do cat /dev/vdb >/dev/null; done) &
i=0; while :; do i=$((i + 1)); echo "beat $i"; done
"""


def start(monitor, tmp_path, variant):
    arguments = ["--no-seccomp"] if variant.endswith("asan") else []
    return monitor(command=[BUILD / variant, "--api-sock", tmp_path / "api.socket", *arguments], cwd=tmp_path,
                   env={**os.environ, **SANITIZER})


def storm(vmm, variant, files, watch=lambda: None):
    """Warm up, then run; what has grown meanwhile."""
    files.mkdir()

    def alive():
        assert vmm.process.poll() is None
        watch()

    one = Storm(vmm.path, SEED, files, alive)
    print("seed", SEED)
    one.run(turns=WARM_UP)
    before = usage(vmm.process.pid)
    one.run(turns=None if SECONDS else 500, seconds=SECONDS or None)
    vmm.client.get("/version")
    after = usage(vmm.process.pid)
    print(one.report(), "- before and after:", before, after)
    assert not [key for key, room in GROWTH[variant].items() if after[key] > before[key] + room], (before, after)
    assert one.statuses[204] > 20 and one.statuses[200] > 20 and one.statuses[400] > 100, one.statuses


def end(vmm):
    """Nothing leaks, and nothing is said but that it was told to end."""
    vmm.process.send_signal(signal.SIGTERM)
    _, err = vmm.process.communicate(timeout=TIMEOUT)
    assert vmm.process.returncode == 143, err
    assert not re.search(b"Sanitizer|runtime error|SIGSYS", err), err


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_a_guest(monitor, tmp_path, variant):
    vmm = start(monitor, tmp_path, variant)
    storm(vmm, variant, tmp_path / "files")
    assert vmm.client.state == "Not started"
    end(vmm)


class Heart:
    """Reads what the guest counts."""

    def __init__(self, vmm):
        self.client = vmm.client
        self.last = 0
        thread = threading.Thread(target=self.read, args=(vmm.process.stdout,), daemon=True)
        thread.start()

    def read(self, console):
        for line in console:
            if found := re.search(rb"beat (\d+)", line):
                self.last = int(found[1])

    def beats(self):
        """A guest that some request has paused goes on at the next one's word."""
        self.client.patch("/vm", state="Resumed")
        last = self.last
        wait_for(lambda: self.last > last + 3, TIMEOUT, "the guest's heart")


@pytest.mark.parametrize("variant", VARIANTS)
def test_beside_a_guest(monitor, tmp_path, variant):
    vmm = start(monitor, tmp_path, variant)
    client, disk = vmm.client, tmp_path / "d"
    disk.write_bytes(bytes(1 << 20))
    client.put("/boot-source", kernel_image_path=str(KERNEL), boot_args=INIT)
    client.put("/machine-config", vcpu_count=1, mem_size_mib=256)
    client.put("/drives/root", drive_id="root", path_on_host=str(ROOT), is_root_device=False, is_read_only=True)
    client.put("/drives/d", drive_id="d", path_on_host=str(disk), is_root_device=False)
    client.put("/balloon", amount_mib=0, deflate_on_oom=True, stats_polling_interval_s=1, free_page_hinting=True)
    client.put("/vsock", guest_cid=3, uds_path=str(tmp_path / "v"))
    client.put("/entropy")
    client.put("/metrics", metrics_path=str(tmp_path / "metrics"))
    client.act("InstanceStart")
    vmm.process.stdin.write(b"\n" * 32 + HEARTBEAT.encode())
    vmm.process.stdin.flush()
    heart = Heart(vmm)
    wait_for(lambda: heart.last > 0, TIMEOUT, "the guest's first beat")
    storm(vmm, variant, tmp_path / "files", heart.beats)
    end(vmm)
