# SPDX-License-Identifier: Apache-2.0
"""The API with the real monitor: state rules and what each request answers, guests that are booted, paused,
resumed and shut down over it, in a jail and without. Tables of requests: api_cases.py."""
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest
import requests_unixsocket
import yaml

from api_cases import AFTER, BEFORE, MISSING, POST
from conftest import BUILD, CONSOLE, KERNEL, ROOT, TIMEOUT, config, wait_for
from jailing import GID, UID, world

assert world    # a fixture

GUESTS = BUILD / "guests"
INIT = CONSOLE + " quiet root=/dev/vda rootfstype=erofs ro init=/bin/sh"


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
        elif not one.process.stderr.closed:     # ended when nobody asked it to: pytest shows this beside the failure
            print("mote-vmm ended:", one.process.returncode, one.process.stderr.read())


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


def read_until(stream, mark):
    """What the process writes, up to the mark and a little more."""
    text, end = b"", time.monotonic() + 2 * TIMEOUT
    while mark not in text:
        assert select.select([stream], [], [], max(0, end - time.monotonic()))[0], text
        data = os.read(stream.fileno(), 65536)
        assert data, text
        text += data
    return text


def test_linux_goes_on_after_a_pause(monitor):
    """Its shell answers what was typed while it stood still; its clock is told of the gap."""
    vmm = monitor()
    client, stdin, stdout = vmm.client, vmm.process.stdin, vmm.process.stdout
    client.put("/drives/root", drive_id="root", path_on_host=str(ROOT), is_root_device=True, is_read_only=True)
    boot(client, KERNEL, CONSOLE + " quiet rootfstype=erofs init=/bin/sh")
    stdin.write(b"\n" * 32 + b"stty -echo; echo RUN''NING\n")
    stdin.flush()
    read_until(stdout, b"RUNNING")
    client.patch("/vm", state="Paused")
    stdin.write(b"echo MO''RE\n")
    stdin.flush()
    time.sleep(0.5)
    client.patch("/vm", state="Resumed")
    read_until(stdout, b"MORE")
    out, err = vmm.end(stdin=b"poweroff -f\n")
    assert err == b""


def test_ctrl_alt_del_reaches_the_guest(monitor):
    vmm = monitor()
    boot(vmm.client, GUESTS / "keyboard.elf")
    vmm.client.act("SendCtrlAltDel")
    assert vmm.end() == (b"\x1d\x38\xe0\x53", b"")


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
    counts = set()
    client.put("/boot-source", kernel_image_path=str(no_kernel))
    for _ in range(4):
        assert client.call("PUT", "/actions", {"action_type": "InstanceStart"}) == (
            400, f'boot-source: kernel "{no_kernel}": neither an ELF executable nor a bzImage')
        assert client.state == "Not started"
        counts.add(fds())
    assert len(counts) == 1     # the client keeps a connection for each path
    boot(client, GUESTS / "reset.elf")
    vmm.end()


# ---- what is refused ----

def wrong_answers(client, cases):
    return [(method, path, body, got) for method, path, body, message in cases
            if (got := client.call(method, path, body)) != (400, message)]


def missing_cases():
    return [(method, path, None if method in ("GET", "DELETE") else {},
             f"{what} not supported by this version yet.") for what, routes in MISSING.items()
            for method, path in routes]


def test_bad_requests_before_the_start(monitor):
    client = monitor().client
    before = client.get("/vm/config")
    assert wrong_answers(client, BEFORE) == []
    assert wrong_answers(client, missing_cases()) == []
    assert client.get("/vm/config") == before
    assert client.state == "Not started"


def test_bad_requests_after_the_start(monitor):
    client = monitor().client
    boot(client, GUESTS / "spin.elf")
    before = client.get("/vm/config")
    assert wrong_answers(client, AFTER) == []
    assert wrong_answers(client, missing_cases()) == []
    assert client.get("/vm/config") == before
    assert client.state == "Running"


WRONG = {"string": 1, "integer": "x", "boolean": "x", "object": 1, "array": 1}


def bodies_of_the_description():
    """(method, path, keys, required keys) of each request before the start whose body openapi.yaml describes."""
    api = yaml.safe_load((Path(__file__).resolve().parents[2] / "vmm/api/openapi.yaml").read_text())
    schemas = api["components"]["schemas"]

    def resolved(schema):
        return schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema

    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation and operation["x-when"] != "after-start":
                schema = resolved(operation["requestBody"]["content"]["application/json"]["schema"])
                keys = {key: resolved(value)["type"] for key, value in schema["properties"].items()}
                yield method.upper(), path, keys, schema.get("required", [])


