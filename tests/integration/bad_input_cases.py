# SPDX-License-Identifier: Apache-2.0
"""The table of test_bad_input.py: what is wrong, and the line and exit code that it gets."""
import os
import re
from dataclasses import dataclass, field

from kernel_images import MIB, PT_NOTE, Segment, bzimage, elf, pvh_note

GENERIC, BAD_CONFIGURATION, ARGUMENT_PARSING = 1, 152, 153
HOST_MIB = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB
MEMORY_MIB_MAX = 255 * 1024


@dataclass
class Case:
    """One mistake. The program runs in a directory with FILES and, if given, config.json."""
    name: str
    line: str                   # what stderr says behind "mote-vmm: ", as a regular expression
    code: int = BAD_CONFIGURATION
    config: object = None       # becomes config.json: bytes as they are, all else as JSON
    path: str = None            # of the config file, instead of config.json
    arguments: list = None      # all of them, instead of --no-api --config-file
    more: list = field(default_factory=list)        # behind the others
    before: str = ""            # shell commands for root, in the case's namespaces
    nobody: bool = False        # the program runs without privileges
    may_create: list = field(default_factory=list)  # files that the configuration names to write


def base_config(**objects):
    """A good configuration, with these objects (- for _) replaced; None removes one."""
    config = {
        "boot-source": {"kernel_image_path": "kernel.elf"},
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 128},
        "drives": [{"drive_id": "root", "path_on_host": "disk.img", "is_root_device": True,
                    "is_read_only": True}],
        "entropy": {},
    }
    for key, value in objects.items():
        config[key.replace("_", "-")] = value
    return {key: value for key, value in config.items() if value is not None}


def exactly(text):
    return re.escape(text)


def in_file(text):
    return exactly(f'config "config.json": {text}')


# ---- files that configurations can name ----

def contents(data):
    return lambda path: path.write_bytes(data)


def sparse(size):
    def make(path):
        path.touch()
        os.truncate(path, size)
    return make


def secret(path):
    path.write_bytes(b"{}")
    path.chmod(0o600)


def read_only(path):
    path.write_bytes(bytes(4096))
    path.chmod(0o444)


KERNELS = {
    # name: (bytes, what the error says of it)
    "text": (b"#!/bin/sh\nexit 0\n", "neither an ELF executable nor a bzImage"),
    "empty": (b"", "file is empty"),
    "only-magic": (b"\x7fELF", "ELF: file ends within its header"),
    "i386": (elf(bits=1), "ELF: not 64-bit little-endian"),
    "arm64": (elf(machine=183), "ELF: for machine 183, not x86_64"),
    "object-file": (elf(kind=1), "ELF: type 1 is not an executable"),
    "header-size": (elf(header_size=32), "ELF: program headers of 32 bytes"),
    "no-segments": (elf([]), "ELF: 0 program headers, need 1 to 64"),
    "all-segments": (elf(count=65535), "ELF: 65535 program headers, need 1 to 64"),
    "cut-headers": (elf()[:100], "ELF: program headers leave the file (truncated?)"),
    "cut-segment": (elf()[:-1], "ELF: segment 0 leaves the file (truncated?)"),
    "offset-wraps": (elf([Segment(offset=2**64 - 8)]),
                     "ELF: segment 0 leaves the file (truncated?)"),
    "file-size": (elf([Segment(size=32)]), "ELF: segment 0 is larger in the file than in memory"),
    "low": (elf([Segment(address=0x1000)]), "ELF: segment 0 at 0x1000 is below 1 MiB"),
    "above-memory": (elf([Segment(address=128 * MIB)]),
                     "ELF: segment 0 at 0x8000000+0x40 leaves guest memory of 128 MiB"),
    "too-large": (elf([Segment(size=128 * MIB)]),
                  "ELF: segment 0 at 0x100000+0x8000000 leaves guest memory of 128 MiB"),
    "address-wraps": (elf([Segment(address=2**64 - 32)]),
                      "ELF: segment 0 at 0xffffffffffffffe0+0x40 leaves guest memory of 128 MiB"),
    "overlap": (elf([Segment(), Segment(address=MIB + 63)]), "ELF: segments 0 and 1 overlap"),
    "nothing": (elf([Segment(data=b"")]), "ELF: nothing to load"),
    "entry": (elf(entry=MIB + 64), "ELF: entry 0x100040 is in no segment"),
    "cut-notes": (elf([Segment(), Segment(kind=PT_NOTE, data=b"", file_size=4096)]),
                  "ELF: notes leave the file"),
    "many-notes": (elf([Segment(), Segment(kind=PT_NOTE, data=bytes(65537))]),
                   "ELF: 65537 bytes of notes"),
    "pvh-size": (elf([Segment(), Segment(kind=PT_NOTE, data=pvh_note(2) + bytes(2))]),
                 "ELF: PVH note of 2 bytes"),
    "bz-short": (bzimage(length=1000), "bzImage: file ends within its header"),
    "bz-flag": (bzimage(flag=0xaa56), "bzImage: boot flag is 0xaa56, not 0xaa55"),
    "bz-old": (bzimage(version=0x0209), "bzImage: boot protocol 2.09, need 2.12 or later"),
    "bz-zimage": (bzimage(loaded_high=0), "bzImage: a zImage, which loads low"),
    "bz-32": (bzimage(xloadflags=0), "bzImage: no 64-bit entry point"),
    "bz-cut-setup": (bzimage(sectors=8, length=4096),
                     "bzImage: file ends within its setup code (truncated?)"),
    "bz-cut": (bzimage(length=4096), "bzImage: truncated: 3072 of 4096 bytes"),
    "bz-large": (bzimage(init_size=256 * MIB),
                 "bzImage: needs 256 MiB at 0x1000000, guest memory has 128 MiB"),
}

