# SPDX-License-Identifier: Apache-2.0
"""Rate limits of a guest that runs: what the limiters counted, never how long it took."""
import hashlib
import json
import os

from conftest import TIMEOUT
from test_boot import LOSE, in_guest, root_drive, run_script

MIB = 1 << 20


def block(result, name):
    return result.metrics[f"block_{name}"]


def test_a_limited_disk_is_read_whole_and_waited_for(vmm, tmp_path):
    """A second and a half at its limit, however fast the host is; each engine."""
    data = os.urandom(4 * MIB)
    drives = []
    for name, engine in (("s", "Sync"), ("a", "Async")):
        (tmp_path / name).write_bytes(data)
        drives.append({"drive_id": name, "path_on_host": str(tmp_path / name), "is_root_device": False,
                       "is_read_only": True, "io_engine": engine,
                       "rate_limiter": {"bandwidth": {"size": 256 * 1024, "refill_time": 100}}})
    out, result = run_script(vmm, "md5sum </dev/vdb; md5sum </dev/vdc", drives=[root_drive(), *drives])
    assert [line.split()[0] for line in out] == [hashlib.md5(data).hexdigest()] * 2, result
    for name in "sa":
        counted = block(result, name)
        assert counted["read"]["bytes"] >= len(data) and counted["read"]["errors"] == 0, counted
        # Each wait ends: nothing else would have made the guest go on.
        assert counted["rate_limiter_throttled_events"] > 0, counted
        assert counted["rate_limiter_event_count"] == counted["rate_limiter_throttled_events"], counted
    assert block(result, "root")["rate_limiter_throttled_events"] == 0


def test_operations_on_disk_and_entropy_are_limited(vmm, tmp_path):
    (tmp_path / "d").write_bytes(bytes(MIB))
    drive = {"drive_id": "d", "path_on_host": str(tmp_path / "d"), "is_root_device": False,
             "cache_type": "Writeback", "rate_limiter": {"ops": {"size": 4, "refill_time": 200, "one_time_burst": 2}}}
    script = ("i=0; while [ $i -lt 30 ]; do dd if=/dev/zero of=/dev/vdb bs=512 seek=$i count=1 conv=fsync 2>/dev/null; i=$((i+1)); done\n"
              "dd if=/dev/hwrng of=/dev/null bs=16 count=60 2>/dev/null; echo $?")
    out, result = run_script(vmm, script, drives=[root_drive(), drive],
                             entropy={"rate_limiter": {"ops": {"size": 2, "refill_time": 200}}})
    assert out == ["0"], result
    counted = block(result, "d")
    # Thirty writes, and a flush behind each.
    assert counted["write"]["count"] >= 30 and counted["flush"]["count"] >= 30, counted
    assert counted["rate_limiter_throttled_events"] > 0, counted
    entropy = result.metrics["entropy"]
    assert entropy["entropy_bytes"] >= 60 * 16 and entropy["entropy_event_fails"] == 0, entropy
    assert entropy["entropy_rate_limiter_throttled"] > 0, entropy


def test_console_output_beyond_its_limit_is_dropped_and_counted(start_vmm, tmp_path):
    """Every byte that the guest sent has arrived or is counted."""
    text = LOSE + "i=0; while [ $i -lt 300 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; poweroff -f\n"
    process = start_vmm(in_guest("", metrics={"metrics_path": str(tmp_path / "metrics")}, serial={
        "rate_limiter": {"size": 1000, "refill_time": 1000000, "one_time_burst": 2000}}))
    out, err = process.communicate(text.encode(), timeout=TIMEOUT)
    assert process.returncode == 0, err
    uart = json.loads((tmp_path / "metrics").read_text().splitlines()[-1])["uart"]
    assert uart["rate_limiter_dropped_bytes"] > 300 * 40 - 3000, uart
    assert len(out) + uart["rate_limiter_dropped_bytes"] + uart["tx_drops"] == uart["write_count"], uart
    assert 3000 <= len(out) < 4000, uart
