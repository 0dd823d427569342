# SPDX-License-Identifier: Apache-2.0
"""Requests by chance, of which some are right: made from openapi.yaml and changed at random, whole, in pieces,
several at once, or never finished, from several clients. What is asked completely must be answered properly.
test_random_requests.py runs it."""
import json
import os
import random
import socket
import sys
import time
from pathlib import Path

import yaml

API = yaml.safe_load((Path(__file__).resolve().parents[2] / "vmm/api/openapi.yaml").read_text())
SCHEMAS = API["components"]["schemas"]
sys.setrecursionlimit(10000)    # metadata that were taken come back, however deep

METHODS = ["GET", "PUT", "PATCH", "DELETE", "POST", "OPTIONS"]
BODY_MAX = 51200        # the monitor's default
CLIENTS = 5
STUCK_MAX = 4           # half requests that are left lying, at a time
PATIENCE = 120          # seconds for one answer: only matters when something hangs
NAMES = ["a", "d", "b_1", "eth0", "x" * 64, "x" * 65, "..", "a-b", "%41", "a?q=1", ""]
ODD = [None, True, -1, 0, 1.5, 1e300, 1 << 31, (1 << 63) - 1, -(1 << 63), "", "x", "\u00e9\U0001f600", [], [[]], {},
       {"a": None}, "x" * 5000]


