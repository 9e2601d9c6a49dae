"""Rows for one kind of device each: requests, packets, commands that break its own rules. See hostile.py."""
import struct

from bare import SPIN
from hostile_kit import ARENA, BLK, DEVICES, DISCARDS, INDIRECT, NET, RNG, VSOCK, Row, device
from vmmctl import PAUSE, RESUME

TABLE = []
CLEAR = 0xffffffffffffffff


def row(index, name, does, expect, live=False, **more):
    def take(f):
        TABLE.append(Row(DEVICES[index], name, does, expect, f, live=live, index=index, **more))
        return f
    return take


def rows(times):
    return TABLE  # hostile_vsock adds its own


# ---- blk

def blk(name, does, *requests, expect="PASS", live=True, size=16):
    """Requests one after the other: (type, sector, segments(d), statuses), or the chain as it is: (segments(d, head, status), statuses)."""
    @row(BLK, name, does, expect, live)
    def payload(s):
        d = device(s, BLK, size=size)
        for n, r in enumerate(requests):
            st = d.buffer(0, 8 + n)
            s.write(st, 0xee, 1)
            if len(r) == 4:
                s.put(d.buffer(0, 40 + n), struct.pack("<IIQ", r[0] & 0xffffffff, 0, r[1] & CLEAR))
                d.add(0, [(d.buffer(0, 40 + n), 16, False), *r[2](d), (st, 1, True)])
            else:
                s.put(d.buffer(0, 40 + n), struct.pack("<IIQ", 0, 0, 0))
                d.add(0, r[0](d, d.buffer(0, 40 + n), st))
            d.kick(0)
            if expect == "PASS":
                d.wait(0, d.next[0][1])
                s.read(st, 1, *r[-1], what="status of request %d" % n)
        return d


OK, IOERR, UNSUPP = 0, 1, 2
none = lambda d: []
into = lambda *sizes: lambda d: [(d.buffer(0, 0) + 1024 * i, n, True) for i, n in enumerate(sizes)]
out_of = lambda *sizes: lambda d: [(d.buffer(0, 0) + 1024 * i, n, False) for i, n in enumerate(sizes)]

blk("unknown types", "types that are not there, up to 2^32-1", *[(t, 0, none, (UNSUPP,)) for t in (2, 3, 5, 7, 9, 10, 12, 14, 15, 77, 0x80000000, 0xffffffff)])
blk("sectors beyond the end", "reads at and far beyond the end, where sector·512 wraps",
    *[(0, x, into(512), (IOERR,)) for x in (2048, 2049, 1 << 32, 1 << 54, 1 << 55, (1 << 55) + 1, 1 << 63, CLEAR)], (0, 2047, into(1024), (IOERR,)))
blk("writes beyond the end", "the same, writing", *[(1, x, out_of(512), (IOERR,)) for x in (2048, 1 << 54, 1 << 55, CLEAR)], (1, 2047, out_of(1024), (IOERR,)))
blk("odd lengths", "1, 511, 513 bytes; none", (0, 0, into(1), (IOERR,)), (0, 0, into(511), (IOERR,)), (0, 0, into(513), (IOERR,)), (0, 0, none, (OK, IOERR)),
    (1, 0, out_of(511), (IOERR,)), (1, 0, none, (OK, IOERR)))
blk("data in crumbs", "a sector over buffers of 1, 2, 3, … bytes", (0, 1, into(1, 2, 3, 6, 100, 400), (OK,)), (0, 1, into(511, 1), (OK,)))
blk("wrong direction", "reads into readable buffers, writes from writable ones", (0, 0, out_of(512), (OK, IOERR)), (1, 0, into(512), (OK, IOERR)))
blk("identity of any size", "GET_ID with 0, 1, 19, 20, 1000 bytes", *[(8, 0, into(n), (IOERR if n < 20 else OK,)) for n in (1, 19, 20, 1000)], (8, 0, none,
    (IOERR, UNSUPP)))
blk("flush with data", "a flush that brings buffers, of both kinds", (4, 0, out_of(512), (OK, IOERR, UNSUPP)), (4, CLEAR, into(512), (OK, IOERR, UNSUPP)))
blk("memory beneath the status", "reads into low memory, and the whole of it at once", (0, 0, lambda d: [(0, 512, True)], (OK,)))


