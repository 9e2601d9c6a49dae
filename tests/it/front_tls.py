#!/usr/bin/env python3
"""front_tls.py FRONT AGENT [WORD...]: front's TLS listeners, with Python's ssl as client: what front_fake.py checks of streams, copies and
shells once more over TLS, then what is TLS's own: plain HTTP, other versions, slow and broken handshakes, a change of the certificate."""
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import time
import traceback
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import front_fake  # noqa: E402
from client import Api  # noqa: E402
from fakecore import OK, T, TLS, Rig  # noqa: E402
from front_fake import VM, raw, rss_kib, same, status_of, tap  # noqa: E402

AGAIN = ["case_exec_frames", "case_exec_buffered", "case_exec_stdin", "case_exec_expect", "case_exec_disconnect", "case_exec_lost_agent",
         "case_exec_gigabyte", "case_slow_reader", "case_background", "case_background_follow", "case_cp", "case_cp_tar", "case_cp_v1",
         "case_fs", "case_shell", "case_shell_disconnect", "case_forward", "case_forward_tail", "case_forward_leaves"]


def context(pem, low=None, high=None):
    c = ssl.create_default_context(cadata=pem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if low:
            c.minimum_version = low
        if high:
            c.maximum_version = high
    return c


def openssl(rig, *words):
    host = "%s:%d" % rig.tls_address
    return subprocess.run(["openssl", "s_client", "-connect", host, *words], input=b"", capture_output=True, timeout=20)


def case_tls_identity(rig):
    m = rig.core.identity
    der = ssl.PEM_cert_to_DER_cert(rig.pem)
    same((m.kind, m.get(T["FINGERPRINT"])), (OK, hashlib.sha256(der).digest()), "front makes a certificate and tells its SHA-256")
    tap.ok(b"PRIVATE KEY" in m.get(T["KEY"]), "… and its key")
    with rig.api.conn() as conn:
        same((conn.sock.version(), conn.sock.getpeercert(True) == der), ("TLSv1.2", True), "it is the one that is shown, over TLS 1.2")
        tap.ok("GCM" in conn.sock.cipher()[0] or "CHACHA" in conn.sock.cipher()[0], "AEAD: %s" % conn.sock.cipher()[0])


def case_tls_versions(rig):
    for name, low, high in [("1.3", ssl.TLSVersion.TLSv1_3, None), ("1.1", ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)]:
        c = context(rig.pem, low, high)
        if name == "1.1":
            c.set_ciphers("ALL:@SECLEVEL=0")
        s = socket.create_connection(rig.tls_address, 10)
        try:
            c.wrap_socket(s, server_hostname="localhost")
            tap.ok(False, "a client of TLS %s only is refused" % name)
        except ssl.SSLError as why:
            tap.ok("ALERT" in (why.reason or "") or why.reason == "WRONG_VERSION_NUMBER", "a client of TLS %s only is refused with an alert: %s" % (name, why.reason))
        s.close()
    got = openssl(rig, "-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    tap.ok(b"Cipher is (NONE)" in got.stdout, "suites without AEAD are refused")


def case_tls_plain(rig):
    got = raw(rig.tls_address, b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n")
    same((status_of(got), b"https://" in got, b"(timeout)" in got), (400, True, False), "plain HTTP is told to use https, and closed")
    for data in (b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"a" * 70000, b"\x16\x03\x01\x00\x05abcde", b"\xfe" + os.urandom(64)):
        got = raw(rig.tls_address, data, end=True)
        tap.ok(b"(timeout)" not in got and b"HTTP" not in got, "no TLS: %r is closed" % data[:8])
    same(rig.api.call("GET", "/info")[0], 200, "and others are served")


def case_tls_slow(rig):
    idle = socket.create_connection(rig.tls_address, 20)
    begun = socket.create_connection(rig.tls_address, 20)
    begun.sendall(b"\x16\x03\x01\x02\x00\x01")
    start = time.monotonic()
    for s, what in ((begun, "that stops"), (idle, "that never begins")):
        try:
            got = s.recv(10)
        except OSError as why:
            got = b"" if isinstance(why, ConnectionError) else str(why)
        took = time.monotonic() - start
        tap.ok(got == b"" and took < 13, "a handshake %s is ended after %.1f s" % (what, took))
        s.close()
    # one byte at a time is slow, and still a handshake
    inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(rig.pem).wrap_bio(inside, outside, server_hostname="localhost")
    s = socket.create_connection(rig.tls_address, 10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outside.read():
                s.sendall(bytes([byte]))
            inside.write(s.recv(65536))
    tap.ok(True, "a handshake byte by byte")
    s.close()


def case_tls_ends(rig):
    one = b"GET /info HTTP/1.1\r\nHost: a\r\n\r\n"
    with rig.api.conn() as conn:
        conn.raw(one * 20 + b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = b""
        while True:
            piece = conn.sock.recv(65536)  # raises when the end is no close_notify
            if not piece:
                break
            got += piece
        same(got.count(b"HTTP/1.1 200 OK"), 21, "21 pipelined requests, answered in order, then a proper end of TLS")
    conn = rig.api.conn()
    conn.sock.sendall(one)
    socket.socket(fileno=os.dup(conn.sock.fileno())).shutdown(socket.SHUT_WR)
    tap.ok(b"200 OK" in conn.sock.recv(1000), "a client that half-closes its socket still gets its answer")
    conn.close()
    conn = rig.api.conn()
    conn.sock.sendall(b"DELETE /vm/nosuch-1 HTTP/1.1\r\nHost: a\r\n\r\n")
    conn.sock.recv(1000)
    conn.sock.unwrap()
    tap.ok(True, "close_notify is answered")
    conn.close()


def case_tls_copies(rig):
    blob = os.urandom(1 << 20) * 48
    os.chmod(rig.dir, 0o777)
    before, start = rss_kib(rig.front.pid), time.monotonic()
    same(rig.api.upload(VM, rig.dir + "/big", blob)[0], 200, "48 MiB in, %.1f s" % (time.monotonic() - start))
    start = time.monotonic()
    status, _, body = rig.api.download(VM, rig.dir + "/big")
    same((status, body == blob), (200, True), "48 MiB out, %.1f s" % (time.monotonic() - start))
    tap.ok(rss_kib(rig.front.pid) - before < 4096, "without growing front: %d KiB" % (rss_kib(rig.front.pid) - before))


def case_tls_memory(rig):
    time.sleep(2.5)
    before = rss_kib(rig.front.pid)
    conns = [rig.api.conn() for _ in range(100)]
    for conn in conns:
        conn.call("GET", "/healthz").read()
    time.sleep(2.5)
    per = (rss_kib(rig.front.pid) - before) / len(conns)
    tap.ok(per < 56, "an idle TLS connection costs %.1f KiB" % per)
    for conn in conns:
        conn.close()


def case_tls_change(rig):
    """An operator's certificate, RSA this time; connections from before go on; what is wrong changes nothing."""
    old = rig.api.conn()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", rig.dir + "/k.pem", "-out", rig.dir + "/c.pem", "-days", "3"], capture_output=True, check=True)
    with open(rig.dir + "/c.pem") as c, open(rig.dir + "/k.pem") as k:
        cert, key = c.read(), k.read()
    chan = rig.core.chan
    for fields, kind in [([(T["CERT"], cert), (T["KEY"], rig.core.identity.get(T["KEY"]))], 1), ([(T["CERT"], cert)], 1),
                         ([(T["CERT"], "nonsense"), (T["KEY"], key)], 1), ([(T["CERT"], cert), (T["KEY"], key)], 2)]:
        before = len(rig.core.asked)
        chan.send(TLS, fields, ident=4000000000)
        end = time.monotonic() + 5
        while len(rig.core.asked) == before and time.monotonic() < end:
            time.sleep(0.02)
        m = rig.core.asked[before]
        same(m.kind, kind, "C_TLS is answered: %r" % (m.get(2) or b"OK")[:100])
    same(old.call("GET", "/info").status, 200, "a connection from before the change goes on")
    with Api((*rig.tls_address, context(cert))).conn() as conn:
        same((conn.call("GET", "/info").status, "RSA" in conn.sock.cipher()[0]), (200, True), "a new one sees the new certificate: %s" % conn.sock.cipher()[0])
    old.close()


def main():
    words = sys.argv[3:]
    rig = Rig(sys.argv[1], sys.argv[2])
    rig.pem = rig.core.identity.get(T["CERT"]).decode()
    rig.api = Api((*rig.tls_address, context(rig.pem)))
    cases = [getattr(front_fake, name) for name in AGAIN] + [f for name, f in globals().items() if name.startswith("case_")]
    for case in cases:
        if words and not any(word in case.__name__ for word in words):
            continue
        print("# " + case.__name__, flush=True)
        try:
            case(rig)
        except Exception:
            for line in traceback.format_exc(limit=6).splitlines():
                print("# " + line)
            tap.ok(False, case.__name__)
        if rig.front.poll() is not None:
            tap.ok(False, "front ended with %s" % rig.front.returncode)
            break
    same(rig.close(), 0, "front ends with core")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
