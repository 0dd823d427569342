# SPDX-License-Identifier: Apache-2.0
"""The metadata service, as a Linux guest sees it; and that its tap sees nothing of it."""
import hashlib
import json
import re
import socket
import threading

import pytest

from conftest import CONSOLE, KERNEL, busybox_tree, config, sh

SERVICE = "169.254.169.254"
LARGE = "".join(chr(ord("a") + i % 26) for i in range(20000))
DATA = {"latest": {"meta-data": {"ami-id": "ami-12345678", "cpus": 2, "tags": {"b": "1", "a": "2"}},
                   "user-data": "#!/bin/sh\necho hello"}, "large": LARGE}

# request METHOD PATH HEADER..: what is answered, byte by byte. get PATH HEADER..: by a real client.
SCRIPT = r"""#!/bin/sh
service=$(sed -n 's/.*service=\([0-9.]*\).*/\1/p' /proc/cmdline)
request() {
	how="$1 $2 HTTP/1.1\r\n"
	shift 2
	for header in "$@"; do how="$how$header\r\n"; done
	printf "${how}Connection: close\r\n\r\n" | nc "$service" 80 | tr -d "\r"
}
get() {
	path=$1
	shift
	wget -q -O - "$@" "http://$service$path" 2>/dev/null || printf failed
}
show() { name=$1; shift; echo "[$name"; "$@"; echo; echo "$name]"; }

ifconfig lo up
ifconfig eth0 169.254.1.2 netmask 255.255.0.0 up
ping -c 1 -W 10 169.254.1.1 >/dev/null && echo pinged
show root get /
show meta get /latest/meta-data/
show ami get /latest/meta-data/ami-id
show json get /latest/meta-data --header 'Accept: application/json'
show large sh -c "wget -q -O - http://$service/large 2>/dev/null | md5sum"
show bad request GET /none
show number request GET /latest/meta-data/cpus
show post request PATCH /
show nottl request PUT /latest/api/token
show proxy request PUT /latest/api/token 'X-Forwarded-For: 10.0.0.1' 'X-metadata-token-ttl-seconds: 5'
token=$(request PUT /latest/api/token 'X-metadata-token-ttl-seconds: 21600' | tail -n 1)
show token printf %s "$token"
show with get /latest/user-data --header "X-metadata-token: $token"
show ec2 get /latest/user-data --header "X-aws-ec2-metadata-token: $token"
show wrong request GET /latest/user-data "X-metadata-token: ${token}0"
i=0
while [ $i -lt 40 ]; do
	get /latest/meta-data/ami-id --header "X-metadata-token: $token" >"/tmp/$i" &
	i=$((i + 1))
done
wait
show many sh -c 'cat /tmp/* | sed "s/ami-12345678/x/g"'
show other sh -c "nc $service 81 </dev/null 2>/dev/null || printf refused"
echo done
poweroff -f
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root file system with busybox, whose init is SCRIPT."""
    directory = tmp_path_factory.mktemp("root")
    tree, image = directory / "tree", directory / "root.erofs"
    busybox_tree(tree, "sh", "mount", "ifconfig", "ping", "wget", "nc", "sed", "tail", "tr", "md5sum", "cat", "poweroff")
    (tree / "script").write_text(SCRIPT)
    (tree / "init").write_text("#!/bin/sh\nmount -t proc proc /proc\nmount -t tmpfs tmp /tmp\nexec sh /script\n")
    sh(f"chmod +x {tree}/init; mkfs.erofs --quiet {image} {tree}")
    return image


@pytest.fixture
def frames():
    """A tap with an address, and all frames that cross it, as they come."""
    sh("ip tuntap add mtmmds0 mode tap vnet_hdr && ip addr add 169.254.1.1/16 dev mtmmds0 && ip link set mtmmds0 up")
    seen = []
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    listener.bind(("mtmmds0", 0))
    listener.settimeout(0.2)
    ended = threading.Event()

    def listen():
        while not ended.is_set():
            try:
                seen.append(listener.recv(65536))
            except (TimeoutError, OSError):
                pass

    thread = threading.Thread(target=listen)
    thread.start()
    yield seen
    ended.set()
    thread.join()
    listener.close()
    sh("ip link del mtmmds0")