FILES = {
    "kernel.elf": contents(elf()),
    "disk.img": contents(bytes(4096)),
    "read-only.img": read_only,
    "empty": contents(b""),
    "sector-less.img": contents(bytes(511)),
    "large-initrd": sparse(128 * MIB),
    "large.json": contents(b" " * (MIB + 1)),
    "secret": secret,
    "directory": lambda path: path.mkdir(),
    "fifo": os.mkfifo,
    **{f"kernel-{name}": contents(data) for name, (data, _) in KERNELS.items()},
}


# ---- the cases ----

def kernel(path, cause, **more):
    return Case(f"kernel {path}", exactly(f"boot-source: kernel{cause}"),
                config=base_config(boot_source={"kernel_image_path": path}), **more)


def initrd(path, cause):
    return Case(f"initrd {path}", exactly(f"boot-source: initrd{cause}"),
                config=base_config(boot_source={"kernel_image_path": "kernel.elf",
                                                "initrd_path": path}))


def drive(path, cause, name=None, writable=False, **more):
    return Case(name or f"drive {path}", exactly(f'drive "d": {cause}'),
                config=base_config(drives=[{"drive_id": "d", "path_on_host": path,
                                            "is_root_device": False,
                                            "is_read_only": not writable}]), **more)


def net(name, cause, tap="tap0", **more):
    return Case(name, exactly(f'network interface "eth0": tap "{tap}": {cause}'),
                config=base_config(network_interfaces=[{"iface_id": "eth0",
                                                        "host_dev_name": tap}]), **more)


def machine(name, cause, **values):
    config = base_config()
    config["machine-config"].update(values)
    return Case(name, cause, config=config)


def arguments(words, line):
    return Case(f"arguments: {words}", exactly(line), code=ARGUMENT_PARSING,
                arguments=words.split())


def kvm(name, line, before, **more):
    return Case(name, exactly(line), code=GENERIC, config=base_config(), before=before, **more)


NOT_YET = "not supported yet by this version"
NOT_INHERITED = "file descriptor 7 was not inherited, or is taken already"
DRIVE = base_config()["drives"][0]
NET = {"iface_id": "eth0", "host_dev_name": "tap0"}
HOLD_TAP = """
ip tuntap add tap0 mode tap
/usr/bin/python3 -c '
import fcntl, struct, time
tun = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", b"tap0", 0x5002))
open("/proc/self/comm", "w").write("holder")
time.sleep(60)' >/dev/null 2>&1 & holder=$!
until [ "$(cat /proc/$holder/comm)" = holder ]; do sleep 0.02; done
"""