def test_the_description_names_the_keys_that_the_monitor_takes(monitor):
    """Keys are taken in order, and each with a wrong type is refused for its type, not as unknown."""
    client = monitor().client
    for method, path, keys, required in bodies_of_the_description():
        path = path.replace("{id}", "a")
        for key, kind in keys.items():
            status, message = client.call(method, path, {key: WRONG[kind]})
            assert status == 400 and f"{key}: " in message and "unknown" not in message, (path, key, message)
        for key in required:
            status, message = client.call(method, path, {} if method == "PUT" else {"x": 1})
            assert status == 400 and f'missing key "{required[0]}"' in message, (path, key, message)


def test_there_are_enough_cases_and_each_is_a_different_one():
    for cases in (BEFORE, AFTER):
        assert len({repr(case) for case in cases}) == len(cases)
    assert len(BEFORE) + len(AFTER) + len(missing_cases()) >= 200


# ---- metadata ----

def test_metadata(monitor):
    client = monitor("--mmds-size-limit", "40").client
    assert client.get("/mmds") == {}
    assert client.call("PATCH", "/mmds", {"a": 1}) == (400, "mmds: nothing to patch: the store is empty")
    client.put("/mmds", b={"c": "x", "d": 1}, a=[1, 2])
    assert client.get("/mmds") == {"a": [1, 2], "b": {"c": "x", "d": 1}}
    client.patch("/mmds", b={"c": None, "e": 2}, a=None)
    assert client.get("/mmds") == {"b": {"d": 1, "e": 2}}
    too_much = {"a": "x" * 33}      # 41 bytes of JSON
    for method in ("PUT", "PATCH"):
        status, message = client.call(method, "/mmds", too_much)
        assert status == 413 and message.endswith("bytes of JSON, at most 40 are allowed"), (status, message)
    assert client.get("/mmds") == {"b": {"d": 1, "e": 2}}
    client.put("/mmds", a="x" * 32)
    assert client.get("/mmds") == {"a": "x" * 32}


def test_where_metadata_can_be_read(monitor):
    client = monitor().client
    assert client.get("/vm/config")["mmds-config"] is None
    assert client.call("PUT", "/mmds/config", {"network_interfaces": ["eth0"]}) == (
        400, 'mmds-config: network_interfaces[0]: no network interface is called "eth0"')
    client.put("/network-interfaces/eth0", iface_id="eth0", host_dev_name="tap0")
    client.put("/mmds/config", network_interfaces=["eth0"])
    assert client.get("/vm/config")["mmds-config"] == {
        "version": "V1", "network_interfaces": ["eth0"], "ipv4_address": "169.254.169.254", "imds_compat": False}
    client.put("/mmds/config", network_interfaces=["eth0"], version="V2", ipv4_address="169.254.170.2",
               imds_compat=True)
    assert client.get("/vm/config")["mmds-config"] == {
        "version": "V2", "network_interfaces": ["eth0"], "ipv4_address": "169.254.170.2", "imds_compat": True}


# ---- limits, log, metrics ----

