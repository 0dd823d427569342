# SPDX-License-Identifier: Apache-2.0
"""The API with the real monitor: state rules and what each request answers, guests that are booted, paused,
resumed and shut down over it, in a jail and without. Tables of requests: api_cases.py."""
import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
import requests_unixsocket

from conftest import BUILD, CONSOLE, INITRD, KERNEL, ROOT, TIMEOUT, Result, config, wait_for

GUESTS = BUILD / "guests"
INIT = CONSOLE + " quiet root=/dev/vda rootfstype=erofs ro init=/bin/sh"
POST = "The requested operation is not supported after starting the microVM."
PRE = "The requested operation is not supported before starting the microVM."


class Client:
    """requests on a Unix socket."""

    def __init__(self, path):
        self.url = "http+unix://" + str(path).replace("/", "%2F")
        self.session = requests_unixsocket.Session()

    def call(self, method, path, body=None):
        """(status, fault message or body)"""
        data = body if isinstance(body, (str, bytes, type(None))) else json.dumps(body)
        answer = self.session.request(method, self.url + path, data=data, timeout=TIMEOUT)
        if answer.status_code == 204:
            assert answer.content == b""
            return 204, None
        assert answer.headers["Content-Type"] == "application/json"
        if answer.status_code == 200:
            return 200, answer.json()
        assert list(answer.json()) == ["fault_message"]
        return answer.status_code, answer.json()["fault_message"]

    def get(self, path):
        status, body = self.call("GET", path)
        assert status == 200, body
        return body

    def do(self, method, path, body):
        assert self.call(method, path, body) == (204, None)

    def put(self, path, **body):
        self.do("PUT", path, body)

    def patch(self, path, **body):
        self.do("PATCH", path, body)

    def act(self, action):
        self.put("/actions", action_type=action)

    @property
    def state(self):
        return self.get("/")["state"]


class Monitor:
    """A mote-vmm with an API, started, and its client."""

    def __init__(self, directory, *arguments, command=None, path=None, **options):
        self.path = path or directory / "api.socket"
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = command or [BUILD / "mote-vmm", "--api-sock", self.path, *arguments]
        self.process = subprocess.Popen([str(word) for word in command], **options)
        wait_for(lambda: self.path.exists() or self.process.poll() is not None, what="the socket")
        self.client = Client(self.path)

    def end(self, status=0, stdin=None):
        out, err = self.process.communicate(stdin, timeout=2 * TIMEOUT)
        assert self.process.returncode == status, (self.process.returncode, out, err)
        assert not self.path.exists()
        return out, err


