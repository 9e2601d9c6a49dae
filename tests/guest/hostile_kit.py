"""What the rows of hostile.py are made of: a payload that remembers what the guest may expect of its memory, a device, the correct request of each, a row."""
import struct

import bare
from bare import COPY, HALT, LOOPS, MOVE, WAIT16, WAIT_BITS, WRITE, Device, Script

RAM = 16 << 20
ARENA, ARENA_END = 0x400000, 0x600000  # what is watched: the payload's device has the first half, the correct request the second
GO = 0x3f0000                          # the guest waits here until its memory is filled
FILL = 0xa5
BLK, NET, VSOCK, RNG = range(4)        # in the order of vmm/machine/devices.c, one of each
DEVICES = ("blk", "net", "vsock", "rng")
QUEUES = (1, 5, 3, 1)
SIZES = (256, 256, 256, 64)
NET_FEATURES = 1 << 5 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 21 | 1 << 22 | 1 << 23
FEATURES = (1 << 9 | 1 << 13 | 1 << 14, NET_FEATURES, 0, 0)
INDIRECT, EVENT_IDX, DISCARDS = 1 << 28, 1 << 29, 1 << 13 | 1 << 14
MAC = bytes((2, 0, 0, 0, 0, 7))
LISTEN_PORT, FRAME = 1025, b"\0" * 12 + b"from the wire" + b"." * 47


