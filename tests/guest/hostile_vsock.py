"""Rows for the vsock device: packets, streams, credit that break its rules. See hostile.py."""
from bare import MOVE, SPIN, SWEEP_WRITE, WAIT16
from hostile_dev import CLEAR, row, send
from hostile_kit import LISTEN_PORT, VSOCK, device, vsock_packet
from vmmctl import Refused

def vsock(name, does, *packets, expect="PASS", live=True, receive=0, size=64):
    """Packets from the guest; the device takes them all, whatever it thinks of them."""
    @row(VSOCK, name, does, expect, live)
    def payload(s):
        d = device(s, VSOCK, size=size)
        for i in range(receive):
            d.add(0, [(d.buffer(0, i % 32), 1024, True)])
        if receive:
            d.kick(0)
        for n, p in enumerate(packets):
            send(s, d, n % 50, p)
            if n % size == size - 1:
                d.wait(1, n + 1)
        if expect == "PASS":
            d.wait(1, len(packets))
        if live and receive:  # what answers there are have come: the next one is ours
            s.op(SPIN, 30000)
        return None if receive else d
    return payload


P = vsock_packet
ROW_LIVE = dict(live=False, receive=40)
vsock("operations", "0, 8, 9, 255, 65535 and every known one for a stream that is not there",
    *[P(op, 9, 9) for op in (0, 2, 3, 4, 5, 6, 7, 8, 9, 255, 0x8000, 0xffff)], **ROW_LIVE)
vsock("types", "datagrams, seqpackets, 0, 65535", *[P(op, 9, 9, kind=k) for k in (0, 2, 3, 0xffff) for op in (1, 3, 5)], **ROW_LIVE)
vsock("context ids", "from others, to others: 0, 1, 2, 4, 2^32-1, 2^64-1", *[P(1, 9, LISTEN_PORT, src=c) for c in (0, 1, 2, 4, 1 << 32 | 3, CLEAR)],
      *[P(1, 9, LISTEN_PORT, dst=c) for c in (0, 1, 3, 4, 1 << 32 | 2, CLEAR)], **ROW_LIVE)
vsock("ports", "0 and 2^32-1, both ways", *[P(1, a, b) for a in (0, 0xffffffff) for b in (0, 1, 0xffffffff)], **ROW_LIVE)
vsock("a stream twice", "two requests with the same ports, a response to one's own", P(1, 10, LISTEN_PORT), P(1, 10, LISTEN_PORT), P(2, 10, LISTEN_PORT), P(2,
    10, LISTEN_PORT), **ROW_LIVE)
vsock("bytes before the stream", "RW, then the request, then RW after the reset", P(5, 11, LISTEN_PORT, 4) + b"abcd", P(1, 11, LISTEN_PORT), P(3, 11,
    LISTEN_PORT),
      P(5, 11, LISTEN_PORT, 4) + b"abcd", **ROW_LIVE)
vsock("credit that lies", "alloc 0, 2^32-1, forwarded more than it ever got", P(1, 12, LISTEN_PORT, alloc=0), P(6, 12, LISTEN_PORT, alloc=0xffffffff,
    fwd=0xffffffff),
      P(6, 12, LISTEN_PORT, alloc=0, fwd=0x80000000), P(7, 12, LISTEN_PORT, alloc=1, fwd=1), P(6, 12, LISTEN_PORT, alloc=0xffffffff, fwd=1), **ROW_LIVE)
vsock("shutdown flags", "all bits, none, twice, after a reset", P(1, 13, LISTEN_PORT), P(4, 13, LISTEN_PORT, flags=0), P(4, 13, LISTEN_PORT,
    flags=0xfffffffc), P(4, 13, LISTEN_PORT, flags=1),
      P(5, 13, LISTEN_PORT, 1) + b"x", P(4, 13, LISTEN_PORT, flags=2), P(4, 13, LISTEN_PORT, flags=0xffffffff), P(5, 13, LISTEN_PORT, 1) + b"x", **ROW_LIVE)
vsock("RW of no bytes", "a hundred of them", P(1, 14, LISTEN_PORT), *[P(5, 14, LISTEN_PORT, 0)] * 100, **ROW_LIVE)
vsock("length 2^32-1", "more than the packet holds", P(5, 9, 9, 0xffffffff), expect="REJECT", live=False)
vsock("length one too many", "5 of 4 bytes", P(5, 9, 9, 5) + b"abcd", expect="REJECT", live=False)
vsock("length of a reset", "a length with an operation that has none", P(3, 9, 9, 1), expect="REJECT", live=False)
vsock("length less than there is", "4 of 900 bytes", P(1, 15, LISTEN_PORT), P(5, 15, LISTEN_PORT, 4) + b"a" * 900, **ROW_LIVE)
vsock("short header", "43 bytes", P(1, 9, 9)[:43], expect="REJECT", live=False)
vsock("a byte", "1 byte", b"x", expect="REJECT", live=False)
vsock("header in front of nothing", "resets for streams that are not there: no answer is due", *[P(3, n, 9) for n in range(300)])
# 64 answers find a buffer and 256 wait at most: with more, the device would rightly stop taking packets
vsock("streams by the hundred", "300 requests to a port that somebody takes", *[P(1, 1000 + n, LISTEN_PORT) for n in range(300)], receive=64, live=False)
vsock("questions without room for answers", "200 requests, no receive buffer", *[P(1, 2000 + n, 4444) for n in range(200)], live=False)


