# SPDX-License-Identifier: Apache-2.0
"""What `mote doctor` says of hosts: trees of files in place of /proc and /sys, each with one thing that
isn't as it should be. None of it needs KVM, none of it may change whether a guest can run."""
import json
import os
import shutil
import subprocess

import pytest

from conftest import BUILD, TIMEOUT

HOLES = "sys/devices/system/cpu/vulnerabilities"
USERNS, CLONE = "proc/sys/user/max_user_namespaces", "proc/sys/kernel/unprivileged_userns_clone"
APPARMOR = "proc/sys/kernel/apparmor_restrict_unprivileged_userns"
INTEL, AMD = "sys/module/kvm_intel/parameters/nested", "sys/module/kvm_amd/parameters/nested"
LSM, ACTIONS = "sys/kernel/security/lsm", "proc/sys/kernel/seccomp/actions_avail"
THP, FREE = ("sys/kernel/mm/transparent_hugepage/enabled",
             "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
V2, NX = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,{}relatime 0 0\n", "sys/module/kvm/parameters/nx_huge_pages"

# A host as it should be.
HOST = {
    f"{HOLES}/meltdown": "Mitigation: PTI",
    f"{HOLES}/l1tf": "Mitigation: PTE Inversion; VMX: cache flushes, SMT disabled",
    f"{HOLES}/mds": "Mitigation: Clear CPU buffers; SMT disabled",
    f"{HOLES}/srbds": "Not affected",
    "sys/devices/system/cpu/smt/active": "0",
    "sys/kernel/mm/ksm/run": "0",
    INTEL: "N",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: A CPU\nmicrocode\t: 0x5003604\ncpu MHz\t\t: 1\n",
    "proc/swaps": SWAPS,
    "proc/self/ns/user": "",
    USERNS: "15000", CLONE: "1", APPARMOR: "0",
    LSM: "lockdown,capability,landlock,yama,apparmor",
    ACTIONS: "kill_process kill_thread trap errno user_notif trace log allow",
    THP: "always [madvise] never", FREE: "12",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids",
    "proc/mounts": "sysfs /sys sysfs rw 0 0\n" + V2.format("favordynmods,"),
}
SECURITY = {
    "processor": ("ok", "known holes that are closed, or not this processor's", 4),
    "SMT": ("ok", "off"),
    "KSM": ("ok", "off"),
    "nested KVM": ("ok", "off"),
    "microcode": ("ok", "revision 0x5003604; keep it up to date"),
    "swap": ("ok", "none on a disk"),
    "user namespaces": ("ok", "users can make them, as jails without root need"),
    "Landlock": ("ok", "on: what a jail has of the file system is said twice"),
    "seccomp": ("ok", "on: filters can end what makes a forbidden system call"),
}
OTHER = {
    "cgroups": ("ok", "version 2: cpuset cpu io memory pids"),
    "favordynmods": ("ok", '"/sys/fs/cgroup" has it'),
    "huge pages": ("ok", "12 of 2 MiB free"),
    "transparent huge pages": ("ok", "always [madvise] never"),
}

# name: (changes of the host's files, {check: what is said of it then}); None: a file, or line, that isn't there
CASES = {
    "SMT": ({"sys/devices/system/cpu/smt/active": "1"}, {"SMT": (
        "warn", "on: guests on the two threads of one core can watch each other; boot with nosmt "
                '("/sys/devices/system/cpu/smt/active" is 1)')}),
    "SMT not known": ({"sys/devices/system/cpu/smt/active": None}, {"SMT": (
        "warn", "not known whether two guests can share a core")}),
    "KSM": ({"sys/kernel/mm/ksm/run": "1"}, {"KSM": (
        "warn", "on: guests learn by the time of a write which pages others have too; write 2 to it "
                '("/sys/kernel/mm/ksm/run" is 1)')}),
    "KSM undone": ({"sys/kernel/mm/ksm/run": "2"}, {}),
    "no KSM": ({"sys/kernel/mm/ksm/run": None}, {"KSM": ("ok", "not in this kernel")}),
    "nested, Intel": ({INTEL: "Y"}, {"nested KVM": (
        "warn", "on: KVM's most intricate code is in reach, should a guest ever see VMX; kvm_intel.nested=0 "
                f'("/{INTEL}" is Y)')}),
    "nested, AMD": ({INTEL: None, AMD: "1"}, {"nested KVM": (
        "warn", "on: KVM's most intricate code is in reach, should a guest ever see SVM; kvm_amd.nested=0 "
                f'("/{AMD}" is 1)')}),
    "not nested, AMD": ({INTEL: None, AMD: "0"}, {}),
    "no KVM module": ({INTEL: None}, {"nested KVM": None}),
    "microcode hidden": ({"proc/cpuinfo": "processor\t: 0\nmicrocode\t: 0xffffffff\n"}, {"microcode": (
        "warn", "its revision isn't known, so whether it has its fixes isn't either; an outer hypervisor may "
                "hide it")}),
    "microcode not named": ({"proc/cpuinfo": "processor\t: 0\n"}, {"microcode": (
        "warn", "its revision isn't known, so whether it has its fixes isn't either; an outer hypervisor may "
                "hide it")}),
    "swap": ({"proc/swaps": SWAPS + "/dev/zram0 partition 1 0 -1\n/dev/sda2 partition 1 0 -2\n"}, {"swap": (
        "warn", '"/dev/sda2": the memory of guests gets on a disk and stays there; swapoff -a')}),
    "swap in memory": ({"proc/swaps": SWAPS + "/dev/zram0 partition 1 0 -1\n"}, {}),
    "no user namespaces": ({"proc/self/ns/user": None}, {"user namespaces": (
        "warn", "not in this kernel: no jail without root")}),
    "user namespaces at most 0": ({USERNS: "0"}, {"user namespaces": (
        "warn", f'none can be made: no jail without root ("/{USERNS}" is 0)')}),
    "user namespaces by root": ({CLONE: "0"}, {"user namespaces": (
        "warn", f'only root can make them: no jail without root ("/{CLONE}" is 0)')}),
    "user namespaces by profile": ({APPARMOR: "1"}, {"user namespaces": (
        "warn", "AppArmor lets only programs with a profile make them: no jail without root "
                f'("/{APPARMOR}" is 1)')}),
    "user namespaces, other kernels": ({USERNS: "1", CLONE: None, APPARMOR: None}, {}),
    "no Landlock": ({LSM: "capability,landlockish,yama"}, {"Landlock": (
        "warn", "off: only its mount namespace keeps a jail from files; boot with lsm=landlock,...")}),
    "Landlock last": ({LSM: "capability,landlock"}, {}),
    "no seccomp": ({ACTIONS: None}, {"seccomp": ("warn", "off: mote-vmm starts only with --no-seccomp")}),
    "seccomp without trap": ({ACTIONS: "kill_process trapped errno"}, {"seccomp": (
        "warn", "off: mote-vmm starts only with --no-seccomp")}),
    "cgroups version 1": ({"sys/fs/cgroup/cgroup.controllers": None, "sys/fs/cgroup/memory/tasks": ""}, {
        "cgroups": ("ok", "version 1")}),
    "cgroups of both versions": ({"sys/fs/cgroup/cgroup.controllers": None, "sys/fs/cgroup/memory/tasks": "",
                                  "sys/fs/cgroup/unified/cgroup.procs": ""}, {
        "cgroups": ("ok", "version 1, with version 2 beside it")}),
    "no cgroups": ({"sys/fs/cgroup/cgroup.controllers": None}, {
        "cgroups": ("note", "none mounted; only limits of microVMs need them")}),
    "favordynmods": ({"proc/mounts": V2.format("")}, {"favordynmods": (
        "note", 'starts may wait tens of ms for cgroup\'s lock; mount -o remount,favordynmods "/sys/fs/cgroup"')}),
    "favordynmods not needed": ({"proc/mounts": V2.format(""), NX: "never"}, {"favordynmods": (
        "ok", "not needed: kvm.nx_huge_pages=never")}),
    "favordynmods of no use": ({"proc/mounts": "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"},
                               {"favordynmods": None}),
    "no huge pages": ({FREE: "0", THP: "always madvise [never]"}, {
        "huge pages": ("note", 'no 2 MiB page is free; only "huge_pages": "2M" needs them'),
        "transparent huge pages": ("note", 'off; "huge_pages": "Transparent" has no effect')}),
    "kernel without huge pages": ({FREE: None, THP: None}, {
        "huge pages": ("note", 'no 2 MiB page is free; only "huge_pages": "2M" needs them'),
        "transparent huge pages": ("note", 'off; "huge_pages": "Transparent" has no effect')}),
}

# hole: what an open one means
MEANS = {
    "gather_data_sampling": "gather instructions read what others had in vector registers (Downfall)",
    "indirect_target_selection": "some indirect branches of the host go where a guest trained them to",
    "itlb_multihit": "a guest can stop the whole machine by changing its page sizes",
    "l1tf": "a guest reads the core's L1 cache, whoever filled it (Foreshadow); boot with l1tf=full,force",
    "mds": "what others just loaded and stored leaks from the core's buffers (ZombieLoad, RIDL)",
    "meltdown": "code reads the memory of the host's kernel, for want of page table isolation (KPTI)",
    "mmio_stale_data": "reads of device registers return what others left in the core's buffers",
    "old_microcode": "the processor's microcode lacks fixes that the kernel knows of; update it",
    "reg_file_data_sampling": "registers that others used can be read",
    "retbleed": "returns in the host's kernel go where a guest trained them to",
    "spec_rstack_overflow": "returns in the host's kernel go where a guest trained them to (Inception)",
    "spec_store_bypass": "loads see memory as it was before a store that they should have waited for",
    "spectre_v1": "the host's checks of an index are run past, and what lies behind it leaks",
    "spectre_v2": "indirect branches of the host go where a guest trained them to",
    "srbds": "random numbers that other cores just drew can be read",
    "tsa": "how long loads take tells what others stored",
    "tsx_async_abort": "aborted transactions read what others left in the core's buffers",
    "vmscape": "branches of the monitor go where its guest trained them to",
    "of_next_year": "see Documentation/admin-guide/hw-vuln of the kernel",
}
OPEN = ["Vulnerable", "Vulnerable: No microcode", "Mitigation: Clear CPU buffers; SMT vulnerable",
        "Mitigation: Clear CPU buffers; SMT Host state unknown", "Unknown: No mitigations",
        "Mitigation: Enhanced IBRS; IBPB: conditional; BHI: Vulnerable", "KVM: Vulnerable",
        "Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT disabled"]
CLOSED = ["Not affected", "Mitigation: PTI", "KVM: Mitigation: VMX disabled",
          "Mitigation: Speculative Store Bypass disabled via prctl",
          "Mitigation: Retpolines; IBPB: conditional; IBRS_FW; STIBP: disabled; RSB filling"]


def doctor(*arguments):
    return subprocess.run([BUILD / "mote", "doctor", *arguments], capture_output=True, text=True,
                          timeout=TIMEOUT, check=False)


@pytest.fixture
def look(tmp_path):
    """look(changes) -> {group: {check: (result, text, count if there is one)}} of that host."""
    def run(changes, group):
        for path, content in {**HOST, **changes}.items():
            if content is not None:
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_text(content if content.endswith("\n") else content + "\n")
        result = doctor("--json", "--sysroot", tmp_path)
        value = json.loads(result.stdout)
        failed = [c["check"] for c in value["checks"] if c["result"] == "fail"]
        assert result.stderr == "" and result.returncode == bool(failed)
        assert value["linux_can_run"] == (not failed)
        found = [c for c in value["checks"] if c["group"] == group and c["check"] != "tap"]
        assert not {c["check"] for c in found} & set(failed)
        assert len({c["check"] for c in found}) == len(found)
        return {c["check"]: (c["result"], c["text"], *([c["count"]] if "count" in c else [])) for c in found}
    return run


def test_a_host_as_it_should_be(look):
    assert look({}, "host security") == SECURITY
    assert look({}, "host") == OTHER


@pytest.mark.parametrize("name", CASES)
def test_one_thing_that_is_not(look, name):
    changes, said = CASES[name]
    for group, usual in (("host security", SECURITY), ("host", OTHER)):
        expected = {**usual, **{check: text for check, text in said.items() if check in usual}}
        assert look(changes, group) == {check: text for check, text in expected.items() if text}


@pytest.mark.parametrize("hole", MEANS)
def test_a_hole_is_open(look, hole):
    found = look({f"{HOLES}/{hole}": "Vulnerable"}, "host security")

    closed = 4 - (f"{HOLES}/{hole}" in HOST)
    assert found == {**SECURITY, hole: ("warn", f"Vulnerable: {MEANS[hole]}"),
                     "processor": (*SECURITY["processor"][:2], closed)}


@pytest.mark.parametrize("state", OPEN)
def test_words_for_open(look, state):
    assert look({f"{HOLES}/mds": state}, "host security")["mds"] == ("warn", f"{state}: {MEANS['mds']}")


@pytest.mark.parametrize("state", CLOSED)
def test_words_for_closed(look, state):
    assert look({f"{HOLES}/mds": state}, "host security") == SECURITY


def test_a_kernel_that_knows_no_holes(look):
    found = look({path: None for path in HOST if path.startswith(HOLES)}, "host security")

    assert found["processor"] == (
        "warn", f'open "/{HOLES}": No such file or directory; its holes aren\'t known')


def test_as_text(tmp_path):
    for path, content in HOST.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content + "\n")
    (tmp_path / HOLES / "mds").write_text("Vulnerable\n")
    lines = doctor("--sysroot", tmp_path).stdout.splitlines()

    assert [line for line in lines if line and line[:4] not in ("ok  ", "note", "warn", "FAIL")][:4] == [
        "KVM", "mote", "host", "host security"]
    start = lines.index("host security")
    assert lines[start - 1] == ""
    assert lines[start + 1:start + 4] == [
        f"warn  mds                        Vulnerable: {MEANS['mds']}",
        "ok    processor                  3: known holes that are closed, or not this processor's",
        "ok    SMT                        off"]