class Hostile(Device):
    """A device of the arena: queues of 0x4000 each, then 64 buffers of 1 KiB each."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.next = {q: [0, 0] for q in range(9)}

    def places(self, q):
        base = self.at + q * 0x4000
        return base, base + 0x1000, base + 0x2000

    def buffer(self, q, n):
        return self.at + 0x20000 + q * 0x10000 + n * 0x400

    def set_queue(self, q, size=None, desc=None, avail=None, used=None):
        for at in (avail, used) if avail and used else self.places(q)[1:]:
            if ARENA <= at < ARENA_END and at % 4 == 0:
                self.s.write(at, 0)
        super().set_queue(q, size, desc, avail, used)
        n = min(self.size if size is None else size, 256)
        self.s.given(self.places(q)[2] if used is None else used, 6 + 8 * n)

    def add(self, q, segments):
        for addr, length, writable in segments:
            if writable:
                self.s.given(addr, length)
        return super().add(q, segments)

    def raw(self, q, table, head=0):
        """Descriptors as they are: [(addr, len, flags, next)], and the chain at head made available."""
        self.descs(self.places(q)[0], table)
        self.s.write(self.places(q)[1] + 4 + 2 * (self.next[q][1] % self.size), head, 2)
        self.next[q][1] += 1

    def descs(self, at, table):
        for addr, length, flags, _ in table:
            if flags & 2 and not flags & 4:
                self.s.given(addr, length)
        self.s.put(at, b"".join(struct.pack("<QIHH", a & (1 << 64) - 1, n & 0xffffffff, f, x) for a, n, f, x in table))


class Payload(Script):
    """Follows what the guest itself writes, and what it gives to devices."""

    def __init__(self):
        super().__init__()
        self.wants, self.gives = [], []

    def given(self, addr, length):
        self.gives.append((addr, length))

    def want(self, what, *values):
        """The value printed next: one of these; none: whatever it is."""
        self.wants.append((what, values))

    def read(self, addr, width=4, *values, what=None):
        self.want(what or "0x%x" % addr, *values)
        return super().read(addr, width)

    def inp(self, port, width=1, *values):
        self.want("port 0x%x" % port, *values)
        return super().inp(port, width)

    def mark(self):
        return len(self.ops)

    def repeat(self, mark, times, counter=0x3f0010):
        """Operations from mark on, so many times in all. The counter must have been set before: count()."""
        return self.op(bare.REPEAT, mark * 20, counter)

    def count(self, times, counter=0x3f0010):
        self.write(counter, times)
        return self.mark()

    def model(self):
        """(what the arena must hold, what may be anything) at the end."""
        want, free = bytearray([FILL]) * (ARENA_END - ARENA), bytearray(ARENA_END - ARENA)
        for number, a, b, c, _ in self.ops:
            if number == COPY:
                data = self.data[b:b + c]
            elif number == WRITE:
                a, data = b, struct.pack("<Q", c & 0xffffffff)[:a]
            elif number == MOVE:
                self.given(a, c)
                continue
            else:
                continue
            if ARENA <= a and a + len(data) <= ARENA_END:
                want[a - ARENA:a - ARENA + len(data)] = data
        for addr, n in self.gives:
            lo, hi = max(addr, ARENA), min(addr + n, ARENA_END)
            if lo < hi:
                free[lo - ARENA:hi - ARENA] = b"\1" * (hi - lo)
        return bytes(want), bytes(free)


# ---- the correct request of each device

def ask_blk(s, d):
    head, data, st = d.buffer(0, 60), d.buffer(0, 61), d.buffer(0, 62)
    s.put(head, struct.pack("<IIQ", 0, 0, 1))
    s.write(st, 0xee, 1)
    d.add(0, [(head, 16, False), (data, 512, True), (st, 1, True)])
    d.kick(0)
    d.wait(0, d.next[0][1] & 0xffff)
    s.read(st, 1, 0, what="status of a read").read(data, 4, 0x42424242, what="what it read")


def ask_net(s, d):
    d.add(0, [(d.buffer(0, 60), 1024, True)])
    d.kick(0)
    s.put(d.buffer(1, 60), bytes(12) + b"good" + bytes(56))
    d.add(1, [(d.buffer(1, 60), 72, False)])
    d.kick(1)
    d.wait(1, d.next[1][1] & 0xffff)
    d.wait(0, d.next[0][1] & 0xffff, 4 * LOOPS)
    s.read(d.buffer(0, 60) + 12, 4, struct.unpack("<I", FRAME[12:16])[0], what="the frame from the wire")


def ask_vsock(s, d):
    """A stream that nobody takes: the answer is a reset."""
    d.add(0, [(d.buffer(0, 60), 1024, True)])
    d.kick(0)
    s.put(d.buffer(1, 60), vsock_packet(1, 777, 4444))
    d.add(1, [(d.buffer(1, 60), 44, False)])
    d.kick(1)
    d.wait(0, d.next[0][1] & 0xffff)
    s.read(d.buffer(0, 60) + 30, 2, 3, what="the answer to a stream that nobody takes")


def ask_rng(s, d):
    d.add(0, [(d.buffer(0, 60), 64, True)])
    d.kick(0)
    d.wait(0, d.next[0][1] & 0xffff)
    s.read(d.places(0)[2] + 8 + 8 * ((d.next[0][1] - 1) % d.size), 4, 64, what="random bytes")


ASK = (ask_blk, ask_net, ask_vsock, ask_rng)


def vsock_packet(op, src_port, dst_port, length=0, alloc=65536, fwd=0, flags=0, kind=1, src=3, dst=2):
    return struct.pack("<QQIIIHHIII", src & (1 << 64) - 1, dst & (1 << 64) - 1, src_port, dst_port, length & 0xffffffff, kind, op & 0xffff,
                       flags & 0xffffffff, alloc & 0xffffffff, fwd & 0xffffffff)


def device(s, index, at=ARENA, features=0, start=True, size=16, without=0):
    d = Hostile(s, index, at, size=size, features=(FEATURES[index] | features) & ~without)
    if start:
        d.start(QUEUES[index])
    return d


class Row:
    def __init__(self, dev, name, does, expect, build, live=False, index=None, during=None, watch=True, boot=None):
        """build(s): the payload, on Payload s; returns the device that must go on when live. expect: verdicts, or ends ("end:reboot end:any"), in one string.
        during(guest): what the harness does meanwhile. watch False: the payload leaves its memory to chance.
        boot: what its vmm is told beyond the usual."""
        self.dev, self.name, self.does, self.expect, self.build = dev, name, does, expect.split(), build
        self.live, self.index, self.during, self.watch, self.boot = live, index, during, watch, boot or {}

    def alone(self):
        """It needs a guest of its own."""
        return self.index is None or self.during or self.boot or not self.watch or set(self.expect) - {"PASS", "REJECT"}

    def put(self, s):
        self.first_want = len(s.wants)
        d = self.build(s)
        s.say("did\n")
        if self.index is not None:
            self.ask(s, d)
        self.end_want = len(s.wants)

    def ask(self, s, d):
        base = bare.VIRTIO + bare.STRIDE * self.index
        if "REJECT" in self.expect:  # its thread may not have seen the kick yet
            s.op(WAIT_BITS, base + 0x70, 0x40, LOOPS if self.expect == ["REJECT"] else 20000)
        s.read(base + 0x70, 4, what="status")
        self.status_at = len(s.wants) - 1
        if self.live:
            ASK[self.index](s, d)
        good = device(s, self.index, at=(ARENA + ARENA_END) // 2, without=DISCARDS if self.boot.get("read_only") else 0)
        ASK[self.index](s, good)
        s.read(base + 0x70, 4, 15, what="status after a reset and a correct request")


def script(rows, wait_go):
    s = Payload()
    if wait_go:
        s.op(WAIT16, GO, 0x6f67, 1 << 30)
    for r in rows:
        r.put(s)
    return s.say("end\n").op(HALT)
