"""Rows for every virtio device alike: registers, features, queues, rings, chains, indirect tables. See hostile.py."""
import functools

from bare import SPIN, SWEEP_READ, SWEEP_WRITE, VIRTIO
from hostile_kit import ARENA, ASK, BLK, DEVICES, EVENT_IDX, INDIRECT, NET, QUEUES, RAM, RNG, VSOCK, Row, device

ALL = (BLK, NET, VSOCK, RNG)
CLEAR = 0xffffffffffffffff
# a queue that the device reads by itself, and one whose chains it looks at when it is kicked
WORK = {BLK: 0, NET: 1, VSOCK: 1, RNG: 0}
TABLE = []


def row(name, does, expect, live=False, devices=ALL, **more):
    """One row a device. The payload is f(s, index) → the device that goes on."""
    def take(f):
        TABLE.append((name, does, expect, live, devices, f, more))
        return f
    return take


def rows(times):
    return [Row(DEVICES[i], name, does, expect[i] if isinstance(expect, dict) else expect, functools.partial(f, index=i), live=live, index=i, **more)
            for name, does, expect, live, devices, f, more in TABLE for i in devices]


# ---- registers and status

@row("identity", "writes magic, version, ids, QueueNumMax, generation, InterruptStatus; they stand", "PASS", live=True)
def identity(s, index):
    d = device(s, index)
    for off in (0, 4, 8, 0xc, 0x10, 0x34, 0x60, 0xfc):
        d.reg(off, 0xffffffff)
        d.reg(off, 0)
    s.read(d.base, 4, 0x74726976).read(d.base + 4, 4, 2).read(d.base + 8, 4, (2, 1, 19, 4)[index])
    return d


@row("wrong version", "a driver that wants version 1 or another magic goes on regardless, with the legacy registers", "PASS", live=True)
def legacy(s, index):
    d = device(s, index)
    for off, value in ((0x28, 4096), (0x3c, 4096), (0x40, 0x400), (0x40, 0), (0x28, 0)):
        d.reg(off, value)
        s.read(d.base + off, 4, 0)
    return d


@row("DRIVER_OK at once", "15 into status, nothing before", "PASS")
def ok_at_once(s, index):
    d = device(s, index, start=False)
    d.reg(0x70, 0)
    d.reg(0x70, 15)
    s.read(d.base + 0x70, 4, 3, what="no FEATURES_OK, no DRIVER_OK")
    d.kick(0)


@row("status without order", "each bit alone, all orders of two", "PASS")
def disorder(s, index):
    d = device(s, index, start=False)
    for a in (1, 2, 4, 8, 16, 32, 64):
        for b in (1, 2, 4, 8, 16, 32, 64):
            d.reg(0x70, 0)
            d.reg(0x70, a)
            d.reg(0x70, a | b)
            d.reg(0x70, b)
            s.read(d.base + 0x70, 4, 0, 1, 3)


@row("status bits taken back", "15, then 1, 2, 7, 8 and noise: none counts", "PASS", live=True)
def taken_back(s, index):
    d = device(s, index)
    for v in (1, 2, 7, 8, 3, 0x0f00000f, 0xffffff0f & ~0x80, 0x4f):
        d.reg(0x70, v)
    s.read(d.base + 0x70, 4, 15)
    return d


@row("FAILED", "the driver gives up while it runs, and kicks", "PASS")
def failed(s, index):
    d = device(s, index)
    d.reg(0x70, 0x8f)
    d.add(WORK[index], [(d.buffer(0, 0), 64, True)])
    s.read(d.base + 0x70, 4, 0x8f)


@row("no VERSION_1", "a legacy driver's features", "PASS")
def no_version(s, index):
    d = device(s, index, start=False)
    for v in (0, 1, 3):
        d.reg(0x70, v)
    d.reg(0x24, 0)
    d.reg(0x20, 0)
    d.reg(0x70, 11)
    s.read(d.base + 0x70, 4, 3)
    d.reg(0x70, 15)
    s.read(d.base + 0x70, 4, 3)