@row(VSOCK, "answers held back", "512 requests, no receive buffer: the device stops taking them and goes on later", "PASS")
def vsock_held(s):
    d = device(s, VSOCK, size=256)
    s.put(d.buffer(1, 0), P(1, 7, 4444))
    for _ in range(256):
        d.add(1, [(d.buffer(1, 0), 44, False)])
    for n in (256, 512):
        s.write(d.places(1)[1] + 2, n, 2)
        d.reg(0x50, 1)
        s.op(WAIT16, d.places(1)[2] + 2, n, 20000)
    for i in range(256):
        d.add(0, [(d.buffer(0, i % 32), 1024, True)])
    d.kick(0)
    d.wait(0, 256)


@row(VSOCK, "more than the credit", "200 KiB at once into a stream that allows 16 to 512 KiB, then a flood", "PASS")
def vsock_flood(s):
    d = device(s, VSOCK, size=256)
    for i in range(64):
        d.add(0, [(d.buffer(0, i % 32), 1024, True)])
    d.kick(0)
    send(s, d, 0, P(1, 16, LISTEN_PORT))
    s.put(d.buffer(1, 1), P(5, 16, LISTEN_PORT, 200 << 10))
    for n in range(40):
        d.add(1, [(d.buffer(1, 1), 44, False), (0x500000, 200 << 10, False)])
        d.kick(1)
    d.wait(1, 41)


def vsock_rx(name, does, segments):
    @row(VSOCK, name, does, "REJECT")
    def payload(s):
        d = device(s, VSOCK)
        d.add(0, segments(d))
        d.kick(0)
        send(s, d, 0, P(1, 17, 4444))


vsock_rx("receive buffer of a byte", "no room for a header", lambda d: [(d.buffer(0, 0), 1, True)])
vsock_rx("receive buffer of 44", "a header and nothing else", lambda d: [(d.buffer(0, 0), 44, True)])
vsock_rx("readable receive buffer", "nothing to write", lambda d: [(d.buffer(0, 0), 1024, False)])
vsock_rx("half readable receive buffer", "readable, then writable", lambda d: [(d.buffer(0, 0), 64, False), (d.buffer(0, 1), 1024, True)])


@row(VSOCK, "receive buffer in crumbs", "45 buffers of one byte", "PASS")
def vsock_crumbs(s):
    d = device(s, VSOCK, size=64)
    d.add(0, [(d.buffer(0, 0) + i, 1, True) for i in range(45)])
    d.kick(0)
    send(s, d, 0, P(1, 17, 4444))
    d.wait(0, 1)
    s.read(d.buffer(0, 0) + 30, 2, 3, what="the answer")


@row(VSOCK, "event queue", "buffers and noise in the queue that has nothing to say", "PASS", True)
def vsock_event(s):
    d = device(s, VSOCK)
    d.raw(2, [(CLEAR, 0, 7, 99)], head=0xffff)
    d.kick(2)
    s.op(SWEEP_WRITE, 4 | 2 << 8, d.base + 0x50, 500, 0)
    return d


@row(VSOCK, "reset with streams", "opens one, sends, resets; thirty times", "PASS")
def vsock_resets(s):
    d = device(s, VSOCK, start=False)
    s.put(d.buffer(1, 0), P(1, 18, LISTEN_PORT))
    s.put(d.buffer(1, 1), P(5, 18, LISTEN_PORT, 64) + b"r" * 64)
    mark = s.count(30)
    d.start(3)
    d.add(0, [(d.buffer(0, 0), 1024, True)])
    d.kick(0)
    for n in (0, 1):
        d.add(1, [(d.buffer(1, n), 44 + 64 * n, False)])
    d.kick(1)
    d.reg(0x70, 0)
    s.repeat(mark, 30)


# ---- streams that the host opens

def connects(g):
    """The host asks for a stream and sends into it whatever comes of that; an answer there must be."""
    try:
        with g.connect(5000, 30) as sock:
            sock.settimeout(10)
            try:
                sock.sendall(b"h" * 100000)
                while sock.recv(65536):
                    pass
            except OSError:
                pass  # the stream ended in the middle
    except Refused:
        pass


def answers(name, does, *packets):
    @row(VSOCK, name, does, "PASS", during=connects)
    def payload(s):
        d = device(s, VSOCK, size=64)
        for i in range(32):
            d.add(0, [(d.buffer(0, i), 1024, True)])
        d.kick(0)
        d.wait(0, 1, 50000000)
        for n, p in enumerate(packets):
            at = d.buffer(1, n)
            s.put(at, p)
            s.op(MOVE, at + 16, d.buffer(0, 0) + 20, 4).op(MOVE, at + 20, d.buffer(0, 0) + 16, 4)  # its ports, turned round
            d.add(1, [(at, len(p), False)])
            d.kick(1)
        d.wait(1, len(packets))
        s.op(SPIN, 30000)


answers("bytes before the response", "the host asks; RW comes first", P(5, 0, 0, 4) + b"abcd", P(2, 0, 0), P(5, 0, 0, 4) + b"abcd")
answers("response twice", "and a request for the same stream, then a reset", P(2, 0, 0), P(2, 0, 0), P(1, 0, 0), P(3, 0, 0), P(3, 0, 0))
answers("response without credit", "no room, then more than there is, then forwarded what never came, then a reset", P(2, 0, 0, alloc=0),
        P(6, 0, 0, alloc=0, fwd=0xffffffff), P(6, 0, 0, alloc=0xffffffff), P(6, 0, 0, alloc=1, fwd=0x80000000), P(3, 0, 0))
answers("shutdown instead of a response", "of both halves, then bytes", P(4, 0, 0, flags=3), P(5, 0, 0, 4) + b"abcd", P(2, 0, 0))
answers("response and shutdown", "opened and closed at once, bytes after", P(2, 0, 0), P(4, 0, 0, flags=3), P(5, 0, 0, 4) + b"abcd", P(4, 0, 0, flags=3))
