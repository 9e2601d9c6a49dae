"""Writes the operation lists that script.S carries out, and drives virtio devices with them (virtio 1.2, virtio-mmio).

Memory of such a guest: program at 2 MiB, rings and buffers where the test puts them (from 4 MiB up), 32 MiB in all.
"""
import os, struct, subprocess, tempfile, time

import vmmctl

(HALT, OUT, IN, WRITE, READ, COPY, DUMP, WAIT16, OUTS, IRQ_ON, WAIT_IRQ, FLOOD, TRIPLE, JUMP, PRINT, SPIN, CPUID, RDMSR, INS, TOUCH, AGAIN,
 MOVE, SWEEP_IN, SWEEP_OUT, SWEEP_READ, SWEEP_WRITE, MSRS, CALL, REPEAT, WAIT_BITS) = range(30)
RAM = 32 << 20
VIRTIO, STRIDE, IOAPIC, PIN_COM1, PIN_VIRTIO = 0xd0000000, 0x1000, 0xfec00000, 0, 1
LOOPS = 2000000


class Script:
    def __init__(self):
        self.ops, self.data = [], b""

    def op(self, number, a=0, b=0, c=0, d=0):
        """For COPY, OUTS and PRINT the offsets are of self.blob()."""
        self.ops.append([number, a, b, c, d])
        return self

    def blob(self, data):
        at = len(self.data)
        self.data += data
        return at

    def out(self, port, value, width=1):
        return self.op(OUT, width, port, value)

    def inp(self, port, width=1):
        return self.op(IN, width, port)

    def write(self, addr, value, width=4):
        return self.op(WRITE, width, addr, value)

    def read(self, addr, width=4):
        return self.op(READ, width, addr)

    def put(self, addr, data):
        return self.op(COPY, addr, self.blob(data), len(data))

    def say(self, text):
        return self.op(PRINT, self.blob(text.encode()), len(text))

    def again(self, index=0):
        """Go on with operation number index, for ever."""
        return self.op(AGAIN, index * 20)

    def power_off(self):
        return self.out(0x600, 0x34)

    def image(self):
        base = 20 * len(self.ops)
        fix = {COPY: 2, OUTS: 2, PRINT: 1}
        out = b""
        for o in self.ops:
            o = list(o)
            if o[0] in fix:
                o[fix[o[0]]] += base
            out += struct.pack("<5I", *[x & 0xffffffff for x in o])
        return out + self.data


class Device:
    """One virtio-mmio device from the driver's side, as script operations."""

    def __init__(self, script, index, at, size=16, features=0):
        self.s, self.base, self.at, self.size, self.next, self.queue = script, VIRTIO + STRIDE * index, at, size, {}, {}
        self.features, self.index = features, index

    def reg(self, off, value):
        self.s.write(self.base + off, value)

    def begin(self):
        """As far as FEATURES_OK: queues come next."""
        self.reg(0x70, 0)
        self.reg(0x70, 1)
        self.reg(0x70, 3)
        for sel, bits in ((0, self.features & 0xffffffff), (1, self.features >> 32 | 1)):  # VERSION_1
            self.reg(0x24, sel)
            self.reg(0x20, bits)
        self.reg(0x70, 11)

    def start(self, queues):
        self.begin()
        for q in range(queues):
            self.set_queue(q)
        self.reg(0x70, 15)

    def places(self, q):
        base = self.at + q * 0x10000
        return base, base + 0x1000, base + 0x2000

    def set_queue(self, q, size=None, desc=None, avail=None, used=None):
        d, a, u = self.places(q)
        self.reg(0x30, q)
        self.reg(0x38, self.size if size is None else size)
        for off, addr in ((0x80, d if desc is None else desc), (0x90, a if avail is None else avail), (0xa0, u if used is None else used)):
            self.reg(off, addr & 0xffffffff)
            self.reg(off + 4, addr >> 32)
        self.reg(0x44, 1)
        self.next[q] = [0, 0]  # descriptor, avail index

    def buffer(self, q, n):
        """An address for buffer n of queue q; 4 KiB each."""
        return self.at + 0x100000 + q * 0x40000 + n * 0x1000

    def add(self, q, segments):
        """A chain: [(address, length, writable)]. Not shown to the device before kick()."""
        d, a, _ = self.places(q)
        first = self.next[q][0]
        for i, (addr, length, writable) in enumerate(segments):
            n = (first + i) % self.size
            more = i + 1 < len(segments)
            self.s.put(d + 16 * n, struct.pack("<QIHH", addr, length, (1 if more else 0) | (2 if writable else 0), (n + 1) % self.size))
        self.s.write(a + 4 + 2 * (self.next[q][1] % self.size), first, 2)
        self.next[q][0] = (first + len(segments)) % self.size
        self.next[q][1] += 1
        return first

    def kick(self, q):
        self.s.write(self.places(q)[1] + 2, self.next[q][1] & 0xffff, 2)
        self.reg(0x50, q)

    def wait(self, q, used, loops=LOOPS):
        self.s.op(WAIT16, self.places(q)[2] + 2, used, loops)

    def route(self, vector=0x40):
        """Its interrupt to that vector of vCPU 0."""
        route(self.s, PIN_VIRTIO + self.index, vector)


def route(s, pin, vector=0x40):
    for sel, value in ((0x11 + 2 * pin, 0), (0x10 + 2 * pin, vector)):
        s.write(IOAPIC, sel)
        s.write(IOAPIC + 0x10, value)


def build(cc="gcc"):
    """Assembles script.S; returns the path of the program. $BARE_ELF: one that was made before, for a place without a compiler."""
    if os.environ.get("BARE_ELF"):
        return os.environ["BARE_ELF"]
    here = os.path.dirname(os.path.abspath(__file__))
    out = tempfile.mkdtemp(prefix="bare.")
    obj, elf = os.path.join(out, "script.o"), os.path.join(out, "script.elf")
    subprocess.run([cc, "-c", "-o", obj, os.path.join(here, "script.S")], check=True)
    subprocess.run(["ld", "-static", "-N", "-Ttext=0x200000", "--build-id=none", "--no-warn-rwx-segments", "-e", "start", "-o", elf, obj],
                   check=True)
    return elf


class Guest(vmmctl.Vmm):
    """A vmm whose guest is a script."""

    def start(self, elf, script, ram_bytes=RAM, **more):
        self.image_path = os.path.join(self.dir, "script.img")
        with open(self.image_path, "wb") as f:
            f.write(script.image())
        self.boot(elf, ram_bytes=ram_bytes, initrd=self.image_path, **more)
        return self

    def lines(self):
        return self.console().decode(errors="replace").split()

    def wait_values(self, count, limit_s=20):
        until = time.monotonic() + limit_s
        while len(self.values()) < count and time.monotonic() < until:
            time.sleep(0.02)

    def values(self):
        """What the guest printed with '='."""
        return [int(x[1:], 16) for x in self.lines() if x.startswith("=")]
