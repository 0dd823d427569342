# SPDX-License-Identifier: Apache-2.0
"""Requests that are refused, with status and message, exactly; and routes that aren't there yet."""
POST = "The requested operation is not supported after starting the microVM."
PRE = "The requested operation is not supported before starting the microVM."
JSON = "An error occurred when deserializing the json body of a request: "


def drive(**more):
    return {"drive_id": "a", "path_on_host": "/dev/null", "is_root_device": False, **more}


def net(**more):
    return {"iface_id": "a", "host_dev_name": "tap0", **more}


def machine(**more):
    return {"vcpu_count": 1, "mem_size_mib": 128, **more}


def without(body, key):
    return {k: v for k, v in body.items() if k != key}


def types(path, body, key, wanted, name, wrong):
    """A key with values of other types, by their names in JSON."""
    return [("PUT", path, {**body, key: value}, f"{name}: {key}: expected {wanted}, got {what}")
            for what, value in (("a string", "1"), ("an integer", 1), ("true", True), ("an array", []),
                                ("an object", {}), ("a number with a fraction or an exponent", 1.5))
            if what in wrong]


NOT_STRING = ["an integer", "true", "an array", "an object"]
NOT_NUMBER = ["a string", "true", "an array", "a number with a fraction or an exponent"]
NOT_BOOL = ["a string", "an integer", "an object"]
ENDS = "has more than ASCII letters, digits and _"

