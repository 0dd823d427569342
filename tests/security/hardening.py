#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hardening.py PROGRAM..: what the toolchain promised of the programs that face a hostile guest, as
readelf sees it. Speaks TAP."""
import re
import subprocess
import sys

import tap

PROGRAMS = sys.argv[1:]


def readelf(program, *options):
    return subprocess.run(["readelf", "-W", *options, program], capture_output=True, text=True,
                          check=True).stdout


def segments(program):
    """{type: [flags..]}"""
    result = {}
    for line in readelf(program, "-l").splitlines():
        match = re.match(r"  (\w+) +0x\S+ 0x\S+ 0x\S+ 0x\S+ 0x\S+ ([RWE ]{3}) ", line)
        if match:
            result.setdefault(match[1], []).append(match[2].replace(" ", ""))
    return result


def code(program):
    return subprocess.run(["objdump", "-d", "--no-show-raw-insn", program], capture_output=True, text=True,
                          check=True).stdout


def uses_glibc(program):
    """mote-jailer uses musl, and has no symbols."""
    return "__libc_start_main" in readelf(program, "-s")


def each(check):
    for program in PROGRAMS:
        check(program)


def test_static_pie():
    """Position-independent, no interpreter, no library."""
    def check(program):
        assert "Type:                              DYN" in readelf(program, "-h"), program
        assert "INTERP" not in segments(program), program
        dynamic = readelf(program, "-d")
        assert "(NEEDED)" not in dynamic and "PIE" in dynamic, (program, dynamic)
    each(check)


def test_full_relro():
    def check(program):
        assert segments(program)["GNU_RELRO"] == ["R"], program
        dynamic = readelf(program, "-d")
        assert re.search(r"\(FLAGS(_1)?\).*NOW", dynamic) or "(BIND_NOW)" in dynamic, (program, dynamic)
    each(check)


def test_no_executable_stack():
    each(lambda program: check_equal(segments(program)["GNU_STACK"], ["RW"], program))


def check_equal(got, want, what):
    assert got == want, (what, got, want)


def test_no_segment_is_writable_and_executable():
    def check(program):
        loads = segments(program)["LOAD"]
        assert loads.count("RE") == 1 and not [f for f in loads if "W" in f and "E" in f], (program, loads)
    each(check)


def test_no_text_relocations():
    each(lambda program: check_equal("TEXTREL" in readelf(program, "-d"), False, program))


def test_control_flow_protection():
    """Our functions are landing pads. The note that would have a kernel enforce it, and shadow stacks, is kept by
    the linker only if every object has it: Debian's C library doesn't (Ubuntu's does)."""
    crt = subprocess.run(["cc", "-print-file-name=crt1.o"], capture_output=True, text=True, check=True).stdout.strip()
    c_library = "IBT, SHSTK" in readelf(crt, "-n")

    def check(program):
        if "X86-64" not in readelf(program, "-h"):
            return
        if uses_glibc(program):
            assert ("x86 feature: IBT, SHSTK" in readelf(program, "-n")) == c_library, program
        pads = len(re.findall(r"\bendbr64\b", code(program)))
        assert pads > 50, (program, pads)
    each(check)


def test_stack_protector():
    """Functions with arrays compare the canary, which x86_64 has at %fs:0x28."""
    def check(program):
        checks = code(program).count("%fs:0x28")
        assert checks > 50 or "X86-64" not in readelf(program, "-h"), (program, checks)
    each(check)


def test_fortified_functions():
    def check(program):
        if uses_glibc(program):
            assert re.search(r"__(sn|vsn)printf_chk\b", readelf(program, "-s")), program
    each(check)


def test_no_library_search_paths():
    def check(program):
        dynamic = readelf(program, "-d")
        assert "RPATH" not in dynamic and "RUNPATH" not in dynamic, program
    each(check)


def test_no_libseccomp_inside():
    """The filters were compiled with it, the monitor doesn't carry it."""
    each(lambda program: check_equal("seccomp_rule_add" in readelf(program, "-s"), False, program))


if __name__ == "__main__":
    tap.run(globals())