def run(vmm, tmp_path, root, service=SERVICE, data=None, **mmds):
    (tmp_path / "metadata.json").write_text(json.dumps(data or DATA))
    conf = config(KERNEL, f"{CONSOLE} quiet root=/dev/vda rootfstype=erofs ro init=/init service={service}",
                  drives=[{"drive_id": "root", "path_on_host": str(root), "is_root_device": False, "is_read_only": True}],
                  network_interfaces=[{"iface_id": "eth0", "host_dev_name": "mtmmds0",
                                       "guest_mac": "06:00:a9:fe:01:02"}],
                  mmds_config={"network_interfaces": ["eth0"], **mmds})
    result = vmm(conf, "--metadata", str(tmp_path / "metadata.json"), timeout=300)
    assert result.status == 0 and "\ndone" in result.out.replace("\r", ""), result
    text = result.out.replace("\r", "")
    assert "pinged" in text, result
    return result, dict((name, answer) for name, answer in re.findall(r"^\[(\w+)\n(.*?)\n\1\]$", text, re.S | re.M))


def response(status, body, more="", closed="close"):
    """A text response, without its carriage returns."""
    return (f"HTTP/1.1 {status}\nServer: mote\nConnection: {closed}\n{more}Content-Type: text/plain\n"
            f"Content-Length: {len(body)}\n\n{body}")


def assert_tap_heard_nothing(frames, service=SERVICE):
    address = socket.inet_aton(service)
    assert any(frame[12:14] == b"\x08\x00" for frame in frames), "the guest's ping"
    assert not [frame for frame in frames if address in frame[12:]]


NO_TOKEN = ("No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to specify the "
            "session token.")
NO_TTL = ("Token time to live value not found. Use `X-metadata-token-ttl-seconds` or "
          "`X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime.")


def assert_rules_of_both_versions(got):
    assert got["post"] == response("405 Method Not Allowed", "Not allowed HTTP method.", "Allow: GET, PUT\n")
    assert got["nottl"] == response("400 Bad Request", NO_TTL)
    assert got["proxy"] == response("400 Bad Request",
                                    "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For")
    assert re.fullmatch("[0-9a-f]{64}", got["token"])
    assert got["with"] == got["ec2"] == DATA["latest"]["user-data"]
    assert got["many"] == "x" * 40
    assert got["other"] == "refused"


def test_version_1(vmm, tmp_path, root, frames):
    result, got = run(vmm, tmp_path, root)
    assert got["root"] == "large\nlatest/"
    assert got["meta"] == "ami-id\ncpus\ntags/"
    assert got["ami"] == "ami-12345678"
    assert got["json"] == '{"ami-id":"ami-12345678","cpus":2,"tags":{"a":"2","b":"1"}}'
    assert got["large"].split()[0] == hashlib.md5(LARGE.encode()).hexdigest()
    assert got["bad"] == response("404 Not Found", "Resource not found: /none.")
    assert got["number"] == response("501 Not Implemented",
                                     "Cannot retrieve value. The value has an unsupported type.")
    assert got["wrong"] == response("200 OK", DATA["latest"]["user-data"])
    assert_rules_of_both_versions(got)
    assert_tap_heard_nothing(frames)
    counters = result.metrics["mmds"]
    assert counters["rx_no_token"] == 7 and counters["rx_invalid_token"] == 1
    assert counters["connections_created"] >= 14 + 40
    assert counters["rx_accepted"] == counters["rx_count"] + counters["rx_accepted_unusual"] + 1, "one ARP request"
    assert counters["rx_accepted_err"] == counters["rx_bad_eth"] == counters["tx_errors"] == 0
    assert counters["tx_bytes"] > len(LARGE)


def test_version_2_at_another_address_in_ec2s_format(vmm, tmp_path, root, frames):
    service = "169.254.170.2"
    result, got = run(vmm, tmp_path, root, service, version="V2", ipv4_address=service, imds_compat=True)
    assert got["root"] == got["meta"] == got["ami"] == got["json"] == "failed"
    assert got["large"].split()[0] == hashlib.md5(b"").hexdigest()
    assert got["bad"] == got["number"] == response("401 Unauthorized", NO_TOKEN)
    assert got["wrong"] == response("401 Unauthorized", "MMDS token not valid.")
    assert_rules_of_both_versions(got)
    assert_tap_heard_nothing(frames, service)
    assert result.metrics["mmds"]["rx_no_token"] == 7
    assert result.metrics["mmds"]["rx_invalid_token"] == 1
