#!/usr/bin/env python3
"""pack.py OUT PROGRAM NAME=FILE…: PROGRAM with the files behind it, as cli/payload.h lays it out.

Each file is cut into chunks of 256 KiB, each an LZ4 block of its own (made by Debian's lz4); chunks of zeros take no bytes. The same
inputs and the same lz4 give the same bytes."""
import os
import struct
import subprocess
import sys
import zlib

CHUNK = 256 << 10
STORED = 1 << 31


def blocks(data):
    """LZ4 blocks of the data's chunks: the frame that lz4 writes, cut at its block sizes."""
    frame = subprocess.run(["lz4", "-12", "-B5", "-BI", "--no-frame-crc", "-c", "-"], input=data, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, check=True).stdout
    magic, flags, size_code = struct.unpack_from("<IBB", frame)
    if magic != 0x184D2204 or flags & 0x3D != 0x20 or (size_code >> 4 != 5 and len(data) > 65536):
        # version 1 in the upper bits; independent; no checksums, no size. A block size under 256 KiB is chosen only when all fits into one.
        sys.exit("error: lz4 wrote a frame of another kind than asked for (flags %#x)" % flags)
    at, out = 7, []
    while True:
        (head,) = struct.unpack_from("<I", frame, at)
        at += 4
        if head == 0:
            return out
        n = head & ~STORED
        out.append((frame[at:at + n], head & STORED))
        at += n


def main(out, program, *named):
    with open(program, "rb") as f:
        body = bytearray(f.read())
    entries, chunks = [], []
    for pair in named:
        name, path = pair.split("=", 1)
        with open(path, "rb") as f:
            data = f.read()
        plain = [data[i:i + CHUNK] for i in range(0, len(data), CHUNK)]
        first, packed = len(chunks), 0
        body += bytes(-len(body) % 16)
        full = [c for c in plain if c.count(0) != len(c)]
        made = iter(blocks_of(full))
        for c in plain:
            if c.count(0) == len(c):
                chunks.append((0, 0, 0))
                continue
            block, stored = next(made)
            chunks.append((len(body), len(block) | stored, zlib.crc32(block)))
            body += block
            packed += len(block)
        entries.append(struct.pack("<24sQQII16x", name.encode(), len(data), packed, first, len(plain)))
    body += bytes(-len(body) % 16)
    table = b"".join(entries) + b"".join(struct.pack("<QII", *c) for c in chunks)
    footer = struct.pack("<16sQQIIII12x", b"mica-payload-1", len(body) + len(table) + 64, len(body), len(table), zlib.crc32(table), len(entries), CHUNK)
    footer += struct.pack("<I", zlib.crc32(footer))
    temp = "%s.%d" % (out, os.getpid())
    with open(temp, "wb") as f:
        f.write(bytes(body) + table + footer)
    os.chmod(temp, 0o755)
    os.rename(temp, out)


def blocks_of(full):
    """Blocks for these chunks, all of CHUNK bytes but perhaps the last: then one run of lz4 gives exactly one block for each."""
    if not full:
        return []
    out = blocks(b"".join(full))
    if len(out) != len(full):
        sys.exit("error: lz4 gave %d blocks for %d chunks" % (len(out), len(full)))
    return out


if len(sys.argv) < 3:
    sys.exit(__doc__)
try:
    main(*sys.argv[1:])
except FileNotFoundError as e:
    sys.exit("error: %s%s" % (e, "\nfix: install lz4 (make deps)" if e.filename == "lz4" else ""))
except subprocess.CalledProcessError as e:
    sys.exit("error: lz4 failed: %s" % e.stderr.decode(errors="replace").strip())
