# SPDX-License-Identifier: Apache-2.0
"""Balloon and metadata by the API, with Linux as the guest."""
from conftest import CONSOLE, KERNEL, ROOT, sh, wait_for
from test_api import boot, monitor, read_until

assert monitor  # a fixture

SHELL = CONSOLE + " quiet rootfstype=erofs init=/bin/sh"
MMDS = "http://169.254.169.254"


def type_in(vmm, text):
    vmm.process.stdin.write(text.encode() + b"\n")
    vmm.process.stdin.flush()


def boot_shell(vmm):
    """Linux with a shell on the console, and nothing that echoes."""
    vmm.client.put("/drives/root", drive_id="root", path_on_host=str(ROOT), is_root_device=True, is_read_only=True)
    boot(vmm.client, KERNEL, SHELL)
    type_in(vmm, "\n" * 32 + "stty -echo; echo REA''DY")
    read_until(vmm.process.stdout, b"READY")


def test_a_balloon_grows_and_shrinks(monitor):
    vmm = monitor()
    client = vmm.client
    client.put("/balloon", amount_mib=8, deflate_on_oom=True, stats_polling_interval_s=1, free_page_hinting=True)
    boot_shell(vmm)

    def actual():
        return client.get("/balloon/statistics")["actual_mib"]

    wait_for(lambda: actual() == 8, what="the first 8 MiB")
    client.patch("/balloon", amount_mib=40)
    assert client.get("/balloon") == {"amount_mib": 40, "deflate_on_oom": True, "stats_polling_interval_s": 1,
                                      "free_page_hinting": True, "free_page_reporting": False}
    wait_for(lambda: actual() == 40, what="40 MiB")
    stats = client.get("/balloon/statistics")
    assert stats["target_pages"] == stats["actual_pages"] == 10240 and stats["target_mib"] == 40
    wait_for(lambda: "total_memory" in client.get("/balloon/statistics"), what="the guest's statistics")
    # All that it says comes from one moment: what is free is less than what there is.
    stats = client.get("/balloon/statistics")
    assert 0 < stats["free_memory"] < stats["total_memory"] < 128 << 20
    client.patch("/balloon/statistics", stats_polling_interval_s=3600)
    assert client.get("/vm/config")["balloon"]["stats_polling_interval_s"] == 3600
    client.patch("/balloon", amount_mib=0)
    wait_for(lambda: actual() == 0, what="an empty balloon")

    assert client.get("/balloon/hinting/status")["host_cmd"] == 0
    client.do("PATCH", "/balloon/hinting/start", None)
    wait_for(lambda: client.get("/balloon/hinting/status") == {"host_cmd": 1, "guest_cmd": 0}, what="all hints")
    client.do("PATCH", "/balloon/hinting/stop", None)
    assert client.call("PATCH", "/balloon", {"amount_mib": 129}) == (
        400, "balloon: amount_mib: 129 MiB is more than the guest has (128)")
    out, err = vmm.end(stdin=b"poweroff -f\n")
    assert err == b"" and b"Call Trace" not in out


def test_the_guest_reads_its_metadata(monitor):
    """What was put before the start, and what was patched since; once it's version 2, only with a token."""
    sh("ip tuntap add mtapi0 mode tap vnet_hdr; ip link set mtapi0 up")
    try:
        for version, answer in (("V1", b"<i-1>"), ("V2", b"401 Unauthorized")):
            vmm = monitor()
            client = vmm.client
            client.put("/network-interfaces/eth0", iface_id="eth0", host_dev_name="mtapi0")
            client.put("/mmds/config", version=version, network_interfaces=["eth0"])
            client.put("/mmds", latest={"id": "i-1", "name": "x"})
            boot_shell(vmm)
            type_in(vmm, "ip addr add 169.254.0.2/16 dev eth0; ip link set eth0 up")
            type_in(vmm, f"echo \"<$(wget -q -O - {MMDS}/latest/id 2>&1)>\"")
            read_until(vmm.process.stdout, answer)
            if version == "V1":
                client.patch("/mmds", latest={"id": None, "name": "y"})
                type_in(vmm, f"echo \"<$(wget -q -O - {MMDS}/latest 2>&1)>\"; echo \"<$(wget -q -O - {MMDS}/latest/name)>\"")
                text = read_until(vmm.process.stdout, b"<y>")
                assert b"<name>" in text
            assert client.get("/mmds") == {"latest": {"name": "y"} if version == "V1" else {"id": "i-1", "name": "x"}}
            _, err = vmm.end(stdin=b"poweroff -f\n")
            assert err == b""
    finally:
        sh("ip link del mtapi0")


def test_metadata_have_a_limit(monitor):
    client = monitor("--mmds-size-limit", "20").client
    client.put("/mmds", a="0123456789ab")
    assert client.call("PATCH", "/mmds", {"b": 1}) == (413, "mmds: 26 bytes of JSON, at most 20 are allowed")
    assert client.call("PUT", "/mmds", {"a": "0123456789abc"}) == (
        413, "mmds: 21 bytes of JSON, at most 20 are allowed")
    # The connection lives on.
    assert client.get("/mmds") == {"a": "0123456789ab"}


def test_metadata_of_the_command_line(monitor, tmp_path):
    (tmp_path / "metadata").write_text('{"a": {"b": 12.12}}')
    client = monitor("--metadata", tmp_path / "metadata").client
    assert client.get("/mmds") == {"a": {"b": 12.12}}
    client.patch("/mmds", c=[1])
    assert client.get("/mmds") == {"a": {"b": 12.12}, "c": [1]}