def ranges(kind, name, *tries):
    """tries: (bytes of ranges, statuses)"""
    @row(BLK, name, "ranges that are too many, too large, wrap, with unknown flags", "PASS", True)
    def payload(s):
        d = device(s, BLK)
        for n, (data, want) in enumerate(tries):
            st = d.buffer(0, 8 + n)
            s.write(st, 0xee, 1)
            s.put(d.buffer(0, 40 + n), struct.pack("<IIQ", kind, 0, 0))
            s.put(d.buffer(0, 20 + n), data)
            d.add(0, [(d.buffer(0, 40 + n), 16, False), *([(d.buffer(0, 20 + n), len(data), False)] if data else []), (st, 1, True)])
            d.kick(0)
            d.wait(0, n + 1)
            s.read(st, 1, *want, what="status of range %d" % n)
        return d


one = lambda sector, count, flags=0: struct.pack("<QII", sector & CLEAR, count, flags)
TRIES = ((b"", (UNSUPP,)), (b"x" * 15, (UNSUPP,)), (b"x" * 17, (UNSUPP,)), (one(0, 8) * 17, (UNSUPP,)), (one(0, 0xffffffff), (IOERR,)), (one(CLEAR, 1),
    (IOERR,)),
         (one(CLEAR, 0xffffffff), (IOERR,)), (one(1 << 55, 8), (IOERR,)), (one(2048, 1), (IOERR,)), (one(2047, 2), (IOERR,)), (one(100, 8, 2), (UNSUPP,)),
         (one(100, 8, 0xffffffff), (UNSUPP,)), (one(2048, 0), (OK, IOERR)), (one(200, 8) + one(CLEAR, 1), (IOERR,)))
ranges(11, "discard", *TRIES, (one(100, 8, 1), (UNSUPP,)))
ranges(13, "write zeroes", *TRIES, (one(200, 3, 1), (OK,)), (one(201, 1) * 16, (OK,)))

blk("no status", "all of it readable", (lambda d, h, st: [(h, 16, False), (d.buffer(0, 0), 512, False)], None), expect="REJECT", live=False)
blk("no head", "one writable byte", (lambda d, h, st: [(st, 1, True)], None), expect="REJECT", live=False)
blk("half a head", "8 bytes of it", (lambda d, h, st: [(h, 8, False), (st, 1, True)], None), expect="REJECT", live=False)
blk("head alone", "without status", (lambda d, h, st: [(h, 16, False)], None), expect="REJECT", live=False)
blk("head in crumbs", "16 buffers of one byte", (lambda d, h, st: [(h + i, 1, False) for i in range(16)] + [(d.buffer(0, 0), 512, True), (st, 1, True)], (OK,
    )), size=32)
blk("status over head", "the status byte is a byte of the head", (lambda d, h, st: [(h, 16, False), (d.buffer(0, 0), 512, True), (h, 1, True), (st, 1, True)],
    (OK, IOERR, 0xee)))


@row(BLK, "one place many times", "one chain reads into 254 buffers that are all the same place", "PASS", True)
def blk_large(s):
    d = device(s, BLK, size=256)
    st = d.buffer(0, 8)
    s.put(d.buffer(0, 40), struct.pack("<IIQ", 0, 0, 0))
    s.write(st, 0xee, 1)
    d.add(0, [(d.buffer(0, 40), 16, False)] + [(d.buffer(0, 0), 4096, True)] * 254 + [(st, 1, True)])
    d.kick(0)
    d.wait(0, 1)
    s.read(st, 1, OK, what="status of a read of 1 MiB less 8 KiB")
    return d


@row(BLK, "a sea of writes at once", "256 MiB of one chain from 8 MiB of RAM, far more than the disk", "PASS", True)
def blk_sea(s):
    d = device(s, BLK, size=64)
    st = d.buffer(0, 8)
    s.put(d.buffer(0, 40), struct.pack("<IIQ", 1, 0, 0))
    s.write(st, 0xee, 1)
    d.add(0, [(d.buffer(0, 40), 16, False)] + [(0x400000, 8 << 20, False)] * 31 + [(st, 1, True)])
    d.kick(0)
    d.wait(0, 1)
    s.read(st, 1, IOERR, what="status of a write beyond the end")
    return d