def test_only_kvm():
    value = json.loads(doctor("--kvm", "--json").stdout)
    assert {c["group"] for c in value["checks"]} == {"KVM"}


@pytest.mark.parametrize("arguments, line", [
    (["--frobnicate"], '"--frobnicate" is not an option; see `mote doctor --help`'),
    (["there"], '"there": takes no arguments'),
    (["--sysroot"], "--sysroot: needs a value"),
    (["--sysroot", "/no/such"], '--sysroot: open "/no/such": No such file or directory'),
    (["--sysroot", "/etc/passwd"], '--sysroot: open "/etc/passwd": Not a directory'),
])
def test_bad_arguments(arguments, line):
    result = doctor(*arguments)
    assert (result.returncode, result.stdout, result.stderr) == (125, "", f"mote doctor: {line}\n")


# ---- mote's own parts ----

@pytest.fixture
def parts(tmp_path):
    """parts(**{name: file}) -> what is said of programs that lie beside a copy of mote."""
    def run(**files):
        for name, source in {"mote": BUILD / "mote", **files}.items():
            shutil.copy(source, tmp_path / name)
            os.chmod(tmp_path / name, 0o755)
        process = subprocess.run([tmp_path / "mote", "doctor", "--json"], capture_output=True, text=True,
                                 timeout=TIMEOUT, check=False)
        return {c["check"]: (c["result"], c["text"].replace(str(tmp_path), "DIR"))
                for c in json.loads(process.stdout)["checks"] if c["group"] == "mote"}
    return run


