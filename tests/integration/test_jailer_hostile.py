# SPDX-License-Identifier: Apache-2.0
"""Attacks on the jailer itself, by whoever can write to a jail's directory or to a file's directory
that a configuration names: nothing outside may be written, chowned, opened or removed."""
import hashlib
import os
import subprocess
import threading

import pytest

from jailing import GID, UID, listing, monitor_of, root_only, world

pytestmark = root_only
assert world    # a fixture


@pytest.fixture
def victim(world):
    """A directory outside, of root's, whose state must stay what it is."""
    directory = world.make("victim")
    (directory / "secret").write_text("secret")
    (directory / "secret").chmod(0o600)
    before = state(directory)
    yield directory
    assert state(directory) == before


def state(directory):
    st = directory.stat()
    return (st.st_mode, st.st_uid, st.st_gid, listing(directory), (directory / "secret").read_text())


def prepared_root(world):
    """As its user may leave it."""
    world.root().mkdir(parents=True)
    os.chown(world.root(), UID, GID)
    return world.root()


def test_a_link_where_the_program_would_be_copied_to(world, victim):
    """CVE-2026-1386: Firecracker's jailer copied the program through a link that it found there."""
    (prepared_root(world) / "jail_probe").symlink_to(victim / "secret")

    assert world.run().returncode == 0


def test_a_link_in_the_pid_files_place(world, victim):
    (prepared_root(world) / "jail_probe.pid").symlink_to(victim / "new")

    result = world.run()
    assert result.returncode == 1
    assert 'its pid file "jail_probe.pid" exists' in result.stderr


@pytest.mark.parametrize("name", ["run", "dev"])
def test_links_for_directories_that_are_made_or_chowned(world, victim, name):
    """firecracker#5956: chown of a name that its user could replace."""
    (prepared_root(world) / name).symlink_to(victim)

    result = world.run()
    assert result.returncode == 1
    assert result.stderr == f'mote-jailer: jail: "{name}" is a symbolic link\n'


@pytest.mark.parametrize("where", ["jail_probe", "jail_probe/a", "jail_probe/a/root"])
def test_links_on_the_way_to_the_root(world, victim, where):
    path = world.base / where
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(victim)

    result = world.run()
    assert result.returncode == 1
    assert "is a symbolic link" in result.stderr


def test_a_directory_of_somebody_elses_in_the_root(world):
    run = prepared_root(world) / "run"
    run.mkdir()
    os.chown(run, 7777, 7777)

    result = world.run()
    assert result.returncode == 1
    assert result.stderr == (
        f'mote-jailer: "run" of the jail belongs to user 7777, neither root nor {UID}\n')
    assert run.stat().st_uid == 7777


def test_a_race_for_the_directory_that_is_chowned(world, victim):
    """The same, with the link appearing at any moment."""
    root = prepared_root(world)
    stop = threading.Event()

    def swap():
        (root / "link").symlink_to(victim)
        while not stop.is_set():
            try:
                os.rename(root / "link", root / "run")
                os.rename(root / "run", root / "link")
            except OSError:     # the jailer's directory is there just now
                try:
                    os.rmdir(root / "run")
                except OSError:
                    pass

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        results = [world.run() for _ in range(40)]
    finally:
        stop.set()
        swapper.join()
    assert {result.returncode for result in results} <= {0, 1}
    assert victim.stat().st_uid == 0


def test_the_program_cannot_be_reached_from_inside(world):
    """CVE-2019-5736: runc's own program was opened through /proc/self/exe and overwritten."""
    before = hashlib.sha256(world.probe.read_bytes()).hexdigest()
    process, seen = world.start()
    pid = monitor_of(process)

    assert seen["open_proc_self_exe"] == "No such file or directory"
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not any("jail_probe" in link or "mote-jailer" in link for link in links)
    assert os.readlink(f"/proc/{pid}/root") == "/"
    assert hashlib.sha256(world.probe.read_bytes()).hexdigest() == before