@row(BLK, "data over the ring", "a read over its own used ring, available ring and descriptors", "PASS REJECT")
def blk_over_ring(s):
    d = device(s, BLK)
    for n, at in enumerate(d.places(0)):
        st = d.buffer(0, 8 + n)
        s.put(d.buffer(0, 40 + n), struct.pack("<IIQ", 0, 0, 0))
        s.given(at, 512)
        d.add(0, [(d.buffer(0, 40 + n), 16, False), (at, 512, True), (st, 1, True)])
        d.kick(0)
        s.op(SPIN, 2000)
    s.given(d.at, 0x4000)


@row(BLK, "reset with requests under way", "64 reads, then a reset at once; twenty times", "PASS")
def blk_reset(s):
    d = device(s, BLK, size=256)
    for n in range(64):
        s.put(d.buffer(0, n % 32), struct.pack("<IIQ", 0, 0, n % 8))
        d.add(0, [(d.buffer(0, n % 32), 16, False), (d.buffer(0, 40), 4096, True), (d.buffer(0, 50), 1, True)])
    mark = s.count(20)
    d.start(1)
    s.write(d.places(0)[1] + 2, 64, 2)
    d.reg(0x50, 0)
    d.reg(0x70, 0)
    s.repeat(mark, 20)


def blk_read(s, d, q, n):
    s.put(d.buffer(q, 40 + n), struct.pack("<IIQ", 0, 0, n % 8))
    d.add(q, [(d.buffer(q, 40 + n), 16, False), (d.buffer(0, 0), 512, True), (d.buffer(0, 8), 1, True)])


TWO = dict(boot=dict(cpus=2))  # as many queues


@row(BLK, "second queue, not agreed to", "requests in a queue that needs MQ", "PASS", **TWO)
def blk_no_mq(s):
    d = device(s, BLK, start=False)
    d.start(2)
    for n in range(4):
        blk_read(s, d, 1, n)
        d.kick(1)


@row(BLK, "two queues, one place", "reads of both into the same buffers with the same status byte", "PASS", True, **TWO)
def blk_two(s):
    d = device(s, BLK, start=False, features=1 << 12, size=64)
    d.start(2)
    for n in range(16):
        for q in (0, 1):
            blk_read(s, d, q, n)
            d.kick(q)
    for q in (0, 1):
        d.wait(q, 16)
    return d


@row(BLK, "second queue not ready", "kicks of it, and its ring where nobody said", "PASS", **TWO)
def blk_missing(s):
    d = device(s, BLK, start=False, features=1 << 12)
    d.start(1)
    blk_read(s, d, 1, 0)
    for q in (1, 2, 3, 4):
        d.reg(0x50, q)


@row(BLK, "second queue breaks while the first works", "a loop in one, reads in the other", "REJECT", **TWO)
def blk_break(s):
    d = device(s, BLK, start=False, features=1 << 12, size=64)
    d.start(2)
    for n in range(16):
        blk_read(s, d, 0, n)
    d.raw(1, [(d.buffer(1, 0), 64, 1, 0)])
    d.kick(0)
    d.kick(1)


@row(BLK, "two rings that are one", "both queues with the same descriptors and rings", "PASS REJECT", **TWO)
def blk_same(s):
    d = device(s, BLK, start=False, features=1 << 12)
    d.begin()
    for q in (0, 1):
        d.set_queue(q, desc=d.places(0)[0], avail=d.places(0)[1], used=d.places(0)[2])
    d.reg(0x70, 15)
    for n in range(8):
        blk_read(s, d, 0, n)
        d.kick(0)
        d.reg(0x50, 1)
    s.op(SPIN, 5000)


@row(BLK, "start storm with two queues", "started, filled, kicked, reset, forty times", "PASS", **TWO)
def blk_storm(s):
    d = device(s, BLK, start=False, features=1 << 12, size=64)
    for n in range(16):
        for q in (0, 1):
            blk_read(s, d, q, n)
    mark = s.count(40)
    d.start(2)
    for q in (0, 1):
        s.write(d.places(q)[1] + 2, 16, 2)
        d.reg(0x50, q)
    d.reg(0x70, 0)
    s.repeat(mark, 40)