# (method, path, body, message): before the start, all 400.
BEFORE = [
    # What isn't a request of this API.
    ("GET", "/nope", None, "Invalid request method and/or path: GET /nope."),
    ("PUT", "/nope", {}, "Invalid request method and/or path: PUT /nope."),
    ("POST", "/actions", {}, "Invalid request method and/or path: POST /actions."),
    ("DELETE", "/vsock", None, "Invalid request method and/or path: DELETE /vsock."),
    ("GET", "/actions", None, "Invalid request method and/or path: GET /actions."),
    ("GET", "/boot-source", None, "Invalid request method and/or path: GET /boot-source."),
    ("PUT", "/drives", {}, "Invalid request method and/or path: PUT /drives."),
    ("PUT", "/drives/a/b", {}, "Invalid request method and/or path: PUT /drives/a/b."),
    ("GET", "/version/", None, "Invalid request method and/or path: GET /version/."),
    ("GET", "/", {}, "GET request cannot have a body."),
    ("GET", "/vm/config", {}, "GET request cannot have a body."),
    *[("PUT", path, None, "Empty PUT request.") for path in (
        "/actions", "/boot-source", "/drives/a", "/entropy", "/logger", "/machine-config", "/metrics",
        "/network-interfaces/a", "/serial", "/vsock", "/balloon", "/mmds", "/snapshot/load")],
    *[("PATCH", path, None, "Empty PATCH request.") for path in (
        "/machine-config", "/vm", "/drives/a", "/network-interfaces/a")],
    # What isn't JSON, or not the right kind.
    ("PUT", "/vsock", "{", JSON + "line 1, column 1: string or '}' expected near end of file"),
    ("PUT", "/vsock", "vsock", JSON + "line 1, column 5: '[' or '{' expected near 'vsock'"),
    ("PUT", "/vsock", "{}}", JSON + "line 1, column 3: end of file expected near '}'"),
    ("PUT", "/vsock", b'{"\xff": 1}', JSON + "line 1, column 2: unable to decode byte 0xff near '\"'"),
    ("PUT", "/vsock", '{"guest_cid": 3, "guest_cid": 4}',
     JSON + "line 1, column 28: duplicate object key near '\"guest_cid\"'"),
    *[("PUT", path, [], f"{name}: expected an object, got an array") for path, name in (
        ("/actions", "action"), ("/boot-source", "boot-source"), ("/drives/a", "drive"), ("/entropy", "entropy"),
        ("/logger", "logger"), ("/machine-config", "machine-config"), ("/metrics", "metrics"),
        ("/network-interfaces/a", "network-interface"), ("/serial", "serial"), ("/vsock", "vsock"))],
    *[("PUT", path, {"zzzz": 1}, f'{name}: unknown key "zzzz"') for path, name in (
        ("/actions", "action"), ("/boot-source", "boot-source"), ("/drives/a", "drive"), ("/entropy", "entropy"),
        ("/logger", "logger"), ("/machine-config", "machine-config"), ("/metrics", "metrics"),
        ("/network-interfaces/a", "network-interface"), ("/serial", "serial"), ("/vsock", "vsock"))],
    # boot-source
    ("PUT", "/boot-source", {}, 'boot-source: missing key "kernel_image_path"'),
    ("PUT", "/boot-source", {"kernel_image_path": ""}, "boot-source: kernel_image_path: is empty"),
    ("PUT", "/boot-source", {"kernel_image_path": "/nope"},
     'boot-source: kernel_image_path "/nope": No such file or directory'),
    ("PUT", "/boot-source", {"kernel_image_path": "/dev/null/x"},
     'boot-source: kernel_image_path "/dev/null/x": Not a directory'),
    ("PUT", "/boot-source", {"kernel_image_path": "/dev/null", "initrd_path": "/nope"},
     'boot-source: initrd_path "/nope": No such file or directory'),
    ("PUT", "/boot-source", {"kernel_image_path": "/dev/null", "boot_args": "a" * 2048},
     "boot-source: boot_args: is 2048 bytes long, at most 2047 are allowed"),
    ("PUT", "/boot-source", {"kernel_image_path": "/dev/null", "boot_args": "a\nb"},
     "boot-source: boot_args: byte 1 (0x0a) is not printable ASCII"),
    ("PUT", "/boot-source", {"kernel_image": "/dev/null"},
     'boot-source: unknown key "kernel_image"'),
    *types("/boot-source", {}, "kernel_image_path", "a string", "boot-source", NOT_STRING),
    *types("/boot-source", {"kernel_image_path": "/dev/null"}, "boot_args", "a string", "boot-source", NOT_STRING),
    # machine-config
    ("PUT", "/machine-config", without(machine(), "vcpu_count"), 'machine-config: missing key "vcpu_count"'),
    ("PUT", "/machine-config", without(machine(), "mem_size_mib"), 'machine-config: missing key "mem_size_mib"'),
    ("PUT", "/machine-config", machine(vcpu_count=0), "machine-config: vcpu_count: 0 is out of range (1 to 32)"),
    ("PUT", "/machine-config", machine(vcpu_count=33), "machine-config: vcpu_count: 33 is out of range (1 to 32)"),
    ("PUT", "/machine-config", machine(vcpu_count=-1), "machine-config: vcpu_count: -1 is out of range (1 to 32)"),
    ("PUT", "/machine-config", machine(vcpu_count=3, smt=True),
     "machine-config: vcpu_count: 3 is neither 1 nor even, as smt needs"),
    ("PUT", "/machine-config", machine(mem_size_mib=0),
     "machine-config: mem_size_mib: 0 is out of range (1 to 261120)"),
    ("PUT", "/machine-config", machine(mem_size_mib=261121),
     "machine-config: mem_size_mib: 261121 is out of range (1 to 261120)"),
    ("PUT", "/machine-config", machine(mem_size_mib=129, huge_pages="2M"),
     'machine-config: mem_size_mib: 129 is not a multiple of 2, as huge_pages "2M" needs'),
    ("PUT", "/machine-config", machine(huge_pages="1G"),
     'machine-config: huge_pages: "1G" is none of "None", "Transparent", "2M"'),
    ("PUT", "/machine-config", machine(cpu_template="T2"),
     'machine-config: cpu_template: "T2": only "None" is supported, there are no static templates'),
    *types("/machine-config", machine(), "vcpu_count", "an integer", "machine-config", NOT_NUMBER),
    *types("/machine-config", machine(), "mem_size_mib", "an integer", "machine-config", NOT_NUMBER),
    *types("/machine-config", machine(), "smt", "true or false", "machine-config", NOT_BOOL),
    *types("/machine-config", machine(), "track_dirty_pages", "true or false", "machine-config", NOT_BOOL),
    *types("/machine-config", machine(), "huge_pages", "a string", "machine-config", NOT_STRING),
    ("PATCH", "/machine-config", {}, "machine-config: names nothing to change"),
    ("PATCH", "/machine-config", {"vcpu_count": 64}, "machine-config: vcpu_count: 64 is out of range (1 to 32)"),
    ("PATCH", "/machine-config", {"vcpu": 1}, 'machine-config: unknown key "vcpu"'),
    ("PATCH", "/machine-config", {"huge_pages": "2M", "mem_size_mib": 3},
     'machine-config: mem_size_mib: 3 is not a multiple of 2, as huge_pages "2M" needs'),
    # drives
    *[("PUT", "/drives/a", without(drive(), key), f'drive: missing key "{key}"') for key in drive()],
    ("PUT", "/drives/b", drive(), 'drive: drive_id: "a" is not the "b" of the path'),
    ("PUT", "/drives/", drive(), 'drive: drive_id: "a" is not the "" of the path'),
    ("PUT", "/drives/a", drive(drive_id=""), "drive: drive_id: is empty"),
    ("PUT", "/drives/a-b", drive(drive_id="a-b"), f'drive: drive_id: "a-b" {ENDS}'),
    ("PUT", "/drives/a", drive(drive_id="a" * 65), "drive: drive_id: is 65 bytes long, at most 64 are allowed"),
    ("PUT", "/drives/a", drive(path_on_host="/nope"), 'drive: path_on_host "/nope": No such file or directory'),
    ("PUT", "/drives/a", drive(cache_type="Writethrough"),
     'drive: cache_type: "Writethrough" is none of "Unsafe", "Writeback"'),
    ("PUT", "/drives/a", drive(io_engine="Uring"), 'drive: io_engine: "Uring" is none of "Sync", "Async"'),
    ("PUT", "/drives/a", drive(partuuid="a b"), "drive: partuuid: has a space or a quotation mark"),
    ("PUT", "/drives/a", drive(socket="/s"), "drive: socket: vhost-user drives are not supported by this version"),
    ("PUT", "/drives/a", drive(rate_limiter={"ops": {"size": 1}}),
     'drive: rate_limiter: ops: missing key "refill_time"'),
    ("PUT", "/drives/a", drive(rate_limiter={"ops": {"size": -1, "refill_time": 1}}),
     "drive: rate_limiter: ops: size: -1 is out of range (0 to 9223372036854775807)"),
    *types("/drives/a", drive(), "path_on_host", "a string", "drive", NOT_STRING),
    *types("/drives/a", drive(), "is_root_device", "true or false", "drive", NOT_BOOL),
    *types("/drives/a", drive(), "is_read_only", "true or false", "drive", NOT_BOOL),
    *types("/drives/a", drive(), "rate_limiter", "an object", "drive", ["a string", "an integer", "true"]),
    # network-interfaces
    *[("PUT", "/network-interfaces/a", without(net(), key), f'network-interface: missing key "{key}"') for key in net()],
    ("PUT", "/network-interfaces/b", net(), 'network-interface: iface_id: "a" is not the "b" of the path'),
    ("PUT", "/network-interfaces/a", net(iface_id="a.b"), f'network-interface: iface_id: "a.b" {ENDS}'),
    ("PUT", "/network-interfaces/a", net(host_dev_name="a" * 16),
     "network-interface: host_dev_name: is 16 bytes long, at most 15 are allowed"),
    ("PUT", "/network-interfaces/a", net(host_dev_name="a/b"),
     'network-interface: host_dev_name: "a/b" is no name for a network device'),
    ("PUT", "/network-interfaces/a", net(guest_mac="06:00"),
     'network-interface: guest_mac: "06:00" is not of the form 06:00:ac:10:00:02'),
    ("PUT", "/network-interfaces/a", net(guest_mac="07:00:ac:10:00:02"),
     'network-interface: guest_mac: "07:00:ac:10:00:02" is not the address of one station'),
    ("PUT", "/network-interfaces/a", net(mtu=67), "network-interface: mtu: 67 is out of range (68 to 65535)"),
    ("PUT", "/network-interfaces/a", net(mtu=65536), "network-interface: mtu: 65536 is out of range (68 to 65535)"),
    *types("/network-interfaces/a", net(), "host_dev_name", "a string", "network-interface", NOT_STRING),
    *types("/network-interfaces/a", net(), "guest_mac", "a string", "network-interface", NOT_STRING),
    *types("/network-interfaces/a", net(), "mtu", "an integer", "network-interface", NOT_NUMBER),
    # vsock, entropy, serial
    ("PUT", "/vsock", {"uds_path": "v"}, 'vsock: missing key "guest_cid"'),
    ("PUT", "/vsock", {"guest_cid": 3}, 'vsock: missing key "uds_path"'),
    ("PUT", "/vsock", {"guest_cid": 2, "uds_path": "v"}, "vsock: guest_cid: 2 is out of range (3 to 4294967294)"),
    ("PUT", "/vsock", {"guest_cid": 4294967295, "uds_path": "v"},
     "vsock: guest_cid: 4294967295 is out of range (3 to 4294967294)"),
    ("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v" * 97},
     "vsock: uds_path: is 97 bytes long, at most 96 are allowed"),
    *types("/vsock", {"uds_path": "v"}, "guest_cid", "an integer", "vsock", NOT_NUMBER),
    *types("/vsock", {"guest_cid": 3}, "uds_path", "a string", "vsock", NOT_STRING),
    *[("PUT", path, body, f'{name}: missing key "size"') for path, body, name in (
        ("/entropy", {"rate_limiter": {"ops": {"refill_time": 1}}}, "entropy: rate_limiter: ops"),
        ("/serial", {"rate_limiter": {"refill_time": 1}}, "serial: rate_limiter"),
        ("/network-interfaces/a", net(rx_rate_limiter={"bandwidth": {}}), "network-interface: rx_rate_limiter: bandwidth"),
        ("/network-interfaces/a", net(tx_rate_limiter={"ops": {}}), "network-interface: tx_rate_limiter: ops"))],
    ("PUT", "/serial", {"rate_limiter": {"bandwidth": {}}}, 'serial: rate_limiter: unknown key "bandwidth"'),
    *types("/serial", {}, "serial_out_path", "a string", "serial", NOT_STRING),
    # logger, metrics
    ("PUT", "/logger", {"log_path": "/nope/log"}, 'log: open "/nope/log": No such file or directory'),
    ("PUT", "/logger", {"log_path": "/tmp"}, 'log: open "/tmp": Is a directory'),
    ("PUT", "/logger", {"level": "Loud"},
     'logger: level: "Loud" is none of "Off", "Error", "Warning", "Info", "Debug", "Trace"'),
    *types("/logger", {}, "module", "a string", "logger", NOT_STRING),
    *types("/logger", {}, "show_level", "true or false", "logger", NOT_BOOL),
    *types("/logger", {}, "log_path", "a string", "logger", NOT_STRING),
    ("PUT", "/metrics", {}, 'metrics: missing key "metrics_path"'),
    ("PUT", "/metrics", {"metrics_path": "/nope/m"}, 'metrics: open "/nope/m": No such file or directory'),
    ("PUT", "/metrics", {"metrics_path": "m", "properties": []}, "metrics: properties: expected an object, got an array"),
    ("PUT", "/metrics", {"metrics_path": "m", "properties": {"a": "b", "c": 1}},
     "metrics: properties: c: expected a string, got an integer"),
    *types("/metrics", {}, "metrics_path", "a string", "metrics", NOT_STRING),
    # actions and states
    ("PUT", "/actions", {}, 'action: missing key "action_type"'),
    ("PUT", "/actions", {"action_type": "Jump"},
     'action: action_type: "Jump" is none of "InstanceStart", "FlushMetrics", "SendCtrlAltDel"'),
    *types("/actions", {}, "action_type", "a string", "action", NOT_STRING),
    ("PUT", "/actions", {"action_type": "InstanceStart"}, 'missing key "boot-source"'),
    ("PUT", "/actions", {"action_type": "FlushMetrics"}, PRE),
    ("PUT", "/actions", {"action_type": "SendCtrlAltDel"}, PRE),
    ("PATCH", "/drives/a", {"drive_id": "a"}, PRE),
    ("PATCH", "/network-interfaces/a", {"iface_id": "a"}, PRE),
    ("PATCH", "/vm", {"state": "Paused"}, PRE),
    ("PATCH", "/vm", {"state": "Resumed"}, PRE),
]

