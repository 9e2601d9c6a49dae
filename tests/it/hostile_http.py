#!/usr/bin/env python3
"""hostile_http.py BIN-FOLDER AGENT [http|https] [WORD...]: clients that break the rules, over HTTP and over HTTPS, against the daemon of real parts (stack.py).

Each must be answered with a clear 4xx/5xx or closed, must be counted under its reason in mica_http_rejected_total, must get no second
answer, and in the end front has the descriptors and the memory it had before. Its limits are made short by its flags. TAP on stdout."""
import base64
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client import Api, query, wait_for  # noqa: E402
from frames import Tap  # noqa: E402
from stack import Stack  # noqa: E402

tap = Tap()
CONNS = 64
LIMITS = ["--handshake-ms", "900", "--first-ms", "900", "--head-ms", "1500", "--body-ms", "1500", "--idle-ms", "60000", "--conns", str(CONNS)]
CREATE = "/hostgroup/demo/nodes"
SECOND = b"GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n"


def tls_context(low=None, high=None, ciphers=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if low:
            c.minimum_version, c.maximum_version = low, high or low
        if ciphers:
            c.set_ciphers(ciphers)
    return c


class World:
    def __init__(self, stack):
        self.stack, self.tls = stack, stack.tls
        self.unix = Api(stack.unix)
        self.token, self.on_unix = stack.token, False

    def open(self, timeout_s=15):
        if self.on_unix:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(timeout_s)
            s.connect(self.stack.unix)
            return s
        s = socket.create_connection(self.stack.tcp, timeout_s)
        return tls_context().wrap_socket(s) if self.tls else s

    def count(self, reason):
        status, _, body = self.unix.call("GET", "/metrics")
        return int(re.search(rb'mica_http_rejected_total\{reason="%s"\} (\d+)' % reason.encode(), body).group(1))

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.stack.front.pid))

    def memory_kib(self):
        with open("/proc/%d/status" % self.stack.front.pid) as f:
            return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))

    def head(self, method, path, *fields, token=True):
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: a"] + (["Authorization: Bearer " + self.token] if token else []) + list(fields)
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def drain(s):
    """Everything until the server closes (or breaks); None when it does not."""
    got = b""
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                return got
            got += piece
    except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError, BrokenPipeError):
        return got
    except ssl.SSLError as why:
        return got + b" %s" % str(why.reason).encode()
    except OSError:
        return None


def send(s, data):
    try:
        s.sendall(data)
    except OSError:
        pass  # refused before it was whole


def answers(got):
    return [int(x) for x in re.findall(rb"HTTP/1\.[01] (\d{3}) [^\r]*\r\n", got or b"") if x != b"100"]


def expect(w, name, reason, statuses, act):
    """act(socket) sends; then: one answer of these statuses (none when empty), the end, and one more of that reason."""
    before = w.count(reason) if reason else 0
    s = w.open()
    act(s)
    got = drain(s)
    s.close()
    seen = answers(got)
    fine = got is not None and (len(seen) == 1 and seen[0] in statuses if statuses else not seen)
    if fine and seen:
        body = got.split(b"\r\n\r\n", got.count(b"HTTP/1.1 100") + 1)[-1]
        fine = b"Connection: close" in got and bool(json.loads(body)["error"])
    counted = not reason or wait_for(lambda: w.count(reason) == before + 1, 5)
    if not tap.ok(fine and counted, "%s: %s, closed%s" % (name, "/".join(map(str, statuses)) or "no answer", ", counted as " + reason if reason else "")):
        print("# answers %s, %s %d after %d\n# %r" % (seen, reason, w.count(reason) if reason else 0, before, (got or b"(still open)")[:300]), flush=True)


# ---- heads and bodies ---------------------------------------------------------------------------------------------

def post(*fields, start="POST /hostgroup/demo/nodes HTTP/1.1"):
    return ("\r\n".join([start, "Host: a"] + list(fields)) + "\r\n\r\n").encode("latin-1")


