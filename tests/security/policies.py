# SPDX-License-Identifier: Apache-2.0
"""The seccomp policies as the tests see them, and what strace recorded of threads under a filter.

The values of constants are written down here once more, from the kernel's headers, so that a wrong one
in the compiler's table shows.
"""
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parents[2] / "vmm/sandbox/policy"
KINDS = ("vmm", "vcpu", "io", "vmm-api")     # the last one: what the event loop may do besides with an API

CONSTANTS = {
    "AF_UNIX": 1, "AT_EMPTY_PATH": 0x1000, "AT_FDCWD": 0xffffff9c, "AT_SYMLINK_NOFOLLOW": 0x100, "CLOCK_MONOTONIC": 1,
    "BLKGETSIZE64": 0x80081272, "BLKSSZGET": 0x1268, "EPOLL_CTL_ADD": 1, "EPOLL_CTL_DEL": 2, "EPOLL_CTL_MOD": 3,
    "FALLOC_FL_KEEP_SIZE": 1, "FALLOC_FL_PUNCH_HOLE": 2, "FALLOC_FL_ZERO_RANGE": 0x10,
    "FD_CLOEXEC": 1, "F_DUPFD_CLOEXEC": 1030, "F_GETFD": 1, "F_GETFL": 3, "F_OFD_SETLK": 37, "F_SETFD": 2, "F_SETFL": 4,
    "FUTEX_CLOCK_REALTIME": 256, "FUTEX_WAIT_BITSET": 9, "FUTEX_WAIT_BITSET_PRIVATE": 137,
    "FUTEX_WAIT_PRIVATE": 128, "FUTEX_WAKE_PRIVATE": 129,
    "GRND_NONBLOCK": 1, "KVM_GET_REGS": 0x8090ae81, "KVM_KVMCLOCK_CTRL": 0xaead, "KVM_RUN": 0xae80, "MADV_DONTNEED": 4,
    "MAP_ANONYMOUS": 0x20, "MAP_PRIVATE": 2, "MSG_DONTWAIT": 0x40, "MSG_NOSIGNAL": 0x4000, "MSG_PEEK": 2,
    "O_CLOEXEC": 0o2000000, "O_DIRECT": 0o40000, "O_NOCTTY": 0o400, "O_NONBLOCK": 0o4000, "O_RDONLY": 0, "O_RDWR": 2,
    "PROT_EXEC": 4, "PR_GET_NAME": 16, "RUSAGE_SELF": 0, "SHUT_RD": 0, "SHUT_WR": 1,
    "SIGABRT": 6, "SIGRTMIN": 34, "SOCK_CLOEXEC": 0o2000000, "SOCK_NONBLOCK": 0o4000, "SOCK_STREAM": 1,
    "STATX_DIOALIGN": 0x2000,
    "TCGETS": 0x5401, "TCSETS": 0x5402, "TFD_CLOEXEC": 0o2000000, "TFD_NONBLOCK": 0o4000, "TUNSETOFFLOAD": 0x400454d0,
}


def value(text, tgid):
    if isinstance(text, int):
        return text
    result = 0
    for name in text.split("|"):
        result |= tgid if name == "TGID" else CONSTANTS[name]
    return result


@dataclass
class Rule:
    """One way to make a call: a rule with a list of values is several of these."""
    kind: str
    call: str
    args: dict
    untested: str = None

    def allows(self, args, tgid):
        for index, condition in self.args.items():
            got = args[int(index)] & 0xffffffff
            if isinstance(condition, dict):
                if got & value(condition["without"], tgid):
                    return False
            elif got != value(condition, tgid):
                return False
        return True

    def __str__(self):
        return f"{self.kind}: {self.call}" + "".join(f" {i}={v}" for i, v in self.args.items())


def load(arch="x86_64"):
    """{kind: [Rule..]}, each value of a list a rule of its own; vmm's are vmm-api's too."""
    policies = {}
    for kind in KINDS:
        rules = policies[kind] = list(policies["vmm"]) if kind == "vmm-api" else []
        policy = json.loads((DIRECTORY / f"{kind}.json").read_text())
        assert policy["thread"] == kind
        for rule in policy["rules"]:
            if rule.get("arch", arch) != arch:
                continue
            args = rule.get("args", {})
            lists = [i for i, v in args.items() if isinstance(v, list)]
            for one in args[lists[0]] if lists else [None]:
                rules.append(Rule(kind, rule["call"], {**args, lists[0]: one} if lists else args,
                                  rule.get("untested")))
    return policies


@dataclass
class Recording:
    """What the threads of one process did after their filters were installed."""
    calls: list = field(default_factory=list)    # (kind, call, [args], tgid)
    threads: dict = field(default_factory=dict)  # tid: (kind, name)


LINE = re.compile(r"^(\d+)<(.*)> (\w+)\((.*)$")
NUMBER = re.compile(r"0x[0-9a-f]+|\b\d+\b")


def kind_of(name):
    return "vcpu" if name.startswith("vcpu ") else "io" if name.startswith("disk ") else "vmm"


def parse(text, api=False):
    """Of `strace -f -Y -e raw=all`, of a monitor that has an API or none."""
    recording = Recording()
    # In its own namespace. The call may be in two lines; the last one is for the kick at the end.
    ids = re.findall(r"\bgetpid(?:\(\)| resumed>\)) *= (0x[0-9a-f]+)$", text, re.M)
    tgid = int(ids[-1], 0) if ids else 0
    for line in text.splitlines():
        match = LINE.match(line)
        if not match:
            continue  # ends, signals, the second halves of calls
        tid, name, call, rest = int(match[1]), match[2], match[3], match[4]
        args = [int(n, 0) for n in NUMBER.findall(re.split(r"\)|<", rest)[0])]
        if call == "seccomp":
            kind = kind_of(name)
            recording.threads[tid] = ("vmm-api" if api and kind == "vmm" else kind, name)
        elif tid in recording.threads:
            recording.calls.append((recording.threads[tid][0], call, args + [0] * (6 - len(args)), tgid))
    return recording