@pytest.fixture
def monitor(tmp_path):
    """monitor(*arguments) -> Monitor; killed at the end of the test."""
    started = []

    def start(*arguments, **options):
        started.append(Monitor(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def boot(client, kernel, args="x", **machine):
    client.put("/boot-source", kernel_image_path=str(kernel), boot_args=args)
    if machine:
        client.put("/machine-config", **{"vcpu_count": 1, "mem_size_mib": 128, **machine})
    client.act("InstanceStart")


# ---- the life of a microVM ----

def test_a_guest_is_configured_and_booted_request_by_request(monitor, tmp_path):
    vmm = monitor("--id", "vm-1", "--log-path", tmp_path / "log", "--level", "Info")
    client = vmm.client
    assert client.get("/") == {"app_name": "mote", "id": "vm-1", "state": "Not started", "vmm_version": "0.1.0"}
    client.put("/boot-source", kernel_image_path=str(KERNEL), boot_args=INIT)
    client.put("/machine-config", vcpu_count=2, mem_size_mib=256)
    client.put("/drives/root", drive_id="root", path_on_host=str(ROOT), is_root_device=False, is_read_only=True)
    client.put("/metrics", metrics_path=str(tmp_path / "metrics"))
    client.put("/entropy")
    client.put("/vsock", guest_cid=3, uds_path=str(tmp_path / "v"))
    client.act("InstanceStart")
    assert client.state == "Running"

    out, err = vmm.end(stdin=b"\n" * 32 + b"stty -echo; echo CPUS=$(nproc); poweroff -f\n")
    assert b"CPUS=2" in out and err == b""
    lines = (tmp_path / "log").read_text()
    assert "API server started." in lines
    assert 'The API server received a Put request on "/actions" with body "{\\"action_type\\": ' \
           '\\"InstanceStart\\"}".' in lines
    assert lines.count("Total previous API call duration: ") == 9
    assert json.loads((tmp_path / "metrics").read_text())["vcpu"]["runs"] > 0
    assert not (tmp_path / "v").exists()


def test_a_paused_guest_stands_still(monitor):
    """Its processor time stops, and goes on."""
    vmm = monitor()
    boot(vmm.client, GUESTS / "spin.elf", vcpu_count=2)
    ticks = lambda: sum(map(int, Path(f"/proc/{vmm.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    before = ticks()
    wait_for(lambda: ticks() > before + 5, what="the guest's work")

    for _ in range(3):
        vmm.client.patch("/vm", state="Paused")
        assert vmm.client.state == "Paused"
        vmm.client.patch("/vm", state="Paused")
        still = ticks()
        time.sleep(0.3)
        assert ticks() <= still + 2         # of our own requests
        vmm.client.patch("/vm", state="Resumed")
        assert vmm.client.state == "Running"
        vmm.client.patch("/vm", state="Resumed")
        wait_for(lambda: ticks() > still + 5, what="the guest's work")
    vmm.process.send_signal(signal.SIGTERM)
    vmm.end(143)


def test_linux_is_paused_resumed_and_shut_down_by_ctrl_alt_del(monitor):
    """init=/bin/sh doesn't catch the signal of ctrl-alt-del: the kernel reboots at once."""
    vmm = monitor()
    client = vmm.client
    client.put("/drives/root", drive_id="root", path_on_host=str(ROOT), is_root_device=True, is_read_only=True)
    boot(client, KERNEL, CONSOLE + " quiet rootfstype=erofs init=/bin/sh")
    vmm.process.stdin.write(b"\n" * 32 + b"stty -echo; echo RUN''NING\n")
    vmm.process.stdin.flush()
    text = b""
    while b"RUNNING" not in text:
        text += os.read(vmm.process.stdout.fileno(), 65536)
    client.patch("/vm", state="Paused")
    vmm.process.stdin.write(b"echo MO''RE\n")
    vmm.process.stdin.flush()
    time.sleep(0.5)
    client.patch("/vm", state="Resumed")
    while b"MORE" not in text:
        text += os.read(vmm.process.stdout.fileno(), 65536)
    client.act("SendCtrlAltDel")
    out, err = vmm.end()
    assert err == b""


def test_a_config_file_and_an_api(monitor, tmp_path):
    path = tmp_path / "vm.json"
    path.write_text(json.dumps(config(GUESTS / "spin.elf", "x", cpus=2)))
    vmm = monitor("--config-file", path)
    wait_for(lambda: vmm.client.state == "Running", what="the guest")
    assert vmm.client.get("/machine-config")["vcpu_count"] == 2
    assert vmm.client.call("PUT", "/actions", {"action_type": "InstanceStart"}) == (400, POST)
    vmm.process.send_signal(signal.SIGINT)
    vmm.end(130)


def test_a_start_that_fails_can_be_repeated(monitor, tmp_path):
    vmm = monitor()
    client = vmm.client
    no_kernel = tmp_path / "kernel"
    no_kernel.write_text("no kernel")
    client.put("/entropy")
    client.put("/vsock", guest_cid=3, uds_path=str(tmp_path / "v"))
    fds = lambda: len(os.listdir(f"/proc/{vmm.process.pid}/fd"))
    before = fds()
    client.put("/boot-source", kernel_image_path=str(no_kernel))
    for _ in range(3):
        assert client.call("PUT", "/actions", {"action_type": "InstanceStart"}) == (
            400, f'boot-source: kernel "{no_kernel}": neither an ELF executable nor a bzImage')
        assert client.state == "Not started"
        assert fds() == before
    boot(client, GUESTS / "reset.elf")
    vmm.end()


# ---- the socket ----

def test_an_existing_path_is_refused_and_stays(tmp_path):
    path = tmp_path / "api.socket"
    path.write_text("mine")
    result = subprocess.run([BUILD / "mote-vmm", "--api-sock", path], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 1
    assert result.stderr == f'mote-vmm: API: bind "{path}": Address already in use\n'
    assert path.read_text() == "mine"


def test_a_path_that_is_too_long(tmp_path):
    path = tmp_path / ("x" * 108)
    result = subprocess.run([BUILD / "mote-vmm", "--api-sock", path], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 1
    assert result.stderr == (f'mote-vmm: API: "{path}" has {len(str(path))} bytes, more than the 107 of a '
                             "socket's path\n")


def test_what_somebody_put_in_its_place_stays(monitor):
    vmm = monitor()
    vmm.path.unlink()
    vmm.path.write_text("mine")
    vmm.process.send_signal(signal.SIGTERM)
    assert vmm.process.wait(TIMEOUT) == 143
    assert vmm.path.read_text() == "mine"


@pytest.mark.parametrize("umask,mode", [(0o022, 0o640), (0o007, 0o660), (0, 0o660), (0o077, 0o600)])
def test_the_socket_is_never_for_others(monitor, umask, mode):
    vmm = monitor(preexec_fn=lambda: os.umask(umask))
    assert stat.S_IMODE(vmm.path.stat().st_mode) == mode


# ---- clients that aren't nice ----

def raw(path, data=b""):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(TIMEOUT)
    s.connect(str(path))
    s.sendall(data)
    return s


def test_half_requests_and_full_house(monitor):
    """16 half-written requests: no more come in, until they time out. The guest's owner isn't locked out then."""
    vmm = monitor()
    stuck = [raw(vmm.path, b"GET / HT") for _ in range(16)]
    time.sleep(0.2)
    with raw(vmm.path, b"GET / HTTP/1.1\r\n\r\n") as s:
        assert s.recv(4096).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    for s in stuck:
        assert s.recv(4096).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert s.recv(1) == b""
        s.close()
    assert vmm.client.state == "Not started"


def test_the_longest_idle_client_makes_room(monitor):
    vmm = monitor()
    idle = [raw(vmm.path, b"GET / HTTP/1.1\r\n\r\n") for _ in range(16)]
    for s in idle:
        assert s.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
    assert vmm.client.state == "Not started"
    assert idle[0].recv(1) == b""
    idle[1].sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert idle[1].recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_reads_nothing_stalls_nobody(monitor):
    vmm = monitor()
    deaf = raw(vmm.path)
    deaf.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            deaf.send(b"GET /vm/config HTTP/1.1\r\n\r\n" * 100)
    for _ in range(20):
        assert vmm.client.state == "Not started"
    rss = int(Path(f"/proc/{vmm.process.pid}/statm").read_text().split()[1]) * 4
    assert rss < 8 << 10
    deaf.close()
    assert vmm.client.state == "Not started"


def curl(path, *arguments):
    return subprocess.run(["curl", "-s", "-S", "--unix-socket", str(path), *arguments], capture_output=True,
                          text=True, timeout=TIMEOUT, check=False)


def test_curl(monitor):
    vmm = monitor("--http-api-max-payload-size", "2000")
    url = "http://localhost"
    status = ["-o", "/dev/null", "-w", "%{http_code} "]
    assert json.loads(curl(vmm.path, url + "/version").stdout) == {"firecracker_version": "1.16.1",
                                                                  "mote_version": "0.1.0"}
    # Two requests on one connection.
    both = curl(vmm.path, *status, url + "/", "--next", "--unix-socket", vmm.path, *status, url + "/machine-config")
    assert both.stdout == "200 200 "
    # Chunked, and with 100-continue, which curl waits for before it sends a large body.
    body = json.dumps({"vcpu_count": 2, "mem_size_mib": 64})
    assert curl(vmm.path, *status, "-X", "PUT", "-H", "Transfer-Encoding: chunked", "-d", body,
                url + "/machine-config").stdout == "204 "
    assert curl(vmm.path, *status, "-X", "PUT", "-H", "Expect: 100-continue", "-d", body + " " * 1900,
                url + "/machine-config").stdout == "204 "
    answer = curl(vmm.path, "-X", "PUT", "-d", " " * 60000, url + "/machine-config")
    assert json.loads(answer.stdout) == {"fault_message": "The request's body is larger than 2000 bytes."}
    assert curl(vmm.path, *status, "--http2", url + "/").stdout == "200 "
    assert curl(vmm.path, *status, "--http1.0", url + "/").stdout == "200 "