@row("every feature", "accepts 64 bits, offered or not", "PASS")
def every_feature(s, index):
    d = device(s, index, start=False)
    for v in (0, 1, 3):
        d.reg(0x70, v)
    for sel in (0, 1, 2, 3, 0xffffffff):
        d.reg(0x24, sel)
        d.reg(0x20, 0xffffffff)
        d.reg(0x14, sel)
    d.reg(0x70, 11)
    s.read(d.base + 0x70, 4, 3)


@row("features after FEATURES_OK", "other features once they stand, and while it runs", "PASS", live=True)
def late_features(s, index):
    d = device(s, index)
    for sel in (0, 1, 7):
        d.reg(0x24, sel)
        d.reg(0x20, 0xffffffff)
        d.reg(0x20, 0)
    return d


@row("DRIVER_OK without queues", "no queue is ready", {BLK: "REJECT", NET: "REJECT", VSOCK: "REJECT", RNG: "PASS"})
def no_queues(s, index):
    d = device(s, index, start=False)
    d.start(0)
    for q in range(QUEUES[index]):
        d.next[q] = [0, 0]
        d.kick(q)


@row("window of every width", "reads and writes of 1, 2, 4 bytes at every offset, over its end too", "PASS")
def window(s, index):
    d = device(s, index)
    for width in (1, 2, 4):
        s.op(SWEEP_READ, width, d.base, 0x1000, 1)
        for first, n in ((0, 0x70), (0x74, 0x8c), (0xfc, 0x110), (0xff0, 0x10 - (width - 1 if index == RNG else 0))):
            s.op(SWEEP_WRITE, width | 0xffffff00, d.base + first, n, 1)


@row("half a register", "bytes and words into status, ready, notify", "PASS", live=True)
def narrow(s, index):
    d = device(s, index)
    for off in (0x70, 0x44, 0x50, 0x38, 0x30, 0x64):
        for width in (1, 2):
            for at in range(off, off + 4, width):
                s.write(d.base + at, 0, width)
                s.write(d.base + at, 0xffff, width)
        for at in (off - 1, off - 2, off + 1, off + 3):
            s.write(d.base + at, 0, 4)
    s.read(d.base + 0x70, 4, 15)
    return d


@row("configuration", "reads of any width and offset, writes of ones everywhere; it stands", "PASS", live=True)
def config(s, index):
    d = device(s, index)
    first = {BLK: 2048, NET: 0x00000002, VSOCK: 3, RNG: 0}[index]
    s.read(d.base + 0x100, 4, first)
    for width in (1, 2, 4):
        s.op(SWEEP_WRITE, width | 0xffffff00, d.base + 0x100, 0xa0, 1)
        for off in (0x101, 0x103, 0x107, 0x13e, 0x17f, 0x200, 0xffc, 0xffe, 0xfff):
            s.read(d.base + off, width)
            s.write(d.base + off, 0xffffffff, width)
    s.read(d.base + 0x100, 4, first)
    return d


@row("acknowledges everything", "InterruptACK of all bits, thousands", "PASS", live=True)
def ack(s, index):
    d = device(s, index)
    s.op(SWEEP_WRITE, 4 | 0xffffff00, d.base + 0x64, 2000, 0)
    s.op(SWEEP_WRITE, 4 | 0x100, d.base + 0x64, 2000, 0)
    return d


# ---- queues