def test_rate_limits_change_while_the_guest_runs(monitor, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    client = monitor().client
    client.put("/drives/d", drive_id="d", path_on_host=str(disk), is_root_device=False)
    boot(client, GUESTS / "spin.elf")
    for size in (1000, 0, 2000):
        bucket = {"size": size, "one_time_burst": 0, "refill_time": 100}
        client.patch("/drives/d", drive_id="d", rate_limiter={"bandwidth": bucket})
        assert client.get("/vm/config")["drives"][0]["rate_limiter"] == {"bandwidth": bucket}


def test_linux_sees_that_its_disk_has_grown(monitor, tmp_path):
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    vmm = monitor()
    client = vmm.client
    client.put("/drives/root", drive_id="root", path_on_host=str(ROOT), is_root_device=True, is_read_only=True)
    client.put("/drives/d", drive_id="d", path_on_host=str(disk), is_root_device=False)
    boot(client, KERNEL, CONSOLE + " quiet rootfstype=erofs init=/bin/sh")
    stdin = vmm.process.stdin
    stdin.write(b"\n" * 32 + b"stty -echo; mount -t sysfs s /sys; echo WAS=$(cat /sys/block/vdb/size)\n")
    stdin.flush()
    assert b"WAS=2048" in read_until(vmm.process.stdout, b"WAS=2048")
    os.truncate(disk, 3 << 20)
    client.patch("/drives/d", drive_id="d", path_on_host=str(disk))
    stdin.write(b"while [ $(cat /sys/block/vdb/size) = 2048 ]; do :; done; echo IS=$(cat /sys/block/vdb/size)\n")
    stdin.flush()
    read_until(vmm.process.stdout, b"IS=6144")
    os.truncate(disk, 0)
    assert client.call("PATCH", "/drives/d", {"drive_id": "d", "path_on_host": str(disk)}) == (
        400, f'drive "d": "{disk}" is empty')
    vmm.end(stdin=b"poweroff -f\n")


def test_a_fifo_without_a_reader_stalls_nothing(monitor, tmp_path):
    """Log and metrics lines are lost, and counted; the first reader sees the count."""
    log, metrics = tmp_path / "log", tmp_path / "metrics"
    os.mkfifo(log)
    os.mkfifo(metrics)
    client = monitor().client
    client.put("/logger", log_path=str(log), level="Info")
    client.put("/metrics", metrics_path=str(metrics), emit_id=True)
    boot(client, GUESTS / "spin.elf")
    for _ in range(300):    # more than a pipe holds of either
        client.act("FlushMetrics")
    assert client.state == "Running"
    fd = os.open(metrics, os.O_RDONLY | os.O_NONBLOCK)
    while select.select([fd], [], [], 0)[0] and len(os.read(fd, 1 << 20)) > 0:
        pass
    client.act("FlushMetrics")
    client.act("FlushMetrics")
    lines = os.read(fd, 1 << 20).decode().splitlines()
    os.close(fd)
    last = json.loads(lines[-1])
    assert last["id"] == "anonymous-instance"
    assert last["logger"]["missed_metrics_count"] > 0
    assert last["logger"]["missed_log_count"] > 0


def test_metrics_and_log_of_the_command_line(monitor, tmp_path):
    vmm = monitor("--log-path", tmp_path / "log", "--level", "Info", "--metrics-path", tmp_path / "metrics")
    assert vmm.client.call("PUT", "/metrics", {"metrics_path": "m"}) == (400, "metrics: already open")
    assert vmm.client.get("/vm/config")["metrics"] == {"metrics_path": str(tmp_path / "metrics"), "emit_id": False}
    vmm.client.put("/logger", log_path=str(tmp_path / "other"), level="Info")
    boot(vmm.client, GUESTS / "reset.elf")
    vmm.end()
    assert "InstanceStart" not in (tmp_path / "log").read_text()
    assert "InstanceStart" in (tmp_path / "other").read_text()
    assert json.loads((tmp_path / "metrics").read_text())["stages"]["running_ns"] > 0


def test_log_of_a_module_and_metrics_with_properties(monitor, tmp_path):
    vmm = monitor("--id", "vm-1")
    vmm.client.put("/logger", log_path=str(tmp_path / "log"), level="Info", module="vmm/api", show_log_origin=True)
    vmm.client.put("/metrics", metrics_path=str(tmp_path / "metrics"), emit_id=True, properties={"rack": "7", "b": ""})
    assert vmm.client.get("/vm/config")["logger"]["module"] == "vmm/api"
    boot(vmm.client, GUESTS / "reset.elf")
    vmm.end()
    log = (tmp_path / "log").read_text()
    assert "InstanceStart" in log and "guest reset the machine" not in log
    line = json.loads((tmp_path / "metrics").read_text())
    assert (line["id"], line["properties"]) == ("vm-1", {"rack": "7", "b": ""})


# ---- in a jail ----

def test_in_a_jail(world, tmp_path):
    """The API's socket lies in the jail's root, which its user can write; nothing of it stays."""
    world.probe = world.install(BUILD / "mote-vmm")
    root = world.base / "mote-vmm/a/root"
    root.mkdir(parents=True)
    os.chown(root, UID, GID)
    shutil.copy(GUESTS / "keyboard.elf", root / "guest.elf")
    vmm = Monitor(root, command=world.command(args=["--api-sock", "/api.socket"]))
    world.started.append(vmm.process)
    st = vmm.path.stat()
    assert (st.st_uid, st.st_gid) == (UID, GID)
    boot(vmm.client, "/guest.elf")
    vmm.client.patch("/vm", state="Paused")
    assert vmm.client.state == "Paused"
    vmm.client.patch("/vm", state="Resumed")
    vmm.client.act("SendCtrlAltDel")
    out, err = vmm.end()
    assert (out, err) == (b"\x1d\x38\xe0\x53", b"")


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
    if data:    # even nothing can't be sent to who has hung up
        s.sendall(data)
    return s


def unread(s):
    """Bytes that the monitor hasn't taken yet."""
    return struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]


def test_half_requests_and_full_house(monitor):
    """16 half-written requests: no more come in, until they time out. The guest's owner isn't locked out then."""
    vmm = monitor()
    stuck = [raw(vmm.path, b"GET / HT") for _ in range(16)]
    wait_for(lambda: not any(unread(s) for s in stuck))
    with raw(vmm.path) as s:    # turned away before it asks for anything
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