# After the start.
AFTER = [
    ("PUT", "/actions", {"action_type": "InstanceStart"}, POST),
    ("PUT", "/actions", {"action_type": "FlushMetrics"},
     "metrics: there is no file: it's configured before the start"),
    ("PUT", "/boot-source", {"kernel_image_path": "/dev/null"}, POST),
    ("PUT", "/machine-config", machine(), POST),
    ("PATCH", "/machine-config", {"vcpu_count": 1}, POST),
    ("PUT", "/drives/a", drive(), POST),
    ("PUT", "/network-interfaces/a", net(), POST),
    ("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v"}, POST),
    ("PUT", "/entropy", {}, POST),
    ("PUT", "/serial", {}, POST),
    ("PUT", "/logger", {}, POST),
    ("PUT", "/metrics", {"metrics_path": "m"}, POST),
    ("PATCH", "/drives/a", {"drive_id": "a"}, "drive: names nothing to change"),
    ("PATCH", "/drives/a", {"drive_id": "a", "rate_limiter": {}}, 'drive: there is none with the drive_id "a"'),
    ("PATCH", "/drives/b", {"drive_id": "a", "rate_limiter": {}}, 'drive: drive_id: "a" is not the "b" of the path'),
    ("PATCH", "/drives/a", drive(), 'drive: unknown key "is_root_device"'),
    ("PATCH", "/drives/a", {"path_on_host": "/dev/null"}, 'drive: missing key "drive_id"'),
    ("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": ""}, "drive: path_on_host: is empty"),
    ("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": "/nope"}, 'drive: there is none with the drive_id "a"'),
    *[("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": value},
       f"drive: path_on_host: expected a string, got {kind}")
      for value, kind in ((1, "an integer"), ({}, "an object"), ([], "an array"), (True, "true"))],
    ("PATCH", "/network-interfaces/a", {"iface_id": "a"}, "network-interface: names nothing to change"),
    ("PATCH", "/network-interfaces/a", {"iface_id": "a", "rx_rate_limiter": {}},
     'network-interface: there is none with the iface_id "a"'),
    ("PATCH", "/network-interfaces/a", net(), 'network-interface: unknown key "host_dev_name"'),
    ("PATCH", "/vm", {"state": "Running"}, 'vm: state: "Running" is none of "Paused", "Resumed"'),
    ("PATCH", "/vm", {}, 'vm: missing key "state"'),
    ("PATCH", "/vm", [], "vm: expected an object, got an array"),
    ("PATCH", "/vm", {"state": "Paused", "now": True}, 'vm: unknown key "now"'),
    ("PATCH", "/vm", {"state": 1}, "vm: state: expected a string, got an integer"),
]

