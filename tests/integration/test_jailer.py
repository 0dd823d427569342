# SPDX-License-Identifier: Apache-2.0
"""What is in a jail and what isn't, seen by a probe that runs in the monitor's place."""
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess

import pytest

from jailing import (AS_NOBODY, GID, NOBODY, UID, WITH_DEVICES, children, host_mounts, listing,
                     monitor_of, namespaces, root_only, visible, world)

pytestmark = root_only
NOSUID_NOEXEC, READ_ONLY, NODEV = 2 | 8, 1, 4
SECUREBITS = 0xEF   # all but keep_caps, and all locked
NOT_PERMITTED, NO_FILE, NO_ACCESS = ("Operation not permitted", "No such file or directory",
                                     "Permission denied")
READ_ONLY_FS = "Read-only file system"

assert world    # a fixture


def assert_no_rights(seen):
    for key in ("effective", "permitted", "inheritable", "bounding", "ambient"):
        assert seen[key] == 0, key
    assert seen["securebits"] == SECUREBITS
    assert seen["no_new_privs"] == 1
    for key in ("mount", "umount", "chroot", "securebits_back", "sethostname"):
        assert seen[key] == NOT_PERMITTED, key
    assert seen["open_proc_self_exe"] == NO_FILE
    assert seen["open_dev_fd"] == NO_FILE
    assert seen["write_dev"] == READ_ONLY_FS
    assert seen["kill_parent"] == "No such process"
    assert seen["mknod"] != "done" and seen["symlink"] != "done"


def test_firecrackers_way(world):
    seen = world.look(args=["--api-sock", "/run/api.sock"])

    assert_no_rights(seen)
    assert seen["argv"][:4] == ["jail_probe", "--id", "a", "--start-time-us"]
    assert seen["argv"][5::2] == ["--start-time-cpu-us", "--parent-cpu-time-us", "--api-sock"]
    assert seen["argv"][-1] == "/run/api.sock"
    assert all(word.isdigit() for word in seen["argv"][4:9:2])
    assert seen["environment"] == []
    assert seen["uids"] == [UID] * 3 and seen["gids"] == [GID] * 3 and seen["groups"] == 0
    assert seen["setuid"] == NOT_PERMITTED
    assert (seen["pid"], seen["ppid"]) == (1, 0)
    assert (seen["cwd"], seen["hostname"], seen["interfaces"]) == ("/", "a", ["lo"])
    assert set(seen["fds"]) == {"0", "1", "2"}
    assert seen["root_flags"] == NOSUID_NOEXEC
    assert seen["dev_flags"] == NOSUID_NOEXEC | READ_ONLY
    assert seen["files"] == {
        "/dev": ["40755", 0, 0, "0:0"],
        "/dev/kvm": ["20600", UID, GID, "10:232"],
        "/dev/net": ["40755", 0, 0, "0:0"],
        "/dev/net/tun": ["20600", UID, GID, "10:200"],
        "/jail_probe.pid": ["100644", 0, 0, "0:0"],
        "/run": ["40700", UID, GID, "0:0"],
    }
    assert seen["write_root"] == seen["write_run"] == "done"
    assert listing(world.base) == {
        str(world.base / path): value for path, value in {
            "jail_probe": (0o40755, 0, 0),
            "jail_probe/a": (0o40755, 0, 0),
            "jail_probe/a/root": (0o40700, UID, GID),
            "jail_probe/a/root/dev": (0o40755, 0, 0),
            "jail_probe/a/root/run": (0o40700, UID, GID),
            "jail_probe/a/root/run/written": (0o100600, UID, GID),
            "jail_probe/a/root/written": (0o100600, UID, GID),
        }.items()}


@pytest.mark.parametrize("mask", [0o077, 0o000])
@pytest.mark.parametrize("more", [[], ["--config"], ["--config", "--private-root"]], ids=" ".join)
def test_the_callers_umask_is_the_monitors_and_not_the_jailers(world, mask, more):
    more = [str(world.config()) if word == "here" else word for option in more
            for word in ((option, "here") if option == "--config" else (option,))]
    process, seen = world.start(*more, prefix=["sh", "-c", f'umask {mask:03o}; exec "$@"', "sh"])

    assert seen["umask"] == mask
    assert seen["open_kvm"] != NO_ACCESS
    assert visible(monitor_of(process))["/dev"] == ("40755", 0, 0)
    st = (world.base / "jail_probe").stat() if world.base.joinpath("jail_probe").exists() else None
    assert st is None or st.st_mode == 0o40755


def test_limits_have_their_defaults(world):
    seen = world.look()

    assert seen["nofile"] == [2048, 2048]
    assert seen["fsize"] == [-1, -1]
    assert seen["core"] == seen["memlock"] == [0, 0]
    assert seen["nproc"] == [16384, 16384]