BAD_SIZES = (0, 3, 17, 255, 257, 512, 32768, 65535, 65536, 0x10010, 0xffffffff)
for bad in BAD_SIZES:
    @row("queue size %d" % bad, "the first queue has %d descriptors" % bad, "REJECT")
    def queue_size(s, index, bad=bad):
        d = device(s, index, start=False)
        d.begin()
        d.reg(0x30, 0)
        d.reg(0x38, bad)
        for off, addr in ((0x80, d.places(0)[0]), (0x90, d.places(0)[1]), (0xa0, d.places(0)[2])):
            d.reg(off, addr)
            d.reg(off + 4, 0)
        d.reg(0x44, 1)
        d.reg(0x70, 15)
        d.next[0] = [0, 0]
        d.kick(0)


@row("queue over its maximum", "128 descriptors where 64 are allowed", "REJECT", devices=(RNG,))
def over_max(s, index):
    d = device(s, index, start=False)
    d.begin()
    d.set_queue(0, size=128)
    d.reg(0x70, 15)


BAD_PLACES = [(part, what, addr) for part in ("desc", "avail", "used") for what, addr in (
    ("at the end of RAM", RAM - 16), ("beyond RAM", RAM), ("in the hole", 0xc0000000), ("in a register window", VIRTIO), ("over 4 GiB", 1 << 32), ("at 2^52",
        1 << 52),
    ("that wraps", CLEAR - 15), ("that wraps by a little", CLEAR - 255), ("at the local APIC", 0xfee00000), ("unaligned",
        ARENA + {"desc": 8, "avail": 1, "used": 2}[part]))]
for part, what, addr in BAD_PLACES:
    @row("%s %s" % (part, what), "that part of the ring is 0x%x" % addr, "REJECT")
    def bad_place(s, index, part=part, addr=addr):
        d = device(s, index, start=False)
        d.begin()
        for q in range(QUEUES[index]):
            d.set_queue(q, **({part: addr} if q == WORK[index] else {}))
        d.reg(0x70, 15)
        d.kick(WORK[index])


@row("queue before its time", "ready before FEATURES_OK and before any status", "PASS")
def early_queue(s, index):
    d = device(s, index, start=False)
    d.reg(0x70, 0)
    for v in (0, 1, 3):
        d.reg(0x70, v)
        d.set_queue(0)
        s.read(d.base + 0x44, 4, 0)


@row("queue after DRIVER_OK", "the queues left out are made ready while it runs: too late", "PASS", devices=(RNG,))
def late_queue(s, index):
    d = device(s, index, start=False)
    d.start(0)
    d.set_queue(0)
    s.read(d.base + 0x44, 4, 0)
    d.kick(0)


@row("queues that are not there", "selects 9 … 2^32-1 and writes every register of them", "PASS", live=True)
def absent_queue(s, index):
    d = device(s, index)
    for q in (QUEUES[index], 8, 9, 31, 255, 65535, 0x80000000, 0xffffffff):
        d.reg(0x30, q)
        s.read(d.base + 0x34, 4, 0).read(d.base + 0x44, 4, 0)
        for off in (0x38, 0x44, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4):
            d.reg(off, 0xffffffff)
            d.reg(off, 1)
        d.reg(0x50, q)
    return d


@row("addresses after DRIVER_OK", "size and places of queues that run are written", "PASS", live=True)
def moved(s, index):
    d = device(s, index)
    for q in range(QUEUES[index]):
        d.reg(0x30, q)
        d.reg(0x38, 4)
        for off in (0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4):
            d.reg(off, 0xfffffff0)
        d.reg(0x44, 1)
        d.reg(0x44, 2)
        d.reg(0x44, 0xffffffff)
    return d


@row("queue stopped", "QueueReady 0 while the driver runs", "REJECT")
def stopped(s, index):
    d = device(s, index)
    d.reg(0x30, WORK[index])
    d.reg(0x44, 0)
    d.kick(WORK[index])


@row("queue stopped and moved", "QueueReady 0, another place, ready again, work", "REJECT")
def stopped_moved(s, index):
    d = device(s, index)
    q = WORK[index]
    d.add(q, [(d.buffer(q, 0), 64, index == RNG)])
    d.reg(0x50, q)
    d.reg(0x30, q)
    d.reg(0x44, 0)
    d.set_queue(q, desc=RAM - 4096, avail=RAM - 8192, used=0xd0000000)
    d.kick(q)


