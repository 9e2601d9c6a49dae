#!/usr/bin/env python3
"""cli_forward.py MICA FRONT AGENT [WORD...]: what must come through whole: forwards whose sides end one after the other, and uploads that are answered
before they are read; on the unix socket and over HTTPS. TAP on stdout."""
import hashlib
import os
import re
import signal
import socket
import ssl
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cli_world import bad, main, tap  # noqa: E402
from fakecore import T  # noqa: E402

BLOB = os.urandom(1 << 20) * 6


class Upstream:
    """a server in the guest (which is this machine); talk(connection) for each"""

    def __init__(self, talk, family=socket.AF_INET, path=None):
        self.s = socket.socket(family)
        self.s.bind(path or ("127.0.0.1", 0))
        self.s.listen()
        self.address = "127.0.0.1:%d" % self.s.getsockname()[1] if not path else path
        self.talk = talk
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c = self.s.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        try:
            self.talk(c)
        except OSError:
            pass
        c.close()


def read_all(c):
    data = b""
    while True:
        piece = c.recv(1 << 16)
        if not piece:
            return data
        data += piece


class Forward:
    def __init__(self, w, spec, base):
        self.p = w.start("vm", "forward", "demo-1", "-L", spec, base=base)
        self.where = re.search(rb"Forwarding (\S+) ->", self.p.stdout.readline())[1].decode()

    def dial(self):
        if self.where.startswith("/") or self.where.startswith("."):
            c = socket.socket(socket.AF_UNIX)
            c.connect(self.where)
        else:
            host, port = self.where.rsplit(":", 1)
            c = socket.create_connection((host, int(port)))
        c.settimeout(30)
        return c

    def close(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.communicate(timeout=10)


def bases(w):
    return (("socket", dict(w.env, MICA_SOCKET=w.sock)), ("HTTPS", w.secure()))


def case_half_close(w):
    """a client that says all, closes its sending side, and waits for an answer that needs all of it"""
    got = {}

    def count(c):
        data = read_all(c)
        c.sendall(hashlib.sha256(data).hexdigest().encode())

    def sink(c):
        got["sink"] = read_all(c)
        got["event"].set()
    digest = hashlib.sha256(BLOB).hexdigest().encode()
    for name, base in bases(w):
        up = Upstream(count)
        f = Forward(w, "0:" + up.address, base)
        c = f.dial()
        c.sendall(BLOB)
        c.shutdown(socket.SHUT_WR)
        tap.ok(read_all(c) == digest, "%s: 6 MiB, half closed, then the answer" % name)
        c = f.dial()
        c.shutdown(socket.SHUT_WR)
        tap.ok(read_all(c) == hashlib.sha256(b"").hexdigest().encode(), "%s: half closed at once" % name)
        f.close()
        local = w.dir + "/l.sock"
        f = Forward(w, local + ":" + Upstream(count, socket.AF_UNIX, w.rig.dir + "/%s.sock" % name).address, base)
        c = f.dial()
        c.sendall(BLOB)
        c.shutdown(socket.SHUT_WR)
        tap.ok(read_all(c) == digest, "%s: between unix sockets" % name)
        f.close()
        got["event"] = threading.Event()
        f = Forward(w, "0:" + Upstream(sink).address, base)
        c = f.dial()
        c.sendall(BLOB)
        c.close()
        tap.ok(got["event"].wait(30) and got["sink"] == BLOB, "%s: closed wholly after 6 MiB: all of it arrives" % name)
        f.close()


def case_upstream_ends(w):
    """a server that says much and closes, while the client still talks"""
    def flood(c):
        c.sendall(BLOB)
        c.shutdown(socket.SHUT_WR)
        c.recv(10000)
    for name, base in bases(w):
        f = Forward(w, "0:" + Upstream(flood).address, base)
        for talk in (b"", b"x" * 1000):
            c = f.dial()
            c.sendall(talk)
            tap.ok(read_all(c) == BLOB, "%s: 6 MiB and the end%s" % (name, ", though we had more to say" if talk else ""))
            c.close()
        f.close()


def serve_tls(w, talk):
    """a TLS server of Python's with front's certificate, for one connection"""
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(w.write("c.pem", w.pem), w.write("k.pem", w.rig.core.identity.get(T["KEY"])))
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()

    def one():
        raw = s.accept()[0]
        t = c.wrap_socket(raw, server_side=True)
        try:
            talk(t)
        except OSError:  # a client that leaves without close_notify
            pass
        t.close()
        s.close()
    threading.Thread(target=one, daemon=True).start()
    return "https://127.0.0.1:%d" % s.getsockname()[1]


def case_early_answer(w):
    """an upload that is refused before it was read: the reason is shown, not that a pipe broke"""
    big = w.write("big", b"")
    os.truncate(big, 300 << 20)
    for name, base in bases(w):
        bad(w.run("vm", "cp", big, "nobody:/x", base=base), 1, [b"404"], "%s: cp to a VM that is not there" % name)
        done = w.run("vm", "cp", big, "demo-1:/proc/none/x", base=base)
        tap.ok(done.returncode == 1 and done.stderr.count(b"\n") == 3 and b"pipe" not in done.stderr and b"reset" not in done.stderr,
               "%s: cp to where nothing can be: %r" % (name, done.stderr[:200]))
        w.rig.core.vms["demo-1"]["status"] = "Paused"
        bad(w.run("vm", "cp", big, "demo-1:/tmp/x", base=base), 1, [b"409"], "%s: cp to a paused VM" % name)
        bad(w.run("vm", "exec", "demo-1", "--", "cat", stdin=BLOB, base=base), 125, [b"409"], "%s: exec in a paused VM" % name)
        w.rig.core.vms["demo-1"]["status"] = "Running"

    def refuse(t):
        t.recv(4096)
        body = b'{"error":"there is no room for it"}'
        t.sendall(b"HTTP/1.1 507 Insufficient Storage\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
    bad(w.run("vm", "cp", big, "demo-1:/x", base=w.secure(), MICA_URL=serve_tls(w, refuse)), 1, [b"no room for it", b"507"], "a server that answers at once and closes")


def case_close_notify(w):
    """an answer that only the end of the connection bounds is complete when TLS says so, and only then"""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"

    def proper(t):
        t.recv(4096)
        t.sendall(head + b"[]")
        t.unwrap()

    def cut(t):
        t.recv(4096)
        t.sendall(head + b"[]")
    done = w.run("vm", "list", "--json", base=w.secure(), MICA_URL=serve_tls(w, proper))
    tap.ok(done.returncode == 0 and done.stdout == b"[]\n", "with close_notify: %r" % done)
    bad(w.run("vm", "list", "--json", base=w.secure(), MICA_URL=serve_tls(w, cut)), 1, [b"in the middle"], "without: cut")


if __name__ == "__main__":
    sys.exit(main([(n, f) for n, f in list(globals().items()) if n.startswith("case_")]))