def test_limits_that_are_asked_for(world):
    seen = world.look("--resource-limit", "no-file=77", "--resource-limit", "fsize=1048576",
                      "--resource-limit", "memlock=4096", "--resource-limit", "nproc=500")

    assert [seen[key] for key in ("nofile", "fsize", "memlock", "nproc", "core")] == [
        [77, 77], [1048576, 1048576], [4096, 4096], [500, 500], [0, 0]]


def test_oom_score(world):
    process, _ = world.start("--oom-score-adj", "321")

    with open(f"/proc/{monitor_of(process)}/oom_score_adj", encoding="ascii") as file:
        assert file.read() == "321\n"
    with open(f"/proc/{process.pid}/oom_score_adj", encoding="ascii") as file:
        assert file.read() != "321\n"


def test_namespaces_are_its_own(world):
    process, _ = world.start()
    ours, theirs = namespaces("self"), namespaces(monitor_of(process))

    assert {name for name in ours if ours[name] != theirs[name]} == {
        "mnt", "pid", "ipc", "uts", "net", "cgroup"}


def test_only_the_jails_root_is_mounted(world):
    before = host_mounts()
    process, _ = world.start()

    with open(f"/proc/{monitor_of(process)}/mountinfo", encoding="ascii") as file:
        mounts = [line.split() for line in file]
    assert [(m[4], m[5].split(",")[0], m[m.index("-") + 1]) for m in mounts[1:]] == [
        ("/dev", "ro", "tmpfs")]
    assert mounts[0][3].endswith("/jail_probe/a/root") and mounts[0][4] == "/"
    assert not any(field.startswith(("shared:", "master:")) for m in mounts for field in m)
    assert host_mounts() == before


def test_files_put_into_the_root_are_there(world):
    world.root().mkdir(parents=True)
    (world.root() / "vmlinux").write_text("kernel")
    (world.root() / "mounted").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", world.root() / "mounted"], check=True)
    try:
        (world.root() / "mounted/disk").write_text("disk")
        seen = world.look()
    finally:
        subprocess.run(["umount", world.root() / "mounted"], check=True)

    assert seen["files"]["/vmlinux"][0] == "100644"
    assert seen["files"]["/mounted/disk"][0] == "100644"
    assert seen["uids"][0] == world.root().stat().st_uid == UID


def test_what_the_user_had_mounted_for_the_jail_has_no_programs_and_stays_mounted(world):
    world.root().mkdir(parents=True)
    (world.root() / "m").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", world.root() / "m"], check=True)
    try:
        process, _ = world.start()
        with open(f"/proc/{monitor_of(process)}/mountinfo", encoding="ascii") as file:
            options = {line.split()[4]: line.split()[5].split(",") for line in file}
        assert {"nosuid", "noexec"} <= set(options["/m"])
        process.terminate()
        process.communicate()
        assert os.path.ismount(world.root() / "m")
    finally:
        subprocess.run(["umount", world.root() / "m"], check=True)


def test_a_network_namespace_to_join(world):
    subprocess.run(["ip", "netns", "add", "mote-jail-test"], check=True)
    try:
        subprocess.run(["ip", "-n", "mote-jail-test", "link", "add", "probe0", "type", "dummy"], check=False)
        process, seen = world.start("--netns", "/run/netns/mote-jail-test")
        expected = f"net:[{os.stat('/run/netns/mote-jail-test').st_ino}]"
        assert os.readlink(f"/proc/{monitor_of(process)}/ns/net") == expected
        assert seen["interfaces"][0] == "lo"
        process.kill()
        process.communicate()
    finally:
        subprocess.run(["ip", "netns", "del", "mote-jail-test"], check=True)


def test_the_hosts_network_on_request(world):
    process, _ = world.start("--netns", "/proc/self/ns/net")

    assert namespaces(monitor_of(process))["net"] == namespaces("self")["net"]


def test_userfaultfd_on_request(world):
    with open("/proc/misc", encoding="ascii") as misc:
        minors = {name: minor for minor, name in (line.split() for line in misc)}
    if "userfaultfd" not in minors:
        pytest.skip("this kernel has no /dev/userfaultfd")

    seen = world.look("--userfaultfd")

    assert seen["files"]["/dev/userfaultfd"] == ["20600", UID, GID, f"10:{minors['userfaultfd']}"]


def test_a_base_on_a_noexec_mount_will_do(world):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec,mode=755", "x", world.base], check=True)
    try:
        assert world.look()["pid"] == 1
    finally:
        subprocess.run(["umount", world.base], check=True)


# ---- --config ----