# ---- available rings

def started(s, index, features=0, size=16):
    return device(s, index, features=features, size=size), WORK[index]


for name, head in (("one beyond", 16), ("far beyond", 0xffff), ("the sign", 0x8000)):
    @row("head %s the ring" % name, "the available ring names descriptor %d of 16" % head, "REJECT")
    def bad_head(s, index, head=head):
        d, q = started(s, index)
        d.raw(q, [(d.buffer(q, 0), 64, 2, 0)], head=head)
        d.kick(q)


for name, idx in (("by one too many", 17), ("by half", 0x8000), ("back", 0xffff), ("by 256", 256)):
    @row("index that jumps %s" % name, "the available index is %d after 0" % idx, "REJECT")
    def jump(s, index, idx=idx):
        d, q = started(s, index)
        d.next[q][1] = idx
        d.kick(q)


@row("index that goes back later", "one correct request, then the index is 0 again", "REJECT")
def backward(s, index):
    d, q = started(s, index)
    ASK[index](s, d)
    s.write(d.places(q)[1] + 2, 0, 2)
    d.reg(0x50, q)


@row("flags and events that lie", "interrupts off, unknown flags, an event index far away", "PASS", live=True)
def lies(s, index):
    d, q = started(s, index, features=EVENT_IDX)
    for queue in range(QUEUES[index]):
        s.write(d.places(queue)[1], 0xffff, 2)
        s.write(d.places(queue)[1] + 4 + 2 * d.size, 0x7fff, 2)
    return d


# ---- chains: descriptors as they are

def bad_chain(name, does, table, features=0, head=0, size=16, expect="REJECT", also=None, devices=ALL):
    @row(name, does, expect, devices=devices)
    def payload(s, index):
        d, q = started(s, index, features, size)
        b = d.buffer(q, 0)
        if also:
            d.descs(d.buffer(q, 16), also(d, q))
        d.raw(q, table(b, d, q), head)
        d.kick(q)
    return payload


W, N, I = 2, 1, 4
bad_chain("self-linked", "a descriptor whose next is itself", lambda b, d, q: [(b, 64, N, 0)])
bad_chain("self-linked, writable", "the same, for the device to write", lambda b, d, q: [(b, 64, N | W, 0)])
bad_chain("loop of two", "two descriptors that follow each other", lambda b, d, q: [(b, 64, N, 1), (b, 64, N, 0)])
bad_chain("loop of all", "all 16 in a ring", lambda b, d, q: [(b, 64, N, (i + 1) % 16) for i in range(16)])
bad_chain("next beyond the table", "next is 16 of 16", lambda b, d, q: [(b, 64, N, 16)])
bad_chain("next far beyond", "next is 65535", lambda b, d, q: [(b, 64, N, 65535)])
bad_chain("length 0", "an empty buffer", lambda b, d, q: [(b, 0, W, 0)])
bad_chain("length 0 inside", "an empty buffer after one", lambda b, d, q: [(b, 64, N, 1), (b, 0, W, 0)])
bad_chain("length 2^32-1", "from the arena to nowhere", lambda b, d, q: [(b, 0xffffffff, W, 0)])
bad_chain("wrapping", "address + length passes 2^64", lambda b, d, q: [(CLEAR - 7, 64, W, 0)])
bad_chain("wrapping to 0", "address + length is 2^64", lambda b, d, q: [(CLEAR - 63, 64, W, 0)])
bad_chain("over the end of RAM", "its last byte is beyond", lambda b, d, q: [(RAM - 63, 64, W, 0)])
bad_chain("from the end of RAM", "its first byte is beyond", lambda b, d, q: [(RAM, 1, W, 0)])
bad_chain("in the hole", "at 3 GiB", lambda b, d, q: [(0xc0000000, 64, W, 0)])
bad_chain("over 4 GiB", "where RAM would go on", lambda b, d, q: [(1 << 32, 64, W, 0)])
bad_chain("in a register window", "reads its own registers", lambda b, d, q: [(VIRTIO, 64, 0, 0)])
bad_chain("into a register window", "writes its own registers", lambda b, d, q: [(VIRTIO, 64, W, 0)])
bad_chain("at the IO-APIC", "a buffer there", lambda b, d, q: [(0xfec00000, 64, W, 0)])
bad_chain("at the local APIC", "a buffer there", lambda b, d, q: [(0xfee00000, 64, W, 0)])
bad_chain("high half", "the address's upper 32 bits", lambda b, d, q: [(b | 1 << 40, 64, W, 0)])
bad_chain("readable after writable", "order turned round", lambda b, d, q: [(b, 64, N | W, 1), (b + 256, 64, 0, 0)])
bad_chain("sum beyond all", "16 buffers of 12 MiB: more than a chain may hold is RAM enough", lambda b, d,
    q: [(0x100000, 12 << 20, N | W, i + 1) for i in range(256)], size=256,
          devices=(BLK, NET, VSOCK))