def resolved(schema):
    return SCHEMAS[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


OPERATIONS = [
    (method.upper(), path, operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema"))
    for path, operations in API["paths"].items() for method, operation in operations.items() if method != "parameters"]


class Requests:
    """A source of requests. files: a directory that requests may name files of, and make files in."""

    def __init__(self, seed, files):
        self.random = random.Random(seed)
        (files / "empty").touch()
        (files / "text").write_text("no kernel, and no whole number of sectors")
        (files / "disk").write_bytes(bytes(1 << 16))
        inputs = [str(files / name) for name in ("empty", "text", "disk", "none", "")] + ["/dev/null", "/dev/fd/99", "x"]
        outputs = [str(files / "out"), "/dev/null", "/dev/full", str(files / "none/out"), str(files)]
        # Values that mean something; nothing among them that boots or that takes a guest's memory.
        self.meant = {
            "kernel_image_path": inputs, "initrd_path": inputs, "path_on_host": inputs, "log_path": outputs,
            "metrics_path": outputs, "serial_out_path": outputs, "uds_path": [str(files / "v"), "v" * 200],
            "host_dev_name": ["tap0", "lo", "/dev/fd/99", "t" * 16], "guest_mac": ["06:00:ac:10:00:02", "ff:ff:ff:ff:ff:ff"],
            "drive_id": ["a", "d", "b_1"], "iface_id": ["a", "eth0"], "partuuid": ["1234-01", "a b"],
            "vcpu_count": [1, 2, 3, 32, 33], "mem_size_mib": [1, 64, 128, 3, 1 << 20], "amount_mib": [0, 1, 16, 64, 1 << 20],
            "ipv4_address": ["169.254.169.254", "169.254.1.1", "10.0.0.1"], "fd": [99], "guest_ports": [[], [{"port": 1}]],
        }

    def chance(self, share):
        return self.random.random() < share

    def value(self, key, schema):
        """Of the kind that the description asks for, most of the time."""
        schema, r = resolved(schema), self.random
        if self.chance(0.06):
            return r.choice(ODD)
        if key in self.meant:
            return r.choice(self.meant[key])
        if "enum" in schema:
            return r.choice([*schema["enum"], "None"])
        kind = schema.get("type")
        if kind == "object":
            return self.object(schema)
        if kind == "array":
            return [self.value(None, schema.get("items", {})) for _ in range(r.randrange(3))]
        if kind == "integer":
            low, high = schema.get("minimum", 0), schema.get("maximum", 1 << 40)
            return r.choice([low, high, r.randint(low, high), low + 1, low - 1, high + 1])
        return self.chance(0.5) if kind == "boolean" else r.choice(["", "a", "eth0", "text with spaces", "\n", "x" * 300])

    def object(self, schema):
        properties, required = schema.get("properties", {}), schema.get("required", [])
        result = {key: self.value(key, inner) for key, inner in properties.items()
                  if self.chance(0.95 if key in required else 0.4)}
        if not properties or self.chance(0.05):
            result[self.random.choice(["a", "latest", "bogus", "x" * 200])] = self.random.choice(ODD)
        return result

    def body(self, schema, path):
        """Bytes, or None: there is none."""
        r = self.random
        if schema is None:
            return None if self.chance(0.8) else b"{}"
        if self.chance(0.03):
            return None
        value = self.object(resolved(schema))
        name = path.rsplit("/", 1)[1]
        for key in ("drive_id", "iface_id"):    # else they hardly ever agree
            if key in value and self.chance(0.8):
                value[key] = name
        text = json.dumps(value, ensure_ascii=self.chance(0.5)).encode()
        if self.chance(0.1):
            text = r.choice([
                text[:r.randrange(len(text))], text + b"}", text.replace(b":", b"::", 1), b"[" * 2000, b"[1]", b"null", b"7",
                b'{"a": 1, "a": 2}', b'{"a": "\\u0000"}', b"{\"a\": \"\xff\xfe\"}", b"\0", b" " * 3000, text + b" " * 500,
                b'{"x": ' * 1500 + b"1" + b"}" * 1500])
        return text or None

    def clean(self):
        """A request that is HTTP, and leaves the connection open."""
        r = self.random
        method, path, schema = r.choice(OPERATIONS)
        path = path.replace("{id}", r.choice(NAMES))
        if self.chance(0.05):
            method = r.choice(METHODS)
        if self.chance(0.03):
            path = r.choice(["/nope", "//", path + "/", path + "?x=y", "/" + "p" * 900])
        return self.bytes(method, path, self.body(schema, path))

    def bytes(self, method, path, body):
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
        if self.chance(0.3):
            head += "Accept: application/json\r\nContent-Type: application/json\r\nX-Odd:\r\n"
        if body is None:
            return head.encode() + (b"Content-Length: 0\r\n\r\n" if self.chance(0.2) else b"\r\n")
        if self.chance(0.05):
            head += "Expect: 100-continue\r\n"
        if self.chance(0.15):
            return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + self.chunks(body)
        return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body

    def chunks(self, body):
        out = b""
        while body:
            n = self.random.randint(1, len(body))
            out += f"{n:x}\r\n".encode() + body[:n] + b"\r\n"
            body = body[n:]
        return out + b"0\r\n\r\n"

    def dirty(self):
        """Something that may be no HTTP, or not all of it."""
        r = self.random
        whole = bytearray(self.clean())
        kind = r.randrange(6)
        if kind == 0:
            for _ in range(r.randint(1, 8)):
                whole[r.randrange(len(whole))] = r.randrange(256)
        elif kind == 1:
            whole = whole[:r.randrange(len(whole))]
        elif kind == 2:
            whole = bytearray(r.randbytes(r.randint(1, 6000)))
        elif kind == 3:
            whole = bytearray(self.bytes("PUT", "/mmds", b" " * r.choice([BODY_MAX + 1, 100000])))
        elif kind == 4:
            whole = bytearray(b"GET /" + b"u" * r.choice([1100, 10000]) + b" HTTP/1.1\r\n\r\n")
        else:
            whole = bytearray(r.choice([
                b"FOO / HTTP/1.1\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\nExpect: tea\r\n\r\n",
                b"PUT /mmds HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000 + b"\r\n",
                b"PUT /mmds HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]))
        return bytes(whole)


class Client:
    def __init__(self, path):
        self.path = path
        self.socket = None
        self.input = b""

    def open(self):
        if self.socket is None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(str(self.path))
            self.input = b""
        return self.socket

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def send(self, data):
        self.open().sendall(data)

    def more(self):
        """False at the end."""
        data = self.open().recv(65536)
        self.input += data
        return bool(data)

    def answer(self):
        """(status, body) of the next answer, which must be one; "100 Continue" is passed over. None: the end."""
        while b"\r\n\r\n" not in self.input:
            if not self.more():
                assert self.input == b"", ("half an answer", self.input)
                return None
        head, self.input = self.input.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        if status == "100":
            return self.answer()
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("Content-Length", 0))
        while len(self.input) < length:
            assert self.more(), ("half a body", head, self.input)
        body, self.input = self.input[:length], self.input[length:]
        return int(status), body


def check(status, body, allowed):
    """That an answer has the form that its status asks for."""
    assert status in allowed, (status, body)
    if status == 204:
        assert body == b"", body
        return
    value = json.loads(body)
    if status == 200:
        assert isinstance(value, (dict, list)), body    # metadata may be an array
    else:
        assert list(value) == ["fault_message"] and isinstance(value["fault_message"], str), body


CLEAN = (200, 204, 400, 413)    # 413: too many metadata
DIRTY = (200, 204, 400, 408, 413, 414, 417, 431, 503, 505)


class Storm:
    """Requests for the monitor at a socket. watch() is called now and then."""

    def __init__(self, path, seed, files, watch=lambda: None):
        self.requests = Requests(seed, files)
        self.random = self.requests.random
        self.clients = [Client(path) for _ in range(CLIENTS)]
        self.stuck = []
        self.watch = watch
        self.statuses = {}
        self.times = []

    def got(self, client, allowed):
        answer = client.answer()
        assert answer is not None, "no answer to a whole request"
        check(*answer, allowed)
        self.statuses[answer[0]] = self.statuses.get(answer[0], 0) + 1

    def ask(self, client):
        start = time.monotonic()
        client.send(self.requests.clean())
        self.got(client, CLEAN)
        self.times.append(time.monotonic() - start)

    def in_pieces(self, client):
        """Others are served meanwhile."""
        request, r = self.requests.clean(), self.random
        for cut in range(r.randint(1, 4)):
            n = r.randint(0, len(request))
            client.send(request[:n])
            request = request[n:]
            if cut == 0:
                self.ask(r.choice([other for other in self.clients if other is not client]))
        client.send(request)
        self.got(client, CLEAN)

    def pipelined(self, client):
        requests = [self.requests.clean() for _ in range(self.random.randint(2, 8))]
        client.send(b"".join(requests))
        for _ in requests:
            self.got(client, CLEAN)

    def dirty(self, client):
        """Any number of answers, and the end."""
        client.close()
        try:
            client.send(self.requests.dirty())
            client.socket.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, OSError):
            pass    # the end came early; what was said before it can be read
        try:
            while (answer := client.answer()) is not None:
                check(*answer, DIRTY)
                self.statuses[answer[0]] = self.statuses.get(answer[0], 0) + 1
        except ConnectionResetError:
            pass
        client.close()

    def abandoned(self, client):
        request = self.requests.clean()
        client.send(request[:self.random.randrange(len(request))] if self.random.random() < 0.5 else request)
        client.close()

    def left_lying(self, client):
        """Until its time is over, the monitor says so, or takes the place for another."""
        if len(self.stuck) == STUCK_MAX:
            self.stuck.pop(0).close()
        one = Client(client.path)
        one.send(b"PUT /mmds HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"[:self.random.randint(1, 40)])
        self.stuck.append(one)

    def turn(self):
        ways = [self.ask, self.in_pieces, self.pipelined, self.dirty, self.abandoned, self.left_lying]
        self.random.choices(ways, [60, 12, 10, 10, 5, 1])[0](self.random.choice(self.clients))

    def run(self, turns=None, seconds=None, every=200):
        """So many turns, or so long. Returns the number of answers."""
        end = time.monotonic() + (seconds or 1 << 30)
        n = 0
        while n != turns and time.monotonic() < end:
            self.turn()
            n += 1
            if n % every == 0:
                self.watch()
        for client in [*self.clients, *self.stuck]:
            client.close()
        self.watch()
        return sum(self.statuses.values())

    def report(self):
        times = sorted(self.times)
        return (f"{sum(self.statuses.values())} answers {dict(sorted(self.statuses.items()))}, single requests: "
                f"p50 {times[len(times) // 2] * 1e3:.2f} ms, p99 {times[len(times) * 99 // 100] * 1e3:.2f} ms")


def usage(pid):
    """What a leak would make grow, but for the guest's memory: file descriptors, mappings, KiB of heap in RAM."""
    heap, inside = 0, False
    mappings = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            mappings += 1
            inside = words[-1] == "[heap]"
        elif inside and words[0] == "Rss:":
            heap += int(words[1])
    return {"fds": len(os.listdir(f"/proc/{pid}/fd")), "mappings": mappings, "heap_kib": heap}
