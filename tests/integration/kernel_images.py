# SPDX-License-Identifier: Apache-2.0
"""Kernel images made of nothing but headers: right ones, and ones with a single field wrong."""
import struct

MIB = 1 << 20
PT_LOAD, PT_NOTE = 1, 4
HLT = b"\xf4"


class Segment:
    """A program header of an ELF file and what it points to."""

    def __init__(self, address=MIB, data=HLT * 64, size=None, kind=PT_LOAD, file_size=None,
                 offset=None):
        self.address, self.data, self.kind = address, data, kind
        self.size = len(data) if size is None else size
        self.file_size = len(data) if file_size is None else file_size
        self.offset = offset


def elf(segments=None, entry=MIB, *, bits=2, machine=62, kind=2, header_size=56, count=None):
    """An ELF executable for x86_64, as elf(5) lays it out."""
    segments = [Segment()] if segments is None else segments
    headers, contents = b"", b""
    at = 64 + 56 * len(segments)
    for s in segments:
        offset = at + len(contents) if s.offset is None else s.offset
        headers += struct.pack("<IIQQQQQQ", s.kind, 7, offset, s.address, s.address, s.file_size,
                               s.size, 4096)
        contents += s.data
    ident = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    count = len(segments) if count is None else count
    header = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, entry, 64, 0, 0, 64,
                                 header_size, count, 64, 0, 0)
    return header + headers + contents


def pvh_note(size):
    """The contents of a PT_NOTE segment with Xen's PVH entry point, of size bytes."""
    return struct.pack("<III", 4, size, 18) + b"Xen\0" + bytes(size)


def bzimage(*, magic=b"HdrS", flag=0xaa55, version=0x020f, sectors=1, loaded_high=1, xloadflags=1,
            kernel_size=4096, length=None, init_size=4096, preferred=16 * MIB):
    """A bzImage whose protected-mode part is empty, after Linux's Documentation/arch/x86/boot.rst."""
    image = bytearray((sectors + 1) * 512 + kernel_size)
    struct.pack_into("<B", image, 0x1f1, sectors)
    struct.pack_into("<I", image, 0x1f4, kernel_size // 16)   # syssize
    struct.pack_into("<H", image, 0x1fe, flag)
    struct.pack_into("<BB", image, 0x200, 0xeb, 0x6a)         # jump, and so the header's length
    image[0x202:0x206] = magic
    struct.pack_into("<H", image, 0x206, version)
    struct.pack_into("<B", image, 0x211, loaded_high)
    struct.pack_into("<I", image, 0x22c, 0x7fffffff)          # initrd_addr_max
    struct.pack_into("<IB", image, 0x230, 2 * MIB, 1)         # alignment, relocatable
    struct.pack_into("<H", image, 0x236, xloadflags)
    struct.pack_into("<I", image, 0x238, 2047)                # cmdline_size
    struct.pack_into("<Q", image, 0x258, preferred)
    struct.pack_into("<I", image, 0x260, init_size)
    return bytes(image[:length])
