#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""acpi_iasl.py ACPI_DUMP: the ACPI tables, judged by ACPICA.

Finds the tables as an operating system does (RSDP, XSDT, FADT, DSDT), disassembles each with iasl,
compiles the result again without a warning, and demands the same bytes. What the disassembly says
is compared with the platform (vmm/boot/platform.h); acpiexec, which is ACPICA's interpreter, loads
the tables and decodes the resources of every device. Speaks TAP.
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

BASE = 0xE0000  # LAYOUT_RSDP


class Memory:
    def __init__(self, data):
        self.data = data

    def at(self, gpa, size):
        start = gpa - BASE
        assert 0 <= start and start + size <= len(self.data), f"0x{gpa:x} is outside"
        return self.data[start:start + size]

    def table(self, gpa):
        size = struct.unpack("<I", self.at(gpa + 4, 4))[0]
        table = self.at(gpa, size)
        assert sum(table) % 256 == 0, f"checksum of the table at 0x{gpa:x}"
        return table


def find_tables(memory):
    rsdp = memory.at(BASE, 36)
    assert rsdp[:8] == b"RSD PTR " and sum(rsdp[:20]) % 256 == 0 and sum(rsdp) % 256 == 0
    xsdt = memory.table(struct.unpack("<Q", rsdp[24:32])[0])
    tables = {"XSDT": xsdt}
    for (gpa,) in struct.iter_unpack("<Q", xsdt[36:]):
        table = memory.table(gpa)
        tables[table[:4].decode()] = table
    tables["DSDT"] = memory.table(struct.unpack("<Q", tables["FACP"][140:148])[0])
    assert sorted(tables) == ["APIC", "DSDT", "FACP", "XSDT"], sorted(tables)
    return tables


def run(directory, *command):
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
    return done.stdout


def round_trip(directory, name, table):
    """Disassemble and compile: no errors, warnings, remarks, and the same contents."""
    with open(os.path.join(directory, name + ".dat"), "wb") as f:
        f.write(table)
    run(directory, "iasl", "-d", name + ".dat")
    said = run(directory, "iasl", name + ".dsl")
    assert "0 Errors, 0 Warnings, 0 Remarks" in said, said
    with open(os.path.join(directory, name + ".aml"), "rb") as f:
        # Behind the header, where iasl has put its own name.
        assert f.read()[36:] == table[36:], f"{name}: compiled again it's different"
    with open(os.path.join(directory, name + ".dsl"), encoding="ascii") as f:
        return f.read()


def field(text, name, value):
    lines = [line for line in text.splitlines() if name in line]
    assert lines, f"no field {name}"
    assert lines[0].rsplit(":", 1)[1].split()[0] == value, lines[0]


def check_fadt(text):
    for name in ("Hardware Reduced", "Reset Register Supported", "Legacy Devices Supported",
                 "8042 Present", "VGA Not Present", "MSI Not Supported", "CMOS RTC Not Present",
                 "Control Method Power Button", "Control Method Sleep Button"):
        field(text, name, "1")
    field(text, "Value to cause reset", "FE")
    field(text, "SCI Interrupt", "0000")
    registers = re.split(r"(Reset Register|Sleep Control Register|Sleep Status Register) : ", text)
    for name, port in (("Reset Register", "64"), ("Sleep Control Register", "600"),
                       ("Sleep Status Register", "601")):
        register = registers[registers.index(name) + 1]
        assert re.search(r"Space ID : 01 \[SystemIO\]", register)
        assert re.search(rf"Address : 0+{port}\n", register), name


def check_madt(text, vcpus):
    ids = re.findall(r"Processor ID : (\w+)\n.*Local Apic ID : (\w+)\n.*\n.*Enabled : 1", text)
    assert ids == [(f"{i:02X}",) * 2 for i in range(vcpus)], ids
    assert text.count("[I/O APIC]") == 1
    assert re.search(r"I/O Apic ID : 00\n.*\n.*Address : FEC00000\n.*Interrupt : 00000000", text)
    field(text, "Local Apic Address", "FEE00000")
    assert text.count("Subtable Type") == vcpus + 1


def devices(text):
    """The DSDT's devices: name -> the text of its declaration."""
    parts = re.split(r"Device \((\w+)\)", text)
    return dict(zip(parts[1::2], parts[2::2]))