def test_programs_are_static(parts):
    found = parts(**{name: BUILD / name for name in ("mote-vmm", "mote-jailer")})

    assert found["mote-vmm"] == ("ok", '"DIR/mote-vmm", static')
    assert found["mote-jailer"] == ("ok", '"DIR/mote-jailer", static')


def test_programs_are_not_static(parts):
    found = parts(**{"mote-vmm": BUILD / "mote", "mote-jailer": BUILD / "mote"})

    assert found["mote-vmm"] == ("warn", '"DIR/mote-vmm" is not a static program: a jail has no libraries, so '
                                         "it can't run in one")
    assert found["mote-jailer"] == ("warn", '"DIR/mote-jailer" is not a static program: each jail waits a '
                                            "millisecond for its libraries")


def test_programs_are_no_programs(parts):
    found = parts(**{"mote-vmm": __file__, "mote-jailer": "/dev/null"})

    assert found["mote-vmm"][0] == "warn" and found["mote-jailer"][0] == "warn"


def test_programs_are_not_there(parts):
    found = parts()

    missing = "%s is not beside mote in \"DIR\"; tools/quickstart builds it"
    assert found == {"guest kernel": ("fail", missing % "vmlinux-x86_64"),
                     "mote-vmm": ("fail", missing % "mote-vmm"),
                     "mote-jailer": ("warn", missing % "mote-jailer"),
                     "mote-initrd.cpio": ("fail", missing % "mote-initrd.cpio"),
                     "mote-root.erofs": ("fail", missing % "mote-root.erofs")}