def test_no_directory_of_the_hosts_is_left_open(world):
    """CVE-2024-21626: a leaked descriptor of a host directory became the working directory."""
    leaked = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(leaked, True)
    process = subprocess.Popen(["/bin/sh", "-c", f'cd /proc/self/fd/{leaked}/etc && exec "$@"', "sh",
                                *world.command(args=["--wait"])], stdout=subprocess.PIPE,
                               pass_fds=(leaked,))
    world.started.append(process)
    process.stdout.readline()
    pid = monitor_of(process)

    assert not any(os.path.isdir(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    root = os.stat(f"/proc/{pid}/root")
    assert os.path.samestat(os.stat(f"/proc/{pid}/cwd"), root)
    assert os.path.samestat(os.stat(world.root()), root)
    os.close(leaked)


@pytest.mark.parametrize("number", [0, 1])
def test_no_standard_stream_is_a_directory(world, number):
    result = subprocess.run(["/bin/sh", "-c", f'exec "$@" {number}</', "sh", *world.command()],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert result.stderr == f"mote-jailer: file descriptor {number} is a directory\n"


def test_a_directory_that_is_passed_as_a_kernel(world):
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    config = world.config(boot_source={"kernel_image_path": f"/dev/fd/{directory}"})
    result = world.run("--config", config, pass_fds=(directory,))
    os.close(directory)

    assert result.returncode == 1
    assert result.stderr == (
        f'mote-jailer: boot-source: kernel: "/dev/fd/{directory}" is not a regular file\n')


def test_what_the_jailer_writes_to_proc_goes_to_proc(world):
    """CVE-2025-52881: writes to /proc were led to files that the container had put in the way."""
    fake = prepared_root(world) / "proc/self"
    fake.mkdir(parents=True)
    for name in ("oom_score_adj", "uid_map", "setgroups"):
        (fake / name).write_text("")
    process, _ = world.start("--oom-score-adj", "99")

    assert {p.name: p.read_text() for p in fake.iterdir()} == {"oom_score_adj": "", "uid_map": "",
                                                              "setgroups": ""}
    with open(f"/proc/{monitor_of(process)}/oom_score_adj", encoding="ascii") as file:
        assert file.read() == "99\n"


# ---- --cleanup ----

def clean_up(world):
    return subprocess.run([world.jailer, "--cleanup", "a", "--exec-file", world.probe, "--chroot-base-dir",
                           world.base], capture_output=True, text=True, timeout=120, check=False)


def test_cleanup_follows_no_link(world, victim):
    root = prepared_root(world)
    (root / "directory").symlink_to(victim)
    (root / "file").symlink_to(victim / "secret")
    (root / "sub").mkdir()
    (root / "sub/up").symlink_to("../../../../victim")
    os.link(victim / "secret", root / "hard")

    result = clean_up(world)
    assert (result.returncode, result.stderr) == (0, "")
    assert listing(world.base) == {str(world.base / "jail_probe"): (0o40755, 0, 0)}


def test_cleanup_goes_as_deep_as_there_is_something(world):
    deep = prepared_root(world)
    for _ in range(120):
        deep = deep / "d"
        deep.mkdir()
        (deep / "file").touch()

    assert clean_up(world).returncode == 0
    assert not (world.base / "jail_probe/a").exists()


def test_cleanup_enters_no_mount(world):
    mounted = prepared_root(world) / "m"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "x", mounted], check=True)
    try:
        (mounted / "kept").touch()
        result = clean_up(world)
        assert result.returncode == 1
        assert result.stderr == f'mote-jailer: "{world.base}/jail_probe/a": "m" is a mount\n'
        assert (mounted / "kept").exists()
    finally:
        subprocess.run(["umount", mounted], check=True)
    assert clean_up(world).returncode == 0


# ---- --config ----

def test_links_that_others_made_are_not_followed(world, victim):
    """A tenant who may write to the directory of a disk makes it a link to another's."""
    disk = world.files / "tenant"
    disk.symlink_to(victim / "secret")
    os.lchown(disk, UID, GID)
    config = world.config(drives=[{"drive_id": "d", "path_on_host": str(disk), "is_root_device": True}])

    result = world.run("--config", config)
    assert result.returncode == 1
    assert result.stderr == (
        f'mote-jailer: drive "d": open "{disk}": a symbolic link that user {UID} made\n')


def test_links_that_root_made_are_followed(world):
    world.file("target", "behind two links")
    (world.files / "second").symlink_to("target")
    (world.files / "first").symlink_to(world.files / "second")
    config = world.config(boot_source={"kernel_image_path": str(world.files / "first")})

    seen = world.look("--config", config)
    name = seen["config"]["boot-source"]["kernel_image_path"].removeprefix("/dev/fd/")
    assert seen["contents"][name] == "behind two links"


@pytest.mark.parametrize("make, cause", [
    (lambda path: os.mkfifo(path), "is not a regular file or block device"),
    (lambda path: os.mknod(path, 0o20666, os.makedev(1, 3)), "is not a regular file or block device"),
    (lambda path: path.mkdir(), "is not a regular file or block device"),
], ids=["fifo", "device", "directory"])
def test_what_is_not_a_disk_is_not_even_opened(world, make, cause):
    disk = world.files / "odd"
    make(disk)
    config = world.config(drives=[{"drive_id": "d", "path_on_host": str(disk), "is_root_device": True}])

    result = world.run("--config", config)
    assert result.returncode == 1
    assert result.stderr == f'mote-jailer: drive "d": "{disk}" {cause}\n'