HEADS = [
    ("bare LF", b"GET /healthz HTTP/1.1\nHost: a\n\n", 400, "head"),
    ("a bare LF among the fields", b"GET /healthz HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "head"),
    ("a CR alone", b"GET /healthz HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400, "head"),
    ("NUL in a field", b"GET /healthz HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400, "head"),
    ("NUL in the target", b"GET /heal\0thz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "head"),
    ("bytes beyond ASCII in the target", b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400, "head"),
    ("a folded line", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400, "head"),
    ("a folded length", b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\nhello", 400, "head"),
    ("a blank before the colon", post("Transfer-Encoding : chunked"), 400, "head"),
    ("no Host", b"GET /healthz HTTP/1.1\r\n\r\n", 400, "head"),
    ("two Hosts", b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "head"),
    ("no version", b"GET /healthz\r\nHost: a\r\n\r\n", 400, "head"),
    ("a TLS hello in the clear inside", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "head"),
    ("HTTP/2.0", b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version"),
    ("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version"),
    ("an unknown expectation", post("Content-Length: 2", "Expect: coffee"), 417, "expectation"),
    ("a head of 80 KiB", b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X: 0123456789\r\n" * 5800, 431, "head_size"),
    ("97 fields", b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 97 + b"\r\n", 431, "head_size"),
    ("a field of 17 KiB", post("X: " + "y" * 17000), 431, "head_size"),
    ("a target of 61 KiB", b"GET /" + b"a" * 62000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "head_size"),
    ("two lengths that differ", post("Content-Length: 0", "Content-Length: 41"), 400, "framing"),
    ("two lengths that agree", post("Content-Length: 0", "Content-Length: 0"), 400, "framing"),
    ("a list of lengths", post("Content-Length: 0, 0"), 400, "framing"),
    ("a length with a sign", post("Content-Length: +0"), 400, "framing"),
    ("a negative length", post("Content-Length: -1"), 400, "framing"),
    ("a length in hex", post("Content-Length: 0x0"), 400, "framing"),
    ("a length of 20 digits", post("Content-Length: 18446744073709551616"), 400, "framing"),
    ("an empty length", post("Content-Length:"), 400, "framing"),
    ("length, then chunked", post("Content-Length: 4", "Transfer-Encoding: chunked"), 400, "framing"),
    ("chunked, then length", post("Transfer-Encoding: chunked", "Content-Length: 4"), 400, "framing"),
    ("chunked twice", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400, "framing"),
    ("chunked in a list", post("Transfer-Encoding: chunked, identity"), 400, "framing"),
    ("gzip, chunked", post("Transfer-Encoding: gzip, chunked"), 400, "framing"),
    ("an unknown coding", post("Transfer-Encoding: xchunked"), 501, "framing"),
    ("a quoted coding", post('Transfer-Encoding: "chunked"'), 501, "framing"),
    ("chunked in HTTP/1.0", post("Transfer-Encoding: chunked", start="POST /hostgroup/demo/nodes HTTP/1.0"), 400, "framing"),
    ("an escape that is none", b"GET /vm/%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400, "target"),
    ("an escaped NUL", b"GET /vm/a%00b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 400, "target"),
    ("a path of 40 parts", b"GET " + b"/a" * 40 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 414, "target"),
]


def part_heads(w):
    for name, data, status, reason in HEADS:
        expect(w, name, reason, [status], lambda s: send(s, data + (b"" if b"close" in data else SECOND)))
    # byte by byte the verdict is the same
    for name, data, status, reason in [h for h in HEADS if len(h[1]) < 120][::4]:
        def slowly(s):
            for b in data + SECOND:
                send(s, bytes([b]))
        expect(w, name + ", byte by byte", reason, [status], slowly)


def chunked(*pieces):
    return lambda w: w.head("POST", CREATE, "Transfer-Encoding: chunked", "Content-Type: application/json") + b"".join(pieces)


CHUNKS = [
    ("a chunk size that is none", b"zz\r\n"), ("a negative chunk size", b"-1\r\n"), ("a chunk size with 0x", b"0x2\r\n{}\r\n0\r\n\r\n"),
    ("an empty chunk size", b"\r\n{}\r\n0\r\n\r\n"), ("a chunk size of 17 digits", b"00000000000000002\r\n{}\r\n0\r\n\r\n"),
    ("a chunk size that wraps around", b"ffffffffffffffff\r\n{}"), ("a blank after the size", b"2 \r\n{}\r\n0\r\n\r\n"),
    ("a chunk size line that ends in LF", b"2\n{}\r\n0\r\n\r\n"), ("a chunk longer than its size", b"1\r\n{}\r\n0\r\n\r\n"),
    ("an extension of 300 bytes", b"2;" + b"a" * 300 + b"\r\n{}\r\n0\r\n\r\n"), ("NUL in an extension", b"2;a\0\r\n{}\r\n0\r\n\r\n"),
    ("a folded trailer", b"2\r\n{}\r\n0\r\n X: y\r\n\r\n"), ("trailers of 9 KiB", b"2\r\n{}\r\n0\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 300 + b"\r\n"),
    ("a trailer with a bare LF", b"2\r\n{}\r\n0\r\nX: y\n\r\n"),
]


def part_chunks(w):
    for name, data in CHUNKS:
        expect(w, name, "chunk", [400], lambda s: send(s, chunked(data, SECOND)(w)))


JSONS = [
    ("bad UTF-8", b'{"userdata":"\xff\xfe"}'), ("an overlong NUL", b'{"userdata":"\xc0\x80"}'), ("half a surrogate", b'{"userdata":"\\ud800"}'),
    ("a raw NUL", b'{"userdata":"a\0b"}'), ("a raw line feed in a string", b'{"userdata":"a\nb"}'), ("100 000 brackets", b"[" * 100000),
    ("50 000 nested objects", b'{"a":' * 50000), ("a deep one that is closed", b'{"tags":' + b"[" * 2000 + b"]" * 2000 + b"}"),
    ("a number of 100 000 digits", b'{"cpus":' + b"1" * 100000 + b"x}"), ("two values", b"{}{}"), ("a comma too many", b'{"cpus":1,}'), ("no object", b"[]"),
    ("half an escape", b'{"userdata":"\\u12"}'), ("500 000 values", b'{"tags":[' + b"0," * 400000 + b"0]}"), ("bytes that are none", bytes(range(256))),
]
NUMBERS = [b"1e999999999", b"-1e999999999", b"9" * 400, b"0." + b"9" * 5000, b"18446744073709551616", b"1.5", b"NaN", b"01"]


def part_bodies(w):
    for name, data in JSONS:
        expect(w, "JSON: " + name, "json", [400], lambda s: send(s, w.head("POST", CREATE, "Content-Length: %d" % len(data), "Connection: close") + data))
    for number in NUMBERS:
        data = b'{"cpus":' + number + b"}"
        expect(w, "cpus: %s" % number[:20].decode(), None, [400], lambda s: send(s, w.head("POST", CREATE, "Content-Length: %d" % len(data), "Connection: close") + data))
    big = (1 << 20) + 1
    expect(w, "a body whose length is too large", "body_size", [413], lambda s: send(s, w.head("POST", CREATE, "Content-Length: %d" % big)))
    expect(w, "a body that grows too large", "body_size", [413], lambda s: send(s, chunked(b"10000\r\n" + b" " * 65536 + b"\r\n")(w) + b"10000\r\n" + b" " * 65536 + b"\r\n" +
                                                                                (b"10000\r\n" + b" " * 65536 + b"\r\n") * 16))
    if w.on_unix:
        return  # where nobody needs a token
    for token in ("wrong", "x" * 8000):
        expect(w, "a wrong token of %d bytes" % len(token), "auth", [401],
               lambda s: send(s, w.head("GET", "/nodes", "Authorization: Bearer " + token, "Connection: close", token=False)))
    expect(w, "no token and a body of 4 MiB", "auth", [401], lambda s: send(s, w.head("POST", CREATE, "Content-Length: 4194304", token=False) + b"x" * 4194304))


# ---- slowness -----------------------------------------------------------------------------------------------------

def dribble(s, data, step_s=0.05, limit_s=12):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            s.sendall(data)
        except OSError:
            return
        s.settimeout(step_s)
        try:
            if s.recv(1, socket.MSG_PEEK) is not None:
                return
        except TimeoutError:
            pass
        except (OSError, ValueError):
            return
        finally:
            s.settimeout(15)


def dribble_tls(s, data, limit_s=4):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            s.sendall(data)
        except OSError:
            return
        time.sleep(0.05)


def part_slow(w):
    slow = dribble_tls if w.tls else dribble
    expect(w, "a client that never says anything", "first_byte_late", [], lambda s: None)
    expect(w, "a head that comes in drops", "head_late", [408], lambda s: (send(s, b"GET /healthz HTTP/1.1\r\nHost: a\r\n"), slow(s, b"X: y\r\n")))
    expect(w, "a head that stops in the middle", "head_late", [408], lambda s: send(s, b"GET /healthz HTTP/1.1\r\nHos"))
    expect(w, "a body that comes in drops", "body_late", [408], lambda s: (send(s, w.head("POST", CREATE, "Content-Length: 100000")), slow(s, b" ")))
    expect(w, "a chunked body that comes in drops", "body_late", [408], lambda s: (send(s, chunked()(w)), slow(s, b"1\r\n \r\n")))
    expect(w, "a body that never comes", "body_late", [408], lambda s: send(s, w.head("POST", CREATE, "Content-Length: 10")))
    before = w.count("first_byte_late")
    s = w.open()
    send(s, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    got = drain(s)
    s.close()
    tap.ok(answers(got) == [200] and w.count("first_byte_late") == before + 1, "after /healthz alone nobody is trusted: closed, counted")
    s = w.open()
    send(s, w.head("GET", "/info"))
    time.sleep(2.5)
    s.settimeout(10)
    send(s, w.head("GET", "/info", "Connection: close"))
    tap.ok(answers(drain(s)) == [200, 200], "a client with a token may rest between its requests")
    s.close()


# ---- the table is full --------------------------------------------------------------------------------------------

def part_full(w):
    api = Api(w.stack.unix)
    known = w.open(30)
    send(known, w.head("GET", "/info"))
    known.recv(65536)
    busy = w.open(30)
    send(busy, w.head("POST", query("/vm/demo-1/exec", cmd="/bin/sh", args=["-c", "echo up; sleep 6; echo down"])))
    before = w.count("evicted")
    idle = []
    for _ in range(CONNS + 30):
        s = socket.create_connection(w.stack.tcp, 15)
        idle.append(s)
    for s in idle[::3]:
        send(s, b"\x16\x03\x01\x00" if w.tls else b"GET / HT")
    status = Api((*w.stack.tcp, tls_context()) if w.tls else w.stack.tcp, w.token).call("GET", "/info", timeout_s=15)[0]
    tap.ok(status == 200, "%d idle connections, %d places: a client with a token gets in" % (len(idle), CONNS))
    tap.ok(w.count("evicted") >= before + 30, "idle ones went for it, counted: %d" % (w.count("evicted") - before))
    send(known, w.head("GET", "/info", "Connection: close"))
    tap.ok(answers(drain(known)) == [200], "a known client that rests was not the one to go")
    known.close()
    text, end = b"", time.monotonic() + 15
    while b'"exit"' not in text and time.monotonic() < end:
        text += busy.recv(65536)
    tap.ok(b"down" in text, "and a command under way went on")
    busy.close()
    for s in idle:
        s.close()
    wait_for(lambda: w.fds() < CONNS, 10)
    before, running = w.count("full"), []
    for _ in range(CONNS - 2):
        s = w.open(30)
        send(s, w.head("POST", query("/vm/demo-1/exec", cmd="sleep", args=["30"])))
        s.recv(20)
        running.append(s)
    more = []
    for _ in range(4):
        s = socket.create_connection(w.stack.tcp, 15)
        send(s, b"x" if w.tls else w.head("POST", query("/vm/demo-1/exec", cmd="sleep", args=["30"])))
        more.append(s)
    if not w.tls:
        wait_for(lambda: alive_running(running) == len(running), 1)
        tap.ok(alive_running(running) == len(running), "%d commands under way: none is ended for a newcomer" % len(running))
    for s in running + more:
        s.close()
    tap.ok(wait_for(lambda: api.call("GET", "/info")[0] == 200, 15), "afterwards others are served")


def alive_running(socks):
    n = 0
    for s in socks:
        s.setblocking(False)
        try:
            n += s.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            n += 1
        except OSError:
            pass
        s.setblocking(True)
    return n


# ---- WebSockets ---------------------------------------------------------------------------------------------------

KEY = "Sec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef").decode()
UP = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", KEY)
UP_ONCE = ("Upgrade: websocket", "Connection: Upgrade, close", "Sec-WebSocket-Version: 13", KEY)
MASK = b"\1\2\3\4"


def frame(first, data=b"", mask=MASK, length=None):
    """A frame with that first byte; length overrides how it is written: (7-bit value, bytes that follow)."""
    n = len(data)
    seven, more = length or ((n, b"") if n < 126 else (126, struct.pack(">H", n)) if n < 65536 else (127, struct.pack(">Q", n)))
    body = bytes(b ^ mask[i & 3] for i, b in enumerate(data)) if mask and n < 5000 else data
    if mask and n >= 5000:
        body = (int.from_bytes(data, "big") ^ int.from_bytes((mask * (n // 4 + 1))[:n], "big")).to_bytes(n, "big")
    return bytes([first, (0x80 if mask else 0) | seven]) + more + (mask or b"") + body


def closes(data):
    """The close codes among the server's frames."""
    codes, at = [], 0
    while at + 2 <= len(data):
        op, n = data[at] & 15, data[at + 1] & 127
        skip = 2 if n < 126 else 4 if n == 126 else 10
        n = n if n < 126 else int.from_bytes(data[at + 2:at + skip], "big")
        body = data[at + skip:at + skip + n]
        if op == 8:
            codes.append(struct.unpack(">H", body[:2])[0] if len(body) >= 2 else 1005)
        at += skip + n
    return codes


OPENINGS = [
    ("without an Upgrade", (), 426), ("Upgrade: h2c", ("Upgrade: h2c", "Connection: Upgrade, close", "Sec-WebSocket-Version: 13", KEY), 426),
    ("without Connection: Upgrade", ("Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY), 426),
    ("version 8", ("Upgrade: websocket", "Connection: Upgrade, close", "Sec-WebSocket-Version: 8", KEY), 426),
    ("without a key", ("Upgrade: websocket", "Connection: Upgrade, close", "Sec-WebSocket-Version: 13"), 400),
    ("with a short key", ("Upgrade: websocket", "Connection: Upgrade, close", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: YQ=="), 400),
    ("with a key that is no base64", ("Upgrade: websocket", "Connection: Upgrade, close", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), 400),
    ("with a body", UP_ONCE + ("Content-Length: 5",), 400),
]
FRAMES = [
    ("an unmasked frame", 1002, frame(0x82, b"abc", mask=None)), ("a reserved bit", 1002, frame(0xC2, b"abc")), ("opcode 3", 1002, frame(0x83, b"abc")),
    ("opcode 11", 1002, frame(0x8B)), ("a continuation of nothing", 1002, frame(0x80, b"abc")), ("a new message inside one", 1002, frame(0x02, b"a") + frame(0x82, b"b")),
    ("a ping in pieces", 1002, frame(0x09, b"a")), ("a ping of 126 bytes", 1002, frame(0x89, b"a" * 126)), ("a close of 200 bytes", 1002, frame(0x88, b"\x03\xe8" + b"a" * 198)),
    ("a length that is not the shortest", 1002, frame(0x82, b"abc", length=(126, b"\0\3"))), ("the same in 64 bits", 1002, frame(0x82, b"abc", length=(127, bytes(7) + b"\3"))),
    ("a length with the top bit", 1002, frame(0x82, b"abc", length=(127, b"\xff" * 8))), ("close code 1005", 1002, frame(0x88, struct.pack(">H", 1005))),
    ("close code 999", 1002, frame(0x88, struct.pack(">H", 999))), ("close code 5000", 1002, frame(0x88, struct.pack(">H", 5000))), ("a close of one byte", 1002, frame(0x88, b"\3")),
    ("a close reason that is no UTF-8", 1007, frame(0x88, struct.pack(">H", 1000) + b"\xff\xfe")),
]


def part_websockets(w):
    for name, fields, status in OPENINGS:
        for path in ("/vm/demo-1/shell", "/vm/demo-1/forward"):
            expect(w, "an opening %s (%s)" % (name, path[11:]), "websocket_open", [status],
                   lambda s: send(s, w.head("GET", path, *fields, "X-Inlets-Upstream: 127.0.0.1:1", *(() if "Connection: Upgrade, close" in fields else ("Connection: close",))) +
                                  (b"hello" if "Content-Length: 5" in fields else b"")))
    expect(w, "an opening by POST", None, [405], lambda s: send(s, w.head("POST", "/vm/demo-1/shell", *UP_ONCE, "Content-Length: 0")))
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        got, sink = [], threading.Thread(target=serve_echo, args=(server,), daemon=True)
        sink.start()
        upstream = "X-Inlets-Upstream: 127.0.0.1:%d" % server.getsockname()[1]
        for path, extra in (("/vm/demo-1/forward", [("a text message", 1003, frame(0x81, b"hello"))]),
                            ("/vm/demo-1/shell?shell=/bin/sh&uid=0", [("a message of 2 MiB", 1009, frame(0x82, bytes(2 << 20))),
                                                                      ("a message of 2 MiB in pieces", 1009, frame(0x02, bytes(1 << 20)) + frame(0x80, bytes(1 << 20))),
                                                                      ("a shell frame longer than its message", 1002, frame(0x82, b"\1\0\0\1\0abc"))])):
            for name, code, data in FRAMES + extra:
                websocket(w, name, path, upstream, code, data)
        pieces = frame(0x02, b"he") + frame(0x89, b"ping") + frame(0x00, b"l") + frame(0x80, b"lo") + frame(0x82, b"") + frame(0x88, struct.pack(">H", 1000))
        s = w.open()
        send(s, w.head("GET", "/vm/demo-1/forward", *UP, upstream))
        got = s.recv(4096)
        for b in pieces:
            send(s, bytes([b]))
        got += drain(s) or b""
        tap.ok(b" 101 " in got and b"\x8a\x04ping" in got and closes(got.split(b"\r\n\r\n", 1)[1]) == [1000], "a message in pieces with a ping between them is none of these")
        s.close()


def serve_echo(server):
    while True:
        try:
            c, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=echo, args=(c,), daemon=True).start()


def echo(c):
    try:
        while True:
            data = c.recv(65536)
            if not data:
                break
            c.sendall(data)
    except OSError:
        pass
    c.close()


def websocket(w, name, path, upstream, code, data):
    before = w.count("websocket_frame")
    s = w.open()
    send(s, w.head("GET", path, *UP, upstream))
    got = b""
    while b"\r\n\r\n" not in got:
        piece = s.recv(1)
        if not piece:
            break
        got += piece
    send(s, data)
    rest = drain(s)
    s.close()
    codes = closes(rest or b"")
    counted = wait_for(lambda: w.count("websocket_frame") == before + 1, 5)
    if not tap.ok(b" 101 " in got and codes == [code] and counted, "%s (%s): close %d, counted" % (name, path[11:18], code)):
        print("# %r %r, %s counted" % (got[:100], (rest or b"(still open)")[:100], w.count("websocket_frame") - before), flush=True)


# ---- TLS ----------------------------------------------------------------------------------------------------------

def raw_tls(w, name, reason, data, want=b"", slow=False):
    before = w.count(reason) if reason else 0
    s = socket.create_connection(w.stack.tcp, 15)
    if slow:
        dribble(s, data)
    else:
        send(s, data)
    got = drain(s)
    s.close()
    counted = not reason or wait_for(lambda: w.count(reason) == before + 1, 5)
    tap.ok(got is not None and got.startswith(want) and (want or b"HTTP" not in got) and counted, "%s: closed%s" % (name, ", counted as " + reason if reason else ""))


def handshake(w, name, reason, context):
    before = w.count(reason)
    s = socket.create_connection(w.stack.tcp, 15)
    try:
        context.wrap_socket(s)
        why = None
    except ssl.SSLError as e:
        why = e.reason or str(e)
    except OSError as e:
        why = str(e)
    s.close()
    tap.ok(why and wait_for(lambda: w.count(reason) == before + 1, 5), "%s: refused (%s), counted as %s" % (name, why, reason))


def hello_bytes(low=None, high=None):
    inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context(low, high).wrap_bio(inside, outside, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outside.read()


def part_tls(w):
    if not w.tls:
        return
    hello = hello_bytes(ssl.TLSVersion.TLSv1_2)
    raw_tls(w, "plain HTTP", "tls_plain", b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400")
    for name, data in (("zeros", bytes(200)), ("noise", b"\xfe" + os.urandom(300)), ("a record of 64 KiB", b"\x16\x03\x01\xff\xff" + bytes(70000)),
                       ("an empty handshake record", b"\x16\x03\x01\x00\x00" * 3 + b"\x16\x03\x01\x00\x05abcde"), ("a heartbeat", b"\x18\x03\x02\x00\x03\x01\x40\x00"),
                       ("data before the handshake", b"\x17\x03\x03\x00\x05hello"), ("ChangeCipherSpec first", b"\x14\x03\x03\x00\x01\x01" + bytes(40)),
                       ("an alert", b"\x15\x03\x03\x00\x02\x02\x28" + bytes(40)), ("a hello of SSL 2", b"\x80\x2e\x01\x00\x02" + bytes(60)),
                       ("a hello whose length lies", hello[:5] + b"\x01\xff\xff\xff" + hello[9:] + bytes(20000)), ("two hellos", hello + hello)):
        raw_tls(w, name, "tls", data)
    raw_tls(w, "a handshake that stops", "tls_late", hello[:-4])
    raw_tls(w, "a handshake that never begins", "tls_late", b"")
    raw_tls(w, "records of one byte, slowly", "tls_late", b"\x16\x03\x01\x00\x01" + hello[5:6], slow=True)
    weak = "ALL:@SECLEVEL=0"
    handshake(w, "TLS 1.0", "tls", tls_context(ssl.TLSVersion.TLSv1, None, weak))
    handshake(w, "TLS 1.1", "tls", tls_context(ssl.TLSVersion.TLSv1_1, None, weak))
    handshake(w, "TLS 1.3 alone", "tls", tls_context(ssl.TLSVersion.TLSv1_3))
    for suite in ("ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-SHA", "AES128-GCM-SHA256"):
        handshake(w, "only " + suite, "tls", tls_context(ssl.TLSVersion.TLSv1_2, None, suite + ":@SECLEVEL=0"))
    s = w.open()
    suite, version = s.cipher()[0], s.version()
    tap.ok(version == "TLSv1.2" and ("GCM" in suite or "CHACHA20" in suite), "what is spoken: %s %s" % (version, suite))
    s.close()
    renegotiation(w)
    broken_record(w)
    wrong_certificate(w)


def renegotiation(w):
    """openssl's client asks for a second handshake at 'R': the server must not go along."""
    p = subprocess.Popen(["openssl", "s_client", "-connect", "%s:%d" % w.stack.tcp, "-tls1_2", "-legacy_renegotiation"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT)
    p.stdin.write(b"R\n")
    p.stdin.flush()
    time.sleep(1)
    p.stdin.close()
    killer = threading.Timer(10, p.kill)
    killer.start()
    out = p.stdout.read()
    killer.cancel()
    p.kill()
    p.wait()
    tap.ok(b"RENEGOTIATING" in out and out.count(b"BEGIN CERTIFICATE") <= 1, "renegotiation: no second handshake")


def broken_record(w):
    """A record that was changed on its way ends the connection, and none of it is seen."""
    before = w.count("tls")
    inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context().wrap_bio(inside, outside)
    s = socket.create_connection(w.stack.tcp, 15)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            s.sendall(outside.read())
            inside.write(s.recv(65536))
    s.sendall(outside.read())
    tls.write(w.head("POST", "/daemon/shutdown", "Content-Length: 0"))
    record = bytearray(outside.read())
    record[-1] ^= 1
    s.sendall(record)
    got = drain(s)
    s.close()
    tap.ok(got is not None and wait_for(lambda: w.count("tls") == before + 1, 5) and w.stack.front.poll() is None and w.unix.call("GET", "/info")[0] == 200,
           "a record with one bit changed: closed, counted, not obeyed")


def wrong_certificate(w):
    mica = os.path.join(sys.argv[1], "mica")
    url = "https://127.0.0.1:%d" % w.stack.tcp[1]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MICA_", "SLICER_"))} | {"HOME": w.stack.dir}

    def run(*words):
        return subprocess.run([mica, "info", "--url", url, "--token", w.token, *words], capture_output=True, text=True, timeout=30, env=env)
    good = run("--fingerprint", w.stack.fingerprint)
    bad = run("--fingerprint", "00:" * 31 + "00")
    tap.ok(good.returncode == 0, "the command line with the right fingerprint%s" % ("" if good.returncode == 0 else ": " + good.stderr))
    tap.ok(bad.returncode == 1 and "fingerprint" in bad.stderr and all(k in bad.stderr for k in ("error:", "cause:", "fix:")), "with another one: refused, with cause and fix")
    if bad.returncode != 1:
        print("# " + bad.stderr)


# ---- all of it ----------------------------------------------------------------------------------------------------

PARTS = [part_heads, part_chunks, part_bodies, part_slow, part_websockets, part_tls, part_full]


def run(tls, words):
    stack = Stack(sys.argv[1], sys.argv[2], tls=tls, front_words=LIMITS)
    w = World(stack)
    try:
        tap.ok(w.unix.call("POST", CREATE + "?wait=agent&timeout=30s", {})[0] == 201, "a VM, over %s" % ("HTTPS" if tls else "HTTP"))
        for _ in range(30):  # what is allocated once is allocated
            s = w.open()
            send(s, w.head("GET", "/info", "Connection: close"))
            drain(s)
            s.close()
        wait_for(lambda: False, 2)
        fds, memory = w.fds(), w.memory_kib()
        for part in PARTS:
            if words and not any(x in part.__name__ for x in words):
                continue
            try:
                part(w)
            except Exception:
                tap.ok(False, part.__name__)
                print("# " + traceback.format_exc(limit=5).replace("\n", "\n# "), flush=True)
        w.on_unix = not tls and not words
        for part in (part_heads, part_chunks, part_bodies) if w.on_unix else ():
            part(w)
        tap.ok(stack.front.poll() is None and stack.core.poll() is None, "front and core are as alive as before")
        tap.ok(wait_for(lambda: w.fds() <= fds, 20), "descriptors of front: %d before, %d after" % (fds, w.fds()))
        wait_for(lambda: w.memory_kib() - memory < 1024, 10)
        grown = w.memory_kib() - memory
        tap.ok(grown < 2048, "memory of front: %d KiB more than the %d before" % (grown, memory))
    finally:
        codes = stack.close()
    tap.ok(codes == [0, 0], "core and front ended well: %s" % codes)


def few_files():
    """A front that may open 100 files, and takes more connections than that: the idle ones go for newcomers, by EMFILE."""
    stack = Stack(sys.argv[1], sys.argv[2], front_words=["--conns", "8000"], front_files=100)
    try:
        w = World(stack)
        idle = [socket.create_connection(stack.tcp, 15) for _ in range(150)]
        status = Api(stack.tcp, stack.token).call("GET", "/info", timeout_s=15)[0]
        tap.ok(status == 200 and w.count("evicted") >= 50, "100 files, 150 idle connections: a client with a token gets in, %d went" % w.count("evicted"))
        for s in idle:
            s.close()
    finally:
        stack.close()
    stack = Stack(sys.argv[1], sys.argv[2], front_files=400)
    try:
        w = World(stack)
        idle = [socket.create_connection(stack.tcp, 15) for _ in range(300)]
        tap.ok(w.count("evicted") >= 100 and w.fds() < 250, "the table is sized by the files there may be: %d descriptors of 400" % w.fds())
        for s in idle:
            try:
                s.close()
            except OSError:  # most were ended by the other side
                pass
    finally:
        stack.close()


def main():
    words = sys.argv[3:]
    kinds = [k for k in ("http", "https") if k in words] or ["http", "https"]
    for kind in kinds:
        if kind == "http" and (not words or "few" in words or "http" in words):
            few_files()
        run(kind == "https", [x for x in words if x not in ("http", "https")])
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