CONFIG_FILES = {"/dev": ("40755", 0, 0), "/dev/kvm": ("20600", UID, GID)}


def in_config(seen, *path):
    value = seen["config"]
    for key in path:
        value = value[key]
    return value


def content(seen, *path):
    return seen["contents"][in_config(seen, *path).removeprefix("/dev/fd/")]


@pytest.mark.parametrize("more", [[], ["--private-root"]], ids=["directory", "private"])
def test_a_configuration_is_all_that_enters(world, more):
    sockets = world.make("sockets")
    os.chown(sockets, UID, GID)
    (world.files / "initrd").write_text("the initrd")
    config = world.config(
        boot_source={"kernel_image_path": str(world.file("kernel", "the kernel", 0o600)),
                     "initrd_path": str(world.files / "initrd")},
        vsock={"guest_cid": 3, "uds_path": str(sockets / "v")},
        metrics={"metrics_path": str(world.files / "metrics")},
        logger={"log_path": str(world.files / "log")})
    before = listing(world.base)
    process, seen = world.start("--config", config, *more, base=not more)
    pid = monitor_of(process)

    assert_no_rights(seen)
    assert content(seen, "boot-source", "kernel_image_path") == "the kernel"
    assert content(seen, "boot-source", "initrd_path") == "the initrd"
    assert content(seen, "drives", 0, "path_on_host") == "the disk"
    assert in_config(seen, "vsock", "uds_path") == "/vsock/v"
    modes = {key: seen["fds"][in_config(seen, *path).removeprefix("/dev/fd/")] for key, path in {
        "kernel": ("boot-source", "kernel_image_path"), "disk": ("drives", 0, "path_on_host"),
        "log": ("logger", "log_path"), "metrics": ("metrics", "metrics_path")}.items()}
    assert modes == {"kernel": os.O_RDONLY, "disk": os.O_RDWR, "log": os.O_WRONLY, "metrics": os.O_WRONLY}
    assert len(seen["fds"]) == 3 + 6    # the configuration itself is the sixth
    assert seen["argv"][-3:-1] == ["--config-file", seen["argv"][-2]]
    assert seen["argv"][-4] == "--no-api"
    assert seen["root_flags"] == NOSUID_NOEXEC | NODEV | READ_ONLY
    assert seen["dev_flags"] == NOSUID_NOEXEC | READ_ONLY
    assert (seen["write_root"], seen["write_run"]) == (READ_ONLY_FS, NO_FILE)
    assert (seen["write_vsock"], seen["bind_vsock"]) in ((NO_ACCESS, "done"), ("done", "done"))
    assert seen["files"] == {} or "/dev/kvm" in seen["files"]
    assert (sockets / "probe.sock").is_socket()
    assert visible(pid) == {**CONFIG_FILES, "/vsock": ("40755", UID, GID),
                            "/vsock/probe.sock": ("140755", UID, GID)}
    if more:
        assert listing(world.base) == before
    process.terminate()
    assert process.wait(10) == 42
    assert {p for p in listing(world.base) if not p.endswith("/jail_probe")} == set()


def test_without_vsock_there_is_only_kvm(world):
    process, _ = world.start("--config", world.config(), "--private-root")

    assert visible(monitor_of(process)) == CONFIG_FILES


def test_landlock_says_the_same_once_more(world):
    # landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION)
    abi = ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1)
    if abi < 1:
        pytest.skip("this kernel has no Landlock")

    seen = world.look("--config", world.config(), "--private-root")

    # It forbids to read even the directories that are there; from version 4 on TCP.
    assert seen["files"] == {}
    assert seen["bind_tcp"] == (NO_ACCESS if abi >= 4 else "done")


def test_a_read_only_drive_is_open_for_reading_only(world):
    disk = world.file("ro", "ro", 0o400)
    seen = world.look("--config", world.config(drives=[
        {"drive_id": "d", "path_on_host": str(disk), "is_root_device": True, "is_read_only": True}]))

    assert content(seen, "drives", 0, "path_on_host") == "ro"
    assert seen["fds"][in_config(seen, "drives", 0, "path_on_host").removeprefix("/dev/fd/")] == os.O_RDONLY


def test_descriptors_of_the_callers_go_through(world):
    with open(world.file("mine", "the caller's"), encoding="ascii") as mine, \
            open("/etc/passwd", encoding="ascii") as leaked:
        config = world.config(boot_source={"kernel_image_path": f"/dev/fd/{mine.fileno()}"})
        seen = world.look("--config", config, pass_fds=(mine.fileno(), leaked.fileno()))
        assert content(seen, "boot-source", "kernel_image_path") == "the caller's"
        assert str(leaked.fileno()) not in seen["fds"] or len(seen["fds"]) == 3 + 3


