#!/usr/bin/env python3
"""unbz.py BZIMAGE VMLINUX: write the ELF kernel that a bzImage carries.

The boot header (Documentation/arch/x86/boot.rst) says where the compressed
payload lies, so nothing is searched for.  Uncompressed kernels boot faster in
an emulated CPU than the decompressor runs there.
"""
import lzma
import struct
import subprocess
import sys
import zlib


def payload(image):
    if image[0x202:0x206] != b"HdrS":
        raise SystemExit("unbz: not a bzImage (no HdrS)")
    sects = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sects + 1) * 512 + offset
    return image[start:start + length]


def unpack(data):
    if data[:6] == b"\xfd7zXZ\x00":
        return lzma.LZMADecompressor().decompress(data)
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data)
    for magic, tool in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x02\x21\x4c\x18", "lz4")):
        if data[:4] == magic:
            # The last four bytes are the unpacked size, which the tool would trip over.
            done = subprocess.run([tool, "-dcq"], input=data[:-4], stdout=subprocess.PIPE)
            return done.stdout
    raise SystemExit("unbz: unknown compression " + data[:6].hex())


def main():
    with open(sys.argv[1], "rb") as f:
        elf = unpack(payload(f.read()))
    if elf[:4] != b"\x7fELF":
        raise SystemExit("unbz: the payload is no ELF file")
    with open(sys.argv[2], "wb") as f:
        f.write(elf)


main()
