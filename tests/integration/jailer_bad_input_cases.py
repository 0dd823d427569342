# SPDX-License-Identifier: Apache-2.0
"""The table of test_jailer_bad_input.py: what is wrong, and the line and exit code that it gets.

The texts of errors are musl's, which the program is linked with. Arguments, lines and commands may name {base}, {files}, {probe}, {jailer}; BASE is a good command line.
"""
import os
from dataclasses import dataclass, field
from pathlib import Path

FAILED, ARGUMENTS = 1, 153
BASE = {"--id": "a", "--exec-file": "{probe}", "--uid": "5432", "--gid": "5433",
        "--chroot-base-dir": "{base}"}
LONG_NAME = "x" * 300


@dataclass
class Case:
    """One mistake."""
    name: str
    line: str                   # behind "mote-jailer: "
    arguments: list = field(default_factory=list)       # behind BASE
    replace: dict = field(default_factory=dict)         # in BASE; None removes
    code: int = FAILED
    before: str = ""            # shell commands, in the case's own mount namespace
    nobody: bool = False
    may_create: tuple = ()      # in {files}


def argument(name, line, *arguments, **replace):
    return Case(name, line, list(arguments), {f"--{key.replace('_', '-')}": value
                                              for key, value in replace.items()}, ARGUMENTS)


def failure(name, line, *arguments, before="", nobody=False, may_create=(), **replace):
    return Case(name, line, list(arguments), {f"--{key.replace('_', '-')}": value
                                              for key, value in replace.items()}, FAILED, before, nobody,
                may_create)


ID = 'has more than ASCII letters, digits and -'
FILE = "is not the name of a controller's file"
PATH = 'is not a relative path without "." and ".."'


def arguments():
    # missing, repeated, unknown, without value, with one too many
    yield argument("no id", "--id: required", id=None)
    yield argument("no exec file", "--exec-file: required", exec_file=None)
    yield failure("no uid", "--uid: required", uid=None)
    yield failure("no gid", "--gid: required", gid=None)
    for option in ("--id", "--exec-file", "--uid", "--gid", "--chroot-base-dir"):
        yield argument(f"{option} twice", f"{option}: given twice", option, "7")
        yield argument(f"{option} empty", f"{option}: missing value", **{option[2:].replace("-", "_"): ""})
    for option in ("--netns", "--parent-cgroup", "--config", "--cgroup", "--cgroup-version",
                   "--resource-limit", "--handover", "--oom-score-adj", "--cleanup"):
        yield argument(f"{option} without value", f"{option}: missing value", option)
        yield argument(f"{option} before an option", f"{option}: missing value", option, "--daemonize")
    for option in ("--daemonize", "--new-pid-ns", "--private-root", "--userfaultfd"):
        yield argument(f"{option} with a value", f"{option}=1: takes no value", f"{option}=1")
        yield argument(f"{option} twice", f"{option}: given twice", option, option)
    yield argument("netns twice", "--netns: given twice", "--netns", "/a", "--netns", "/b")
    yield argument("unknown", 'unknown argument "--frobnicate"', "--frobnicate")
    yield argument("short", 'unknown argument "-x"', "-x")
    yield argument("abbreviated", 'unknown argument "--daemon"', "--daemon")
    yield argument("control characters", 'unknown argument "--?[31m"', "--\x1b[31m")
    yield argument("word", 'unexpected argument "word"', "word")

    # --id
    for name, value in {"slash": "a/b", "dots": "..", "dot": ".", "underscore": "a_b", "space": "a b",
                        "newline": "a\nb", "umlaut": "\u00e4", "absolute": "/a"}.items():
        shown = value.replace("\n", "?")
        yield argument(f"id {name}", f'--id: "{shown}" {ID}', id=value)
    yield argument("id too long", "--id: is 65 characters long, at most 64 are allowed", id="x" * 65)

    # --uid, --gid
    for option in ("uid", "gid"):
        for value in ("root", "-1", "4294967295", "99999999999999999999", "12x", "0x10", " 5", "1.5"):
            yield argument(f"{option} {value!r}", f'--{option}: "{value}" is not a number from 0 to 4294967294',
                           **{option: value})
    yield argument("uid 0", "--uid: 0 is root, which a jail doesn't hold", uid="0")

    # --cgroup and its like
    yield argument("cgroup without =", '--cgroup: "memory.max" is not of the form FILE=VALUE', "--cgroup",
                   "memory.max")
    yield argument("cgroup without value", '--cgroup: "memory.max=" is not of the form FILE=VALUE', "--cgroup",
                   "memory.max=")
    for value in ("../x.y", "memory/x.y", "memory", ".memory", "memory..max", "1.x", "", "a.b\n"):
        shown = value.replace("\n", "?")
        yield argument(f"cgroup file {value!r}", f'--cgroup: "{shown}" {FILE}', "--cgroup", f"{value}=1")
    yield argument("cgroup file too long", "--cgroup: the file's name is longer than 255 characters", "--cgroup",
                   f"memory.{LONG_NAME}=1")
    yield argument("cgroups too many", "--cgroup: given more than 32 times", *["--cgroup", "pids.max=5"] * 33)
    for value in ("0", "3", "v2", "1.0"):
        yield argument(f"cgroup version {value}", f'--cgroup-version: "{value}" is not a number from 1 to 2',
                       "--cgroup-version", value)
    for value in ("/a", "..", "a/..", "a/../b", ".", "a/./b", LONG_NAME):
        yield argument(f"parent cgroup {value[:9]}", f'--parent-cgroup: "{value}" {PATH}', "--parent-cgroup",
                       value)

    # --resource-limit, --oom-score-adj, --handover
    limits = "is none of fsize=N, no-file=N, memlock=N, nproc=N"
    for value in ("fsize", "core=0", "=5", "no-file:5", "No-file=5"):
        yield argument(f"limit {value}", f'--resource-limit: "{value}" {limits}', "--resource-limit", value)
    for value in ("", "-1", "x", "9223372036854775808", "1k"):
        yield argument(f"limit fsize={value}", f'--resource-limit fsize: "{value}" is not a number from 0 to '
                       "9223372036854775807", "--resource-limit", f"fsize={value}")
    for value in ("-1001", "1001", "x"):
        yield argument(f"oom score {value}", f'--oom-score-adj: "{value}" is not a number from -1000 to 1000',
                       "--oom-score-adj", value)
    yield argument("handover x", '--handover: "x" is not a number from 0 to 1048576', "--handover", "x")
    for option in ("--daemonize", "--new-pid-ns"):
        yield argument(f"handover and {option}", "--handover: excludes --daemonize and --new-pid-ns",
                       "--handover", "1", option)
    yield argument("too much for the monitor", "--: more than 128 arguments for the monitor", "--", *["x"] * 129)
    yield argument("private root alone", "--private-root: needs --config: nobody could put files there",
                   "--private-root")
    yield argument("cleanup and id", "--cleanup: excludes --id", "--cleanup", "a")
    yield argument("cleanup of ..", f'--cleanup: ".." {ID}', "--cleanup", "..", id=None)