def test_a_tap_is_handed_over_attached(world):
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("no /dev/net/tun")
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"motejail0", 0x5002))     # TUNSETIFF
    fcntl.ioctl(tun, 0x400454CB, 1)                                                 # TUNSETPERSIST
    os.close(tun)
    try:
        config = world.config(network_interfaces=[{"iface_id": "e", "host_dev_name": "motejail0"}])
        process, seen = world.start("--config", config)
        name = in_config(seen, "network-interfaces", 0, "host_dev_name")
        assert name.startswith("/dev/fd/")
        fd = os.open(f"/proc/{monitor_of(process)}/fdinfo/{name.removeprefix('/dev/fd/')}", os.O_RDONLY)
        assert b"iff:\tmotejail0" in os.read(fd, 4096)
        os.close(fd)
        assert seen["interfaces"] == ["lo"]
        process.kill()
        process.communicate()
    finally:
        subprocess.run(["ip", "link", "del", "motejail0"], check=True)


# ---- without root ----

def test_without_root(world):
    sockets = world.make("sockets")
    os.chown(sockets, NOBODY, NOBODY)
    config = world.config(vsock={"guest_cid": 3, "uds_path": str(sockets / "v")})
    process, seen = world.start("--config", config, prefix=[*WITH_DEVICES, *AS_NOBODY], uid=None, base=False)
    pid = monitor_of(process)

    assert_no_rights(seen)
    assert seen["uids"] == [NOBODY] * 3 and seen["gids"] == [NOBODY] * 3 and seen["groups"] == 0
    assert seen["setuid"] == "Invalid argument"     # user 0 doesn't exist there
    assert content(seen, "boot-source", "kernel_image_path") == "the kernel"
    assert visible(pid) == {"/dev": ("40755", NOBODY, NOBODY), "/dev/kvm": ("20666", 0, 0),
                            "/vsock": ("40755", NOBODY, NOBODY),
                            "/vsock/probe.sock": ("140755", NOBODY, NOBODY)}
    ours, theirs = namespaces("self"), namespaces(pid)
    assert {name for name in ours if ours[name] != theirs[name]} == set(ours) - {"time"}
    with open(f"/proc/{pid}/uid_map", encoding="ascii") as uids:
        assert uids.read().split() == [str(NOBODY), str(NOBODY), "1"]
    with open(f"/proc/{pid}/setgroups", encoding="ascii") as setgroups:
        assert setgroups.read() == "deny\n"
    assert seen["nproc"] == [256, 256]
    process.terminate()
    assert process.wait(10) == 42
    assert listing(world.base) == {}


def test_ten_at_once_do_not_meet(world):
    started = [world.start(name=f"n{i}", uid=UID + i) for i in range(10)]

    assert [seen["hostname"] for _, seen in started] == [f"n{i}" for i in range(10)]
    assert [seen["uids"][0] for _, seen in started] == [UID + i for i in range(10)]
    monitors = [monitor_of(process) for process, _ in started]
    for kind in ("mnt", "pid", "net", "ipc", "uts"):
        assert len({namespaces(pid)[kind] for pid in monitors}) == 10
    for process, _ in started:
        process.terminate()
    assert [process.wait(10) for process, _ in started] == [42] * 10
    assert sorted(p.name for p in (world.base / "jail_probe").iterdir()) == sorted(f"n{i}" for i in range(10))


def test_a_jail_holds_nothing_of_the_jailers(world):
    """No descriptor, no socket to it, no process beside the probe."""
    ours, theirs = socket.socketpair()
    process, seen = world.start(pass_fds=(theirs.fileno(),))
    theirs.close()

    assert set(seen["fds"]) == {"0", "1", "2"}
    assert children(monitor_of(process)) == []
    # The waiting jailer has closed what the caller leaked, too.
    ours.settimeout(10)
    assert ours.recv(1) == b""
    assert sorted(os.listdir(f"/proc/{process.pid}/fd"), key=int)[:3] == ["0", "1", "2"]
    ours.close()


def test_the_waiting_jailer_can_do_little(world):
    process, _ = world.start()

    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        status = dict(line.split(":\t") for line in file)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 5 | 1 << 1     # kill, dac_override
    assert status["NoNewPrivs"] == "1\n"
    process.terminate()
    assert process.wait(10) == 42
    assert not (world.root() / "jail_probe.pid").exists()


def test_the_waiting_jailer_is_small(world):
    process, _ = world.start("--config", world.config(), "--private-root")

    with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as file:
        sizes = {line.split(":")[0]: line.split()[1] for line in list(file)[1:]}
    assert int(sizes["Anonymous"]) <= 160, json.dumps(sizes)