# What comes with later issues, by what is missing: (method, path), in any state.
MISSING = {
    "CPU templates are": [("PUT", "/cpu-config")],
    "pmem is": [("PUT", "/pmem/a"), ("PATCH", "/pmem/a")],
    "memory hotplug is": [("GET", "/hotplug/memory"), ("PUT", "/hotplug/memory"), ("PATCH", "/hotplug/memory")],
    "snapshots are": [("PUT", "/snapshot/create"), ("PUT", "/snapshot/load")],
    "removing devices is": [("DELETE", "/drives/a"), ("DELETE", "/network-interfaces/a"), ("DELETE", "/pmem/a")],
}

# Images that a running drive "d", writable, can't have: (path below a directory that has them, why).
NO_IMAGES = [
    ("none", 'open "{}": No such file or directory'),
    ("none/at/all", 'open "{}": No such file or directory'),
    ("small/file", 'open "{}": Not a directory'),
    ("directory", '"{}" is a directory, not a disk image or block device'),
    ("fifo", '"{}" is a FIFO, not a disk image or block device'),
    ("socket", '"{}" is a socket, not a disk image or block device'),
    ("device", '"{}" is a character device, not a disk image or block device'),
    ("loop", 'open "{}": Too many levels of symbolic links'),
    ("empty", '"{}" is empty'),
    ("small", '"{}" is smaller than one sector (512 bytes)'),
    ("program", 'open "{}" for writing: Text file busy'),
    ("used", '"{}" is in use by another microVM'),
    ("n" * 300, 'open "{}": File name too long'),
]