@row(BLK, "writes to a read-only disk", "with the feature and without", "PASS", True, boot=dict(read_only=True))
def blk_read_only(s):
    d = device(s, BLK, features=1 << 5, without=DISCARDS)
    s.put(d.buffer(0, 20), one(8, 8))
    for n, (kind, data) in enumerate(((1, d.buffer(0, 0)), (1, d.buffer(0, 0)), (11, d.buffer(0, 20)), (13, d.buffer(0, 20)))):
        st = d.buffer(0, 8 + n)
        s.write(st, 0xee, 1)
        s.put(d.buffer(0, 40 + n), struct.pack("<IIQ", kind, 0, 0))
        d.add(0, [(d.buffer(0, 40 + n), 16, False), (data, 512 if kind == 1 else 16, False), (st, 1, True)])
        d.kick(0)
        d.wait(0, n + 1)
        s.read(st, 1, IOERR, what="status of kind %d" % kind)
    return d


# ---- net

def send(s, d, n, data, queue=1):
    at = d.buffer(queue, n)
    s.put(at, data)
    d.add(queue, [(at, len(data), False)])
    d.kick(queue)


def net_tx(name, does, *packets, expect="PASS", live=True):
    @row(NET, name, does, expect, live)
    def payload(s):
        d = device(s, NET, size=64)
        for n, p in enumerate(packets):
            send(s, d, n, p)
        if expect == "PASS":
            d.wait(1, len(packets))
        return d


head = lambda flags=0, gso=0, hdr=0, size=0, start=0, off=0, num=0: struct.pack("<BBHHHHH", flags, gso, hdr, size, start, off, num)
net_tx("short headers", "1 to 12 bytes: no packet", *[b"\0" * n for n in range(1, 13)])
net_tx("flags of headers", "every bit of flags", *[head(flags=1 << i) + b"x" * 60 for i in range(8)], head(flags=255) + b"x" * 60)
net_tx("segmentation nobody agreed to", "every gso type", *[head(gso=i, size=1) + b"x" * 60 for i in (1, 2, 3, 4, 5, 6, 0x7f, 0x80, 0x81, 0x84, 0xff)])
net_tx("checksums outside", "start and offset beyond the packet, sizes 0 and 65535",
    *[head(1, g, h, z, st, off) + b"x" * 60 for g in (0, 1, 4, 5) for h in (0, 0xffff)
                                                                                       for z in (0, 0xffff) for st, off in ((0xffff, 0xffff), (60, 0))])
net_tx("frames of one byte", "1 to 13 bytes behind the header", *[head() + b"y" * n for n in range(1, 14)])


@row(NET, "frames too long", "65 562 bytes and more, and 12 MiB", "PASS", True)
def net_long(s):
    d = device(s, NET, size=64)
    s.put(d.buffer(1, 0), head())
    for n in (65550, 65551, 65600, 1 << 20, 12 << 20):
        d.add(1, [(d.buffer(1, 0), 12, False), (0x300000 if n > 1 << 20 else 0x500000, n if n < 12 << 20 else 12 << 20, False)])
        d.kick(1)
    d.wait(1, 5)
    return d


@row(NET, "a frame in crumbs", "250 buffers of one byte, and an indirect table of them", "PASS", True)
def net_crumbs(s):
    d = device(s, NET, size=256, features=INDIRECT)
    s.put(d.buffer(1, 0), head() + b"z" * 240)
    d.add(1, [(d.buffer(1, 0) + i, 1, False) for i in range(250)])
    d.kick(1)
    d.wait(1, 1)
    d.next[1][0] = 0
    d.descs(d.buffer(1, 8), [(d.buffer(1, 0) + i, 1, 1 if i < 249 else 0, i + 1) for i in range(250)])
    s.put(d.places(1)[0], struct.pack("<QIHH", d.buffer(1, 8), 250 * 16, 4, 0))
    s.write(d.places(1)[1] + 6, 0, 2)
    d.next[1] = [1, 2]
    d.kick(1)
    d.wait(1, 2)
    return d


@row(NET, "writable frames", "a transmit buffer for the device to write", "PASS", True)
def net_writable(s):
    d = device(s, NET)
    d.add(1, [(d.buffer(1, 0), 72, True)])
    d.kick(1)
    d.wait(1, 1)
    return d