CASES = [
    # Arguments.
    arguments("--no-api", "--no-api: needs --config-file"),
    arguments("--config-file a --http-api-max-payload-size 0",
              '--http-api-max-payload-size: "0" is not a number from 1 to 2147483647'),
    arguments("--no-api --config-file", "--config-file: missing argument"),
    arguments("--no-api --config-file a --config-file b", "--config-file: given twice"),
    arguments("--no-api --config-file a b", 'unexpected argument "b"'),
    arguments("--no-api --configfile a", 'unknown option "--configfile"'),
    arguments("--no-api --config a", 'unknown option "--config"'),
    arguments("--no-api --config-file a --id a_b",
              '--id: "a_b" has more than ASCII letters, digits and -'),
    arguments("--no-api --config-file a --level 3",
              '--level: "3" is none of Off, Error, Warning, Info, Debug, Trace'),
    arguments("--no-api --config-file a --api-sock s", "--no-api: can't go with --api-sock"),

    # The file.
    Case("config missing", exactly('config "none.json": open: No such file or directory'),
         path="none.json"),
    Case("config directory", exactly('config "directory": read: Is a directory'),
         path="directory"),
    Case("config unreadable", exactly('config "secret": open: Permission denied'), path="secret",
         nobody=True),
    Case("config empty", exactly('config "empty": empty'), path="empty"),
    Case("config too large", exactly('config "large.json": larger than 1024 KiB'),
         path="large.json"),
    Case("not JSON", in_file("line 1, column 6: '[' or '{' expected near 'kernel'"),
         config=b"kernel: vmlinux\n"),
    Case("cut JSON", in_file("line 2, column 17: '}' expected near end of file"),
         config=b'{\n"boot-source": {}'),
    Case("not UTF-8", in_file("line 1, column 2: unable to decode byte 0xff near '\"'"),
         config=b'{"\xff": 1}'),
    Case("key twice", in_file("line 1, column 25: duplicate object key near '\"entropy\"'"),
         config=b'{"entropy": {}, "entropy": {}}'),
    Case("array", in_file("expected an object, got an array"), config=[]),

    # Keys and types.
    Case("no boot-source", exactly('missing key "boot-source"'),
         config=base_config(boot_source=None)),
    Case("unknown key", in_file('unknown key "boot_source" (did you mean "boot-source"?)'),
         config={"boot_source": {}}),
    Case("unknown key below",
         in_file('drives[1]: unknown key "paht_on_host" (did you mean "path_on_host"?)'),
         config=base_config(drives=[DRIVE, {"paht_on_host": "disk.img"}])),
    Case("key missing", in_file('drives[0]: missing key "drive_id"'),
         config=base_config(drives=[{"path_on_host": "a", "is_root_device": True}])),
    Case("object is a string", in_file("boot-source: expected an object, got a string"),
         config=base_config(boot_source="kernel.elf")),
    Case("key with an escape sequence", in_file('unknown key "?[2J"'), config={"\x1b[2J": 1}),
    Case("path with a NUL", exactly('config "config.json": line ') + r"\d+, column \d+: "
         + r"\\u0000 is not allowed.*",
         config=base_config(boot_source={"kernel_image_path": "kernel.elf\0x"})),
    Case("bad id", in_file('drives[0]: drive_id: "../x" has more than ASCII letters, digits and _'),
         config=base_config(drives=[{**DRIVE, "drive_id": "../x"}])),
    Case("later version's object", in_file(f"memory-hotplug: {NOT_YET}"),
         config=base_config(memory_hotplug={"total_size_mib": 1024})),
    Case("balloon beyond the memory",
         exactly("balloon: amount_mib: 129 is more than the machine's mem_size_mib (128)"),
         config=base_config(balloon={"amount_mib": 129, "deflate_on_oom": False})),
    Case("vhost-user", in_file("drives[0]: socket: vhost-user drives are not supported by this "
                               "version"),
         config=base_config(drives=[{**DRIVE, "socket": "/run/s"}])),

    # The machine.
    machine("memory 0", in_file(f"machine-config: mem_size_mib: 0 is out of range (1 to "
                                f"{MEMORY_MIB_MAX})"), mem_size_mib=0),
    machine("memory negative", in_file(f"machine-config: mem_size_mib: -1 is out of range (1 to "
                                       f"{MEMORY_MIB_MAX})"), mem_size_mib=-1),
    machine("memory is a string", in_file("machine-config: mem_size_mib: expected an integer, got "
                                          "a string"), mem_size_mib="128"),
    machine("memory with a fraction",
            in_file("machine-config: mem_size_mib: expected an integer, got a number with a "
                    "fraction or an exponent"), mem_size_mib=128.5),
    machine("more memory than the host has",
            exactly(f"machine-config: mem_size_mib: {HOST_MIB + 1} is more than the host has "
                    f"({HOST_MIB})") if HOST_MIB < MEMORY_MIB_MAX else
            in_file(f"machine-config: mem_size_mib: {HOST_MIB + 1} is out of range (1 to "
                    f"{MEMORY_MIB_MAX})"), mem_size_mib=HOST_MIB + 1),
    machine("vCPUs 33", in_file("machine-config: vcpu_count: 33 is out of range (1 to 32)"),
            vcpu_count=33),
    machine("odd vCPUs with SMT",
            exactly("machine-config: vcpu_count: 3 is neither 1 nor even, as smt needs"),
            vcpu_count=3, smt=True),
    machine("unknown huge pages",
            in_file('machine-config: huge_pages: "1G" is none of "None", "Transparent", "2M"'),
            huge_pages="1G"),
    machine("CPU template",
            in_file('machine-config: cpu_template: "T2": only "None" is supported, there are no '
                    "static templates"), cpu_template="T2"),

    # Kernel, initrd, command line.
    kernel("none", ': open "none": No such file or directory'),
    kernel("directory", ' "directory": read: Is a directory'),
    kernel("fifo", ' "fifo": not a regular file'),
    kernel("/dev/zero", ' "/dev/zero": not a regular file'),
    kernel("secret", ': open "secret": Permission denied', nobody=True),
    *[kernel(f"kernel-{name}", f' "kernel-{name}": {cause}')
      for name, (_, cause) in KERNELS.items()],
    initrd("none", ': open "none": No such file or directory'),
    initrd("empty", ' "empty": file is empty'),
    initrd("large-initrd",
           ' "large-initrd": 131072 KiB don\'t fit between the kernel and 0x8000000'),
    Case("command line with a line end",
         in_file("boot-source: boot_args: byte 5 (0x0a) is not printable ASCII"),
         config=base_config(boot_source={"kernel_image_path": "kernel.elf",
                                         "boot_args": "quiet\nroot=/dev/vdb"})),
    Case("command line too long",
         in_file("boot-source: boot_args: is 2048 bytes long, at most 2047 are allowed"),
         config=base_config(boot_source={"kernel_image_path": "kernel.elf",
                                         "boot_args": "a" * 2048})),

    # Drives.
    drive("none", 'open "none": No such file or directory'),
    drive("directory", '"directory" is a directory, not a disk image or block device'),
    drive("fifo", '"fifo" is a FIFO, not a disk image or block device'),
    drive("/dev/zero", '"/dev/zero" is a character device, not a disk image or block device'),
    drive("empty", '"empty" is empty'),
    drive("sector-less.img", '"sector-less.img" is smaller than one sector (512 bytes)'),
    drive("secret", 'open "secret": Permission denied', name="drive not readable", nobody=True),
    drive("read-only.img", 'open "read-only.img" for writing: Permission denied',
          name="drive not writable", writable=True, nobody=True),
    Case("drive used twice", exactly('drive "b": "disk.img" is in use by another microVM'),
         config=base_config(drives=[
             {**DRIVE, "drive_id": "a"},
             {"drive_id": "b", "path_on_host": "disk.img", "is_root_device": False}])),
    Case("drive id twice", exactly('drives[1]: drive_id: "root" is already that of drives[0]'),
         config=base_config(drives=[DRIVE, {**DRIVE, "is_root_device": False}])),
    Case("two roots", exactly("drives[1]: is_root_device: drives[0] is the root already"),
         config=base_config(drives=[DRIVE, {**DRIVE, "drive_id": "b"}])),
    Case("too many devices", exactly("too many devices: 20 of at most 19"),
         config=base_config(drives=[{**DRIVE, "drive_id": f"d{i}", "is_root_device": False}
                                    for i in range(19)])),

    # Networks.
    net("tap missing", "no such network device (ip tuntap add tap0 mode tap)",
        before=":"),
    net("tap taken", "in use by another process or interface: Device or resource busy",
        before=HOLD_TAP),
    net("tun, not tap", "a tun device (layer 3), not a tap", before="ip tuntap add tap0 mode tun"),
    net("tap with several queues", "has several queues (multi_queue); one with a single queue is "
        "needed",
        before="ip tuntap add tap0 mode tap multi_queue"),
    net("not a tap", "not a tap device", tap="lo", before=":"),
    net("tap without permission", 'open "/dev/net/tun": Permission denied',
        before="""ip tuntap add tap0 mode tap && mount -t tmpfs none /dev &&
        mkdir /dev/net && mknod -m 600 /dev/net/tun c 10 200""", nobody=True),
    net("tap of another user", "belongs to another user (tuntap add ... user): Operation not "
        "permitted",
        before="""ip tuntap add tap0 mode tap user 0 && mount -t tmpfs none /dev &&
        mkdir /dev/net && mknod -m 666 /dev/net/tun c 10 200""", nobody=True),
    Case("tap twice", exactly('network-interfaces[1]: host_dev_name: "tap0" is already that of '
                              "network-interfaces[0]"),
         config=base_config(network_interfaces=[NET, {**NET, "iface_id": "eth1"}])),
    Case("tap name with a pattern",
         in_file('network-interfaces[0]: host_dev_name: "tap%d" is no name for a network device'),
         config=base_config(network_interfaces=[{**NET, "host_dev_name": "tap%d"}])),
    Case("MAC", in_file('network-interfaces[0]: guest_mac: "0:1:2:3:4:5" is not of the form '
                        "06:00:ac:10:00:02"),
         config=base_config(network_interfaces=[{**NET, "guest_mac": "0:1:2:3:4:5"}])),

    # Other files.
    Case("vsock in a missing directory",
         exactly('vsock "vsock": bind "none/v.sock": No such file or directory'),
         config=base_config(vsock={"guest_cid": 3, "uds_path": "none/v.sock"})),
    Case("vsock in place of a file", exactly('vsock "vsock": bind "empty": Address already in use'),
         config=base_config(vsock={"guest_cid": 3, "uds_path": "empty"})),
    Case("serial in a missing directory",
         exactly('serial: open "none/out": No such file or directory'),
         config=base_config(serial={"serial_out_path": "none/out"})),
    Case("log in a missing directory", exactly('log: open "none/log": No such file or directory'),
         config=base_config(logger={"log_path": "none/log"})),
    Case("log option goes first", exactly('log: open "directory": Is a directory'),
         config=base_config(logger={"log_path": "good.log"}), more=["--log-path", "directory"]),
    Case("metrics in a missing directory",
         exactly('metrics: open "none/m": No such file or directory'),
         config=base_config(metrics={"metrics_path": "none/m"})),

    # Files of seccomp filters.
    *(Case(f"seccomp filter: {path}", exactly(f'seccomp filter "{path}": {why}'), config=base_config(),
           more=["--seccomp-filter", path])
      for path, why in [("none/f", "open: No such file or directory"),
                        ("directory", "not a regular file of 1 to 32848 bytes"),
                        ("empty", "not a regular file of 1 to 32848 bytes"),
                        ("kernel.elf", "not made by mote-seccomp-compile --binary")]),
    # Inherited file descriptors.
    Case("config not inherited", exactly(f'config "/dev/fd/7": open: {NOT_INHERITED}'),
         path="/dev/fd/7"),
    kernel("/dev/fd/7", f': open "/dev/fd/7": {NOT_INHERITED}'),
    Case("kernel is the initrd", exactly(f'boot-source: initrd: open "/dev/fd/7": {NOT_INHERITED}'),
         config=base_config(boot_source={"kernel_image_path": "/dev/fd/7",
                                         "initrd_path": "/dev/fd/7"}),
         before="exec 7<kernel.elf"),
    drive("/dev/fd/7", 'open "/dev/fd/7" for writing: not open for reading and writing',
          writable=True, before="exec 7<disk.img"),
    drive("/dev/fd/8", '"/dev/fd/8" is a directory, not a disk image or block device',
          before="exec 8<directory"),
    net("tap not attached", "not attached to a tap device", tap="/dev/fd/7",
        before="exec 7<>/dev/net/tun"),
    Case("log for reading only", exactly('log: open "/dev/fd/7": not open for writing'),
         config=base_config(logger={"log_path": "/dev/fd/7"}), before="exec 7<disk.img"),
    Case("guest port without a socket",
         exactly('vsock "vsock": guest_ports[0]: file descriptor 7 is no connected stream socket'),
         config=base_config(vsock={"guest_cid": 3, "guest_ports": [{"port": 1, "fd": 7}]}),
         before="exec 7<>disk.img"),

    # KVM: what the configuration names is good, and given back.
    kvm("no /dev/kvm", 'open "/dev/kvm": No such file or directory', "mount -t tmpfs none /dev"),
    kvm("no permission for /dev/kvm", 'open "/dev/kvm": Permission denied',
        "mount -t tmpfs none /dev && touch /dev/kvm && chmod 600 /dev/kvm", nobody=True),
    kvm("/dev/kvm is something else",
        '"/dev/kvm": KVM_GET_API_VERSION: Inappropriate ioctl for device',
        "mount -t tmpfs none /dev && touch /dev/kvm"),
]

# Everything that a microVM can hold, and no KVM: all of it is given back.
FULL = base_config(
    network_interfaces=[NET], vsock={"guest_cid": 3, "uds_path": "v.sock"},
    serial={"serial_out_path": "out"}, logger={"log_path": "log"},
    metrics={"metrics_path": "metrics"})
CASES.append(Case("no /dev/kvm for a microVM with everything",
                  exactly('open "/dev/kvm": No such file or directory'), code=GENERIC, config=FULL,
                  before="""ip tuntap add tap0 mode tap && mount -t tmpfs none /dev &&
                  mkdir /dev/net && mknod /dev/net/tun c 10 200""",
                  may_create=["out", "log", "metrics"]))
