# SPDX-License-Identifier: Apache-2.0
"""Bad input to mote-jailer: one line with object, operation and cause, the right exit code, and nothing
mounted, made or chowned.

Each case runs in a mount namespace of its own, which shows whether mounts stay, and none gets so far
as to need a KVM.
"""
import os
import subprocess
from pathlib import Path

import pytest

from jailer_bad_input_cases import BASE, CASES, FILES
from jailing import AS_NOBODY, World, listing, root_only

pytestmark = root_only
# $1: commands of the case; the rest: the program.
SCRIPT = r"""
eval "$1" >&2 || exit 99
shift
cat /proc/self/mountinfo >"$CONTROL/before"
"$@"
code=$?
cat /proc/self/mountinfo >"$CONTROL/after"
exit $code
"""


@pytest.fixture(scope="module", name="place")
def place_fixture():
    world = World()
    world.control = world.make("control")
    for name, make in FILES.items():
        make(world.files / name)
    yield world
    world.close()


def cgroup_directories():
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted(str(p) for m in mounts if m[m.index("-") + 1].startswith("cgroup")
                  for p in Path(m[4]).glob("*") if p.is_dir())


def command_of(case, place):
    words = {**BASE, **case.replace}
    command = [place.jailer, *[word for option, value in words.items() if value is not None
                               for word in (option, value)], *case.arguments]
    return [fill(word, place) for word in command]


def fill(word, place):
    if not isinstance(word, str) or "{" not in word:
        return str(word)
    return word.format(base=place.base, files=place.files, probe=place.probe, jailer=place.jailer)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case, place):
    before = listing(place.directory), cgroup_directories()

    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", fill(case.before, place),
         *(AS_NOBODY if case.nobody else []), *command_of(case, place)],
        env={"PATH": os.environ["PATH"], "CONTROL": str(place.control)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False)
    for name in case.may_create:
        (place.files / name).unlink(missing_ok=True)
    mounts = [(place.control / name).read_text() for name in ("before", "after")]
    for name in ("before", "after"):
        (place.control / name).unlink()

    assert result.stderr == f"mote-jailer: {fill(case.line, place)}\n"
    assert result.returncode == case.code
    assert result.stdout == ""
    assert mounts[1] == mounts[0]
    assert (listing(place.directory), cgroup_directories()) == before


def test_there_are_enough_cases_and_each_is_a_different_one():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 100