def net_rx(name, does, segments, expect):
    """A frame waits at the tap, always."""
    @row(NET, name, does, expect)
    def payload(s):
        d = device(s, NET, size=256)
        d.add(0, segments(d))
        d.kick(0)
        if expect == "PASS":
            d.wait(0, 1)


net_rx("receive buffer of a byte", "less than a header", lambda d: [(d.buffer(0, 0), 1, True)], "REJECT")
net_rx("receive buffer of 11", "a byte less than a header", lambda d: [(d.buffer(0, 0), 11, True)], "REJECT")
net_rx("readable receive buffer", "nothing to write", lambda d: [(d.buffer(0, 0), 1024, False)], "REJECT")
net_rx("half readable receive buffer", "readable, then writable", lambda d: [(d.buffer(0, 0), 64, False), (d.buffer(0, 1), 1024, True)], "REJECT")
net_rx("receive buffer in crumbs", "250 buffers of one byte: the number of buffers lies in two",
    lambda d: [(d.buffer(0, 0) + i, 1, True) for i in range(250)], "PASS")


@row(NET, "receive buffers in a flood", "one-byte buffers behind a good one: a frame over 60 of them, and the next finds no room for its header", "REJECT")
def net_merge(s):
    d = device(s, NET, size=256)
    d.add(0, [(d.buffer(0, 0), 12, True)])
    for i in range(200):
        d.add(0, [(d.buffer(0, 1) + i, 1, True)])
    d.kick(0)
    d.wait(0, 61)
    s.read(d.buffer(0, 0) + 10, 2, 61, what="buffers of the first frame")


def net_ctrl(name, does, *commands, expect="PASS", live=True):
    """commands: (bytes, answers)"""
    @row(NET, name, does, expect, live)
    def payload(s):
        d = device(s, NET, size=256)
        for n, (data, want) in enumerate(commands):
            at = d.buffer(3, n % 64)
            s.put(at, data)
            s.write(at + 0x3f0, 0xee, 1)
            d.add(4, [(at, len(data), False), (at + 0x3f0, 1, True)])
            d.kick(4)
            if expect == "PASS":
                d.wait(4, n + 1)
                s.read(at + 0x3f0, 1, *want, what="answer to %s" % data[:4].hex())
        return d


ERR = (1,)
net_ctrl("commands that are not there", "classes and commands up to 255", *[(bytes((c, k)) + b"\1", ERR) for c in (5, 6, 7, 128, 255) for k in (0, 1, 255)])
net_ctrl("commands cut short", "every class without its data", *[(bytes((c, k)), ERR) for c in range(6) for k in (0, 1, 2) if (c, k) not in ((3, 0),)])
net_ctrl("receive modes", "values beyond 1, too much data", *[(bytes((0, k)) + d, ERR) for k in (0, 1) for d in (b"\2", b"\xff", b"\1\1", b"")])
net_ctrl("tables of addresses", "numbers that lie: 2^32-1, one too many, one too few", *[(b"\1\0" + d, ERR) for d in (
    b"\xff" * 4, struct.pack("<I", 1), struct.pack("<II", 0, 1), struct.pack("<I", 4097), struct.pack("<II", 0, 0) + b"x", struct.pack("<I",
        0x2aaaaaab) + b"\0" * 6,
    struct.pack("<I", 0x2aaaaaab) + b"\0" * 6 + struct.pack("<I", 0))])
net_ctrl("addresses", "a multicast address, 5 and 7 bytes", (b"\1\1\1\0\0\0\0\1", ERR), (b"\1\1" + b"\2" * 5, ERR), (b"\1\1" + b"\2" * 7, ERR))
net_ctrl("queue pairs", "0, 3, 65535, one byte, three", *[(b"\4\0" + d, ERR) for d in (b"\0\0", b"\3\0", b"\xff\xff", b"\1", b"\1\0\0")])
net_ctrl("offloads nobody agreed to", "all bits", (b"\5\0" + b"\xff" * 8, ERR), (b"\5\0" + b"\0" * 7, ERR))
net_ctrl("a flood of changes", "two pairs, one, two …: 60 times", *[(b"\4\0" + bytes((1 + n % 2, 0)), (0, 1)) for n in range(60)])


