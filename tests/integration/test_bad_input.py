# SPDX-License-Identifier: Apache-2.0
"""Bad input to mote-vmm: one line with object, operation and cause, the right exit code, nothing
left behind.

Each case runs the real program (MOTE_BUILD/mote-vmm, default build/) in an empty directory. As root
it runs in a network and a mount namespace of its own, which shows whether links or mounts stay; cases
that have to arrange such things are skipped for other users. None of them starts a guest, so that
all of them run with and without /dev/kvm.
"""
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from bad_input_cases import CASES, FILES

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("MOTE_BUILD", REPOSITORY / "build")) / "mote-vmm"
ROOT = os.geteuid() == 0
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

# $1: commands of the case; the rest: the program. Tells what links and sockets it leaves. The
# commands may start a process in the background, $holder, which is ended afterwards.
SCRIPT = r"""
holder=
eval "$1" >&2 || exit 99
shift
state() { ip -o link | sed 's/ state .*//'; cat /proc/net/unix; cat /proc/self/mounts; }
state >"$CONTROL/before"
"$@"
code=$?
[ -z "$holder" ] || kill "$holder"
state >"$CONTROL/after"
exit $code
"""


class World:
    """A directory with good and bad files for configurations to name, readable by everyone."""

    def __init__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="mote-bad-input-"))
        self.directory.chmod(0o755)
        self.inside = self.directory / "in"
        self.control = self.directory / "control"
        self.inside.mkdir(mode=0o777)
        self.inside.chmod(0o777)
        self.control.mkdir()
        self.program = self.directory / "mote-vmm"
        shutil.copy(PROGRAM, self.program)
        for name, make in FILES.items():
            make(self.inside / name)

    def listing(self):
        return {str(p): (p.lstat().st_mode, p.lstat().st_size, p.lstat().st_ino)
                for p in self.inside.rglob("*")}

    def run(self, case, arguments):
        command = [self.program, *arguments]
        environment = {"PATH": os.environ["PATH"], "CONTROL": self.control, "TMPDIR": self.inside}
        if case.nobody:
            command = NOBODY + command
        if ROOT:
            command = ["unshare", "--net", "--mount", "sh", "-c", SCRIPT, "sh", case.before,
                       *command]
        return subprocess.run(command, cwd=self.inside, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=60, check=False)

    def links_and_sockets(self):
        return [(self.control / name).read_text() for name in ("before", "after")]


@pytest.fixture(scope="module")
def world():
    if not PROGRAM.exists():
        pytest.fail(f"{PROGRAM} is missing: build it, or set MOTE_BUILD")
    made = World()
    yield made
    shutil.rmtree(made.directory)


def arguments_of(case, world):
    """What the case says to run mote-vmm with; its configuration becomes a file."""
    if case.arguments is not None:
        return case.arguments
    config = world.inside / "config.json"
    if case.config is not None:
        config.unlink(missing_ok=True)
        text = case.config if isinstance(case.config, bytes) else json.dumps(case.config).encode()
        config.write_bytes(text)
    return ["--no-api", "--config-file", case.path or "config.json", *case.more]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case, world):
    if not ROOT and (case.nobody or case.before):
        pytest.skip("only root can arrange this")
    arguments = arguments_of(case, world)
    before = world.listing()

    result = world.run(case, arguments)

    line = result.stderr.decode(errors="replace")
    assert result.returncode != 99, f"the case's own commands failed: {line}"
    assert re.fullmatch("mote-vmm: " + case.line + "\n", line), line
    assert result.returncode == case.code
    assert result.stdout == b""
    after = world.listing()
    for name in case.may_create:
        after.pop(str(world.inside / name), None)
        (world.inside / name).unlink(missing_ok=True)
    assert after == before
    if ROOT:
        links_before, links_after = world.links_and_sockets()
        assert links_after == links_before


def test_there_are_enough_cases_and_each_is_a_different_one():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 50
