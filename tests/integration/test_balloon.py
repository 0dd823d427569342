# SPDX-License-Identifier: Apache-2.0
"""The memory balloon with Linux's driver: what the host has back, seen from outside."""
import hashlib
import json
import os
import re
import select
import time
from pathlib import Path

import pytest

from conftest import TIMEOUT, wait_for
from test_boot import LOSE, in_guest

MIB = 1 << 20
MEMORY = 256
DRIVER = "/sys/bus/virtio/drivers/virtio_balloon"


class Guest:
    """A shell on the console of a microVM with a balloon."""

    def __init__(self, start_vmm, directory, **balloon):
        self.metrics_path = directory / "metrics"
        conf = in_guest("", memory=MEMORY, metrics={"metrics_path": str(self.metrics_path)},
                        balloon={"amount_mib": 0, "deflate_on_oom": True, **balloon})
        self.process = start_vmm(conf)
        self.text = b""
        self.marks = 0
        self.write(LOSE + "stty -echo; PS1= PS2=\n")
        self.run("mount -t proc p /proc; mount -t sysfs s /sys; mount -t tmpfs -o size=95% t /tmp")

    def write(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def run(self, script):
        """Run it; its output."""
        self.marks += 1
        mark = f"END{self.marks}MARK".encode()
        self.write(f"{script}\necho END{self.marks}''MARK\n")
        end = time.monotonic() + TIMEOUT
        while mark not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.process.stdout], [], [], 1)[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, self.text
                self.text += data
        out, self.text = self.text.split(mark, 1)
        return out.decode(errors="replace")

    def fill(self, mib):
        self.run(f"dd if=/dev/zero of=/tmp/fill bs=1M count={mib} 2>/dev/null")

    def empty(self):
        self.run("rm /tmp/fill")

    def rss(self):
        """MiB of the guest's memory that the host has given it."""
        smaps = Path(f"/proc/{self.process.pid}/smaps").read_text()
        for match in re.finditer(r"^([0-9a-f]+)-([0-9a-f]+) rw-p .*?^Rss: +(\d+) kB", smaps, re.M | re.S):
            if int(match[2], 16) - int(match[1], 16) == MEMORY * MIB:
                return int(match[3]) / 1024
        raise AssertionError(smaps)

    def driver(self, what):
        self.run(f"echo {self.device} >{DRIVER}/{what}")

    @property
    def device(self):
        """The name of the balloon's device, while it has its driver."""
        if not hasattr(self, "_device"):
            self._device = re.search(r"virtio\d+", self.run(f"ls {DRIVER}"))[0]
        return self._device

    def inflated(self):
        """MiB that the guest has inflated and deflated since it started."""
        vmstat = self.run("grep balloon /proc/vmstat")
        return [int(re.search(rf"balloon_{what} (\d+)", vmstat)[1]) / 256 for what in ("inflate", "deflate")]

    def end(self):
        self.write("poweroff -f\n")
        _, err = self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == 0 and err == b"", err
        return json.loads(self.metrics_path.read_text().splitlines()[-1])["balloon"]


def test_the_host_gets_back_what_the_guest_gives_up(start_vmm, tmp_path):
    amount = 128
    guest = Guest(start_vmm, tmp_path, amount_mib=amount, stats_polling_interval_s=1)
    wait_for(lambda: guest.inflated()[0] >= amount, seconds=TIMEOUT, what="the balloon of the start")
    # All of its memory is the guest's again, and it uses most of it: page by page the host gives it.
    guest.driver("unbind")
    assert guest.inflated()[1] == guest.inflated()[0]
    guest.fill(180)
    before = guest.rss()
    assert before > 180
    guest.empty()
    assert guest.rss() > 180
    guest.driver("bind")
    wait_for(lambda: guest.inflated()[0] >= 2 * amount, seconds=TIMEOUT, what="the balloon")
    # What is in the balloon isn't there. Huge pages of the host may have brought some of it back.
    assert guest.rss() <= MEMORY - amount + 16, (before, guest.rss())
    # And the guest can have it again: more than is left beside the balloon, which the driver gives up on OOM.
    guest.driver("unbind")
    guest.fill(180)
    assert guest.run("md5sum </tmp/fill").split()[0] == hashlib.md5(bytes(180 * MIB)).hexdigest()
    counted = guest.end()
    # 256 pages a chain.
    assert counted["inflate_count"] >= 2 * amount, counted
    assert counted["deflate_count"] >= 2 * amount, counted
    assert counted["stats_updates_count"] >= 1 and counted["stats_update_fails"] == 0, counted
    assert counted["event_fails"] == 0, counted


def test_the_host_gets_back_what_is_reported_free(start_vmm, tmp_path):
    guest = Guest(start_vmm, tmp_path, free_page_reporting=True)
    guest.fill(160)
    before = guest.rss()
    assert before > 160
    guest.empty()
    # Linux reports after two seconds what lies free in blocks of 2 MiB.
    wait_for(lambda: guest.rss() < before - 100, seconds=TIMEOUT, what="reports")
    guest.fill(160)
    assert guest.rss() > 160
    counted = guest.end()
    assert counted["free_page_report_count"] >= 1 and counted["free_page_report_fails"] == 0, counted
    assert counted["free_page_report_freed"] >= 100 * MIB, counted
    assert counted["inflate_count"] == 0, counted


@pytest.mark.parametrize("deflate", [True, False])
def test_out_of_memory_the_guest_takes_pages_back_if_it_may(start_vmm, tmp_path, deflate):
    guest = Guest(start_vmm, tmp_path, amount_mib=150, deflate_on_oom=deflate)
    wait_for(lambda: guest.inflated()[0] >= 150, seconds=TIMEOUT, what="the balloon")
    inflated, deflated = guest.inflated()
    # A process that wants more than there is beside the balloon.
    out = guest.run("dd if=/dev/zero of=/dev/null bs=100M count=1 2>/dev/null; echo STATUS $?")
    status = int(re.search(r"STATUS (\d+)", out)[1])
    if deflate:
        assert status == 0, out
        assert guest.inflated()[1] > deflated, (inflated, deflated)
    else:
        assert status != 0, out
        assert guest.inflated()[1] == deflated
    guest.end()
