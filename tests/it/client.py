"""A small HTTP/1.1 and WebSocket client over unix sockets and TCP, for tests: it shows chunks and lines as they arrive and
sends while it receives, which http.client does not. Standard library only."""
import base64
import hashlib
import json
import os
import socket
import struct
import time
import urllib.parse

HEAD_MAX = 65536


class Broken(Exception):
    """The peer broke the protocol, or the connection ended too early."""


def query(path, /, **params):
    """path?params; lists repeat, None is left out, True is "true"."""
    pairs = []
    for key, value in params.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is not None:
                pairs.append((key, "true" if one is True else "false" if one is False else str(one)))
    return path + ("?" + urllib.parse.urlencode(pairs) if pairs else "")


class Conn:
    """One connection. Requests on it go one after the other (keep-alive)."""

    def __init__(self, address, timeout_s=60):
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
        else:
            self.sock = socket.socket(socket.AF_INET)
        self.sock.connect(address[:2] if isinstance(address, tuple) else address)  # blocking: a full backlog is waited for
        self.sock.settimeout(timeout_s)
        if isinstance(address, tuple) and len(address) == 3:  # host, port, SSLContext
            self.sock = address[2].wrap_socket(self.sock, server_hostname="localhost")
        self.rest = b""

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- sending
    def start(self, method, path, headers=None, body=None, chunked=False):
        """Sends the head, and the body when it is given whole. With chunked, chunk() and last_chunk() follow."""
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: mica"]
        headers = dict(headers or {})
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif body is not None or method in ("POST", "PUT", "PATCH"):
            headers.setdefault("Content-Length", str(len(body or b"")))
        lines += ["%s: %s" % pair for pair in headers.items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b""))
        self.method = method

    def raw(self, data):
        self.sock.sendall(data)

    def chunk(self, data):
        if data:
            self.sock.sendall(b"%x\r\n" % len(data) + data + b"\r\n")

    def last_chunk(self):
        self.sock.sendall(b"0\r\n\r\n")

    # -- receiving
    def more(self):
        got = self.sock.recv(262144)
        if not got:
            raise Broken("connection ended")
        self.rest += got

    def line(self):
        while b"\r\n" not in self.rest:
            if len(self.rest) > HEAD_MAX:
                raise Broken("line too long")
            self.more()
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def exactly(self, count):
        while len(self.rest) < count:
            self.more()
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def response(self):
        first = self.line().decode("latin-1").split(" ", 2)
        if not first[0].startswith("HTTP/1."):
            raise Broken("not HTTP: %r" % first)
        headers = {}
        while True:
            line = self.line()
            if not line:
                break
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        status = int(first[1])
        if status == 100:
            return self.response()
        return Response(self, status, headers, getattr(self, "method", "GET"))

    def call(self, method, path, headers=None, body=None):
        self.start(method, path, headers, body)
        return self.response()


class Response:
    def __init__(self, conn, status, headers, method):
        self.conn, self.status, self.headers = conn, status, headers
        self.empty = method == "HEAD" or status in (101, 204, 304)

    def pieces(self):
        """The body as it arrives: whole chunks when chunked."""
        conn = self.conn
        if self.empty:
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                size = int(conn.line().split(b";")[0], 16)
                if size == 0:
                    while conn.line():
                        pass
                    return
                data = conn.exactly(size)
                if conn.exactly(2) != b"\r\n":
                    raise Broken("chunk without its end")
                yield data
        elif "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left:
                if not conn.rest:
                    conn.more()
                data = conn.rest[:left]
                conn.rest = conn.rest[left:]
                left -= len(data)
                yield data
        else:
            while True:
                if conn.rest:
                    data, conn.rest = conn.rest, b""
                    yield data
                try:
                    conn.more()
                except Broken:
                    return

    def read(self):
        return b"".join(self.pieces())

    def json(self):
        return json.loads(self.read())

    def lines(self):
        """NDJSON frames as they arrive. Every line must be terminated."""
        kept = b""
        for piece in self.pieces():
            kept += piece
            *whole, kept = kept.split(b"\n")
            for line in whole:
                yield json.loads(line)
        if kept:
            raise Broken("last line has no end: %r" % kept[:80])


def payload(frame, stream="stdout"):
    text = frame.get(stream, "")
    return base64.b64decode(text, validate=True) if frame.get("encoding") == "base64" else text.encode()