def host():
    # --exec-file
    yield failure("exec file missing", '--exec-file: open "{files}/none": No such file or directory',
                  exec_file="{files}/none")
    yield failure("exec file a directory", '--exec-file: "{files}" is not a regular file', exec_file="{files}")
    yield failure("exec file not executable", '--exec-file: "{files}/plain" is not executable',
                  exec_file="{files}/plain")
    yield failure("exec file set-user-ID", '--exec-file: "{files}/suid" is set-user-ID or set-group-ID',
                  exec_file="{files}/suid")
    yield failure("exec file a FIFO", '--exec-file: "{files}/fifo" is not a regular file',
                  exec_file="{files}/fifo")
    yield failure("exec file a script", 'exec "{files}/script": not a static program: its interpreter isn\'t in '
                  "the jail", exec_file="{files}/script")
    yield failure("exec file not static", 'exec "/bin/true": not a static program: its interpreter isn\'t in the '
                  "jail", exec_file="/bin/true")
    yield failure("exec file no program", 'exec "{files}/garbage" as user 5432: Exec format error',
                  exec_file="{files}/garbage")
    yield failure("exec file on a noexec mount", 'exec "{files}/m/probe" as user 5432: Permission denied',
                  exec_file="{files}/m/probe",
                  before="mount -t tmpfs -o noexec x {files}/m && cp {probe} {files}/m/probe")
    yield failure("exec file too long", f'--exec-file: open "/{LONG_NAME}": Filename too long',
                  exec_file=f"/{LONG_NAME}")

    # --chroot-base-dir
    base = "--chroot-base-dir: "
    yield failure("base missing", base + 'open "{base}/none": No such file or directory',
                  chroot_base_dir="{base}/none")
    yield failure("base a file", base + 'open "{files}/plain": Not a directory',
                  chroot_base_dir="{files}/plain")
    yield failure("base a link", base + '"{files}/link" is a symbolic link', chroot_base_dir="{files}/link")
    yield failure("base below a link", base + '"{files}/link" is a symbolic link',
                  chroot_base_dir="{files}/link/below")
    yield failure("base of somebody else", base + '"{files}/theirs" belongs to user 7777, not to root',
                  chroot_base_dir="{files}/theirs")
    yield failure("base below somebody else's", base + '"{files}/theirs" belongs to user 7777, not to root',
                  chroot_base_dir="{files}/theirs/below")
    yield failure("base for everyone", base + '"{files}/open" can be written to by others than root (mode 1777)',
                  chroot_base_dir="{files}/open")
    yield failure("base for a group", base + '"{files}/group" can be written to by others than root (mode 0775)',
                  chroot_base_dir="{files}/group")
    yield failure("base read-only", 'open "{base}/jail_probe": Read-only file system',
                  before="mount --bind {base} {base} && mount -o remount,bind,ro {base}")
    yield failure("base's jails of somebody else", '"{base}/jail_probe" belongs to user 7777, not to root',
                  before="mount -t tmpfs -o mode=755 x {base} && mkdir {base}/jail_probe && chown 7777 {base}/jail_probe")

    # --netns
    yield failure("netns missing", '--netns: open "{files}/none": No such file or directory', "--netns",
                  "{files}/none")
    for name in ("plain", "fifo", "m"):
        yield failure(f"netns {name}", f'--netns: "{{files}}/{name}" is not a network namespace', "--netns",
                      f"{{files}}/{name}")
    yield failure("netns of another kind", '--netns: "/proc/self/ns/mnt" is not a network namespace', "--netns",
                  "/proc/self/ns/mnt")

    # --handover
    yield failure("handover closed", "--handover: file descriptor 99: Bad file descriptor", "--handover", "99")

    # limits that the kernel refuses
    yield failure("more files than the kernel allows", "set resource limit no-file to 9000000000: "
                  "Operation not permitted", "--resource-limit", "no-file=9000000000")

    # --config
    config = ("--config", "{files}/config.json")
    yield failure("config missing", 'config "{files}/none": open: No such file or directory', "--config",
                  "{files}/none")
    yield failure("config bad", 'config "{files}/plain": line 1, column 5: \'[\' or \'{{\' expected near \'plain\'',
                  "--config", "{files}/plain")
    for name, text, line in (
            ("unknown key", '{{"boot-source": {{"kernel_image_path": "k"}}, "x": 1}}',
             'config "{files}/config.json": unknown key "x"'),
            ("no kernel", '{{}}', 'missing key "boot-source"'),
            ("kernel missing", '{{"boot-source": {{"kernel_image_path": "{files}/none"}}}}',
             'boot-source: kernel: open "{files}/none": No such file or directory'),
            ("kernel a FIFO", '{{"boot-source": {{"kernel_image_path": "{files}/fifo"}}}}',
             'boot-source: kernel: "{files}/fifo" is not a regular file'),
            ("kernel a link to itself", '{{"boot-source": {{"kernel_image_path": "{files}/loop"}}}}',
             'boot-source: kernel: open "{files}/loop": Symbolic link loop'),
            ("initrd missing", '{{"boot-source": {{"kernel_image_path": "{files}/plain", "initrd_path": "/none"}}}}',
             'boot-source: initrd: open "/none": No such file or directory'),
            ("descriptor that is none", '{{"boot-source": {{"kernel_image_path": "/dev/fd/77"}}}}',
             'boot-source: kernel: open "/dev/fd/77": file descriptor 77 was not inherited, or is taken already'),
            ("tap missing", '{{"boot-source": {{"kernel_image_path": "{files}/plain"}}, "network-interfaces": '
             '[{{"iface_id": "e", "host_dev_name": "nosuchtap0"}}]}}',
             'network interface "e": tap "nosuchtap0": no such network device (ip tuntap add nosuchtap0 mode tap)'),
            ("vsock directory missing", '{{"boot-source": {{"kernel_image_path": "{files}/plain"}}, "vsock": '
             '{{"guest_cid": 3, "uds_path": "/none/v"}}}}',
             'vsock: open "/none": No such file or directory'),
            ("vsock a directory", '{{"boot-source": {{"kernel_image_path": "{files}/plain"}}, "vsock": '
             '{{"guest_cid": 3, "uds_path": "/tmp/"}}}}',
             'vsock: uds_path "/tmp/" is a directory'),
            ("log in no directory", '{{"boot-source": {{"kernel_image_path": "{files}/plain"}}, "logger": '
             '{{"log_path": "/none/log"}}}}', 'logger: make "/none/log": No such file or directory'),
            ("log a directory", '{{"boot-source": {{"kernel_image_path": "{files}/plain"}}, "logger": '
             '{{"log_path": "{files}/m"}}}}',
             'logger: "{files}/m" is not a regular file, FIFO or character device'),
    ):
        yield failure(f"config: {name}", line, *config, before=f"printf %s '{text}' >{{files}}/config.json",
                      may_create=("config.json",))

    # without root
    yield failure("nobody without config", "--config: required without root", nobody=True, uid=None, gid=None)
    yield failure("nobody for another user", "--uid: only root can give it to another user", nobody=True)
    yield failure("nobody for another group", "--gid: only root can give it to another user", nobody=True,
                  uid="65534", gid="0")
    good = '{{"boot-source": {{"kernel_image_path": "{files}/plain"}}}}'
    write = f"printf %s '{good}' >{{files}}/config.json; "
    yield failure("nobody without KVM", 'open "/dev/kvm": No such file or directory', *config, nobody=True, uid=None,
                  gid=None, before=write + "mount -t tmpfs x /dev", may_create=("config.json",))
    yield failure("nobody with another device for KVM", '"/dev/kvm" is not character device 10:232', *config,
                  nobody=True, uid=None, gid=None, may_create=("config.json",),
                  before=write + "mount -t tmpfs x /dev && mknod -m 666 /dev/kvm c 1 3")
    yield failure("nobody with a link for KVM", '"/dev/kvm" is not character device 10:232', *config,
                  nobody=True, uid=None, gid=None, may_create=("config.json",),
                  before=write + "mount -t tmpfs x /dev && mknod -m 666 /dev/k c 10 232 && ln -s k /dev/kvm")


