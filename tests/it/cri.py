"""As much of gRPC as kubelet's calls of a container runtime (CRI v1) take: one call a connection, HTTP/2 without compression (RFC 9113, RFC 7541), Protocol Buffers.

A message is a list of (field number, value): an int, text, bytes, a list for a message within; a repeated field stands there several times. An answer is a
dict: field number: [int or bytes, ...]."""
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7
ACK = END_STREAM = 1
END_HEADERS = 4
ANSWER_MAX = 1 << 20


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def encode(message):
    out = b""
    for field, value in message:
        if isinstance(value, int):
            out += varint(field << 3) + varint(value)
            continue
        if not isinstance(value, bytes):
            value = value.encode() if isinstance(value, str) else encode(value)
        out += varint(field << 3 | 2) + varint(len(value)) + value
    return out


def decode(data):
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value
    while at < len(data):
        key = number()
        if key & 7 == 0:
            value = number()
        elif key & 7 == 2:
            size = number()
            value, at = data[at:at + size], at + size
        else:
            raise ValueError("wire type %d" % (key & 7))
        found.setdefault(key >> 3, []).append(value)
    return found


def pair(name, value):
    """One header, as a literal that enters no table. Both are shorter than 127."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def frame(kind, flags, stream, data=b""):
    return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data


class Refused(Exception):
    """An answer without a message: the runtime's log says why."""


def call(port, method, message, timeout_s):
    """The answer of runtime.v1.METHOD (Service/Method) at that port of 127.0.0.1."""
    body = encode(message)
    headers = [(":method", "POST"), (":scheme", "http"), (":path", "/runtime.v1." + method), (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers")]
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as s, s.makefile("rb") as f:
        s.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, b"".join(pair(*h) for h in headers)) +
                  frame(DATA, END_STREAM, 1, b"\0" + struct.pack(">I", len(body)) + body))
        got = b""
        while len(got) < ANSWER_MAX:
            head = f.read(9)
            if len(head) < 9:
                raise Refused(method + ": the connection ended")
            size, kind, flags, stream = struct.unpack(">I", b"\0" + head[:3])[0], head[3], head[4], struct.unpack(">I", head[5:])[0]
            data = f.read(size)
            if kind in (SETTINGS, PING) and not flags & ACK:
                s.sendall(frame(kind, ACK, 0, data if kind == PING else b""))
            elif kind == GOAWAY:
                raise Refused("%s: %r" % (method, data))
            elif stream == 1 and kind == DATA:
                got += data
            if stream == 1 and kind in (DATA, HEADERS) and flags & END_STREAM:
                break
    if len(got) < 5:
        raise Refused(method)
    return decode(got[5:5 + struct.unpack(">I", got[1:5])[0]])