def io_ports(text):
    return re.findall(r"IO \(Decode16,\s+(0x\w+),.*\n\s+(0x\w+),.*\n\s+0x00,.*\n\s+(0x\w+),", text)


def interrupt(text):
    found = re.findall(r"Interrupt \(ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, \)\s+{\s+"
                       r"0x(\w+),", text)
    assert len(found) == 1, text
    return int(found[0], 16)


def number(text):
    return {"Zero": 0, "One": 1}[text] if text in ("Zero", "One") else int(text, 16)


def check_dsdt(text, virtio):
    found = devices(text)
    assert re.search(r"Name \(_S5, Package \(0x01\).*\s+{\s+0x05\s+}\)", text)
    assert len(found) == 3 + virtio, sorted(found)
    assert text.count('"LNRO0005"') == virtio

    assert 'EisaId ("PNP0501")' in found["COM1"]
    assert io_ports(found["COM1"]) == [("0x03F8", "0x03F8", "0x08")]
    assert interrupt(found["COM1"]) == 4
    assert 'EisaId ("PNP0303")' in found["PS2K"]
    assert io_ports(found["PS2K"]) == [("0x0060", "0x0060", "0x01"), ("0x0064", "0x0064", "0x01")]
    assert interrupt(found["PS2K"]) == 1
    assert '"QEMU0001"' in found["PEVT"]
    assert io_ports(found["PEVT"]) == [("0x0505", "0x0505", "0x01")]
    for i in range(virtio):
        device = found[f"V{i:03X}"]
        assert number(re.search(r"_UID, (\w+)\)", device)[1]) == i
        memory = re.findall(r"Memory32Fixed \(ReadWrite,\s+(0x\w+),.*\n\s+(0x\w+),", device)
        assert [tuple(int(x, 16) for x in m) for m in memory] == [(0xC0001000 + i * 0x1000, 0x1000)]
        assert interrupt(device) == 5 + i


def check_interpreter(directory, virtio):
    """Every _CRS, decoded by the code that Linux has too."""
    commands = ["namespace", "evaluate \\_S5", "resources \\_SB.COM1"]
    commands += [f"resources \\_SB.V{i:03X}" for i in range(virtio)] + ["quit"]
    said = run(directory, "acpiexec", "-b", "; ".join(commands), "FACP.dat", "DSDT.dat", "APIC.dat")
    assert not re.search(r"ACPI (Error|Warning|Exception|BIOS)", said), said
    assert "1 ACPI AML tables successfully acquired and loaded" in said
    assert re.search(r"Evaluation of \\_S5 .*\n.*1 Elements:\n\s+\[Integer\] = 0+5\n", said), said
    assert said.count("Extended IRQ Resource") == 1 + virtio
    for i in range(virtio):
        assert f"Address : {0xC0001000 + i * 0x1000:08X}" in said
        assert f"Dword00 : {5 + i:08X}" in said


def check(dump, vcpus, virtio):
    data = subprocess.run([dump, str(vcpus), str(virtio)], stdout=subprocess.PIPE, check=True).stdout
    tables = find_tables(Memory(data))
    with tempfile.TemporaryDirectory() as directory:
        text = {name: round_trip(directory, name, table) for name, table in tables.items()}
        check_fadt(text["FACP"])
        check_madt(text["APIC"], vcpus)
        check_dsdt(text["DSDT"], virtio)
        check_interpreter(directory, virtio)


def main():
    if not shutil.which("iasl") or not shutil.which("acpiexec"):
        print("1..0 # SKIP no iasl and acpiexec (Debian: acpica-tools)")
        return 0
    cases = [(vcpus, virtio) for vcpus in (1, 4, 32) for virtio in (0, 3, 19)]
    failed = 0
    print(f"1..{len(cases)}")
    for i, (vcpus, virtio) in enumerate(cases, 1):
        try:
            check(sys.argv[1], vcpus, virtio)
            print(f"ok {i} - {vcpus} processors, {virtio} virtio devices")
        except (AssertionError, KeyError, ValueError, TypeError, subprocess.SubprocessError) as e:
            failed += 1
            print(f"not ok {i} - {vcpus} processors, {virtio} virtio devices")
            print("\n".join("# " + line for line in repr(e).split("\\n")))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