bad_chain("sum that wraps 32 bits", "lengths whose sum is 64", lambda b, d, q: [(b, 64, N | W, 1)] + [(b, 0x80000000, N | W, i + 2) for i in range(2)])
bad_chain("indirect unasked", "the flag without the feature", lambda b, d, q: [(d.buffer(q, 16), 16, I, 0)], also=lambda d, q: [(d.buffer(q, 0), 64, W, 0)])

for name, does, entry, table in (
        ("in an indirect table", "a table in a table", None, lambda b, t: [(t, 16, I, 0)]),
        ("that names itself", "a table that is its own entry", None, lambda b, t: [(t, 32, I | N, 1), (b, 64, W, 0)]),
        ("with next", "INDIRECT and NEXT", lambda t: (t, 16, I | N, 1), None),
        ("of length 0", "no entry", lambda t: (t, 0, I, 0), None),
        ("of length 8", "half an entry", lambda t: (t, 8, I, 0), None),
        ("of length 24", "an entry and a half", lambda t: (t, 24, I, 0), None),
        ("that is huge", "2^32-16 bytes", lambda t: (t, 0xfffffff0, I, 0), None),
        ("of one entry too many", "17 for a queue of 16", lambda t: (t, 17 * 16, I, 0), lambda b,
            t: [(b, 64, N | W, i + 1) for i in range(16)] + [(b, 64, W, 0)]),
        ("over the end of RAM", "half of it beyond", lambda t: (RAM - 16, 32, I, 0), None),
        ("in the hole", "at the IO-APIC", lambda t: (0xfec00000, 16, I, 0), None),
        ("that wraps", "at the end of all addresses", lambda t: (CLEAR - 15, 32, I, 0), None),
        ("that loops", "its entries follow each other", lambda t: (t, 32, I, 0), lambda b, t: [(b, 64, N, 1), (b, 64, N, 0)]),
        ("whose next leaves it", "next is 2 of 2", lambda t: (t, 32, I, 0), lambda b, t: [(b, 64, N, 2), (b, 64, W, 0)]),
        ("whose buffer is nowhere", "an entry beyond RAM", lambda t: (t, 16, I, 0), lambda b, t: [(RAM + 4096, 64, W, 0)])):
    bad_chain("indirect " + name, does, (lambda entry: lambda b, d, q: [(entry or (lambda t: (t, 16, I, 0)))(d.buffer(q, 16)), (b, 64, W, 0)])(entry),
        features=INDIRECT,
              also=(lambda table: lambda d, q: (table or (lambda b, t: [(b, 64, W, 0)]))(d.buffer(q, 0), d.buffer(q, 16)))(table))