def cgroups():
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    first = {option: m[4] for m in mounts if m[m.index("-") + 1] == "cgroup" for option in m[-1].split(",")}
    second = next((m[4] for m in mounts if m[m.index("-") + 1] == "cgroup2"), None)
    parent = ("--parent-cgroup", "mote-jail-bad")
    yield failure("cgroup of no controller", '--cgroup: no hierarchy of version 1 has controller "nosuch" '
                  "(--cgroup-version 2?)", *parent, "--cgroup", "nosuch.max=1")
    if "pids" in first:
        path = f"{first['pids']}/mote-jail-bad/a"
        yield failure("cgroup file missing", f'cgroup "{path}": write "1" to "pids.nosuch": No such file or '
                      "directory", *parent, "--cgroup", "pids.nosuch=1")
        yield failure("cgroup value refused", f'cgroup "{path}": write "many" to "pids.max": Invalid argument',
                      *parent, "--cgroup", "pids.max=many")
        yield failure("cgroup value refused after others", f'cgroup "{path}": write "x" to "pids.max": '
                      "Invalid argument", *parent, "--cgroup", "pids.max=5", "--cgroup", "pids.max=x")
    if "cpuset" in first:
        yield failure("cgroup value of another", f'cgroup "{first["cpuset"]}/mote-jail-bad/a": write "999" to '
                      '"cpuset.cpus": Result not representable', *parent, "--cgroup", "cpuset.cpus=999")
    if second:
        version = (*parent, "--cgroup-version", "2")
        yield failure("cgroup 2 of no controller", f'--cgroup: "{second}" has no controller "nosuch"', *version,
                      "--cgroup", "nosuch.max=1")
        yield failure("cgroup 2 file missing", f'cgroup "{second}/mote-jail-bad/a": write "1" to "cgroup.nosuch": '
                      "No such file or directory", *version, "--cgroup", "cgroup.nosuch=1")
        yield failure("cgroup 2 value refused", f'cgroup "{second}/mote-jail-bad/a": write "x" to '
                      '"cgroup.max.depth": Invalid argument', *version, "--cgroup", "cgroup.max.depth=x")
        yield failure("cgroup 2 parent missing", f'--parent-cgroup: open "{second}/mote-jail-bad": No such file or '
                      "directory", *version)
    else:
        yield failure("cgroup 2 missing", "--cgroup-version 2: no cgroup2 file system is mounted",
                      "--cgroup-version", "2", "--cgroup", "memory.max=1")


def kernel_file(text):
    return lambda path: path.write_text(text)


def in_mode(mode, text=""):
    def make(path):
        path.write_text(text)
        path.chmod(mode)
    return make


def directory(mode, uid=0, *below):
    def make(path):
        path.mkdir()
        for name in below:
            (path / name).mkdir()
        path.chmod(mode)
        os.chown(path, uid, uid)
    return make


FILES = {
    "plain": kernel_file("plain"),
    "suid": in_mode(0o4755, "x"),
    "script": in_mode(0o755, "#!/bin/sh\n"),
    "garbage": in_mode(0o755, "garbage"),
    "fifo": os.mkfifo,
    "m": directory(0o755),
    "theirs": directory(0o755, 7777, "below"),
    "open": directory(0o1777),
    "group": directory(0o775),
    "link": lambda path: path.symlink_to("m"),
    "loop": lambda path: path.symlink_to("loop"),
}
CASES = [*arguments(), *host(), *cgroups()]
