# SPDX-License-Identifier: Apache-2.0
"""Guests that run other people's programs, as Debian packages them: iperf3, fio, curl, socat."""
import json
import re
import shutil
import subprocess

import pytest

from conftest import CONSOLE, KERNEL, busybox_tree, config, sh, wait_for

PROGRAMS = ("iperf3", "fio", "curl", "socat")
MIB = 1 << 20
INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null; mount -t tmpfs tmp /tmp
cd /tmp
ifconfig lo up; [ ! -e /sys/class/net/eth0 ] || ifconfig eth0 10.97.0.2 netmask 255.255.255.0 up
dd if=/dev/vdb bs=4096 count=1 2>/dev/null | tr -d '\\0' >script
sh script
poweroff -f
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root file system with the programs, the libraries that they name, and an init that runs the second disk."""
    directory = tmp_path_factory.mktemp("peers")
    tree, image = directory / "tree", directory / "root.erofs"
    busybox_tree(tree, "sh", "mount", "ifconfig", "route", "dd", "tr", "cat", "sed", "sleep", "md5sum", "poweroff")
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    for program in PROGRAMS:
        path = shutil.which(program)
        shutil.copy(path, tree / "bin")
        for library in re.findall(r"(/\S+) \(0x", sh(f"ldd {path}")):
            to = tree / library[1:]
            to.parent.mkdir(parents=True, exist_ok=True)
            if not to.exists():
                shutil.copy(library, to)
    sh(f"mkfs.erofs --quiet {image} {tree}; rm -r {tree}")
    yield image
    image.unlink()


@pytest.fixture
def tap():
    sh("ip tuntap add mtpeer0 mode tap vnet_hdr && ip addr add 10.97.0.1/24 dev mtpeer0 && ip link set mtpeer0 up")
    yield [{"iface_id": "eth0", "host_dev_name": "mtpeer0"}]
    sh("ip link del mtpeer0")


def guest(root, tmp_path, script, **more):
    """A configuration whose guest runs the script."""
    disk = tmp_path / "script"
    disk.write_bytes(script.encode().ljust(4096, b"\0"))
    drives = [{"drive_id": name, "path_on_host": str(path), "is_root_device": False, "is_read_only": True}
              for name, path in (("root", root), ("script", disk))]
    return config(KERNEL, f"{CONSOLE} quiet root=/dev/vda rootfstype=erofs ro init=/init", memory=256,
                  drives=drives + more.pop("drives", []), **more)


def answers(result):
    """{name: what the guest printed between [name and name]}"""
    assert result.status == 0, result
    text = result.out.replace("\r", "")
    return dict(re.findall(r"^\[(\w+)\n(.*?)\n\1\]$", text, re.S | re.M))


def test_iperf3_both_ways(vmm, root, tmp_path, tap):
    server = subprocess.Popen(["iperf3", "-s", "-B", "10.97.0.1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: sh("ss -Hltn 'sport = :5201'"), what="iperf3's port")
        result = vmm(guest(root, tmp_path, "".join(
            f"echo '[{name}'; iperf3 -c 10.97.0.1 -n 24M -J {option} | tr -d '\\n\\t'; echo; echo '{name}]'\n"
            for name, option in (("out", ""), ("in", "-R"))), network_interfaces=tap), timeout=300)
    finally:
        server.kill()
        server.wait()
    got = answers(result)
    for reply in (json.loads(got["out"]), json.loads(got["in"])):
        assert "error" not in reply, reply
        assert reply["end"]["sum_sent"]["bytes"] >= 24 * MIB
        # The client ends once it has sent them all; some are under way then.
        assert reply["end"]["sum_received"]["bytes"] >= 20 * MIB
    counters = result.metrics["net_eth0"]
    assert counters["tx_bytes_count"] > 20 * MIB and counters["rx_bytes_count"] > 20 * MIB
    assert counters["tx_fails"] == counters["rx_fails"] == 0


@pytest.mark.parametrize("engine", ["Async", "Sync"])
def test_fio_finds_what_it_wrote(vmm, root, tmp_path, engine):
    disk = tmp_path / "disk"
    with open(disk, "wb") as f:
        f.truncate(16 * MIB)
    result = vmm(guest(root, tmp_path, """
echo "[fio"; fio --name=all --filename=/dev/vdc --size=16M --rw=randwrite --bsrange=512-64k --ioengine=libaio \\
	--iodepth=16 --direct=1 --verify=crc32c --verify_fatal=1 --randrepeat=1 --thread --output-format=json |
	sed -n '/^{/,$p' | tr -d '\\n'; echo; echo "fio]"