@row(NET, "command without room for an answer", "all of it readable", "REJECT")
def net_no_answer(s):
    d = device(s, NET)
    s.put(d.buffer(3, 0), b"\0\0\1")
    d.add(4, [(d.buffer(3, 0), 3, False)])
    d.kick(4)


@row(NET, "command of a byte", "half a head", "REJECT")
def net_half_command(s):
    d = device(s, NET)
    d.add(4, [(d.buffer(3, 0), 1, False), (d.buffer(3, 1), 1, True)])
    d.kick(4)


@row(NET, "pairs without queues", "asks for two pairs with the second's queues not ready", "PASS")
def net_missing_pair(s):
    d = device(s, NET, start=False)
    d.begin()
    for q in (0, 1, 4):
        d.set_queue(q)
    d.reg(0x70, 15)
    s.put(d.buffer(3, 0), b"\4\0\2\0")
    d.add(4, [(d.buffer(3, 0), 4, False), (d.buffer(3, 1), 1, True)])
    d.kick(4)
    d.wait(4, 1)
    s.read(d.buffer(3, 1), 1, 1, what="two pairs")
    d.kick(2)
    d.kick(3)


@row(NET, "transmit flood", "a ring of 256 frames, shown anew 40 times", "PASS", True)
def net_flood(s):
    d = device(s, NET, size=256)
    s.put(d.buffer(1, 0), head() + b"f" * 60)
    for _ in range(256):
        d.add(1, [(d.buffer(1, 0), 72, False)])
    for n in range(1, 41):
        s.write(d.places(1)[1] + 2, 256 * n & 0xffff, 2)
        d.reg(0x50, 1)
        d.wait(1, 256 * n & 0xffff)
    d.next[1][1] = 256 * 40
    return d


# ---- rng

def rng(name, does, segments, written=None, expect="PASS", live=True, size=16):
    @row(RNG, name, does, expect, live)
    def payload(s):
        d = device(s, RNG, size=size)
        d.add(0, segments(d))
        d.kick(0)
        if expect == "PASS":
            d.wait(0, 1)
            s.read(d.places(0)[2] + 8, 4, *([written] if written is not None else []), what="bytes written")
        return d


rng("8 MiB at once", "a buffer of nearly all memory: 4 KiB are given", lambda d: [(ARENA + 0x80000, 8 << 20, True)], 4096)
rng("248 MiB at once", "the same place 31 times", lambda d: [(ARENA + 0x80000, 8 << 20, True)] * 31, 4096, size=64)
rng("more than a chain may hold", "the same place 33 times", lambda d: [(ARENA + 0x80000, 8 << 20, True)] * 33, expect="REJECT", live=False, size=64)
rng("one byte", "", lambda d: [(d.buffer(0, 0), 1, True)], 1)
rng("crumbs", "60 buffers of one byte", lambda d: [(d.buffer(0, 0) + i, 1, True) for i in range(60)], 60, size=64)
rng("nothing to write", "a readable buffer", lambda d: [(d.buffer(0, 0), 64, False)], 0)
rng("readable first", "half of it readable", lambda d: [(d.buffer(0, 0), 64, False), (d.buffer(0, 1), 64, True)], 64)
rng("over its own ring", "random bytes over descriptors, available and used ring", lambda d: [(d.at, 0x2000, True)], expect="PASS REJECT", live=False)


@row(RNG, "flood", "64 requests of 4 KiB, shown anew 30 times", "PASS", True)
def rng_flood(s):
    d = device(s, RNG, size=64)
    for _ in range(64):
        d.add(0, [(d.buffer(0, 0), 4096, True)])
    for n in range(1, 31):
        s.write(d.places(0)[1] + 2, 64 * n, 2)
        d.reg(0x50, 0)
        d.wait(0, 64 * n)
    d.next[0][1] = 64 * 30
    return d


# ---- while the harness pauses and resumes

def pauses(g):
    for _ in range(8):
        g.call(PAUSE)
        g.stats()
        g.call(RESUME)


for index in (BLK, NET, VSOCK, RNG):
    @row(index, "pauses in a storm", "kicks and resets while vmm is told to pause and go on", "PASS", during=pauses)
    def paused(s, index=index):
        d = device(s, index)
        mark = s.count(300)
        d.start({BLK: 1, NET: 5, VSOCK: 3, RNG: 1}[index])
        d.kick(0)
        s.repeat(mark, 300)
