# SPDX-License-Identifier: Apache-2.0
"""random_requests.py against the monitor without a guest: it lives, and what it has doesn't grow.

Short by itself. As long as wanted, with figures: MOTE_RANDOM_SECONDS=600 and pytest -s; MOTE_RANDOM_SEED repeats what
the same seed asked. With a sanitized monitor in the build, it is used too."""
import os
import random
import re
import signal

import pytest

from conftest import BUILD, TIMEOUT
from random_requests import Storm, usage
from test_api import monitor

assert monitor    # a fixture

SEED = int(os.environ.get("MOTE_RANDOM_SEED", random.randrange(1 << 32)))
SECONDS = float(os.environ.get("MOTE_RANDOM_SECONDS", 0))
VARIANTS = ["mote-vmm"] + (["mote-vmm-asan"] if (BUILD / "mote-vmm-asan").exists() else [])
SANITIZER = {"ASAN_OPTIONS": "quarantine_size_mb=1:detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
WARM_UP = 300   # turns
# Clients come and go: 16 of them. Where a sanitizer allocates, it says at the end what was lost.
GROWTH = {"mote-vmm": {"fds": 20, "mappings": 20, "heap_kib": 2048}, "mote-vmm-asan": {"fds": 20}}


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
    one.run(turns=None if SECONDS else 1200, seconds=SECONDS or None)
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
