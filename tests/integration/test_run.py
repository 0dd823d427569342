# SPDX-License-Identifier: Apache-2.0
"""`mote run` and `mote doctor` as a user meets them."""
import hashlib
import json
import os
import pty
import signal
import subprocess
import time

import pytest

from conftest import BUILD, TIMEOUT, sh, wait_for
from jailing import AS_NOBODY, WITH_DEVICES


def start(*command, **streams):
    """mote run with pipes where nothing else is said."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([str(BUILD / "mote"), "run", *command], **streams)


def test_exit_status_is_the_commands(mote):
    result = mote("run", "--", "sh", "-c", "exit 7")
    assert (result.status, result.out, result.err) == (7, "", ""), result


def test_output_goes_where_it_belongs_byte_by_byte(mote):
    result = mote("run", "--", "sh", "-c", r"printf 'a\0b\377'; echo to stderr >&2", text=False)
    assert (result.status, result.out, result.err) == (0, b"a\0b\xff", b"to stderr\n"), result


def test_stdin_reaches_the_command_and_ends(mote):
    data = os.urandom(300000)
    result = mote("run", "--", "md5sum", stdin=data, text=False)
    assert result.out.split()[0].decode() == hashlib.md5(data).hexdigest(), result


def test_megabytes_of_output_arrive_whole(mote):
    result = mote("run", "--", "sh", "-c", "seq 1 300000")
    assert result.out == "".join(f"{i}\n" for i in range(1, 300001))


def test_a_signal_that_ends_the_command_is_128_and_its_number(mote):
    assert mote("run", "--", "sh", "-c", "kill -9 $$").status == 137


@pytest.mark.parametrize("command,status,text", [
    (["nosuchcommand"], 127, 'mote: exec "nosuchcommand": No such file or directory\n'),
    (["/etc/passwd"], 126, 'mote: exec "/etc/passwd": Permission denied\n'),
])
def test_what_cannot_be_executed(mote, command, status, text):
    result = mote("run", "--", *command)
    assert (result.status, result.err, result.out) == (status, text, ""), result


def test_environment_directory_and_host_name(mote):
    result = mote("run", "--env", "A=b c", "--env", "EMPTY=", "--workdir", "/tmp", "--",
                  "sh", "-c", 'echo "$A|$EMPTY|$HOME|$(pwd)|$(hostname)|$$"; set | grep -c ^MOTE')
    assert result.out.splitlines()[0].startswith("b c||/root|/tmp|mote|"), result


def test_missing_directory_is_named(mote):
    result = mote("run", "--workdir", "/no/such", "--", "true")
    assert (result.status, result.err) == (127, 'mote: chdir to "/no/such": No such file or directory\n')


def test_cpus_and_memory(mote):
    result = mote("run", "--cpus", "3", "--memory", "300", "--", "sh", "-c", "nproc; grep MemTotal /proc/meminfo")
    cpus, memory = result.out.splitlines()
    assert cpus == "3" and 250000 < int(memory.split()[1]) < 300 * 1024


def test_the_root_is_writable_and_forgets(mote):
    script = "test ! -e /new && echo x >/new && rm /bin/vi && cat /new && touch /etc/passwd"
    for _ in range(2):
        result = mote("run", "--", "sh", "-c", script)
        assert (result.status, result.out) == (0, "x\n"), result


def test_timeout_kills_and_says_124(mote):
    result = mote("run", "--timeout", "6", "--", "sleep", "1000")
    assert (result.status, result.err) == (124, "mote run: timed out after 6 s\n"), result
    assert not sh("pgrep mote-vmm || true")


def test_directory_as_root(mote, tmp_path):
    (tmp_path / "bin").mkdir()
    busybox = sh("command -v busybox").strip()
    sh(f"cp {busybox} {tmp_path}/bin/busybox; ln -s busybox {tmp_path}/bin/sh; ln -s busybox {tmp_path}/bin/cat")
    (tmp_path / "greeting").write_text("from a directory\n")
    result = mote("run", "--rootfs", tmp_path, "--", "sh", "-c", "cat /greeting; echo changed >/greeting")
    assert (result.status, result.out) == (0, "from a directory\n"), result
    assert (tmp_path / "greeting").read_text() == "from a directory\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin", "greeting"]


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    sh(f"cp $(command -v busybox) {root}/bin/busybox; for a in sh cat echo; do ln -s busybox {root}/bin/$a; done")
    (root / "greeting").write_text("from an image\n")
    return root


@pytest.mark.parametrize("kind,make", [
    ("ext4", "mke2fs -q -t ext4 -d {tree} {image} 16M"),
    ("squashfs", "mksquashfs {tree} {image} -quiet -no-progress -comp gzip"),
    ("erofs", "mkfs.erofs --quiet {image} {tree}"),
])
def test_image_as_root(mote, tmp_path, tree, kind, make):
    image = tmp_path / f"image.{kind}"
    sh(make.format(tree=tree, image=image))
    before = image.read_bytes()
    result = mote("run", "--rootfs", image, "--", "sh", "-c", "cat /greeting; echo changed >/greeting")
    assert (result.status, result.out) == (0, "from an image\n"), result
    assert image.read_bytes() == before


def test_writable_image_keeps_changes(mote, tmp_path, tree):
    image = tmp_path / "image.ext4"
    sh(f"mke2fs -q -t ext4 -d {tree} {image} 16M")
    assert mote("run", "--writable", "--rootfs", image, "--", "sh", "-c", "echo kept >/greeting").status == 0
    result = mote("run", "--rootfs", image, "--", "cat", "/greeting")
    assert result.out == "kept\n", result
    # Clean: nothing left in the journal for a later mount to repair.
    assert "needs_recovery" not in sh(f"dumpe2fs -h {image} 2>/dev/null")


def test_ext4_that_was_not_unmounted(mote, tmp_path, tree):
    image = tmp_path / "image.ext4"
    sh(f"mke2fs -q -t ext4 -d {tree} {image} 16M && debugfs -w -R 'feature needs_recovery' {image} 2>&1")
    assert "needs_recovery" in sh(f"dumpe2fs -h {image} 2>/dev/null")
    result = mote("run", "--rootfs", image, "--", "cat", "/greeting")
    assert (result.status, result.out) == (0, "from an image\n"), result


def test_directory_with_the_name_of_an_option(tmp_path, tree):
    tree.rename(tmp_path / "-d")
    process = start("--rootfs", "-d", "--", "cat", "/greeting", cwd=tmp_path)
    assert process.communicate(timeout=TIMEOUT) == (b"from an image\n", b"")


def test_directory_where_no_file_can_be_without_a_name(mote, tmp_path, tree):
    """overlayfs before Linux 6.3; hosts with a newer one have nothing to test here."""
    mounted = tmp_path / "mounted"
    for name in ("mounted", "lower", "upper", "work"):
        (tmp_path / name).mkdir()
    sh(f"cd {tmp_path} && mount -t overlay o -o lowerdir=lower,upperdir=upper,workdir=work {mounted}")
    try:
        try:
            os.close(os.open(mounted, os.O_TMPFILE | os.O_RDWR))
            pytest.skip("overlayfs has O_TMPFILE here")
        except OSError:
            pass
        process = start("--rootfs", str(tree), "--", "cat", "/greeting", env={**os.environ, "TMPDIR": str(mounted)})
        assert process.communicate(timeout=TIMEOUT) == (b"from an image\n", b"")
        assert not list(mounted.iterdir())
    finally:
        sh(f"umount {mounted}")


def test_json_has_everything(mote):
    result = mote("run", "--json", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    value = json.loads(result.out)
    assert result.status == 3 and result.err == ""
    assert (value["exit_status"], value["result"], value["stdout"], value["stderr"]) == (3, "exited", "out\n", "err\n")
    timing = value["timing"]
    parts = sum(v for k, v in timing.items() if k not in ("total_ms", "guest_boot_ms"))
    assert abs(parts - timing["total_ms"]) < 0.05 * timing["total_ms"], timing
    assert timing["kernel_ms"] > 0
    assert value["metrics"]["block_root"]["read"]["bytes"] > 0


def test_signal_goes_to_the_command_first(mote):
    process = subprocess.Popen([str(BUILD / "mote"), "run", "--", "sh", "-c",
                                "trap 'echo got it; exit 9' INT; echo ready; while :; do sleep 1; done"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (9, "got it\n"), err


def test_a_signal_overtakes_stdin_that_nobody_reads():
    with open("/dev/zero", "rb") as zero:
        process = start("--", "sh", "-c", "trap 'echo got it; exit 9' INT; echo ready; while :; do sleep 1; done",
                        stdin=zero)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=TIMEOUT) == (b"got it\n", b"")
    assert process.returncode == 9


def test_a_command_that_reads_no_stdin_for_long_gets_it_all(mote):
    data = os.urandom(1000000)
    result = mote("run", "--", "sh", "-c", "sleep 12; md5sum", stdin=data, text=False)
    assert result.out.split()[0].decode() == hashlib.md5(data).hexdigest(), result


def test_timeout_with_a_stdout_that_blocks():
    process = start("--timeout", "12", "--", "yes")
    assert process.wait(timeout=TIMEOUT) == 124
    assert process.stderr.read() == b"mote run: timed out after 12 s\n"


def test_a_stdout_that_blocks_keeps_no_signal_and_loses_no_byte():
    process = start("--", "sh", "-c", "trap 'exit 9' TERM; echo ready; seq 1 300000 & while :; do wait; done")
    assert process.stdout.readline() == b"ready\n"
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    out = process.communicate(timeout=TIMEOUT)[0]
    assert process.returncode == 9
    lines = out.split(b"\n")[:-1]
    assert len(lines) > 1000 and lines == [b"%d" % i for i in range(1, len(lines) + 1)]


def test_second_signal_ends_mote_with_its_number():
    process = start("--", "sh", "-c", "trap '' TERM INT; echo ready; while :; do sleep 1; done")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=TIMEOUT) == (b"", b"mote run: interrupted\n")
    assert process.returncode == 128 + signal.SIGTERM


def test_a_reader_that_leaves_ends_the_command():
    result = subprocess.run(["bash", "-c", f"{BUILD}/mote run -- yes | head -1; echo ${{PIPESTATUS[0]}}"],
                            capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (result.stdout, result.stderr) == (f"y\n{128 + signal.SIGPIPE}\n", "")


def test_the_command_gets_sigpipe(mote):
    result = mote("run", "--", "grep", "SigIgn", "/proc/self/status")
    assert (result.status, result.out) == (0, "SigIgn:\t0000000000000000\n"), result
    result = mote("run", "--", "sh", "-c", "yes | head -1")
    assert (result.status, result.out, result.err) == (0, "y\n", ""), result


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path, closed):
    out = tmp_path / "out"
    command = f"{BUILD}/mote run --rootfs {BUILD}/mote-root.erofs -- sh -c 'cat; echo text; exit 5' {closed}"
    result = subprocess.run(["sh", "-c", f"exec >{out} 2>&1 </dev/null; {command}"], timeout=TIMEOUT, check=False)
    assert (result.returncode, out.read_text()) == (5, "" if ">" in closed else "text\n")


def test_terminal_that_is_none(mote):
    result = mote("run", "--tty", "--", "true")
    assert (result.status, result.err) == (125, "mote run: --tty: stdin is not a terminal\n"), result


def test_terminal():
    master, slave = pty.openpty()
    process = start("--tty", "--", "sh", "-c", "test -t 0 && test -t 1 && read a && echo got $a", stdin=slave)
    os.close(slave)
    os.write(master, b"line\n")
    out, err = process.communicate(timeout=TIMEOUT)
    os.close(master)
    assert (process.returncode, out, err) == (0, b"line\r\ngot line\r\n", b"")


def test_an_orphan_that_writes_all_the_time_holds_nobody(mote):
    result = mote("run", "--", "sh", "-c", "yes >&2 & exit 3")
    assert result.status == 3, result


@pytest.mark.parametrize("delay", [0, 0.02, 0.1, 0.3, None])
def test_killed_mote_leaves_no_monitor_and_no_files(delay):
    """At any time: from its first moments, before the agent is there, to a running command."""
    before = set(os.listdir("/tmp"))
    process = start("--", "sh", "-c", "echo up; sleep 1000")
    if delay is None:
        assert process.stdout.readline() == b"up\n"
    else:
        time.sleep(delay)
    process.kill()
    process.communicate(timeout=TIMEOUT)
    wait_for(lambda: not sh("pgrep mote-vmm || true"), what="the monitor's end")
    assert set(os.listdir("/tmp")) <= before


def test_no_socket_is_made_in_any_directory():
    """The agent's connection is inherited: mote needs no /tmp."""
    result = subprocess.run(["unshare", "-m", "sh", "-c", f"cp -r {BUILD} /run/mote-copy && mount -t tmpfs -o ro none /tmp && "
                             "/run/mote-copy/mote run -- echo hello; rm -rf /run/mote-copy"],
                            capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (result.stdout, result.stderr) == ("hello\n", "")


def test_a_command_that_wants_no_stdin_leaves_its_writer_waiting():
    with open("/dev/zero", "rb") as zero:
        process = start("--", "sh", "-c", "exec <&-; echo closed; sleep 4; exit 3", stdin=zero)
        assert process.stdout.readline() == b"closed\n"
        time.sleep(1)
        used = lambda: sum(int(n) for n in open(f"/proc/{process.pid}/stat").read().rsplit(")")[1].split()[11:13])
        before = used()
        time.sleep(1)
        assert used() - before < 10  # of 100 ticks
        assert process.communicate(timeout=TIMEOUT) == (b"", b"")
    assert process.returncode == 3


def test_containers_can_run_inside(mote):
    """Namespaces and cgroup v2 with its controllers: what a container runtime wants from a kernel."""
    result = mote("run", "--", "sh", "-c",
                  "unshare -m -u -i -n -p -f -U -r sh -c 'hostname inside && hostname && id -u'; hostname; "
                  "cat /sys/fs/cgroup/cgroup.controllers; mkdir /sys/fs/cgroup/x && "
                  "echo +memory +pids >/sys/fs/cgroup/cgroup.subtree_control && ls /sys/fs/cgroup/x | grep -c memory.max")
    lines = result.out.splitlines()
    assert lines[:3] == ["inside", "0", "mote"], result
    assert {"cpu", "io", "memory", "pids"} <= set(lines[3].split()), result
    assert lines[4] == "1", result


def test_processes_keep_their_registers_apart(mote):
    """Many processes that compute with floating point at once get the same result as one."""
    result = mote("run", "--cpus", "2", "--", "sh", "-c",
                  "for i in 1 2 3 4 5 6; do awk 'BEGIN{x=0; for(i=1;i<60000;i++) x+=i/7*1.1; printf \"%.6f\\n\", x}' & done; wait")
    assert len(set(result.out.splitlines())) == 1 and len(result.out.splitlines()) == 6, result


@pytest.mark.parametrize("arguments,message", [
    ([], "no command given; see `mote run --help`"),
    (["--cpus", "0", "--", "true"], '--cpus: "0" is not a number from 1 to 32'),
    (["--cpus", "33", "--", "true"], '--cpus: "33" is not a number from 1 to 32'),
    (["--memory", "-5", "--", "true"], '--memory: "-5" is not a number from 16 to 261120'),
    (["--memory", "12x", "--", "true"], '--memory: "12x" is not a number from 16 to 261120'),
    (["--timeout", "0", "--", "true"], '--timeout: "0" is not a number from 1 to 31536000'),
    (["--bogus", "--", "true"], '"--bogus" is not an option; see `mote run --help`'),
    (["--cpus"], "--cpus needs an argument"),
    (["--net", "eth0", "--", "true"], '--net: "eth0" is none of tap=NAME, ip=A.B.C.D/LEN, gw=A.B.C.D'),
    (["--net", "tap=x,ip=1.2.3.4", "--", "true"], '--net: "ip=1.2.3.4" is none of tap=NAME, ip=A.B.C.D/LEN, gw=A.B.C.D'),
    (["--net", "ip=1.2.3.4/24", "--", "true"], '--net: tap=NAME is missing (or say "none")'),
    (["--env", "NOVALUE", "--", "true"], '--env: "NOVALUE" is not NAME=VALUE'),
    (["--writable", "--", "true"], "--writable needs --rootfs"),
    (["--rootfs", "/no/such", "--", "true"], 'rootfs "/no/such": No such file or directory'),
    (["--rootfs", "/etc/hostname", "--", "true"],
     'rootfs "/etc/hostname": neither a directory nor an ext4, erofs or squashfs image'),
])
def test_bad_arguments_get_one_line(mote, arguments, message):
    result = mote("run", *arguments)
    assert (result.status, result.out, result.err) == (125, "", f"mote run: {message}\n"), result


@pytest.mark.parametrize("arguments,line", [
    (["--kernel", "/no/such"],
     'mote-jailer: boot-source: kernel: open "/no/such": No such file or directory\n'),
    (["--net", "tap=nosuchtap"], None),
])
def test_what_the_monitor_refuses(mote, arguments, line):
    result = mote("run", *arguments, "--", "true")
    assert result.status == 125 and result.out == "", result
    assert result.err.count("\n") == 2 and "Traceback" not in result.err
    assert line is None or result.err.startswith(line), result
    assert result.err.endswith("mote run: mote-jailer exited with 1\n")


def test_a_kernel_that_is_none_is_refused_in_the_jail(mote):
    result = mote("run", "--kernel", "/etc/passwd", "--", "true")
    assert result.status == 125 and result.err.startswith('mote-vmm: boot-source: kernel "/dev/fd/'), result
    assert result.err.endswith("mote run: mote-vmm exited with 152: the microVM ended before the command did\n")


def test_the_monitor_is_in_a_jail():
    process = start("--", "sh", "-c", "echo up; sleep 1000")
    assert process.stdout.readline() == b"up\n"
    (monitor,) = sh(f"pgrep -P {process.pid}").split()
    proc = f"/proc/{monitor}"
    status = dict(line.split(":\t") for line in open(f"{proc}/status", encoding="ascii").read().splitlines())
    user = 0x70000000 + process.pid
    assert status["Name"] == "mote-vmm"
    assert status["Uid"].split() == status["Gid"].split() == [str(user)] * 4 and status["Groups"].strip() == ""
    assert {status[key] for key in status if key.startswith("Cap")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for namespace in ("mnt", "pid", "ipc", "uts", "net", "cgroup"):
        assert os.readlink(f"{proc}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")
    assert os.listdir(f"{proc}/root") == ["dev"] and os.listdir(f"{proc}/root/dev") == ["kvm"]
    process.kill()
    process.communicate()
    wait_for(lambda: not os.path.exists(proc), what="the monitor's end")


def test_without_a_jail_it_says_so(mote):
    result = mote("run", "--no-jail", "--", "sh", "-c", "exit 7")
    assert (result.status, result.out) == (7, "")
    assert result.err == "mote run: --no-jail: the monitor has your rights and sees your files\n"


def test_without_root():
    """The jail is in a user namespace then; nothing here is root's, at no time."""
    command = [*WITH_DEVICES, *AS_NOBODY, str(BUILD / "mote"), "run", "--", "sh", "-c", "id -u; exit 7"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (7, "0\n", "")


def test_help_and_version(mote):
    for arguments in (["--help"], ["run", "--help"], ["doctor", "--help"]):
        result = mote(*arguments)
        assert result.status == 0 and "Example" in result.out and result.err == ""
    assert mote("--version").out.startswith("mote ")
    assert mote("frobnicate").err == 'mote: "frobnicate" is not a command; `mote --help` lists them\n'


def test_doctor_says_that_linux_can_run(mote):
    result = mote("doctor")
    assert result.status == 0, result
    assert result.out.endswith("\nA Linux guest can run here.\n")
    value = json.loads(mote("doctor", "--json").out)
    assert value["linux_can_run"] is True
    assert {c["check"] for c in value["checks"]} >= {"kvm", "capabilities", "int3", "SYSCALL", "guest kernel", "tap"}


def test_doctor_without_kvm_says_why(mote):
    result = subprocess.run(["unshare", "-m", "sh", "-c", f"mount --bind /dev/null /dev/kvm; exec {BUILD}/mote doctor"],
                            capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "FAIL  kvm" in result.stdout and "\nA Linux guest cannot run here: kvm: " in result.stdout, result.stdout


def test_two_at_once_do_not_meet(mote):
    command = [str(BUILD / "mote"), "run", "--", "sh", "-c", "cat /proc/sys/kernel/random/boot_id; sleep 1"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) for _ in range(2)]
    outs = [p.communicate(timeout=TIMEOUT)[0] for p in both]
    assert all(p.returncode == 0 for p in both) and outs[0] != outs[1] and all(outs)
