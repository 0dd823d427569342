#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""policy_compiler.py COMPILER: the policies are small, and what is wrong in one gets one line. Speaks TAP."""
import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import policies
import tap

COMPILER = sys.argv[1]
GOOD = {kind: json.loads((policies.DIRECTORY / f"{kind}.json").read_text()) for kind in policies.KINDS}
FIRECRACKER = {"vmm": 50, "vcpu": 27}  # system calls on x86_64, counted in v1.16's resources/seccomp


def compile_policies(texts, *more, arch="x86_64"):
    """Exit status, stderr, the file."""
    with tempfile.TemporaryDirectory() as directory:
        paths = []
        for i, text in enumerate(texts):
            path = Path(directory) / f"{i}.json"
            path.write_text(text if isinstance(text, str) else json.dumps(text))
            paths.append(str(path))
        out = Path(directory) / "out.bpf"
        done = subprocess.run([COMPILER, "--binary", arch, out, *paths, *more], capture_output=True, text=True,
                              check=False)
        return done.returncode, done.stderr.replace(directory + "/", ""), out.read_bytes() if out.exists() else None


def refused(change, message):
    """change(policies) makes the good ones bad."""
    bad = copy.deepcopy(GOOD)
    change(bad)
    got = compile_policies(bad.values())
    assert got == (1, f"mote-seccomp-compile: {message}\n", None), got


def rule(**members):
    """Puts a rule in front of vcpu's."""
    def change(bad):
        bad["vcpu"]["rules"].insert(0, {"call": "getuid", "why": "a test", **members})
    return change


def first(message):
    return f"1.json: rule 1 (getuid): {message}"


def test_the_policies_compile_for_both_architectures():
    for arch in ("x86_64", "aarch64"):
        status, err, out = compile_policies(GOOD.values(), arch=arch)
        assert (status, err, out[:8]) == (0, "", b"MOTEBPF1"), (arch, status, err)


def test_fewer_system_calls_than_firecracker():
    for arch in ("x86_64", "aarch64"):
        counts = {kind: len({r.call for r in rules}) for kind, rules in policies.load(arch).items()}
        assert all(counts[kind] <= most * 0.85 for kind, most in FIRECRACKER.items()), (arch, counts)


def test_an_api_needs_few_more():
    for arch in ("x86_64", "aarch64"):
        rules = policies.load(arch)
        more = {r.call for r in rules["vmm-api"]} - {r.call for r in rules["vmm"]}
        assert more == {"openat", "fcntl", "statx", "pread64", "io_setup"}, (arch, more)


def test_nothing_that_makes_processes_files_or_code():
    never = {"clone", "clone3", "fork", "vfork", "execve", "execveat", "open", "openat", "openat2", "creat",
             "mprotect", "pkey_mprotect", "mremap", "kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "ptrace",
             "process_vm_readv", "process_vm_writev", "bpf", "seccomp", "io_uring_setup", "userfaultfd", "mount",
             "setns", "unshare", "pidfd_open", "pidfd_getfd", "fcntl", "dup", "dup2", "dup3", "rt_sigaction",
             "bind", "listen", "socketpair", "memfd_create", "sendfile", "splice", "capset", "setuid", "keyctl"}
    for arch in ("x86_64", "aarch64"):
        for kind, rules in policies.load(arch).items():
            found = never & {r.call for r in rules} - ({"openat", "fcntl"} if kind == "vmm-api" else set())
            assert not found, (kind, found)


def test_an_api_opens_what_is_there_and_no_more():
    flags = {r.args["2"] for r in policies.load()["vmm-api"] if r.call == "openat"}
    assert flags == {f"{way}|O_NONBLOCK|O_NOCTTY|O_CLOEXEC" for way in ("O_RDONLY", "O_RDWR")}, flags


def test_calls_with_many_faces_are_never_allowed_as_a_whole():
    faces = {"ioctl": "1", "mmap": "2", "prctl": "0", "socket": "0", "tgkill": "0", "madvise": "2", "futex": "1",
             "fallocate": "1", "shutdown": "1", "accept4": "3", "openat": "2", "fcntl": "1", "statx": "2",
             "newfstatat": "3"}
    for kind, rules in policies.load().items():
        for r in rules:
            assert faces.get(r.call) is None or faces[r.call] in r.args, (kind, str(r))


def test_kvm_run_is_what_a_vcpus_filter_looks_for_first():
    assert str(policies.load()["vcpu"][0]) == "vcpu: ioctl 1=KVM_RUN"