class WebSocket:
    """RFC 6455, binary messages, client side (masked)."""

    def __init__(self, conn, path, headers=None):
        self.conn = conn
        key = base64.b64encode(os.urandom(16)).decode()
        conn.start("GET", path, dict({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key,
                                      "Sec-WebSocket-Version": "13"}, **(headers or {})))
        self.reply = conn.response()
        if self.reply.status == 101:
            want = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            if self.reply.headers.get("sec-websocket-accept") != base64.b64encode(want).decode():
                raise Broken("wrong Sec-WebSocket-Accept")

    def send(self, data, opcode=2):
        mask = os.urandom(4)
        if len(data) < 126:
            head = struct.pack(">BB", 0x80 | opcode, 0x80 | len(data))
        elif len(data) < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 0xFE, len(data))
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 0xFF, len(data))
        repeated = mask * (len(data) // 4 + 1)
        masked = bytes(a ^ b for a, b in zip(data, repeated))
        self.conn.raw(head + mask + masked)

    def recv(self):
        """(opcode, payload) of the next whole message or control frame."""
        message, first = b"", None
        while True:
            one, two = self.conn.exactly(2)
            if two & 0x80 or one & 0x70:
                raise Broken("masked frame or reserved bits from the server")
            size = two & 0x7F
            if size == 126:
                size = struct.unpack(">H", self.conn.exactly(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self.conn.exactly(8))[0]
            data = self.conn.exactly(size)
            if one & 0x08:
                return one & 0x0F, data
            first = first if first is not None else one & 0x0F
            message += data
            if one & 0x80:
                return first, message


class Api:
    """The calls the tests make, on fresh connections. exec etc. give what the wire said, unjudged."""

    def __init__(self, address, token=None):
        self.address, self.token = address, token

    def conn(self, timeout_s=60):
        return Conn(self.address, timeout_s)

    def headers(self, extra=None):
        found = dict(extra or {})
        if self.token is not None:
            found["Authorization"] = "Bearer " + self.token
        return found

    def call(self, method, path, body=None, headers=None, timeout_s=60):
        """(status, headers, body bytes)"""
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers = dict(headers or {}, **{"Content-Type": "application/json"})
        with self.conn(timeout_s) as conn:
            reply = conn.call(method, path, self.headers(headers), body)
            return reply.status, reply.headers, reply.read()

    def get(self, path, timeout_s=60):
        """JSON of a GET that must succeed."""
        status, _, body = self.call("GET", path, timeout_s=timeout_s)
        if status != 200:
            raise Broken("GET %s: %d %r" % (path, status, body[:200]))
        return json.loads(body)

    def frames(self, vm, cmd, args=(), stdin=None, timeout_s=60, **params):
        """All frames of a streaming exec."""
        params = dict(params, cmd=cmd, args=list(args))
        if stdin is not None:
            params["stdin"] = True
        status, headers, body = self.call("POST", query("/vm/%s/exec" % vm, **params), body=stdin, timeout_s=timeout_s)
        if status != 200:
            raise Broken("exec: %d %r" % (status, body[:300]))
        return [json.loads(line) for line in body.split(b"\n") if line]

    def run(self, vm, cmd, args=(), stdin=None, timeout_s=60, **params):
        """(exit code, stdout bytes, stderr bytes) of a streaming exec."""
        params.setdefault("stdio", "base64")
        out = err = b""
        frames = self.frames(vm, cmd, args, stdin, timeout_s, **params)
        for frame in frames:
            out += payload(frame, "stdout")
            err += payload(frame, "stderr")
        return frames[-1]["exit_code"], out, err

    def sh(self, vm, script, **params):
        params.setdefault("uid", 0)
        return self.run(vm, "/bin/sh", ["-c", script], **params)

    def upload(self, vm, path, data, mode="binary", timeout_s=60, **params):
        status, _, body = self.call("POST", query("/vm/%s/cp" % vm, path=path, mode=mode, **params), body=data, timeout_s=timeout_s,
                                    headers={"Content-Type": "application/x-tar" if mode == "tar" else "application/octet-stream"})
        return status, body

    def download(self, vm, path, mode="binary", timeout_s=60, **params):
        return self.call("GET", query("/vm/%s/cp" % vm, path=path, mode=mode, **params), timeout_s=timeout_s)


def wait_for(what, limit_s, every_s=0.05):
    """Calls what() until it is true; its value, or None when the time is over."""
    end = time.monotonic() + limit_s
    while True:
        try:
            value = what()
        except (OSError, Broken):
            value = None
        if value or time.monotonic() > end:
            return value
        time.sleep(every_s)