@row("indirect table that is the ring", "the ring's own descriptors as a table, which the chain's head stands in", "REJECT")
def table_is_ring(s, index):
    d, q = started(s, index, INDIRECT)
    d.raw(q, [(d.places(q)[0], 16 * 16, I, 0)])
    d.kick(q)


# ---- rings that lie over each other, and buffers over rings: anything but harm

EITHER = "PASS REJECT"


def overlap(name, does, places, size=16, over=None):
    @row("overlap: " + name, does, EITHER)
    def payload(s, index):
        d, q = device(s, index, start=False, size=size), WORK[index]
        d.begin()
        for n in range(QUEUES[index]):
            at = d.places(n)[0]
            d.set_queue(n, size=size, **{k: at + v for k, v in places.items()} if n == q else {})
        d.reg(0x70, 15)
        s.given(d.at, 0x20000)
        buffer = d.buffer(q, 0) if over is None else d.places(q)[over]
        base = d.places(q)[0] + places.get("desc", 0)
        d.descs(base, [(buffer, 64, 0 if index in (NET, VSOCK) else W, 0)] * size)
        avail = d.places(q)[0] + places.get("avail", 0x1000)
        for n in (1, size // 2 or 1, size):
            s.write(avail + 2, n, 2)
            d.reg(0x50, q)
            s.op(SPIN, 3000)


overlap("all three parts", "descriptors, available and used ring at one address", dict(desc=0, avail=0, used=0))
overlap("used over available", "what the device writes is what it reads next", dict(avail=0x1000, used=0x1000))
overlap("used a little after available", "an element lies over the index", dict(avail=0x1002, used=0x1000))
overlap("used just before available", "the last element lies over the index", dict(avail=0x1100, used=0x1100 - 4 - 8))
overlap("used over descriptors", "elements become descriptors", dict(desc=0, used=0))
overlap("available over descriptors", "", dict(desc=0, avail=0))
overlap("a queue of one, used over available", "each element is the next index", dict(avail=0x1002, used=0x1000 - 4), size=1)
for n, part in enumerate(("descriptors", "available", "used")):
    overlap("buffer over %s" % part, "the device writes data over its own ring", {}, over=n)


# ---- storms

@row("reset storm", "hundreds of resets, before and while it runs", "PASS")
def resets(s, index):
    d = device(s, index)
    mark = s.count(300)
    d.reg(0x70, 0)
    d.reg(0x70, 3)
    s.repeat(mark, 300)


@row("start storm", "started, kicked and reset again and again, with requests under way", "PASS")
def starts(s, index):
    d = device(s, index, start=False)
    q = WORK[index]
    mark = s.count(25)
    d.start(QUEUES[index])
    d.add(q, [(d.buffer(q, 0), 512, index == RNG)])
    d.kick(q)
    d.reg(0x70, 0)
    s.repeat(mark, 25)


@row("kick storm", "thousands of notifications of queues there are, with nothing in them", "PASS", live=True)
def kicks(s, index):
    d = device(s, index)
    for q in range(QUEUES[index]):
        s.op(SWEEP_WRITE, 4 | q << 8, d.base + 0x50, 5000, 0)
    return d


@row("kick storm on absent queues", "notifications of 100 queues that are not there, of odd widths, before it runs", "PASS")
def absent_kicks(s, index):
    d = device(s, index, start=False)
    for again in range(2):
        for q in range(100):
            d.reg(0x50, q)
        for width in (1, 2, 4):
            s.op(SWEEP_WRITE, width | 0xffffff00, d.base + 0x50, 200, 0)
        d.start(QUEUES[index])


@row("feature storm", "features and queue registers by the thousand, which KVM queues up", "PASS", live=True)
def coalesced(s, index):
    d = device(s, index)
    for off in (0x20, 0x24, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4):
        s.op(SWEEP_WRITE, 4 | 0xffffff00, d.base + off, 1000, 0)
    return d
