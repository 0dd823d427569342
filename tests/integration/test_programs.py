# SPDX-License-Identifier: Apache-2.0
"""C programs that drive parts of the monitor on a real KVM, one test for each of theirs."""
import os
import re
import subprocess

import pytest

from conftest import BUILD

SOURCE = os.path.join(os.path.dirname(__file__), "vcpu_test.c")
NAMES = re.findall(r"ON_KVM\((\w+)\),", open(SOURCE, encoding="utf-8").read())


@pytest.fixture(scope="module")
def output():
    process = subprocess.run([str(BUILD / "vcpu_test")], env={"CMOCKA_MESSAGE_OUTPUT": "TAP"},
                             capture_output=True, text=True, timeout=300, check=False)
    return process.stdout + process.stderr


@pytest.mark.parametrize("name", NAMES)
def test_vcpu(output, name):
    assert re.search(rf"^ok \d+ - {name}$", output, re.M), output