def test_bad_json_is_named_with_its_line():
    status, err, _ = compile_policies(["{\n\"thread\": \"vmm\",\n}"])
    assert status == 1 and err.startswith("mote-seccomp-compile: 0.json: line 3: "), err
    status, err, _ = compile_policies(['{"thread": "vmm", "thread": "vmm"}'])
    assert status == 1 and "duplicate object key" in err, err


def test_bad_files():
    assert compile_policies([], "/no/such.json")[1].startswith("mote-seccomp-compile: /no/such.json: line -1: unable to open")
    assert compile_policies([GOOD["vmm"], GOOD["io"]])[1] == 'mote-seccomp-compile: there is no policy of "vcpu"\n'
    assert compile_policies([GOOD["vmm"], GOOD["vcpu"], GOOD["io"]])[1] == (
        'mote-seccomp-compile: there is no policy of "vmm-api"\n')
    assert compile_policies([GOOD["vmm"], GOOD["vmm"]])[1] == 'mote-seccomp-compile: 1.json: a second policy of "vmm"\n'
    assert compile_policies(["[]"])[1] == "mote-seccomp-compile: 0.json: is not an object\n"
    assert compile_policies(GOOD.values(), arch="riscv64")[1] == 'mote-seccomp-compile: "riscv64" is neither x86_64 nor aarch64\n'


def test_bad_policies():
    refused(lambda p: p["io"].update(thread="disk"), '2.json: "disk" is not a kind of thread')
    refused(lambda p: p["io"].update(default="allow"), '2.json: "default" is not known')
    refused(lambda p: p["io"].pop("about"), '2.json: "about" must be a string that says something')
    refused(lambda p: p["io"].update(rules=[]), '2.json: "rules" must be a list of rules')
    refused(lambda p: p["io"].update(rules={}), '2.json: "rules" must be a list of rules')
    refused(lambda p: p["io"]["rules"].insert(0, "write"), "2.json: rule 1 (?): is not an object")
    refused(lambda p: p["vmm-api"]["rules"].insert(1, "write"), "3.json: rule 2 (?): is not an object")


def test_bad_rules():
    refused(rule(why=""), first('"why" must be a string that says something'))
    refused(rule(call="frobnicate"), "1.json: rule 1 (frobnicate): x86_64 has no such system call")
    refused(rule(call="epoll_wait", arch="aarch64", color="blue"), '1.json: rule 1 (epoll_wait): "color" is not known')
    refused(rule(arch="arm"), first('"arch" is neither "x86_64" nor "aarch64"'))
    refused(rule(args={}), first('"args" must be an object of conditions'))
    refused(rule(args=[1]), first('"args" must be an object of conditions'))
    refused(rule(args={"6": 1}), first('"6" is not an argument, 0 to 5'))
    refused(rule(args={"01": 1}), first('"01" is not an argument, 0 to 5'))
    refused(rule(args={"0": "KVM_FLY"}), first('argument 0: "KVM_FLY" is not known'))
    refused(rule(args={"0": "KVM_RUN|"}), first('argument 0: "KVM_RUN|" is not known'))
    refused(rule(args={"0": ""}), first('argument 0: "" is not known'))
    refused(rule(args={"0": True}), first("argument 0: neither a number nor a name"))
    refused(rule(args={"0": 4294967296}), first("argument 0: 4294967296 has more than 32 bits"))
    refused(rule(args={"0": -1}), first("argument 0: -1 has more than 32 bits"))
    refused(rule(args={"0": []}), first("argument 0: one list of values is possible, not empty"))
    refused(rule(args={"0": [1], "1": [2]}), first("argument 1: one list of values is possible, not empty"))
    refused(rule(args={"0": {"with": 1}}), first('argument 0: "with" is not known'))
    refused(rule(args={"0": {"without": 0}}), first('argument 0: "without" no bits'))


def test_an_architectures_rule_is_checked_by_the_other_too():
    refused(rule(arch="aarch64", args={"0": "KVM_FLY"}), first('argument 0: "KVM_FLY" is not known'))


def test_usage():
    for arguments in ([], ["--header"], ["--binary", "x86_64", "/tmp/x"], ["--frobnicate", "a", "b"]):
        done = subprocess.run([COMPILER, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr.startswith("usage: "), (arguments, done)


if __name__ == "__main__":
    tap.run(globals())