""", drives=[{"drive_id": "disk", "path_on_host": str(disk), "is_root_device": False, "io_engine": engine,
              "cache_type": "Writeback"}]), timeout=300)
    job = json.loads(answers(result)["fio"])["jobs"][0]
    assert job["error"] == 0 and job["write"]["io_bytes"] == 16 * MIB
    assert job["read"]["io_bytes"] == 16 * MIB, "what was verified"
    # Each block begins with fio's own header: nothing of the file is left as it was.
    content = disk.read_bytes()
    assert content.count(b"\xca\xac") >= job["write"]["total_ios"] and bytes(65536) not in content


# As cloud-init's EC2 data source does: a token, the versions, then all keys below meta-data, level by level.
CRAWL = """
service=http://169.254.169.254
route add -host 169.254.169.254 dev eth0
token=$(curl -sf -X PUT $service/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600')
ask() { curl -sf -H "X-aws-ec2-metadata-token: $token" "$service/$1"; }
crawl() {
	for key in $(ask "$1"); do
		case $key in
		*/) (crawl "$1$key") ;;
		*) echo "$1$key=$(ask "$1$key")" ;;
		esac
	done
}
echo "[versions"; ask ''; echo; echo "versions]"
echo "[crawl"; crawl latest/meta-data/; echo "crawl]"
echo "[user"; ask latest/user-data; echo; echo "user]"
echo "[reused"; curl -sf -H "X-aws-ec2-metadata-token: $token" -o a -o b -w '%{http_code} %{num_connects};' \\
	$service/latest/user-data $service/latest/meta-data/hostname; cat b; echo; echo "reused]"
echo "[refused"; curl -s -o /dev/null -w '%{http_code}' $service/latest/; echo; echo "refused]"
"""
METADATA = {"latest": {"meta-data": {"instance-id": "i-0123", "hostname": "mote-1", "local-ipv4": "10.97.0.2",
                                     "placement": {"availability-zone": "here-1a"},
                                     "network": {"interfaces": {"macs": {"06:00:00:00:00:01": {"device-number": "0"}}}}},
                       "user-data": "#cloud-config\nhostname: mote-1"}}


def test_curl_reads_metadata_as_cloud_init_does(vmm, root, tmp_path, tap):
    (tmp_path / "metadata").write_text(json.dumps(METADATA))
    result = vmm(guest(root, tmp_path, CRAWL, network_interfaces=tap,
                       mmds_config={"network_interfaces": ["eth0"], "version": "V2", "imds_compat": True}),
                 "--metadata", str(tmp_path / "metadata"), timeout=300)
    got = answers(result)
    assert got["versions"] == "latest/"
    assert sorted(got["crawl"].splitlines()) == [
        "latest/meta-data/hostname=mote-1", "latest/meta-data/instance-id=i-0123",
        "latest/meta-data/local-ipv4=10.97.0.2",
        "latest/meta-data/network/interfaces/macs/06:00:00:00:00:01/device-number=0",
        "latest/meta-data/placement/availability-zone=here-1a"]
    assert got["user"] == METADATA["latest"]["user-data"]
    assert got["reused"] == "200 1;200 0;mote-1", "both over one connection"
    assert got["refused"] == "401"


@pytest.fixture
def host_socat():
    """host_socat(addresses..) starts one that ends with the test."""
    started = []
    yield lambda *addresses: started.append(subprocess.Popen(["socat", *addresses]))
    for process in started:
        process.kill()
        process.wait()


def test_socat_on_vsock_both_ways(root, tmp_path, start_vmm, host_socat):
    uds = tmp_path / "v"
    data = bytes(range(256)) * 4096
    (tmp_path / "data").write_bytes(data)
    host_socat(f"UNIX-LISTEN:{uds}_6000", f"OPEN:{tmp_path}/data")
    process = start_vmm(guest(root, tmp_path, """
echo "[got"; socat -u VSOCK-CONNECT:2:6000 - | md5sum; echo "got]"
socat VSOCK-LISTEN:5000 EXEC:cat & sleep 0.5; echo LISTENING; wait
""", vsock={"guest_cid": 3, "uds_path": str(uds)}))
    out = b""
    while b"LISTENING" not in out:
        line = process.stdout.readline()
        assert line, (out, process.stderr.read())
        out += line
    # socat says CONNECT first, as a shell user would; the answer comes before the echo.
    echo = subprocess.run(["socat", "-t", "60", "-", f"UNIX-CONNECT:{uds}"], input=b"CONNECT 5000\n" + data,
                          capture_output=True, timeout=120, check=True).stdout
    rest, err = process.communicate(timeout=120)
    assert process.returncode == 0 and err == b"", (out + rest, err)
    assert sh(f"md5sum <{tmp_path}/data").split()[0].encode() in out
    answer, echoed = echo.split(b"\n", 1)
    assert re.fullmatch(rb"OK \d+", answer) and echoed == data
