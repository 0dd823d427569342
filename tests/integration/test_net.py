# SPDX-License-Identifier: Apache-2.0
"""Packets: from a guest through a tap and a bridge to a server in another network namespace."""
import json
import subprocess

import pytest

from conftest import sh


@pytest.fixture
def network():
    """tap -- bridge -- veth -- namespace "mote-server" (10.99.0.1/24) with an HTTP server."""
    sh("""
    ip netns add mote-server
    ip link add mtbr0 type bridge && ip link set mtbr0 up
    ip link add mtveth0 type veth peer name eth0 netns mote-server
    ip link set mtveth0 master mtbr0 up
    ip -n mote-server addr add 10.99.0.1/24 dev eth0
    ip -n mote-server link set eth0 up
    ip -n mote-server link set lo up
    ip tuntap add mttap0 mode tap vnet_hdr
    ip link set mttap0 master mtbr0 up
    """)
    servers = []
    yield servers
    for server in servers:
        server.kill()
        server.wait()
    sh("ip netns del mote-server; ip link del mtbr0; ip link del mttap0; ip link del mtveth0 2>/dev/null || true")


def serve(network, *command):
    process = subprocess.Popen(["ip", "netns", "exec", "mote-server", *command], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    network.append(process)


def wait_for_port(port):
    sh(f"for i in $(seq 200); do ip netns exec mote-server ss -Hltn 'sport = :{port}' | grep -q . && exit 0; sleep 0.05; done; exit 1")


NET = "tap=mttap0,ip=10.99.0.2/24,gw=10.99.0.1"


def test_guest_talks_to_a_server_in_another_namespace(mote, network, tmp_path):
    data = bytes(range(256)) * 8192
    (tmp_path / "file").write_bytes(data)
    serve(network, "/usr/bin/python3", "-m", "http.server", "--directory", str(tmp_path), "8000")
    wait_for_port(8000)
    result = mote("run", "--json", "--net", NET, "--", "sh", "-c",
                  "ping -c 3 -W 5 10.99.0.1 >/dev/null && echo pinged; wget -q -O - http://10.99.0.1:8000/file | md5sum; ip route")
    value = json.loads(result.out)
    lines = value["stdout"].splitlines()
    md5 = sh(f"md5sum <{tmp_path}/file").split()[0]
    assert lines[0] == "pinged", value
    assert lines[1].split()[0] == md5, value
    assert "default via 10.99.0.1 dev eth0" in value["stdout"]
    counters = value["metrics"]["net_eth0"]
    assert counters["rx_bytes_count"] > len(data) and counters["tx_packets_count"] > 10
    assert counters["rx_errors"] == counters["tx_errors"] == 0
    # Large receive: the tap hands over segments bigger than an MTU when the driver negotiated it.
    assert counters["rx_packets_count"] < len(data) / 1400


def test_guest_sends_as_well(mote, network, tmp_path):
    out = tmp_path / "received"
    serve(network, "/usr/bin/python3", "-c", f"""
import socket
listener = socket.create_server(("", 9000))
connection, _ = listener.accept()
with open({str(out)!r}, "wb") as f:
    while data := connection.recv(65536):
        f.write(data)
connection.sendall(b"got it")
""")
    wait_for_port(9000)
    result = mote("run", "--net", NET, "--", "sh", "-c", "seq 1 200000 | nc 10.99.0.1 9000")
    assert (result.status, result.out) == (0, "got it"), result
    assert out.read_text() == "".join(f"{i}\n" for i in range(1, 200001))


def test_a_flood_from_outside_does_not_wedge_the_card(mote, network):
    """UDP faster than the guest drains it while the guest does something else; then it still works."""
    serve(network, "/usr/bin/python3", "-c",
          "import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
          "while True:\n for _ in range(200):\n  try: s.sendto(b'x'*1400,('10.99.0.2',7))\n  except OSError: pass\n time.sleep(0.001)")
    result = mote("run", "--net", NET, "--", "sh", "-c",
                  "for i in 1 2 3 4 5; do ping -c 1 -W 10 10.99.0.1 >/dev/null && echo ok; sleep 1; done", timeout=300)
    assert result.out.count("ok") >= 4, result


def test_a_tap_in_use_is_refused(mote, network):
    holder = subprocess.Popen(["/usr/bin/python3", "-c", """
import fcntl, os, struct, sys
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"mttap0", 0x5002))
print("held", flush=True)
sys.stdin.read()
"""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    result = mote("run", "--net", NET, "--", "true")
    holder.communicate()
    assert result.status == 125, result
    assert 'network interface "eth0"' in result.err and "mttap0" in result.err, result
